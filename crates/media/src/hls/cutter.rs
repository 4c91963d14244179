//! Where segments and parts begin.
//!
//! Only at frames of the lead track, the first video track or else the first one. With the *target* being the greatest of
//! the slots of all groups so far, and of the slots that have passed for frames within a group:
//!
//! - a segment begins at a frame if the target exceeds the number of the segment before, and has the target as its number;
//! - if a group begins two slots after the last one's end, the slot between is its first part's: nothing else is left for it;
//! - what lies further back has no media. It is told as a gap;
//! - whoever comes into a timeline, by joining it, by a change of origin or after a loss, cannot know what had begun in that
//!   slot before, and so begins with the next one.
//!
//! A group's frames may run ahead of the next group's stamp by less than a slot (the origin sees to that: more is a jump, and
//! begins another timeline), so nothing that a newcomer has not seen can have begun a segment of a later slot.

use std::sync::Arc;

use bytes::Bytes;

use super::{PART_US, SLOT_MS};
use crate::catalog::Catalog;
use crate::demux::ts::crc32;
use crate::frame::Frame;
use crate::mux::MuxError;
use crate::mux::fmp4::Fmp4Muxer;

/// A group does not reach further than this after its stamp, in milliseconds: whatever timestamps a damaged source has, numbers
/// stay with the stamps. Tuned: longer than groups are.
const REACH_MS: i64 = 60_000;
/// Most frames of a part, whatever timestamps they have. Tuned: a part of 240 pictures a second with four times as much sound
/// has 260.
const PART_FRAMES_MAX: usize = 512;
/// Most bytes of a part. Tuned: 500 Mbit/s.
const PART_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A part of at least this share of the target ends before a group (bis, section 4.4.4.9); a shorter one takes in the beginning.
const PART_SHARE: f64 = 0.85;

/// What a player must have before the first part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// File name; another one for other content.
    pub name: String,
    /// `ftyp` and `moov`.
    pub segment: Bytes,
    /// Codecs (RFC 6381), as EXT-X-STREAM-INF has them.
    pub codecs: String,
    /// Pixels, if there is a picture.
    pub resolution: Option<(u16, u16)>,
    /// Identity of the broadcast.
    pub timeline: u64,
}

/// What became of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No more parts of the segment that is open.
    End,
    /// These numbers have no media here.
    Gap {
        /// The first one.
        from: u64,
        /// The one after the last.
        to: u64,
    },
    /// A segment begins.
    Begin {
        /// Its media sequence number.
        number: u64,
        /// Unix time of its beginning, milliseconds.
        unix_ms: u64,
        /// It needs this.
        init: Arc<Init>,
    },
    /// A part of the segment is whole.
    Part {
        /// `moof` and `mdat`.
        bytes: Bytes,
        /// Microseconds.
        duration_us: i64,
        /// Decoding can start in it.
        independent: bool,
    },
}

/// Cuts the frames of one stream.
#[derive(Debug, Default)]
pub struct Cutter {
    timeline: Option<Timeline>,
    cuts: Vec<Cut>,
    /// Number of the last segment that was begun.
    begun: Option<u64>,
}

#[derive(Debug)]
struct Timeline {
    id: u64,
    catalog: Catalog,
    muxer: Fmp4Muxer,
    init: Arc<Init>,
    /// Tracks that are carried, the lead first, with their ticks per second.
    tracks: Vec<(u8, u32)>,
    /// Stamp of the group.
    stamp: u64,
    /// Decode time of its first lead frame, microseconds.
    first_us: Option<i64>,
    target: u64,
    /// Number of the segment; before the first one the slot that is passed over.
    number: u64,
    /// There is a segment.
    open: bool,
    /// The segment is that of a slot which passed unseen, and ends with its first part.
    short: bool,
    parts: u32,
    part: Part,
}

#[derive(Debug, Default)]
struct Part {
    frames: Vec<Frame>,
    bytes: usize,
    /// Decode time of its first lead frame, and the end of the last one, microseconds.
    span: Option<(i64, i64)>,
    independent: bool,
}

impl Cutter {
    /// A group begins. `previous` is the stamp of the one before it in its timeline, if that is known.
    pub fn group(
        &mut self,
        timeline: u64,
        stamp: u64,
        previous: Option<u64>,
        catalog: &Catalog,
    ) -> Result<(), MuxError> {
        let follows = |current: &&mut Timeline| {
            let whole = previous.is_none_or(|previous| previous == current.stamp);
            current.id == timeline && whole && current.catalog == *catalog
        };
        if let Some(current) = self.timeline.as_mut().filter(follows) {
            current.stamp = stamp;
            current.first_us = None;
            return Ok(());
        }
        self.end();
        self.timeline = Some(Timeline::enter(timeline, stamp, catalog)?);
        Ok(())
    }

    /// Takes the next frame of the group.
    pub fn frame(&mut self, frame: Frame) {
        let Some(current) = self.timeline.as_mut() else { return };
        let Some(at) = current.tracks.iter().position(|(track, _)| *track == frame.track) else { return };
        if at == 0 {
            current.lead(&frame, &mut self.cuts, &mut self.begun);
        }
        current.part.take(frame);
    }

    /// What has been cut since the last call.
    pub fn cuts(&mut self) -> impl Iterator<Item = Cut> {
        self.cuts.drain(..)
    }

