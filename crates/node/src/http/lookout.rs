//! Looks at the node's tables while nobody has to ask: every second for the history, more often while pages follow.
//!
//! A page that follows gets whole tables, serialised once for all of them: at once when something changed that can be named (a
//! node, a link, a stream, a parent, a state), and once a second when only numbers did.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use levada_overlay::node::view::View;
use levada_overlay::{LinkId, StreamName};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::Rooms;
use super::api::{self, Streams};
use super::history::History;
use super::neighbours::Neighbours;
use crate::driver::Traffic;
use crate::journal::{Journal, Kind, Note};
use crate::log::StreamLog;
use crate::node::{Node, NodeError};

/// Clients that follow at once; one more is refused.
pub(super) const FOLLOWERS_MAX: usize = 64;
/// Looks while somebody follows. Tuned: what is seen by looking alone, without an event of the brain, is on the page within a
/// second even if a picture of a thousand nodes takes long to make.
const LOOK: Duration = Duration::from_millis(200);
/// Looks that events of the brain bring about are this far apart: one failure makes many.
const LOOK_APART: Duration = Duration::from_millis(50);
/// Pause between two samples of the history, and most between two tables for a page.
pub(super) const SAMPLE: Duration = Duration::from_secs(1);

/// The tables as JSON, each as its own path answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) streams: Arc<str>,
    pub(super) map: Arc<str>,
    pub(super) neighbours: Arc<str>,
}

/// What one look sees.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) view: View,
    pub(super) streams: Streams,
    pub(super) logs: HashMap<StreamName, Arc<StreamLog>>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Lookout {
    tables: watch::Sender<Tables>,
    seats: Arc<Semaphore>,
    links: Mutex<HashMap<LinkId, Measured>>,
    pub(super) history: Mutex<History>,
}

/// How much a link carries.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: Instant,
    traffic: Traffic,
    sent_bps: Option<u64>,
    received_bps: Option<u64>,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self {
            tables: watch::Sender::default(),
            seats: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            links: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// A seat, and the tables as they change; `None`: all seats are taken.
    pub(super) fn follow(&self) -> Option<(OwnedSemaphorePermit, watch::Receiver<Tables>)> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        Some((seat, self.tables.subscribe()))
    }

    /// The tables of the mesh, with what the links of this node carry.
    pub(super) async fn view(&self, node: &Node) -> Result<View, NodeError> {
        let mut view = node.view().await?;
        let links = self.links();
        let mut sent = BTreeMap::new();
        for neighbour in &mut view.neighbours {
            let Some(measured) = neighbour.link.and_then(|link| links.get(&link)) else { continue };
            (neighbour.sent_bps, neighbour.received_bps) = (measured.sent_bps, measured.received_bps);
            sent.insert((view.node.clone(), neighbour.name.clone()), measured.sent_bps);
            sent.insert((neighbour.name.clone(), view.node.clone()), measured.received_bps);
        }
        for link in view.links.iter_mut().filter(|link| link.loss.is_some()) {
            link.bps = sent.get(&(link.from.clone(), link.to.clone())).copied().flatten();
        }
        Ok(view)
    }

    /// Everything at once.
    pub(super) async fn look(&self, rooms: &Rooms) -> Result<Picture, NodeError> {
        let view = self.view(&rooms.node).await?;
        let logs = rooms.node.logs().await?;
        let streams = api::streams_of(rooms, &view, &logs);
        Ok(Picture { view, streams, logs })
    }

    async fn measure(&self, node: &Node) -> Result<(), NodeError> {
        let (traffic, at) = (node.traffic().await?, Instant::now());
        let mut links = self.links();
        let before = std::mem::take(&mut *links);
        *links = traffic
            .into_iter()
            .map(|(link, traffic)| {
                let since = before.get(&link);
                let rate = |of: fn(&Traffic) -> u64| {
                    let before = since.filter(|before| at > before.at)?;
                    let bits = of(&traffic).saturating_sub(of(&before.traffic)) * 8;
                    Some((bits as f64 / (at - before.at).as_secs_f64()) as u64)
                };
                let (sent_bps, received_bps) = (rate(|t| t.sent), rate(|t| t.received));
                (link, Measured { at, traffic, sent_bps, received_bps })
            })
            .collect();
        Ok(())
    }

    fn links(&self) -> MutexGuard<'_, HashMap<LinkId, Measured>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picture {
    /// The tables as they are sent.
    pub(super) fn tables(&self) -> Tables {
        let neighbours = Neighbours { node: self.view.node.clone(), neighbours: self.view.neighbours.clone() };
        Tables { streams: json(&self.streams), map: json(&self.view), neighbours: json(&neighbours) }
    }

    /// Equal as long as nothing changed that can be named.
    fn shape(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for node in &self.view.nodes {
            (&node.name, node.reachable, format!("{:?}", node.roles)).hash(&mut hash);
        }
        self.view.links.iter().for_each(|link| (&link.from, &link.to).hash(&mut hash));
        for neighbour in &self.view.neighbours {
            let kind = format!("{:?}", neighbour.kind);
            (&neighbour.name, neighbour.up, &neighbour.failure, neighbour.in_use, kind).hash(&mut hash);
        }
        for stream in &self.streams.streams {
            (&stream.name, &stream.state, stream.waiting, &stream.origins, &stream.path).hash(&mut hash);
            (&stream.parent, &stream.backup, &stream.children, stream.viewers).hash(&mut hash);
        }
        hash.finish()
    }
}

