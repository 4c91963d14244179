//! Starting and stopping a node, and the handle by which its rooms ask the brain.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use levada_overlay::message::Hop;
use levada_overlay::node::view::{PopView, View, WhyView};
use levada_overlay::node::{CHILDREN_MAX_DEFAULT, Counters};
use levada_overlay::record::{PRIORITY_MAX, STREAMS_MAX};
use levada_overlay::{Anchor, Config, Credential, Keys, LinkId, Neighbour, NodeId, StreamFacts, StreamName, Time};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::driver::{Ask, BRAIN_QUEUE, Driver, Taped, ToBrain, Traffic};
use crate::feed::Feeds;
use crate::journal::Journal;
use crate::link::{self, LinkContext};
use crate::log::{GroupId, StreamLog};
use crate::stats::Stats;
use crate::trust::{self, Identity, TrustError};

/// Time for a stranger to finish the handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Handshakes under way at once; further ones are refused until some are done.
const HANDSHAKES_MAX: usize = 256;
/// Most viewers unless something else is configured. Tuned: a few Mbit/s each, and a machine of many cores.
const VIEWERS_MAX_DEFAULT: u64 = 10_000;
/// Time for the answer to a trace.
const TRACE_DEADLINE: Duration = Duration::from_secs(3);

/// What a node needs.
#[derive(Debug)]
pub struct NodeConfig {
    /// Key, certificate, name.
    pub identity: Identity,
    /// Where to listen for links.
    pub listen: SocketAddr,
    /// Addresses that others are told, `host:port`; empty: the one it listens on.
    pub advertise: Vec<String>,
    /// Base URL of its HTTP server, told to others.
    pub http_url: Option<String>,
    /// Connects out, accepts nobody, passes nothing on.
    pub light: bool,
    /// First neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Most children, over all streams; `None`: the default.
    pub children_max: Option<usize>,
    /// Bits per second that may leave for children; `None`: no limit.
    pub egress_max_bps: Option<u64>,
    /// Most viewers of its HTTP server; `None`: the default.
    pub viewers_max: Option<u64>,
    /// Where to record what happens to the brain.
    pub record: Option<PathBuf>,
}

/// Why a node does not start, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {0}/udp; choose another address with --listen")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The HTTP address is taken or not ours.
    #[error("cannot listen on {0}/tcp; choose another address with --http")]
    Http(SocketAddr, #[source] std::io::Error),
    /// The recording cannot be written.
    #[error("cannot record into {0}")]
    Record(PathBuf, #[source] std::io::Error),
    /// Keys or certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The certificate has run out.
    #[error("the certificate of node {0} has run out; start it once with its bootstrapper in reach")]
    Expired(String),
    /// One name, two broadcasts.
    #[error("stream \"{stream}\" is already published by node {node}; choose another name")]
    AlreadyPublished {
        /// The stream.
        stream: StreamName,
        /// Who publishes it.
        node: String,
    },
    /// More streams than one record tells of.
    #[error(
        "stream \"{stream}\" is not published: node {node} publishes {STREAMS_MAX} already; publish it at another node"
    )]
    TooManyStreams {
        /// The stream.
        stream: StreamName,
        /// Who publishes so many.
        node: String,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A handle to a running node. Clones are handles to the same node.
#[derive(Clone, Debug)]
pub struct Node {
    brain: mpsc::Sender<ToBrain>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    name: String,
    address: SocketAddr,
    stats: Arc<Stats>,
    journal: Arc<Journal>,
    published: Mutex<HashMap<StreamName, Stop>>,
    started: Instant,
    stop: Notify,
}

/// How a stream that this node publishes is stopped.
#[derive(Clone, Debug)]
struct Stop {
    wanted: Arc<Notify>,
    /// Closed once it has stopped.
    lives: watch::Receiver<()>,
}

impl Shared {
    fn published(&self) -> MutexGuard<'_, HashMap<StreamName, Stop>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct NodeKeys {
    identity: Identity,
    ca: NodeId,
}

impl Keys for NodeKeys {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.identity.sign(message)
    }

    fn verify(&self, author: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
        trust::verify(author, message, signature)
    }

    fn verify_credential(&self, id: NodeId, credential: &Credential) -> bool {
        trust::verify_credential(self.ca, id, credential)
    }
}

