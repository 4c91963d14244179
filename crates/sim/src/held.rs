//! A set of positions. Objects come one after the other, so a few runs hold what would be thousands of entries.

use levada_overlay::Position;

use crate::water::GROUP_OBJECTS;

/// Objects of one timeline without a hole, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    timeline: u64,
    first: u64,
    /// One after the last.
    end: u64,
}

/// Positions, as runs in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    runs: Vec<Run>,
    len: usize,
}

/// Number of an object in its timeline.
pub(crate) fn number(position: Position) -> u64 {
    position.group * u64::from(GROUP_OBJECTS) + u64::from(position.index)
}

/// The object of that number.
pub(crate) fn position(timeline: u64, number: u64) -> Position {
    let objects = u64::from(GROUP_OBJECTS);
    Position { timeline, group: number / objects, index: (number % objects) as u32 }
}

impl Held {
    pub(crate) fn first(&self) -> Option<Position> {
        self.runs.first().map(|run| position(run.timeline, run.first))
    }

    pub(crate) fn last(&self) -> Option<Position> {
        self.runs.last().map(|run| position(run.timeline, run.end - 1))
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
        let run = self.runs.iter().rev().find(|run| (run.timeline, run.first) <= (wanted.timeline, number))?;
        (run.timeline == wanted.timeline && number < run.end).then_some(run)
    }

    /// Adds a position; `false` if it was there.
    pub(crate) fn insert(&mut self, new: Position) -> bool {
        let (timeline, number) = (new.timeline, number(new));
        let after = |run: &Run| (run.timeline, run.first) <= (timeline, number);
        let at = self.runs.len() - self.runs.iter().rev().take_while(|run| !after(run)).count();
        let joins_next = self.runs.get(at).is_some_and(|run| run.timeline == timeline && run.first == number + 1);
        if let Some(before) = at.checked_sub(1).and_then(|before| self.runs.get_mut(before))
            && before.timeline == timeline
            && number <= before.end
        {
            if number < before.end {
                return false;
            }
            before.end += 1;
            if joins_next {
                let next = self.runs.remove(at);
                self.runs[at - 1].end = next.end;
            }
        } else if joins_next {
            self.runs[at].first = number;
        } else {
            self.runs.insert(at, Run { timeline, first: number, end: number + 1 });
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
            let some = position(rng.random_range(1..4), rng.random_range(0..120));
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