fn json(table: &impl Serialize) -> Arc<str> {
    // Names and numbers cannot fail.
    serde_json::to_string(table).unwrap_or_default().into()
}

/// Which nodes and streams are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Present {
    nodes: BTreeSet<String>,
    streams: BTreeSet<String>,
}

impl Present {
    fn new(view: &View) -> Self {
        let nodes = view.nodes.iter().filter(|node| node.reachable && node.name != view.node);
        let streams = view.streams.iter().filter(|stream| !stream.origins.is_empty());
        Self {
            nodes: nodes.map(|node| node.name.clone()).collect(),
            streams: streams.map(|stream| stream.name.clone()).collect(),
        }
    }

    /// Notes what came and went.
    fn note_changes(&self, before: &Self, journal: &Journal) {
        for node in self.nodes.difference(&before.nodes) {
            journal.note(Note::new(Kind::NodeUp, format!("node {node} can be reached")).of_node(node));
        }
        for node in before.nodes.difference(&self.nodes) {
            journal.note(Note::new(Kind::NodeDown, format!("node {node} cannot be reached any more")).of_node(node));
        }
        for stream in self.streams.difference(&before.streams) {
            journal.note(Note::new(Kind::StreamNew, format!("{stream}: published")).of_stream(stream));
        }
        for stream in before.streams.difference(&self.streams) {
            journal.note(
                Note::new(Kind::StreamGone, format!("{stream}: no origin can be reached any more")).of_stream(stream),
            );
        }
    }
}

/// Looks until the node stops.
pub(super) async fn watch_tables(rooms: Rooms) {
    let lookout = rooms.lookout.clone();
    let mut journal = rooms.node.journal().follow();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut present, mut shape) = (Present::default(), 0);
    let (mut sample_at, mut pushed_at) = (Instant::now(), Instant::now());
    loop {
        let followed = lookout.tables.receiver_count() > 0;
        tokio::select! {
            _ = ticks.tick() => {}
            // Follows no journal that has ended: the node holds it.
            _ = journal.changed(), if followed => tokio::time::sleep(LOOK_APART).await,
        }
        let sample = Instant::now() >= sample_at;
        if !followed && !sample {
            continue;
        }
        if sample {
            // A machine that slept has no samples of that time.
            sample_at = (sample_at + SAMPLE).max(Instant::now());
            if lookout.measure(&rooms.node).await.is_err() {
                return;
            }
        }
        let Ok(picture) = lookout.look(&rooms).await else { return };
        if sample {
            let mut history = lookout.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.sample(&picture, rooms.node.stats());
        }
        let now = Present::new(&picture.view);
        now.note_changes(&present, rooms.node.journal());
        present = now;
        journal.mark_unchanged();
        let seen = picture.shape();
        if followed && (seen != shape || pushed_at.elapsed() >= SAMPLE) {
            lookout.tables.send_replace(picture.tables());
            (shape, pushed_at) = (seen, Instant::now());
        }
    }
}
