//! A viewer's tape: every transport packet that came, and every frame with the instant at which it was whole.
//!
//! How things are measured:
//! - *arrival* of a frame: the instant at which the last packet of its PES packet was read.
//! - *gap*: the longest time between the arrivals of two video frames that follow each other, less the frame interval.
//!   Frames that come in a burst only make short intervals, so they never count; a frame that comes again is no arrival.
//! - *late*: how far a video frame came behind the schedule that its decode time and the calm before the death give; what
//!   a player would have had to buffer.
//! - *lost*: steps missing in the ordered presentation times, up to the newest decode time: whatever is to be presented
//!   before that has come or never will. *doubled*: a presentation time that was there already.
//! - *torn*: two presentation times that follow each other and are no whole number of frames apart, as around a frame of another
//!   stream; and a transport packet that does not follow its predecessor.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cadence::Cadence;

/// Bytes of a transport packet.
const PACKET: usize = 188;
/// Ticks of the clock in a millisecond.
pub const TICKS_PER_MS: f64 = 90.0;
/// Ticks of a video frame of the test card: 25 a second.
pub const VIDEO_STEP: u64 = 3_600;
/// A step may be off by this many ticks: timescales are rounded into each other.
const STEP_SLACK: f64 = 90.0;

/// The clock of MPEG-TS has so many ticks before it begins anew (ISO/IEC 13818-1, section 2.4.3.7).
const CLOCK_TICKS: u64 = 1 << 33;
/// Two connections whose clocks are further apart than they themselves are, by this, do not share one: somebody else publishes the
/// stream. Tuned: a player begins some seconds before the newest picture at most.
const CLOCKS_APART_MS: f64 = 10_000.0;

/// Frames before a stretch that are looked at for it: presentation runs behind decoding by a few frames, and two tracks
/// take turns unevenly. Some 13 s of both.
const RUN_UP: usize = 1_000;

/// What a tape holds of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Track {
    Video,
    Audio,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    track: Track,
    /// How many times the clock had been declared discontinuous.
    era: u32,
    pts: u64,
    dts: u64,
    /// Since the tape began.
    at: Duration,
    /// Where a recording that begins with it begins.
    offset: usize,
    keyframe: bool,
    doubled: bool,
}

/// What one viewer received.
#[derive(Debug)]
pub struct Tape {
    start: Instant,
    cadence: Cadence,
    bytes: Vec<u8>,
    /// Whether bytes are kept for a recording once they are parsed.
    keeps: bool,
    parsed: usize,
    frames: Vec<Frame>,
    /// The frame that each PID is at.
    open: HashMap<u16, usize>,
    counters: HashMap<u16, u8>,
    presented: HashSet<(Track, u32, u64)>,
    /// Packets that do not follow their predecessor, or are none.
    broken: Vec<Duration>,
    /// Declared discontinuities of the clock.
    jumps: Vec<Duration>,
    tables: usize,
}

/// The instants of a round, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The round before ended.
    pub since: Instant,
    /// From here on nothing happened until the death.
    pub calm: Instant,
    /// It happened.
    pub death: Instant,
    /// The stream was in time again.
    pub settled: Instant,
    /// Whatever was to be repaired is repaired.
    pub until: Instant,
}

/// What is wrong with a stretch of a tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Frames that never came.
    pub lost: u64,
    /// Of these, how many were of the sound.
    pub lost_audio: u64,
    /// Frames that came again.
    pub doubled: u64,
    /// Steps that are no whole number of frames, as around a frame of another stream, and packets that do not follow their predecessor.
    pub torn: u64,
}

