//! What a run found, in numbers.

use serde::Serialize;

/// The numbers of one run. `[expect]` bounds any of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
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
    /// Bytes of records that a node sends a second, as a mean.
    pub record_bytes_per_s: f64,
    /// That of the busiest node.
    pub record_bytes_per_s_busiest: f64,
    /// Control messages sent.
    pub control_messages: u64,
    /// Most children of one stream at one node.
    pub children_most: u64,
    /// Most objects of one stream held at one node.
    pub held_most: u64,
    /// Most connections of a node.
    pub connections_most: u64,
    /// Most bytes that waited at a sender for a cut link.
    pub backlog_bytes_most: u64,
    /// Events.
    pub events: u64,
    /// Hash over all events.
    pub trace: String,
}
