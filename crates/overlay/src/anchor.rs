//! Timelines that several origins share: stamps of groups derived from the timestamps of the one encoder that feeds them.

/// Ticks per millisecond of MPEG timestamps (ISO/IEC 13818-1, section 2.4.3.7).
const TICKS_PER_MS: i64 = 90;
/// MPEG timestamps begin again at zero after this many ticks: 26.5 hours.
pub const WRAP: i64 = 1 << 33;
/// An anchor fits an origin whose stamps are within this many milliseconds of its wall clock. Tuned: well above what
/// clocks and encoders differ by, well below what a restarted encoder is off by.
pub const FIT_MS: i64 = 10_000;

/// Ties the decode times of an encoder to stamps. Chosen by the first origin of a timeline, adopted by the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    /// The timeline that is so made.
    pub timeline: u64,
    /// Decode time of the keyframe that the first origin began with, 90 kHz.
    pub dts: i64,
    /// The stamp of that keyframe's group: Unix time in milliseconds.
    pub unix_ms: u64,
}

impl Anchor {
    /// Stamp of a group whose first frame has this decode time (90 kHz, unwrapped as the anchor's).
    pub fn stamp(&self, dts: i64) -> u64 {
        let ms = (i128::from(dts) - i128::from(self.dts)).div_euclid(i128::from(TICKS_PER_MS));
        u64::try_from(i128::from(self.unix_ms) + ms).unwrap_or(0)
    }

    /// Wraps to add to a decode time so that it comes nearest to what the anchor expects at `unix_ms`.
    pub fn wraps(&self, dts: i64, unix_ms: u64) -> i64 {
        let since_ms = i128::from(unix_ms) - i128::from(self.unix_ms);
        let expected = i128::from(self.dts) + since_ms * i128::from(TICKS_PER_MS);
        let wraps = (expected - i128::from(dts) + i128::from(WRAP / 2)).div_euclid(i128::from(WRAP));
        i64::try_from(wraps).unwrap_or(0)
    }

    /// The wraps to add if this anchor fits an origin that has this decode time at `unix_ms`; `None`: it does not.
    pub fn fits(&self, dts: i64, unix_ms: u64) -> Option<i64> {
        let wraps = self.wraps(dts, unix_ms);
        let stamp = self.stamp(wraps.checked_mul(WRAP)?.checked_add(dts)?);
        (stamp.abs_diff(unix_ms) <= FIT_MS as u64).then_some(wraps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_700_000_000_000;

    fn anchor(dts: i64) -> Anchor {
        Anchor { timeline: 7, dts, unix_ms: START_MS }
    }

    #[test]
    fn stamps_are_whole_milliseconds_since_the_anchor_rounded_down() {
        let anchor = anchor(900_000);
        assert_eq!(anchor.stamp(900_000), START_MS);
        assert_eq!(anchor.stamp(900_089), START_MS);
        assert_eq!(anchor.stamp(900_090), START_MS + 1);
        assert_eq!(anchor.stamp(899_999), START_MS - 1);
        assert_eq!(anchor.stamp(i64::MIN), 0);
    }

    #[test]
    fn an_origin_that_starts_after_the_timestamps_wrapped_gives_the_same_stamps() {
        let near_the_end = WRAP - 90_000;
        let anchor = anchor(near_the_end);
        // Two seconds later the encoder's clock reads one second.
        assert_eq!(anchor.fits(90_000, START_MS + 2_000), Some(1));
        assert_eq!(anchor.stamp(90_000 + WRAP), START_MS + 2_000);
        // A day and a half later, one turn more.
        let later = WRAP / 90 + 2_000;
        assert_eq!(anchor.fits(90_000, START_MS + later as u64), Some(2));
        // An origin whose clock is a little behind the first one's at the anchor itself.
        assert_eq!(anchor.fits(near_the_end, START_MS - 3_000), Some(0));
    }

    #[test]
    fn an_anchor_of_another_run_of_the_encoder_does_not_fit() {
        let anchor = anchor(900_000);
        let hour = 3_600_000;
        assert_eq!(anchor.fits(900_000 + hour * 90, START_MS + hour as u64), Some(0));
        assert_eq!(anchor.fits(126_000, START_MS + hour as u64), None);
        let edge = |off_ms: i64| anchor.fits(900_000 + (hour + off_ms) * 90, START_MS + hour as u64);
        assert_eq!((edge(FIT_MS), edge(-FIT_MS)), (Some(0), Some(0)));
        assert_eq!((edge(FIT_MS + 1), edge(-FIT_MS - 1)), (None, None));
    }
}
