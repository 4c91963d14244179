//! Whether a feed keeps up: with what a shadow announces, and with its own past.
//!
//! The water calls this for the feed that a [`crate::Route`] says to watch. It knows neither links nor parents; what to do
//! about a feed that is late is the brain's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::position::Resume;
use crate::time::Time;

/// Announcements remembered while the feed is behind; the oldest counts, and the first after the newest object, so others may go.
const ANNOUNCED_MAX: usize = 64;
/// A feed is overdue after this many of its usual intervals ...
const OVERDUE_INTERVALS: u32 = 4;
/// ... and not before this time. Tuned: frames come in bursts of several objects.
const OVERDUE_MIN: Duration = Duration::from_millis(80);
/// A feed that another one is ahead of is silent after this many.
const SILENT_INTERVALS: u32 = 2;
/// A feed slower than this is never overdue: its origin has pauses.
const INTERVAL_MAX: Duration = Duration::from_millis(250);
/// The usual interval is measured over at least this time.
const WINDOW: Duration = Duration::from_secs(1);
/// Pause between two looks at a feed that is late.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What a feed is taken to lag behind its shadow before anything is known. Tuned: a long-haul detour.
const LAG_UNKNOWN: Duration = Duration::from_millis(200);
/// One object teaches at most that the lag is so much more than usual: a burst after an outage teaches little.
const LAG_STEP_MAX: Duration = Duration::from_millis(60);
/// The usual lag is at first the mean of so many objects, a second of video with sound ...
const LAG_FIRST: u32 = 64;
/// ... then it follows lags that are shorter by this memory, in objects ...
const LAG_MEMORY_SHORTER: u32 = 256;
/// ... and longer ones by this: a squeezed feed lags more and more, until part of it is passed over, and so on. That must not become
/// usual.
const LAG_MEMORY_LONGER: u32 = 4_096;

/// How late a feed may be with what another one announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// While it brings other things: what was lost on the way is sent again, and that takes round trips.
    pub missing: Duration,
    /// While it brings nothing at all. At most as long.
    pub silent: Duration,
}

/// Lateness of one feed.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    announced: VecDeque<(Time, Resume)>,
    lag: Lag,
    window: Option<(Time, u64)>,
    interval: Option<Duration>,
    reported: Option<Reported>,
}

/// By how much a feed usually comes after the announcements of another. The tree follows more than delay, so a backup may be
/// nearer to the origin than the parent, for as long as it likes.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    mean: Duration,
    samples: u32,
}

impl Lag {
    fn usual(self) -> Duration {
        if self.samples == 0 { LAG_UNKNOWN } else { self.mean }
    }

    fn learn(&mut self, lag: Duration) {
        let lag = lag.min(self.usual() + LAG_STEP_MAX);
        let memory = if lag > self.mean { LAG_MEMORY_LONGER } else { LAG_MEMORY_SHORTER };
        let weight = if self.samples < LAG_FIRST { self.samples + 1 } else { memory };
        self.samples = (self.samples + 1).min(LAG_FIRST);
        self.mean = self.mean + lag.saturating_sub(self.mean) / weight - self.mean.saturating_sub(lag) / weight;
    }
}

/// What is missing will be late.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    /// From then on.
    at: Time,
    /// And will have been missing since then.
    since: Time,
    /// The feed will have brought nothing else either.
    silent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reported {
    at: Time,
    announced: bool,
    silent: bool,
}

/// What a feed has brought.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// First objects missing in the log, per layer.
    pub held: Option<Resume>,
    /// When the feed brought its newest object, or was opened.
    pub at: Time,
    /// Objects that it has brought.
    pub objects: u64,
}

/// News for the brain: the fields of [`crate::Input::Behind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Since when something is missing; `None`: the feed keeps up again.
    pub since: Option<Time>,
    /// Whether another feed announced it.
    pub announced: bool,
    /// Whether the feed brings nothing at all, though it did until then and another feed goes on.
    pub silent: bool,
}

impl Pace {
    /// The same stream over another feed: its rhythm stays, what was said of the feed before goes.
    pub fn renewed(&self) -> Self {
        Self { interval: self.interval, ..Self::default() }
    }

