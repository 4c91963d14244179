//! Positions in a log: one layer for a child's feed, all layers in order for a muxer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use levada_media::{Layer, Object};
use levada_overlay::Resume;

use super::{Group, GroupId, State, StreamLog, beyond};

/// A reader whose next object has been here for this much longer than when it began is moved to the newest group; so is
/// one that waits this long for what does not come. Tuned: the log holds ten seconds, a viewer buffers less than two.
pub(super) const LAG_MAX: Duration = Duration::from_secs(3);
/// Video that is this late, and does not catch up, is passed over where a newer group has begun: the link carries less than the
/// stream has. Tuned: less than a muxer waits, more than a repair takes.
pub(super) const LAG_SQUEEZED: Duration = Duration::from_millis(500);
/// Whether it catches up is judged over this time ...
const TREND: Duration = Duration::from_millis(500);
/// ... in which it must come nearer by this share of it. Tuned.
const TREND_SHARE: f64 = 0.1;
/// One large picture tells little: while a cursor gets no further than this it is judged over twice that time, and behind it anew, unless video
/// was passed over a moment ago. Tuned: two pictures.
const LARGE: Duration = Duration::from_millis(80);
/// Where video was passed over for want of room, what can be done without is too for this long, unless there is room for it at once: readers wait for what
/// may come yet. Tuned: from one time to the next.
const SPARED_FOR: Duration = Duration::from_secs(3);
/// At once. Tuned: not what comes in one go.
const LAG_SPARED: Duration = Duration::from_millis(100);
/// A child over a link that has just begun to carry media gets longer: congestion control finds the rate of a link that loses packets
/// in some seconds.
pub(super) const WARM_UP: Duration = Duration::from_secs(5);
/// A muxer gives up on missing objects this long after a later object arrived. Tuned: a repair takes a fraction of it.
pub(super) const HOLE_PATIENCE: Duration = Duration::from_millis(2_500);

/// What the cursors of one feed know of each other: up to where video was last passed over for want of room, and when.
#[derive(Debug, Default)]
pub struct Squeeze(Mutex<Option<(GroupId, Instant)>>);

impl Squeeze {
    fn last(&self) -> Option<(GroupId, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, to: GroupId, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((to, now));
    }
}

/// Reads one layer in order.
#[derive(Clone, Debug)]
pub struct LayerCursor {
    layer: Layer,
    /// `None` until there is a group to start in.
    group: Option<GroupId>,
    index: u32,
    /// The child has objects of this group, so its end is owed to it.
    owed: bool,
    /// How far behind a child was when it resumed, and is still.
    grace: Option<Duration>,
    late: Option<Late>,
    /// When the link to the child began to carry media, or this cursor gave out its first object.
    began: Option<Instant>,
    /// Groups of another timeline are newer than all that the child holds from this stamp on.
    beyond: u64,
    /// Since when something is missing that others came after.
    stuck_since: Option<Instant>,
    squeeze: Arc<Squeeze>,
}

/// A cursor that is late.
#[derive(Clone, Copy, Debug)]
struct Late {
    since: Instant,
    /// By how much, then.
    then: Duration,
    /// It has not got beyond a large picture.
    is_large: bool,
}

/// What a layer cursor finds.
#[derive(Debug)]
pub enum LayerStep {
    /// The next objects; they were added to the caller's vector. The instant is the arrival of the oldest.
    Objects(GroupId, Instant),
    /// The layer ends in this group.
    End {
        /// Which group.
        group: GroupId,
        /// Number of its objects over all layers, if known.
        total: Option<u32>,
        /// The child has objects of this layer and group, or was given some, and must be told even if none follow.
        owed: bool,
    },
    /// The cursor was moved: objects from here up to there will not come.
    Skipped {
        /// First that was passed over.
        from: (GroupId, u32),
        /// First that comes next.
        to: (GroupId, u32),
    },
    /// Nothing yet.
    Wait,
}

impl LayerCursor {
    /// Starts at a group, or at the newest one there is when it first looks.
    pub fn start(layer: Layer, group: Option<GroupId>) -> Self {
        Self {
            layer,
            group,
            index: 0,
            owed: false,
            grace: None,
            late: None,
            began: None,
            beyond: 0,
            stuck_since: None,
            squeeze: Arc::default(),
        }
    }

    /// Goes on where a child left off.
    pub fn resume(layer: Layer, resume: &Resume) -> Self {
        let (group, index) = resume.layers[layer as usize];
        let group = Some(GroupId { group, timeline: resume.timeline });
        // The same for all layers, which must change to another timeline at the same group.
        let beyond = beyond(resume);
        Self {
            layer,
            group,
            index,
            owed: index > 0,
            grace: None,
            late: None,
            began: None,
            beyond,
            stuck_since: None,
            squeeze: Arc::default(),
        }
    }

