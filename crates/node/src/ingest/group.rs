//! From frames to groups of objects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use levada_media::{Catalog, Frame, Layer, Object};
use levada_overlay::Anchor;

use super::others::Others;
use super::stamps::{OwnStamps, Settled, SharedStamps};
use crate::log::{GroupId, OBJECTS_MAX};
use crate::node::{Publication, unix_micros, unix_ms};
use crate::stats::Stats;

/// Length of a group of a stream without pictures, in seconds. Tuned: what a joiner waits for at most.
const AUDIO_GROUP_S: i64 = 1;
/// A group is closed at this many objects even if no keyframe has come: the log would refuse more.
const GROUP_OBJECTS_MAX: u32 = OBJECTS_MAX / 2;
/// Timestamps of a live source that go back, or run ahead of the wall clock, by more than this are those of an encoder that
/// started anew. Tuned: more than reordering and bursts of the network make.
const JUMP: Duration = Duration::from_secs(2);
/// The mesh is told anew when stamps differ by this many milliseconds from what it was told. Tuned.
const DRIFT_TOLD_MS: u64 = 250;
/// Ticks per second of anchors.
const CLOCK: i128 = 90_000;

/// Where frames come from, as far as their timestamps go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file: its timestamps are made to go on for ever.
    File,
    /// An encoder, whose timestamps may jump.
    Live,
    /// An encoder that feeds other origins too: groups are cut and named by its timestamps, which must be the encoder's
    /// own ([`levada_media::demux::ts::TsDemuxer::absolute`]), and are the same at all of them.
    Shared,
}

/// Writes the frames of one stream into its log.
#[derive(Debug)]
pub struct GroupWriter {
    publication: Publication,
    others: Others,
    origin: Origin,
    catalog: Catalog,
    opener: Object,
    has_video: bool,
    timeline: u64,
    own: OwnStamps,
    shared: SharedStamps,
    /// When the mesh was last told of the stamps.
    told_at: Instant,
    group: Option<Open>,
    /// Stamp of the last group of this timeline.
    previous: Option<u64>,
    /// The next group may lack frames from before this origin began to listen, so it is not like that of other origins.
    partial: bool,
    /// Wraps to add to all timestamps before the next frame.
    wraps: i64,
    /// Decode time in microseconds of the last frame of each track, and when it came.
    last: BTreeMap<u8, (i128, Instant)>,
}

#[derive(Debug)]
struct Open {
    id: GroupId,
    index: u32,
    /// Track and decode time of its first frame.
    began: (u8, i64),
    /// It is not published.
    left_out: bool,
}

impl GroupWriter {
    /// Prepares a broadcast; `None` if the catalog does not fit an object.
    pub fn new(publication: Publication, catalog: Catalog, origin: Origin) -> Option<Self> {
        let opener = Object::catalog(&serde_json::to_vec(&catalog).ok()?).ok()?;
        let has_video = catalog.tracks.iter().any(|track| track.codec.is_video());
        let facts = publication.facts();
        Some(Self {
            others: Others::watch(publication.node().clone(), facts.name.clone()),
            timeline: facts.timeline,
            publication,
            origin,
            catalog,
            opener,
            has_video,
            own: OwnStamps::default(),
            shared: SharedStamps::default(),
            told_at: Instant::now(),
            group: None,
            previous: None,
            partial: origin == Origin::Shared,
            wraps: 0,
            last: BTreeMap::new(),
        })
    }

    /// Wraps that the demuxer is to add to all timestamps from now on, so that they are those of an anchor.
    pub fn take_wraps(&mut self) -> i64 {
        std::mem::take(&mut self.wraps)
    }

    /// Writes one frame. What comes before the first keyframe cannot be decoded and is left out.
    pub fn write(&mut self, frame: &Frame) {
        let Some(track) = self.catalog.tracks.iter().find(|track| track.id == frame.track) else { return };
        let (video, timescale) = (track.codec.is_video(), i64::from(track.timescale));
        if self.origin != Origin::File && self.jumps(frame, timescale) {
            tracing::info!("the timestamps of the source jump; the broadcast begins anew");
            self.begin_anew();
        }
        let second = timescale * AUDIO_GROUP_S;
        let opens = match &self.group {
            _ if self.has_video => video && frame.keyframe,
            None => true,
            Some(open) if open.began.0 != frame.track => false,
            Some(open) if self.origin == Origin::Shared => {
                frame.dts.div_euclid(second) != open.began.1.div_euclid(second)
            }
            Some(open) => frame.dts - open.began.1 >= second,
        };
        let full = self.group.as_ref().is_some_and(|open| open.index >= GROUP_OBJECTS_MAX);
        if opens || full {
            self.close();
        }
        if full && !opens {
            tracing::warn!("the source sends no keyframe; frames are left out until it does");
        }
        if opens {
            self.open(frame, timescale);
        }
        let layer = match (video, frame.discardable) {
            (false, _) => Layer::Base,
            (true, false) => Layer::Video,
            (true, true) => Layer::Discardable,
        };
        let Some(open) = self.group.as_mut().filter(|open| !open.left_out) else { return };
        let log = &self.publication.log;
        let now = Instant::now();
        for object in Object::split(frame, layer, open.index) {
            open.index += 1;
            log.insert(open.id, self.previous, object, now);
            Stats::add(&self.publication.stats().published, 1);
        }
        log.wake();
    }

