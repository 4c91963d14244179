//! Viewers: who is taken; MPEG-TS over HTTP; fragmented MP4 for pages, over WebSocket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use levada_overlay::{Position, StreamName};
use serde::Deserialize;

use super::Rooms;
use super::api::Problem;
use super::body::Asked;
use super::page::{self, Carrier, Said};
use crate::playout::{Chunk, ChunkReader, Format, Playout};
use crate::stats::Place;

/// Chunks handed to a viewer at once.
const BATCH: usize = 64;
/// What a WebSocket reads at once, and the longest message it takes, in bytes. Tuned: pages send next to nothing, and all of it is zeroed
/// whenever something could have come.
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

/// What a viewer may have.
pub(super) struct Admitted {
    stream: StreamName,
    after: Option<Position>,
    place: Place,
}

/// `/live/NAME.ts` and `/live/NAME.ws`.
pub(super) async fn live(
    State(rooms): State<Rooms>,
    Path(file): Path<String>,
    Asked(wish): Asked<Wish>,
    request: Request,
) -> Result<Response, Problem> {
    let (name, format) = match file.rsplit_once('.') {
        Some((name, "ts")) => (name, Format::Ts),
        Some((name, "ws")) => (name, Format::Fmp4),
        _ => return Err(Problem::not_found(format!("there is no {file}; players read /live/NAME.ts"))),
    };
    if format == Format::Ts && wish.after.is_some() {
        let why = format!("{file} begins where the stream is; leave out `after`, which is for {name}.ws");
        return Err(Problem::bad_request(why));
    }
    let mend = if format == Format::Ts { "; add ?wait=1 to wait until somebody does" } else { "" };
    let admitted = admit(&rooms, name, &wish, mend).await?;
    match format {
        Format::Ts => {
            let viewer = Viewer::new(&rooms, admitted, format).await?;
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
            let upgrade = upgrade.read_buffer_size(READ).write_buffer_size(WRITE);
            let upgrade = upgrade.max_message_size(READ).max_frame_size(READ);
            Ok(upgrade.on_upgrade(move |socket| async move {
                if let Ok(viewer) = Viewer::new(&rooms, admitted, format).await {
                    page::feed(socket, viewer).await;
                }
            }))
        }
    }
}

/// Takes a viewer, or says why not, and of a stream that nobody publishes the `mend`.
pub(super) async fn admit(rooms: &Rooms, name: &str, wish: &Wish, mend: &str) -> Result<Admitted, Problem> {
    let stream = StreamName::new(name).map_err(refused)?;
    let place = rooms.node.stats().place().ok_or_else(|| full(rooms))?;
    if wish.wait == 0 {
        known(rooms, &stream, mend).await?;
    }
    let after = wish.after.as_deref().map(str::parse).transpose().map_err(refused)?;
    Ok(Admitted { stream, after, place })
}

/// One more viewer is sent away.
pub(super) fn full(rooms: &Rooms) -> Problem {
    Problem::busy(format!("node {} has as many viewers as it takes; try another PoP", rooms.node.name()))
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request(error.to_string())
}

/// Refuses a stream that nobody publishes, naming those that are, and the `mend`.
pub(super) async fn known(rooms: &Rooms, stream: &StreamName, mend: &str) -> Result<(), Problem> {
    let view = rooms.node.view().await?;
    if view.streams.iter().any(|known| known.name == stream.as_str()) {
        return Ok(());
    }
    let names: Vec<&str> = view.streams.iter().map(|known| known.name.as_str()).take(20).collect();
    let there_are =
        if names.is_empty() { "there are none now".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Err(Problem::not_found(format!("nobody publishes a stream \"{stream}\"; {there_are}{mend}")))
}

/// Somebody who watches; counted for as long as it lives.
pub(super) struct Viewer {
    pub(super) reader: ChunkReader,
    pub(super) chunks: Vec<Chunk>,
    _place: Place,
    /// Kept so that the stream flows.
    _playout: Arc<Playout>,
}

impl Viewer {
    pub(super) async fn new(rooms: &Rooms, admitted: Admitted, format: Format) -> Result<Self, Problem> {
        let Admitted { stream, after, place } = admitted;
        let playout = rooms.playouts.open(stream, format, after).await?;
        let chunks = playout.chunks.clone();
        let reader = match after {
            Some(after) => ChunkReader::after(chunks, after),
            None => ChunkReader::new(chunks),
        };
        Ok(Self { reader, chunks: Vec::with_capacity(BATCH), _place: place, _playout: playout })
    }

    /// Waits for chunks, which are in `chunks` then.
    pub(super) async fn next(&mut self) {
        self.chunks.clear();
        self.reader.next(BATCH, &mut self.chunks).await;
    }

    /// All that is there, in one piece: one write per wake-up.
    async fn next_bytes(&mut self) -> Bytes {
        self.next().await;
        join(&self.chunks)
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

impl Carrier for WebSocket {
    async fn send(&mut self, messages: Vec<Said>) -> bool {
        let message = |said| match said {
            Said::Text(text) => Message::Text(text.into()),
            Said::Binary(bytes) => Message::Binary(bytes),
        };
        let mut messages = futures_util::stream::iter(messages.into_iter().map(|said| Ok(message(said))));
        self.send_all(&mut messages).await.is_ok()
    }

    /// Pages send nothing; what comes is a close, a ping that axum answers, or noise.
    async fn gone(&mut self) {
        while let Some(Ok(message)) = self.recv().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }
}
