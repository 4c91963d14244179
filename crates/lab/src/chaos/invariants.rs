//! What must hold at any time (DESIGN 7), as far as nodes report it. Nodes are asked one after the other while they change, and
//! contradict each other for a moment: what does not hold is told once it has not held for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use levada_overlay::StreamName;

use crate::file::Lab;
use crate::state::{NodeState, Snapshot};

/// What is seen for so long and in so many looks in a row was so.
const CONFIRMED: Duration = Duration::from_secs(1);
/// A node that says that it changes parents may be fed by both until the verdict: two seconds for the new one to bring something, a second
/// if the old one says that it repairs its own supply, and three patiences of 200 ms.
const VERDICT: Duration = Duration::from_secs(3);
const LOOKS: u32 = 4;
/// Two feeds are open while a parent is suspected, and once more when the next one fails: so long at most. Tuned: failures come
/// every few seconds.
const COPIES: Duration = Duration::from_secs(10);

/// The most memory that a node may ever have had, bytes. Tuned: ends of links that carry half of a stream have had 42 MB.
const MEMORY_MAX_BYTES: u64 = 250_000_000;

/// Remembers what did not hold in the looks before.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    suspected: BTreeMap<String, Suspicion>,
    /// Objects that came to each node so far, and how many of them it held already.
    objects: BTreeMap<String, (u64, u64)>,
}

#[derive(Debug)]
struct Suspicion {
    since: Instant,
    looks: u32,
    is_told: bool,
}

impl Invariants {
    /// What has been wrong for long enough by now, each once for as long as it lasts.
    pub(super) fn look(&mut self, lab: &Lab, snapshot: &Snapshot) -> Vec<String> {
        let lasting = |found: BTreeSet<String>, lasts: Duration| found.into_iter().map(move |what| (what, lasts));
        let mut seen: BTreeMap<String, Duration> = lasting(rings(lab, snapshot), CONFIRMED).collect();
        seen.extend(lasting(tables(lab, snapshot), CONFIRMED));
        seen.extend(lasting(memory(snapshot), CONFIRMED));
        let (changing, fed_twice) = fed_twice(lab, snapshot);
        seen.extend(lasting(fed_twice, CONFIRMED));
        seen.extend(lasting(changing, VERDICT));
        seen.extend(lasting(self.copies(lab, snapshot), COPIES));
        self.suspected.retain(|what, _| seen.contains_key(what));
        let mut told = Vec::new();
        for (what, lasts) in seen {
            let fresh = || Suspicion { since: snapshot.at, looks: 0, is_told: false };
            let suspicion = self.suspected.entry(what.clone()).or_insert_with(fresh);
            suspicion.looks += 1;
            let lasted = snapshot.at.saturating_duration_since(suspicion.since);
            if !suspicion.is_told && suspicion.looks >= LOOKS && lasted >= lasts.mul_f64(0.75) {
                suspicion.is_told = true;
                told.push(format!("{what} (in {} looks over {:.1} s)", suspicion.looks, lasted.as_secs_f64()));
            }
        }
        told
    }

    /// Nodes to which objects came that they held already, about as often as one stream more would bring them.
    fn copies(&mut self, lab: &Lab, snapshot: &Snapshot) -> BTreeSet<String> {
        let count = |state: &NodeState| (state.status.objects_in, state.status.objects_duplicated);
        let now: BTreeMap<String, (u64, u64)> =
            snapshot.nodes.iter().map(|(name, state)| (name.clone(), count(state))).collect();
        let before = std::mem::replace(&mut self.objects, now);
        let streams = lab.streams.len() as u64;
        let is_doubled = |(name, (came, again)): (&String, &(u64, u64))| {
            let (came_before, again_before) = before.get(name)?;
            let (came, again) = (came.checked_sub(*came_before)?, again.checked_sub(*again_before)?);
            // One stream of several that comes twice, and half of that at least: repair is some per cent.
            (again > 0 && 2 * (streams + 1) * again >= came).then(|| format!("{name} gets objects twice"))
        };
        self.objects.iter().filter_map(is_doubled).collect()
    }
}

