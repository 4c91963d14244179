//! Which way packets go: as IP would send them, over the shortest path by delay. Two nodes that share a link use that link,
//! even where a detour would be shorter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

const NONE: u16 = u16::MAX;

/// The next node on the way from every node to every other.
#[derive(Debug)]
pub(crate) struct Routes {
    count: usize,
    next: Vec<u16>,
}

impl Routes {
    /// Finds the paths among `count` nodes. A lane leads from the first to the second and takes so long.
    pub(crate) fn shortest(count: usize, lanes: &[(usize, usize, Duration)]) -> Self {
        let mut into = vec![Vec::new(); count];
        for &(from, to, delay) in lanes {
            into[to].push((from, delay));
        }
        let mut routes = Self { count, next: vec![NONE; count * count] };
        (0..count).for_each(|to| routes.lead_to(to, &into));
        routes
    }

    /// Where a packet that is at one node and wants to another goes next; `None`: there is no way.
    pub(crate) fn next(&self, at: usize, to: usize) -> Option<usize> {
        Some(self.next[at * self.count + to]).filter(|next| *next != NONE).map(usize::from)
    }

    /// Dijkstra's search outwards from `to`. Neighbours of `to` have their way already.
    fn lead_to(&mut self, to: usize, into: &[Vec<(usize, Duration)>]) {
        let mut settled = vec![false; self.count];
        settled[to] = true;
        // Of equal delays fewer hops, then names that come first.
        let mut open: BinaryHeap<_> = into[to].iter().map(|&(from, delay)| Reverse((delay, 1, from, to))).collect();
        let is_neighbour = |node: usize| into[to].iter().any(|(from, _)| *from == node);
        while let Some(Reverse((delay, hops, node, via))) = open.pop() {
            if std::mem::replace(&mut settled[node], true) {
                continue;
            }
            self.next[node * self.count + to] = via as u16;
            let further = into[node].iter().filter(|(from, _)| !settled[*from] && !is_neighbour(*from));
            open.extend(further.map(|&(from, more)| Reverse((delay + more, hops + 1, from, node))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(count: usize, links: &[(usize, usize, u64)]) -> Routes {
        let both = |&(a, b, ms): &(usize, usize, u64)| {
            let delay = Duration::from_millis(ms);
            [(a, b, delay), (b, a, delay)]
        };
        Routes::shortest(count, &links.iter().flat_map(both).collect::<Vec<_>>())
    }

    fn path(routes: &Routes, from: usize, to: usize) -> Vec<usize> {
        std::iter::successors(Some(from), |at| routes.next(*at, to)).take(10).collect()
    }

    #[test]
    fn the_shortest_path_by_delay_is_taken() {
        let routes = routes(5, &[(0, 1, 10), (1, 2, 10), (0, 3, 50), (3, 2, 50), (2, 4, 1)]);
        assert_eq!(path(&routes, 0, 4), [0, 1, 2, 4]);
        assert_eq!(path(&routes, 4, 3), [4, 2, 3]);
    }

    #[test]
    fn neighbours_use_their_own_link_though_a_detour_is_shorter() {
        let routes = routes(4, &[(0, 1, 100), (0, 2, 1), (2, 1, 1), (3, 0, 1)]);
        assert_eq!(path(&routes, 0, 1), [0, 1]);
        // 3 goes by 0, whose own link it then has to use: there is no other way from 3.
        assert_eq!(path(&routes, 3, 1), [3, 0, 1]);
    }

    #[test]
    fn a_detour_counts_with_the_link_that_is_really_used() {
        // By 0 it seems 3 ms, but 0 would use its own slow link; by 4 it is 30 ms.
        let routes = routes(5, &[(0, 1, 100), (0, 2, 1), (2, 1, 1), (3, 0, 1), (3, 4, 15), (4, 1, 15)]);
        assert_eq!(path(&routes, 3, 1), [3, 4, 1]);
    }

    #[test]
    fn islands_have_no_way() {
        let routes = routes(4, &[(0, 1, 1), (2, 3, 1)]);
        assert_eq!(routes.next(0, 2), None);
        assert_eq!(routes.next(1, 0), Some(0));
    }
}
