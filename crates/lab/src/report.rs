//! The report of a run: one HTML page that needs nothing else, with a map before and after every step, and what each
//! viewer saw over time.

mod map;
mod plot;

use std::fmt::Write as _;

use crate::outcome::{Outcome, StepOutcome, Verdict};

const STYLE: &str = include_str!("report/style.css");

/// The page.
pub fn html(outcome: &Outcome, title: &str) -> String {
    let mut page = String::new();
    let title = escaped(title);
    let result = if outcome.passed { "passed" } else { "failed" };
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: {result}</title>\n<meta \
         name=\"viewport\" content=\"width=device-width\"><style>\n{STYLE}</style></head><body>\n<h1>{title} <span \
         class=\"{result}\">{result}</span></h1>\n<p>{}</p>\n<p class=\"note\">{}; {:.1} s</p>\n",
        escaped(&outcome.about),
        escaped(&outcome.mode),
        outcome.took_s
    );
    let failures = outcome.failures();
    if !failures.is_empty() {
        let items: String = failures.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
        let _ = write!(page, "<h2>What failed</h2>\n<ul class=\"failed\">\n{items}</ul>\n");
    }
    if let Some((first, last)) = outcome.steps.first().zip(outcome.steps.last()) {
        let places = map::places(&last.after);
        let streams = streams(outcome);
        let _ = write!(page, "<h2>Before and after</h2>\n{}", map::legend(&streams));
        let figure = |picture, caption: &str| {
            format!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", map::svg(picture, &places, &streams))
        };
        let _ = write!(
            page,
            "<div class=\"pair\">{}{}</div>\n<h2>Step by step</h2>\n",
            figure(&first.before, "before the first step"),
            figure(&last.after, "after the last")
        );
        for (n, step) in outcome.steps.iter().enumerate() {
            let _ = writeln!(page, "{}{}</section>", heading(n, step), figure(&step.after, "afterwards"));
        }
    }
    if !outcome.always.is_empty() {
        let _ = write!(page, "<h2>Over the whole run</h2>\n{}", verdicts(&outcome.always));
    }
    let _ = write!(page, "<h2>What viewers saw</h2>\n{}", plot::viewers(outcome));
    page.push_str("</body></html>\n");
    page
}

fn heading(n: usize, step: &StepOutcome) -> String {
    let did = if step.did.is_empty() { "nothing is done".to_owned() } else { step.did.join(", ") };
    let passed = step.verdicts.iter().all(|verdict| verdict.passed);
    format!(
        "<section><div><h3>{}. {}</h3>\n<p class=\"note\">at {:.1} s: <code>{}</code>; {} after {:.1} s</p>\n{}</div>\n",
        n + 1,
        escaped(&step.about),
        step.at_s,
        escaped(&did),
        if passed { "all was as expected" } else { "given up" },
        step.took_ms / 1e3,
        verdicts(&step.verdicts)
    )
}

fn verdicts(verdicts: &[Verdict]) -> String {
    let row = |verdict: &Verdict| {
        let class = if verdict.passed { "passed" } else { "failed" };
        format!(
            "<tr><td class=\"{class}\">{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
            if verdict.passed { "yes" } else { "no" },
            escaped(&verdict.expected),
            escaped(&verdict.seen)
        )
    };
    let rows: String = verdicts.iter().map(row).collect();
    format!("<table><tr><th></th><th>expected</th><th>seen</th></tr>\n{rows}</table>\n")
}

/// All streams of the run, in an order that gives each its colour.
fn streams(outcome: &Outcome) -> Vec<String> {
    let mut names: Vec<String> = outcome.viewers.iter().map(|viewer| viewer.stream.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Text as HTML and SVG take it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Moment, Picture, PictureLink, PictureNode, ViewerOutcome};

    #[test]
    fn the_page_shows_maps_and_plots_and_escapes_what_it_shows() {
        let node =
            |name: &str, runs| PictureNode { name: name.to_owned(), runs, publishes: Vec::new(), watched: Vec::new() };
        let carries = [vec!["cam".to_owned()], Vec::new()];
        let link = PictureLink { a: "s1".to_owned(), b: "n1".to_owned(), passes: true, planned: true, carries };
        let picture = Picture { nodes: vec![node("s1", true), node("n1", false)], links: vec![link] };
        let verdict = Verdict { expected: "gap < 1s".to_owned(), seen: "2 s".to_owned(), passed: false };
        let step =
            StepOutcome { after: picture.clone(), before: picture, verdicts: vec![verdict], ..StepOutcome::default() };
        let moment = |at_s| Moment { at_s, gap_ms: 3.0, late_ms: 1.0, bitrate_bps: 6e5 };
        let viewer = ViewerOutcome {
            node: "n1".to_owned(),
            stream: "cam".to_owned(),
            connections: 1,
            lost: 0,
            doubled: 0,
            gap_ms: 3.0,
            latency_ms: Some(Latency { p50: 30.0, p99: 87.0, max: 90.0 }),
            moments: vec![moment(0.0), moment(1.0)],
        };
        let outcome = Outcome { steps: vec![step], viewers: vec![viewer; 7], ..Outcome::default() };
        let page = html(&outcome, "a<b");
        assert!(page.contains("a&lt;b") && page.contains("gap &lt; 1s") && !page.contains("gap < 1s"));
        assert!(page.matches("<svg").count() >= 6, "three maps and three plots");
        assert!(page.contains(">s1</text>") && page.contains("class=\"node dead\""));
        assert!(page.contains("<td>30 ms</td><td>87 ms</td>"), "latency in the table");
        assert!(page.contains("plot c0 d0") && page.contains("plot c0 d1"), "seven viewers can be told apart");
        assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from elsewhere");
    }
}
