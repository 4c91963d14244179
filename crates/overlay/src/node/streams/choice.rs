//! Who should feed a stream: the neighbours in the order of preference, and when to change.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, JOIN_PATIENCE, Lost, Mode, NOT_FASTER, Node, REPAIR_PATIENCE, RETRY, Stream, Upstream};
use crate::graph::{Distances, Micros};
use crate::id::{NodeId, StreamName};
use crate::io::LinkId;
use crate::message::Supply;
use crate::node::records::Ranked;
use crate::pop;
use crate::time::Time;

/// Parents within this factor of the least metric are equal (DESIGN 3). Tuned: 1.4 saves little more, and some meshes get
/// paths that are a fifth longer.
const EQUAL_RATIO: f64 = 1.25;
/// ... but never more than this many microseconds above it. Tuned: what a viewer does not notice.
const EQUAL_MAX_US: Micros = 30_000;
/// Percent of a parent's own way that counts beside the link from it. At 100 the tree is that of shortest paths, at 0 Prim's,
/// that of the shortest links; between them both are near (Alpert, Hu, Huang, Kahng and Karger, "Prim-Dijkstra tradeoffs
/// for improved performance-driven routing tree design", 1995). Tuned on measured cities (docs/decisions.md).
pub(in crate::node) const WAY_PERCENT: Micros = 75;
/// Percent of its price that a parent counts if it carries the stream already, as nothing is carried further for it. Tuned:
/// decides between parents that cost about the same.
const CARRIES_PERCENT: Micros = 90;
/// Patiences that a candidate gets to answer.
const ANSWER_PATIENCES: u32 = 2;
/// ... and round trips, over a satellite.
const ANSWER_RTTS: u32 = 2;
/// Patiences for which one that takes over from a parent that lives must have flowed before that one is left. Tuned: its own
/// join further up is over by then.
const PART_PATIENCES: u32 = 4;
/// A better parent must be better by this share (DESIGN 3) ...
const BETTER_RATIO: f64 = 0.10;
/// ... and by this many microseconds (DESIGN 3) ...
const BETTER_MIN_US: Micros = 5_000;
/// ... for this long (DESIGN 3); also the least time between two such moves.
const BETTER_LASTS: Duration = Duration::from_secs(10);

/// A possible parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) link: LinkId,
    /// Microseconds from the nearest origin through it to here.
    pub(super) metric: Micros,
    /// Microseconds of the last link.
    pub(super) cost: Micros,
    pub(super) carries: bool,
    /// It is above this node in the tree that grows by the price.
    pub(super) above: bool,
}

impl Choice {
    /// What counts in the order of preference: the link by which the tree grows, and a share of the way before it.
    fn price(&self) -> Micros {
        let way = (self.metric - self.cost) * WAY_PERCENT / 100;
        (way + self.cost) * if self.carries { CARRIES_PERCENT } else { 100 } / 100
    }
}

/// Why a neighbour is no possible parent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lack {
    #[error("it is fed by this node")]
    Child,
    #[error("it is about to stop")]
    Leaving,
    #[error("it knows no path to an origin")]
    NoPath,
    #[error("it passes nothing on")]
    NoTransit,
    #[error("it refused, or did not answer")]
    Avoided,
    #[error("it was not faster")]
    Slower,
    #[error("it has no supply of its own")]
    Dry,
    #[error("it is no nearer to an origin than this node")]
    Farther,
}

