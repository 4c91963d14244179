//! Maps of nodes and links as SVG. Places come from springs (Fruchterman and Reingold, Software: Practice and Experience
//! 21(11), 1991), from the same start every time, so that all maps of a run look alike.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escaped;
use crate::outcome::Picture;

/// Size of a map, in its own units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 360.0;
/// Room for names at the edge.
const MARGIN: f64 = 30.0;
const RADIUS: f64 = 9.0;
/// Rounds of the springs; a hundred nodes have come to rest by then.
const ROUNDS: usize = 400;
/// Colours that the style has for streams.
pub(super) const COLOURS: usize = 6;

type Places = BTreeMap<String, (f64, f64)>;

/// Where nodes are drawn.
pub(super) fn places(picture: &Picture) -> Places {
    let names: Vec<&str> = picture.nodes.iter().map(|node| node.name.as_str()).collect();
    let index = |name: &str| names.iter().position(|known| *known == name);
    let links: Vec<(usize, usize)> = picture
        .links
        .iter()
        .filter(|link| link.planned)
        .filter_map(|link| index(&link.a).zip(index(&link.b)))
        .collect();
    let count = names.len().max(1) as f64;
    let round = |n: usize| std::f64::consts::TAU * n as f64 / count;
    let mut at: Vec<(f64, f64)> = (0..names.len()).map(|n| (round(n).cos(), round(n).sin())).collect();
    let spring = (4.0 / count).sqrt();
    for step in 0..ROUNDS {
        let mut push = vec![(0.0, 0.0); at.len()];
        for a in 0..at.len() {
            for b in 0..a {
                let (dx, dy, distance) = apart(at[a], at[b]);
                let force = spring * spring / distance;
                let (x, y) = (dx / distance * force, dy / distance * force);
                push[a] = (push[a].0 + x, push[a].1 + y);
                push[b] = (push[b].0 - x, push[b].1 - y);
            }
        }
        for &(a, b) in &links {
            let (dx, dy, distance) = apart(at[a], at[b]);
            let force = distance * distance / spring;
            let (x, y) = (dx / distance * force, dy / distance * force);
            push[a] = (push[a].0 - x, push[a].1 - y);
            push[b] = (push[b].0 + x, push[b].1 + y);
        }
        let heat = 0.1 * (1.0 - step as f64 / ROUNDS as f64);
        for (place, push) in at.iter_mut().zip(push) {
            let length = push.0.hypot(push.1).max(1e-9);
            let step = length.min(heat);
            *place = (place.0 + push.0 / length * step, place.1 + push.1 / length * step);
        }
    }
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let values = at.iter().map(of);
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (x, y) = (bounds(|place| place.0), bounds(|place| place.1));
    let scaled = |value: f64, (low, high): (f64, f64), size: f64| {
        if high - low < 1e-6 { size / 2.0 } else { MARGIN + (value - low) / (high - low) * (size - 2.0 * MARGIN) }
    };
    let place = |(name, place): (&&str, &(f64, f64))| {
        ((*name).to_owned(), (scaled(place.0, x, WIDTH), scaled(place.1, y, HEIGHT)))
    };
    names.iter().zip(&at).map(place).collect()
}

/// A map.
pub(super) fn svg(picture: &Picture, places: &Places, streams: &[String]) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"map\">\n<defs>");
    for n in 0..COLOURS {
        let _ = write!(
            svg,
            "<marker id=\"a{n}\" viewBox=\"0 0 6 6\" refX=\"5\" refY=\"3\" markerWidth=\"4\" markerHeight=\"4\" \
             orient=\"auto\"><path d=\"M0 0L6 3L0 6z\" class=\"f{n}\"/></marker>"
        );
    }
    svg.push_str("</defs>\n");
    for link in &picture.links {
        let Some((a, b)) = places.get(&link.a).copied().zip(places.get(&link.b).copied()) else { continue };
        let class = match (link.passes, link.planned) {
            (false, _) => "link cut",
            (true, false) => "link adopted",
            (true, true) => "link",
        };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            a.0, a.1, b.0, b.1
        );
        let flows = [(a, b, &link.carries[0]), (b, a, &link.carries[1])];
        let flows = flows.iter().flat_map(|(from, to, carried)| carried.iter().map(move |name| (*from, *to, name)));
        for (lane, (from, to, name)) in flows.enumerate() {
            svg.push_str(&flow(from, to, lane, colour(name, streams)));
        }
    }
    for node in &picture.nodes {
        let Some((x, y)) = places.get(&node.name) else { continue };
        let mut class = "node".to_owned();
        for (holds, word) in
            [(!node.runs, " dead"), (!node.publishes.is_empty(), " origin"), (!node.watched.is_empty(), " viewer")]
        {
            class.push_str(if holds { word } else { "" });
        }
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            y - RADIUS - 4.0,
            escaped(&node.name)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Which colour is which stream, and what the lines mean.
pub(super) fn legend(streams: &[String]) -> String {
    let item = |name: &String| {
        let class = colour(name, streams);
        format!(
            "<svg style=\"width:1.6rem\" viewBox=\"0 0 24 8\"><line class=\"flow c{class}\" x1=\"0\" y1=\"4\" x2=\"24\" \
                 y2=\"4\"/></svg> {} ",
            escaped(name)
        )
    };
    let items: String = streams.iter().map(item).collect();
    format!(
        "<p class=\"note\">{items}&middot; grey disc: origin &middot; thick ring: watched there &middot; dotted ring: does \
         not run &middot; dashed line: link made for repair &middot; red dots: cut</p>\n"
    )
}

fn flow(from: (f64, f64), to: (f64, f64), lane: usize, colour: usize) -> String {
    let (dx, dy, distance) = apart(to, from);
    let (ux, uy) = (dx / distance, dy / distance);
    // Several streams on a link lie side by side.
    let aside = lane as f64 * 5.0;
    let (sx, sy) = (-uy * aside, ux * aside);
    let (start, end) = (RADIUS + 1.0, (distance - RADIUS - 3.0).max(RADIUS + 2.0));
    format!(
        "<line class=\"flow c{colour}\" marker-end=\"url(#a{colour})\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" \
         y2=\"{:.1}\"/>\n",
        from.0 + ux * start + sx,
        from.1 + uy * start + sy,
        from.0 + ux * end + sx,
        from.1 + uy * end + sy
    )
}

fn colour(stream: &str, streams: &[String]) -> usize {
    streams.iter().position(|known| known == stream).unwrap_or(0) % COLOURS
}

fn apart(a: (f64, f64), b: (f64, f64)) -> (f64, f64, f64) {
    let (dx, dy) = (a.0 - b.0, a.1 - b.1);
    (dx, dy, dx.hypot(dy).max(1e-3))
}
