//! Keeping links to the neighbours that this node shall have: dialling, trying again, closing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;

use super::Node;
use crate::io::{HangUp, LinkId, Neighbour, Output};
use crate::time::Time;

/// First pause after a failed dial. Tuned: a neighbour that starts at the same time is found quickly.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest pause between dials. Tuned: a neighbour that returns is used again within seconds.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Growth of the pause.
const RETRY_GROWTH: f64 = 1.6;
/// Share of the pause that is left to chance, so that many do not dial at once.
const RETRY_JITTER: f64 = 0.25;
/// Head start of the neighbour whose name comes first: both ends dial, and one link is enough. A second one that comes up
/// meanwhile takes the place of the first, under the feet of what it carries. Tuned: a handshake on a busy machine.
const HEAD_START: Duration = Duration::from_secs(1);

/// The link to an adopted node is closed after no tree has used it for this long. Tuned: the node that it stands in for
/// has been back for a while, or another one serves.
const ADOPTED_IDLE: Duration = Duration::from_secs(60);

/// Most neighbours that an operator can add, and most that one can remove.
const WISHES_MAX: usize = 256;

/// Which neighbours this node shall have: the topology's, and what an operator changed about them.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    listed: Vec<Neighbour>,
    added: BTreeMap<String, Neighbour>,
    removed: BTreeSet<String>,
}

impl Wishes {
    pub(super) fn is_added(&self, name: &str) -> bool {
        self.added.contains_key(name)
    }

    fn all(&self) -> BTreeMap<String, Neighbour> {
        let listed = self.listed.iter().filter(|neighbour| !self.removed.contains(&neighbour.name));
        listed.chain(self.added.values()).map(|neighbour| (neighbour.name.clone(), neighbour.clone())).collect()
    }
}

/// A neighbour that this node shall have a link to.
#[derive(Clone, Debug)]
pub(super) struct Contact {
    pub(super) neighbour: Neighbour,
    pub(super) link: Option<LinkId>,
    /// When to dial next; `NEVER` while a link is open or a dial is under way.
    pub(super) dial_at: Time,
    pause: Duration,
    /// Why the last dial failed.
    pub(super) failure: Option<String>,
    /// No neighbour by the topology, but dialled because a stream needed it.
    pub(super) adopted: bool,
    /// Since when no tree has used the link of an adopted node.
    idle_since: Option<Time>,
}

impl Node {
    pub(super) fn set_neighbours(&mut self, neighbours: Vec<Neighbour>, now: Time) {
        self.wishes.listed = neighbours;
        self.heed_wishes(now);
    }

    /// An operator wants a link to a node, whatever the topology says.
    pub(super) fn connect(&mut self, neighbour: Neighbour, now: Time) {
        let name = neighbour.name.clone();
        self.wishes.removed.remove(&name);
        if self.wishes.added.len() < WISHES_MAX {
            self.wishes.added.insert(name.clone(), neighbour);
        }
        self.heed_wishes(now);
        if let Some(contact) = self.contacts.get_mut(&name).filter(|contact| contact.link.is_none()) {
            contact.dial_at = now;
        }
        self.dial_due(now);
    }

    /// An operator wants no link to a node, whatever the topology says.
    pub(super) fn disconnect(&mut self, name: &str, now: Time) {
        self.wishes.added.remove(name);
        if self.wishes.removed.len() < WISHES_MAX {
            self.wishes.removed.insert(name.to_owned());
        }
        self.heed_wishes(now);
        self.contacts.remove(name);
        let links = self.links.iter().filter(|(_, link)| link.name == name).map(|(id, _)| *id);
        for link in links.collect::<Vec<_>>() {
            self.hang_up(link, HangUp::Removed, now);
        }
    }

