//! `levada lab`: a mesh of real processes on links as bad as a file says, run by hand or by the file's script.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use levada_lab::chaos::chaos;
use levada_lab::mesh::{Mesh, Settings};
use levada_lab::net::{self, Mode};
use levada_lab::{Lab, run};

use crate::cli::{LabArgs, LabChaosArgs, LabCommand, LabImportArgs, LabRunArgs, Lifetime};
use crate::demo::CLIP;
use crate::query::say;

/// Chance of the links of a lab that is run by hand.
const SEED: u64 = 1;

/// Runs before there are threads: the lab may have to start itself anew in a network of its own.
pub(crate) fn lab(args: LabArgs, quiet: bool) -> anyhow::Result<ExitCode> {
    match (args.command, args.file) {
        (Some(LabCommand::Run(args)), _) => run_script(&args, quiet),
        (Some(LabCommand::Chaos(args)), _) => run_chaos(&args, quiet),
        (Some(LabCommand::Import(args)), _) => import(&args),
        (None, Some(file)) => by_hand(&file, args.keep),
        (None, None) => anyhow::bail!("name a lab file, or say what to do: levada lab --help"),
    }
}

fn run_script(args: &LabRunArgs, quiet: bool) -> anyhow::Result<ExitCode> {
    let mut lab = Lab::read(&args.file)?;
    lab.relax(args.slack);
    anyhow::ensure!(!lab.steps.is_empty(), "{} has no [[step]] to run", args.file.display());
    let mode = net::enter()?;
    let mut mesh = Mesh::open(&lab, settings(mode, args.seed, args.keep.clone())?)?;
    let mut tell = |line: &str| {
        if !quiet {
            eprintln!("{line}");
        }
    };
    tell(&format!("{}: {}", args.file.display(), lab.about));
    let outcome = run(&mut mesh, &mode.to_string(), &mut tell)?;
    drop(mesh);
    if let Some(path) = &args.report {
        let title = args.file.file_stem().unwrap_or_default().to_string_lossy();
        let page = levada_lab::report::html(&outcome, &title);
        std::fs::write(path, page).with_context(|| format!("cannot write the report {}", path.display()))?;
        tell(&format!("report: {}", path.display()));
    }
    if args.json {
        say(&serde_json::to_string_pretty(&outcome)?);
    } else {
        say(outcome.table().trim_end());
    }
    for failure in outcome.failures() {
        eprintln!("levada: {}: {failure}", args.file.display());
    }
    Ok(if outcome.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_chaos(args: &LabChaosArgs, quiet: bool) -> anyhow::Result<ExitCode> {
    let lab = Lab::read(&args.file)?;
    anyhow::ensure!(!lab.viewers.is_empty(), "{} has no viewers, who could tell", args.file.display());
    let mode = net::enter()?;
    let mut mesh = Mesh::open(&lab, settings(mode, args.seed, args.keep.clone())?)?;
    let mut tell = |line: &str| {
        if !quiet {
            eprintln!("{line}");
        }
    };
    let outcome = chaos(&mut mesh, args.seed, args.duration, &mut tell)?;
    drop(mesh);
    if args.json {
        say(&serde_json::to_string_pretty(&outcome)?);
    } else {
        let (failures, looks, broken) = (outcome.failures.len(), outcome.looks, outcome.violations.len());
        say(&format!("seed {}: {failures} failures, {looks} looks, {broken} violations", args.seed));
        outcome.lost.iter().for_each(|(viewer, lost)| say(&format!("{viewer}: {lost} frames lost")));
    }
    for violation in &outcome.violations {
        eprintln!("levada: {}: {violation}", args.file.display());
    }
    Ok(if outcome.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(mode: Mode, seed: u64, keep: Option<PathBuf>) -> anyhow::Result<Settings> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(Settings { program, testcard: CLIP, mode, seed, keep })
}

/// Starts the mesh and leaves it to whoever started it.
fn by_hand(file: &Path, keep: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let lab = Lab::read(file)?;
    let shown = if lab.pops.is_empty() { &lab.nodes } else { &lab.pops };
    let shown: Vec<&String> = shown.iter().filter(|node| !lab.leaves.contains(*node)).collect();
    // Opened before the lab moves into a network of its own, so that a browser of this machine reaches them.
    let doors: Vec<TcpListener> = shown
        .iter()
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("no ports for pages")?;
    let mode = net::enter()?;
    eprintln!("{}: {} nodes in {mode} …", file.display(), lab.nodes.len());
    let mut mesh = Mesh::open(&lab, settings(mode, SEED, keep)?)?;
    mesh.await_ready()?;
    mesh.watch_all()?;
    let mut open = Vec::new();
    for (node, door) in shown.into_iter().zip(doors) {
        let page = mesh.expose(door, node)?;
        say(&format!("{node:<12}http://{}/", page.address()));
        open.push(page);
    }
    eprintln!("Ctrl-C stops everything.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(crate::serve::end_of(Lifetime::default()))?;
    Ok(ExitCode::SUCCESS)
}

fn import(args: &LabImportArgs) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    // Some files of the Topology Zoo are in Latin-1; only names suffer.
    let text = String::from_utf8_lossy(&bytes);
    let is_core = args.file.extension().is_some_and(|ending| ending == "imn");
    let imported = if is_core { levada_lab::import::imn(&text) } else { levada_lab::import::gml(&text) };
    let imported = imported.with_context(|| format!("{} cannot be imported", args.file.display()))?;
    say(imported.trim_end());
    Ok(ExitCode::SUCCESS)
}
