//! Many brains, checked at every event.

use std::time::Duration;

use levada_overlay::StreamName;
use levada_sim::{Impairment, Settings, World, topology};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

const SECOND: Duration = Duration::from_secs(1);

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Seeds to run; more with `LEVADA_SIM_SEEDS`.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    0..std::env::var("LEVADA_SIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

fn assert_clean(world: &World, seed: u64) {
    if let Some(first) = world.violations().first() {
        panic!("seed {seed}: {} violations, the first {first}", world.violations().len());
    }
}

/// A node is within a second of the origin.
fn assert_in_time(world: &mut World, node: usize, stream: &StreamName, seed: u64) {
    let late = world.lateness(node, 0, stream);
    let why = world.explain(node, stream);
    assert!(late.is_some_and(|late| late < 50), "seed {seed}: node {node} is behind by {late:?} objects: {why}");
}

/// All nodes that run come to hold the same records; a change that is still on its way gets its time.
fn assert_agreed(world: &mut World, nodes: usize, seed: u64) {
    for _ in 0..50 {
        let held = |node| world.brain(node).map(|brain| brain.records_digest());
        let mut digests: Vec<_> = (0..nodes).filter_map(held).collect();
        digests.dedup();
        if digests.len() == 1 {
            return;
        }
        world.run_for(Duration::from_millis(100));
    }
    panic!("seed {seed}: records differ after quiet");
}

/// 0 - {1, 2} - 3, with a stream from 0 to 3: the world, the stream, and which relay carries it.
fn diamond(seed: u64) -> (World, StreamName, usize) {
    let mut world = World::new(Settings::new(seed, 4, vec![(0, 1), (0, 2), (1, 3), (2, 3)]));
    let cam = stream("cam");
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    world.subscribe(3, &cam);
    world.run_for(3 * SECOND);
    let carrier = world.parent(3, &cam).unwrap_or_else(|| panic!("seed {seed}: no parent"));
    (world, cam, carrier)
}

/// By how many objects a node is behind the origin at the most, in the next second.
fn latest_in_a_second(world: &mut World, node: usize, stream: &StreamName) -> u64 {
    let look = |_| {
        world.run_for(Duration::from_millis(5));
        world.lateness(node, 0, stream).unwrap_or(u64::MAX)
    };
    (0..200).map(look).max().unwrap_or(u64::MAX)
}

#[test]
fn a_line_carries_a_stream_and_stops_when_nobody_reads() {
    let mut world = World::new(Settings::new(1, 4, topology::line(4)));
    let cam = stream("cam");
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    world.subscribe(3, &cam);
    world.run_for(5 * SECOND);
    assert!(world.delivered() > 200, "{} objects", world.delivered());
    assert_eq!(world.parent(3, &cam), Some(2));
    assert_eq!(world.duplicates, 0);
    world.unsubscribe(3, &cam);
    world.run_for(SECOND);
    let moved = world.objects_moved;
    world.run_for(5 * SECOND);
    assert_eq!(world.objects_moved, moved, "media still move");
    for node in 1..4 {
        assert!(!world.brain(node).is_some_and(|brain| brain.has_state_of(&cam)), "state remains at node {node}");
    }
    assert_clean(&world, 1);
}

#[test]
fn ten_readers_cost_one_copy_per_link() {
    // 0 - 1 - {2 .. 11}
    let links = std::iter::once((0, 1)).chain((2..12).map(|leaf| (1, leaf))).collect();
    let mut world = World::new(Settings::new(2, 12, links));
    let cam = stream("cam");
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    (2..12).for_each(|node| world.subscribe(node, &cam));
    world.run_for(10 * SECOND);
    // Eleven links, each with about fifty objects a second.
    let per_link = world.objects_moved / 11;
    assert!((450..=600).contains(&per_link), "{per_link} objects a link");
    assert_clean(&world, 2);
}

#[test]
fn a_dead_relay_is_replaced_and_nothing_is_lost() {
    for seed in seeds(20) {
        let (mut world, cam, carrier) = diamond(seed);
        world.crash(carrier);
        let latest = latest_in_a_second(&mut world, 3, &cam);
        // Objects are 20 ms apart, and some are on their way at any time.
        assert!(latest <= 25, "seed {seed}: {latest} objects behind");
        world.run_for(4 * SECOND);
        assert_eq!(world.parent(3, &cam), Some(3 - carrier), "seed {seed}");
        assert!(
            world.lateness(3, 0, &cam).is_some_and(|late| late < 20),
            "seed {seed}: {:?}",
            world.lateness(3, 0, &cam)
        );
        assert!(world.delivered() > 350, "seed {seed}: {}", world.delivered());
        assert_clean(&world, seed);
    }
}

#[test]
fn a_stream_without_a_path_waits_and_goes_on_by_itself() {
    let mut world = World::new(Settings::new(4, 3, topology::line(3)));
    let cam = stream("cam");
    world.subscribe(2, &cam);
    world.run_for(2 * SECOND);
    assert_eq!(world.delivered(), 0);
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    let before = world.delivered();
    assert!(before > 50, "{before}");
    world.cut(0, 1);
    world.run_for(4 * SECOND);
    let cut = world.delivered();
    world.heal(0, 1);
    world.run_for(10 * SECOND);
    // The log still holds what was missed, so the reader gets all of it.
    assert!(world.delivered() > cut + 600, "{} after {cut}", world.delivered());
    assert_clean(&world, 4);
}

/// Nobody else publishes it: readers wait, and go on with the new broadcast of the same name, whoever begins it.
#[test]
fn a_stream_whose_only_origin_dies_goes_on_with_the_next_broadcast() {
    for seed in seeds(3) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::new(Settings::new(seed, 10, topology::random(10, 4, &mut rng)));
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        (2..10).for_each(|node| world.subscribe(node, &cam));
        world.run_for(5 * SECOND);
        for origin in [0, 1, 0] {
            let before = world.delivered();
            world.crash(0);
            world.crash(1);
            world.run_for(10 * SECOND);
            let trailing = world.delivered() - before;
            assert!(trailing < 8 * 20, "seed {seed}: {trailing} objects of an origin that is dead");
            let held = world.delivered();
            [0, 1].into_iter().for_each(|node| world.start(node));
            world.publish(origin, &cam);
            world.run_for(10 * SECOND);
            let each = (world.delivered() - held) / 8;
            assert!(each > 200, "seed {seed}: {each} objects at each reader in 10 s");
        }
        assert_clean(&world, seed);
    }
}