/// Streams that go round.
fn rings(lab: &Lab, snapshot: &Snapshot) -> BTreeSet<String> {
    let ring = |stream: &StreamName| Some(format!("{stream} goes round: {}", snapshot.ring(stream)?.join(" > ")));
    lab.streams.iter().filter_map(|stream| ring(&stream.name)).collect()
}

/// Nodes and leaves that are fed a stream by two: those that change parents, or may, and others. A leaf does not say whether it does.
fn fed_twice(lab: &Lab, snapshot: &Snapshot) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut changing, mut others) = (BTreeSet::new(), BTreeSet::new());
    let leaves = leaves(lab, snapshot);
    for stream in lab.streams.iter().map(|stream| &stream.name) {
        for node in snapshot.nodes.keys().map(String::as_str).chain(leaves.iter().copied()) {
            let feeders = snapshot.feeders(node, stream);
            if feeders.len() > 1 {
                let what = format!("{node} is fed {stream} by {} at once", feeders.join(" and "));
                match snapshot.stream(node, stream) {
                    Some(stream) if stream.changing => {
                        changing.insert(format!("{what}, and changes parents all the while"))
                    }
                    None if leaves.contains(node) => changing.insert(what),
                    _ => others.insert(what),
                };
            }
        }
    }
    (changing, others)
}

/// The names in the mesh of leaves that somebody feeds. The second process of k1 is k1-2; no node of a lab has a hyphen.
fn leaves<'a>(lab: &Lab, snapshot: &'a Snapshot) -> BTreeSet<&'a str> {
    let streams = snapshot.nodes.values().flat_map(|state| &state.map.streams);
    let children = streams.flat_map(|stream| &stream.children).map(String::as_str);
    children.filter(|name| lab.leaves.contains(name.split('-').next().unwrap_or(name))).collect()
}

/// Tables that hold more than there is in the lab.
fn tables(lab: &Lab, snapshot: &Snapshot) -> BTreeSet<String> {
    // Each stream that a leaf watches may have a name of its own in the mesh.
    let names = lab.nodes.len() + lab.viewers.iter().filter(|(node, _)| lab.leaves.contains(node)).count();
    let mut seen = BTreeSet::new();
    for (node, state) in &snapshot.nodes {
        let map = &state.map;
        for (what, held, there_are) in [
            ("nodes", map.nodes.len(), names),
            ("neighbours", map.neighbours.len(), names),
            ("links", map.links.len(), names * names),
            ("streams", map.streams.len(), lab.streams.len()),
        ] {
            if held > there_are {
                seen.insert(format!("{node} knows more {what} than the {there_are} that there can be"));
            }
        }
    }
    seen
}

