//! Connections: dialling, sending, closing, and what waits while a link is cut.

use std::time::Duration;

use levada_overlay::{Input, LinkId, Message, Neighbour, Node, Time};
use rand::Rng as _;

use super::{End, Happening, NodeIndex, Parcel, World, id_of, name_of, named};
use crate::checkers::message_length;

/// A dial that nobody answers fails after this long, as in `node::driver`.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Round trips of a dial until both ends have shown their certificates: three one-way delays.
const HANDSHAKE_DELAYS: u32 = 3;
/// Length of a probe.
const PROBE_LEN: u64 = 50;
/// How often the transport's counts are told, as in `node::link`.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// What is ordered among itself: control messages, and objects. They travel on different streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    Control,
    Media,
}

/// A connection; its number is that of its link at both ends.
pub(super) struct Connection {
    pub(super) ends: [NodeIndex; 2],
    open: [bool; 2],
    /// The wire that each end sends over.
    wires: [u32; 2],
    /// Streams keep their order: nothing from this end arrives before this, by class.
    clear_at: [[Time; 2]; 2],
    /// What each end sent into a cut.
    waiting: [Vec<(Class, u64, Happening)>; 2],
    waiting_len: [u64; 2],
    /// When each end's brain was told last that something came.
    pub(super) heard_at: [Option<Time>; 2],
}

impl World {
    /// Whether what travels over a connection reaches this end.
    pub(super) fn carries(&self, connection: u32, end: End) -> bool {
        let entry = &self.connections[connection as usize];
        entry.open[usize::from(end)] && self.nodes[entry.ends[usize::from(end)] as usize].brain.is_some()
    }

    /// The end of a connection that is at a node.
    pub(super) fn end_at(&self, connection: u32, node: NodeIndex) -> Option<End> {
        let entry = self.connections.get(connection as usize)?;
        let end = usize::from(entry.ends[0] != node);
        (entry.ends[end] == node && entry.open[end]).then_some(end as End)
    }

    /// The node at the other end of an open connection.
    pub(super) fn peer(&self, connection: u32, node: NodeIndex) -> Option<NodeIndex> {
        let end = self.end_at(connection, node)?;
        Some(self.connections[connection as usize].ends[usize::from(1 - end)])
    }

    pub(super) fn wire(&self, from: NodeIndex, to: NodeIndex) -> Option<u32> {
        self.nodes[from as usize].links.iter().find(|(peer, _)| *peer == to).map(|(_, wire)| *wire)
    }

    pub(super) fn dial(&mut self, from: NodeIndex, neighbour: &Neighbour) {
        let lives = self.nodes[from as usize].lives;
        let to = named(&neighbour.name);
        match to.and_then(|to| Some((to, self.wire(from, to)?))) {
            Some((to, wire)) => {
                let delay = self.wires[wire as usize].impairment().mean_delay();
                self.later(HANDSHAKE_DELAYS * delay, Happening::Dialed { from, to, lives });
            }
            None => self.later(DIAL_TIMEOUT, Happening::DialFailed { from, to, lives }),
        }
    }

    pub(super) fn dialed(&mut self, from: NodeIndex, to: NodeIndex, lives: u32) {
        let dialler = &self.nodes[from as usize];
        if dialler.lives != lives || dialler.brain.is_none() {
            return;
        }
        let passes = |wire: &u32| self.wires[*wire as usize].cut_since.is_none();
        let wires = self.wire(from, to).zip(self.wire(to, from)).filter(|(there, back)| passes(there) && passes(back));
        let Some((there, back)) = wires.filter(|_| self.nodes[to as usize].works()) else {
            return self.later(DIAL_TIMEOUT, Happening::DialFailed { from, to: Some(to), lives });
        };
        let connection = self.connections.len() as u32;
        self.connections.push(Connection {
            ends: [from, to],
            open: [true; 2],
            wires: [there, back],
            clear_at: [[self.now; 2]; 2],
            waiting: [Vec::new(), Vec::new()],
            waiting_len: [0; 2],
            heard_at: [None; 2],
        });
        let rtt = self.rtt(connection);
        for node in [from, to] {
            let entry = &mut self.nodes[node as usize];
            entry.connections.push(connection);
            if let Some(seen) = self.bounds.connected(node, entry.connections.len(), entry.links.len()) {
                self.violate("tables stay within their bounds", seen);
            }
        }
        for (end, peer, dialed) in [(from, to, true), (to, from, false)] {
            let link = LinkId(u64::from(connection));
            self.input(end, Input::LinkUp { link, peer: id_of(peer), name: name_of(peer), dialed, rtt });
        }
    }

