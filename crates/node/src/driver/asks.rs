//! Answers to what the node's own rooms ask.

use levada_overlay::{Input, StreamName, Time};

use super::{Ask, Driver, Traffic, identify};
use crate::NodeError;
use crate::log::GroupId;

/// Traces that may be under way at once; the oldest askers are answered first anyway.
const TRACES_MAX: usize = 256;
/// A reader may want to begin this many milliseconds before the newest group: nobody's log is sure to reach further back ...
const WISH_BACK_MS: u64 = 30_000;
/// ... and this many after what its publisher is known to have reached. Tuned: ages of records are whole seconds.
const WISH_AHEAD_MS: u64 = 5_000;

impl Driver {
    /// A question whose asker is gone needs no answer, so failed sends are passed over.
    pub(super) fn ask(&mut self, ask: Ask, now: Time) {
        match ask {
            Ask::Publish(facts, answer) => {
                let log = if self.water.is_published(&facts.name) {
                    Err(NodeError::AlreadyPublished { stream: facts.name, node: self.brain.name().to_owned() })
                } else if !self.brain.has_room_to_publish() {
                    Err(NodeError::TooManyStreams { stream: facts.name, node: self.brain.name().to_owned() })
                } else {
                    let log = self.water.publish(&facts.name);
                    self.brain.handle_input(Input::Publish(facts), now);
                    Ok(log)
                };
                let _ = answer.send(log);
            }
            Ask::Describe(facts) => {
                if self.water.is_published(&facts.name) {
                    self.brain.handle_input(Input::Publish(facts), now);
                }
            }
            Ask::Publishers(stream, answer) => {
                let _ = answer.send(self.brain.publishers_of(&stream, now));
            }
            Ask::Withdraw(stream) => {
                self.water.withdraw(&stream);
                self.brain.handle_input(Input::Withdraw(stream), now);
            }
            Ask::Subscribe(stream, from, answer) => {
                let log = self.water.open(&stream);
                let from = from.filter(|from| self.may_begin(&stream, *from, now));
                let lacks = from.and_then(|from| self.water.wish(&stream, from));
                self.brain.handle_input(Input::Subscribe(stream.clone()), now);
                if let Some(resume) = lacks {
                    self.brain.handle_input(Input::Lacks { stream: stream.clone(), resume }, now);
                }
                if answer.send((log, from)).is_err() {
                    self.brain.handle_input(Input::Unsubscribe(stream), now);
                }
            }
            Ask::Unsubscribe(stream) => self.brain.handle_input(Input::Unsubscribe(stream), now),
            Ask::Neighbours(neighbours) => self.brain.handle_input(Input::Neighbours(neighbours), now),
            Ask::Identify(address, answer) => {
                let (endpoint, config) = (self.endpoint.clone(), self.dial_config.clone());
                self.tasks.spawn(async move {
                    let _ = answer.send(identify(&endpoint, config, &address).await);
                });
            }
            Ask::Connect(neighbour) => self.brain.handle_input(Input::Connect(neighbour), now),
            Ask::Disconnect(name) => self.brain.handle_input(Input::Disconnect(name), now),
            Ask::Traffic(answer) => {
                let traffic = self.links.iter().map(|(link, handle)| {
                    let stats = handle.connection.stats();
                    (*link, Traffic { sent: stats.udp_tx.bytes, received: stats.udp_rx.bytes })
                });
                let _ = answer.send(traffic.collect());
            }
            Ask::View(answer) => {
                let _ = answer.send(self.brain.view());
            }
            Ask::Pops(stream, answer) => {
                let _ = answer.send(self.brain.pops(stream.as_ref()));
            }
            Ask::Counters(answer) => {
                let _ = answer.send(self.brain.counters());
            }
            Ask::Log(stream, answer) => {
                let _ = answer.send(self.water.log(&stream).cloned());
            }
            Ask::Logs(answer) => {
                let _ = answer.send(self.water.logs());
            }
            Ask::Trace(stream, answer) => {
                self.traces.retain(|_, asker| !asker.is_closed());
                if self.traces.len() < TRACES_MAX {
                    let ticket = self.next_ticket;
                    self.next_ticket += 1;
                    self.traces.insert(ticket, answer);
                    self.brain.handle_input(Input::Trace { ticket, stream }, now);
                }
            }
            Ask::Why(stream, answer) => {
                let _ = answer.send(self.brain.why(&stream, now));
            }
            Ask::Drain(done) => {
                self.draining.push(done);
                self.brain.handle_input(Input::Drain, now);
            }
            // The loop takes this one itself.
            Ask::Shutdown(done) => drop(done),
        }
    }

    /// Whether a publisher of a stream can have made a group, and not too long ago. Viewers say what they please, and where
    /// they say decides where this node's log begins for all of them.
    fn may_begin(&self, stream: &StreamName, from: GroupId, now: Time) -> bool {
        let publishers = self.brain.publishers_of(stream, now);
        publishers.iter().any(|(_, facts)| {
            let reached = facts.stamp_at_ms;
            let range = reached.saturating_sub(WISH_BACK_MS)..=reached.saturating_add(WISH_AHEAD_MS);
            facts.timeline == from.timeline && range.contains(&from.group)
        })
    }
}
