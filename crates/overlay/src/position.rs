//! Where in a stream: heads, which the commit rule compares, and resume points, which a join carries.

use std::fmt;

/// Position of an object. Totally ordered over all origins of a stream, lexicographically in the order of the fields:
/// the commit rule then admits a change from one origin to another, and no loop (docs/decisions.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Stamp of the group: Unix time in milliseconds at which it began, as its origin has it; ascends in a timeline.
    pub group: u64,
    /// Identity of one broadcast of one encoder.
    pub timeline: u64,
    /// Counts the objects of the group, over all layers, from 0.
    pub index: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.group, self.timeline, self.index)
    }
}

/// Number of layers of a group; each has a position of its own, since each travels on a QUIC stream of its own.
pub const LAYERS: usize = 3;

/// Where a feed has to go on: for each layer the first (group, index) that is still missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The timeline that all layers are in.
    pub timeline: u64,
    /// (group, index) per layer. (g + 1, 0) is the beginning of whatever comes after g.
    pub layers: [(u64, u32); LAYERS],
}
