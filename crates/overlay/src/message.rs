//! Messages of the control stream: their meaning, and their encoding in Protocol Buffers, whose readers pass over fields
//! they do not know (rolling upgrades). docs/protocol.md specifies each.
//!
//! On the wire every message is preceded by its length as a 32-bit big-endian number. The length is checked against
//! [`MESSAGE_LEN_MAX`] before anything is allocated.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::id::{NodeId, StreamName, check_node_name};
use crate::position::{LAYERS, Resume, STAMP_MAX};
use crate::record::{RECORD_LEN_MAX, Record, RecordError, RecordKind, Version};

/// Version of the protocol that this node speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// Oldest version that it still speaks.
pub const PROTOCOL_VERSION_MIN: u32 = 1;
/// Largest message, in bytes, without its length: one record of any size, or many small ones.
pub const MESSAGE_LEN_MAX: usize = RECORD_LEN_MAX + 32 * 1024;
/// Buckets of a digest. Tuned: a bucket's listing of 5,000 nodes stays below 16 kB.
pub const BUCKETS: usize = 64;
/// Most entries of a listing.
pub const LISTING_MAX: usize = 2_048;
/// Most hashes of one announcement.
pub const HASHES_MAX: usize = 1_024;
/// Most hops of a trace, and of the path that a parent tells.
pub const TRACE_HOPS_MAX: usize = 64;
/// Most alternates of a refusal.
pub const ALTERNATES_MAX: usize = 8;

/// A feed of one stream over one link, numbered by the child who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct FeedId(pub u64);

/// What neighbours say to each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First message in each direction.
    Hello(Hello),
    /// One hash per bucket of the records held.
    Digest(Vec<u64>),
    /// The versions held in one bucket, sent when the digests of that bucket differ.
    Listing {
        /// Number of the bucket.
        bucket: u32,
        /// Who, which of his records, how new.
        entries: Vec<(NodeId, RecordKind, Version)>,
    },
    /// Records that the receiver may lack.
    Records(Vec<Aged>),
    /// Hashes of records that the sender holds and has not sent, since it takes this link for one over which they
    /// would come twice.
    Have(Vec<u64>),
    /// Hashes of records that the receiver announced and the sender lacks: they, and all further ones, shall be sent.
    Want(Vec<u64>),
    /// A record came twice: further ones shall only be announced on this link.
    Prune,
    /// Feed me this stream.
    Join(Join),
    /// Stop that feed.
    Leave(FeedId),
    /// That feed will not come.
    Refuse {
        /// Which feed.
        feed: FeedId,
        /// Why.
        reason: Refusal,
        /// Nodes that carry the stream and may have room, best first.
        alternates: Vec<NodeId>,
    },
    /// How the sender's own supply of that feed stands.
    Supply {
        /// Which feed.
        feed: FeedId,
        /// How it stands.
        report: Report,
    },
    /// The sender has begun or ceased to carry a stream.
    Carries {
        /// Which stream.
        stream: StreamName,
        /// Begun or ceased.
        yes: bool,
    },
    /// Objects of a feed that will not come: the sender dropped them because their deadline had passed.
    Gap(Gap),
    /// Ask the way to the origin, hop by hop.
    Trace {
        /// Chosen by the asker.
        id: u64,
        /// Of which stream.
        stream: StreamName,
        /// How much further it may go.
        hops_left: u32,
    },
    /// The way from the origin to the sender.
    TraceReply {
        /// That of the question.
        id: u64,
        /// Origin first.
        hops: Vec<Hop>,
    },
    /// The sender is about to stop: it goes on serving for a while, and its children look for another parent.
    Goodbye,
}

/// Introduction of a node on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Newest protocol version that the sender speaks.
    pub version: u32,
    /// Oldest protocol version that the sender speaks.
    pub version_min: u32,
}

/// A record with the time since its author signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged {
    /// The encoded body.
    pub body: Bytes,
    /// The author's signature.
    pub signature: [u8; 64],
    /// Seconds since it was signed, as far as those who held it know.
    pub age_s: u32,
}

impl Aged {
    /// Parses the record.
    pub fn parse(self) -> Result<Record, RecordError> {
        Record::parse(self.body, self.signature)
    }
}

