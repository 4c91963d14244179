//! The world: virtual time, nodes, links, and the driver's part of the bargain with each brain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use levada_overlay::{
    Config, Credential, FeedId, Input, LinkId, Message, Neighbour, Node, NodeId, Output, Position, StreamFacts,
    StreamName, Time,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::checkers::{Copies, Delivery, Violation, find_loop};
use crate::keys::HashKeys;
use crate::water::{Arrival, OBJECT_INTERVAL, Water, payload, successor};

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything left to chance follows from it.
    pub seed: u64,
    /// Number of nodes, all of them started at once.
    pub nodes: usize,
    /// Who is whose neighbour.
    pub links: Vec<(usize, usize)>,
    /// One-way delay of a link is chosen from this range, microseconds.
    pub delay_us: (u64, u64),
    /// Each packet takes up to this share of the delay longer.
    pub jitter: f64,
    /// A mutation, for negative controls: water that reports any object of a candidate as newer.
    pub naive_commit: bool,
}

impl Settings {
    /// Links of 1 to 40 ms with little jitter.
    pub fn new(seed: u64, nodes: usize, links: Vec<(usize, usize)>) -> Self {
        Self { seed, nodes, links, delay_us: (1_000, 40_000), jitter: 0.05, naive_commit: false }
    }
}

struct SimNode {
    brain: Option<Node>,
    water: BTreeMap<StreamName, Water>,
    subscribed: BTreeSet<StreamName>,
    published: BTreeMap<StreamName, Position>,
    lives: u64,
    wake_at: Time,
}

struct Wire {
    delay_us: u64,
    up: bool,
}

struct Connection {
    ends: [usize; 2],
    open: [bool; 2],
    /// Cut while it was open: it carries nothing any more, as if all packets were lost.
    dead: bool,
    /// Streams keep their order: nothing arrives before this, per direction.
    clear_at: [Time; 2],
}

#[derive(Debug)]
enum Happening {
    Wake(usize),
    Dialed { from: usize, to: usize, lives: u64 },
    DialFailed { from: usize, name: String, lives: u64 },
    Control { connection: u64, to: usize, bytes: Vec<u8> },
    Echo { connection: u64, to: usize, nonce: u64 },
    Object { connection: u64, to: usize, feed: FeedId, position: Position, bytes: u64 },
    Closed { connection: u64, to: usize },
    Produce { node: usize, stream: StreamName, lives: u64 },
}

/// A mesh in virtual time.
pub struct World {
    settings: Settings,
    rng: SmallRng,
    now: Time,
    sequence: u64,
    queue: BTreeMap<(Time, u64), Happening>,
    nodes: Vec<SimNode>,
    wires: BTreeMap<(usize, usize), Wire>,
    connections: BTreeMap<u64, Connection>,
    copies: Copies,
    delivery: Delivery,
    /// Objects that travelled over links.
    pub objects_moved: u64,
    /// Objects that came to a node that held them.
    pub duplicates: u64,
    /// Events handled.
    pub events: u64,
    /// Hash over all events in their order: equal for equal runs.
    pub trace: u64,
    violations: Vec<Violation>,
}

fn name_of(node: usize) -> String {
    format!("n{node}")
}

