//! The brain of one node: records, links, routes and joins behind `handle_input`, `handle_timeout` and `poll_output`.
//!
//! The driver's loop: hand in whatever happened, drain [`Node::poll_output`] until it is empty, sleep until
//! [`Node::poll_timeout`], call [`Node::handle_timeout`]. The same inputs at the same times with the same seed give the
//! same outputs.

mod links;
mod neighbours;
mod records;
mod streams;
mod trace;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::credential::Credential;
use crate::graph::{Distances, Graph, TreeParent};
use crate::id::{NodeId, StreamName};
use crate::io::{Event, Input, LinkId, Output};
use crate::message::FeedId;
use crate::pace::Late;
use crate::table::Table;
use crate::time::Time;

use links::Link;
use neighbours::{Contact, Wishes};
use records::Own;
use streams::Stream;
use trace::Traces;

/// Changes of the graph are gathered for this long before routes are weighed anew, since records of one event come in a
/// burst. Loss of a link is acted upon at once. Tuned.
pub const ROUTE_HOLD: Duration = Duration::from_millis(10);
/// The same while every stream is fed: nothing depends on it but moves for the better, which wait for seconds anyway.
pub const ROUTE_HOLD_FED: Duration = Duration::from_millis(200);
/// Most children, over all streams.
pub const CHILDREN_MAX_DEFAULT: usize = 4_096;

/// Signing and checking, which the brain leaves to its driver.
pub trait Keys: Send {
    /// Signs with this node's key.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// Whether `signature` of `message` is by `author`.
    fn verify(&self, author: NodeId, message: &[u8], signature: &[u8; 64]) -> bool;
    /// Whether the cluster's CA gave `credential` to `id`, and it has not run out.
    fn verify_credential(&self, id: NodeId, credential: &Credential) -> bool;
}

/// What a node is told about itself.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Its identity.
    pub id: NodeId,
    /// The cluster's word for it; holds its name.
    pub credential: Credential,
    /// Greater at every start; microseconds since the Unix epoch will do.
    pub epoch: u64,
    /// Seed of whatever is left to chance: jitter of retries, nonces.
    pub seed: u64,
    /// Where it accepts links; empty if it does not.
    pub addresses: Vec<String>,
    /// Base URL of its HTTP server.
    pub http: Option<String>,
    /// Whether it passes on what it does not publish itself.
    pub transit: bool,
    /// Most children, over all streams.
    pub children_max: usize,
    /// Bits per second that may leave for children; `None`: no limit.
    pub egress_max_bps: Option<u64>,
}

/// The brain.
pub struct Node {
    config: Config,
    keys: Box<dyn Keys>,
    rng: SmallRng,
    outputs: VecDeque<Output>,
    wishes: Wishes,
    contacts: BTreeMap<String, Contact>,
    links: BTreeMap<LinkId, Link>,
    table: Table,
    own: Own,
    /// When records are announced on links over which they are not sent.
    announce_at: Time,
    /// Until when a neighbour sends what this node lacked.
    sync_until: Time,
    expire_at: Time,
    graph: Graph,
    /// Shortest paths by origins and nodes left out, valid for `graph`.
    distances: BTreeMap<(Vec<NodeId>, Vec<NodeId>), Arc<Distances>>,
    /// Parents of this node in the trees of those origins.
    tree_parents: BTreeMap<Vec<NodeId>, Option<TreeParent>>,
    /// When routes are weighed anew.
    reroute_at: Time,
    streams: BTreeMap<StreamName, Stream>,
    /// The streams of the feeds that this node asked for.
    feeds: BTreeMap<FeedId, StreamName>,
    next_feed: u64,
    /// Links over which a parent fell silent and was given up; none of them has been heard since.
    silenced: BTreeSet<LinkId>,
    traces: Traces,
    /// The node is to stop: until when it serves children, `NEVER` after that was told.
    drain_until: Option<Time>,
    /// Viewers of its edge, as a share of the most that it takes.
    viewers_share: f64,
    counters: Counters,
    /// Trees may use other links than before.
    use_changed: bool,
}

/// What a node counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records taken into the table.
    pub records_taken: u64,
    /// Records refused: bad signature, no credential, out of bounds.
    pub records_refused: u64,
    /// Messages that broke the protocol.
    pub protocol_errors: u64,
    /// Times that a stream got another parent.
    pub switches: u64,
    /// Joins sent.
    pub joins: u64,
    /// Of these, how many were refused.
    pub joins_refused: u64,
    /// Joins of others that this node refused.
    pub refusals: u64,
}

