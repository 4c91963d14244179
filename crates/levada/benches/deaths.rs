//! What viewers see when something dies: relays killed, stopped and drained, a publisher killed, the only path cut.
//! Real processes on loopback; crates/lab/src/tape.rs says how things are measured.
//!
//! `cargo bench --package levada --bench deaths -- --rounds 20 --only kill --json`

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/deaths.rs"]
mod deaths;
#[path = "../tests/common/feed.rs"]
mod feed;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use deaths::{Kind, Report, ViewerReport};
use futures_util::FutureExt as _;
use levada_lab::tape::{TICKS_PER_MS, VIDEO_STEP};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Args {
    /// Deaths of each kind
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Kinds to run (kill, stop, origin, last-path, drain); may be given several times
    #[arg(long, value_name = "NAME", value_parser = ["kill", "stop", "origin", "last-path", "drain"])]
    only: Vec<String>,
    /// Print one JSON object, with every round
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    // What is dropped half-way ends its processes.
    tokio::select! {
        code = bench(&args) => code,
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

async fn bench(args: &Args) -> ExitCode {
    let mut results = serde_json::Map::new();
    let mut failed = false;
    if !args.json {
        println!("{}", header());
    }
    for kind in Kind::ALL.into_iter().filter(|kind| args.only.is_empty() || args.only.iter().any(|o| o == kind.name()))
    {
        if let Some(lacks) = kind.lacks() {
            failed |= !args.only.is_empty();
            results.insert(kind.name().to_owned(), json!({"skipped": format!("this binary has no `{lacks}`")}));
            if !args.json {
                println!("{:<10} skipped: this binary has no `{lacks}`", kind.name());
            }
            continue;
        }
        // One kind that cannot go on does not spoil the others; what went wrong was printed by the panic.
        let Ok(report) = AssertUnwindSafe(deaths::run(kind, &deaths::spread(args.rounds))).catch_unwind().await else {
            failed = true;
            results.insert(kind.name().to_owned(), json!({"failed": "it could not go on"}));
            continue;
        };
        let mut faults = report.faults();
        faults.extend(too_long(kind, &report));
        failed |= !faults.is_empty();
        if !args.json {
            Report::VIEWERS.iter().for_each(|viewer| println!("{}", row(&report, viewer)));
            println!("{:<10} {}", "", pop(&report));
            faults.iter().for_each(|fault| println!("  fault: {fault}"));
        }
        results.insert(kind.name().to_owned(), summary(&report, &faults));
    }
    if args.json {
        println!("{}", Value::Object(results));
    } else {
        println!("{LEGEND}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

const LEGEND: &str = "\
gap: longest time between two video frames that follow each other, less the frame interval of 40 ms; all times in ms
calm: the same in the second before the death, longest of all rounds   late: furthest behind the schedule, of all rounds
deaths are spread evenly over a group, the first 10 ms before its end
lost, doubled, CC: video and audio frames, continuity counters; rounds: those whose dead fed this viewer";

fn header() -> String {
    format!(
        "{:<10} {:<6} {:>6} {:>5} {:>7} {:>4} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "kind", "viewer", "rounds", "lost", "doubled", "CC", "decode", "gap p50", "p99", "max", "late", "calm"
    )
}

fn row(report: &Report, viewer: &str) -> String {
    let hits = report.hits(viewer);
    let gaps = sorted(&hits, |seen| seen.seen.gap_ms);
    let worst = |of: fn(&ViewerReport) -> f64| sorted(&hits, of).last().copied().unwrap_or(f64::NAN);
    let sum = |of: fn(&ViewerReport) -> u64| report.of(viewer).map(of).sum::<u64>();
    format!(
        "{:<10} {:<6} {:>6} {:>5} {:>7} {:>4} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>6.1}",
        report.kind,
        viewer,
        hits.len(),
        sum(|seen| seen.seen.lost + seen.seen.audio_lost),
        sum(|seen| seen.seen.doubled + seen.seen.audio_doubled),
        sum(|seen| seen.seen.continuity),
        report.decode_errors.get(viewer).map_or(0, Vec::len),
        quantile(&gaps, 0.5),
        quantile(&gaps, 0.99),
        quantile(&gaps, 1.0),
        worst(|seen| seen.seen.late_ms),
        worst(|seen| seen.seen.calm_ms),
    )
}

fn pop(report: &Report) -> String {
    let sum = |of: fn(&deaths::RoundReport) -> u64| report.rounds.iter().map(of).sum::<u64>();
    let longest = report.rounds.iter().map(|round| round.took_ms).fold(0.0, f64::max);
    format!(
        "PoP: {} objects lost, {} duplicated, {} switches; longest round {:.1} s",
        sum(|round| round.objects_lost),
        sum(|round| round.objects_duplicated),
        sum(|round| round.switches),
        longest / 1e3
    )
}

/// What viewers may see at most: a drain is no gap at all, anything else at the median one of a fifth of a second.
fn too_long(kind: Kind, report: &Report) -> Vec<String> {
    let (quantile_name, q, max_ms) = match kind {
        Kind::Drain => ("longest", 1.0, VIDEO_STEP as f64 / TICKS_PER_MS),
        _ => ("median", 0.5, 200.0),
    };
    let gap = |viewer: &str| quantile(&sorted(&report.hits(viewer), |seen| seen.seen.gap_ms), q);
    let over = |viewer: &&str| gap(viewer) > max_ms;
    let told = |viewer: &str| format!("{viewer}: the {quantile_name} gap is {:.1} ms, more than {max_ms}", gap(viewer));
    Report::VIEWERS.into_iter().filter(over).map(told).collect()
}

fn summary(report: &Report, faults: &[String]) -> Value {
    let viewers = Report::VIEWERS.map(|viewer| {
        let gaps = sorted(&report.hits(viewer), |seen| seen.seen.gap_ms);
        let figures = json!({
            "hits": gaps.len(),
            "gap_ms_p50": quantile(&gaps, 0.5),
            "gap_ms_p99": quantile(&gaps, 0.99),
            "gap_ms_max": quantile(&gaps, 1.0),
            "late_ms_max": sorted(&report.hits(viewer), |seen| seen.seen.late_ms).last(),
            "calm_ms_max": sorted(&report.hits(viewer), |seen| seen.seen.calm_ms).last(),
            "lost": report.of(viewer).map(|seen| seen.seen.lost).sum::<u64>(),
            "doubled": report.of(viewer).map(|seen| seen.seen.doubled).sum::<u64>(),
            "audio_lost": report.of(viewer).map(|seen| seen.seen.audio_lost).sum::<u64>(),
            "audio_doubled": report.of(viewer).map(|seen| seen.seen.audio_doubled).sum::<u64>(),
            "continuity": report.of(viewer).map(|seen| seen.seen.continuity).sum::<u64>(),
        });
        (viewer.to_owned(), figures)
    });
    json!({"viewers": serde_json::Map::from_iter(viewers), "faults": faults, "report": report})
}

fn sorted(rounds: &[&ViewerReport], of: fn(&ViewerReport) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = rounds.iter().map(|round| of(round)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Nearest rank.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
