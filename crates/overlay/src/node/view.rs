//! What a node shows of itself and of the mesh: the tables behind the API, the console and the command line.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Node;
use super::streams::Upstream;
pub use super::streams::{CandidateView, RefusedView, Size, Sizes, SwitchView, WhyView};
use crate::id::{NodeId, StreamName};
use crate::io::LinkId;
use crate::message::{Mode, Supply};
use crate::record::{NodeFacts, StreamFacts};
use crate::time::Time;

/// A picture of the mesh as one node knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// Name of the node that looks.
    pub node: String,
    /// What it gives to others.
    pub load: LoadView,
    /// All nodes with a record, by name.
    pub nodes: Vec<NodeView>,
    /// All links that both ends tell of, one entry a direction.
    pub links: Vec<LinkView>,
    /// Neighbours of the node that looks.
    pub neighbours: Vec<NeighbourView>,
    /// All streams that somebody is known to publish, in reach or not, or that this node has state of, by name.
    pub streams: Vec<StreamView>,
}

/// What a node gives to its children, and how much it may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadView {
    /// Children, over all streams; those that only want to know how far this node is count too.
    pub children: usize,
    /// Most of them.
    pub children_max: usize,
    /// Bits per second that they take.
    pub egress_bps: u64,
    /// Most that they may take, if there is a limit.
    pub egress_max_bps: Option<u64>,
}

/// A node of the mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its identity, in hexadecimal, shortened.
    pub id: String,
    /// Where it accepts links.
    pub addresses: Vec<String>,
    /// Base URL of its HTTP server.
    pub http: Option<String>,
    /// Whether it passes on what it does not publish.
    pub transit: bool,
    /// Whether links lead from here to it.
    pub reachable: bool,
    /// What it can be, by its records: none of the others is a leaf.
    pub roles: Vec<Role>,
}

/// What a node can be for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It publishes something.
    Origin,
    /// It passes on what it does not publish.
    Relay,
    /// It serves viewers.
    Pop,
    /// It only takes.
    Leaf,
}

/// A node that serves viewers.
#[derive(Clone, Debug, Serialize)]
pub struct PopView {
    /// Its name.
    pub name: String,
    /// Base URL of its HTTP server.
    pub http: String,
    /// Microseconds from the nearest origin of the stream that was asked for; `None`: there is no way, or none was asked for.
    pub stream_metric_us: Option<u64>,
    /// Percent of what it can carry that it does, as it last told.
    pub load_percent: u8,
    /// Whether links lead from here to it.
    pub reachable: bool,
}

/// One direction of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkView {
    /// Name of the sending end.
    pub from: String,
    /// Name of the receiving end.
    pub to: String,
    /// Microseconds.
    pub cost_us: u32,
    /// Microseconds, as the sending end measures it.
    pub rtt_us: u32,
    /// Smoothed share of lost packets, 0 to 1; `None` for links of others, who do not tell it.
    pub loss: Option<f64>,
    /// Bits per second that cross it. Only the driver knows, and only of its own links.
    pub bps: Option<u64>,
}

/// A neighbour of the node that looks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Its name.
    pub name: String,
    /// Whether a link is open.
    pub up: bool,
    /// Why there is none, if there is none.
    pub failure: Option<String>,
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: Option<u64>,
    /// Smoothed lateness: by how much round trips exceed the smoothed one, microseconds.
    pub jitter_us: Option<u64>,
    /// Smoothed share of lost packets, 0 to 1.
    pub loss: Option<f64>,
    /// Whether a tree uses the link.
    pub in_use: bool,
    /// How it came to be one.
    pub kind: NeighbourKind,
    /// Where it is dialled; empty where it is not.
    pub addresses: Vec<String>,
    /// Bits per second sent to it. Only the driver knows.
    pub sent_bps: Option<u64>,
    /// Bits per second received from it. Only the driver knows.
    pub received_bps: Option<u64>,
    /// Its link, for the driver.
    #[serde(skip)]
    pub link: Option<LinkId>,
}

/// How a node came to be a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourKind {
    /// The topology says so.
    Listed,
    /// An operator said so.
    Added,
    /// It was dialled because a stream needed it.
    Adopted,
    /// It dialled.
    Caller,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Origin => "origin",
            Self::Relay => "relay",
            Self::Pop => "pop",
            Self::Leaf => "leaf",
        })
    }
}

impl std::fmt::Display for NeighbourKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Listed => "topology",
            Self::Added => "operator",
            Self::Adopted => "need",
            Self::Caller => "its call",
        })
    }
}

