//! The loop that drives the brain: events in, outputs carried out. The only place where brain and water meet.

mod asks;
mod routes;
mod taped;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use levada_overlay::message::Hop;
use levada_overlay::node::view::{PopView, View, WhyView};
use levada_overlay::{
    Asker, Event, Input, LinkId, Message, Mode, Neighbour, NodeId, Output, StreamFacts, StreamName, Time,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::link::{self, LinkContext, LinkHandle};
use crate::log::{GroupId, StreamLog};
use crate::trust::PeerIdentity;

use routes::Water;
pub use taped::Taped;

/// Events that may wait for the brain; whoever has more to tell waits.
pub const BRAIN_QUEUE: usize = 4_096;
/// Time to reach one address of a neighbour.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two measurements of how much streams take.
const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// Time for links to close when the node stops.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Time for goodbyes to leave when the node stops.
const GOODBYE_GRACE: Duration = Duration::from_millis(200);

/// What happens to a node, as its tasks tell it.
#[derive(Debug)]
pub enum ToBrain {
    /// A link is open.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// How to write into it.
        handle: LinkHandle,
        /// What the other end's certificate says.
        peer: PeerIdentity,
        /// Whether this node dialled.
        dialed: bool,
        /// Round-trip time of the handshake.
        rtt: Duration,
    },
    /// The echo of a probe came.
    Echo {
        /// From there.
        link: LinkId,
        /// The nonce of the probe.
        nonce: u64,
        /// When: it may have waited for the brain.
        at: Instant,
    },
    /// Something came over a link.
    Heard {
        /// The link.
        link: LinkId,
        /// After this.
        since: Instant,
    },
    /// Some feed brought something newer than all that was held: see `Feeds::take_newer`.
    Newer,
    /// Anything else that the brain takes as it is.
    Input(Input),
    /// A question or a wish of this node's own rooms.
    Ask(Ask),
}

/// Bytes that a link has carried since it came up, everything counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent by this node.
    pub sent: u64,
    /// Received by this node.
    pub received: u64,
}

/// What the node's own rooms (ingest, playout, API) ask of the brain.
#[derive(Debug)]
pub enum Ask {
    /// Begin to publish; answered with the log to write into, or with why not.
    Publish(StreamFacts, oneshot::Sender<Result<Arc<StreamLog>, crate::NodeError>>),
    /// What is published goes on in another way.
    Describe(StreamFacts),
    /// Those who publish a stream, and what they would tell of it now.
    Publishers(StreamName, oneshot::Sender<Vec<(NodeId, StreamFacts)>>),
    /// Cease to publish.
    Withdraw(StreamName),
    /// One more local reader, which may want to read from a group on; answered with the log to read, and with that group if it
    /// may still be had.
    Subscribe(StreamName, Option<GroupId>, oneshot::Sender<(Arc<StreamLog>, Option<GroupId>)>),
    /// One local reader less.
    Unsubscribe(StreamName),
    /// The neighbours that this node shall have by the topology.
    Neighbours(Vec<Neighbour>),
    /// Who accepts links at an address; answered with the name in its certificate, or with why there is none.
    Identify(String, oneshot::Sender<Result<String, String>>),
    /// An operator wants a link to this node.
    Connect(Neighbour),
    /// An operator wants no link to the node of this name.
    Disconnect(String),
    /// Bytes that open links have carried.
    Traffic(oneshot::Sender<HashMap<LinkId, Traffic>>),
    /// The tables.
    View(oneshot::Sender<View>),
    /// The PoPs, and how far each is from a stream.
    Pops(Option<StreamName>, oneshot::Sender<Vec<PopView>>),
    /// What the brain counted.
    Counters(oneshot::Sender<levada_overlay::node::Counters>),
    /// The log of a stream, if it flows through this node.
    Log(StreamName, oneshot::Sender<Option<Arc<StreamLog>>>),
    /// The logs of all streams that flow through this node.
    Logs(oneshot::Sender<HashMap<StreamName, Arc<StreamLog>>>),
    /// The way of a stream.
    Trace(StreamName, oneshot::Sender<Vec<Hop>>),
    /// Why a stream comes the way it comes.
    Why(StreamName, oneshot::Sender<Option<WhyView>>),
    /// Let the children move; answered when the node may stop.
    Drain(oneshot::Sender<()>),
    /// Stop: say goodbye, then end.
    Shutdown(oneshot::Sender<()>),
}

