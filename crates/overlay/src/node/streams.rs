//! The tree of each stream, as one node sees it: who feeds it, whom it feeds, and when that changes.
//!
//! ```text
//!              wanted, a path is known                first newer object
//!   waiting ─────────────────────────────> joining ─────────────────────> fed <────────────────┐
//!      ^                                    │   ^                        │   │                 │ keeps up again
//!      └── no path, refused, out of patience┘   └── parent lost, leaves, ┘   └─> suspected ────┤
//!                                                   or a better one lasted         │           │
//!                                                                  backup asked for what is    │
//!                                                                  missing; it brings newer ───┴─> switched
//! ```
//!
//! The commit rule keeps trees free of loops: a node commits to a new parent only upon receiving from it an object newer
//! than everything it holds. A descendant's head never exceeds its ancestor's, so such an object cannot come from one's
//! own descendant. Until then the old parent, if it lives, goes on feeding (make before break).
//!
//! [`choice`] ranks the neighbours, [`repair`] keeps a backup and decides who is dead, [`adopt`] turns to nodes that are
//! no neighbours, [`admission`] says who is fed here and what becomes of those who are refused.

mod admission;
mod adopt;
pub(super) mod choice;
mod repair;
mod sizes;
mod why;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::links::Link;
use crate::id::{NodeId, StreamName};
use crate::io::{Cause, ChildRoute, Event, Inflow, LinkId, Output, Route, Watch};
use crate::message::{FeedId, Join, Message, Mode, Refusal, Report, Supply, TRACE_HOPS_MAX};
use crate::pace::Patience;
use crate::position::{Position, Resume};
use crate::record::StreamFacts;
use crate::time::Time;

use admission::Refused;
use repair::{DEAD_PATIENCES, Suspicion};
pub use sizes::{Size, Sizes};
pub use why::{CandidateView, RefusedView, SwitchView, WhyView};

/// A parent that said how it stands, but has not brought a newer object within this time, is left for another one.
/// Tuned: several round trips around the world for the joins further up.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);
/// A parent that says it is repairing gets this long before children look elsewhere. Tuned.
const REPAIR_PATIENCE: Duration = Duration::from_secs(1);
/// A parent that ran out of patience is not asked again for this long. Tuned.
const RETRY: Duration = Duration::from_millis(500);
/// A parent that refused is not asked again for this long. Tuned: its load does not change faster.
const REFUSED_RETRY: Duration = Duration::from_secs(2);
/// A parent that turned out not to be faster than the present one is not tried again for this long. Tuned.
const NOT_FASTER: Duration = Duration::from_secs(30);
/// Switches remembered per stream.
const HISTORY: usize = 10;

/// One stream at one node.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What this node tells of it, if it publishes it.
    pub(super) published: Option<Published>,
    /// Local readers.
    pub(super) readers: u32,
    /// The committed parent: it brought the newest object.
    pub(super) main: Option<Upstream>,
    /// A parent that has been asked and has brought nothing newer yet.
    pub(super) candidate: Option<Upstream>,
    /// The parent before, suspected: its feed stays open until the verdict.
    pub(super) former: Option<Upstream>,
    /// The parent that would take over: a shadow.
    pub(super) backup: Option<Upstream>,
    pub(super) children: BTreeMap<LinkId, Child>,
    /// The route that the driver was told last.
    routed: Option<Route>,
    /// Neighbours were told that it can be had here.
    pub(super) told_carried: bool,
    /// Why `main` is suspected, and since when.
    suspicion: Option<Suspicion>,
    /// When `former` is given up.
    verdict_at: Time,
    /// Links not to be asked before a time.
    avoid: BTreeMap<LinkId, Time>,
    /// Links that turned out not to be faster: not to be asked before a time, as long as the present parent flows.
    slower: BTreeMap<LinkId, Time>,
    /// Links that are no use as a backup: not to be asked for a shadow before a time.
    unfit: BTreeMap<LinkId, Time>,
    /// From where the log is to be filled, for a child that wants more than it holds.
    backfill: Option<Resume>,
    /// The parent is about to stop, and nobody else is to be had: those who are fed here may be the only ones who know another way.
    stranded: bool,
    /// The parent that was lost, while there is no other one.
    lost: Option<Lost>,
    /// The nodes above this one, from the origin down, as the last parent told.
    ancestors: Arc<[NodeId]>,
    /// The last refusal over each link.
    refused: BTreeMap<LinkId, Refused>,
    /// By what factor the way over the parent exceeded the shortest one when it was chosen.
    accepted: f64,
    /// Its objects were here once, fed or published; fronts alone are none.
    carried: bool,
    /// Since when each of these has been enough better than the present parent.
    better: BTreeMap<LinkId, Time>,
    moved_at: Option<Time>,
    backup_since: Time,
    adopted_at: Option<Time>,
    /// How often nodes that are no neighbours were dialled since it was fed last.
    dialled: BTreeMap<NodeId, u32>,
    wanted_since: Option<Time>,
    waiting: bool,
    /// Bits per second, as far as the driver told.
    rate_bps: u64,
    pub(super) switches: u64,
    history: VecDeque<Switch>,
    /// When to weigh again without any other cause.
    pub(super) check_at: Time,
}

