//! Short versions of the benchmark of deaths (benches/deaths.rs): every frame once, whoever dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/deaths.rs"]
mod deaths;
#[path = "common/feed.rs"]
mod feed;

use std::time::{Duration, Instant};

use deaths::{GROUP_END, Kind, run};
use levada_lab::tape::{Round, Seen, Tape};
use tokio::sync::Mutex;

/// Two rounds each, early and late in a group.
const PHASES: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(200)];
/// One at a time: each is a whole mesh, and what is late counts as lost at the end.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn survive(kind: Kind) {
    survive_at(kind, &PHASES).await;
}

async fn survive_at(kind: Kind, phases: &[Duration]) {
    let _alone = ALONE.lock().await;
    if let Some(lacks) = kind.lacks() {
        panic!("this binary has no `{lacks}`");
    }
    let report = run(kind, phases).await;
    let faults = report.faults();
    assert!(faults.is_empty() && report.rounds.len() == phases.len(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn a_killed_relay() {
    survive(Kind::Kill).await;
}

/// The next parent has no object of the group that the child has all of.
#[tokio::test]
async fn a_relay_killed_at_the_end_of_a_group() {
    survive_at(Kind::Kill, &[GROUP_END; 3]).await;
}

#[tokio::test]
async fn a_stopped_relay_that_goes_on_later() {
    survive(Kind::Stop).await;
}

#[tokio::test]
async fn a_killed_publisher_of_two() {
    survive(Kind::Origin).await;
}

#[tokio::test]
async fn a_killed_relay_on_the_only_path() {
    survive(Kind::LastPath).await;
}

#[tokio::test]
async fn a_drained_relay() {
    survive(Kind::Drain).await;
}

/// A transport packet that is a whole video frame.
fn packet(frame: u64) -> [u8; 188] {
    let mut packet = [0xff; 188];
    let ticks = 90_000 + frame * 3_600;
    packet[..4].copy_from_slice(&[0x47, 0x41, 0x00, 0x10 | (frame & 0xf) as u8]);
    packet[4..13].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x84, 0x80, 5]);
    let bits = [0x21 | (ticks >> 29) & 0xe, ticks >> 22 & 0xff, ticks >> 14 | 1, ticks >> 7 & 0xff, ticks << 1 | 1];
    packet[13..18].copy_from_slice(&bits.map(|bits| bits as u8));
    packet
}

/// What is seen of frames that come at given milliseconds, with a death at the end of the first second.
fn seen(frames: impl IntoIterator<Item = (u64, u64)>) -> Seen {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut tape = Tape::new(start);
    frames.into_iter().for_each(|(frame, ms)| tape.push(&packet(frame), at(ms)));
    tape.seen(&Round { since: start, calm: start, death: at(1_000), settled: at(4_000), until: at(4_000) })
}

/// A measure that cannot fail measures nothing.
#[test]
fn the_tape_sees_what_is_wrong() {
    let even = || (0..100).map(|frame| (frame, 40 * (frame + 1)));
    let counts = |seen: &Seen| (seen.lost, seen.doubled, seen.continuity, seen.jumps);
    let good = seen(even());
    assert_eq!((counts(&good), good.gap_ms, good.late_ms, good.calm_ms), ((0, 0, 0, 0), 0.0, 0.0, 0.0));

    let lost = seen(even().filter(|(frame, _)| !(50..53).contains(frame)));
    assert_eq!((counts(&lost), lost.gap_ms), ((3, 0, 1, 0), 120.0));

    let doubled =
        seen(even().flat_map(|(frame, ms)| (if frame == 60 { 58 } else { frame }..=frame).map(move |f| (f, ms))));
    assert_eq!((counts(&doubled), doubled.gap_ms), ((0, 2, 1, 0), 0.0));

    // Half a second of silence; what was held back comes in one burst.
    let silent = seen(even().map(|(frame, ms)| (frame, if (1_400..1_900).contains(&ms) { 1_900 } else { ms })));
    assert_eq!((counts(&silent), silent.gap_ms, silent.late_ms), ((0, 0, 0, 0), 500.0, 500.0));

    let dead = seen(even().take(50));
    assert_eq!((counts(&dead), dead.gap_ms), ((0, 0, 0, 0), 1_960.0));

    let odd = seen(even().map(|(frame, ms)| (frame + u64::from(frame > 70) * 250, ms)));
    assert_eq!(odd.lost, 250);
}
