//! Limits: whom this node feeds, what it says to those whom it cannot, and what it does when it is refused itself.

use std::time::Duration;

use super::{Cause, Child, Lost, Node, REFUSED_RETRY, Stream, Upstream};
use crate::id::{NodeId, StreamName};
use crate::io::{Event, LinkId};
use crate::message::{ALTERNATES_MAX, FeedId, Join, Message, Mode, Refusal};
use crate::time::Time;

/// Most streams with state at a node; a join for one more is refused. Tuned: ten times what the issue asks for.
pub(super) const STREAMS_MAX: usize = 4_096;
/// Share of the bandwidth that new feeds leave to those that go on elsewhere after a death. Tuned.
const REPAIR_RESERVE: f64 = 0.1;
/// What a busy node named counts for this long. Tuned: it is asked again while the stream is still wanted.
const NAMED_LATELY: Duration = Duration::from_secs(5);

/// A neighbour did not want to feed this node.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) at: Time,
    pub(super) reason: Refusal,
    /// Whom it named instead.
    pub(super) alternates: Vec<NodeId>,
}

impl Stream {
    /// Nodes that busy ones named in their stead lately, the last named first.
    pub(super) fn named_by_busy(&self, now: Time) -> Vec<NodeId> {
        let lately = |refused: &&Refused| now.since(refused.at) < NAMED_LATELY;
        let mut refusals: Vec<&Refused> = self.refused.values().filter(lately).collect();
        refusals.sort_by_key(|refused| std::cmp::Reverse(refused.at));
        refusals.into_iter().flat_map(|refused| refused.alternates.iter().copied()).collect()
    }
}

impl Node {
    /// Whether a child can be taken.
    pub(super) fn admit(&self, link: LinkId, join: &Join) -> Result<(), Refusal> {
        let entry = self.streams.get(&join.stream);
        if join.mode == Mode::Full && entry.is_some_and(|entry| entry.is_fed_by(link)) {
            return Err(Refusal::Circular);
        }
        let replaces = entry.and_then(|entry| entry.children.get(&link)).map(|child| child.mode);
        // Shadows make room for those who want the stream itself.
        let full = |stream: &Stream| stream.children.values().filter(|child| child.mode == Mode::Full).count();
        let taken = match join.mode {
            Mode::Full => self.streams.values().map(full).sum(),
            Mode::Shadow => self.children(),
        };
        let room = replaces.is_some() || taken < self.config.children_max;
        let known = entry.is_some() || self.streams.len() < STREAMS_MAX;
        let rate = entry.map_or(0, |entry| entry.rate_bps);
        let adds = if join.mode == Mode::Full && replaces != Some(Mode::Full) { rate } else { 0 };
        let share = if join.resume.is_some() { 1.0 } else { 1.0 - REPAIR_RESERVE };
        let limit = self.config.egress_max_bps.map(|limit| limit as f64 * share);
        let carries = adds == 0 || limit.is_none_or(|limit| (self.egress_bps() + adds) as f64 <= limit);
        if room && known && carries && self.drain_until.is_none() { Ok(()) } else { Err(Refusal::Busy) }
    }

    /// A full node that took one more child lets go of one that only wants to know how far it is: that one finds another
    /// backup, or does without.
    pub(super) fn make_room(&mut self, now: Time) {
        if self.children() <= self.config.children_max {
            return;
        }
        let shadow = self.streams.iter().find_map(|(name, stream)| {
            let (link, child) = stream.children.iter().find(|(_, child)| child.mode == Mode::Shadow)?;
            Some((name.clone(), *link, child.feed))
        });
        let Some((name, link, feed)) = shadow else { return };
        if let Some(stream) = self.streams.get_mut(&name) {
            stream.children.remove(&link);
        }
        self.refuse(link, feed, Refusal::Busy, Vec::new());
        self.reconsider(&name, now);
    }

