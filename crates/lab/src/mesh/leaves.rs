//! What a script does to leaves. Every stream that one watches is a process of its own, which goes with its viewer.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use levada_overlay::StreamName;

use super::{Condition, DRAIN, Mesh, MeshError, failed};
use crate::file::Name;
use crate::interrupt::Interrupt;
use crate::nodes::Process;
use crate::viewers::{Viewer, ViewerId};

impl Mesh {
    pub(super) fn is_leaf(&self, node: &Name) -> bool {
        self.lab.leaves.contains(&node.0)
    }

    /// Lets a leaf watch what the file says that it watches.
    pub(super) fn start_leaf(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        self.bury_leaf(&node.0);
        let senseless = |why: String| Err(MeshError::Senseless(doing.to_owned(), why));
        if !self.watched_by_leaf(node).is_empty() {
            return senseless(format!("{node} runs already; kill or stop it first"));
        }
        let watched: Vec<ViewerId> = self.lab.viewers.iter().filter(|id| id.0 == node.0).cloned().collect();
        if watched.is_empty() {
            return senseless(format!("no line of viewers says what {node} watches; write: watch {node} STREAM"));
        }
        watched.iter().try_for_each(|(node, stream)| self.watch(node, stream))
    }

    /// Ends it without a word.
    pub(super) fn kill_leaf(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        self.each_leaf(node, doing, |viewer| {
            viewer.end();
            Ok(())
        })
    }

    /// Ends it without a word, and lets it watch again what it watched.
    pub(super) fn restart_leaf(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        let watched = self.watched_by_leaf(node);
        self.kill_leaf(node, doing)?;
        watched.iter().try_for_each(|stream| self.watch(&node.0, stream))
    }

    /// Asks it to end, and waits until it has: what it still writes is seen.
    pub(super) fn stop_leaf(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        if self.condition(&node.0) == Condition::Stalled {
            let why = format!("{node} stands still; resume it first");
            return Err(MeshError::Senseless(doing.to_owned(), why));
        }
        self.each_process(node, doing, |process| process.stop())?;
        let (deadline, interrupt) = (Instant::now() + DRAIN, self.settings.interrupt.clone());
        self.each_leaf(node, doing, |viewer| {
            let ended = viewer.leaf.as_mut().is_none_or(|(process, _)| ends_by(process, deadline, &interrupt));
            viewer.end();
            let late = || io::Error::other(format!("it runs on after {} s", DRAIN.as_secs()));
            ended.then_some(()).ok_or_else(late)
        })
    }

    /// Does something to every process of a leaf that runs.
    pub(super) fn each_process(
        &mut self,
        node: &Name,
        doing: &str,
        what: impl Fn(&mut Process) -> io::Result<()>,
    ) -> Result<(), MeshError> {
        self.each_leaf(node, doing, |viewer| viewer.leaf.as_mut().map_or(Ok(()), |(process, _)| what(process)))
    }

    /// A viewer that is a process of its own.
    pub(super) fn leaf(&mut self, node: &str, stream: &StreamName) -> Result<Viewer, MeshError> {
        self.bury_leaf(node);
        if self.watched_by_leaf(&Name(node.to_owned())).contains(stream) {
            return Err(MeshError::Senseless(format!("watch {node} {stream}"), "it is watched already".to_owned()));
        }
        let name = self.free_identity(node);
        self.enrol(&name, node)?;
        let mut command = self.command(&name)?;
        command.args(["watch", stream.as_str(), "--to", "-", "--name", &name, "--until-stdin-closes"]);
        command.arg("--dir").arg(self.dir.path().join(&name)).stdout(Stdio::piped());
        Ok(Viewer::leaf(Process::new(self.network.spawn(node, command)?), name, self.cadence(stream)))
    }

    /// Processes of leaves that ended though nobody ended them. Whoever watched with them is still to be served.
    pub(super) fn lost_leaves(&mut self) -> Vec<String> {
        let watching = self.viewers.iter_mut().filter(|(_, viewer)| viewer.since.is_some());
        let leaves = watching.filter_map(|(_, viewer)| viewer.leaf.as_mut());
        leaves.filter_map(|(process, name)| process.has_ended().then(|| ended_by_itself(name))).collect()
    }

    fn each_leaf(
        &mut self,
        node: &Name,
        doing: &str,
        what: impl FnMut(&mut Viewer) -> io::Result<()>,
    ) -> Result<(), MeshError> {
        self.bury_leaf(&node.0);
        if self.watched_by_leaf(node).is_empty() {
            let why = format!("leaf {node} does not run; start it first");
            return Err(MeshError::Senseless(doing.to_owned(), why));
        }
        let viewers = self.viewers.iter_mut().filter(|(id, viewer)| id.0 == node.0 && viewer.since.is_some());
        viewers.map(|(_, viewer)| viewer).try_for_each(what).map_err(failed(doing))
    }

    fn watched_by_leaf(&self, node: &Name) -> Vec<StreamName> {
        let watching = self.viewers.iter().filter(|(id, viewer)| id.0 == node.0 && viewer.since.is_some());
        watching.map(|((_, stream), _)| stream.clone()).collect()
    }

    /// Lets go of what ended by itself, so that the leaf can begin anew; that it did is told at the end.
    fn bury_leaf(&mut self, node: &str) {
        for (_, viewer) in self.viewers.iter_mut().filter(|(id, viewer)| id.0 == node && viewer.since.is_some()) {
            if let Some((process, name)) = &mut viewer.leaf
                && process.has_ended()
            {
                self.ended.push(ended_by_itself(name));
                viewer.end();
            }
        }
    }

    /// A name that none of its processes has: streams may have names that no node can have. No node of a lab has a hyphen.
    fn free_identity(&self, node: &str) -> String {
        let taken = |name: &String| {
            let mut leaves = self.viewers.iter().filter_map(|(_, viewer)| viewer.leaf.as_ref());
            leaves.any(|(_, known)| known == name)
        };
        let more = (2..).map(|n| format!("{node}-{n}"));
        std::iter::once(node.to_owned()).chain(more).find(|name| !taken(name)).unwrap_or_default()
    }
}

pub(super) fn ended_by_itself(name: &str) -> String {
    format!("{name} ended by itself")
}

/// Waits for the end of a process.
fn ends_by(process: &mut Process, deadline: Instant, interrupt: &Interrupt) -> bool {
    while !process.has_ended() {
        if Instant::now() > deadline || interrupt.is_raised() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