impl Node {
    /// Starts a node. It runs until [`Node::shutdown`].
    pub fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let identity = config.identity;
        if identity.has_expired() {
            return Err(NodeError::Expired(identity.name().to_owned()));
        }
        let server = (!config.light).then(|| trust::link_server_config(&identity)).transpose()?;
        let dial_config = trust::link_client_config(&identity)?;
        let endpoint = crate::quic::endpoint(config.listen, server).map_err(|e| NodeError::Listen(config.listen, e))?;
        let address = endpoint.local_addr().map_err(|e| NodeError::Listen(config.listen, e))?;
        let advertise = match config.advertise {
            _ if config.light => Vec::new(),
            given if given.is_empty() => vec![address.to_string()],
            given => given,
        };
        let started = Instant::now();
        let (id, name) = (identity.id(), identity.name().to_owned());
        let brain_config = Config {
            id,
            credential: identity.credential.clone(),
            epoch: unix_micros(),
            seed: unix_micros() ^ u64::from(std::process::id()),
            addresses: advertise,
            http: config.http_url,
            transit: !config.light,
            children_max: config.children_max.unwrap_or(CHILDREN_MAX_DEFAULT),
            egress_max_bps: config.egress_max_bps,
        };
        let ca = trust::ca_key(&identity.ca)?;
        let keys = Box::new(NodeKeys { identity, ca });
        let brain = match &config.record {
            None => Taped::new(brain_config, keys, Time::ZERO),
            Some(path) => Taped::recorded(brain_config, keys, Time::ZERO, path)
                .map_err(|error| NodeError::Record(path.clone(), error))?,
        };
        let (sender, events) = mpsc::channel(BRAIN_QUEUE);
        let viewers_max = config.viewers_max.unwrap_or(VIEWERS_MAX_DEFAULT);
        let stats = Arc::new(Stats { viewers_max, ..Stats::default() });
        let (feeds, journal) = (Arc::new(Feeds::default()), Arc::new(Journal::new()));
        let context = LinkContext { brain: sender.clone(), feeds, stats: stats.clone(), journal: journal.clone() };
        let next_link = Arc::new(AtomicU64::new(1));
        let driver =
            Driver::new(brain, started, events, context.clone(), endpoint.clone(), dial_config, next_link.clone());
        tokio::spawn(driver.run());
        tokio::spawn(accept(endpoint, context, next_link));
        let (published, stop) = (Mutex::default(), Notify::new());
        let shared = Shared { id, name, address, stats, journal, published, started, stop };
        let node = Self { brain: sender, shared: Arc::new(shared) };
        node.tell(Ask::Neighbours(config.neighbours));
        Ok(node)
    }

    /// Its identity.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens for links.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// What happened to it lately.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Time since it started.
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Prepares to publish a stream, which the mesh is told to ask for once it [begins](Publication::begin); the returned
    /// guard withdraws it when dropped.
    pub async fn publish(&self, stream: StreamName, priority: u32) -> Result<Publication, NodeError> {
        let mut facts = StreamFacts::new(stream, unix_micros());
        facts.priority = priority.min(PRIORITY_MAX);
        facts.stamp_at_ms = unix_ms();
        facts.preparing = true;
        let log = self.ask(|answer| Ask::Publish(facts.clone(), answer)).await??;
        let (lives, ends) = watch::channel(());
        let stop = Stop { wanted: Arc::default(), lives: ends };
        let wanted = stop.wanted.clone();
        self.shared.published().insert(facts.name.clone(), stop);
        Ok(Publication { log, facts, wanted, node: self.clone(), _lives: lives })
    }

    /// Those who are known to publish a stream or to be about to, this node among them, and what they would tell of it now.
    pub async fn publishers_of(&self, stream: &StreamName) -> Result<Vec<(NodeId, StreamFacts)>, NodeError> {
        self.ask(|answer| Ask::Publishers(stream.clone(), answer)).await
    }

    /// Asks for a stream, from a group on if its reader has what lies before; the returned guard gives it up when dropped.
    pub async fn subscribe(&self, stream: StreamName, from: Option<GroupId>) -> Result<Subscription, NodeError> {
        let (log, from) = self.ask(|answer| Ask::Subscribe(stream.clone(), from, answer)).await?;
        Ok(Subscription { log, from, stream, node: self.clone() })
    }

    /// Replaces the list of neighbours.
    pub async fn set_neighbours(&self, neighbours: Vec<Neighbour>) -> Result<(), NodeError> {
        self.brain.send(ToBrain::Ask(Ask::Neighbours(neighbours))).await.map_err(|_| NodeError::Stopping)
    }

    /// The name of who accepts links at an address, `host:port`; or why there is none, for people.
    pub async fn identify(&self, address: String) -> Result<Result<String, String>, NodeError> {
        self.ask(|answer| Ask::Identify(address, answer)).await
    }

    /// Keeps a link to a node, whatever the list of neighbours says.
    pub async fn connect(&self, neighbour: Neighbour) -> Result<(), NodeError> {
        self.brain.send(ToBrain::Ask(Ask::Connect(neighbour))).await.map_err(|_| NodeError::Stopping)
    }

    /// Keeps no link to a node, whatever the list of neighbours says.
    pub async fn disconnect(&self, name: String) -> Result<(), NodeError> {
        self.brain.send(ToBrain::Ask(Ask::Disconnect(name))).await.map_err(|_| NodeError::Stopping)
    }

    /// Bytes that open links have carried.
    pub async fn traffic(&self) -> Result<HashMap<LinkId, Traffic>, NodeError> {
        self.ask(Ask::Traffic).await
    }

    /// Asks whoever publishes a stream at this node to stop, and waits until it has. Whether somebody did.
    pub async fn stop_stream(&self, stream: &StreamName) -> bool {
        let stop = self.shared.published().get(stream).cloned();
        let Some(mut stop) = stop else { return false };
        stop.wanted.notify_one();
        while stop.lives.changed().await.is_ok() {}
        true
    }

    /// The tables of the mesh.
    pub async fn view(&self) -> Result<View, NodeError> {
        self.ask(Ask::View).await
    }

    /// What the brain counted.
    pub async fn counters(&self) -> Result<Counters, NodeError> {
        self.ask(Ask::Counters).await
    }

    /// The PoPs of the mesh, and how far each is from a stream.
    pub async fn pops(&self, stream: Option<StreamName>) -> Result<Vec<PopView>, NodeError> {
        self.ask(|answer| Ask::Pops(stream, answer)).await
    }

    /// The log of a stream that flows through this node.
    pub async fn log(&self, stream: &StreamName) -> Result<Option<Arc<StreamLog>>, NodeError> {
        self.ask(|answer| Ask::Log(stream.clone(), answer)).await
    }

    /// The logs of all streams that flow through this node.
    pub async fn logs(&self) -> Result<HashMap<StreamName, Arc<StreamLog>>, NodeError> {
        self.ask(Ask::Logs).await
    }

    /// The way of a stream from its origin to here; empty if nothing answered in time.
    pub async fn trace(&self, stream: StreamName) -> Result<Vec<Hop>, NodeError> {
        let asked = self.ask(|answer| Ask::Trace(stream, answer));
        match tokio::time::timeout(TRACE_DEADLINE, asked).await {
            Ok(Ok(hops)) => Ok(hops),
            Ok(Err(_)) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Why a stream comes the way it comes; `None` if nobody is known to publish it.
    pub async fn why(&self, stream: StreamName) -> Result<Option<WhyView>, NodeError> {
        self.ask(|answer| Ask::Why(stream, answer)).await
    }

    /// Asks the children to move, and waits until they have, or some seconds. The node goes on serving meanwhile.
    pub async fn drain(&self) {
        // A node that has stopped already has no children.
        let _ = self.ask(Ask::Drain).await;
    }

    /// Asks whoever runs this node to drain and stop it.
    pub fn request_stop(&self) {
        self.shared.stop.notify_one();
    }

    /// Waits for such a request.
    pub async fn stop_requested(&self) {
        self.shared.stop.notified().await;
    }

    /// Says goodbye to the neighbours and stops.
    pub async fn shutdown(&self) {
        // A node that has stopped already has nothing to add.
        let _ = self.ask(Ask::Shutdown).await;
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, NodeError> {
        let (answer, answered) = oneshot::channel();
        self.brain.send(ToBrain::Ask(question(answer))).await.map_err(|_| NodeError::Stopping)?;
        answered.await.map_err(|_| NodeError::Stopping)
    }

    /// Tells the brain something without waiting, even from a destructor.
    fn tell(&self, ask: Ask) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.brain.try_send(ToBrain::Ask(ask)) {
            let brain = self.brain.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { brain.send(event).await });
            }
        }
    }
}

