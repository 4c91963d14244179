//! The tree of each stream, as one node sees it: who feeds it, whom it feeds, and when that changes.
//!
//! ```text
//!              wanted, a path is known                first newer object
//!   waiting ─────────────────────────────> joining ─────────────────────> fed
//!      ^                                    │   ^                          │
//!      └── no path, refused, out of patience┘   └── parent lost, or a ─────┘
//!                                                   better one has lasted
//! ```
//!
//! The commit rule keeps trees free of loops: a node commits to a new parent only upon receiving from it an object newer
//! than everything it holds. A descendant's head never exceeds its ancestor's, so such an object cannot come from one's
//! own descendant. Until then the old parent, if it lives, goes on feeding (make before break).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use super::links::Link;
use crate::graph::Micros;
use crate::id::StreamName;
use crate::io::{ChildRoute, Event, LinkId, Output, Route};
use crate::message::{FeedId, Join, Message, Refusal, Supply};
use crate::position::{Position, Resume};
use crate::record::StreamFacts;
use crate::time::Time;

/// A parent that has not brought a newer object within this time is left for another one. Tuned: several round trips
/// around the world for the joins further up.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);
/// A parent that says it is repairing gets this long before children look elsewhere. Tuned.
const REPAIR_PATIENCE: Duration = Duration::from_secs(1);
/// A parent that refused, or ran out of patience, is not asked again for this long. Tuned.
const RETRY: Duration = Duration::from_millis(500);
/// A parent that turned out not to be faster than the present one is not tried again for this long. Tuned.
const NOT_FASTER: Duration = Duration::from_secs(30);
/// Parents within this factor of the least metric are equal (DESIGN 3).
const EQUAL_RATIO: f64 = 1.25;
/// ... but never more than this many microseconds above it. Tuned: what a viewer does not notice.
const EQUAL_MAX_US: Micros = 20_000;
/// A better parent must be better by this share (DESIGN 3) ...
const BETTER_RATIO: f64 = 0.10;
/// ... and by this many microseconds (DESIGN 3) ...
const BETTER_MIN_US: Micros = 5_000;
/// ... for this long (DESIGN 3); also the least time between two such moves.
const BETTER_LASTS: Duration = Duration::from_secs(10);
/// Most streams with state at a node; a join for one more is refused. Tuned: ten times what the issue asks for.
const STREAMS_MAX: usize = 4_096;

/// One stream at one node.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What this node tells of it, if it publishes it.
    pub(super) published: Option<Published>,
    /// Local readers.
    pub(super) readers: u32,
    pub(super) main: Option<Upstream>,
    pub(super) candidate: Option<Upstream>,
    pub(super) children: BTreeMap<LinkId, Child>,
    /// Links not to be asked before a time.
    avoid: BTreeMap<LinkId, Time>,
    /// Links that turned out not to be faster: not to be asked before a time, as long as the present parent flows.
    slower: BTreeMap<LinkId, Time>,
    /// From where the log is to be filled, for a child that wants more than it holds.
    backfill: Option<Resume>,
    better_since: Option<Time>,
    moved_at: Option<Time>,
    waiting: bool,
    pub(super) switches: u64,
    /// When to weigh again without any other cause.
    pub(super) check_at: Time,
}

/// A stream that this node publishes.
#[derive(Clone, Debug)]
pub(super) struct Published {
    facts: StreamFacts,
    /// When its stamps were as `facts` says.
    at: Time,
}

impl Published {
    /// What a record says that is signed at `now`.
    pub(super) fn told(&self, now: Time) -> StreamFacts {
        self.facts.clone().aged(now.since(self.at))
    }
}

/// A feed that this node asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upstream {
    pub(super) link: LinkId,
    pub(super) feed: FeedId,
    since: Time,
    supply: Supply,
    supply_since: Time,
}

impl Upstream {
    /// The parent has no supply of its own, or has tried for too long to get one back.
    fn is_dry(&self, now: Time) -> bool {
        match self.supply {
            Supply::Flowing => false,
            Supply::Repairing => now.since(self.supply_since) >= REPAIR_PATIENCE,
            Supply::Waiting => true,
        }
    }
}

