//! Viewers: MPEG-TS over HTTP, fragmented MP4 over WebSocket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use levada_overlay::{Position, StreamName};
use serde::Deserialize;
use tokio::time::timeout;

use super::Rooms;
use super::api::Problem;
use crate::playout::{Chunk, ChunkReader, Format, Init, Playout};
use crate::stats::Stats;

/// Chunks handed to a viewer at once.
const BATCH: usize = 64;
/// A viewer of a page is told that its stream waits after this long without media, and again as long as it does: a page
/// that hears nothing takes the node for dead.
const WAITING_AFTER: Duration = Duration::from_secs(2);
/// A viewer that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(10);
/// What a WebSocket reads at once, in bytes. Tuned: pages send nothing, and all of it is zeroed whenever something could have come.
const READ: usize = 1024;
/// A WebSocket writes once it has so many bytes, or all there are. Tuned: what begins a viewer's stream need not be copied whole.
const WRITE: usize = 16 * 1024;

#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    /// Wait for a stream that nobody publishes yet.
    #[serde(default)]
    wait: u8,
    /// Go on after this position, which the viewer has from another node.
    after: Option<String>,
}

/// `/live/NAME.ts` and `/live/NAME.ws`.
pub(super) async fn live(
    State(rooms): State<Rooms>,
    Path(file): Path<String>,
    Query(wish): Query<Wish>,
    request: Request,
) -> Result<Response, Problem> {
    let (name, format) = match file.rsplit_once('.') {
        Some((name, "ts")) => (name, Format::Ts),
        Some((name, "ws")) => (name, Format::Fmp4),
        _ => return Err(Problem::not_found(format!("there is no {file}; players read /live/NAME.ts"))),
    };
    let stream = StreamName::new(name).map_err(refused)?;
    let stats = rooms.node.stats();
    if stats.viewers.load(Ordering::Relaxed) >= stats.viewers_max {
        return Err(Problem::busy(format!(
            "node {} has as many viewers as it takes; try another PoP",
            rooms.node.name()
        )));
    }
    if wish.wait == 0 {
        known(&rooms, &stream).await?;
    }
    let after: Option<Position> = wish.after.as_deref().map(str::parse).transpose().map_err(refused)?;
    match format {
        Format::Ts => {
            let viewer = Viewer::new(&rooms, stream, format, None).await?;
            let body = futures_util::stream::unfold(viewer, |mut viewer| async {
                let bytes = viewer.next_bytes().await;
                Some((Ok::<_, std::convert::Infallible>(bytes), viewer))
            });
            let headers = [(header::CONTENT_TYPE, "video/mp2t"), (header::CACHE_CONTROL, "no-store")];
            Ok((headers, Body::from_stream(body)).into_response())
        }
        Format::Fmp4 => {
            let (mut parts, _) = request.into_parts();
            let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &rooms).await;
            let upgrade = upgrade.map_err(|_| Problem::bad_request(format!("{file} is for WebSocket clients")))?;
            Ok(upgrade.read_buffer_size(READ).write_buffer_size(WRITE).on_upgrade(move |socket| async move {
                if let Ok(viewer) = Viewer::new(&rooms, stream, format, after).await {
                    page(socket, viewer).await;
                }
            }))
        }
    }
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request(error.to_string())
}

/// Refuses a stream that nobody publishes, naming those that are.
pub(super) async fn known(rooms: &Rooms, stream: &StreamName) -> Result<(), Problem> {
    let view = rooms.node.view().await?;
    if view.streams.iter().any(|known| known.name == stream.as_str()) {
        return Ok(());
    }
    let names: Vec<&str> = view.streams.iter().map(|known| known.name.as_str()).take(20).collect();
    let there_are =
        if names.is_empty() { "there are none now".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Err(Problem::not_found(format!(
        "nobody publishes a stream \"{stream}\"; {there_are}; add ?wait=1 to wait until somebody does"
    )))
}

struct Viewer {
    reader: ChunkReader,
    chunks: Vec<Chunk>,
    stats: Arc<Stats>,
    /// Kept so that the stream flows.
    _playout: Arc<Playout>,
}

impl Viewer {
    async fn new(rooms: &Rooms, stream: StreamName, format: Format, after: Option<Position>) -> Result<Self, Problem> {
        let playout = rooms.playouts.open(stream, format, after).await?;
        let stats = rooms.node.stats().clone();
        Stats::add(&stats.viewers, 1);
        let chunks = playout.chunks.clone();
        let reader = match after {
            Some(after) => ChunkReader::after(chunks, after),
            None => ChunkReader::new(chunks),
        };
        Ok(Self { reader, chunks: Vec::with_capacity(BATCH), stats, _playout: playout })
    }

    /// All that is there, in one piece: one write per wake-up.
    async fn next_bytes(&mut self) -> Bytes {
        self.chunks.clear();
        self.reader.next(BATCH, &mut self.chunks).await;
        join(&self.chunks)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stats.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One chunk is passed on as it is; only a viewer that starts or catches up costs a copy.
fn join(chunks: &[Chunk]) -> Bytes {
    match chunks {
        [one] => one.bytes.clone(),
        many => {
            let mut out = BytesMut::with_capacity(many.iter().map(|chunk| chunk.bytes.len()).sum());
            many.iter().for_each(|chunk| out.extend_from_slice(&chunk.bytes));
            out.freeze()
        }
    }
}

/// Feeds a page until it goes: each frame with its position in front, so that the page can go on at another node.
async fn page(mut socket: WebSocket, mut viewer: Viewer) {
    let mut current: Option<Arc<Init>> = None;
    loop {
        viewer.chunks.clear();
        let chunks = &mut viewer.chunks;
        tokio::select! {
            taken = timeout(WAITING_AFTER, viewer.reader.next(BATCH, chunks)) => {
                if taken.is_err() {
                    if !send(&mut socket, vec![Message::Text("{\"type\":\"waiting\"}".into())]).await {
                        return;
                    }
                    continue;
                }
            }
            // Pages send nothing; what comes is a close, a ping that axum answers, or noise.
            message = socket.recv() => match message {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => continue,
            },
        }
        let mut messages = Vec::with_capacity(viewer.chunks.len());
        for chunk in &viewer.chunks {
            if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &chunk.init)) {
                // Only the first one of a connection can go on from elsewhere.
                let resumed = current.is_none() && viewer.reader.resumed();
                let hello = serde_json::json!({"type": "init", "mime": chunk.init.mime, "resumed": resumed});
                messages.push(Message::Text(hello.to_string().into()));
                messages.push(Message::Binary(chunk.init.segment.clone()));
                current = Some(chunk.init.clone());
            }
            messages.push(Message::Binary(chunk.message.clone()));
        }
        if !send(&mut socket, messages).await {
            return;
        }
    }
}

/// Sends messages, in one write where they fit; a viewer that does not take them in time is gone.
async fn send(socket: &mut WebSocket, messages: Vec<Message>) -> bool {
    let mut messages = futures_util::stream::iter(messages.into_iter().map(Ok));
    matches!(timeout(STALLED, socket.send_all(&mut messages)).await, Ok(Ok(())))
}
