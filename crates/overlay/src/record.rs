//! Records: signed, versioned facts that flood the mesh, and the encoding they are signed in.
//!
//! A record is kept and forwarded as the bytes its author signed, so fields that this version does not know survive.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

pub use crate::anchor::Anchor;
use crate::credential::Credential;
use crate::id::{NodeId, StreamName, check_node_name};
use crate::position::{STAMP_MAX, TIMELINE_MAX};

/// Largest record, in bytes: [`STREAMS_MAX`] streams with the longest names and anchors fit, and so does all else that
/// keeps the limits below. What is made within them is within this one.
pub const RECORD_LEN_MAX: usize = 136 * 1024;
/// Most links that a node can list. Tuned: the degree of a mesh node is 6 to 10, a hub's a few hundred.
pub const LINKS_MAX: usize = 1024;
/// Most streams that one node can publish.
pub const STREAMS_MAX: usize = 1024;
/// Most addresses of a node.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address or URL, in bytes.
pub const ADDRESS_LEN_MAX: usize = 256;

/// Priority of an origin that says nothing of it.
pub const PRIORITY_DEFAULT: u32 = 100;
/// Highest priority of an origin.
pub const PRIORITY_MAX: u32 = 255;

/// What a record is about. A node has one record of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Name, addresses, whether it passes streams on.
    Node = 1,
    /// Its links and their costs.
    Links = 2,
    /// The streams it publishes.
    Streams = 3,
    /// How much of what it can carry it does.
    Load = 4,
}

impl RecordKind {
    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Node, Self::Links, Self::Streams, Self::Load].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Later versions replace earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Grows with every start of the author.
    pub epoch: u64,
    /// Grows with every record of the author in this epoch.
    pub seq: u64,
}

/// Facts about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The cluster's word for the author.
    pub credential: Credential,
    /// `host:port` each, where the author accepts links; empty for a node that accepts none.
    pub addresses: Vec<String>,
    /// Base URL of its HTTP server, where it serves viewers.
    pub http: Option<String>,
    /// Whether it passes on what it did not publish itself.
    pub transit: bool,
}

/// One direction-aware edge as its author sees it. Costs in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// The other end.
    pub peer: NodeId,
    /// Cost from the author to the peer.
    pub out_us: u32,
    /// Cost from the peer to the author, as far as the author can see it.
    pub in_us: u32,
    /// Smoothed round-trip time, for people.
    pub rtt_us: u32,
}

/// A stream that the author publishes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StreamFacts {
    /// Its name.
    pub name: StreamName,
    /// Identity of this broadcast; of two that are begun, the later one's is greater.
    pub timeline: u64,
    /// How stamps derive from the encoder's timestamps, if other origins may make the same groups of it.
    pub anchor: Option<Anchor>,
    /// Origins of a higher priority are preferred, 0 to [`PRIORITY_MAX`].
    pub priority: u32,
    /// The stamp that the author would have given to a group begun when this was signed, Unix time in milliseconds; 0:
    /// it does not say.
    pub stamp_at_ms: u64,
    /// It has no whole group to give yet, so nobody is to be fed by it; it is told of for the sake of its anchor.
    pub preparing: bool,
}

impl StreamFacts {
    /// A stream of its own timeline and of the default priority, which flows.
    pub fn new(name: StreamName, timeline: u64) -> Self {
        Self { name, timeline, anchor: None, priority: PRIORITY_DEFAULT, stamp_at_ms: 0, preparing: false }
    }

    /// The same, `age` later.
    pub fn aged(mut self, age: Duration) -> Self {
        if self.stamp_at_ms > 0 {
            self.stamp_at_ms = self.stamp_at_ms.saturating_add(age.as_millis() as u64);
        }
        self
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// See [`RecordKind::Node`].
    Node(NodeFacts),
    /// See [`RecordKind::Links`].
    Links(Vec<LinkFacts>),
    /// See [`RecordKind::Streams`].
    Streams(Vec<StreamFacts>),
    /// See [`RecordKind::Load`]: percent.
    Load(u8),
}

impl Facts {
    /// The kind of record that these facts make.
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Node(_) => RecordKind::Node,
            Self::Links(_) => RecordKind::Links,
            Self::Streams(_) => RecordKind::Streams,
            Self::Load(_) => RecordKind::Load,
        }
    }
}

