//! What a link costs: probes, smoothed round-trip time, jitter, loss and load, and the value that is told to others.
//!
//! The cost of a direction is the expected time to get an object across, in microseconds. Bad news is told at once, good
//! news after it has lasted, so that jitter moves nobody.

use std::time::Duration;

use crate::time::Time;

/// Weight of the past in the smoothed round-trip time; RFC 9616, section 4.2, prescribes 0.836.
const RTT_ALPHA: f64 = 0.836;
/// Weight of a new deviation in the jitter that patience follows; RFC 6298, section 2.3 (beta = 1/4).
const JITTER_BETA: f64 = 0.25;
/// The same in the jitter that costs. Tuned: a cost that follows single packets would be told again and again.
const LATE_BETA: f64 = 1.0 / 32.0;
/// Weight of a new loss sample of one second. Tuned: follows a change within about five seconds.
const LOSS_WEIGHT: f64 = 0.3;
/// Cost of a hop as such, in microseconds: queueing and processing in the relay. Tuned (DESIGN 3).
pub const HOP_COST_US: f64 = 1_000.0;
/// Jitter allowance, as a multiple of the smoothed lateness of the one-way delay. Tuned: twice the mean deviation where
/// samples scatter evenly, since half of them are late.
const JITTER_FACTOR: f64 = 4.0;
/// Losses above this share count as this share: the link is then avoided anyway. Tuned.
const LOSS_MAX: f64 = 0.5;
/// Retransmission takes about one and a half round trips: detection by three later packets (RFC 9002, section 6.1.1), and the way back.
const RETRANSMIT_RTTS: f64 = 1.5;
/// Share of the capacity from which load costs. Tuned (DESIGN 3).
const LOAD_KNEE: f64 = 0.6;
/// Microseconds per unit of (use - knee) / (1 - use). Tuned: 80 % use costs 10 ms, 90 % 30 ms.
const LOAD_COST_US: f64 = 10_000.0;
/// Use above this share counts as this share, which keeps the cost finite.
const LOAD_MAX: f64 = 0.99;
/// A change is told from this share of the told cost on (DESIGN 3).
const TELL_RATIO: f64 = 0.10;
/// ... and from this many microseconds on (DESIGN 3).
const TELL_MIN_US: f64 = 3_000.0;
/// Good news is told after it has lasted this long. Tuned: with the time that a better path must last (10 s) a real
/// improvement is taken within 15 s.
const GOOD_NEWS_LASTS: Duration = Duration::from_secs(2);
/// Probe interval on a link that a tree uses (DESIGN 3).
pub const PROBE_IN_USE: Duration = Duration::from_millis(100);
/// Over links that media come over, this often it is told that anything came: echoes are rarer, and late where packets queue.
pub const HEARD_INTERVAL: Duration = Duration::from_millis(50);
/// Where the other end is suspected, this soon ...
pub const HEARD_ALERT: Duration = Duration::from_millis(5);
/// ... if within this time: later it has been passed over.
pub const ALERT: Duration = PATIENCE_MAX;
/// Probe interval elsewhere (DESIGN 3).
pub const PROBE_IDLE: Duration = Duration::from_secs(1);
/// Silence that ends a link that a tree uses (DESIGN 3).
pub const SILENCE_IN_USE: Duration = Duration::from_secs(1);
/// Silence that ends another link: three probes and a half.
pub const SILENCE_IDLE: Duration = Duration::from_millis(3_500);
/// Least lateness that is suspicious (DESIGN 3).
const PATIENCE_MIN: Duration = Duration::from_millis(60);
/// Bounds alertness. Tuned: two frames, and what a busy machine lets a process wait; a false alarm costs a few objects that come twice.
const ALERTNESS_MIN: Duration = Duration::from_millis(40);
/// Lateness that is suspicious in any case. Tuned (docs/decisions.md; DESIGN 3 says 250 ms).
const PATIENCE_MAX: Duration = Duration::from_millis(200);
/// So many times the jitter is no surprise; RFC 6298, section 2.3 (K).
const JITTERS: f64 = 4.0;
/// Steps of patience. Tuned.
const PATIENCE_STEP_US: u64 = 10_000;
/// Probe interval on a new link, and on one that has changed. Tuned: it settles within 400 ms and a round trip.
pub const PROBE_NEW: Duration = Duration::from_millis(25);
/// Echoes by which a new link is known well enough to tell of it. Tuned: with half of them some links in a thousand are told of
/// again when their jitter is known better.
const SETTLED_ECHOES: u32 = 16;
/// An echo is a surprise if it differs from the smoothed round-trip time by so many times the smoothed lateness, and by what would be
/// told. Tuned: jitter that stays what it is surprises hardly ever.
const SURPRISE_LATES: f64 = 8.0;
/// After a surprise the link is probed as often as a new one for so many echoes: the smoothed value has followed by then.
const CURIOUS_ECHOES: u32 = 10;
/// Probes remembered while no echo has come.
const PROBES_OPEN_MAX: usize = 64;

