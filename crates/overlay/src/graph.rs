//! Shortest paths from the origins of a stream to every node, over the links that both ends tell of.
//!
//! All origins of one stream hang below one virtual root at distance zero, so the nearest origin wins and the death of an
//! origin is a reroute like any other. Dijkstra's algorithm with a binary heap; ties are broken by node index, so every
//! node that has the same records finds the same tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::id::NodeId;
use crate::record::LinkFacts;

/// Index of a node in a [`Graph`].
type Index = u32;

/// Distances are in microseconds of link cost.
pub type Micros = u64;

/// A snapshot of the mesh, made for many shortest-path runs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    ids: Vec<NodeId>,
    transit: Vec<bool>,
    /// Edges of node `i` are `edges[first[i]..first[i + 1]]`, each (target, cost from `i` to the target).
    first: Vec<u32>,
    edges: Vec<(Index, u32)>,
}

/// What a node tells of itself, as the graph needs it.
#[derive(Clone, Copy, Debug)]
pub struct Vertex<'a> {
    /// Its links.
    pub links: &'a [LinkFacts],
    /// Whether it passes on what it did not publish.
    pub transit: bool,
}

impl Graph {
    /// Builds the graph. An edge exists where both ends list it; its cost is the worse of both claims, so that one liar
    /// cannot shorten a path.
    pub fn new(vertices: &BTreeMap<NodeId, Vertex<'_>>) -> Self {
        let ids: Vec<NodeId> = vertices.keys().copied().collect();
        let mut claims: BTreeMap<(Index, Index), (u32, u32)> = BTreeMap::new();
        let index = |id: &NodeId| ids.binary_search(id).ok().map(|at| at as Index);
        for (at, vertex) in vertices.values().enumerate() {
            for link in vertex.links {
                if let Some(peer) = index(&link.peer) {
                    claims.insert((at as Index, peer), (link.out_us, link.in_us));
                }
            }
        }
        let mut first = Vec::with_capacity(ids.len() + 1);
        let mut edges = Vec::with_capacity(claims.len());
        let mut node = 0;
        first.push(0);
        for (&(from, to), &(out_us, _)) in &claims {
            while node < from {
                first.push(edges.len() as u32);
                node += 1;
            }
            if let Some((_, in_us)) = claims.get(&(to, from)).filter(|_| from != to) {
                edges.push((to, out_us.max(*in_us).max(1)));
            }
        }
        first.resize(ids.len() + 1, edges.len() as u32);
        let transit = vertices.values().map(|vertex| vertex.transit).collect();
        Self { ids, transit, first, edges }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// All edges: from, to, cost in microseconds.
    pub fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId, u32)> {
        self.ids.iter().enumerate().flat_map(|(from, id)| {
            self.edges_of(from as Index).iter().map(|&(to, cost)| (*id, self.ids[to as usize], cost))
        })
    }

    fn edges_of(&self, node: Index) -> &[(Index, u32)] {
        let node = node as usize;
        &self.edges[self.first[node] as usize..self.first[node + 1] as usize]
    }

    /// Shortest paths from the nearest of `origins` to every node.
    pub fn distances(&self, origins: impl IntoIterator<Item = NodeId>) -> Distances {
        let mut reached = vec![Reached { metric: Micros::MAX, hops: u16::MAX }; self.len()];
        let mut heap = BinaryHeap::with_capacity(self.len());
        let mut is_origin = vec![false; self.len()];
        for origin in origins {
            if let Ok(at) = self.ids.binary_search(&origin) {
                reached[at] = Reached { metric: 0, hops: 0 };
                is_origin[at] = true;
                heap.push(Reverse((0, 0, at as Index)));
            }
        }
        while let Some(Reverse((metric, hops, node))) = heap.pop() {
            let at = node as usize;
            if reached[at].metric != metric || !(self.transit[at] || is_origin[at]) {
                continue;
            }
            for &(to, cost) in self.edges_of(node) {
                let next = Reached { metric: metric + Micros::from(cost), hops: hops + 1 };
                if next.metric < reached[to as usize].metric {
                    reached[to as usize] = next;
                    heap.push(Reverse((next.metric, next.hops, to)));
                }
            }
        }
        let found = self.ids.iter().zip(reached).filter(|(_, reached)| reached.metric != Micros::MAX);
        Distances { nodes: found.map(|(id, reached)| (*id, reached)).collect() }
    }
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
    /// Sorted by node.
    nodes: Vec<(NodeId, Reached)>,
}

impl Distances {
    /// How far `node` is from the nearest origin; `None` if there is no path.
    pub fn get(&self, node: NodeId) -> Option<Reached> {
        let at = self.nodes.binary_search_by_key(&node, |(id, _)| *id).ok()?;
        self.nodes.get(at).map(|(_, reached)| *reached)
    }
}

#[cfg(test)]
mod tests;