impl Node {
    /// Every neighbour with what it would cost, and what it lacks. A neighbour qualifies if it is strictly nearer to an
    /// origin than this node is (the loop-free condition of RFC 5286, section 1.1). As long as this node never carried it,
    /// nobody can have the stream from here, so whoever carries it qualifies, often one next door, and who is above this
    /// node in the tree that is cheapest for all.
    pub(super) fn candidates(&mut self, name: &StreamName, now: Time) -> Vec<(LinkId, Result<Choice, Lack>)> {
        let distances = self.distances(name, &[]);
        let here = self.nearest(&distances);
        let newcomer = self.streams.get(name).is_some_and(Stream::is_newcomer);
        let tree_parent = if newcomer { self.tree_parent(name) } else { None };
        let Some(stream) = self.streams.get(name) else { return Vec::new() };
        // Failure moves are never damped: without a parent that flows, and will, a slower one will do.
        let stays = |main: &Upstream| !main.is_dry(now) && self.links.get(&main.link).is_some_and(|link| !link.leaving);
        let flows = stream.main.as_ref().is_some_and(stays) && stream.suspicion.is_none();
        let above = tree_parent.filter(|tree| tree.metric <= here.map_or(0, equal_to)).map(|tree| tree.parent);
        let judged = self.links.keys().map(|&link| {
            let choice = match self.weigh(stream, name, link, &distances, now) {
                Ok(_) if flows && stream.slower.contains_key(&link) => Err(Lack::Slower),
                weighed => weighed,
            };
            let qualifies = |choice: Choice| {
                let above = above.is_some_and(|above| self.links.get(&link).is_some_and(|link| link.peer == above));
                let is_nearer = here.is_some_and(|here| choice.metric - choice.cost < here);
                let choice = Choice { above, ..choice };
                if is_nearer || above || choice.carries && newcomer { Ok(choice) } else { Err(Lack::Farther) }
            };
            (link, choice.and_then(qualifies))
        });
        judged.collect()
    }

    /// Possible parents, the preferred one first.
    pub(super) fn ranking(&mut self, name: &StreamName, now: Time) -> Vec<Choice> {
        let candidates = self.candidates(name, now);
        self.sorted(candidates.into_iter().filter_map(|(_, choice)| choice.ok()).collect())
    }

    /// Neighbours that have a path of their own to an origin, one that passes neither here nor through `failed`: they can
    /// take over when it dies, even if they are further away than this node is now. Those that were slower lately come last.
    pub(super) fn detours(&mut self, name: &StreamName, failed: Option<NodeId>, now: Time) -> Vec<Choice> {
        let without: Vec<NodeId> = failed.into_iter().chain([self.config.id]).collect();
        let distances = self.distances(name, &without);
        let Some(stream) = self.streams.get(name) else { return Vec::new() };
        let choices = self.links.keys().filter_map(|&link| self.weigh(stream, name, link, &distances, now).ok());
        let mut sorted = self.sorted(choices.collect());
        sorted.sort_by_key(|choice| stream.slower.contains_key(&choice.link));
        sorted
    }

    /// In the order of preference: a tree grows by price, a leaf of it that passes nothing on chooses as viewers do.
    fn sorted(&self, mut choices: Vec<Choice>) -> Vec<Choice> {
        if self.config.transit {
            return sorted(choices);
        }
        let best = choices.iter().map(|choice| self.cost_of(choice).score()).min().unwrap_or(0);
        choices.sort_by_key(|choice| pop::order(best, self.cost_of(choice)));
        choices
    }

    fn cost_of(&self, choice: &Choice) -> pop::Cost {
        let load = self.links.get(&choice.link).map_or(0, |link| self.table.load_percent(link.peer));
        pop::Cost { way: choice.metric, load_percent: load }
    }

    /// What a neighbour would cost, or what it lacks.
    fn weigh(
        &self,
        stream: &Stream,
        name: &StreamName,
        id: LinkId,
        distances: &Arc<Distances>,
        now: Time,
    ) -> Result<Choice, Lack> {
        let link = self.links.get(&id).ok_or(Lack::NoPath)?;
        let dry = |upstream: &Upstream| upstream.link == id && upstream.is_dry(now);
        // Who wants to know how far this node is cannot be the one who tells it, if that is all that is wanted here.
        let shadows_only = stream.wanted() == Some(Mode::Shadow);
        if stream.children.get(&id).is_some_and(|child| shadows_only || child.mode == Mode::Full) {
            return Err(Lack::Child);
        }
        if link.leaving {
            return Err(Lack::Leaving);
        }
        let peer = distances.get(link.peer).ok_or(Lack::NoPath)?;
        if peer.hops > 0 && !self.table.node(link.peer).is_some_and(|node| node.transit) {
            return Err(Lack::NoTransit);
        }
        if stream.avoid.contains_key(&id) {
            return Err(Lack::Avoided);
        }
        if stream.upstreams().any(dry) {
            return Err(Lack::Dry);
        }
        let cost = Micros::from(self.cost_from(link));
        let carries = peer.hops == 0 || link.carries.contains(name);
        Ok(Choice { link: id, metric: peer.metric + cost, cost, carries, above: false })
    }

