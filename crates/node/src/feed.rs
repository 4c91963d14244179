//! Feeds: objects of one stream over one link, one unidirectional QUIC stream per group and layer.
//!
//! ```text
//! header   feed varint, timeline varint, group varint, layer varint
//! objects  as they are stored (levada_media::object), back to back
//! end      0 varint, number of objects of the group over all layers varint; then the stream is finished
//! ```

mod receive;
mod send;

use std::sync::atomic::{AtomicU64, Ordering};

pub use receive::{Feeds, Inlet, ReceiveError, receive};
pub use send::{ChildFeed, ChildTarget};

/// What a node counts of its feeds; shared by all tasks.
#[derive(Debug, Default)]
pub struct FeedStats {
    /// Objects received over feeds.
    pub objects_in: AtomicU64,
    /// Bytes of objects received.
    pub bytes_in: AtomicU64,
    /// Objects sent over feeds.
    pub objects_out: AtomicU64,
    /// Bytes of objects sent.
    pub bytes_out: AtomicU64,
    /// Streams of a group and layer that were given up because their deadline had passed.
    pub dropped: AtomicU64,
    /// Times from an object's arrival to its hand-over to QUIC, in microseconds; the last ones, in a ring.
    pub forward_us: LatencyRing,
}

impl FeedStats {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// The newest latencies, without a lock.
#[derive(Debug)]
pub struct LatencyRing {
    slots: Box<[AtomicU64]>,
    next: AtomicU64,
}

/// Number of latencies remembered.
const RING: usize = 1024;

impl Default for LatencyRing {
    fn default() -> Self {
        Self {
            slots: (0..RING).map(|_| AtomicU64::new(u64::MAX)).collect(),
            next: AtomicU64::new(0),
        }
    }
}

impl LatencyRing {
    /// Remembers a latency.
    pub fn record(&self, micros: u64) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % RING;
        self.slots[at].store(micros, Ordering::Relaxed);
    }

    /// The value below which the share `q` (0 to 1) of the remembered latencies lies.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let mut values: Vec<u64> = self
            .slots
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|value| *value != u64::MAX)
            .collect();
        values.sort_unstable();
        let at = ((values.len().checked_sub(1)?) as f64 * q).round() as usize;
        values.get(at).copied()
    }
}
