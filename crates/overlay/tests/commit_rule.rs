//! The commit rule, checked in every state that four nodes can reach.
//!
//! A node takes a parent only with an object from it that is newer than everything it holds. What it gets may be as old as
//! the network likes, and it may ask whomever it likes: records, backups and suspicions do not enter the argument.

use std::collections::{BTreeSet, VecDeque};

const NODES: usize = 4;
const NEWEST: u8 = 4;

/// Node 0 is the origin. Heads only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    heads: [u8; NODES],
    parents: [Option<u8>; NODES],
}

/// All states that one step leads to.
fn steps(state: &State, commits: impl Fn(u8, u8) -> bool) -> Vec<State> {
    let mut next = Vec::new();
    if state.heads[0] < NEWEST {
        let mut produced = *state;
        produced.heads[0] += 1;
        next.push(produced);
    }
    for node in 1..NODES {
        for from in (0..NODES).filter(|from| *from != node) {
            // Whatever the other one has ever had may arrive now.
            for object in 1..=state.heads[from] {
                let mut taken = *state;
                taken.heads[node] = taken.heads[node].max(object);
                let is_parent = state.parents[node] == Some(from as u8);
                if is_parent || commits(object, state.heads[node]) {
                    taken.parents[node] = Some(from as u8);
                    next.push(taken);
                }
            }
        }
    }
    next
}

fn has_loop(state: &State) -> bool {
    (1..NODES).any(|start| {
        let mut at = start;
        for _ in 0..NODES {
            match state.parents[at] {
                Some(parent) => at = usize::from(parent),
                None => return false,
            }
        }
        // Whoever has taken as many steps as there are nodes has met one twice.
        true
    })
}

/// The first state with a loop, and how many states were seen.
fn search(commits: impl Fn(u8, u8) -> bool + Copy) -> (Option<State>, usize) {
    let begin = State { heads: [0; NODES], parents: [None; NODES] };
    let (mut seen, mut open) = (BTreeSet::from([begin]), VecDeque::from([begin]));
    while let Some(state) = open.pop_front() {
        if has_loop(&state) {
            return (Some(state), seen.len());
        }
        for next in steps(&state, commits) {
            if seen.insert(next) {
                open.push_back(next);
            }
        }
    }
    (None, seen.len())
}

#[test]
fn no_reachable_state_has_a_loop() {
    let (found, seen) = search(|object, head| object > head);
    assert_eq!(found, None);
    assert!(seen > 1_000, "only {seen} states");
}

#[test]
fn a_rule_that_admits_equals_or_anything_closes_loops() {
    assert!(search(|object, head| object >= head).0.is_some());
    assert!(search(|_, _| true).0.is_some());
}
