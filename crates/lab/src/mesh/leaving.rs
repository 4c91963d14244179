//! Nodes that are asked to end. It takes them seconds, in which others may have to be looked at: asking and waiting are apart.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::leaves::ended_by_itself;
use super::{DRAIN, Mesh, MeshError, failed};
use crate::file::Name;
use crate::http;

/// How often a node that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// That a node was asked to end.
#[derive(Debug)]
pub(super) struct Leaving {
    /// What was asked of it.
    doing: String,
    deadline: Instant,
    /// What it says to it, if it was asked over its API.
    answer: Option<JoinHandle<io::Result<()>>>,
}

impl Mesh {
    /// Asks a node to let its children move, and to end: [`Mesh::has_left`] tells when.
    pub(crate) fn ask_to_leave(&mut self, node: &Name) -> Result<(), MeshError> {
        let doing = format!("drain {node}");
        self.must_run(node, &doing)?;
        let port = self.nodes.get(&node.0).map_or(0, |node| node.http);
        let connection = self.network.connect(&node.0, port).map_err(failed(&doing))?;
        // It answers when its children have moved.
        let answer = std::thread::spawn(move || http::act(connection, "/api/v1/drain", DRAIN));
        self.leaves(node, doing, Some(answer));
        Ok(())
    }

    /// Asks a node to end (SIGTERM). One that has ended by itself takes the signal, as long as nobody has asked what it ended with;
    /// that it did is told at the end.
    pub(super) fn ask_to_stop(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        self.must_run(node, doing)?;
        let process = self.process(node, doing)?;
        if process.has_ended() {
            self.ended.push(ended_by_itself(&node.0));
            self.let_go(node);
            return Ok(());
        }
        process.stop().map_err(failed(doing))?;
        self.leaves(node, doing.to_owned(), None);
        Ok(())
    }

    /// Whether a node that was asked to end has. One that does not in time is killed, and that is an error.
    pub(crate) fn has_left(&mut self, node: &Name) -> Result<bool, MeshError> {
        let Some(known) = self.nodes.get_mut(&node.0) else { return Ok(true) };
        let Some(leaving) = &known.leaving else { return Ok(true) };
        let has_ended = known.process.as_mut().is_none_or(|process| process.has_ended());
        if !has_ended && Instant::now() <= leaving.deadline {
            return Ok(false);
        }
        let leaving = known.leaving.take();
        self.let_go(node);
        match leaving {
            Some(leaving) if !has_ended => Err(leaving.failed()),
            _ => Ok(true),
        }
    }

    pub(super) fn await_left(&mut self, node: &Name) -> Result<(), MeshError> {
        while !self.has_left(node)? {
            self.must_go_on()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn leaves(&mut self, node: &Name, doing: String, answer: Option<JoinHandle<io::Result<()>>>) {
        if let Some(known) = self.nodes.get_mut(&node.0) {
            known.leaving = Some(Leaving { doing, deadline: Instant::now() + DRAIN, answer });
        }
    }
}

impl Leaving {
    fn failed(self) -> MeshError {
        let answer = self.answer.filter(JoinHandle::is_finished).and_then(|answer| answer.join().ok());
        match answer {
            Some(Err(error)) => failed(&self.doing)(error),
            _ => {
                let why = format!("it runs on after {} s, and is killed", DRAIN.as_secs());
                MeshError::Senseless(self.doing, why)
            }
        }
    }
}
