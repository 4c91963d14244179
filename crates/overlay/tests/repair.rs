//! One brain among neighbours that a script plays: what it asks of whom while a parent falters, refuses or goes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::time::Duration;

use common::{brain, config};
use levada_overlay::link::{HEARD_ALERT, HEARD_INTERVAL};
use levada_overlay::message::{Hello, Join, Mode, PROTOCOL_VERSION, Refusal, Report, Supply};
use levada_overlay::{Config, FeedId, Input, LinkId, Message, Node, NodeId, Output, Position, Route, StreamName, Time};

const OWN: NodeId = NodeId([9; 32]);
const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const CHILD: LinkId = LinkId(3);
const RTT: Duration = Duration::from_millis(2);
/// Over an ocean.
const FAR: Duration = Duration::from_millis(130);
/// The least patience of a link; these are shorter than it by far.
const PATIENCE: Duration = Duration::from_millis(60);

/// What the brain asked of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Join(LinkId, FeedId, Mode),
    Leave(LinkId, FeedId),
}

struct Script {
    brain: Node,
    now: Time,
    /// Of all links.
    rtt: Duration,
    /// Links whose other end answers.
    alive: BTreeSet<LinkId>,
    echoes: Vec<(Time, LinkId, u64)>,
    /// The newest probe over each link whose other end is silent.
    unanswered: BTreeMap<LinkId, u64>,
    asked: Vec<Asked>,
    /// Whom it refused, and whom it named instead.
    refused: Vec<(LinkId, Vec<NodeId>)>,
    /// What neighbours were told last of whether the stream is to be had here.
    carries: bool,
    /// What the child was told last of its supply.
    told: Option<Report>,
    /// Since when the watched feed and its backup come the ways that they do.
    ways_since: Time,
}

fn id(link: LinkId) -> NodeId {
    NodeId([link.0 as u8; 32])
}

fn cam() -> StreamName {
    StreamName::new("cam").unwrap()
}

impl Script {
    /// Two neighbours that say they carry the stream, and one that may ask for it.
    fn new(rtt: Duration) -> Self {
        Self::with(config(OWN, 1), rtt)
    }

    fn with(config: Config, rtt: Duration) -> Self {
        let mut script = Self {
            brain: brain(config),
            now: Time::ZERO,
            rtt,
            alive: BTreeSet::from([A, B, CHILD]),
            echoes: Vec::new(),
            unanswered: BTreeMap::new(),
            asked: Vec::new(),
            refused: Vec::new(),
            carries: false,
            told: None,
            ways_since: Time::ZERO,
        };
        for (link, name) in [(A, "a"), (B, "b"), (CHILD, "child")] {
            script.input(Input::LinkUp { link, peer: id(link), name: name.into(), dialed: true, rtt });
            let hello = Hello { version: PROTOCOL_VERSION, version_min: PROTOCOL_VERSION };
            script.message(link, Message::Hello(hello));
        }
        for link in [A, B] {
            script.message(link, Message::Carries { stream: cam(), yes: true });
        }
        script.run(Duration::from_secs(3));
        script
    }

    fn input(&mut self, input: Input) {
        self.brain.handle_input(input, self.now);
        while let Some(output) = self.brain.poll_output() {
            match output {
                Output::Probe { link, nonce } if self.alive.contains(&link) => {
                    self.echoes.push((self.now + self.rtt, link, nonce));
                }
                Output::Probe { link, nonce } => {
                    self.unanswered.insert(link, nonce);
                }
                Output::Join { link, join, .. } => self.asked.push(Asked::Join(link, join.feed, join.mode)),
                Output::Send { link, message: Message::Leave(feed) } => self.asked.push(Asked::Leave(link, feed)),
                Output::Send { message: Message::Carries { yes, .. }, .. } => self.carries = yes,
                Output::Route { route: Some(Route { watch: Some(watch), .. }), .. } => {
                    self.ways_since = watch.ways_since
                }
                Output::Send { link, message: Message::Refuse { alternates, .. } } => {
                    self.refused.push((link, alternates))
                }
                Output::Send { link: CHILD, message: Message::Supply { report, .. } } => self.told = Some(report),
                _ => {}
            }
        }
    }

