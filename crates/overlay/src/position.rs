//! Where in a stream: heads, which the commit rule compares, and resume points, which a join carries.

use std::fmt;

/// Position of an object. Ordered lexicographically, which is the order of production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Grows each time an origin starts the stream anew.
    pub timeline: u64,
    /// Grows by one with every point where decoding can start.
    pub group: u64,
    /// Counts the objects of the group, over all layers, from 0.
    pub index: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.timeline, self.group, self.index)
    }
}

/// Number of layers of a group; each has a position of its own, since each travels on a QUIC stream of its own.
pub const LAYERS: usize = 3;

/// Where a feed has to go on: for each layer the first (group, index) that is still missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The timeline that all layers are in.
    pub timeline: u64,
    /// (group, index) per layer.
    pub layers: [(u64, u32); LAYERS],
}

impl Resume {
    /// Whether everything before `other` lies before this point too. Another timeline cannot be compared with, and counts
    /// as covered.
    pub fn covers(&self, other: &Self) -> bool {
        self.timeline != other.timeline || self.layers.iter().zip(other.layers).all(|(own, other)| *own >= other)
    }

    /// The further of both points, per layer; of two timelines the newer one.
    pub fn max(self, other: Self) -> Self {
        match self.timeline.cmp(&other.timeline) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => {
                let layer = |layer: usize| self.layers[layer].max(other.layers[layer]);
                Self { timeline: self.timeline, layers: std::array::from_fn(layer) }
            }
        }
    }
}
