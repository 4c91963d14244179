//! Clocks of nodes: each runs a little fast or slow, and none agrees with another.

use levada_overlay::Time;

/// Greatest drift, in parts per million; what cheap quartz does when it is hot or cold.
const DRIFT_PPM_MAX: i64 = 200;
/// Greatest offset: an hour.
const OFFSET_US_MAX: u64 = 3_600_000_000;
const MILLION: i64 = 1_000_000;

/// A node's clock against the world's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    offset_us: u64,
    drift_ppm: i64,
}

impl Clock {
    pub(crate) fn random(rng: &mut impl rand::Rng) -> Self {
        let drift_ppm = rng.random_range(-DRIFT_PPM_MAX..=DRIFT_PPM_MAX);
        Self { offset_us: rng.random_range(0..OFFSET_US_MAX), drift_ppm }
    }

    /// What the clock shows at a true time.
    pub(crate) fn shows(&self, truth: Time) -> Time {
        let us = truth.as_micros();
        let drift = us as i64 * self.drift_ppm / MILLION;
        Time::from_micros(self.offset_us + us.saturating_add_signed(drift))
    }

    /// The first true time at which the clock shows `shown` or later.
    pub(crate) fn truth(&self, shown: Time) -> Time {
        if shown == Time::NEVER {
            return Time::NEVER;
        }
        let us = i128::from(shown.as_micros().saturating_sub(self.offset_us));
        let guess = us * i128::from(MILLION) / i128::from(MILLION + self.drift_ppm);
        let mut truth = (guess as u64).saturating_sub(1);
        while self.shows(Time::from_micros(truth)) < shown {
            truth += 1;
        }
        Time::from_micros(truth)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn there_and_back_is_exact() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..10_000 {
            let clock = Clock::random(&mut rng);
            let truth = Time::from_micros(rng.random_range(0..10_000_000_000));
            let shown = clock.shows(truth);
            let back = clock.truth(shown);
            assert!(back <= truth && clock.shows(back) >= shown, "{clock:?} {truth} {shown} {back}");
            assert!(back == Time::ZERO || clock.shows(Time::from_micros(back.as_micros() - 1)) < shown);
        }
    }
}
