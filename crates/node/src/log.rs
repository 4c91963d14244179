//! The water: one bounded log of objects per stream, and cursors that read it.
//!
//! Every reader (a child's layer, a muxer) holds a position; nothing is queued or copied per reader. Objects of a layer
//! arrive in order, so a layer cursor simply takes what is there; a frame cursor reads all layers in index order and waits
//! for what is missing. A cursor that is too far behind is moved to the newest group, and the gap is told.

mod cursor;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levada_media::object::LAYERS;
use levada_media::{Layer, Object};
use levada_overlay::{Position, Resume};
use tokio::sync::watch;

pub use cursor::{FrameCursor, FrameStep, LayerCursor, LayerStep, Squeeze};

/// Media older than this goes when newer media come (DESIGN 2); counted against the newest object, so a stall expires nothing.
pub const KEEP: Duration = Duration::from_secs(10);
/// ... but never the two newest groups (DESIGN 2), which a joiner may need.
pub const KEEP_GROUPS: usize = 2;
/// Most groups. Tuned: 10 s of 60 pictures that each begin a group have 600.
pub const GROUPS_MAX: usize = 1_024;
/// Most bytes of one stream's log, with the places for objects that are missing. Tuned: 10 s at 50 Mbit/s.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most objects of a group. Tuned: a 4K group of 10 s at 60 frames and 50 Mbit/s has 5,000.
pub const OBJECTS_MAX: u32 = 32_768;
/// How far an index may run ahead of the objects held; bounds what one object can make the log allocate.
const AHEAD_MAX: usize = 8_192;

/// What a place for an object takes, held or not, in bytes.
const PLACE_LEN: usize = size_of::<Option<Held>>();

/// Furthest that a parent may say to have dropped ahead of what is held, in milliseconds. Tuned: longer than any outage
/// after which there is anything to wait for.
const DROPPED_AHEAD_MS: u64 = 3_600_000;

/// Name of a group, in the order of [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Its stamp.
    pub group: u64,
    /// The broadcast it is of.
    pub timeline: u64,
}

impl GroupId {
    /// Position of one of its objects.
    pub fn at(self, index: u32) -> Position {
        Position { group: self.group, timeline: self.timeline, index }
    }
}

/// The log of one stream.
#[derive(Debug)]
pub struct StreamLog {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// In ascending order.
    groups: VecDeque<Group>,
    bytes: usize,
    /// From where it was filled, if not from the beginning of its first group.
    begins: Option<Resume>,
    /// Groups up to this one went.
    evicted: Option<GroupId>,
    /// How far the parent is of a node that holds no objects, but is a backup of others.
    announced: Option<Resume>,
    /// Per layer: what is missing of the groups before this stamp was dropped by a parent and will not come.
    dropped: [u64; LAYERS],
    newest: Option<Position>,
    newest_at: Option<Instant>,
    stats: LogStats,
}

/// What a log counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Objects taken.
    pub objects: u64,
    /// Payload and header bytes taken.
    pub bytes: u64,
    /// Objects that came again.
    pub duplicates: u64,
    /// Objects refused: out of bounds, or of a group that is gone.
    pub refused: u64,
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    /// Stamp of the group before it in its timeline; `None`: there is none, or it is not known.
    previous: Option<u64>,
    objects: Vec<Option<Held>>,
    /// Indices held, per layer, ascending.
    layers: [Vec<u32>; LAYERS],
    /// Layers whose last object is held.
    done: [bool; LAYERS],
    /// Number of objects, once known.
    total: Option<u32>,
    held: u32,
    /// Of its objects.
    bytes: usize,
    opened_at: Instant,
    newest_at: Instant,
}

#[derive(Debug)]
struct Held {
    object: Object,
    at: Instant,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was taken, and is newer than everything held before.
    Newest,
    /// It was taken and fills a place behind the head.
    Filled,
    /// It was held already.
    Duplicate,
    /// It is out of bounds or belongs to a group that is gone.
    Refused,
}

/// A group as a whole, for digests and listings.
#[derive(Clone, Debug)]
pub struct GroupSummary {
    /// Its name.
    pub id: GroupId,
    /// Number of objects, if the group is complete.
    pub complete: Option<u32>,
    /// Objects held, in index order.
    pub objects: Vec<Object>,
}

