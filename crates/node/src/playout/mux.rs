//! The task that turns objects into chunks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use levada_media::mux::MuxError;
use levada_media::mux::fmp4::Fmp4Muxer;
use levada_media::mux::ts::TsMuxer;
use levada_media::object::CATALOG_TRACK;
use levada_media::{Assembler, Catalog, Frame, Object};

use levada_overlay::Position;

use super::splice::Splice;
use super::{Chunk, Chunks, Format, Init};
use crate::log::{FrameCursor, FrameStep, GroupId};
use crate::node::Subscription;
use crate::stats::Stats;

/// Objects taken from the log at once.
const BATCH: usize = 64;
/// The log is looked at again after this long, to notice holes that will not fill.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Chunks are cut out of blocks of this size, to spare an allocation per frame.
const BLOCK: usize = 256 * 1024;
/// In a transport stream so many frames of sound wait for the next picture and are one chunk with it: viewers of it buffer seconds, and a write costs
/// the same however little it carries. Tuned: AAC has two of them to a picture; where pictures are rare, sound is 64 ms late.
const QUIET_MAX: u32 = 3;
/// Bytes in front of what a page gets: group, timeline, index, big-endian.
const HEAD: usize = 8 + 8 + 4;

/// Reads the log and fills the chunks until the task is aborted.
pub(super) async fn run(subscription: Subscription, format: Format, chunks: Arc<Chunks>, stats: Arc<Stats>) {
    let mut changes = subscription.log.watch();
    let mut cursor = subscription.from.map_or_else(FrameCursor::newest, FrameCursor::at);
    let mut shaper = Shaper::new(format, chunks);
    let mut objects = Vec::with_capacity(BATCH);
    // The newest group of which an object could not be played.
    let mut warned: Option<GroupId> = None;
    loop {
        objects.clear();
        changes.mark_unchanged();
        let (read, lost) = (cursor.read, cursor.lost);
        let step = cursor.next(&subscription.log, BATCH, &mut objects, Instant::now());
        Stats::add(&stats.delivered, cursor.read - read);
        Stats::add(&stats.lost, cursor.lost - lost);
        match step {
            FrameStep::Objects(id) => {
                for object in &objects {
                    if let Err(error) = shaper.take(id, object) {
                        Stats::add(&stats.unplayable, 1);
                        // Told once for each group; the counter tells of all.
                        if warned.replace(id) != Some(id) {
                            tracing::warn!(error, group = id.group, "an object cannot be played");
                        }
                    }
                }
            }
            FrameStep::Wait => {
                // The subscription keeps the log alive, so only the timeout can end this early.
                let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
            }
        }
    }
}

/// From objects to chunks.
struct Shaper {
    format: Format,
    chunks: Arc<Chunks>,
    assembler: Assembler,
    splice: Splice,
    current: Option<Current>,
    block: BytesMut,
    /// Frames of sound in the block, which wait for a picture.
    waiting: u32,
}

struct Current {
    timeline: u64,
    catalog: Catalog,
    init: Arc<Init>,
    muxer: Muxer,
    has_video: bool,
    /// The group's first chunk that a player can start at is still to come.
    group_opens: bool,
}

enum Muxer {
    Ts(TsMuxer),
    Fmp4(Fmp4Muxer),
}

impl Shaper {
    fn new(format: Format, chunks: Arc<Chunks>) -> Self {
        let (assembler, splice) = (Assembler::default(), Splice::default());
        Self { format, chunks, assembler, splice, current: None, block: BytesMut::new(), waiting: 0 }
    }

    fn take(&mut self, id: GroupId, object: &Object) -> Result<(), String> {
        if object.track == CATALOG_TRACK {
            let catalog: Catalog = serde_json::from_slice(&object.payload()).map_err(|error| error.to_string())?;
            return self.begin_group(id.timeline, catalog).map_err(|error| error.to_string());
        }
        // Without its catalog nothing is known of a new timeline.
        if self.current.as_ref().is_none_or(|current| current.timeline != id.timeline) {
            return Ok(());
        }
        let frame = self.assembler.push(object).map_err(|error| error.to_string())?;
        if let Some(frame) = frame {
            self.put(id.at(object.index), frame);
        }
        Ok(())
    }

