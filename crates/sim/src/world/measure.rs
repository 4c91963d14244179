//! The world's own truth: who could reach whom, what paths cost, and whether anything is left.

use super::*;
use crate::checkers::{Clean, Truth, differing};

/// Looks at the records of all nodes after quiet, until they agree, and the pause between two.
const AGREEMENT_TRIES: usize = 50;
const AGREEMENT_PAUSE: Duration = Duration::from_millis(100);

impl World {
    /// Excuses readers that no origin can reach, and takes the excuse back.
    pub(super) fn connectivity_changed(&mut self) {
        let truth = self.truth();
        for stream in 0..self.streams.len() as StreamIndex {
            let reached = reachable(&truth, &self.origins(stream));
            for node in 0..self.nodes.len() as NodeIndex {
                let connected = reached[node as usize] && self.nodes[node as usize].works();
                self.progress.connected(node, stream, connected, self.now);
                self.delivery.connected(node, stream, connected, self.now);
            }
        }
    }

    /// Links that work in both directions between nodes that work.
    fn truth(&self) -> Truth {
        let usable = |node: &SimNode| {
            let passes = |(peer, wire): &&(NodeIndex, u32)| {
                let whole = self.wires[*wire as usize].cut_since.is_none();
                whole && self.wires[*wire as usize ^ 1].cut_since.is_none() && self.nodes[*peer as usize].works()
            };
            let delay = |(peer, wire): &(NodeIndex, u32)| {
                (*peer, self.wires[*wire as usize].impairment().mean_delay().as_micros() as u64)
            };
            if node.works() { node.links.iter().filter(passes).map(delay).collect() } else { Vec::new() }
        };
        self.nodes.iter().map(usable).collect()
    }

    fn origins(&self, stream: StreamIndex) -> Vec<NodeIndex> {
        let publishes = |node: &SimNode| {
            node.works() && node.streams.get(usize::from(stream)).is_some_and(|local| local.published.is_some())
        };
        self.node_indices().filter(|node| publishes(&self.nodes[*node as usize])).collect()
    }

    fn readers(&self, stream: StreamIndex) -> Vec<NodeIndex> {
        let reads =
            |node: &SimNode| node.streams.get(usize::from(stream)).is_some_and(|local| local.subscribed.is_some());
        self.node_indices().filter(|node| reads(&self.nodes[*node as usize])).collect()
    }

    fn node_indices(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        0..self.nodes.len() as NodeIndex
    }

    /// Looks at all trees and what they cost.
    pub fn sample_costs(&mut self) {
        let truth = self.truth();
        let mut costs = std::mem::take(&mut self.costs);
        for stream in 0..self.streams.len() as StreamIndex {
            let parent = |node: NodeIndex| {
                let link = self.water(node, stream)?.parent()?;
                self.peer(link.0 as u32, node)
            };
            costs.sample(&truth, &self.origins(stream), &self.readers(stream), parent);
        }
        self.costs = costs;
    }

    /// The warm-up is over: all measures count from here.
    pub fn begin_measuring(&mut self) {
        self.costs = Costs::default();
        self.traffic.restart();
        self.switches.restart();
        self.progress.restart();
    }

    /// After quiet: nodes that are connected hold the same records. A change that is still on its way gets its time.
    pub fn check_agreement(&mut self) {
        let mut differing = self.differing();
        for _ in 0..AGREEMENT_TRIES {
            if differing.is_none() {
                return;
            }
            self.run_for(AGREEMENT_PAUSE);
            differing = self.differing();
        }
        if let Some((a, b)) = differing {
            self.violate("connected nodes agree after quiet", format!("the records of nodes {a} and {b} differ"));
        }
    }

    fn differing(&self) -> Option<(NodeIndex, NodeIndex)> {
        let truth = self.truth();
        let mut component = vec![u32::MAX; self.nodes.len()];
        for node in self.node_indices().filter(|node| self.nodes[*node as usize].works()) {
            if component[node as usize] == u32::MAX {
                let reached = reachable(&truth, &[node]);
                component.iter_mut().zip(reached).filter(|(_, reached)| *reached).for_each(|(of, _)| *of = node);
            }
        }
        let digest = |node: NodeIndex| {
            let entry = &self.nodes[node as usize];
            let brain = entry.brain.as_ref().filter(|_| entry.works())?;
            Some((node, component[node as usize], brain.records_digest()))
        };
        differing(self.node_indices().filter_map(digest))
    }

    /// Everybody leaves; then nothing may be left. Takes `grace` for the leaves to get around, and as long again to watch.
    pub fn check_clean(&mut self, grace: Duration) {
        for stream in self.streams.clone() {
            (0..self.nodes.len()).for_each(|node| self.unsubscribe(node, &stream));
        }
        self.run_for(grace);
        let moved = self.moved();
        self.run_for(grace);
        let held =
            self.node_indices().filter_map(|node| Some((node, self.nodes[node as usize].brain.as_ref()?.sizes())));
        if let Some(seen) = moved.end(self.moved(), held) {
            self.violate("nothing is left after the last leave", seen);
        }
    }

