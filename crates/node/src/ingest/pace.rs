//! When frames are due, so that they leave in the rhythm of their timestamps.
//!
//! A file is read faster than that and held back. What a live encoder sends comes in bursts; a frame of it is due as late
//! after its timestamp as the latest one of the last seconds was, like in the jitter buffer of a receiver. So a start
//! that was slow costs no delay for ever, the encoder's clock is followed, and all origins of one encoder are equally late.

use std::time::Duration;

use levada_media::{Catalog, Frame};
use tokio::time::Instant;

/// A source that is further behind or ahead than this is paced anew from where it is: the machine slept, or the clock of
/// the source jumped. Tuned.
const ANEW: Duration = Duration::from_secs(2);
/// The latest frame of this time, at least, and of twice that at most, counts. Tuned: some groups, so that the long way of
/// each group's first picture is in it.
const WINDOW: Duration = Duration::from_secs(3);
/// The same for a source that has just begun: what its pipe held comes at once, and the first of it is the latest. An origin is
/// asked for once it has a whole group, and must have forgotten that by then.
const START_WINDOW: Duration = Duration::from_secs(1);
/// How long a source has just begun: the windows that hold its start are over.
const STARTS: Duration = Duration::from_secs(3);

/// The rhythm of one source.
#[derive(Debug)]
pub(super) struct Pace {
    scales: Vec<(u8, u32)>,
    start: Instant,
    /// From a frame's timestamp to when it is due, both in microseconds, the latter since `start`.
    lag_us: Option<i128>,
    /// The greatest lag of the window before and of this one.
    greatest: [Option<i128>; 2],
    window_began: Instant,
}

impl Pace {
    pub(super) fn new(catalog: &Catalog, now: Instant) -> Self {
        let scales = catalog.tracks.iter().map(|track| (track.id, track.timescale)).collect();
        Self { scales, start: now, lag_us: None, greatest: [None; 2], window_began: now }
    }

    /// When a frame is due, which is the next one.
    pub(super) fn due(&mut self, frame: &Frame, now: Instant) -> Instant {
        let media_us = self.media_us(frame);
        let elapsed_us = self.elapsed_us(now);
        let near = |lag: &i128| (media_us + lag - elapsed_us).unsigned_abs() < ANEW.as_micros();
        let lag_us = self.lag_us.filter(near).unwrap_or(elapsed_us - media_us);
        if self.lag_us != Some(lag_us) {
            self.lag_us = Some(lag_us);
            self.greatest = [None, Some(lag_us)];
            self.window_began = now;
        }
        self.start + Duration::from_micros(u64::try_from(media_us + lag_us).unwrap_or(0))
    }

    /// A frame of a live source has come.
    pub(super) fn arrived(&mut self, frame: &Frame, now: Instant) {
        let lag_us = self.elapsed_us(now) - self.media_us(frame);
        let window = if now.duration_since(self.start) < STARTS { START_WINDOW } else { WINDOW };
        if now.duration_since(self.window_began) >= window {
            self.greatest = [self.greatest[1], None];
            self.window_began = now;
        }
        self.greatest[1] = self.greatest[1].max(Some(lag_us));
        self.lag_us = self.greatest.into_iter().max().flatten();
    }

    fn media_us(&self, frame: &Frame) -> i128 {
        let scale = self.scales.iter().find(|(id, _)| *id == frame.track).map_or(1, |(_, scale)| *scale);
        i128::from(frame.dts) * 1_000_000 / i128::from(scale.max(1))
    }

    fn elapsed_us(&self, now: Instant) -> i128 {
        now.duration_since(self.start).as_micros() as i128
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(ms: u64) -> Frame {
        let (pts, dts) = (ms as i64, ms as i64);
        Frame { track: 0, pts, dts, duration: 40, keyframe: true, discardable: false, data: Bytes::new() }
    }

    /// How late frames leave that come every 40 ms, the n-th of them `late(n)` ms late, after so many milliseconds.
    fn lateness(late: impl Fn(u64) -> u64, after_ms: u64) -> u64 {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace { scales: vec![(0, 1_000)], ..Pace::new(&Catalog { tracks: vec![] }, start) };
        let mut last = 0;
        for n in 0..=after_ms / 40 {
            let come = at(n * 40 + late(n));
            pace.arrived(&frame(n * 40), come);
            let left = pace.due(&frame(n * 40), come).max(come);
            last = left.duration_since(at(n * 40)).as_millis() as u64;
        }
        last
    }

    #[test]
    fn bursts_are_evened_out() {
        // Eight frames come together.
        let bursts = |n| (7 - n % 8) * 40;
        (8..16).for_each(|n| assert_eq!(lateness(bursts, 4_000 + n * 40), 280, "frame {n}"));
    }

    #[test]
    fn a_slow_start_is_made_good() {
        let slow = |n: u64| 900_u64.saturating_sub(n * 40);
        assert_eq!(lateness(slow, 1_000), 900);
        assert_eq!(lateness(slow, 2_200), 0, "by the time that others may ask for it");
        assert_eq!(lateness(slow, 8_000), 0);
    }

    #[test]
    fn a_faster_clock_is_followed() {
        // It gains a millisecond each second.
        assert!(lateness(|n| 10_000 - n / 25, 3_600_000) <= 10_000 - 3_600 + 6);
    }

    #[test]
    fn a_file_keeps_its_time_and_a_jump_begins_anew() {
        let start = Instant::now();
        let mut pace = Pace { scales: vec![(0, 1_000)], ..Pace::new(&Catalog { tracks: vec![] }, start) };
        let mut due = |ms, now_ms| {
            let due = pace.due(&frame(ms), start + Duration::from_millis(now_ms));
            due.duration_since(start).as_millis()
        };
        assert_eq!(due(500, 100), 100);
        assert_eq!(due(540, 101), 140);
        assert_eq!(due(580, 190), 180);
        assert_eq!(due(90_000, 200), 200);
        assert_eq!(due(90_040, 200), 240);
        assert_eq!(due(40, 240), 240);
    }
}
