//! Round-trip times measured among cities, and meshes that are laid over them.
//!
//! The file holds, for each pair of N cities, the least, mean and greatest round-trip time and its standard deviation, each
//! a little-endian u32 of microseconds; a row for each source. It is not part of this project.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::link::Impairment;

/// Bytes of one pair of cities.
const ENTRY_LEN: usize = 16;
/// One-way delay between nodes of one city, microseconds.
const CITY_DELAY_US: std::ops::RangeInclusive<u64> = 200..=1_000;
/// An even distribution from 0 to J has a standard deviation of J / sqrt(12).
const JITTER_OF_DEVIATION: f64 = 3.464;
/// Share of a node's links that lead far away.
const FAR_SHARE: f64 = 0.3;
/// Nearest nodes among which a node picks its near neighbours.
const NEAR_POOL: usize = 24;

/// The measured times.
#[derive(Clone, Debug)]
pub struct Cities {
    count: usize,
    /// Mean and standard deviation of the round trip, microseconds.
    rtt_us: Vec<(u32, u32)>,
}

impl Cities {
    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let count = (bytes.len() / ENTRY_LEN).isqrt();
        if count < 2 || count * count * ENTRY_LEN != bytes.len() {
            return Err(format!("{} bytes are no square table of entries of {ENTRY_LEN} bytes", bytes.len()));
        }
        let field = |entry: &[u8], at: usize| {
            let bytes = [entry[4 * at], entry[4 * at + 1], entry[4 * at + 2], entry[4 * at + 3]];
            u32::from_le_bytes(bytes)
        };
        let rtt_us = bytes.chunks_exact(ENTRY_LEN).map(|entry| (field(entry, 1), field(entry, 3))).collect();
        Ok(Self { count, rtt_us })
    }

    /// Places nodes in cities left to chance and links each to near and far ones, so that all is connected and the degree
    /// lies between the bounds. Jitter is as measured, but at most `jitter_max`: measurements over days hold changes of
    /// routes, which are no jitter.
    pub fn mesh(&self, nodes: usize, degree: (usize, usize), jitter_max: Duration, rng: &mut SmallRng) -> Mesh {
        let at: Vec<usize> = (0..nodes).map(|_| rng.random_range(0..self.count)).collect();
        let mut links: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes];
        let join = |links: &mut Vec<BTreeSet<usize>>, a: usize, b: usize| {
            let fits = a != b && links[a].len() < degree.1 && links[b].len() < degree.1;
            if fits {
                links[a].insert(b);
                links[b].insert(a);
            }
            fits
        };
        // A chain in an order left to chance would be far too long; each node joins the nearest of those before it.
        for node in 1..nodes {
            let free = |other: &usize| links[*other].len() < degree.1;
            let nearest = (0..node).filter(free).min_by_key(|other| (self.between(at[node], at[*other]), *other));
            if let Some(nearest) = nearest {
                join(&mut links, node, nearest);
            }
        }
        for node in 0..nodes {
            let wanted = rng.random_range(degree.0..=degree.1);
            let mut near: Vec<usize> = (0..nodes).filter(|other| *other != node).collect();
            let pool = NEAR_POOL.min(near.len());
            if pool == 0 {
                continue;
            }
            near.select_nth_unstable_by_key(pool - 1, |other| (self.between(at[node], at[*other]), *other));
            // Tries are bounded, since a small mesh may have no room.
            for _ in 0..20 * degree.1 {
                if links[node].len() >= wanted {
                    break;
                }
                let far = rng.random::<f64>() < FAR_SHARE;
                let other = if far { rng.random_range(0..nodes) } else { near[rng.random_range(0..pool)] };
                join(&mut links, node, other);
            }
        }
        let mut mesh = Mesh { links: Vec::new(), impairments: Vec::new() };
        for (a, others) in links.iter().enumerate() {
            for &b in others.range(a + 1..) {
                mesh.links.push((a, b));
                mesh.impairments.push(self.link(at[a], at[b], jitter_max, rng));
            }
        }
        mesh
    }

    fn between(&self, a: usize, b: usize) -> u32 {
        if a == b { 0 } else { self.rtt_us[a * self.count + b].0 }
    }

    fn link(&self, a: usize, b: usize, jitter_max: Duration, rng: &mut SmallRng) -> [Impairment; 2] {
        if a == b {
            let delay = Duration::from_micros(rng.random_range(CITY_DELAY_US));
            let impairment = Impairment::new(delay, delay / 10);
            return [impairment.clone(), impairment];
        }
        [(a, b), (b, a)].map(|(a, b)| {
            let (mean, deviation) = self.rtt_us[a * self.count + b];
            // Both directions of a round trip vary by themselves.
            let jitter = f64::from(deviation) / 2.0_f64.sqrt() * JITTER_OF_DEVIATION;
            let one_way = f64::from(mean) / 2.0;
            let jitter = jitter.min(jitter_max.as_micros() as f64).min(one_way / 2.0);
            let delay = (one_way - jitter / 2.0).max(100.0);
            Impairment::new(Duration::from_micros(delay as u64), Duration::from_micros(jitter as u64))
        })
    }
}

/// Links and what they do.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// Pairs of node numbers.
    pub links: Vec<(usize, usize)>,
    /// For each: from the first to the second, and back. Empty: left to chance.
    pub impairments: Vec<[Impairment; 2]>,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn meshes_are_connected_and_keep_the_degree() {
        let entry = |(a, b): (u32, u32)| [1, 20_000 * a.abs_diff(b) + 3_000, 9, 500].map(u32::to_le_bytes).concat();
        let bytes: Vec<u8> = (0..20).flat_map(|a| (0..20).map(move |b| (a, b))).flat_map(entry).collect();
        let cities = Cities::parse(&bytes).unwrap();
        let mesh = cities.mesh(300, (6, 10), Duration::from_millis(5), &mut SmallRng::seed_from_u64(1));
        let mut links = vec![Vec::new(); 300];
        for &(a, b) in &mesh.links {
            links[a].push(b);
            links[b].push(a);
        }
        let degrees: Vec<usize> = links.iter().map(Vec::len).collect();
        assert!(degrees.iter().all(|degree| (6..=10).contains(degree)), "{degrees:?}");
        let (mut seen, mut open) = (BTreeSet::from([0]), vec![0]);
        while let Some(node) = open.pop() {
            open.extend(links[node].iter().copied().filter(|other| seen.insert(*other)));
        }
        assert_eq!(seen.len(), 300);
    }

    #[test]
    fn a_cut_file_is_refused() {
        assert!(Cities::parse(&[0; 100]).is_err());
    }
}