    fn message(&mut self, link: LinkId, message: Message) {
        self.input(Input::Message { link, message });
    }

    fn fall_silent(&mut self, link: LinkId) {
        self.alive.remove(&link);
        self.echoes.retain(|(_, of, _)| *of != link);
    }

    /// Lets time pass.
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
                let (_, link, nonce) = self.echoes.remove(at);
                self.input(Input::Echo { link, nonce });
            } else {
                self.brain.handle_timeout(self.now);
                self.input(Input::Rate { stream: cam(), bps: 1_000_000 });
            }
        }
        self.now = end;
    }

    /// The feed of this mode that was asked of a neighbour and not left since.
    fn feed(&self, link: LinkId, mode: Mode) -> Option<FeedId> {
        let left = |feed: &FeedId| self.asked.contains(&Asked::Leave(link, *feed));
        let joined = self.asked.iter().rev().find_map(|asked| match *asked {
            Asked::Join(at, feed, of) if (at, of) == (link, mode) => Some(feed),
            _ => None,
        });
        joined.filter(|feed| !left(feed))
    }

    fn joins(&self, link: LinkId, mode: Mode) -> usize {
        self.asked.iter().filter(|asked| matches!(asked, Asked::Join(at, _, of) if (*at, *of) == (link, mode))).count()
    }

    /// A neighbour says that it is well.
    fn flows(&mut self, link: LinkId, feed: FeedId) {
        let report = Report { supply: Supply::Flowing, path: [id(link)].into(), patience: Duration::ZERO };
        self.message(link, Message::Supply { feed, report });
    }

    /// A feed brings an object newer than all before.
    fn newer(&mut self, feed: FeedId) {
        let position = Position { group: 1_000 + self.now.as_micros(), timeline: 1, index: 0 };
        self.input(Input::Newer { feed, position });
    }

    /// A reader, fed by A, with B as the backup.
    fn fed(rtt: Duration) -> (Self, FeedId) {
        let mut script = Self::new(rtt);
        script.alive.remove(&CHILD);
        script.input(Input::Subscribe(cam()));
        let first = [A, B].into_iter().find_map(|link| Some((link, script.feed(link, Mode::Full)?)));
        let (link, feed) = first.expect("somebody is asked");
        assert_eq!(link, A, "of equals the first");
        script.flows(A, feed);
        script.newer(feed);
        script.run(Duration::from_secs(1));
        if let Some(shadow) = script.feed(B, Mode::Shadow) {
            script.flows(B, shadow);
        }
        (script, feed)
    }

    /// A reader whose parent A fell silent, and whom B, that was asked for what is missing, feeds; the verdict on A is out.
    fn hedged() -> (Self, FeedId) {
        let (mut script, feed) = Self::fed(RTT);
        script.fall_silent(A);
        script.behind(feed, true);
        script.run(PATIENCE * 2);
        let hedge = script.feed(B, Mode::Full).expect("the backup is asked for what is missing");
        script.flows(B, hedge);
        script.newer(hedge);
        (script, hedge)
    }

    fn behind(&mut self, feed: FeedId, announced: bool) {
        self.input(Input::Behind { feed, since: Some(self.now), announced, silent: true });
    }
}

#[test]
fn who_refuses_to_give_more_is_not_pressed_and_another_one_is_asked() {
    let mut script = Script::new(RTT);
    let join = |feed, mode| Message::Join(Join { feed: FeedId(feed), stream: cam(), resume: None, mode });
    script.message(CHILD, join(1, Mode::Shadow));
    let shadow = script.feed(A, Mode::Shadow).expect("the first is asked how far it is");
    script.flows(A, shadow);
    script.newer(shadow);
    script.message(CHILD, join(2, Mode::Full));
    for _ in 0..3 {
        let asked = script.asked.iter().rev().find_map(|asked| match *asked {
            Asked::Join(A, feed, Mode::Full) => Some(feed),
            _ => None,
        });
        let refused = Message::Refuse { feed: asked.unwrap(), reason: Refusal::Busy, alternates: vec![] };
        script.message(A, refused);
    }
    assert_eq!(script.joins(A, Mode::Full), 1, "{:?}", script.asked);
    assert_eq!(script.joins(B, Mode::Full), 1, "{:?}", script.asked);
}

