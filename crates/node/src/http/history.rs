//! The last ten minutes, second by second: bitrates, latencies, round trips, losses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use levada_overlay::StreamName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Rooms;
use super::api::Problem;
use super::body::Asked;
use super::lookout::{Picture, SAMPLE};
use super::operator::MayLook;
use crate::node::unix_ms;
use crate::stats::Stats;

/// Samples that are kept: ten minutes.
const SAMPLES_MAX: usize = 600;
/// Streams, and neighbours, that have a history; of more, those that came first. Bounds the memory to some 8 MB.
const ROWS_MAX: usize = 256;

/// A number that changes, newest last. `None`: not known then.
type Column<T> = VecDeque<Option<T>>;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct History {
    end_ms: u64,
    samples: usize,
    before: Option<Before>,
    viewers: Column<u32>,
    rates: Columns<u32, 2>,
    streams: BTreeMap<String, StreamRow>,
    neighbours: BTreeMap<String, NeighbourRow>,
}

/// Columns of one row.
type Columns<T, const N: usize> = [Column<T>; N];

/// Counters at the last sample, from which rates are made.
#[derive(Debug)]
struct Before {
    at: Instant,
    bytes_in: u64,
    bytes_out: u64,
    streams: BTreeMap<StreamName, u64>,
}

/// A stream: bits per second, milliseconds, viewers.
#[derive(Debug, Default)]
struct StreamRow {
    bitrate_bps: Column<u32>,
    latency_ms: Column<i32>,
    viewers: Column<u32>,
}

/// A link: microseconds, share, bits per second.
#[derive(Debug, Default)]
struct NeighbourRow {
    rtt_us: Column<u32>,
    jitter_us: Column<u32>,
    loss: Column<f32>,
    sent_bps: Column<u32>,
    received_bps: Column<u32>,
}

