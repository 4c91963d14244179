//! What viewers notice: how late the newest object is, beyond what is usual for them.
//!
//! The lateness of a reader is the time since the newest object that it holds was produced, less one interval between
//! objects and less the usual time on the way. After a failure further up, the greatest lateness within ten seconds is the
//! interruption. A player that holds half a second in front of it stalls where lateness exceeds that.

use std::time::Duration;

use levada_overlay::Time;

use super::{NodeIndex, PerNode, StreamIndex, quantile};
use crate::water::OBJECT_INTERVAL;

/// What a player holds in front of it.
const PLAYER_BUFFER_US: f64 = 500_000.0;
/// How long after a failure lateness is its consequence.
const WATCHED: Duration = Duration::from_secs(10);
/// A reader has caught up when objects take no longer than usual and this.
const CAUGHT_UP_US: f64 = 50_000.0;
/// Objects after which a new reader's usual time is known: it starts with a group that is up to a second old.
const SETTLED_AFTER: u32 = 100;
/// A reader later than this at the end is behind.
const BEHIND_US: f64 = 2_000_000.0;
/// A way that has come back gets this long to be found: pauses between dials are up to 5 s, and their timeout as long.
const REUNION: Duration = Duration::from_secs(15);
/// Weights of a new sample in the usual time: quick to learn that the way is short, slow to learn that it is long.
const DOWN: f64 = 0.125;
const UP: f64 = 1.0 / 32.0;
/// A sample counts as at most this much above the usual time.
const UP_MAX_US: f64 = 20_000.0;

#[derive(Debug)]
struct Reader {
    newest_made: Time,
    arrived_at: Time,
    usual_us: f64,
    objects: u32,
    /// Cut off from every origin, in truth.
    cut_off: bool,
    /// It was, and what it missed is still coming.
    catching_up: Option<Time>,
    /// Until when the consequence of a failure is watched, and the greatest lateness so far.
    watch: Option<(Time, f64)>,
    /// The player stands still: by how much it has been late at most.
    stalled_us: f64,
}

impl Reader {
    fn late_us(&self, now: Time) -> f64 {
        now.since(self.newest_made).saturating_sub(OBJECT_INTERVAL).as_micros() as f64 - self.usual_us
    }

    fn counts(&self) -> bool {
        !self.cut_off && self.catching_up.is_none() && self.objects > SETTLED_AFTER
    }
}

/// The lateness of all readers.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    readers: PerNode<Reader>,
    /// Since when each node has had a way to an origin, in truth.
    ways: PerNode<Time>,
    /// Milliseconds, one a failure and affected reader.
    pub(crate) interruptions: Vec<f64>,
    pub(crate) stalls: u64,
    pub(crate) stalled_ms: f64,
    /// The greatest lateness of any reader at any time.
    pub(crate) late_ms_max: f64,
    /// Samples that were left out because the reader was cut off from every origin.
    pub(crate) excused: u64,
}

impl Progress {
    /// A reader's newest object came.
    pub(crate) fn arrived(&mut self, node: NodeIndex, stream: StreamIndex, made: Time, now: Time) {
        let way_us = now.since(made).as_micros() as f64;
        let reader = self.readers.place(node, stream).get_or_insert(Reader {
            newest_made: made,
            arrived_at: now,
            usual_us: way_us,
            objects: 0,
            cut_off: false,
            catching_up: None,
            watch: None,
            stalled_us: 0.0,
        });
        let late_us = reader.late_us(now);
        let counts = reader.counts();
        reader.objects = reader.objects.saturating_add(1);
        // Objects that come faster than they are made have waited for each other.
        let paced = now.since(reader.arrived_at) >= OBJECT_INTERVAL / 2;
        reader.newest_made = made;
        reader.arrived_at = now;
        if reader.objects <= SETTLED_AFTER {
            reader.usual_us = reader.usual_us.min(way_us);
            return;
        }
        if reader.catching_up.is_some() && !reader.cut_off && way_us - reader.usual_us < CAUGHT_UP_US {
            reader.catching_up = None;
        }
        if way_us < reader.usual_us {
            reader.usual_us += DOWN * (way_us - reader.usual_us);
        } else if paced {
            reader.usual_us += UP * (way_us - reader.usual_us).min(UP_MAX_US);
        }
        if counts {
            self.late_ms_max = self.late_ms_max.max(late_us / 1e3);
            if late_us > PLAYER_BUFFER_US {
                self.stalls += u64::from(reader.stalled_us == 0.0);
                self.stalled_ms += (late_us - reader.stalled_us.max(PLAYER_BUFFER_US)).max(0.0) / 1e3;
                reader.stalled_us = reader.stalled_us.max(late_us);
            } else {
                reader.stalled_us = 0.0;
            }
        }
        if let Some((until, worst)) = &mut reader.watch {
            *worst = worst.max(late_us);
            if now > *until {
                self.interruptions.push(*worst / 1e3);
                reader.watch = None;
            }
        }
    }

