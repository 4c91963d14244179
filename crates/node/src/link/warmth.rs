//! Since when a link carries media. Congestion control does not know yet what a cold one carries.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A link that carried nothing for this long is cold again. Tuned: congestion control forgets what it has not seen for as long
/// (the bandwidth filter of BBR).
const COOLS_AFTER: Duration = Duration::from_secs(10);

/// Shared by all that write media into a link, so that a feed which is asked for anew is not taken for a cold link's.
#[derive(Debug, Default)]
pub struct Warmth(Mutex<Option<Carried>>);

#[derive(Clone, Copy, Debug)]
struct Carried {
    since: Instant,
    last: Instant,
}

impl Warmth {
    /// Media were written.
    pub fn carried(&self, now: Instant) {
        let mut carried = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let since = carried.filter(|carried| carried.is_warm(now)).map_or(now, |carried| carried.since);
        *carried = Some(Carried { since, last: now });
    }

    /// Since when they have been, without long pauses; `None` if the link is cold.
    pub fn since(&self, now: Instant) -> Option<Instant> {
        let carried = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        carried.filter(|carried| carried.is_warm(now)).map(|carried| carried.since)
    }
}

impl Carried {
    fn is_warm(&self, now: Instant) -> bool {
        now.duration_since(self.last) < COOLS_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_warm_from_the_first_media_until_long_after_the_last() {
        let (warmth, start) = (Warmth::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(warmth.since(at(0)), None);
        [1, 5, 14].into_iter().for_each(|s| warmth.carried(at(s)));
        assert_eq!(warmth.since(at(23)), Some(at(1)));
        assert_eq!(warmth.since(at(24)), None);
        warmth.carried(at(30));
        assert_eq!(warmth.since(at(31)), Some(at(30)));
    }
}
