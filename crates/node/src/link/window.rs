//! How much may be on its way over a link: as much as the link delivers in its round-trip time and a fifth of a second.
//!
//! What QUIC has taken cannot be dropped any more, and on a link that carries less than is sent into it a fixed window is a
//! queue of seconds: 256 kB take 0.7 s at 3 Mbit/s and 7 s at 300 kbit/s. Congestion control notices late, since live media seldom
//! fill a window. A round-trip time that grows is seen at once, as by TCP Vegas (Brakmo and Peterson, "TCP Vegas: end to end
//! congestion avoidance on a global Internet", 1995).

use std::time::{Duration, Instant};

use crate::quic::SEND_WINDOW;

/// A round-trip time this far above the least one means that packets queue. Tuned: more than jitter is on most links.
const QUEUES: Duration = Duration::from_millis(150);
/// A queue is kept to this time, which lets the link never run dry. Tuned.
const QUEUE: Duration = Duration::from_millis(200);
/// Least window: a dozen packets, as much as congestion control begins with (RFC 9002, section 7.2).
const WINDOW_MIN: u64 = 16 * 1024;
/// Where nothing queues the window grows by this part of it at each look. Tuned: from the least to the full one in 1.4 s.
const GROWTH: u64 = 4;
/// The least round-trip time is that of so long, twice at most: ways change.
const LEAST_FOR: Duration = Duration::from_secs(10);
/// Weight of a new look at the rate. Tuned: half a second.
const RATE_WEIGHT: f64 = 0.2;
/// A short window is cut for a moment after this time, and then again from time to time: only then is it seen whether there is
/// a queue at all, and how long the way is without one. Tuned.
const TRIAL_AFTER: Duration = Duration::from_secs(1);
const TRIAL_AGAIN: Duration = Duration::from_secs(5);
/// The moment: two round trips, and at least this.
const TRIAL_MIN: Duration = Duration::from_millis(300);
/// What is left of the window in that moment ...
const TRIAL_SHARE: u64 = 4;
/// ... and what must be left of the round trip; otherwise the way has become longer, and there is no queue. Tuned.
const SHORTER: f64 = 0.85;

/// What the transport has counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) rtt: Duration,
    pub(super) sent_bytes: u64,
    pub(super) lost_bytes: u64,
}

/// The window of one link.
#[derive(Debug)]
pub(super) struct Window {
    len: u64,
    last: Option<(Instant, Counted)>,
    /// Bytes a second that arrive.
    rate: Option<f64>,
    least: Least,
    shortened: Option<Shortened>,
}

/// A window that is shorter than it could be.
#[derive(Debug)]
struct Shortened {
    next_trial: Instant,
    /// Since when it is cut, and the round-trip time before.
    trial: Option<(Instant, Duration)>,
}

/// The least of the last one or two spells.
#[derive(Debug, Default)]
struct Least {
    since: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { len: SEND_WINDOW, last: None, rate: None, least: Least::default(), shortened: None }
    }

    /// Takes what was counted; gives the window if it is another one.
    pub(super) fn look(&mut self, counted: Counted, now: Instant) -> Option<u64> {
        let rtt = counted.rtt;
        let least = self.least.of(rtt, now);
        let (last_at, last) = self.last.replace((now, counted))?;
        let sent = counted.sent_bytes.saturating_sub(last.sent_bytes);
        let arrives = sent.saturating_sub(counted.lost_bytes.saturating_sub(last.lost_bytes));
        // While the queue grows, what was sent takes longer to arrive than it took to send.
        let elapsed = now.duration_since(last_at).as_secs_f64();
        let takes = (elapsed + rtt.as_secs_f64() - last.rtt.as_secs_f64()).max(elapsed / 2.0);
        let sample = arrives as f64 / takes.max(1e-3);
        let rate = self.rate.map_or(sample, |rate| rate + RATE_WEIGHT * (sample - rate));
        self.rate = Some(rate);
        let before = self.len;
        if rtt <= least + QUEUES {
            self.len = (self.len + self.len / GROWTH).min(SEND_WINDOW);
            self.shortened = None;
        } else {
            self.shorten((rate * (least + QUEUE).as_secs_f64()) as u64, rtt, now);
        }
        (self.len != before).then_some(self.len)
    }

    /// Packets queue, or so it seems.
    fn shorten(&mut self, room: u64, rtt: Duration, now: Instant) {
        let shortened = match &mut self.shortened {
            Some(shortened) => shortened,
            None if room < self.len => self.shortened.insert(Shortened { next_trial: now + TRIAL_AFTER, trial: None }),
            None => return,
        };
        match shortened.trial {
            None if now >= shortened.next_trial => {
                shortened.trial = Some((now, rtt));
                self.len /= TRIAL_SHARE;
            }
            None => self.len = room.clamp(WINDOW_MIN, SEND_WINDOW),
            Some((since, before)) if now.duration_since(since) < (before * 2).max(TRIAL_MIN) => {}
            Some((_, before)) if rtt <= before.mul_f64(SHORTER) => {
                (shortened.next_trial, shortened.trial) = (now + TRIAL_AGAIN, None);
                self.len = room.clamp(WINDOW_MIN, SEND_WINDOW);
            }
            Some(_) => {
                self.least = Least::default();
                (self.len, self.shortened) = (SEND_WINDOW, None);
            }
        }
    }
}