    /// The way of the feed or of its shadow is another one now: how far they are apart must be learned anew, from what is announced
    /// from now on. What was announced before waited for the change.
    pub fn relearn(&mut self) {
        self.lag = Lag::default();
        self.announced.clear();
    }

    /// A shadow says how far its parent is. Tells whether this is the first that is missing: whoever looks must look
    /// earlier than he meant to.
    pub fn announce(&mut self, front: Resume, progress: &Progress, now: Time) -> bool {
        self.settle(progress);
        let known = |resume: &Resume| resume.covers(&front);
        if self.announced.back().is_some_and(|(_, last)| known(last)) {
            return false;
        }
        if progress.held.as_ref().is_some_and(known) {
            self.lag.learn(Duration::ZERO);
            return false;
        }
        let first = self.announced.is_empty();
        // Of many, one that was announced after the newest object is kept.
        if self.announced.len() == ANNOUNCED_MAX {
            self.announced.pop_back_if(|(at, _)| *at <= progress.at);
        }
        if self.announced.len() < ANNOUNCED_MAX {
            self.announced.push_back((now, front));
        }
        first
    }

    /// Looks whether there is news.
    pub fn check(&mut self, progress: &Progress, patience: Patience, now: Time) -> Option<Late> {
        if self.reported.is_none() {
            self.measure(progress, now);
        }
        self.settle(progress);
        let late = self.lateness(progress, patience).filter(|late| late.at <= now);
        let overdue = self.overdue_at(progress).is_some_and(|at| at <= now);
        let news = match (self.reported, late) {
            (None | Some(Reported { announced: false, .. }), Some(late)) => {
                Late { since: Some(late.since), announced: true, silent: late.silent }
            }
            (Some(reported), Some(_)) if let Some(since) = self.silent_since(reported, progress, patience, now) => {
                Late { since: Some(since), announced: true, silent: true }
            }
            (None, None) if overdue => {
                let since = progress.at + self.interval.unwrap_or_default();
                Late { since: Some(since), announced: false, silent: false }
            }
            (Some(reported), None) if !self.is_behind(now) && progress.at > reported.at && !overdue => {
                Late { since: None, announced: reported.announced, silent: false }
            }
            _ => return None,
        };
        self.reported = news.since.map(|_| Reported { at: now, announced: news.announced, silent: news.silent });
        Some(news)
    }

    /// When to look next.
    pub fn due(&self, progress: &Progress, patience: Patience, now: Time) -> Time {
        if self.reported.is_some() {
            return now + LOOK_AGAIN;
        }
        let late = self.lateness(progress, patience).map_or(Time::NEVER, |late| late.at);
        let measured = self.window.map_or(now, |(since, _)| since) + WINDOW;
        late.min(self.overdue_at(progress).unwrap_or(Time::NEVER)).min(measured)
    }

    /// Forgets what has come, and learns from it. What came between two calls is taken to have come with the newest, which is right
    /// to one announcement.
    fn settle(&mut self, progress: &Progress) {
        let covered = |(_, front): &mut (Time, Resume)| progress.held.is_none_or(|held| held.covers(front));
        while let Some((at, _)) = self.announced.pop_front_if(covered) {
            if progress.held.is_some() {
                self.lag.learn(progress.at.since(at));
            }
        }
    }

    /// Whether something is missing for longer than usual.
    fn is_behind(&self, now: Time) -> bool {
        self.announced.front().is_some_and(|(at, _)| *at + self.lag.usual() <= now)
    }

    /// When the first that is missing is late.
    fn lateness(&self, progress: &Progress, patience: Patience) -> Option<Lateness> {
        let announced = self.announced.front()?.0;
        let due = announced + self.lag.usual();
        let missing = Lateness { at: due + patience.missing, since: due, silent: false };
        let silent = self.silence(announced, progress, patience).filter(|silent| silent.at <= missing.at);
        Some(silent.unwrap_or(missing))
    }