/// Its child's parent came to life again for a moment: it wanted all, then fronts, then all. A parent has one feed for each
/// child and stream, so the first one is over once the second was asked for.
fn wants_all_again() -> (Script, FeedId, FeedId) {
    let mut script = Script::new(FAR);
    let join = |feed, mode| Message::Join(Join { feed: FeedId(feed), stream: cam(), resume: None, mode });
    script.message(CHILD, join(1, Mode::Full));
    let all = script.feed(A, Mode::Full).unwrap();
    script.flows(A, all);
    script.newer(all);
    script.message(CHILD, join(2, Mode::Shadow));
    let fronts = script.feed(A, Mode::Shadow).expect("it asks for no more than is wanted");
    script.message(CHILD, join(3, Mode::Full));
    let again = script.feed(A, Mode::Full).unwrap();
    assert_ne!(again, all, "{:?}", script.asked);
    let asked = |feed, mode| script.asked.iter().position(|asked| *asked == Asked::Join(A, feed, mode));
    assert!(asked(again, Mode::Full) > asked(fronts, Mode::Shadow), "{:?}", script.asked);
    (script, fronts, again)
}

#[test]
fn who_wants_all_again_before_its_parent_has_answered_to_less_asks_for_all_again() {
    let (mut script, fronts, again) = wants_all_again();
    // The answer to the second comes before that to the third, and changes nothing.
    script.flows(A, fronts);
    script.flows(A, again);
    script.newer(again);
    script.run(Duration::from_secs(5));
    assert_eq!(script.feed(A, Mode::Full), Some(again), "{:?}", script.asked);
}

/// Neither the first nor the second feed is left then, so somebody else is asked at once.
#[test]
fn who_wants_all_again_and_is_refused_has_no_parent_any_more() {
    let (mut script, fronts, again) = wants_all_again();
    script.flows(A, fronts);
    script.message(A, Message::Refuse { feed: again, reason: Refusal::Busy, alternates: vec![] });
    assert!(script.feed(B, Mode::Full).is_some(), "{:?}", script.asked);
}

#[test]
fn a_pause_of_the_origin_moves_nobody_and_is_over_when_it_is_over() {
    let (mut script, mut feed) = Script::fed(RTT);
    for _ in 0..4 {
        // The feed is asked for anew, once in a while; each time it is as silent as before.
        script.behind(feed, false);
        script.run(Duration::from_secs(3));
        let anew = script.feed(A, Mode::Full).expect("the parent is kept");
        if anew != feed {
            script.flows(A, anew);
            feed = anew;
        }
    }
    assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
    let why = script.brain.why(&cam(), script.now).unwrap();
    assert_eq!((why.parent.as_deref(), why.state.as_str()), (Some("a"), "fed"));
}

/// The backup, which is nearer, announces first what comes after it: the parent is not late since the pause began.
#[test]
fn what_is_announced_after_a_pause_of_the_origin_is_missing_only_since_then() {
    let (mut script, feed) = Script::fed(RTT);
    script.behind(feed, false);
    script.run(PATIENCE * 3);
    script.behind(feed, true);
    script.run(PATIENCE);
    assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
}

/// Round trips are for what was lost on the way, not for a parent from whom nothing comes at all.
#[test]
fn a_parent_far_away_that_falls_silent_is_passed_over_before_a_round_trip() {
    let (mut script, feed) = Script::fed(FAR);
    script.fall_silent(A);
    script.run(PATIENCE / 2);
    script.behind(feed, true);
    script.run(FAR - PATIENCE / 2);
    assert!(script.feed(B, Mode::Full).is_some(), "{:?}", script.asked);
}

