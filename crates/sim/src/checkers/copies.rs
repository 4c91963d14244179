//! Invariant 2: a link carries at most one full copy of a stream in a direction.

use levada_overlay::{FeedId, Position};

use super::NodeIndex;

/// Newest object of each feed: objects of a feed ascend, so one that does not is a second copy.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// By connection; few feeds each.
    newest: Vec<Vec<(NodeIndex, FeedId, Position)>>,
}

impl Copies {
    /// An object travels over a connection to a node.
    pub(crate) fn sent(&mut self, connection: u32, to: NodeIndex, feed: FeedId, position: Position) -> Option<String> {
        let index = connection as usize;
        if self.newest.len() <= index {
            self.newest.resize_with(index + 1, Vec::new);
        }
        let feeds = &mut self.newest[index];
        let Some((.., before)) = feeds.iter_mut().rev().find(|(node, id, _)| (*node, *id) == (to, feed)) else {
            feeds.push((to, feed, position));
            return None;
        };
        let before = std::mem::replace(before, position);
        (position <= before).then(|| format!("{position} was sent to node {to} after {before}, in {feed:?}"))
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, connection: u32) {
        if let Some(feeds) = self.newest.get_mut(connection as usize) {
            *feeds = Vec::new();
        }
    }
}
