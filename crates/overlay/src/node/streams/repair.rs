//! Repair in two stages (DESIGN 3): a backup parent that tells how far it is, and the verdict on a parent that does not
//! keep up with it.
//!
//! ```text
//! since        +T/2            +T                      2T            3T        (T: two round trips and the jitter)
//!   │ late      │ reported,     │ nothing heard since:  │ it lives,    │ it has brought nothing newer than the
//!   │           │ the parent    │ the backup is asked   │ but gives    │ backup meanwhile: dead, the backup is
//!   │           │ is asked      │ for what is missing   │ no reason    │ the parent
//! ```
//!
//! Round trips are for what was lost on the way, and for queues. Where no packet comes at all, the backup is asked as soon as that
//! is more than jitter. A parent that has answered is asked again once no packet came from it for 150 ms.
//!
//! A parent that says it is repairing its own supply gets a second: one failure makes one switch. Between the first newer
//! object of the backup and the verdict both feeds are open, and whichever brings the newest object is the parent in the
//! sense of the commit rule, so no loop can close meanwhile.

use std::time::Duration;

use super::{Cause, Lost, Mode, NOT_FASTER, Node, REFUSED_RETRY, REPAIR_PATIENCE, RETRY, Stream};
use crate::graph::Micros;
use crate::id::StreamName;
use crate::io::{Event, LinkId, Output};
use crate::message::{FeedId, Supply};
use crate::pace::Late;
use crate::time::Time;

/// A parent that was found dead is not asked again for this long, unless it is heard or there is no other. Tuned: its records and
/// links are gone by then.
const DEAD_PAUSE: Duration = Duration::from_secs(10);
/// A parent that lives, but has nothing for children, is asked anew after this silence (FEATURES 4.7) ...
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// ... but not if it was asked within this time. Tuned: a pause of the origin is no reason for much traffic.
const ASKED_ANEW: Duration = Duration::from_secs(2);
/// One that lives is left for one that was slower before, or for one that is no neighbour yet, only after this time. Tuned: a squeezed
/// parent that passes over what it cannot send keeps up again by then.
const STUCK: Duration = Duration::from_secs(2);
/// What the diagram above says, in patiences: a parent that lives is passed over after two ...
const ALIVE_PATIENCES: u32 = 2;
/// ... and either is dead after three (DESIGN 3); one that lives not before whoever was asked in its place had as long.
pub(super) const DEAD_PATIENCES: u32 = 3;
/// One that had answered is left for somebody who is no neighbour yet only after this silence. Tuned: longer than a busy machine lets a process
/// wait.
const STALLED: Duration = Duration::from_millis(500);
/// Another backup is chosen at most this often. Tuned.
const BACKUP_HOLD: Duration = Duration::from_secs(10);
/// A link in use over which nothing came for this long is silent: not slow, but dead. Tuned: probes come every 100 ms.
const SILENT: Duration = Duration::from_millis(150);
/// A backup is given up for another one that is better by this share of the other's metric ...
const BACKUP_RATIO: f64 = 0.25;
/// ... and by this many microseconds more. Tuned: a backup is worth its warmth.
const BACKUP_MIN_US: Micros = 20_000;
/// A backup that is of no use is not asked again for this long. Tuned.
const UNFIT_PAUSE: Duration = Duration::from_secs(30);

/// The parent does not bring what it should.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    /// Since when something is missing.
    since: Time,
    /// When it was asked last whether it lives.
    asked_at: Time,
    /// Another feed announced what is missing.
    announced: bool,
    /// Since when nothing comes at all.
    silent_since: Option<Time>,
    /// It answered when it was asked before.
    lived: bool,
    /// It is asked because it was not heard any more.
    doubted: bool,
    /// The parent lives, nothing is known to be missing: its origin may have a pause.
    pub(super) merely_silent: bool,
    /// When it is given up.
    pub(super) dead_at: Time,
    /// People were told.
    told: bool,
}