    fn moved(&self) -> Clean {
        Clean { objects: self.objects_moved, fronts: self.fronts_moved }
    }

    /// Takes over what the checks at the end found.
    pub(crate) fn add_invariants(&self, measures: &mut crate::report::Measures) {
        measures.violations = self.violations.len() as u64;
        measures.loops = self.loops;
        measures.lost = self.delivery.lost;
        measures.doubled = self.delivery.doubled;
        measures.events = self.events;
        measures.trace = format!("{:016x}", self.trace);
    }

    /// What the last measures found to be wrong, in words.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Every interruption that was measured, in milliseconds.
    pub fn interruptions_ms(&self) -> &[f64] {
        &self.progress.interruptions
    }

    /// Streams that a node reads.
    pub fn subscriptions(&self, node: usize) -> Vec<StreamName> {
        let reads = self.nodes[node].streams.iter().zip(&self.streams).filter(|(local, _)| local.subscribed.is_some());
        reads.map(|(_, stream)| stream.clone()).collect()
    }

    /// Whether a node runs and does not stand still.
    pub fn works(&self, node: usize) -> bool {
        self.nodes[node].works()
    }

    /// The measures so far, over the time since they began.
    pub fn measures(&mut self, over: Duration) -> crate::report::Measures {
        let mut behind = 0;
        let mut remarks = Vec::new();
        for stream in 0..self.streams.len() as StreamIndex {
            for node in self.readers(stream) {
                let since = self.nodes[node as usize].streams[usize::from(stream)].subscribed;
                let empty = self.water(node, stream).is_none_or(|water| water.head().is_none());
                let starves = empty && self.progress.is_overdue(node, stream, since.unwrap_or(self.now), self.now);
                if starves {
                    behind += 1;
                    remarks.push(format!("n{node} reads {} and has nothing of it", self.streams[usize::from(stream)]));
                }
            }
        }
        for (node, stream, late_us) in self.progress.finish(self.now) {
            behind += 1;
            let stream_name = &self.streams[usize::from(stream)];
            let parent = self.parent(node as usize, stream_name).map(|parent| format!("n{parent}"));
            remarks.push(format!(
                "n{node} reads {stream_name} and is behind by {:.1} s; its parent is {}",
                late_us / 1e6,
                parent.as_deref().unwrap_or("nobody")
            ));
        }
        self.remarks = remarks;
        let (interruptions, p50, p99, max) = self.progress.interruptions();
        let after = self.switches.consequences();
        let (record_mean, record_max) = self.traffic.per_second(self.nodes.len(), over);
        crate::report::Measures {
            nodes: self.nodes.len() as u64,
            violations: self.violations.len() as u64,
            loops: self.loops,
            lost: self.delivery.lost,
            doubled: self.delivery.doubled,
            delivered: self.delivery.delivered,
            objects_moved: self.objects_moved,
            duplicates: self.duplicates,
            failures: after.failures,
            subtrees: after.subtrees,
            affected: after.affected,
            switches: after.switches,
            switches_per_subtree: after.switches as f64 / after.subtrees.max(1) as f64,
            switches_per_subtree_worst: after.worst,
            optimising_switches: self.switches.optimising,
            interruptions,
            interruption_p50_ms: p50,
            interruption_p99_ms: p99,
            interruption_max_ms: max,
            excused: self.progress.excused,
            stalls: self.progress.stalls,
            stalled_ms: self.progress.stalled_ms,
            late_max_ms: self.progress.late_ms_max,
            behind,
            path_ms: self.costs.path_ms(),
            path_hops: self.costs.hops(),
            path_stretch: self.costs.path_stretch(),
            path_stretch_worst: self.costs.stretch_max(),
            long_haul_saving: self.costs.long_haul_saving(),
            long_haul_saving_hops: self.costs.long_haul_saving_hops(),
            record_bytes_per_s: record_mean,
            record_bytes_per_s_busiest: record_max,
            record_bytes_per_s_by_kind: self.traffic.kinds_per_second(self.nodes.len(), over),
            control_messages: self.traffic.messages,
            children_most: self.bounds.children_max,
            outputs_most: self.bounds.outputs_max,
            connections_most: self.bounds.connections_max,
            backlog_bytes_most: self.bounds.backlog_max,
            planned_most: self.queue.len_most(),
            events: self.events,
            trace: format!("{:016x}", self.trace),
        }
    }
}

/// Which nodes any of `origins` reaches.
fn reachable(truth: &Truth, origins: &[NodeIndex]) -> Vec<bool> {
    let mut reached = vec![false; truth.len()];
    let mut open = origins.to_vec();
    origins.iter().for_each(|origin| reached[*origin as usize] = true);
    while let Some(node) = open.pop() {
        for &(to, _) in &truth[node as usize] {
            if !std::mem::replace(&mut reached[to as usize], true) {
                open.push(to);
            }
        }
    }
    reached
}
