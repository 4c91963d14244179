//! Viewers that record when each frame came: players at a PoP, which come back when it is lost, and leaves of the mesh.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use levada_overlay::StreamName;

use crate::cadence::Cadence;
use crate::http;
use crate::net::Network;
use crate::nodes::Process;
use crate::tape::{Faults, Tape};

/// Pause before a lost PoP is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Bytes read at once.
const READ_LEN: usize = 64 * 1024;
/// A player that hears nothing looks, so often, whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
/// A pause between pictures that is longer than this is one that a player with a small buffer would show, ms: five frames.
pub(crate) const IN_TIME_MS: f64 = 200.0;
/// A viewer who has had pictures in time for so long gets the stream.
pub(crate) const FLOWING: Duration = Duration::from_secs(1);
/// What was counted is kept for so long.
const KEPT: Duration = Duration::from_secs(300);

/// One watching node and stream.
pub(crate) type ViewerId = (String, StreamName);

/// Somebody who watches, or did.
#[derive(Debug)]
pub(crate) struct Viewer {
    recording: Arc<Mutex<Recording>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    /// A leaf's process and the name that it has in the mesh.
    pub(crate) leaf: Option<(Process, String)>,
    /// When it was told to watch; `None` when it no longer is to.
    pub(crate) since: Option<Instant>,
}

/// Everything that a viewer got, a tape for each time that it was connected.
#[derive(Debug)]
pub(crate) struct Recording {
    /// When the viewer did.
    began: Instant,
    /// Of the stream's source.
    cadence: Cadence,
    tapes: Vec<Tape>,
    /// Bytes by second since the viewer began.
    bytes: BTreeMap<u64, u64>,
}

/// How long after they had come at the source pictures came at a viewer, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// In 99 of a hundred cases at most.
    pub p99: f64,
    /// At most.
    pub max: f64,
}

/// A look into what a viewer gets. What is older than a few minutes is counted and forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    recording: Arc<Mutex<Recording>>,
    since: Instant,
}

/// What a viewer saw so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    until: Option<Instant>,
    pub(crate) faults: Faults,
    /// The longest pause between pictures, less the frame interval.
    pub(crate) gap_ms: f64,
}

/// How pictures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flow {
    /// In time, for a second.
    Flowing,
    /// They come, with pauses that a player would show.
    Late,
    /// None in the last second.
    Waiting,
}

/// A point of a viewer's timeline.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Moment {
    /// Seconds since the lab began.
    pub at_s: f64,
    /// Longest pause between pictures that ended in this moment, less the frame interval.
    pub gap_ms: f64,
    /// How long after it had come at the source the latest picture came; where nobody watches there, how far it was behind the
    /// quickest of its clock.
    pub late_ms: f64,
    /// Bits a second.
    pub bitrate_bps: f64,
}