/// A neighbour that this node feeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) feed: FeedId,
    resume: Option<Resume>,
    told: Option<Supply>,
}

impl Stream {
    fn wanted(&self) -> bool {
        self.readers > 0 || !self.children.is_empty()
    }

    /// Whether a child would find the stream here without a further join.
    pub(super) fn carries(&self) -> bool {
        self.published.is_some() || self.main.is_some()
    }

    /// Links that its tree uses.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        let upstream = self.main.iter().chain(&self.candidate).map(|upstream| upstream.link);
        upstream.chain(self.children.keys().copied())
    }

    pub(super) fn supply(&self) -> Supply {
        match (&self.main, &self.candidate) {
            _ if self.published.is_some() => Supply::Flowing,
            (Some(main), _) => main.supply,
            (None, Some(_)) => Supply::Repairing,
            (None, None) => Supply::Waiting,
        }
    }

    /// Where the child that is furthest behind wants to go on. A node that holds nothing of a stream yet joins from
    /// there, or its child would miss what lies between.
    fn earliest_resume(&self) -> Option<Resume> {
        let wanted = self.children.values().filter_map(|child| child.resume);
        wanted.reduce(earlier)
    }

    fn route(&self) -> Route {
        let children = self.children.iter();
        Route {
            origin: self.published.is_some(),
            main: self.main.map(|upstream| (upstream.link, upstream.feed)),
            candidate: self.candidate.map(|upstream| (upstream.link, upstream.feed)),
            children: children
                .map(|(link, child)| ChildRoute { link: *link, feed: child.feed, resume: child.resume })
                .collect(),
        }
    }
}

/// A possible parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) link: LinkId,
    /// Microseconds from the nearest origin through it to here.
    pub(super) metric: Micros,
    pub(super) hops: u16,
    pub(super) carries: bool,
}

impl Node {
    pub(super) fn publish(&mut self, facts: StreamFacts, now: Time) {
        let stream = facts.name.clone();
        let entry = self.streams.entry(stream.clone()).or_default();
        let before = entry.published.replace(Published { facts, at: now });
        self.own_streams_changed(now);
        if before.is_none() {
            self.reconsider(&stream, now);
            self.tell_all_carried(&stream, true);
        }
    }

    pub(super) fn withdraw(&mut self, stream: &StreamName, now: Time) {
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        if entry.published.take().is_some() {
            self.own_streams_changed(now);
            self.tell_all_carried(stream, false);
            self.reconsider(stream, now);
        }
    }

    pub(super) fn subscribe(&mut self, stream: StreamName, now: Time) {
        self.streams.entry(stream.clone()).or_default().readers += 1;
        self.reconsider(&stream, now);
    }

