//! Objects of one stream at one node: what is held, who is fed, who reads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use levada_overlay::message::Gap;
use levada_overlay::pace::{Late, Pace, Progress};
use levada_overlay::{FeedId, Inflow, Input, LinkId, Mode, Position, Resume, Route, Time};

use crate::held::Held;

/// Objects of a group.
pub const GROUP_OBJECTS: u32 = 50;
/// Time between two objects.
pub const OBJECT_INTERVAL: Duration = Duration::from_millis(20);
/// Milliseconds that a group lasts; stamps of groups are this far apart.
pub const GROUP_MS: u64 = GROUP_OBJECTS as u64 * OBJECT_INTERVAL.as_millis() as u64;
/// Objects kept: 10 s, as the logs of nodes keep (`node::log`). Two groups are always less.
pub(crate) const KEEP: usize = 500;

/// Group and index: what a gap is told by, whatever the timeline.
type Stamp = (u64, u32);

/// The log of one stream at one node.
#[derive(Debug, Default)]
pub(crate) struct Water {
    pub(crate) held: Held,
    /// Objects kept at most.
    keep: usize,
    /// Old objects went, so what lies before the first one cannot be had back.
    trimmed: bool,
    /// What parents said is gone, as far as it reaches into what is held.
    gaps: Vec<Range<Stamp>>,
    pub(crate) route: Route,
    pub(crate) children: BTreeMap<(LinkId, FeedId), Child>,
    /// Feeds whose first newer object is to be reported.
    armed: BTreeSet<FeedId>,
    /// How far the parent of a node is that passes on nothing but shadows.
    announced: Option<Resume>,
    pace: Pace,
    /// What the watched feed brought, and when it brought its newest, by the node's own clock.
    fed: u64,
    fed_at: Time,
    /// When somebody looks next, by the world's clock.
    pub(crate) look_at: Option<Time>,
}

/// A child that is fed.
#[derive(Debug, Default)]
pub(crate) struct Child {
    mode: Mode,
    /// Where its feed goes on; `None`: it starts with the newest group there is.
    next: Option<Position>,
    /// Its resume point was compared with what is held.
    compared: bool,
    /// How far this node is, as the child was told last.
    told: Option<Resume>,
}

/// What is to be sent to a child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flow {
    Object { link: LinkId, feed: FeedId, position: Position, bytes: u64 },
    Front { link: LinkId, feed: FeedId, front: Resume },
    Gap { link: LinkId, feed: FeedId, from: Position, to: Position },
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Newest { report: bool },
    Filled,
    Duplicate,
    NotWanted,
}

/// The payload of a position, so that a mix-up shows.
pub(crate) fn payload(position: Position) -> u64 {
    position.timeline.wrapping_mul(31) ^ (position.group << 20) ^ u64::from(position.index)
}

/// An object that opens a group is this many times as long as another one. Tuned: what x264 makes of talking heads.
const KEY_FACTOR: u64 = 8;

/// Bytes of an object: groups of one second at an even rate, the first object the longest.
pub(crate) fn length(position: Position, bitrate: u64) -> u64 {
    let group = bitrate / 8 * u64::from(GROUP_OBJECTS) * OBJECT_INTERVAL.as_millis() as u64 / 1_000;
    let unit = group / (u64::from(GROUP_OBJECTS) - 1 + KEY_FACTOR);
    if position.index == 0 { KEY_FACTOR * unit } else { unit }
}

/// The position after this one in the same broadcast.
pub(crate) fn successor(position: Position) -> Position {
    if position.index + 1 < GROUP_OBJECTS {
        Position { index: position.index + 1, ..position }
    } else {
        Position { group: position.group + GROUP_MS, index: 0, ..position }
    }
}

impl Water {
    /// An empty log that will keep so many objects.
    pub(crate) fn new(keep: usize) -> Box<Self> {
        Box::new(Self { keep, ..Self::default() })
    }

    pub(crate) fn head(&self) -> Option<Position> {
        self.held.last()
    }

