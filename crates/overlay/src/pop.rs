//! Which PoP a viewer watches from, and when it moves to another one (DESIGN 3, "Viewers are leaves").
//!
//! A PoP costs what an object takes from the origin to the PoP, by the mesh's own measurement, and from there to the viewer, by
//! the viewer's. web/src/media/pops.ts follows the same rule with the same figures, but for the first choice: a page measures before it makes it.

use std::time::Duration;

use crate::graph::Micros;

/// PoPs within this factor of the best are equal, and the least loaded of them is preferred ...
pub const EQUAL_RATIO: f64 = 1.3;
/// ... if it is less loaded by so many percent of what it can carry. Tuned: what is told of load is that coarse.
pub const LOAD_STEP_PERCENT: u8 = 10;
/// A better PoP must be better by this share ...
pub const BETTER_RATIO: f64 = 0.20;
/// ... and by this much ...
pub const BETTER_MIN_US: Micros = 15_000;
/// ... for this long; also the least time between two such moves.
pub const BETTER_LASTS: Duration = Duration::from_secs(30);
/// The first choice of a leaf is made in haste, before all PoPs and the ways to them are known: within this time ...
pub const HASTY_FOR: Duration = Duration::from_secs(10);
/// ... it is left for one that has been better for this long. Tuned: links are measured, and told of, by then.
pub const HASTY_LASTS: Duration = Duration::from_secs(2);
/// From this load on a PoP costs more ...
const LOAD_KNEE: f64 = 0.6;
/// ... and one that is full this much, in microseconds. Tuned: more than crossing an ocean.
const FULL_COST_US: f64 = 300_000.0;

/// What a PoP costs a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Microseconds from the origin to the viewer.
    pub way: Micros,
    /// Percent of what the PoP can carry.
    pub load_percent: u8,
}

impl Cost {
    /// Microseconds, with what the load adds.
    pub fn score(self) -> Micros {
        let beyond = (f64::from(self.load_percent.min(100)) / 100.0 - LOAD_KNEE).max(0.0) / (1.0 - LOAD_KNEE);
        self.way + (beyond * beyond * FULL_COST_US) as Micros
    }

    /// Whether this is so much better than what a viewer has that it is worth a move, once it has lasted.
    pub fn is_better_than(self, current: Self) -> bool {
        let (new, old) = (self.score(), current.score());
        new + BETTER_MIN_US.max((old as f64 * BETTER_RATIO) as Micros) <= old
    }
}

/// The order of preference: those about as good as the best by their load, then the others by their score.
pub fn order(best: Micros, cost: Cost) -> impl Ord {
    let score = cost.score();
    let equal = score as f64 <= best as f64 * EQUAL_RATIO;
    (!equal, if equal { cost.load_percent / LOAD_STEP_PERCENT } else { 0 }, score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(way_ms: u64, load_percent: u8) -> Cost {
        Cost { way: way_ms * 1_000, load_percent }
    }

    fn preferred(costs: &[Cost]) -> Vec<usize> {
        let best = costs.iter().map(|cost| cost.score()).min().unwrap_or_default();
        let mut order_of: Vec<usize> = (0..costs.len()).collect();
        order_of.sort_by_key(|at| order(best, costs[*at]));
        order_of
    }

    #[test]
    fn the_nearest_is_preferred_but_of_about_equal_ones_the_least_loaded() {
        assert_eq!(preferred(&[cost(50, 0), cost(20, 0), cost(30, 0)]), [1, 2, 0]);
        assert_eq!(preferred(&[cost(20, 40), cost(25, 10), cost(26, 0)]), [2, 1, 0]);
        assert_eq!(preferred(&[cost(20, 9), cost(25, 3)]), [0, 1], "a few viewers are no load");
    }

    #[test]
    fn a_full_one_is_worth_a_detour() {
        assert_eq!(preferred(&[cost(20, 100), cost(200, 0)]), [1, 0]);
        assert_eq!(cost(20, 60).score(), 20_000);
    }

    #[test]
    fn little_gain_is_no_reason_to_move() {
        assert!(!cost(90, 0).is_better_than(cost(100, 0)));
        assert!(cost(80, 0).is_better_than(cost(100, 0)));
        assert!(!cost(10, 0).is_better_than(cost(20, 0)), "10 ms are not noticed");
        assert!(cost(20, 0).is_better_than(cost(20, 90)));
    }
}