/// A stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamView {
    /// Its name.
    pub name: String,
    /// Names of the nodes that publish it and can be reached.
    pub origins: Vec<String>,
    /// What this node does with it.
    pub state: StreamState,
    /// Name of the parent.
    pub parent: Option<String>,
    /// Names of the nodes from the origin to this one, this one last; empty while it does not flow here.
    pub path: Vec<String>,
    /// Name of the parent that would take over.
    pub backup: Option<String>,
    /// Names of the nodes from the origin to the backup, the backup last.
    pub backup_path: Vec<String>,
    /// Names of the neighbours that this node feeds.
    pub children: Vec<String>,
    /// Local readers.
    pub readers: u32,
    /// Whether it is wanted here and no path is known.
    pub waiting: bool,
    /// How many times it got another parent.
    pub switches: u64,
    /// Another parent has been asked, or the verdict on the one before is out: both may feed it until then.
    pub changing: bool,
}

/// What a node does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamState {
    /// It publishes it.
    Published,
    /// Somebody watches it here.
    Watched,
    /// It is passed on to others.
    Passed,
    /// Nobody here needs it.
    Idle,
}

impl Node {
    /// The tables, as they are now.
    pub fn view(&self) -> View {
        View {
            node: self.name().to_owned(),
            load: LoadView {
                children: self.children(),
                children_max: self.config.children_max,
                egress_bps: self.egress_bps(),
                egress_max_bps: self.config.egress_max_bps,
            },
            nodes: self.node_views(),
            links: self.link_views(),
            neighbours: self.neighbour_views(),
            streams: self.stream_views(),
        }
    }

    /// The PoPs of the mesh, by name, and how far each is from a stream.
    pub fn pops(&mut self, stream: Option<&StreamName>) -> Vec<PopView> {
        let reach = self.graph.distances(&[self.config.id], &[]);
        let from_origin = stream.map(|stream| self.distances(stream, &[]));
        let metric = |id: NodeId| Some(from_origin.as_ref()?.get(id)?.metric);
        let view = |(id, node): (NodeId, &crate::record::NodeFacts)| {
            Some(PopView {
                name: node.credential.name.clone(),
                http: node.http.clone()?,
                stream_metric_us: metric(id),
                load_percent: if id == self.config.id { self.load_percent() } else { self.table.load_percent(id) },
                reachable: reach.get(id).is_some(),
            })
        };
        let mut pops: Vec<PopView> = self.table.nodes().filter_map(view).collect();
        pops.sort_by(|a, b| a.name.cmp(&b.name));
        pops
    }

    /// Whether this node holds any state of a stream that it does not publish: none is left after the last leave.
    pub fn has_state_of(&self, stream: &StreamName) -> bool {
        self.streams.get(stream).is_some_and(|entry| entry.published.is_none())
    }

    /// The committed parent of a stream; checkers follow it to find loops.
    pub fn parent_of(&self, stream: &StreamName) -> Option<NodeId> {
        let main = self.streams.get(stream)?.main.as_ref().filter(|main| main.mode == Mode::Full)?;
        self.links.get(&main.link).map(|link| link.peer)
    }

    /// Those who are known to publish a stream or to be about to, this node among them, and what they would tell of it now.
    pub fn publishers_of(&self, stream: &StreamName, now: Time) -> Vec<(NodeId, StreamFacts)> {
        self.table.publishers_at(stream, now)
    }

    /// Hash of all records held; equal at nodes that hold the same.
    pub fn records_digest(&self) -> Vec<u64> {
        self.table.digest()
    }

