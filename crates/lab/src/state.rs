//! What the nodes of a lab say of themselves at one time, over their API, and what follows from it: who feeds whom.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use levada_node::http::Status;
use levada_overlay::StreamName;
use serde::Deserialize;

use crate::http;
use crate::net::Network;

/// Nodes that are asked at the same time: one that does not answer holds up only those behind it.
const ASKED_AT_ONCE: usize = 4;

/// Where nodes can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Lookout {
    pub(crate) network: Arc<Network>,
    /// Those that run, with their ports.
    pub(crate) nodes: BTreeMap<String, u16>,
    /// Both ends of the file's links.
    pub(crate) links: Vec<(String, String)>,
}

/// What all nodes that answered said.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) nodes: BTreeMap<String, NodeState>,
    /// Bytes sent so far into each direction of a link.
    pub(crate) sent: BTreeMap<(String, String), u64>,
}

/// What one node said.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    pub(crate) map: Map,
    pub(crate) status: Status,
}

/// The part of `/api/v1/map` that a lab looks at.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Map {
    pub(crate) nodes: Vec<Known>,
    pub(crate) links: Vec<LinkState>,
    pub(crate) neighbours: Vec<Neighbour>,
    pub(crate) streams: Vec<Stream>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) reachable: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LinkState {
    pub(crate) from: String,
    pub(crate) to: String,
    /// What it counts in the choice of ways, microseconds.
    pub(crate) cost_us: u32,
    /// Microseconds, as the sending end measures it.
    pub(crate) rtt_us: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Neighbour {
    pub(crate) name: String,
    pub(crate) up: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) origins: Vec<String>,
    pub(crate) state: String,
    pub(crate) parent: Option<String>,
    pub(crate) backup: Option<String>,
    pub(crate) children: Vec<String>,
    pub(crate) waiting: bool,
    pub(crate) switches: u64,
    /// Two may feed it.
    pub(crate) changing: bool,
}

/// The part of `/api/v1/why/STREAM` that a lab shows.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Why {
    pub(crate) switches: Vec<Switch>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Switch {
    pub(crate) ago_s: f64,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) cause: String,
}