impl Least {
    fn of(&mut self, rtt: Duration, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) > LEAST_FOR {
            (self.since, self.before) = (Some(now), self.now.take());
        }
        let least = self.now.map_or(rtt, |least| least.min(rtt));
        self.now = Some(least);
        self.before.map_or(least, |before| before.min(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pause between two looks.
    const LOOK_INTERVAL: Duration = Duration::from_millis(100);

    /// A link with a queue, and a sender that has so much to send, but no more on its way than its window.
    struct Link {
        way: Duration,
        bytes_per_s: f64,
        offered_per_s: f64,
        queued: f64,
        waiting: f64,
        counted: Counted,
        now: Instant,
        window: Window,
    }

    impl Link {
        fn new(way_ms: u64, offered_per_s: f64) -> Self {
            Self {
                way: Duration::from_millis(way_ms),
                bytes_per_s: 12.5e6,
                offered_per_s,
                queued: 0.0,
                waiting: 0.0,
                counted: Counted::default(),
                now: Instant::now(),
                window: Window::new(),
            }
        }

        /// Longest round trip of the last second.
        fn run(&mut self, seconds: u32) -> Duration {
            const STEP_S: f64 = 0.01;
            let mut longest = Duration::ZERO;
            for step in 0..seconds * 100 {
                self.queued = (self.queued - self.bytes_per_s * STEP_S).max(0.0);
                self.waiting += self.offered_per_s * STEP_S;
                let on_its_way = self.queued + self.offered_per_s.min(self.bytes_per_s) * self.way.as_secs_f64();
                let sent = self.waiting.min((self.window.len as f64 - on_its_way).max(0.0));
                self.waiting -= sent;
                self.queued += sent;
                self.counted.sent_bytes += sent as u64;
                self.counted.rtt = self.way + Duration::from_secs_f64(self.queued / self.bytes_per_s);
                self.now += Duration::from_secs_f64(STEP_S);
                if step % 10 == 0 {
                    self.window.look(self.counted, self.now);
                }
                if step + 100 >= seconds * 100 {
                    longest = longest.max(self.counted.rtt);
                }
            }
            longest
        }
    }

    #[test]
    fn a_link_that_carries_less_than_is_sent_gets_a_short_queue_and_a_released_one_its_window_again() {
        for (offered_mbps, carried_mbps) in [(6.0, 3.0), (0.7, 0.3), (0.7, 0.6), (20.0, 19.0)] {
            let mut link = Link::new(40, offered_mbps * 125e3);
            link.run(3);
            assert_eq!(link.window.len, SEND_WINDOW);
            link.bytes_per_s = carried_mbps * 125e3;
            let rtt = link.run(15);
            let least_window = Duration::from_secs_f64(WINDOW_MIN as f64 / link.bytes_per_s);
            let bound = link.way + QUEUE.max(least_window) + QUEUES;
            assert!(rtt < bound, "{offered_mbps} into {carried_mbps}: {rtt:?}, {:?}", link.window);
            assert!(link.waiting > 0.0, "what finds no room waits where it can be dropped");
            link.bytes_per_s = 12.5e6;
            link.run(3);
            assert_eq!((link.window.len, link.waiting as u64), (SEND_WINDOW, 0));
        }
    }

    #[test]
    fn a_way_that_becomes_longer_is_no_queue() {
        for way_ms in [200, 400, 700] {
            let mut link = Link::new(20, 6.0 * 125e3);
            link.run(3);
            link.way = Duration::from_millis(way_ms);
            link.run(4);
            let full = 6.0 * 125e3 * link.way.as_secs_f64();
            assert!(link.window.len as f64 >= full.min(SEND_WINDOW as f64), "{way_ms} ms: {:?}", link.window);
        }
    }

    #[test]
    fn jitter_changes_nothing() {
        let (mut window, now) = (Window::new(), Instant::now());
        for n in 0..1_000_u32 {
            let rtt = Duration::from_millis(30 + u64::from(n * 7 % 100));
            let counted = Counted { rtt, sent_bytes: u64::from(n) * 75_000, lost_bytes: 0 };
            assert_eq!(window.look(counted, now + LOOK_INTERVAL * n), None);
        }
    }
}