/// A parent that is gone.
#[derive(Clone, Debug)]
struct Lost {
    peer: NodeId,
    name: String,
    cause: Cause,
}

/// A change of parents.
#[derive(Clone, Debug)]
struct Switch {
    at: Time,
    from: Option<String>,
    to: String,
    cause: Cause,
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
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) link: LinkId,
    pub(super) feed: FeedId,
    pub(super) mode: Mode,
    cause: Cause,
    /// The feed over the same link that the parent is to put this one in place of. If it refuses, the old one goes on.
    replaces: Option<FeedId>,
    since: Time,
    /// What the parent told of its own supply; `None` until it has answered.
    report: Option<Report>,
    report_since: Time,
    /// Since when the way of the stream to the parent is what it is.
    way_since: Time,
}

impl Upstream {
    fn supply(&self) -> Supply {
        self.report.as_ref().map_or(Supply::Flowing, |report| report.supply)
    }

    pub(super) fn path(&self) -> &[NodeId] {
        self.report.as_ref().map_or(&[], |report| &report.path)
    }

    /// The parent has no supply of its own, or has tried for too long to get one back.
    fn is_dry(&self, now: Time) -> bool {
        match self.supply() {
            Supply::Flowing => false,
            Supply::Repairing => now.since(self.report_since) >= REPAIR_PATIENCE,
            Supply::Waiting => true,
        }
    }
}

/// A neighbour that this node feeds.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) feed: FeedId,
    pub(super) mode: Mode,
    resume: Option<Resume>,
    told: Option<Report>,
    /// When it was taken, if nobody knew then how much the stream takes.
    unweighed: Option<Time>,
}

impl Stream {
    /// How much of the stream is needed here; `None` if nothing.
    pub(super) fn wanted(&self) -> Option<Mode> {
        let local = (self.readers > 0).then_some(Mode::Full);
        local.into_iter().chain(self.children.values().map(|child| child.mode)).max()
    }

    /// Whether a child would find the stream here without a further join.
    pub(super) fn carries(&self) -> bool {
        let fed = self.main.as_ref().is_some_and(|main| main.mode == Mode::Full);
        self.published.as_ref().map_or(fed, |published| !published.facts.preparing)
    }

    /// Whether its objects are wanted and never came here, so that nobody can have them from here; nor from who asks here, since
    /// none of these holds any either. Where only fronts are wanted there is no long way to be saved.
    pub(super) fn is_newcomer(&self) -> bool {
        !self.carried && self.wanted() == Some(Mode::Full) && self.earliest_resume().is_none()
    }

    /// Whether it is wanted here and nobody feeds it.
    pub(super) fn is_hungry(&self) -> bool {
        self.published.is_none() && self.main.is_none() && self.wanted().is_some()
    }

