//! Counters of the data plane, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all tasks of a node count together.
#[derive(Debug, Default)]
pub struct Stats {
    /// Objects received over feeds.
    pub objects_in: AtomicU64,
    /// Bytes of objects received.
    pub bytes_in: AtomicU64,
    /// Objects sent over feeds.
    pub objects_out: AtomicU64,
    /// Bytes of objects sent.
    pub bytes_out: AtomicU64,
    /// Objects received that were held already.
    pub duplicates: AtomicU64,
    /// Objects made by this node's own ingest.
    pub published: AtomicU64,
    /// Objects read by this node's muxers.
    pub delivered: AtomicU64,
    /// Objects that its muxers had to pass over.
    pub lost: AtomicU64,
    /// Objects that its muxers read and could not use.
    pub unplayable: AtomicU64,
    /// Media streams that broke the protocol.
    pub violations: AtomicU64,
    /// Viewers connected now.
    pub viewers: AtomicU64,
    /// Most of them; one more is sent away.
    pub viewers_max: u64,
    /// HTTP connections that were closed at once, for want of a place.
    pub connections_refused: AtomicU64,
    /// Streams of a group and layer that were given up because their deadline had passed.
    pub dropped: AtomicU64,
    /// Times from an object's arrival to its hand-over to QUIC, in microseconds; the last ones, in a ring.
    pub forward_us: LatencyRing,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// A place for one more viewer, if there is one: looked for and taken in one step, since all viewers of a PoP that died come at once.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        let one_more = |viewers| (viewers < self.viewers_max).then_some(viewers + 1);
        let taken = self.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place(self.clone()))
    }
}

/// A viewer's place at a node, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Stats>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
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
        Self { slots: (0..RING).map(|_| AtomicU64::new(u64::MAX)).collect(), next: AtomicU64::new(0) }
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
        let mut values: Vec<u64> =
            self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|value| *value != u64::MAX).collect();
        values.sort_unstable();
        let at = ((values.len().checked_sub(1)?) as f64 * q).round() as usize;
        values.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They come at once from a PoP that died.
    #[test]
    fn no_more_viewers_are_taken_than_there_are_places() {
        let stats = Arc::new(Stats { viewers_max: 5, ..Stats::default() });
        let come = || (0..4).filter_map(|_| stats.place()).collect::<Vec<_>>();
        let taken: Vec<Place> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
            all.into_iter().flat_map(|some| some.join().unwrap()).collect()
        });
        assert_eq!((taken.len(), stats.place().is_none()), (5, true));
        drop(taken);
        assert_eq!(stats.viewers.load(Ordering::Relaxed), 0);
    }
}
