//! Where in a stream: heads, which the commit rule compares, and resume points, which a join carries.

use std::fmt;
use std::str::FromStr;

/// Stamps of groups are less than this, which is far beyond all clocks, so that what follows one is at most this: the
/// headers of media carry less than 2^62 (RFC 9000, section 16).
pub const STAMP_MAX: u64 = 1 << 61;
/// Largest timeline, for the same reason.
pub const TIMELINE_MAX: u64 = 1 << 61;

/// Position of an object. Totally ordered over all origins of a stream, lexicographically in the order of the fields:
/// the commit rule then admits a change from one origin to another, and no loop (docs/decisions.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
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

/// A text is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a position; write GROUP@TIMELINE:INDEX")]
pub struct PositionError(String);

/// The form that `Display` gives.
impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let parse = || {
            let (group, rest) = text.split_once('@')?;
            let (timeline, index) = rest.split_once(':')?;
            let at = Self { group: group.parse().ok()?, timeline: timeline.parse().ok()?, index: index.parse().ok()? };
            (at.group <= STAMP_MAX && at.timeline <= TIMELINE_MAX).then_some(at)
        };
        parse().ok_or_else(|| PositionError(text.to_owned()))
    }
}

/// Number of layers of a group; each has a position of its own, since each travels on a QUIC stream of its own.
pub const LAYERS: usize = 3;

/// Where a feed has to go on: for each layer the first (group, index) that is still missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resume {
    /// The timeline that all layers are in.
    pub timeline: u64,
    /// (group, index) per layer. (g + 1, 0) is the beginning of whatever comes after g.
    pub layers: [(u64, u32); LAYERS],
}

impl Resume {
    /// Whether its stamps and its timeline can be those of a stream.
    pub fn is_in_bounds(&self) -> bool {
        self.timeline <= TIMELINE_MAX && self.layers.iter().all(|(group, _)| *group <= STAMP_MAX)
    }

    /// Whether everything before `other` lies before this point too. Another timeline cannot be compared with, and counts
    /// as covered.
    pub fn covers(&self, other: &Self) -> bool {
        self.timeline != other.timeline || self.layers.iter().zip(other.layers).all(|(own, other)| *own >= other)
    }

    /// How far it is: what the layer that is furthest on lacks first.
    pub fn reach(&self) -> ((u64, u32), u64) {
        (self.layers.into_iter().max().unwrap_or_default(), self.timeline)
    }

    /// Whether something lies between `known` and this point.
    pub fn is_beyond(&self, known: &Self) -> bool {
        if self.timeline == known.timeline { !known.covers(self) } else { self.reach() > known.reach() }
    }

    /// The point from which both can be served. Of two broadcasts the one that is further on counts.
    pub fn earlier(self, other: Self) -> Self {
        if self.timeline != other.timeline {
            return if self.reach() >= other.reach() { self } else { other };
        }
        let layer = |layer: usize| self.layers[layer].min(other.layers[layer]);
        Self { timeline: self.timeline, layers: std::array::from_fn(layer) }
    }

    /// The further of both points, per layer; of two timelines the one that is further on.
    pub fn max(self, other: Self) -> Self {
        if self.timeline != other.timeline {
            return if self.reach() >= other.reach() { self } else { other };
        }
        let layer = |layer: usize| self.layers[layer].max(other.layers[layer]);
        Self { timeline: self.timeline, layers: std::array::from_fn(layer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written_and_bounded() {
        let at = Position { group: 1_700_000_000_000, timeline: 1_700_000_000_000_000, index: 7 };
        assert_eq!(at.to_string().parse(), Ok(at));
        let beyond = format!("{}@1:0", STAMP_MAX + 1);
        for text in ["", "1", "1@2", "1:2@3", "-1@2:3", "1@2:4294967296", "1@2:3:4", &beyond] {
            let error = text.parse::<Position>().expect_err("no position");
            assert!(error.to_string().contains("GROUP@TIMELINE:INDEX"), "{error}");
        }
    }
}