/// A child's request for a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Number of the feed, unique among this child's.
    pub feed: FeedId,
    /// The stream.
    pub stream: StreamName,
    /// Where to go on; `None`: from the newest group on.
    pub resume: Option<Resume>,
    /// How much of it.
    pub mode: Mode,
}

/// How much of a stream a feed brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Only how far the parent is (a shadow).
    Shadow,
    /// All objects.
    #[default]
    Full,
}

/// A parent's account of its own supply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it flows.
    pub supply: Supply,
    /// The nodes that the stream passes, from the origin to the sender; empty where it is not known.
    pub path: Arc<[NodeId]>,
    /// How long the slowest node on that path takes to suspect its own parent. Who is further down waits at least as
    /// long for a parent that lives, so that one failure makes one switch.
    pub patience: Duration,
}

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// At a limit.
    Busy,
    /// The asker itself feeds the one who is asked.
    Circular,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "it is full, or about to stop",
            Self::Circular => "it is fed by this node",
        })
    }
}

/// State of a parent's own supply, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supply {
    /// It has a parent, or is the origin.
    Flowing,
    /// It lost its parent and is on its way to another one; children stay.
    Repairing,
    /// It knows no path; children look elsewhere.
    Waiting,
}

/// A hole in a layer of a feed: from `from` up to and without `to`, each (group, index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which feed.
    pub feed: FeedId,
    /// Which layer.
    pub layer: u8,
    /// First object that is missing.
    pub from: (u64, u32),
    /// First object that comes again.
    pub to: (u64, u32),
}

/// One node on the way of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Identity.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Smoothed round-trip time to the hop before, in microseconds; 0 at the origin.
    pub rtt_us: u32,
    /// Cost from the hop before, in microseconds; 0 at the origin.
    pub cost_us: u32,
    /// Age of the newest object at this node, in microseconds, by its own clock; `None` when it has none.
    pub newest_age_us: Option<u64>,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The length exceeds [`MESSAGE_LEN_MAX`].
    #[error("control message of {0} bytes exceeds {MESSAGE_LEN_MAX}")]
    TooLong(usize),
    /// Not in the encoding of docs/protocol.md.
    #[error("control message cannot be decoded")]
    Encoding(#[source] prost::DecodeError),
    /// A field that must be there is missing, or breaks its bound.
    #[error("control message field {0} is missing or out of bounds")]
    Field(&'static str),
}

impl Message {
    /// Length of the message whose four length bytes are given.
    pub fn len_of(prefix: [u8; 4]) -> Result<usize, MessageError> {
        let len = u32::from_be_bytes(prefix) as usize;
        if len > MESSAGE_LEN_MAX { Err(MessageError::TooLong(len)) } else { Ok(len) }
    }

    /// Encodes with the length in front.
    pub fn encode(&self) -> Bytes {
        let control = wire::Control { message: Some(to_wire(self)) };
        let len = control.encoded_len();
        let mut out = BytesMut::with_capacity(4 + len);
        out.put_u32(len as u32);
        let body = control.encode_to_vec();
        out.put_slice(&body);
        out.freeze()
    }

    /// Decodes a message without its length. A message that this version does not know is `None`.
    pub fn decode(bytes: Bytes) -> Result<Option<Self>, MessageError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let control = wire::Control::decode(bytes).map_err(MessageError::Encoding)?;
        control.message.map(from_wire).transpose()
    }
}

