//! Invariant 6: tables and queues stay within their bounds.

use super::NodeIndex;
use crate::water::Water;

/// Most bytes that wait at a sender because a link is cut: ten seconds of a stream, far more than the time after which a
/// silent link is given up.
const BACKLOG_LEN_MAX: u64 = 16_000_000;

/// The greatest of what was seen.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) children_max: u64,
    pub(crate) held_max: u64,
    pub(crate) connections_max: u64,
    pub(crate) backlog_max: u64,
}

impl Bounds {
    /// A node's route of a stream changed: it feeds each neighbour at most once.
    pub(crate) fn routed(&mut self, node: NodeIndex, water: &Water, neighbours: usize) -> Option<String> {
        self.children_max = self.children_max.max(water.children.len() as u64);
        self.held_max = self.held_max.max(water.held.len() as u64);
        let children = water.children.len();
        (children > neighbours)
            .then(|| format!("node {node} feeds {children} children and has {neighbours} neighbours"))
    }

    /// A connection came up: while an old one is given up there may be two to a neighbour, and both may have dialled.
    pub(crate) fn connected(&mut self, node: NodeIndex, connections: usize, neighbours: usize) -> Option<String> {
        self.connections_max = self.connections_max.max(connections as u64);
        (connections > 3 * neighbours)
            .then(|| format!("node {node} has {connections} connections to {neighbours} neighbours"))
    }

    /// Something waits at a sender.
    pub(crate) fn waits(&mut self, node: NodeIndex, bytes: u64) -> Option<String> {
        self.backlog_max = self.backlog_max.max(bytes);
        (bytes > BACKLOG_LEN_MAX).then(|| format!("{bytes} bytes wait at node {node}"))
    }
}
