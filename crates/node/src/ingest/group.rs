//! From frames to groups of objects.

use std::time::Instant;

use levada_media::{Catalog, Codec, Frame, Layer, Object};

use crate::log::{GroupId, OBJECTS_MAX};
use crate::node::Publication;
use crate::stats::Stats;

/// Length of a group of a stream without pictures, in seconds. Tuned: what a joiner waits for at most.
const AUDIO_GROUP_S: i64 = 1;
/// A group is closed at this many objects even if no keyframe has come: the log would refuse more.
const GROUP_OBJECTS_MAX: u32 = OBJECTS_MAX / 2;

/// Writes the frames of one broadcast into its log.
#[derive(Debug)]
pub struct GroupWriter {
    publication: Publication,
    catalog: Catalog,
    opener: Object,
    has_video: bool,
    group: Option<Open>,
    next_group: u64,
}

#[derive(Debug)]
struct Open {
    id: GroupId,
    index: u32,
    /// Track and decode time of its first frame.
    began: (u8, i64),
}

impl GroupWriter {
    /// Prepares a broadcast; `None` if the catalog does not fit an object.
    pub fn new(publication: Publication, catalog: Catalog) -> Option<Self> {
        let opener = Object::catalog(&serde_json::to_vec(&catalog).ok()?).ok()?;
        let has_video = catalog.tracks.iter().any(|track| is_video(track.codec));
        Some(Self { publication, catalog, opener, has_video, group: None, next_group: 0 })
    }

    /// Writes one frame. What comes before the first keyframe cannot be decoded and is left out.
    pub fn write(&mut self, frame: &Frame) {
        let Some(track) = self.catalog.tracks.iter().find(|track| track.id == frame.track) else { return };
        let video = is_video(track.codec);
        let second = i64::from(track.timescale) * AUDIO_GROUP_S;
        let opens = match &self.group {
            _ if self.has_video => video && frame.keyframe,
            None => true,
            Some(open) => open.began.0 == frame.track && frame.dts - open.began.1 >= second,
        };
        let full = self.group.as_ref().is_some_and(|open| open.index >= GROUP_OBJECTS_MAX);
        if opens || full {
            self.close();
        }
        if full && !opens {
            tracing::warn!("the source sends no keyframe; frames are left out until it does");
        }
        if opens {
            self.open(frame);
        }
        let layer = match (video, frame.discardable) {
            (false, _) => Layer::Base,
            (true, false) => Layer::Video,
            (true, true) => Layer::Discardable,
        };
        let Some(open) = self.group.as_mut() else { return };
        let log = &self.publication.log;
        let now = Instant::now();
        for object in Object::split(frame, layer, open.index) {
            open.index += 1;
            log.insert(open.id, object, now);
            Stats::add(&self.publication.stats().published, 1);
        }
        log.wake();
    }

    fn open(&mut self, frame: &Frame) {
        let id = (self.publication.timeline, self.next_group);
        self.next_group += 1;
        self.publication.log.insert(id, self.opener.clone(), Instant::now());
        Stats::add(&self.publication.stats().published, 1);
        self.group = Some(Open { id, index: 1, began: (frame.track, frame.dts) });
    }

    fn close(&mut self) {
        if let Some(open) = self.group.take() {
            self.publication.log.end(open.id, None, open.index);
        }
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        self.close();
        self.publication.log.wake();
    }
}

fn is_video(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::Hevc)
}