    fn node_views(&self) -> Vec<NodeView> {
        let reach = self.graph.distances(&[self.config.id], &[]);
        let flowing = self.table.streams().filter(|(_, facts)| !facts.preparing);
        let origins: BTreeSet<NodeId> = flowing.map(|(author, _)| author).collect();
        let view = |(id, node): (NodeId, &NodeFacts)| NodeView {
            name: node.credential.name.clone(),
            id: id.to_string(),
            addresses: node.addresses.clone(),
            http: node.http.clone(),
            transit: node.transit,
            reachable: reach.get(id).is_some(),
            roles: roles(origins.contains(&id), node),
        };
        let mut nodes: Vec<NodeView> = self.table.nodes().map(view).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn link_views(&self) -> Vec<LinkView> {
        let edges: Vec<_> = self.graph.edges().collect();
        let view = |(from, to, cost_us): (NodeId, NodeId, u32)| {
            let told = self.table.links(from).iter().find(|link| link.peer == to);
            let peer = if from == self.config.id { Some(to) } else { (to == self.config.id).then_some(from) };
            let own = peer.and_then(|peer| self.links.values().find(|link| link.peer == peer));
            LinkView {
                from: self.name_of(from),
                to: self.name_of(to),
                cost_us,
                rtt_us: told.map_or(0, |link| link.rtt_us),
                loss: own.map(|link| link.estimator.loss()),
                bps: None,
            }
        };
        let mut links: Vec<LinkView> = edges.into_iter().map(view).collect();
        links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        links
    }

    fn neighbour_views(&self) -> Vec<NeighbourView> {
        let view = |name: &str| {
            let contact = self.contacts.get(name);
            NeighbourView {
                name: name.to_owned(),
                up: false,
                failure: contact.and_then(|contact| contact.failure.clone()),
                rtt_us: None,
                jitter_us: None,
                loss: None,
                in_use: false,
                kind: match contact {
                    None => NeighbourKind::Caller,
                    Some(contact) if contact.adopted => NeighbourKind::Adopted,
                    Some(_) if self.wishes.is_added(name) => NeighbourKind::Added,
                    Some(_) => NeighbourKind::Listed,
                },
                addresses: contact.map(|contact| contact.neighbour.addresses.clone()).unwrap_or_default(),
                sent_bps: None,
                received_bps: None,
                link: None,
            }
        };
        let up = self.links.iter().map(|(id, link)| NeighbourView {
            up: true,
            failure: None,
            rtt_us: link.estimator.rtt().map(|rtt| rtt.as_micros() as u64),
            jitter_us: Some(link.estimator.jitter().as_micros() as u64),
            loss: Some(link.estimator.loss()),
            in_use: link.in_use,
            link: Some(*id),
            ..view(&link.name)
        });
        let down = self.contacts.iter().filter(|(_, contact)| contact.link.is_none());
        let mut views: Vec<NeighbourView> = up.chain(down.map(|(name, _)| view(name))).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn stream_views(&self) -> Vec<StreamView> {
        let reach = self.graph.distances(&[self.config.id], &[]);
        let mut origins: BTreeMap<StreamName, Vec<String>> = BTreeMap::new();
        // The own record is a moment behind what this node does.
        let published = |name: &StreamName| self.streams.get(name).is_some_and(|stream| stream.published.is_some());
        let flowing = self
            .table
            .streams()
            .filter(|(author, facts)| !facts.preparing && (*author != self.config.id || published(&facts.name)));
        for (author, facts) in flowing {
            // One whose origins cannot be reached now is still known: whoever wants it waits.
            let names = origins.entry(facts.name.clone()).or_default();
            if author == self.config.id || reach.get(author).is_some() {
                names.push(self.name_of(author));
            }
        }
        for name in self.streams.keys() {
            origins.entry(name.clone()).or_default();
        }
        origins.into_iter().map(|(name, origins)| self.stream_view(&name, origins)).collect()
    }

    fn stream_view(&self, name: &StreamName, origins: Vec<String>) -> StreamView {
        let link_name = |link| self.links.get(&link).map(|link| link.name.clone());
        let stream = self.streams.get(name);
        let state = match stream {
            Some(stream) if stream.published.is_some() => StreamState::Published,
            Some(stream) if stream.readers > 0 => StreamState::Watched,
            Some(stream) if stream.wanted() == Some(Mode::Full) => StreamState::Passed,
            _ => StreamState::Idle,
        };
        let path = |upstream: Option<&Upstream>| -> Vec<String> {
            upstream.map_or(&[][..], Upstream::path).iter().map(|id| self.name_of(*id)).collect()
        };
        let mut way = path(stream.and_then(|stream| stream.main.as_ref()));
        if !way.is_empty() || state == StreamState::Published {
            way.push(self.name().to_owned());
        }
        StreamView {
            name: name.to_string(),
            origins,
            state,
            path: way,
            backup_path: path(stream.and_then(|stream| stream.backup.as_ref())),
            parent: stream.and_then(|stream| stream.main.as_ref()).and_then(|main| link_name(main.link)),
            backup: stream.and_then(|stream| stream.backup.as_ref()).and_then(|backup| link_name(backup.link)),
            children: stream
                .map(|stream| {
                    let full = stream.children.iter().filter(|(_, child)| child.mode == Mode::Full);
                    full.filter_map(|(link, _)| link_name(*link)).collect()
                })
                .unwrap_or_default(),
            readers: stream.map_or(0, |stream| stream.readers),
            waiting: stream.is_some_and(|stream| stream.supply() == Supply::Waiting),
            switches: stream.map_or(0, |stream| stream.switches),
            changing: stream.is_some_and(|stream| stream.candidate.is_some() || stream.former.is_some()),
        }
    }
}

fn roles(publishes: bool, node: &NodeFacts) -> Vec<Role> {
    let can = [(Role::Origin, publishes), (Role::Relay, node.transit), (Role::Pop, node.http.is_some())];
    let roles: Vec<Role> = can.into_iter().filter_map(|(role, can)| can.then_some(role)).collect();
    if roles.is_empty() { vec![Role::Leaf] } else { roles }
}
