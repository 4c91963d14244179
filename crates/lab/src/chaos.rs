//! Random failures by rule, and what must hold throughout (DESIGN 7) from what nodes and viewers report. Same seed, same
//! plan of failures; what comes of them depends on the machine too.

mod invariants;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use levada_sim::Action;
use serde::Serialize;

use self::invariants::Invariants;
use self::plan::{Failure, LASTS_MS, Plan};
use crate::check::Check;
use crate::file::Name;
use crate::mesh::{Mesh, MeshError, chain};
use crate::run::Observation;
use crate::viewers::ViewerId;

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
    /// Failures, in words, with the second for which each was planned.
    pub failures: Vec<String>,
    /// What was planned and could not be done then, and why.
    pub left_out: Vec<String>,
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
        broken: Vec::new(),
        leaving: Vec::new(),
        answering: BTreeSet::new(),
        invariants: Invariants::default(),
        outcome: ChaosOutcome { mode: mode.to_owned(), seed, ..ChaosOutcome::default() },
    };
    tell("waiting until all links are known, and all viewers are served");
    mesh.await_ready()?;
    mesh.watch_all()?;
    run.must_become(mesh, vec![crate::check::flows()], "before anything failed");
    let began = Instant::now();
    mesh.must_go_on()?;
    run.play(mesh, seed, duration, tell);
    mesh.must_go_on()?;
    tell("all is mended");
    run.mend(mesh, Instant::now() + Duration::from_millis(LASTS_MS.end));
    run.must_become(mesh, vec![crate::check::flows()], "after all was mended");
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
    /// What mends what is broken, and when.
    broken: Vec<(Instant, Action<Name>)>,
    /// Nodes whose children move before they end, and when they are to be back.
    leaving: Vec<(Name, Instant)>,
    /// Nodes that answered in the last look. One that starts cannot be asked for anything yet.
    answering: BTreeSet<String>,
    invariants: Invariants,
    outcome: ChaosOutcome,
}

impl Chaos {
    /// Breaks and mends as planned for so long, and until all that leave have left, and looks all the while.
    fn play(&mut self, mesh: &mut Mesh, seed: u64, duration: Duration, tell: &mut dyn FnMut(&str)) {
        let began = Instant::now();
        let mut plan = Plan::new(mesh.lab(), seed).take_while(|failure| failure.at < duration).peekable();
        self.look(mesh);
        while (began.elapsed() < duration || !self.leaving.is_empty()) && !mesh.interrupt().is_raised() {
            self.mend(mesh, Instant::now());
            while let Some(failure) = plan.next_if(|failure| failure.at <= began.elapsed()) {
                let line = format!("{:.1} s: {}", failure.at.as_secs_f64(), failure.does);
                match self.hindrance(mesh, &failure) {
                    None => {
                        tell(&line);
                        self.outcome.failures.push(line);
                        self.fail(mesh, began, failure);
                    }
                    Some(why) => {
                        let line = format!("{line}: left out, {why}");
                        tell(&line);
                        self.outcome.left_out.push(line);
                    }
                }
            }
            self.look(mesh);
        }
    }

    /// Adds up what viewers lost, and tells what they got twice and what did not belong there.
    fn count_frames(&mut self, mesh: &Mesh, began: Instant) {
        let now = Instant::now();
        for ((node, stream), viewer) in &mesh.viewers {
            let faults = viewer.faults(began, now);
            *self.outcome.lost.entry(format!("{node} {stream}")).or_default() += faults.lost;
            if faults.doubled > 0 {
                self.outcome.violations.push(format!("{node} got {} frames of {stream} twice", faults.doubled));
            }
            if faults.torn > 0 {
                let what = format!("what {node} got of {stream} is torn in {} places", faults.torn);
                self.outcome.violations.push(what);
            }
        }
    }

    /// Lets all viewers leave, and looks whether media stop at every node that runs, and links carry no more than they must.
    fn must_fall_silent(&mut self, mesh: &mut Mesh) {
        let watching = mesh.viewers.iter().filter(|(_, viewer)| viewer.since.is_some());
        let watching: BTreeSet<ViewerId> = watching.map(|(id, _)| id.clone()).collect();
        mesh.dismiss_viewers();
        for (node, stream) in watching {
            self.attempt(mesh, &Action::Unsubscribe(Name(node), stream));
        }
        let nodes: Vec<String> = mesh.lab().nodes.iter().filter(|node| mesh.runs(node)).cloned().collect();
        let links = mesh.lab().links.iter().map(|link| crate::check::quiet(&link.a, &link.b));
        let checks = nodes.iter().map(|node| crate::check::idle(node)).chain(links).collect();
        self.must_become(mesh, checks, "after the last viewer had left");
    }

    /// Breaks what the plan says.
    fn fail(&mut self, mesh: &mut Mesh, began: Instant, failure: Failure) {
        let until = began + failure.until;
        match failure.does {
            Action::Drain(node) => {
                if self.expect_done(&format!("drain {node}"), mesh.ask_to_leave(&node)) {
                    self.leaving.push((node, until));
                }
            }
            does => {
                if self.attempt(mesh, &does) {
                    self.broken.push((until, failure.mend));
                }
            }
        }
    }

    /// What the plan could not know: a node that was drained is gone later than planned, one that has just started is not there yet.
    fn hindrance(&self, mesh: &Mesh, failure: &Failure) -> Option<String> {
        let (Action::Start(node) | Action::Resume(node)) = &failure.mend else { return None };
        if self.leaving.iter().any(|(name, _)| name == node) {
            return Some(format!("{node} has not left yet"));
        }
        if !mesh.runs(&node.0) {
            return Some(format!("{node} does not run"));
        }
        (!self.answering.contains(&node.0)).then(|| format!("{node} does not answer yet"))
    }

    /// Mends what has been broken for long enough.
    fn mend(&mut self, mesh: &mut Mesh, now: Instant) {
        for (node, until) in std::mem::take(&mut self.leaving) {
            let left = mesh.has_left(&node);
            match left {
                Ok(false) => self.leaving.push((node, until)),
                left => {
                    self.expect_done(&format!("drain {node}"), left.map(drop));
                    self.broken.push((until, Action::Start(node)));
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

    fn must_become(&mut self, mesh: &mut Mesh, checks: Vec<Check>, when: &str) {
        let verdicts = Observation::begin(mesh.look()).until(mesh, &checks, RECOVERY, Duration::ZERO);
        let unmet = verdicts.into_iter().filter(|verdict| !verdict.passed);
        let lines =
            unmet.map(|v| format!("{when}: expected {} within {} s; seen: {}", v.expected, RECOVERY.as_secs(), v.seen));
        self.outcome.violations.extend(lines);
    }
}
