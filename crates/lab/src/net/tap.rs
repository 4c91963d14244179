//! Listening in on a link: what a stranger on the wire gets to see.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Bytes that are kept of what went over one direction of a link, the newest.
const KEPT_MAX: usize = 4 * 1024 * 1024;
/// A piece of a source that is found so long in a packet is no coincidence: one of 2^128.
const PIECE: usize = 16;
/// Pieces with fewer different bytes are padding, which is in everything.
const DIFFERENT_MIN: usize = 8;

/// What was overheard. A copy shares its packets: it is made while the links stand still.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    packets: VecDeque<Arc<[u8]>>,
    len: usize,
}

impl Tap {
    pub(crate) fn push(&mut self, packet: &[u8]) {
        self.len += packet.len();
        self.packets.push_back(packet.into());
        while self.len > KEPT_MAX {
            self.len -= self.packets.pop_front().map_or(self.len, |oldest| oldest.len());
        }
    }

    /// Packets that are held.
    pub fn count(&self) -> usize {
        self.packets.len()
    }

    /// How many packets carry a piece of `source` as it is.
    pub fn readable(&self, source: &[u8]) -> usize {
        let has_content = |piece: &&[u8]| piece.iter().collect::<HashSet<_>>().len() >= DIFFERENT_MIN;
        let pieces: HashSet<&[u8]> = source.chunks_exact(PIECE).filter(has_content).collect();
        let is_readable = |packet: &[u8]| packet.windows(PIECE).any(|window| pieces.contains(window));
        self.packets.iter().filter(|packet| is_readable(packet)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look like nothing, the same for the same seed.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_goes_over_a_wire_as_it_is_can_be_read_there() {
        let source = noise(1, 10_000);
        let mut tap = Tap::default();
        tap.push(&noise(2, 1_200));
        tap.push(&[0; 1_200]);
        assert_eq!(tap.readable(&source), 0);
        assert_eq!(tap.readable(&[0; 10_000]), 0, "padding is no content");
        tap.push(&[&noise(3, 37), &source[1_111..1_150], &noise(4, 500)].concat());
        assert_eq!((tap.count(), tap.readable(&source)), (3, 1));
        let copy = tap.clone();
        assert!(tap.packets.iter().zip(&copy.packets).all(|(one, other)| Arc::ptr_eq(one, other)), "no byte is copied");
    }

    #[test]
    fn the_newest_packets_are_kept_and_no_more_than_so_many() {
        let mut tap = Tap::default();
        for n in 0..KEPT_MAX / 1_000 + 10 {
            tap.push(&noise(n as u64, 1_000));
        }
        assert_eq!(tap.count(), KEPT_MAX / 1_000);
        assert_eq!((tap.readable(&noise(0, 1_000)), tap.readable(&noise(4_000, 1_000))), (0, 1));
    }
}
