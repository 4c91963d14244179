//! Playout: streams made ready for players, once per node and format, and shared by all viewers.

mod chunks;
pub mod hls;
mod mux;
mod splice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use levada_overlay::{Position, StreamName};
use tokio::task::JoinHandle;

use crate::log::GroupId;
use crate::node::{Node, NodeError};

pub use chunks::{Chunk, ChunkReader, Chunks, Init};

/// A playout that is started for a viewer of another node begins with groups from this much before its own, in
/// milliseconds: the viewers of a node that died come together, and not all of them are equally far. Tuned.
const SLACK_MS: u64 = 2_000;

/// Forms that players read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// MPEG-TS.
    Ts,
    /// Fragmented MP4.
    Fmp4,
}

/// One stream in one format; ends with its last viewer.
#[derive(Debug)]
pub struct Playout {
    /// What viewers read.
    pub chunks: Arc<Chunks>,
    task: JoinHandle<()>,
}

impl Drop for Playout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Open = HashMap<(StreamName, Format), Weak<Playout>>;

/// All playouts of a node.
#[derive(Clone, Debug)]
pub struct Playouts {
    node: Node,
    open: Arc<Mutex<Open>>,
}

impl Playouts {
    /// None open yet.
    pub fn new(node: Node) -> Self {
        Self { node, open: Arc::default() }
    }

    /// Joins the playout of a stream, or starts it: with the newest group, or so early that a viewer can go on who has
    /// everything up to `after` from another node.
    pub async fn open(
        &self,
        stream: StreamName,
        format: Format,
        after: Option<Position>,
    ) -> Result<Arc<Playout>, NodeError> {
        if let Some(playout) = self.find(&stream, format) {
            return Ok(playout);
        }
        let from = after.map(|at| GroupId { group: at.group.saturating_sub(SLACK_MS), timeline: at.timeline });
        let subscription = self.node.subscribe(stream.clone(), from).await?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, playout| playout.strong_count() > 0);
        // Another viewer may have been quicker.
        if let Some(playout) = open.get(&(stream.clone(), format)).and_then(Weak::upgrade) {
            return Ok(playout);
        }
        let chunks = Arc::new(Chunks::default());
        let stats = self.node.stats().clone();
        let task = tokio::spawn(mux::run(subscription, format, chunks.clone(), stats));
        let playout = Arc::new(Playout { chunks, task });
        open.insert((stream, format), Arc::downgrade(&playout));
        Ok(playout)
    }

    /// Viewers of a stream now, in all formats.
    pub fn viewers(&self, stream: &str) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_stream = open.iter().filter(|((name, _), _)| name.as_str() == stream);
        of_stream.map(|(_, playout)| playout.strong_count() as u64).sum()
    }

    fn find(&self, stream: &StreamName, format: Format) -> Option<Arc<Playout>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&(stream.clone(), format)).and_then(Weak::upgrade)
    }
}