/// Estimates of one link, seen from one end.
#[derive(Clone, Debug)]
pub struct Estimator {
    open: std::collections::VecDeque<(u64, Time)>,
    next_nonce: u64,
    delay: Option<Delay>,
    jitter_us: f64,
    loss: f64,
    load: f64,
    told: Option<Told>,
    good: Option<Good>,
    /// Echoes to come until what changed is known well enough.
    curious: u32,
}

/// Smoothed round-trip time and lateness. The first few echoes count alike, so that what is found does not depend on what it began with.
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    /// Before the first one the round-trip time is that of the handshake, which took work besides.
    echoes: u32,
    rtt_us: f64,
    late_us: f64,
}

impl Delay {
    /// Takes a round trip, and gives its lateness. Only lateness counts: what comes early waits for nobody, and a link that improves must not
    /// look worse.
    fn take(&mut self, sample_us: f64) -> f64 {
        let late = if self.echoes == 0 { 0.0 } else { (sample_us - self.rtt_us).max(0.0) };
        self.late_us += LATE_BETA.max(self.share(0)) * (late - self.late_us);
        self.rtt_us += (1.0 - RTT_ALPHA).max(self.share(1)) * (sample_us - self.rtt_us);
        self.echoes = self.echoes.saturating_add(1);
        late
    }

    /// What one echo is of all so far and `more`.
    fn share(&self, more: u32) -> f64 {
        1.0 / f64::from(self.echoes.saturating_add(more).max(1))
    }

    fn is_settled(&self) -> bool {
        self.echoes >= SETTLED_ECHOES
    }

    /// Microseconds from one end to the other.
    fn one_way_us(&self) -> f64 {
        (self.rtt_us + JITTER_FACTOR * self.late_us) / 2.0
    }

    /// The less of both, but for what is not known well enough.
    fn if_less(self, than: Self) -> Self {
        if self.is_settled() && self.one_way_us() < than.one_way_us() { self } else { than }
    }
}

/// Good news that are told if they last.
#[derive(Clone, Copy, Debug)]
struct Good {
    since: Time,
    /// What was measured since then alone.
    delay: Delay,
    /// Some were told just now: there may be more.
    more: bool,
}

impl Good {
    fn begin(since: Time, more: bool) -> Self {
        Self { since, delay: Delay::default(), more }
    }
}

/// Costs that others were told, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// From here to the neighbour.
    pub out_us: u32,
    /// From the neighbour to here, as far as this end can see it: without the loss and load that only the sender knows.
    pub in_us: u32,
}

impl Told {
    /// Whether either direction costs more.
    pub fn is_worse(self, before: Self) -> bool {
        self.out_us > before.out_us || self.in_us > before.in_us
    }
}

impl Estimator {
    /// A link of which nothing is known yet. `nonce` makes the probes of two lives of a link distinct.
    pub fn new(nonce: u64) -> Self {
        Self {
            open: Default::default(),
            next_nonce: nonce,
            delay: None,
            jitter_us: 0.0,
            loss: 0.0,
            load: 0.0,
            told: None,
            good: None,
            curious: 0,
        }
    }

    /// Takes the round-trip time of the handshake until the first echo comes.
    pub fn seed(&mut self, rtt: Duration) {
        self.delay = Some(Delay { rtt_us: rtt.as_micros() as f64, ..Delay::default() });
    }

    /// Whether so many echoes have come that the rest of the mesh may hear of the link.
    pub fn is_settled(&self) -> bool {
        self.delay.is_some_and(|delay| delay.is_settled())
    }

    /// Whether round trips are not what they were, so that it is worth to probe as often as a new link for a moment.
    pub fn is_curious(&self) -> bool {
        self.curious > 0
    }

    /// Whether there are good news that are to be told if they last, so that it is worth to look as often as on a link in use.
    pub fn is_improving(&self) -> bool {
        self.good.is_some()
    }

    /// A probe leaves at `now`; gives its nonce.
    pub fn probe(&mut self, now: Time) -> u64 {
        if self.open.len() == PROBES_OPEN_MAX {
            self.open.pop_front();
        }
        let nonce = self.next_nonce;
        self.next_nonce = nonce.wrapping_add(1);
        self.open.push_back((nonce, now));
        nonce
    }

