//! Runs a script: each step waits, acts, and looks until all that it expects is seen at one time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use levada_sim::Action;

use crate::check::Check;
use crate::file::{Name, Step};
use crate::history::History;
use crate::judge::Observed;
use crate::mesh::{Mesh, MeshError, READY, SETTLED, chain};
use crate::outcome::{Outcome, Picture, StepOutcome, Verdict, ViewerOutcome};
use crate::state::Snapshot;

/// Pause between two looks at all nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Time for what a step waits for.
const WHEN: Duration = Duration::from_secs(60);
/// Time for viewers to have pictures again before the whole run is judged: what is lost is known only then.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the script of an open lab to its end, or to the first step that fails. `tell` hears of every step.
pub fn run(mesh: &mut Mesh, mode: &str, tell: &mut dyn FnMut(&str)) -> Result<Outcome, MeshError> {
    let began = mesh.began();
    let mut outcome = Outcome { about: mesh.lab().about.clone(), mode: mode.to_owned(), ..Outcome::default() };
    tell("waiting until all links are known");
    mesh.await_ready()?;
    mesh.watch_all()?;
    // The script's time, and what must always hold, begin here.
    let mut whole = Observation::begin(mesh.look());
    let steps = mesh.lab().script();
    for (n, planned) in steps.iter().enumerate() {
        let done = play(mesh, planned, whole.since, &format!("{}/{}", n + 1, steps.len()), tell);
        mesh.must_go_on()?;
        let passed = done.verdicts.iter().all(|verdict| verdict.passed);
        outcome.steps.push(done);
        if !passed {
            break;
        }
    }
    let always = mesh.lab().always.clone();
    outcome.always = whole.settled(mesh, &always);
    mesh.must_go_on()?;
    let now = Instant::now();
    outcome.viewers = mesh
        .viewers
        .iter()
        .map(|((node, stream), viewer)| {
            let faults = viewer.faults(began, now);
            ViewerOutcome {
                node: node.clone(),
                stream: stream.to_string(),
                connections: viewer.sittings(),
                lost: faults.lost,
                doubled: faults.doubled,
                gap_ms: viewer.gap_ms(began, now),
                latency_ms: mesh.latency(stream, viewer, began, now),
                moments: viewer.moments(began, mesh.source(stream)),
            }
        })
        .collect();
    outcome.troubles = mesh.troubles();
    outcome.took_s = began.elapsed().as_secs_f64();
    outcome.passed = outcome.failures().is_empty();
    Ok(outcome)
}

/// Looks until all links are known to all, and, for a while, until they are known for what they are; otherwise says what is missing.
pub(crate) fn await_ready(mesh: &mut Mesh) -> Result<(), String> {
    let mut until = |check, within| Observation::begin(mesh.look()).until(mesh, &[check], within, Duration::ZERO);
    let verdicts = until(crate::check::ready(), READY);
    verdicts.into_iter().find(|verdict| !verdict.passed).map_or(Ok(()), |verdict| Err(verdict.seen))?;
    until(crate::check::settled(), SETTLED);
    Ok(())
}

fn play(mesh: &mut Mesh, step: &Step, script_began: Instant, number: &str, tell: &mut dyn FnMut(&str)) -> StepOutcome {
    let mut done = StepOutcome { about: step.about.clone(), ..StepOutcome::default() };
    if !step.when.is_empty() {
        let waited = Observation::begin(mesh.look()).until(mesh, &step.when, WHEN, Duration::ZERO);
        if waited.iter().any(|verdict| !verdict.passed) {
            done.at_s = mesh.began().elapsed().as_secs_f64();
            done.verdicts = waited;
            return done;
        }
    }
    let due =
        step.at.map(|at| script_began + at).into_iter().chain(step.after.map(|after| Instant::now() + after)).max();
    mesh.interrupt().sleep(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
    let mut observation = Observation::begin(mesh.look());
    done.at_s = mesh.began().elapsed().as_secs_f64();
    done.did = step.actions.iter().map(ToString::to_string).collect();
    let about = if step.about.is_empty() { done.did.join(", ") } else { step.about.clone() };
    tell(&format!("step {number}: {about}"));
    done.before = Picture::of(mesh, observation.history.newest());
    let done_all =
        step.actions.iter().try_for_each(|action| mesh.apply(action).map_err(|error| undone(action, &error)));
    match done_all {
        Err(undone) => done.verdicts.push(undone),
        Ok(()) => {
            done.verdicts = observation.until(mesh, &step.expect, step.within, step.watched());
            Observation::explain(mesh, &step.expect, &mut done.verdicts);
        }
    }
    done.took_ms = observation.since.elapsed().as_secs_f64() * 1e3;
    done.after = Picture::of(mesh, observation.history.newest());
    done
}

/// A line of the script that could not be done fails the run; what was seen until then is told all the same.
fn undone(action: &Action<Name>, error: &MeshError) -> Verdict {
    Verdict { expected: format!("{action} to be done"), seen: chain(error), passed: false }
}

/// Everything seen since something was done.
pub(crate) struct Observation {
    since: Instant,
    history: History,
}

impl Observation {
    pub(crate) fn begin(before: Snapshot) -> Self {
        Self { since: Instant::now(), history: History::begin(before) }
    }

    /// Looks until all states hold at one time and all measures are known, and then at the bounds. Gives up after `within`, or, where
    /// viewers are to be watched for longer and the states came true in time, when they were.
    pub(crate) fn until(
        &mut self,
        mesh: &mut Mesh,
        checks: &[Check],
        within: Duration,
        watch: Duration,
    ) -> Vec<Verdict> {
        let mut came_true = false;
        loop {
            self.history.add(mesh.look());
            let (verdicts, settled) = self.judge(mesh, checks);
            let holds = |(check, verdict): (&Check, &Verdict)| check.is_bound() || verdict.passed;
            let all_hold = checks.iter().zip(&verdicts).all(holds);
            let elapsed = self.since.elapsed();
            came_true |= all_hold;
            let is_over = (all_hold && settled && elapsed >= watch)
                || elapsed >= if came_true { within.max(watch) } else { within };
            if is_over || mesh.interrupt().is_raised() {
                return verdicts;
            }
            mesh.interrupt().sleep(LOOK_INTERVAL);
        }
    }

    /// What was kept over all the time, once viewers have pictures or have waited for them in vain.
    fn settled(&mut self, mesh: &mut Mesh, bounds: &[Check]) -> Vec<Verdict> {
        let deadline = self.since.elapsed() + SETTLE;
        self.until(mesh, bounds, deadline, Duration::ZERO)
    }

    /// Verdicts, and whether all that is measured is known by now.
    fn judge(&self, mesh: &Mesh, checks: &[Check]) -> (Vec<Verdict>, bool) {
        let observed = Observed { mesh, since: self.since, history: &self.history, now: Instant::now() };
        let verdict = |check: &Check| {
            let judged = observed.judge(check);
            let passed = judged.is_ok();
            Verdict { expected: check.to_string(), seen: judged.unwrap_or_else(|seen| seen), passed }
        };
        (checks.iter().map(verdict).collect(), checks.iter().all(|check| observed.is_settled(check)))
    }

    /// Adds to each way that is not the expected one how it came about.
    fn explain(mesh: &Mesh, checks: &[Check], verdicts: &mut [Verdict]) {
        for (check, verdict) in checks.iter().zip(verdicts).filter(|(_, verdict)| !verdict.passed) {
            if let Some((node, stream)) = check.way_of()
                && let Some(changes) = mesh.changes(node, stream)
            {
                let _ = write!(verdict.seen, " ({node}: {changes})");
            }
        }
    }
}
