//! Shortest paths over meshes of growing size, and what a change of one node's links costs.
//!
//! `cargo bench -p levada-overlay --bench paths`

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::{Duration, Instant};

use levada_overlay::NodeId;
use levada_overlay::graph::Graph;
use levada_overlay::record::LinkFacts;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

const DEGREE: usize = 8;
const ROUNDS: usize = 200;

fn id(n: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[24..].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId(bytes)
}

fn lists(nodes: usize, rng: &mut SmallRng) -> Vec<Vec<LinkFacts>> {
    let mut lists: Vec<Vec<LinkFacts>> = vec![Vec::new(); nodes];
    for a in 0..nodes {
        for _ in 0..DEGREE / 2 {
            let b = rng.random_range(0..nodes);
            if a != b && lists[a].iter().all(|link| link.peer != id(b)) {
                let cost = rng.random_range(1_000..60_000);
                lists[a].push(LinkFacts { peer: id(b), out_us: cost, in_us: cost, rtt_us: cost });
                lists[b].push(LinkFacts { peer: id(a), out_us: cost, in_us: cost, rtt_us: cost });
            }
        }
    }
    lists
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.3} ms, p99 {:.3} ms", at(0.5), at(0.99))
}

fn main() {
    for nodes in [100, 1_000, 5_000] {
        let mut rng = SmallRng::seed_from_u64(7);
        let lists = lists(nodes, &mut rng);
        let mut graph = Graph::default();
        for (n, links) in lists.iter().enumerate() {
            assert!(graph.set_transit(id(n), true));
            graph.set_links(id(n), links);
        }
        let paths = (0..ROUNDS).map(|_| {
            let origin = [id(rng.random_range(0..nodes))];
            let start = Instant::now();
            std::hint::black_box(graph.distances(&origin, &[]));
            start.elapsed()
        });
        let paths = quantiles(paths.collect());
        let parents = (0..ROUNDS).map(|_| {
            let (origin, node) = ([id(rng.random_range(0..nodes))], id(rng.random_range(0..nodes)));
            let start = Instant::now();
            std::hint::black_box(graph.tree_parent(&origin, node, 50));
            start.elapsed()
        });
        let parents = quantiles(parents.collect());
        let changes = (0..ROUNDS).map(|_| {
            let n = rng.random_range(0..nodes);
            let start = Instant::now();
            graph.set_links(id(n), &lists[n]);
            start.elapsed()
        });
        let changes = quantiles(changes.collect());
        println!(
            "{nodes:5} nodes: shortest paths {paths}; parent in a tree {parents}; a node's links changed {changes}"
        );
    }
}