impl Viewer {
    /// A player at a PoP, over HTTP.
    pub(crate) fn player(
        network: Arc<Network>,
        node: String,
        port: u16,
        stream: &StreamName,
        cadence: Cadence,
    ) -> Self {
        let began = Instant::now();
        let (recording, stop) = (Recording::begin(cadence, began), Arc::new(AtomicBool::new(false)));
        let (to, stopping, path) = (recording.clone(), stop.clone(), format!("/live/{stream}.ts?wait=1"));
        let reader = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let opened = network.connect(&node, port).and_then(|connection| {
                    connection.set_read_timeout(Some(LOOK))?;
                    http::stream(connection, &path)
                });
                if let Ok(answer) = opened {
                    record(answer, &to, &stopping);
                }
                std::thread::sleep(RETRY);
            }
        });
        Self { recording, stop, reader: Some(reader), leaf: None, since: Some(began) }
    }

    /// A process that writes the stream to its standard output.
    pub(crate) fn leaf(mut process: Process, name: String, cadence: Cadence) -> Self {
        let began = Instant::now();
        let (recording, stop) = (Recording::begin(cadence, began), Arc::new(AtomicBool::new(false)));
        let (to, stopping) = (recording.clone(), stop.clone());
        let stdout = process.child.stdout.take();
        // Ends with the process.
        let reader = std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                record(stdout, &to, &stopping);
            }
        });
        Self { recording, stop, reader: Some(reader), leaf: Some((process, name)), since: Some(began) }
    }

    /// Tells a player to stop, and does not wait until it has: of many, all are told before the first is waited for. A leaf has to
    /// be there until it is ended, which takes no time.
    pub(crate) fn dismiss(&self) {
        if self.leaf.is_none() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Stops watching; what was recorded stays.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.leaf = None;
        let _ = self.reader.take().map(JoinHandle::join);
        self.since = None;
    }

    /// When the first picture came.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.lock().first()
    }

    /// How long ago the newest picture came.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.lock().newest()?))
    }

    /// What was lost, doubled or torn between two instants.
    pub(crate) fn faults(&self, since: Instant, until: Instant) -> Faults {
        self.lock().faults(since, until)
    }

    /// The longest pause that ended within, or was open at the end, less the frame interval; milliseconds.
    pub(crate) fn gap_ms(&self, since: Instant, until: Instant) -> f64 {
        self.pauses(since, until).iter().map(|(_, pause)| *pause).fold(0.0, f64::max)
    }

    /// From `since` to the end of the last pause that a player would have shown, or to the first picture; milliseconds.
    pub(crate) fn recovery_ms(&self, since: Instant, until: Instant) -> f64 {
        let shown = self.pauses(since, until).into_iter().rfind(|(_, pause)| *pause > IN_TIME_MS);
        let ends = shown.map(|(end, _)| end).into_iter().chain(self.first());
        ends.map(|end| end.saturating_duration_since(since).as_secs_f64() * 1e3).fold(0.0, f64::max)
    }

    /// How much later than at another viewer its pictures came between two instants; `None` where they share none.
    pub(crate) fn latency(&self, source: &Self, since: Instant, until: Instant) -> Option<Latency> {
        let mut late_ms: Vec<f64> =
            self.behind(source).filter(|(at, _)| *at > since && *at <= until).map(|(_, ms)| ms).collect();
        late_ms.sort_by(f64::total_cmp);
        let rank = |q: f64| late_ms.get(((q * late_ms.len() as f64).ceil() as usize).saturating_sub(1)).copied();
        Some(Latency { p50: rank(0.5)?, p99: rank(0.99)?, max: rank(1.0)? })
    }

    /// When each picture came, and how many milliseconds after it had come at the other viewer.
    fn behind(&self, source: &Self) -> impl Iterator<Item = (Instant, f64)> {
        let mut there: HashMap<u64, Instant> = HashMap::new();
        for (pts, at) in source.lock().tapes.iter().flat_map(Tape::pictures) {
            there.entry(pts).or_insert(at);
        }
        let here: Vec<(u64, Instant)> = self.lock().tapes.iter().flat_map(Tape::pictures).collect();
        here.into_iter().filter_map(move |(pts, at)| {
            let first = there.get(&pts)?;
            let (late, early) = (at.saturating_duration_since(*first), first.saturating_duration_since(at));
            Some((at, (late.as_secs_f64() - early.as_secs_f64()) * 1e3))
        })
    }

    /// Times that it was connected.
    pub(crate) fn sittings(&self) -> usize {
        self.lock().tapes.iter().filter(|tape| tape.newest().is_some()).count()
    }

    /// What happened, second by second; `source` watches where the stream is published.
    pub(crate) fn moments(&self, lab_began: Instant, source: Option<&Self>) -> Vec<Moment> {
        let recording = self.lock();
        let began = recording.began;
        let offset_s = began.saturating_duration_since(lab_began).as_secs_f64();
        let mut seconds: BTreeMap<u64, Moment> = BTreeMap::new();
        for (second, bytes) in &recording.bytes {
            let at_s = offset_s + *second as f64;
            let bitrate_bps = *bytes as f64 * 8.0;
            seconds.insert(*second, Moment { at_s, gap_ms: 0.0, late_ms: 0.0, bitrate_bps });
        }
        let times: Vec<(Instant, f64)> = recording.tapes.iter().flat_map(Tape::video_times).collect();
        let cadence = recording.cadence;
        drop(recording);
        let times = source.map_or(times, |source| self.behind(source).collect());
        let mut before = None;
        for (at, late_ms) in times {
            let second = at.saturating_duration_since(began).as_secs();
            let moment = seconds.entry(second).or_insert(Moment {
                at_s: offset_s + second as f64,
                gap_ms: 0.0,
                late_ms: 0.0,
                bitrate_bps: 0.0,
            });
            let pause = before.replace(at).map_or(0.0, |before: Instant| pause_ms(before, at, cadence));
            moment.gap_ms = moment.gap_ms.max(pause);
            moment.late_ms = moment.late_ms.max(late_ms);
        }
        seconds.into_values().collect()
    }

    /// Ends and lengths of all pauses between pictures, the one that is open at the end too.
    fn pauses(&self, since: Instant, until: Instant) -> Vec<(Instant, f64)> {
        let recording = self.lock();
        let until = self.since.map_or_else(|| recording.newest().unwrap_or(until), |_| until);
        recording.pauses(since, until)
    }

    /// What goes on being counted while the viewer is somebody else's.
    pub(crate) fn gauge(&self) -> Option<Gauge> {
        Some(Gauge { recording: self.recording.clone(), since: self.since? })
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        locked(&self.recording)
    }
}