    /// One layer stands for all three.
    pub(crate) fn resume(&self) -> Option<Resume> {
        let next = successor(self.head()?);
        Some(Resume { timeline: next.timeline, layers: [(next.group, next.index); 3] })
    }

    /// How far this node is: what it holds, or, without objects, what its parent announced.
    fn front(&self) -> Option<Resume> {
        self.resume().or(self.announced)
    }

    /// The link of the committed parent.
    pub(crate) fn parent(&self) -> Option<LinkId> {
        let committed = |inflow: &&Inflow| inflow.mode == Mode::Full && !inflow.report;
        self.route.inflows.iter().find(committed).map(|inflow| inflow.link)
    }

    fn inflow(&self, link: LinkId, feed: FeedId) -> Option<Inflow> {
        self.route.inflows.iter().find(|inflow| inflow.link == link && inflow.feed == feed).copied()
    }

    /// Gives the resume points of children that lie before everything held, once for each child.
    pub(crate) fn set_route(&mut self, route: Route, now: Time) -> Vec<Resume> {
        let fed = |key: &(LinkId, FeedId)| route.children.iter().any(|child| (child.link, child.feed) == *key);
        self.children.retain(|key, _| fed(key));
        if route.inflows.iter().all(|inflow| !inflow.passed_on) {
            self.announced = None;
        } else if route.inflows.iter().all(|inflow| inflow.mode == Mode::Shadow) {
            self.held = Held::default();
            self.trimmed = false;
            self.gaps.clear();
        }
        let first = self.held.first();
        let mut lacks = Vec::new();
        for child in &route.children {
            let start = child.resume.map(|resume| {
                let (group, index) = resume.layers[0];
                Position { timeline: resume.timeline, group, index }
            });
            let fed = Child { mode: child.mode, next: start, compared: child.mode == Mode::Shadow, told: None };
            let fed = self.children.entry((child.link, child.feed)).or_insert(fed);
            // A log that is still empty cannot be compared with; the next route comes with its first object.
            let Some(first) = first else { continue };
            let missing = start.is_some_and(|start| start < first && start.timeline == first.timeline);
            if !std::mem::replace(&mut fed.compared, true) && missing && !route.origin && !self.trimmed {
                lacks.extend(child.resume);
            }
        }
        let was = |feed: FeedId| self.route.inflows.iter().any(|inflow| inflow.feed == feed && inflow.report);
        let report = |feed: FeedId| route.inflows.iter().any(|inflow| inflow.feed == feed && inflow.report);
        let newly: Vec<FeedId> = route.inflows.iter().map(|i| i.feed).filter(|f| report(*f) && !was(*f)).collect();
        self.armed.retain(|feed| report(*feed));
        self.armed.extend(newly);
        if self.route.watch.map(|watch| watch.feed) != route.watch.map(|watch| watch.feed) {
            (self.pace, self.fed, self.fed_at) = (self.pace.renewed(), 0, now);
        } else if self.route.watch.map(|watch| watch.ways_since) < route.watch.map(|watch| watch.ways_since) {
            self.pace.relearn();
        }
        self.route = route;
        lacks
    }

    pub(crate) fn arrive(
        &mut self,
        link: LinkId,
        feed: FeedId,
        position: Position,
        strictly: bool,
        now: Time,
    ) -> Arrival {
        if self.inflow(link, feed).is_none_or(|inflow| inflow.mode != Mode::Full) {
            return Arrival::NotWanted;
        }
        if self.route.watch.is_some_and(|watch| watch.feed == feed) {
            self.fed += 1;
            self.fed_at = now;
        }
        let newest = self.head().is_none_or(|head| position > head);
        if self.held.contains(position) && strictly {
            return Arrival::Duplicate;
        }
        let report = (newest || !strictly) && self.armed.remove(&feed);
        self.insert(position);
        if newest || report { Arrival::Newest { report } } else { Arrival::Filled }
    }