    /// The link to the child has carried media since then, if it is no cold one.
    pub fn over_warm(self, since: Option<Instant>) -> Self {
        Self { began: since, ..self }
    }

    /// One of several of the same feed, which share this.
    pub fn beside(self, squeeze: Arc<Squeeze>) -> Self {
        Self { squeeze, ..self }
    }

    /// Takes up to `max` objects; if that is 0, there is no room, and what is too late is passed over all the same.
    pub fn next(&mut self, log: &StreamLog, max: usize, out: &mut Vec<Object>, now: Instant) -> LayerStep {
        let squeezed_last = if self.layer == Layer::Discardable { self.squeeze.last() } else { None };
        let state = log.state();
        let newest = state.newest_begun();
        let (id, at) = loop {
            let Some(id) = self.group.or(newest) else { return LayerStep::Wait };
            self.group = Some(id);
            // Without the video beside it, it is of no use.
            if let Some((to, _)) = squeezed_last.filter(|(to, _)| to.timeline == id.timeline && to.group > id.group) {
                if state.uses(self.layer) {
                    return self.skip_to(to);
                }
                self.enter(to);
                continue;
            }
            match state.place(id, self.index, self.beyond) {
                Place::Held(at) => break (id, at),
                Place::Moved(to) => {
                    let began = self.index > 0 || self.owed;
                    self.enter(to);
                    if began {
                        return LayerStep::End { group: id, total: None, owed: false };
                    }
                }
                // Layers travel apart, so a group may begin to arrive after its successor; one that went never will.
                Place::Missing { to, went } => {
                    let dropped = self.index == 0 && state.was_dropped(id, to, self.layer);
                    return if went || dropped || self.is_stuck(now) { self.skip_to(to) } else { LayerStep::Wait };
                }
                Place::Nothing => return LayerStep::Wait,
            }
        };
        let group = &state.groups[at];
        let later = state.after(id);
        let indices = &group.layers[self.layer as usize];
        let pending = &indices[indices.partition_point(|index| *index < self.index)..];
        if let Some(oldest) = pending.first().and_then(|index| group.get(*index)).map(|held| held.at) {
            let age = now.duration_since(oldest);
            self.began.get_or_insert(now);
            let grace = *self.grace.insert(self.grace.map_or(age, |grace| grace.min(age)));
            let late = age > LAG_MAX + grace;
            let squeezed = self.is_squeezed(age, now);
            let is_recent = |at: Instant| now.saturating_duration_since(at) < SPARED_FOR;
            let spared = age >= LAG_SPARED && squeezed_last.is_some_and(|(_, at)| is_recent(at));
            let to = match newest {
                Some(newest) if newest != id && (late || squeezed || spared) => Some(newest),
                // One that catches up is not made to miss the rest of the only group there is.
                _ if late && squeezed || spared && is_recent(group.opened_at) => Some(following(id)),
                _ => None,
            };
            if let Some(to) = to {
                if squeezed && self.layer == Layer::Video {
                    self.squeeze.note(to, now);
                }
                return self.skip_to(to);
            }
            if max == 0 {
                return LayerStep::Wait;
            }
            out.extend(pending.iter().take(max).filter_map(|index| group.get(*index)).map(|held| held.object.clone()));
            self.index = out.last().map_or(self.index, |object| object.index + 1);
            self.owed = true;
            self.stuck_since = None;
            return LayerStep::Objects(id, oldest);
        }
        if !group.is_done(self.layer) {
            return match later {
                // Of a broadcast that gave way to another one, nothing more is waited for.
                Some(later) if later.timeline != id.timeline => {
                    self.enter(following(id));
                    LayerStep::End { group: id, total: None, owed: false }
                }
                Some(later) if self.is_stuck(now) => self.skip_to(later),
                _ => LayerStep::Wait,
            };
        }
        // What never came because a parent dropped it does not come to a child either, and that must know.
        if later.is_some() && !self.owed && id.group < state.dropped[self.layer as usize] && !group.is_complete() {
            return self.skip_to(following(id));
        }
        let (total, owed) = (group.total, std::mem::take(&mut self.owed));
        match later {
            Some(_) => {
                self.enter(following(id));
                LayerStep::End { group: id, total, owed }
            }
            // The end is told as soon as it is known.
            None if owed => LayerStep::End { group: id, total, owed },
            None => LayerStep::Wait,
        }
    }

    fn enter(&mut self, id: GroupId) {
        self.group = Some(id);
        self.index = 0;
        self.owed = false;
        self.stuck_since = None;
    }

