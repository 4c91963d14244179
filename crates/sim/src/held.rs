//! A set of positions. Objects come one after the other, so a few runs hold what would be thousands of entries.

use levada_overlay::{Position, Time};

use crate::water::{GROUP_MS, GROUP_OBJECTS, OBJECT_INTERVAL};

/// Objects of one timeline without a hole, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    timeline: u64,
    first: u64,
    /// One after the last.
    end: u64,
}

impl Run {
    fn first(&self) -> Position {
        position(self.timeline, self.first)
    }

    fn holds(&self, timeline: u64, number: u64) -> bool {
        self.timeline == timeline && (self.first..self.end).contains(&number)
    }
}

/// Positions, as runs in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    runs: Vec<Run>,
    len: usize,
}

/// Number of an object in its timeline, which is named after the microsecond of its beginning.
pub(crate) fn number(position: Position) -> u64 {
    let groups = position.group.saturating_sub(position.timeline / 1_000) / GROUP_MS;
    groups * u64::from(GROUP_OBJECTS) + u64::from(position.index)
}

/// When an object was produced: a timeline is named after its beginning.
pub(crate) fn made_at(of: Position) -> Time {
    Time::from_micros(of.timeline) + OBJECT_INTERVAL * number(of) as u32
}

/// The object of that number.
pub(crate) fn position(timeline: u64, number: u64) -> Position {
    let objects = u64::from(GROUP_OBJECTS);
    let group = timeline / 1_000 + number / objects * GROUP_MS;
    Position { group, timeline, index: (number % objects) as u32 }
}

impl Held {
    pub(crate) fn first(&self) -> Option<Position> {
        self.runs.first().map(Run::first)
    }

    pub(crate) fn last(&self) -> Option<Position> {
        // Runs of different timelines hardly ever overlap, but they may.
        self.runs.iter().rev().take(3).map(|run| position(run.timeline, run.end - 1)).max()
    }

    /// Whether later objects of the same timeline are held.
    pub(crate) fn goes_on_after(&self, from: Position) -> bool {
        let number = number(from);
        self.runs.iter().rev().any(|run| run.timeline == from.timeline && run.end > number)
    }

    /// The first beginning of a group with at least this stamp.
    pub(crate) fn first_group_from(&self, group: u64) -> Option<Position> {
        let objects = u64::from(GROUP_OBJECTS);
        let start = |run: &Run| {
            let within = run.first.div_ceil(objects);
            let since = group.saturating_sub(run.timeline / 1_000).div_ceil(GROUP_MS);
            let number = within.max(since) * objects;
            (number < run.end).then(|| position(run.timeline, number))
        };
        self.runs.iter().filter_map(start).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, wanted: Position) -> bool {
        self.run_of(wanted).is_some()
    }

    /// How many objects follow each other from `from` on, that one included.
    pub(crate) fn whole_from(&self, from: Position) -> u64 {
        self.run_of(from).map_or(0, |run| run.end - number(from))
    }

    fn run_of(&self, wanted: Position) -> Option<&Run> {
        let number = number(wanted);
        // The newest run is nearly always the one.
        self.runs.iter().rev().find(|run| run.holds(wanted.timeline, number))
    }

    /// Adds a position; `false` if it was there.
    pub(crate) fn insert(&mut self, new: Position) -> bool {
        let (timeline, number) = (new.timeline, number(new));
        if self.run_of(new).is_some() {
            return false;
        }
        let same = |run: &Run| run.timeline == timeline;
        let before = self.runs.iter().rposition(|run| same(run) && run.end == number);
        let after = self.runs.iter().rposition(|run| same(run) && run.first == number + 1);
        match (before, after) {
            (Some(before), Some(after)) => {
                self.runs[before].end = self.runs[after].end;
                self.runs.remove(after);
            }
            (Some(before), None) => self.runs[before].end += 1,
            (None, Some(after)) => self.runs[after].first = number,
            (None, None) => {
                let at = self.runs.partition_point(|run| run.first() < new);
                self.runs.insert(at, Run { timeline, first: number, end: number + 1 });
            }
        }
        self.len += 1;
        true
    }

    pub(crate) fn pop_first(&mut self) {
        let Some(run) = self.runs.first_mut() else { return };
        run.first += 1;
        self.len -= 1;
        if run.first == run.end {
            self.runs.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn runs_hold_what_a_set_holds() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut held, mut plain) = (Held::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let some = position(rng.random_range(1..4) * 10_000_000, rng.random_range(0..120));
            assert_eq!(held.contains(some), plain.contains(&some));
            if rng.random_range(0..3) > 0 {
                assert_eq!(held.insert(some), plain.insert(some));
            } else {
                held.pop_first();
                plain.pop_first();
            }
            assert_eq!(
                (held.first(), held.last(), held.len()),
                (plain.first().copied(), plain.last().copied(), plain.len())
            );
            let whole = (0..).take_while(|n| plain.contains(&position(some.timeline, number(some) + n))).count();
            assert_eq!(held.whole_from(some), whole as u64);
        }
    }
}
