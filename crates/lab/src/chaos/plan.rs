//! What is to fail, when, and for how long: of chance and the file alone, so that a seed stands for one plan wherever it is carried out,
//! and however busy the machine is.

use std::ops::Range;
use std::time::Duration;

use levada_sim::Action;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::file::{Lab, Link, Name};

/// Pause between two failures, and how long one lasts, in milliseconds. Tuned: several overlap, most nodes are whole.
const PAUSE_MS: Range<u64> = 1_000..5_000;
pub(super) const LASTS_MS: Range<u64> = 2_000..15_000;
/// Of all nodes and links, at most one in so many is broken at a time.
const BROKEN_SHARE: usize = 5;

/// Failures one after the other, without an end.
#[derive(Debug)]
pub(super) struct Plan {
    rng: SmallRng,
    /// Whom it can hit: whoever publishes nothing and is no leaf, and links that are there from the beginning.
    relays: Vec<Name>,
    links: Vec<Link>,
    broken_max: usize,
    now: Duration,
    broken: Vec<Failure>,
}

/// Something that breaks. Times are those of the plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) at: Duration,
    pub(super) until: Duration,
    pub(super) does: Action<Name>,
    pub(super) mend: Action<Name>,
}

impl Plan {
    pub(super) fn new(lab: &Lab, seed: u64) -> Self {
        let publishes = |node: &String| lab.streams.iter().any(|stream| stream.at.contains(node));
        let is_spared = |node: &String| publishes(node) || lab.leaves.contains(node) || lab.late.contains(node);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            relays: lab.nodes.iter().filter(|node| !is_spared(node)).map(|node| Name(node.clone())).collect(),
            links: lab.links.iter().filter(|link| !link.late).cloned().collect(),
            broken_max: ((lab.nodes.len() + lab.links.len()) / BROKEN_SHARE).max(1),
            now: Duration::ZERO,
            broken: Vec::new(),
        }
    }

    fn within(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    /// What fails now, if there is anything whole of the kind that chance wants.
    fn fail(&mut self) -> Option<Failure> {
        let hit = |mend: &dyn Fn(&Action<Name>) -> bool| self.broken.iter().any(|failure| mend(&failure.mend));
        let nodes: Vec<&Name> = self.relays.iter().filter(|node| !hit(&|mend| is_of_node(mend, node))).collect();
        let links: Vec<&Link> = self.links.iter().filter(|link| !hit(&|mend| is_of_link(mend, link))).collect();
        let node = nodes.choose(&mut self.rng).map(|node| (*node).clone());
        let link = links.choose(&mut self.rng).map(|link| (*link).clone());
        let ends = link.map(|link| (Name(link.a.clone()), Name(link.b.clone()), link));
        let (does, mend) = match (self.rng.random_range(0..6), node, ends) {
            (0, Some(node), _) => (Action::Crash(node.clone()), Action::Start(node)),
            (1, Some(node), _) => (Action::Drain(node.clone()), Action::Start(node)),
            (2, Some(node), _) => (Action::Stall(node.clone()), Action::Resume(node)),
            (3, _, Some((a, b, _))) => (Action::Cut(a.clone(), b.clone()), Action::Heal(a, b)),
            (4, _, Some((a, b, _))) => (Action::CutOneWay(a.clone(), b.clone()), Action::Heal(a, b)),
            (_, _, Some((a, b, link))) => {
                let (delay_ms, loss) = (self.rng.random_range(20..120), self.rng.random_range(1..6));
                let bad = format!("delay={delay_ms}ms loss={loss}%");
                let usual = &link.impairment;
                let usual = format!("delay={}us loss={}", usual.delay.as_micros(), usual.loss);
                (Action::Link(a.clone(), b.clone(), bad), Action::Link(a, b, usual))
            }
            _ => return None,
        };
        let (at, until) = (self.now, self.now + self.within(LASTS_MS));
        Some(Failure { at, until, does, mend })
    }
}

impl Iterator for Plan {
    type Item = Failure;

    fn next(&mut self) -> Option<Failure> {
        if self.relays.is_empty() && self.links.is_empty() {
            return None;
        }
        loop {
            let now = self.now + self.within(PAUSE_MS);
            self.now = now;
            self.broken.retain(|failure| failure.until > now);
            if self.broken.len() < self.broken_max
                && let Some(failure) = self.fail()
            {
                self.broken.push(failure.clone());
                return Some(failure);
            }
        }
    }
}

fn is_of_node(mend: &Action<Name>, node: &Name) -> bool {
    matches!(mend, Action::Start(name) | Action::Resume(name) if name == node)
}

fn is_of_link(mend: &Action<Name>, link: &Link) -> bool {
    matches!(mend, Action::Heal(a, b) | Action::Link(a, b, _) if a.0 == link.a && b.0 == link.b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        let text = "links = [\"s-{a,b}\", \"{a,b}-{c,d} delay=5ms\", \"{c,d}-k\"]\nlate_links = \"a-b\"\nlate = \"z\"\n\
                    nodes = \"z\"\nleaves = \"k\"\n[[stream]]\nname = \"cam\"\nat = \"s\"";
        Plan::new(&Lab::parse(text).unwrap(), seed)
    }

    #[test]
    fn a_seed_is_one_plan_and_another_seed_another() {
        let first = |seed: u64| plan(seed).take(200).collect::<Vec<_>>();
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }

    #[test]
    fn a_fifth_is_broken_at_a_time_and_nothing_twice() {
        let failures: Vec<Failure> = plan(3).take(1_000).collect();
        let mut most = 0;
        for (n, failure) in failures.iter().enumerate() {
            assert!(failure.until > failure.at);
            let open: Vec<_> = failures[..n].iter().filter(|other| other.until > failure.at).collect();
            most = most.max(open.len() + 1);
            let target = |action: &Action<Name>| {
                let words = action.to_string();
                words.split_whitespace().nth(1).map(str::to_owned)
            };
            assert!(open.iter().all(|other| target(&other.mend) != target(&failure.mend)), "{failure:?}, {open:?}");
        }
        // 7 nodes and 9 links.
        assert_eq!(most, 3);
    }

    #[test]
    fn whoever_publishes_or_watches_is_spared_and_so_is_what_only_a_script_would_begin() {
        let does: Vec<String> = plan(5).take(1_000).map(|failure| failure.does.to_string()).collect();
        for kind in ["kill", "drain", "stall", "cut", "link"] {
            assert!(does.iter().any(|line| line.starts_with(kind)), "{kind}");
        }
        assert!(does.iter().any(|line| line.starts_with("cut") && line.contains('>')));
        for line in &does {
            let target = line.split_whitespace().nth(1).unwrap();
            assert!(!["s", "k", "z", "a-b", "a>b"].contains(&target), "{line}");
        }
    }
}