    /// Whether this cursor has waited for too long although later objects are here.
    fn is_stuck(&mut self, now: Instant) -> bool {
        now.duration_since(*self.stuck_since.get_or_insert(now)) > LAG_MAX
    }

    /// Whether the child gets video too late and does not catch up. Sound is never so much that leaving some out helped.
    fn is_squeezed(&mut self, age: Duration, now: Instant) -> bool {
        if self.layer == Layer::Base || age < LAG_SQUEEZED {
            self.late = None;
            return false;
        }
        let late = self.late.get_or_insert(Late { since: now, then: age, is_large: false });
        let elapsed = now.duration_since(late.since);
        // A link that is cold carries less than it will.
        let is_cold = self.began.is_none_or(|began| now.duration_since(began) < WARM_UP);
        if elapsed < if is_cold { LAG_MAX } else { TREND } {
            return false;
        }
        let further = (elapsed + late.then).saturating_sub(age);
        let was_squeezed = self.squeeze.last().is_some_and(|(_, at)| now.saturating_duration_since(at) < SPARED_FOR);
        if !is_cold && !was_squeezed && further <= LARGE && elapsed < TREND * 2 {
            late.is_large = true;
            return false;
        }
        let catches_up = age + elapsed.mul_f64(TREND_SHARE) <= late.then;
        let begins = further > LARGE && late.is_large;
        if catches_up || begins {
            *late = Late { since: now, then: age, is_large: false };
        }
        !catches_up && !begins
    }

    fn skip_to(&mut self, to: GroupId) -> LayerStep {
        let from = (self.group.unwrap_or(to), self.index);
        self.enter(to);
        (self.grace, self.late) = (None, None);
        LayerStep::Skipped { from, to: (to, 0) }
    }
}

/// Reads all layers in index order.
#[derive(Clone, Debug, Default)]
pub struct FrameCursor {
    group: Option<GroupId>,
    index: u32,
    /// The log is being filled with what lies behind: a layer of which nothing has come may be later than others by many groups, and is not taken
    /// for one that the stream does not use.
    pub patient: bool,
    /// Objects passed over because they did not come in time.
    pub lost: u64,
    /// Objects given out.
    pub read: u64,
}

/// What a frame cursor finds.
#[derive(Debug)]
pub enum FrameStep {
    /// The next objects, all of this group; they were added to the caller's vector.
    Objects(GroupId),
    /// Nothing yet.
    Wait,
}

impl FrameCursor {
    /// Starts at the newest group.
    pub fn newest() -> Self {
        Self::default()
    }

    /// Starts at the beginning of a group, or of whatever comes after that stamp.
    pub fn at(group: GroupId) -> Self {
        Self { group: Some(group), ..Self::default() }
    }

    /// Takes up to `max` objects.
    pub fn next(&mut self, log: &StreamLog, max: usize, out: &mut Vec<Object>, now: Instant) -> FrameStep {
        let state = log.state();
        let Some(mut id) = self.group.or_else(|| state.newest_begun()) else { return FrameStep::Wait };
        self.group = Some(id);
        loop {
            let at = match state.place(id, self.index, 0) {
                Place::Held(at) => at,
                Place::Moved(to) => {
                    id = self.enter(to);
                    continue;
                }
                Place::Missing { to, went } => {
                    let opened = state.group_at(to).map(|at| state.groups[at].opened_at);
                    let dropped = || Layer::ALL.iter().all(|layer| state.was_dropped(id, to, *layer));
                    if !(went || self.index == 0 && dropped())
                        && opened.is_ok_and(|opened| now.duration_since(opened) < HOLE_PATIENCE)
                    {
                        return FrameStep::Wait;
                    }
                    // How many objects the group had is not known, one at least.
                    self.lost += 1;
                    id = self.enter(to);
                    continue;
                }
                Place::Nothing => return FrameStep::Wait,
            };
            let group = &state.groups[at];
            let held = group.objects.get(self.index as usize..).unwrap_or_default();
            let before = out.len();
            out.extend(held.iter().map_while(Option::as_ref).take(max).map(|held| held.object.clone()));
            let taken = out.len() - before;
            if taken > 0 {
                self.index += taken as u32;
                self.read += taken as u64;
                return FrameStep::Objects(id);
            }
            let after = state.after(id).and_then(|after| state.groups.get(state.group_at(after).ok()?));
            if group.total.is_some_and(|total| self.index >= total) {
                if after.is_none() {
                    return FrameStep::Wait;
                }
                id = self.enter(following(id));
                continue;
            }
            let Some(hole_since) = hole_since(group, self.index, after) else {
                return FrameStep::Wait;
            };
            let anew = after.is_some_and(|after| after.id.timeline != id.timeline);
            let passed = !self.patient && state.is_passed(at, self.index);
            if now.duration_since(hole_since) < HOLE_PATIENCE && !anew && !passed {
                return FrameStep::Wait;
            }
            let Some(resumes) = held.iter().position(Option::is_some) else {
                // A broadcast that began anew leaves its last group open; nothing of it is known to be missing.
                let missing = group.total.map_or(u32::from(!anew), |total| total - self.index);
                self.lost += u64::from(missing);
                id = match after {
                    Some(_) => self.enter(following(id)),
                    None => return FrameStep::Wait,
                };
                continue;
            };
            self.lost += resumes as u64;
            self.index += resumes as u32;
        }
    }