    /// All feeds that have been asked for.
    fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        [&self.main, &self.candidate, &self.former, &self.backup].into_iter().flatten()
    }

    fn upstreams_mut(&mut self) -> impl Iterator<Item = &mut Option<Upstream>> {
        [&mut self.main, &mut self.candidate, &mut self.former, &mut self.backup].into_iter()
    }

    /// Whether objects come, or are about to come, over this link.
    fn is_fed_by(&self, link: LinkId) -> bool {
        let full = [&self.main, &self.candidate, &self.former].into_iter().flatten();
        full.into_iter().any(|upstream| upstream.link == link && upstream.mode == Mode::Full)
    }

    /// Links that its tree uses.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.upstreams().map(|upstream| upstream.link).chain(self.children.keys().copied())
    }

    pub(super) fn supply(&self) -> Supply {
        match (&self.main, &self.candidate) {
            _ if self.published.is_some() => {
                if self.carries() {
                    Supply::Flowing
                } else {
                    Supply::Waiting
                }
            }
            (Some(_), None) if self.stranded => Supply::Waiting,
            (Some(main), _) if self.is_suspect() && self.former.is_none() => main.supply().max(Supply::Repairing),
            (Some(main), _) => main.supply(),
            (None, Some(_)) => Supply::Repairing,
            (None, None) => Supply::Waiting,
        }
    }

    /// Whether the parent does not bring what it should; one that lives and has nothing missing may have a pause.
    fn is_suspect(&self) -> bool {
        self.suspicion.as_ref().is_some_and(|suspicion| !suspicion.merely_silent)
    }

    /// Where the child that is furthest behind wants to go on. A node that holds nothing of a stream yet joins from
    /// there, or its child would miss what lies between.
    fn earliest_resume(&self) -> Option<Resume> {
        let wanted = self.children.values().filter(|child| child.mode == Mode::Full).filter_map(|child| child.resume);
        wanted.reduce(Resume::earlier)
    }

    fn route(&self, patience: Option<Patience>) -> Route {
        let inflow = |upstream: &Upstream, report: bool| Inflow {
            link: upstream.link,
            feed: upstream.feed,
            mode: upstream.mode,
            report,
            passed_on: false,
        };
        let main = self.main.iter().map(|main| Inflow { passed_on: main.mode == Mode::Shadow, ..inflow(main, false) });
        let others = self.candidate.iter().chain(&self.former).map(|upstream| inflow(upstream, true));
        let backup = self.backup.iter().map(|backup| inflow(backup, false));
        let subject = self.main.as_ref().filter(|main| main.mode == Mode::Full && self.former.is_none());
        // What becomes of the backup while the parent is suspected is no reason to think better of the parent.
        let backup_since = self.backup.as_ref().filter(|_| self.suspicion.is_none()).map(|backup| backup.way_since);
        let watch = subject.zip(patience).map(|(main, patience)| Watch {
            feed: main.feed,
            reference: self.backup.as_ref().map(|backup| backup.feed),
            patience,
            ways_since: backup_since.map_or(main.way_since, |since| since.max(main.way_since)),
        });
        let children = self.children.iter().map(|(link, child)| ChildRoute {
            link: *link,
            feed: child.feed,
            resume: child.resume,
            mode: child.mode,
        });
        Route {
            origin: self.published.is_some(),
            inflows: main.chain(others).chain(backup).collect(),
            watch,
            children: children.collect(),
        }
    }

    fn remember(&mut self, switch: Switch) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(switch);
    }
}

impl Node {
    pub(super) fn publish(&mut self, facts: StreamFacts, now: Time) {
        let stream = facts.name.clone();
        let entry = self.streams.entry(stream.clone()).or_default();
        entry.published = Some(Published { facts, at: now });
        self.own_streams_changed(now);
        self.reconsider(&stream, now);
    }

