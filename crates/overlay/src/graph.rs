//! Shortest paths from the origins of a stream to every node, over the links that both ends tell of.
//!
//! All origins of one stream hang below one virtual root at distance zero, so the nearest origin wins and the death of an
//! origin is a reroute like any other. Dijkstra's algorithm with a binary heap; of two paths of one metric the one with
//! fewer hops counts, so every node that has the same records finds the same distances.
//!
//! The graph is kept, not made anew: a record changes the edges of its author alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::id::NodeId;
use crate::record::LinkFacts;

/// Index of a node in a [`Graph`].
type Index = u32;

/// Distances are in microseconds of link cost.
pub type Micros = u64;

/// Most nodes of a graph: all authors of records, and as many that are only spoken of. Bounds what lists of links to
/// nobody can make this node keep; whoever keeps the graph makes it anew, authors first, when one finds no place.
pub const VERTICES_MAX: usize = 2 * crate::table::AUTHORS_MAX;

/// The mesh as the records tell it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    index: Arc<BTreeMap<NodeId, Index>>,
    vertices: Vec<Vertex>,
}

#[derive(Clone, Debug)]
struct Vertex {
    id: NodeId,
    transit: bool,
    /// Sorted by target.
    edges: Vec<Edge>,
}

/// What a node claims of a link.
#[derive(Clone, Copy, Debug)]
struct Edge {
    to: Index,
    out_us: u32,
    in_us: u32,
    /// The worse of both ends' claims; `None` while the other end does not list it.
    cost: Option<u32>,
}

impl Graph {
    /// Sets whether a node passes on what it did not publish. Tells whether there was a place for it.
    #[must_use]
    pub fn set_transit(&mut self, id: NodeId, transit: bool) -> bool {
        let at = self.at(id);
        if let Some(at) = at {
            self.vertices[at as usize].transit = transit;
        }
        at.is_some()
    }

    /// Sets the links that a node lists. An edge exists where both ends list it; its cost is the worse of both claims, so
    /// that one liar cannot shorten a path.
    pub fn set_links(&mut self, id: NodeId, links: &[LinkFacts]) {
        let Some(from) = self.at(id) else { return };
        for edge in std::mem::take(&mut self.vertices[from as usize].edges) {
            if let Some(back) = self.vertices[edge.to as usize].edge_mut(from) {
                back.cost = None;
            }
        }
        let listed = links.iter().filter(|link| link.peer != id);
        let edge = |link: &LinkFacts| {
            Some(Edge { to: self.at(link.peer)?, out_us: link.out_us, in_us: link.in_us, cost: None })
        };
        let mut edges: Vec<Edge> = listed.filter_map(edge).collect();
        edges.sort_by_key(|edge| edge.to);
        edges.dedup_by_key(|edge| edge.to);
        for edge in &mut edges {
            if let Some(back) = self.vertices[edge.to as usize].edge_mut(from) {
                edge.cost = Some(edge.out_us.max(back.in_us).max(1));
                back.cost = Some(back.out_us.max(edge.in_us).max(1));
            }
        }
        self.vertices[from as usize].edges = edges;
    }

    fn at(&mut self, id: NodeId) -> Option<Index> {
        if let Some(at) = self.index.get(&id) {
            return Some(*at);
        }
        if self.vertices.len() >= VERTICES_MAX {
            return None;
        }
        let at = self.vertices.len() as Index;
        Arc::make_mut(&mut self.index).insert(id, at);
        self.vertices.push(Vertex { id, transit: false, edges: Vec::new() });
        Some(at)
    }

