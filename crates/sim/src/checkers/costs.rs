//! What trees cost against what they could: the delay of paths against the shortest ones, and the delay summed over all
//! edges of a tree (long haul is what costs money) against that of the union of shortest paths. All on true delays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use levada_overlay::link::HOP_COST_US;

use super::NodeIndex;

/// Links as they truly are: for each node the neighbours that its packets reach now, and after how many microseconds.
pub(crate) type Truth = Vec<Vec<(NodeIndex, u64)>>;

/// Sums over all samples.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    path_us: u64,
    shortest_us: u64,
    paths: u64,
    /// The longest path against the shortest one to that node, where that is at least 10 ms.
    stretch_max: f64,
    long_haul_us: u64,
    spt_long_haul_us: u64,
    /// The same for paths that are shortest with an allowance for each hop.
    hop_spt_long_haul_us: u64,
    hops: u64,
}

/// Paths shorter than this are left out of the greatest stretch: a detour of a millisecond harms nobody.
const STRETCH_FROM_US: u64 = 10_000;

impl Costs {
    /// Looks at the tree of one stream: who reads, and who is fed by whom.
    pub(crate) fn sample(
        &mut self,
        truth: &Truth,
        origins: &[NodeIndex],
        readers: &[NodeIndex],
        parent: impl Fn(NodeIndex) -> Option<NodeIndex>,
    ) {
        let (distance, before) = shortest(truth, origins, 0);
        let (_, hop_before) = shortest(truth, origins, HOP_COST_US as u64);
        let mut in_tree = vec![false; truth.len()];
        let (mut in_spt, mut in_hop_spt) = (in_tree.clone(), in_tree.clone());
        for &reader in readers.iter().filter(|reader| !origins.contains(reader)) {
            let Some(way) = way(truth, origins, reader, &parent) else { continue };
            let Some(shortest_us) = distance[reader as usize].filter(|us| *us > 0) else { continue };
            let path_us: u64 = way.iter().map(|(_, us)| us).sum();
            self.path_us += path_us;
            self.shortest_us += shortest_us;
            self.paths += 1;
            self.hops += way.len() as u64;
            if shortest_us >= STRETCH_FROM_US {
                self.stretch_max = self.stretch_max.max(path_us as f64 / shortest_us as f64);
            }
            for (node, us) in way {
                if !std::mem::replace(&mut in_tree[node as usize], true) {
                    self.long_haul_us += us;
                }
            }
            self.spt_long_haul_us += climb(&before, reader, &mut in_spt);
            self.hop_spt_long_haul_us += climb(&hop_before, reader, &mut in_hop_spt);
        }
    }

    /// Mean path against mean shortest path.
    pub(crate) fn path_stretch(&self) -> f64 {
        self.path_us as f64 / self.shortest_us.max(1) as f64
    }

    pub(crate) fn stretch_max(&self) -> f64 {
        self.stretch_max
    }

    /// Milliseconds from the origin, as a mean.
    pub(crate) fn path_ms(&self) -> f64 {
        self.path_us as f64 / self.paths.max(1) as f64 / 1e3
    }

    pub(crate) fn hops(&self) -> f64 {
        self.hops as f64 / self.paths.max(1) as f64
    }

    /// Share of the long-haul cost of shortest paths that these trees do without.
    pub(crate) fn long_haul_saving(&self) -> f64 {
        1.0 - self.long_haul_us as f64 / self.spt_long_haul_us.max(1) as f64
    }

    /// The same against paths that are shortest with the overlay's allowance for hops.
    pub(crate) fn long_haul_saving_hops(&self) -> f64 {
        1.0 - self.long_haul_us as f64 / self.hop_spt_long_haul_us.max(1) as f64
    }
}

/// The delay of all edges above a node that are not yet in the tree, which it joins.
fn climb(before: &[Option<(NodeIndex, u64)>], from: NodeIndex, in_tree: &mut [bool]) -> u64 {
    let (mut node, mut sum) = (from, 0);
    while let Some((previous, us)) = before[node as usize] {
        if std::mem::replace(&mut in_tree[node as usize], true) {
            break;
        }
        sum += us;
        node = previous;
    }
    sum
}

/// The edges from an origin down to a node, from the node up: the lower end of each, and its delay.
fn way(
    truth: &Truth,
    origins: &[NodeIndex],
    reader: NodeIndex,
    parent: impl Fn(NodeIndex) -> Option<NodeIndex>,
) -> Option<Vec<(NodeIndex, u64)>> {
    let mut way = Vec::new();
    let mut node = reader;
    while !origins.contains(&node) {
        let above = parent(node)?;
        let us = truth[above as usize].iter().find(|(to, _)| *to == node)?.1;
        way.push((node, us));
        node = above;
        if way.len() > truth.len() {
            return None;
        }
    }
    Some(way)
}

/// Dijkstra's algorithm, with an allowance for each hop: the distance of each node, and the node before it with the delay
/// from there.
#[expect(clippy::type_complexity, reason = "two columns of one table")]
fn shortest(truth: &Truth, origins: &[NodeIndex], hop_us: u64) -> (Vec<Option<u64>>, Vec<Option<(NodeIndex, u64)>>) {
    let mut distance = vec![None; truth.len()];
    let mut before = vec![None; truth.len()];
    let mut heap = BinaryHeap::new();
    for &origin in origins {
        distance[origin as usize] = Some(0);
        heap.push(Reverse((0, origin)));
    }
    while let Some(Reverse((so_far, node))) = heap.pop() {
        if distance[node as usize] != Some(so_far) {
            continue;
        }
        for &(to, us) in &truth[node as usize] {
            let next = so_far + us + hop_us;
            if distance[to as usize].is_none_or(|known| next < known) {
                distance[to as usize] = Some(next);
                before[to as usize] = Some((node, us));
                heap.push(Reverse((next, to)));
            }
        }
    }
    (distance, before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_edge_saves_and_a_detour_stretches() {
        // 0 -50-> 1 -10-> 2, and 0 -55-> 2
        let mut truth: Truth = vec![vec![(1, 50_000), (2, 55_000)], vec![(2, 10_000)], vec![]];
        let mut costs = Costs::default();
        costs.sample(&truth, &[0], &[1, 2], |node| [None, Some(0), Some(1)][node as usize]);
        assert_eq!((costs.path_us, costs.shortest_us), (110_000, 105_000));
        assert_eq!((costs.long_haul_us, costs.spt_long_haul_us), (60_000, 105_000));
        truth[0].pop();
        let mut costs = Costs::default();
        costs.sample(&truth, &[0], &[1, 2], |node| [None, Some(0), Some(1)][node as usize]);
        assert_eq!((costs.path_stretch(), costs.long_haul_saving()), (1.0, 0.0));
    }
}