/// What a viewer saw of a round. Counts are from `since` to `until`, times from the death until it settled.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Video frames that never came.
    pub lost: u64,
    /// Video frames that came again.
    pub doubled: u64,
    /// Audio frames that never came.
    pub audio_lost: u64,
    /// Audio frames that came again.
    pub audio_doubled: u64,
    /// Steps that are no whole number of frames, and declared discontinuities.
    pub jumps: u64,
    /// Packets whose continuity counter is wrong.
    pub continuity: u64,
    /// Beyond the cadence.
    pub gap_ms: f64,
    /// The latest frame, behind the schedule of the calm.
    pub late_ms: f64,
    /// The gap in the calm before the death: what this machine does by itself.
    pub calm_ms: f64,
}

impl Faults {
    /// Those of two stretches that follow each other.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            lost: self.lost + more.lost,
            lost_audio: self.lost_audio + more.lost_audio,
            doubled: self.doubled + more.doubled,
            torn: self.torn + more.torn,
        }
    }
}

impl Tape {
    /// A tape that keeps what came, for [`Tape::recording`].
    pub fn new(start: Instant) -> Self {
        Self { keeps: true, ..Self::of_times(start) }
    }

    /// A tape that keeps no more than what came when: 64 bytes a frame.
    pub fn of_times(start: Instant) -> Self {
        Self::of_cadence(start, Cadence::default())
    }

    /// The same, of a video that is not the test card.
    pub fn of_cadence(start: Instant, cadence: Cadence) -> Self {
        Self {
            start,
            cadence,
            bytes: Vec::new(),
            keeps: false,
            parsed: 0,
            frames: Vec::new(),
            open: HashMap::new(),
            counters: HashMap::new(),
            presented: HashSet::new(),
            broken: Vec::new(),
            jumps: Vec::new(),
            tables: 0,
        }
    }

    /// Takes what was read at an instant.
    pub fn push(&mut self, bytes: &[u8], now: Instant) {
        self.bytes.extend_from_slice(bytes);
        let now = self.time(now);
        while self.parsed + PACKET <= self.bytes.len() {
            let mut packet = [0; PACKET];
            packet.copy_from_slice(&self.bytes[self.parsed..self.parsed + PACKET]);
            self.packet(&packet, now);
            self.parsed += PACKET;
        }
        if !self.keeps {
            self.bytes.drain(..self.parsed);
            self.parsed = 0;
        }
    }

    /// When each video frame came, and how far behind the schedule of the quickest of its clock; in milliseconds.
    pub fn video_times(&self) -> Vec<(Instant, f64)> {
        let behind = |frame: &Frame| ms(frame.at) - frame.dts as f64 / TICKS_PER_MS;
        let mut quickest: BTreeMap<u32, f64> = BTreeMap::new();
        for frame in self.video() {
            let zero = quickest.entry(frame.era).or_insert(f64::MAX);
            *zero = zero.min(behind(frame));
        }
        let late = |frame: &Frame| behind(frame) - quickest.get(&frame.era).copied().unwrap_or_default();
        self.video().map(|frame| (self.start + frame.at, late(frame))).collect()
    }

    /// Frames that never came and frames that came again, of both tracks, and what does not belong, between two instants.
    pub fn faults(&self, since: Instant, until: Instant) -> Faults {
        let (since, until) = (self.time(since), self.time(until));
        let within = |at: &Duration| *at > since && *at <= until;
        let frames = self.after(since);
        let found = [Track::Video, Track::Audio].map(|track| self.lost(frames, track, since, until));
        let [(video, video_uneven), (audio, audio_uneven)] = found;
        let broken = self.broken.iter().filter(|at| within(at)).count() as u64;
        Faults {
            lost: video + audio,
            lost_audio: audio,
            doubled: frames.iter().filter(|frame| frame.doubled && within(&frame.at)).count() as u64,
            torn: video_uneven + audio_uneven + broken,
        }
    }

