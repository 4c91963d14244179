//! Streams as HLS: made once per node, from the first request on until a while after the last one.

mod sessions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use levada_media::hls::{Cutter, Refused, TARGET_S, Variant, Window};
use levada_media::object::CATALOG_TRACK;
use levada_media::{Assembler, Catalog, Object};
use levada_overlay::StreamName;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::log::{FrameCursor, FrameStep, GroupId};
use crate::node::{Node, NodeError, Subscription};
use crate::stats::Stats;

use sessions::Sessions;

pub use sessions::HlsViewer;

/// A stream that nobody asks for goes on being made for this long. Tuned: longer than any player waits between two requests, and
/// than a viewer who looks at another stream.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most streams made at once; their memory is bounded by each one's window.
const STREAMS_MAX: usize = 256;
/// Most requests that wait at once. Tuned: a player waits for a playlist and a part.
const WAITING_MAX: usize = 20_000;
/// A request that had to wait for three target durations is refused (draft-pantos-hls-rfc8216bis, section 6.2.5.2).
const PATIENCE: Duration = Duration::from_secs(3 * TARGET_S);
/// A stream is begun this many milliseconds before where its publisher is, so that there are whole segments at once. Tuned: the logs of
/// others hold ten seconds ([`crate::log::KEEP`]), and how far a publisher is is known to a second.
const PAST_MS: u64 = 8_000;
/// ... and is given out when it has come so near to where its publisher was then, in milliseconds: ages of records are whole seconds ...
const NEAR_MS: u64 = 1_000;
/// ... or when this has passed: nothing may be coming. Tuned: eight seconds of a stream over a link that carries five times as much.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// Objects taken from the log at once.
const BATCH: usize = 64;
/// The log is looked at again after this long, to notice holes that will not fill, and that nobody asks any more.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a request is not answered with media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HlsError {
    /// The player asks for what the draft forbids it to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It did not come in time.
    #[error("the stream brought nothing for {} s; ask again", PATIENCE.as_secs())]
    Late,
    /// More requests than are kept waiting.
    #[error("{WAITING_MAX} requests wait already; try another PoP")]
    Full,
}

/// All streams of a node that are made into HLS.
#[derive(Clone, Debug)]
pub struct HlsStreams {
    node: Node,
    open: Arc<Mutex<HashMap<StreamName, Arc<HlsStream>>>>,
    waiting: Arc<Semaphore>,
}

/// One of them.
#[derive(Debug)]
pub struct HlsStream {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// The playlist, once somebody asked for it as it is now.
    playlist: Option<Bytes>,
    /// What lies before is still coming.
    past: Option<Past>,
    sessions: Sessions,
    asked_at: Instant,
}

/// The past of a stream that is begun.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Where it begins.
    from: GroupId,
    /// Whoever plays the stream shall begin after this, Unix time in milliseconds.
    to_ms: u64,
    /// It is waited for no longer.
    until: Instant,
}