    fn end(&mut self) {
        if let Some(mut current) = self.timeline.take().filter(|current| current.open) {
            current.finish_part(None, &mut self.cuts);
            self.cuts.push(Cut::End);
        }
    }
}

impl Timeline {
    fn enter(id: u64, stamp: u64, catalog: &Catalog) -> Result<Self, MuxError> {
        let carried = carried(catalog);
        let muxer = Fmp4Muxer::new(&carried)?;
        let slot = stamp / SLOT_MS;
        Ok(Self {
            id,
            catalog: catalog.clone(),
            init: Arc::new(Init::new(&muxer, &carried, id)),
            tracks: carried.tracks.iter().map(|track| (track.id, track.timescale.max(1))).collect(),
            muxer,
            stamp,
            first_us: None,
            target: slot,
            number: slot,
            open: false,
            short: false,
            parts: 0,
            part: Part::default(),
        })
    }

    /// Ends and begins what is to end and to begin before a frame of the lead track.
    fn lead(&mut self, frame: &Frame, cuts: &mut Vec<Cut>, begun: &mut Option<u64>) {
        let us = |ticks: i64| (i128::from(ticks) * 1_000_000 / i128::from(self.tracks[0].1)) as i64;
        let (from, to) = (us(frame.dts), us(frame.dts.saturating_add(frame.duration.into())));
        let opens = self.first_us.is_none();
        let offset_ms = from.saturating_sub(*self.first_us.get_or_insert(from)) / 1_000;
        let unix_ms = self.stamp.saturating_add_signed(offset_ms.clamp(0, REACH_MS));
        let passed = (unix_ms / SLOT_MS).saturating_sub(1);
        self.target = self.target.max(self.stamp / SLOT_MS).max(passed);

        let part_ends = self.part.ends_before(from, to, opens);
        let segment_ends = self.target > self.number && (!self.short || part_ends);
        if segment_ends || part_ends {
            self.finish_part(Some(from), cuts);
        }
        if segment_ends {
            self.short = opens && self.target > self.number + 1;
            self.number = self.target - u64::from(self.short);
            self.begin(unix_ms, cuts, begun);
        }
        self.part.extend(from, to, frame.keyframe);
    }

    fn begin(&mut self, unix_ms: u64, cuts: &mut Vec<Cut>, begun: &mut Option<u64>) {
        if std::mem::replace(&mut self.open, true) {
            cuts.push(Cut::End);
        }
        if let Some(next) = begun.replace(self.number).map(|last| last + 1).filter(|next| *next < self.number) {
            cuts.push(Cut::Gap { from: next, to: self.number });
        }
        self.parts = 0;
        cuts.push(Cut::Begin { number: self.number, unix_ms, init: self.init.clone() });
    }

    /// Ends the part, where the next lead frame begins if that is known.
    fn finish_part(&mut self, next_us: Option<i64>, cuts: &mut Vec<Cut>) {
        let part = std::mem::take(&mut self.part);
        // What is passed over was never listed; and sound alone, at the beginning, makes no part.
        let Some((first, last)) = part.span.filter(|_| self.open) else { return };
        // Numbers of fragments ascend, and are the same for all who cut this stream (ISO/IEC 14496-12, section 8.8.5).
        let sequence = (self.number as u32).wrapping_mul(PART_FRAMES_MAX as u32).wrapping_add(self.parts);
        self.parts += 1;
        cuts.push(Cut::Part {
            bytes: self.muxer.part(sequence, &part.frames),
            duration_us: next_us.unwrap_or(last).saturating_sub(first).max(0),
            independent: part.independent,
        });
    }
}

impl Part {
    /// Whether it ends before a lead frame that lasts from `from` to `to`.
    fn ends_before(&self, from: i64, to: i64, group_opens: bool) -> bool {
        let Some((first, _)) = self.span else { return false };
        let long = |until: i64, share: f64| until.saturating_sub(first) as f64 > PART_US as f64 * share;
        long(to, 1.0) || group_opens && long(from, PART_SHARE) || self.frames.len() >= PART_FRAMES_MAX / 2
    }

    fn extend(&mut self, from: i64, to: i64, independent: bool) {
        self.span = Some((self.span.map_or(from, |(first, _)| first), to));
        self.independent |= independent;
    }

    fn take(&mut self, frame: Frame) {
        if self.frames.len() < PART_FRAMES_MAX && self.bytes + frame.data.len() <= PART_BYTES_MAX {
            self.bytes += frame.data.len();
            self.frames.push(frame);
        }
    }
}

impl Init {
    fn new(muxer: &Fmp4Muxer, catalog: &Catalog, timeline: u64) -> Self {
        let segment = muxer.init_segment();
        Self {
            name: format!("init-{:08x}.mp4", crc32(&segment)),
            segment,
            codecs: muxer.mime().split('"').nth(1).unwrap_or_default().replace(' ', ""),
            resolution: catalog.tracks.first().and_then(|track| track.kind.size()),
            timeline,
        }
    }
}

/// Picture and sound in one file: the first track of either, the lead first. Players take no more from one file.
fn carried(catalog: &Catalog) -> Catalog {
    let first = |video: bool| catalog.tracks.iter().find(|track| track.codec.is_video() == video);
    Catalog { tracks: first(true).into_iter().chain(first(false)).cloned().collect() }
}