/// Everything that the loop owns.
pub struct Driver {
    brain: Taped,
    started: Instant,
    events: mpsc::Receiver<ToBrain>,
    context: LinkContext,
    endpoint: quinn::Endpoint,
    dial_config: quinn::ClientConfig,
    links: HashMap<LinkId, LinkHandle>,
    next_link: Arc<AtomicU64>,
    water: Water,
    tasks: JoinSet<()>,
    traces: HashMap<u64, oneshot::Sender<Vec<Hop>>>,
    next_ticket: u64,
    /// As the brain knows it.
    viewers: u64,
    draining: Vec<oneshot::Sender<()>>,
}

impl Driver {
    /// Puts the parts together; [`Driver::run`] starts them.
    pub fn new(
        brain: Taped,
        started: Instant,
        events: mpsc::Receiver<ToBrain>,
        context: LinkContext,
        endpoint: quinn::Endpoint,
        dial_config: quinn::ClientConfig,
        next_link: Arc<AtomicU64>,
    ) -> Self {
        let water = Water::new(context.feeds.clone(), context.stats.clone(), context.brain.clone(), started);
        Self {
            water,
            brain,
            started,
            events,
            context,
            endpoint,
            dial_config,
            links: HashMap::new(),
            next_link,
            tasks: JoinSet::new(),
            traces: HashMap::new(),
            next_ticket: 0,
            viewers: 0,
            draining: Vec::new(),
        }
    }

    fn time(&self, at: Instant) -> Time {
        Time::from_micros(at.duration_since(self.started).as_micros() as u64)
    }

