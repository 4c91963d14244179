//! Stamps of groups: by the origin's own clock, or by the timestamps of an encoder that several origins share.

use levada_overlay::{Anchor, StreamFacts};

/// Furthest that stamps follow those of another origin ahead of this one's clock: a year. What is further on is a broken
/// clock or worse.
const LEAD_MAX_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Stamps of a timeline that is this origin's own: a hybrid logical clock (Kulkarni et al., Logical Physical Clocks,
/// OPODIS 2014) whose logical part shares the milliseconds. It never goes back, and it follows the other origins of the
/// stream, so that those who change over to this one find groups newer than what they hold.
#[derive(Debug, Default)]
pub(super) struct OwnStamps {
    last: u64,
    /// Milliseconds by which the stamps run ahead of the wall clock.
    pub(super) lead_ms: u64,
}

impl OwnStamps {
    /// The stamp of a group that begins now.
    pub(super) fn next(&mut self, wall_ms: u64) -> u64 {
        self.last = (wall_ms + self.lead_ms).max(self.last + 1);
        self.last
    }

    /// Another origin would give this stamp now.
    pub(super) fn follow(&mut self, stamp_ms: u64, wall_ms: u64) {
        if is_believed(stamp_ms, wall_ms) {
            self.lead_ms = self.lead_ms.max(stamp_ms.saturating_sub(wall_ms));
        }
    }
}

/// Whether what another origin tells of the time can be true.
fn is_believed(told_ms: u64, wall_ms: u64) -> bool {
    told_ms.saturating_sub(wall_ms) <= LEAD_MAX_MS
}

/// Stamps of a timeline that every origin fed by the same encoder makes alike.
#[derive(Debug, Default)]
pub(super) struct SharedStamps {
    pub(super) anchor: Option<Anchor>,
}

/// What became of the anchor at the beginning of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It stays.
    Kept,
    /// It is another one from this group on.
    Changed,
    /// Another one will be taken, once this many wraps have been added to all timestamps.
    Wraps(i64),
    /// There is none, and it is too early to choose one.
    Waiting,
}

