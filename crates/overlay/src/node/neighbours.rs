//! Keeping links to the neighbours that this node shall have: dialling, trying again, closing.

use std::collections::BTreeMap;
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
}

impl Node {
    pub(super) fn set_neighbours(&mut self, neighbours: Vec<Neighbour>, now: Time) {
        let own_name = self.name().to_owned();
        let mut wanted: BTreeMap<String, Neighbour> =
            neighbours.into_iter().filter(|n| n.name != own_name).map(|n| (n.name.clone(), n)).collect();
        let gone: Vec<String> = self.contacts.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(link) = self.contacts.remove(&name).and_then(|contact| contact.link) {
                self.hang_up(link, HangUp::Removed, now);
            }
        }
        for (name, contact) in &mut self.contacts {
            if let Some(neighbour) = wanted.remove(name) {
                contact.neighbour = neighbour;
            }
        }
        for (name, neighbour) in wanted {
            let link = self.links.iter().find(|(_, link)| link.name == name).map(|(id, _)| *id);
            // Nobody can dial a node that accepts no links, so it does not wait to be dialled.
            let first = own_name < name || self.config.addresses.is_empty();
            let head_start = if first { Duration::ZERO } else { HEAD_START };
            let dial_at = if link.is_some() || neighbour.addresses.is_empty() { Time::NEVER } else { now + head_start };
            self.contacts.insert(name, Contact { neighbour, link, dial_at, pause: RETRY_MIN, failure: None });
        }
        self.dial_due(now);
    }

    pub(super) fn dial_due(&mut self, now: Time) {
        for contact in self.contacts.values_mut().filter(|contact| contact.dial_at <= now) {
            contact.dial_at = Time::NEVER;
            self.outputs.push_back(Output::Dial(contact.neighbour.clone()));
        }
    }

    pub(super) fn dial_failed(&mut self, name: &str, reason: String, now: Time) {
        let jitter = self.rng.random_range(1.0 - RETRY_JITTER..1.0 + RETRY_JITTER);
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

    /// The link is closed: dial again.
    pub(super) fn contact_down(&mut self, link: LinkId, reason: &str, now: Time) {
        let Some(contact) = self.contacts.values_mut().find(|contact| contact.link == Some(link)) else {
            return;
        };
        contact.link = None;
        contact.failure = Some(reason.to_owned());
        if !contact.neighbour.addresses.is_empty() {
            contact.dial_at = now + contact.pause;
        }
    }
}