impl HlsStreams {
    /// None yet.
    pub fn new(node: Node) -> Self {
        Self { node, open: Arc::default(), waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// The stream, if it is being made; it goes on being made for a while.
    pub fn find(&self, name: &StreamName) -> Option<Arc<HlsStream>> {
        let open = self.open();
        let stream = open.get(name)?;
        stream.state().asked_at = Instant::now();
        Some(stream.clone())
    }

    /// The stream, made from now on if it was not; `None`: as many as may be are being made.
    pub async fn open_stream(&self, name: &StreamName) -> Result<Option<Arc<HlsStream>>, NodeError> {
        if let Some(stream) = self.find(name) {
            return Ok(Some(stream));
        }
        let past = self.past_of(name).await?;
        let subscription = self.node.subscribe(name.clone(), past.map(|past| past.from)).await?;
        let mut open = self.open();
        // Another request may have been quicker.
        if let Some(stream) = open.get(name) {
            return Ok(Some(stream.clone()));
        }
        if open.len() >= STREAMS_MAX {
            return Ok(None);
        }
        let past = past.filter(|past| subscription.from == Some(past.from));
        let stream = Arc::new(HlsStream::new(past, self.node.stats().clone(), self.waiting.clone()));
        open.insert(name.clone(), stream.clone());
        tokio::spawn(self.clone().make(name.clone(), subscription, stream.clone()));
        Ok(Some(stream))
    }

    /// Viewers of a stream now.
    pub fn viewers(&self, stream: &str) -> u64 {
        let open = self.open();
        let of_stream = open.iter().find(|(name, _)| name.as_str() == stream);
        of_stream.map_or(0, |(_, stream)| stream.state().sessions.len() as u64)
    }

    /// What others hold of a stream already. Of several broadcasts it is not known which one will come.
    async fn past_of(&self, name: &StreamName) -> Result<Option<Past>, NodeError> {
        let publishers = self.node.publishers_of(name).await?;
        let Some((_, first)) = publishers.first() else { return Ok(None) };
        let reached_ms = publishers.iter().map(|(_, facts)| facts.stamp_at_ms).min().unwrap_or_default();
        let one = publishers.iter().all(|(_, facts)| facts.timeline == first.timeline);
        Ok((one && reached_ms > PAST_MS).then(|| Past {
            from: GroupId { group: reached_ms - PAST_MS, timeline: first.timeline },
            to_ms: reached_ms - NEAR_MS,
            until: Instant::now() + CATCH_UP_MAX,
        }))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<StreamName, Arc<HlsStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a stream until nobody has asked for it for a while.
    async fn make(self, name: StreamName, subscription: Subscription, stream: Arc<HlsStream>) {
        let log = &subscription.log;
        let mut changes = log.watch();
        let mut maker = Maker::default();
        // What a relay holds already is there to be watched at once, and what others hold comes soon.
        let from = log.oldest_group().into_iter().chain(subscription.from).min();
        let mut cursor = from.map_or_else(FrameCursor::newest, FrameCursor::at);
        let mut objects = Vec::with_capacity(BATCH);
        let stats = self.node.stats();
        loop {
            objects.clear();
            changes.mark_unchanged();
            cursor.patient = stream.awaits_past();
            let (read, lost) = (cursor.read, cursor.lost);
            let step = cursor.next(log, BATCH, &mut objects, Instant::now());
            Stats::add(&stats.delivered, cursor.read - read);
            Stats::add(&stats.lost, cursor.lost - lost);
            if let FrameStep::Objects(id) = step {
                for object in &objects {
                    if let Err(error) = maker.take(id, || log.previous(id), object) {
                        Stats::add(&stats.unplayable, 1);
                        tracing::debug!(stream = %name, error, group = id.group, "an object cannot be played");
                    }
                }
                stream.apply(&mut maker.cutter);
                continue;
            }
            stream.look();
            // The lock is held while it is decided, so that no request finds a stream that is about to end.
            {
                let mut open = self.open();
                if stream.state().asked_at.elapsed() > IDLE_MAX {
                    open.remove(&name);
                    return;
                }
            }
            // The subscription keeps the log alive, so only the timeout can end this early.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }
}

impl HlsStream {
    fn new(past: Option<Past>, stats: Arc<Stats>, waiting: Arc<Semaphore>) -> Self {
        let (window, sessions) = (Window::default(), Sessions::new(stats));
        let state = State { window, playlist: None, past, sessions, asked_at: Instant::now() };
        Self { state: Mutex::new(state), changes: watch::Sender::new(0), waiting }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, cutter: &mut Cutter) {
        let mut state = self.state();
        let mut changed = false;
        for cut in cutter.cuts() {
            state.window.apply(cut);
            changed = true;
        }
        if changed {
            state.playlist = None;
            drop(state);
            self.changed();
        }
    }

    fn awaits_past(&self) -> bool {
        self.state().past.is_some()
    }

    /// Ends the wait for the past, if that is over, and forgets viewers who are gone.
    fn look(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.sessions.look(now);
        let reached_ms = state.window.reached_ms();
        if state.past.take_if(|past| reached_ms >= Some(past.to_ms) || now >= past.until).is_some() {
            drop(state);
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Counts a viewer, who asks for the playlist; false: the node has as many as it takes.
    pub fn admit(&self, viewer: HlsViewer) -> bool {
        self.state().sessions.admit(viewer, Instant::now())
    }

    /// The media playlist, once it holds what is asked for (draft, section 6.2.5.2); without anything asked for, as it is.
    pub async fn playlist(&self, wanted: Option<(u64, Option<usize>)>) -> Result<Bytes, HlsError> {
        self.wait(|state| {
            // Nothing is too far ahead of what is still coming.
            if state.past.is_some() {
                return Ok(None);
            }
            let has = wanted.map_or(Ok(true), |(number, part)| state.window.has(number, part))?;
            if !has || !state.window.is_ready() {
                return Ok(None);
            }
            let window = &state.window;
            Ok(Some(state.playlist.get_or_insert_with(|| window.playlist().into()).clone()))
        })
        .await
    }

    /// What the stream is, once that is known.
    pub async fn variant(&self) -> Result<Variant, HlsError> {
        self.wait(|state| Ok(state.window.variant())).await
    }

    /// A part, at once if it is there, and when it comes if it is the next one (draft, section 6.2.6). `None`: there is none, or there
    /// came another one in its place.
    pub async fn part(&self, number: u64, part: usize) -> Result<Option<Bytes>, HlsError> {
        self.wait(|state| {
            let found = state.window.part(number, part);
            let may_come = state.past.is_some() || state.window.is_hinted(number, part);
            Ok((found.is_some() || !may_come).then_some(found))
        })
        .await
    }

    /// A whole segment, in parts.
    pub fn segment(&self, number: u64) -> Option<Vec<Bytes>> {
        self.state().window.segment(number)
    }

    /// An initialisation segment.
    pub fn init(&self, name: &str) -> Option<Bytes> {
        self.state().window.init(name)
    }

    /// Looks whenever something changed, until there is an answer.
    async fn wait<T>(&self, look: impl Fn(&mut State) -> Result<Option<T>, HlsError>) -> Result<T, HlsError> {
        let mut changes = self.changes.subscribe();
        let mut permit: Option<SemaphorePermit<'_>> = None;
        let deadline = Deadline::now() + PATIENCE;
        loop {
            changes.mark_unchanged();
            if let Some(answer) = look(&mut self.state())? {
                return Ok(answer);
            }
            if permit.is_none() {
                permit = Some(self.waiting.try_acquire().map_err(|_| HlsError::Full)?);
            }
            // The stream cannot end under a request that holds it, so only the deadline ends this early.
            timeout_at(deadline, changes.changed()).await.map_err(|_| HlsError::Late)?.map_err(|_| HlsError::Late)?;
        }
    }
}

/// From objects to cuts.
#[derive(Debug, Default)]
struct Maker {
    assembler: Assembler,
    cutter: Cutter,
    /// The group whose catalog has come.
    group: Option<GroupId>,
}

impl Maker {
    /// `previous` tells the stamp of the group before, and is asked once for each group.
    fn take(&mut self, id: GroupId, previous: impl FnOnce() -> Option<u64>, object: &Object) -> Result<(), String> {
        if object.track == CATALOG_TRACK {
            let catalog: Catalog = serde_json::from_slice(&object.payload()).map_err(|error| error.to_string())?;
            if self.group.is_none_or(|group| group.timeline != id.timeline) {
                self.assembler = Assembler::default();
            }
            self.group = Some(id);
            return self.cutter.group(id.timeline, id.group, previous(), &catalog).map_err(|error| error.to_string());
        }
        // A group without its catalog has no beginning: what follows it is entered anew.
        if self.group != Some(id) {
            return Ok(());
        }
        let frame = self.assembler.push(object).map_err(|error| error.to_string())?;
        frame.into_iter().for_each(|frame| self.cutter.frame(frame));
        Ok(())
    }
}
