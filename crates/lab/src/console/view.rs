//! What the page shows of the lab: nodes, links and what they do, trees, viewers; put together from what the lab did and
//! what the nodes say.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use levada_overlay::StreamName;
use levada_sim::{Impairment, units};
use serde::Serialize;

use super::Desk;
use super::journal::{Journal, Kind};
use crate::mesh::{Condition, Mesh};
use crate::state::{Lookout, Snapshot};
use crate::viewers::{Flow, Gauge, Tally, ViewerId};

/// Traffic is counted over at least this long.
const WINDOW: Duration = Duration::from_secs(1);

/// What the lab knows without asking a node.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) lookout: Lookout,
    conditions: Vec<(String, Condition)>,
    links: Vec<Planned>,
    viewers: Vec<(ViewerId, Gauge)>,
    /// Nodes by the names that their leaves have in the mesh.
    identities: BTreeMap<String, String>,
    /// The command that is being carried out.
    doing: Option<String>,
}

#[derive(Debug)]
struct Planned {
    a: String,
    b: String,
    usual: Impairment,
    there: (Impairment, bool),
    back: (Impairment, bool),
}

/// All that the page shows.
#[derive(Debug, Serialize)]
pub(super) struct View {
    about: String,
    mode: String,
    doing: Option<String>,
    nodes: Vec<NodeView>,
    links: Vec<LinkView>,
    streams: Vec<StreamView>,
    viewers: Vec<ViewerView>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    name: String,
    leaf: bool,
    pop: bool,
    state: Condition,
    /// Whether it said how it fares.
    answers: bool,
    page: Option<String>,
    /// Streams that it published when it last said.
    publishes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LinkView {
    a: String,
    b: String,
    /// Of the file, and not one that nodes made for repair.
    planned: bool,
    /// What the file lets it do.
    usual: Option<Doing>,
    there: DirectionView,
    back: DirectionView,
}

#[derive(Debug, Serialize)]
struct DirectionView {
    cut: bool,
    #[serde(flatten)]
    doing: Option<Doing>,
    /// What is sent into it, bits a second.
    sent_bps: Option<u64>,
    /// Round-trip time, as the sending end measures it.
    rtt_ms: Option<f64>,
}

/// What one direction does to packets.
#[derive(Debug, Serialize)]
struct Doing {
    delay_ms: f64,
    jitter_ms: f64,
    /// Whether jitter may change the order of packets.
    reorder: bool,
    /// A share, 0 to 1.
    loss: f64,
    /// As the notation has it: `1%,20%,50%`.
    burst: Option<String>,
    rate_bps: Option<u64>,
    /// Bytes that may wait where there is a rate, as the notation has it: `250kB`.
    queue: Option<String>,
}

#[derive(Debug, Serialize)]
struct StreamView {
    name: String,
    /// Nodes that publish it.
    origins: Vec<String>,
    nodes: Vec<PlaceView>,
}

/// What a stream is at one node.
#[derive(Debug, Serialize)]
struct PlaceView {
    node: String,
    parent: Option<String>,
    backup: Option<String>,
    children: Vec<String>,
    waiting: bool,
    /// Fed no more than headers, so that it can stand by for another.
    headers: bool,
    switches: u64,
}

#[derive(Debug, Serialize)]
struct ViewerView {
    node: String,
    stream: String,
    state: Flow,
    gap_ms: u64,
    lost: u64,
    doubled: u64,
}

/// Bytes sent so far from one node to another.
type Sent = BTreeMap<(String, String), u64>;

/// Looks, and remembers what it saw to tell what is new.
#[derive(Debug, Default)]
pub(super) struct Looker {
    sent: VecDeque<(Instant, Sent)>,
    /// By node.
    published: BTreeMap<String, Vec<String>>,
    /// Of every viewer, told apart by when it began.
    viewers: BTreeMap<(ViewerId, Instant), (Tally, Option<Flow>)>,
    /// By stream and node.
    parents: BTreeMap<(String, String), Option<String>>,
}

impl Facts {
    pub(super) fn of(mesh: &Mesh, conditions: Vec<(String, Condition)>, doing: Option<String>) -> Self {
        let planned = |link: &crate::file::Link| {
            let of = |from: &str, to: &str| mesh.direction(from, to).unwrap_or((link.impairment.clone(), false));
            let (there, back) = (of(&link.a, &link.b), of(&link.b, &link.a));
            Planned { a: link.a.clone(), b: link.b.clone(), usual: link.impairment.clone(), there, back }
        };
        let gauges = mesh.viewers.iter().filter_map(|(id, viewer)| Some((id.clone(), viewer.gauge()?)));
        let identity = |(id, viewer): &(ViewerId, crate::viewers::Viewer)| {
            viewer.leaf.as_ref().map(|(_, name)| (name.clone(), id.0.clone()))
        };
        Self {
            lookout: mesh.lookout(),
            conditions,
            links: mesh.lab().links.iter().map(planned).collect(),
            viewers: gauges.collect(),
            identities: mesh.viewers.iter().filter_map(identity).collect(),
            doing,
        }
    }