impl Node {
    /// The water says that a feed does not keep up, or does again.
    pub(in crate::node) fn behind(&mut self, feed: FeedId, late: Late, now: Time) {
        let Late { since, announced, silent } = late;
        let Some(name) = self.feeds.get(&feed).cloned() else { return };
        let Some(stream) = self.streams.get_mut(&name) else { return };
        let Some(main) = stream.main.as_ref().filter(|main| main.feed == feed) else { return };
        let link = main.link;
        let silent_since = since.filter(|_| silent);
        match (since, &mut stream.suspicion) {
            (None, _) => self.recovered(&name, now),
            (Some(since), Some(suspicion)) => {
                if announced && !suspicion.announced {
                    // Until then nothing was known to be missing.
                    (suspicion.announced, suspicion.since) = (true, since);
                }
                // It lived when it was asked, and may have died since.
                if silent_since.is_some() {
                    suspicion.lived |= self.links.get(&link).is_some_and(|link| link.heard_at > suspicion.asked_at);
                    (suspicion.silent_since, suspicion.asked_at, suspicion.doubted) = (silent_since, now, false);
                    self.ask(link, now);
                }
            }
            (Some(since), place @ None) => {
                *place = Some(Suspicion {
                    since,
                    asked_at: now,
                    announced,
                    silent_since,
                    lived: false,
                    doubted: false,
                    merely_silent: false,
                    dead_at: Time::NEVER,
                    told: false,
                });
                self.ask(link, now);
            }
        }
        self.reconsider(&name, now);
    }

    /// Asks whether a neighbour lives: whatever comes from it is an answer.
    fn ask(&mut self, link: LinkId, now: Time) {
        let Some(link_entry) = self.links.get_mut(&link) else { return };
        let nonce = link_entry.estimator.probe(now);
        self.emit(Output::Probe { link, nonce });
        self.emit(Output::Listen { link });
    }

    /// The suspected parent keeps up before another one brought anything newer.
    fn recovered(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let told = stream.suspicion.take_if(|_| stream.former.is_none()).is_some_and(|suspicion| suspicion.told);
        if let Some(candidate) = stream.candidate.take_if(|candidate| candidate.cause == Cause::Behind) {
            self.feeds.remove(&candidate.feed);
            self.join_shadow(name, candidate.link, Some(candidate.feed), now);
        }
        if told {
            self.cleared(name);
        }
    }

    /// The suspected parent brought an object that is newer than what the backup brought: it stays.
    pub(super) fn clear(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(former) = stream.former.take() else { return };
        stream.suspicion = None;
        let Some(hedge) = stream.main.replace(former) else { return };
        self.feeds.remove(&hedge.feed);
        // It goes on as the backup that it was.
        self.join_shadow(name, hedge.link, Some(hedge.feed), now);
        self.cleared(name);
    }

    fn cleared(&mut self, name: &StreamName) {
        let main = self.streams.get(name).and_then(|stream| stream.main.as_ref()).map(|main| main.link);
        if let Some(link) = main {
            let parent = self.peer_name(link);
            self.event(Event::Cleared { stream: name.clone(), parent });
        }
    }

    /// A parent that had answered may have died since, and a feed that brought nothing before cannot fall silent: it is asked again once
    /// it is not heard any more.
    fn doubt(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let (Some(main), Some(suspicion)) = (&stream.main, &mut stream.suspicion) else { return };
        let Some(link) = self.links.get(&main.link).filter(|link| link.heard_at > suspicion.asked_at) else { return };
        let silent_at = link.heard_at + SILENT.max(link.estimator.alertness());
        if now < silent_at {
            stream.check_at = stream.check_at.min(silent_at);
            return;
        }
        (suspicion.lived, suspicion.doubted) = (true, true);
        (suspicion.silent_since, suspicion.asked_at) = (Some(now), now);
        let link = main.link;
        self.ask(link, now);
    }

