//! Invariant 3: every subscriber that stays connected receives every object once, in order, byte for byte.

use std::time::Duration;

use levada_overlay::{Position, Time};

use super::{NodeIndex, PerNode, StreamIndex};
use crate::held::{Held, made_at, number};
use crate::water::{GROUP_MS, payload, successor};

#[derive(Debug, Default)]
struct Reader {
    last: Option<Position>,
    /// All that the subscriber's node took.
    taken: Held,
}

/// When no origin could reach a node: nobody has to bring it what was produced before the end of that.
#[derive(Debug, Default)]
struct Outage {
    lasts: bool,
    ended: Option<Time>,
}

/// A feed goes on with the beginning of a group: so much more may be missing.
const SKIPPED: Duration = Duration::from_millis(GROUP_MS);

/// Where each subscriber is.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    readers: PerNode<Reader>,
    outages: PerNode<Outage>,
    /// Objects delivered to subscribers.
    pub(crate) delivered: u64,
    /// Objects that subscribers never got.
    pub(crate) lost: u64,
    /// Objects that subscribers got twice.
    pub(crate) doubled: u64,
}

impl Delivery {
    /// A subscriber's node takes an object that it did not hold.
    pub(crate) fn arrived(
        &mut self,
        node: NodeIndex,
        stream: StreamIndex,
        position: Position,
        bytes: u64,
    ) -> Option<String> {
        if bytes != payload(position) {
            return Some(format!("node {node} got other bytes for {position} of stream {stream}"));
        }
        let reader = self.readers.place(node, stream).get_or_insert_default();
        if !reader.taken.insert(position) {
            self.doubled += 1;
            return Some(format!("node {node} took {position} of stream {stream} twice"));
        }
        // Fetched for a child that is further behind; the reader here has passed it.
        if reader.last.is_some_and(|last| position <= last) {
            return None;
        }
        self.delivered += 1;
        let last = reader.last.replace(position)?;
        let expected = successor(last);
        // A broadcast that began anew, or that of another origin, goes on at the beginning of a group.
        if position == expected
            || position.timeline != last.timeline && position.index == 0
            || self.excuses(node, stream, position)
        {
            return None;
        }
        self.lost += number(position).saturating_sub(number(expected));
        Some(format!("node {node} got {position} of stream {stream} where {expected} was due"))
    }

    /// Whether any origin can reach a subscriber: if none can, a gap is nobody's fault.
    pub(crate) fn connected(&mut self, node: NodeIndex, stream: StreamIndex, connected: bool, now: Time) {
        let outage = self.outages.place(node, stream).get_or_insert_default();
        if std::mem::replace(&mut outage.lasts, !connected) && connected {
            outage.ended = Some(now);
        }
    }

    /// Whether an object may come after a gap.
    fn excuses(&self, node: NodeIndex, stream: StreamIndex, position: Position) -> bool {
        let lately = |ended| made_at(position) <= ended + SKIPPED;
        self.outages.get(node, stream).is_some_and(|outage| outage.lasts || outage.ended.is_some_and(lately))
    }

    /// A subscriber left, or its node stopped: what comes later is a new beginning.
    pub(crate) fn forget(&mut self, node: NodeIndex, stream: Option<StreamIndex>) {
        self.readers.remove(node, stream);
    }
}
