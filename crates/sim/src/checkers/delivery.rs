//! Invariant 3: every subscriber that stays connected receives every object once, in order, byte for byte.

use levada_overlay::Position;

use super::{NodeIndex, PerNode, StreamIndex};
use crate::held::{Held, number};
use crate::water::{payload, successor};

#[derive(Debug, Default)]
struct Reader {
    last: Option<Position>,
    /// All that the subscriber's node took.
    taken: Held,
    /// Nobody could have brought what was produced meanwhile.
    excused: bool,
}

/// Where each subscriber is.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    readers: PerNode<Reader>,
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
        let excused = std::mem::take(&mut reader.excused);
        let expected = successor(last);
        // A broadcast that began anew, or that of another origin, goes on at the beginning of a group.
        if position == expected || position.timeline != last.timeline && position.index == 0 || excused {
            return None;
        }
        self.lost += number(position).saturating_sub(number(expected));
        Some(format!("node {node} got {position} of stream {stream} where {expected} was due"))
    }

    /// A subscriber has been cut off from every origin: a gap is nobody's fault.
    pub(crate) fn excuse(&mut self, node: NodeIndex, stream: StreamIndex) {
        if let Some(reader) = self.readers.get_mut(node, stream) {
            reader.excused = true;
        }
    }

    /// A subscriber left, or its node stopped: what comes later is a new beginning.
    pub(crate) fn forget(&mut self, node: NodeIndex, stream: Option<StreamIndex>) {
        self.readers.remove(node, stream);
    }
}
