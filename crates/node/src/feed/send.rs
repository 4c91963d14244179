//! Sending: one task per child, stream and layer, each with a cursor into the log. What must not hold it up has a task of its own, as long as it
//! is needed: what goes twice, and gaps that are told once what was written before them has arrived.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use levada_media::object::put_varint;
use levada_media::{Layer, Object};
use levada_overlay::message::Gap;
use levada_overlay::{FeedId, Message, Resume};
use quinn::{SendStream, VarInt, WriteError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::link::{LinkHandle, Turn};
use crate::log::{GroupId, LayerCursor, LayerStep, Squeeze, StreamLog};
use crate::stats::Stats;

/// Objects taken from the log at once. Tuned: a large frame is handed over in one go.
const BATCH: usize = 16;
/// Where they wait for room, whether they are late is asked of each of them.
const BATCH_SHORT: usize = 1;
/// Bytes that are written at once while others may be more urgent: as long as a few packets.
const PIECE: usize = 4 * 1024;
/// A cursor looks again after this long even if nothing was put into the log, to notice deadlines.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// First bytes of each layer that are sent twice where a feed goes on over a link that may lose packets, and that nothing came over
/// before: children have nothing to show meanwhile, and what is lost comes a round trip later and more. Tuned: a large picture of
/// a stream of some Mbit/s.
const TWICE: usize = 64 * 1024;
/// Batches that wait to be sent the second time; what finds no room there goes once.
const TWICE_WAITING: usize = 64;
/// A link may lose packets if it would have lost one of so many, were the next one lost: one that has carried little, as to a node that stood
/// by for some seconds, has not shown yet that it does not.
const LOST_ONE_OF: u64 = 500;
/// What was written before video was passed over has so long to arrive. Tuned: longer than packets may queue.
const ARRIVES: Duration = Duration::from_secs(1);
/// Gaps that wait to be told.
const GAPS_WAITING: usize = 8;
/// Code with which a stream is reset whose deadline has passed (docs/protocol.md).
const CODE_LATE: u32 = 1;
/// Code with which a stream is reset whose feed has ended.
const CODE_ENDED: u32 = 4;

/// Where a child is to be reached.
#[derive(Clone)]
pub struct ChildTarget {
    /// The link.
    pub link: LinkHandle,
    /// Number of the feed.
    pub feed: FeedId,
}

/// A running feed to a child; ends when dropped.
pub struct ChildFeed {
    _tasks: JoinSet<()>,
}

impl ChildFeed {
    /// Starts a task that tells how far the log is, without objects.
    pub fn shadow(log: Arc<StreamLog>, target: &ChildTarget) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(super::shadow::tell_fronts(log, target.link.connection.clone(), target.feed));
        Self { _tasks: tasks }
    }

    /// Starts the tasks of all layers.
    pub fn start(log: Arc<StreamLog>, target: ChildTarget, resume: Option<Resume>, stats: Arc<Stats>) -> Self {
        let mut tasks = JoinSet::new();
        // All layers start in the same group, whichever looks first.
        let start = Arc::new(OnceLock::new());
        let squeeze = Arc::<Squeeze>::default();
        // What the first layer sends warms the link for the others.
        let warm = target.link.warmth.since(Instant::now());
        let anxious = resume.is_some() && warm.is_none() && may_lose(&target.link.connection.stats().path);
        for layer in Layer::ALL {
            let (log, target, stats, start) = (log.clone(), target.clone(), stats.clone(), start.clone());
            let squeeze = squeeze.clone();
            tasks.spawn(async move {
                let cursor = match resume {
                    Some(resume) => LayerCursor::resume(layer, &resume),
                    None => LayerCursor::start(layer, Some(first_group(&log, &start).await)),
                };
                let cursor = cursor.over_warm(warm).beside(squeeze);
                let outlet = Outlet { log, target, layer };
                let again = if anxious { Again::begin(outlet.clone()) } else { Again::default() };
                let sender = LayerSender::new(outlet, stats, again);
                if let Err(error) = sender.run(cursor).await {
                    tracing::debug!(?layer, %error, "feed to a child ended");
                }
            });
        }
        Self { _tasks: tasks }
    }
}

