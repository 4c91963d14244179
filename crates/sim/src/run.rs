//! Runs a scenario with a seed, and says what came of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use levada_overlay::{StreamName, Time};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::action::{Action, NodeRef as _};
use crate::report::{Outcome, SHOWN_MAX};
use crate::scenario::{Churn, How, Scenario, ScenarioError};
use crate::world::{Settings, World};

/// Pause between two looks at what the trees cost.
const COSTS_INTERVAL: Duration = Duration::from_secs(5);
/// After the last leave: for leaves to get around, and as long again for nothing to happen.
const CLEAN_GRACE: Duration = Duration::from_secs(5);

/// Something planned.
enum Planned {
    Act(Action),
    Publish {
        node: usize,
        stream: StreamName,
    },
    /// A node fails by chance.
    Fail,
    /// It comes back, and its readers with it.
    Return {
        node: usize,
        readers: Vec<StreamName>,
    },
    Measure,
    Costs,
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    rng: SmallRng,
    plan: BTreeMap<(Time, u64), Planned>,
    planned: u64,
    origins: Vec<usize>,
    /// When each shared broadcast began.
    timelines: BTreeMap<StreamName, u64>,
}

/// Runs a scenario once. `beside` is its file; `events` gets every event in words.
pub fn run(
    scenario: &Scenario,
    beside: &Path,
    seed: u64,
    events: Option<Box<dyn std::io::Write>>,
) -> Result<Outcome, ScenarioError> {
    crate::report::check_expectations(&scenario.expect).map_err(ScenarioError::Senseless)?;
    let (nodes, mesh) = scenario.topology.lay(seed, beside)?;
    let late = late(scenario);
    let gradual = !scenario.start_over.is_zero();
    let world = World::new(Settings {
        impairments: mesh.impairments,
        late: if gradual { (0..nodes).collect() } else { late.clone() },
        pass_values: scenario.passes_values(nodes),
        bitrates: bitrates(scenario)?,
        ..Settings::new(seed, nodes, mesh.links)
    });
    let rng = SmallRng::seed_from_u64(seed ^ 0x5ce7_a210);
    let mut run = Run {
        scenario,
        world,
        rng,
        plan: BTreeMap::new(),
        planned: 0,
        origins: Vec::new(),
        timelines: BTreeMap::new(),
    };
    if let Some(events) = events {
        run.world.write_events(events);
    }
    if gradual {
        run.plan_starts(&late);
    }
    run.plan_streams()?;
    run.plan_events()?;
    Ok(run.play(seed))
}

fn stream_name(name: &str) -> Result<StreamName, ScenarioError> {
    StreamName::new(name).map_err(|error| ScenarioError::Senseless(error.to_string()))
}

fn bitrates(scenario: &Scenario) -> Result<BTreeMap<StreamName, u64>, ScenarioError> {
    scenario.streams.iter().map(|stream| Ok((stream_name(&stream.name)?, stream.bitrate))).collect()
}

/// Nodes that a scenario starts without having ended them before: they join late.
fn late(scenario: &Scenario) -> std::collections::BTreeSet<usize> {
    let mut first = BTreeMap::new();
    let mut events: Vec<_> = scenario.at.iter().collect();
    events.sort_by_key(|at| at.t);
    for at in events {
        let (node, starts) = match at.action {
            Action::Start(node) => (node, true),
            Action::Crash(node) | Action::Stop(node) | Action::Drain(node) | Action::Restart(node) => (node, false),
            _ => continue,
        };
        first.entry(node).or_insert(starts);
    }
    first.into_iter().filter(|(_, late)| *late).map(|(node, _)| node).collect()
}

