//! `levada lab`: a mesh of real processes on links as bad as a file says, run by hand or by the file's script.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context as _;
use levada_lab::chaos::chaos;
use levada_lab::console::Console;
use levada_lab::mesh::{Mesh, Settings};
use levada_lab::net::{self, Mode};
use levada_lab::{Interrupt, Lab, run};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{LabArgs, LabChaosArgs, LabCommand, LabImportArgs, LabRunArgs};
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
        (None, Some(file)) => by_hand(&file, args.keep, args.open),
        (None, None) => anyhow::bail!("name a lab file, or say what to do: levada lab --help"),
    }
}

fn run_script(args: &LabRunArgs, quiet: bool) -> anyhow::Result<ExitCode> {
    let mut lab = Lab::read(&args.file)?;
    lab.relax(args.slack);
    anyhow::ensure!(!lab.steps.is_empty(), "{} has no [[step]] to run", args.file.display());
    let mode = net::enter()?;
    let settings = Settings { record: args.record, ..settings(mode, args.seed, args.keep.clone())? };
    let mut mesh = Mesh::open(&lab, settings)?;
    let mut tell = |line: &str| {
        if !quiet {
            note(line);
        }
    };
    tell(&format!("{}: {}", args.file.display(), lab.about));
    let outcome = run(&mut mesh, &mode.to_string(), &mut tell)?;
    drop(mesh);
    if args.json {
        say(&serde_json::to_string_pretty(&outcome)?);
    } else {
        say(outcome.table().trim_end());
    }
    for failure in outcome.failures() {
        note(&format!("levada: {}: {failure}", args.file.display()));
    }
    // What was seen is told even if it cannot be written.
    if let Some(path) = &args.report {
        let title = args.file.file_stem().unwrap_or_default().to_string_lossy();
        let page = levada_lab::report::html(&outcome, &title);
        std::fs::write(path, page).with_context(|| format!("cannot write the report {}", path.display()))?;
        tell(&format!("report: {}", path.display()));
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
            note(line);
        }
    };
    let outcome = chaos(&mut mesh, &mode.to_string(), args.seed, args.duration, &mut tell)?;
    drop(mesh);
    if args.json {
        say(&serde_json::to_string_pretty(&outcome)?);
    } else {
        let (mode, seed, looks) = (&outcome.mode, outcome.seed, outcome.looks);
        let counts = [&outcome.failures, &outcome.left_out, &outcome.violations].map(Vec::len);
        let [failures, left_out, broken] = counts;
        say(&format!(
            "in {mode}; seed {seed}: {failures} failures and {left_out} left out, {looks} looks, {broken} violations"
        ));
        outcome.lost.iter().for_each(|(viewer, lost)| say(&format!("{viewer}: {lost} frames lost")));
    }
    for violation in &outcome.violations {
        note(&format!("levada: {}: {violation}", args.file.display()));
    }
    Ok(if outcome.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(mode: Mode, seed: u64, keep: Option<PathBuf>) -> anyhow::Result<Settings> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(Settings { program, testcard: CLIP, mode, seed, keep, record: false, interrupt: by_signal()? })
}

/// Says something beside the results. Nobody may read it any more: a terminal that is closed is no reason to leave a lab behind.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Raised by SIGINT, SIGTERM and SIGHUP from now on: a lab that they ended at once would leave its directory behind, keys and all.
fn by_signal() -> anyhow::Result<Interrupt> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hung_up = signal(SignalKind::hangup())?;
    drop(inside);
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let wait = move || {
        let mut signalled = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                    _ = hung_up.recv() => {}
                }
            });
        };
        signalled();
        raised.raise();
        note("ending the lab; interrupt again to end at once and leave its files behind");
        signalled();
        std::process::exit(1);
    };
    std::thread::Builder::new().name("lab-signals".to_owned()).spawn(wait).context("cannot wait for signals")?;
    Ok(interrupt)
}

/// Starts the mesh, and a console in which whoever started it does with it what they want.
fn by_hand(file: &Path, keep: Option<PathBuf>, open: bool) -> anyhow::Result<ExitCode> {
    let lab = Lab::read(file)?;
    // Opened before the lab moves into a network of its own, so that a browser of this machine reaches them.
    let door = || TcpListener::bind("127.0.0.1:0").context("no ports for pages");
    let console_door = door()?;
    let nodes = lab.nodes.iter().filter(|node| !lab.leaves.contains(*node));
    let doors = nodes.map(|node| Ok((node.as_str(), door()?))).collect::<anyhow::Result<Vec<_>>>()?;
    let browser = open.then(Browser::prepare).transpose()?;
    let mode = net::enter()?;
    eprintln!("{}: {} nodes in {mode} …", file.display(), lab.nodes.len());
    let settings = settings(mode, SEED, keep)?;
    let interrupt = settings.interrupt.clone();
    let mut mesh = Mesh::open(&lab, settings)?;
    mesh.await_ready()?;
    mesh.watch_all()?;
    let (mut forwarders, mut pages) = (Vec::new(), BTreeMap::new());
    for (node, door) in doors {
        let forwarder = mesh.expose(door, node)?;
        pages.insert(node.to_owned(), format!("http://{}/", forwarder.address()));
        forwarders.push(forwarder);
    }
    let address = format!("http://{}/", console_door.local_addr().context("the console has no address")?);
    let console = Console::open(mesh, mode.to_string(), pages.clone()).context("cannot start the console")?;
    say(&format!("{:<12}{address}", "console"));
    let shown = |node: &&String| lab.pops.is_empty() || lab.pops.contains(*node);
    for node in pages.keys().filter(shown) {
        say(&format!("{node:<12}{}", pages[node]));
    }
    eprintln!("Ctrl-C stops everything.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = console.serve(console_door);
        if let Some(browser) = browser {
            browser.open(&address)?;
        }
        tokio::select! {
            () = interrupt.raised() => Ok(()),
            served = server => served.context("the console cannot be served"),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The user's browser, waiting to be told where to go: it must be started from outside the lab's network.
struct Browser(Child);

impl Browser {
    fn prepare() -> anyhow::Result<Self> {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let mut command = Command::new("sh");
        command.args(["-c", r#"read -r url && exec "$1" "$url""#, "browser", opener]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn();
        Ok(Self(child.context("cannot open a browser; leave out --open")?))
    }

    fn open(mut self, address: &str) -> anyhow::Result<()> {
        let told = self.0.stdin.take().map_or(Ok(()), |mut stdin| writeln!(stdin, "{address}"));
        told.context("cannot open a browser; leave out --open")?;
        // It may stay as long as the browser does.
        std::thread::spawn(move || self.0.wait());
        Ok(())
    }
}

fn import(args: &LabImportArgs) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    // Some files of the Topology Zoo are in Latin-1; only names suffer.
    let text = String::from_utf8_lossy(&bytes);
    let is_core = args.file.extension().is_some_and(|ending| ending == "imn");
    let title = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let read = if is_core { levada_lab::import::imn } else { levada_lab::import::gml };
    let imported = read(&text, &title);
    let imported = imported.with_context(|| format!("{} cannot be imported", args.file.display()))?;
    say(imported.text.trim_end());
    if let Some(warning) = imported.warning {
        eprintln!("levada: {}: {warning}", args.file.display());
    }
    Ok(ExitCode::SUCCESS)
}
