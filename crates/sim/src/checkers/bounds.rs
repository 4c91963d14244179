//! Invariant 6: tables and queues stay within their bounds.

use levada_overlay::node::view::{Size, Sizes};

use super::NodeIndex;
use crate::water::Water;

/// Most bytes that wait at a sender because a link is cut: ten seconds of a stream, far more than the time after which a
/// silent link is given up.
const BACKLOG_LEN_MAX: u64 = 16_000_000;

/// Most outputs of one event. Tuned: a thousand nodes' records at once, or a hundred streams over a hundred links.
const OUTPUTS_MAX: usize = 20_000;

/// The greatest of what was seen.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) children_max: u64,
    pub(crate) connections_max: u64,
    pub(crate) backlog_max: u64,
    pub(crate) outputs_max: u64,
}

impl Bounds {
    /// A node's route of a stream changed: it feeds each neighbour at most once.
    pub(crate) fn routed(&mut self, node: NodeIndex, water: &Water, neighbours: usize) -> Option<String> {
        self.children_max = self.children_max.max(water.children.len() as u64);
        (water.children.len() > neighbours)
            .then(|| format!("node {node} feeds {} children and has {neighbours} neighbours", water.children.len()))
    }

    /// What the tables of a node's brain hold, against their written limits; and in a world of so many nodes there are no
    /// others to know of.
    pub(crate) fn tables(&self, node: NodeIndex, sizes: &Sizes, nodes: usize) -> Option<String> {
        let known = [("vertices", Size { limit: nodes, ..sizes.vertices })];
        let over = |(_, size): &(&str, Size)| size.held > size.limit;
        let (table, size) = sizes.tables().into_iter().chain(known).find(over)?;
        Some(format!("node {node} holds {} {table}, {} at most", size.held, size.limit))
    }

    /// A brain has handed out what one event made of it.
    pub(crate) fn answered(&mut self, node: NodeIndex, outputs: usize) -> Option<String> {
        self.outputs_max = self.outputs_max.max(outputs as u64);
        (outputs > OUTPUTS_MAX).then(|| format!("node {node} made {outputs} outputs of one event"))
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
