//! Links: coming up, being measured, going down; and the dispatch of what comes over them.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng as _;

use super::Node;
use crate::id::{NodeId, StreamName};
use crate::io::{Event, HangUp, LinkId, Output};
use crate::link::{Estimator, PROBE_IDLE, PROBE_IN_USE, PROBE_NEW, SILENCE_IDLE, SILENCE_IN_USE, Told};
use crate::message::{Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use crate::time::Time;

/// Two links to one neighbour that come up within this time were dialled by both ends; a later one means that the
/// neighbour lost the first. Tuned.
const BOTH_DIALED_WINDOW: Duration = Duration::from_secs(2);
/// New links are probed often until they have settled, and as those in use for so long: nodes that start together measure how busy they are.
/// More probes are not remembered than 1.6 s hold, and a slower link settles at the usual pace.
const YOUNG: Duration = Duration::from_secs(5);
/// Children of a node that is to stop get this long to find another parent. Tuned: a join around the world, twice.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Most links.
const LINKS_MAX: usize = crate::record::LINKS_MAX;
/// Most streams that a neighbour may say it carries.
const CARRIES_MAX: usize = 8_192;

/// A link that is open.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    pub(super) name: String,
    dialed: bool,
    up_since: Time,
    pub(super) estimator: Estimator,
    next_probe: Time,
    pub(super) heard_at: Time,
    /// A tree uses it.
    pub(super) in_use: bool,
    greeted: bool,
    /// Streams that the neighbour says it carries.
    pub(super) carries: BTreeSet<StreamName>,
    /// The neighbour said goodbye: it takes no new part in any tree.
    pub(super) leaving: bool,
    /// New records are sent over this link; otherwise they are announced.
    pub(super) eager: bool,
    /// The neighbour's digest, while another one sends what this node lacks.
    pub(super) digest: Option<Vec<u64>>,
    /// Hashes of records still to be announced.
    pub(super) announce: Vec<u64>,
    /// Buckets of which this end sent its listing for the sake of a stranger, and met no new node of them since, one bit each.
    pub(super) listed: u64,
}

impl Link {
    /// When it next wants attention: a probe to send, or silence to act upon.
    pub(super) fn due(&self) -> Time {
        self.next_probe.min(self.heard_at + self.patience())
    }

    fn patience(&self) -> Duration {
        if self.in_use { SILENCE_IN_USE } else { SILENCE_IDLE }
    }
}

impl Node {
    pub(super) fn link_up(&mut self, link: LinkId, peer: NodeId, name: String, dialed: bool, rtt: Duration, now: Time) {
        if peer == self.config.id {
            // An address in the topology leads back here.
            self.emit(Output::HangUp { link, reason: HangUp::Duplicate });
            return;
        }
        if self.links.len() >= LINKS_MAX {
            self.emit(Output::HangUp { link, reason: HangUp::Limit("links") });
            return;
        }
        let older = self.links.iter().find(|(_, older)| older.peer == peer).map(|(id, older)| (*id, older));
        if let Some((older_id, older)) = older {
            let both_dialed = older.dialed != dialed && now.since(older.up_since) < BOTH_DIALED_WINDOW;
            // Both ends keep the link that the smaller identity dialled.
            let keep_older = both_dialed && older.dialed == (self.config.id < peer);
            if keep_older {
                self.emit(Output::HangUp { link, reason: HangUp::Duplicate });
                return;
            }
            // First, so that the contact does not go with the older link.
            self.contact_up(&name, link);
            self.hang_up(older_id, HangUp::Duplicate, now);
        }
        let mut estimator = Estimator::new(self.rng.random());
        estimator.seed(rtt);
        estimator.tell(now);
        let entry = Link {
            peer,
            name: name.clone(),
            dialed,
            up_since: now,
            estimator,
            next_probe: now,
            heard_at: now,
            in_use: false,
            greeted: false,
            carries: BTreeSet::new(),
            leaving: false,
            eager: true,
            digest: None,
            announce: Vec::new(),
            listed: 0,
        };
        self.links.insert(link, entry);
        self.contact_up(&name, link);
        self.event(Event::LinkUp { peer: name });
        let hello = Hello { version: PROTOCOL_VERSION, version_min: PROTOCOL_VERSION_MIN };
        self.send(link, Message::Hello(hello));
        self.send(link, Message::Digest(self.table.digest()));
        self.tell_carried(link);
        // The mesh is told once the link has settled.
        self.graph_changed(now);
    }