impl Node {
    /// A node that knows nobody yet.
    pub fn new(config: Config, keys: Box<dyn Keys>, now: Time) -> Self {
        let rng = SmallRng::seed_from_u64(config.seed);
        let mut node = Self {
            own: Own::new(config.epoch),
            rng,
            keys,
            outputs: VecDeque::new(),
            wishes: Wishes::default(),
            contacts: BTreeMap::new(),
            links: BTreeMap::new(),
            table: Table::default(),
            announce_at: Time::NEVER,
            sync_until: Time::ZERO,
            expire_at: now + records::EXPIRE_INTERVAL,
            graph: Graph::default(),
            distances: BTreeMap::new(),
            tree_parents: BTreeMap::new(),
            reroute_at: Time::NEVER,
            streams: BTreeMap::new(),
            feeds: BTreeMap::new(),
            next_feed: 1,
            silenced: BTreeSet::new(),
            traces: Traces::default(),
            drain_until: None,
            viewers_share: 0.0,
            counters: Counters::default(),
            use_changed: false,
            config,
        };
        node.introduce(now);
        node
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: Time) {
        match input {
            Input::LinkUp { link, peer, name, dialed, rtt } => self.link_up(link, peer, name, dialed, rtt, now),
            Input::LinkDown { link, reason, unwanted } => self.link_down(link, reason, unwanted, now),
            Input::DialFailed { name, reason } => self.dial_failed(&name, reason, now),
            Input::Message { link, message } => self.message(link, message, now),
            Input::Echo { link, nonce } => self.echo(link, nonce, now),
            Input::Heard { link, since } => self.heard(link, since.min(now)),
            Input::Transport { link, sent, lost, load } => self.transport(link, sent, lost, load, now),
            Input::Newer { feed, position } => self.newer(feed, position, now),
            Input::Behind { feed, since, announced, silent } => {
                self.behind(feed, Late { since, announced, silent }, now);
            }
            Input::Rate { stream, bps } => self.rate(&stream, bps, now),
            Input::Viewers { count, max } => self.viewers(count, max, now),
            Input::Lacks { stream, resume } => self.lacks(&stream, resume, now),
            Input::Publish(facts) => self.publish(facts, now),
            Input::Withdraw(stream) => self.withdraw(&stream, now),
            Input::Subscribe(stream) => self.subscribe(stream, now),
            Input::Unsubscribe(stream) => self.unsubscribe(&stream, now),
            Input::Neighbours(neighbours) => self.set_neighbours(neighbours, now),
            Input::Connect(neighbour) => self.connect(neighbour, now),
            Input::Disconnect(name) => self.disconnect(&name, now),
            Input::Trace { ticket, stream } => self.trace_local(ticket, stream, now),
            Input::Drain => self.drain(now),
            Input::Shutdown => self.shutdown(),
        }
        self.finish(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.dial_due(now);
        self.probe_due(now);
        self.records_due(now);
        if self.reroute_at <= now {
            self.reroute_at = Time::NEVER;
            self.reconsider_all(now);
        }
        self.streams_due(now);
        self.traces_due(now);
        self.finish(now);
    }

    /// What follows from all that was done at once.
    fn finish(&mut self, now: Time) {
        if std::mem::take(&mut self.use_changed) {
            self.mark_use(now);
        }
        self.drained(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Node::handle_timeout`] wants to be called; [`Time::NEVER`] if nothing is due.
    pub fn poll_timeout(&self) -> Time {
        let contacts = self.contacts.values().map(|contact| contact.dial_at);
        let links = self.links.values().map(Link::due);
        let streams = self.streams.values().map(|stream| stream.check_at);
        let drain = self.drain_until.unwrap_or(Time::NEVER);
        let rest = [
            self.own.due(),
            self.announce_at,
            self.digests_at(),
            self.expire_at,
            self.reroute_at,
            self.traces.due(),
            drain,
        ];
        contacts.chain(links).chain(streams).chain(rest).min().unwrap_or(Time::NEVER)
    }

    /// This node's identity.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.config.credential.name
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.emit(Output::Event(event));
    }

    /// The graph changed: weigh the routes anew soon.
    fn graph_changed(&mut self, now: Time) {
        self.distances.clear();
        self.tree_parents.clear();
        let hungry = self.streams.values().any(streams::Stream::is_hungry);
        let hold = if hungry { ROUTE_HOLD } else { ROUTE_HOLD_FED };
        self.reroute_at = self.reroute_at.min(now + hold);
    }

    /// The name under which a node is known here, or its identity.
    fn name_of(&self, id: NodeId) -> String {
        let node = self.table.node(id).map(|node| node.credential.name.clone());
        let link = || self.links.values().find(|link| link.peer == id).map(|link| link.name.clone());
        node.or_else(link).unwrap_or_else(|| id.to_string())
    }
}