    /// When a feed that brings nothing at all is late with what was announced then. After a pause of the origin silence means
    /// nothing: whoever is nearer announces first.
    fn silence(&self, announced: Time, progress: &Progress, patience: Patience) -> Option<Lateness> {
        let interval = self.interval.unwrap_or_default();
        let pause = patience.silent.max(interval * SILENT_INTERVALS);
        (announced.since(progress.at) <= INTERVAL_MAX).then(|| Lateness {
            at: (announced + patience.silent).max(progress.at + pause),
            since: announced.max(progress.at + interval),
            silent: true,
        })
    }

    /// Since when a feed that was late already brings nothing at all, though another one went on after its last object.
    fn silent_since(&self, reported: Reported, progress: &Progress, patience: Patience, now: Time) -> Option<Time> {
        let told = reported.silent && progress.at <= reported.at;
        let (announced, _) = self.announced.iter().find(|(at, _)| *at > progress.at).filter(|_| !told)?;
        let silent = self.silence(*announced, progress, patience)?;
        (silent.at <= now).then_some(silent.since)
    }

    fn overdue_at(&self, progress: &Progress) -> Option<Time> {
        let interval = self.interval.filter(|interval| *interval <= INTERVAL_MAX)?;
        Some(progress.at + (interval * OVERDUE_INTERVALS).max(OVERDUE_MIN))
    }

