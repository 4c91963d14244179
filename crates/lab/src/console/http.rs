//! The page and its API.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/state` | the newest view, JSON |
//! | `GET /api/events?after=N` | server-sent events: `state` with the view whenever it changed, `entry` with every entry of the journal after the N-th |
//! | `POST /api/do` | does the line of the script's notation that is the body |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use levada_node::http::{ACTION_HEADER, is_local_action};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Desk, FOLLOWERS_MAX, Refusal};

const PAGE: &str = include_str!("../../../../web/src/lab/lab.html");
const SCRIPT: &str = include_str!("../../../../web/dist/lab.js");
const STYLE: &str = include_str!("../../../../web/dist/lab.css");
/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";
/// Longest line that can be ordered, in bytes.
const LINE_MAX: usize = 4 * 1024;

pub(super) async fn serve(desk: Arc<Desk>, listener: TcpListener) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(async || ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))))
        .route("/lab.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/lab.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/api/state", get(state))
        .route("/api/events", get(events))
        .route("/api/do", post(act))
        .fallback(async |uri: Uri| problem(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path())))
        .layer(DefaultBodyLimit::max(LINE_MAX))
        .with_state(desk);
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

/// An error for people, as JSON: `{"error": "…"}`.
fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}

async fn state(State(desk): State<Arc<Desk>>) -> Response {
    let view = desk.view.borrow().clone();
    if view.is_empty() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "nothing was seen yet; ask again in a second".to_owned());
    }
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], view.to_string())
        .into_response()
}

async fn act(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    line: String,
) -> Response {
    if !is_local_action(from, &headers) {
        let mend =
            format!("only pages of this lab, and who sends the header {ACTION_HEADER} to 127.0.0.1, may do this");
        return problem(StatusCode::FORBIDDEN, mend);
    }
    match desk.order(&line).await {
        Ok(()) => Json(serde_json::json!({ "did": line.trim() })).into_response(),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Senseless(_) => StatusCode::BAD_REQUEST,
                Refusal::Busy | Refusal::Ended => StatusCode::SERVICE_UNAVAILABLE,
            };
            problem(status, refusal.to_string())
        }
    }
}

#[derive(Debug, Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(State(desk): State<Arc<Desk>>, Query(After { after }): Query<After>) -> Response {
    let Ok(seat) = desk.followers.clone().try_acquire_owned() else {
        let error = format!("{FOLLOWERS_MAX} pages follow this lab already; close one");
        return problem(StatusCode::SERVICE_UNAVAILABLE, error);
    };
    let mut view = desk.view.subscribe();
    let mut journal = desk.journal.follow();
    view.mark_changed();
    journal.mark_changed();
    let follower = Follower { view, journal, desk, after, waiting: VecDeque::new(), _seat: seat };
    Sse::new(follower.stream()).keep_alive(KeepAlive::default()).into_response()
}

/// A page that hears of everything. What it is too slow for is left out: of views, it gets the newest.
struct Follower {
    desk: Arc<Desk>,
    view: watch::Receiver<Arc<str>>,
    journal: watch::Receiver<u64>,
    /// The newest entry that it has.
    after: u64,
    waiting: VecDeque<Event>,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, async |mut follower| {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                changed = self.view.changed() => {
                    changed.ok()?;
                    let view = self.view.borrow_and_update().clone();
                    if !view.is_empty() {
                        self.waiting.push_back(Event::default().event("state").data(&*view));
                    }
                }
                changed = self.journal.changed() => {
                    changed.ok()?;
                    self.journal.borrow_and_update();
                    for entry in self.desk.journal.after(self.after) {
                        self.after = entry.id;
                        if let Ok(event) = Event::default().event("entry").json_data(&entry) {
                            self.waiting.push_back(event);
                        }
                    }
                }
            }
        }
    }
}
