//! What records may do to a brain, whoever means ill, and what its own may not do to others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{brain, config, credential, signed_by};
use levada_overlay::message::{Aged, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use levada_overlay::node::view::View;
use levada_overlay::record::{Facts, LinkFacts, NodeFacts, Record, STREAMS_MAX, Version};
use levada_overlay::{Event, Input, LinkId, Message, Node, NodeId, Output, StreamFacts, StreamName, Time};

const OWN: NodeId = NodeId([1; 32]);
const OWN_EPOCH: u64 = 1_700_000_000_000_000;
const LINK: LinkId = LinkId(1);

/// A node with one neighbour, which has said hello and all it knows.
fn node() -> Node {
    let mut node = brain(config(OWN, OWN_EPOCH));
    let rtt = Duration::from_millis(1);
    let up = Input::LinkUp { link: LINK, peer: NodeId([2; 32]), name: "two".to_owned(), dialed: false, rtt };
    node.handle_input(up, Time::ZERO);
    let hello = Message::Hello(Hello { version: PROTOCOL_VERSION, version_min: PROTOCOL_VERSION_MIN });
    node.handle_input(Input::Message { link: LINK, message: hello }, Time::ZERO);
    outputs(&mut node);
    node
}

fn outputs(node: &mut Node) -> Vec<Output> {
    std::iter::from_fn(|| node.poll_output()).collect()
}

fn node_facts(name: &str) -> Facts {
    Facts::Node(NodeFacts { credential: credential(name), addresses: Vec::new(), http: None, transit: true })
}

fn record(author: NodeId, epoch: u64, seq: u64, facts: Facts) -> Record {
    Record::make(author, Version { epoch, seq }, facts, |_| signed_by(author))
}

fn hand_in(node: &mut Node, record: Record) {
    let message = Message::Records(vec![Aged { body: record.body, signature: record.signature, age_s: 0 }]);
    node.handle_input(Input::Message { link: LINK, message }, Time::from_micros(1_000_000));
}

/// The records that a node sends.
fn records(outputs: &[Output]) -> Vec<Record> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { message: Message::Records(records), .. } => Some(records.clone()),
        _ => None,
    });
    sent.flatten().map(|aged| aged.parse().unwrap()).collect()
}

/// Versions of the own records that a node sends.
fn own_versions(outputs: &[Output]) -> Vec<Version> {
    records(outputs).into_iter().filter(|record| record.author == OWN).map(|record| record.version).collect()
}

fn refusals(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Event(Event::RecordRefused { .. }))).count()
}

#[test]
fn a_forged_own_record_changes_nothing() {
    let mut node = node();
    for epoch in [OWN_EPOCH + 1, u64::MAX] {
        let mut forged = record(OWN, epoch, 1, node_facts("own"));
        forged.signature = signed_by(NodeId([2; 32]));
        hand_in(&mut node, forged);
        let outputs = outputs(&mut node);
        assert_eq!((own_versions(&outputs), refusals(&outputs)), (Vec::new(), 1));
    }
    assert_eq!(node.counters().records_refused, 2);
}

#[test]
fn an_own_record_of_a_life_with_a_later_clock_is_outdone() {
    let mut node = node();
    hand_in(&mut node, record(OWN, OWN_EPOCH + 5, 3, node_facts("own")));
    let versions = own_versions(&outputs(&mut node));
    assert!(!versions.is_empty() && versions.iter().all(|version| version.epoch == OWN_EPOCH + 6), "{versions:?}");
}

#[test]
fn an_own_record_of_no_possible_life_is_refused_whoever_signed_it() {
    let mut node = node();
    hand_in(&mut node, record(OWN, u64::MAX, u64::MAX, node_facts("own")));
    let outputs = outputs(&mut node);
    assert_eq!((own_versions(&outputs), refusals(&outputs)), (Vec::new(), 1));
}

/// Listings that a node sends: the buckets.
fn listings(outputs: &[Output]) -> Vec<u32> {
    let listed = outputs.iter().filter_map(|output| match output {
        Output::Send { message: Message::Listing { bucket, .. }, .. } => Some(*bucket),
        _ => None,
    });
    listed.collect()
}

/// Records of one author may take different ways: one that overtakes that of its node is fetched again with it.
#[test]
fn who_speaks_of_a_stranger_is_asked_for_all_of_it_once() {
    let mut node = node();
    let (author, other) = (NodeId([7; 32]), NodeId([8; 32]));
    let early = || record(author, 1, 2, Facts::Links(vec![link_to(other)]));
    hand_in(&mut node, early());
    let first = outputs(&mut node);
    assert_eq!((listings(&first), refusals(&first)), (vec![7], 0));
    hand_in(&mut node, early());
    let again = outputs(&mut node);
    assert_eq!((listings(&again), refusals(&again)), (vec![], 1), "nothing came of it");
    hand_in(&mut node, record(author, 1, 1, node_facts("late")));
    hand_in(&mut node, early());
    assert_eq!(refusals(&outputs(&mut node)), 0);
    let (next, unknown) = (NodeId([71; 32]), record(NodeId([71; 32]), 1, 1, Facts::Streams(Vec::new())));
    hand_in(&mut node, unknown);
    assert_eq!(listings(&outputs(&mut node)), [7], "{next} is of the same bucket");
}

fn id(number: u32) -> NodeId {
    let mut id = [9; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    NodeId(id)
}

fn link_to(peer: NodeId) -> LinkFacts {
    LinkFacts { peer, out_us: 1_000, in_us: 1_000, rtt_us: 2_000 }
}

fn has_link(view: &View, from: &str, to: &str) -> bool {
    view.links.iter().any(|link| link.from == from && link.to == to)
}

#[test]
fn an_author_of_invented_links_keeps_nobody_out_of_the_graph() {
    let mut node = node();
    let liar = NodeId([3; 32]);
    hand_in(&mut node, record(liar, 1, 1, node_facts("liar")));
    for seq in 0..20 {
        let invented = (0..1_024).map(|peer| link_to(id(seq * 1_024 + peer))).collect();
        hand_in(&mut node, record(liar, 1, u64::from(seq) + 2, Facts::Links(invented)));
    }
    let (late, later) = (NodeId([4; 32]), NodeId([5; 32]));
    hand_in(&mut node, record(late, 1, 1, node_facts("late")));
    hand_in(&mut node, record(late, 1, 2, Facts::Links(vec![link_to(later)])));
    hand_in(&mut node, record(later, 1, 1, node_facts("later")));
    hand_in(&mut node, record(later, 1, 2, Facts::Links(vec![link_to(late)])));
    assert_eq!(node.counters().records_refused, 0);
    let view = node.view();
    assert!(has_link(&view, "late", "later") && has_link(&view, "later", "late"), "{:?}", view.links);
}

#[test]
fn more_streams_than_one_record_tells_of_find_no_room_and_make_none_that_others_refuse() {
    let mut node = node();
    let at = Time::from_micros(1_000_000);
    for n in 0..STREAMS_MAX + 5 {
        assert_eq!(node.has_room_to_publish(), n < STREAMS_MAX, "after {n}");
        let name = StreamName::new(&format!("cam{n}")).unwrap();
        node.handle_input(Input::Publish(StreamFacts::new(name, 7)), at);
    }
    node.handle_timeout(at + Duration::from_secs(1));
    let told = records(&outputs(&mut node)).into_iter().filter_map(|record| match record.facts {
        Facts::Streams(streams) => Some(streams.len()),
        _ => None,
    });
    assert_eq!(told.last(), Some(STREAMS_MAX));
}