/// It answered when something was missing: that it lived then is no reason to wait for it now.
#[test]
fn a_late_parent_that_falls_silent_is_passed_over_as_soon_as_another() {
    let (mut script, feed) = Script::fed(FAR);
    script.input(Input::Behind { feed, since: Some(script.now), announced: true, silent: false });
    script.run(PATIENCE / 6);
    script.input(Input::Heard { link: A, since: script.now });
    script.fall_silent(A);
    script.run(PATIENCE);
    assert_eq!(script.joins(B, Mode::Full), 0, "what was lost on the way gets the time to come again");
    script.behind(feed, true);
    script.run(FAR - PATIENCE / 2);
    assert_eq!(script.joins(B, Mode::Full), 1, "{:?}", script.asked);
}

/// It brought nothing before it died either, so its feed fell silent only once; but it was heard.
#[test]
fn a_parent_that_dies_while_it_repairs_its_supply_is_passed_over_like_any_other() {
    let (mut script, feed) = Script::fed(FAR);
    let report = Report { supply: Supply::Repairing, path: [id(A)].into(), patience: Duration::ZERO };
    script.message(A, Message::Supply { feed, report });
    script.behind(feed, true);
    script.run(PATIENCE * 5);
    assert_eq!(script.joins(B, Mode::Full), 0, "it answers, and gets its time");
    script.fall_silent(A);
    script.run(PATIENCE);
    assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
    script.run(PATIENCE * 3);
    assert_eq!(script.joins(B, Mode::Full), 1, "{:?}", script.asked);
}

/// The origin has a pause, and the machine stands still for a moment: what came meanwhile is not read yet.
#[test]
fn who_was_late_itself_asks_the_parent_again_before_another_one() {
    let (mut script, feed) = Script::fed(RTT);
    script.behind(feed, false);
    script.run(RTT);
    script.now = script.now + PATIENCE * 15;
    script.brain.handle_timeout(script.now);
    script.run(HEARD_ALERT);
    script.input(Input::Heard { link: A, since: script.now });
    script.run(PATIENCE);
    assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
}

/// What it lacks was lost twice; whoever is asked for it has to ask others first, and they are far away.
#[test]
fn a_parent_that_lives_is_not_left_before_whoever_was_asked_had_time_to_bring_anything() {
    let (mut script, feed) = Script::fed(FAR);
    script.input(Input::Behind { feed, since: Some(script.now), announced: true, silent: false });
    let end = script.now + Duration::from_millis(200) * 3 + PATIENCE;
    while script.now < end {
        let since = script.now;
        script.run(HEARD_INTERVAL);
        script.input(Input::Heard { link: A, since });
    }
    let hedge = script.feed(B, Mode::Full).expect("the backup is asked for what is missing");
    assert_eq!(script.feed(A, Mode::Full), Some(feed), "{:?}", script.asked);
    script.input(Input::Behind { feed, since: None, announced: true, silent: false });
    assert_eq!(script.feed(A, Mode::Full), Some(feed), "it is the parent again: {:?}", script.asked);
    assert!(script.feed(B, Mode::Shadow) > Some(hedge), "{:?}", script.asked);
}

/// It died within the interval of which this tells: what came, came before.
#[test]
fn what_came_before_a_parent_was_asked_is_no_answer() {
    let (mut script, feed) = Script::fed(FAR);
    script.fall_silent(A);
    script.run(PATIENCE / 2);
    script.behind(feed, true);
    let before = Time::from_micros(script.now.as_micros() - 1);
    script.run(PATIENCE / 6);
    script.input(Input::Heard { link: A, since: before });
    script.run(FAR - PATIENCE * 2 / 3);
    assert!(script.feed(B, Mode::Full).is_some(), "{:?}", script.asked);
}

#[test]
fn a_parent_far_away_that_echoes_gets_the_time_to_send_again() {
    // The second has a queue on its way, or a satellite.
    for rtt in [FAR, FAR * 3] {
        let (mut script, feed) = Script::fed(rtt);
        script.behind(feed, true);
        let end = script.now + Duration::from_millis(300);
        for pause in iter::once(HEARD_ALERT).chain(iter::repeat(HEARD_INTERVAL)) {
            script.run(Duration::from_millis(1));
            let since = script.now;
            script.run(pause);
            script.input(Input::Heard { link: A, since });
            if script.now > end {
                break;
            }
        }
        assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
    }
}

