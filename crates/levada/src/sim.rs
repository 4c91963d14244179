//! `levada sim`: a scenario in a virtual world, with one seed or many.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use levada_sim::report::{Interruptions, Outcome, table};
use levada_sim::scenario::{Scenario, TOPOLOGIES_VARIABLE};

use crate::cli::SimArgs;
use crate::query::say;

/// The report of all runs.
#[derive(serde::Serialize)]
struct Report<'a> {
    scenario: String,
    about: &'a str,
    passed: bool,
    interruptions: Interruptions,
    runs: &'a [Outcome],
}

pub(crate) fn sim(args: &SimArgs) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::read(&args.scenario)?;
    let mut outcomes = Vec::new();
    let started = Instant::now();
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        // Of several runs, the file holds the last.
        let events = args.trace.as_ref().map(|path| {
            let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(Box::new(std::io::BufWriter::new(file)) as Box<dyn std::io::Write>)
        });
        let outcome = levada_sim::run(&scenario, &args.scenario, seed, events.transpose()?)?;
        if !outcome.passed {
            let found = outcome.violations.iter().chain(&outcome.unmet).chain(&outcome.remarks);
            found.for_each(|line| eprintln!("seed {seed}: {line}"));
            eprintln!("repeat it with: {}levada sim '{}' --seed {seed}", topologies(), args.scenario.display());
        }
        if args.seeds > 1 {
            let verdict = if outcome.passed { "held" } else { "did not hold" };
            eprintln!("seed {seed}: {verdict}, after {:.0} s in all", started.elapsed().as_secs_f64());
        }
        outcomes.push(outcome);
    }
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    if args.json {
        let scenario_path = args.scenario.display().to_string();
        let interruptions = Interruptions::of(&outcomes);
        let report = Report { scenario: scenario_path, about: &scenario.about, passed, interruptions, runs: &outcomes };
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        let held = outcomes.iter().filter(|outcome| outcome.passed).count();
        say(&format!("{}: {}", args.scenario.display(), scenario.about));
        say(table(&outcomes).trim_end());
        say(&format!("{held} of {} runs held", outcomes.len()));
    }
    // What the clock of this machine says is no part of the report: same seed, same bytes.
    let events: u64 = outcomes.iter().map(|outcome| outcome.measures.events).sum();
    let seconds = started.elapsed().as_secs_f64();
    let nodes = outcomes.iter().map(|outcome| outcome.measures.nodes).max().unwrap_or(0);
    eprintln!("{events} events in {seconds:.1} s, {:.0} a second{}", events as f64 / seconds, memory(nodes));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where measured networks are looked for, if that was told: as it stands before a command.
fn topologies() -> String {
    let told = std::env::var(TOPOLOGIES_VARIABLE);
    told.map(|directory| format!("{TOPOLOGIES_VARIABLE}='{directory}' ")).unwrap_or_default()
}

/// The most memory this process had, brains and their world, where the system tells.
fn memory(nodes: u64) -> String {
    let told = |kib: u64| format!("; memory {} MiB, {} KiB a node", kib / 1024, kib / nodes.max(1));
    levada_node::limits::peak_memory().map(|bytes| told(bytes / 1024)).unwrap_or_default()
}
