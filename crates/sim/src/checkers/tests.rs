//! Negative controls: each checker can fail.

use std::time::Duration;

use levada_overlay::node::view::{Size, Sizes};
use levada_overlay::{FeedId, LinkId, Message, Mode, Position, Time};

use super::*;
use crate::held::position;
use crate::water::{OBJECT_INTERVAL, Water, payload};

const INTERVAL_US: u64 = OBJECT_INTERVAL.as_micros() as u64;

fn at(us: u64) -> Time {
    Time::from_micros(us)
}

#[test]
fn a_second_copy_is_seen() {
    let mut copies = Copies::default();
    let mut sent = |to, stream, feed, number| copies.sent(3, to, stream, FeedId(feed), position(1, number)).is_some();
    assert!(!sent(1, 0, 1, 0) && !sent(1, 0, 1, 1), "objects in their order");
    assert!(sent(1, 0, 1, 1), "the same object again");
    assert!(!sent(1, 5, 2, 1) && !sent(0, 0, 2, 1), "another stream, and the other direction");
    assert!(!sent(1, 0, 1, 2));
}

/// Two whole feeds of one stream over one link.
#[test]
fn two_feeds_over_one_link_are_seen() {
    let mut copies = Copies::default();
    let mut sent = |feed, number| copies.sent(3, 1, 0, FeedId(feed), position(1, number)).is_some();
    assert!(!sent(1, 0) && !sent(1, 1));
    assert!(!sent(2, 1) && !sent(2, 2), "a feed that replaces the one before may repeat what was on its way");
    assert!(sent(1, 2), "the one before goes on beside it");
    assert!(!sent(2, 3));
    copies.forget(3);
    assert_eq!(copies.sent(3, 1, 0, FeedId(1), position(1, 4)), None, "a new connection");
}

#[test]
fn losses_doubles_and_other_bytes_are_seen() {
    let mut delivery = Delivery::default();
    let mut take = |number| delivery.arrived(1, 0, position(1, number), payload(position(1, number)));
    assert_eq!((take(0), take(1)), (None, None));
    assert!(take(1).is_some(), "taken twice");
    assert!(take(5).is_some(), "three are missing");
    assert!(delivery.arrived(1, 0, position(1, 6), 0).is_some(), "other bytes");
    assert_eq!((delivery.lost, delivery.doubled, delivery.delivered), (3, 1, 3));
}

/// What was produced while no origin reached the reader may be missing, and no more.
#[test]
fn a_gap_is_excused_by_an_outage_of_its_length() {
    let mut delivery = Delivery::default();
    let take =
        |delivery: &mut Delivery, number| delivery.arrived(1, 0, position(1, number), payload(position(1, number)));
    assert_eq!(take(&mut delivery, 0), None);
    delivery.connected(1, 0, false, at(INTERVAL_US));
    delivery.connected(1, 0, true, at(100 * INTERVAL_US));
    assert_eq!(take(&mut delivery, 90), None, "nobody had to bring it");
    assert_eq!(take(&mut delivery, 91), None);
    assert!(take(&mut delivery, 200).is_some(), "long after the outage");
}

#[test]
fn a_loop_is_seen() {
    let parents = [Some(1), Some(2), Some(0), Some(0), None];
    assert!(find_loop(0, |node| parents[node as usize]).is_some());
    assert!(find_loop(3, |node| parents[node as usize]).is_some());
    assert!(find_loop(4, |node| parents[node as usize]).is_none());
}

#[test]
fn disagreement_and_leftovers_are_seen() {
    let nodes = |digest| [(0, 0, vec![1]), (1, 1, vec![9]), (2, 0, vec![digest])].into_iter();
    assert_eq!(differing(nodes(1)), None, "other components may differ");
    assert_eq!(differing(nodes(2)), Some((0, 2)));
    let moved = |objects, fronts| Clean { objects, fronts };
    let end = |now, held: &[Sizes]| moved(5, 7).end(now, (0..).zip(held.iter().copied()));
    assert_eq!(end(moved(5, 7), &[empty()]), None);
    assert!(end(moved(6, 7), &[]).is_some() && end(moved(5, 8), &[]).is_some());
    let one = Size { held: 1, limit: 4 };
    assert!(end(moved(5, 7), &[empty(), Sizes { feeds: one, ..empty() }]).is_some());
    assert!(end(moved(5, 7), &[Sizes { pauses: one, ..empty() }]).is_some());
}

fn empty() -> Sizes {
    let none = Size { held: 0, limit: 4 };
    Sizes {
        streams: none,
        feeds: none,
        children: none,
        pauses: none,
        adopted: none,
        traces: none,
        records: none,
        vertices: none,
        distances: none,
    }
}

