//! Short versions of the benchmark of deaths (benches/deaths.rs): every frame once, whoever dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/deaths.rs"]
mod deaths;
#[path = "common/feed.rs"]
mod feed;
#[path = "common/tape.rs"]
mod tape;

use deaths::{Kind, Report, run};
use tokio::sync::Mutex;

const ROUNDS: usize = 2;
/// Longest gap of a death that is told nobody, milliseconds beyond the cadence: a second of silence until it is noticed,
/// the move, and a busy machine.
const UNTOLD_MS: f64 = 2_000.0;

/// One at a time: they measure.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn survive(kind: Kind, gap_ms_max: f64) {
    let _alone = ALONE.lock().await;
    if let Some(lacks) = kind.lacks() {
        panic!("this binary has no `{lacks}`");
    }
    let report = run(kind, ROUNDS).await;
    let faults = report.faults();
    assert!(faults.is_empty() && report.rounds.len() == ROUNDS, "{}", faults.join("\n"));
    for viewer in Report::VIEWERS {
        let gaps: Vec<f64> = report.of(viewer).map(|seen| seen.seen.gap_ms).collect();
        assert!(gaps.iter().all(|gap| *gap < gap_ms_max), "{viewer} waited for {gaps:?} ms");
    }
}

#[tokio::test]
async fn a_killed_relay() {
    survive(Kind::Kill, UNTOLD_MS).await;
}

#[tokio::test]
async fn a_stopped_relay_that_goes_on_later() {
    survive(Kind::Stop, UNTOLD_MS).await;
}

#[tokio::test]
#[ignore = "publishers do not share a stream yet"]
async fn a_killed_publisher_of_two() {
    survive(Kind::Origin, UNTOLD_MS).await;
}

#[tokio::test]
#[ignore = "nodes do not yet link to an origin by its record"]
async fn a_killed_relay_on_the_only_path() {
    survive(Kind::LastPath, UNTOLD_MS).await;
}

#[tokio::test]
#[ignore = "there is no drain yet"]
async fn a_drained_relay() {
    survive(Kind::Drain, 100.0).await;
}