    /// A shadow says how far its parent is. Gives the position that is to be reported, if any.
    /// And whether it is the first object that is missing: somebody must look.
    pub(crate) fn announce(
        &mut self,
        link: LinkId,
        feed: FeedId,
        front: Resume,
        now: Time,
    ) -> (Option<Position>, bool) {
        let Some(inflow) = self.inflow(link, feed).filter(|inflow| inflow.mode == Mode::Shadow) else {
            return (None, false);
        };
        let mut missing = false;
        if self.route.watch.is_some_and(|watch| watch.reference == Some(feed)) {
            let progress = self.progress();
            missing = self.pace.announce(front, &progress, now);
        }
        let newer = self.front().is_none_or(|known| front.is_beyond(&known));
        if !newer || !(inflow.passed_on || inflow.report) {
            return (None, missing);
        }
        self.announced = Some(self.announced.map_or(front, |known| known.max(front)));
        let (group, index) = front.layers[0];
        let position = Position { timeline: front.timeline, group, index };
        (self.armed.remove(&feed).then_some(position), missing)
    }

    fn progress(&self) -> Progress {
        Progress { held: self.resume(), at: self.fed_at, objects: self.fed }
    }

    /// Looks after the watched feed: news for the brain, and after what pause to look again.
    pub(crate) fn look(&mut self, now: Time) -> (Option<Input>, Option<Duration>) {
        let Some(watch) = self.route.watch else { return (None, None) };
        let progress = self.progress();
        let late = self.pace.check(&progress, watch.patience, now);
        let pause = self.pace.due(&progress, watch.patience, now).since(now).max(Duration::from_millis(1));
        let news =
            late.map(|Late { since, announced, silent }| Input::Behind { feed: watch.feed, since, announced, silent });
        (news, Some(pause))
    }

    pub(crate) fn insert(&mut self, position: Position) {
        self.held.insert(position);
        while self.held.len() > self.keep {
            self.held.pop_first();
            self.trimmed = true;
        }
        if let Some(first) = self.held.first() {
            self.gaps.retain(|gap| gap.end > (first.group, first.index));
        }
    }

    /// A parent says what of its feed is gone.
    pub(crate) fn gap(&mut self, link: LinkId, gap: &Gap) {
        if self.inflow(link, gap.feed).is_some() {
            self.gaps.push(gap.from..gap.to);
        }
    }

    /// Where the timeline of an object goes on that is not held and will not come either.
    fn gone_until(&self, wanted: Position) -> Option<Position> {
        if self.trimmed && self.held.first().is_some_and(|first| wanted < first) {
            return self.held.first_group_from(wanted.group).filter(|start| start.timeline == wanted.timeline);
        }
        let gap = self.gaps.iter().find(|gap| gap.contains(&(wanted.group, wanted.index)))?;
        Some(Position { group: gap.end.0, index: gap.end.1, ..wanted })
    }

    /// Takes what is now to be sent to the children.
    pub(crate) fn flow(&mut self, out: &mut Vec<Flow>) {
        if self.children.is_empty() {
            return;
        }
        let (front, head) = (self.front(), self.head());
        let mut children = std::mem::take(&mut self.children);
        for (&(link, feed), child) in &mut children {
            if child.mode == Mode::Shadow {
                if let Some(front) = front.filter(|front| child.told != Some(*front)) {
                    child.told = Some(front);
                    out.push(Flow::Front { link, feed, front });
                }
                continue;
            }
            let Some(head) = head else { continue };
            let newest_group = Position { index: 0, ..head };
            let mut from = child.next.unwrap_or(newest_group);
            loop {
                for _ in 0..self.held.whole_from(from) {
                    out.push(Flow::Object { link, feed, position: from, bytes: payload(from) });
                    from = successor(from);
                    child.next = Some(from);
                }
                if from > head {
                    break;
                }
                if let Some(to) = self.gone_until(from) {
                    out.push(Flow::Gap { link, feed, from, to });
                    from = to;
                    child.next = Some(from);
                    continue;
                }
                // A hole is being filled, so a feed goes as far as the log is whole.
                if self.held.goes_on_after(from) {
                    break;
                }
                // Another broadcast took over: its first group that is newer than all that the child can hold.
                let group = from.group + u64::from(from.index > 0);
                let Some(start) = self.held.first_group_from(group) else { break };
                from = start;
            }
        }
        self.children = children;
    }
}