    pub(super) fn unsubscribe(&mut self, stream: &StreamName, now: Time) {
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.readers = entry.readers.saturating_sub(1);
            self.reconsider(stream, now);
        }
    }

    /// A neighbour asks to be fed.
    pub(super) fn join_asked(&mut self, link: LinkId, join: Join, now: Time) {
        let children: usize = self.streams.values().map(|stream| stream.children.len()).sum();
        let known = self.streams.contains_key(&join.stream);
        if children >= self.config.children_max || (!known && self.streams.len() >= STREAMS_MAX) {
            self.send(link, Message::Refuse { feed: join.feed, reason: Refusal::Busy });
            return;
        }
        let entry = self.streams.entry(join.stream.clone()).or_default();
        let feeds_us = |upstream: &Option<Upstream>| upstream.is_some_and(|upstream| upstream.link == link);
        if feeds_us(&entry.main) || feeds_us(&entry.candidate) {
            self.send(link, Message::Refuse { feed: join.feed, reason: Refusal::Circular });
            return;
        }
        // A second join over one link replaces the first: one copy is enough.
        entry.children.insert(link, Child { feed: join.feed, resume: join.resume, told: None });
        self.reconsider(&join.stream, now);
    }

    pub(super) fn leave_asked(&mut self, link: LinkId, feed: FeedId, now: Time) {
        let fed = |stream: &Stream| stream.children.get(&link).is_some_and(|child| child.feed == feed);
        let Some(name) = self.streams.iter().find(|(_, stream)| fed(stream)).map(|(name, _)| name.clone()) else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(&name) {
            stream.children.remove(&link);
        }
        self.reconsider(&name, now);
    }

    pub(super) fn refused(&mut self, link: LinkId, feed: FeedId, _reason: Refusal, now: Time) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        let is_it = |upstream: &Upstream| upstream.link == link && upstream.feed == feed;
        if stream.candidate.as_ref().is_some_and(is_it) {
            stream.candidate = None;
        } else if stream.main.as_ref().is_some_and(is_it) {
            stream.main = None;
        } else {
            return;
        }
        self.feeds.remove(&feed);
        stream.avoid.insert(link, now + RETRY);
        self.reconsider(&name, now);
    }

    /// A parent says how its own supply stands.
    pub(super) fn supply(&mut self, link: LinkId, feed: FeedId, supply: Supply, now: Time) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        for upstream in stream.main.iter_mut().chain(&mut stream.candidate) {
            if upstream.link == link && upstream.feed == feed && upstream.supply != supply {
                upstream.supply = supply;
                upstream.supply_since = now;
            }
        }
        self.reconsider(&name, now);
    }

    /// The commit rule is met: the candidate becomes the parent.
    pub(super) fn newer(&mut self, feed: FeedId, position: Position, now: Time) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        let Some(candidate) = stream.candidate.take_if(|candidate| candidate.feed == feed) else {
            return;
        };
        let before = stream.main.replace(candidate);
        if before.is_some_and(|before| before.link == candidate.link) {
            // The same parent, from further back. It has replaced the old feed by the new one itself.
            before.iter().for_each(|before| drop(self.feeds.remove(&before.feed)));
            return self.reconsider(&name, now);
        }
        stream.switches += 1;
        stream.moved_at = Some(now);
        stream.better_since = None;
        self.counters.switches += 1;
        let name_of = |link: LinkId| self.links.get(&link).map(|link| link.name.clone()).unwrap_or_default();
        let event = Event::Committed {
            stream: name.clone(),
            parent: name_of(candidate.link),
            before: before.map(|before| name_of(before.link)),
            position,
        };
        self.event(event);
        match before {
            Some(before) => self.leave(before),
            None => self.tell_all_carried(&name, true),
        }
        self.reconsider(&name, now);
    }

    /// A child wants more than the log holds: the feed is asked for again from there, over the same link, and the parent
    /// replaces the old one.
    pub(super) fn lacks(&mut self, name: &StreamName, resume: Resume, now: Time) {
        if let Some(stream) = self.streams.get_mut(name) {
            stream.backfill = Some(stream.backfill.map_or(resume, |other| earlier(other, resume)));
            self.reconsider(name, now);
        }
    }

    /// A link is gone, and with it every feed over it.
    pub(super) fn streams_lose_link(&mut self, link: LinkId, now: Time) {
        let mut touched = Vec::new();
        for (name, stream) in &mut self.streams {
            let lost = [stream.main.take_if(|up| up.link == link), stream.candidate.take_if(|up| up.link == link)];
            for upstream in lost.iter().flatten() {
                self.feeds.remove(&upstream.feed);
            }
            let lost_child = stream.children.remove(&link).is_some();
            stream.avoid.remove(&link);
            stream.slower.remove(&link);
            if lost_child || lost.iter().any(Option::is_some) {
                touched.push((name.clone(), lost[0].is_some() && stream.published.is_none()));
            }
        }
        for (name, lost_main) in touched {
            if lost_main {
                self.tell_all_carried(&name, false);
            }
            self.reconsider(&name, now);
        }
    }

    pub(super) fn reconsider_all(&mut self, now: Time) {
        let names: Vec<StreamName> = self.streams.keys().cloned().collect();
        for name in names {
            self.reconsider(&name, now);
        }
    }

    pub(super) fn streams_due(&mut self, now: Time) {
        let due: Vec<StreamName> =
            self.streams.iter().filter(|(_, s)| s.check_at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.reconsider(&name, now);
        }
    }

    /// Weighs anew who should feed this stream, and makes everybody concerned know.
    fn reconsider(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        stream.check_at = Time::NEVER;
        stream.avoid.retain(|_, until| *until > now);
        stream.slower.retain(|_, until| *until > now);
        if stream.published.is_some() || !stream.wanted() {
            stream.waiting = false;
            stream.backfill = None;
            self.leave_all(name);
        } else {
            let ranking = self.ranking(name, now);
            self.choose(name, &ranking, now);
        }
        self.settle(name, now);
    }

    /// Possible parents, the preferred one first. All are strictly nearer to an origin than this node is (the loop-free
    /// condition of RFC 5286, section 1.1), none is a child, none has just refused.
    pub(super) fn ranking(&mut self, name: &StreamName, now: Time) -> Vec<Choice> {
        let distances = self.distances(name);
        let Some(stream) = self.streams.get(name) else {
            return Vec::new();
        };
        let metric_of = |link: &Link| {
            let peer = distances.get(link.peer)?;
            let passes = peer.hops == 0 || self.table.node(link.peer).is_some_and(|node| node.transit);
            passes.then(|| (peer, peer.metric + Micros::from(self.cost_from(link))))
        };
        let here = self.links.values().filter_map(|link| metric_of(link).map(|(_, metric)| metric)).min();
        let dry = |id: LinkId| {
            let upstream = stream.main.iter().chain(&stream.candidate).find(|upstream| upstream.link == id);
            upstream.is_some_and(|upstream| upstream.is_dry(now))
        };
        // Failure moves are never damped: without a parent that flows, a slower one will do.
        let flows = stream.main.is_some_and(|main| !main.is_dry(now));
        let mut choices = Vec::new();
        for (&id, link) in &self.links {
            let tried = stream.avoid.contains_key(&id) || flows && stream.slower.contains_key(&id);
            let barred = stream.children.contains_key(&id) || tried || link.leaving || dry(id);
            let Some((peer, metric)) = metric_of(link).filter(|_| !barred) else {
                continue;
            };
            if here.is_some_and(|here| peer.metric < here) {
                let carries = peer.hops == 0 || link.carries.contains(name);
                choices.push(Choice { link: id, metric, hops: peer.hops + 1, carries });
            }
        }
        let best = choices.iter().map(|choice| choice.metric).min().unwrap_or(0);
        let equal = best + ((best as f64 * (EQUAL_RATIO - 1.0)) as Micros).min(EQUAL_MAX_US);
        choices.sort_by_key(|choice| {
            let preference = (choice.metric <= equal).then_some((!choice.carries, choice.hops));
            (preference.is_none(), preference, choice.metric, choice.link)
        });
        choices
    }

    fn choose(&mut self, name: &StreamName, ranking: &[Choice], now: Time) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let eligible = |upstream: &Upstream| ranking.iter().find(|choice| choice.link == upstream.link).copied();
        if let Some(candidate) = stream.candidate {
            let in_patience = now.since(candidate.since) < JOIN_PATIENCE;
            let alternative = ranking.iter().any(|choice| choice.link != candidate.link);
            if eligible(&candidate).is_some() && (in_patience || !alternative && stream.main.is_none()) {
                // The first look after patience has run out; later ones come with other causes.
                if in_patience {
                    stream.check_at = candidate.since + JOIN_PATIENCE;
                }
                return;
            }
            stream.candidate = None;
            let fed = stream.main.is_some();
            let (list, pause) = if fed { (&mut stream.slower, NOT_FASTER) } else { (&mut stream.avoid, RETRY) };
            list.insert(candidate.link, now + pause);
            stream.check_at = now + pause;
            self.leave(candidate);
            let rest: Vec<Choice> = ranking.iter().filter(|choice| choice.link != candidate.link).copied().collect();
            return self.choose(name, &rest, now);
        }
        let target = match stream.main {
            None => ranking.first().copied(),
            Some(main) => match eligible(&main) {
                None => ranking.first().copied(),
                Some(current) if stream.backfill.is_some() => Some(current),
                Some(current) => {
                    if main.supply == Supply::Repairing {
                        stream.check_at = main.supply_since + REPAIR_PATIENCE;
                    }
                    stream.better(current, ranking, now)
                }
            },
        };
        if let Some(target) = target {
            self.join(name, target.link, now);
        } else if let Some(until) = stream.avoid.values().min() {
            stream.check_at = stream.check_at.min(*until);
        }
    }

    fn join(&mut self, name: &StreamName, link: LinkId, now: Time) {
        let feed = FeedId(self.next_feed);
        self.next_feed += 1;
        self.feeds.insert(feed, name.clone());
        self.counters.joins += 1;
        let upstream = Upstream { link, feed, since: now, supply: Supply::Flowing, supply_since: now };
        if let Some(stream) = self.streams.get_mut(name) {
            stream.candidate = Some(upstream);
            stream.check_at = stream.check_at.min(now + JOIN_PATIENCE);
        }
        // The route comes first: the driver must know the feed before its objects arrive.
        self.emit_route(name);
        let Some(stream) = self.streams.get_mut(name) else { return };
        let backfill = stream.backfill.take();
        let resume = backfill.or_else(|| stream.earliest_resume());
        let join = Join { feed, stream: name.clone(), resume };
        self.emit(Output::Join { link, join, backfill: backfill.is_some() });
    }

    fn leave(&mut self, upstream: Upstream) {
        self.feeds.remove(&upstream.feed);
        self.send(upstream.link, Message::Leave(upstream.feed));
    }

    fn leave_all(&mut self, name: &StreamName) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let had_main = stream.main.is_some() && stream.published.is_none();
        let upstream = [stream.main.take(), stream.candidate.take()];
        for upstream in upstream.into_iter().flatten() {
            self.leave(upstream);
        }
        if had_main {
            self.tell_all_carried(name, false);
        }
    }

    /// Tells the driver the route, the children the supply, and forgets a stream that nobody here needs.
    fn settle(&mut self, name: &StreamName, now: Time) {
        self.emit_route(name);
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        if stream.published.is_none() && !stream.wanted() {
            self.streams.remove(name);
            self.emit(Output::Route { stream: name.clone(), route: None });
            return self.mark_use(now);
        }
        let supply = stream.supply();
        let news = stream.children.iter_mut().filter(|(_, child)| child.told != Some(supply));
        let news: Vec<(LinkId, FeedId)> = news
            .map(|(link, child)| {
                child.told = Some(supply);
                (*link, child.feed)
            })
            .collect();
        let waiting = supply == Supply::Waiting;
        let begins_to_wait = waiting && !std::mem::replace(&mut stream.waiting, waiting);
        stream.waiting = waiting;
        for (link, feed) in news {
            self.send(link, Message::Supply { feed, supply });
        }
        if begins_to_wait {
            self.event(Event::Waiting { stream: name.clone() });
        }
        self.mark_use(now);
    }

    fn emit_route(&mut self, name: &StreamName) {
        if let Some(stream) = self.streams.get(name) {
            let route = Some(stream.route());
            self.emit(Output::Route { stream: name.clone(), route });
        }
    }

    fn tell_all_carried(&mut self, stream: &StreamName, yes: bool) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, Message::Carries { stream: stream.clone(), yes });
        }
    }
}

