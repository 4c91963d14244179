//! The JSON API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use levada_media::{Catalog, Codec, Kind};
use levada_overlay::StreamName;
use levada_overlay::node::view::{PopView, StreamState, StreamView, View, WhyView};
use serde::{Deserialize, Serialize};

use super::Rooms;
use super::body::Asked;
use super::local::is_local_action;
use super::operator::{MayLook, may_change};
use super::transport::{Offer, Transport};
use crate::limits;
use crate::log::StreamLog;
use crate::node::{Node, NodeError};

/// An error for people, as JSON: `{"error": "…"}`.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: String,
}

impl Problem {
    pub(super) fn not_found(error: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, error }
    }

    pub(super) fn unauthorized(error: String) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error }
    }

    pub(super) fn conflict(error: String) -> Self {
        Self { status: StatusCode::CONFLICT, error }
    }

    pub(super) fn too_large(error: String) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    }

    pub(super) fn unreachable(error: String) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, error }
    }

    pub(super) fn bad_request(error: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error }
    }

    pub(super) fn forbidden(error: String) -> Self {
        Self { status: StatusCode::FORBIDDEN, error }
    }

    pub(super) fn busy(error: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, for people.
    pub(super) fn words(&self) -> &str {
        &self.error
    }
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        Self::busy(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let asks = (self.status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        (self.status, asks, Json(self)).into_response()
    }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

/// Answer of `/api/v1/streams`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Streams {
    /// Name of the node that answers.
    pub node: String,
    /// By name.
    pub streams: Vec<StreamEntry>,
}

/// A stream as a viewer or operator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamEntry {
    /// Its name.
    pub name: String,
    /// What this node does with it: published, watched, passed, idle.
    pub state: String,
    /// Whether it is wanted here and no path is known.
    pub waiting: bool,
    /// Names of the nodes that publish it.
    pub origins: Vec<String>,
    /// Name of the node that feeds this one.
    pub parent: Option<String>,
    /// Names of the nodes from the origin to this one, this one last; empty while it does not flow here.
    pub path: Vec<String>,
    /// Name of the node that would take over.
    pub backup: Option<String>,
    /// Names of the nodes from the origin to the backup, the backup last.
    pub backup_path: Vec<String>,
    /// Names of the nodes that this one feeds.
    pub children: Vec<String>,
    /// Viewers of this node.
    pub viewers: u64,
    /// How many times it got another parent.
    pub switches: u64,
    /// Bits per second, if it flows here.
    pub bitrate_bps: Option<u64>,
    /// Length of the newest whole group, milliseconds, if it flows here.
    pub group_ms: Option<u64>,
    /// Milliseconds from the beginning of the newest group at its origin until its first object came here, by the clocks of
    /// both.
    pub latency_ms: Option<i64>,
    /// Milliseconds since the newest object came, if it flows here.
    pub newest_age_ms: Option<u64>,
    /// Its tracks, if it flows here.
    pub tracks: Vec<TrackEntry>,
}

/// A track.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackEntry {
    /// Its number.
    pub id: u8,
    /// Codec.
    pub codec: Codec,
    /// What its kind adds.
    #[serde(flatten)]
    pub kind: Kind,
}

pub(super) async fn streams(State(rooms): State<Rooms>) -> Result<Json<Streams>, Problem> {
    Ok(Json(rooms.lookout.look(&rooms).await?.streams))
}