    /// The transport says that a link is gone.
    pub(super) fn link_down(&mut self, link: LinkId, reason: String, unwanted: bool, now: Time) {
        let Some(gone) = self.links.remove(&link) else {
            return;
        };
        self.contact_down(link, &reason, unwanted, now);
        self.event(Event::LinkDown { peer: gone.name.clone(), reason });
        self.traces_lose_link(link);
        self.silenced.remove(&link);
        if gone.estimator.is_settled() {
            self.own_links_worse(now);
        } else {
            // Nobody was told of it.
            self.graph_changed(now);
        }
        self.streams_lose_link(link, gone.peer, &gone.name, now);
    }

    /// Closes a link from this side.
    pub(super) fn hang_up(&mut self, link: LinkId, reason: HangUp, now: Time) {
        if self.links.contains_key(&link) {
            self.emit(Output::HangUp { link, reason });
            self.link_down(link, reason.to_string(), false, now);
        }
    }

    pub(super) fn message(&mut self, link: LinkId, message: Message, now: Time) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        entry.heard_at = now;
        if !entry.greeted {
            let Message::Hello(hello) = message else {
                self.protocol_error(link, HangUp::Protocol("the first message is not a hello"), now);
                return;
            };
            if hello.version < PROTOCOL_VERSION_MIN || hello.version_min > PROTOCOL_VERSION {
                self.protocol_error(link, HangUp::Version, now);
                return;
            }
            entry.greeted = true;
            return;
        }
        self.heard_again(link, now);
        match message {
            Message::Hello(_) => self.protocol_error(link, HangUp::Protocol("a second hello"), now),
            Message::Digest(buckets) => self.digest(link, buckets, now),
            Message::Listing { bucket, entries } => self.listing(link, bucket, &entries, now),
            Message::Records(records) => self.records(link, records, now),
            Message::Have(hashes) => self.have(link, hashes),
            Message::Want(hashes) => self.want(link, &hashes, now),
            Message::Prune => self.set_eager(link, false),
            Message::Join(join) => self.join_asked(link, join, now),
            Message::Leave(feed) => self.leave_asked(link, feed, now),
            Message::Refuse { feed, reason, alternates } => self.refused(link, feed, reason, alternates, now),
            Message::Supply { feed, report } => self.supply(link, feed, report, now),
            Message::Carries { stream, yes } => self.carries(link, stream, yes, now),
            // The water acts upon gaps; routes do not.
            Message::Gap(_) => {}
            Message::Trace { id, stream, hops_left } => self.trace_asked(link, id, stream, hops_left, now),
            Message::TraceReply { id, hops } => self.trace_reply(link, id, hops),
            Message::Goodbye => self.goodbye(link, now),
        }
    }

    pub(super) fn protocol_error(&mut self, link: LinkId, reason: HangUp, now: Time) {
        self.counters.protocol_errors += 1;
        self.hang_up(link, reason, now);
    }

    fn carries(&mut self, link: LinkId, stream: StreamName, yes: bool, now: Time) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        if !yes {
            entry.carries.remove(&stream);
        } else if entry.carries.len() < CARRIES_MAX {
            entry.carries.insert(stream.clone());
            self.offered(&stream, now);
        } else {
            self.protocol_error(link, HangUp::Limit("streams carried"), now);
        }
    }

    fn goodbye(&mut self, link: LinkId, now: Time) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.leaving = true;
            self.reconsider_all(now);
        }
    }

    pub(super) fn echo(&mut self, link: LinkId, nonce: u64, now: Time) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let before = entry.estimator.told().filter(|_| entry.estimator.is_settled());
        if entry.estimator.echo(nonce, now) {
            entry.heard_at = now;
            self.tell_cost(link, before, now);
            self.look_closer(link, now);
            self.heard_again(link, now);
        }
    }

    /// A link that has changed is probed more often than others, from now on.
    fn look_closer(&mut self, link: LinkId, now: Time) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        let pause = match (entry.estimator.is_curious(), entry.estimator.is_improving()) {
            (true, _) => PROBE_NEW,
            (false, true) => PROBE_IN_USE,
            (false, false) => return,
        };
        entry.next_probe = entry.next_probe.min(now + pause);
    }

    /// The water says that something came after a time.
    pub(super) fn heard(&mut self, link: LinkId, since: Time) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.heard_at = entry.heard_at.max(since);
        }
    }

    /// Tells the mesh what a link costs, if that has changed enough. One that has just settled is good news.
    fn tell_cost(&mut self, link: LinkId, before: Option<Told>, now: Time) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        if !entry.estimator.tell(now) {
            return;
        }
        let worse = before.zip(entry.estimator.told()).is_some_and(|(before, told)| told.is_worse(before));
        match entry.estimator.is_settled() {
            false => self.graph_changed(now),
            true if worse => self.own_links_worse(now),
            true => self.own_links_changed(now),
        }
    }

    pub(super) fn transport(&mut self, link: LinkId, sent: u64, lost: u64, load: f64, now: Time) {
        let limit = self.config.egress_max_bps.filter(|limit| *limit > 0);
        let own_load = limit.map_or(0.0, |limit| self.egress_bps() as f64 / limit as f64);
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let before = entry.estimator.told();
        entry.estimator.transport(sent, lost, load.max(own_load));
        self.tell_cost(link, before, now);
    }

    pub(super) fn probe_due(&mut self, now: Time) {
        let silent: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.heard_at + link.patience() <= now).map(|(id, _)| *id).collect();
        for link in silent {
            self.hang_up(link, HangUp::Silent, now);
        }
        for (&id, link) in &mut self.links {
            if link.next_probe <= now {
                let nonce = link.estimator.probe(now);
                let is_young = now.since(link.up_since) < YOUNG;
                let pause = match &link.estimator {
                    known if known.is_curious() || is_young && !known.is_settled() => PROBE_NEW,
                    known if is_young || link.in_use || known.is_improving() => PROBE_IN_USE,
                    _ => PROBE_IDLE,
                };
                link.next_probe = now + pause;
                self.outputs.push_back(Output::Probe { link: id, nonce });
            }
        }
    }

    /// Marks which links trees use; those are probed more often and given less patience.
    pub(super) fn mark_use(&mut self, now: Time) {
        let mut used = BTreeSet::new();
        for stream in self.streams.values() {
            used.extend(stream.links());
        }
        for (id, link) in &mut self.links {
            let in_use = used.contains(id);
            if in_use && !link.in_use {
                link.next_probe = link.next_probe.min(now + PROBE_IN_USE);
                // Patience is shorter from now on; silence counts from now.
                link.heard_at = now;
            }
            link.in_use = in_use;
        }
    }

    /// Cost from the neighbour to here, in microseconds: the worse of both ends' claims.
    pub(super) fn cost_from(&self, link: &Link) -> u32 {
        let own = link.estimator.told().unwrap_or(Told { out_us: u32::MAX, in_us: u32::MAX });
        let theirs = self.table.links(link.peer).iter().find(|facts| facts.peer == self.config.id);
        theirs.map_or(own.out_us, |facts| facts.out_us).max(own.in_us).max(1)
    }

    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.emit(Output::Send { link, message });
    }

    /// The node is to stop soon: its children move while it still serves them.
    pub(super) fn drain(&mut self, now: Time) {
        match self.drain_until {
            // Asked again after it was told.
            Some(Time::NEVER) => return self.emit(Output::Drained),
            Some(_) => return,
            None => {}
        }
        self.drain_until = Some(now + DRAIN_PATIENCE);
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, Message::Goodbye);
        }
        self.own_links_worse(now);
        self.drained(now);
    }

    /// Tells once that the node may stop: nobody is fed any more who could be fed elsewhere, or time is up.
    pub(super) fn drained(&mut self, now: Time) {
        let Some(until) = self.drain_until.filter(|until| *until != Time::NEVER) else { return };
        let elsewhere = |name: &StreamName, stream: &super::Stream| {
            stream.published.is_none() || self.table.origins_of(name).any(|(author, _)| author != self.config.id)
        };
        let mut fed = self.streams.iter().filter(|(_, stream)| !stream.children.is_empty());
        if now >= until || !fed.any(|(name, stream)| elsewhere(name, stream)) {
            self.drain_until = Some(Time::NEVER);
            self.emit(Output::Drained);
        }
    }

    pub(super) fn shutdown(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for &link in &links {
            self.send(link, Message::Goodbye);
        }
        for link in links {
            self.emit(Output::HangUp { link, reason: HangUp::Shutdown });
        }
    }
}