    fn rtt(&self, connection: u32) -> Duration {
        let wires = self.connections[connection as usize].wires;
        wires.iter().map(|wire| self.wires[*wire as usize].impairment().mean_delay()).sum()
    }

    /// Sends a probe, and plans its way back: two ways, one event.
    pub(super) fn probe(&mut self, connection: u32, node: NodeIndex, nonce: u64) {
        let Some(end) = self.end_at(connection, node) else { return };
        let wires = self.connections[connection as usize].wires;
        let [there, back] = [wires[usize::from(end)], wires[usize::from(1 - end)]];
        let Some(there) = self.wires[there as usize].datagram(self.now, PROBE_LEN, &mut self.rng) else { return };
        let Some(back) = self.wires[back as usize].datagram(self.now, PROBE_LEN, &mut self.rng) else { return };
        self.at(there + back.since(self.now), Happening::Echo { connection, end, nonce });
    }

    /// Sends something that is not sent again when it gets lost.
    pub(super) fn datagram(&mut self, connection: u32, from: End, happening: Happening) {
        let wire = self.connections[connection as usize].wires[usize::from(from)];
        if let Some(at) = self.wires[wire as usize].datagram(self.now, PROBE_LEN, &mut self.rng) {
            self.at(at, happening);
        }
    }

    pub(super) fn echo(&mut self, connection: u32, end: End, nonce: u64) {
        let peer = self.connections[connection as usize].ends[usize::from(1 - end)];
        if !self.carries(connection, end) || !self.carries(connection, 1 - end) {
            return;
        }
        if let Some(waiting) = &mut self.nodes[peer as usize].stalled {
            waiting.push(Happening::Reflect { connection, end: 1 - end, nonce });
            return;
        }
        let node = self.connections[connection as usize].ends[usize::from(end)];
        self.input(node, Input::Echo { link: LinkId(u64::from(connection)), nonce });
    }

    pub(super) fn reflect(&mut self, connection: u32, end: End, nonce: u64) {
        if self.carries(connection, end) {
            let wire = self.connections[connection as usize].wires[usize::from(end)];
            if let Some(at) = self.wires[wire as usize].datagram(self.now, PROBE_LEN, &mut self.rng) {
                self.at(at, Happening::Echo { connection, end: 1 - end, nonce });
            }
        }
    }

    pub(super) fn control(&mut self, from: NodeIndex, link: LinkId, message: Message) {
        let connection = link.0 as u32;
        let Some(end) = self.end_at(connection, from) else { return };
        let (parcel, length) = if self.settings.pass_values {
            let length = message_length(&message);
            self.traffic.sent(from, &message, length);
            (Parcel::Value(Box::new(message)), length)
        } else {
            let bytes = message.encode().slice(4..).to_vec();
            self.traffic.sent(from, &message, bytes.len() as u64);
            let length = bytes.len() as u64;
            (Parcel::Bytes(bytes), length)
        };
        self.send(connection, end, Class::Control, length, Happening::Control { connection, end: 1 - end, parcel });
    }

    pub(super) fn control_arrived(&mut self, connection: u32, end: End, parcel: Parcel) {
        if !self.carries(connection, end) {
            return;
        }
        let message = match parcel {
            Parcel::Value(message) => *message,
            Parcel::Bytes(bytes) => match Message::decode(bytes.into()) {
                Ok(Some(message)) => message,
                other => return self.violate("control messages are understood", format!("{other:?}")),
            },
        };
        let node = self.connections[connection as usize].ends[usize::from(end)];
        let link = LinkId(u64::from(connection));
        if let Message::Gap(gap) = &message {
            self.gap(node, link, gap);
        }
        self.input(node, Input::Message { link, message });
    }

    /// Puts something on one of a connection's ordered streams.
    pub(super) fn send(&mut self, connection: u32, from: End, class: Class, length: u64, happening: Happening) {
        let rtt = self.rtt(connection);
        let entry = &mut self.connections[connection as usize];
        let side = usize::from(from);
        let wire = &mut self.wires[entry.wires[side] as usize];
        if wire.cut_since.is_some() || !entry.waiting[side].is_empty() {
            entry.waiting[side].push((class, length, happening));
            entry.waiting_len[side] += length;
            if let Some(seen) = self.bounds.waits(entry.ends[side], entry.waiting_len[side]) {
                self.violate("tables stay within their bounds", seen);
            }
            return;
        }
        let clear_at = &mut entry.clear_at[side][class as usize];
        let at = wire.stream(self.now, length, rtt, &mut self.rng).max(*clear_at);
        *clear_at = at;
        self.queue.push(at, happening);
    }

