//! The water side of routes: logs, inlets and feeds to children, brought in line with what the brain declares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use levada_media::object::LAYERS;
use levada_overlay::message::Join;
use levada_overlay::{FeedId, Inflow, LinkId, Mode, Resume, Route, StreamName};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ToBrain;
use crate::feed::{self, ChildFeed, ChildTarget, Feeds, Inlet, Watched};
use crate::link::LinkHandle;
use crate::log::{GroupId, StreamLog};
use crate::stats::Stats;

/// All streams that this node has state of.
pub(super) struct Water {
    feeds: Arc<Feeds>,
    stats: Arc<Stats>,
    brain: mpsc::Sender<ToBrain>,
    epoch: Instant,
    streams: HashMap<StreamName, Current>,
}

struct Current {
    log: Arc<StreamLog>,
    /// Where a reader of this node wants to begin, while the log is empty.
    wished: Option<Resume>,
    published: bool,
    inlets: HashMap<FeedId, (Inflow, Arc<Inlet>)>,
    watched: Arc<Watched>,
    /// Runs while there is something to watch.
    watcher: Option<JoinSet<()>>,
    children: HashMap<(LinkId, FeedId), Child>,
}

/// A child that is fed.
struct Child {
    _feed: ChildFeed,
    /// Its resume point was compared with what the log holds.
    compared: bool,
}

impl Current {
    fn new(epoch: Instant) -> Self {
        Self {
            log: Arc::default(),
            wished: None,
            published: false,
            inlets: HashMap::new(),
            watched: Arc::new(Watched::new(epoch)),
            watcher: None,
            children: HashMap::new(),
        }
    }
}

impl Water {
    pub(super) fn new(feeds: Arc<Feeds>, stats: Arc<Stats>, brain: mpsc::Sender<ToBrain>, epoch: Instant) -> Self {
        Self { feeds, stats, brain, epoch, streams: HashMap::new() }
    }

    fn current(&mut self, stream: &StreamName) -> &mut Current {
        let epoch = self.epoch;
        self.streams.entry(stream.clone()).or_insert_with(|| Current::new(epoch))
    }

    /// How much each stream takes that children are fed with, in bits per second.
    pub(super) fn rates(&self) -> Vec<(StreamName, u64)> {
        let fed = self.streams.iter().filter(|(_, current)| !current.children.is_empty());
        fed.filter_map(|(name, current)| Some((name.clone(), current.log.bitrate()?))).collect()
    }

    pub(super) fn log(&self, stream: &StreamName) -> Option<&Arc<StreamLog>> {
        self.streams.get(stream).map(|current| &current.log)
    }

    pub(super) fn logs(&self) -> HashMap<StreamName, Arc<StreamLog>> {
        self.streams.iter().map(|(name, current)| (name.clone(), current.log.clone())).collect()
    }

    /// The log of a stream, made if need be.
    pub(super) fn open(&mut self, stream: &StreamName) -> Arc<StreamLog> {
        self.current(stream).log.clone()
    }

    /// A reader of this node wants to begin with this group. Gives the resume point if the log must be filled from there;
    /// an empty log is when it is [filled](Water::resume_for) first.
    pub(super) fn wish(&mut self, stream: &StreamName, from: GroupId) -> Option<Resume> {
        let resume = Resume { timeline: from.timeline, layers: [(from.group, 0); LAYERS] };
        let current = self.current(stream);
        if current.log.head().is_none() {
            current.wished = Some(resume);
            return None;
        }
        (!current.published && current.log.begins_after(&resume)).then_some(resume)
    }

    /// Where a feed that is asked for has to begin: where the log ends, if the brain leaves that to it, else where children
    /// wait, or a reader of this node; but not behind the end of the log, which the feed before is not to fill any more.
    pub(super) fn resume_for(&mut self, join: &Join, from_log: bool) -> Option<Resume> {
        let Some(current) = self.streams.get_mut(&join.stream) else { return join.resume };
        let held = current.log.resume();
        if let Some(held) = held.filter(|_| from_log) {
            current.wished = None;
            return Some(held);
        }
        let resume = join.resume.or(current.wished)?;
        let held = held.filter(|held| held.timeline == resume.timeline);
        let from = held.map_or(resume, |held| resume.earlier(held));
        current.log.begin(from);
        Some(from)
    }

