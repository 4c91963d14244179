//! HTTP: players, the page, the API.

mod api;
mod body;
mod connections;
mod events;
mod history;
mod hls;
mod local;
mod lookout;
mod metrics;
mod neighbours;
mod openapi;
mod operator;
mod page;
mod shelf;
mod transport;
mod viewers;

use std::error::Error as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{MethodRouter, delete, get, post, put};
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{self, CorsLayer};

use crate::limits::raise_open_files;
use crate::node::{Node, NodeError};
use crate::playout::Playouts;
use crate::playout::hls::HlsStreams;

use connections::Limits;
use lookout::Lookout;
use shelf::Shelf;
use transport::Transport;

pub use api::{
    Drained, GroupDigest, LeftChild, Ping, Pop, Pops, Problem, Status, StreamEntry, StreamViewers, Streams, Trace,
    TraceHop, TrackEntry, Viewers,
};
pub use events::{Log, Missed};
pub use history::{NeighbourHistory, StreamHistory, Told as History};
pub use levada_overlay::node::view::{RefusedView as Refused, View as Map, WhyView as Why};
pub use local::{ACTION_HEADER, is_local_action};
pub use neighbours::{Meet, Met, Neighbours};
pub use openapi::DOCUMENT as OPENAPI;
pub use operator::{Look, Operator, OperatorError, TOKEN_FILE, kept_token};
pub use shelf::{Media, MediaFile, Publish, Published, UPLOAD_BYTES_MAX};
pub use transport::Offer;

const PAGE: &str = include_str!("../../../web/src/index.html");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// What the page asks for: path, type, content. The player and the plots come when they are wanted.
const ASSETS: [(&str, &str, &str); 4] = [
    ("/app.css", "text/css; charset=utf-8", include_str!("../../../web/dist/app.css")),
    ("/app.js", JAVASCRIPT, include_str!("../../../web/dist/app.js")),
    ("/player.js", JAVASCRIPT, include_str!("../../../web/dist/player.js")),
    ("/plots.js", JAVASCRIPT, include_str!("../../../web/dist/plots.js")),
];
/// Nothing from elsewhere, nothing inline; but the page asks and reads other PoPs, which may be anywhere.
const POLICY: &str = "default-src 'self'; media-src 'self' blob: http: https:; \
                      connect-src 'self' http: https: ws: wss:; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// What the HTTP server of a node is told.
#[derive(Debug)]
pub struct HttpConfig {
    /// Who may change things.
    pub operator: Operator,
    /// Folder whose files an operator can publish.
    pub media: Option<PathBuf>,
    /// Longest file that can be put there, in bytes.
    pub upload_bytes_max: u64,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct Rooms {
    node: Node,
    playouts: Playouts,
    hls: HlsStreams,
    operator: Arc<Operator>,
    lookout: Arc<Lookout>,
    shelf: Arc<Shelf>,
    /// Absent if its port is taken.
    transport: Option<Transport>,
    /// Read by those who wait for the node to drain.
    drains: Arc<RwLock<()>>,
}

/// A running HTTP server; stops when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    transport: Option<Transport>,
    drains: Arc<RwLock<()>>,
    _tasks: JoinSet<()>,
}

impl HttpServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until all who asked the node to drain have their answer: the first of them makes it stop.
    pub async fn answer_drains(&self) {
        drop(self.drains.write().await);
    }

    /// Ends what goes over WebTransport, and tells the pages: of TCP the system tells when the process ends, of UDP nobody.
    pub async fn end_sessions(&self) {
        if let Some(transport) = &self.transport {
            transport.close().await;
        }
    }
}

/// Takes the address before the node starts, so that a port in use is told at once.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|error| NodeError::Http(address, error))
}

/// Serves a node.
pub fn serve(node: Node, listener: TcpListener, config: HttpConfig) -> Result<HttpServer, NodeError> {
    let address = listener.local_addr().map_err(|error| NodeError::Http(([0, 0, 0, 0], 0).into(), error))?;
    let (stats, files) = (node.stats().clone(), raise_open_files());
    if files < stats.viewers_max.saturating_add(connections::FOR_OTHERS) {
        let viewers = stats.viewers_max;
        let mend = "raise the hard limit (ulimit -Hn), or lower --max-viewers";
        tracing::warn!(files, viewers, mend, "fewer files may be open than so many viewers need");
    }
    let transport = Transport::bind(address)
        .inspect_err(|error| {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(%error, cause, "pages are served over WebSocket only");
        })
        .ok();
    let drains = Arc::<RwLock<()>>::default();
    let rooms = Rooms {
        playouts: Playouts::new(node.clone()),
        hls: HlsStreams::new(node.clone()),
        node,
        operator: Arc::new(config.operator),
        lookout: Arc::new(Lookout::new()),
        shelf: Arc::new(Shelf::new(config.media, config.upload_bytes_max)),
        transport: transport.clone(),
        drains: drains.clone(),
    };
    let mut tasks = JoinSet::new();
    if let Some(transport) = transport.clone() {
        tasks.spawn(transport.run(rooms.clone()));
    }
    tasks.spawn(lookout::watch_tables(rooms.clone()));
    let page = ("/", get(async || ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))));
    let assets = ASSETS.map(|(path, kind, content)| (path, get(async move || asset(kind, content))));
    let packed = [page].into_iter().chain(assets).map(|(path, methods)| (path, methods.layer(CompressionLayer::new())));
    let all = packed.chain(routes());
    let router = all.fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    let router = router.fallback(api::not_found).with_state(rooms);
    tasks.spawn(connections::serve(listener, router, Limits::of(stats.viewers_max, files), stats));
    Ok(HttpServer { address, transport, drains, _tasks: tasks })
}

/// Everything but the page; docs/openapi.json describes it, and a test holds both together.
fn routes() -> Vec<(&'static str, MethodRouter<Rooms>)> {
    vec![
        ("/live/{file}", for_pages(get(viewers::live))),
        ("/hls/{name}/{file}", for_pages(get(hls::file))),
        ("/metrics", get(metrics::metrics)),
        ("/api/v1/openapi.json", get(openapi::openapi)),
        ("/api/v1/operator", get(operator::check)),
        ("/api/v1/status", get(api::status)),
        ("/api/v1/map", get(api::map)),
        ("/api/v1/streams", for_pages(get(api::streams))),
        ("/api/v1/pops", for_pages(get(api::pops))),
        ("/api/v1/ping", for_pages(get(api::ping))),
        ("/api/v1/streams/{name}", delete(shelf::stop)),
        ("/api/v1/streams/{name}/groups", get(api::groups)),
        ("/api/v1/trace/{name}", for_pages(get(api::trace))),
        ("/api/v1/why/{name}", get(api::why)),
        ("/api/v1/neighbours", for_pages(get(neighbours::list)).post(neighbours::connect)),
        ("/api/v1/neighbours/{name}", delete(neighbours::disconnect)),
        ("/api/v1/viewers", get(api::viewers)),
        ("/api/v1/media", get(shelf::list)),
        ("/api/v1/media/{file}", put(shelf::upload)),
        ("/api/v1/publish", post(shelf::publish)),
        ("/api/v1/history", get(history::history)),
        ("/api/v1/log", get(events::log)),
        ("/api/v1/events", get(events::events)),
        ("/api/v1/drain", post(api::drain)),
    ]
}

/// Lets the page of one node ask another.
fn for_pages(methods: MethodRouter<Rooms>) -> MethodRouter<Rooms> {
    methods.layer(CorsLayer::new().allow_origin(cors::Any).allow_methods([Method::GET, Method::HEAD]))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

#[cfg(test)]
mod tests;