/// Nodes that have taken more memory than any should. Only some systems tell.
fn memory(snapshot: &Snapshot) -> BTreeSet<String> {
    let peak = |state: &NodeState| state.status.memory_peak_bytes.unwrap_or(0);
    let large = snapshot.nodes.iter().filter(|(_, state)| peak(state) > MEMORY_MAX_BYTES);
    large.map(|(node, _)| format!("{node} has had more than {} MB of memory", MEMORY_MAX_BYTES / 1_000_000)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::snapshot;

    fn lab() -> Lab {
        let text = "links = [\"s-a\", \"a-b\", \"b-c\", \"c-a\", \"k-a\"]\nleaves = \"k\"\n[[stream]]\nname = \"cam\"\nat = \"s\"";
        Lab::parse(text).unwrap()
    }

    /// Looks four times a second at what becomes of a world.
    fn told(looks: u64, mut change: impl FnMut(u64, &mut Snapshot)) -> Vec<String> {
        let (start, mut invariants, mut told) = (Instant::now(), Invariants::default(), Vec::new());
        for n in 0..looks {
            let mut world = snapshot(&[("s", None), ("a", Some("s")), ("b", Some("a")), ("c", Some("b"))]);
            world.at = start + Duration::from_millis(250 * n);
            change(n, &mut world);
            told.extend(invariants.look(&lab(), &world));
        }
        told
    }

    fn node<'a>(world: &'a mut Snapshot, name: &str) -> &'a mut NodeState {
        world.nodes.get_mut(name).unwrap()
    }

    #[test]
    fn a_world_that_is_whole_is_told_nothing_of() {
        assert!(told(100, |n, world| node(world, "b").status.objects_in = 100 * n).is_empty());
    }

    #[test]
    fn a_ring_that_lasts_is_told_once_and_one_of_a_moment_is_not() {
        let ring = |world: &mut Snapshot| node(world, "a").map.streams[0].parent = Some("c".to_owned());
        let lasting = told(20, |_, world| ring(world));
        assert!(lasting.len() == 1 && lasting[0].contains("cam goes round: a > c > b"), "{lasting:?}");
        assert!(
            told(20, |n, world| if n % 5 < 3 {
                ring(world)
            })
            .is_empty()
        );
    }

    #[test]
    fn a_node_that_is_fed_by_two_is_told_of_and_has_the_time_for_a_verdict_if_it_changes_parents() {
        let fed_twice = |looks: u64, changing: bool| {
            told(looks, |_, world| {
                node(world, "s").map.streams[0].children.push("b".to_owned());
                node(world, "b").map.streams[0].changing = changing;
            })
        };
        assert!(fed_twice(3, false).is_empty(), "a moment");
        let lasting = fed_twice(5, false);
        assert!(lasting.len() == 1 && lasting[0].contains("b is fed cam by a and s at once ("), "{lasting:?}");
        assert!(fed_twice(8, true).is_empty(), "two seconds");
        let lasting = fed_twice(20, true);
        assert!(lasting.len() == 1 && lasting[0].contains("changes parents all the while"), "{lasting:?}");
    }

    #[test]
    fn a_leaf_that_is_fed_by_two_has_the_time_for_a_verdict_as_it_says_nothing_and_who_is_dead_is_nothing() {
        let fed_twice = |looks: u64, child: &str| {
            told(looks, |_, world| {
                for parent in ["a", "b"] {
                    node(world, parent).map.streams[0].children.push(child.to_owned());
                }
            })
        };
        assert!(fed_twice(8, "k").is_empty(), "two seconds");
        for name in ["k", "k-2"] {
            let lasting = fed_twice(20, name);
            assert!(lasting.len() == 1 && lasting[0].starts_with(&format!("{name} is fed cam by a and b at once (")));
        }
        assert!(fed_twice(20, "dead").is_empty());
    }

    #[test]
    fn two_copies_of_a_stream_are_told_and_repair_is_not() {
        let come = |world: &mut Snapshot, came: u64, again: u64| {
            let status = &mut node(world, "b").status;
            (status.objects_in, status.objects_duplicated) = (came, again);
        };
        let doubled = told(60, |n, world| come(world, 200 * n, 100 * n));
        assert!(doubled.len() == 1 && doubled[0].starts_with("b gets objects twice"), "{doubled:?}");
        assert!(told(60, |n, world| come(world, 100 * n, 5 * n)).is_empty());
        assert!(told(20, |n, world| come(world, 200 * n, 100 * n)).is_empty(), "a suspicion of five seconds");
    }

    #[test]
    fn a_node_that_has_had_too_much_memory_is_told_once() {
        let of = |bytes: u64| told(20, |n, world| node(world, "a").status.memory_peak_bytes = Some(bytes + n));
        let large = of(300_000_000);
        assert!(large.len() == 1 && large[0].starts_with("a has had more than 250 MB of memory"), "{large:?}");
        assert!(of(60_000_000).is_empty());
    }

    #[test]
    fn tables_with_more_than_there_is_are_told() {
        let grown = told(20, |_, world| {
            let streams = &mut node(world, "a").map.streams;
            streams.push(streams[0].clone());
        });
        assert!(grown.iter().any(|what| what.contains("a knows more streams than the 1")), "{grown:?}");
    }
}