    pub(super) fn is_published(&self, stream: &StreamName) -> bool {
        self.streams.get(stream).is_some_and(|current| current.published)
    }

    pub(super) fn publish(&mut self, stream: &StreamName) -> Arc<StreamLog> {
        let current = self.current(stream);
        current.published = true;
        current.log.clone()
    }

    pub(super) fn withdraw(&mut self, stream: &StreamName) {
        if let Some(current) = self.streams.get_mut(stream) {
            current.published = false;
        }
    }

    /// Opens and closes feeds until they are what the route says.
    pub(super) fn set_route(
        &mut self,
        stream: &StreamName,
        route: Option<Route>,
        links: &HashMap<LinkId, LinkHandle>,
    ) -> Vec<Resume> {
        let Some(route) = route else {
            if let Some(gone) = self.streams.remove(stream) {
                gone.inlets.keys().for_each(|feed| self.feeds.close(*feed));
            }
            return Vec::new();
        };
        let (feeds, stats, brain) = (self.feeds.clone(), self.stats.clone(), self.brain.clone());
        let current = self.current(stream);
        current.set_inflows(&route, &feeds);
        current.set_watch(&route, brain);
        current.set_children(&route, links, &stats)
    }
}

impl Current {
    fn set_inflows(&mut self, route: &Route, feeds: &Feeds) {
        let wanted = |feed: &FeedId| route.inflows.iter().find(|inflow| inflow.feed == *feed);
        self.inlets.retain(|feed, (inflow, inlet)| {
            let Some(now) = wanted(feed) else {
                feeds.close(*feed);
                return false;
            };
            if now.report != inflow.report {
                inlet.report(now.report);
            }
            *inflow = *now;
            true
        });
        // What comes over a feed that has just been asked for is for somebody, though the shadow is there until it flows.
        let only_told = route.inflows.iter().all(|inflow| inflow.mode == Mode::Shadow);
        if only_told && route.inflows.iter().any(|inflow| inflow.passed_on) {
            self.log.clear();
        }
        for inflow in &route.inflows {
            self.inlets.entry(inflow.feed).or_insert_with(|| {
                let inlet = Arc::new(Inlet::new(inflow, self.log.clone(), self.watched.clone()));
                feeds.open(inflow.feed, inlet.clone());
                (*inflow, inlet)
            });
        }
    }

    fn set_watch(&mut self, route: &Route, brain: mpsc::Sender<ToBrain>) {
        let target = route.watch.and_then(|watch| Some((watch, self.inlets.get(&watch.feed)?.1.clone())));
        if target.is_none() {
            self.watcher = None;
        } else if self.watcher.is_none() {
            let mut tasks = JoinSet::new();
            tasks.spawn(feed::watch(self.watched.clone(), brain));
            self.watcher = Some(tasks);
        }
        self.watched.set(target);
    }

    /// Gives the resume points of children that lie before everything held, once for each child.
    fn set_children(&mut self, route: &Route, links: &HashMap<LinkId, LinkHandle>, stats: &Arc<Stats>) -> Vec<Resume> {
        self.children.retain(|key, _| route.children.iter().any(|child| (child.link, child.feed) == *key));
        let mut lacks = Vec::new();
        // A log that is still empty cannot be compared with; the next route comes with its first object.
        let comparable = self.log.head().is_some();
        for child in &route.children {
            let Some(handle) = links.get(&child.link) else { continue };
            let fed = self.children.entry((child.link, child.feed)).or_insert_with(|| {
                let target = ChildTarget { link: handle.clone(), feed: child.feed };
                let log = self.log.clone();
                let feed = match child.mode {
                    Mode::Full => ChildFeed::start(log, target, child.resume, stats.clone()),
                    Mode::Shadow => ChildFeed::shadow(log, &target),
                };
                Child { _feed: feed, compared: child.mode == Mode::Shadow }
            });
            if comparable && !std::mem::replace(&mut fed.compared, true) && !route.origin {
                lacks.extend(child.resume.filter(|resume| self.log.begins_after(resume)));
            }
        }
        lacks
    }
}

#[cfg(test)]
mod tests;
