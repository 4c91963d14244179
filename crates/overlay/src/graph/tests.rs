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
    made(lists.iter().enumerate().map(|(n, links)| (n, &links[..], true)))
}

fn made<'a>(nodes: impl Iterator<Item = (usize, &'a [LinkFacts], bool)>) -> Graph {
    let mut graph = Graph::default();
    for (n, links, transit) in nodes {
        graph.set_links(id(n), links);
        assert!(graph.set_transit(id(n), transit));
    }
    graph
}

fn claim(peer: usize, cost: u32) -> LinkFacts {
    LinkFacts { peer: id(peer), out_us: cost, in_us: cost, rtt_us: 0 }
}

#[test]
fn the_nearest_origin_wins() {
    let line = graph(5, &[(0, 1, 10), (1, 2, 10), (2, 3, 10), (3, 4, 10)]);
    let from_both = line.distances(&[id(0), id(4)], &[]);
    assert_eq!(from_both.get(id(3)), Some(Reached { metric: 10, hops: 1 }));
    assert_eq!(from_both.get(id(2)), Some(Reached { metric: 20, hops: 2 }));
    assert_eq!(line.distances(&[id(0)], &[]).get(id(3)), Some(Reached { metric: 30, hops: 3 }));
}

#[test]
fn one_end_alone_makes_no_link_and_cannot_shorten_one() {
    let (liar, honest, silent) = ([claim(1, 1), claim(2, 1)], [claim(0, 500)], []);
    let graph = made([(0, &liar[..], true), (1, &honest, true), (2, &silent, true)].into_iter());
    let reached = graph.distances(&[id(0)], &[]);
    assert_eq!(reached.get(id(1)).map(|r| r.metric), Some(500));
    assert_eq!(reached.get(id(2)), None);
}

#[test]
fn leaves_pass_nothing_on_but_may_publish() {
    let (a, b, c) = ([claim(1, 10)], [claim(0, 10), claim(2, 10)], [claim(1, 10)]);
    let graph = made([(0, &a[..], true), (1, &b, false), (2, &c, true)].into_iter());
    assert_eq!(graph.distances(&[id(0)], &[]).get(id(2)), None);
    assert_eq!(graph.distances(&[id(1)], &[]).get(id(2)).map(|r| r.metric), Some(10));
}

#[test]
fn a_node_left_out_is_gone_round() {
    let diamond = graph(4, &[(0, 1, 10), (1, 3, 10), (0, 2, 30), (2, 3, 30)]);
    assert_eq!(diamond.distances(&[id(0)], &[]).get(id(3)).map(|r| r.metric), Some(20));
    assert_eq!(diamond.distances(&[id(0)], &[id(1)]).get(id(3)).map(|r| r.metric), Some(60));
    assert_eq!(diamond.distances(&[id(0)], &[id(1), id(2)]).get(id(3)), None);
    assert_eq!(diamond.distances(&[id(0)], &[id(0)]).get(id(3)), None, "an origin can be left out too");
}

#[test]
fn a_new_list_of_links_replaces_the_old_one() {
    let mut graph = graph(3, &[(0, 1, 10), (1, 2, 10)]);
    graph.set_links(id(1), &[claim(0, 10)]);
    assert_eq!(graph.distances(&[id(0)], &[]).get(id(2)), None);
    graph.set_links(id(1), &[claim(0, 10), claim(2, 25)]);
    assert_eq!(graph.distances(&[id(0)], &[]).get(id(2)).map(|r| r.metric), Some(35));
    assert_eq!(graph.edges().count(), 4);
}

#[test]
fn nodes_that_are_only_spoken_of_are_bounded() {
    let mut graph = Graph::default();
    let spoken: Vec<LinkFacts> = (0..VERTICES_MAX + 10).map(|n| claim(n, 1)).collect();
    spoken.chunks(1_000).enumerate().for_each(|(n, links)| graph.set_links(id(1_000_000 + n), links));
    assert_eq!(graph.len(), VERTICES_MAX);
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
        let origins: Vec<NodeId> = origins.into_iter().map(id).collect();
        let found = graph.distances(&origins, &[]);
        for (n, metric) in expected.into_iter().enumerate() {
            prop_assert_eq!(found.get(id(n)).map_or(Micros::MAX, |r| r.metric), metric);
        }
    }
}
