//! Sending: one task per child, stream and layer, each with a cursor into the log.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use levada_media::object::{LAYERS, put_varint};
use levada_media::{Layer, Object};
use levada_overlay::message::Gap;
use levada_overlay::{FeedId, Message, Resume};
use quinn::{SendStream, VarInt};
use tokio::task::JoinSet;

use crate::link::LinkHandle;
use crate::log::{GroupId, LayerCursor, LayerStep, StreamLog};
use crate::stats::Stats;

/// Objects taken from the log at once. Tuned: a large frame is handed over in one go.
const BATCH: usize = 16;
/// Bytes that are written at once while others may be more urgent: as long as a few packets.
const PIECE: usize = 4 * 1024;
/// A cursor looks again after this long even if nothing was put into the log, to notice deadlines.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// First bytes of each layer that are sent twice where a feed goes on over a link that loses packets, and that nothing came over
/// before: children have nothing to show meanwhile, and what is lost comes a round trip later and more. Tuned: a large picture of
/// a stream of some Mbit/s.
const TWICE: usize = 64 * 1024;
/// Behind all that is sent for the first time, whose priority is that of its layer.
const PRIORITY_AGAIN: i32 = -(LAYERS as i32);
/// A link counts as lossy if it lost one packet of so many. Over one that has carried little, as to a node that stood by for some seconds, a
/// single one is enough; if that was chance, so much is sent twice in vain, behind everything else.
const LOST_ONE_OF: u64 = 500;
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
        // What the first layer sends warms the link for the others.
        let warm = target.link.warmth.since(Instant::now());
        let anxious = resume.is_some() && warm.is_none() && loses(&target.link.connection.stats().path);
        for layer in Layer::ALL {
            let (log, target, stats, start) = (log.clone(), target.clone(), stats.clone(), start.clone());
            tasks.spawn(async move {
                let cursor = match resume {
                    Some(resume) => LayerCursor::resume(layer, &resume),
                    None => LayerCursor::start(layer, Some(first_group(&log, &start).await)),
                };
                let cursor = cursor.over_warm(warm);
                let again = Again { left: if anxious { TWICE } else { 0 }, open: None };
                let sender = LayerSender { log, target, layer, stats, open: None, again };
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

fn loses(path: &quinn::PathStats) -> bool {
    path.lost_packets > 0 && path.lost_packets * LOST_ONE_OF >= path.sent_packets
}

struct LayerSender {
    log: Arc<StreamLog>,
    target: ChildTarget,
    layer: Layer,
    stats: Arc<Stats>,
    open: Option<SendStream>,
    again: Again,
}

/// What is sent a second time, on a stream of its own.
struct Again {
    /// Bytes that still are.
    left: usize,
    open: Option<SendStream>,
}

impl Again {
    /// As many of these objects as are to be sent twice.
    fn take(&mut self, objects: &[Bytes]) -> Vec<Bytes> {
        let taken = objects.iter().take_while(|object| {
            let wanted = self.left > 0;
            self.left = self.left.saturating_sub(object.len());
            wanted
        });
        taken.cloned().collect()
    }
}

/// A feed may end within an object; the child must not take that for its end.
impl Drop for LayerSender {
    fn drop(&mut self) {
        for mut stream in self.open.take().into_iter().chain(self.again.open.take()) {
            // Fails only on a stream that is closed already.
            let _ = stream.reset(VarInt::from_u32(CODE_ENDED));
        }
    }
}

impl LayerSender {
    async fn run(mut self, mut cursor: LayerCursor) -> Result<(), quinn::WriteError> {
        let mut changes = self.log.watch();
        let mut objects: Vec<Object> = Vec::with_capacity(BATCH);
        let mut chunks: Vec<Bytes> = Vec::with_capacity(BATCH);
        loop {
            objects.clear();
            changes.mark_unchanged();
            match cursor.next(&self.log, BATCH, &mut objects, Instant::now()) {
                LayerStep::Objects(group, oldest) => {
                    let bytes: usize = objects.iter().map(|object| object.wire().len()).sum();
                    chunks.clear();
                    chunks.extend(objects.iter().map(|object| object.wire().clone()));
                    // Where packets queue there is no room for anything twice.
                    let is_short = self.target.link.turns.is_short();
                    let mut again = if is_short { Vec::new() } else { self.again.take(&chunks) };
                    self.write(group, &mut chunks).await?;
                    if !again.is_empty() {
                        self.write_again(group, &mut again).await?;
                    }
                    self.target.link.warmth.carried(Instant::now());
                    Stats::add(&self.stats.objects_out, objects.len() as u64);
                    Stats::add(&self.stats.bytes_out, bytes as u64);
                    self.stats.forward_us.record(oldest.elapsed().as_micros() as u64);
                }
                LayerStep::End { group, total, owed } => self.end(group, total.filter(|_| owed)).await?,
                LayerStep::Skipped { from, to } => self.skip(from, to),
                LayerStep::Wait => {
                    // A log that is gone has no sender: the task is about to be ended with its route.
                    let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
                }
            }
        }
    }

    async fn write(&mut self, group: GroupId, chunks: &mut [Bytes]) -> Result<(), quinn::WriteError> {
        let (turns, layer) = (self.target.link.turns.clone(), self.layer);
        let stream = self.stream(group).await?;
        if layer == Layer::Base || !turns.is_short() {
            let _turn = turns.take(layer).await;
            return stream.write_all_chunks(chunks).await;
        }
        for chunk in chunks {
            while !chunk.is_empty() {
                let _turn = turns.take(layer).await;
                stream.write_chunk(chunk.split_to(chunk.len().min(PIECE))).await?;
            }
        }
        Ok(())
    }

    /// Whole objects, so that the second stream can be finished at any time.
    async fn write_again(&mut self, group: GroupId, chunks: &mut [Bytes]) -> Result<(), quinn::WriteError> {
        if self.again.open.is_none() {
            let stream = self.begin(group).await?;
            // What is sent for the first time goes first. Setting it fails only on a stream that is closed.
            let _ = stream.set_priority(PRIORITY_AGAIN);
            self.again.open = Some(stream);
        }
        if let Some(stream) = &mut self.again.open {
            stream.write_all_chunks(chunks).await?;
        }
        if self.again.left == 0 {
            self.finish_again();
        }
        Ok(())
    }

    fn finish_again(&mut self) {
        if let Some(mut stream) = self.again.open.take() {
            // Without an end mark: that is for the first one to bring. Finishing fails only if the child stopped the stream.
            let _ = stream.finish();
        }
    }

    /// The open stream of this group, opened if need be.
    async fn stream(&mut self, group: GroupId) -> Result<&mut SendStream, quinn::WriteError> {
        if self.open.is_none() {
            self.open = Some(self.begin(group).await?);
        }
        self.open.as_mut().ok_or(quinn::WriteError::ClosedStream)
    }

    /// A stream with its header.
    async fn begin(&self, group: GroupId) -> Result<SendStream, quinn::WriteError> {
        let mut stream = self.target.link.connection.open_uni().await?;
        // Audio and data before video, discardable video last. Setting it fails only on a stream that is closed.
        let _ = stream.set_priority(-(self.layer as i32));
        let mut header = BytesMut::with_capacity(32);
        let since = self.log.previous(group).map_or(0, |previous| group.group - previous);
        for field in [self.target.feed.0, group.timeline, group.group, self.layer as u64, since] {
            put_varint(&mut header, field);
        }
        stream.write_chunk(header.freeze()).await?;
        Ok(stream)
    }

    async fn end(&mut self, group: GroupId, total: Option<u32>) -> Result<(), quinn::WriteError> {
        if let Some(total) = total {
            let mut end = BytesMut::with_capacity(8);
            put_varint(&mut end, 0);
            put_varint(&mut end, u64::from(total));
            self.stream(group).await?.write_chunk(end.freeze()).await?;
        }
        self.finish_again();
        if let Some(mut stream) = self.open.take() {
            // Finishing fails only if the child stopped the stream, and then nothing is owed.
            let _ = stream.finish();
        }
        Ok(())
    }

    fn skip(&mut self, from: (GroupId, u32), to: (GroupId, u32)) {
        Stats::add(&self.stats.dropped, 1);
        self.finish_again();
        if let Some(mut stream) = self.open.take() {
            let _ = stream.reset(VarInt::from_u32(CODE_LATE));
        }
        let point = |(group, index): (GroupId, u32)| (group.group, index);
        let gap = Gap { feed: self.target.feed, layer: self.layer as u8, from: point(from), to: point(to) };
        self.target.link.control.send(&Message::Gap(gap));
    }
}

#[cfg(test)]
mod tests;
