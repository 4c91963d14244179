//! The driver's part of the bargain with each brain: inputs in, outputs carried out, objects to and from the water.

use levada_overlay::link::HEARD_INTERVAL;
use levada_overlay::message::Gap;
use levada_overlay::{Event, FeedId, Inflow, Input, LinkId, Message, Node, Output, Resume, StreamName};

use super::network::Class;
use super::{End, Happening, NodeIndex, Sent, StreamIndex, World, made_at, named};
use crate::checkers::find_loop;
use crate::held::position;
use crate::water::{Arrival, Flow, Water, length, payload};

impl World {
    pub(super) fn input(&mut self, node: NodeIndex, input: Input) {
        let entry = &mut self.nodes[node as usize];
        if let Some(brain) = entry.brain.as_mut() {
            brain.handle_input(input, entry.clock.shows(self.now));
            self.drain(node);
        }
    }

    pub(super) fn wake(&mut self, node: NodeIndex) {
        let entry = &mut self.nodes[node as usize];
        if entry.wake_at <= self.now {
            entry.wake_at = levada_overlay::Time::NEVER;
            if let Some(brain) = entry.brain.as_mut() {
                brain.handle_timeout(entry.clock.shows(self.now));
            }
            self.drain(node);
        }
    }

    /// Carries out what a brain wants, and notes when it wants to be woken.
    fn drain(&mut self, node: NodeIndex) {
        let mut outputs = 0;
        while let Some(output) = self.nodes[node as usize].brain.as_mut().and_then(Node::poll_output) {
            self.carry_out(node, output);
            outputs += 1;
        }
        if let Some(seen) = self.bounds.answered(node, outputs) {
            self.violate("tables stay within their bounds", seen);
        }
        let entry = &mut self.nodes[node as usize];
        let Some(brain) = &entry.brain else { return };
        let due = entry.clock.truth(brain.poll_timeout()).max(self.now);
        if due < entry.wake_at {
            entry.wake_at = due;
            self.queue.push(due, Happening::Wake { node });
        }
    }

    fn carry_out(&mut self, node: NodeIndex, output: Output) {
        match output {
            Output::Dial(neighbour) => self.dial(node, &neighbour),
            Output::HangUp { link, .. } => self.hang_up(link.0 as u32, node),
            Output::Send { link, message } => self.control(node, link, message),
            Output::Probe { link, nonce } => self.probe(link.0 as u32, node, nonce),
            Output::Listen { link } => self.listen(link.0 as u32, node),
            Output::Join { link, mut join, from_log } => {
                let index = self.intern(&join.stream);
                let held = self.water(node, index).and_then(Water::resume);
                join.resume = held.filter(|_| from_log).or(join.resume);
                self.control(node, link, Message::Join(join));
            }
            Output::Route { stream, route: Some(route) } => {
                let index = self.intern(&stream);
                let shown = self.nodes[node as usize].clock.shows(self.now);
                let keep = self.settings.keep;
                let watched = |inflow: &&Inflow| route.watch.as_ref().is_some_and(|watch| watch.feed == inflow.feed);
                if let Some(watched) = route.inflows.iter().find(watched) {
                    self.switches.asked_again(node, index, watched.mode);
                }
                let water = self.local(node, index).water.get_or_insert_with(|| Water::new(keep));
                let lacks = water.set_route(route, shown);
                for resume in lacks {
                    self.input(node, Input::Lacks { stream: stream.clone(), resume });
                }
                self.flow(node, index);
                self.look(node, index);
                self.check_route(node, index, &stream);
            }
            Output::Route { stream, route: None } => {
                let index = self.intern(&stream);
                self.local(node, index).water = None;
                self.switches.forget(node, Some(index));
            }
            Output::Event(Event::Committed { stream, parent, before, cause, position, mode }) => {
                self.write_down(&format_args!(
                    "n{node} takes {stream} from {parent} ({mode:?}), {before:?} before, at {position}: {cause}"
                ));
                let index = self.intern(&stream);
                if let Some(parent) = named(&parent) {
                    self.switches.committed(node, index, parent, mode, self.now);
                }
            }
            Output::Event(event @ (Event::Suspected { .. } | Event::Cleared { .. } | Event::Adopting { .. })) => {
                self.write_down(&format_args!("n{node} {event:?}"));
            }
            Output::Drained => self.drained(node),
            Output::TraceAnswer { .. } | Output::Event(_) => {}
        }
    }

