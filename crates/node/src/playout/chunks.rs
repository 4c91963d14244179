//! The muxed form of a stream: a bounded log of chunks, and readers that hold positions in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use levada_overlay::Position;
use tokio::sync::watch;

/// Most bytes kept: 10 s at 25 Mbit/s.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Starting points kept; a reader that is further behind goes on at the newest one. Tuned: after an outage all that a
/// log holds (ten seconds) comes at once, in groups of a fraction of a second.
const STARTS_KEPT: usize = 64;

/// What a player must know before the first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Media type with codecs; empty where the format needs none.
    pub mime: String,
    /// Initialisation segment; empty where the format needs none.
    pub segment: Bytes,
}

/// One frame, muxed; in a transport stream a picture with the sound that waited for it.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Position of the object that completed the frame: the same on every node.
    pub at: Position,
    /// The bytes.
    pub bytes: Bytes,
    /// The position and the bytes in one piece, as a page gets them; empty where the format is not for pages.
    pub message: Bytes,
    /// A player can start here.
    pub start: bool,
    /// What it belongs to; the same for all chunks until the broadcast begins anew.
    pub init: Arc<Init>,
}

/// The newest chunks of a stream in one format.
#[derive(Debug)]
pub struct Chunks {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Number of the first chunk kept.
    first: u64,
    bytes: usize,
    starts: VecDeque<u64>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Chunks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, chunk: Chunk) {
        let mut state = self.state();
        let number = state.first + state.chunks.len() as u64;
        state.bytes += chunk.bytes.len();
        if chunk.start {
            state.starts.push_back(number);
        }
        state.chunks.push_back(chunk);
        while state.starts.len() > STARTS_KEPT || state.bytes > BYTES_MAX && state.starts.len() > 1 {
            state.starts.pop_front();
            let keep = state.starts.front().copied().unwrap_or(number);
            while state.first < keep {
                let Some(gone) = state.chunks.pop_front() else { break };
                state.bytes -= gone.bytes.len();
                state.first += 1;
            }
        }
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }
}

/// Where a log goes on after a position.
enum After {
    /// With the chunk of this number.
    Here(u64),
    /// It holds nothing newer.
    NotYet,
    /// Something between is not held.
    Gone,
}

impl State {
    fn place_after(&self, position: Position) -> After {
        let held = self.chunks.partition_point(|chunk| chunk.at <= position);
        let Some(next) = self.chunks.get(held) else { return After::NotYet };
        // What was muxed has no holes, and begins with the beginning of a group.
        let begins_here = (next.at.group, next.at.timeline) == (position.group, position.timeline) && self.first == 0;
        if held > 0 || begins_here { After::Here(self.first + held as u64) } else { After::Gone }
    }
}

/// A viewer's position.
#[derive(Debug)]
pub struct ChunkReader {
    chunks: Arc<Chunks>,
    changes: watch::Receiver<u64>,
    /// Number of the next chunk; `None` before the first one.
    next: Option<u64>,
    /// The viewer has everything up to here from elsewhere.
    after: Option<Position>,
    resumed: bool,
}

impl ChunkReader {
    /// Starts at the newest starting point.
    pub fn new(chunks: Arc<Chunks>) -> Self {
        let changes = chunks.version.subscribe();
        Self { chunks, changes, next: None, after: None, resumed: false }
    }

    /// Goes on after what a viewer has from another node; at the newest starting point if the log does not reach back so far.
    pub fn after(chunks: Arc<Chunks>, position: Position) -> Self {
        Self { after: Some(position), ..Self::new(chunks) }
    }

    /// Whether it went on right after what the viewer had; known once something was read.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Waits for chunks and takes all there are, at most `max`.
    pub async fn next(&mut self, max: usize, out: &mut Vec<Chunk>) {
        loop {
            self.changes.mark_unchanged();
            if self.take(max, out) > 0 {
                return;
            }
            if self.changes.changed().await.is_err() {
                // The reader itself keeps the log alive, so this does not happen.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self, max: usize, out: &mut Vec<Chunk>) -> usize {
        let state = self.chunks.state();
        if let Some(after) = self.after {
            match state.place_after(after) {
                After::Here(next) => (self.next, self.resumed) = (Some(next), true),
                After::NotYet => return 0,
                After::Gone => {}
            }
            self.after = None;
        }
        let newest_start = state.starts.back().copied();
        // A reader that fell out of the log goes on at the newest starting point.
        let Some(next) = self.next.filter(|next| *next >= state.first).or(newest_start) else { return 0 };
        let from = (next - state.first) as usize;
        let before = out.len();
        out.extend(state.chunks.range(from.min(state.chunks.len())..).take(max).cloned());
        let taken = out.len() - before;
        self.next = Some(next + taken as u64);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(chunks: &Chunks, number: u8, start: bool) {
        let init = Arc::new(Init { mime: String::new(), segment: Bytes::new() });
        let at = position(number);
        chunks.push(Chunk { at, bytes: Bytes::from(vec![number]), message: Bytes::new(), start, init });
    }

    /// Groups of ten chunks.
    fn position(number: u8) -> Position {
        Position { group: u64::from(number / 10), timeline: 1, index: u32::from(number % 10) }
    }

    async fn read(reader: &mut ChunkReader) -> Vec<u8> {
        let mut out = Vec::new();
        reader.next(100, &mut out).await;
        out.iter().map(|chunk| chunk.bytes[0]).collect()
    }

    #[tokio::test]
    async fn readers_start_at_the_newest_starting_point_and_miss_nothing() {
        let chunks = Arc::new(Chunks::default());
        for (number, start) in [(0, true), (1, false), (2, true), (3, false)] {
            push(&chunks, number, start);
        }
        let mut reader = ChunkReader::new(chunks.clone());
        assert_eq!(read(&mut reader).await, [2, 3]);
        push(&chunks, 4, false);
        assert_eq!(read(&mut reader).await, [4]);
    }

    #[tokio::test]
    async fn a_reader_that_fell_behind_goes_on_at_the_newest_starting_point() {
        let chunks = Arc::new(Chunks::default());
        push(&chunks, 0, true);
        let mut reader = ChunkReader::new(chunks.clone());
        assert_eq!(read(&mut reader).await, [0]);
        (1..200).for_each(|number| push(&chunks, number, number % 2 == 0));
        assert_eq!(read(&mut reader).await, [198, 199]);
    }

    #[tokio::test]
    async fn a_viewer_of_another_node_goes_on_at_the_very_chunk() {
        let chunks = Arc::new(Chunks::default());
        (20..25).for_each(|number| push(&chunks, number, number == 20));
        for (has, next) in [(22, 23), (20, 21)] {
            let mut reader = ChunkReader::after(chunks.clone(), position(has));
            assert_eq!(read(&mut reader).await[0], next);
            assert!(reader.resumed());
        }
        // It is ahead of this node.
        let mut reader = ChunkReader::after(chunks.clone(), position(26));
        assert_eq!(reader.take(100, &mut Vec::new()), 0);
        (25..29).for_each(|number| push(&chunks, number, false));
        assert_eq!(read(&mut reader).await, [27, 28]);
        assert!(reader.resumed());
    }

    #[tokio::test]
    async fn a_viewer_is_told_that_something_is_missing() {
        let chunks = Arc::new(Chunks::default());
        (20..40).for_each(|number| push(&chunks, number, number % 10 == 0));
        let mut reader = ChunkReader::after(chunks, position(17));
        assert_eq!(read(&mut reader).await[0], 30);
        assert!(!reader.resumed());
    }
}
