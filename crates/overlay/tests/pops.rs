//! A leaf chooses among PoPs as viewers do, and nodes tell how loaded they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{brain, config, credential, signed_by};
use levada_overlay::message::{Aged, Hello, PROTOCOL_VERSION, Report, Supply};
use levada_overlay::pop::BETTER_LASTS;
use levada_overlay::record::{Facts, NodeFacts, Record, Version};
use levada_overlay::{
    Config, FeedId, Input, LinkId, Message, Mode, Node, NodeId, Output, Position, StreamFacts, StreamName, Time,
};

const OWN: NodeId = NodeId([9; 32]);
const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);
const SECOND: Duration = Duration::from_secs(1);

fn id(link: LinkId) -> NodeId {
    NodeId([link.0 as u8; 32])
}

fn cam() -> StreamName {
    StreamName::new("cam").unwrap()
}

/// A leaf among PoPs, all of which have the stream.
struct Leaf {
    brain: Node,
    now: Time,
    rtt: BTreeMap<LinkId, Duration>,
    echoes: Vec<(Time, LinkId, u64)>,
    /// Whom it asked last for the stream itself.
    asked: Option<(LinkId, FeedId)>,
    seq: u64,
    /// What it told A of its load.
    loads: Vec<u8>,
}

impl Leaf {
    fn new<const POPS: usize>(rtts_ms: [u64; POPS]) -> Self {
        let links = (1..).map(LinkId);
        let rtt: BTreeMap<LinkId, Duration> = links.zip(rtts_ms.map(Duration::from_millis)).collect();
        let brain = brain(Config { transit: false, ..config(OWN, 1) });
        let mut leaf = Self {
            brain,
            now: Time::ZERO,
            rtt: rtt.clone(),
            echoes: Vec::new(),
            asked: None,
            seq: 0,
            loads: Vec::new(),
        };
        for (link, rtt) in rtt {
            leaf.input(Input::LinkUp { link, peer: id(link), name: link.0.to_string(), dialed: true, rtt });
            let hello = Hello { version: PROTOCOL_VERSION, version_min: PROTOCOL_VERSION };
            leaf.input(Input::Message { link, message: Message::Hello(hello) });
            let name = format!("pop{}", link.0);
            let http = Some(format!("http://{name}.example"));
            leaf.told(
                link,
                Facts::Node(NodeFacts { credential: credential(&name), addresses: vec![], http, transit: true }),
            );
            leaf.told(link, Facts::Streams(vec![StreamFacts::new(cam(), 1)]));
        }
        leaf.run(SECOND * 3);
        leaf
    }

    /// A PoP's record comes.
    fn told(&mut self, pop: LinkId, facts: Facts) {
        self.seq += 1;
        let record = Record::make(id(pop), Version { epoch: 1, seq: self.seq }, facts, |_| signed_by(id(pop)));
        let aged = Aged { body: record.body, signature: record.signature, age_s: 0 };
        self.input(Input::Message { link: pop, message: Message::Records(vec![aged]) });
    }