impl Lookout {
    /// Asks all of them.
    pub(crate) fn look(&self) -> Snapshot {
        let (next, nodes) = (Mutex::new(self.nodes.iter()), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..ASKED_AT_ONCE.min(self.nodes.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((name, port)) = locked(&next).next() else { return };
                        // Who does not answer is not there yet, or not any more.
                        if let Ok(state) = self.ask(name, *port) {
                            locked(&nodes).insert(name.clone(), state);
                        }
                    }
                });
            }
        });
        let mut sent = BTreeMap::new();
        for (a, b) in &self.links {
            for (from, to) in [(a, b), (b, a)] {
                if let Ok(counters) = self.network.counters(from, to) {
                    sent.insert((from.clone(), to.clone()), counters.bytes);
                }
            }
        }
        Snapshot { at: Instant::now(), nodes: nodes.into_inner().unwrap_or_else(PoisonError::into_inner), sent }
    }

    /// The last changes of a stream's way to a node, the newest first.
    pub(crate) fn switches(&self, node: &str, stream: &StreamName) -> Option<Vec<Switch>> {
        let connection = self.network.connect(node, *self.nodes.get(node)?).ok()?;
        let mut why: Why = http::get(connection, &format!("/api/v1/why/{stream}")).ok()?;
        why.switches.reverse();
        Some(why.switches)
    }

    fn ask(&self, name: &str, port: u16) -> io::Result<NodeState> {
        let map = http::get(self.network.connect(name, port)?, "/api/v1/map")?;
        let status = http::get(self.network.connect(name, port)?, "/api/v1/status")?;
        Ok(NodeState { map, status })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshot {
    pub(crate) fn stream(&self, node: &str, stream: &StreamName) -> Option<&Stream> {
        self.nodes.get(node)?.map.streams.iter().find(|known| known.name == stream.as_str())
    }

    /// The way of a stream, its origin first. Leaves say nothing themselves: who feeds them tells. Where the way is
    /// lost it begins with `?`; empty: the node does not get the stream.
    pub(crate) fn way(&self, node: &str, stream: &StreamName) -> Vec<String> {
        let mut way = vec![node.to_owned()];
        while let Some(at) = way.last() {
            let parent = match self.nodes.contains_key(at) {
                true => {
                    let here = self.stream(at, stream);
                    if here.is_some_and(|here| here.state == "published") {
                        break;
                    }
                    here.and_then(|here| here.parent.clone())
                }
                false => self.feeders(at, stream).first().map(|feeder| (*feeder).to_owned()),
            };
            match parent {
                Some(parent) if !way.contains(&parent) => way.push(parent),
                _ if way.len() == 1 => return Vec::new(),
                _ => {
                    way.push("?".to_owned());
                    break;
                }
            }
        }
        way.reverse();
        way
    }

    /// Bytes sent so far over a link, both directions together.
    pub(crate) fn carried(&self, a: &str, b: &str) -> u64 {
        let sent = |from: &str, to: &str| self.sent.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or(0);
        sent(a, b) + sent(b, a)
    }

    /// Whether one feeds the other any stream.
    pub(crate) fn feeds(&self, from: &str, to: &str) -> Vec<&str> {
        let streams = self.nodes.get(from).map(|node| node.map.streams.as_slice()).unwrap_or_default();
        let fed = streams.iter().filter(|stream| stream.children.iter().any(|child| child == to));
        fed.map(|stream| stream.name.as_str()).collect()
    }

    /// Nodes that feed each other in a ring.
    pub(crate) fn ring(&self, stream: &StreamName) -> Option<Vec<String>> {
        for start in self.nodes.keys() {
            let mut ring: Vec<String> = vec![start.clone()];
            while let Some(parent) = ring.last().and_then(|at| self.stream(at, stream)?.parent.clone()) {
                if let Some(at) = ring.iter().position(|known| *known == parent) {
                    // Each ring is told in one way, whoever it is found from.
                    if at == 0 && ring.iter().min() == Some(start) {
                        return Some(ring);
                    }
                    break;
                }
                ring.push(parent);
            }
        }
        None
    }

    /// Who feeds a node a stream, as the feeding ends tell it.
    pub(crate) fn feeders(&self, node: &str, stream: &StreamName) -> Vec<&str> {
        let feeds = |name: &&String| self.feeds(name, node).contains(&stream.as_str());
        self.nodes.keys().filter(feeds).map(String::as_str).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Each node with its parent; a node without one publishes.
    pub(crate) fn snapshot(parents: &[(&str, Option<&str>)]) -> Snapshot {
        let state = |(name, parent): &(&str, Option<&str>)| {
            let fed_by = |other: &&(&str, Option<&str>)| other.1 == Some(name);
            let children: Vec<&str> = parents.iter().filter(fed_by).map(|other| other.0).collect();
            let stream = serde_json::json!({
                "name": "cam", "origins": ["s"], "state": if parent.is_some() { "passed" } else { "published" },
                "parent": parent, "backup": null, "children": children, "waiting": false, "switches": 0, "changing": false,
            });
            let map = serde_json::json!({ "nodes": [], "links": [], "neighbours": [], "streams": [stream] });
            let mut status = serde_json::json!({ "node": name, "id": "", "version": "", "memory_peak_bytes": null, "forward_us_p50": null, "forward_us_p99": null });
            for counter in [
                "uptime_s",
                "viewers",
                "objects_published",
                "objects_in",
                "bytes_in",
                "objects_out",
                "bytes_out",
                "objects_duplicated",
                "objects_delivered",
                "objects_lost",
                "objects_unplayable",
                "dropped",
                "switches",
                "joins",
                "joins_refused",
                "refusals",
                "records_refused",
                "protocol_errors",
            ] {
                status[counter] = 0.into();
            }
            let state = NodeState {
                map: serde_json::from_value(map).unwrap(),
                status: serde_json::from_value(status).unwrap(),
            };
            ((*name).to_owned(), state)
        };
        Snapshot { at: Instant::now(), nodes: parents.iter().map(state).collect(), sent: BTreeMap::new() }
    }

    #[test]
    fn ways_begin_at_the_origin_or_where_they_are_lost() {
        let cam = StreamName::new("cam").unwrap();
        let whole = snapshot(&[("s", None), ("a", Some("s")), ("b", Some("a"))]);
        assert_eq!(whole.way("b", &cam), ["s", "a", "b"]);
        let lost = snapshot(&[("a", Some("gone")), ("b", Some("a"))]);
        assert_eq!(lost.way("b", &cam)[0], "?");
        // A leaf does not answer: its parent names it.
        let leaf = snapshot(&[("s", None), ("a", Some("s")), ("leaf", Some("a"))]);
        let silent = Snapshot { nodes: leaf.nodes.into_iter().filter(|(name, _)| name != "leaf").collect(), ..whole };
        assert_eq!(silent.way("leaf", &cam), ["s", "a", "leaf"]);
        assert!(silent.way("nobody", &cam).is_empty());
    }

    #[test]
    fn rings_are_found() {
        let cam = StreamName::new("cam").unwrap();
        assert_eq!(snapshot(&[("s", None), ("a", Some("s")), ("b", Some("a"))]).ring(&cam), None);
        let ring = snapshot(&[("s", None), ("a", Some("c")), ("b", Some("a")), ("c", Some("b")), ("d", Some("a"))]);
        assert_eq!(ring.ring(&cam).unwrap(), ["a", "c", "b"]);
        assert_eq!(ring.way("d", &cam)[0], "?");
    }
}