/// A record, parsed, with the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who signed it.
    pub author: NodeId,
    /// Which of the author's records of this kind it is.
    pub version: Version,
    /// What it says.
    pub facts: Facts,
    /// The encoded body.
    pub body: Bytes,
    /// Ed25519 signature of [`Record::signed_bytes`] by the author.
    pub signature: [u8; 64],
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`RECORD_LEN_MAX`].
    #[error("record of {0} bytes exceeds {RECORD_LEN_MAX}")]
    TooLong(usize),
    /// Not in the encoding of docs/protocol.md.
    #[error("record cannot be decoded")]
    Encoding(#[source] prost::DecodeError),
    /// A field that must be there is missing, or breaks its bound.
    #[error("record field {0} is missing or out of bounds")]
    Field(&'static str),
}

impl Record {
    /// The bytes that the author signs for a body.
    pub fn signed_bytes(body: &[u8]) -> Vec<u8> {
        [b"levada record v1\0", body].concat()
    }

    /// Encodes facts and signs them with `sign`.
    pub fn make(author: NodeId, version: Version, facts: Facts, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let body = Bytes::from(encode(author, version, &facts).encode_to_vec());
        let signature = sign(&Self::signed_bytes(&body));
        Self { author, version, facts, body, signature }
    }

    /// Parses a body. The signature is taken as it is; checking it is the caller's.
    pub fn parse(body: Bytes, signature: [u8; 64]) -> Result<Self, RecordError> {
        if body.len() > RECORD_LEN_MAX {
            return Err(RecordError::TooLong(body.len()));
        }
        let wire = wire::Body::decode(body.clone()).map_err(RecordError::Encoding)?;
        let author = node_id(&wire.author).ok_or(RecordError::Field("author"))?;
        let version = Version { epoch: wire.epoch, seq: wire.seq };
        let facts = match wire.facts.ok_or(RecordError::Field("facts"))? {
            wire::Facts::Node(node) => Facts::Node(parse_node(node)?),
            wire::Facts::Links(links) => Facts::Links(parse_links(links)?),
            wire::Facts::Streams(streams) => Facts::Streams(parse_streams(streams)?),
            wire::Facts::Load(load) => Facts::Load(parse_load(load)?),
        };
        Ok(Self { author, version, facts, body, signature })
    }
}

fn node_id(bytes: &[u8]) -> Option<NodeId> {
    bytes.try_into().ok().map(NodeId)
}

fn encode(author: NodeId, version: Version, facts: &Facts) -> wire::Body {
    let facts = match facts {
        Facts::Node(node) => wire::Facts::Node(wire::Node {
            name: node.credential.name.clone(),
            not_after_unix_s: node.credential.not_after_unix_s,
            credential: node.credential.signature.to_vec(),
            addresses: node.addresses.clone(),
            http: node.http.clone(),
            transit: node.transit,
        }),
        Facts::Links(links) => wire::Facts::Links(wire::Links {
            links: links
                .iter()
                .map(|link| wire::Link {
                    peer: link.peer.0.to_vec(),
                    out_us: link.out_us,
                    in_us: link.in_us,
                    rtt_us: link.rtt_us,
                })
                .collect(),
        }),
        Facts::Streams(streams) => wire::Facts::Streams(wire::Streams {
            streams: streams
                .iter()
                .map(|stream| wire::Stream {
                    name: stream.name.as_str().into(),
                    timeline: stream.timeline,
                    anchor: stream.anchor.map(|anchor| wire::Anchor {
                        timeline: anchor.timeline,
                        dts: anchor.dts,
                        unix_ms: anchor.unix_ms,
                    }),
                    priority: Some(stream.priority),
                    stamp_at_ms: stream.stamp_at_ms,
                    preparing: stream.preparing,
                })
                .collect(),
        }),
        Facts::Load(percent) => wire::Facts::Load(wire::Load { percent: u32::from(*percent) }),
    };
    wire::Body { author: author.0.to_vec(), epoch: version.epoch, seq: version.seq, facts: Some(facts) }
}

fn parse_load(load: wire::Load) -> Result<u8, RecordError> {
    u8::try_from(load.percent).ok().filter(|percent| *percent <= 100).ok_or(RecordError::Field("percent"))
}

fn parse_node(node: wire::Node) -> Result<NodeFacts, RecordError> {
    check_node_name(&node.name).map_err(|_| RecordError::Field("name"))?;
    let short = |text: &String| text.len() <= ADDRESS_LEN_MAX;
    if node.addresses.len() > ADDRESSES_MAX || !node.addresses.iter().chain(&node.http).all(short) {
        return Err(RecordError::Field("addresses"));
    }
    let signature = node.credential.try_into().map_err(|_| RecordError::Field("credential"))?;
    Ok(NodeFacts {
        credential: Credential { name: node.name, not_after_unix_s: node.not_after_unix_s, signature },
        addresses: node.addresses,
        http: node.http,
        transit: node.transit,
    })
}

fn parse_links(links: wire::Links) -> Result<Vec<LinkFacts>, RecordError> {
    if links.links.len() > LINKS_MAX {
        return Err(RecordError::Field("links"));
    }
    let parse = |link: wire::Link| {
        let peer = node_id(&link.peer).ok_or(RecordError::Field("peer"))?;
        Ok(LinkFacts { peer, out_us: link.out_us, in_us: link.in_us, rtt_us: link.rtt_us })
    };
    links.links.into_iter().map(parse).collect()
}

fn parse_streams(streams: wire::Streams) -> Result<Vec<StreamFacts>, RecordError> {
    if streams.streams.len() > STREAMS_MAX {
        return Err(RecordError::Field("streams"));
    }
    let parse = |stream: wire::Stream| {
        let name = StreamName::new(&stream.name).map_err(|_| RecordError::Field("stream name"))?;
        let within =
            |number: u64, most: u64, field| (number <= most).then_some(number).ok_or(RecordError::Field(field));
        let anchor = |anchor: wire::Anchor| {
            let timeline = within(anchor.timeline, TIMELINE_MAX, "anchor")?;
            Ok(Anchor { timeline, dts: anchor.dts, unix_ms: within(anchor.unix_ms, STAMP_MAX, "anchor")? })
        };
        Ok(StreamFacts {
            name,
            timeline: within(stream.timeline, TIMELINE_MAX, "timeline")?,
            anchor: stream.anchor.map(anchor).transpose()?,
            priority: stream.priority.unwrap_or(PRIORITY_DEFAULT).min(PRIORITY_MAX),
            stamp_at_ms: within(stream.stamp_at_ms, STAMP_MAX, "stamp")?,
            preparing: stream.preparing,
        })
    };
    streams.streams.into_iter().map(parse).collect()
}

/// Protocol Buffers (proto3) forms; docs/protocol.md holds them as a .proto file.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Body {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) author: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub(super) epoch: u64,
        #[prost(uint64, tag = "3")]
        pub(super) seq: u64,
        #[prost(oneof = "Facts", tags = "4, 5, 6, 7")]
        pub(super) facts: Option<Facts>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Facts {
        #[prost(message, tag = "4")]
        Node(Node),
        #[prost(message, tag = "5")]
        Links(Links),
        #[prost(message, tag = "6")]
        Streams(Streams),
        #[prost(message, tag = "7")]
        Load(Load),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Node {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(uint64, tag = "2")]
        pub(super) not_after_unix_s: u64,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) credential: Vec<u8>,
        #[prost(string, repeated, tag = "4")]
        pub(super) addresses: Vec<String>,
        #[prost(string, optional, tag = "5")]
        pub(super) http: Option<String>,
        #[prost(bool, tag = "6")]
        pub(super) transit: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Load {
        #[prost(uint32, tag = "1")]
        pub(super) percent: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Links {
        #[prost(message, repeated, tag = "1")]
        pub(super) links: Vec<Link>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Link {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) peer: Vec<u8>,
        #[prost(uint32, tag = "2")]
        pub(super) out_us: u32,
        #[prost(uint32, tag = "3")]
        pub(super) in_us: u32,
        #[prost(uint32, tag = "4")]
        pub(super) rtt_us: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Streams {
        #[prost(message, repeated, tag = "1")]
        pub(super) streams: Vec<Stream>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Stream {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(uint64, tag = "2")]
        pub(super) timeline: u64,
        #[prost(message, optional, tag = "3")]
        pub(super) anchor: Option<Anchor>,
        #[prost(uint32, optional, tag = "4")]
        pub(super) priority: Option<u32>,
        #[prost(uint64, tag = "5")]
        pub(super) stamp_at_ms: u64,
        #[prost(bool, tag = "6")]
        pub(super) preparing: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Anchor {
        #[prost(uint64, tag = "1")]
        pub(super) timeline: u64,
        #[prost(sint64, tag = "2")]
        pub(super) dts: i64,
        #[prost(uint64, tag = "3")]
        pub(super) unix_ms: u64,
    }
}

#[cfg(test)]
mod tests;