    /// A link is whole again: each connection over it tries again when its sender's probe timeout runs out. That doubles
    /// with every try (RFC 9002, section 6.2.1), so at most as long again as the link was cut.
    pub(super) fn heal_wire(&mut self, wire: u32) {
        let Some(since) = self.wires[wire as usize].cut_since.take() else { return };
        let outage_us = self.now.since(since).as_micros() as u64;
        let waits = |(index, entry): (usize, &Connection)| {
            let from = entry.wires.iter().position(|of| *of == wire)?;
            (!entry.waiting[from].is_empty()).then_some((index as u32, from as End))
        };
        let waiting: Vec<(u32, End)> = self.connections.iter().enumerate().filter_map(waits).collect();
        for (connection, from) in waiting {
            let pause = Duration::from_micros(self.rng.random_range(0..=outage_us));
            self.later(pause, Happening::Unblock { connection, from });
        }
    }

    pub(super) fn unblock(&mut self, connection: u32, from: End) {
        let entry = &mut self.connections[connection as usize];
        let side = usize::from(from);
        if self.wires[entry.wires[side] as usize].cut_since.is_some() {
            return;
        }
        entry.waiting_len[side] = 0;
        for (class, length, happening) in std::mem::take(&mut entry.waiting[side]) {
            self.send(connection, from, class, length, happening);
        }
    }

    /// One end closes, and says so to the other.
    pub(super) fn hang_up(&mut self, connection: u32, node: NodeIndex) {
        let Some(end) = self.end_at(connection, node) else { return };
        let wire = self.connections[connection as usize].wires[usize::from(end)];
        // A close is sent once and not waited for; into a cut it is lost.
        if self.wires[wire as usize].cut_since.is_none() {
            let closed = Happening::Closed { connection, end: 1 - end };
            self.send(connection, end, Class::Control, PROBE_LEN, closed);
        }
        self.close_end(connection, end);
    }

    pub(super) fn closed(&mut self, connection: u32, end: End) {
        if self.carries(connection, end) {
            let node = self.connections[connection as usize].ends[usize::from(end)];
            self.close_end(connection, end);
            let reason = "closed by the peer".to_owned();
            self.input(node, Input::LinkDown { link: LinkId(u64::from(connection)), reason, unwanted: false });
        }
    }

    /// One end of a connection is gone.
    pub(super) fn close_end(&mut self, connection: u32, end: End) {
        let entry = &mut self.connections[connection as usize];
        let side = usize::from(end);
        if !std::mem::take(&mut entry.open[side]) {
            return;
        }
        let over = entry.open == [false; 2];
        // Nobody is left who would send it again.
        entry.waiting[side] = Vec::new();
        entry.waiting_len[side] = 0;
        self.nodes[entry.ends[side] as usize].connections.retain(|other| *other != connection);
        if over {
            self.copies.forget(connection);
        }
    }

    /// Hands each brain what its transport counted, where there is anything to tell.
    pub(super) fn count(&mut self, node: NodeIndex, lives: u32) {
        if self.nodes[node as usize].lives != lives || self.nodes[node as usize].brain.is_none() {
            return;
        }
        self.later(COUNT_INTERVAL, Happening::Count { node, lives });
        let sizes = self.nodes[node as usize].brain.as_ref().map(Node::sizes);
        if let Some(seen) = sizes.and_then(|sizes| self.bounds.tables(node, &sizes, self.nodes.len())) {
            self.violate("tables stay within their bounds", seen);
        }
        for connection in self.nodes[node as usize].connections.clone() {
            let Some(end) = self.end_at(connection, node) else { continue };
            let wire = &mut self.wires[self.connections[connection as usize].wires[usize::from(end)] as usize];
            if wire.is_lossy() {
                let counts = wire.take_counts(COUNT_INTERVAL);
                let link = LinkId(u64::from(connection));
                self.input(node, Input::Transport { link, sent: counts.sent, lost: counts.lost, load: counts.load });
            }
        }
    }
}
