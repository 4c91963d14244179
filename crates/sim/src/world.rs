//! The world: virtual time, nodes, links, and what becomes of them.

mod driver;
mod faults;
mod measure;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use levada_overlay::{
    Config, Credential, FeedId, Input, Message, Neighbour, Node, NodeId, Position, Resume, StreamFacts, StreamName,
    Time,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::checkers::{
    Bounds, Copies, Costs, Delivery, NodeIndex, Progress, StreamIndex, Switches, Traffic, Violation,
};
use crate::clock::Clock;
use crate::held::{made_at, number, position};
use crate::keys::HashKeys;
use crate::link::{Impairment, Wire};
use crate::queue::Queue;
use crate::water::{Flow, OBJECT_INTERVAL, Water};

use network::Connection;

/// Bits a second of a stream that says nothing else: a broadcast of 1080p, as encoders are usually set.
pub const BITRATE_DEFAULT: u64 = 4_000_000;

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything left to chance follows from it.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// Who is whose neighbour.
    pub links: Vec<(usize, usize)>,
    /// Pairs that are no neighbours, but can reach each other if they learn of each other.
    pub strangers: Vec<(usize, usize)>,
    /// Most children of a node.
    pub children_max: usize,
    /// Objects that the log of a node keeps.
    pub keep: usize,
    /// What links do, in the order of `links`: from the first to the second, and back. Those without an entry have a
    /// delay left to chance.
    pub impairments: Vec<[Impairment; 2]>,
    /// One-way delay of such a link is chosen from this range, microseconds.
    pub delay_us: (u64, u64),
    /// Each of its packets takes up to this share of the delay longer.
    pub jitter: f64,
    /// Nodes that are not started with the others.
    pub late: BTreeSet<usize>,
    /// Whether each node has a clock of its own, which drifts.
    pub own_clocks: bool,
    /// Whether control messages are handed over as they are instead of through the codec: faster, for large worlds.
    pub pass_values: bool,
    /// Bits a second of streams, by name; others take [`BITRATE_DEFAULT`].
    pub bitrates: BTreeMap<StreamName, u64>,
    /// A mutation, for negative controls: water that reports any object of a candidate as newer.
    pub naive_commit: bool,
}

impl Settings {
    /// Links of 1 to 40 ms with little jitter, streams of 4 Mbit/s.
    pub fn new(seed: u64, nodes: usize, links: Vec<(usize, usize)>) -> Self {
        Self {
            seed,
            nodes,
            links,
            strangers: Vec::new(),
            children_max: 1_000,
            keep: crate::water::KEEP,
            impairments: Vec::new(),
            delay_us: (1_000, 40_000),
            jitter: 0.05,
            late: BTreeSet::new(),
            own_clocks: true,
            pass_values: false,
            bitrates: BTreeMap::new(),
            naive_commit: false,
        }
    }
}

/// What a node has of one stream.
#[derive(Default)]
struct Local {
    water: Option<Box<Water>>,
    /// Somebody reads it here, since then.
    subscribed: Option<Time>,
    published: Option<Publication>,
}

/// A broadcast under way.
#[derive(Clone, Copy)]
struct Publication {
    timeline: u64,
    /// Number of the next object.
    next: u64,
    /// Nothing comes from the encoder before this.
    paused_until: Time,
}

struct SimNode {
    brain: Option<Node>,
    clock: Clock,
    lives: u32,
    wake_at: Time,
    streams: Vec<Local>,
    /// The process stands still: what comes in the meantime.
    stalled: Option<Vec<Happening>>,
    /// Its neighbours, and the wire to each.
    links: Vec<(NodeIndex, u32)>,
    connections: Vec<u32>,
}

impl SimNode {
    /// Whether it runs and handles what comes.
    fn works(&self) -> bool {
        self.brain.is_some() && self.stalled.is_none()
    }
}

/// A control message on its way.
#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    Value(Box<Message>),
}

/// An object on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    stream: StreamIndex,
    feed: FeedId,
    position: Position,
    bytes: u64,
}

/// Where something arrives: one end of a connection.
type End = u8;

