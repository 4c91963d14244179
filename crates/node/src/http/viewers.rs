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
use levada_overlay::StreamName;
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

#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    /// Wait for a stream that nobody publishes yet.
    #[serde(default)]
    wait: u8,
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
    let stream = StreamName::new(name).map_err(|error| Problem::bad_request(error.to_string()))?;
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
    match format {
        Format::Ts => {
            let viewer = Viewer::new(&rooms, stream, format).await?;
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
            Ok(upgrade.on_upgrade(move |socket| async move {
                if let Ok(viewer) = Viewer::new(&rooms, stream, format).await {
                    page(socket, viewer).await;
                }
            }))
        }
    }
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
    async fn new(rooms: &Rooms, stream: StreamName, format: Format) -> Result<Self, Problem> {
        let playout = rooms.playouts.open(stream, format).await?;
        let stats = rooms.node.stats().clone();
        Stats::add(&stats.viewers, 1);
        let reader = ChunkReader::new(playout.chunks.clone());
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

/// Feeds a page until it goes.
async fn page(mut socket: WebSocket, mut viewer: Viewer) {
    let mut current: Option<Arc<Init>> = None;
    loop {
        viewer.chunks.clear();
        let chunks = &mut viewer.chunks;
        tokio::select! {
            taken = timeout(WAITING_AFTER, viewer.reader.next(BATCH, chunks)) => {
                if taken.is_err() {
                    if !send(&mut socket, Message::Text("{\"type\":\"waiting\"}".into())).await {
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
        let mut rest = &viewer.chunks[..];
        while let Some(first) = rest.first() {
            if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &first.init)) {
                let hello = serde_json::json!({"type": "init", "mime": first.init.mime}).to_string();
                let sent = send(&mut socket, Message::Text(hello.into())).await
                    && send(&mut socket, Message::Binary(first.init.segment.clone())).await;
                if !sent {
                    return;
                }
                current = Some(first.init.clone());
            }
            let same = rest.iter().take_while(|chunk| Arc::ptr_eq(&chunk.init, &first.init)).count();
            let (now, later) = rest.split_at(same);
            if !send(&mut socket, Message::Binary(join(now))).await {
                return;
            }
            rest = later;
        }
    }
}

/// Sends a message; a viewer that does not take it in time is gone.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(STALLED, socket.send(message)).await, Ok(Ok(())))
}