    /// An echo came. Unknown nonces are passed over: late, doubled or forged.
    pub fn echo(&mut self, nonce: u64, now: Time) -> bool {
        let Some(at) = self.open.iter().position(|(open, _)| *open == nonce) else {
            return false;
        };
        let Some((_, sent)) = self.open.remove(at) else {
            return false;
        };
        let sample = now.since(sent).as_micros() as f64;
        let delay = self.delay.get_or_insert_default();
        let usual = SURPRISE_LATES * delay.late_us + TELL_MIN_US;
        let surprises = delay.is_settled() && (sample - delay.rtt_us).abs() > usual;
        self.curious = if surprises { CURIOUS_ECHOES } else { self.curious.saturating_sub(1) };
        let jitter_weight = JITTER_BETA.max(delay.share(0));
        self.jitter_us += jitter_weight * (delay.take(sample) - self.jitter_us);
        if let Some(good) = &mut self.good {
            good.delay.take(sample);
        }
        // The first echo is better than the handshake, and so many are better than the first.
        if [1, SETTLED_ECHOES].contains(&delay.echoes) {
            self.told = None;
        }
        true
    }

    /// What the transport counted since the last call: packets sent and lost, and the share of the capacity in use.
    pub fn transport(&mut self, sent: u64, lost: u64, load: f64) {
        if sent > 0 {
            let sample = (lost as f64 / sent as f64).min(1.0);
            self.loss += LOSS_WEIGHT * (sample - self.loss);
        }
        self.load = if load.is_finite() { load.clamp(0.0, 1.0) } else { 0.0 };
    }

    /// Smoothed round-trip time, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.delay.map(|delay| Duration::from_micros(delay.rtt_us as u64))
    }

    /// Smoothed lateness: by how much round trips exceed the smoothed round-trip time.
    pub fn jitter(&self) -> Duration {
        self.delay.map_or(Duration::ZERO, |delay| Duration::from_micros(delay.late_us as u64))
    }

    /// Smoothed share of sent packets that were lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// How late something may be on this link before the other end is suspected: two round trips and four times their
    /// jitter, 60 to 200 ms (DESIGN 3 says 250; docs/decisions.md), in steps that small changes do not cross.
    pub fn patience(&self) -> Duration {
        let us = 2.0 * self.delay.map_or(0.0, |delay| delay.rtt_us) + JITTERS * self.jitter_us;
        stepped(us).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// How late anything at all may be on this link: four times the jitter, and no round trips, which only what was lost
    /// takes. 40 ms at least, the patience at most.
    pub fn alertness(&self) -> Duration {
        stepped(self.jitter_us * JITTERS).saturating_add(ALERTNESS_MIN).min(self.patience())
    }

    /// Costs as measured now; `None` before the first echo.
    pub fn measured(&self) -> Option<Told> {
        let delay = self.delay?;
        let receive = delay.one_way_us() + HOP_COST_US;
        let loss = self.loss.min(LOSS_MAX);
        let retransmit = loss / (1.0 - loss) * RETRANSMIT_RTTS * delay.rtt_us;
        let used = self.load.min(LOAD_MAX);
        let load = LOAD_COST_US * ((used - LOAD_KNEE) / (1.0 - used)).max(0.0);
        Some(Told { out_us: (receive + retransmit + load) as u32, in_us: receive as u32 })
    }

    /// Costs that others were told last, or will be once the link has settled.
    pub fn told(&self) -> Option<Told> {
        self.told
    }

    /// Decides whether others must hear of a change, and takes the new value over if so.
    pub fn tell(&mut self, now: Time) -> bool {
        let Some(measured) = self.measured() else {
            return false;
        };
        match self.told {
            Some(told) if !is_worse(told, measured) => self.tell_good(told, is_worse(measured, told), now),
            _ => {
                (self.told, self.good) = (Some(measured), None);
                true
            }
        }
    }

    /// Good news are told once they have lasted, and then for a moment more are looked for.
    fn tell_good(&mut self, told: Told, is_better: bool, now: Time) -> bool {
        let begun = self.good.or_else(|| is_better.then(|| Good::begin(now, false)));
        self.good = begun.filter(|good| is_better || good.more);
        let Some(good) = self.good.take_if(|good| now.since(good.since) >= GOOD_NEWS_LASTS) else {
            return false;
        };
        // What was before is past, and smoothed values would long remember it.
        self.delay = self.delay.map(|smoothed| good.delay.if_less(smoothed));
        let Some(better) = self.measured().filter(|measured| is_worse(*measured, told)) else {
            return false;
        };
        (self.told, self.good) = (Some(better), Some(Good::begin(now, true)));
        true
    }
}

/// Whether `to` is so much worse than `from` in a direction that it is news.
fn is_worse(from: Told, to: Told) -> bool {
    differs(from.out_us, to.out_us) || differs(from.in_us, to.in_us)
}