/// What is told of the streams: the brain's tables and what flows.
pub(super) fn streams_of(rooms: &Rooms, view: &View, logs: &HashMap<StreamName, Arc<StreamLog>>) -> Streams {
    let shown = view.streams.iter().filter(|stream| !stream.origins.is_empty() || stream.state != StreamState::Idle);
    let entry = |stream: &StreamView| {
        let log = StreamName::new(&stream.name).ok().and_then(|name| logs.get(&name));
        let catalog = log.and_then(|log| catalog_of(log)).unwrap_or_default();
        let state = match stream.state {
            StreamState::Published => "published",
            StreamState::Watched => "watched",
            StreamState::Passed => "passed",
            StreamState::Idle => "idle",
        };
        StreamEntry {
            name: stream.name.clone(),
            state: state.to_owned(),
            waiting: stream.waiting,
            origins: stream.origins.clone(),
            parent: stream.parent.clone(),
            path: stream.path.clone(),
            backup: stream.backup.clone(),
            backup_path: stream.backup_path.clone(),
            children: stream.children.clone(),
            viewers: rooms.playouts.viewers(&stream.name) + rooms.hls.viewers(&stream.name),
            switches: stream.switches,
            bitrate_bps: log.and_then(|log| log.bitrate()),
            group_ms: log.and_then(|log| log.group_length()).map(|length| length.as_millis() as u64),
            latency_ms: log.and_then(|log| log.latency_ms()),
            newest_age_ms: log.and_then(|log| log.head()).map(|(_, age)| age.as_millis() as u64),
            tracks: catalog.tracks.into_iter().map(|t| TrackEntry { id: t.id, codec: t.codec, kind: t.kind }).collect(),
        }
    };
    Streams { node: view.node.clone(), streams: shown.map(entry).collect() }
}

async fn log_of(node: &Node, name: &str) -> Result<Option<Arc<StreamLog>>, Problem> {
    let name = StreamName::new(name).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(node.log(&name).await?)
}

fn catalog_of(log: &StreamLog) -> Option<Catalog> {
    serde_json::from_slice(&log.catalog_object()?.payload()).ok()
}

pub(super) async fn map(_: MayLook, State(rooms): State<Rooms>) -> Result<Json<View>, Problem> {
    Ok(Json(rooms.lookout.view(&rooms.node).await?))
}

/// Answer of `/api/v1/viewers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Viewers {
    /// Name of the node that answers.
    pub node: String,
    /// All of them.
    pub viewers: u64,
    /// Streams that have some, by name.
    pub streams: Vec<StreamViewers>,
}

/// Viewers of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamViewers {
    /// Its name.
    pub stream: String,
    /// How many.
    pub viewers: u64,
}

pub(super) async fn viewers(_: MayLook, State(rooms): State<Rooms>) -> Result<Json<Viewers>, Problem> {
    let Streams { node, streams } = rooms.lookout.look(&rooms).await?.streams;
    let watched = streams.into_iter().filter(|stream| stream.viewers > 0);
    let streams: Vec<StreamViewers> =
        watched.map(|stream| StreamViewers { stream: stream.name, viewers: stream.viewers }).collect();
    Ok(Json(Viewers { node, viewers: streams.iter().map(|stream| stream.viewers).sum(), streams }))
}

/// A complete group that a node holds, for comparing what two nodes hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDigest {
    /// The broadcast that it is of.
    pub timeline: u64,
    /// Stamp of the group.
    pub group: u64,
    /// Number of its objects.
    pub objects: u32,
    /// SHA-256 of all its objects in index order, hexadecimal.
    pub sha256: String,
}

pub(super) async fn groups(
    _: MayLook,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
) -> Result<Json<Vec<GroupDigest>>, Problem> {
    let log = log_of(&rooms.node, &name).await?;
    let log =
        log.ok_or_else(|| Problem::not_found(format!("stream \"{name}\" does not flow through this node now")))?;
    let digest = |group: crate::log::GroupSummary| {
        let objects = group.complete?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        group.objects.iter().for_each(|object| hash.update(object.wire()));
        let sha256 = crate::trust::hex(hash.finish().as_ref());
        Some(GroupDigest { timeline: group.id.timeline, group: group.id.group, objects, sha256 })
    };
    Ok(Json(log.summary().into_iter().filter_map(digest).collect()))
}

/// Answer of `/api/v1/pops`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pops {
    /// Name of the node that answers.
    pub node: String,
    /// By name.
    pub pops: Vec<Pop>,
}

