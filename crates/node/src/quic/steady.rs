//! BBR with a floor under its window.
//!
//! quinn's BBR lets the window fall to four packets, or to what was on its way, whenever it looks for the round trip without queues
//! (ProbeRTT; Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016) and after each loss once it has left start-up. Live media
//! seldom fill a window, so what it takes for the capacity of a link is what the stream happened to take; a link that carried only fronts seems
//! to carry next to nothing. On links that lose 1 % the window so fell several times a second, and a picture waited for round trips, most of all
//! when a child had turned to its backup. How much may be on its way is bounded all the same: by [`crate::link`]'s window, which sees
//! queues by itself, and within a tenth of a second.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

/// Least window, bytes. Tuned: a large picture of a stream of some Mbit/s, and 100 ms of 8 Mbit/s.
const FLOOR: u64 = 96 * 1024;

/// Makes the controllers of links.
#[derive(Debug, Default)]
pub(super) struct SteadyConfig(Arc<BbrConfig>);

impl ControllerFactory for SteadyConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Steady(self.0.clone().build(now, current_mtu)))
    }
}

struct Steady(Box<dyn Controller>);

impl Controller for Steady {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.0.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.0.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.0.on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.0.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window().max(FLOOR)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.0.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self(self.0.clone_box()))
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u16 = 1_452;
    /// More than a day.
    const LATER: std::time::Duration = std::time::Duration::from_secs(100_000);

    #[test]
    fn the_window_is_that_of_bbr_but_never_below_the_floor() {
        let window = |initial: u64| {
            let mut bbr = BbrConfig::default();
            bbr.initial_window(initial);
            let mut controller = Arc::new(SteadyConfig(Arc::new(bbr))).build(Instant::now(), MTU);
            controller.on_sent(Instant::now(), u64::from(MTU), 1);
            controller.on_congestion_event(Instant::now() + LATER, Instant::now(), true, u64::from(MTU));
            controller.on_end_acks(Instant::now() + LATER, 0, false, Some(1));
            (controller.window(), controller.clone_box().window())
        };
        assert_eq!(window(4 * u64::from(MTU)), (FLOOR, FLOOR));
        assert_eq!(window(2 * FLOOR), (2 * FLOOR, 2 * FLOOR));
    }
}