    /// Something failed above a reader.
    pub(crate) fn failed(&mut self, node: NodeIndex, stream: StreamIndex, now: Time) {
        if let Some(reader) = self.readers.get_mut(node, stream).filter(|reader| reader.counts()) {
            let so_far = reader.watch.map_or(0.0, |(_, worst)| worst);
            reader.watch = Some((now + WATCHED, so_far));
        }
    }

    /// Whether a way to any origin is left, in truth.
    pub(crate) fn connected(&mut self, node: NodeIndex, stream: StreamIndex, connected: bool, now: Time) {
        let way = self.ways.place(node, stream);
        *way = connected.then(|| way.unwrap_or(now));
        let Some(reader) = self.readers.get_mut(node, stream) else { return };
        if !connected {
            self.excused += u64::from(reader.watch.take().is_some());
            reader.cut_off = true;
            reader.catching_up = Some(now);
        } else if std::mem::take(&mut reader.cut_off) {
            reader.catching_up = Some(now);
        }
    }

    /// Whether a reader that began at `since` should have something by now.
    pub(crate) fn is_overdue(&self, node: NodeIndex, stream: StreamIndex, since: Time, now: Time) -> bool {
        self.ways.get(node, stream).is_some_and(|way| now.since(since.max(*way)) > REUNION)
    }

    /// A reader left.
    pub(crate) fn forget(&mut self, node: NodeIndex, stream: Option<StreamIndex>) {
        self.readers.remove(node, stream);
    }

    /// The warm-up is over: count from here.
    pub(crate) fn restart(&mut self) {
        let (readers, ways) = (std::mem::take(&mut self.readers), std::mem::take(&mut self.ways));
        *self = Self { readers, ways, ..Self::default() };
        self.readers.iter_mut().for_each(|(.., reader)| reader.watch = None);
    }

    /// The end: whoever is late now has been so until now. Gives the readers that are behind, and by how many microseconds.
    pub(crate) fn finish(&mut self, now: Time) -> Vec<(NodeIndex, StreamIndex, f64)> {
        let mut behind = Vec::new();
        for (node, stream, reader) in self.readers.iter_mut() {
            let late_us = reader.late_us(now);
            let counts = reader.counts();
            if let Some((_, worst)) = reader.watch.take().filter(|_| counts) {
                self.interruptions.push(worst.max(late_us) / 1e3);
            }
            if counts {
                self.stalls += u64::from(late_us > PLAYER_BUFFER_US && reader.stalled_us == 0.0);
                self.stalled_ms += (late_us - reader.stalled_us.max(PLAYER_BUFFER_US)).max(0.0) / 1e3;
                self.late_ms_max = self.late_ms_max.max(late_us / 1e3);
            }
            let given_up = reader.catching_up.is_none_or(|since| now.since(since) > REUNION);
            if late_us > BEHIND_US && !reader.cut_off && given_up {
                behind.push((node, stream, late_us));
            }
        }
        behind
    }

    /// How many interruptions, and their median, 99th percentile and greatest, in milliseconds.
    pub(crate) fn interruptions(&self) -> (u64, f64, f64, f64) {
        let mut sorted = self.interruptions.clone();
        sorted.sort_by(f64::total_cmp);
        (sorted.len() as u64, quantile(&sorted, 0.5), quantile(&sorted, 0.99), quantile(&sorted, 1.0))
    }
}