#[test]
fn who_has_just_repaired_its_supply_gets_a_moment_to_pass_it_on() {
    let (mut script, feed) = Script::fed(RTT);
    script.behind(feed, true);
    let told = |supply| Report { supply, path: [id(A)].into(), patience: Duration::ZERO };
    script.message(A, Message::Supply { feed, report: told(Supply::Repairing) });
    script.run(PATIENCE * 5);
    script.message(A, Message::Supply { feed, report: told(Supply::Flowing) });
    script.run(PATIENCE / 2);
    assert_eq!(script.joins(B, Mode::Full), 0, "{:?}", script.asked);
    script.run(PATIENCE);
    assert_eq!(script.joins(B, Mode::Full), 1, "a moment only");
}

/// What people are told of it.
#[test]
fn it_is_told_why_nothing_comes() {
    let (mut script, feed) = Script::fed(RTT);
    let state = |script: &mut Script| script.brain.why(&cam(), script.now).unwrap().state;
    assert_eq!(state(&mut script), "fed");
    let told =
        |supply| Message::Supply { feed, report: Report { supply, path: [id(A)].into(), patience: Duration::ZERO } };
    script.message(A, told(Supply::Repairing));
    script.behind(feed, true);
    assert_eq!(state(&mut script), "the parent is repairing its own supply");
    script.message(B, Message::Carries { stream: cam(), yes: false });
    script.input(Input::LinkDown { link: B, reason: "gone".into(), unwanted: false });
    script.message(A, told(Supply::Waiting));
    assert_eq!(state(&mut script), "the parent waits for a path");
}

/// A squeezed parent still brings something: if what it lacks were forgotten when the backup is asked, it would seem well.
#[test]
fn asking_the_backup_makes_nobody_think_better_of_the_parent() {
    let (mut script, feed) = Script::fed(RTT);
    let before = script.ways_since;
    script.behind(feed, true);
    script.run(PATIENCE * 3);
    assert!(script.feed(B, Mode::Full).is_some(), "{:?}", script.asked);
    assert!(before > Time::ZERO && script.ways_since <= before, "{before} became {}", script.ways_since);
}

/// Objects come that way already, and how late they may be for those below depends on it.
#[test]
fn children_are_told_the_way_over_the_backup_before_the_verdict() {
    let (mut script, feed) = Script::fed(RTT);
    script.alive.insert(CHILD);
    script.message(CHILD, Message::Join(Join { feed: FeedId(7), stream: cam(), resume: None, mode: Mode::Full }));
    let path = |script: &Script| script.told.as_ref().map(|report| report.path.to_vec());
    assert_eq!(path(&script), Some(vec![id(A), OWN]));
    script.fall_silent(A);
    script.behind(feed, true);
    script.run(PATIENCE);
    let hedge = script.feed(B, Mode::Full).expect("the backup is asked for what is missing");
    script.flows(B, hedge);
    script.newer(hedge);
    assert_eq!(path(&script), Some(vec![id(B), OWN]));
    // The parent was merely late.
    script.newer(feed);
    assert_eq!(path(&script), Some(vec![id(A), OWN]));
}

/// The suspected parent's link goes before the verdict: it must not fall on the one that took over.
#[test]
fn the_verdict_dies_with_the_suspect() {
    let (mut script, hedge) = Script::hedged();
    script.input(Input::LinkDown { link: A, reason: "gone".into(), unwanted: false });
    script.run(Duration::from_secs(1));
    assert_eq!(script.feed(B, Mode::Full), Some(hedge), "{:?}", script.asked);
    let why = script.brain.why(&cam(), script.now).unwrap();
    assert_eq!((why.parent.as_deref(), why.switches.len()), (Some("b"), 2));
}

/// A node that was dialled because nobody else was left says what it has as soon as its link is up.
#[test]
fn whoever_turns_out_to_have_the_stream_is_asked_at_once() {
    let (mut script, feed) = Script::fed(RTT);
    script.message(B, Message::Carries { stream: cam(), yes: false });
    script.fall_silent(A);
    script.behind(feed, true);
    script.run(PATIENCE * 2);
    assert_eq!(script.joins(B, Mode::Full), 0);
    script.message(B, Message::Carries { stream: cam(), yes: true });
    assert_eq!(script.joins(B, Mode::Full), 1, "{:?}", script.asked);
}