#[derive(Debug)]
enum Happening {
    Wake {
        node: NodeIndex,
    },
    Dialed {
        from: NodeIndex,
        to: NodeIndex,
        lives: u32,
    },
    DialFailed {
        from: NodeIndex,
        to: Option<NodeIndex>,
        lives: u32,
    },
    Control {
        connection: u32,
        end: End,
        parcel: Parcel,
    },
    /// A probe is back.
    Echo {
        connection: u32,
        end: End,
        nonce: u64,
    },
    /// A probe that its receiver, standing still, has yet to send back.
    Reflect {
        connection: u32,
        end: End,
        nonce: u64,
    },
    Object {
        connection: u32,
        end: End,
        object: Sent,
    },
    /// A shadow: how far a parent is.
    Front {
        connection: u32,
        end: End,
        stream: StreamIndex,
        feed: FeedId,
        front: Resume,
    },
    /// Somebody looks whether a feed keeps up.
    Look {
        node: NodeIndex,
        stream: StreamIndex,
        lives: u32,
    },
    Closed {
        connection: u32,
        end: End,
    },
    /// What waited for a link to heal is sent again.
    Unblock {
        connection: u32,
        from: End,
    },
    Produce {
        node: NodeIndex,
        stream: StreamIndex,
        lives: u32,
    },
    /// The transport says what it counted.
    Count {
        node: NodeIndex,
        lives: u32,
    },
}

/// A mesh in virtual time.
pub struct World {
    settings: Settings,
    rng: SmallRng,
    now: Time,
    queue: Queue<Happening>,
    nodes: Vec<SimNode>,
    streams: Vec<StreamName>,
    /// Wire 2n leads along link n, wire 2n + 1 back.
    wires: Vec<Wire>,
    connections: Vec<Connection>,
    /// Space for what flows, kept.
    flowing: Vec<Flow>,
    copies: Copies,
    delivery: Delivery,
    switches: Switches,
    progress: Progress,
    costs: Costs,
    traffic: Traffic,
    bounds: Bounds,
    /// Loops that were closed.
    pub loops: u64,
    /// Objects that travelled over links.
    pub objects_moved: u64,
    /// How often shadows were told how far a parent is.
    pub fronts_moved: u64,
    /// Objects that came to a node that held them.
    pub duplicates: u64,
    /// Events handled.
    pub events: u64,
    /// Hash over all events in their order: equal for equal runs.
    pub trace: u64,
    written: Option<Box<dyn std::io::Write>>,
    violations: Vec<Violation>,
    remarks: Vec<String>,
}

/// Violations kept in full; a broken world makes millions.
const VIOLATIONS_MAX: usize = 100;

fn name_of(node: NodeIndex) -> String {
    format!("n{node}")
}

/// The node of that name.
fn named(name: &str) -> Option<NodeIndex> {
    name.strip_prefix('n')?.parse().ok()
}

