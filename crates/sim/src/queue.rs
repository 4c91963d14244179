//! What is to happen, in order of time and, at one time, in the order in which it was planned.
//!
//! A timing wheel (Varghese and Lauck, 1987, scheme 4): the next second lies in slots of 256 µs that are sorted when their
//! turn comes; what lies further away waits in a heap. Planning and taking cost the same however much is planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use levada_overlay::Time;

/// Width of a slot: 2^8 µs. Tuned: some hundred events a slot in worlds of thousands of nodes.
const SLOT_BITS: u32 = 8;
/// Slots of the wheel, a power of two; one second in all, the longest common pause between probes.
const SLOTS: usize = 4096;
/// Space for this many events is kept in an empty slot. Tuned.
const SPACE_KEPT: usize = 64;

struct Entry<T> {
    at: u64,
    sequence: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (u64, u64) {
        (self.at, self.sequence)
    }
}

/// Reversed, since the heap gives the greatest first.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

/// The plan of a world.
pub(crate) struct Queue<T> {
    /// Number of the slot whose turn it is: microseconds, shifted.
    turn: u64,
    /// What is left of that slot, latest first.
    present: Vec<Entry<T>>,
    slots: Vec<Vec<Entry<T>>>,
    /// One bit a slot: whether anything is in it.
    occupied: Vec<u64>,
    far: BinaryHeap<Entry<T>>,
    sequence: u64,
    len: u64,
    len_most: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            turn: 0,
            present: Vec::new(),
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            occupied: vec![0; SLOTS / 64],
            far: BinaryHeap::new(),
            sequence: 0,
            len: 0,
            len_most: 0,
        }
    }

    /// Plans something for `at`, which is not in the past.
    pub(crate) fn push(&mut self, at: Time, item: T) {
        self.sequence += 1;
        self.len += 1;
        self.len_most = self.len_most.max(self.len);
        let entry = Entry { at: at.as_micros(), sequence: self.sequence, item };
        let slot = entry.at >> SLOT_BITS;
        if slot <= self.turn {
            let before = self.present.partition_point(|other| other.key() > entry.key());
            self.present.insert(before, entry);
        } else if slot - self.turn < SLOTS as u64 {
            let index = slot as usize % SLOTS;
            self.occupied[index / 64] |= 1 << (index % 64);
            self.slots[index].push(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// Takes what comes next, if that is not after `end`.
    pub(crate) fn pop_until(&mut self, end: Time) -> Option<(Time, T)> {
        while self.present.is_empty() {
            let near = self.next_occupied();
            let far = self.far.peek().map(|entry| entry.at >> SLOT_BITS);
            let next = near.into_iter().chain(far).min()?;
            if next > end.as_micros() >> SLOT_BITS {
                return None;
            }
            self.turn = next;
            if near == Some(next) {
                let index = next as usize % SLOTS;
                self.occupied[index / 64] &= !(1 << (index % 64));
                // A storm fills slots as no later time does: their space goes when their turn is over.
                if self.present.capacity() > SPACE_KEPT {
                    self.present = Vec::new();
                }
                std::mem::swap(&mut self.present, &mut self.slots[index]);
            }
            while self.far.peek().is_some_and(|entry| entry.at >> SLOT_BITS == next) {
                self.present.extend(self.far.pop());
            }
            self.present.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.key()));
        }
        let entry = self.present.pop_if(|entry| entry.at <= end.as_micros())?;
        self.len -= 1;
        Some((Time::from_micros(entry.at), entry.item))
    }

    /// The most that was planned at any time.
    pub(crate) fn len_most(&self) -> u64 {
        self.len_most
    }

    /// The next slot of the wheel after the present one that holds something.
    fn next_occupied(&self) -> Option<u64> {
        let start = self.turn + 1;
        let first = start as usize % SLOTS;
        let words = self.occupied.len();
        // The word of the first slot is looked at twice: its later bits at first, its earlier ones after a turn.
        (0..=words).find_map(|step| {
            let word = (first / 64 + step) % words;
            let mask = match step {
                0 => u64::MAX << (first % 64),
                step if step == words => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & mask;
            let index = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| start + ((index + SLOTS - first) % SLOTS) as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn order_is_that_of_time_and_planning() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut queue = Queue::new();
        let mut plain = std::collections::BTreeSet::new();
        let (mut now, mut number) = (0, 0_u64);
        for _ in 0..20_000 {
            for _ in 0..rng.random_range(0..4) {
                let reach = [1, 300, 100_000, 1_100_000, 9_000_000][rng.random_range(0..5)];
                let at = now + rng.random_range(0..reach);
                queue.push(Time::from_micros(at), number);
                plain.insert((at, number));
                number += 1;
            }
            let end = now + rng.random_range(0..3_000);
            while let Some((at, item)) = queue.pop_until(Time::from_micros(end)) {
                assert_eq!(plain.pop_first(), Some((at.as_micros(), item)));
            }
            assert!(plain.first().is_none_or(|(at, _)| *at > end));
            now = end;
        }
    }
}