    pub(super) fn withdraw(&mut self, stream: &StreamName, now: Time) {
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        if entry.published.take().is_some() {
            entry.carried = true;
            self.own_streams_changed(now);
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

    /// The driver measured how much a stream takes.
    pub(super) fn rate(&mut self, stream: &StreamName, bps: u64, now: Time) {
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.rate_bps = bps;
            self.weigh_children(stream, now);
            self.own_load_changed(now);
        }
    }

    /// The edge tells how many viewers it serves.
    pub(super) fn viewers(&mut self, count: u64, max: u64, now: Time) {
        self.viewers_share = count as f64 / max.max(1) as f64;
        self.own_load_changed(now);
    }

    /// A neighbour asks to be fed.
    pub(super) fn join_asked(&mut self, link: LinkId, join: Join, now: Time) {
        if let Err(reason) = self.admit(link, &join) {
            let alternates = if reason == Refusal::Busy { self.alternates(&join.stream, link) } else { Vec::new() };
            return self.refuse(link, join.feed, reason, alternates);
        }
        let entry = self.streams.entry(join.stream.clone()).or_default();
        // A second join over one link replaces the first: one copy is enough.
        let unweighed = (join.mode == Mode::Full && entry.rate_bps == 0).then_some(now);
        let child = Child { feed: join.feed, mode: join.mode, resume: join.resume, told: None, unweighed };
        entry.children.insert(link, child);
        // Whom this node feeds cannot be ahead of it.
        let shadow = |upstream: &mut Upstream| upstream.link == link && join.mode == Mode::Full;
        let mut behind: Vec<Upstream> = entry.upstreams_mut().filter_map(|upstream| upstream.take_if(shadow)).collect();
        let told = |main: &mut Upstream| main.link == link && main.mode == Mode::Shadow;
        behind.extend(entry.main.take_if(told));
        behind.iter().for_each(|upstream| self.leave(upstream));
        self.reconsider(&join.stream, now);
        self.make_room(now);
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

    /// A parent says how its own supply stands.
    pub(super) fn supply(&mut self, link: LinkId, feed: FeedId, report: Report, now: Time) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        for upstream in stream.upstreams_mut().flatten() {
            if upstream.link == link && upstream.feed == feed {
                if upstream.report.as_ref().is_none_or(|before| before.supply != report.supply) {
                    upstream.report_since = now;
                }
                if upstream.path() != &*report.path {
                    upstream.way_since = now;
                }
                upstream.report = Some(report.clone());
            }
        }
        // The same parent, asked anew, has replaced its old feed by the new one: there is no choice left to make.
        let same = |main: &Upstream, candidate: &Upstream| main.link == candidate.link && candidate.feed == feed;
        if let (Some(main), Some(candidate)) = (&stream.main, &stream.candidate)
            && same(main, candidate)
        {
            let candidate = stream.candidate.take();
            let before = std::mem::replace(&mut stream.main, candidate);
            // What was suspected was the feed before; this one is watched anew.
            stream.suspicion = None;
            stream.carried |= stream.main.as_ref().is_some_and(|main| main.mode == Mode::Full);
            before.iter().for_each(|before| drop(self.feeds.remove(&before.feed)));
        }
        self.leave_rings(&name, now);
        self.note_ancestors(&name);
        self.reconsider(&name, now);
    }

    /// Nodes that want no objects, or never had any, are not kept apart by the commit rule: some of them may have come to ask
    /// each other in a ring, which would last for ever. Whoever finds itself above its own parent leaves.
    fn leave_rings(&mut self, name: &StreamName, now: Time) {
        let here = self.config.id;
        let Some(stream) = self.streams.get_mut(name) else { return };
        let carried = stream.carried;
        let rings = |upstream: &mut Upstream, full: bool| {
            (full || upstream.mode == Mode::Shadow) && upstream.path().contains(&here)
        };
        let main = stream.main.take_if(|main| rings(main, false));
        let candidate = stream.candidate.take_if(|candidate| rings(candidate, !carried));
        for gone in main.into_iter().chain(candidate) {
            stream.avoid.insert(gone.link, now + RETRY);
            self.feeds.remove(&gone.feed);
            self.outputs.push_back(Output::Send { link: gone.link, message: Message::Leave(gone.feed) });
        }
    }

    /// The commit rule is met: the feed brought an object newer than everything held.
    pub(super) fn newer(&mut self, feed: FeedId, position: Position, now: Time) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        if stream.former.as_ref().is_some_and(|former| former.feed == feed) {
            self.clear(&name, now);
        } else if let Some(candidate) = stream.candidate.take_if(|candidate| candidate.feed == feed) {
            self.commit(&name, candidate, position, now);
        }
        self.reconsider(&name, now);
    }