impl History {
    /// Adds what a look saw.
    pub(super) fn sample(&mut self, picture: &Picture, stats: &Stats) {
        let at = Instant::now();
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let bytes = picture.logs.iter().map(|(name, log)| (name.clone(), log.stats().bytes));
        let now =
            Before { at, bytes_in: get(&stats.bytes_in), bytes_out: get(&stats.bytes_out), streams: bytes.collect() };
        let before = self.before.as_ref();
        let rate = |now: u64, then: Option<u64>| {
            let (before, then) = (before?, then?);
            let seconds = (at - before.at).as_secs_f64();
            // A counter that went back belongs to another life of its stream.
            now.checked_sub(then).filter(|_| seconds > 0.0).map(|bytes| (bytes as f64 * 8.0 / seconds) as u64)
        };
        let rates = [
            rate(now.bytes_in, before.map(|before| before.bytes_in)),
            rate(now.bytes_out, before.map(|before| before.bytes_out)),
        ];
        let bitrates: BTreeMap<&str, Option<u64>> = now
            .streams
            .iter()
            .map(|(name, bytes)| (name.as_str(), rate(*bytes, before.and_then(|b| b.streams.get(name).copied()))))
            .collect();
        let length = self.samples;
        push(&mut self.viewers, length, Some(small(get(&stats.viewers))));
        for (column, rate) in self.rates.iter_mut().zip(rates) {
            push(column, length, rate.map(small));
        }

        let flowing = |name: &&str| bitrates.contains_key(name);
        let names: Vec<&str> =
            picture.streams.streams.iter().map(|stream| stream.name.as_str()).filter(flowing).collect();
        make_rows(&mut self.streams, &names);
        for (name, row) in &mut self.streams {
            let seen = picture.streams.streams.iter().find(|stream| stream.name == *name);
            push(&mut row.bitrate_bps, length, bitrates.get(name.as_str()).copied().flatten().map(small));
            let latency = seen.and_then(|stream| stream.latency_ms);
            let clamped = latency.map(|ms| ms.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
            push(&mut row.latency_ms, length, clamped);
            push(&mut row.viewers, length, seen.map(|stream| small(stream.viewers)));
        }
        let up: Vec<_> = picture.view.neighbours.iter().filter(|neighbour| neighbour.up).collect();
        make_rows(&mut self.neighbours, &up.iter().map(|neighbour| neighbour.name.as_str()).collect::<Vec<_>>());
        for (name, row) in &mut self.neighbours {
            let seen = up.iter().find(|neighbour| neighbour.name == *name);
            push(&mut row.rtt_us, length, seen.and_then(|link| link.rtt_us).map(small));
            push(&mut row.jitter_us, length, seen.and_then(|link| link.jitter_us).map(small));
            push(&mut row.loss, length, seen.and_then(|link| link.loss).map(|loss| loss as f32));
            push(&mut row.sent_bps, length, seen.and_then(|link| link.sent_bps).map(small));
            push(&mut row.received_bps, length, seen.and_then(|link| link.received_bps).map(small));
        }
        // What has not been seen for so long that no sample tells of it.
        self.streams
            .retain(|_, row| row.bitrate_bps.iter().any(Option::is_some) || row.viewers.iter().any(Option::is_some));
        self.neighbours.retain(|_, row| row.loss.iter().any(Option::is_some));
        self.samples = (length + 1).min(SAMPLES_MAX);
        (self.end_ms, self.before) = (unix_ms(), Some(now));
    }

    fn told(&self, node: &str, last: usize, stream: Option<&str>) -> Told {
        let skip = self.samples.saturating_sub(last);
        let streams = self.streams.iter().filter(|(name, _)| stream.is_none_or(|wanted| wanted == *name));
        let neighbours = self.neighbours.iter().filter(|_| stream.is_none());
        Told {
            node: node.to_owned(),
            step_ms: SAMPLE.as_millis() as u64,
            end_ms: self.end_ms,
            samples: self.samples - skip,
            viewers: newest(&self.viewers, skip),
            in_bps: newest(&self.rates[0], skip),
            out_bps: newest(&self.rates[1], skip),
            streams: streams
                .map(|(name, row)| StreamHistory {
                    name: name.clone(),
                    bitrate_bps: newest(&row.bitrate_bps, skip),
                    latency_ms: newest(&row.latency_ms, skip),
                    viewers: newest(&row.viewers, skip),
                })
                .collect(),
            neighbours: neighbours
                .map(|(name, row)| NeighbourHistory {
                    name: name.clone(),
                    rtt_us: newest(&row.rtt_us, skip),
                    jitter_us: newest(&row.jitter_us, skip),
                    loss: newest(&row.loss, skip),
                    sent_bps: newest(&row.sent_bps, skip),
                    received_bps: newest(&row.received_bps, skip),
                })
                .collect(),
        }
    }
}

/// Adds a value to a column that has, or ought to have, `length` of them.
fn push<T>(column: &mut Column<T>, length: usize, value: Option<T>) {
    while column.len() < length {
        column.push_front(None);
    }
    column.push_back(value);
    if column.len() > SAMPLES_MAX {
        column.pop_front();
    }
}

fn make_rows<R: Default>(rows: &mut BTreeMap<String, R>, names: &[&str]) {
    for name in names {
        if rows.len() < ROWS_MAX && !rows.contains_key(*name) {
            rows.insert((*name).to_owned(), R::default());
        }
    }
}

fn newest<T: Copy>(column: &Column<T>, skip: usize) -> Vec<Option<T>> {
    column.iter().skip(skip).copied().collect()
}

fn small(number: u64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

/// Answer of `/api/v1/history`. Every column has `samples` entries, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Name of the node that answers.
    pub node: String,
    /// Milliseconds between two samples.
    pub step_ms: u64,
    /// When the newest sample was taken, Unix time in milliseconds.
    pub end_ms: u64,
    /// Number of samples.
    pub samples: usize,
    /// Viewers of this node.
    pub viewers: Vec<Option<u32>>,
    /// Bits per second of objects received over links.
    pub in_bps: Vec<Option<u32>>,
    /// Bits per second of objects sent over links.
    pub out_bps: Vec<Option<u32>>,
    /// By name.
    pub streams: Vec<StreamHistory>,
    /// By name.
    pub neighbours: Vec<NeighbourHistory>,
}

/// A stream over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamHistory {
    /// Its name.
    pub name: String,
    /// Bits of objects that came in that second.
    pub bitrate_bps: Vec<Option<u32>>,
    /// See [`super::StreamEntry`].
    pub latency_ms: Vec<Option<i32>>,
    /// Viewers of this node.
    pub viewers: Vec<Option<u32>>,
}

/// A link over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeighbourHistory {
    /// Name of the neighbour.
    pub name: String,
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: Vec<Option<u32>>,
    /// Smoothed lateness, microseconds.
    pub jitter_us: Vec<Option<u32>>,
    /// Smoothed share of lost packets, 0 to 1.
    pub loss: Vec<Option<f32>>,
    /// Bits per second sent to it.
    pub sent_bps: Vec<Option<u32>>,
    /// Bits per second received from it.
    pub received_bps: Vec<Option<u32>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Span {
    last: Option<usize>,
    stream: Option<String>,
}

pub(super) async fn history(
    _: MayLook,
    State(rooms): State<Rooms>,
    Asked(Span { last, stream }): Asked<Span>,
) -> Result<Json<Told>, Problem> {
    let last = last.unwrap_or(SAMPLES_MAX);
    if !(1..=SAMPLES_MAX).contains(&last) {
        return Err(Problem::bad_request(format!("last is a number of seconds from 1 to {SAMPLES_MAX}")));
    }
    let history = rooms.lookout.history.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Json(history.told(rooms.node.name(), last, stream.as_deref())))
}