#[test]
fn overflow_is_seen() {
    let mut bounds = Bounds::default();
    let five = Size { held: 5, limit: 4 };
    assert_eq!(bounds.tables(0, &empty(), 3), None);
    assert!(bounds.tables(0, &Sizes { feeds: five, ..empty() }, 3).is_some());
    assert!(bounds.tables(0, &Sizes { records: five, ..empty() }, 3).is_some());
    assert!(bounds.tables(0, &Sizes { vertices: Size { held: 4, limit: 9 }, ..empty() }, 3).is_some(), "who is that?");
    assert!(bounds.answered(0, 1_000).is_none() && bounds.answered(0, usize::MAX).is_some());
    let mut water = Water::default();
    water.children.insert((LinkId(1), FeedId(1)), crate::water::Child::default());
    assert!(bounds.routed(0, &water, 1).is_none());
    assert!(bounds.routed(0, &water, 0).is_some());
    assert!(bounds.connected(0, 6, 2).is_none() && bounds.connected(0, 7, 2).is_some());
    assert!(bounds.waits(0, 1_000).is_none() && bounds.waits(0, u64::MAX).is_some());
}

/// 0 feeds 1, which feeds 2 and 3; 1 dies, 2 moves, and 3 moves although its parent only had to repair.
#[test]
fn switches_are_laid_at_the_door_of_failures() {
    let mut switches = Switches::default();
    [(1, 0), (2, 1), (3, 2)].iter().for_each(|&(node, parent)| switches.committed(node, 0, parent, Mode::Full, at(0)));
    let affected = switches.failed(at(10), |parent, _| parent == 1);
    assert_eq!(affected, [(2, 0), (3, 0)]);
    switches.committed(2, 0, 0, Mode::Full, at(20));
    switches.committed(3, 0, 0, Mode::Full, at(30));
    switches.committed(1, 0, 0, Mode::Full, at(40));
    let found = switches.consequences();
    assert_eq!((found.failures, found.subtrees, found.affected, found.switches), (1, 1, 2, 2));
    switches.committed(3, 0, 2, Mode::Full, at(60_000_000));
    assert_eq!(switches.optimising, 1, "long after the failure");
    switches.committed(3, 0, 1, Mode::Shadow, at(61_000_000));
    assert_eq!((switches.optimising, switches.parent(3, 0)), (1, Some(1)), "no objects are moved");
    switches.committed(3, 0, 2, Mode::Full, at(62_000_000));
    assert_eq!(switches.optimising, 1, "the first objects interrupt nobody");
    switches.asked_again(3, 0, Mode::Full);
    switches.committed(3, 0, 1, Mode::Full, at(63_000_000));
    assert_eq!(switches.optimising, 2);
}

/// A steady stream with a hole of 700 ms, after which everything comes at once.
#[test]
fn an_interruption_and_a_stall_are_measured() {
    let mut progress = Progress::default();
    let play = |progress: &mut Progress, from: u64, to: u64| {
        for number in from..to {
            let made = number * INTERVAL_US;
            let hole = 10_000_000..10_700_000;
            let arrives = if hole.contains(&(made + 30_000)) { hole.end } else { made + 30_000 };
            progress.arrived(1, 0, at(made), at(arrives));
        }
    };
    play(&mut progress, 0, 499);
    progress.failed(1, 0, at(10_000_000));
    play(&mut progress, 499, 1_200);
    let behind = progress.finish(at(1_200 * INTERVAL_US + 30_000));
    let (count, p50, ..) = progress.interruptions();
    assert_eq!((count, progress.stalls, behind.len()), (1, 1, 0));
    assert!((680.0..=720.0).contains(&p50), "{p50}");
    assert!((180.0..=220.0).contains(&progress.stalled_ms), "{}", progress.stalled_ms);
}

#[test]
fn who_gets_nothing_is_behind_unless_cut_off() {
    let behind = |cut_off: bool| {
        let mut progress = Progress::default();
        (0..200).for_each(|number| progress.arrived(1, 0, at(number * INTERVAL_US), at(number * INTERVAL_US)));
        progress.connected(1, 0, !cut_off, at(5_000_000));
        (progress.finish(at(60_000_000)).len(), progress.stalls)
    };
    assert_eq!(behind(false), (1, 1));
    assert_eq!(behind(true), (0, 0));
}

#[test]
fn records_are_counted_and_media_are_not() {
    let mut traffic = Traffic::default();
    traffic.sent(1, &Message::Digest(vec![0; 64]), 600);
    traffic.sent(1, &Message::Goodbye, 48);
    assert_eq!(traffic.per_second(2, Duration::from_secs(10)), (30.0, 60.0));
    assert_eq!(traffic.kinds_per_second(2, Duration::from_secs(10)), [("digests", 30.0)].into());
}

#[test]
fn quantiles_are_nearest_ranks() {
    let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99), quantile(&[], 0.5)), (50.0, 99.0, 0.0));
    assert_eq!(position(7_000, 51), Position { group: 1_007, timeline: 7_000, index: 1 });
}