    fn node<'a>(&'a self, identity: &'a str) -> &'a str {
        self.identities.get(identity).map_or(identity, String::as_str)
    }
}

impl Looker {
    pub(super) fn look(&mut self, desk: &Desk, facts: &Facts) -> View {
        let snapshot = facts.lookout.look();
        self.sent.push_back((snapshot.at, snapshot.sent.clone()));
        while self.sent.get(1).is_some_and(|(at, _)| snapshot.at.saturating_duration_since(*at) >= WINDOW) {
            self.sent.pop_front();
        }
        let streams = streams(desk, facts, &snapshot);
        for (name, state) in &snapshot.nodes {
            let own = state.map.streams.iter().filter(|stream| stream.state == "published");
            self.published.insert(name.clone(), own.map(|stream| stream.name.clone()).collect());
        }
        self.tell_parents(desk, facts, &snapshot, &streams);
        View {
            about: desk.lab.about.clone(),
            mode: desk.mode.clone(),
            doing: facts.doing.clone(),
            nodes: facts.conditions.iter().map(|(name, state)| self.node(desk, name, *state, &snapshot)).collect(),
            links: self.links(desk, facts, &snapshot),
            streams,
            viewers: self.viewers(facts, &desk.journal),
        }
    }

    fn node(&self, desk: &Desk, name: &str, state: Condition, snapshot: &Snapshot) -> NodeView {
        let leaf = desk.lab.leaves.contains(name);
        NodeView {
            name: name.to_owned(),
            leaf,
            pop: desk.lab.pops.iter().any(|pop| pop == name),
            state,
            answers: if leaf { state == Condition::Running } else { snapshot.nodes.contains_key(name) },
            page: desk.pages.get(name).cloned(),
            publishes: self.published.get(name).cloned().unwrap_or_default(),
        }
    }

    fn links(&self, desk: &Desk, facts: &Facts, snapshot: &Snapshot) -> Vec<LinkView> {
        let direction = |from: &str, to: &str, does: Option<&(Impairment, bool)>| DirectionView {
            cut: does.is_some_and(|(_, cut)| *cut),
            doing: does.map(|(impairment, _)| Doing::of(impairment)),
            sent_bps: self.rate(from, to, snapshot),
            rtt_ms: rtt_ms(from, to, snapshot),
        };
        let planned = |link: &Planned| LinkView {
            a: link.a.clone(),
            b: link.b.clone(),
            planned: true,
            usual: Some(Doing::of(&link.usual)),
            there: direction(&link.a, &link.b, Some(&link.there)),
            back: direction(&link.b, &link.a, Some(&link.back)),
        };
        let mut links: Vec<LinkView> = facts.links.iter().map(planned).collect();
        for (a, state) in &snapshot.nodes {
            for neighbour in state.map.neighbours.iter().filter(|neighbour| neighbour.up) {
                let b = facts.node(&neighbour.name);
                let known = |link: &LinkView| (link.a == *a && link.b == b) || (link.a == b && link.b == *a);
                if desk.lab.nodes.iter().any(|name| name == b) && !links.iter().any(known) {
                    let (there, back) = (direction(a, b, None), direction(b, a, None));
                    links.push(LinkView { a: a.clone(), b: b.to_owned(), planned: false, usual: None, there, back });
                }
            }
        }
        links
    }

    /// To the next kbit/s: less is no news.
    fn rate(&self, from: &str, to: &str, snapshot: &Snapshot) -> Option<u64> {
        let ends = (from.to_owned(), to.to_owned());
        let (then, before) = self.sent.front()?;
        let sent = snapshot.sent.get(&ends)?.saturating_sub(*before.get(&ends)?);
        let seconds = snapshot.at.saturating_duration_since(*then).as_secs_f64();
        (seconds > 0.0).then(|| (sent as f64 * 8.0 / seconds / 1e3).round() as u64 * 1_000)
    }

    fn viewers(&mut self, facts: &Facts, journal: &Journal) -> Vec<ViewerView> {
        let now = Instant::now();
        let mut kept = BTreeMap::new();
        let mut shown = Vec::new();
        for (id, gauge) in &facts.viewers {
            let key = (id.clone(), gauge.since());
            let (so_far, before) = self.viewers.remove(&key).unwrap_or_default();
            let (tally, state) = (gauge.count(so_far, now), gauge.flow(now));
            let (node, stream) = (id.0.clone(), id.1.to_string());
            match (before, state) {
                (Some(Flow::Flowing | Flow::Late), Flow::Waiting) => {
                    journal.add(Kind::Waits, format!("{node} has no pictures of {stream}"), None);
                }
                (Some(Flow::Waiting), Flow::Flowing | Flow::Late) => {
                    let text = format!("{node} has pictures of {stream}; longest gap so far {:.0} ms", tally.gap_ms);
                    journal.add(Kind::Served, text, None);
                }
                _ => {}
            }
            shown.push(ViewerView {
                node,
                stream,
                state,
                gap_ms: tally.gap_ms.round() as u64,
                lost: tally.faults.lost,
                doubled: tally.faults.doubled,
            });
            kept.insert(key, (tally, Some(state)));
        }
        self.viewers = kept;
        shown
    }

