//! Random failures by rule, and what must hold throughout (DESIGN 7) from what nodes and viewers report. Same seed, same
//! failures in the same order; what comes of them depends on the machine too.

mod invariants;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use levada_sim::Action;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use self::invariants::Invariants;
use crate::check::Check;
use crate::file::Name;
use crate::mesh::{Mesh, MeshError, chain};
use crate::run::Observation;
use crate::viewers::ViewerId;

/// Pause between two failures, and how long one lasts, in milliseconds. Tuned: several overlap, most nodes are whole.
const PAUSE_MS: std::ops::Range<u64> = 1_000..5_000;
const LASTS_MS: std::ops::Range<u64> = 2_000..15_000;
/// Of all nodes and links, at most one in so many is broken at a time.
const BROKEN_SHARE: usize = 5;
/// Pause between two looks at all nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Time for viewers to be served again once all is whole, and for media to stop once nobody watches.
const RECOVERY: Duration = Duration::from_secs(60);
/// Violations that are told at most.
const VIOLATIONS_MAX: usize = 100;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChaosOutcome {
    /// Where the nodes were.
    pub mode: String,
    /// Of the failures.
    pub seed: u64,
    /// Whether all held.
    pub passed: bool,
    /// Failures, in words, with the second at which each began.
    pub failures: Vec<String>,
    /// Times that all nodes were looked at.
    pub looks: u64,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Frames that viewers never got, while everything failed: no violation where no way was left for long enough.
    pub lost: BTreeMap<String, u64>,
}

/// Lets things fail for so long, then heals all, and looks whether everybody is served, and whether silence comes when
/// nobody watches.
pub fn chaos(
    mesh: &mut Mesh,
    mode: &str,
    seed: u64,
    duration: Duration,
    tell: &mut dyn FnMut(&str),
) -> Result<ChaosOutcome, MeshError> {
    let mut run = Chaos {
        rng: SmallRng::seed_from_u64(seed),
        broken: Vec::new(),
        leaving: Vec::new(),
        answering: BTreeSet::new(),
        invariants: Invariants::default(),
        outcome: ChaosOutcome { mode: mode.to_owned(), seed, ..ChaosOutcome::default() },
    };
    tell("waiting until all links are known, and all viewers are served");
    mesh.await_ready()?;
    mesh.watch_all()?;
    run.must_become(mesh, crate::check::flows(), "before anything failed");
    let began = Instant::now();
    mesh.must_go_on()?;
    run.play(mesh, duration, tell);
    mesh.must_go_on()?;
    tell("all is mended");
    run.mend(mesh, Instant::now() + Duration::from_millis(LASTS_MS.end));
    run.must_become(mesh, crate::check::flows(), "after all was mended");
    mesh.must_go_on()?;
    run.count_frames(mesh, began);
    tell("nobody watches any more");
    run.must_fall_silent(mesh);
    mesh.must_go_on()?;
    run.outcome.violations.extend(mesh.troubles());
    run.outcome.violations.truncate(VIOLATIONS_MAX);
    run.outcome.passed = run.outcome.violations.is_empty();
    Ok(run.outcome)
}

struct Chaos {
    rng: SmallRng,
    /// What mends what is broken, and when.
    broken: Vec<(Instant, Action<Name>)>,
    /// Nodes whose children move before they end, and for how long they will be away then.
    leaving: Vec<(Name, Duration)>,
    /// Nodes that answered in the last look. One that starts cannot be asked for anything yet.
    answering: BTreeSet<String>,
    invariants: Invariants,
    outcome: ChaosOutcome,
}

