//! Pages over WebTransport: a server on the UDP port that has the number of the HTTP server's, and what a page must know
//! to reach it. A session carries what `/live/NAME.ws` would, each message behind its kind and length (docs/protocol.md,
//! "Players").

mod certificate;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use bytes::{BufMut as _, Bytes, BytesMut};
use quinn::Incoming;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use web_transport_quinn::{Request, SendStream, Session};

use super::Rooms;
use super::api::Problem;
use super::page::{self, Carrier, Said};
use super::viewers::{self, Viewer, Wish};
use crate::playout::Format;
use crate::quic;
use crate::trust::TrustError;

use certificate::Certificates;

/// Clients that have not been taken or sent away yet; one more is refused. All viewers of a node that died come at once.
const GREETED_MAX: usize = 256;
/// From so many on a client must show first that it has the address that it sends from.
const GREETED_CALM: usize = 64;
/// A client that has not asked for a stream by then, or does not take what it asked for, is gone.
const GREETING: Duration = Duration::from_secs(5);
/// A session that has ended is over by then, whether or not the page has said that it knows.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is looked whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(3600);
/// Kind and length in front of each message.
const HEAD: usize = 1 + 4;
/// Kinds of messages; the numbers are those of WebSocket (RFC 6455, section 5.2).
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Longest words at the end of a session, in bytes (draft-ietf-webtrans-http3, section 6).
const WORDS_MAX: usize = 1024;

/// Where pages reach a node over WebTransport.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// UDP port, of the host where they reach it over HTTP.
    pub port: u16,
    /// SHA-256 of the certificates that it may show, hexadecimal.
    pub certificates: Vec<String>,
}

/// Why pages cannot have WebTransport.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("cannot listen on {0}/udp")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("no certificate for pages")]
    Certificate(#[from] TrustError),
}

/// The server.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    endpoint: quinn::Endpoint,
    port: u16,
    certificates: Arc<Mutex<Certificates>>,
}

impl Transport {
    /// Listens; sessions come when it is run.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, TransportError> {
        let certificates = Certificates::new(OffsetDateTime::now_utc())?;
        let endpoint = quic::endpoint(address, Some(certificates.server_config()?));
        let endpoint = endpoint.map_err(|error| TransportError::Listen(address, error))?;
        Ok(Self { endpoint, port: address.port(), certificates: Arc::new(Mutex::new(certificates)) })
    }

    fn certificates(&self) -> MutexGuard<'_, Certificates> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a page must know.
    pub(super) fn offer(&self) -> Offer {
        Offer { port: self.port, certificates: self.certificates().hashes() }
    }

    /// Serves sessions for ever.
    pub(super) async fn run(self, rooms: Rooms) {
        let greeted = Arc::new(Semaphore::new(GREETED_MAX));
        let mut sessions = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    if let Some((incoming, greeting)) = door(incoming, &greeted) {
                        sessions.spawn(session(rooms.clone(), incoming, greeting));
                    }
                }
                Some(_) = sessions.join_next() => {}
                _ = look.tick() => self.renew(),
            }
        }
    }

    fn renew(&self) {
        let mut certificates = self.certificates();
        let renewed = certificates.renew(OffsetDateTime::now_utc());
        match renewed.and_then(|renewed| if renewed { certificates.server_config().map(Some) } else { Ok(None) }) {
            Ok(Some(config)) => self.endpoint.set_server_config(Some(config)),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the certificate for pages is not renewed"),
        }
    }

    /// Ends all sessions and tells the pages.
    pub(super) async fn close(&self) {
        self.endpoint.close(0u32.into(), b"the node stops");
        // It is enough that the word is sent.
        let _ = timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }
}

/// Lets a client in if there is room.
fn door(incoming: Incoming, greeted: &Arc<Semaphore>) -> Option<(Incoming, OwnedSemaphorePermit)> {
    let Ok(greeting) = greeted.clone().try_acquire_owned() else {
        incoming.refuse();
        return None;
    };
    if GREETED_MAX - greeted.available_permits() > GREETED_CALM && !incoming.remote_address_validated() {
        // It comes back with a proof.
        let _ = incoming.retry();
        return None;
    }
    Some((incoming, greeting))
}

/// One page, from its first packet to its last.
async fn session(rooms: Rooms, incoming: Incoming, greeting: OwnedSemaphorePermit) {
    // What does not speak WebTransport, or not in time, is not answered.
    let Ok(Some(request)) = timeout(GREETING, greet(incoming)).await else { return };
    let wanted = wanted(&request);
    // One that takes no answer is not waited for either.
    let Ok(Ok(session)) = timeout(GREETING, request.ok()).await else { return };
    let (code, words) = match watch(&rooms, &session, wanted, greeting).await {
        Ok(()) => (0, String::new()),
        Err(problem) => (u32::from(problem.status().as_u16()), problem.words().to_owned()),
    };
    session.close(code, &words.as_bytes()[..words.floor_char_boundary(WORDS_MAX)]);
    let _ = timeout(FAREWELL, session.closed()).await;
}

async fn greet(incoming: Incoming) -> Option<Request> {
    let connection = incoming.await.ok()?;
    Request::accept(connection).await.ok()
}

/// Name and wish, out of the address `/live/NAME?…`.
fn wanted(request: &Request) -> Result<(String, Wish), Problem> {
    let url = &request.url;
    let name = url.path().strip_prefix("/live/").filter(|name| !name.contains('/'));
    let name = name.ok_or_else(|| Problem::not_found(format!("there is nothing at {}", url.path())))?;
    let bad = || Problem::bad_request(format!("{url} is not understood"));
    let uri: Uri = url.as_str().parse().map_err(|_| bad())?;
    let Query(wish) = Query::try_from_uri(&uri).map_err(|_| bad())?;
    Ok((name.to_owned(), wish))
}

/// Feeds a page until it goes, or says why not.
async fn watch(
    rooms: &Rooms,
    session: &Session,
    wanted: Result<(String, Wish), Problem>,
    greeting: OwnedSemaphorePermit,
) -> Result<(), Problem> {
    let (name, wish) = wanted?;
    let admitted = viewers::admit(rooms, &name, &wish, "").await?;
    let viewer = Viewer::new(rooms, admitted, Format::Fmp4).await?;
    drop(greeting);
    if let Ok(Ok(stream)) = timeout(GREETING, session.open_uni()).await {
        page::feed(Framed { session: session.clone(), stream }, viewer).await;
    }
    Ok(())
}

/// Messages, one behind the other, on a stream.
struct Framed {
    session: Session,
    stream: SendStream,
}

impl Carrier for Framed {
    async fn send(&mut self, messages: Vec<Said>) -> bool {
        let mut heads = BytesMut::with_capacity(HEAD * messages.len());
        let mut pieces = Vec::with_capacity(2 * messages.len());
        for said in messages {
            let (kind, bytes) = match said {
                Said::Text(text) => (TEXT, Bytes::from(text)),
                Said::Binary(bytes) => (BINARY, bytes),
            };
            heads.put_u8(kind);
            heads.put_u32(bytes.len() as u32);
            pieces.extend([heads.split().freeze(), bytes]);
        }
        self.stream.write_all_chunks(&mut pieces).await.is_ok()
    }

    async fn gone(&mut self) {
        self.session.closed().await;
    }
}