    /// Brings the contacts in line with the wishes.
    fn heed_wishes(&mut self, now: Time) {
        let own_name = self.name().to_owned();
        let mut wanted = self.wishes.all();
        wanted.remove(&own_name);
        let listed = self.contacts.iter().filter(|(_, contact)| !contact.adopted);
        let gone: Vec<String> =
            listed.map(|(name, _)| name).filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(link) = self.contacts.remove(&name).and_then(|contact| contact.link) {
                self.hang_up(link, HangUp::Removed, now);
            }
        }
        for (name, contact) in &mut self.contacts {
            if let Some(neighbour) = wanted.remove(name) {
                contact.neighbour = neighbour;
                contact.adopted = false;
            }
        }
        for (name, neighbour) in wanted {
            let link = self.links.iter().find(|(_, link)| link.name == name).map(|(id, _)| *id);
            // Nobody can dial a node that accepts no links, so it does not wait to be dialled.
            let first = own_name < name || self.config.addresses.is_empty();
            let head_start = if first { Duration::ZERO } else { HEAD_START };
            let dial_at = if link.is_some() || neighbour.addresses.is_empty() { Time::NEVER } else { now + head_start };
            let contact =
                Contact { neighbour, link, dial_at, pause: RETRY_MIN, failure: None, adopted: false, idle_since: None };
            self.contacts.insert(name, contact);
        }
        self.dial_due(now);
    }

    /// Dials a node that is no neighbour. Tells whether it was not being dialled already.
    pub(super) fn adopt_contact(&mut self, neighbour: Neighbour, now: Time) -> bool {
        if let Some(known) = self.contacts.get_mut(&neighbour.name) {
            // A neighbour that was lost: dial at once rather than after the pause, unless a dial is under way.
            let idle = known.link.is_none() && known.dial_at != Time::NEVER;
            known.dial_at = if idle { now } else { known.dial_at };
            return idle;
        }
        let contact = Contact {
            link: None,
            dial_at: now,
            pause: RETRY_MIN,
            failure: None,
            adopted: true,
            idle_since: None,
            neighbour: neighbour.clone(),
        };
        self.contacts.insert(neighbour.name, contact);
        true
    }

    /// Closes links to adopted nodes that no tree has used for a while.
    pub(super) fn release_adopted(&mut self, now: Time) {
        let mut released = Vec::new();
        for (name, contact) in self.contacts.iter_mut().filter(|(_, contact)| contact.adopted) {
            let in_use = contact.link.and_then(|link| self.links.get(&link)).is_none_or(|link| link.in_use);
            let since = if in_use { None } else { Some(*contact.idle_since.get_or_insert(now)) };
            contact.idle_since = since;
            if since.is_some_and(|since| now.since(since) >= ADOPTED_IDLE) {
                released.push((name.clone(), contact.link));
            }
        }
        for (name, link) in released {
            self.contacts.remove(&name);
            link.into_iter().for_each(|link| self.hang_up(link, HangUp::Unused, now));
        }
    }

    pub(super) fn dial_due(&mut self, now: Time) {
        for contact in self.contacts.values_mut().filter(|contact| contact.dial_at <= now) {
            contact.dial_at = Time::NEVER;
            self.outputs.push_back(Output::Dial(contact.neighbour.clone()));
        }
    }

    pub(super) fn dial_failed(&mut self, name: &str, reason: String, now: Time) {
        let jitter = self.rng.random_range(1.0 - RETRY_JITTER..1.0 + RETRY_JITTER);
        if self.contacts.get(name).is_some_and(|contact| contact.adopted && contact.link.is_none()) {
            // Whoever still needs it adopts it anew.
            self.contacts.remove(name);
        }
        if let Some(contact) = self.contacts.get_mut(name).filter(|contact| contact.link.is_none()) {
            contact.failure = Some(reason);
            contact.dial_at = now + contact.pause.mul_f64(jitter);
            contact.pause = contact.pause.mul_f64(RETRY_GROWTH).min(RETRY_MAX);
        }
    }

    /// A link to `name` is open: no dialling.
    pub(super) fn contact_up(&mut self, name: &str, link: LinkId) {
        if let Some(contact) = self.contacts.get_mut(name) {
            contact.link = Some(link);
            contact.dial_at = Time::NEVER;
            contact.pause = RETRY_MIN;
            contact.failure = None;
        }
    }

    /// The link is closed: dial again, unless the other end does not want it.
    pub(super) fn contact_down(&mut self, link: LinkId, reason: &str, unwanted: bool, now: Time) {
        let Some(contact) = self.contacts.values_mut().find(|contact| contact.link == Some(link)) else {
            return;
        };
        if contact.adopted {
            let name = contact.neighbour.name.clone();
            self.contacts.remove(&name);
            return;
        }
        contact.link = None;
        contact.failure = Some(reason.to_owned());
        if !contact.neighbour.addresses.is_empty() && !unwanted {
            contact.dial_at = now + contact.pause;
        }
    }
}
