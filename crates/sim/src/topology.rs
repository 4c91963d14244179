//! Shapes of meshes: pairs of node numbers.

mod cities;
mod gml;

use rand::seq::SliceRandom as _;

pub use cities::{Cities, Mesh};
pub use gml::parse as parse_gml;

/// 0 - 1 - 2 - …
pub fn line(nodes: usize) -> Vec<(usize, usize)> {
    (1..nodes).map(|n| (n - 1, n)).collect()
}

/// A line whose ends meet.
pub fn ring(nodes: usize) -> Vec<(usize, usize)> {
    let mut links = line(nodes);
    links.push((nodes - 1, 0));
    links
}

/// Everybody with everybody.
pub fn full(nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes).flat_map(|a| (0..a).map(move |b| (b, a))).collect()
}

/// A random tree, so that all is connected, and random further links up to `degree` a node on average.
pub fn random(nodes: usize, degree: usize, rng: &mut impl rand::Rng) -> Vec<(usize, usize)> {
    let mut links = std::collections::BTreeSet::new();
    let mut order: Vec<usize> = (0..nodes).collect();
    order.shuffle(rng);
    for at in 1..nodes {
        let (a, b) = (order[at], order[rng.random_range(0..at)]);
        links.insert((a.min(b), a.max(b)));
    }
    let most = nodes * (nodes - 1) / 2;
    while links.len() < (nodes * degree / 2).min(most) {
        let (a, b) = (rng.random_range(0..nodes), rng.random_range(0..nodes));
        if a != b {
            links.insert((a.min(b), a.max(b)));
        }
    }
    links.into_iter().collect()
}
