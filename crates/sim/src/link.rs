//! What a link does to packets: delay, jitter, loss, rate, cuts. One [`Impairment`] describes one direction; the lab on
//! real sockets reads the same description.
//!
//! Streams of QUIC are reliable and ordered, so a lost packet costs them time; datagrams are simply lost. What is sent into
//! a cut waits for the probe timeout of the sender (RFC 9002, section 6.2).

use std::fmt;
use std::time::Duration;

use levada_overlay::Time;
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde::Deserialize;

use crate::units;

/// Payload of a packet, in bytes: a QUIC packet of 1,280 to 1,452 bytes without its headers, rounded.
const PACKET_LEN: u64 = 1_200;
/// A lost packet comes one and a half round trips late: three later packets tell of it (RFC 9002, section 6.1.1), that takes
/// a round trip, and the copy takes half of one.
const RETRANSMIT_RTTS: f64 = 1.5;
/// Copies of a packet that may be lost in a row; what is left after that arrives.
const ROUNDS_MAX: u32 = 16;

/// One direction of a link.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Impairment {
    /// One-way delay of every packet.
    #[serde(deserialize_with = "units::de_duration")]
    pub delay: Duration,
    /// Each packet takes up to this much longer, evenly distributed. Order is kept.
    #[serde(deserialize_with = "units::de_duration")]
    pub jitter: Duration,
    /// Whether jitter may change the order of packets.
    pub reorder: bool,
    /// Share of packets that are lost, each for itself.
    #[serde(deserialize_with = "units::de_share")]
    pub loss: f64,
    /// Losses in bursts, besides the others.
    pub burst: Option<Burst>,
    /// Bits a second; without it, any number.
    #[serde(deserialize_with = "units::de_rate_maybe")]
    pub rate: Option<u64>,
    /// Bytes that wait where the rate is the limit; more are dropped.
    #[serde(deserialize_with = "units::de_bytes")]
    pub queue: u64,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            reorder: false,
            loss: 0.0,
            burst: None,
            rate: None,
            queue: 250_000,
        }
    }
}

/// The model of Gilbert (1960) and Elliott (1963): a link is well or badly off, and changes state from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Chance, at each packet, that a bad time begins.
    #[serde(deserialize_with = "units::de_share")]
    pub enter: f64,
    /// Chance, at each packet, that it ends.
    #[serde(deserialize_with = "units::de_share")]
    pub leave: f64,
    /// Share of packets that are lost in a bad time.
    #[serde(deserialize_with = "units::de_share")]
    pub loss: f64,
}

impl Impairment {
    /// Nothing but delay and jitter.
    pub fn new(delay: Duration, jitter: Duration) -> Self {
        Self { delay, jitter, ..Self::default() }
    }

    /// Mean time of a packet that meets no queue.
    pub fn mean_delay(&self) -> Duration {
        self.delay + self.jitter / 2
    }

