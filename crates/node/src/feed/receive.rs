//! Receiving: one task per incoming stream, which puts objects into the log as they arrive.
//!
//! Payload is copied once, out of QUIC's packet buffers into blocks that objects share; from there on only reference
//! counts change hands.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use levada_media::object::{LAYERS, MAX_BODY, get_varint};
use levada_media::{Layer, Object, ObjectError};
use levada_overlay::message::Gap;
use levada_overlay::position::{STAMP_MAX, TIMELINE_MAX};
use levada_overlay::{FeedId, Inflow, Mode, Position, Resume};
use quinn::{RecvStream, VarInt};
use tokio::sync::mpsc;

use super::Watched;
use crate::driver::ToBrain;
use crate::log::{GroupId, Inserted, StreamLog};
use crate::stats::Stats;

/// Bytes read at once; objects of one block share it. Tuned: four of the largest objects.
const BLOCK: usize = 64 * 1024;
/// Code with which a stream of an unknown feed is stopped: usually one that was just left (docs/protocol.md).
const CODE_UNKNOWN_FEED: u32 = 2;
/// Code with which a stream is stopped that breaks the protocol.
const CODE_PROTOCOL: u32 = 3;

/// The feeds that this node has asked for, over all links.
#[derive(Debug, Default)]
pub struct Feeds {
    inlets: Mutex<HashMap<FeedId, Arc<Inlet>>>,
    /// First newer objects of feeds whose inlets were to report them, which the brain does not know of yet; at most one
    /// a feed.
    newer: Mutex<Vec<(FeedId, Position)>>,
}

/// Where a feed goes.
#[derive(Debug)]
pub struct Inlet {
    /// The link it must come over.
    pub link: levada_overlay::LinkId,
    /// The log that takes its objects.
    pub log: Arc<StreamLog>,
    /// Objects, or only how far the parent is.
    mode: Mode,
    /// A shadow that stands for the stream itself.
    passed_on: bool,
    watched: Arc<Watched>,
    /// The first object newer than everything held is still to be reported (the commit rule).
    report_newer: AtomicBool,
    open: AtomicBool,
    objects: AtomicU64,
    opened_at: Instant,
    /// Microseconds after `opened_at` at which the newest object came, and one: 0 is none.
    newest_us: AtomicU64,
    /// Per layer: what its parent dropped lies before this stamp.
    dropped: [AtomicU64; LAYERS],
}

impl Inlet {
    /// An inlet for a feed that was asked for.
    pub fn new(inflow: &Inflow, log: Arc<StreamLog>, watched: Arc<Watched>) -> Self {
        Self {
            link: inflow.link,
            log,
            mode: inflow.mode,
            passed_on: inflow.passed_on || inflow.report,
            watched,
            report_newer: AtomicBool::new(inflow.report),
            open: AtomicBool::new(true),
            objects: AtomicU64::new(0),
            opened_at: Instant::now(),
            newest_us: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    /// The next object newer than everything held is to be reported, or no longer.
    pub fn report(&self, yes: bool) {
        self.report_newer.store(yes, Ordering::Release);
    }

    /// When it brought its newest object, and how many it has brought.
    pub fn brought(&self) -> (Option<Instant>, u64) {
        let since_us = self.newest_us.load(Ordering::Relaxed).checked_sub(1);
        let at = since_us.map(|us| self.opened_at + Duration::from_micros(us));
        (at, self.objects.load(Ordering::Relaxed))
    }

    fn bring(&self, at: Instant) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        // Layers come over streams of their own, each with a task.
        let since_us = at.saturating_duration_since(self.opened_at).as_micros() as u64;
        self.newest_us.fetch_max(since_us + 1, Ordering::Relaxed);
    }

    fn drop_before(&self, layer: Layer, stamp: u64) {
        self.dropped[layer as usize].fetch_max(stamp, Ordering::Relaxed);
    }

    fn dropped_before(&self, layer: Layer) -> u64 {
        self.dropped[layer as usize].load(Ordering::Relaxed)
    }
}

impl Feeds {
    fn inlets(&self) -> std::sync::MutexGuard<'_, HashMap<FeedId, Arc<Inlet>>> {
        self.inlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or replaces an inlet.
    pub fn open(&self, feed: FeedId, inlet: Arc<Inlet>) {
        let log = (inlet.mode == Mode::Full).then(|| inlet.log.clone());
        self.inlets().insert(feed, inlet);
        // From now on nothing is given up that only others dropped.
        if let Some(log) = log {
            log.hope();
        }
    }