impl SharedStamps {
    /// Looks for an anchor that fits a group that begins with this decode time (90 kHz). Of several that fit the one of the
    /// greatest timeline counts, so that origins which chose apart agree. Without any, `found` gives the timeline of a
    /// new one.
    pub(super) fn settle(
        &mut self,
        dts: i64,
        wall_ms: u64,
        others: &[StreamFacts],
        found: Option<impl FnOnce() -> u64>,
    ) -> Settled {
        let own = self.anchor.map(|anchor| anchor.timeline);
        let fitting = others.iter().filter_map(|facts| {
            let anchor = facts.anchor.filter(|anchor| own.is_none_or(|own| anchor.timeline > own))?;
            // Timelines are named by the microsecond in which they began.
            if !is_believed(anchor.timeline / 1_000, wall_ms) || !is_believed(facts.stamp_at_ms, wall_ms) {
                return None;
            }
            // The other one's stamps may have drifted from all wall clocks together with the encoder's clock.
            let now_ms = if facts.stamp_at_ms > 0 { facts.stamp_at_ms } else { wall_ms };
            Some((anchor, anchor.fits(dts, now_ms)?))
        });
        match (fitting.max_by_key(|(anchor, _)| anchor.timeline), found) {
            (Some((anchor, 0)), _) => {
                self.anchor = Some(anchor);
                Settled::Changed
            }
            (Some((_, wraps)), _) => Settled::Wraps(wraps),
            (None, _) if own.is_some() => Settled::Kept,
            (None, Some(found)) => {
                self.anchor = Some(Anchor { timeline: found(), dts, unix_ms: wall_ms });
                Settled::Changed
            }
            (None, None) => Settled::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use levada_overlay::StreamName;
    use levada_overlay::anchor::WRAP;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const NOT_YET: Option<fn() -> u64> = None;

    fn facts(anchor: Anchor, stamp_at_ms: u64) -> StreamFacts {
        let name = StreamName::new("cam").unwrap();
        StreamFacts { anchor: Some(anchor), stamp_at_ms, ..StreamFacts::new(name, anchor.timeline) }
    }

    #[test]
    fn stamps_ascend_even_when_the_clock_goes_back() {
        let mut stamps = OwnStamps::default();
        assert_eq!(stamps.next(1_000), 1_000);
        assert_eq!(stamps.next(1_000), 1_001);
        assert_eq!(stamps.next(400), 1_002);
        assert_eq!(stamps.next(2_000), 2_000);
    }

    #[test]
    fn stamps_follow_the_fastest_clock_and_no_broken_one() {
        let mut stamps = OwnStamps::default();
        stamps.follow(NOW_MS + 5_000, NOW_MS);
        assert_eq!(stamps.next(NOW_MS + 10), NOW_MS + 5_010);
        stamps.follow(NOW_MS, NOW_MS + 20);
        assert_eq!(stamps.next(NOW_MS + 30), NOW_MS + 5_030, "a slower one is not waited for");
        stamps.follow(u64::MAX, NOW_MS);
        assert_eq!(stamps.next(NOW_MS + 40), NOW_MS + 5_040);
    }

    #[test]
    fn the_first_origin_chooses_an_anchor_once_it_may_and_a_second_one_adopts_it() {
        let mut first = SharedStamps::default();
        assert_eq!(first.settle(90_000, NOW_MS, &[], NOT_YET), Settled::Waiting);
        assert_eq!(first.settle(90_000, NOW_MS, &[], Some(|| 7)), Settled::Changed);
        let anchor = first.anchor.unwrap();
        assert_eq!(anchor, Anchor { timeline: 7, dts: 90_000, unix_ms: NOW_MS });
        assert_eq!(first.settle(180_000, NOW_MS + 1_000, &[], Some(|| 8)), Settled::Kept);
        let mut second = SharedStamps::default();
        // Its own clock is 4 s off, which does not matter.
        let told = [facts(anchor, NOW_MS + 2_000)];
        assert_eq!(second.settle(270_000, NOW_MS + 6_000, &told, Some(|| 9)), Settled::Changed);
        assert_eq!(second.anchor, Some(anchor));
    }

    #[test]
    fn a_second_origin_that_starts_after_a_wrap_adds_it() {
        let anchor = Anchor { timeline: 7, dts: WRAP - 90_000, unix_ms: NOW_MS };
        let told = [facts(anchor, NOW_MS + 2_000)];
        let mut second = SharedStamps::default();
        assert_eq!(second.settle(90_000, NOW_MS + 2_000, &told, Some(|| 9)), Settled::Wraps(1));
        assert_eq!(second.anchor, None);
        assert_eq!(second.settle(90_000 + WRAP, NOW_MS + 2_000, &told, Some(|| 9)), Settled::Changed);
        assert_eq!(second.anchor, Some(anchor));
    }

    #[test]
    fn of_two_that_chose_apart_the_smaller_timeline_gives_way() {
        let (low, high) = (
            Anchor { timeline: 7, dts: 90_000, unix_ms: NOW_MS },
            Anchor { timeline: 8, dts: 90_000, unix_ms: NOW_MS + 3 },
        );
        let (mut a, mut b) = (SharedStamps { anchor: Some(low) }, SharedStamps { anchor: Some(high) });
        let (told_low, told_high) = ([facts(low, NOW_MS)], [facts(high, NOW_MS)]);
        assert_eq!(b.settle(90_000, NOW_MS, &told_low, NOT_YET), Settled::Kept);
        assert_eq!(a.settle(90_000, NOW_MS, &told_high, NOT_YET), Settled::Changed);
        assert_eq!((a.anchor, b.anchor), (Some(high), Some(high)));
    }

    #[test]
    fn an_anchor_from_beyond_the_year_is_not_adopted() {
        let far_ms = NOW_MS + LEAD_MAX_MS + 1;
        let adopts = |timeline, unix_ms| {
            let anchor = Anchor { timeline, dts: 90_000, unix_ms };
            let mut stamps = SharedStamps::default();
            let settled = stamps.settle(90_000, NOW_MS, &[facts(anchor, unix_ms)], NOT_YET);
            assert_eq!(settled == Settled::Changed, stamps.anchor.is_some());
            stamps.anchor.is_some()
        };
        assert!(adopts(7, NOW_MS + 5_000), "a clock that is ahead");
        assert!(!adopts(7, far_ms), "stamps that nobody could follow");
        assert!(!adopts(far_ms * 1_000, NOW_MS), "a timeline that would win for ever");
    }

    #[test]
    fn a_restarted_encoder_makes_a_new_timeline() {
        let old = Anchor { timeline: 7, dts: 90_000, unix_ms: NOW_MS };
        let told = [facts(old, NOW_MS + 3_600_000)];
        let mut stamps = SharedStamps::default();
        assert_eq!(stamps.settle(126_000, NOW_MS + 3_600_000, &told, Some(|| 9)), Settled::Changed);
        assert_eq!(stamps.anchor.unwrap().timeline, 9);
    }
}
