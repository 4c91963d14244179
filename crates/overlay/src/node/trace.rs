//! Traces: the way of a stream from its origin to here, asked hop by hop up the tree and answered down it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use crate::id::StreamName;
use crate::io::{Asker, LinkId, Output};
use crate::message::{Hop, Message, TRACE_HOPS_MAX};
use crate::time::Time;

/// A question of this node's own that has not been answered within this time is answered with what is known here. Tuned.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Each hop further up waits less by this, so that what it knows is told before those below give up. Tuned: a round trip.
const PATIENCE_STEP: Duration = Duration::from_millis(150);
/// No node waits less than this: the way up from it may be long. Tuned.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// Most questions under way.
pub(super) const OPEN_MAX: usize = 256;

/// Questions passed on and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Traces {
    open: BTreeMap<u64, Question>,
    next: u64,
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    stream: StreamName,
    parent: LinkId,
    deadline: Time,
}

impl Traces {
    /// Questions under way.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn due(&self) -> Time {
        self.open.values().map(|question| question.deadline).min().unwrap_or(Time::NEVER)
    }

    fn take(&mut self, which: impl Fn(&Question) -> bool) -> Vec<Question> {
        let taken: Vec<u64> = self.open.iter().filter(|(_, open)| which(open)).map(|(id, _)| *id).collect();
        taken.iter().filter_map(|id| self.open.remove(id)).collect()
    }
}

impl Node {
    pub(super) fn trace_local(&mut self, ticket: u64, stream: StreamName, now: Time) {
        self.trace(Asker::Local(ticket), stream, TRACE_HOPS_MAX as u32, now);
    }

    pub(super) fn trace_asked(&mut self, link: LinkId, id: u64, stream: StreamName, hops_left: u32, now: Time) {
        self.trace(Asker::Child(link, id), stream, hops_left.min(TRACE_HOPS_MAX as u32), now);
    }

    fn trace(&mut self, asker: Asker, stream: StreamName, hops_left: u32, now: Time) {
        let parent = self.streams.get(&stream).and_then(|entry| entry.main.as_ref()).map(|main| main.link);
        match parent {
            Some(parent) if hops_left > 1 && self.traces.open.len() < OPEN_MAX => {
                let id = self.traces.next;
                self.traces.next += 1;
                let question = Question { asker, stream: stream.clone(), parent, deadline: now + patience(hops_left) };
                self.traces.open.insert(id, question);
                self.send(parent, Message::Trace { id, stream, hops_left: hops_left - 1 });
            }
            _ => self.answer(asker, stream, Vec::new(), None),
        }
    }

    pub(super) fn trace_reply(&mut self, link: LinkId, id: u64, hops: Vec<Hop>) {
        if self.traces.open.get(&id).is_some_and(|question| question.parent == link)
            && let Some(question) = self.traces.open.remove(&id)
        {
            self.answer(question.asker, question.stream, hops, Some(link));
        }
    }

    /// Answers what the parents did not answer in time.
    pub(super) fn traces_due(&mut self, now: Time) {
        for question in self.traces.take(|question| question.deadline <= now) {
            self.answer(question.asker, question.stream, Vec::new(), None);
        }
    }

    /// A link is gone: who asked over it does not want to know any more, and who was asked over it does not answer.
    pub(super) fn traces_lose_link(&mut self, link: LinkId) {
        self.traces.take(|question| matches!(question.asker, Asker::Child(child, _) if child == link));
        for question in self.traces.take(|question| question.parent == link) {
            self.answer(question.asker, question.stream, Vec::new(), None);
        }
    }

    /// Adds this node as the last hop and sends the answer on.
    fn answer(&mut self, asker: Asker, stream: StreamName, mut hops: Vec<Hop>, parent: Option<LinkId>) {
        let link = parent.and_then(|parent| self.links.get(&parent));
        let rtt_us = link.and_then(|link| link.estimator.rtt()).map_or(0, |rtt| rtt.as_micros() as u32);
        let cost_us = link.map_or(0, |link| self.cost_from(link));
        hops.truncate(TRACE_HOPS_MAX - 1);
        hops.push(Hop { id: self.id(), name: self.name().to_owned(), rtt_us, cost_us, newest_age_us: None });
        self.emit(Output::TraceAnswer { to: asker, stream, hops });
    }
}

/// How long a question is open that may go up this many hops.
fn patience(hops_left: u32) -> Duration {
    let above = (TRACE_HOPS_MAX as u32).saturating_sub(hops_left);
    PATIENCE.saturating_sub(PATIENCE_STEP * above).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests;