/// The point from which both can be served. Of two broadcasts the one that is further on counts.
fn earlier(a: Resume, b: Resume) -> Resume {
    if a.timeline == b.timeline {
        let layer = |layer: usize| a.layers[layer].min(b.layers[layer]);
        return Resume { timeline: a.timeline, layers: std::array::from_fn(layer) };
    }
    let reach = |resume: &Resume| (resume.layers.into_iter().max(), resume.timeline);
    if reach(&a) >= reach(&b) { a } else { b }
}

impl Stream {
    /// A parent that has been enough better than the present one for long enough (DESIGN 3, hysteresis).
    fn better(&mut self, current: Choice, ranking: &[Choice], now: Time) -> Option<Choice> {
        let best = ranking.iter().min_by_key(|choice| (choice.metric, choice.link)).copied()?;
        let gain = current.metric.saturating_sub(best.metric);
        let least = BETTER_MIN_US.max((current.metric as f64 * BETTER_RATIO) as Micros);
        if gain < least {
            self.better_since = None;
            return None;
        }
        let since = *self.better_since.get_or_insert(now);
        let may_move = self.moved_at.map_or(since, |moved| since.max(moved)) + BETTER_LASTS;
        if now < may_move {
            self.check_at = self.check_at.min(may_move);
            return None;
        }
        self.better_since = None;
        Some(best)
    }
}
