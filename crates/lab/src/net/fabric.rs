//! The links of a lab, without IO: a packet enters a link at some time, and is at the other end at another, or never.
//!
//! What a link does to packets is the simulator's [`Wire`]; here are the directions, cuts, counters and ways over several
//! links. What is on a link when it is cut still arrives, as from a cable that is cut behind it.

use levada_overlay::Time;
use levada_sim::{Fate, Impairment, Repace, Wire};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::routes::Routes;
use super::{Change, Counters, Tap};

/// What is sent: how many packets, and their bytes with all headers from IP on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A packet on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Where the link leads.
    pub(crate) node: usize,
    /// When it is there.
    pub(crate) at: Time,
    /// Direction of which link, for [`Fabric::arrived`].
    pub(crate) lane: usize,
}

#[derive(Debug)]
pub(crate) struct Fabric {
    count: usize,
    routes: Routes,
    lanes: Vec<Lane>,
    /// The lane from one node to another.
    between: Vec<Option<u32>>,
    /// What is still to be told to packets on the way, by lane.
    repaced: Vec<(usize, Repace)>,
}

/// One direction of a link.
#[derive(Debug)]
struct Lane {
    wire: Wire,
    rng: SmallRng,
    is_cut: bool,
    counters: Counters,
    tap: Option<Tap>,
}

impl Fabric {
    /// Links between `count` nodes; each does the same in both directions.
    pub(crate) fn new(count: usize, links: &[(usize, usize, Impairment)], seed: u64) -> Self {
        let mut lanes = Vec::new();
        let mut between = vec![None; count * count];
        let mut delays = Vec::new();
        for (a, b, impairment) in links {
            for (from, to) in [(*a, *b), (*b, *a)] {
                let rng = SmallRng::seed_from_u64(seed.wrapping_add(lanes.len() as u64));
                between[from * count + to] = Some(lanes.len() as u32);
                lanes.push(Lane {
                    wire: Wire::new(impairment.clone()),
                    rng,
                    is_cut: false,
                    counters: Counters::default(),
                    tap: None,
                });
                delays.push((from, to, impairment.mean_delay()));
            }
        }
        Self { count, routes: Routes::shortest(count, &delays), lanes, between, repaced: Vec::new() }
    }

    /// Whether the next link on the way looks at single packets, so that a bundle has to be cut before it.
    pub(crate) fn cuts_bundles(&self, at: usize, to: usize) -> bool {
        self.next(at, to).is_some_and(|(_, lane)| {
            let impairment = self.lanes[lane].wire.impairment();
            impairment.loss > 0.0
                || impairment.burst.is_some()
                || impairment.rate.is_some()
                || (impairment.reorder && !impairment.jitter.is_zero())
        })
    }

    /// Sends what is at one node and wants to another over the next link on its way. `None`: it is lost, or there is no way.
    pub(crate) fn send(&mut self, at: usize, to: usize, load: Load, now: Time) -> Option<Hop> {
        let (node, lane) = self.next(at, to)?;
        let Lane { wire, rng, is_cut, counters, .. } = &mut self.lanes[lane];
        counters.packets += load.packets;
        counters.bytes += load.bytes;
        if *is_cut {
            counters.cut += load.packets;
            return None;
        }
        match wire.packet(now, load.bytes, rng) {
            Fate::Arrives(at) => return Some(Hop { node, at, lane }),
            Fate::Lost => counters.lost += load.packets,
            Fate::Dropped => counters.dropped += load.packets,
        }
        None
    }

    /// Counts what has come to the end of a link.
    pub(crate) fn arrived(&mut self, lane: usize, bytes: &[u8], load: Load) {
        let Lane { counters, tap, .. } = &mut self.lanes[lane];
        if let Some(tap) = tap {
            tap.push(bytes);
        }
        counters.delivered += load.packets;
        counters.delivered_bytes += load.bytes;
    }

    /// Counts what the link would have carried, had there been memory for it.
    pub(crate) fn refused(&mut self, at: usize, to: usize, load: Load) {
        if let Some((_, lane)) = self.next(at, to) {
            let counters = &mut self.lanes[lane].counters;
            counters.packets += load.packets;
            counters.bytes += load.bytes;
            counters.dropped += load.packets;
        }
    }

    /// Changes one direction of a link, and then [`Fabric::take_repaced`] has something to tell; `false`: there is no such link.
    pub(crate) fn change(&mut self, from: usize, to: usize, change: Change, now: Time) -> bool {
        let Some(index) = self.between[from * self.count + to] else { return false };
        let lane = &mut self.lanes[index as usize];
        match change {
            Change::Impair(impairment) => self.repaced.push((index as usize, lane.wire.impair(now, impairment))),
            Change::Cut => lane.is_cut = true,
            Change::Heal => lane.is_cut = false,
        }
        true
    }

    /// How packets that are on lanes arrive otherwise than they were told, one change after the other.
    pub(crate) fn take_repaced(&mut self) -> Vec<(usize, Repace)> {
        std::mem::take(&mut self.repaced)
    }

    /// What one direction of a link has seen; `None`: there is no such link.
    pub(crate) fn counters(&self, from: usize, to: usize) -> Option<Counters> {
        let lane = self.between[from * self.count + to]?;
        Some(self.lanes[lane as usize].counters)
    }

    /// Begins to keep what goes over one direction of a link; `false`: there is no such link.
    pub(crate) fn tap(&mut self, from: usize, to: usize) -> bool {
        let Some(lane) = self.between[from * self.count + to] else { return false };
        self.lanes[lane as usize].tap.get_or_insert_default();
        true
    }

    /// What was kept of it.
    pub(crate) fn overheard(&self, from: usize, to: usize) -> Option<Tap> {
        let lane = self.between[from * self.count + to]?;
        self.lanes[lane as usize].tap.clone()
    }

