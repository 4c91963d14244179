//! BBR with a floor under its window.
//!
//! quinn's BBR lets the window fall to four packets, or to what was on its way, whenever it looks for the round trip without queues
//! (ProbeRTT; Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016) and after each loss once it has left start-up. Live media
//! seldom fill a window, so what it takes for the capacity of a link is what the stream happened to take; a link that carried only fronts seems
//! to carry next to nothing. On links that lose 1 % the window so fell several times a second, and a picture waited for round trips, most of all
//! when a child had turned to its backup. How much may be on its way is bounded all the same: by [`crate::link`]'s window, which sees
//! queues by itself, and within a tenth of a second.
//!
//! On a long link a floor of bytes is a rate too low for a stream, so the floor grows with the round trip. And BBR looks for the round trip until
//! no more is on its way than its own window: held up by the floor, it would look for ever. So it is told of no more than that.
//!
//! Above all it looks for the round trip when, for the first time in ten seconds, more is to be sent at once than may leave: over an idle link
//! that is when a child wants all that it missed, a large picture among it. For that moment the window is as large as one may be, unless much of
//! what is sent is lost.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

use super::SEND_WINDOW;

/// Least window, bytes. Tuned: a large picture of a stream of some Mbit/s.
const FLOOR: u64 = 96 * 1024;
/// Least rate that the window allows, bytes per second: on links with a round trip above 98 ms it asks for more than [`FLOOR`]. Tuned: a
/// stream of 6 Mbit/s and a third more.
const FLOOR_PER_SECOND: u64 = 1_000_000;

/// A link over which there was never more to send than may leave for this long is idle; BBR looks for the round trip as often.
const IDLE: Duration = Duration::from_secs(10);
/// The moment. Tuned: what a child missed has passed by then.
const BURST: Duration = Duration::from_millis(500);
/// Part of the window whose loss at once is no chance, and ends it.
const MUCH: u64 = 8;

/// Makes the controllers of links.
#[derive(Debug, Default)]
pub(super) struct SteadyConfig(Arc<BbrConfig>);

impl ControllerFactory for SteadyConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Steady { bbr: self.0.clone().build(now, current_mtu), floor: FLOOR, full_at: None, burst_ends: None })
    }
}

struct Steady {
    bbr: Box<dyn Controller>,
    floor: u64,
    /// When there was last more to send than may leave.
    full_at: Option<Instant>,
    burst_ends: Option<Instant>,
}

impl Controller for Steady {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.bbr.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.floor = floor(rtt.min());
        self.bbr.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.bbr.on_end_acks(now, in_flight.min(self.bbr.window()), app_limited, largest_acked);
        if !app_limited {
            let full_at = self.full_at.replace(now);
            if full_at.is_none_or(|at| now.saturating_duration_since(at) > IDLE) {
                self.burst_ends = Some(now + BURST);
            }
        }
        self.burst_ends = self.burst_ends.filter(|ends| *ends > now);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        if lost_bytes > self.window() / MUCH {
            self.burst_ends = None;
        }
        self.bbr.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.bbr.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.bbr.window().max(if self.burst_ends.is_some() { SEND_WINDOW } else { self.floor })
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.bbr.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { bbr: self.bbr.clone_box(), ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.bbr.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What may always be on its way over a link with this round trip, bytes.
fn floor(rtt: Duration) -> u64 {
    (rtt.as_millis() as u64 * FLOOR_PER_SECOND / 1_000).clamp(FLOOR, SEND_WINDOW)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MTU: u16 = 1_452;

    /// BBR whose window is as large as it was told to begin with.
    fn bbr(window: u64) -> Box<dyn Controller> {
        let mut config = BbrConfig::default();
        config.initial_window(window);
        Arc::new(SteadyConfig(Arc::new(config))).build(Instant::now(), MTU)
    }

    #[test]
    fn the_window_is_that_of_bbr_but_never_below_the_floor() {
        for (window, expected) in [(4 * u64::from(MTU), FLOOR), (2 * FLOOR, 2 * FLOOR)] {
            let controller = bbr(window);
            assert_eq!((controller.window(), controller.clone_box().window()), (expected, expected));
        }
    }

    /// Has a window that never changes, and tells how much it was said to be on its way.
    #[derive(Clone)]
    struct Told(u64, Arc<AtomicU64>);

    impl Controller for Told {
        fn on_end_acks(&mut self, _: Instant, in_flight: u64, _: bool, _: Option<u64>) {
            self.1.store(in_flight, Ordering::Relaxed);
        }

        fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

        fn on_mtu_update(&mut self, _: u16) {}

        fn window(&self) -> u64 {
            self.0
        }

        fn clone_box(&self) -> Box<dyn Controller> {
            Box::new(self.clone())
        }

        fn initial_window(&self) -> u64 {
            self.0
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            self
        }
    }

    /// It would wait for ever until that is less.
    #[test]
    fn bbr_is_told_of_no_more_on_its_way_than_it_would_have_sent() {
        let (now, told) = (Instant::now(), Arc::default());
        let bbr = Box::new(Told(8_000, Arc::clone(&told)));
        let mut steady = Steady { bbr, floor: FLOOR, full_at: None, burst_ends: None };
        for (in_flight, expected) in [(FLOOR, 8_000), (5_000, 5_000)] {
            steady.on_end_acks(now, in_flight, true, None);
            assert_eq!(told.load(Ordering::Relaxed), expected);
        }
        assert_eq!(steady.metrics().congestion_window, FLOOR);
    }

    #[test]
    fn a_long_link_carries_a_stream_at_the_floor() {
        let floors = [20, 90, 160, 280].map(|ms| floor(Duration::from_millis(ms)));
        assert_eq!(floors, [FLOOR, FLOOR, 160_000, SEND_WINDOW]);
    }

    #[test]
    fn an_idle_link_that_has_much_to_send_may_send_it_unless_it_is_lost() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut link = bbr(4 * u64::from(MTU));
        let mut after = |ms: u64, app_limited: bool| {
            link.on_end_acks(at(ms), 0, app_limited, None);
            assert_eq!(link.clone_box().window(), link.window());
            link.window()
        };
        assert_eq!([after(1_000, true), after(1_010, false), after(1_500, true)], [FLOOR, SEND_WINDOW, SEND_WINDOW]);
        assert_eq!([after(1_510, true), after(1_520, false), after(11_520, false)], [FLOOR; 3], "it was not idle");
        assert_eq!([after(21_530, false), after(21_540, false)], [SEND_WINDOW; 2]);
        link.on_congestion_event(at(21_550), start, false, 2 * u64::from(MTU));
        assert_eq!(link.window(), SEND_WINDOW, "that was chance");
        link.on_congestion_event(at(21_560), start, false, SEND_WINDOW / 4);
        assert_eq!(link.window(), FLOOR);
    }
}
