//! Invariant 2: a link carries at most one full copy of a stream in a direction.

use std::collections::BTreeMap;

use levada_overlay::{FeedId, Position};

/// Newest object of each feed: objects of a feed ascend, so one that does not is a second copy.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    newest: BTreeMap<(u64, usize, FeedId), Position>,
}

impl Copies {
    /// An object travels over a connection to a node.
    pub(crate) fn sent(&mut self, connection: u64, to: usize, feed: FeedId, position: Position) -> Option<String> {
        let before = self.newest.insert((connection, to, feed), position)?;
        (position <= before).then(|| format!("{position} was sent to node {to} after {before}, in {feed:?}"))
    }
}
