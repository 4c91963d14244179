//! The water side of routes: logs, inlets and feeds to children, brought in line with what the brain declares.

use std::collections::HashMap;
use std::sync::Arc;

use levada_overlay::{FeedId, LinkId, Resume, Route, StreamName};

use crate::feed::{ChildFeed, ChildTarget, Feeds, Inlet};
use crate::link::LinkHandle;
use crate::log::StreamLog;
use crate::stats::Stats;

/// All streams that this node has state of.
pub(super) struct Water {
    feeds: Arc<Feeds>,
    stats: Arc<Stats>,
    streams: HashMap<StreamName, Current>,
}

#[derive(Default)]
struct Current {
    log: Arc<StreamLog>,
    published: bool,
    upstream: Vec<(LinkId, FeedId)>,
    children: HashMap<(LinkId, FeedId), Child>,
}

/// A child that is fed.
struct Child {
    _feed: ChildFeed,
    /// Its resume point was compared with what the log holds.
    compared: bool,
}

impl Water {
    pub(super) fn new(feeds: Arc<Feeds>, stats: Arc<Stats>) -> Self {
        Self { feeds, stats, streams: HashMap::new() }
    }

    pub(super) fn log(&self, stream: &StreamName) -> Option<&Arc<StreamLog>> {
        self.streams.get(stream).map(|current| &current.log)
    }

    /// The log of a stream, made if need be.
    pub(super) fn open(&mut self, stream: &StreamName) -> Arc<StreamLog> {
        self.streams.entry(stream.clone()).or_default().log.clone()
    }

    pub(super) fn is_published(&self, stream: &StreamName) -> bool {
        self.streams.get(stream).is_some_and(|current| current.published)
    }

    pub(super) fn publish(&mut self, stream: &StreamName) -> Arc<StreamLog> {
        let current = self.streams.entry(stream.clone()).or_default();
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
                gone.upstream.iter().for_each(|(_, feed)| self.feeds.close(*feed));
            }
            return Vec::new();
        };
        let current = self.streams.entry(stream.clone()).or_default();
        let upstream: Vec<_> = route.main.into_iter().chain(route.candidate).collect();
        for (_, feed) in current.upstream.iter().filter(|feed| !upstream.contains(feed)) {
            self.feeds.close(*feed);
        }
        for &(link, feed) in upstream.iter().filter(|feed| !current.upstream.contains(feed)) {
            self.feeds.open(feed, Arc::new(Inlet::new(link, current.log.clone())));
        }
        current.upstream = upstream;
        current.children.retain(|key, _| route.children.iter().any(|child| (child.link, child.feed) == *key));
        let mut lacks = Vec::new();
        // A log that is still empty cannot be compared with; the next route comes with its first object.
        let comparable = current.log.head().is_some();
        for child in &route.children {
            let Some(handle) = links.get(&child.link) else { continue };
            let fed = current.children.entry((child.link, child.feed)).or_insert_with(|| {
                let target = ChildTarget {
                    connection: handle.connection.clone(),
                    control: handle.control.clone(),
                    feed: child.feed,
                };
                let feed = ChildFeed::start(current.log.clone(), target, child.resume, self.stats.clone());
                Child { _feed: feed, compared: false }
            });
            if comparable && !std::mem::replace(&mut fed.compared, true) && !route.origin {
                lacks.extend(child.resume.filter(|resume| current.log.begins_after(resume)));
            }
        }
        lacks
    }
}
