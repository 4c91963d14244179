//! Invariant 4: one failure makes one switch per affected subtree; jitter alone makes none.
//!
//! A subtree hangs below each child of what failed. Its root has to switch; those below it keep their parents.

use std::time::Duration;

use levada_overlay::{Mode, Time};

use super::{NodeIndex, PerNode, StreamIndex};

/// Switches within this time after a failure further up count as its consequence.
const CONSEQUENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Fed {
    parent: NodeIndex,
    mode: Mode,
    /// The latest failure above this node, and until when it excuses a switch.
    failure: Option<(usize, Time)>,
}

#[derive(Debug, Default)]
struct Failure {
    subtrees: u64,
    affected: u64,
    switches: u64,
}

/// The tree of every stream as it was committed to, and what changed it.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    fed: PerNode<Fed>,
    failures: Vec<Failure>,
    /// Switches that no failure above the node asked for.
    pub(crate) optimising: u64,
}

/// What failures did, in sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consequences {
    /// Failures that tore a tree.
    pub(crate) failures: u64,
    /// Subtrees that they cut off.
    pub(crate) subtrees: u64,
    /// Nodes in those.
    pub(crate) affected: u64,
    /// Switches after them.
    pub(crate) switches: u64,
    /// The most switches per subtree that any one of them made.
    pub(crate) worst: f64,
}

impl Switches {
    /// A node committed to a parent.
    pub(crate) fn committed(&mut self, node: NodeIndex, stream: StreamIndex, parent: NodeIndex, mode: Mode, now: Time) {
        let place = self.fed.place(node, stream);
        let Some(fed) = place else {
            *place = Some(Fed { parent, mode, failure: None });
            return;
        };
        // A new link to the same parent is no switch.
        let same = std::mem::replace(&mut fed.parent, parent) == parent;
        let before = std::mem::replace(&mut fed.mode, mode);
        // Where no objects come, or came, nobody is interrupted.
        if same || mode == Mode::Shadow || before == Mode::Shadow {
            return;
        }
        match fed.failure {
            Some((failure, until)) if now <= until => self.failures[failure].switches += 1,
            _ => self.optimising += 1,
        }
    }

    /// A node asked its parent for more, or less, than before.
    pub(crate) fn asked_again(&mut self, node: NodeIndex, stream: StreamIndex, mode: Mode) {
        if let Some(fed) = self.fed.get_mut(node, stream) {
            fed.mode = mode;
        }
    }

    /// The parent that a node committed to last.
    pub(crate) fn parent(&self, node: NodeIndex, stream: StreamIndex) -> Option<NodeIndex> {
        self.fed.get(node, stream).map(|fed| fed.parent)
    }

    /// A node needs a stream no more, or stopped.
    pub(crate) fn forget(&mut self, node: NodeIndex, stream: Option<StreamIndex>) {
        self.fed.remove(node, stream);
    }

    /// The warm-up is over: count from here.
    pub(crate) fn restart(&mut self) {
        self.failures.clear();
        self.optimising = 0;
        self.fed.iter_mut().for_each(|(.., fed)| fed.failure = None);
    }

    /// Something failed: `torn` says which edges (parent, child) went. Gives all nodes below them.
    pub(crate) fn failed(
        &mut self,
        now: Time,
        torn: impl Fn(NodeIndex, NodeIndex) -> bool,
    ) -> Vec<(NodeIndex, StreamIndex)> {
        let mut failure = Failure::default();
        let mut affected = Vec::new();
        for (node, stream, fed) in self.fed.iter() {
            failure.subtrees += u64::from(fed.mode == Mode::Full && torn(fed.parent, node));
            let mut below = node;
            let mut steps = 0;
            while let Some(parent) = self.parent(below, stream)
                && steps < 1_000
            {
                if torn(parent, below) {
                    affected.push((node, stream));
                    break;
                }
                below = parent;
                steps += 1;
            }
        }
        failure.affected = affected.len() as u64;
        if failure.subtrees > 0 {
            let index = self.failures.len();
            for &(node, stream) in &affected {
                if let Some(fed) = self.fed.get_mut(node, stream) {
                    fed.failure = Some((index, now + CONSEQUENCE));
                }
            }
            self.failures.push(failure);
        }
        affected
    }

    pub(crate) fn consequences(&self) -> Consequences {
        let mut sum = Consequences::default();
        for failure in &self.failures {
            sum.failures += 1;
            sum.subtrees += failure.subtrees;
            sum.affected += failure.affected;
            sum.switches += failure.switches;
            sum.worst = sum.worst.max(failure.switches as f64 / failure.subtrees as f64);
        }
        sum
    }
}
