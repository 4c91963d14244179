//! What a run found, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// The numbers of one run. `[expect]` bounds any of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
    /// Nodes of the mesh.
    pub nodes: u64,
    /// Invariants broken (the first hundred are counted).
    pub violations: u64,
    /// Loops that were closed.
    pub loops: u64,
    /// Objects that readers never got.
    pub lost: u64,
    /// Objects that readers got twice.
    pub doubled: u64,
    /// Objects that readers got.
    pub delivered: u64,
    /// Objects that travelled over links.
    pub objects_moved: u64,
    /// Objects that came to a node that held them.
    pub duplicates: u64,
    /// Failures that tore a tree.
    pub failures: u64,
    /// Subtrees that they cut off.
    pub subtrees: u64,
    /// Nodes in those subtrees.
    pub affected: u64,
    /// Switches in consequence of failures.
    pub switches: u64,
    /// The same, for each subtree: one is what it takes.
    pub switches_per_subtree: f64,
    /// That of the worst failure.
    pub switches_per_subtree_worst: f64,
    /// Switches that no failure asked for.
    pub optimising_switches: u64,
    /// Interruptions measured: one for each reader below a failure.
    pub interruptions: u64,
    /// Their median.
    pub interruption_p50_ms: f64,
    /// Their 99th percentile.
    pub interruption_p99_ms: f64,
    /// The longest.
    pub interruption_max_ms: f64,
    /// Interruptions left out because no way to any origin was left.
    pub excused: u64,
    /// Times that a player with half a second in front of it stood still.
    pub stalls: u64,
    /// For how long in all.
    pub stalled_ms: f64,
    /// The greatest lateness of any connected reader.
    pub late_max_ms: f64,
    /// Readers that were more than two seconds late at the end, or had nothing, though a way is there.
    pub behind: u64,
    /// Mean delay from the origin to a reader.
    pub path_ms: f64,
    /// Mean hops.
    pub path_hops: f64,
    /// Mean delay against that of shortest paths.
    pub path_stretch: f64,
    /// That of the worst reader whose shortest path takes 10 ms or more.
    pub path_stretch_worst: f64,
    /// Share of the long-haul cost of shortest-path trees that is saved.
    pub long_haul_saving: f64,
    /// The same against trees that are shortest with the overlay's allowance of 1 ms a hop.
    pub long_haul_saving_hops: f64,
    /// Bytes of records that a node sends a second, as a mean.
    pub record_bytes_per_s: f64,
    /// That of the busiest node.
    pub record_bytes_per_s_busiest: f64,
    /// The mean by kind of message: single records, those that a neighbour lacked when its link came up (`synced`), listings
    /// and digests that find these, hashes announced, and what forms the tree of the flood.
    pub record_bytes_per_s_by_kind: BTreeMap<&'static str, f64>,
    /// Control messages sent.
    pub control_messages: u64,
    /// Most children of one stream at one node.
    pub children_most: u64,
    /// Most outputs that a brain made of one event.
    pub outputs_most: u64,
    /// Most connections of a node.
    pub connections_most: u64,
    /// Most bytes that waited at a sender for a cut link.
    pub backlog_bytes_most: u64,
    /// Most events that were planned at a time: a flood of records shows here.
    pub planned_most: u64,
    /// Events.
    pub events: u64,
    /// Hash over all events.
    pub trace: String,
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Whether nothing was violated and all is as expected.
    pub passed: bool,
    /// What must never happen and did, the first of it.
    pub violations: Vec<String>,
    /// Expectations that were not met.
    pub unmet: Vec<String>,
    /// Readers that are behind at the end, the first of them.
    pub remarks: Vec<String>,
    /// The numbers.
    pub measures: Measures,
    /// Every interruption that was measured, in milliseconds.
    #[serde(skip)]
    pub interruptions_ms: Vec<f64>,
}

/// Interruptions of all runs together: a run with few failures measures few.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interruptions {
    /// How many.
    pub count: usize,
    /// Their median.
    pub p50_ms: f64,
    /// Their 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Interruptions {
    /// Those of some runs.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut all: Vec<f64> = outcomes.iter().flat_map(|outcome| outcome.interruptions_ms.iter().copied()).collect();
        all.sort_by(f64::total_cmp);
        let [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|share| crate::checkers::quantile(&all, share));
        Self { count: all.len(), p50_ms, p99_ms, max_ms }
    }
}

/// Violations and remarks shown.
pub(crate) const SHOWN_MAX: usize = 5;