    /// Changes what `text` names: `delay=80ms loss=5% rate=20Mbit/s`.
    pub fn change(&mut self, text: &str) -> Result<(), String> {
        for part in text.split_whitespace() {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form delay=80ms"))?;
            match key {
                "delay" => self.delay = units::duration(value)?,
                "jitter" => self.jitter = units::duration(value)?,
                "reorder" => {
                    self.reorder = value.parse().map_err(|_| format!("reorder={value} is not true or false"))?
                }
                "loss" => self.loss = units::share(value)?,
                "rate" if value == "none" => self.rate = None,
                "rate" => self.rate = Some(units::rate(value)?),
                "queue" => self.queue = units::bytes(value)?,
                "burst" => self.burst = Burst::parse(value)?,
                _ => {
                    return Err(format!(
                        "{key:?} is nothing that a link has; there are delay, jitter, reorder, loss, burst, rate, queue"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Burst {
    /// Parses `enter,leave,loss`, for example `0.1%,20%,50%`, or `none`.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        if text == "none" {
            return Ok(None);
        }
        let shares: Vec<f64> = text.split(',').map(units::share).collect::<Result<_, _>>()?;
        match shares[..] {
            [enter, leave, loss] => Ok(Some(Self { enter, leave, loss })),
            _ => Err(format!("{text:?} is not of the form enter,leave,loss")),
        }
    }
}

impl fmt::Display for Burst {
    /// As it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [enter, leave, loss] = [self.enter, self.leave, self.loss].map(units::show_share);
        write!(f, "{enter},{leave},{loss}")
    }
}

/// One direction of a link at work.
#[derive(Debug)]
pub struct Wire {
    /// What it does to packets.
    impairment: Impairment,
    /// Since when nothing passes.
    pub(crate) cut_since: Option<Time>,
    /// A bad time, in the sense of [`Burst`].
    bad: bool,
    /// When the last byte that waits for its turn has left.
    busy_until: Time,
    /// Packets keep their order: the latest arrival so far.
    last_at: Time,
    /// Packets and bytes sent and packets lost since they were last asked for.
    sent: u64,
    lost: u64,
    bytes: u64,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is at the other end then.
    Arrives(Time),
    /// It was lost on the way, or sent into a cut.
    Lost,
    /// The queue in front of the rate was full.
    Dropped,
}

/// How a change of the rate changes when packets arrive that wait for their turn.
#[derive(Clone, Copy, Debug)]
pub struct Repace {
    /// What arrives later than this still waits.
    waits_from: Time,
    factor: f64,
    /// The last that waits arrives then. What arrives later does not wait: it was sent when the delay was longer.
    last_at: Time,
}

impl Repace {
    /// When a packet arrives that was to arrive at `at`.
    pub fn arrival(self, at: Time) -> Time {
        let waits = at.since(self.waits_from);
        if waits.is_zero() { at } else { (self.waits_from + waits.mul_f64(self.factor)).min(self.last_at.max(at)) }
    }
}

/// What the sending transport counted.
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// Share of the rate in use; 0 where there is none.
    pub(crate) load: f64,
}

impl Wire {
    /// A wire that nothing was sent over yet.
    pub fn new(impairment: Impairment) -> Self {
        Self {
            impairment,
            cut_since: None,
            bad: false,
            busy_until: Time::ZERO,
            last_at: Time::ZERO,
            sent: 0,
            lost: 0,
            bytes: 0,
        }
    }

    /// What it does to packets.
    pub fn impairment(&self) -> &Impairment {
        &self.impairment
    }

    /// Does something else to packets from now on. The bytes that wait are the same, and leave at the new rate. When their packets
    /// arrive was told when they were sent: what is given tells how that changes. Where nobody tells them, later ones may overtake them.
    pub fn impair(&mut self, now: Time, impairment: Impairment) -> Repace {
        let before = std::mem::replace(&mut self.impairment, impairment);
        let factor = match (before.rate, self.impairment.rate) {
            (Some(old), Some(new)) => old as f64 / new as f64,
            (Some(_), None) => 0.0,
            (None, _) => 1.0,
        };
        self.busy_until = now + self.busy_until.since(now).mul_f64(factor);
        let way = before.delay + before.jitter;
        let repace = Repace { waits_from: now + way, factor, last_at: self.busy_until + way };
        self.last_at = repace.arrival(self.last_at);
        repace
    }

    /// Whether the transport's counts say anything: a link that loses nothing has nothing to tell.
    pub(crate) fn is_lossy(&self) -> bool {
        self.impairment.loss > 0.0 || self.impairment.burst.is_some() || self.impairment.rate.is_some() || self.lost > 0
    }

    /// Sends one packet of `len` bytes, headers and all.
    pub fn packet(&mut self, now: Time, len: u64, rng: &mut SmallRng) -> Fate {
        self.pass(now, len, !self.impairment.reorder, rng)
    }

    /// Sends a datagram of one packet. `None`: it was lost.
    pub(crate) fn datagram(&mut self, now: Time, len: u64, rng: &mut SmallRng) -> Option<Time> {
        let fate = self.pass(now, len, false, rng);
        self.sent += 1;
        self.lost += u64::from(!matches!(fate, Fate::Arrives(_)));
        match fate {
            Fate::Arrives(at) => Some(at),
            Fate::Lost | Fate::Dropped => None,
        }
    }

    /// Sends `len` bytes of a stream over a link that is not cut; gives when the last of them is there.
    pub(crate) fn stream(&mut self, now: Time, len: u64, rtt: Duration, rng: &mut SmallRng) -> Time {
        // What overflows the queue is sent once more. Congestion control holds back what comes after it.
        let dropped = !self.enqueue(now, len, true);
        let mut at = self.arrival(now, !self.impairment.reorder, rng);
        let mut packets = len.div_ceil(PACKET_LEN).max(1);
        self.sent += packets;
        let mut rounds = u32::from(dropped);
        self.lost += u64::from(dropped);
        if self.impairment.loss > 0.0 || self.impairment.burst.is_some() {
            while packets > 0 && rounds < ROUNDS_MAX {
                packets = (0..packets).filter(|_| self.loses(rng)).count() as u64;
                self.lost += packets;
                self.sent += packets;
                rounds += u32::from(packets > 0);
            }
        }
        if rounds > 0 {
            at = at + rtt.mul_f64(RETRANSMIT_RTTS * f64::from(rounds));
        }
        at
    }

    /// What was counted since the last call.
    pub(crate) fn take_counts(&mut self, over: Duration) -> Counts {
        let bits = std::mem::take(&mut self.bytes) as f64 * 8.0;
        let load = self.impairment.rate.map_or(0.0, |rate| (bits / over.as_secs_f64() / rate as f64).min(1.0));
        Counts { sent: std::mem::take(&mut self.sent), lost: std::mem::take(&mut self.lost), load }
    }

    fn pass(&mut self, now: Time, len: u64, ordered: bool, rng: &mut SmallRng) -> Fate {
        if !self.enqueue(now, len, false) {
            return Fate::Dropped;
        }
        if self.cut_since.is_some() || self.loses(rng) {
            return Fate::Lost;
        }
        Fate::Arrives(self.arrival(now, ordered, rng))
    }

    /// Takes a turn at the bottleneck; `false` if the queue is full. What is reliable gets its turn all the same.
    fn enqueue(&mut self, now: Time, len: u64, reliable: bool) -> bool {
        self.bytes += len;
        let Some(rate) = self.impairment.rate else { return true };
        let waiting = self.busy_until.since(now).as_secs_f64() * rate as f64 / 8.0;
        let fits = waiting + len as f64 <= self.impairment.queue as f64;
        if fits || reliable {
            self.busy_until = self.busy_until.max(now) + Duration::from_secs_f64(len as f64 * 8.0 / rate as f64);
        }
        fits
    }

    fn arrival(&mut self, now: Time, ordered: bool, rng: &mut SmallRng) -> Time {
        let start = if self.impairment.rate.is_some() { self.busy_until.max(now) } else { now };
        let jitter_us = self.impairment.jitter.as_micros() as u64;
        let jitter = if jitter_us > 0 { rng.random_range(0..=jitter_us) } else { 0 };
        let mut at = start + self.impairment.delay + Duration::from_micros(jitter);
        if ordered {
            at = at.max(self.last_at);
            self.last_at = at;
        }
        at
    }

    fn loses(&mut self, rng: &mut SmallRng) -> bool {
        let mut lost = self.impairment.loss > 0.0 && rng.random::<f64>() < self.impairment.loss;
        if let Some(burst) = self.impairment.burst {
            let change = if self.bad { burst.leave } else { burst.enter };
            self.bad ^= rng.random::<f64>() < change;
            lost |= self.bad && rng.random::<f64>() < burst.loss;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn wire(change: &str) -> (Wire, SmallRng) {
        let mut impairment = Impairment::default();
        impairment.change(change).unwrap();
        (Wire::new(impairment), SmallRng::seed_from_u64(1))
    }

    fn change(wire: &mut Wire, at_us: u64, change: &str) {
        let mut impairment = wire.impairment().clone();
        impairment.change(change).unwrap();
        wire.impair(Time::from_micros(at_us), impairment);
    }

    fn lost_of(wire: &mut Wire, rng: &mut SmallRng, packets: u32) -> Vec<bool> {
        (0..packets).map(|n| wire.datagram(Time::from_micros(u64::from(n) * 10_000), 100, rng).is_none()).collect()
    }

    #[test]
    fn loss_is_what_was_asked_for() {
        let (mut wire, mut rng) = wire("loss=5%");
        let lost = lost_of(&mut wire, &mut rng, 20_000).into_iter().filter(|lost| *lost).count();
        assert!((900..1_100).contains(&lost), "{lost}");
        let counts = wire.take_counts(Duration::from_secs(1));
        assert_eq!((counts.sent, counts.lost), (20_000, lost as u64));
    }

    #[test]
    fn bursts_come_together() {
        let (mut wire, mut rng) = wire("burst=1%,20%,100%");
        let lost = lost_of(&mut wire, &mut rng, 50_000);
        let share = lost.iter().filter(|lost| **lost).count() as f64 / 50_000.0;
        // Bad for enter / (enter + leave) of the time.
        assert!((0.04..0.056).contains(&share), "{share}");
        let pairs = lost.windows(2).filter(|pair| pair[0]).count() as f64;
        let again = lost.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64 / pairs;
        assert!((0.75..0.85).contains(&again), "{again}");
    }

    #[test]
    fn streams_pay_for_loss_with_time() {
        let (mut clean, mut rng) = wire("delay=20ms");
        let rtt = Duration::from_millis(40);
        assert_eq!(clean.stream(Time::ZERO, 1_000, rtt, &mut rng), Time::from_micros(20_000));
        let (mut lossy, mut rng) = wire("delay=20ms loss=100%");
        let at = lossy.stream(Time::ZERO, 1_000, rtt, &mut rng);
        assert_eq!(at, Time::from_micros(20_000 + u64::from(ROUNDS_MAX) * 60_000));
    }

    #[test]
    fn a_rate_makes_a_queue_that_overflows() {
        let (mut wire, mut rng) = wire("delay=1ms rate=8Mbit/s queue=10kB");
        let at = |n: u64| Some(Time::from_micros(1_000 + n * 1_000));
        // A thousand bytes take a millisecond.
        (1..=10).for_each(|n| assert_eq!(wire.datagram(Time::ZERO, 1_000, &mut rng), at(n)));
        assert_eq!(wire.datagram(Time::ZERO, 1_000, &mut rng), None);
        assert_eq!(wire.datagram(Time::from_micros(5_000), 1_000, &mut rng), at(11));
    }

    #[test]
    fn what_waits_leaves_at_the_new_rate_and_in_order() {
        let (mut wire, mut rng) = wire("delay=5ms rate=800kbit/s queue=100kB");
        let mut send = |wire: &mut Wire, at_us: u64| match wire.packet(Time::from_micros(at_us), 1_000, &mut rng) {
            Fate::Arrives(at) => at,
            fate => panic!("{fate:?}"),
        };
        let before: Vec<Time> = (0..10).map(|_| send(&mut wire, 0)).collect();
        let repaced = |wire: &mut Wire, rate: &str| {
            let mut impairment = wire.impairment().clone();
            impairment.change(rate).unwrap();
            let repace = wire.impair(Time::from_micros(42_000), impairment);
            before.iter().map(|at| repace.arrival(*at)).collect::<Vec<_>>()
        };
        let now = repaced(&mut wire, "rate=80Mbit/s");
        assert_eq!(now[..4], before[..4], "these have left");
        assert_eq!(now[9], Time::from_micros(47_000 + 580), "58 ms of waiting, in a hundredth");
        assert!(now.is_sorted() && now[9] < send(&mut wire, 42_000));
    }

    #[test]
    fn what_is_on_a_way_that_was_longer_does_not_wait() {
        let (mut wire, mut rng) = wire("delay=50ms rate=8Mbit/s");
        let at = |us: u64| Time::from_micros(us);
        assert_eq!(wire.packet(at(0), 1_000, &mut rng), Fate::Arrives(at(51_000)));
        change(&mut wire, 2_000, "delay=1ms");
        let mut slow = wire.impairment().clone();
        slow.change("rate=80kbit/s").unwrap();
        assert_eq!(wire.impair(at(10_000), slow).arrival(at(51_000)), at(51_000));
        assert_eq!(wire.packet(at(10_000), 1_000, &mut rng), Fate::Arrives(at(111_000)));
    }

    /// A queue of 100 kB that is full: at 800 kbit/s, for a second.
    fn full() -> (Wire, SmallRng) {
        let (mut wire, mut rng) = wire("delay=1ms rate=800kbit/s queue=100kB");
        (0..100).for_each(|_| assert!(matches!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Arrives(_))));
        assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Dropped);
        (wire, rng)
    }

    #[test]
    fn a_full_queue_empties_at_the_rate_that_is_raised() {
        let (mut wire, mut rng) = full();
        change(&mut wire, 100_000, "rate=80Mbit/s");
        // Ninety thousand bytes wait, for 9 ms now, and ten thousand have room.
        let at = |us: u64| Fate::Arrives(Time::from_micros(us));
        (1..=9).for_each(|n| {
            assert_eq!(wire.packet(Time::from_micros(100_000), 1_000, &mut rng), at(110_000 + 100 * n));
        });
        assert_eq!(wire.packet(Time::from_micros(100_000), 2_000, &mut rng), Fate::Dropped);
        assert_eq!(wire.packet(Time::from_micros(200_000), 1_000, &mut rng), at(201_100));
    }

    #[test]
    fn nothing_waits_where_the_rate_is_lifted_nor_where_there_is_one_again() {
        let (mut wire, mut rng) = full();
        change(&mut wire, 100_000, "rate=none");
        let at = |us: u64| Fate::Arrives(Time::from_micros(us));
        assert_eq!(wire.packet(Time::from_micros(100_000), 1_000, &mut rng), at(101_000));
        change(&mut wire, 200_000, "rate=800kbit/s");
        assert_eq!(wire.packet(Time::from_micros(200_000), 1_000, &mut rng), at(211_000));
    }

    #[test]
    fn a_rate_that_is_lowered_leaves_no_more_room_than_there_was() {
        let (mut wire, mut rng) = wire("delay=1ms rate=8Mbit/s queue=10kB");
        (0..5).for_each(|_| assert!(matches!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Arrives(_))));
        change(&mut wire, 0, "rate=80kbit/s");
        let at = |n: u64| Fate::Arrives(Time::from_micros(1_000 + n * 100_000));
        (6..=10).for_each(|n| assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), at(n)));
        assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Dropped);
    }

    #[test]
    fn what_has_left_the_queue_is_not_overtaken() {
        let (mut wire, mut rng) = wire("delay=50ms rate=8Mbit/s");
        assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Arrives(Time::from_micros(51_000)));
        change(&mut wire, 10_000, "delay=0ms rate=none");
        assert_eq!(wire.packet(Time::from_micros(10_000), 1_000, &mut rng), Fate::Arrives(Time::from_micros(51_000)));
    }

    #[test]
    fn packets_that_are_lost_and_those_that_find_no_room_are_told_apart() {
        let (mut wire, mut rng) = wire("delay=1ms rate=8Mbit/s queue=1kB loss=100%");
        assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Lost);
        assert_eq!(wire.packet(Time::ZERO, 1_000, &mut rng), Fate::Dropped);
        change(&mut wire, 0, "loss=0%");
        assert_eq!(wire.packet(Time::from_micros(1_000), 1_000, &mut rng), Fate::Arrives(Time::from_micros(3_000)));
    }

    #[test]
    fn order_is_kept_unless_asked_otherwise() {
        let disordered = |change: &str| {
            let (mut wire, mut rng) = wire(change);
            let at: Vec<Time> = (0..1_000)
                .map(|n| wire.stream(Time::from_micros(n * 1_000), 100, Duration::from_millis(20), &mut rng))
                .collect();
            at.windows(2).filter(|pair| pair[0] > pair[1]).count()
        };
        assert_eq!(disordered("jitter=9ms"), 0);
        assert!(disordered("jitter=9ms reorder=true") > 100);
    }
}