fn to_wire(message: &Message) -> wire::Any {
    use wire::Any;
    match message {
        Message::Hello(hello) => Any::Hello(wire::Hello { version: hello.version, version_min: hello.version_min }),
        Message::Digest(buckets) => Any::Digest(wire::Digest { buckets: buckets.clone() }),
        Message::Listing { bucket, entries } => Any::Listing(wire::Listing {
            bucket: *bucket,
            entries: entries
                .iter()
                .map(|(author, kind, version)| wire::Entry {
                    author: author.0.to_vec(),
                    kind: *kind as u32,
                    epoch: version.epoch,
                    seq: version.seq,
                })
                .collect(),
        }),
        Message::Records(records) => Any::Records(wire::Records {
            records: records
                .iter()
                .map(|record| wire::Signed {
                    body: record.body.clone(),
                    signature: record.signature.to_vec(),
                    age_s: record.age_s,
                })
                .collect(),
        }),
        Message::Have(hashes) => Any::Have(wire::Hashes { hashes: hashes.clone() }),
        Message::Want(hashes) => Any::Want(wire::Hashes { hashes: hashes.clone() }),
        Message::Prune => Any::Prune(wire::Prune {}),
        Message::Join(join) => Any::Join(wire::Join {
            feed: join.feed.0,
            stream: join.stream.as_str().into(),
            resume: join.resume.map(|resume| wire::Resume {
                timeline: resume.timeline,
                layers: resume.layers.iter().map(|&(group, index)| wire::Point { group, index }).collect(),
            }),
            shadow: join.mode == Mode::Shadow,
        }),
        Message::Leave(feed) => Any::Leave(wire::Leave { feed: feed.0 }),
        Message::Refuse { feed, reason, alternates } => Any::Refuse(wire::Refuse {
            feed: feed.0,
            reason: match reason {
                Refusal::Busy => 1,
                Refusal::Circular => 2,
            },
            alternates: alternates.iter().map(|id| id.0.to_vec()).collect(),
        }),
        Message::Supply { feed, report } => Any::Supply(wire::Supply {
            feed: feed.0,
            supply: match report.supply {
                Supply::Flowing => 1,
                Supply::Repairing => 2,
                Supply::Waiting => 3,
            },
            path: report.path.iter().map(|id| id.0.to_vec()).collect(),
            patience_us: u32::try_from(report.patience.as_micros()).unwrap_or(u32::MAX),
        }),
        Message::Carries { stream, yes } => Any::Carries(wire::Carries { stream: stream.as_str().into(), yes: *yes }),
        Message::Gap(gap) => Any::Gap(wire::Gap {
            feed: gap.feed.0,
            layer: u32::from(gap.layer),
            from: Some(wire::Point { group: gap.from.0, index: gap.from.1 }),
            to: Some(wire::Point { group: gap.to.0, index: gap.to.1 }),
        }),
        Message::Trace { id, stream, hops_left } => {
            Any::Trace(wire::Trace { id: *id, stream: stream.as_str().into(), hops_left: *hops_left })
        }
        Message::TraceReply { id, hops } => Any::TraceReply(wire::TraceReply {
            id: *id,
            hops: hops
                .iter()
                .map(|hop| wire::Hop {
                    id: hop.id.0.to_vec(),
                    name: hop.name.clone(),
                    rtt_us: hop.rtt_us,
                    cost_us: hop.cost_us,
                    newest_age_us: hop.newest_age_us,
                })
                .collect(),
        }),
        Message::Goodbye => Any::Goodbye(wire::Goodbye {}),
    }
}

