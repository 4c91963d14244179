//! Who watches a stream as HLS. Such players have no connection that lasts: a viewer is whoever goes on asking for the playlist.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_media::hls::TARGET_S;

use super::PATIENCE;
use crate::stats::{Place, Stats};

/// Who has not asked for this long is gone: an answer may take its time, and a player asks again within a target duration (RFC 8216, section
/// 6.3.4).
const GONE_AFTER: Duration = PATIENCE.saturating_add(Duration::from_secs(TARGET_S));
/// Pause between two looks for those who are gone. Tuned: the table has thousands.
const LOOK: Duration = Duration::from_secs(1);

/// How a viewer is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HlsViewer {
    /// By the number that the multivariant playlist gave it.
    Number(u64),
    /// By its address: it was given the media playlist right away.
    At(IpAddr),
}

/// The viewers of a stream; the node counts them with all others. Bounded by the viewers that the node takes.
#[derive(Debug)]
pub(super) struct Sessions {
    asked_at: HashMap<HlsViewer, (Instant, Place)>,
    looked_at: Instant,
    stats: Arc<Stats>,
}

impl Sessions {
    pub(super) fn new(stats: Arc<Stats>) -> Self {
        Self { asked_at: HashMap::new(), looked_at: Instant::now(), stats }
    }

    /// Notes that a viewer asks. Tells whether there is room for it.
    pub(super) fn admit(&mut self, viewer: HlsViewer, now: Instant) -> bool {
        if let Some((asked_at, _)) = self.asked_at.get_mut(&viewer) {
            *asked_at = now;
            return true;
        }
        let Some(place) = self.stats.place() else { return false };
        self.asked_at.insert(viewer, (now, place));
        true
    }

    /// Forgets who is gone.
    pub(super) fn look(&mut self, now: Instant) {
        if now.duration_since(self.looked_at) >= LOOK {
            self.looked_at = now;
            self.asked_at.retain(|_, (asked_at, _)| now.duration_since(*asked_at) < GONE_AFTER);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.asked_at.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn whoever_goes_on_asking_is_one_viewer_until_it_ceases() {
        let stats = Arc::new(Stats { viewers_max: 3, ..Stats::default() });
        let counted = || stats.viewers.load(Ordering::Relaxed);
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut sessions = Sessions::new(stats.clone());
        let [one, two] = [1, 2].map(HlsViewer::Number);
        let at = HlsViewer::At([127, 0, 0, 1].into());
        for seconds in [0, 4, 8] {
            assert!([one, two, at].into_iter().all(|viewer| sessions.admit(viewer, after(seconds))));
        }
        assert_eq!((sessions.len(), counted()), (3, 3));
        assert!(!sessions.admit(HlsViewer::Number(3), after(8)), "the node is full");
        // Only one of them goes on.
        assert!(sessions.admit(two, after(20)));
        sessions.look(after(23));
        assert_eq!((sessions.len(), counted()), (3, 3));
        sessions.look(after(24));
        assert_eq!((sessions.len(), counted()), (1, 1));
        assert!(sessions.admit(HlsViewer::Number(3), after(24)));
        drop(sessions);
        assert_eq!(counted(), 0, "the stream is made no more");
    }
}