    /// It is known now how much a stream takes: of those who were taken before, the last are sent elsewhere if it is too much.
    pub(super) fn weigh_children(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name).filter(|stream| stream.rate_bps > 0) else { return };
        let taken = |(link, child): (&LinkId, &mut Child)| Some((child.unweighed.take()?, *link, child.feed));
        let mut unweighed: Vec<(Time, LinkId, FeedId)> = stream.children.iter_mut().filter_map(taken).collect();
        unweighed.sort();
        let Some(limit) = self.config.egress_max_bps else { return };
        while self.egress_bps() > limit
            && let Some((_, link, feed)) = unweighed.pop()
        {
            if let Some(stream) = self.streams.get_mut(name) {
                stream.children.remove(&link);
            }
            let alternates = self.alternates(name, link);
            self.refuse(link, feed, Refusal::Busy, alternates);
            self.reconsider(name, now);
        }
    }

    pub(super) fn refuse(&mut self, link: LinkId, feed: FeedId, reason: Refusal, alternates: Vec<NodeId>) {
        self.counters.refusals += 1;
        self.send(link, Message::Refuse { feed, reason, alternates });
    }

    /// Who else carries a stream: those that this node feeds, and its parent.
    pub(super) fn alternates(&self, stream: &StreamName, asker: LinkId) -> Vec<NodeId> {
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let full = stream.children.iter().filter(|(_, child)| child.mode == Mode::Full).map(|(link, _)| *link);
        let links = full.chain(stream.main.iter().map(|main| main.link)).filter(|link| *link != asker);
        links.filter_map(|link| self.links.get(&link)).map(|link| link.peer).take(ALTERNATES_MAX).collect()
    }

    /// Children over all streams.
    pub(in crate::node) fn children(&self) -> usize {
        self.streams.values().map(|stream| stream.children.len()).sum()
    }

    /// Percent of what this node can give to children and viewers that it does.
    pub(in crate::node) fn load_percent(&self) -> u8 {
        let children = self.children() as f64 / self.config.children_max.max(1) as f64;
        let egress = self.config.egress_max_bps.map_or(0.0, |most| self.egress_bps() as f64 / most.max(1) as f64);
        (children.max(egress).max(self.viewers_share).clamp(0.0, 1.0) * 100.0) as u8
    }

    /// Bits per second that all full feeds to children take.
    pub(in crate::node) fn egress_bps(&self) -> u64 {
        let full = |stream: &Stream| stream.children.values().filter(|child| child.mode == Mode::Full).count() as u64;
        self.streams.values().map(|stream| stream.rate_bps * full(stream)).sum()
    }

    /// Somebody who was asked does not want to feed this node: others are asked, those first whom it named.
    pub(in crate::node) fn refused(
        &mut self,
        link: LinkId,
        feed: FeedId,
        reason: Refusal,
        alternates: Vec<NodeId>,
        now: Time,
    ) {
        let Some(name) = self.feeds.get(&feed).cloned() else {
            return;
        };
        let by_name = self.peer_name(link);
        let peer = self.links.get(&link).map(|link| link.peer);
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        let is_it = |upstream: &mut Upstream| upstream.link == link && upstream.feed == feed;
        let gone = if let Some(backup) = stream.backup.take_if(is_it) {
            stream.unfit.insert(link, now + REFUSED_RETRY);
            backup
        } else if let Some(asked) = stream.candidate.take_if(is_it) {
            stream.avoid.insert(link, now + REFUSED_RETRY);
            // It was asked for less, which ended the feed before, and then for all again.
            let ended = |main: &mut Upstream| main.link == link && asked.replaces.is_some();
            if let Some(main) = stream.main.take_if(ended) {
                stream.suspicion = None;
                stream.lost = peer.map(|peer| Lost { peer, name: by_name.clone(), cause: Cause::Refused });
                self.leave(&main);
            }
            asked
        } else if let Some(former) = stream.former.take_if(is_it) {
            stream.avoid.insert(link, now + REFUSED_RETRY);
            if let Some(peer) = peer {
                self.former_gone(&name, Lost { peer, name: by_name.clone(), cause: Cause::Behind }, now);
            }
            former
        } else if let Some(main) = stream.main.take_if(is_it) {
            stream.avoid.insert(link, now + REFUSED_RETRY);
            stream.suspicion = None;
            stream.lost = peer.map(|peer| Lost { peer, name: by_name.clone(), cause: Cause::Refused });
            main
        } else {
            return;
        };
        if let Some(old) = gone.replaces {
            self.send(link, Message::Leave(old));
        }
        self.feeds.remove(&feed);
        self.counters.joins_refused += 1;
        let named = alternates.iter().map(|id| self.name_of(*id)).collect();
        self.event(Event::Refused { stream: name.clone(), by: by_name, reason, alternates: named });
        if let Some(stream) = self.streams.get_mut(&name) {
            stream.refused.insert(link, Refused { at: now, reason, alternates: alternates.clone() });
        }
        self.adopt_named(&name, alternates, now);
        self.reconsider(&name, now);
    }
}
