//! The muxed form of a stream: a bounded log of chunks, and readers that hold positions in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
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

/// One frame, muxed.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The bytes.
    pub bytes: Bytes,
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

/// A viewer's position.
#[derive(Debug)]
pub struct ChunkReader {
    chunks: Arc<Chunks>,
    changes: watch::Receiver<u64>,
    /// Number of the next chunk; `None` before the first starting point.
    next: Option<u64>,
}

impl ChunkReader {
    /// Starts at the newest starting point.
    pub fn new(chunks: Arc<Chunks>) -> Self {
        let changes = chunks.version.subscribe();
        Self { chunks, changes, next: None }
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
        chunks.push(Chunk { bytes: Bytes::from(vec![number]), start, init });
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
}