    fn input(&mut self, input: Input) {
        self.brain.handle_input(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.brain.poll_output()).collect();
        for output in outputs {
            match output {
                Output::Probe { link, nonce } => self.echoes.push((self.now + self.rtt[&link], link, nonce)),
                Output::Join { link, join, .. } => self.answer(link, join.feed, join.mode),
                Output::Send { link: A, message: Message::Records(records) } => {
                    self.loads.extend(records.into_iter().filter_map(|aged| match aged.parse().unwrap().facts {
                        Facts::Load(percent) => Some(percent),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
    }

    /// Whoever is asked gives, and is as fast as it has to be.
    fn answer(&mut self, link: LinkId, feed: FeedId, mode: Mode) {
        let report = Report { supply: Supply::Flowing, path: [id(link)].into(), patience: Duration::ZERO };
        self.input(Input::Message { link, message: Message::Supply { feed, report } });
        if mode == Mode::Full {
            self.asked = Some((link, feed));
            let position = Position { group: 1_000 + self.now.as_micros(), timeline: 1, index: 0 };
            self.input(Input::Newer { feed, position });
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let echo = self.echoes.iter().map(|(at, ..)| *at).min().unwrap_or(Time::NEVER);
            let next = self.brain.poll_timeout().min(echo);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if echo <= next {
                let at = self.echoes.iter().position(|(at, ..)| *at == echo).unwrap();
                let (_, link, nonce) = self.echoes.swap_remove(at);
                self.input(Input::Echo { link, nonce });
            } else {
                self.brain.handle_timeout(self.now);
                self.drain();
            }
        }
        self.now = end;
    }

    fn pop(&self) -> Option<LinkId> {
        self.asked.map(|(link, _)| link)
    }

    fn watches(mut self) -> Self {
        self.input(Input::Subscribe(cam()));
        self.run(SECOND * 15);
        self
    }
}

#[test]
fn a_leaf_begins_at_the_nearest_pop() {
    assert_eq!(Leaf::new([40, 10]).watches().pop(), Some(B));
    assert_eq!(Leaf::new([10, 40]).watches().pop(), Some(A));
}

#[test]
fn streams_of_one_leaf_come_from_different_pops() {
    let mut leaf = Leaf::new([10, 40]);
    let film = StreamName::new("film").unwrap();
    leaf.told(B, Facts::Streams(vec![StreamFacts::new(cam(), 1), StreamFacts::new(film.clone(), 1)]));
    let mut leaf = leaf.watches();
    assert_eq!(leaf.pop(), Some(A));
    leaf.input(Input::Subscribe(film.clone()));
    leaf.run(SECOND * 15);
    let view = leaf.brain.view();
    let parent = |name: &StreamName| {
        view.streams.iter().find(|stream| stream.name == name.as_str()).and_then(|stream| stream.parent.clone())
    };
    assert_eq!((parent(&cam()).as_deref(), parent(&film).as_deref()), (Some("1"), Some("2")));
}

#[test]
fn of_two_that_are_about_as_near_the_less_loaded_one_is_chosen() {
    let mut leaf = Leaf::new([50, 60]);
    leaf.told(A, Facts::Load(40));
    assert_eq!(leaf.watches().pop(), Some(B));
}

#[test]
fn a_leaf_moves_to_a_pop_that_is_lastingly_better_and_not_before() {
    let mut leaf = Leaf::new([40, 60]).watches();
    assert_eq!(leaf.pop(), Some(A));
    leaf.rtt.insert(A, Duration::from_millis(160));
    leaf.run(BETTER_LASTS - SECOND);
    assert_eq!(leaf.pop(), Some(A), "it may be better again soon");
    leaf.run(SECOND * 15);
    assert_eq!(leaf.pop(), Some(B));
}

/// It began before it knew of the better one, as viewers do that start together with the mesh.
#[test]
fn a_first_choice_is_mended_soon_and_once() {
    let mut leaf = Leaf::new([160, 10]);
    leaf.told(B, Facts::Streams(Vec::new()));
    leaf.input(Input::Subscribe(cam()));
    leaf.run(SECOND);
    assert_eq!(leaf.pop(), Some(A));
    leaf.told(B, Facts::Streams(vec![StreamFacts::new(cam(), 1)]));
    leaf.run(SECOND);
    assert_eq!(leaf.pop(), Some(A), "it may be a mistake");
    leaf.run(SECOND * 2);
    assert_eq!(leaf.pop(), Some(B));
    leaf.rtt.insert(B, Duration::from_millis(300));
    leaf.run(BETTER_LASTS - SECOND);
    assert_eq!(leaf.pop(), Some(B), "once");
}

#[test]
fn each_pop_must_have_been_better_for_itself() {
    let mut leaf = Leaf::new([40, 60, 300]).watches();
    assert_eq!(leaf.pop(), Some(A));
    leaf.rtt.insert(A, Duration::from_millis(160));
    leaf.run(BETTER_LASTS - SECOND * 12);
    leaf.rtt.insert(C, Duration::from_millis(40));
    leaf.run(SECOND * 6);
    leaf.rtt.insert(B, Duration::from_millis(160));
    leaf.run(SECOND * 15);
    assert_eq!(leaf.pop(), Some(A), "neither was better for long enough");
    leaf.run(BETTER_LASTS);
    assert_eq!(leaf.pop(), Some(C));
}

#[test]
fn little_gain_moves_no_leaf() {
    let mut leaf = Leaf::new([40, 60]).watches();
    leaf.rtt.insert(A, Duration::from_millis(70));
    leaf.run(BETTER_LASTS * 3);
    assert_eq!(leaf.pop(), Some(A));
}

#[test]
fn pops_are_listed_with_their_load_and_their_distance() {
    let mut leaf = Leaf::new([10, 20]);
    leaf.told(B, Facts::Load(70));
    let pops = leaf.brain.pops(Some(&cam()));
    let seen: Vec<_> = pops.iter().map(|pop| (pop.name.as_str(), pop.stream_metric_us, pop.load_percent)).collect();
    assert_eq!(seen, [("pop1", Some(0), 0), ("pop2", Some(0), 70)]);
    assert!(leaf.brain.pops(None).iter().all(|pop| pop.stream_metric_us.is_none() && pop.http.ends_with(".example")));
}

#[test]
fn a_load_is_told_when_it_has_changed_for_some_seconds_and_in_coarse_steps() {
    let mut node = Leaf::new([10, 10]);
    let mut told = |count: u64| {
        node.input(Input::Viewers { count, max: 100 });
        node.run(SECOND * 6);
        std::mem::take(&mut node.loads)
    };
    let nothing: [u8; 0] = [];
    assert_eq!(told(5), nothing, "five viewers of a hundred are no load");
    assert_eq!(told(50), [50]);
    assert_eq!(told(55), nothing);
    assert_eq!(told(0), [0]);
}
