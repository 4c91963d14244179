//! What an operator changes about the neighbours of a node, beside what the topology says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{brain, config};
use levada_overlay::node::view::NeighbourKind;
use levada_overlay::{HangUp, Input, LinkId, Neighbour, Node, NodeId, Output, Time};

/// A brain whose name comes first, so that it dials at once.
struct Script {
    node: Node,
    now: Time,
    next_link: u64,
}

fn neighbour(name: &str) -> Neighbour {
    Neighbour { name: name.to_owned(), addresses: vec![format!("{name}:7001")] }
}

impl Script {
    fn new(listed: &[&str]) -> Self {
        let mut script = Self { node: brain(config(NodeId([1; 32]), 1)), now: Time::ZERO, next_link: 1 };
        script.list(listed);
        script
    }

    fn list(&mut self, names: &[&str]) -> Vec<Output> {
        self.input(Input::Neighbours(names.iter().map(|name| neighbour(name)).collect()))
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.node.handle_input(input, self.now);
        std::iter::from_fn(|| self.node.poll_output()).collect()
    }

    fn up(&mut self, name: &str) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let mut id = [0; 32];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let rtt = Duration::from_millis(1);
        self.input(Input::LinkUp { link, peer: NodeId(id), name: name.to_owned(), dialed: true, rtt });
        link
    }

    fn down(&mut self, link: LinkId, unwanted: bool) {
        self.input(Input::LinkDown { link, reason: "gone".to_owned(), unwanted });
    }

    /// Whom the node dials within an hour, links that are up being silent meanwhile.
    fn dials(&mut self) -> Vec<String> {
        let mut dialled = Vec::new();
        let end = self.now + Duration::from_secs(3_600);
        while self.node.poll_timeout() <= end {
            self.now = self.node.poll_timeout();
            self.node.handle_timeout(self.now);
            while let Some(output) = self.node.poll_output() {
                if let Output::Dial(neighbour) = output {
                    dialled.push(neighbour.name);
                }
            }
        }
        dialled.dedup();
        dialled
    }

    fn kinds(&self) -> Vec<(String, NeighbourKind)> {
        self.node.view().neighbours.into_iter().map(|neighbour| (neighbour.name, neighbour.kind)).collect()
    }
}

fn hung_up(outputs: &[Output], link: LinkId) -> bool {
    outputs.contains(&Output::HangUp { link, reason: HangUp::Removed })
}

#[test]
fn what_an_operator_added_stays_whatever_the_topology_says() {
    let mut script = Script::new(&["two"]);
    let dialled = script.input(Input::Connect(neighbour("three")));
    assert!(dialled.contains(&Output::Dial(neighbour("three"))), "{dialled:?}");
    let link = script.up("three");
    assert!(!hung_up(&script.list(&["four"]), link));
    let kinds = [("four".to_owned(), NeighbourKind::Listed), ("three".to_owned(), NeighbourKind::Added)];
    assert_eq!(script.kinds(), kinds);
}

#[test]
fn what_an_operator_removed_stays_away_until_it_is_added_again() {
    let mut script = Script::new(&["two", "three"]);
    let (two, three) = (script.up("two"), script.up("three"));
    assert!(hung_up(&script.input(Input::Disconnect("two".to_owned())), two));
    script.list(&["two", "three"]);
    assert_eq!(script.kinds(), [("three".to_owned(), NeighbourKind::Listed)]);
    let dialled = script.input(Input::Connect(neighbour("two")));
    assert!(dialled.contains(&Output::Dial(neighbour("two"))), "{dialled:?}");
    // One that nobody listed, and that called by itself.
    let caller = script.up("five");
    assert!(hung_up(&script.input(Input::Disconnect("five".to_owned())), caller));
    assert!(!hung_up(&script.input(Input::Disconnect("nobody".to_owned())), three));
}

#[test]
fn who_was_removed_by_the_other_end_does_not_dial_it() {
    let mut script = Script::new(&["two"]);
    let link = script.up("two");
    script.down(link, true);
    assert_eq!(script.dials(), Vec::<String>::new());
    // The other end comes back by itself, or somebody asks for it here.
    let link = script.up("two");
    script.down(link, true);
    let dialled = script.input(Input::Connect(neighbour("two")));
    assert!(dialled.contains(&Output::Dial(neighbour("two"))), "{dialled:?}");
    // The negative control: a link that was lost is dialled again.
    let link = script.up("two");
    script.down(link, false);
    assert_eq!(script.dials(), ["two"]);
}