    fn next(&self, at: usize, to: usize) -> Option<(usize, usize)> {
        let node = self.routes.next(at, to)?;
        Some((node, self.between[at * self.count + node]? as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load { packets: 1, bytes: 1_000 };

    fn link(a: usize, b: usize, change: &str) -> (usize, usize, Impairment) {
        let mut impairment = Impairment::default();
        impairment.change(change).unwrap();
        (a, b, impairment)
    }

    fn impaired(change: &str) -> Change {
        Change::Impair(link(0, 1, change).2)
    }

    fn ms(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    /// Sends over all links of the way; when it is there.
    fn journey(fabric: &mut Fabric, from: usize, to: usize, now: Time) -> Option<Time> {
        let (mut at, mut now) = (from, now);
        while at != to {
            let hop = fabric.send(at, to, LOAD, now)?;
            fabric.arrived(hop.lane, &[7; 4], LOAD);
            (at, now) = (hop.node, hop.at);
        }
        Some(now)
    }

    #[test]
    fn a_routed_pair_meets_every_link_on_its_way() {
        let mut fabric = Fabric::new(3, &[link(0, 1, "delay=10ms"), link(1, 2, "delay=30ms rate=8Mbit/s")], 1);
        assert_eq!(journey(&mut fabric, 0, 2, ms(0)), Some(ms(41)));
        assert_eq!(fabric.counters(1, 2).unwrap().delivered_bytes, 1_000);
        assert_eq!(fabric.counters(0, 2), None);
        fabric.change(1, 2, Change::Cut, ms(0));
        assert_eq!(journey(&mut fabric, 0, 2, ms(0)), None);
        let counters = fabric.counters(1, 2).unwrap();
        assert_eq!((counters.packets, counters.delivered, counters.cut), (2, 1, 1));
        assert_eq!(fabric.counters(0, 1).unwrap().delivered, 2);
    }

    #[test]
    fn a_cut_in_one_direction_leaves_the_other() {
        let mut fabric = Fabric::new(2, &[link(0, 1, "delay=10ms")], 1);
        assert!(fabric.change(0, 1, Change::Cut, ms(0)));
        assert_eq!(journey(&mut fabric, 0, 1, ms(0)), None);
        assert_eq!(journey(&mut fabric, 1, 0, ms(0)), Some(ms(10)));
        assert!(fabric.change(0, 1, Change::Heal, ms(0)));
        assert_eq!(journey(&mut fabric, 0, 1, ms(5)), Some(ms(15)));
        let mut fabric = Fabric::new(3, &[link(0, 1, "delay=10ms")], 1);
        assert!(!fabric.change(0, 2, Change::Cut, ms(0)) && !fabric.tap(0, 2));
    }

    #[test]
    fn a_link_that_is_released_carries_at_once() {
        let mut fabric = Fabric::new(2, &[link(0, 1, "delay=1ms rate=80kbit/s queue=10kB")], 1);
        let arrived = (0..20).filter(|_| journey(&mut fabric, 0, 1, ms(0)).is_some()).count();
        assert_eq!(arrived, 10);
        fabric.change(0, 1, impaired("delay=1ms rate=8Mbit/s"), ms(10));
        let [(0, repace)] = fabric.take_repaced()[..] else { panic!("one lane changes") };
        assert_eq!(repace.arrival(ms(1_001)), Time::from_micros(11_000 + 9_900), "990 ms of waiting");
        assert_eq!(journey(&mut fabric, 0, 1, ms(20)), Some(ms(22)));
        fabric.change(0, 1, impaired("delay=1ms"), ms(30));
        assert_eq!(journey(&mut fabric, 0, 1, ms(30)), Some(ms(31)));
    }

    #[test]
    fn a_tap_hears_one_direction_from_when_it_is_there() {
        let mut fabric = Fabric::new(2, &[link(0, 1, "delay=1ms")], 1);
        journey(&mut fabric, 0, 1, ms(0));
        assert!(fabric.tap(0, 1) && fabric.overheard(1, 0).is_none());
        journey(&mut fabric, 0, 1, ms(10));
        journey(&mut fabric, 1, 0, ms(10));
        assert_eq!(fabric.overheard(0, 1).map(|tap| tap.count()), Some(1));
    }

    #[test]
    fn what_is_lost_and_what_finds_no_room_is_counted_apart() {
        let mut fabric = Fabric::new(2, &[link(0, 1, "delay=0ms rate=8Mbit/s queue=10kB loss=20%")], 1);
        let times = (0..1_000).chain(std::iter::repeat_n(1_000, 20));
        let arrived = times.filter(|n| journey(&mut fabric, 0, 1, ms(*n)).is_some()).count() as u64;
        let counters = fabric.counters(0, 1).unwrap();
        assert_eq!((counters.packets, counters.dropped), (1_020, 10));
        assert!((150..250).contains(&counters.lost), "{}", counters.lost);
        assert_eq!((counters.delivered, counters.delivered + counters.lost), (arrived, 1_010));
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let lost = |seed| {
            let mut fabric = Fabric::new(2, &[link(0, 1, "loss=10%")], seed);
            (0..500).map(|n| journey(&mut fabric, 0, 1, ms(n)).is_none()).collect::<Vec<_>>()
        };
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
    }

    #[test]
    fn bundles_are_cut_for_wires_that_look_at_packets() {
        let cuts = |change| Fabric::new(2, &[link(0, 1, change)], 1).cuts_bundles(0, 1);
        assert!(!cuts("delay=10ms jitter=3ms"));
        assert!(cuts("loss=1%") && cuts("burst=1%,20%,50%") && cuts("rate=10Mbit/s"));
        assert!(cuts("jitter=3ms reorder=true"));
    }
}