    fn begin_group(&mut self, timeline: u64, catalog: Catalog) -> Result<(), MuxError> {
        let Some(current) = self.current.as_mut() else {
            self.current = Some(Current::new(self.format, timeline, catalog)?);
            return Ok(());
        };
        current.group_opens = true;
        let anew = std::mem::replace(&mut current.timeline, timeline) != timeline;
        if anew {
            self.splice.change();
        }
        if anew || current.catalog != catalog {
            self.assembler = Assembler::default();
            return current.change(catalog).inspect_err(|_| self.current = None);
        }
        Ok(())
    }

    /// Times of fragments are the stream's own and their numbers come of the position: a page, or a reader of files, that
    /// moves to another node finds the same bytes there.
    fn put(&mut self, at: Position, mut frame: Frame) {
        let Some(current) = self.current.as_mut() else { return };
        let Some(track) = current.catalog.tracks.iter().find(|track| track.id == frame.track) else { return };
        let video = track.codec.is_video();
        let held = self.block.len();
        if self.block.capacity() - held < frame.data.len() + frame.data.len() / 16 + 4_096 {
            self.block.reserve(BLOCK.max(2 * frame.data.len()));
        }
        match &mut current.muxer {
            Muxer::Ts(muxer) => {
                self.splice.place(&mut frame, track.timescale);
                muxer.mux(&frame, &mut self.block);
            }
            Muxer::Fmp4(muxer) => {
                self.block.put_u64(at.group);
                self.block.put_u64(at.timeline);
                self.block.put_u32(at.index);
                // Stamps are milliseconds, and a group has fewer frames: numbers ascend, over groups too.
                muxer.fragment(&frame, (at.group as u32).wrapping_add(at.index), &mut self.block);
            }
        }
        let start = current.group_opens && (video && frame.keyframe || !current.has_video);
        if start && held > 0 {
            // A player begins with the picture, not with sound that waited for it.
            let bytes = self.block.split_to(held).freeze();
            let (message, init) = (Bytes::new(), current.init.clone());
            self.chunks.push(Chunk { at, bytes, message, start: false, init });
        }
        let may_wait = self.format == Format::Ts && current.has_video && !video;
        if may_wait && self.waiting < QUIET_MAX {
            self.waiting += 1;
            return;
        }
        self.waiting = 0;
        let whole = self.block.split().freeze();
        let (bytes, message) = match self.format {
            Format::Ts => (whole, Bytes::new()),
            Format::Fmp4 => (whole.slice(HEAD..), whole),
        };
        if bytes.is_empty() {
            return;
        }
        if start {
            current.group_opens = false;
        }
        self.chunks.push(Chunk { at, bytes, message, start, init: current.init.clone() });
    }
}

impl Current {
    fn new(format: Format, timeline: u64, catalog: Catalog) -> Result<Self, MuxError> {
        let (muxer, init) = match format {
            Format::Ts => (Muxer::Ts(TsMuxer::new(&catalog)?), Init { mime: String::new(), segment: Bytes::new() }),
            Format::Fmp4 => {
                let muxer = Fmp4Muxer::new(&catalog)?;
                let init = init_of(&muxer);
                (Muxer::Fmp4(muxer), init)
            }
        };
        let has_video = has_video(&catalog);
        Ok(Self { timeline, catalog, init: Arc::new(init), muxer, has_video, group_opens: true })
    }

    /// Another timeline begins, or other tracks. In a transport stream times go on, and only what changed is told.
    fn change(&mut self, catalog: Catalog) -> Result<(), MuxError> {
        let same = self.catalog == catalog;
        match &mut self.muxer {
            Muxer::Ts(muxer) if same => muxer.mark_discontinuity(),
            Muxer::Ts(muxer) => muxer.change(&catalog)?,
            Muxer::Fmp4(muxer) => {
                *muxer = Fmp4Muxer::new(&catalog)?;
                self.init = Arc::new(init_of(muxer));
            }
        }
        self.has_video = has_video(&catalog);
        self.catalog = catalog;
        Ok(())
    }
}

fn init_of(muxer: &Fmp4Muxer) -> Init {
    Init { mime: muxer.mime().to_owned(), segment: muxer.init_segment() }
}

fn has_video(catalog: &Catalog) -> bool {
    catalog.tracks.iter().any(|track| track.codec.is_video())
}

#[cfg(test)]
mod tests;
