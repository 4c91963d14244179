//! Watching a feed: whether it keeps up with what its backup announces. The judgement is the brain's; this tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levada_overlay::pace::{Late, Pace, Progress};
use levada_overlay::{FeedId, Input, Resume, Time, Watch};
use tokio::sync::{Notify, mpsc};

use super::Inlet;
use crate::driver::ToBrain;

/// The watch over one stream's feed.
#[derive(Debug)]
pub struct Watched {
    epoch: Instant,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    pace: Pace,
    target: Option<(Watch, Arc<Inlet>)>,
    /// When the watch began.
    since: Time,
}

impl Watched {
    /// Nothing to watch yet. Times are told to the brain as time since `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, state: Mutex::default(), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, even one that a panic ended.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        self.time(Instant::now())
    }

    fn time(&self, at: Instant) -> Time {
        Time::from_micros(at.saturating_duration_since(self.epoch).as_micros() as u64)
    }

    /// Watches a feed, or none.
    pub fn set(&self, target: Option<(Watch, Arc<Inlet>)>) {
        let now = self.now();
        let mut state = self.state();
        let feed = |target: &Option<(Watch, Arc<Inlet>)>| target.as_ref().map(|(watch, _)| watch.feed);
        let ways_since = |target: &Option<(Watch, Arc<Inlet>)>| target.as_ref().map(|(watch, _)| watch.ways_since);
        if feed(&state.target) != feed(&target) {
            state.pace = state.pace.renewed();
            state.since = now;
        } else if ways_since(&state.target) < ways_since(&target) {
            state.pace.relearn();
        }
        state.target = target;
        drop(state);
        self.wake.notify_one();
    }

    /// A shadow told how far its parent is.
    pub fn announce(&self, feed: FeedId, front: Resume) {
        let mut state = self.state();
        let State { pace, target, since } = &mut *state;
        let Some((watch, inlet)) = target else { return };
        if watch.reference == Some(feed) {
            let due = pace.announce(front, &self.progress(inlet, *since), self.now());
            drop(state);
            if due {
                self.wake.notify_one();
            }
        }
    }

    fn progress(&self, inlet: &Inlet, since: Time) -> Progress {
        let (at, objects) = inlet.brought();
        Progress { held: inlet.log.resume(), at: at.map_or(since, |at| self.time(at).max(since)), objects }
    }

    /// Looks, and says when to look again.
    fn look(&self) -> (Option<Input>, Duration) {
        const IDLE: Duration = Duration::from_secs(1);
        let mut state = self.state();
        let State { pace, target, since } = &mut *state;
        let Some((watch, inlet)) = target else { return (None, IDLE) };
        let (now, progress) = (self.now(), self.progress(inlet, *since));
        let late = pace.check(&progress, watch.patience, now);
        let pause = pace.due(&progress, watch.patience, now).since(now).clamp(Duration::from_millis(1), IDLE);
        let news =
            late.map(|Late { since, announced, silent }| Input::Behind { feed: watch.feed, since, announced, silent });
        (news, pause)
    }
}

/// Tells the brain what is seen, until the task is ended.
pub(crate) async fn watch(watched: Arc<Watched>, brain: mpsc::Sender<ToBrain>) {
    loop {
        let (news, pause) = watched.look();
        if let Some(news) = news
            && brain.send(ToBrain::Input(news)).await.is_err()
        {
            return;
        }
        // Woken by the first announcement of something that is missing, or by another target.
        let _ = tokio::time::timeout(pause, watched.wake.notified()).await;
    }
}
