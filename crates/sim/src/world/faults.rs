//! What befalls nodes and links.

use super::*;
use network::COUNT_INTERVAL;

impl World {
    /// Starts a node, or starts it anew.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].brain.is_some() {
            return;
        }
        let index = node as NodeIndex;
        let entry = &mut self.nodes[node];
        entry.lives += 1;
        entry.wake_at = Time::NEVER;
        let lives = entry.lives;
        let name = name_of(index);
        let config = Config {
            id: id_of(index),
            credential: Credential { name: name.clone(), not_after_unix_s: u64::MAX, signature: [0; 64] },
            epoch: u64::from(lives),
            seed: self.settings.seed ^ (node as u64) << 32 ^ u64::from(lives),
            addresses: vec![name],
            http: None,
            transit: true,
            children_max: self.settings.children_max,
            egress_max_bps: None,
        };
        let now = entry.clock.shows(self.now);
        entry.brain = Some(Node::new(config, Box::new(HashKeys(id_of(index))), now));
        let neighbour =
            |(peer, _): &(NodeIndex, u32)| Neighbour { name: name_of(*peer), addresses: vec![name_of(*peer)] };
        let strangers = &self.settings.strangers;
        let knows = |(peer, _): &&(NodeIndex, u32)| {
            let peer = *peer as usize;
            !strangers.iter().any(|pair| *pair == (node, peer) || *pair == (peer, node))
        };
        let neighbours: Vec<Neighbour> = entry.links.iter().filter(knows).map(neighbour).collect();
        self.input(index, Input::Neighbours(neighbours));
        self.later(COUNT_INTERVAL, Happening::Count { node: index, lives });
        self.connectivity_changed();
    }

    /// Stops a node without a word: its neighbours notice the silence.
    pub fn crash(&mut self, node: usize) {
        if !self.runs(node) {
            return;
        }
        self.torn(|parent, _| parent as usize == node);
        self.vanish(node);
    }

    /// Stops a node, which says goodbye.
    pub fn stop(&mut self, node: usize) {
        if !self.nodes[node].works() {
            return;
        }
        self.torn(|parent, _| parent as usize == node);
        self.input(node as NodeIndex, Input::Shutdown);
        self.vanish(node);
    }

    /// Lets a node drain: its children move, then it stops.
    pub fn drain_node(&mut self, node: usize) {
        if self.nodes[node].works() {
            self.input(node as NodeIndex, Input::Drain);
        }
    }

    pub(super) fn drained(&mut self, node: NodeIndex) {
        self.stop(node as usize);
    }

    fn vanish(&mut self, node: usize) {
        let index = node as NodeIndex;
        for connection in self.nodes[node].connections.clone() {
            if let Some(end) = self.end_at(connection, index) {
                self.close_end(connection, end);
            }
        }
        let entry = &mut self.nodes[node];
        entry.brain = None;
        entry.stalled = None;
        entry.streams.clear();
        self.delivery.forget(index, None);
        self.progress.forget(index, None);
        self.switches.forget(index, None);
        self.connectivity_changed();
    }

    /// A node stands still (SIGSTOP): it handles nothing, and what comes waits.
    pub fn stall(&mut self, node: usize) {
        if self.nodes[node].works() {
            self.torn(|parent, _| parent as usize == node);
            self.nodes[node].stalled = Some(Vec::new());
            self.connectivity_changed();
        }
    }

    /// It goes on, and handles what came in the meantime.
    pub fn resume(&mut self, node: usize) {
        if let Some(waiting) = self.nodes[node].stalled.take() {
            for happening in waiting {
                self.at(self.now, happening);
            }
            self.connectivity_changed();
        }
    }

    /// Cuts a link in both directions: nothing passes, and nobody is told.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts what goes from one node to another.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        let (from, to) = (from as NodeIndex, to as NodeIndex);
        let Some(wire) = self.wire(from, to) else { return };
        if self.wires[wire as usize].cut_since.is_some() {
            return;
        }
        // Acknowledgements do not pass either, so the other direction dies too; once it is dead, nothing more is torn.
        if self.wires[wire as usize ^ 1].cut_since.is_none() {
            self.torn(|parent, child| (parent, child) == (from, to) || (parent, child) == (to, from));
        }
        self.wires[wire as usize].cut_since = Some(self.now);
        self.connectivity_changed();
    }

    /// Mends a link; what waited goes on, and who gave up finds out by dialling.
    pub fn heal(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(wire) = self.wire(from as NodeIndex, to as NodeIndex) {
                self.heal_wire(wire);
            }
        }
        self.connectivity_changed();
    }

    /// Changes what a link does, in both directions.
    pub fn change_link(&mut self, a: usize, b: usize, change: impl Fn(&mut Impairment)) {
        self.change_direction(a, b, &change);
        self.change_direction(b, a, &change);
    }

    /// Changes what a link does in one direction.
    pub fn change_direction(&mut self, from: usize, to: usize, change: impl Fn(&mut Impairment)) {
        if let Some(wire) = self.wire(from as NodeIndex, to as NodeIndex) {
            let wire = &mut self.wires[wire as usize];
            let mut impairment = wire.impairment().clone();
            change(&mut impairment);
            // What is on its way comes when that was planned.
            let _ = wire.impair(self.now, impairment);
        }
    }

    /// Something went: whoever is fed through it is affected.
    fn torn(&mut self, torn: impl Fn(NodeIndex, NodeIndex) -> bool) {
        for (node, stream) in self.switches.failed(self.now, torn) {
            self.progress.failed(node, stream, self.now);
        }
    }

    /// Whether there is a link between two nodes.
    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.wire(a as NodeIndex, b as NodeIndex).is_some()
    }
}