impl Chaos {
    fn within(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    /// Breaks and mends for so long, and until all that leave have left, and looks all the while.
    fn play(&mut self, mesh: &mut Mesh, duration: Duration, tell: &mut dyn FnMut(&str)) {
        let began = Instant::now();
        let mut next = began + self.within(PAUSE_MS);
        self.look(mesh);
        while (began.elapsed() < duration || !self.leaving.is_empty()) && !mesh.interrupt().is_raised() {
            self.mend(mesh, Instant::now());
            if Instant::now() >= next && began.elapsed() < duration {
                next = Instant::now() + self.within(PAUSE_MS);
                if let Some(failed) = self.fail(mesh) {
                    let line = format!("{:.1} s: {failed}", began.elapsed().as_secs_f64());
                    tell(&line);
                    self.outcome.failures.push(line);
                }
            }
            self.look(mesh);
        }
    }

    /// Adds up what viewers lost, and what they got twice.
    fn count_frames(&mut self, mesh: &Mesh, began: Instant) {
        let now = Instant::now();
        for ((node, stream), viewer) in &mesh.viewers {
            let faults = viewer.faults(began, now);
            *self.outcome.lost.entry(format!("{node} {stream}")).or_default() += faults.lost;
            if faults.doubled > 0 {
                self.outcome.violations.push(format!("{node} got {} frames of {stream} twice", faults.doubled));
            }
        }
    }

    /// Lets all viewers leave, and looks whether media stop at every node that runs.
    fn must_fall_silent(&mut self, mesh: &mut Mesh) {
        let watching = mesh.viewers.iter().filter(|(_, viewer)| viewer.since.is_some());
        let watching: BTreeSet<ViewerId> = watching.map(|(id, _)| id.clone()).collect();
        for (node, stream) in watching {
            self.attempt(mesh, &Action::Unsubscribe(Name(node), stream));
        }
        let nodes: Vec<String> = mesh.lab().nodes.iter().filter(|node| mesh.runs(node)).cloned().collect();
        for node in nodes {
            self.must_become(mesh, crate::check::idle(&node), "after the last viewer had left");
        }
    }

    /// Breaks something that is whole. Origins and leaves are spared.
    fn fail(&mut self, mesh: &mut Mesh) -> Option<String> {
        let lab = mesh.lab();
        if self.broken.len() + self.leaving.len() >= ((lab.nodes.len() + lab.links.len()) / BROKEN_SHARE).max(1) {
            return None;
        }
        let publishes = |node: &str| lab.streams.iter().any(|stream| stream.at.iter().any(|at| at == node));
        let is_leaving = |node: &str| self.leaving.iter().any(|(name, _)| name.0 == node);
        let is_spared = |node: &str| publishes(node) || lab.leaves.contains(node) || is_leaving(node);
        let relays: Vec<Name> = lab
            .nodes
            .iter()
            .filter(|node| mesh.runs(node) && self.answering.contains(*node) && !is_spared(node))
            .map(|node| Name(node.clone()))
            .collect();
        let is_touched = |a: &str, b: &str| self.broken.iter().any(|(_, mend)| touches(mend, a, b));
        let links: Vec<(Name, Name)> = lab
            .links
            .iter()
            .filter(|link| mesh.passes(&link.a, &link.b) && !is_touched(&link.a, &link.b))
            .map(|link| (Name(link.a.clone()), Name(link.b.clone())))
            .collect();
        let node = relays.choose(&mut self.rng).cloned();
        let link = links.choose(&mut self.rng).cloned();
        let kind = self.rng.random_range(0..6);
        let (failure, mend) = match (kind, node, link) {
            (0, Some(node), _) => (Action::Crash(node.clone()), Action::Start(node)),
            (1, Some(node), _) => (Action::Drain(node.clone()), Action::Start(node)),
            (2, Some(node), _) => (Action::Stall(node.clone()), Action::Resume(node)),
            (3, _, Some((a, b))) => (Action::Cut(a.clone(), b.clone()), Action::Heal(a, b)),
            (4, _, Some((a, b))) => (Action::CutOneWay(a.clone(), b.clone()), Action::Heal(a, b)),
            (_, _, Some((a, b))) => {
                let usual = mesh.usual(&a.0, &b.0);
                let change =
                    format!("delay={}ms loss={}%", self.rng.random_range(20..120), self.rng.random_range(1..6));
                (Action::Link(a.clone(), b.clone(), change), Action::Link(a, b, usual))
            }
            _ => return None,
        };
        let (failed, lasts) = (failure.to_string(), self.within(LASTS_MS));
        match failure {
            Action::Drain(node) => {
                if self.expect_done(&failed, mesh.ask_to_leave(&node)) {
                    self.leaving.push((node, lasts));
                }
            }
            failure => {
                if self.attempt(mesh, &failure) {
                    self.broken.push((Instant::now() + lasts, mend));
                }
            }
        }
        Some(failed)
    }

    /// Mends what has been broken for long enough.
    fn mend(&mut self, mesh: &mut Mesh, now: Instant) {
        for (node, lasts) in std::mem::take(&mut self.leaving) {
            let left = mesh.has_left(&node);
            match left {
                Ok(false) => self.leaving.push((node, lasts)),
                left => {
                    self.expect_done(&format!("drain {node}"), left.map(drop));
                    self.broken.push((Instant::now() + lasts, Action::Start(node)));
                }
            }
        }
        let (due, broken) = std::mem::take(&mut self.broken).into_iter().partition(|(until, _)| *until <= now);
        self.broken = broken;
        let due: Vec<(Instant, Action<Name>)> = due;
        for (_, mend) in &due {
            self.attempt(mesh, mend);
        }
    }

    fn attempt(&mut self, mesh: &mut Mesh, action: &Action<Name>) -> bool {
        let done = mesh.apply(action);
        self.expect_done(&action.to_string(), done)
    }

    /// What cannot be done is a violation: chaos does nothing senseless, so somebody did not do what they were told.
    fn expect_done(&mut self, doing: &str, done: Result<(), MeshError>) -> bool {
        if let Err(error) = &done {
            self.outcome.violations.push(format!("{doing}: {}", chain(error)));
        }
        done.is_ok()
    }

    /// Looks whether all holds that must hold at any time.
    fn look(&mut self, mesh: &Mesh) {
        let snapshot = mesh.look();
        self.outcome.looks += 1;
        self.outcome.violations.extend(self.invariants.look(mesh.lab(), &snapshot));
        self.answering = snapshot.nodes.into_keys().collect();
        std::thread::sleep(LOOK_INTERVAL);
    }

    fn must_become(&mut self, mesh: &mut Mesh, check: Check, when: &str) {
        let verdicts = Observation::begin(mesh.look()).until(mesh, &[check], RECOVERY, Duration::ZERO);
        let unmet = verdicts.into_iter().filter(|verdict| !verdict.passed);
        let lines =
            unmet.map(|v| format!("{when}: expected {} within {} s; seen: {}", v.expected, RECOVERY.as_secs(), v.seen));
        self.outcome.violations.extend(lines);
    }
}

fn touches(mend: &Action<Name>, a: &str, b: &str) -> bool {
    match mend {
        Action::Heal(x, y) | Action::Link(x, y, _) => (x.0 == a && y.0 == b) || (x.0 == b && y.0 == a),
        _ => false,
    }
}
