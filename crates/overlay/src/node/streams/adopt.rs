//! Nodes that are no neighbours: a grandparent or an origin is dialled when no neighbour can give a stream. The records
//! hold their addresses.

use std::time::Duration;

use super::{Node, RETRY, Stream};
use crate::id::{NodeId, StreamName};
use crate::io::{Event, Neighbour};
use crate::time::Time;

/// A stream that was never fed here gets this long before an origin is dialled: neighbours may still be on their way.
const NEVER_FED: Duration = Duration::from_secs(3);
/// Nodes dialled at once for one stream: the nearest that may live, and those further up in case they do not.
const DIALS: usize = 3;
/// Nodes adopted at once, over all streams.
pub(super) const ADOPTED_MAX: usize = 64;

impl Node {
    /// Dials nodes further up that could feed a stream: those that a busy parent named, the ancestors from the nearest
    /// on, then the origins.
    pub(super) fn adopt(&mut self, name: &StreamName, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let waited = stream.wanted_since.map_or(Duration::ZERO, |since| now.since(since));
        let named = stream.named_by_busy(now);
        if stream.ancestors.is_empty() && named.is_empty() && waited < NEVER_FED {
            stream.check_at = stream.check_at.min(now + (NEVER_FED - waited));
            return;
        }
        stream.check_at = stream.check_at.min(now + RETRY);
        if stream.adopted_at.is_some_and(|at| now.since(at) < RETRY) {
            return;
        }
        stream.adopted_at = Some(now);
        let above = stream.ancestors.iter().rev().copied();
        let mut wanted: Vec<NodeId> = named.into_iter().chain(above).collect();
        wanted.extend(self.table.origins_of(name).map(|(author, _)| author));
        self.dial_for(name, wanted, now);
    }

    /// Dials those whom a busy parent has just named, while the other neighbours are asked: these may all be as busy, and
    /// their turn comes again before all have answered.
    pub(super) fn adopt_named(&mut self, name: &StreamName, named: Vec<NodeId>, now: Time) {
        if self.streams.get(name).is_some_and(Stream::is_hungry) {
            self.dial_for(name, named, now);
        }
    }

    /// Dials the first of these that may help and are no neighbours yet; those that were dialled before come later, since several may
    /// have died at once. The parent that was lost comes last: it may be back.
    fn dial_for(&mut self, name: &StreamName, mut wanted: Vec<NodeId>, now: Time) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let gone = stream.lost.as_ref().map(|lost| lost.peer);
        stream.dialled.retain(|id, _| wanted.contains(id));
        wanted.sort_by_key(|id| (stream.dialled.get(id).copied().unwrap_or(0), Some(*id) == gone));
        let mut dialled = 0;
        let mut seen = Vec::new();
        for id in wanted {
            if dialled == DIALS || seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let linked = self.links.values().any(|link| link.peer == id);
            if id == self.config.id || linked {
                continue;
            }
            let Some(facts) = self.table.node(id).filter(|facts| !facts.addresses.is_empty()) else { continue };
            let neighbour = Neighbour { name: facts.credential.name.clone(), addresses: facts.addresses.clone() };
            dialled += 1;
            if let Some(stream) = self.streams.get_mut(name) {
                *stream.dialled.entry(id).or_default() += 1;
            }
            let adopted = self.contacts.values().filter(|contact| contact.adopted).count();
            if adopted < ADOPTED_MAX && self.adopt_contact(neighbour.clone(), now) {
                self.event(Event::Adopting { stream: name.clone(), node: neighbour.name });
            }
        }
        self.dial_due(now);
    }
}
