//! Ingest: files, folders and pipes become streams.
//!
//! A blocking thread reads frames; a task paces them by their decode times and writes them as objects into the log.

mod folder;
mod group;
mod others;
mod pace;
mod stamps;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_media::Frame;
use levada_media::demux::ts::TsDemuxer;
use levada_media::source::{self, Looped, SourceError};
use levada_overlay::{NameError, StreamName};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::node::{Node, NodeError};

use pace::Pace;

pub use folder::{is_media, publish_folder};
pub use group::{GroupWriter, Origin};

/// Frames read ahead of their time.
const READ_AHEAD: usize = 64;
/// Frames of a live source that wait for their time; no more is read until there is room. Tuned: some seconds, which no
/// live source is ahead of its time.
const WAITING_MAX: usize = 512;
/// Bytes of standard input within which its tracks must show themselves.
const PROBE_LEN: usize = 8 * 1024 * 1024;

/// Why something cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The file cannot be opened.
    #[error("cannot open {0}")]
    Open(PathBuf, #[source] std::io::Error),
    /// The file cannot be used.
    #[error("cannot publish {0}")]
    Source(PathBuf, #[source] SourceError),
    /// Its name cannot name a stream.
    #[error("cannot publish {0} under its own name; choose one with --name")]
    Name(PathBuf, #[source] NameError),
    /// The node refuses.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Standard input is no transport stream.
    #[error(
        "standard input is not an MPEG transport stream with H.264, HEVC, AAC or Opus; pipe one in, for example: ffmpeg … -f mpegts - | levada publish -"
    )]
    Stdin,
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    StdinRead(#[source] std::io::Error),
    /// The catalog does not fit an object.
    #[error("the source has too many tracks")]
    Catalog,
}

/// The stream name that a file gets: its name without its ending, other characters replaced.
pub fn stream_name(path: &Path) -> Result<StreamName, IngestError> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = stem.chars().map(allowed).take(64).collect();
    StreamName::new(name.trim_matches('.')).map_err(|error| IngestError::Name(path.to_owned(), error))
}

/// Opens a file for looping; reads it once, so call it off the runtime.
fn open_file(path: &Path) -> Result<Looped, IngestError> {
    let file = std::fs::File::open(path).map_err(|error| IngestError::Open(path.to_owned(), error))?;
    let reader = std::io::BufReader::with_capacity(1 << 20, file);
    let failed = |error| IngestError::Source(path.to_owned(), error);
    Looped::new(source::open(reader).map_err(failed)?).map_err(failed)
}

/// Publishes a file in a loop, in real time, until the future is dropped or somebody [stops](Node::stop_stream) the stream.
pub async fn publish_file(node: &Node, path: &Path, name: StreamName, priority: u32) -> Result<(), IngestError> {
    prepare_file(node, path, name, priority).await?.run().await
}

/// A file that the mesh is told of, and that [flows](Prepared::run) next.
pub struct Prepared {
    path: PathBuf,
    looped: Looped,
    stop: Arc<Notify>,
    writer: GroupWriter,
}

/// Opens a file, and takes the name for it.
pub async fn prepare_file(node: &Node, path: &Path, name: StreamName, priority: u32) -> Result<Prepared, IngestError> {
    let opening = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open_file(&opening)).await;
    let looped = opened.map_err(|_| NodeError::Stopping)??;
    let publication = node.publish(name.clone(), priority).await?;
    tracing::info!(stream = %name, path = %path.display(), "publishing");
    let stop = publication.stop();
    let writer = GroupWriter::new(publication, looped.catalog().clone(), Origin::File).ok_or(IngestError::Catalog)?;
    Ok(Prepared { path: path.to_owned(), looped, stop, writer })
}

impl Prepared {
    /// Publishes it in real time until it is stopped.
    pub async fn run(self) -> Result<(), IngestError> {
        let stop = self.stop.clone();
        tokio::select! {
            result = self.flow() => result,
            () = stop.notified() => Ok(()),
        }
    }

    async fn flow(self) -> Result<(), IngestError> {
        let Self { path, mut looped, mut writer, .. } = self;
        let catalog = looped.catalog().clone();
        let (sender, mut frames) = mpsc::channel::<Result<Frame, SourceError>>(READ_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let frame = looped.next_frame();
                let failed = frame.is_err();
                if sender.blocking_send(frame).is_err() || failed {
                    return;
                }
            }
        });
        let mut pace = Pace::new(&catalog, Instant::now());
        while let Some(frame) = frames.recv().await {
            let frame = frame.map_err(|error| IngestError::Source(path.clone(), error))?;
            tokio::time::sleep_until(pace.due(&frame, Instant::now())).await;
            writer.write(&frame);
        }
        Ok(())
    }
}

/// Publishes an MPEG transport stream from standard input until it ends.
pub async fn publish_stdin(node: &Node, name: StreamName, priority: u32, shared: bool) -> Result<(), IngestError> {
    publish_ts(node, tokio::io::stdin(), name, priority, shared).await
}

/// Publishes an MPEG transport stream until it ends. One that is `shared` makes the same objects at all origins that the
/// same encoder feeds.
pub async fn publish_ts(
    node: &Node,
    mut stdin: impl AsyncRead + Unpin,
    name: StreamName,
    priority: u32,
    shared: bool,
) -> Result<(), IngestError> {
    let (mut demuxer, origin) =
        if shared { (TsDemuxer::absolute(), Origin::Shared) } else { (TsDemuxer::default(), Origin::Live) };
    let mut bytes = vec![0; 64 * 1024];
    let mut read = 0;
    let catalog = loop {
        let len = stdin.read(&mut bytes).await.map_err(IngestError::StdinRead)?;
        read += len;
        demuxer.push(bytes.get(..len).unwrap_or_default());
        match demuxer.catalog() {
            Some(catalog) => break catalog,
            None if len == 0 || read > PROBE_LEN => {
                let known = demuxer.known();
                if known.tracks.is_empty() {
                    return Err(IngestError::Stdin);
                }
                break known;
            }
            None => {}
        }
    };
    let publication = node.publish(name.clone(), priority).await?;
    tracing::info!(stream = %name, "publishing standard input");
    let stop = publication.stop();
    let mut writer = GroupWriter::new(publication, catalog.clone(), origin).ok_or(IngestError::Catalog)?;
    let mut pace = Pace::new(&catalog, Instant::now());
    let mut waiting: VecDeque<Frame> = VecDeque::new();
    // A source that is faster than its timestamps tells nothing by when its frames come.
    let mut too_fast = false;
    let mut ended = false;
    loop {
        while let Some(frame) = demuxer.next_frame() {
            if !too_fast {
                pace.arrived(&frame, Instant::now());
            }
            waiting.push_back(frame);
        }
        too_fast = waiting.len() >= WAITING_MAX || too_fast && !waiting.is_empty();
        let due = waiting.front().map(|frame| pace.due(frame, Instant::now()));
        tokio::select! {
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(frame) = waiting.pop_front() else { continue };
                writer.write(&frame);
                let wraps = writer.take_wraps();
                if wraps != 0 {
                    demuxer.add_wraps(wraps);
                    // They have the timestamps of before; the group that they belong to is left out anyway.
                    waiting.clear();
                }
            }
            len = stdin.read(&mut bytes), if !ended && waiting.len() < WAITING_MAX => {
                let len = len.map_err(IngestError::StdinRead)?;
                demuxer.push(bytes.get(..len).unwrap_or_default());
                if len == 0 {
                    demuxer.end();
                    ended = true;
                }
            }
            () = stop.notified() => return Ok(()),
            else => return Ok(()),
        }
    }
}
