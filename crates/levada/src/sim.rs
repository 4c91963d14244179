//! `levada sim`: a scenario in a virtual world, with one seed or many.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use levada_sim::report::{Interruptions, Outcome, table};
use levada_sim::scenario::Scenario;

use crate::cli::SimArgs;

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
            eprintln!("repeat it with: levada sim {} --seed {seed}", args.scenario.display());
        }
        outcomes.push(outcome);
    }
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    if args.json {
        let scenario_path = args.scenario.display().to_string();
        let interruptions = Interruptions::of(&outcomes);
        let report = Report { scenario: scenario_path, about: &scenario.about, passed, interruptions, runs: &outcomes };
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let held = outcomes.iter().filter(|outcome| outcome.passed).count();
        println!("{}: {}", args.scenario.display(), scenario.about);
        print!("{}", table(&outcomes));
        println!("{held} of {} runs held", outcomes.len());
    }
    // What the clock of this machine says is no part of the report: same seed, same bytes.
    let events: u64 = outcomes.iter().map(|outcome| outcome.measures.events).sum();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{events} events in {seconds:.1} s, {:.0} a second{}", events as f64 / seconds, memory());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The most memory this process had, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map(|peak| format!("; memory {}", peak.trim())).unwrap_or_default()
}