    /// This node's own distance, in microseconds.
    fn nearest(&self, distances: &Distances) -> Option<Micros> {
        let metric =
            |link: &super::super::Link| Some(distances.get(link.peer)?.metric + Micros::from(self.cost_from(link)));
        self.links.values().filter_map(metric).min()
    }

    /// Who takes over for a parent that is gone, suspected, dry or about to leave: the backup, which is known to be well;
    /// else whoever has a path of his own; else whoever qualifies. `not` is asked in no case.
    pub(super) fn replacement(&mut self, name: &StreamName, not: Option<LinkId>, now: Time) -> Option<LinkId> {
        let stream = self.streams.get(name)?;
        let gone = stream.lost.as_ref().map(|lost| lost.peer);
        let failed = gone.or_else(|| Some(self.links.get(&not?)?.peer));
        let ready = |backup: &&Upstream| {
            let link = self.links.get(&backup.link);
            let answered = backup.report.is_some() && backup.supply() == Supply::Flowing;
            let child = stream.children.get(&backup.link).is_some_and(|child| child.mode == Mode::Full);
            // One that is fed over the dead node, or over this one, has lost its supply too.
            let own = !backup.path().iter().any(|id| *id == self.config.id || Some(*id) == failed);
            answered && !child && own && link.is_some_and(|link| !link.leaving)
        };
        let avoided = |link: &LinkId| stream.avoid.contains_key(link) || Some(*link) == not;
        if let Some(backup) = stream.backup.as_ref().filter(ready).filter(|backup| !avoided(&backup.link)) {
            return Some(backup.link);
        }
        let first =
            |choices: Vec<Choice>| choices.into_iter().map(|choice| choice.link).find(|link| Some(*link) != not);
        if failed.is_some()
            && let Some(link) = first(self.detours(name, failed, now))
        {
            return Some(link);
        }
        let ranking = self.ranking(name, now);
        let known = first(ranking).or_else(|| first(self.detours(name, None, now)));
        known.or_else(|| self.carrier(name, not))
    }

    /// A neighbour that says it carries a stream, though no record tells yet how it comes there: it may have just started.
    fn carrier(&self, name: &StreamName, not: Option<LinkId>) -> Option<LinkId> {
        let stream = self.streams.get(name)?;
        let fits = |(id, link): &(&LinkId, &super::super::Link)| {
            let child = stream.children.get(id).is_some_and(|child| child.mode == Mode::Full);
            let barred = child || link.leaving || stream.avoid.contains_key(*id) || Some(**id) == not;
            let over_here = |upstream: &Upstream| upstream.link == **id && upstream.path().contains(&self.config.id);
            link.carries.contains(name) && !barred && !stream.upstreams().any(over_here)
        };
        self.links.iter().filter(fits).min_by_key(|(_, link)| self.cost_from(link)).map(|(id, _)| *id)
    }

    /// Keeps or changes the parent.
    pub(super) fn choose(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.stranded = false;
        if stream.former.is_some() {
            return;
        }
        if stream.candidate.is_some() {
            self.part_from_old(name, now);
            if self.candidate_stays(name, now) {
                return;
            }
        }
        let Some(stream) = self.streams.get(name) else { return };
        let Some(main) = stream.main.clone() else {
            let cause = stream.lost.as_ref().map_or(Cause::First, |lost| lost.cause);
            match self.replacement(name, None, now) {
                Some(link) => self.join(name, link, cause, now),
                None => self.adopt(name, now),
            }
            return self.look_again(name, now);
        };
        let leaving = self.links.get(&main.link).is_some_and(|link| link.leaving);
        if leaving || main.is_dry(now) {
            let cause = if leaving { Cause::Leaving } else { Cause::Dry };
            match self.replacement(name, Some(main.link), now) {
                Some(link) => self.join(name, link, cause, now),
                None => {
                    self.streams.get_mut(name).into_iter().for_each(|stream| stream.stranded = leaving);
                    self.adopt(name, now);
                }
            }
            return self.look_again(name, now);
        }
        let wanted = stream.wanted().unwrap_or_default();
        if stream.backfill.is_some() || main.mode != wanted {
            // Who told this node how far the stream is need not be the one to feed it.
            let first =
                if stream.is_newcomer() { self.ranking(name, now).first().map(|choice| choice.link) } else { None };
            if let Some(link) = first.filter(|link| *link != main.link) {
                return self.join(name, link, Cause::First, now);
            }
            let Some(stream) = self.streams.get(name) else { return };
            // One that refused to give more is not pressed; somebody else may.
            if !stream.avoid.contains_key(&main.link) {
                return self.join(name, main.link, Cause::Again, now);
            }
            if let Some(link) = self.replacement(name, Some(main.link), now) {
                return self.join(name, link, Cause::Refused, now);
            }
            return self.look_again(name, now);
        }
        if main.supply() == Supply::Repairing
            && let Some(stream) = self.streams.get_mut(name)
        {
            stream.check_at = stream.check_at.min(main.report_since + REPAIR_PATIENCE);
        }
        if self.streams.get(name).is_some_and(|stream| stream.suspicion.is_none())
            && let Some((better, cause)) = self.better(name, &main, now)
        {
            self.join(name, better, cause, now);
        }
    }