/// A stream that this node publishes; withdrawn when dropped.
#[derive(Debug)]
pub struct Publication {
    /// Where its objects go.
    pub log: Arc<StreamLog>,
    facts: StreamFacts,
    /// Notified when the stream is to stop.
    wanted: Arc<Notify>,
    node: Node,
    /// Closed with it.
    _lives: watch::Sender<()>,
}

impl Publication {
    /// Notified when somebody wants the stream to stop.
    pub fn stop(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    /// What the mesh was last told of it.
    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// Tells the mesh that it goes on in this timeline and with this anchor, and that a group which began now would have
    /// this stamp.
    pub fn describe(&mut self, timeline: u64, anchor: Option<Anchor>, stamp_at_ms: u64) {
        self.facts = StreamFacts { timeline, anchor, stamp_at_ms, ..self.facts.clone() };
        self.node.tell(Ask::Describe(self.facts.clone()));
    }

    /// Tells the mesh that there is a group to ask for.
    pub fn begin(&mut self) {
        self.facts.preparing = false;
        self.node.tell(Ask::Describe(self.facts.clone()));
    }

    /// The node that publishes it.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node's counters.
    pub fn stats(&self) -> &Stats {
        self.node.stats()
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.node.shared.published().remove(&self.facts.name);
        self.node.tell(Ask::Withdraw(self.facts.name.clone()));
    }
}

/// A stream that is read at this node; given up when dropped.
#[derive(Debug)]
pub struct Subscription {
    /// Where its objects come.
    pub log: Arc<StreamLog>,
    /// The group that its reader wanted to begin with, if there can be such a one.
    pub from: Option<GroupId>,
    stream: StreamName,
    node: Node,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.node.tell(Ask::Unsubscribe(self.stream.clone()));
    }
}

async fn accept(endpoint: quinn::Endpoint, context: LinkContext, next_link: Arc<AtomicU64>) {
    let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (context, next_link) = (context.clone(), next_link.clone());
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let connection = match tokio::time::timeout(HANDSHAKE_DEADLINE, async { incoming.await }).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return tracing::warn!(%from, reason = link::describe(&error), "link refused"),
                Err(_) => return tracing::warn!(%from, "link refused: the handshake was not finished in time"),
            };
            drop(permit);
            match trust::peer_identity(&connection) {
                Ok(peer) => {
                    let link = LinkId(next_link.fetch_add(1, Ordering::Relaxed));
                    link::run(link, connection, peer, false, context).await;
                }
                Err(error) => tracing::warn!(%from, %error, "link refused"),
            }
        });
    }
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    unix_micros() / 1_000
}

/// Unix time in microseconds; what timelines are named by.
pub(crate) fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
