//! TCP connections of viewers, pages and programs: how many there are, and how long one may be kept that is not used.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service as _;

use crate::stats::Stats;

/// Most connections for each viewer that is taken. Tuned: a player of HLS waits for a playlist and a part, and its page asks besides.
const FOR_A_VIEWER: u64 = 4;
/// Most connections of all who do not watch. Tuned: pages, programs, other nodes' pages.
pub(super) const FOR_OTHERS: u64 = 500;
/// Pause after the system refused a connection, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_secs(1);

/// How many there are, and how long one is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    places: usize,
    /// While no request comes, or only part of one.
    request: Duration,
    /// While its client takes nothing of what is sent: it is paused, asleep or gone.
    stalled: Duration,
}

impl Limits {
    /// For a server that takes so many viewers, in a process that may open so many files. Tuned: a player asks for the next part or
    /// segment within a few seconds; a paused one is to find its stream again after a moment's pause.
    pub(super) fn of(viewers_max: u64, files: u64) -> Self {
        let wanted = viewers_max.saturating_mul(FOR_A_VIEWER).saturating_add(FOR_OTHERS);
        // Links, media and the programs that a node starts need some themselves.
        let places = wanted.min(files.saturating_sub(FOR_OTHERS).max(files / 2));
        let places = usize::try_from(places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { places, request: Duration::from_secs(30), stalled: Duration::from_secs(60) }
    }
}

/// Serves until it is dropped; answers under way are then finished, and connections closed.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, stats: Arc<Stats>) {
    let places = Arc::new(Semaphore::new(limits.places));
    let (_serving, served) = watch::channel(());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    // Closed at once, so that whoever it is tries another PoP.
                    Stats::add(&stats.connections_refused, 1);
                    continue;
                };
                let (router, served) = (router.clone(), served.clone());
                tokio::spawn(async move {
                    let _place = place;
                    connection(stream, from, router, limits, served).await;
                });
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken; is the limit of open files (ulimit -n) too low?");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The client was gone before it was taken.
fn is_of_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
    limits: Limits,
    mut served: watch::Receiver<()>,
) {
    if let Err(error) = set_up(&stream, limits) {
        tracing::debug!(%error, %from, "a connection keeps the system's settings");
    }
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        let mut router = router.clone();
        async move { router.call(request.map(Body::new)).await as Result<Response, Infallible> }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.request);
    let mut answers = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    // Whatever ends it, it ended.
    tokio::select! {
        _ = answers.as_mut() => return,
        _ = served.changed() => answers.as_mut().graceful_shutdown(),
    }
    let _ = answers.await;
}

fn set_up(stream: &TcpStream, limits: Limits) -> std::io::Result<()> {
    // The end of a frame is not to wait until the client has acknowledged the rest (RFC 896).
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Elsewhere the system's own patience with clients that are gone has to do, minutes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(limits.stalled))?; // RFC 5482
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(limits.stalled))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use axum::routing::get;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::mpsc;

    use super::*;

    const SHORT: Limits =
        Limits { places: 9, request: Duration::from_millis(200), stalled: Duration::from_millis(500) };
    const LONG: Limits = Limits { places: 1, request: Duration::from_secs(3_600), stalled: Duration::from_secs(3_600) };
    const DEADLINE: Duration = Duration::from_secs(20);

    /// A server of an endless stream; tells when somebody gives it up.
    async fn endless() -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
        struct Told(mpsc::UnboundedSender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, ended) = mpsc::unbounded_channel();
        let stream = move || async move {
            let zeros = futures_util::stream::repeat_with({
                let told = Told(sender);
                move || {
                    let _ = &told;
                    Ok::<_, Infallible>(Bytes::from_static(&[0; 64 * 1024]))
                }
            });
            Body::from_stream(zeros)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(stream));
        tokio::spawn(serve(listener, router, SHORT, Arc::default()));
        (address, ended)
    }

    #[tokio::test]
    async fn who_asks_nothing_is_sent_away() {
        let (address, _) = endless().await;
        for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(begun.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let ended = tokio::time::timeout(DEADLINE, client.read_to_end(&mut said)).await;
            assert!(ended.is_ok(), "{begun:?} is waited for");
        }
    }

    #[test]
    fn there_are_places_for_all_viewers_and_files_for_all_places() {
        let places = |viewers, files| Limits::of(viewers, files).places;
        assert_eq!((places(10_000, 1 << 20), places(10_000, 20_000), places(10_000, 256)), (40_500, 19_500, 128));
        assert_eq!(places(u64::MAX, u64::MAX), Semaphore::MAX_PERMITS);
    }

    #[tokio::test]
    async fn one_more_than_there_are_places_is_sent_away_and_all_end_with_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stats = Arc::<Stats>::default();
        let server = tokio::spawn(serve(listener, Router::new(), LONG, stats.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut begin = [0; 12];
        client.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 404");
        let mut other = TcpStream::connect(address).await.unwrap();
        let refused = tokio::time::timeout(DEADLINE, other.read_to_end(&mut Vec::new())).await;
        assert!(refused.is_ok() && stats.connections_refused.load(Ordering::Relaxed) == 1);
        server.abort();
        let ended = tokio::time::timeout(DEADLINE, client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "it is kept");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (address, mut ended) = endless().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut begin = [0; 1024];
        client.read_exact(&mut begin).await.unwrap();
        assert!(begin.starts_with(b"HTTP/1.1 200"));
        assert!(ended.try_recv().is_err(), "it is served");
        tokio::time::timeout(DEADLINE, ended.recv()).await.expect("it is given up").unwrap();
    }
}