    /// A parent that is about to stop, or whose origin is outranked, may well be faster than the one that takes over,
    /// whose objects are then never the newest. Once that one flows, the old one is left, and the next object comes from
    /// the new one.
    fn part_from_old(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let parts = |upstream: &&Upstream| matches!(upstream.cause, Cause::Leaving | Cause::Outranked);
        let Some(candidate) = stream.candidate.as_ref().filter(parts) else { return };
        let flows = candidate.report.is_some() && candidate.supply() == Supply::Flowing;
        let Some(link) = self.links.get(&candidate.link).filter(|_| flows) else { return };
        // If it is as fast, it brings something newer before that, and nothing need be done.
        let flowing_at = candidate.report_since + link.estimator.patience() * PART_PATIENCES;
        if now < flowing_at {
            stream.check_at = stream.check_at.min(flowing_at);
            return;
        }
        let cause = candidate.cause;
        let Some(main) = stream.main.take() else { return };
        let gone = self.links.get(&main.link);
        let lost = gone.map(|link| Lost { peer: link.peer, name: link.name.clone(), cause });
        stream.lost = lost;
        stream.suspicion = None;
        self.leave(&main);
    }

    /// Whether a candidate gets more time. One that does not is left.
    fn candidate_stays(&mut self, name: &StreamName, now: Time) -> bool {
        let Some(stream) = self.streams.get(name) else { return false };
        let Some(candidate) = stream.candidate.clone() else { return false };
        let same = stream.main.as_ref().is_some_and(|main| main.link == candidate.link);
        let link = self.links.get(&candidate.link);
        let answer = |link: &super::super::Link| {
            (link.estimator.patience() * ANSWER_PATIENCES).max(link.estimator.rtt().unwrap_or_default() * ANSWER_RTTS)
        };
        let silent = link.map_or(Duration::ZERO, answer);
        let patience = if candidate.report.is_some() || same { JOIN_PATIENCE } else { silent.min(JOIN_PATIENCE) };
        let until = candidate.since + patience;
        // Whoever takes over for a dead parent must have a supply of his own; one that is repairing may wait for this node.
        let takes_over = matches!(candidate.cause, Cause::Behind | Cause::LinkLost) && !same;
        let repairing = takes_over && candidate.supply() == Supply::Repairing && now >= candidate.since + silent;
        let well = link.is_some_and(|link| !link.leaving) && !candidate.is_dry(now) && !repairing;
        let child = stream.children.get(&candidate.link).is_some_and(|child| child.mode == Mode::Full);
        let enough = stream.wanted() <= Some(candidate.mode);
        if well && !child && enough && (now < until || same) {
            let look_at = if takes_over && now < candidate.since + silent { candidate.since + silent } else { until };
            if let Some(stream) = self.streams.get_mut(name).filter(|_| now < until) {
                stream.check_at = stream.check_at.min(look_at);
            }
            return true;
        }
        if well && !child && same {
            self.ask_again(name, &candidate, now);
            return true;
        }
        let fed = stream.main.is_some();
        let not = candidate.link;
        let other = self.replacement(name, Some(not), now).is_some();
        let Some(stream) = self.streams.get_mut(name) else { return false };
        if (well || repairing) && !child && enough && !other && !fed {
            // There is nobody else to ask; the next cause to look comes by itself.
            stream.check_at = stream.check_at.min(now + RETRY);
            return true;
        }
        stream.candidate = None;
        let (list, pause) = if candidate.cause == Cause::Better {
            (&mut stream.slower, NOT_FASTER)
        } else {
            (&mut stream.avoid, RETRY)
        };
        if enough {
            list.insert(not, now + pause);
        }
        stream.check_at = stream.check_at.min(now + pause);
        self.leave(&candidate);
        false
    }

