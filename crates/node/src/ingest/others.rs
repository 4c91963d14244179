//! What this node knows of the other origins of a stream that it publishes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use levada_overlay::{StreamFacts, StreamName};
use tokio::task::JoinHandle;

use crate::node::Node;

/// Pauses between two looks, before and after a node has its bearings. Tuned: a change takes effect at a group's start.
const LOOK: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// A node that has had a link for this long knows who else publishes the stream. Tuned: some round trips.
const SETTLES: Duration = Duration::from_millis(500);
/// A node that has found no neighbour within this time goes ahead without.
const SETTLES_ALONE: Duration = Duration::from_secs(3);

/// The other origins, looked up again and again until dropped.
#[derive(Debug)]
pub(super) struct Others {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    facts: Vec<StreamFacts>,
    settled: bool,
}

impl Others {
    pub(super) fn watch(node: Node, stream: StreamName) -> Self {
        let seen = Arc::new(Mutex::new(Seen { at: Instant::now(), facts: Vec::new(), settled: false }));
        let task = tokio::spawn(look(node, stream, seen.clone()));
        Self { seen, task }
    }

    /// What they would tell now, and whether this node has had time to hear of them.
    pub(super) fn now(&self) -> (Vec<StreamFacts>, bool) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let age = seen.at.elapsed();
        (seen.facts.iter().map(|facts| facts.clone().aged(age)).collect(), seen.settled)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(node: Node, stream: StreamName, seen: Arc<Mutex<Seen>>) {
    let started = Instant::now();
    let mut linked: Option<Instant> = None;
    let mut settled = false;
    loop {
        let Ok(publishers) = node.publishers_of(&stream).await else { return };
        if !settled {
            let Ok(view) = node.view().await else { return };
            if view.neighbours.iter().any(|neighbour| neighbour.up) {
                linked.get_or_insert_with(Instant::now);
            }
            settled = linked.is_some_and(|at| at.elapsed() >= SETTLES) || started.elapsed() >= SETTLES_ALONE;
        }
        let facts = publishers.into_iter().filter(|(id, _)| *id != node.id()).map(|(_, facts)| facts).collect();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { at: Instant::now(), facts, settled };
        tokio::time::sleep(LOOK[usize::from(settled)]).await;
    }
}