/// A node that serves viewers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pop {
    /// Its name.
    pub name: String,
    /// Base URL of its HTTP server.
    pub http: String,
    /// Microseconds from the nearest origin of the stream that was asked for to it, as the mesh measures; null: there is no
    /// way, or no stream was asked for.
    pub stream_metric_us: Option<u64>,
    /// Viewers connected now; null but for the node that answers.
    pub viewers: Option<u64>,
    /// Most of them; null but for the node that answers.
    pub viewers_max: Option<u64>,
    /// Share of what it can give to children and viewers that it gives, 0 to 1, as it last told.
    pub load: f64,
    /// Whether links lead from the node that answers to it.
    pub reachable: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    stream: Option<String>,
}

pub(super) async fn pops(State(rooms): State<Rooms>, Asked(wanted): Asked<Wanted>) -> Result<Json<Pops>, Problem> {
    let node = &rooms.node;
    let stream = wanted.stream.as_deref().map(StreamName::new).transpose();
    let stream = stream.map_err(|error| Problem::bad_request(error.to_string()))?;
    let stats = node.stats();
    let pop = |view: PopView| {
        let here = view.name == node.name();
        Pop {
            stream_metric_us: view.stream_metric_us,
            viewers: here.then(|| stats.viewers.load(Ordering::Relaxed)),
            viewers_max: here.then_some(stats.viewers_max),
            load: f64::from(view.load_percent) / 100.0,
            reachable: view.reachable,
            http: view.http,
            name: view.name,
        }
    };
    let pops = node.pops(stream).await?.into_iter().map(pop).collect();
    Ok(Json(Pops { node: node.name().to_owned(), pops }))
}

/// Answer of `/api/v1/ping`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// Where pages reach the node over WebTransport, if they do.
    pub webtransport: Option<Offer>,
}

/// Next to nothing, at once: viewers measure how far away this node is.
pub(super) async fn ping(State(rooms): State<Rooms>) -> impl IntoResponse {
    let webtransport = rooms.transport.as_ref().map(Transport::offer);
    ([(header::CACHE_CONTROL, "no-store")], Json(Ping { webtransport }))
}

/// Answer of `/api/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Its identity.
    pub id: String,
    /// Version of the program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The most memory that it ever had, bytes, where the system tells.
    pub memory_peak_bytes: Option<u64>,
    /// Viewers connected now.
    pub viewers: u64,
    /// Objects made by its own ingest.
    pub objects_published: u64,
    /// Objects received over links.
    pub objects_in: u64,
    /// Bytes of objects received over links.
    pub bytes_in: u64,
    /// Objects sent over links, all children together.
    pub objects_out: u64,
    /// Bytes of objects sent over links.
    pub bytes_out: u64,
    /// Objects received that were held already.
    pub objects_duplicated: u64,
    /// Objects read by its muxers.
    pub objects_delivered: u64,
    /// Objects that its muxers had to pass over.
    pub objects_lost: u64,
    /// Objects that its muxers read and could not use.
    pub objects_unplayable: u64,
    /// Streams of a group and layer given up because their deadline had passed.
    pub dropped: u64,
    /// Median time from an object's arrival to its hand-over to the next link, microseconds.
    pub forward_us_p50: Option<u64>,
    /// The same, 99 of 100 objects.
    pub forward_us_p99: Option<u64>,
    /// Times that a stream got another parent.
    pub switches: u64,
    /// Joins sent.
    pub joins: u64,
    /// Of these, how many were refused.
    pub joins_refused: u64,
    /// Joins of others that this node refused, because it is full or stops.
    pub refusals: u64,
    /// Records refused.
    pub records_refused: u64,
    /// Control messages and media streams that broke the protocol.
    pub protocol_errors: u64,
}