fn from_wire(any: wire::Any) -> Result<Message, MessageError> {
    use wire::Any;
    Ok(match any {
        Any::Hello(hello) => Message::Hello(Hello { version: hello.version, version_min: hello.version_min }),
        Any::Digest(digest) if digest.buckets.len() == BUCKETS => Message::Digest(digest.buckets),
        Any::Digest(_) => return Err(MessageError::Field("digest.buckets")),
        Any::Listing(listing) => {
            if listing.bucket as usize >= BUCKETS || listing.entries.len() > LISTING_MAX {
                return Err(MessageError::Field("listing"));
            }
            let entry = |entry: wire::Entry| {
                let author = node_id(&entry.author)?;
                // A kind that only a later version knows is no fault of the sender.
                Ok(RecordKind::from_number(entry.kind)
                    .map(|kind| (author, kind, Version { epoch: entry.epoch, seq: entry.seq })))
            };
            let entries = listing.entries.into_iter().filter_map(|e| entry(e).transpose()).collect::<Result<_, _>>()?;
            Message::Listing { bucket: listing.bucket, entries }
        }
        Any::Records(records) => {
            let aged = |signed: wire::Signed| {
                let signature = signed.signature.try_into().map_err(|_| MessageError::Field("signature"))?;
                Ok(Aged { body: signed.body, signature, age_s: signed.age_s })
            };
            Message::Records(records.records.into_iter().map(aged).collect::<Result<_, _>>()?)
        }
        Any::Have(have) if have.hashes.len() <= HASHES_MAX => Message::Have(have.hashes),
        Any::Want(want) if want.hashes.len() <= HASHES_MAX => Message::Want(want.hashes),
        Any::Have(_) | Any::Want(_) => return Err(MessageError::Field("hashes")),
        Any::Prune(_) => Message::Prune,
        Any::Join(join) => Message::Join(Join {
            feed: FeedId(join.feed),
            stream: stream(&join.stream)?,
            resume: join.resume.map(resume).transpose()?,
            mode: if join.shadow { Mode::Shadow } else { Mode::Full },
        }),
        Any::Leave(leave) => Message::Leave(FeedId(leave.feed)),
        Any::Refuse(refuse) => Message::Refuse {
            feed: FeedId(refuse.feed),
            reason: if refuse.reason == 2 { Refusal::Circular } else { Refusal::Busy },
            alternates: node_ids(&refuse.alternates, ALTERNATES_MAX)?,
        },
        Any::Supply(supply) => Message::Supply {
            feed: FeedId(supply.feed),
            report: Report {
                supply: match supply.supply {
                    1 => Supply::Flowing,
                    2 => Supply::Repairing,
                    3 => Supply::Waiting,
                    _ => return Err(MessageError::Field("supply")),
                },
                path: node_ids(&supply.path, TRACE_HOPS_MAX)?.into(),
                patience: Duration::from_micros(supply.patience_us.into()),
            },
        },
        Any::Carries(carries) => Message::Carries { stream: stream(&carries.stream)?, yes: carries.yes },
        Any::Gap(gap) => {
            let point = |point: Option<wire::Point>| {
                point
                    .map(|p| (p.group, p.index))
                    .filter(|(group, _)| *group <= STAMP_MAX)
                    .ok_or(MessageError::Field("gap"))
            };
            let layer = u8::try_from(gap.layer).ok().filter(|layer| usize::from(*layer) < LAYERS);
            Message::Gap(Gap {
                feed: FeedId(gap.feed),
                layer: layer.ok_or(MessageError::Field("gap.layer"))?,
                from: point(gap.from)?,
                to: point(gap.to)?,
            })
        }
        Any::Trace(trace) => Message::Trace {
            id: trace.id,
            stream: stream(&trace.stream)?,
            hops_left: trace.hops_left.min(TRACE_HOPS_MAX as u32),
        },
        Any::TraceReply(reply) => {
            if reply.hops.len() > TRACE_HOPS_MAX {
                return Err(MessageError::Field("trace.hops"));
            }
            let hop = |hop: wire::Hop| {
                check_node_name(&hop.name).map_err(|_| MessageError::Field("hop.name"))?;
                Ok(Hop {
                    id: node_id(&hop.id)?,
                    name: hop.name,
                    rtt_us: hop.rtt_us,
                    cost_us: hop.cost_us,
                    newest_age_us: hop.newest_age_us,
                })
            };
            Message::TraceReply { id: reply.id, hops: reply.hops.into_iter().map(hop).collect::<Result<_, _>>()? }
        }
        Any::Goodbye(_) => Message::Goodbye,
    })
}

fn node_id(bytes: &[u8]) -> Result<NodeId, MessageError> {
    bytes.try_into().map(NodeId).map_err(|_| MessageError::Field("node id"))
}

fn node_ids(ids: &[Vec<u8>], most: usize) -> Result<Vec<NodeId>, MessageError> {
    if ids.len() > most {
        return Err(MessageError::Field("node ids"));
    }
    ids.iter().map(|id| node_id(id)).collect()
}

fn stream(name: &str) -> Result<StreamName, MessageError> {
    StreamName::new(name).map_err(|_| MessageError::Field("stream"))
}

fn resume(resume: wire::Resume) -> Result<Resume, MessageError> {
    let points: Vec<_> = resume.layers.iter().map(|point| (point.group, point.index)).collect();
    let layers = points.try_into().map_err(|_| MessageError::Field("resume.layers"))?;
    let resume = Resume { timeline: resume.timeline, layers };
    resume.is_in_bounds().then_some(resume).ok_or(MessageError::Field("resume"))
}

mod wire;

#[cfg(test)]
mod tests;