    /// Closes an inlet; objects that are still on their way are passed over.
    pub fn close(&self, feed: FeedId) {
        let removed = self.inlets().remove(&feed);
        if let Some(inlet) = removed {
            inlet.open.store(false, Ordering::Release);
            self.skip_dropped(&inlet.log);
        }
    }

    /// Finds the inlet of a feed over a link.
    pub fn get(&self, feed: FeedId, link: levada_overlay::LinkId) -> Option<Arc<Inlet>> {
        self.inlets().get(&feed).filter(|inlet| inlet.link == link).cloned()
    }

    /// Whether objects come over a link, or are to.
    pub fn come_over(&self, link: levada_overlay::LinkId) -> bool {
        self.inlets().values().any(|inlet| inlet.link == link && inlet.mode == Mode::Full)
    }

    /// Notes that a feed brought its first object newer than everything held.
    fn brought_newer(&self, feed: FeedId, position: Position) {
        self.newer.lock().unwrap_or_else(PoisonError::into_inner).push((feed, position));
    }

    /// Takes what the brain must know before anything else: else it might leave a parent whose objects have been passed
    /// on already, and a descendant of this node could be ahead of its new ancestor.
    pub fn take_newer(&self) -> Vec<(FeedId, Position)> {
        std::mem::take(&mut *self.newer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of how far a parent is. Gives what is to be reported to the brain.
    pub fn front(&self, feed: FeedId, link: levada_overlay::LinkId, front: Resume) -> Option<ToBrain> {
        let inlet = self.get(feed, link).filter(|inlet| inlet.mode == Mode::Shadow)?;
        inlet.watched.announce(feed, front);
        if !inlet.passed_on || !inlet.log.announce(front) {
            return None;
        }
        inlet.log.wake();
        let (group, index) = front.layers.into_iter().max().unwrap_or_default();
        let position = Position { timeline: front.timeline, group, index };
        inlet.report_newer.swap(false, Ordering::AcqRel).then(|| {
            self.brought_newer(feed, position);
            ToBrain::Newer
        })
    }

    /// Takes note that a parent dropped part of a feed.
    pub fn gap(&self, link: levada_overlay::LinkId, gap: &Gap) {
        if let Some(inlet) = self.get(gap.feed, link).filter(|inlet| inlet.mode == Mode::Full)
            && let Some(layer) = Layer::from_number(u64::from(gap.layer))
        {
            inlet.drop_before(layer, gap.to.0);
            self.skip_dropped(&inlet.log);
        }
    }

    /// What all open feeds of a log have dropped will not come; what one of them dropped another may still bring.
    fn skip_dropped(&self, log: &Arc<StreamLog>) {
        let feeds = |inlet: &&Arc<Inlet>| inlet.mode == Mode::Full && Arc::ptr_eq(&inlet.log, log);
        let open: Vec<Arc<Inlet>> = self.inlets().values().filter(feeds).cloned().collect();
        for layer in Layer::ALL {
            let dropped = open.iter().map(|inlet| inlet.dropped_before(layer)).min().unwrap_or(0);
            if dropped > 0 {
                log.skip(layer, dropped);
                log.wake();
            }
        }
    }
}

/// Why an incoming stream was ended.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The header is not one.
    #[error("the header of a media stream is malformed")]
    Header,
    /// The feed is not one that was asked for over this link.
    #[error("the media stream belongs to no feed that is open")]
    UnknownFeed,
    /// An object is malformed.
    #[error("a media stream holds a malformed object")]
    Object(#[from] ObjectError),
    /// The stream ends within an object.
    #[error("a media stream ends within an object")]
    Truncated,
    /// The transport failed.
    #[error("a media stream broke off")]
    Read(#[from] quinn::ReadError),
}

/// Reads one incoming stream to its end.
pub async fn receive(
    mut stream: RecvStream,
    link: levada_overlay::LinkId,
    feeds: Arc<Feeds>,
    brain: mpsc::Sender<ToBrain>,
    stats: Arc<Stats>,
) -> Result<(), ReceiveError> {
    let result = read_all(&mut stream, link, &feeds, &brain, &stats).await;
    let code = match &result {
        Err(ReceiveError::UnknownFeed) => CODE_UNKNOWN_FEED,
        Err(ReceiveError::Header | ReceiveError::Object(_) | ReceiveError::Truncated) => CODE_PROTOCOL,
        Ok(()) | Err(ReceiveError::Read(_)) => return result,
    };
    // Stopping fails only on a stream that is closed already.
    let _ = stream.stop(VarInt::from_u32(code));
    result
}

async fn read_all(
    stream: &mut RecvStream,
    link: levada_overlay::LinkId,
    feeds: &Feeds,
    brain: &mpsc::Sender<ToBrain>,
    stats: &Stats,
) -> Result<(), ReceiveError> {
    let mut block = BytesMut::new();
    let mut target: Option<Target> = None;
    loop {
        let inserted = take_objects(&mut block, &mut target, link, feeds, brain, stats).await?;
        if let Some(target) = target.as_ref().filter(|_| inserted) {
            target.inlet.log.wake();
        }
        if target.as_ref().is_some_and(|target| target.ended) {
            return if block.is_empty() { Ok(()) } else { Err(ReceiveError::Truncated) };
        }
        if block.capacity() - block.len() < MAX_BODY + 8 {
            block.reserve(BLOCK);
        }
        // Only what has arrived is read, so an object goes on as soon as its last byte is here.
        let room = block.capacity() - block.len();
        let Some(chunk) = stream.read_chunk(room, true).await? else {
            // A parent that lost its own supply finishes without an end mark; the feed goes on elsewhere.
            return if block.is_empty() { Ok(()) } else { Err(ReceiveError::Truncated) };
        };
        block.extend_from_slice(&chunk.bytes);
    }
}

struct Target {
    inlet: Arc<Inlet>,
    feed: FeedId,
    group: GroupId,
    /// The group before it in its timeline, if the parent knows.
    previous: Option<u64>,
    layer: Layer,
    ended: bool,
}

/// Takes all whole objects out of `block`. Tells whether the log changed.
async fn take_objects(
    block: &mut BytesMut,
    target: &mut Option<Target>,
    link: levada_overlay::LinkId,
    feeds: &Feeds,
    brain: &mpsc::Sender<ToBrain>,
    stats: &Stats,
) -> Result<bool, ReceiveError> {
    let target = match target {
        Some(target) => target,
        None => match header(block, link, feeds)? {
            Some(header) => target.insert(header),
            None => return Ok(false),
        },
    };
    let mut inserted = false;
    while let Some(len) = Object::wire_len(block)? {
        if len == 1 {
            let mut rest = block.get(1..).unwrap_or_default();
            let Some(total) = get_varint(&mut rest) else {
                break;
            };
            let used = block.len() - rest.len();
            block.advance(used);
            let total = u32::try_from(total).map_err(|_| ObjectError::OutOfRange("total"))?;
            target.inlet.log.end_if(&target.inlet.open, target.group, target.layer, total);
            target.ended = true;
            return Ok(true);
        }
        if block.len() < len {
            break;
        }
        let wire: Bytes = block.split_to(len).freeze();
        let object = Object::parse(wire)?;
        Stats::add(&stats.objects_in, 1);
        Stats::add(&stats.bytes_in, len as u64);
        let position = target.group.at(object.index);
        let (log, open) = (&target.inlet.log, &target.inlet.open);
        let now = Instant::now();
        target.inlet.bring(now);
        let inserting = log.insert_if(open, target.group, target.previous, object, now);
        let outcome = inserting.ok_or(ReceiveError::UnknownFeed)?;
        if outcome == Inserted::Duplicate {
            Stats::add(&stats.duplicates, 1);
        }
        inserted |= matches!(outcome, Inserted::Newest | Inserted::Filled);
        if outcome == Inserted::Newest && target.inlet.report_newer.swap(false, Ordering::AcqRel) {
            feeds.brought_newer(target.feed, position);
            // Fails only when the node is stopping.
            let _ = brain.send(ToBrain::Newer).await;
        }
    }
    Ok(inserted)
}

fn header(block: &mut BytesMut, link: levada_overlay::LinkId, feeds: &Feeds) -> Result<Option<Target>, ReceiveError> {
    let mut rest = &block[..];
    let mut field = || get_varint(&mut rest);
    let (Some(feed), Some(timeline), Some(group)) = (field(), field(), field()) else { return Ok(None) };
    let (Some(layer), Some(since)) = (field(), field()) else { return Ok(None) };
    let used = block.len() - rest.len();
    block.advance(used);
    let layer = Layer::from_number(layer).ok_or(ReceiveError::Header)?;
    if group >= STAMP_MAX || timeline > TIMELINE_MAX {
        return Err(ReceiveError::Header);
    }
    let feed = FeedId(feed);
    let inlet = feeds.get(feed, link).filter(|inlet| inlet.mode == Mode::Full).ok_or(ReceiveError::UnknownFeed)?;
    let previous = group.checked_sub(since).filter(|_| since > 0);
    Ok(Some(Target { inlet, feed, group: GroupId { group, timeline }, previous, layer, ended: false }))
}

#[cfg(test)]
mod tests;
