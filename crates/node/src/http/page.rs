//! What a page is sent to play a stream, whatever carries it (docs/protocol.md, "Players").

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::viewers::Viewer;
use crate::playout::Init;

/// A page is told that its stream waits after this long without media, and again as long as it does: a page that hears
/// nothing takes the node for dead.
const WAITING_AFTER: Duration = Duration::from_secs(2);
/// A page that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(10);

/// A message to a page.
pub(super) enum Said {
    /// JSON.
    Text(String),
    /// An initialisation segment, or a frame with its position in front.
    Binary(Bytes),
}

/// Takes messages to a page, in order and whole.
pub(super) trait Carrier: Send {
    /// Sends messages, in one write where they fit; false: the page has gone.
    fn send(&mut self, messages: Vec<Said>) -> impl Future<Output = bool> + Send;

    /// Resolves when the page has gone.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// Feeds a page until it goes: each frame with its position in front, so that the page can go on at another node.
pub(super) async fn feed(mut carrier: impl Carrier, mut viewer: Viewer) {
    let mut current: Option<Arc<Init>> = None;
    loop {
        let messages = tokio::select! {
            taken = timeout(WAITING_AFTER, viewer.next()) => match taken {
                Ok(()) => messages(&viewer, &mut current),
                Err(_) => vec![Said::Text("{\"type\":\"waiting\"}".to_owned())],
            },
            () = carrier.gone() => return,
        };
        if !matches!(timeout(STALLED, carrier.send(messages)).await, Ok(true)) {
            return;
        }
    }
}

/// The chunks that the viewer has taken, and what it must know before them.
fn messages(viewer: &Viewer, current: &mut Option<Arc<Init>>) -> Vec<Said> {
    let mut messages = Vec::with_capacity(viewer.chunks.len());
    for chunk in &viewer.chunks {
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &chunk.init)) {
            // Only the first one of a connection can go on from elsewhere.
            let resumed = current.is_none() && viewer.reader.resumed();
            let hello = serde_json::json!({"type": "init", "mime": chunk.init.mime, "resumed": resumed});
            messages.push(Said::Text(hello.to_string()));
            messages.push(Said::Binary(chunk.init.segment.clone()));
            *current = Some(chunk.init.clone());
        }
        messages.push(Said::Binary(chunk.message.clone()));
    }
    messages
}