impl Run<'_> {
    fn plan(&mut self, at: Time, planned: Planned) {
        self.planned += 1;
        self.plan.insert((at, self.planned), planned);
    }

    /// Nodes start one after the other, but for those that the scenario starts itself.
    fn plan_starts(&mut self, late: &std::collections::BTreeSet<usize>) {
        let start = self.world.now();
        for node in (0..self.world.nodes()).filter(|node| !late.contains(node)) {
            let after = self.scenario.start_over.mul_f64(self.rng.random());
            self.plan(start + after, Planned::Act(Action::Start(node)));
        }
    }

    fn plan_streams(&mut self) -> Result<(), ScenarioError> {
        let start = self.world.now();
        let nodes = self.world.nodes();
        let mut names = Vec::new();
        let node = |text: &str| {
            let node = usize::parse(text).map_err(ScenarioError::Senseless)?;
            let there = node < nodes;
            there.then_some(node).ok_or_else(|| ScenarioError::Senseless(format!("there is no node n{node}")))
        };
        // Nodes that are not there yet would hear of nothing.
        let starts_by = self.scenario.start_over;
        let too_early = |what: &str, at: Duration| {
            let early = format!(
                "{what} begins at {at:?}, and nodes start until {starts_by:?} (start_over): give it a later `at`"
            );
            if at < starts_by { Err(ScenarioError::Senseless(early)) } else { Ok(()) }
        };
        for stream in &self.scenario.streams {
            let name = stream_name(&stream.name)?;
            too_early(&format!("stream {name}"), stream.at)?;
            for origin in &stream.origins {
                let node = node(origin)?;
                self.origins.push(node);
                self.plan(start + stream.at, Planned::Publish { node, stream: name.clone() });
            }
            names.push(name);
        }
        for group in &self.scenario.subscribers {
            too_early("a group of subscribers", group.at)?;
            let mut at_nodes = group.nodes.iter().map(|name| node(name)).collect::<Result<Vec<_>, _>>()?;
            let free: Vec<usize> =
                (0..nodes).filter(|node| !self.origins.contains(node) && !at_nodes.contains(node)).collect();
            let count = group.count.unwrap_or(0);
            if names.is_empty() || free.is_empty() && count > 0 {
                return Err(ScenarioError::Senseless("subscribers, but no streams or no nodes for them".to_owned()));
            }
            // More readers than nodes: each node once, then all again, with other streams.
            let mut order = Vec::new();
            while order.len() < count {
                let mut round = free.clone();
                rand::seq::SliceRandom::shuffle(round.as_mut_slice(), &mut self.rng);
                order.extend(round);
            }
            at_nodes.extend(order.into_iter().take(count));
            for node in at_nodes {
                let stream = match &group.stream {
                    Some(name) => self.known_stream(stream_name(name)?)?,
                    None => names[self.rng.random_range(0..names.len())].clone(),
                };
                self.plan(start + group.at, Planned::Act(Action::Subscribe(node, stream)));
            }
        }
        Ok(())
    }

    /// A stream that somebody publishes at some time; the name of another one is mistyped.
    fn known_stream(&self, name: StreamName) -> Result<StreamName, ScenarioError> {
        let published = self.scenario.at.iter().filter_map(|at| match &at.action {
            Action::Publish(_, stream) => Some(stream.as_str()),
            _ => None,
        });
        let known: Vec<&str> = self.scenario.streams.iter().map(|stream| &*stream.name).chain(published).collect();
        let unknown = || ScenarioError::Senseless(format!("nobody publishes {name}; there are: {}", known.join(", ")));
        if known.contains(&name.as_str()) { Ok(name) } else { Err(unknown()) }
    }

    fn plan_events(&mut self) -> Result<(), ScenarioError> {
        let begin = self.world.now() + self.scenario.warm_up;
        self.plan(begin, Planned::Measure);
        self.plan(begin, Planned::Costs);
        for at in &self.scenario.at {
            at.action.check(&self.world).map_err(ScenarioError::Senseless)?;
            if let Action::Subscribe(_, stream) | Action::Unsubscribe(_, stream) | Action::Pause(_, stream, _) =
                &at.action
            {
                self.known_stream(stream.clone())?;
            }
            self.plan(begin + at.t, Planned::Act(at.action.clone()));
        }
        if let Some(churn) = &self.scenario.churn {
            // Failures are independent of each other: a Poisson process.
            let per_second = churn.fail_per_minute * self.world.nodes() as f64 / 60.0;
            let mut pause_s = || -(1.0 - self.rng.random::<f64>()).ln() / per_second;
            let mut at_s = pause_s();
            let mut times = Vec::new();
            while at_s < self.scenario.duration.as_secs_f64() {
                times.push(at_s);
                at_s += pause_s();
            }
            times.into_iter().for_each(|at_s| self.plan(begin + Duration::from_secs_f64(at_s), Planned::Fail));
        }
        Ok(())
    }

    fn play(mut self, seed: u64) -> Outcome {
        let start = self.world.now();
        let end = start + self.scenario.warm_up + self.scenario.duration;
        self.play_until(end);
        let mut measures = self.world.measures(self.scenario.duration);
        if !self.scenario.quiet.is_zero() {
            self.play_until(end + self.scenario.quiet);
            self.world.check_agreement();
            self.world.check_clean(CLEAN_GRACE);
            self.world.add_invariants(&mut measures);
        }
        let mut outcome = Outcome::new(seed, measures, self.world.violations(), &self.scenario.expect);
        outcome.remarks = self.world.remarks().iter().take(SHOWN_MAX).cloned().collect();
        outcome.interruptions_ms = self.world.interruptions_ms().to_vec();
        outcome
    }

    fn play_until(&mut self, end: Time) {
        while let Some(entry) = self.plan.first_entry()
            && entry.key().0 <= end
        {
            let at = entry.key().0;
            let planned = entry.remove();
            self.world.run_for(at.since(self.world.now()));
            self.carry_out(planned, end);
        }
        self.world.run_for(end.since(self.world.now()));
    }

    fn carry_out(&mut self, planned: Planned, end: Time) {
        let now = self.world.now();
        match planned {
            Planned::Act(Action::Restart(node)) => {
                let readers = self.world.subscriptions(node);
                Action::Restart(node).apply(&mut self.world);
                readers.iter().for_each(|stream| self.world.subscribe(node, stream));
            }
            Planned::Act(action) => action.apply(&mut self.world),
            Planned::Publish { node, stream } => {
                let timeline = *self.timelines.entry(stream.clone()).or_insert(now.as_micros());
                self.world.publish_since(node, &stream, timeline);
            }
            Planned::Measure => self.world.begin_measuring(),
            Planned::Costs => {
                self.world.sample_costs();
                if now + COSTS_INTERVAL <= end {
                    self.plan(now + COSTS_INTERVAL, Planned::Costs);
                }
            }
            Planned::Fail => {
                if let Some(churn) = &self.scenario.churn {
                    self.fail(churn, now);
                }
            }
            Planned::Return { node, readers } => {
                self.world.resume(node);
                self.world.start(node);
                readers.iter().for_each(|stream| self.world.subscribe(node, stream));
            }
        }
    }

    fn fail(&mut self, churn: &Churn, now: Time) {
        let running: Vec<usize> =
            (0..self.world.nodes()).filter(|node| self.world.works(*node) && !self.origins.contains(node)).collect();
        if running.is_empty() {
            return;
        }
        let node = running[self.rng.random_range(0..running.len())];
        let readers = self.world.subscriptions(node);
        match churn.how {
            How::Crash => self.world.crash(node),
            How::Stop => self.world.stop(node),
            How::Stall => self.world.stall(node),
        }
        self.plan(now + churn.restart_after, Planned::Return { node, readers });
    }
}