/// It was stopped, and goes on before its link was given up.
#[test]
fn a_parent_that_fell_silent_is_of_use_again_as_soon_as_it_is_heard() {
    let (mut script, hedge) = Script::hedged();
    script.run(Duration::from_secs(1));
    assert_eq!(script.feed(A, Mode::Full), None, "the verdict is spoken");
    script.alive.insert(A);
    script.run(Duration::from_secs(2));
    script.fall_silent(B);
    script.behind(hedge, true);
    script.run(PATIENCE * 2);
    assert_eq!(script.joins(A, Mode::Full), 2, "{:?}", script.asked);
}

/// A narrow link fills, and answers come late: whoever was slower, or would have to be dialled over the same way, would take of what little it
/// carries.
#[test]
fn a_parent_that_was_just_heard_is_not_left_for_one_that_was_slower() {
    let (mut script, feed) = Script::fed(RTT);
    script.input(Input::Behind { feed, since: Some(script.now), announced: true, silent: false });
    script.run(PATIENCE * 2);
    let hedge = script.feed(B, Mode::Full).expect("the backup is asked");
    script.flows(B, hedge);
    script.newer(hedge);
    script.run(Duration::from_secs(1));
    assert_eq!(script.feed(A, Mode::Full), None, "it lives, and was slower");
    script.input(Input::Heard { link: B, since: script.now });
    script.fall_silent(B);
    script.input(Input::Behind { feed: hedge, since: Some(script.now), announced: false, silent: false });
    script.run(PATIENCE * 2);
    assert_eq!(script.joins(A, Mode::Full), 1, "{:?}", script.asked);
    script.run(PATIENCE);
    assert_eq!(script.joins(A, Mode::Full), 2, "it is silent: {:?}", script.asked);
}

/// A parent that answers late, when the backup has been asked already, and brings nothing.
#[test]
fn every_verdict_comes() {
    let (mut script, feed) = Script::fed(RTT);
    script.fall_silent(A);
    script.behind(feed, false);
    script.run(PATIENCE * 2);
    let hedge = script.feed(B, Mode::Full).expect("the backup is asked");
    let nonce = script.unanswered[&A];
    script.input(Input::Echo { link: A, nonce });
    script.flows(B, hedge);
    script.newer(hedge);
    script.run(Duration::from_secs(2));
    assert_eq!(script.feed(A, Mode::Full), None, "{:?}", script.asked);
}

/// They asked while nobody knew how much the stream takes.
#[test]
fn who_is_one_too_many_for_the_bandwidth_is_sent_elsewhere_once_that_is_known() {
    let config = Config { egress_max_bps: Some(5_000_000), ..config(OWN, 1) };
    let mut script = Script::with(config, RTT);
    for link in [B, CHILD] {
        script.message(link, Message::Join(Join { feed: FeedId(7), stream: cam(), resume: None, mode: Mode::Full }));
    }
    let feed = script.feed(A, Mode::Full).expect("it asks for what its children want");
    script.flows(A, feed);
    script.newer(feed);
    assert_eq!(script.refused, []);
    script.input(Input::Rate { stream: cam(), bps: 4_000_000 });
    assert_eq!(script.refused, [(CHILD, vec![id(B), id(A)])], "the last is told who else has it");
    script.input(Input::Rate { stream: cam(), bps: 6_000_000 });
    assert_eq!(script.refused.len(), 1, "who was weighed once stays");
}

#[test]
fn neighbours_are_told_when_the_stream_is_no_more_to_be_had() {
    let (mut script, feed) = Script::fed(RTT);
    assert!(script.carries);
    script.input(Input::LinkDown { link: B, reason: "gone".into(), unwanted: false });
    script.message(A, Message::Refuse { feed, reason: Refusal::Busy, alternates: vec![] });
    assert!(!script.carries);
}
