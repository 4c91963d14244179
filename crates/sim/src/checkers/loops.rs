//! Invariant 1: no stream's parent graph has a cycle, at any instant.

use super::NodeIndex;

/// Follows parents from `start`; a node that is met twice closes a loop. A loop that a change of `start`'s parent closes
/// leads through `start`, so nothing needs to be remembered but the way.
pub(crate) fn find_loop(start: NodeIndex, parent: impl Fn(NodeIndex) -> Option<NodeIndex>) -> Option<Vec<NodeIndex>> {
    let mut path = vec![start];
    let mut node = start;
    while let Some(next) = parent(node) {
        if path.contains(&next) {
            return Some(path);
        }
        path.push(next);
        node = next;
    }
    None
}
