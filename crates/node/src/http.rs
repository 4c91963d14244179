//! HTTP: players, the page, the API.

mod api;
mod local;
mod viewers;

use std::net::SocketAddr;

use axum::Router;
use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::cors::{self, CorsLayer};

use crate::node::{Node, NodeError};
use crate::playout::Playouts;

pub use api::{
    Drained, GroupDigest, LeftChild, Pop, Pops, Problem, Status, StreamEntry, Streams, Trace, TraceHop, TrackEntry,
};
pub use levada_overlay::node::view::{RefusedView as Refused, WhyView as Why};
pub use local::{ACTION_HEADER, is_local_action};

const PAGE: &str = include_str!("../../../web/dist/index.html");
const SCRIPT: &str = include_str!("../../../web/dist/app.js");
const STYLE: &str = include_str!("../../../web/dist/app.css");
/// Nothing from elsewhere, nothing inline; but the page asks and reads other PoPs, which may be anywhere.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; connect-src 'self' http: https: ws: wss:; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// What handlers share.
#[derive(Clone, Debug)]
struct Rooms {
    node: Node,
    playouts: Playouts,
}

/// A running HTTP server; stops when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the address before the node starts, so that a port in use is told at once.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|error| NodeError::Http(address, error))
}

/// Serves a node.
pub fn serve(node: Node, listener: TcpListener) -> Result<HttpServer, NodeError> {
    let address = listener.local_addr().map_err(|error| NodeError::Http(([0, 0, 0, 0], 0).into(), error))?;
    let rooms = Rooms { playouts: Playouts::new(node.clone()), node };
    // A page that came from one PoP asks the others.
    let anyone = CorsLayer::new().allow_origin(cors::Any).allow_methods([Method::GET, Method::HEAD]);
    let for_viewers = Router::new()
        .route("/live/{file}", get(viewers::live))
        .route("/api/v1/streams", get(api::streams))
        .route("/api/v1/pops", get(api::pops))
        .route("/api/v1/ping", get(api::ping))
        .route("/api/v1/trace/{name}", get(api::trace))
        .layer(anyone);
    let router = Router::new()
        .merge(for_viewers)
        .route("/", get(async || ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))))
        .route("/app.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/app.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/api/v1/streams/{name}/groups", get(api::groups))
        .route("/api/v1/map", get(api::map))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/why/{name}", get(api::why))
        .route("/api/v1/drain", post(api::drain))
        .fallback(api::not_found)
        .with_state(rooms);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(HttpServer { address, task })
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}
