//! Objects of one stream at one node: what is held, who is fed, who reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use levada_overlay::{FeedId, LinkId, Position, Resume, Route};

/// Objects of a group.
pub const GROUP_OBJECTS: u32 = 50;
/// Time between two objects.
pub const OBJECT_INTERVAL: Duration = Duration::from_millis(20);
/// Milliseconds that a group lasts; stamps of groups are this far apart.
pub const GROUP_MS: u64 = GROUP_OBJECTS as u64 * OBJECT_INTERVAL.as_millis() as u64;
/// Objects kept: 200 s, longer than any outage that is simulated, so that every loss is somebody's fault.
const KEEP: usize = 10_000;

/// The log of one stream at one node.
#[derive(Debug, Default)]
pub(crate) struct Water {
    held: BTreeMap<Position, u64>,
    /// Old objects went, so what lies before the first one cannot be had back.
    trimmed: bool,
    pub(crate) route: Route,
    /// Where each child's feed goes on; `None`: it starts with the newest group there is.
    children: BTreeMap<(LinkId, FeedId), Option<Position>>,
    /// Children whose resume points were compared with what is held.
    compared: BTreeSet<(LinkId, FeedId)>,
    /// Candidates whose first newer object was reported.
    reported: Option<FeedId>,
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

/// The position after this one in the same broadcast.
pub(crate) fn successor(position: Position) -> Position {
    if position.index + 1 < GROUP_OBJECTS {
        Position { index: position.index + 1, ..position }
    } else {
        Position { group: position.group + GROUP_MS, index: 0, ..position }
    }
}

impl Water {
    pub(crate) fn head(&self) -> Option<Position> {
        self.held.keys().next_back().copied()
    }

    /// One layer stands for all three.
    pub(crate) fn resume(&self) -> Option<Resume> {
        let next = successor(self.head()?);
        Some(Resume { timeline: next.timeline, layers: [(next.group, next.index); 3] })
    }

    /// Gives the resume points of children that lie before everything held, once for each child.
    pub(crate) fn set_route(&mut self, route: Route) -> Vec<Resume> {
        let fed = |key: &(LinkId, FeedId)| route.children.iter().any(|child| (child.link, child.feed) == *key);
        self.children.retain(|key, _| fed(key));
        self.compared.retain(fed);
        let first = self.held.keys().next().copied();
        let mut lacks = Vec::new();
        for child in &route.children {
            let key = (child.link, child.feed);
            let start = child.resume.map(|resume| {
                let (group, index) = resume.layers[0];
                Position { timeline: resume.timeline, group, index }
            });
            self.children.entry(key).or_insert(start);
            // A log that is still empty cannot be compared with; the next route comes with its first object.
            let Some(first) = first else { continue };
            let missing = start.is_some_and(|start| start < first && start.timeline == first.timeline);
            if self.compared.insert(key) && missing && !route.origin && !self.trimmed {
                lacks.extend(child.resume);
            }
        }
        self.route = route;
        lacks
    }

    pub(crate) fn arrive(&mut self, link: LinkId, feed: FeedId, position: Position, strictly: bool) -> Arrival {
        let upstream = Some((link, feed));
        if self.route.main != upstream && self.route.candidate != upstream {
            return Arrival::NotWanted;
        }
        let newest = self.head().is_none_or(|head| position > head);
        if self.held.contains_key(&position) && strictly {
            return Arrival::Duplicate;
        }
        let report = (newest || !strictly) && self.route.candidate == upstream && self.reported != Some(feed);
        if report {
            self.reported = Some(feed);
        }
        self.insert(position);
        if newest || report { Arrival::Newest { report } } else { Arrival::Filled }
    }

    pub(crate) fn insert(&mut self, position: Position) {
        self.held.insert(position, payload(position));
        while self.held.len() > KEEP {
            self.held.pop_first();
            self.trimmed = true;
        }
    }

    /// Takes what is now to be sent to the children.
    pub(crate) fn flow(&mut self) -> Vec<(LinkId, FeedId, Position, u64)> {
        let mut out = Vec::new();
        let Some(head) = self.head() else { return out };
        let newest_group = Position { index: 0, ..head };
        for (&(link, feed), next) in &mut self.children {
            let mut from = next.unwrap_or(newest_group);
            loop {
                if let Some(&payload) = self.held.get(&from) {
                    out.push((link, feed, from, payload));
                    from = successor(from);
                    *next = Some(from);
                    continue;
                }
                // A hole is being filled, so a feed goes as far as the log is whole.
                if from > head || self.held.range(from..).any(|(later, _)| later.timeline == from.timeline) {
                    break;
                }
                // Another broadcast took over: its first group that is newer than all that the child can hold.
                let group = from.group + u64::from(from.index > 0);
                let beyond = Position { group, timeline: 0, index: 0 };
                let Some((start, _)) = self.held.range(beyond..).find(|(start, _)| start.index == 0) else { break };
                from = *start;
            }
        }
        out
    }
}
