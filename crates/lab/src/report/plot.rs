//! Plots of what viewers saw, second by second, as SVG.

use std::fmt::Write as _;

use super::escaped;
use super::map::COLOURS;
use crate::outcome::{Latency, Moment, Outcome, ViewerOutcome};

/// Size of a plot, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 130.0;
/// Room for the numbers at the left, and for the seconds below.
const LEFT: f64 = 60.0;
const BELOW: f64 = 18.0;
const ABOVE: f64 = 8.0;

/// Kinds of dashes that the style has; the first is a whole line.
const DASHES: usize = 4;

/// What a plot shows of a moment.
type Value = fn(&Moment) -> f64;

/// A curve of every viewer in each of three plots.
pub(super) fn viewers(outcome: &Outcome) -> String {
    if outcome.viewers.is_empty() {
        return "<p>Nobody watched.</p>\n".to_owned();
    }
    let mut text = String::from(
        "<table><tr><th></th><th>viewer</th><th>stream</th><th>lost</th><th>doubled</th><th>longest gap</th><th>latency</th>\
         <th>99 % within</th><th>connected</th></tr>\n",
    );
    for (n, viewer) in outcome.viewers.iter().enumerate() {
        let _ = writeln!(
            text,
            "<tr><td><svg style=\"width:1.2rem\" viewBox=\"0 0 20 8\"><line class=\"{}\" x1=\"0\" y1=\"4\" x2=\"20\" \
             y2=\"4\"/></svg></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0} ms</td><td>{}</td><td>{}</td><td>{} \
             times</td></tr>",
            curve(n),
            escaped(&viewer.node),
            escaped(&viewer.stream),
            viewer.lost,
            viewer.doubled,
            viewer.gap_ms,
            latency(viewer, |latency| latency.p50),
            latency(viewer, |latency| latency.p99),
            viewer.connections
        );
    }
    text.push_str("</table>\n");
    let kinds: [(&str, &str, Value); 3] = [
        ("Longest pause between pictures, beyond the frame interval", "ms", |moment| moment.gap_ms),
        ("Latency: how far pictures were behind the source, or the quickest", "ms", |moment| moment.late_ms),
        ("Bitrate", "kbit/s", |moment| moment.bitrate_bps / 1e3),
    ];
    for (title, unit, value) in kinds {
        let _ = write!(text, "<h3>{title}, {unit}</h3>\n{}\n", svg(outcome, value));
    }
    text.push_str("<p class=\"note\">Dotted lines: steps of the script. Seconds since the lab began.</p>\n");
    text
}

/// How the n-th viewer is drawn: once all colours are used they come again with dashes.
fn curve(n: usize) -> String {
    format!("plot c{} d{}", n % COLOURS, n / COLOURS % DASHES)
}

fn latency(viewer: &ViewerOutcome, of: fn(&Latency) -> f64) -> String {
    viewer.latency_ms.as_ref().map_or("not asked for".to_owned(), |latency| format!("{:.0} ms", of(latency)))
}

fn svg(outcome: &Outcome, value: Value) -> String {
    let moments = || outcome.viewers.iter().flat_map(|viewer| &viewer.moments);
    let last_s = moments().map(|moment| moment.at_s).fold(1.0, f64::max) + 1.0;
    let top = rounded_up(moments().map(value).fold(1.0, f64::max));
    let x = |at_s: f64| LEFT + at_s / last_s * (WIDTH - LEFT);
    let y = |value: f64| ABOVE + (1.0 - value / top) * (HEIGHT - BELOW - ABOVE);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"plot\">\n");
    for share in [0.0, 0.5, 1.0] {
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text class=\"quiet\" x=\"{1}\" \
             y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(top * share),
            LEFT - 6.0,
            y(top * share) + 4.0,
            top * share
        );
    }
    let every_s = rounded_up(last_s / 10.0).max(1.0);
    for at_s in (0..).map(|n| f64::from(n) * every_s).take_while(|at_s| *at_s < last_s) {
        let (x, y) = (x(at_s), HEIGHT - 4.0);
        let _ = writeln!(svg, "<text class=\"quiet\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{at_s}</text>");
    }
    for step in &outcome.steps {
        let (x, below) = (x(step.at_s), HEIGHT - BELOW);
        let title = escaped(&step.did.join(", "));
        let _ = writeln!(
            svg,
            "<line class=\"step\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{ABOVE}\" y2=\"{below}\"><title>{title}</title></line>"
        );
    }
    for (n, viewer) in outcome.viewers.iter().enumerate() {
        let point = |moment: &Moment| format!("{:.1},{:.1}", x(moment.at_s), y(value(moment)));
        let points: Vec<String> = viewer.moments.iter().map(point).collect();
        let _ = writeln!(svg, "<polyline class=\"{}\" points=\"{}\"/>", curve(n), points.join(" "));
    }
    svg.push_str("</svg>");
    svg
}

/// To the next of 1, 2, 5, 10, 20, …
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}