pub(super) async fn status(_: MayLook, State(rooms): State<Rooms>) -> Result<Json<Status>, Problem> {
    let node = &rooms.node;
    let counters = node.counters().await?;
    let stats = node.stats();
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Json(Status {
        node: node.name().to_owned(),
        id: node.id().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: node.uptime().as_secs(),
        memory_peak_bytes: limits::peak_memory(),
        viewers: get(&stats.viewers),
        objects_published: get(&stats.published),
        objects_in: get(&stats.objects_in),
        bytes_in: get(&stats.bytes_in),
        objects_out: get(&stats.objects_out),
        bytes_out: get(&stats.bytes_out),
        objects_duplicated: get(&stats.duplicates),
        objects_delivered: get(&stats.delivered),
        objects_lost: get(&stats.lost),
        objects_unplayable: get(&stats.unplayable),
        dropped: get(&stats.dropped),
        forward_us_p50: stats.forward_us.quantile(0.5),
        forward_us_p99: stats.forward_us.quantile(0.99),
        switches: counters.switches,
        joins: counters.joins,
        joins_refused: counters.joins_refused,
        refusals: counters.refusals,
        records_refused: counters.records_refused,
        protocol_errors: counters.protocol_errors + get(&stats.violations),
    }))
}

/// Answer of `/api/v1/trace/NAME`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The stream.
    pub stream: String,
    /// Whether the way reaches an origin.
    pub complete: bool,
    /// Origin first, this node last.
    pub hops: Vec<TraceHop>,
}

/// One node on the way of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceHop {
    /// Its name.
    pub node: String,
    /// Smoothed round-trip time to the hop before, microseconds.
    pub rtt_us: u32,
    /// Cost from the hop before, microseconds.
    pub cost_us: u32,
    /// Age of the newest object there, milliseconds.
    pub newest_age_ms: Option<f64>,
}

pub(super) async fn trace(
    _: MayLook,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
) -> Result<Json<Trace>, Problem> {
    let stream = StreamName::new(&name).map_err(|error| Problem::bad_request(error.to_string()))?;
    let view = rooms.node.view().await?;
    let known = view.streams.iter().find(|known| known.name == name);
    let known = known.ok_or_else(|| Problem::not_found(format!("nobody publishes a stream \"{name}\"")))?;
    let hops: Vec<TraceHop> = rooms
        .node
        .trace(stream)
        .await?
        .into_iter()
        .map(|hop| TraceHop {
            node: hop.name,
            rtt_us: hop.rtt_us,
            cost_us: hop.cost_us,
            newest_age_ms: hop.newest_age_us.map(|age| age as f64 / 1_000.0),
        })
        .collect();
    let complete = hops.first().is_some_and(|first| known.origins.contains(&first.node));
    Ok(Json(Trace { stream: name, complete, hops }))
}

pub(super) async fn why(
    _: MayLook,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
) -> Result<Json<WhyView>, Problem> {
    let stream = StreamName::new(&name).map_err(|error| Problem::bad_request(error.to_string()))?;
    let why = rooms.node.why(stream).await?;
    why.map(Json).ok_or_else(|| Problem::not_found(format!("nobody publishes a stream \"{name}\"")))
}

/// Answer of `/api/v1/drain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drained {
    /// Children that have no other parent yet: they wait until there is one.
    pub left: Vec<LeftChild>,
}

/// A child of a node that stops.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftChild {
    /// Its name.
    pub node: String,
    /// The stream that it was fed with.
    pub stream: String,
}

/// Lets the children move, then stops the node. Answered when they have moved, or have had time to.
pub(super) async fn drain(
    State(rooms): State<Rooms>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Drained>, Problem> {
    if !is_local_action(from, &headers) && !may_change(&rooms, &headers) {
        return Err(Problem::forbidden(
            "a node is drained from its own machine, with: levada drain http://127.0.0.1:PORT; \
             or from anywhere with its operator's token"
                .to_owned(),
        ));
    }
    let _waits = rooms.drains.read().await;
    rooms.node.drain().await;
    let streams = rooms.node.view().await?.streams.into_iter();
    let left = |view: StreamView| {
        let stream = view.name;
        view.children.into_iter().map(move |node| LeftChild { node, stream: stream.clone() })
    };
    let left = streams.flat_map(left).collect();
    rooms.node.request_stop();
    Ok(Json(Drained { left }))
}