    /// Remembers who is above the parent: one of them is asked when it dies and nobody else can give the stream.
    fn note_ancestors(&mut self, name: &StreamName) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let path = stream.main.as_ref().and_then(|main| main.report.as_ref()).map(|report| report.path.clone());
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            stream.ancestors = path;
        }
    }

    fn commit(&mut self, name: &StreamName, candidate: Upstream, position: Position, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let before = stream.main.replace(candidate.clone());
        stream.carried |= candidate.mode == Mode::Full;
        stream.refused.remove(&candidate.link);
        if let Some(before) = &before
            && before.link == candidate.link
        {
            // The same parent, for more or from further back. It has replaced the old feed by the new one itself.
            stream.suspicion = None;
            self.feeds.remove(&before.feed);
        } else if candidate.cause == Cause::Behind
            && let (Some(before), Some(suspicion)) = (before.clone(), stream.suspicion.clone())
        {
            // The verdict on the old parent is still out; it may yet show that it is the faster one.
            let patience = self.links.get(&before.link).map_or(Duration::ZERO, |link| link.estimator.patience());
            // Of one that merely paused, it seemed, there was no end to wait for.
            stream.verdict_at = suspicion.dead_at.min(now + patience * DEAD_PATIENCES).max(now);
            stream.former = Some(before);
        } else {
            let from = before.as_ref().filter(|before| before.mode == Mode::Full).map(|before| before.link);
            self.switched(name, from, candidate.link, candidate.cause, Some(position), now);
            before.iter().for_each(|before| self.leave(before));
        }
        self.note_ancestors(name);
    }

    /// The suspected parent is gone before the verdict: whoever feeds this node now is its parent for good.
    fn former_gone(&mut self, name: &StreamName, lost: Lost, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(main) = stream.main.as_ref().map(|main| main.link) else { return };
        stream.lost = Some(lost);
        self.switched(name, None, main, Cause::Behind, None, now);
    }

    /// Notes that a stream has another parent for good.
    fn switched(
        &mut self,
        name: &StreamName,
        from: Option<LinkId>,
        to: LinkId,
        cause: Cause,
        position: Option<Position>,
        now: Time,
    ) {
        self.settle_for(name, to, now);
        let (from, parent) = (from.map(|from| self.peer_name(from)), self.peer_name(to));
        let Some(stream) = self.streams.get_mut(name) else { return };
        let lost = stream.lost.take();
        let cause = lost.as_ref().map_or(cause, |lost| lost.cause);
        let before = from.or(lost.map(|lost| lost.name));
        stream.better.clear();
        stream.dialled.clear();
        stream.suspicion = None;
        stream.remember(Switch { at: now, from: before.clone(), to: parent.clone(), cause });
        if before.is_some() {
            stream.switches += 1;
            stream.moved_at = Some(now);
            self.counters.switches += 1;
        }
        let position = position.unwrap_or_default();
        let mode = stream.main.as_ref().map_or_else(Mode::default, |main| main.mode);
        self.event(Event::Committed { stream: name.clone(), parent, before, cause, position, mode });
    }

    pub(super) fn peer_name(&self, link: LinkId) -> String {
        self.links.get(&link).map(|link| link.name.clone()).unwrap_or_default()
    }

    /// A child wants more than the log holds: the feed is asked for again from there, over the same link, and the parent
    /// replaces the old one.
    pub(super) fn lacks(&mut self, name: &StreamName, resume: Resume, now: Time) {
        if let Some(stream) = self.streams.get_mut(name) {
            stream.backfill = Some(stream.backfill.map_or(resume, |other| other.earlier(resume)));
            self.reconsider(name, now);
        }
    }

    /// A neighbour says that it has a stream. Where the parent is lost, it is asked before the graph is looked at anew.
    pub(super) fn offered(&mut self, name: &StreamName, now: Time) {
        let lost = |stream: &Stream| stream.is_hungry() && stream.lost.is_some();
        let lacks = |stream: &Stream| stream.candidate.is_none() && (stream.is_suspect() || lost(stream));
        if self.streams.get(name).is_some_and(lacks) {
            self.reconsider(name, now);
        }
    }

    /// A link is gone, and with it every feed over it.
    pub(super) fn streams_lose_link(&mut self, link: LinkId, peer: NodeId, peer_name: &str, now: Time) {
        let mut touched = Vec::new();
        for (name, stream) in &mut self.streams {
            let mut any = stream.children.remove(&link).is_some();
            let lost_main = stream.main.as_ref().is_some_and(|main| main.link == link);
            let lost_former = stream.former.as_ref().is_some_and(|former| former.link == link);
            let gone: Vec<Upstream> =
                stream.upstreams_mut().filter_map(|up| up.take_if(|upstream| upstream.link == link)).collect();
            any |= !gone.is_empty();
            for upstream in &gone {
                self.feeds.remove(&upstream.feed);
            }
            if lost_main {
                stream.suspicion = None;
                stream.lost = Some(Lost { peer, name: peer_name.to_owned(), cause: Cause::LinkLost });
                // The one that was suspected is all there is; it proves itself anew.
                stream.candidate = stream.candidate.take().or(stream.former.take());
            }
            for list in [&mut stream.avoid, &mut stream.slower, &mut stream.unfit] {
                list.remove(&link);
            }
            stream.refused.remove(&link);
            if any {
                touched.push((name.clone(), lost_former));
            }
        }
        for (name, lost_former) in touched {
            if lost_former {
                self.former_gone(&name, Lost { peer, name: peer_name.to_owned(), cause: Cause::LinkLost }, now);
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
        for list in [&mut stream.avoid, &mut stream.slower, &mut stream.unfit] {
            list.retain(|_, until| *until > now);
        }
        if stream.published.is_some() || stream.wanted().is_none() {
            stream.waiting = false;
            stream.backfill = None;
            stream.wanted_since = None;
            self.leave_all(name);
        } else {
            stream.wanted_since.get_or_insert(now);
            self.judge(name, now);
            self.choose(name, now);
            self.keep_backup(name, now);
        }
        self.settle(name);
    }

    /// Asks a neighbour for a full feed, or a shadow where only shadows are needed, as a candidate.
    fn join(&mut self, name: &StreamName, link: LinkId, cause: Cause, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let mode = stream.wanted().unwrap_or_default();
        // The link has one feed: what the backup gave is part of what is asked for now.
        let backup = stream.backup.take_if(|backup| backup.link == link);
        backup.iter().for_each(|backup| drop(self.feeds.remove(&backup.feed)));
        let mut candidate = self.upstream(name, link, mode, cause, now);
        candidate.replaces = backup.map(|backup| backup.feed);
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.check_at = stream.check_at.min(now + JOIN_PATIENCE);
        let feed = candidate.feed;
        stream.candidate = Some(candidate);
        let backfill = stream.backfill.take();
        let resume = backfill.or_else(|| stream.earliest_resume()).filter(|_| mode == Mode::Full);
        // The route comes first: the driver must know the feed before its objects arrive.
        self.emit_route(name);
        let from_log = mode == Mode::Full && backfill.is_none();
        let join = Join { feed, stream: name.clone(), resume, mode };
        self.emit(Output::Join { link, join, from_log });
    }

    /// Asks a neighbour to tell how far it is.
    fn join_shadow(&mut self, name: &StreamName, link: LinkId, replaces: Option<FeedId>, now: Time) {
        let mut backup = self.upstream(name, link, Mode::Shadow, Cause::First, now);
        backup.replaces = replaces;
        let join = Join { feed: backup.feed, stream: name.clone(), resume: None, mode: Mode::Shadow };
        if let Some(stream) = self.streams.get_mut(name) {
            stream.backup_since = now;
            if let Some(before) = stream.backup.replace(backup) {
                self.leave(&before);
            }
        }
        self.emit_route(name);
        self.emit(Output::Join { link, join, from_log: false });
    }

    fn upstream(&mut self, name: &StreamName, link: LinkId, mode: Mode, cause: Cause, now: Time) -> Upstream {
        let feed = FeedId(self.next_feed);
        self.next_feed += 1;
        self.feeds.insert(feed, name.clone());
        self.counters.joins += 1;
        Upstream {
            link,
            feed,
            mode,
            cause,
            replaces: None,
            since: now,
            report: None,
            report_since: now,
            way_since: now,
        }
    }

    fn leave(&mut self, upstream: &Upstream) {
        self.feeds.remove(&upstream.feed);
        self.send(upstream.link, Message::Leave(upstream.feed));
    }

    fn leave_all(&mut self, name: &StreamName) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        stream.suspicion = None;
        stream.lost = None;
        let upstreams: Vec<Upstream> = stream.upstreams_mut().filter_map(Option::take).collect();
        upstreams.iter().for_each(|upstream| self.leave(upstream));
    }

    /// Tells the driver the route, the children the supply, and forgets a stream that nobody here needs.
    fn settle(&mut self, name: &StreamName) {
        self.emit_route(name);
        let report = self.report(name);
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let carries = stream.carries();
        if std::mem::replace(&mut stream.told_carried, carries) != carries {
            self.tell_all_carried(name, carries);
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.published.is_none() && stream.wanted().is_none() {
            self.streams.remove(name);
            self.emit(Output::Route { stream: name.clone(), route: None });
            self.use_changed = true;
            return;
        }
        let is_news = |told: &Report| {
            let patience = report.patience > told.patience || report.patience * 2 < told.patience;
            told.supply != report.supply || told.path != report.path || patience
        };
        let untold = stream.children.iter_mut().filter(|(_, child)| child.told.as_ref().is_none_or(is_news));
        let news: Vec<(LinkId, FeedId)> = untold
            .map(|(link, child)| {
                child.told = Some(report.clone());
                (*link, child.feed)
            })
            .collect();
        let waiting = report.supply == Supply::Waiting && stream.published.is_none();
        let begins_to_wait = waiting && !std::mem::replace(&mut stream.waiting, waiting);
        stream.waiting = waiting;
        for (link, feed) in news {
            self.send(link, Message::Supply { feed, report: report.clone() });
        }
        if begins_to_wait {
            self.event(Event::Waiting { stream: name.clone() });
        }
        self.use_changed = true;
    }

    /// What the children are told.
    fn report(&self, name: &StreamName) -> Report {
        let stream = self.streams.get(name);
        let published = stream.is_some_and(|stream| stream.published.is_some());
        // While a verdict is out, that of the backup: that is the way that objects come, and how late they may be.
        let parent = stream.and_then(|stream| stream.main.as_ref());
        let asked = stream.and_then(|stream| stream.candidate.as_ref());
        // A node that waits for objects tells whom it asks for them, so that rings show.
        let gives_less = |parent: &&Upstream| asked.is_some_and(|asked| parent.mode < asked.mode);
        let above = parent.filter(|parent| !gives_less(parent)).or(asked).map_or(&[][..], Upstream::path);
        let known = above.len() < TRACE_HOPS_MAX;
        let path = if known { above.iter().copied().chain([self.config.id]).collect() } else { Arc::default() };
        let own = parent.filter(|_| !published).and_then(|parent| self.links.get(&parent.link));
        let own = own.map_or(Duration::ZERO, |link| link.estimator.patience());
        let told = parent.and_then(|parent| parent.report.as_ref()).map_or(Duration::ZERO, |report| report.patience);
        let supply = stream.map_or(Supply::Waiting, Stream::supply);
        Report { supply, path, patience: own.max(told) }
    }

    fn emit_route(&mut self, name: &StreamName) {
        let Some(stream) = self.streams.get(name) else { return };
        let main = stream.main.as_ref().and_then(|main| self.links.get(&main.link));
        // Reported half way, so that there is time to ask whether the parent lives.
        let half =
            |link: &Link| Patience { missing: link.estimator.patience() / 2, silent: link.estimator.alertness() / 2 };
        let route = stream.route(main.map(half));
        let Some(stream) = self.streams.get_mut(name).filter(|stream| stream.routed.as_ref() != Some(&route)) else {
            return;
        };
        stream.routed = Some(route.clone());
        self.emit(Output::Route { stream: name.clone(), route: Some(route) });
    }

    fn tell_all_carried(&mut self, stream: &StreamName, yes: bool) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, Message::Carries { stream: stream.clone(), yes });
        }
    }
}