async fn first_group(log: &StreamLog, start: &OnceLock<GroupId>) -> GroupId {
    let mut changes = log.watch();
    loop {
        if let Some(group) = start.get().copied().or_else(|| log.newest_group()) {
            return *start.get_or_init(|| group);
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn may_lose(path: &quinn::PathStats) -> bool {
    (path.lost_packets + 1) * LOST_ONE_OF > path.sent_packets
}

/// Where the objects of one layer go.
#[derive(Clone)]
struct Outlet {
    log: Arc<StreamLog>,
    target: ChildTarget,
    layer: Layer,
}

impl Outlet {
    /// A stream with its header; audio and data before video, discardable video last. Streams of the same layer take turns.
    async fn begin(&self, group: GroupId) -> Result<SendStream, WriteError> {
        let mut stream = self.target.link.connection.open_uni().await?;
        // Setting it fails only on a stream that is closed.
        let _ = stream.set_priority(-(self.layer as i32));
        let mut header = BytesMut::with_capacity(32);
        let since = self.log.previous(group).map_or(0, |previous| group.group - previous);
        for field in [self.target.feed.0, group.timeline, group.group, self.layer as u64, since] {
            put_varint(&mut header, field);
        }
        stream.write_chunk(header.freeze()).await?;
        Ok(stream)
    }

    /// Where packets queue.
    fn is_short(&self) -> bool {
        self.target.link.turns.is_short()
    }

    fn tell(&self, gap: Gap) {
        self.target.link.control.send(&Message::Gap(gap));
    }
}

/// A stream of a feed. The feed may end within an object; the child must not take that for its end.
#[derive(Default)]
struct Open(Option<SendStream>);

impl Open {
    /// Gives the stream, of which something may still be on its way.
    fn finish(&mut self) -> Option<SendStream> {
        let mut stream = self.0.take()?;
        // Finishing fails only if the child stopped the stream, and then nothing is owed.
        let _ = stream.finish();
        Some(stream)
    }

    fn reset(&mut self, code: u32) {
        if let Some(mut stream) = self.0.take() {
            // Fails only on a stream that is closed already.
            let _ = stream.reset(VarInt::from_u32(code));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reset(CODE_ENDED);
    }
}

/// What is sent a second time, by a task of its own: what is sent for the first time does not wait for it. By default nothing.
#[derive(Default)]
struct Again {
    /// Bytes that still are.
    left: usize,
    objects: Option<mpsc::Sender<(GroupId, Vec<Bytes>)>>,
    _task: JoinSet<()>,
}

impl Again {
    fn begin(outlet: Outlet) -> Self {
        let (objects, waiting) = mpsc::channel(TWICE_WAITING);
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The link is gone, or the child wants no more of it.
            let _ = send_again(&outlet, waiting).await;
        });
        Self { left: TWICE, objects: Some(objects), _task: task }
    }

    /// Sends as many of these objects as are to be sent twice.
    fn send(&mut self, group: GroupId, objects: &[Bytes]) {
        let Some(sender) = &self.objects else { return };
        let taken = objects.iter().take_while(|object| {
            let wanted = self.left > 0;
            self.left = self.left.saturating_sub(object.len());
            wanted
        });
        // They are sent once if there is no room.
        let _ = sender.try_send((group, taken.cloned().collect()));
        if self.left == 0 {
            self.objects = None;
        }
    }
}

/// Whole objects, and no end mark: that is for the first stream to bring.
async fn send_again(outlet: &Outlet, mut waiting: mpsc::Receiver<(GroupId, Vec<Bytes>)>) -> Result<(), WriteError> {
    let (mut open, mut current) = (Open::default(), None);
    while let Some((group, mut chunks)) = waiting.recv().await {
        // Where packets queue there is no room for anything twice.
        if outlet.is_short() {
            continue;
        }
        if current.replace(group) != Some(group) {
            open.finish();
        }
        let stream = match &mut open.0 {
            Some(stream) => stream,
            none => none.insert(outlet.begin(group).await?),
        };
        stream.write_all_chunks(&mut chunks).await?;
    }
    open.finish();
    Ok(())
}

/// Tells of what was passed over, once what was written before it has arrived: readers do not wait for what will not come.
#[derive(Default)]
struct Gaps {
    waiting: Option<mpsc::Sender<(Written, Gap)>>,
    task: JoinSet<()>,
}

/// The streams of a layer that were finished last, of the group before and of this one.
type Written = [Option<SendStream>; 2];

impl Gaps {
    fn tell(&mut self, outlet: &Outlet, written: Written, gap: Gap) {
        let waiting = self.waiting.get_or_insert_with(|| {
            let (sender, waiting) = mpsc::channel(GAPS_WAITING);
            self.task.spawn(tell_gaps(outlet.clone(), waiting));
            sender
        });
        if let Err(refused) = waiting.try_send((written, gap)) {
            let (written, gap) = refused.into_inner();
            for mut stream in written.into_iter().flatten() {
                // Fails only on a stream that is closed already.
                let _ = stream.reset(VarInt::from_u32(CODE_LATE));
            }
            outlet.tell(gap);
        }
    }
}

async fn tell_gaps(outlet: Outlet, mut waiting: mpsc::Receiver<(Written, Gap)>) {
    while let Some((written, gap)) = waiting.recv().await {
        let arrive = async {
            for stream in written.iter().flatten() {
                // Fails only on a link that is gone.
                let _ = stream.stopped().await;
            }
        };
        let _ = tokio::time::timeout(ARRIVES, arrive).await;
        outlet.tell(gap);
    }
}

struct LayerSender {
    outlet: Outlet,
    stats: Arc<Stats>,
    open: Open,
    /// The stream of the group before.
    finished: Option<SendStream>,
    again: Again,
    gaps: Gaps,
}

impl LayerSender {
    fn new(outlet: Outlet, stats: Arc<Stats>, again: Again) -> Self {
        Self { outlet, stats, open: Open::default(), finished: None, again, gaps: Gaps::default() }
    }

    async fn run(mut self, mut cursor: LayerCursor) -> Result<(), WriteError> {
        let (log, turns) = (self.outlet.log.clone(), self.outlet.target.link.turns.clone());
        let mut changes = log.watch();
        let mut objects: Vec<Object> = Vec::with_capacity(BATCH);
        let mut chunks: Vec<Bytes> = Vec::with_capacity(BATCH);
        loop {
            objects.clear();
            changes.mark_unchanged();
            // What waits for its turn may be late by then, or passed over meanwhile.
            let is_short = self.outlet.is_short();
            let turn = tokio::time::timeout(LOOK_AGAIN, turns.take(self.outlet.layer)).await.ok();
            let batch = match &turn {
                Some(_) if is_short => BATCH_SHORT,
                Some(_) => BATCH,
                None => 0,
            };
            match cursor.next(&log, batch, &mut objects, Instant::now()) {
                LayerStep::Objects(group, oldest) => {
                    let bytes: usize = objects.iter().map(|object| object.wire().len()).sum();
                    chunks.clear();
                    chunks.extend(objects.iter().map(|object| object.wire().clone()));
                    self.again.send(group, &chunks);
                    self.write(group, &mut chunks, turn, is_short).await?;
                    self.outlet.target.link.warmth.carried(Instant::now());
                    Stats::add(&self.stats.objects_out, objects.len() as u64);
                    Stats::add(&self.stats.bytes_out, bytes as u64);
                    self.stats.forward_us.record(oldest.elapsed().as_micros() as u64);
                }
                LayerStep::End { group, total, owed } => self.end(group, total.filter(|_| owed)).await?,
                LayerStep::Skipped { from, to } => self.skip(from, to),
                LayerStep::Wait if turn.is_none() => {}
                LayerStep::Wait => {
                    drop(turn);
                    // A log that is gone has no sender: the task is about to be ended with its route.
                    let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
                }
            }
        }
    }

    /// In one go, or, where packets queue, piece by piece: after each it is the turn of who is more urgent.
    async fn write(
        &mut self,
        group: GroupId,
        chunks: &mut [Bytes],
        mut turn: Option<Turn>,
        is_short: bool,
    ) -> Result<(), WriteError> {
        let (turns, layer) = (self.outlet.target.link.turns.clone(), self.outlet.layer);
        let stream = self.stream(group).await?;
        if layer == Layer::Base || !is_short {
            return stream.write_all_chunks(chunks).await;
        }
        for chunk in chunks {
            while !chunk.is_empty() {
                let _turn = match turn.take() {
                    Some(turn) => turn,
                    None => turns.take(layer).await,
                };
                stream.write_chunk(chunk.split_to(chunk.len().min(PIECE))).await?;
            }
        }
        Ok(())
    }

    /// The open stream of this group, opened if need be.
    async fn stream(&mut self, group: GroupId) -> Result<&mut SendStream, WriteError> {
        match &mut self.open.0 {
            Some(stream) => Ok(stream),
            none => Ok(none.insert(self.outlet.begin(group).await?)),
        }
    }

    async fn end(&mut self, group: GroupId, total: Option<u32>) -> Result<(), WriteError> {
        if let Some(total) = total {
            let mut end = BytesMut::with_capacity(8);
            put_varint(&mut end, 0);
            put_varint(&mut end, u64::from(total));
            self.stream(group).await?.write_chunk(end.freeze()).await?;
        }
        self.finished = self.open.finish().or_else(|| self.finished.take());
        Ok(())
    }

    fn skip(&mut self, from: (GroupId, u32), to: (GroupId, u32)) {
        Stats::add(&self.stats.dropped, 1);
        let point = |(group, index): (GroupId, u32)| (group.group, index);
        let (feed, layer) = (self.outlet.target.feed, self.outlet.layer);
        let gap = Gap { feed, layer: layer as u8, from: point(from), to: point(to) };
        if layer == Layer::Video && self.outlet.is_short() {
            // Little is on its way, and there are whole pictures in it, of the group before, too.
            self.gaps.tell(&self.outlet, [self.finished.take(), self.open.finish()], gap);
        } else {
            self.open.reset(CODE_LATE);
            self.outlet.tell(gap);
        }
    }
}

#[cfg(test)]
mod tests;