    fn measure(&mut self, progress: &Progress, now: Time) {
        let (since, before) = *self.window.get_or_insert((now, progress.objects));
        let (elapsed, objects) = (now.since(since), progress.objects.saturating_sub(before));
        if elapsed >= WINDOW {
            self.window = Some((now, progress.objects));
            if let Some(interval) = elapsed.checked_div(u32::try_from(objects).unwrap_or(u32::MAX)) {
                self.interval = Some(interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { missing: Duration::from_millis(30), silent: Duration::from_millis(30) };

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1_000)
    }

    fn front(index: u32) -> Resume {
        Resume { timeline: 1, layers: [(5, index), (5, 0), (5, 0)] }
    }

    fn held(index: u32, ms: u64) -> Progress {
        Progress { held: Some(front(index)), at: at(ms), objects: u64::from(index) }
    }

    /// The feed is known to come with the announcements.
    fn even() -> Pace {
        let mut pace = Pace::default();
        pace.announce(front(1), &held(1, 0), at(0));
        pace
    }

    /// Whoever watches may be woken at any time; the rhythm is known a second after the beginning all the same.
    #[test]
    fn a_feed_that_falls_silent_after_its_first_second_is_overdue_at_once() {
        let mut pace = Pace::default();
        let progress = |ms: u64| held((ms.min(1_100) / 20) as u32, ms.min(1_100) / 20 * 20);
        let (mut now, mut woken) = (0, [600].into_iter());
        let late = loop {
            if let Some(late) = pace.check(&progress(now), PATIENCE, at(now)) {
                break late;
            }
            let due = pace.due(&progress(now), PATIENCE, at(now)).as_micros().div_ceil(1_000);
            now = woken.next().unwrap_or(due);
        };
        assert!(now <= 1_100 + 100, "noticed {} ms after the last object", now - 1_100);
        assert_eq!(late.since, Some(at(1_120)));
    }

    #[test]
    fn a_feed_that_keeps_up_is_no_news() {
        let mut pace = Pace::default();
        for n in 1..200_u32 {
            let now = u64::from(n) * 20;
            // The shadow is 5 ms ahead of the feed.
            pace.announce(front(n), &held(n - 1, now - 15), at(now));
            assert_eq!(pace.check(&held(n, now + 5), PATIENCE, at(now + 5)), None);
        }
        assert!(pace.announced.is_empty());
    }

    #[test]
    fn what_was_announced_and_does_not_come_is_reported_once_and_then_that_it_came() {
        let mut pace = even();
        pace.announce(front(2), &held(1, 0), at(10));
        pace.announce(front(3), &held(1, 0), at(30));
        assert_eq!(pace.due(&held(1, 0), PATIENCE, at(30)), at(40));
        assert_eq!(pace.check(&held(1, 0), PATIENCE, at(39)), None);
        let late = Late { since: Some(at(10)), announced: true, silent: true };
        assert_eq!(pace.check(&held(1, 0), PATIENCE, at(40)), Some(late));
        assert_eq!(pace.check(&held(1, 0), PATIENCE, at(50)), None);
        assert_eq!(pace.check(&held(2, 55), PATIENCE, at(56)), None, "one is still missing");
        assert_eq!(
            pace.check(&held(3, 58), PATIENCE, at(59)),
            Some(Late { since: None, announced: true, silent: false })
        );
    }

    #[test]
    fn a_feed_that_brings_nothing_at_all_is_late_sooner_than_one_that_lacks_something() {
        let patience = Patience { missing: Duration::from_millis(100), silent: Duration::from_millis(30) };
        let mut lacks = even();
        lacks.announce(front(2), &held(1, 0), at(10));
        for now in (20..110).step_by(10) {
            assert_eq!(lacks.check(&held(1, now), patience, at(now)), None, "sound still comes");
        }
        let late = |silent| Some(Late { since: Some(at(10)), announced: true, silent });
        assert_eq!(lacks.check(&held(1, 109), patience, at(110)), late(false));
        let mut silent = even();
        silent.announce(front(2), &held(1, 5), at(10));
        assert_eq!(silent.due(&held(1, 5), patience, at(10)), at(40));
        assert_eq!(silent.check(&held(1, 5), patience, at(39)), None);
        assert_eq!(silent.check(&held(1, 5), patience, at(40)), late(true));
    }

    #[test]
    fn a_late_feed_that_falls_silent_is_reported_once_more_for_each_silence() {
        let patience = Patience { missing: Duration::from_millis(50), silent: Duration::from_millis(30) };
        let mut pace = even();
        pace.announce(front(2), &held(1, 0), at(10));
        // One is lost on the way, and others come for a while.
        let late = |since, silent| Some(Late { since: Some(at(since)), announced: true, silent });
        assert_eq!(pace.check(&held(1, 60), patience, at(60)), late(10, false));
        for now in (70..=100).step_by(10) {
            pace.announce(front(now as u32), &held(1, now), at(now));
            assert_eq!(pace.check(&held(1, now), patience, at(now)), None);
        }
        assert_eq!(pace.check(&held(1, 100), patience, at(300)), None, "the origin may have a pause");
        pace.announce(front(310), &held(1, 100), at(310));
        assert_eq!(pace.check(&held(1, 100), patience, at(339)), None);
        assert_eq!(pace.check(&held(1, 100), patience, at(340)), late(310, true));
        assert_eq!(pace.check(&held(1, 100), patience, at(400)), None);
        // It lived, and is silent again.
        pace.announce(front(420), &held(1, 410), at(420));
        assert_eq!(pace.check(&held(1, 410), patience, at(449)), None);
        assert_eq!(pace.check(&held(1, 410), patience, at(450)), late(420, true));
    }

    /// A feed that brings everything so much later than it is announced, an object every 20 ms.
    fn lagging(pace: &mut Pace, lag: u32, objects: std::ops::Range<u32>) -> Option<Late> {
        let behind = lag / 20;
        objects.into_iter().find_map(|n| {
            let now = u64::from(n) * 20;
            let progress = held(n - behind - 1, now - 20);
            pace.announce(front(n), &progress, at(now));
            let progress = held(n - behind, now);
            pace.check(&progress, PATIENCE, at(now))
        })
    }

    #[test]
    fn a_feed_that_lags_as_usual_again_keeps_up() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 100, 10..300), None);
        let late = (300..320_u32).find_map(|n| {
            let (now, progress) = (at(u64::from(n) * 20), held(294, 299 * 20));
            pace.announce(front(n), &progress, now);
            pace.check(&progress, PATIENCE, now)
        });
        assert!(late.is_some_and(|late| late.since.is_some()), "{late:?}");
        let back = lagging(&mut pace, 100, 320..330);
        assert_eq!(back, Some(Late { since: None, announced: true, silent: false }));
    }

    #[test]
    fn a_feed_whose_shadow_is_always_ahead_is_no_news() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 100, 10..500), None);
        // It gets as much longer as the lag is, and no more.
        assert_eq!(pace.due(&held(494, 10_000), PATIENCE, at(10_000)), at(10_030));
        let brings = |now: u64| held(494, now);
        assert_eq!(pace.check(&brings(10_025), PATIENCE, at(10_025)), None);
        let late = pace.check(&brings(10_045), PATIENCE, at(10_045)).expect("it is later than it ever was");
        assert!(!late.silent && late.since.is_some_and(|since| since > at(9_990)), "{late:?}");
    }

    #[test]
    fn a_feed_that_comes_another_way_is_learned_anew() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 20, 10..500), None);
        let mut stayed = pace.clone();
        assert!(lagging(&mut stayed, 160, 510..520).is_some());
        pace.relearn();
        assert_eq!(lagging(&mut pace, 160, 510..1_000), None);
    }

    #[test]
    fn a_feed_that_falls_back_further_and_further_is_late() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 0, 10..500), None);
        // Of ten objects it brings nine.
        let late = (500..1_000).find_map(|n| {
            let now = u64::from(n) * 20;
            let progress = held(n - (n - 500) / 10, now);
            pace.announce(front(n), &progress, at(now));
            pace.check(&progress, PATIENCE, at(now)).map(|_| now)
        });
        assert!(late.is_some_and(|now| now < 12_000), "{late:?}");
    }

    /// Every two seconds what is late is passed over.
    #[test]
    fn a_squeezed_feed_does_not_become_usual() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 0, 10..500), None);
        for n in 500..2_000_u32 {
            let progress = held(n - n % 100 / 4, u64::from(n) * 20);
            pace.announce(front(n), &progress, at(u64::from(n) * 20));
        }
        assert!(pace.lag.usual() < PATIENCE.missing, "{:?}", pace.lag);
    }

    #[test]
    fn an_outage_teaches_little() {
        let mut pace = Pace::default();
        assert_eq!(lagging(&mut pace, 0, 10..500), None);
        for n in 500..550 {
            pace.announce(front(n), &held(499, 9_980), at(u64::from(n) * 20));
        }
        pace.check(&held(550, 11_000), PATIENCE, at(11_000));
        assert!(pace.lag.usual() < PATIENCE.missing / 2, "{:?}", pace.lag);
    }

    #[test]
    fn after_a_pause_of_the_origin_a_feed_may_be_slower_than_another() {
        let patience = Patience { missing: Duration::from_millis(100), silent: Duration::from_millis(30) };
        let mut pace = even();
        pace.announce(front(2), &held(1, 0), at(3_000));
        assert_eq!(pace.due(&held(1, 0), patience, at(3_000)), at(3_100));
        assert_eq!(pace.check(&held(1, 0), patience, at(3_099)), None);
    }

    #[test]
    fn a_feed_without_a_shadow_is_compared_with_its_own_past() {
        let mut pace = Pace::default();
        for n in 1..100_u32 {
            assert_eq!(pace.check(&held(n, u64::from(n) * 20), PATIENCE, at(u64::from(n) * 20)), None);
        }
        let last = held(99, 1_980);
        assert_eq!(pace.check(&last, PATIENCE, at(2_059)), None);
        let late = pace.check(&last, PATIENCE, at(2_100)).expect("four intervals passed");
        assert!(!late.announced && late.since.is_some_and(|since| since <= at(2_010)), "{late:?}");
        let back = pace.check(&held(100, 2_110), PATIENCE, at(2_111));
        assert_eq!(back, Some(Late { since: None, announced: false, silent: false }));
    }

    #[test]
    fn a_feed_that_was_asked_for_anew_and_brings_nothing_is_overdue() {
        let mut pace = Pace::default();
        for n in 1..100_u32 {
            pace.check(&held(n, u64::from(n) * 20), PATIENCE, at(u64::from(n) * 20));
        }
        let mut pace = pace.renewed();
        let opened = Progress { held: Some(front(99)), at: at(2_000), objects: 0 };
        assert_eq!(pace.check(&opened, PATIENCE, at(2_070)), None);
        assert!(pace.check(&opened, PATIENCE, at(2_100)).is_some_and(|late| !late.announced && late.since.is_some()));
    }

    #[test]
    fn another_timeline_tells_nothing_about_this_one() {
        let mut pace = Pace::default();
        let other = Resume { timeline: 2, layers: [(9, 9); 3] };
        pace.announce(other, &held(1, 0), at(10));
        assert_eq!(pace.check(&held(1, 0), PATIENCE, at(100)), None);
    }
}