    pub(super) fn produce(&mut self, node: NodeIndex, stream: StreamIndex, lives: u32) {
        if self.nodes[node as usize].lives != lives {
            return;
        }
        let (now, keep) = (self.now, self.settings.keep);
        let local = self.local(node, stream);
        let Some(publication) = &mut local.published else { return };
        if publication.paused_until > now {
            let until = publication.paused_until;
            return self.at(until, Happening::Produce { node, stream, lives });
        }
        let water = local.water.get_or_insert_with(|| Water::new(keep));
        // An encoder does not wait for a node that stands still.
        let mut next = position(publication.timeline, publication.next);
        while made_at(next) <= now {
            water.insert(next);
            publication.next += 1;
            next = position(publication.timeline, publication.next);
        }
        self.flow(node, stream);
        self.at(made_at(next), Happening::Produce { node, stream, lives });
    }

    /// Sends on what the children of a node lack.
    fn flow(&mut self, node: NodeIndex, stream: StreamIndex) {
        let mut flowing = std::mem::take(&mut self.flowing);
        let bitrate = self.bitrate(stream);
        if let Some(water) = self.water_mut(node, stream) {
            water.flow(&mut flowing);
        }
        for flow in flowing.drain(..) {
            let (Flow::Object { link, feed, .. } | Flow::Front { link, feed, .. } | Flow::Gap { link, feed, .. }) =
                flow;
            let connection = link.0 as u32;
            let Some(from) = self.end_at(connection, node) else { continue };
            let (end, to) = (1 - from, self.connections[connection as usize].ends[usize::from(1 - from)]);
            match flow {
                Flow::Object { position, bytes, .. } => {
                    self.objects_moved += 1;
                    if let Some(seen) = self.copies.sent(connection, to, stream, feed, position) {
                        self.violate("a link carries one copy", seen);
                    }
                    let length = length(position, bitrate);
                    let object = Sent { stream, feed, position, bytes };
                    let happening = Happening::Object { connection, end, object };
                    self.send(connection, from, Class::Media, length, happening);
                }
                Flow::Gap { from, to, .. } => {
                    let (from, to) = ((from.group, from.index), (to.group, to.index));
                    self.control(node, link, Message::Gap(Gap { feed, layer: 0, from, to }));
                }
                Flow::Front { front, .. } => {
                    self.fronts_moved += 1;
                    self.datagram(connection, from, Happening::Front { connection, end, stream, feed, front });
                }
            }
        }
        self.flowing = flowing;
    }

    pub(super) fn object(&mut self, connection: u32, end: End, object: Sent) {
        let Sent { stream, feed, position, bytes } = object;
        let to = self.connections[connection as usize].ends[usize::from(end)];
        let strictly = !self.settings.naive_commit;
        let shown = self.nodes[to as usize].clock.shows(self.now);
        let Some(water) = self.water_mut(to, stream) else { return };
        let first = water.look_at.is_none();
        let arrival = water.arrive(LinkId(u64::from(connection)), feed, position, strictly, shown);
        if first {
            self.look(to, stream);
        }
        self.heard(connection, end, to);
        match arrival {
            Arrival::NotWanted => {}
            Arrival::Duplicate => self.duplicates += 1,
            arrival @ (Arrival::Newest { .. } | Arrival::Filled) => {
                if bytes != payload(position) {
                    self.violate("objects arrive as they were sent", format!("{position} at node {to}"));
                }
                if self.local(to, stream).subscribed.is_some() {
                    if let Some(seen) = self.delivery.arrived(to, stream, position, bytes) {
                        self.violate("subscribers receive every object once and in order", seen);
                    }
                    if matches!(arrival, Arrival::Newest { .. }) {
                        self.progress.arrived(to, stream, made_at(position), self.now);
                    }
                }
                if arrival == (Arrival::Newest { report: true }) {
                    self.input(to, Input::Newer { feed, position });
                }
                self.flow(to, stream);
            }
        }
    }