    /// Acts upon a suspicion whose time has come.
    pub(super) fn judge(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.former.is_some() {
            if stream.verdict_at > now {
                stream.check_at = stream.check_at.min(stream.verdict_at);
                return;
            }
            return self.condemn(name, now);
        }
        self.doubt(name, now);
        let Some(stream) = self.streams.get_mut(name) else { return };
        let (Some(main), Some(suspicion)) = (&stream.main, &mut stream.suspicion) else { return };
        let Some(link) = self.links.get(&main.link) else { return };
        let own = link.estimator.patience();
        let told = main.report.as_ref().map_or(Duration::ZERO, |report| report.patience);
        let patience = own.max(told);
        let alertness = link.estimator.alertness();
        let lives = link.heard_at > suspicion.asked_at;
        let repairing = main.supply() == Supply::Repairing;
        let (hedge_at, dead_at) = match (lives, repairing) {
            (false, _) => {
                // Where something is missing, the answer gets the time of a round trip; and so does what a parent that repaired, or
                // repairs, its own supply has to pass on.
                let round_trip = own.min(link.estimator.rtt().unwrap_or_default() + alertness);
                let (since, time, answer) = match suspicion.silent_since {
                    since if repairing && !suspicion.doubted => {
                        (since.unwrap_or(suspicion.since), round_trip, round_trip)
                    }
                    Some(since) => (since, alertness, alertness / 2),
                    None => (suspicion.since, own, own / 2),
                };
                let answered_at = (since + time).max(suspicion.asked_at + answer);
                let repaired_at = main.report_since + round_trip;
                let hedge_at = if suspicion.lived { answered_at.max(repaired_at) } else { answered_at };
                (hedge_at, since + own * DEAD_PATIENCES)
            }
            (true, true) => (main.report_since + REPAIR_PATIENCE, main.report_since + REPAIR_PATIENCE + own),
            // Merely silent, as the origin may be: it is asked anew, not left.
            (true, false) if !suspicion.announced => (suspicion.since + ASK_AGAIN, Time::NEVER),
            // What it repaired comes right behind the word that it has.
            (true, false) => {
                let hedge_at = (suspicion.since + patience * ALIVE_PATIENCES).max(main.report_since + patience);
                (hedge_at, (suspicion.since + patience * DEAD_PATIENCES).max(hedge_at + patience))
            }
        };
        suspicion.dead_at = dead_at;
        suspicion.merely_silent = lives && !repairing && !suspicion.announced;
        if now < hedge_at {
            stream.check_at = stream.check_at.min(hedge_at);
            return;
        }
        if !suspicion.told && !suspicion.merely_silent {
            suspicion.told = true;
            let parent = link.name.clone();
            self.event(Event::Suspected { stream: name.clone(), parent });
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.candidate.is_none() {
            self.hedge(name, lives, now);
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        // Who was asked in the place of a parent that lives may have to ask others first: it gets as long.
        let patience_of = |link| self.links.get(link).map(|link| link.estimator.patience());
        let asked = stream.candidate.as_ref().filter(|_| lives);
        let tried_at = asked.and_then(|asked| Some(asked.since + patience_of(&asked.link)? * DEAD_PATIENCES));
        let dead_at = tried_at.map_or(dead_at, |tried_at| tried_at.max(dead_at));
        stream.suspicion.iter_mut().for_each(|suspicion| suspicion.dead_at = dead_at);
        if now < dead_at {
            stream.check_at = stream.check_at.min(dead_at);
        } else if stream.candidate.is_some() {
            // The candidate has not brought anything either, but it is the only hope.
            self.condemn(name, now);
        } else {
            stream.check_at = stream.check_at.min(now + RETRY);
        }
    }

    /// Asks somebody else for what the suspected parent, which lives or not, does not bring.
    fn hedge(&mut self, name: &StreamName, lives: bool, now: Time) {
        let Some(stream) = self.streams.get(name) else { return };
        let Some((main, suspicion)) = stream.main.as_ref().zip(stream.suspicion.as_ref()) else { return };
        let main_link = main.link;
        if suspicion.merely_silent {
            // A lost request, or a feed that got stuck: the same parent, once in a while.
            if main.since + ASKED_ANEW <= now {
                self.join(name, main_link, Cause::Again, now);
            } else if let Some(stream) = self.streams.get_mut(name) {
                stream.check_at = stream.check_at.min(now + ASK_AGAIN);
            }
            return;
        }
        // Where two are slow it is not they who are: the way that both share carries too little. To go to and fro, or to dial
        // others over the same way, would take of it what little there is.
        // One that brings little by little is silent now and then, and where a queue grows answers come late.
        let heard_at = self.links.get(&main_link).map_or(now, |link| link.heard_at);
        let stuck_at = match (lives, suspicion.lived) {
            (true, _) => suspicion.since + STUCK,
            (false, true) if suspicion.doubted => heard_at + STALLED,
            (false, _) => heard_at + SILENT,
        };
        match self.replacement(name, Some(main_link), now) {
            other if stuck_at > now && other.is_none_or(|link| self.was_slower(name, link)) => {
                if let Some(stream) = self.streams.get_mut(name) {
                    stream.check_at = stream.check_at.min(stuck_at);
                }
            }
            Some(link) => self.join(name, link, Cause::Behind, now),
            None => self.adopt(name, now),
        }
    }

    fn was_slower(&self, name: &StreamName, link: LinkId) -> bool {
        self.streams.get(name).is_some_and(|stream| stream.slower.contains_key(&link))
    }

    /// The suspected parent is dead: whoever else feeds this node is the parent.
    fn condemn(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let hedged = stream.former.take();
        let (gone, stays) = match hedged {
            Some(former) => (former, stream.main.as_ref().map(|main| main.link)),
            None => match stream.main.take() {
                Some(main) => (main, None),
                None => return,
            },
        };
        stream.suspicion = None;
        let dead = self.links.get(&gone.link).map(|link| (link.peer, link.heard_at));
        if let Some((peer, heard_at)) = dead {
            // One that is alive was slower; one that is silent is not worth asking.
            let silent = now.since(heard_at) > SILENT;
            let pause = if silent { DEAD_PAUSE } else { NOT_FASTER };
            let lost = Lost { peer, name: self.peer_name(gone.link), cause: Cause::Behind };
            if let Some(stream) = self.streams.get_mut(name) {
                let list = if silent { &mut stream.avoid } else { &mut stream.slower };
                list.insert(gone.link, now + pause);
                stream.lost = Some(lost);
            }
            if silent {
                self.silenced.insert(gone.link);
            }
        }
        self.leave(&gone);
        if let Some(link) = stays {
            self.switched(name, Some(gone.link), link, Cause::Behind, None, now);
        }
    }

    /// A neighbour that was given up for its silence was merely stopped: it may be asked again.
    pub(in crate::node) fn heard_again(&mut self, link: LinkId, now: Time) {
        if !self.silenced.remove(&link) {
            return;
        }
        let avoiding = self.streams.iter_mut().filter_map(|(name, stream)| {
            stream.avoid.remove(&link)?;
            Some(name.clone())
        });
        for name in avoiding.collect::<Vec<_>>() {
            self.reconsider(&name, now);
        }
    }

    /// Keeps a backup for a stream that is fed, and none for others.
    pub(super) fn keep_backup(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get(name) else { return };
        if stream.candidate.is_some() || stream.former.is_some() {
            return;
        }
        let Some(main) = stream.main.as_ref().filter(|main| main.mode == Mode::Full) else {
            return self.drop_backup(name, None, now);
        };
        let (main_link, main_peer) = (main.link, self.links.get(&main.link).map(|link| link.peer));
        let fits = |stream: &Stream, link: LinkId| {
            let child = stream.children.get(&link).is_some_and(|child| child.mode == Mode::Full);
            link != main_link && !child && !stream.unfit.contains_key(&link) && !stream.avoid.contains_key(&link)
        };
        let mut current = None;
        if let Some(backup) = &stream.backup {
            let link = self.links.get(&backup.link);
            let here = backup.path().contains(&self.config.id);
            let stale = backup.supply() == Supply::Waiting && now.since(backup.report_since) > REFUSED_RETRY;
            if !fits(stream, backup.link) || link.is_none_or(|link| link.leaving) || here || stale {
                let pause = (here || stale).then_some(UNFIT_PAUSE);
                self.drop_backup(name, pause, now);
            } else {
                let shares = main_peer.is_some_and(|peer| backup.path().contains(&peer));
                current = Some((backup.link, shares, stream.backup_since + BACKUP_HOLD));
            }
        }
        if let Some((_, shares, held_until)) = current
            && held_until > now
            && !shares
        {
            return;
        }
        let disjoint = self.detours(name, main_peer, now);
        let any = if disjoint.is_empty() { self.detours(name, None, now) } else { Vec::new() };
        let Some(stream) = self.streams.get(name) else { return };
        // One that turned out to be fed over the parent itself would die with it.
        let shared = current.filter(|(_, shares, _)| *shares).map(|(link, ..)| link);
        let mut fit =
            disjoint.iter().chain(&any).filter(|choice| fits(stream, choice.link) && Some(choice.link) != shared);
        let best = fit.next().copied();
        let chosen = match (current, best) {
            (None, best) => best,
            (Some((link, shares, _)), Some(best)) if best.link != link => {
                let known = disjoint.iter().find(|choice| choice.link == link);
                let worse = known.is_none_or(|known| {
                    known.metric as f64 > best.metric as f64 * (1.0 + BACKUP_RATIO) + BACKUP_MIN_US as f64
                });
                let disjoint_now = disjoint.iter().any(|choice| choice.link == best.link);
                (disjoint_now && (shares || worse)).then_some(best)
            }
            _ => None,
        };
        if let Some(choice) = chosen {
            self.drop_backup(name, shared.map(|_| UNFIT_PAUSE), now);
            self.join_shadow(name, choice.link, None, now);
        }
        if let Some(stream) = self.streams.get_mut(name)
            && let Some(until) = stream.unfit.values().min()
            && stream.backup.is_none()
        {
            stream.check_at = stream.check_at.min(*until);
        }
    }

    fn drop_backup(&mut self, name: &StreamName, unfit_for: Option<Duration>, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(backup) = stream.backup.take() else { return };
        if let Some(pause) = unfit_for {
            stream.unfit.insert(backup.link, now + pause);
        }
        self.leave(&backup);
    }
}