/// What is older than logs reach back is gone: those below are told, pass over it, and go on.
#[test]
fn an_outage_longer_than_logs_costs_what_is_gone_and_no_more() {
    let mut world = World::new(Settings::new(4, 4, topology::line(4)));
    let cam = stream("cam");
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    world.subscribe(3, &cam);
    world.run_for(2 * SECOND);
    world.cut(0, 1);
    world.run_for(30 * SECOND);
    let cut = world.delivered();
    world.heal(0, 1);
    world.run_for(10 * SECOND);
    let after = world.delivered() - cut;
    assert!((900..1_100).contains(&after), "{after} objects: ten seconds of the log, and ten that followed");
    assert!(world.lateness(3, 0, &cam).is_some_and(|late| late < 50), "{:?}", world.lateness(3, 0, &cam));
    assert_clean(&world, 4);
}

#[test]
fn ten_streams_from_three_origins_in_one_mesh() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut world = World::new(Settings::new(5, 20, topology::random(20, 4, &mut rng)));
    let names: Vec<_> = (0..10).map(|n| stream(&format!("cam{n}"))).collect();
    names.iter().enumerate().for_each(|(n, name)| world.publish(n % 3, name));
    world.run_for(2 * SECOND);
    names.iter().enumerate().for_each(|(n, name)| {
        world.subscribe(19 - n, name);
        world.subscribe(3 + n, name);
    });
    world.run_for(10 * SECOND);
    assert!(world.delivered() > 18 * 400, "{}", world.delivered());
    assert_clean(&world, 5);
    assert_agreed(&mut world, 20, 5);
}