    /// A shadow says how far a parent is.
    pub(super) fn front(&mut self, connection: u32, end: End, stream: StreamIndex, feed: FeedId, front: Resume) {
        let to = self.connections[connection as usize].ends[usize::from(end)];
        let shown = self.nodes[to as usize].clock.shows(self.now);
        let Some(water) = self.water_mut(to, stream) else { return };
        let (news, missing) = water.announce(LinkId(u64::from(connection)), feed, front, shown);
        if let Some(position) = news {
            self.input(to, Input::Newer { feed, position });
        }
        self.flow(to, stream);
        if missing {
            self.look(to, stream);
        }
    }

    /// A parent says what it has no more of a feed.
    pub(super) fn gap(&mut self, node: NodeIndex, link: LinkId, gap: &Gap) {
        for stream in 0..self.streams.len() as StreamIndex {
            if let Some(water) = self.water_mut(node, stream) {
                water.gap(link, gap);
                self.flow(node, stream);
            }
        }
    }

    /// Tells the brain now and then that anything comes over a link.
    fn heard(&mut self, connection: u32, end: End, node: NodeIndex) {
        let told = &mut self.connections[connection as usize].heard_at[usize::from(end)];
        if told.is_none_or(|at| self.now.since(at) >= HEARD_INTERVAL) {
            *told = Some(self.now);
            let since = self.nodes[node as usize].clock.shows(self.now);
            self.input(node, Input::Heard { link: LinkId(u64::from(connection)), since });
        }
    }

    /// Tells of the next that comes.
    fn listen(&mut self, connection: u32, node: NodeIndex) {
        if let Some(end) = self.end_at(connection, node) {
            self.connections[connection as usize].heard_at[usize::from(end)] = None;
        }
    }

    pub(super) fn look_due(&mut self, node: NodeIndex, stream: StreamIndex, lives: u32) {
        let due = self.water(node, stream).and_then(|water| water.look_at);
        if self.nodes[node as usize].lives == lives && due.is_some_and(|due| due <= self.now) {
            self.look(node, stream);
        }
    }

    /// Looks whether the watched feed of a stream keeps up, and sees to it that somebody looks again.
    fn look(&mut self, node: NodeIndex, stream: StreamIndex) {
        let (now, lives) = (self.now, self.nodes[node as usize].lives);
        let shown = self.nodes[node as usize].clock.shows(now);
        let Some(water) = self.water_mut(node, stream) else { return };
        let (news, pause) = water.look(shown);
        let planned = water.look_at.filter(|at| *at > now);
        let next = pause.map(|pause| now + pause);
        water.look_at = next.into_iter().chain(planned).min();
        if let Some(at) = next
            && planned.is_none_or(|planned| at < planned)
        {
            self.at(at, Happening::Look { node, stream, lives });
        }
        if let Some(news) = news {
            self.input(node, news);
        }
    }

    fn check_route(&mut self, node: NodeIndex, index: StreamIndex, stream: &StreamName) {
        let parent = |node: NodeIndex| {
            let connection = self.water(node, index)?.parent()?.0 as u32;
            // One that died feeds nobody over its old connections, though it may run again before its children notice.
            let far = 1 - self.end_at(connection, node)?;
            self.peer(connection, node).filter(|_| self.carries(connection, far))
        };
        if let Some(path) = find_loop(node, parent) {
            self.loops += 1;
            self.violate("no parent graph has a cycle", format!("{stream}: {path:?}"));
        }
        let neighbours = self.nodes[node as usize].links.len();
        let water = self.nodes[node as usize].streams[usize::from(index)].water.as_deref();
        if let Some(seen) = water.and_then(|water| self.bounds.routed(node, water, neighbours)) {
            self.violate("tables stay within their bounds", seen);
        }
    }
}