    /// Number of nodes that were told of.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// All edges: from, to, cost in microseconds.
    pub fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId, u32)> {
        let of = |vertex: &Vertex, edge: &Edge| Some((vertex.id, self.vertices[edge.to as usize].id, edge.cost?));
        self.vertices.iter().flat_map(move |vertex| vertex.edges.iter().filter_map(move |edge| of(vertex, edge)))
    }

    /// Shortest paths from the nearest of `origins` to every node, as if the nodes `without` were not there.
    pub fn distances(&self, origins: &[NodeId], without: &[NodeId]) -> Distances {
        const UNREACHED: Reached = Reached { metric: Micros::MAX, hops: u16::MAX };
        let mut reached = vec![UNREACHED; self.len()];
        let mut passes: Vec<bool> = self.vertices.iter().map(|vertex| vertex.transit).collect();
        let mut heap = BinaryHeap::with_capacity(self.len());
        let find = |id: &NodeId| self.index.get(id).copied();
        for at in origins.iter().filter(|id| !without.contains(id)).filter_map(find) {
            reached[at as usize] = Reached { metric: 0, hops: 0 };
            passes[at as usize] = true;
            heap.push(Reverse((0, 0, at)));
        }
        let closed: Vec<Index> = without.iter().filter_map(find).collect();
        while let Some(Reverse((metric, hops, node))) = heap.pop() {
            let at = node as usize;
            if reached[at] != (Reached { metric, hops }) || !passes[at] {
                continue;
            }
            for edge in &self.vertices[at].edges {
                let Some(cost) = edge.cost.filter(|_| !closed.contains(&edge.to)) else { continue };
                let next = Reached { metric: metric + Micros::from(cost), hops: hops + 1 };
                let known = &mut reached[edge.to as usize];
                if (next.metric, next.hops) < (known.metric, known.hops) {
                    *known = next;
                    heap.push(Reverse((next.metric, next.hops, edge.to)));
                }
            }
        }
        Distances { index: self.index.clone(), reached }
    }

    /// The parent of a node in the tree from `origins` that grows by the link whose length, and `way_percent` of the way
    /// before it, is least: between the tree of shortest paths (100) and Prim's, whose links are shortest together (0).
    /// Alpert, Hu, Huang, Kahng and Karger, "Prim-Dijkstra tradeoffs for improved performance-driven routing tree design"
    /// (1995). Every node that has the same records finds the same tree.
    pub fn tree_parent(&self, origins: &[NodeId], node: NodeId, way_percent: Micros) -> Option<TreeParent> {
        let mut grown = vec![false; self.len()];
        // Price, then way; then identities, which are the same everywhere. What grows, from where.
        let mut heap = BinaryHeap::new();
        let mut found = None;
        let find = |id: &NodeId| self.index.get(id).copied();
        heap.extend(origins.iter().filter_map(find).map(|at| Reverse((0, 0, self.vertices[at as usize].id, None, at))));
        while let Some(Reverse((_, way, id, parent, at))) = heap.pop() {
            let vertex = &self.vertices[at as usize];
            if std::mem::replace(&mut grown[at as usize], true) {
                continue;
            }
            if id == node {
                found = parent.map(|parent| TreeParent { parent, metric: way });
                break;
            }
            if !vertex.transit && parent.is_some() {
                continue;
            }
            for edge in vertex.edges.iter().filter(|edge| !grown[edge.to as usize]) {
                let Some(cost) = edge.cost.map(Micros::from) else { continue };
                let price = way * way_percent / 100 + cost;
                heap.push(Reverse((price, way + cost, self.vertices[edge.to as usize].id, Some(id), edge.to)));
            }
        }
        found
    }
}

impl Vertex {
    fn edge_mut(&mut self, to: Index) -> Option<&mut Edge> {
        let at = self.edges.binary_search_by_key(&to, |edge| edge.to).ok()?;
        self.edges.get_mut(at)
    }
}

/// Who is above a node in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeParent {
    /// Whom to ask.
    pub parent: NodeId,
    /// Microseconds from the origin to the node, along the tree.
    pub metric: Micros,
}

/// How far a node is from the nearest origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Sum of the link costs, in microseconds.
    pub metric: Micros,
    /// Number of links.
    pub hops: u16,
}

/// Result of one shortest-path run.
#[derive(Clone, Debug, Default)]
pub struct Distances {
    index: Arc<BTreeMap<NodeId, Index>>,
    reached: Vec<Reached>,
}

impl Distances {
    /// How far `node` is from the nearest origin; `None` if there is no path.
    pub fn get(&self, node: NodeId) -> Option<Reached> {
        let at = self.index.get(&node)?;
        self.reached.get(*at as usize).copied().filter(|reached| reached.metric != Micros::MAX)
    }
}

#[cfg(test)]
mod tests;