/// Whatever happens in whatever order: no loop, no second copy, nothing lost out of order, and all is clean afterwards.
#[test]
fn random_worlds_hold_the_invariants() {
    for seed in seeds(40) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = rng.random_range(4..16);
        let links = topology::random(nodes, rng.random_range(2..5), &mut rng);
        let mut world =
            World::new(Settings { jitter: rng.random_range(0.0..0.5), ..Settings::new(seed, nodes, links.clone()) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(SECOND);
        for _ in 0..30 {
            let node = rng.random_range(1..nodes);
            let link = links[rng.random_range(0..links.len())];
            match rng.random_range(0..8) {
                0..3 => world.subscribe(node, &cam),
                3 => world.unsubscribe(node, &cam),
                4 if world.runs(node) => world.crash(node),
                4 | 5 if !world.runs(node) => world.start(node),
                6 => world.cut(link.0, link.1),
                _ => world.heal(link.0, link.1),
            }
            world.run_for(Duration::from_millis(rng.random_range(10..3_000)));
        }
        for node in 1..nodes {
            if !world.runs(node) {
                world.start(node);
            }
        }
        links.iter().for_each(|&(a, b)| world.heal(a, b));
        (1..nodes).for_each(|node| world.subscribe(node, &cam));
        world.run_for(30 * SECOND);
        for node in 1..nodes {
            assert_in_time(&mut world, node, &cam, seed);
        }
        assert_agreed(&mut world, nodes, seed);
        (1..nodes).for_each(|node| world.unsubscribe(node, &cam));
        world.check_clean(5 * SECOND);
        assert_clean(&world, seed);
    }
}

#[test]
fn same_seed_same_events() {
    let run = |seed| {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::new(Settings::new(seed, 12, topology::random(12, 4, &mut rng)));
        world.publish(0, &stream("cam"));
        (1..12).for_each(|node| world.subscribe(node, &stream("cam")));
        world.run_for(3 * SECOND);
        world.crash(1);
        world.run_for(5 * SECOND);
        (world.events, world.trace)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_hundred_nodes_agree() {
    let mut rng = SmallRng::seed_from_u64(9);
    let mut world = World::new(Settings::new(9, 100, topology::random(100, 6, &mut rng)));
    world.run_for(10 * SECOND);
    assert_agreed(&mut world, 100, 9);
}

/// Positions are ordered over all origins, so a change from one to another closes no loop, whatever breaks meanwhile.
#[test]
fn independent_origins_stand_in_for_each_other() {
    for seed in seeds(20) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = 12;
        let links = topology::random(nodes, 4, &mut rng);
        let mut world = World::new(Settings::new(seed, nodes, links.clone()));
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(Duration::from_millis(rng.random_range(100..2_000)));
        world.publish(1, &cam);
        world.run_for(2 * SECOND);
        (2..nodes).for_each(|node| world.subscribe(node, &cam));
        for _ in 0..5 {
            world.run_for(2 * SECOND);
            let (a, b) = links[rng.random_range(0..links.len())];
            world.cut(a, b);
            world.run_for(2 * SECOND);
            world.heal(a, b);
        }
        world.run_for(5 * SECOND);
        world.crash(usize::from(rng.random_bool(0.5)));
        world.run_for(15 * SECOND);
        let before = world.delivered();
        world.run_for(5 * SECOND);
        let each = (world.delivered() - before) / (nodes as u64 - 2);
        assert!(each > 200, "seed {seed}: {each} objects at each reader in 5 s");
        assert_clean(&world, seed);
    }
}

/// Negative control: a water that reports any object of a candidate as newer breaks what the checkers guard.
#[test]
fn a_naive_commit_rule_is_caught() {
    let caught = (0..40).any(|seed| {
        let mut rng = SmallRng::seed_from_u64(seed);
        let links = topology::random(8, 3, &mut rng);
        let mut world = World::new(Settings { naive_commit: true, ..Settings::new(seed, 8, links.clone()) });
        let cam = stream("cam");
        world.publish(0, &cam);
        (1..8).for_each(|node| world.subscribe(node, &cam));
        for _ in 0..20 {
            world.run_for(2 * SECOND);
            let (a, b) = links[rng.random_range(0..links.len())];
            world.cut(a, b);
            world.run_for(2 * SECOND);
            world.heal(a, b);
        }
        !world.violations().is_empty()
    });
    assert!(caught, "the checkers see nothing");
}

/// 0 - {1, 2}, and a short link between these: whichever has the stream, the other one has it from there, though it is not
/// nearer to the origin; so a long link carries it once.
#[test]
fn a_newcomer_joins_next_door() {
    for seed in seeds(20) {
        let long = || [(); 2].map(|()| Impairment::new(Duration::from_millis(20), Duration::ZERO));
        let short = [(); 2].map(|()| Impairment::new(Duration::from_millis(4), Duration::ZERO));
        let impairments = vec![long(), long(), short];
        let mut world = World::new(Settings { impairments, ..Settings::new(seed, 3, vec![(0, 1), (0, 2), (1, 2)]) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        world.subscribe(2, &cam);
        world.run_for(3 * SECOND);
        world.subscribe(1, &cam);
        world.run_for(20 * SECOND);
        let parents = [1, 2].map(|node| world.parent(node, &cam));
        let mut whys = || [1, 2].map(|node| world.explain(node, &cam));
        assert!(matches!(parents, [Some(0), Some(1)] | [Some(2), Some(0)]), "seed {seed}: {:?}", whys());
        assert_clean(&world, seed);
    }
}

/// A way of 0 - 1 - 2 with a long first link.
fn over_satellite(one_way: Duration) -> (World, StreamName) {
    let far = [(); 2].map(|()| Impairment::new(one_way, Duration::ZERO));
    let near = [(); 2].map(|()| Impairment::new(Duration::from_millis(5), Duration::ZERO));
    let mut world = World::new(Settings { impairments: vec![far, near], ..Settings::new(2, 3, vec![(0, 1), (1, 2)]) });
    let cam = stream("cam");
    world.publish(0, &cam);
    world.run_for(30 * SECOND);
    (world, cam)
}

#[test]
fn a_stream_comes_over_a_satellite() {
    let (mut world, cam) = over_satellite(Duration::from_millis(300));
    world.subscribe(2, &cam);
    world.run_for(10 * SECOND);
    assert_eq!((world.parent(2, &cam), world.parent(1, &cam)), (Some(1), Some(0)), "{}", world.explain(2, &cam));
    assert_clean(&world, 2);
}

/// More probes are under way on such a link than are remembered, if they are sent as often as on a new one.
#[test]
fn a_link_that_is_too_slow_to_settle_at_once_is_told_of_later() {
    let (mut world, _) = over_satellite(SECOND);
    let view = world.brain(2).unwrap().view();
    assert!(view.links.iter().any(|link| link.from == "n0" && link.to == "n1"), "{:?}", view.links);
}

/// Nodes that hold nothing ask each other, and their records differ while costs still change: none may wait in a ring.
#[test]
fn all_who_come_at_once_are_fed() {
    for seed in seeds(20) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let links = topology::random(40, 4, &mut rng);
        let mut world = World::new(Settings { jitter: 0.5, ..Settings::new(seed, 40, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(SECOND / 2 * (1 + seed as u32 % 4));
        (1..40).for_each(|node| world.subscribe(node, &cam));
        world.run_for(10 * SECOND);
        (1..40).for_each(|node| assert_in_time(&mut world, node, &cam, seed));
        assert_clean(&world, seed);
    }
}

/// A real improvement is taken, make before break; nothing is lost over it.
#[test]
fn a_path_that_is_a_fifth_better_is_taken_within_fifteen_seconds() {
    // 0 - {1, 2} - 3
    let mut world = World::new(Settings {
        delay_us: (20_000, 20_000),
        ..Settings::new(11, 4, vec![(0, 1), (0, 2), (1, 3), (2, 3)])
    });
    let cam = stream("cam");
    world.change_link(0, 2, |link| link.delay = Duration::from_millis(25));
    world.change_link(2, 3, |link| link.delay = Duration::from_millis(25));
    world.publish(0, &cam);
    world.run_for(2 * SECOND);
    world.subscribe(3, &cam);
    world.run_for(30 * SECOND);
    assert_eq!(world.parent(3, &cam), Some(1));
    world.change_link(0, 2, |link| link.delay = Duration::from_millis(15));
    world.change_link(2, 3, |link| link.delay = Duration::from_millis(15));
    world.run_for(15 * SECOND);
    assert_eq!(world.parent(3, &cam), Some(2), "{}", world.explain(3, &cam));
    assert_clean(&world, 11);
}

/// Nobody had anything to do with the better path before, so that it was probed once a second only.
#[test]
fn a_path_that_was_idle_until_it_became_a_fifth_better_is_taken_as_soon() {
    // 0 - {1, 2, 3} - 4
    for (seed, before, after) in seeds(5).flat_map(|seed| [(seed, 25, 15), (seed, 100, 78)]) {
        let mut world = World::new(Settings {
            delay_us: (20_000, 20_000),
            ..Settings::new(seed, 5, vec![(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)])
        });
        let cam = stream("cam");
        let delay = |ms: u64| move |link: &mut Impairment| link.delay = Duration::from_millis(ms);
        let used = if before > 50 { 97 } else { 20 };
        for (relay, ms) in [(1, used), (2, used + 1), (3, before)] {
            world.change_link(0, relay, delay(ms));
            world.change_link(relay, 4, delay(ms));
        }
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        world.subscribe(4, &cam);
        world.run_for(30 * SECOND);
        assert_eq!(world.parent(4, &cam), Some(1), "seed {seed}");
        world.change_link(0, 3, delay(after));
        world.change_link(3, 4, delay(after));
        world.run_for(15 * SECOND);
        assert_eq!(world.parent(4, &cam), Some(3), "seed {seed}: {}", world.explain(4, &cam));
        assert_clean(&world, seed);
    }
}

/// A node that starts keeps its machine busy, and answers late.
#[test]
fn a_busy_start_leads_nobody_astray() {
    for seed in seeds(20) {
        // 0 - 1 - 4, and one hop more: 0 - 2 - 3 - 4
        let links = vec![(0, 1), (1, 4), (0, 2), (2, 3), (3, 4)];
        let mut world = World::new(Settings { delay_us: (5_000, 5_000), ..Settings::new(seed, 5, links) });
        let jitter = |ms: u64| move |link: &mut Impairment| link.jitter = Duration::from_millis(ms);
        let busy = [(0, 1), (1, 4)];
        busy.iter().for_each(|(a, b)| world.change_link(*a, *b, jitter(60)));
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(SECOND);
        busy.iter().for_each(|(a, b)| world.change_link(*a, *b, jitter(0)));
        world.run_for(5 * SECOND);
        world.subscribe(4, &cam);
        world.run_for(2 * SECOND);
        assert_eq!(world.parent(4, &cam), Some(1), "seed {seed}: {}", world.explain(4, &cam));
        assert_clean(&world, seed);
    }
}

/// All relays of a line die at once. Records do not tell of it: nobody is left who could pass them on.
#[test]
fn an_origin_behind_many_dead_relays_is_dialled() {
    for seed in seeds(10) {
        // 0 - 1 - 2 - 3 - 4 - 5; the others can be dialled.
        let links: Vec<(usize, usize)> = (0..5).map(|n| (n, n + 1)).collect();
        let strangers = (0..6).flat_map(|a| (a + 2..6).map(move |b| (a, b))).collect();
        let mut world = World::new(Settings { strangers, ..Settings::new(seed, 6, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(3 * SECOND);
        world.subscribe(5, &cam);
        world.run_for(5 * SECOND);
        assert_eq!(world.parent(5, &cam), Some(4), "seed {seed}");
        (1..5).for_each(|relay| world.crash(relay));
        world.run_for(5 * SECOND);
        assert_eq!(world.parent(5, &cam), Some(0), "seed {seed}: {}", world.explain(5, &cam));
        assert_in_time(&mut world, 5, &cam, seed);
        assert_clean(&world, seed);
    }
}

/// It was left for its slow link a moment ago, and all is well again when the other one goes.
#[test]
fn who_was_slower_lately_takes_over_from_one_that_drains() {
    for seed in seeds(10) {
        let (mut world, cam, squeezed) = diamond(seed);
        let other = 3 - squeezed;
        world.change_link(squeezed, 3, |link| link.rate = Some(2_000_000));
        world.run_for(6 * SECOND);
        assert_eq!(world.parent(3, &cam), Some(other), "seed {seed}: {}", world.explain(3, &cam));
        world.change_link(squeezed, 3, |link| link.rate = None);
        world.run_for(6 * SECOND);
        assert_eq!(world.parent(squeezed, &cam), None, "seed {seed}: it still has the stream");
        world.drain_node(other);
        let latest = latest_in_a_second(&mut world, 3, &cam);
        assert!(latest <= 9, "seed {seed}: {latest} objects behind");
        assert_eq!(world.parent(3, &cam), Some(squeezed), "seed {seed}");
        assert_clean(&world, seed);
    }
}

/// A node that drains goes after its children have moved: nobody is interrupted.
#[test]
fn a_drained_relay_interrupts_nobody() {
    for seed in seeds(20) {
        let (mut world, cam, carrier) = diamond(seed);
        world.drain_node(carrier);
        let latest = latest_in_a_second(&mut world, 3, &cam);
        assert!(!world.runs(carrier), "seed {seed}: it still runs");
        assert!(latest <= 9, "seed {seed}: {latest} objects behind");
        assert_eq!(world.parent(3, &cam), Some(3 - carrier), "seed {seed}");
        assert_clean(&world, seed);
    }
}

/// A full relay names who else has the stream, and the joiner, who knew none of them, dials one.
#[test]
fn a_full_relay_names_others() {
    for seed in seeds(20) {
        // 0 - 1 - {2, 3}: 1 may feed one of them only.
        let mut world = World::new(Settings {
            strangers: vec![(0, 2), (0, 3), (2, 3)],
            children_max: 1,
            ..Settings::new(seed, 4, vec![(0, 1), (1, 2), (1, 3)])
        });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        world.subscribe(2, &cam);
        world.run_for(3 * SECOND);
        assert_eq!(world.parent(2, &cam), Some(1), "seed {seed}");
        world.subscribe(3, &cam);
        world.run_for(5 * SECOND);
        // The origin is full too, so it can only be the other child.
        assert_eq!(world.parent(3, &cam), Some(2), "seed {seed}: {}", world.explain(3, &cam));
        assert!(world.lateness(3, 0, &cam).is_some_and(|late| late < 25), "seed {seed}");
        assert!(world.brain(1).is_some_and(|brain| brain.counters().refusals > 0), "seed {seed}");
        assert_clean(&world, seed);
    }
}

/// Nobody else can be reached: the joiner waits, and is fed when a child leaves.
#[test]
fn a_place_that_is_free_again_is_given() {
    for seed in seeds(20) {
        // 0 - 1 - {2, 3}
        let links = vec![(0, 1), (1, 2), (1, 3)];
        let mut world = World::new(Settings { children_max: 1, ..Settings::new(seed, 4, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        world.subscribe(2, &cam);
        world.run_for(2 * SECOND);
        world.subscribe(3, &cam);
        world.run_for(5 * SECOND);
        assert_eq!((world.parent(2, &cam), world.parent(3, &cam)), (Some(1), None), "seed {seed}");
        world.unsubscribe(2, &cam);
        world.run_for(3 * SECOND);
        assert_eq!(world.parent(3, &cam), Some(1), "seed {seed}: {}", world.explain(3, &cam));
        assert_clean(&world, seed);
    }
}

/// Those who only want to know how far a relay is, as a backup, keep nobody out who wants the stream.
#[test]
fn shadows_make_room_for_children() {
    for seed in seeds(20) {
        // 0 - {1, 2} - {3, 4}, 2 - 5: each of 3 and 4 has one relay as its parent and the other one as its backup.
        let links = vec![(0, 1), (0, 2), (1, 3), (2, 3), (1, 4), (2, 4), (2, 5)];
        let mut world = World::new(Settings { children_max: 2, ..Settings::new(seed, 6, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        (3..5).for_each(|node| world.subscribe(node, &cam));
        world.run_for(5 * SECOND);
        let full = (3..5).filter(|node| world.parent(*node, &cam) == Some(2)).count();
        world.subscribe(5, &cam);
        world.run_for(5 * SECOND);
        let expected = (full < 2).then_some(2);
        assert_eq!(world.parent(5, &cam), expected, "seed {seed}: {}", world.explain(5, &cam));
        (3..5).for_each(|node| assert!(world.lateness(node, 0, &cam).is_some_and(|late| late < 25), "seed {seed}"));
        assert_clean(&world, seed);
    }
}

/// Nodes with few places, in a mesh where whoever learns of another can reach it: everybody is fed, whatever happened.
#[test]
fn everybody_finds_one_of_few_places() {
    for seed in seeds(12) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = rng.random_range(4..16);
        let links = topology::random(nodes, 3, &mut rng);
        let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        let strangers = pairs.filter(|&(a, b)| !links.contains(&(a, b)) && !links.contains(&(b, a))).collect();
        let children_max = rng.random_range(1..4);
        // A place may become free only after more time than logs usually reach back.
        let keep = 10_000;
        let mut world = World::new(Settings { strangers, children_max, keep, ..Settings::new(seed, nodes, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        (1..nodes).for_each(|node| world.subscribe(node, &cam));
        world.run_for(20 * SECOND);
        for _ in 0..5 {
            let node = rng.random_range(1..nodes);
            world.crash(node);
            world.run_for(Duration::from_millis(rng.random_range(10..3_000)));
            world.start(node);
            world.subscribe(node, &cam);
        }
        world.run_for(30 * SECOND);
        for node in 1..nodes {
            assert_in_time(&mut world, node, &cam, seed);
        }
        assert_clean(&world, seed);
    }
}

/// An encoder that pauses is nobody's failure: all stay where they are, nothing is lost, and nothing is told of it.
#[test]
fn a_pause_of_the_encoder_moves_nobody() {
    const NODES: usize = 12;
    for seed in seeds(10) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let links = topology::random(NODES, 4, &mut rng);
        let mut world = World::new(Settings { jitter: 0.0, ..Settings::new(seed, NODES, links) });
        let cam = stream("cam");
        world.publish(0, &cam);
        world.run_for(2 * SECOND);
        (1..NODES).for_each(|node| world.subscribe(node, &cam));
        world.run_for(60 * SECOND);
        let tree = |world: &World| (0..NODES).map(|node| world.parent(node, &cam)).collect::<Vec<_>>();
        let counts = |world: &mut World| {
            let counters = (0..NODES).filter_map(|node| world.brain(node).map(|brain| brain.counters()));
            counters.map(|counters| (counters.switches, counters.records_taken)).collect::<Vec<_>>()
        };
        let before = (tree(&world), counts(&mut world), world.delivered());
        for pause in [3 * SECOND, SECOND / 2, 8 * SECOND] {
            world.pause(0, &cam, pause);
            world.run_for(pause + 5 * SECOND);
            assert_eq!(tree(&world), before.0, "seed {seed}: the tree after a pause of {pause:?}");
            assert_eq!(counts(&mut world), before.1, "seed {seed}: switches and records after a pause of {pause:?}");
        }
        assert!(world.delivered() - before.2 > 26 * 50 * (NODES as u64 - 1), "seed {seed}");
        assert_clean(&world, seed);
    }
}