    /// What lies between the last frame of an earlier connection and the first of this one, and when that came. Frames of both
    /// are no loss, and none is doubled: a player that comes anew begins anew.
    pub(crate) fn missed_since(&self, earlier: &Self) -> Option<(Instant, Faults)> {
        let of = |track| self.missed_of(track, earlier).unwrap_or(0);
        let (video, audio) = (of(Track::Video), of(Track::Audio));
        let first = self.video().next()?;
        Some((self.start + first.at, Faults { lost: video + audio, lost_audio: audio, ..Faults::default() }))
    }

    fn missed_of(&self, track: Track, earlier: &Self) -> Option<u64> {
        let is_of = |frame: &&Frame| frame.track == track;
        let (last, first) = (earlier.frames.iter().rfind(is_of)?, self.frames.iter().find(is_of)?);
        let passed_ms = ms((self.start + first.at).saturating_duration_since(earlier.start + last.at));
        let on = (first.dts + CLOCK_TICKS - last.dts) % CLOCK_TICKS;
        let on_ms = if on < CLOCK_TICKS / 2 { on as f64 } else { on as f64 - CLOCK_TICKS as f64 } / TICKS_PER_MS;
        let is_one_clock = (on_ms - passed_ms).abs() <= CLOCKS_APART_MS;
        let ticks = if is_one_clock { on_ms } else { passed_ms } * TICKS_PER_MS;
        Some((ticks / self.step(track)).round() as u64).map(|steps| steps.saturating_sub(1))
    }

