//! `/metrics` for Prometheus, in its text format, version 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Labels are bounded: streams and neighbours are told one by one up to a number, and how many there are beyond it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use levada_overlay::StreamName;
use levada_overlay::node::view::NeighbourView;

use super::Rooms;
use super::api::{Problem, StreamEntry};
use super::lookout::Picture;
use super::operator::MayLook;
use crate::limits;
use crate::stats::Stats;

/// Streams that are told one by one; of more, the first by name. Tuned: a thousand nodes with so many are a million series,
/// which one Prometheus takes.
const STREAMS_MAX: usize = 200;
/// Neighbours that are told one by one; a mesh node has ten.
const NEIGHBOURS_MAX: usize = 200;

pub(super) async fn metrics(_: MayLook, State(rooms): State<Rooms>) -> Result<impl IntoResponse, Problem> {
    let mut page = Page::default();
    let picture = rooms.lookout.look(&rooms).await?;
    let counters = rooms.node.counters().await?;
    let traffic = rooms.node.traffic().await?;
    node(&mut page, &rooms, &picture, &counters);
    mesh(&mut page, &picture);
    streams(&mut page, &picture);
    let carried = |neighbour: &NeighbourView| neighbour.link.and_then(|link| traffic.get(&link).copied());
    let shown = &picture.view.neighbours[..picture.view.neighbours.len().min(NEIGHBOURS_MAX)];
    let mut each = |name, kind, help, value: &dyn Fn(&NeighbourView) -> Option<f64>| {
        let samples = shown.iter().filter_map(|one| Some((vec![("neighbour", one.name.as_str())], value(one)?)));
        page.family(name, kind, help, samples);
    };
    each("levada_neighbour_up", "gauge", "Whether a link to the neighbour is open.", &|one| Some(f64::from(one.up)));
    each("levada_neighbour_in_use", "gauge", "Whether a tree uses the link.", &|one| Some(f64::from(one.in_use)));
    each("levada_neighbour_rtt_seconds", "gauge", "Smoothed round-trip time.", &|one| seconds(one.rtt_us, 1e6));
    each("levada_neighbour_jitter_seconds", "gauge", "Smoothed lateness of round trips.", &|one| {
        seconds(one.jitter_us, 1e6)
    });
    each("levada_neighbour_loss_ratio", "gauge", "Smoothed share of lost packets.", &|one| one.loss);
    each("levada_neighbour_sent_bytes_total", "counter", "Bytes sent over the link since it came up.", &|one| {
        Some(carried(one)?.sent as f64)
    });
    each(
        "levada_neighbour_received_bytes_total",
        "counter",
        "Bytes received over the link since it came up.",
        &|one| Some(carried(one)?.received as f64),
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0))
}

fn node(page: &mut Page, rooms: &Rooms, picture: &Picture, counters: &levada_overlay::node::Counters) {
    let stats: &Stats = rooms.node.stats();
    let version = vec![("node", rooms.node.name()), ("version", env!("CARGO_PKG_VERSION"))];
    page.family("levada_build_info", "gauge", "Name of the node and version of the program.", [(version, 1.0)]);
    page.one("levada_uptime_seconds", "gauge", "Time since the node started.", rooms.node.uptime().as_secs_f64());
    if let Some(peak) = limits::peak_memory() {
        page.one("levada_memory_peak_bytes", "gauge", "The most memory that the node ever had.", peak as f64);
    }
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    page.one("levada_viewers", "gauge", "Viewers connected now.", get(&stats.viewers));
    for (name, help, value) in [
        ("levada_objects_published_total", "Objects made by the node's own ingest.", get(&stats.published)),
        ("levada_objects_received_total", "Objects received over links.", get(&stats.objects_in)),
        ("levada_objects_received_bytes_total", "Bytes of objects received over links.", get(&stats.bytes_in)),
        ("levada_objects_sent_total", "Objects sent over links.", get(&stats.objects_out)),
        ("levada_objects_sent_bytes_total", "Bytes of objects sent over links.", get(&stats.bytes_out)),
        ("levada_objects_duplicated_total", "Objects received that were held already.", get(&stats.duplicates)),
        ("levada_objects_delivered_total", "Objects read by the node's muxers.", get(&stats.delivered)),
        ("levada_objects_lost_total", "Objects that muxers had to pass over.", get(&stats.lost)),
        ("levada_objects_unplayable_total", "Objects that muxers could not use.", get(&stats.unplayable)),
        (
            "levada_feeds_dropped_total",
            "Groups' layers given up because their deadline had passed.",
            get(&stats.dropped),
        ),
        (
            "levada_connections_refused_total",
            "HTTP connections closed at once, for want of a place.",
            get(&stats.connections_refused),
        ),
        ("levada_parent_switches_total", "Times that a stream got another parent.", counters.switches as f64),
        ("levada_joins_total", "Joins sent.", counters.joins as f64),
        ("levada_joins_refused_total", "Joins sent that were refused.", counters.joins_refused as f64),
        ("levada_refusals_total", "Joins of others that this node refused.", counters.refusals as f64),
        ("levada_records_taken_total", "Records of other nodes taken.", counters.records_taken as f64),
        ("levada_records_refused_total", "Records refused.", counters.records_refused as f64),
        (
            "levada_protocol_errors_total",
            "Messages and media that broke the protocol.",
            counters.protocol_errors as f64 + get(&stats.violations),
        ),
    ] {
        page.one(name, "counter", help, value);
    }
    let quantiles = [("0.5", 0.5), ("0.99", 0.99)];
    let quantiles = quantiles.map(|(label, q)| (label, stats.forward_us.quantile(q)));
    let samples = quantiles.iter().filter_map(|(q, us)| Some((vec![("quantile", *q)], seconds(*us, 1e6)?)));
    let help = "Time from an object's arrival to its hand-over to the next link, of the last thousand.";
    page.family("levada_forward_seconds", "summary", help, samples);
    let load = &picture.view.load;
    page.one("levada_children", "gauge", "Children, over all streams.", load.children as f64);
    page.one("levada_children_max", "gauge", "Most children.", load.children_max as f64);
    page.one("levada_egress_bytes_per_second", "gauge", "What the children take.", load.egress_bps as f64 / 8.0);
    let limit = load.egress_max_bps.map(|bps| (Vec::new(), bps as f64 / 8.0));
    page.family("levada_egress_max_bytes_per_second", "gauge", "Most that they may take, if there is a limit.", limit);
}