    /// The parent was just asked for less than is wanted now. It has put that in place of the feed before, or is about to, and cannot be
    /// made to go back to it: it is asked for more once more.
    fn ask_again(&mut self, name: &StreamName, less: &Upstream, now: Time) {
        self.feeds.remove(&less.feed);
        self.join(name, less.link, Cause::Again, now);
        if let Some(candidate) = self.streams.get_mut(name).and_then(|stream| stream.candidate.as_mut()) {
            candidate.replaces = Some(less.feed);
        }
    }

    fn look_again(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.candidate.is_none() {
            let until = stream.avoid.values().min().copied().unwrap_or(now + RETRY);
            stream.check_at = stream.check_at.min(until.min(now + RETRY));
        }
    }

    /// A parent that has been enough better than the present one for long enough (DESIGN 3, hysteresis), or leads to an
    /// origin of higher priority, and which of both.
    fn better(&mut self, name: &StreamName, main: &Upstream, now: Time) -> Option<(LinkId, Cause)> {
        let Ranked { priority, distances, .. } = self.ranked(name, &[]);
        let origin = main.path().first().copied();
        let of_main = self.table.origins_of(name).find(|(author, _)| Some(*author) == origin);
        let outranked = of_main.is_some_and(|(_, facts)| facts.priority < priority);
        if let Some(stream) = self.streams.get_mut(name).filter(|_| outranked) {
            // It is not for its speed that another one is wanted.
            stream.slower.clear();
        }
        let link = self.links.get(&main.link)?;
        let current = distances.get(link.peer).map(|peer| peer.metric + Micros::from(self.cost_from(link)));
        let pop = current.map(|way| pop::Cost { way, load_percent: self.table.load_percent(link.peer) });
        let ranking = self.ranking(name, now);
        let stream = self.streams.get(name)?;
        // What was accepted for the sake of a cheaper tree is no reason to move; what has changed since then is.
        let best = ranking.iter().map(|choice| choice.metric).min();
        let accepted = best.map(|best| (best as f64 * stream.accepted.max(1.0)) as Micros);
        let gains = |choice: &Choice| {
            let Some((current, accepted)) = current.zip(accepted) else { return false };
            let least = BETTER_MIN_US.max((current as f64 * BETTER_RATIO) as Micros);
            current.saturating_sub(accepted) >= least && choice.metric + least <= current
        };
        let gains = |choice: &Choice| match self.config.transit {
            true => gains(choice),
            false => pop.is_some_and(|current| self.cost_of(choice).is_better_than(current)),
        };
        // Where only fronts are wanted, a way that was good enough still is.
        let full = stream.wanted() == Some(Mode::Full);
        let fits = |choice: &&Choice| choice.link != main.link && (outranked || full && gains(choice));
        let better: Vec<LinkId> = ranking.iter().filter(fits).map(|choice| choice.link).collect();
        let stream = self.streams.get_mut(name)?;
        let hasty = stream.moved_at.is_none() && now.since(main.since) < pop::HASTY_FOR;
        let lasts = match self.config.transit {
            true => BETTER_LASTS,
            false if hasty => pop::HASTY_LASTS,
            false => pop::BETTER_LASTS,
        };
        stream.better.retain(|link, _| better.contains(link));
        for link in &better {
            stream.better.entry(*link).or_insert(now);
        }
        let may_move = |link: &LinkId| {
            let since = stream.better.get(link).copied().unwrap_or(now);
            stream.moved_at.map_or(since, |moved| since.max(moved)) + lasts
        };
        let preferred = better.iter().find(|link| may_move(link) <= now).copied();
        let next = better.iter().map(may_move).min();
        match (preferred, next) {
            (Some(link), _) => {
                stream.better.clear();
                Some((link, if outranked { Cause::Outranked } else { Cause::Better }))
            }
            (None, next) => {
                stream.check_at = stream.check_at.min(next.unwrap_or(Time::NEVER));
                None
            }
        }
    }