impl Recording {
    fn begin(cadence: Cadence, began: Instant) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { began, cadence, tapes: Vec::new(), bytes: BTreeMap::new() }))
    }

    /// Takes what was read; of a new connection first.
    fn take(&mut self, bytes: &[u8], now: Instant, is_first: bool) {
        if is_first {
            self.tapes.push(Tape::of_cadence(now, self.cadence));
        }
        let second = now.saturating_duration_since(self.began).as_secs();
        *self.bytes.entry(second).or_default() += bytes.len() as u64;
        if let Some(tape) = self.tapes.last_mut() {
            tape.push(bytes, now);
        }
    }

    fn first(&self) -> Option<Instant> {
        self.tapes.iter().find_map(|tape| tape.arrivals().next())
    }

    fn newest(&self) -> Option<Instant> {
        self.tapes.iter().rev().find_map(Tape::newest)
    }

    fn faults(&self, since: Instant, until: Instant) -> Faults {
        let within = self.tapes.iter().map(|tape| tape.faults(since, until));
        within.chain(self.missed(since, until)).fold(Faults::default(), Faults::plus)
    }

    /// What came while the viewer had no connection.
    fn missed(&self, since: Instant, until: Instant) -> impl Iterator<Item = Faults> {
        let with_pictures: Vec<&Tape> = self.tapes.iter().filter(|tape| tape.newest().is_some()).collect();
        let missed: Vec<_> = with_pictures.windows(2).filter_map(|pair| pair[1].missed_since(pair[0])).collect();
        missed.into_iter().filter(move |(at, _)| *at > since && *at <= until).map(|(_, faults)| faults)
    }

    /// Ends and lengths of all pauses between pictures, the one that is open at the end too.
    fn pauses(&self, since: Instant, until: Instant) -> Vec<(Instant, f64)> {
        let arrivals = self.tapes.iter().rev().flat_map(|tape| tape.arrivals().rev());
        let mut at = vec![until];
        for arrival in arrivals.filter(|at| *at <= until) {
            at.push(arrival);
            if arrival <= since {
                break;
            }
        }
        at.reverse();
        let pairs = at.windows(2).filter(|pair| pair[1] > since);
        pairs.map(|pair| (pair[1], pause_ms(pair[0], pair[1], self.cadence))).collect()
    }

    fn forget(&mut self, before: Instant) {
        self.tapes.iter_mut().for_each(|tape| tape.forget(before));
        // The last but one tells what came before the last.
        let kept = self.tapes.len().saturating_sub(2);
        let mut n = 0..;
        self.tapes
            .retain(|tape| n.next().is_some_and(|n| n >= kept) || tape.newest().is_some_and(|newest| newest > before));
    }
}

impl Gauge {
    /// When the viewer began, which tells it from another of the same node and stream.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Whether pictures have come in time for a second, and when the newest came.
    pub(crate) fn flow(&self, now: Instant) -> Flow {
        let recording = locked(&self.recording);
        let from = now.checked_sub(FLOWING).unwrap_or(now);
        match recording.newest() {
            None => Flow::Waiting,
            Some(newest) if newest < from => Flow::Waiting,
            Some(_) => {
                let fresh = recording.first().is_some_and(|first| first <= from);
                let longest = recording.pauses(from, now).into_iter().map(|(_, pause)| pause).fold(0.0, f64::max);
                if fresh && longest <= IN_TIME_MS { Flow::Flowing } else { Flow::Late }
            }
        }
    }

    /// Adds what came since the last time.
    pub(crate) fn count(&self, so_far: Tally, now: Instant) -> Tally {
        let mut recording = locked(&self.recording);
        let since = so_far.until.unwrap_or(self.since);
        let pauses = recording.pauses(since, now);
        let tally = Tally {
            until: Some(now),
            faults: so_far.faults.plus(recording.faults(since, now)),
            gap_ms: pauses.into_iter().map(|(_, pause)| pause).fold(so_far.gap_ms, f64::max),
        };
        if let Some(before) = now.checked_sub(KEPT) {
            recording.forget(before);
        }
        tally
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.end();
    }
}

fn locked(recording: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pause_ms(from: Instant, to: Instant, cadence: Cadence) -> f64 {
    (to.saturating_duration_since(from).as_secs_f64() * 1e3 - cadence.picture_ms()).max(0.0)
}

fn record(mut from: impl Read, to: &Mutex<Recording>, stop: &AtomicBool) {
    let mut bytes = vec![0; READ_LEN];
    let mut first = true;
    while !stop.load(Ordering::Relaxed) {
        match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(len) => locked(to).take(&bytes[..len], Instant::now(), std::mem::take(&mut first)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::tests::frame;

    #[test]
    fn what_came_in_a_second_is_one_moment_however_late_the_first_picture_was() {
        let lab_began = Instant::now();
        let began = lab_began + Duration::from_secs(2);
        let recording = Recording::begin(Cadence::default(), began);
        for (n, ms) in [(0, 5_000), (1, 5_040), (2, 6_340)] {
            locked(&recording).take(&frame(n * 3_600, n as u8), began + Duration::from_millis(ms), n == 0);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let viewer = Viewer { recording, stop, reader: None, leaf: None, since: Some(began) };
        let moments = viewer.moments(lab_began, None);
        let seen: Vec<_> = moments.iter().map(|one| (one.at_s, one.bitrate_bps, one.gap_ms.round())).collect();
        assert_eq!(seen, [(7.0, 2.0 * 188.0 * 8.0, 0.0), (8.0, 188.0 * 8.0, 1_260.0)]);
    }
}
