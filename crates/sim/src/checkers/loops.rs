//! Invariant 1: no stream's parent graph has a cycle, at any instant.

use std::collections::BTreeSet;

/// Follows parents from `start`; a node that is met twice closes a loop.
pub(crate) fn find_loop(start: usize, parent: impl Fn(usize) -> Option<usize>) -> Option<Vec<usize>> {
    let mut seen = BTreeSet::new();
    let mut path = vec![start];
    let mut node = start;
    while let Some(next) = parent(node) {
        if !seen.insert(node) {
            return Some(path);
        }
        path.push(next);
        node = next;
    }
    None
}