    /// Runs until somebody asks for shutdown.
    pub async fn run(mut self) {
        let mut rates = tokio::time::interval(RATE_INTERVAL);
        loop {
            self.drain();
            let due = self.brain.poll_timeout();
            let sleep =
                tokio::time::sleep_until((self.started + Duration::from_micros(due.as_micros().min(1 << 50))).into());
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(ToBrain::Ask(Ask::Shutdown(done))) => return self.shutdown(done).await,
                    Some(event) => self.handle(event),
                    None => return,
                },
                _ = rates.tick() => {
                    self.tell_newer();
                    let now = self.time(Instant::now());
                    for (stream, bps) in self.water.rates() {
                        self.brain.handle_input(Input::Rate { stream, bps }, now);
                    }
                    let stats = &self.context.stats;
                    let (count, max) = (stats.viewers.load(Ordering::Relaxed), stats.viewers_max);
                    if std::mem::replace(&mut self.viewers, count) != count {
                        self.brain.handle_input(Input::Viewers { count, max }, now);
                    }
                }
                () = sleep => {
                    self.tell_newer();
                    let now = self.time(Instant::now());
                    self.brain.handle_timeout(now);
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    async fn shutdown(mut self, done: oneshot::Sender<()>) {
        let now = self.time(Instant::now());
        self.brain.handle_input(Input::Shutdown, now);
        let mut closing = Vec::new();
        while let Some(output) = self.brain.poll_output() {
            match output {
                Output::HangUp { link, reason } => closing.extend(self.links.get(&link).cloned().zip(Some(reason))),
                output => self.carry_out(output),
            }
        }
        // Neighbours dial again as soon as their link is closed.
        self.endpoint.set_server_config(None);
        tokio::time::sleep(GOODBYE_GRACE).await;
        closing.iter().for_each(|(link, reason)| link.close(*reason));
        let reason = levada_overlay::HangUp::Shutdown;
        self.endpoint.close(reason.code().into(), reason.to_string().as_bytes());
        if tokio::time::timeout(CLOSE_GRACE, self.endpoint.wait_idle()).await.is_err() {
            tracing::debug!("some links did not close in time");
        }
        // The asker may have given up waiting.
        let _ = done.send(());
    }

    /// Tells the brain of feeds that brought something newer than all that was held; before anything else.
    fn tell_newer(&mut self) {
        for (feed, position) in self.context.feeds.take_newer() {
            let now = self.time(Instant::now());
            self.brain.handle_input(Input::Newer { feed, position }, now);
            self.drain();
        }
    }

    fn handle(&mut self, event: ToBrain) {
        self.tell_newer();
        let mut now = self.time(Instant::now());
        let input = match event {
            ToBrain::LinkUp { link, handle, peer, dialed, rtt } => {
                self.links.insert(link, handle);
                Input::LinkUp { link, peer: peer.id, name: peer.name, dialed, rtt }
            }
            ToBrain::Echo { link, nonce, at } => {
                now = self.time(at);
                Input::Echo { link, nonce }
            }
            ToBrain::Heard { link, since } => Input::Heard { link, since: self.time(since) },
            ToBrain::Newer => return,
            ToBrain::Input(input) => {
                self.note(&input);
                input
            }
            ToBrain::Ask(ask) => return self.ask(ask, now),
        };
        self.brain.handle_input(input, now);
    }

    /// What the water has to know of an input.
    fn note(&mut self, input: &Input) {
        match input {
            Input::LinkDown { link, .. } => {
                self.links.remove(link);
            }
            Input::Message { link, message: Message::Gap(gap) } => self.context.feeds.gap(*link, gap),
            _ => {}
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.brain.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial(neighbour) => self.dial(neighbour),
            Output::HangUp { link, reason } => {
                if let Some(handle) = self.links.remove(&link) {
                    handle.close(reason);
                }
            }
            Output::Send { link, message } => self.send(link, &message),
            Output::Probe { link, nonce } => {
                if let Some(handle) = self.links.get(&link) {
                    handle.probe(nonce);
                }
            }
            Output::Listen { link } => {
                if let Some(handle) = self.links.get(&link) {
                    handle.listen();
                }
            }
            Output::Join { link, mut join, from_log } => {
                if join.mode == Mode::Full {
                    join.resume = self.water.resume_for(&join, from_log);
                }
                self.send(link, &Message::Join(join));
            }
            Output::Route { stream, route } => {
                let now = self.time(Instant::now());
                for resume in self.water.set_route(&stream, route, &self.links) {
                    self.brain.handle_input(Input::Lacks { stream: stream.clone(), resume }, now);
                }
            }
            Output::TraceAnswer { to, stream, hops } => self.answer_trace(to, &stream, hops),
            Output::Drained => {
                // Whoever asked may have given up waiting.
                for asker in self.draining.drain(..) {
                    let _ = asker.send(());
                }
            }
            Output::Event(event) => {
                report(&event);
                self.context.journal.note_event(&event);
            }
        }
    }

    fn send(&self, link: LinkId, message: &Message) {
        if let Some(handle) = self.links.get(&link) {
            handle.control.send(message);
        }
    }

    fn answer_trace(&mut self, to: Asker, stream: &StreamName, mut hops: Vec<Hop>) {
        let age = self.water.log(stream).and_then(|log| log.head()).map(|(_, age)| age.as_micros() as u64);
        if let Some(here) = hops.last_mut() {
            here.newest_age_us = age;
        }
        match to {
            Asker::Child(link, id) => self.send(link, &Message::TraceReply { id, hops }),
            Asker::Local(ticket) => {
                if let Some(asker) = self.traces.remove(&ticket) {
                    // The asker may have given up waiting.
                    let _ = asker.send(hops);
                }
            }
        }
    }

    fn dial(&mut self, neighbour: Neighbour) {
        let (endpoint, config, context) = (self.endpoint.clone(), self.dial_config.clone(), self.context.clone());
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        self.tasks.spawn(async move {
            match connect(&endpoint, config, &neighbour).await {
                Ok((connection, peer)) => link::run(link, connection, peer, true, context).await,
                Err(reason) => {
                    // Fails only when the node is stopping.
                    let failed = Input::DialFailed { name: neighbour.name, reason };
                    let _ = context.brain.send(ToBrain::Input(failed)).await;
                }
            }
        });
    }
}

/// The name of who accepts links at an address, who learns this node's.
async fn identify(endpoint: &quinn::Endpoint, config: quinn::ClientConfig, address: &str) -> Result<String, String> {
    let attempt = connect_to(endpoint, config, address);
    match tokio::time::timeout(DIAL_TIMEOUT, attempt).await {
        Ok(Ok((connection, peer))) => {
            link::close(&connection, levada_overlay::HangUp::Duplicate);
            Ok(peer.name)
        }
        Ok(Err(reason)) => Err(format!("{address}: {reason}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}

/// Tries the addresses of a neighbour in their order.
async fn connect(
    endpoint: &quinn::Endpoint,
    config: quinn::ClientConfig,
    neighbour: &Neighbour,
) -> Result<(quinn::Connection, PeerIdentity), String> {
    let mut failures = Vec::new();
    for address in &neighbour.addresses {
        let attempt = connect_to(endpoint, config.clone(), address);
        match tokio::time::timeout(DIAL_TIMEOUT, attempt).await {
            Ok(Ok((_, peer))) if peer.name != neighbour.name => {
                failures.push(format!("{address} is node {}, not {}", peer.name, neighbour.name));
            }
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(reason)) => failures.push(format!("{address}: {reason}")),
            Err(_) => failures.push(format!("{address} does not answer")),
        }
    }
    Err(failures.join("; "))
}

async fn connect_to(
    endpoint: &quinn::Endpoint,
    config: quinn::ClientConfig,
    address: &str,
) -> Result<(quinn::Connection, PeerIdentity), String> {
    let address: SocketAddr = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("cannot be resolved ({error})"))?
        .next()
        .ok_or_else(|| "has no address".to_owned())?;
    let connecting = endpoint.connect_with(config, address, crate::trust::SERVER_NAME).map_err(|e| e.to_string())?;
    let connection = connecting.await.map_err(|error| link::describe(&error))?;
    let peer = crate::trust::peer_identity(&connection).map_err(|error| error.to_string())?;
    Ok((connection, peer))
}

fn report(event: &Event) {
    match event {
        Event::LinkUp { peer } => tracing::info!(peer, "link up"),
        Event::LinkDown { peer, reason } => tracing::info!(peer, reason, "link down"),
        Event::Committed { stream, parent, before, cause, position, mode: Mode::Full } => {
            let before = before.as_deref().unwrap_or("none");
            tracing::info!(%stream, parent, before, %cause, %position, "new parent");
        }
        Event::Committed { stream, parent, mode: Mode::Shadow, .. } => {
            tracing::debug!(%stream, parent, "it tells how far the stream is");
        }
        Event::Suspected { stream, parent } => {
            tracing::info!(%stream, parent, "the parent does not keep up; asking elsewhere");
        }
        Event::Cleared { stream, parent } => tracing::info!(%stream, parent, "the parent keeps up again"),
        Event::Adopting { stream, node } => {
            tracing::info!(%stream, node, "no neighbour can give the stream; dialling a node further up");
        }
        Event::Refused { stream, by, reason, alternates } => {
            tracing::debug!(%stream, by, %reason, ?alternates, "refused");
        }
        Event::Waiting { stream } => {
            tracing::info!(%stream, "no path to the stream yet; it goes on by itself")
        }
        Event::RecordRefused { peer, reason } => tracing::warn!(peer, reason, "record refused"),
    }
}