impl Outcome {
    pub(crate) fn new(
        seed: u64,
        measures: Measures,
        violations: &[crate::Violation],
        expect: &BTreeMap<String, f64>,
    ) -> Self {
        let numbers = numbers(&measures);
        let unmet: Vec<String> = expect
            .iter()
            .filter_map(|(key, bound)| {
                let (name, relation) = relation(key);
                let number = *numbers.iter().find(|(of, _)| of == name).map(|(_, number)| number)?;
                let met = match relation {
                    Relation::Most => number <= *bound,
                    Relation::Least => number >= *bound,
                    Relation::Equal => number == *bound,
                };
                (!met).then(|| format!("{name} is {number}, expected {} {bound}", relation.words()))
            })
            .collect();
        let violations: Vec<String> = violations.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        Self {
            seed,
            passed: violations.is_empty() && unmet.is_empty(),
            violations,
            unmet,
            remarks: Vec::new(),
            measures,
            interruptions_ms: Vec::new(),
        }
    }
}

#[derive(Clone, Copy)]
enum Relation {
    Most,
    Least,
    Equal,
}

impl Relation {
    fn words(self) -> &'static str {
        match self {
            Self::Most => "at most",
            Self::Least => "at least",
            Self::Equal => "exactly",
        }
    }
}

/// Which number a key of `[expect]` bounds, and how.
fn relation(key: &str) -> (&str, Relation) {
    match (key.strip_suffix("_max"), key.strip_suffix("_min")) {
        (Some(name), _) => (name, Relation::Most),
        (_, Some(name)) => (name, Relation::Least),
        _ => (key, Relation::Equal),
    }
}

/// Refuses keys that bound nothing.
pub(crate) fn check_expectations(expect: &BTreeMap<String, f64>) -> Result<(), String> {
    let known = numbers(&Measures::default());
    let unknown = expect.keys().find(|key| known.iter().all(|(name, _)| name != relation(key).0));
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    unknown.map_or(Ok(()), |key| {
        Err(format!("nothing is measured that {key:?} could bound; NAME_max, NAME_min or NAME of {}", names.join(", ")))
    })
}

/// All numbers with their names, in the order of [`Measures`].
fn numbers(measures: &Measures) -> Vec<(String, f64)> {
    let value = serde_json::to_value(measures).unwrap_or_default();
    let fields = value.as_object().into_iter().flatten();
    let mut numbers: Vec<_> = fields.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
    let text = serde_json::to_string(measures).unwrap_or_default();
    numbers.sort_by_key(|(name, _)| text.find(&format!("\"{name}\":")));
    numbers
}

/// A table of all numbers: the median over all runs, and the range where there are several.
pub fn table(outcomes: &[Outcome]) -> String {
    let rows: Vec<Vec<(String, f64)>> = outcomes.iter().map(|outcome| numbers(&outcome.measures)).collect();
    let Some(first) = rows.first() else { return String::new() };
    let mut out = String::new();
    for (at, (name, _)) in first.iter().enumerate() {
        let mut values: Vec<f64> = rows.iter().map(|row| row[at].1).collect();
        values.sort_by(f64::total_cmp);
        let _ = write!(out, "{name:<28}{:>14}", short(crate::checkers::quantile(&values, 0.5)));
        if values.len() > 1 {
            let _ = write!(out, "   {} to {}", short(values[0]), short(values[values.len() - 1]));
        }
        out.push('\n');
    }
    if outcomes.len() > 1 {
        let Interruptions { count, p50_ms, p99_ms, max_ms } = Interruptions::of(outcomes);
        let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(short);
        let _ = writeln!(out, "all {count} interruptions of all runs: p50 {p50}, p99 {p99}, longest {max} ms");
    }
    out
}

fn short(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number}") } else { format!("{number:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_of_all_runs_are_taken_together() {
        let outcome = |interruptions_ms: &[f64]| Outcome {
            interruptions_ms: interruptions_ms.to_vec(),
            ..Outcome::new(1, Measures::default(), &[], &BTreeMap::new())
        };
        let outcomes = [outcome(&[180.0, 190.0]), outcome(&[50.0, 70.0, 60.0]), outcome(&[])];
        let all = Interruptions::of(&outcomes);
        assert_eq!(all, Interruptions { count: 5, p50_ms: 70.0, p99_ms: 190.0, max_ms: 190.0 });
        assert!(table(&outcomes).ends_with("all 5 interruptions of all runs: p50 70, p99 190, longest 190 ms\n"));
        assert_eq!(Interruptions::of(&[]).count, 0);
    }
}
