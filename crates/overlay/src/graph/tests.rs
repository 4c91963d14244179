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

#[test]
fn a_tree_lies_between_the_shortest_paths_and_the_shortest_links() {
    let corner = graph(3, &[(0, 1, 10), (0, 2, 10), (1, 2, 3)]);
    let parent = |way_percent| corner.tree_parent(&[id(0)], id(2), way_percent);
    assert_eq!(parent(100), Some(TreeParent { parent: id(0), metric: 10 }));
    assert_eq!(parent(50), Some(TreeParent { parent: id(1), metric: 13 }));
    assert_eq!(parent(0), Some(TreeParent { parent: id(1), metric: 13 }));
}

#[test]
fn nobody_is_above_an_origin_or_whom_no_origin_reaches() {
    let parts = graph(4, &[(0, 1, 10), (2, 3, 10)]);
    assert_eq!(parts.tree_parent(&[id(0)], id(0), 50), None);
    assert_eq!(parts.tree_parent(&[id(0)], id(3), 50), None);
    assert_eq!(parts.tree_parent(&[id(0)], id(9), 50), None, "never told of");
    let (a, b, c) = ([claim(1, 10)], [claim(0, 10), claim(2, 10)], [claim(1, 10)]);
    let over_a_leaf = made([(0, &a[..], true), (1, &b, false), (2, &c, true)].into_iter());
    assert_eq!(over_a_leaf.tree_parent(&[id(0)], id(2), 50), None);
    assert_eq!(over_a_leaf.tree_parent(&[id(1)], id(2), 50).map(|tree| tree.parent), Some(id(1)));
}

proptest! {
    /// In whatever order nodes came to hear of each other, with costs of which many are equal.
    #[test]
    fn all_find_the_same_tree_and_it_leads_to_the_origin(
        links in proptest::collection::vec((0..12_usize, 0..12_usize, 1..4_u32), 1..40),
        turn in 0..12_usize,
        way_percent in 0..=100_u64,
    ) {
        let links: Vec<_> = links.into_iter().filter(|(a, b, _)| a != b).collect();
        let here = graph(12, &links);
        let lists: Vec<Vec<LinkFacts>> = (0..12).map(|n| {
            let edges = here.edges().filter(|(from, ..)| *from == id(n));
            edges.map(|(_, to, cost)| LinkFacts { peer: to, out_us: cost, in_us: cost, rtt_us: 0 }).collect()
        }).collect();
        let there = made((0..12).map(|n| (n + turn) % 12).map(|n| (n, &lists[n][..], true)));
        let reached = here.distances(&[id(0)], &[]);
        for n in 1..12 {
            let found = here.tree_parent(&[id(0)], id(n), way_percent);
            prop_assert_eq!(found, there.tree_parent(&[id(0)], id(n), way_percent));
            prop_assert_eq!(found.is_some(), reached.get(id(n)).is_some());
            let (mut at, mut steps) = (id(n), 0);
            while let Some(tree) = here.tree_parent(&[id(0)], at, way_percent) {
                prop_assert!(tree.metric >= reached.get(at).unwrap().metric);
                (at, steps) = (tree.parent, steps + 1);
                prop_assert!(steps < 12, "a ring");
            }
        }
    }
}