/// Whether `to` is so much more than `from` that it is news.
fn differs(from: u32, to: u32) -> bool {
    let (from, to) = (f64::from(from), f64::from(to));
    to - from >= TELL_MIN_US && to - from >= TELL_RATIO * from
}

/// Up to the next step.
fn stepped(us: f64) -> Duration {
    Duration::from_micros((us as u64).div_ceil(PATIENCE_STEP_US) * PATIENCE_STEP_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(estimator: &mut Estimator, now: &mut Time, rtt_us: u64, echoes: usize) -> usize {
        let mut news = 0;
        for _ in 0..echoes {
            let nonce = estimator.probe(*now);
            *now = *now + Duration::from_micros(rtt_us);
            assert!(estimator.echo(nonce, *now));
            news += usize::from(estimator.tell(*now));
            *now = *now + PROBE_IN_USE;
        }
        news
    }

    #[test]
    fn cost_of_a_clean_link_is_half_the_rtt_and_a_hop() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        feed(&mut link, &mut now, 40_000, 200);
        let told = link.measured().unwrap();
        assert!((21_000..21_100).contains(&told.out_us), "{told:?}");
    }

    #[test]
    fn bad_news_travels_at_once_and_good_news_after_it_lasted() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        assert_eq!(feed(&mut link, &mut now, 20_000, 100), 2, "the first measurement, and that by which it settles");
        assert!(feed(&mut link, &mut now, 80_000, 5) >= 1, "worse is told at once");
        feed(&mut link, &mut now, 80_000, 200);
        let before = link.told();
        assert_eq!(feed(&mut link, &mut now, 20_000, 15), 0, "better for less than two seconds is no news yet");
        assert_eq!(link.told(), before);
        assert!(feed(&mut link, &mut now, 20_000, 100) >= 1);
    }

    #[test]
    fn stationary_jitter_is_known_when_a_link_settles() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        let jitter = |n: u64| n * 7_919 % 10_000;
        let told = (0..SETTLED_ECHOES.into()).map(|n| feed(&mut link, &mut now, 40_000 + jitter(n), 1)).sum::<usize>();
        assert!(told >= 2 && link.is_settled());
        let later =
            (SETTLED_ECHOES.into()..1_000).map(|n| feed(&mut link, &mut now, 40_000 + jitter(n), 1)).sum::<usize>();
        assert_eq!(later, 0);
    }

    #[test]
    fn a_link_that_changed_is_probed_more_often_until_that_is_known() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        let jitter = |n: u64| n * 7_919 % 10_000;
        for n in 0..1_000 {
            feed(&mut link, &mut now, 40_000 + jitter(n), 1);
            assert!(n < 100 || !link.is_curious(), "echo {n}: {link:?}");
        }
        let mut steady = Estimator::new(0);
        feed(&mut steady, &mut now, 25_000, 100);
        assert!(!steady.is_curious());
        feed(&mut steady, &mut now, 15_000, 1);
        assert!(steady.is_curious());
        feed(&mut steady, &mut now, 15_000, 30);
        assert!(!steady.is_curious());
        assert!(steady.rtt().unwrap() < Duration::from_micros(15_200), "{steady:?}");
    }

    #[test]
    fn a_link_of_a_busy_start_is_told_as_it_is_soon_after() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        let scattered = |n: u64| n * 7_919 % 80_000;
        let told =
            (0..SETTLED_ECHOES.into()).map(|n| feed(&mut link, &mut now, 10_000 + scattered(n), 1)).sum::<usize>();
        assert!(told >= 2 && link.told().unwrap().out_us > 50_000, "{link:?}");
        feed(&mut link, &mut now, 10_000, 30);
        assert!(link.told().unwrap().out_us < 9_000, "{link:?}");
        assert_eq!(feed(&mut link, &mut now, 10_000, 1_000), 0, "{link:?}");
    }

    #[test]
    fn loss_and_load_burden_only_the_sending_direction() {
        let (mut link, mut now) = (Estimator::new(0), Time::ZERO);
        feed(&mut link, &mut now, 40_000, 100);
        let clean = link.measured().unwrap();
        (0..50).for_each(|_| link.transport(1000, 50, 0.9));
        let burdened = link.measured().unwrap();
        assert_eq!(burdened.in_us, clean.in_us);
        assert!(burdened.out_us > clean.out_us + 30_000, "{burdened:?}");
    }

    #[test]
    fn forged_and_doubled_echoes_are_passed_over() {
        let mut link = Estimator::new(7);
        let nonce = link.probe(Time::ZERO);
        assert!(!link.echo(nonce + 1, Time::from_micros(5)));
        assert!(link.echo(nonce, Time::from_micros(5)));
        assert!(!link.echo(nonce, Time::from_micros(9)));
    }
}