    fn jumps(&mut self, frame: &Frame, timescale: i64) -> bool {
        let now = Instant::now();
        let us = i128::from(frame.dts) * 1_000_000 / i128::from(timescale.max(1));
        let Some((before, at)) = self.last.insert(frame.track, (us, now)) else { return false };
        let (jump, elapsed) = (JUMP.as_micros() as i128, now.duration_since(at).as_micros() as i128);
        us - before < -jump || us - before > elapsed + jump
    }

    fn begin_anew(&mut self) {
        self.close();
        self.last.clear();
        self.previous = None;
        if self.origin == Origin::Shared {
            // All origins see the same beginning, so it is whole.
            self.shared.anchor = None;
        } else {
            self.timeline = unix_micros().max(self.timeline + 1);
            let stamp_ms = unix_ms() + self.own.lead_ms;
            self.describe(None, stamp_ms);
        }
    }

    fn open(&mut self, frame: &Frame, timescale: i64) {
        let stamp = if self.origin == Origin::Shared { self.shared_stamp(frame, timescale) } else { self.own_stamp() };
        let Some(stamp) = stamp else { return };
        let id = GroupId { group: stamp, timeline: self.timeline };
        let left_out = std::mem::take(&mut self.partial);
        if !left_out {
            if self.publication.log.head().is_none() {
                self.publication.log.begins_with(id);
            }
            self.publication.log.insert(id, self.previous, self.opener.clone(), Instant::now());
            // Another origin of the encoder may be behind this one, still in the group before, which is not to be had here.
            let alone = self.origin != Origin::Shared || self.others.now().0.is_empty();
            if self.publication.facts().preparing && alone {
                self.publication.begin();
            }
            Stats::add(&self.publication.stats().published, 1);
        }
        self.group = Some(Open { id, index: 1, began: (frame.track, frame.dts), left_out });
    }

    fn own_stamp(&mut self) -> Option<u64> {
        let wall_ms = unix_ms();
        let (others, _) = self.others.now();
        others.iter().for_each(|facts| self.own.follow(facts.stamp_at_ms, wall_ms));
        let stamp = self.own.next(wall_ms);
        self.tell_drift(None, wall_ms + self.own.lead_ms);
        Some(stamp)
    }

    /// `None`: this frame begins no group that could be like that of the other origins.
    fn shared_stamp(&mut self, frame: &Frame, timescale: i64) -> Option<u64> {
        let dts = i64::try_from(i128::from(frame.dts) * CLOCK / i128::from(timescale.max(1))).ok()?;
        let (others, settled) = self.others.now();
        match self.shared.settle(dts, unix_ms(), &others, settled.then_some(unix_micros)) {
            Settled::Waiting => return None,
            Settled::Wraps(wraps) => {
                self.wraps = wraps;
                self.partial = true;
                self.last.clear();
                return None;
            }
            Settled::Changed => {
                let anchor = self.shared.anchor?;
                tracing::info!(timeline = anchor.timeline, "the timeline is shared with all origins of this encoder");
                self.timeline = anchor.timeline;
                self.previous = None;
                self.describe(Some(anchor), anchor.stamp(dts));
            }
            Settled::Kept => {}
        }
        let anchor = self.shared.anchor?;
        self.tell_drift(Some(anchor), anchor.stamp(dts));
        // Keyframes of one millisecond are nothing that an encoder makes; still stamps must ascend.
        let least = self.previous.map_or(0, |previous| previous + 1);
        Some(anchor.stamp(dts).max(least))
    }

    fn tell_drift(&mut self, anchor: Option<Anchor>, stamp_ms: u64) {
        let told_ms = self.publication.facts().stamp_at_ms + self.told_at.elapsed().as_millis() as u64;
        if told_ms.abs_diff(stamp_ms) > DRIFT_TOLD_MS {
            self.describe(anchor, stamp_ms);
        }
    }

    fn describe(&mut self, anchor: Option<Anchor>, stamp_ms: u64) {
        self.told_at = Instant::now();
        self.publication.describe(self.timeline, anchor, stamp_ms);
    }

    fn close(&mut self) {
        if let Some(open) = self.group.take() {
            self.previous = Some(open.id.group);
            if !open.left_out {
                self.publication.log.end(open.id, None, open.index);
                if self.publication.facts().preparing {
                    self.publication.begin();
                }
            }
        }
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        self.close();
        self.publication.log.wake();
    }
}
