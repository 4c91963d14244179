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

/// Most connections. Tuned: twice the viewers that a node takes unless told otherwise, who may also look at its tables.
const CONNECTIONS_MAX: usize = 20_000;
/// Pause after the system refused a connection, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// While no request comes, or only part of one.
    pub(super) request: Duration,
    /// While its client takes nothing of what is sent: it is paused, asleep or gone.
    pub(super) stalled: Duration,
}

impl Default for Patience {
    /// Tuned: a player asks for the next part or segment within a few seconds; a paused one is to find its stream again after
    /// a moment's pause.
    fn default() -> Self {
        Self { request: Duration::from_secs(30), stalled: Duration::from_secs(60) }
    }
}

/// Serves until it is dropped; answers under way are then finished, and connections closed.
pub(super) async fn serve(listener: TcpListener, router: Router, patience: Patience) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (_serving, served) = watch::channel(());
    loop {
        match listener.accept().await {
            // Closed at once, so that whoever it is tries another PoP.
            Ok((stream, from)) => {
                if let Ok(place) = places.clone().try_acquire_owned() {
                    let (router, served) = (router.clone(), served.clone());
                    tokio::spawn(async move {
                        let _place = place;
                        connection(stream, from, router, patience, served).await;
                    });
                }
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
    patience: Patience,
    mut served: watch::Receiver<()>,
) {
    if let Err(error) = set_up(&stream, patience) {
        tracing::debug!(%error, %from, "a connection keeps the system's settings");
    }
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        let mut router = router.clone();
        async move { router.call(request.map(Body::new)).await as Result<Response, Infallible> }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.request);
    let mut answers = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    // Whatever ends it, it ended.
    tokio::select! {
        _ = answers.as_mut() => return,
        _ = served.changed() => answers.as_mut().graceful_shutdown(),
    }
    let _ = answers.await;
}

fn set_up(stream: &TcpStream, patience: Patience) -> std::io::Result<()> {
    // The end of a frame is not to wait until the client has acknowledged the rest (RFC 896).
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Elsewhere the system's own patience with clients that are gone has to do, minutes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(patience.stalled))?; // RFC 5482
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(patience.stalled))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::mpsc;

    use super::*;

    const SHORT: Patience = Patience { request: Duration::from_millis(200), stalled: Duration::from_millis(500) };
    const LONG: Patience = Patience { request: Duration::from_secs(3_600), stalled: Duration::from_secs(3_600) };
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
        tokio::spawn(serve(listener, router, SHORT));
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

    #[tokio::test]
    async fn what_is_kept_for_more_requests_ends_with_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Router::new(), LONG));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut begin = [0; 12];
        client.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 404");
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
