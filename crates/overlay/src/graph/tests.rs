use proptest::prelude::*;

use super::*;

fn id(n: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId(bytes)
}

/// A graph of `n` transit nodes with symmetric links of the given costs.
fn graph(n: usize, links: &[(usize, usize, u32)]) -> Graph {
    let mut lists: Vec<Vec<LinkFacts>> = vec![Vec::new(); n];
    for &(a, b, cost) in links {
        for (from, to) in [(a, b), (b, a)] {
            lists[from].retain(|link| link.peer != id(to));
            lists[from].push(LinkFacts { peer: id(to), out_us: cost, in_us: cost, rtt_us: 0 });
        }
    }
    let vertices = lists.iter().enumerate().map(|(n, links)| (id(n), Vertex { links, transit: true })).collect();
    Graph::new(&vertices)
}

#[test]
fn the_nearest_origin_wins() {
    let line = graph(5, &[(0, 1, 10), (1, 2, 10), (2, 3, 10), (3, 4, 10)]);
    let from_both = line.distances([id(0), id(4)]);
    assert_eq!(from_both.get(id(3)), Some(Reached { metric: 10, hops: 1 }));
    assert_eq!(from_both.get(id(2)), Some(Reached { metric: 20, hops: 2 }));
    assert_eq!(line.distances([id(0)]).get(id(3)), Some(Reached { metric: 30, hops: 3 }));
}

#[test]
fn one_end_alone_makes_no_link_and_cannot_shorten_one() {
    let claim = |peer, cost| LinkFacts { peer: id(peer), out_us: cost, in_us: cost, rtt_us: 0 };
    let (liar, honest, silent) = (vec![claim(1, 1), claim(2, 1)], vec![claim(0, 500)], vec![]);
    let vertex = |links| Vertex { links, transit: true };
    let graph =
        Graph::new(&BTreeMap::from([(id(0), vertex(&liar[..])), (id(1), vertex(&honest)), (id(2), vertex(&silent))]));
    let reached = graph.distances([id(0)]);
    assert_eq!(reached.get(id(1)).map(|r| r.metric), Some(500));
    assert_eq!(reached.get(id(2)), None);
}

#[test]
fn leaves_pass_nothing_on_but_may_publish() {
    let claim = |peer| LinkFacts { peer: id(peer), out_us: 10, in_us: 10, rtt_us: 0 };
    let (a, b, c) = (vec![claim(1)], vec![claim(0), claim(2)], vec![claim(1)]);
    let vertices = BTreeMap::from([
        (id(0), Vertex { links: &a[..], transit: true }),
        (id(1), Vertex { links: &b[..], transit: false }),
        (id(2), Vertex { links: &c[..], transit: true }),
    ]);
    let graph = Graph::new(&vertices);
    assert_eq!(graph.distances([id(0)]).get(id(2)), None);
    assert_eq!(graph.distances([id(1)]).get(id(2)).map(|r| r.metric), Some(10));
}

proptest! {
    /// Against Bellman and Ford's relaxation, which is too simple to be wrong.
    #[test]
    fn distances_agree_with_a_plain_relaxation(
        links in prop::collection::vec((0..12usize, 0..12usize, 1..1000u32), 0..40),
        origins in prop::collection::vec(0..12usize, 1..3),
    ) {
        let links: Vec<_> = links.into_iter().filter(|(a, b, _)| a != b).collect();
        let graph = graph(12, &links);
        let mut expected = [Micros::MAX; 12];
        origins.iter().for_each(|&o| expected[o] = 0);
        for _ in 0..12 {
            for (from, to, cost) in graph.edges() {
                let at = |node: NodeId| (0..12).find(|&n| id(n) == node).unwrap();
                expected[at(to)] = expected[at(to)].min(expected[at(from)].saturating_add(u64::from(cost)));
            }
        }
        let found = graph.distances(origins.iter().map(|&o| id(o)));
        for (n, metric) in expected.into_iter().enumerate() {
            prop_assert_eq!(found.get(id(n)).map_or(Micros::MAX, |r| r.metric), metric);
        }
    }
}