fn id_of(node: usize) -> NodeId {
    // Spread over the buckets, and not in the order of numbers.
    let mut id = [0; 32];
    id[..8].copy_from_slice(&((node as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    id[24..].copy_from_slice(&(node as u64).to_be_bytes());
    NodeId(id)
}

fn node_of(id: NodeId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id.0[24..]);
    u64::from_be_bytes(bytes) as usize
}

impl World {
    /// Makes the world and starts all nodes.
    pub fn new(settings: Settings) -> Self {
        let mut rng = SmallRng::seed_from_u64(settings.seed);
        let (least, most) = settings.delay_us;
        let wire = |&(a, b): &(usize, usize)| {
            ((a.min(b), a.max(b)), Wire { delay_us: rng.random_range(least..=most), up: true })
        };
        let wires = settings.links.iter().map(wire).collect();
        let idle = |_| SimNode {
            brain: None,
            water: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            published: BTreeMap::new(),
            lives: 0,
            wake_at: Time::NEVER,
        };
        let mut world = Self {
            rng,
            now: Time::from_micros(1_000),
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: (0..settings.nodes).map(idle).collect(),
            wires,
            connections: BTreeMap::new(),
            copies: Copies::default(),
            delivery: Delivery::default(),
            objects_moved: 0,
            duplicates: 0,
            events: 0,
            trace: 0,
            violations: Vec::new(),
            settings,
        };
        (0..world.nodes.len()).for_each(|node| world.start(node));
        world
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What must never happen and did.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Objects that subscribers took.
    pub fn delivered(&self) -> u64 {
        self.delivery.delivered
    }

    /// Starts a node, or starts it anew.
    pub fn start(&mut self, node: usize) {
        self.nodes[node].lives += 1;
        let lives = self.nodes[node].lives;
        let name = name_of(node);
        let config = Config {
            id: id_of(node),
            credential: Credential { name: name.clone(), not_after_unix_s: u64::MAX, signature: [0; 64] },
            epoch: lives,
            seed: self.settings.seed ^ (node as u64) << 32 ^ lives,
            addresses: vec![name],
            http: None,
            transit: true,
            children_max: 1_000,
        };
        self.nodes[node].brain = Some(Node::new(config, Box::new(HashKeys(id_of(node))), self.now));
        let near = self.wires.keys().filter_map(|&(a, b)| [(a, b), (b, a)].into_iter().find(|(a, _)| *a == node));
        let neighbour =
            |(_, other): (usize, usize)| Neighbour { name: name_of(other), addresses: vec![name_of(other)] };
        let neighbours: Vec<Neighbour> = near.map(neighbour).collect();
        self.input(node, Input::Neighbours(neighbours));
    }

    /// Stops a node without a word: its neighbours notice the silence.
    pub fn crash(&mut self, node: usize) {
        let entry = &mut self.nodes[node];
        entry.brain = None;
        entry.water.clear();
        entry.subscribed.clear();
        entry.published.clear();
        self.delivery.forget(node, None);
        for connection in self.connections.values_mut().filter(|connection| connection.ends.contains(&node)) {
            connection.dead = true;
        }
    }

    /// Cuts a link: nothing passes, and nobody is told.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.set_wire(a, b, false);
        for connection in self.connections.values_mut() {
            if connection.ends.contains(&a) && connection.ends.contains(&b) {
                connection.dead = true;
            }
        }
    }

    /// Mends a link; the nodes find out by dialling.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.set_wire(a, b, true);
    }

    fn set_wire(&mut self, a: usize, b: usize, up: bool) {
        if let Some(wire) = self.wires.get_mut(&(a.min(b), a.max(b))) {
            wire.up = up;
        }
    }

    /// Begins a broadcast.
    pub fn publish(&mut self, node: usize, stream: &StreamName) {
        let timeline = self.now.as_micros();
        let first = Position { group: timeline / 1_000, timeline, index: 0 };
        self.nodes[node].published.insert(stream.clone(), first);
        self.nodes[node].water.entry(stream.clone()).or_default();
        self.input(node, Input::Publish(StreamFacts::new(stream.clone(), timeline)));
        let lives = self.nodes[node].lives;
        self.later(Duration::ZERO, Happening::Produce { node, stream: stream.clone(), lives });
    }

    /// A reader at this node.
    pub fn subscribe(&mut self, node: usize, stream: &StreamName) {
        if self.nodes[node].brain.is_some() && self.nodes[node].subscribed.insert(stream.clone()) {
            self.input(node, Input::Subscribe(stream.clone()));
        }
    }

    /// The reader leaves.
    pub fn unsubscribe(&mut self, node: usize, stream: &StreamName) {
        if self.nodes[node].subscribed.remove(stream) {
            self.delivery.forget(node, Some(stream));
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

    /// The node that feeds this one.
    pub fn parent(&self, node: usize, stream: &StreamName) -> Option<usize> {
        self.nodes[node].brain.as_ref()?.parent_of(stream).map(node_of)
    }

    /// Age of the newest object at a node; `None` if it holds none.
    pub fn lateness(&self, node: usize, origin: usize, stream: &StreamName) -> Option<u64> {
        let at = self.nodes[node].water.get(stream)?.head()?;
        let source = self.nodes[origin].water.get(stream)?.head()?;
        let count = |position: Position| {
            position.group / crate::GROUP_MS * u64::from(crate::GROUP_OBJECTS) + u64::from(position.index)
        };
        (at.timeline == source.timeline).then(|| count(source).saturating_sub(count(at)))
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let happening = entry.remove();
            self.now = at;
            self.events += 1;
            self.note(&happening);
            self.handle(happening);
        }
        self.now = end;
    }

    fn note(&mut self, happening: &Happening) {
        let text = format!("{} {happening:?}", self.now);
        self.trace = text.bytes().fold(self.trace ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, time: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), happening);
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(node) => {
                if self.nodes[node].wake_at <= self.now {
                    self.nodes[node].wake_at = Time::NEVER;
                    if let Some(brain) = self.nodes[node].brain.as_mut() {
                        brain.handle_timeout(self.now);
                    }
                    self.drain(node);
                }
            }
            Happening::Dialed { from, to, lives } => self.dialed(from, to, lives),
            Happening::DialFailed { from, name, lives } => {
                if self.nodes[from].lives == lives {
                    self.input(from, Input::DialFailed { name, reason: "nobody there".to_owned() });
                }
            }
            Happening::Control { connection, to, bytes } => {
                if self.carries(connection, to) {
                    match Message::decode(bytes.into()) {
                        Ok(Some(message)) => self.input(to, Input::Message { link: LinkId(connection), message }),
                        other => self.violate("control messages are understood", format!("{other:?}")),
                    }
                }
            }
            Happening::Echo { connection, to, nonce } => {
                if self.carries(connection, to) {
                    self.input(to, Input::Echo { link: LinkId(connection), nonce });
                }
            }
            Happening::Object { connection, to, feed, position, bytes } => {
                if self.carries(connection, to) {
                    self.object(connection, to, feed, position, bytes);
                }
            }
            Happening::Closed { connection, to } => {
                if self.carries(connection, to) {
                    self.close_end(connection, to);
                    self.input(
                        to,
                        Input::LinkDown { link: LinkId(connection), reason: "closed by the peer".to_owned() },
                    );
                }
            }
            Happening::Produce { node, stream, lives } => self.produce(node, stream, lives),
        }
    }

    /// Whether what travels over a connection reaches this end.
    fn carries(&self, connection: u64, to: usize) -> bool {
        let open = |c: &Connection| !c.dead && c.ends.iter().zip(c.open).any(|(end, open)| *end == to && open);
        self.connections.get(&connection).is_some_and(open) && self.nodes[to].brain.is_some()
    }

    fn close_end(&mut self, connection: u64, end: usize) {
        if let Some(entry) = self.connections.get_mut(&connection) {
            for at in 0..2 {
                entry.open[at] &= entry.ends[at] != end;
            }
            if entry.open == [false, false] {
                self.connections.remove(&connection);
            }
        }
    }

    fn dialed(&mut self, from: usize, to: usize, lives: u64) {
        if self.nodes[from].lives != lives || self.nodes[from].brain.is_none() {
            return;
        }
        let wire = self.wires.get(&(from.min(to), from.max(to))).filter(|wire| wire.up).map(|wire| wire.delay_us);
        let Some(delay_us) = wire.filter(|_| self.nodes[to].brain.is_some()) else {
            return self.input(from, Input::DialFailed { name: name_of(to), reason: "nobody there".to_owned() });
        };
        self.sequence += 1;
        let connection = self.sequence;
        let entry = Connection { ends: [from, to], open: [true; 2], dead: false, clear_at: [self.now; 2] };
        self.connections.insert(connection, entry);
        let rtt = Duration::from_micros(2 * delay_us);
        for (end, peer, dialed) in [(from, to, true), (to, from, false)] {
            let link = LinkId(connection);
            self.input(end, Input::LinkUp { link, peer: id_of(peer), name: name_of(peer), dialed, rtt });
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        if let Some(brain) = self.nodes[node].brain.as_mut() {
            brain.handle_input(input, self.now);
            self.drain(node);
        }
    }

    /// Carries out what a brain wants, and notes when it wants to be woken.
    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].brain.as_mut().and_then(Node::poll_output) {
            self.carry_out(node, output);
        }
        let Some(brain) = &self.nodes[node].brain else { return };
        let due = brain.poll_timeout().max(self.now);
        if due < self.nodes[node].wake_at {
            self.nodes[node].wake_at = due;
            self.at(due, Happening::Wake(node));
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Dial(neighbour) => self.dial(node, neighbour),
            Output::HangUp { link, .. } => {
                if let Some(peer) = self.peer(link.0, node) {
                    self.send(link.0, node, Happening::Closed { connection: link.0, to: peer });
                    self.close_end(link.0, node);
                }
            }
            Output::Send { link, message } => self.control(node, link, &message),
            Output::Probe { link, nonce } => {
                if let Some(delay) = self.peer(link.0, node).and_then(|peer| self.delay(node, peer)) {
                    let back = self.delay(node, node).unwrap_or(delay);
                    let echo = Happening::Echo { connection: link.0, to: node, nonce };
                    self.later(delay + back, echo);
                }
            }
            Output::Join { link, mut join, backfill } => {
                let held = self.nodes[node].water.get(&join.stream).and_then(Water::resume);
                join.resume = held.filter(|_| !backfill).or(join.resume);
                self.control(node, link, &Message::Join(join));
            }
            Output::Route { stream, route: Some(route) } => {
                let lacks = self.nodes[node].water.entry(stream.clone()).or_default().set_route(route);
                for resume in lacks {
                    self.input(node, Input::Lacks { stream: stream.clone(), resume });
                }
                self.flow(node, &stream);
                self.check_loops(node, &stream);
            }
            Output::Route { stream, route: None } => {
                self.nodes[node].water.remove(&stream);
            }
            Output::TraceAnswer { .. } | Output::Event(_) => {}
        }
    }

    fn dial(&mut self, from: usize, neighbour: Neighbour) {
        let lives = self.nodes[from].lives;
        let to: Option<usize> = neighbour.name.trim_start_matches('n').parse().ok();
        match to.and_then(|to| Some((to, self.delay(from, to)?))) {
            Some((to, delay)) => self.later(3 * delay, Happening::Dialed { from, to, lives }),
            None => self.later(Duration::from_secs(1), Happening::DialFailed { from, name: neighbour.name, lives }),
        }
    }

    fn peer(&self, connection: u64, node: usize) -> Option<usize> {
        let entry = self.connections.get(&connection)?;
        entry.ends.into_iter().find(|end| *end != node)
    }

    /// Time that a packet takes now; `None` where it gets lost.
    fn delay(&mut self, from: usize, to: usize) -> Option<Duration> {
        let wire = self.wires.get(&(from.min(to), from.max(to)))?;
        let us = wire.delay_us as f64 * (1.0 + self.settings.jitter * self.rng.random::<f64>());
        wire.up.then(|| Duration::from_micros(us as u64))
    }

    fn control(&mut self, from: usize, link: LinkId, message: &Message) {
        if let Some(to) = self.peer(link.0, from) {
            let bytes = message.encode().slice(4..).to_vec();
            self.send(link.0, from, Happening::Control { connection: link.0, to, bytes });
        }
    }

    /// Puts something on a connection's ordered streams.
    fn send(&mut self, connection: u64, from: usize, happening: Happening) {
        let Some(to) = self.peer(connection, from) else { return };
        let Some(delay) = self.delay(from, to) else { return };
        let now = self.now;
        let Some(entry) = self.connections.get_mut(&connection).filter(|entry| !entry.dead) else { return };
        let direction = usize::from(entry.ends[0] != from);
        let at = (now + delay).max(entry.clear_at[direction]);
        entry.clear_at[direction] = at;
        self.at(at, happening);
    }

    fn produce(&mut self, node: usize, stream: StreamName, lives: u64) {
        if self.nodes[node].lives != lives {
            return;
        }
        let Some(next) = self.nodes[node].published.get_mut(&stream) else { return };
        let position = *next;
        *next = successor(position);
        self.nodes[node].water.entry(stream.clone()).or_default().insert(position);
        self.flow(node, &stream);
        self.later(OBJECT_INTERVAL, Happening::Produce { node, stream, lives });
    }

    /// Sends on what the children of a node lack.
    fn flow(&mut self, node: usize, stream: &StreamName) {
        let Some(water) = self.nodes[node].water.get_mut(stream) else { return };
        for (link, feed, position, bytes) in water.flow() {
            let Some(to) = self.peer(link.0, node) else { continue };
            self.objects_moved += 1;
            if let Some(seen) = self.copies.sent(link.0, to, feed, position) {
                self.violate("a link carries one copy", seen);
            }
            self.send(link.0, node, Happening::Object { connection: link.0, to, feed, position, bytes });
        }
    }

    fn object(&mut self, connection: u64, to: usize, feed: FeedId, position: Position, bytes: u64) {
        let link = LinkId(connection);
        let strictly = !self.settings.naive_commit;
        let node = &mut self.nodes[to];
        let upstream = Some((link, feed));
        let found = node.water.iter_mut().find(|(_, w)| w.route.main == upstream || w.route.candidate == upstream);
        let Some((stream, water)) = found.map(|(stream, water)| (stream.clone(), water)) else { return };
        match water.arrive(link, feed, position, strictly) {
            Arrival::NotWanted => {}
            Arrival::Duplicate => self.duplicates += 1,
            arrival @ (Arrival::Newest { .. } | Arrival::Filled) => {
                if bytes != payload(position) {
                    self.violate("objects arrive as they were sent", format!("{position} at node {to}"));
                }
                if self.nodes[to].subscribed.contains(&stream)
                    && let Some(seen) = self.delivery.arrived(to, &stream, position, bytes)
                {
                    self.violate("subscribers receive every object once and in order", seen);
                }
                if arrival == (Arrival::Newest { report: true }) {
                    self.input(to, Input::Newer { feed, position });
                }
                self.flow(to, &stream);
            }
        }
    }

    fn check_loops(&mut self, node: usize, stream: &StreamName) {
        let parent = |node| self.parent(node, stream).filter(|parent| self.runs(*parent));
        if let Some(path) = find_loop(node, parent) {
            self.violate("no parent graph has a cycle", format!("{stream}: {path:?}"));
        }
    }

    fn violate(&mut self, invariant: &'static str, seen: String) {
        self.violations.push(Violation { invariant, at: self.now, seen });
    }
}