    fn packet(&mut self, packet: &[u8; PACKET], now: Duration) {
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let (begins, has_field, has_payload) = (packet[1] & 0x40 != 0, packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let counter = packet[3] & 0xf;
        let before = self.counters.insert(pid, counter);
        if packet[0] != 0x47 || has_payload && before.is_some_and(|before| counter != (before + 1) & 0xf) {
            self.broken.push(now);
        }
        let (field_len, flags) = if has_field { (1 + usize::from(packet[4]), packet[5]) } else { (0, 0) };
        let flags = if field_len > 1 { flags } else { 0 };
        if flags & 0x80 != 0 {
            self.jumps.push(now);
        }
        if pid == 0 && begins {
            self.tables = self.parsed;
        }
        let payload = packet.get(4 + field_len..).unwrap_or_default();
        if !begins {
            if let Some(frame) = self.open.get(&pid).and_then(|at| self.frames.get_mut(*at)) {
                frame.at = now;
            }
            return;
        }
        let track = match payload {
            [0, 0, 1, 0xe0, ..] => Track::Video,
            [0, 0, 1, 0xc0, ..] => Track::Audio,
            _ => return,
        };
        let Some(pts) = payload.get(9..14).map(timestamp) else { return };
        let has_dts = payload[7] & 0x40 != 0;
        let dts = payload.get(14..19).filter(|_| has_dts).map_or(pts, timestamp);
        let (era, keyframe) = (self.jumps.len() as u32, track == Track::Video && flags & 0x40 != 0);
        let offset = if keyframe { self.tables } else { self.parsed };
        let doubled = !self.presented.insert((track, era, pts));
        self.open.insert(pid, self.frames.len());
        self.frames.push(Frame { track, era, pts, dts, at: now, offset, keyframe, doubled });
    }

    /// Lets go of what came before an instant. A tape that keeps its bytes keeps its frames too.
    pub fn forget(&mut self, before: Instant) {
        let before = self.time(before);
        let count = self.frames.len() - self.after(before).len();
        if self.keeps || count < RUN_UP {
            return;
        }
        for frame in self.frames.drain(..count) {
            self.presented.remove(&(frame.track, frame.era, frame.pts));
        }
        self.open.retain(|_, at| *at >= count);
        self.open.values_mut().for_each(|at| *at -= count);
        self.broken.retain(|at| *at > before);
    }

    fn time(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    fn video(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.track == Track::Video && !frame.doubled)
    }

    /// How far the newest frame is behind the schedule of the calm between two instants; `None` if that was empty.
    pub fn behind(&self, calm: Instant, death: Instant, now: Instant) -> Option<Duration> {
        let zero = self.schedule(calm, death)?;
        let newest = self.video().next_back()?;
        let due = if newest.era == zero.0 { newest.dts as f64 / TICKS_PER_MS + zero.1 } else { ms(newest.at) };
        Some(Duration::from_secs_f64((ms(self.time(now)) - due).max(0.0) / 1e3))
    }

    /// When the last group began.
    pub fn newest_keyframe(&self) -> Option<Instant> {
        self.video().rfind(|frame| frame.keyframe).map(|frame| self.start + frame.at)
    }

    /// When the tape began.
    pub fn began(&self) -> Instant {
        self.start
    }

    /// When each video frame came.
    pub fn arrivals(&self) -> impl DoubleEndedIterator<Item = Instant> {
        self.video().map(|frame| self.start + frame.at)
    }

    /// Presentation time, in ticks, and arrival of each picture.
    pub fn pictures(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.video().map(|frame| (frame.pts, self.start + frame.at))
    }

    /// When something came last.
    pub fn newest(&self) -> Option<Instant> {
        self.video().next_back().map(|frame| self.start + frame.at)
    }

    /// Era and the time, in milliseconds since the start, at which its decode time zero would have come at the earliest.
    fn schedule(&self, from: Instant, to: Instant) -> Option<(u32, f64)> {
        let (from, to) = (self.time(from), self.time(to));
        let era = self.video().rfind(|frame| frame.at <= to)?.era;
        let calm = self.video().filter(|frame| frame.era == era && (from..=to).contains(&frame.at));
        calm.map(|frame| ms(frame.at) - frame.dts as f64 / TICKS_PER_MS).min_by(f64::total_cmp).map(|zero| (era, zero))
    }

    /// What the viewer saw of a round.
    pub fn seen(&self, round: &Round) -> Seen {
        let (since, until) = (self.time(round.since), self.time(round.until));
        let within = |at: &&Duration| **at > since && **at <= until;
        let doubled = |track| {
            let again = self.frames.iter().filter(|frame| frame.track == track && frame.doubled);
            again.filter(|frame| within(&&frame.at)).count() as u64
        };
        let frames = self.after(since);
        let (video_lost, uneven) = self.lost(frames, Track::Video, since, until);
        let (audio_lost, audio_uneven) = self.lost(frames, Track::Audio, since, until);
        let (death, settled) = (self.time(round.death), self.time(round.settled));
        let zero = self.schedule(round.calm, round.death);
        let late = zero.map_or(0.0, |(era, zero)| {
            let after = self.video().filter(|frame| frame.era == era && frame.at > death && frame.at <= settled);
            after.map(|frame| ms(frame.at) - frame.dts as f64 / TICKS_PER_MS - zero).fold(0.0, f64::max)
        });
        Seen {
            lost: video_lost,
            doubled: doubled(Track::Video),
            audio_lost,
            audio_doubled: doubled(Track::Audio),
            jumps: self.jumps.iter().filter(within).count() as u64 + uneven + audio_uneven,
            continuity: self.broken.iter().filter(within).count() as u64,
            gap_ms: self.gap(death, settled),
            late_ms: micros(late),
            calm_ms: self.gap(self.time(round.calm), death),
        }
    }

    /// The longest interval that ends within a window, or is open at its end, less the frame interval.
    fn gap(&self, from: Duration, to: Duration) -> f64 {
        let mut arrivals: Vec<Duration> = self.video().map(|frame| frame.at).filter(|at| *at <= to).collect();
        arrivals.push(to);
        let intervals = arrivals.windows(2).filter(|pair| pair[1] > from);
        let longest = intervals.map(|pair| ms(pair[1] - pair[0])).fold(0.0, f64::max);
        micros((longest - self.cadence.picture_ms()).max(0.0))
    }

    /// The frames that came after an instant, and enough of those before to tell what is missing between them.
    fn after(&self, since: Duration) -> &[Frame] {
        let first = self.frames.partition_point(|frame| frame.at <= since);
        &self.frames[first.saturating_sub(RUN_UP)..]
    }

    /// Frames missing, and steps that are no whole number of frames.
    fn lost(&self, frames: &[Frame], track: Track, since: Duration, until: Duration) -> (u64, u64) {
        let (mut lost, mut uneven) = (0, 0);
        let mut eras: BTreeMap<u32, Era> = BTreeMap::new();
        for frame in frames.iter().filter(|frame| frame.track == track && frame.at <= until) {
            let era = eras.entry(frame.era).or_default();
            era.presented.insert(frame.pts);
            era.newest = era.newest.max(frame.dts);
            if frame.at <= since {
                era.counted = era.counted.max(frame.dts);
            }
        }
        let step = self.step(track);
        for era in eras.values() {
            let due: Vec<u64> = era.presented.range(..=era.newest).copied().collect();
            for pair in due.windows(2).filter(|pair| pair[1] > era.counted) {
                let off = (pair[1] - pair[0]) as f64;
                let steps = (off / step).round();
                lost += (steps as u64).saturating_sub(1);
                uneven += u64::from((off - steps * step).abs() > STEP_SLACK);
            }
        }
        (lost, uneven)
    }

    fn step(&self, track: Track) -> f64 {
        match track {
            Track::Video => self.cadence.video,
            Track::Audio => self.cadence.audio,
        }
    }

    /// A recording of the round, from the keyframe before it to the last whole frame in it.
    pub fn recording(&self, round: &Round) -> &[u8] {
        let (since, until) = (self.time(round.since), self.time(round.until));
        let keyframes = || self.frames.iter().filter(|frame| frame.keyframe);
        let first = keyframes().rfind(|frame| frame.at <= since).or_else(|| keyframes().next());
        let end = self.frames.iter().rfind(|frame| frame.at <= until).map_or(0, |frame| frame.offset);
        first.and_then(|first| self.bytes.get(first.offset..end)).unwrap_or_default()
    }
}

#[derive(Default)]
struct Era {
    presented: BTreeSet<u64>,
    /// Newest decode time.
    newest: u64,
    /// Newest decode time of the rounds before.
    counted: u64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Milliseconds without what is below a microsecond.
fn micros(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// 33 bits in five bytes (ISO/IEC 13818-1, section 2.4.3.7).
fn timestamp(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|at| u64::from(bytes[at]));
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A transport packet that is a whole video frame.
    pub(crate) fn frame(pts: u64, counter: u8) -> [u8; PACKET] {
        let mut packet = [0xff; PACKET];
        let stamp = [
            0x21 | (pts >> 29 & 0xe) as u8,
            (pts >> 22) as u8,
            (pts >> 14 & 0xfe) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1 & 0xfe) as u8 | 1,
        ];
        packet[..4].copy_from_slice(&[0x47, 0x41, 0x00, 0x10 | counter & 0xf]);
        packet[4..13].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5]);
        packet[13..18].copy_from_slice(&stamp);
        packet
    }

    /// Records so many frames at their pace, without those that are lost and with those that come again.
    fn record(tape: &mut Tape, start: Instant, frames: std::ops::Range<u64>, lost: &[u64], again: &[u64]) {
        for n in frames {
            let times = usize::from(!lost.contains(&n)) + usize::from(again.contains(&n));
            for _ in 0..times {
                tape.push(&frame(n * VIDEO_STEP, n as u8), start + Duration::from_millis(40 * n));
            }
        }
    }

    #[test]
    fn counting_in_steps_and_forgetting_finds_the_same() {
        let start = Instant::now();
        let (lost, again) = ([100, 101, 1_400, 2_999, 3_000, 5_500], [50, 3_001, 5_000]);
        let end = start + Duration::from_secs(400);
        let mut whole = Tape::of_times(start);
        record(&mut whole, start, 0..6_000, &lost, &again);
        let all = whole.faults(start, end);
        assert_eq!((all.lost, all.doubled), (lost.len() as u64, again.len() as u64));

        let (mut stepped, mut sum, mut since) = (Tape::of_times(start), Faults::default(), start);
        for step in 0..60 {
            record(&mut stepped, start, step * 100..(step + 1) * 100, &lost, &again);
            let until = start + Duration::from_millis(40 * ((step + 1) * 100) - 1);
            sum = sum.plus(stepped.faults(since, until));
            since = until;
            stepped.forget(until.checked_sub(Duration::from_secs(30)).unwrap_or(start));
            assert!(stepped.frames.len() <= 3 * RUN_UP && stepped.presented.len() <= stepped.frames.len());
        }
        assert_eq!((sum.lost, sum.doubled), (all.lost, all.doubled));
        assert_eq!(stepped.newest(), whole.newest());
    }

    #[test]
    fn a_frame_of_another_stream_and_a_packet_that_is_missing_are_seen() {
        let start = Instant::now();
        let until = start + Duration::from_secs(60);
        let (mut mixed, mut missing) = (Tape::of_times(start), Tape::of_times(start));
        record(&mut mixed, start, 0..50, &[], &[]);
        // Of a stream of 30 pictures a second, in the midst of one of 25.
        mixed.push(&frame(49 * VIDEO_STEP + 1_200, 50), start + Duration::from_millis(1_990));
        for n in 50..100 {
            mixed.push(&frame(n * VIDEO_STEP, n as u8 + 1), start + Duration::from_millis(40 * n));
        }
        assert_eq!(mixed.faults(start, until), Faults { torn: 2, ..Faults::default() });
        for n in 0..100 {
            missing.push(&frame(n * VIDEO_STEP, n as u8 + u8::from(n >= 50)), start + Duration::from_millis(40 * n));
        }
        assert_eq!(missing.faults(start, until), Faults { torn: 1, ..Faults::default() });
    }

    #[test]
    fn frames_are_counted_by_the_cadence_of_their_file() {
        let start = Instant::now();
        for (step, lost) in [(6_000, vec![30]), (1_800, vec![30, 50, 51, 52])] {
            let mut tape = Tape::of_cadence(start, Cadence { video: step as f64, ..Cadence::default() });
            for n in (0..100).filter(|n| !lost.contains(n)) {
                tape.push(&frame(n * step, n as u8), start + Duration::from_millis(n * step / 90));
            }
            assert_eq!(tape.faults(start, start + Duration::from_secs(60)).lost, lost.len() as u64, "{step} ticks");
        }
    }

    #[test]
    fn what_lies_between_two_connections_was_missed() {
        let start = Instant::now();
        let second = |first: u64, came: u64| {
            let mut tape = Tape::of_times(start + Duration::from_millis(came));
            tape.push(&frame(first * VIDEO_STEP, 0), start + Duration::from_millis(came));
            tape
        };
        let mut first = Tape::of_times(start);
        record(&mut first, start, 0..100, &[], &[]);
        let missed = |tape: Tape| tape.missed_since(&first).unwrap().1.lost;
        assert_eq!(missed(second(150, 6_000)), 50);
        assert_eq!(missed(second(75, 6_000)), 0, "it begins with what was seen already");
        // Another clock: time tells. The last frame came after 3.96 s.
        assert_eq!(missed(second(100_000, 5_960)), 49);
        assert!(Tape::of_times(start).missed_since(&first).is_none());
    }

    #[test]
    fn a_tape_that_keeps_its_bytes_forgets_nothing() {
        let start = Instant::now();
        let mut tape = Tape::new(start);
        record(&mut tape, start, 0..3_000, &[], &[]);
        tape.forget(start + Duration::from_secs(1_000));
        assert_eq!(tape.frames.len(), 3_000);
    }
}
