//! Invariant 5: after the last leave no media move and no state remains.

use super::{NodeIndex, StreamIndex};

/// What was found before the time of grace after the last leave.
#[derive(Debug)]
pub(crate) struct Clean {
    objects_moved: u64,
}

impl Clean {
    /// The grace is over: from here on nothing may move.
    pub(crate) fn begin(objects_moved: u64) -> Self {
        Self { objects_moved }
    }

    /// What is wrong at the end: `leftover` are nodes that still hold state of a stream.
    pub(crate) fn end(self, objects_moved: u64, leftover: &[(NodeIndex, StreamIndex)]) -> Option<String> {
        let moved = objects_moved - self.objects_moved;
        if moved > 0 {
            return Some(format!("{moved} objects move although nobody reads"));
        }
        let (node, stream) = leftover.first()?;
        Some(format!("state of stream {stream} remains at node {node} and {} others", leftover.len() - 1))
    }
}