    fn enter(&mut self, id: GroupId) -> GroupId {
        self.group = Some(id);
        self.index = 0;
        id
    }

    /// The object that comes next.
    pub fn position(&self) -> Option<(GroupId, u32)> {
        self.group.map(|group| (group, self.index))
    }
}

/// Where to go on after a group: with whatever comes after it, which [`State::place`] finds.
fn following(id: GroupId) -> GroupId {
    GroupId { group: id.group + 1, ..id }
}

/// What a log has for a cursor that is about to read a group.
enum Place {
    /// The group, at this index.
    Held(usize),
    /// Nothing of that stamp was made; this group comes next, or begins another timeline.
    Moved(GroupId),
    /// Something is missing before this group, the next one held of the timeline.
    Missing {
        to: GroupId,
        /// It will not come, since it was held and is gone.
        went: bool,
    },
    /// Nothing yet.
    Nothing,
}

impl State {
    /// Looks for the group that a cursor is to read from `index` on. Index 0 of a stamp that no group has means the next
    /// group after it. Of a timeline that ends here, or that is not held at all, the first group of another one comes
    /// next, if its stamp is greater, and at least `beyond`. In either case one that is told of and not here is waited for:
    /// layers travel apart, and all must go on at the same group.
    fn place(&self, id: GroupId, index: u32, beyond: u64) -> Place {
        if let Ok(at) = self.group_at(id) {
            return Place::Held(at);
        }
        let own = self.next_of(id);
        let from = if own.is_some() { id.group } else { beyond.max(id.group + u64::from(index > 0)) };
        let Some(next) = own.or_else(|| self.next_foreign(id.timeline, from)) else { return Place::Nothing };
        let began = own.is_some() && index > 0;
        if !began && !self.is_missing(next, from, None) {
            return Place::Moved(next.id);
        }
        let gone = |evicted: GroupId| id <= evicted || next.previous.is_some_and(|stamp| stamp <= evicted.group);
        Place::Missing { to: next.id, went: self.evicted.is_some_and(gone) }
    }

    /// Whether no layer can bring an index of a group any more: each has ended, is beyond it, or has nothing in the group and
    /// had nothing in the one before, of which nothing was dropped. The beginning may come from further up yet: a log may have been filled
    /// from a later object on.
    fn is_passed(&self, at: usize, index: u32) -> bool {
        let group = &self.groups[at];
        if index == 0 || group.get(index - 1).is_none() {
            return false;
        }
        let before = at.checked_sub(1).and_then(|before| self.groups.get(before));
        Layer::ALL.into_iter().map(|layer| layer as usize).all(|layer| {
            let indices = &group.layers[layer];
            let unused = indices.is_empty() && before.is_some_and(|before| before.does_without(layer));
            group.done[layer] || unused || indices.last().is_some_and(|last| *last > index)
        })
    }

    /// Whether a parent dropped, in a layer, all that is missing between a stamp and a group.
    fn was_dropped(&self, from: GroupId, to: GroupId, layer: Layer) -> bool {
        self.group_at(to).is_ok_and(|at| !self.is_missing(&self.groups[at], from.group, Some(layer)))
    }

    /// Whether the stream has anything in a layer.
    fn uses(&self, layer: Layer) -> bool {
        self.groups.iter().any(|group| !group.layers[layer as usize].is_empty())
    }

    /// What is held after a group: the next one of its timeline, or else the next one of another.
    fn after(&self, id: GroupId) -> Option<GroupId> {
        let next = self.next_of(id).or_else(|| self.next_foreign(id.timeline, id.group + 1));
        next.map(|group| group.id)
    }
}

/// Since when something later than `index` is held, which means that `index` is missing and not merely not made yet.
fn hole_since(group: &Group, index: u32, after: Option<&Group>) -> Option<Instant> {
    let later = group.objects.iter().skip(index as usize).flatten().map(|held| held.at).min();
    later.or(after.map(|after| after.opened_at))
}