impl Default for StreamLog {
    fn default() -> Self {
        Self { state: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl StreamLog {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, even one that a panic ended.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object into its place. `previous` is the stamp of the group before in the timeline, if it is known. Call
    /// [`StreamLog::wake`] after the last one of a batch.
    pub fn insert(&self, id: GroupId, previous: Option<u64>, object: Object, now: Instant) -> Inserted {
        self.state().insert(id, previous, object, now)
    }

    /// The same for an object of a feed, unless the feed has been closed: once it is, a resume point that is taken
    /// afterwards holds.
    pub fn insert_if(
        &self,
        open: &AtomicBool,
        id: GroupId,
        previous: Option<u64>,
        object: Object,
        now: Instant,
    ) -> Option<Inserted> {
        let mut state = self.state();
        open.load(Ordering::Acquire).then(|| state.insert(id, previous, object, now))
    }

    /// Notes that a group has `total` objects, and that all of `layer` have come; `None`: of all layers.
    pub fn end(&self, id: GroupId, layer: Option<Layer>, total: u32) {
        self.state().end(id, layer, total);
    }

    /// The same for the end mark of a feed, unless the feed has been closed.
    pub fn end_if(&self, open: &AtomicBool, id: GroupId, layer: Layer, total: u32) {
        let mut state = self.state();
        if open.load(Ordering::Acquire) {
            state.end(id, Some(layer), total);
        }
    }

    /// Notes that nothing more of `layer` will come in the groups before `to`: the parent dropped it.
    pub fn skip(&self, layer: Layer, to: u64) {
        let mut state = self.state();
        for group in state.groups.iter_mut().filter(|group| group.id.group < to) {
            group.done[layer as usize] = true;
        }
        // A stamp far beyond what is held would call everything dropped that is late, for ever.
        let bound = state.groups.back().map_or(0, |group| group.id.group.saturating_add(DROPPED_AHEAD_MS));
        let dropped = &mut state.dropped[layer as usize];
        *dropped = (*dropped).max(to.min(bound));
    }

    /// Another parent may bring what one said to have dropped: groups that are not here yet are waited for whole.
    pub fn hope(&self) {
        let mut state = self.state();
        let ahead = state.groups.back().map_or(0, |group| group.id.group.saturating_add(1));
        for dropped in &mut state.dropped {
            *dropped = (*dropped).min(ahead);
        }
    }

    /// Lets the readers look again.
    pub fn wake(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Changes at every [`StreamLog::wake`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The newest object held, and for how long it has been.
    pub fn head(&self) -> Option<(Position, Duration)> {
        let state = self.state();
        Some((state.newest?, state.newest_at?.elapsed()))
    }

    /// The group before this one in its timeline, if that is known.
    pub fn previous(&self, id: GroupId) -> Option<u64> {
        let state = self.state();
        state.group_at(id).ok().and_then(|at| state.groups[at].previous)
    }

    /// The newest group whose beginning is held: where a reader can start.
    pub fn newest_group(&self) -> Option<GroupId> {
        self.state().newest_whole()
    }

    /// The oldest group whose beginning is held.
    pub fn oldest_group(&self) -> Option<GroupId> {
        self.state().groups.iter().find(|group| group.get(0).is_some()).map(|group| group.id)
    }

    /// Where a feed has to go on, per layer the first object that is missing; `None` for an empty log.
    pub fn resume(&self) -> Option<Resume> {
        self.state().resume()
    }

    /// How far this node is: what it holds, or, without objects, what its parent announced.
    pub fn front(&self) -> Option<Resume> {
        let state = self.state();
        state.resume().or(state.announced)
    }

    /// Notes how far the parent is. Tells whether that is further than anything known before.
    pub fn announce(&self, front: Resume) -> bool {
        let mut state = self.state();
        let known = state.resume().or(state.announced);
        let newer = known.is_none_or(|known| front.is_beyond(&known));
        if newer {
            state.announced = Some(state.announced.map_or(front, |known| known.max(front)));
        }
        newer
    }

    /// Drops all objects: nobody here needs any, and later ones shall not be taken for their continuation.
    pub fn clear(&self) {
        let mut state = self.state();
        if !state.groups.is_empty() {
            *state = State { announced: state.resume(), stats: state.stats, ..State::default() };
        }
    }

    /// Notes that nothing before this group will ever be here: its origin began with it. Whoever comes from another origin
    /// and resumes before it need not wait.
    pub fn begins_with(&self, id: GroupId) {
        let before = GroupId { group: id.group.saturating_sub(1), timeline: u64::MAX };
        let mut state = self.state();
        state.evicted = state.evicted.max(Some(before));
    }

    /// Notes from where the log is filled, since a layer that holds nothing does not tell whether anything is missing.
    pub fn begin(&self, resume: Resume) {
        self.state().begins = Some(resume);
    }

    /// Whether a feed that goes on from `resume` needs objects from before everything held, which are not gone but never
    /// came here.
    pub fn begins_after(&self, resume: &Resume) -> bool {
        let state = self.state();
        let timeline = resume.timeline;
        let Some(first) = state.groups.iter().find(|group| group.id.timeline == timeline) else {
            return state.begins_after_foreign(resume);
        };
        let Some(group) = resume.layers.iter().map(|(group, _)| *group).min() else { return false };
        if state.evicted.is_some_and(|evicted| GroupId { group, timeline } <= evicted) {
            return false;
        }
        // Stamps have gaps: there is something between only if the first group held tells of it.
        let between = |group: u64| first.previous.is_some_and(|previous| previous >= group);
        match state.begins.filter(|begins| begins.timeline == timeline) {
            Some(begins) => {
                let lacks = |(wanted, held): (&(u64, u32), (u64, u32))| {
                    // A child that has objects of a group is owed its end, too.
                    let partly = wanted.1 > 0 || held.1 > 0;
                    let first_is_between = (wanted.0..held.0).contains(&first.id.group);
                    *wanted < held && (partly || first_is_between || between(wanted.0))
                };
                resume.layers.iter().zip(begins.layers).any(lacks)
            }
            None => group < first.id.group && between(group),
        }
    }

    /// What was counted.
    pub fn stats(&self) -> LogStats {
        self.state().stats
    }

    /// Bytes held, with the places for objects that are missing.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Bits per second of the media held, by their own time: after a repair many seconds come in one. `None` before there
    /// is a group that is followed by the next one of its timeline.
    pub fn bitrate(&self) -> Option<u64> {
        let state = self.state();
        let pairs = state.groups.iter().zip(state.groups.iter().skip(1));
        let followed = pairs.filter_map(|(group, next)| {
            let follows = next.id.timeline == group.id.timeline && next.previous == Some(group.id.group);
            follows.then(|| (group.bytes as u64, next.id.group - group.id.group))
        });
        let (bytes, span_ms) = followed.fold((0, 0), |(bytes, ms), (len, span)| (bytes + len, ms + span));
        (bytes * 8 * 1_000).checked_div(span_ms)
    }

    /// Length of the newest group that another one of its timeline follows.
    pub fn group_length(&self) -> Option<Duration> {
        let state = self.state();
        let newest_first = state.groups.iter().rev();
        let mut pairs = newest_first.clone().skip(1).zip(newest_first);
        let length = pairs.find_map(|(group, next)| {
            let follows = next.id.timeline == group.id.timeline && next.previous == Some(group.id.group);
            follows.then(|| next.id.group - group.id.group)
        });
        length.map(Duration::from_millis)
    }

    /// Milliseconds from the beginning of the newest group at its origin, by its clock, until its first object came here,
    /// by this one's.
    pub fn latency_ms(&self) -> Option<i64> {
        let state = self.state();
        let group = state.groups.back()?;
        let came_ms = crate::node::unix_ms().saturating_sub(group.opened_at.elapsed().as_millis() as u64);
        Some(came_ms as i64 - group.id.group as i64)
    }

    /// The object that opens the newest group, which is its catalog.
    pub fn catalog_object(&self) -> Option<Object> {
        let state = self.state();
        state.groups.iter().rev().find_map(|group| group.get(0).map(|held| held.object.clone()))
    }

    /// All groups held, oldest first; clones reference counts, not payloads.
    pub fn summary(&self) -> Vec<GroupSummary> {
        let objects = |group: &Group| group.objects.iter().flatten().map(|held| held.object.clone()).collect();
        let summary = |group: &Group| GroupSummary {
            id: group.id,
            complete: group.total.filter(|total| *total == group.held),
            objects: objects(group),
        };
        self.state().groups.iter().map(summary).collect()
    }
}

impl State {
    /// A group of which nothing is held, and nothing will come of what a parent dropped. One that comes after newer ones is asked for anew.
    fn begin(&self, id: GroupId, now: Instant) -> Group {
        let is_newest = self.groups.back().is_none_or(|newest| newest.id < id);
        Group { done: self.dropped.map(|dropped| is_newest && id.group < dropped), ..Group::new(id, now) }
    }

    fn insert(&mut self, id: GroupId, previous: Option<u64>, object: Object, now: Instant) -> Inserted {
        let place = self.group_at(id);
        let opened = place.is_err();
        let gone = opened && self.evicted.is_some_and(|evicted| id <= evicted);
        let empty = self.begin(id, now);
        if gone || !place.map_or(&empty, |at| &self.groups[at]).has_place_for(&object) {
            return self.refuse();
        }
        let at = place.unwrap_or_else(|at| {
            self.groups.insert(at, empty);
            at
        });
        // One origin of a shared timeline may not know what came before its first group; another one does.
        let known = &mut self.groups[at].previous;
        *known = known.or(previous.filter(|previous| *previous < id.group));
        let position = id.at(object.index);
        let len = object.wire().len();
        let group = &mut self.groups[at];
        let before = group.footprint();
        if !group.insert(object, now) {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        self.bytes += group.footprint() - before;
        self.stats.objects += 1;
        self.stats.bytes += len as u64;
        if self.newest.is_some_and(|newest| newest >= position) {
            if opened {
                self.evict(now);
            }
            return Inserted::Filled;
        }
        self.newest = Some(position);
        self.newest_at = Some(now);
        self.evict(now);
        Inserted::Newest
    }

    fn end(&mut self, id: GroupId, layer: Option<Layer>, total: u32) {
        // A feed that goes on from the end of a group brings its end mark and no object of it.
        if let Err(at) = self.group_at(id)
            && self.evicted.is_none_or(|evicted| id > evicted)
        {
            let now = Instant::now();
            self.groups.insert(at, self.begin(id, now));
            self.evict(now);
        }
        if let Some(group) = self.groups.iter_mut().find(|group| group.id == id) {
            group.total = Some(total.min(OBJECTS_MAX));
            match layer {
                Some(layer) => group.done[layer as usize] = true,
                None => group.done = [true; LAYERS],
            }
        }
    }

    fn refuse(&mut self) -> Inserted {
        self.stats.refused += 1;
        Inserted::Refused
    }

    fn evict(&mut self, now: Instant) {
        while self.groups.len() > KEEP_GROUPS {
            let Some(oldest) = self.groups.front() else {
                return;
            };
            let old = now.duration_since(oldest.newest_at) > KEEP;
            if !old && self.bytes <= BYTES_MAX && self.groups.len() <= GROUPS_MAX {
                return;
            }
            self.bytes -= oldest.footprint();
            self.evicted = Some(oldest.id);
            self.groups.pop_front();
        }
    }

    /// The newest group of which anything is held. One that was only told to have ended is none to start at.
    fn newest_begun(&self) -> Option<GroupId> {
        self.groups.iter().rev().find(|group| group.held > 0).map(|group| group.id)
    }

    fn newest_whole(&self) -> Option<GroupId> {
        self.groups.iter().rev().find(|group| group.get(0).is_some()).map(|group| group.id)
    }

    fn group_at(&self, id: GroupId) -> Result<usize, usize> {
        self.groups.binary_search_by_key(&id, |group| group.id)
    }

    /// The same for a timeline that is not held: the child gets all groups of another one that are newer.
    fn begins_after_foreign(&self, resume: &Resume) -> bool {
        let from = beyond(resume);
        let asked = self.begins.is_some_and(|begins| begins.timeline == resume.timeline && beyond(&begins) <= from);
        let lacks = |group: &Group| {
            let went = |evicted: GroupId| group.previous.is_some_and(|previous| previous <= evicted.group);
            self.is_missing(group, from, None) && !self.evicted.is_some_and(went)
        };
        !asked && self.next_foreign(resume.timeline, from).is_some_and(lacks)
    }

    /// The next group held of the same timeline.
    fn next_of(&self, id: GroupId) -> Option<&Group> {
        self.groups.iter().find(|group| group.id.timeline == id.timeline && group.id.group > id.group)
    }

    /// The first group held that is of another timeline and not before this stamp.
    fn next_foreign(&self, timeline: u64, from: u64) -> Option<&Group> {
        self.groups.iter().find(|group| group.id.timeline != timeline && group.id.group >= from)
    }

    /// Walks back through the newest timeline to the last group that is whole in the layer, over what is not, and on to
    /// the oldest hole that may yet be filled.
    fn resume(&self) -> Option<Resume> {
        let timeline = self.groups.back()?.id.timeline;
        let point = |layer: Layer| {
            let mut at = None;
            let mut whole = false;
            let mut after: Option<&Group> = None;
            for group in self.groups.iter().rev().filter(|group| group.id.timeline == timeline) {
                let next = group.layers[layer as usize].last().map_or(0, |last| last + 1);
                let hole = after.is_some_and(|after| self.is_missing(after, group.id.group + 1, Some(layer)));
                let done = group.is_done(layer);
                if done && (hole || at.is_none()) {
                    at = Some((group.id.group + 1, 0));
                } else if !done && (hole || !whole) {
                    at = Some((group.id.group, next));
                }
                whole |= done;
                after = Some(group);
            }
            // What was asked for from before the first group held may have yet to come.
            let asked = self.begins.filter(|begins| begins.timeline == timeline).map(|b| b.layers[layer as usize]);
            let owed = |asked: &(u64, u32)| {
                let went = self.evicted.is_some_and(|evicted| asked.0 <= evicted.group);
                !went && after.is_some_and(|first| self.is_missing(first, asked.0, Some(layer)))
            };
            asked.filter(owed).or(at).unwrap_or((0, 0))
        };
        Some(Resume { timeline, layers: Layer::ALL.map(point) })
    }

    /// Whether something of the timeline is missing that lies between the stamp `from` and a group held, and may yet come.
    fn is_missing(&self, group: &Group, from: u64, layer: Option<Layer>) -> bool {
        let dropped = layer.map_or(0, |layer| self.dropped[layer as usize]);
        group.previous.is_some_and(|previous| previous >= from.max(dropped))
    }
}

/// The least stamp of a group, of whatever timeline, that is newer than all that lies before a resume point.
fn beyond(resume: &Resume) -> u64 {
    resume.layers.iter().map(|(group, index)| group + u64::from(*index > 0)).max().unwrap_or(0)
}

impl Group {
    fn new(id: GroupId, now: Instant) -> Self {
        Self {
            id,
            previous: None,
            objects: Vec::new(),
            layers: Default::default(),
            done: [false; LAYERS],
            total: None,
            held: 0,
            bytes: 0,
            opened_at: now,
            newest_at: now,
        }
    }

    fn get(&self, index: u32) -> Option<&Held> {
        self.objects.get(index as usize)?.as_ref()
    }

    /// Whether an object is within the bounds.
    fn has_place_for(&self, object: &Object) -> bool {
        let index = object.index as usize;
        let within = object.index < self.total.unwrap_or(OBJECTS_MAX).min(OBJECTS_MAX);
        let places = self.objects.len().max(index + 1);
        let footprint = self.bytes + object.wire().len() + places * PLACE_LEN;
        within && index <= self.objects.len() + AHEAD_MAX && footprint <= BYTES_MAX
    }

    /// What it takes in memory, in bytes.
    fn footprint(&self) -> usize {
        self.bytes + self.objects.len() * PLACE_LEN
    }

    /// Takes an object that it has a place for; `false`: it is held already.
    fn insert(&mut self, object: Object, now: Instant) -> bool {
        let index = object.index as usize;
        if index >= self.objects.len() {
            self.objects.resize_with(index + 1, || None);
        }
        let place = &mut self.objects[index];
        if place.is_some() {
            return false;
        }
        let layer = &mut self.layers[object.layer as usize];
        let rank = layer.partition_point(|held| *held < object.index);
        layer.insert(rank, object.index);
        self.bytes += object.wire().len();
        self.held += 1;
        self.newest_at = now;
        *place = Some(Held { object, at: now });
        true
    }

    /// Whether nothing more will come in this layer.
    fn is_done(&self, layer: Layer) -> bool {
        self.done[layer as usize] || self.is_complete()
    }

    fn is_complete(&self) -> bool {
        self.total == Some(self.held)
    }

    /// Whether the stream had nothing in this layer: nothing is held, and nothing was dropped.
    fn does_without(&self, layer: usize) -> bool {
        self.layers[layer].is_empty() && (!self.done[layer] || self.is_complete())
    }
}

#[cfg(test)]
mod tests;
