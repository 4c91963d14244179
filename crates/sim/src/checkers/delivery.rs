//! Invariant 3: every subscriber that stays connected receives every object once, in order, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use levada_overlay::{Position, StreamName};

use crate::water::{payload, successor};

/// Where each subscriber is.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    last: BTreeMap<(usize, StreamName), Position>,
    /// All that each subscriber's node took.
    taken: BTreeMap<(usize, StreamName), BTreeSet<Position>>,
    /// Objects delivered to subscribers.
    pub(crate) delivered: u64,
}

impl Delivery {
    /// A subscriber's node takes an object that it did not hold.
    pub(crate) fn arrived(
        &mut self,
        node: usize,
        stream: &StreamName,
        position: Position,
        bytes: u64,
    ) -> Option<String> {
        if bytes != payload(position) {
            return Some(format!("node {node} got other bytes for {position} of {stream}"));
        }
        let key = (node, stream.clone());
        if !self.taken.entry(key.clone()).or_default().insert(position) {
            return Some(format!("node {node} took {position} of {stream} twice"));
        }
        let last = self.last.get(&key).copied();
        // Fetched for a child that is further behind; the reader here has passed it.
        if last.is_some_and(|last| position <= last) {
            return None;
        }
        self.delivered += 1;
        self.last.insert(key, position);
        let last = last?;
        let expected = successor(last);
        // A broadcast that began anew, or that of another origin, goes on at the beginning of a group.
        let fits = position == expected || position.timeline != last.timeline && position.index == 0;
        (!fits).then(|| format!("node {node} got {position} of {stream} where {expected} was due"))
    }

    /// A subscriber left, or its node stopped: what comes later is a new beginning.
    pub(crate) fn forget(&mut self, node: usize, stream: Option<&StreamName>) {
        let stays = |(of, name): &(usize, StreamName)| *of != node || stream.is_some_and(|stream| stream != name);
        self.last.retain(|key, _| stays(key));
        self.taken.retain(|key, _| stays(key));
    }
}