fn mesh(page: &mut Page, picture: &Picture) {
    let view = &picture.view;
    let reachable = view.nodes.iter().filter(|node| node.reachable).count();
    let nodes = [("true", reachable), ("false", view.nodes.len() - reachable)];
    let samples = nodes.map(|(label, count)| (vec![("reachable", label)], count as f64));
    page.family("levada_mesh_nodes", "gauge", "Nodes that have a record.", samples);
    page.one("levada_mesh_links", "gauge", "Directions of links that both ends tell of.", view.links.len() as f64);
    let states = ["published", "watched", "passed", "idle"];
    let count = |state: &str| picture.streams.streams.iter().filter(|stream| stream.state == state).count() as f64;
    let samples = states.map(|state| (vec![("state", state)], count(state)));
    page.family("levada_streams", "gauge", "Streams known, by what this node does with them.", samples);
    let told = picture.streams.streams.len().min(STREAMS_MAX);
    let help = "Streams that have no series of their own here, because there are too many.";
    page.one("levada_streams_untold", "gauge", help, (picture.streams.streams.len() - told) as f64);
}

fn streams(page: &mut Page, picture: &Picture) {
    let shown = &picture.streams.streams[..picture.streams.streams.len().min(STREAMS_MAX)];
    let log = |stream: &StreamEntry| StreamName::new(&stream.name).ok().and_then(|name| picture.logs.get(&name));
    let mut each = |name, kind, help, value: &dyn Fn(&StreamEntry) -> Option<f64>| {
        let samples = shown.iter().filter_map(|one| Some((vec![("stream", one.name.as_str())], value(one)?)));
        page.family(name, kind, help, samples);
    };
    each("levada_stream_viewers", "gauge", "Viewers of this node.", &|one| Some(one.viewers as f64));
    each("levada_stream_children", "gauge", "Nodes that this one feeds.", &|one| Some(one.children.len() as f64));
    each("levada_stream_waiting", "gauge", "Whether it is wanted here and no path is known.", &|one| {
        Some(f64::from(one.waiting))
    });
    each("levada_stream_switches_total", "counter", "Times that it got another parent.", &|one| {
        Some(one.switches as f64)
    });
    each(
        "levada_stream_objects_bytes_total",
        "counter",
        "Bytes of its objects that came, or were made here.",
        &|one| Some(log(one)?.stats().bytes as f64),
    );
    each("levada_stream_group_seconds", "gauge", "Length of the newest whole group.", &|one| {
        seconds(one.group_ms, 1e3)
    });
    each(
        "levada_stream_latency_seconds",
        "gauge",
        "From a group's beginning at its origin to here, by both clocks.",
        &|one| one.latency_ms.map(|ms| ms as f64 / 1e3),
    );
    each("levada_stream_newest_age_seconds", "gauge", "Time since the newest object came.", &|one| {
        seconds(one.newest_age_ms, 1e3)
    });
}

fn seconds(count: Option<u64>, per_second: f64) -> Option<f64> {
    count.map(|count| count as f64 / per_second)
}

/// What Prometheus reads.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, [(Vec::new(), value)]);
    }

    /// A metric with all its series; one without any is left out.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_the_format_says() {
        let mut page = Page::default();
        page.one("up_seconds", "gauge", "Time.", 1.5);
        page.family("of", "counter", "Things.", [(vec![("a", "x\"y\\z\n"), ("b", "c")], 3.0)]);
        page.family("nothing", "gauge", "Nobody.", []);
        let text = "# HELP up_seconds Time.\n# TYPE up_seconds gauge\nup_seconds 1.5\n\
                    # HELP of Things.\n# TYPE of counter\nof{a=\"x\\\"y\\\\z\\n\",b=\"c\"} 3\n";
        assert_eq!(page.0, text);
    }
}