    /// Tells of every node that is fed by another than before, and why, if the node says so.
    fn tell_parents(&mut self, desk: &Desk, facts: &Facts, snapshot: &Snapshot, streams: &[StreamView]) {
        let mut now = BTreeMap::new();
        for stream in streams {
            for place in &stream.nodes {
                now.insert((stream.name.clone(), place.node.clone()), place.parent.clone());
            }
        }
        for ((stream, node), parent) in &now {
            let before = self.parents.get(&(stream.clone(), node.clone())).cloned().flatten();
            if *parent != before {
                let of = streams.iter().find(|known| known.name == *stream);
                let stands_by = of.is_some_and(|of| of.nodes.iter().any(|place| place.node == *node && place.headers));
                let change = Change { stream, node, before: before.as_deref(), parent: parent.as_deref(), stands_by };
                desk.journal.add(Kind::Parent, change.told(&facts.lookout), None);
            }
        }
        // Who does not answer this once has not lost its parent.
        let silent =
            |(_, node): &(String, String)| !snapshot.nodes.contains_key(node) && !desk.lab.leaves.contains(node);
        let dead = |node: &str| facts.conditions.iter().any(|(name, state)| name == node && *state == Condition::Dead);
        let last = std::mem::take(&mut self.parents);
        for (key, parent) in last.into_iter().filter(|(key, _)| silent(key) && !dead(&key.1)) {
            now.entry(key).or_insert(parent);
        }
        self.parents = now;
    }
}

/// That a node gets a stream from another than before.
struct Change<'a> {
    stream: &'a str,
    node: &'a str,
    before: Option<&'a str>,
    parent: Option<&'a str>,
    /// It gets headers only.
    stands_by: bool,
}

impl Change<'_> {
    /// In words, with the cause that the node names.
    fn told(&self, lookout: &Lookout) -> String {
        let Self { stream, node, .. } = self;
        let text = match (self.before, self.parent) {
            (None, Some(parent)) if self.stands_by => format!("{node} follows {stream} at {parent}, to stand by"),
            (None, Some(parent)) => format!("{node} is fed {stream} by {parent}"),
            (Some(before), Some(parent)) => format!("{node} is fed {stream} by {parent}, before by {before}"),
            (_, None) => return format!("{node} is not fed {stream} any more"),
        };
        let switches = StreamName::new(stream).ok().and_then(|name| lookout.switches(node, &name));
        match switches.and_then(|switches| switches.into_iter().next()) {
            Some(last) => format!("{text}: {}", last.cause),
            None => text,
        }
    }
}

impl Doing {
    fn of(impairment: &Impairment) -> Self {
        let ms = |time: Duration| time.as_micros() as f64 / 1e3;
        Self {
            delay_ms: ms(impairment.delay),
            jitter_ms: ms(impairment.jitter),
            reorder: impairment.reorder,
            loss: impairment.loss,
            burst: impairment.burst.map(|burst| burst.to_string()),
            rate_bps: impairment.rate,
            queue: impairment.rate.map(|_| units::show_bytes(impairment.queue)),
        }
    }
}

fn streams(desk: &Desk, facts: &Facts, snapshot: &Snapshot) -> Vec<StreamView> {
    let stream = |name: &StreamName| {
        let (mut origins, mut places) = (Vec::new(), Vec::new());
        for node in snapshot.nodes.keys() {
            let Some(known) = snapshot.stream(node, name) else { continue };
            if known.state == "published" {
                origins.push(node.clone());
            }
            let own = |identity: &String| facts.node(identity).to_owned();
            if known.state != "idle" || known.waiting || known.parent.is_some() || !known.children.is_empty() {
                places.push(PlaceView {
                    node: node.clone(),
                    parent: known.parent.clone(),
                    backup: known.backup.clone(),
                    children: known.children.iter().map(own).collect(),
                    waiting: known.waiting,
                    headers: known.state == "idle" && !known.waiting,
                    switches: known.switches,
                });
            }
        }
        // Leaves have no API: who feeds them tells.
        for (identity, node) in &facts.identities {
            let watches = facts.viewers.iter().any(|((at, what), _)| at == node && what == name);
            let parent = snapshot.feeders(identity, name).first().map(|parent| (*parent).to_owned());
            if watches && (parent.is_some() || identity == node) && !places.iter().any(|place| place.node == *node) {
                let (node, waiting) = (node.clone(), parent.is_none());
                let (backup, children) = (None, Vec::new());
                places.push(PlaceView { node, parent, backup, children, waiting, headers: false, switches: 0 });
            }
        }
        StreamView { name: name.to_string(), origins, nodes: places }
    };
    desk.lab.streams.iter().map(|known| stream(&known.name)).collect()
}

/// To a tenth: less is no news.
fn rtt_ms(from: &str, to: &str, snapshot: &Snapshot) -> Option<f64> {
    let links = snapshot.nodes.get(from).or_else(|| snapshot.nodes.get(to))?.map.links.iter();
    let link = links.into_iter().find(|link| link.from == from && link.to == to)?;
    Some((link.rtt_us as f64 / 100.0).round() / 10.0)
}