    /// By how much the way over a parent exceeds the shortest one: accepted for the sake of a cheaper tree.
    pub(super) fn settle_for(&mut self, name: &StreamName, link: LinkId, now: Time) {
        let distances = self.distances(name, &[]);
        let metric = self
            .links
            .get(&link)
            .and_then(|entry| Some(distances.get(entry.peer)?.metric + Micros::from(self.cost_from(entry))));
        let best = self.ranking(name, now).iter().map(|choice| choice.metric).min();
        let Some(stream) = self.streams.get_mut(name) else { return };
        let ratio = metric.zip(best).map_or(1.0, |(metric, best)| metric as f64 / best.max(1) as f64);
        stream.accepted = ratio.clamp(1.0, EQUAL_RATIO);
    }
}

/// In the order of preference: those who are about as near as the nearest by their price, then the others by their metric.
/// Where the next link is cheap, the way may be longer: a tree whose branches part late is cheaper than one of shortest
/// paths, whose long links run side by side.
fn sorted(mut choices: Vec<Choice>) -> Vec<Choice> {
    let best = choices.iter().map(|choice| choice.metric).min().unwrap_or(0);
    let equal = equal_to(best);
    // Who is above in the tree will have the stream by the cheapest way; others that are idle would fetch it by another one.
    let in_tree = choices.iter().any(|choice| choice.above);
    choices.sort_by_key(|choice| {
        let aside = in_tree && !choice.above && !choice.carries;
        let price = (choice.metric <= equal).then(|| (aside, choice.price()));
        (price.is_none(), price, choice.metric, choice.link)
    });
    choices
}

/// Up to which metric a way is as good as that of metric `best`.
fn equal_to(best: Micros) -> Micros {
    best + ((best as f64 * (EQUAL_RATIO - 1.0)) as Micros).min(EQUAL_MAX_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(link: u64, way_ms: u64, link_ms: u64, carries: bool) -> Choice {
        let cost = link_ms * 1_000;
        Choice { link: LinkId(link), metric: way_ms * 1_000 + cost, cost, carries, above: false }
    }

    fn preferred(choices: &[Choice]) -> Vec<u64> {
        sorted(choices.to_vec()).iter().map(|choice| choice.link.0).collect()
    }

    #[test]
    fn a_short_link_to_a_longer_way_is_preferred() {
        let (direct, next_door) = (choice(1, 0, 100, true), choice(2, 105, 2, false));
        assert_eq!(preferred(&[direct, next_door]), [2, 1]);
    }

    #[test]
    fn a_way_that_is_far_longer_is_not_made_up_for() {
        let (direct, next_door) = (choice(1, 0, 90, true), choice(2, 130, 2, true));
        assert_eq!(preferred(&[next_door, direct]), [1, 2]);
        let (direct, next_door) = (choice(1, 0, 200, true), choice(2, 240, 2, true));
        assert_eq!(preferred(&[next_door, direct]), [1, 2], "42 ms are too much even where they are few percent");
    }

    #[test]
    fn who_is_above_in_the_tree_is_preferred_to_others_that_are_idle() {
        let (idle, carries, far) = (choice(1, 20, 8, false), choice(2, 20, 13, true), choice(4, 60, 1, true));
        let above = |link_ms| Choice { above: true, ..choice(3, 22, link_ms, false) };
        assert_eq!(preferred(&[idle, carries, far]), [1, 2, 4]);
        assert_eq!(preferred(&[idle, carries, far, above(8)]), [3, 2, 1, 4]);
        assert_eq!(preferred(&[idle, carries, far, above(11)]), [2, 3, 1, 4]);
    }

    #[test]
    fn of_about_equal_ones_the_one_that_carries_is_preferred() {
        let (idle, carries) = (choice(1, 20, 10, false), choice(2, 20, 11, true));
        assert_eq!(preferred(&[idle, carries]), [2, 1]);
        let (idle, carries) = (choice(1, 20, 10, false), choice(2, 20, 14, true));
        assert_eq!(preferred(&[carries, idle]), [1, 2]);
    }
}
