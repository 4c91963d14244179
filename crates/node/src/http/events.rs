//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2), and the log of events.
//!
//! Nothing is queued for a client: it holds a position in the journal and takes what is there when it can be written to. A slow
//! one is told what it missed, and gets the newest tables only.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Rooms;
use super::api::Problem;
use super::body::Asked;
use super::lookout::{FOLLOWERS_MAX, Tables};
use super::operator::MayLook;
use crate::journal::{Entry, Since};

/// Entries that are taken out of the journal for a client at once.
const BATCH: usize = 64;

/// Answer of `/api/v1/log`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    /// Name of the node that answers.
    pub node: String,
    /// Entries between the one asked for and the first one here are no longer kept.
    pub missed: bool,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

/// Data of the event `missed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The entry that the client had.
    pub after: u64,
    /// The entry that follows.
    pub next: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct From {
    after: Option<u64>,
    tables: Option<String>,
}

pub(super) async fn log(_: MayLook, State(rooms): State<Rooms>, Asked(from): Asked<From>) -> Json<Log> {
    let Since { missed, entries } = rooms.node.journal().since(from.after.unwrap_or(0));
    Json(Log { node: rooms.node.name().to_owned(), missed, entries })
}

pub(super) async fn events(
    _: MayLook,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Asked(from): Asked<From>,
) -> Result<Response, Problem> {
    let tables = wanted(from.tables.as_deref())?;
    // A browser that comes back says so in the header, while the address stays as it was.
    let last = match headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse().ok())) {
        Some(None) => return Err(Problem::bad_request("Last-Event-ID is no number".to_owned())),
        Some(last) => last,
        None => from.after,
    };
    let full = || Problem::busy(format!("{FOLLOWERS_MAX} clients follow this node already; close one"));
    let (seat, changes) = rooms.lookout.follow().ok_or_else(full)?;
    let journal = rooms.node.journal().follow();
    let after = last.unwrap_or_else(|| *journal.borrow());
    let first = rooms.lookout.look(&rooms).await?.tables();
    let mut follower = Follower {
        rooms,
        journal,
        changes,
        tables,
        after,
        sent: Tables::default(),
        waiting: VecDeque::new(),
        _seat: seat,
    };
    follower.show(&first);
    follower.read_on();
    Ok(Sse::new(follower.stream()).keep_alive(KeepAlive::default()).into_response())
}

/// Tables that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Streams,
    Map,
    Neighbours,
}

const TABLES: [(&str, Table); 3] =
    [("streams", Table::Streams), ("map", Table::Map), ("neighbours", Table::Neighbours)];

fn wanted(list: Option<&str>) -> Result<Vec<Table>, Problem> {
    let Some(list) = list else { return Ok(TABLES.map(|(_, table)| table).to_vec()) };
    let one = |name: &str| {
        let known = TABLES.iter().find(|(known, _)| *known == name).map(|(_, table)| *table);
        known.ok_or_else(|| {
            Problem::bad_request(format!("there is no table {name:?}; there are streams, map and neighbours"))
        })
    };
    list.split(',').filter(|name| !name.is_empty()).map(one).collect()
}

/// A client that follows.
struct Follower {
    rooms: Rooms,
    journal: watch::Receiver<u64>,
    changes: watch::Receiver<Tables>,
    tables: Vec<Table>,
    /// The newest entry that it has.
    after: u64,
    /// The tables as it has them.
    sent: Tables,
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
            self.read_on();
            if !self.waiting.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.journal.changed() => {
                    changed.ok()?;
                    self.journal.mark_unchanged();
                }
                changed = self.changes.changed() => {
                    changed.ok()?;
                    let tables = self.changes.borrow_and_update().clone();
                    // What happened comes before the tables that show it.
                    self.read_on();
                    self.show(&tables);
                }
            }
        }
    }

    /// Takes the next entries out of the journal.
    fn read_on(&mut self) {
        let Since { missed, entries } = self.rooms.node.journal().since(self.after);
        if let Some(first) = entries.first().filter(|_| missed) {
            let missed = Missed { after: self.after, next: first.id };
            self.waiting.extend(Event::default().event("missed").json_data(missed).ok());
        }
        for entry in entries.into_iter().take(BATCH) {
            self.after = entry.id;
            let event = Event::default().event("entry").id(entry.id.to_string()).json_data(&entry);
            self.waiting.extend(event.ok());
        }
    }

    /// Sends the tables that are other than what the client has.
    fn show(&mut self, tables: &Tables) {
        for (name, table) in TABLES.iter().filter(|(_, table)| self.tables.contains(table)) {
            let (had, has) = match table {
                Table::Streams => (&mut self.sent.streams, &tables.streams),
                Table::Map => (&mut self.sent.map, &tables.map),
                Table::Neighbours => (&mut self.sent.neighbours, &tables.neighbours),
            };
            if had != has {
                *had = has.clone();
                self.waiting.push_back(Event::default().event(*name).data(&**has));
            }
        }
    }
}
