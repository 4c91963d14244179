//! BBR with a floor under its window.
//!
//! quinn's BBR lets the window fall to four packets, or to what was on its way, whenever it looks for the round trip without queues
//! (ProbeRTT; Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016) and after each loss once it has left start-up. Live media
//! seldom fill a window, so what it takes for the capacity of a link is what the stream happened to take; a link that carried only fronts seems
//! to carry next to nothing. On links that lose 1 % the window so fell several times a second, and a picture waited for round trips, most of all
//! when a child had turned to its backup. How much may be on its way is bounded all the same: by [`crate::link`]'s window, which sees
//! queues by itself, and within a tenth of a second.
//!
//! Above all it looks for the round trip when a link first has more to send than its window takes: that is when a child wants all that it
//! missed, a large picture among it. Until a link has been full for a while nothing is known of its capacity, so its window is as large as
//! one may be.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

use super::SEND_WINDOW;

/// Least window, bytes. Tuned: a large picture of a stream of some Mbit/s, and 100 ms of 8 Mbit/s.
const FLOOR: u64 = 96 * 1024;

/// What BBR has found out by the time that a link has been full for so long is believed. Tuned: what a child missed has passed by then.
const FULL: Duration = Duration::from_millis(500);

/// Makes the controllers of links.
#[derive(Debug, Default)]
pub(super) struct SteadyConfig(Arc<BbrConfig>);

impl ControllerFactory for SteadyConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Steady { bbr: self.0.clone().build(now, current_mtu), full_since: None, floor: SEND_WINDOW })
    }
}

struct Steady {
    bbr: Box<dyn Controller>,
    /// Since when there has always been more to send than the window takes.
    full_since: Option<Instant>,
    floor: u64,
}

impl Controller for Steady {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.bbr.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.bbr.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.bbr.on_end_acks(now, in_flight, app_limited, largest_acked);
        self.full_since = self.full_since.or(Some(now)).filter(|_| !app_limited);
        let is_full = self.full_since.is_some_and(|since| now.saturating_duration_since(since) >= FULL);
        self.floor = if is_full { FLOOR } else { SEND_WINDOW };
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.bbr.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.bbr.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.bbr.window().max(self.floor)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.bbr.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { bbr: self.bbr.clone_box(), full_since: self.full_since, floor: self.floor })
    }

    fn initial_window(&self) -> u64 {
        self.bbr.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
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
        let start = Instant::now();
        let small = 4 * u64::from(MTU);
        for (window, full) in [(small, FLOOR), (2 * FLOOR, 2 * FLOOR)] {
            let mut controller = bbr(window);
            assert_eq!(controller.window(), SEND_WINDOW);
            let mut after = |ms: u64, app_limited: bool| {
                controller.on_end_acks(start + Duration::from_millis(ms), 0, app_limited, Some(1));
                assert_eq!(controller.clone_box().window(), controller.window());
                controller.window()
            };
            assert_eq!(
                (after(1_000, true), after(2_000, false), after(2_400, false)),
                (SEND_WINDOW, SEND_WINDOW, SEND_WINDOW)
            );
            assert_eq!((after(2_500, false), after(9_000, false)), (full, full));
            assert_eq!(
                (after(9_010, true), after(9_020, false), after(9_500, false)),
                (SEND_WINDOW, SEND_WINDOW, SEND_WINDOW)
            );
            assert_eq!(after(9_520, false), full);
        }
    }
}
