//! What the mesh says about itself: bytes of records, per node and second.

use std::collections::BTreeMap;
use std::time::Duration;

use levada_overlay::Message;

use super::NodeIndex;

/// Length of a signature, an age, and their tags and lengths.
const RECORD_OVERHEAD_LEN: u64 = 74;
/// Length of an entry of a listing: identity, kind, version, tags.
const ENTRY_LEN: u64 = 52;
/// Length of a message that carries some numbers and a name.
const SHORT_LEN: u64 = 48;

/// Bytes that a message takes, near enough to be right within some percent, without encoding it.
pub(crate) fn length(message: &Message) -> u64 {
    match message {
        Message::Records(records) => {
            records.iter().map(|record| record.body.len() as u64 + RECORD_OVERHEAD_LEN).sum::<u64>() + 8
        }
        Message::Listing { entries, .. } => entries.len() as u64 * ENTRY_LEN + 8,
        Message::Have(hashes) | Message::Want(hashes) => hashes.len() as u64 * 8 + 8,
        Message::Digest(buckets) => buckets.len() as u64 * 10 + 8,
        Message::TraceReply { hops, .. } => hops.len() as u64 * SHORT_LEN * 2,
        _ => SHORT_LEN,
    }
}

/// Bytes of records, and of all messages about them, that each node sent.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: Vec<u64>,
    of_kind: BTreeMap<&'static str, u64>,
    /// Control messages of any kind.
    pub(crate) messages: u64,
}

impl Traffic {
    pub(crate) fn sent(&mut self, from: NodeIndex, message: &Message, length: u64) {
        self.messages += 1;
        let kind = match message {
            Message::Records(records) if records.len() > 1 => "synced",
            Message::Records(_) => "records",
            Message::Listing { .. } => "listings",
            Message::Digest(_) => "digests",
            Message::Have(_) => "announced",
            Message::Want(_) | Message::Prune => "tree",
            _ => return,
        };
        *self.of_kind.entry(kind).or_default() += length;
        if self.sent.len() <= from as usize {
            self.sent.resize(from as usize + 1, 0);
        }
        self.sent[from as usize] += length;
    }

    /// The warm-up is over: count from here.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Bytes a second: the mean over all nodes, and that of the busiest one.
    pub(crate) fn per_second(&self, nodes: usize, over: Duration) -> (f64, f64) {
        let seconds = over.as_secs_f64().max(1e-6);
        let mean = self.sent.iter().sum::<u64>() as f64 / nodes.max(1) as f64 / seconds;
        (mean, self.sent.iter().max().copied().unwrap_or(0) as f64 / seconds)
    }

    /// The mean, by what was sent.
    pub(crate) fn kinds_per_second(&self, nodes: usize, over: Duration) -> BTreeMap<&'static str, f64> {
        let node_seconds = nodes.max(1) as f64 * over.as_secs_f64().max(1e-6);
        self.of_kind.iter().map(|(kind, bytes)| (*kind, *bytes as f64 / node_seconds)).collect()
    }
}
