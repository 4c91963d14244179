//! Memory for packets on the way: two sizes, used again and again, and no more than [`HELD_MAX`] of it at a time.

/// Most packets fit: an Ethernet frame's 1,500 bytes, with headers.
const SMALL_LEN: usize = 2_048;
/// A bundle of segments: the 65,535 bytes of an IPv4 packet, with headers.
pub(crate) const LARGE_LEN: usize = 65_536 + 64;
/// Bytes of packets on the way, of all links together. A second at 2 Gbit/s.
const HELD_MAX: usize = 256 << 20;

/// A packet in memory of the pool.
#[derive(Debug)]
pub(crate) struct Packet {
    memory: Box<[u8]>,
    len: usize,
}

impl Packet {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    held: usize,
}

impl Pool {
    /// Memory for a packet of `len` bytes; `None`: so many are on the way that this one must be dropped.
    pub(crate) fn take(&mut self, len: usize) -> Option<Packet> {
        let (free, size) = if len <= SMALL_LEN { (&mut self.small, SMALL_LEN) } else { (&mut self.large, LARGE_LEN) };
        if len > LARGE_LEN || self.held + size > HELD_MAX {
            return None;
        }
        self.held += size;
        let memory = free.pop().unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Some(Packet { memory, len })
    }

    /// Takes the memory back.
    pub(crate) fn give(&mut self, packet: Packet) {
        self.held -= packet.memory.len();
        let free = if packet.memory.len() == SMALL_LEN { &mut self.small } else { &mut self.large };
        free.push(packet.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_bounded() {
        let mut pool = Pool::default();
        let all: Vec<Packet> = std::iter::from_fn(|| pool.take(60_000)).collect();
        assert_eq!(all.len(), HELD_MAX / LARGE_LEN);
        all.into_iter().for_each(|packet| pool.give(packet));
        assert_eq!(pool.held, 0);
        let first = pool.take(100).unwrap();
        let place = first.bytes().as_ptr();
        pool.give(first);
        let again = pool.take(200).unwrap();
        assert_eq!((again.bytes().as_ptr(), again.bytes().len()), (place, 200));
        assert!(pool.take(LARGE_LEN + 1).is_none());
    }
}
