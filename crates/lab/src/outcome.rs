//! What came of a run: for people, for programs (JSON), and for the report.

use std::fmt::Write as _;

use serde::Serialize;

use crate::mesh::Mesh;
use crate::state::Snapshot;
pub use crate::viewers::{Latency, Moment};

/// The whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// What it was to show.
    pub about: String,
    /// Where the nodes were.
    pub mode: String,
    /// Whether all that was expected was seen, and nothing failed besides.
    pub passed: bool,
    /// Seconds it took.
    pub took_s: f64,
    /// The script, as far as it came.
    pub steps: Vec<StepOutcome>,
    /// What was expected of the whole run.
    pub always: Vec<Verdict>,
    /// Processes that ended by themselves, and errors that nodes logged.
    pub troubles: Vec<String>,
    /// What viewers saw.
    pub viewers: Vec<ViewerOutcome>,
}

/// A step of the script.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StepOutcome {
    /// What happens.
    pub about: String,
    /// What was done.
    pub did: Vec<String>,
    /// Seconds since the lab began.
    pub at_s: f64,
    /// Until all that was expected had come true, milliseconds.
    pub took_ms: f64,
    /// What was expected.
    pub verdicts: Vec<Verdict>,
    /// How all was before.
    pub before: Picture,
    /// How all was afterwards.
    pub after: Picture,
}

/// An expectation and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether that fits.
    pub passed: bool,
}

/// Nodes and links at one time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Picture {
    /// In the order of the file.
    pub nodes: Vec<PictureNode>,
    /// Those of the file, and those that were adopted.
    pub links: Vec<PictureLink>,
}

/// A node of a picture.
#[derive(Clone, Debug, Serialize)]
pub struct PictureNode {
    /// Its name.
    pub name: String,
    /// Whether it ran.
    pub runs: bool,
    /// Streams that it published.
    pub publishes: Vec<String>,
    /// Streams that somebody watched there.
    pub watched: Vec<String>,
}

/// A link of a picture.
#[derive(Clone, Debug, Serialize)]
pub struct PictureLink {
    /// One end.
    pub a: String,
    /// The other.
    pub b: String,
    /// Whether packets passed.
    pub passes: bool,
    /// Whether it was in the file.
    pub planned: bool,
    /// Streams from `a` to `b`, then from `b` to `a`.
    pub carries: [Vec<String>; 2],
}

/// What a viewer saw over the run.
#[derive(Clone, Debug, Serialize)]
pub struct ViewerOutcome {
    /// Where it watched.
    pub node: String,
    /// What.
    pub stream: String,
    /// Times that it had to connect.
    pub connections: usize,
    /// Frames that never came, of both tracks.
    pub lost: u64,
    /// Frames that came twice.
    pub doubled: u64,
    /// The longest pause between pictures, less the frame interval.
    pub gap_ms: f64,
    /// From the source; only in labs that expect something of it.
    pub latency_ms: Option<Latency>,
    /// Second by second.
    pub moments: Vec<Moment>,
}

impl Outcome {
    /// What was expected and not seen, and what failed besides; one line each.
    pub fn failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let unmet = |verdict: &&Verdict| !verdict.passed;
        for (n, step) in self.steps.iter().enumerate() {
            let did = if step.did.is_empty() { String::new() } else { format!(" ({})", step.did.join(", ")) };
            let lines_of = step.verdicts.iter().filter(unmet);
            lines.extend(lines_of.map(|v| format!("step {}{did}: expected {}; seen: {}", n + 1, v.expected, v.seen)));
        }
        lines.extend(
            self.always.iter().filter(unmet).map(|v| format!("always expected {}; seen: {}", v.expected, v.seen)),
        );
        lines.extend(self.troubles.iter().cloned());
        lines
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("in {}\n", self.mode);
        for (n, step) in self.steps.iter().enumerate() {
            let did = if step.did.is_empty() { "look".to_owned() } else { step.did.join(", ") };
            let _ = writeln!(
                text,
                "{:>2}. {:>6.1} s  {did}  [{:.1} s]  {}",
                n + 1,
                step.at_s,
                step.took_ms / 1e3,
                step.about
            );
            for verdict in &step.verdicts {
                let sign = if verdict.passed { "+" } else { "!" };
                let _ = writeln!(text, "      {sign} {}: {}", verdict.expected, verdict.seen);
            }
        }
        for verdict in &self.always {
            let sign = if verdict.passed { "+" } else { "!" };
            let _ = writeln!(text, "always {sign} {}: {}", verdict.expected, verdict.seen);
        }
        for viewer in &self.viewers {
            let _ = write!(
                text,
                "{} at {}: {} lost, {} doubled, longest gap {:.0} ms, connected {} times",
                viewer.stream, viewer.node, viewer.lost, viewer.doubled, viewer.gap_ms, viewer.connections
            );
            if let Some(Latency { p50, p99, max }) = viewer.latency_ms {
                let _ = write!(text, ", latency {p50:.0} ms (p99 {p99:.0}, at most {max:.0})");
            }
            text.push('\n');
        }
        text
    }
}

impl Picture {
    pub(crate) fn of(mesh: &Mesh, snapshot: &Snapshot) -> Self {
        let lab = mesh.lab();
        let watched = |node: &str| {
            let here = mesh.viewers.iter().filter(|(id, viewer)| id.0 == node && viewer.since.is_some());
            here.map(|(id, _)| id.1.to_string()).collect::<Vec<_>>()
        };
        let published = |node: &str| {
            let streams = snapshot.nodes.get(node).map(|node| node.map.streams.as_slice()).unwrap_or_default();
            let own = streams.iter().filter(|stream| stream.state == "published");
            own.map(|stream| stream.name.clone()).collect()
        };
        let node = |name: &String| {
            let watched = watched(name);
            let runs = if lab.leaves.contains(name) { !watched.is_empty() } else { mesh.runs(name) };
            PictureNode { name: name.clone(), runs, publishes: published(name), watched }
        };
        let carries = |a: &str, b: &str| {
            let own =
                |from: &str, to: &str| snapshot.feeds(from, to).into_iter().map(str::to_owned).collect::<Vec<_>>();
            [own(a, b), own(b, a)]
        };
        let link = |link: &crate::file::Link| PictureLink {
            a: link.a.clone(),
            b: link.b.clone(),
            passes: mesh.passes(&link.a, &link.b),
            planned: true,
            carries: carries(&link.a, &link.b),
        };
        let mut links: Vec<PictureLink> = lab.links.iter().map(link).collect();
        for (from, state) in &snapshot.nodes {
            for neighbour in state.map.neighbours.iter().filter(|neighbour| neighbour.up) {
                let (a, b) = (from.as_str(), neighbour.name.as_str());
                let known = |link: &PictureLink| (link.a == a && link.b == b) || (link.a == b && link.b == a);
                if lab.nodes.iter().any(|name| name == b) && !links.iter().any(known) {
                    let (a, b, carries) = (a.to_owned(), b.to_owned(), carries(a, b));
                    links.push(PictureLink { a, b, passes: true, planned: false, carries });
                }
            }
        }
        Self { nodes: lab.nodes.iter().map(node).collect(), links }
    }
}