fn id_of(node: NodeIndex) -> NodeId {
    // Spread over the buckets, and not in the order of numbers.
    let mut id = [0; 32];
    id[..8].copy_from_slice(&((u64::from(node) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    id[24..].copy_from_slice(&u64::from(node).to_be_bytes());
    NodeId(id)
}

fn node_of(id: NodeId) -> NodeIndex {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&id.0[28..]);
    NodeIndex::from_be_bytes(bytes)
}

impl World {
    /// Makes the world and starts all nodes but the late ones.
    pub fn new(settings: Settings) -> Self {
        let mut rng = SmallRng::seed_from_u64(settings.seed);
        let mut links = BTreeMap::new();
        for (index, &(a, b)) in settings.links.iter().chain(&settings.strangers).enumerate() {
            let [mut there, mut back] = settings.impairments.get(index).cloned().unwrap_or_else(|| {
                let delay_us = rng.random_range(settings.delay_us.0..=settings.delay_us.1);
                let jitter = Duration::from_micros((delay_us as f64 * settings.jitter) as u64);
                let impairment = Impairment::new(Duration::from_micros(delay_us), jitter);
                [impairment.clone(), impairment]
            });
            if a > b {
                std::mem::swap(&mut there, &mut back);
            }
            links.insert((a.min(b) as NodeIndex, a.max(b) as NodeIndex), [there, back]);
        }
        let idle = |_| SimNode {
            brain: None,
            clock: if settings.own_clocks { Clock::random(&mut rng) } else { Clock::default() },
            lives: 0,
            wake_at: Time::NEVER,
            streams: Vec::new(),
            stalled: None,
            links: Vec::new(),
            connections: Vec::new(),
        };
        let mut nodes: Vec<SimNode> = (0..settings.nodes).map(idle).collect();
        let mut wires = Vec::new();
        for ((a, b), [there, back]) in links {
            nodes[a as usize].links.push((b, wires.len() as u32));
            nodes[b as usize].links.push((a, wires.len() as u32 + 1));
            wires.extend([Wire::new(there), Wire::new(back)]);
        }
        let mut world = Self {
            rng,
            now: Time::from_micros(1_000),
            queue: Queue::new(),
            nodes,
            streams: Vec::new(),
            wires,
            connections: Vec::new(),
            flowing: Vec::new(),
            copies: Copies::default(),
            delivery: Delivery::default(),
            switches: Switches::default(),
            progress: Progress::default(),
            costs: Costs::default(),
            traffic: Traffic::default(),
            bounds: Bounds::default(),
            loops: 0,
            objects_moved: 0,
            fronts_moved: 0,
            duplicates: 0,
            events: 0,
            trace: 0,
            written: None,
            violations: Vec::new(),
            remarks: Vec::new(),
            settings,
        };
        (0..world.nodes.len())
            .filter(|node| !world.settings.late.contains(node))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|node| world.start(node));
        world
    }

    /// Writes every event down, for people. The file becomes long.
    pub fn write_events(&mut self, to: Box<dyn std::io::Write>) {
        self.written = Some(to);
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What must never happen and did; the first hundred.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Objects that subscribers took.
    pub fn delivered(&self) -> u64 {
        self.delivery.delivered
    }

    /// Begins a broadcast.
    pub fn publish(&mut self, node: usize, stream: &StreamName) {
        self.publish_since(node, stream, self.now.as_micros());
    }

    /// Begins to publish a broadcast that began at `timeline`, in microseconds: several origins may share one.
    pub fn publish_since(&mut self, node: usize, stream: &StreamName, timeline: u64) {
        if self.nodes[node].brain.is_none() {
            return;
        }
        let index = self.intern(stream);
        let node = node as NodeIndex;
        let behind_us = self.now.as_micros().saturating_sub(timeline);
        let next = behind_us.div_ceil(OBJECT_INTERVAL.as_micros() as u64);
        self.local(node, index).published = Some(Publication { timeline, next, paused_until: Time::ZERO });
        let keep = self.settings.keep;
        self.local(node, index).water.get_or_insert_with(|| Water::new(keep));
        self.input(node, Input::Publish(StreamFacts::new(stream.clone(), timeline)));
        let lives = self.nodes[node as usize].lives;
        self.at(made_at(position(timeline, next)), Happening::Produce { node, stream: index, lives });
        self.connectivity_changed();
    }

    /// Ends a broadcast.
    pub fn withdraw(&mut self, node: usize, stream: &StreamName) {
        let index = self.intern(stream);
        if self.local(node as NodeIndex, index).published.take().is_some() {
            self.input(node as NodeIndex, Input::Withdraw(stream.clone()));
            self.connectivity_changed();
        }
    }

    /// Nothing comes from the encoder of a broadcast for a while, though its node lives; then everything comes at once.
    pub fn pause(&mut self, node: usize, stream: &StreamName, pause: Duration) {
        let (index, until) = (self.intern(stream), self.now + pause);
        if let Some(publication) = &mut self.local(node as NodeIndex, index).published {
            publication.paused_until = until;
        }
    }

    /// A reader at this node.
    pub fn subscribe(&mut self, node: usize, stream: &StreamName) {
        let index = self.intern(stream);
        let (runs, now) = (self.runs(node), self.now);
        let local = self.local(node as NodeIndex, index);
        if runs && local.subscribed.is_none() {
            local.subscribed = Some(now);
            self.input(node as NodeIndex, Input::Subscribe(stream.clone()));
        }
    }

    /// The reader leaves.
    pub fn unsubscribe(&mut self, node: usize, stream: &StreamName) {
        let index = self.intern(stream);
        let node = node as NodeIndex;
        if self.local(node, index).subscribed.take().is_some() {
            self.delivery.forget(node, Some(index));
            self.progress.forget(node, Some(index));
            self.input(node, Input::Unsubscribe(stream.clone()));
        }
    }

    /// The brain of a node that runs.
    pub fn brain(&mut self, node: usize) -> Option<&mut Node> {
        self.nodes[node].brain.as_mut()
    }

    /// Whether a node runs.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].brain.is_some()
    }

    /// Number of nodes, running or not.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The node that feeds this one.
    pub fn parent(&self, node: usize, stream: &StreamName) -> Option<usize> {
        self.nodes[node].brain.as_ref()?.parent_of(stream).map(|id| node_of(id) as usize)
    }

    /// Why a node is fed as it is, for the message of a failed test.
    pub fn explain(&mut self, node: usize, stream: &StreamName) -> String {
        let entry = &mut self.nodes[node];
        let now = entry.clock.shows(self.now);
        format!("{:#?}", entry.brain.as_mut().and_then(|brain| brain.why(stream, now)))
    }

    /// By how many objects a node is behind an origin; `None` if it holds none of this broadcast.
    pub fn lateness(&self, node: usize, origin: usize, stream: &StreamName) -> Option<u64> {
        let index = self.streams.iter().position(|known| known == stream)? as StreamIndex;
        let at = self.water(node as NodeIndex, index)?.head()?;
        let source = self.water(origin as NodeIndex, index)?.head()?;
        (at.timeline == source.timeline).then(|| number(source).saturating_sub(number(at)))
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, happening)) = self.queue.pop_until(end) {
            self.now = at;
            self.events += 1;
            self.note(&happening);
            self.handle(happening);
        }
        self.now = end;
    }

    /// The number of a stream's name.
    fn intern(&mut self, stream: &StreamName) -> StreamIndex {
        let known = self.streams.iter().position(|known| known == stream);
        let index = known.unwrap_or_else(|| {
            self.streams.push(stream.clone());
            self.streams.len() - 1
        });
        index as StreamIndex
    }

    /// Bits a second of a stream.
    fn bitrate(&self, stream: StreamIndex) -> u64 {
        let name = &self.streams[usize::from(stream)];
        self.settings.bitrates.get(name).copied().unwrap_or(BITRATE_DEFAULT)
    }

    fn local(&mut self, node: NodeIndex, stream: StreamIndex) -> &mut Local {
        let streams = &mut self.nodes[node as usize].streams;
        if streams.len() <= usize::from(stream) {
            streams.resize_with(usize::from(stream) + 1, Local::default);
        }
        &mut streams[usize::from(stream)]
    }

    fn water(&self, node: NodeIndex, stream: StreamIndex) -> Option<&Water> {
        self.nodes[node as usize].streams.get(usize::from(stream))?.water.as_deref()
    }

    fn water_mut(&mut self, node: NodeIndex, stream: StreamIndex) -> Option<&mut Water> {
        self.nodes[node as usize].streams.get_mut(usize::from(stream))?.water.as_deref_mut()
    }

    /// Mixes an event into the trace: which, to whom, about what.
    fn note(&mut self, happening: &Happening) {
        let (kind, what, about) = match happening {
            Happening::Wake { node } => (1, u64::from(*node), 0),
            Happening::Dialed { from, to, lives } => (2, pair(*from, *to), u64::from(*lives)),
            Happening::DialFailed { from, to, lives } => (3, pair(*from, to.unwrap_or(u32::MAX)), u64::from(*lives)),
            Happening::Control { connection, end, parcel } => (4, pair(*connection, u32::from(*end)), parcel.hash()),
            Happening::Echo { connection, end, nonce } => (5, pair(*connection, u32::from(*end)), *nonce),
            Happening::Reflect { connection, end, nonce } => (6, pair(*connection, u32::from(*end)), *nonce),
            Happening::Object { connection, end, object } => {
                (7, pair(*connection, u32::from(*end)), object.bytes ^ object.feed.0.rotate_left(32))
            }
            Happening::Closed { connection, end } => (8, pair(*connection, u32::from(*end)), 0),
            Happening::Unblock { connection, from } => (9, pair(*connection, u32::from(*from)), 0),
            Happening::Produce { node, stream, .. } => (10, pair(*node, u32::from(*stream)), 0),
            Happening::Count { node, .. } => (11, u64::from(*node), 0),
            Happening::Front { connection, end, feed, front, .. } => {
                let (group, index) = front.layers[0];
                (12, pair(*connection, u32::from(*end)), (group << 32 | u64::from(index)) ^ feed.0.rotate_left(32))
            }
            Happening::Look { node, stream, .. } => (13, pair(*node, u32::from(*stream)), 0),
        };
        for field in [self.now.as_micros() ^ kind << 60, what, about] {
            self.trace = (self.trace.rotate_left(5) ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if self.written.is_some() {
            self.write_down(&format_args!("{happening:?}"));
        }
    }

    /// Adds a line to the events in words, if they are wanted.
    fn write_down(&mut self, what: &std::fmt::Arguments<'_>) {
        if let Some(to) = &mut self.written
            && writeln!(to, "{} {what}", self.now).is_err()
        {
            self.written = None;
        }
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.queue.push(self.now + delay, happening);
    }

    fn at(&mut self, time: Time, happening: Happening) {
        self.queue.push(time.max(self.now), happening);
    }

    fn handle(&mut self, happening: Happening) {
        if let Some(node) = self.concerns(&happening)
            && let Some(waiting) = &mut self.nodes[node as usize].stalled
        {
            waiting.push(happening);
            return;
        }
        match happening {
            Happening::Wake { node } => self.wake(node),
            Happening::Dialed { from, to, lives } => self.dialed(from, to, lives),
            Happening::DialFailed { from, to, lives } => {
                if self.nodes[from as usize].lives == lives {
                    let name = to.map(name_of).unwrap_or_default();
                    self.input(from, Input::DialFailed { name, reason: "nobody there".to_owned() });
                }
            }
            Happening::Control { connection, end, parcel } => self.control_arrived(connection, end, parcel),
            Happening::Echo { connection, end, nonce } => self.echo(connection, end, nonce),
            Happening::Reflect { connection, end, nonce } => self.reflect(connection, end, nonce),
            Happening::Object { connection, end, object } => {
                if self.carries(connection, end) {
                    self.object(connection, end, object);
                }
            }
            Happening::Closed { connection, end } => self.closed(connection, end),
            Happening::Unblock { connection, from } => self.unblock(connection, from),
            Happening::Produce { node, stream, lives } => self.produce(node, stream, lives),
            Happening::Count { node, lives } => self.count(node, lives),
            Happening::Front { connection, end, stream, feed, front } => {
                if self.carries(connection, end) {
                    self.front(connection, end, stream, feed, front);
                }
            }
            Happening::Look { node, stream, lives } => self.look_due(node, stream, lives),
        }
    }

    /// The node that has to do something about an event, and cannot while it stands still.
    fn concerns(&self, happening: &Happening) -> Option<NodeIndex> {
        match happening {
            Happening::Wake { node }
            | Happening::Produce { node, .. }
            | Happening::Look { node, .. }
            | Happening::Count { node, .. } => Some(*node),
            Happening::Dialed { from, .. } | Happening::DialFailed { from, .. } => Some(*from),
            Happening::Control { connection, end, .. }
            | Happening::Echo { connection, end, .. }
            | Happening::Reflect { connection, end, .. }
            | Happening::Object { connection, end, .. }
            | Happening::Front { connection, end, .. }
            | Happening::Closed { connection, end } => {
                Some(self.connections[*connection as usize].ends[usize::from(*end)])
            }
            Happening::Unblock { .. } => None,
        }
    }

    fn violate(&mut self, invariant: &'static str, seen: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { invariant, at: self.now, seen });
        }
    }
}

impl Parcel {
    /// Something that differs where messages differ, most of the time.
    fn hash(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes
                .iter()
                .fold(bytes.len() as u64, |hash, byte| hash.rotate_left(5).wrapping_mul(31) ^ u64::from(*byte)),
            Self::Value(message) => crate::checkers::message_length(message),
        }
    }
}

fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}
