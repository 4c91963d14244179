//! Invariant 2: a link carries at most one full copy of a stream in a direction, repair aside.
//!
//! Repair is a feed that is put in place of another one over the same link: it may repeat what was on its way, but from its
//! first object on the old feed is silent. Receivers number their feeds in ascending order.

use levada_overlay::{FeedId, Position};

use super::{NodeIndex, StreamIndex};

/// The feed of each stream over each connection, in each direction. Objects of a feed ascend, so one that does not is a
/// second copy; so is any object of a feed that was replaced.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// By connection; few streams each.
    feeds: Vec<Vec<Fed>>,
}

/// What was sent last to a node of a stream.
#[derive(Debug)]
struct Fed {
    to: NodeIndex,
    stream: StreamIndex,
    feed: FeedId,
    newest: Position,
}

impl Copies {
    /// An object travels over a connection to a node.
    pub(crate) fn sent(
        &mut self,
        connection: u32,
        to: NodeIndex,
        stream: StreamIndex,
        feed: FeedId,
        position: Position,
    ) -> Option<String> {
        let index = connection as usize;
        if self.feeds.len() <= index {
            self.feeds.resize_with(index + 1, Vec::new);
        }
        let fed = &mut self.feeds[index];
        let Some(before) = fed.iter_mut().find(|fed| (fed.to, fed.stream) == (to, stream)) else {
            fed.push(Fed { to, stream, feed, newest: position });
            return None;
        };
        let what = format_args!("{position} of stream {stream}");
        if feed < before.feed {
            return Some(format!("{what} was sent to node {to} in {feed:?} beside {:?}", before.feed));
        }
        if feed == before.feed && position <= before.newest {
            return Some(format!("{what} was sent to node {to} after {}, in {feed:?}", before.newest));
        }
        (before.feed, before.newest) = (feed, position);
        None
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, connection: u32) {
        if let Some(feeds) = self.feeds.get_mut(connection as usize) {
            *feeds = Vec::new();
        }
    }
}
