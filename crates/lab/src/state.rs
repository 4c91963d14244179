//! What the nodes of a lab say of themselves at one time, over their API, and what follows from it: who feeds whom.

use std::collections::BTreeMap;
use std::time::Instant;

use levada_node::http::Status;
use levada_overlay::StreamName;
use serde::Deserialize;

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

    /// Whether one feeds the other any stream.
    pub(crate) fn feeds(&self, from: &str, to: &str) -> Vec<&str> {
        let streams = self.nodes.get(from).map(|node| node.map.streams.as_slice()).unwrap_or_default();
        let fed = streams.iter().filter(|stream| stream.children.iter().any(|child| child == to));
        fed.map(|stream| stream.name.as_str()).collect()
    }

    /// Who feeds a node a stream, as the feeding ends tell it.
    fn feeders(&self, node: &str, stream: &StreamName) -> Vec<&str> {
        let feeds = |name: &&String| self.feeds(name, node).contains(&stream.as_str());
        self.nodes.keys().filter(feeds).map(String::as_str).collect()
    }
}
