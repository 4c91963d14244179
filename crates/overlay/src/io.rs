//! What goes into the brain and what comes out of it.

use std::time::Duration;

use crate::id::{NodeId, StreamName};
use crate::message::{FeedId, Hop, Join, Message};
use crate::position::{Position, Resume};
use crate::record::StreamFacts;

/// A connection to a neighbour, numbered by the driver. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A node that this node shall have a link to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Its name, which its certificate must carry.
    pub name: String,
    /// Where to reach it, `host:port` each.
    pub addresses: Vec<String>,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link is open and both ends have shown their certificates.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Whose certificate the other end showed.
        peer: NodeId,
        /// The name in that certificate.
        name: String,
        /// Whether this node dialled.
        dialed: bool,
        /// Round-trip time of the handshake.
        rtt: Duration,
    },
    /// A link is closed.
    LinkDown {
        /// Its number.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The neighbour that was dialled.
        name: String,
        /// Why, for people.
        reason: String,
    },
    /// A control message came.
    Message {
        /// From there.
        link: LinkId,
        /// This.
        message: Message,
    },
    /// The echo of a probe came.
    Echo {
        /// From there.
        link: LinkId,
        /// The nonce of the probe.
        nonce: u64,
    },
    /// What the transport counted since it last said.
    Transport {
        /// On this link.
        link: LinkId,
        /// Packets sent.
        sent: u64,
        /// Packets lost.
        lost: u64,
        /// Share of the link's capacity in use, 0 to 1; 0 where the capacity is unknown.
        load: f64,
    },
    /// The feed of a candidate brought its first object that is newer than everything held (the commit rule).
    Newer {
        /// Which feed.
        feed: FeedId,
        /// The object.
        position: Position,
    },
    /// A child wants to go on from before the log's beginning: the log must be filled from further up.
    Lacks {
        /// The stream.
        stream: StreamName,
        /// Where the child wants to go on.
        resume: Resume,
    },
    /// This node begins to publish, or publishes from now on as this says: a new timeline or anchor, or stamps that run
    /// ahead of what was told. `stamp_at_ms` is the stamp that a group would be given at the time of this input.
    Publish(StreamFacts),
    /// This node ceases to publish.
    Withdraw(StreamName),
    /// One more local reader.
    Subscribe(StreamName),
    /// One local reader less.
    Unsubscribe(StreamName),
    /// The neighbours that this node shall have, all of them.
    Neighbours(Vec<Neighbour>),
    /// Somebody here asks for the way of a stream.
    Trace {
        /// Number of the question, given back with the answer.
        ticket: u64,
        /// The stream.
        stream: StreamName,
    },
    /// The node stops: say goodbye.
    Shutdown,
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a link. Answered by `LinkUp` or `DialFailed`.
    Dial(Neighbour),
    /// Close a link; no `LinkDown` is expected for it.
    HangUp {
        /// Which.
        link: LinkId,
        /// Why; its code goes to the peer.
        reason: HangUp,
    },
    /// Send a control message.
    Send {
        /// There.
        link: LinkId,
        /// This.
        message: Message,
    },
    /// Send a probe.
    Probe {
        /// There.
        link: LinkId,
        /// With this nonce.
        nonce: u64,
    },
    /// Send a join.
    Join {
        /// To this parent.
        link: LinkId,
        /// With the resume point that the brain knows of: what children wait for.
        join: Join,
        /// Whether that point stands as it is. Otherwise, if the log holds anything, the driver puts in the log's own:
        /// only the water knows it at the instant of sending.
        backfill: bool,
    },
    /// How a stream flows through this node from now on.
    Route {
        /// Which stream.
        stream: StreamName,
        /// `None`: drop all state of it.
        route: Option<Route>,
    },
    /// Answer a trace. The last hop is this node, whose `newest_age_us` is the driver's to fill in.
    TraceAnswer {
        /// To whom.
        to: Asker,
        /// Of which stream.
        stream: StreamName,
        /// Origin first.
        hops: Vec<Hop>,
    },
    /// Something that people may want to know.
    Event(Event),
}

/// Who asked for a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody at this node, by the ticket of the question.
    Local(u64),
    /// A child, by its link and number.
    Child(LinkId, u64),
}

/// The way of one stream through this node: declarative, so the driver compares it with the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// This node publishes the stream.
    pub origin: bool,
    /// The committed feed.
    pub main: Option<(LinkId, FeedId)>,
    /// A feed that has been asked for; its first newer object is to be reported.
    pub candidate: Option<(LinkId, FeedId)>,
    /// Whom to feed.
    pub children: Vec<ChildRoute>,
}

/// A child that is to be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildRoute {
    /// Over this link.
    pub link: LinkId,
    /// Under this number.
    pub feed: FeedId,
    /// From there; `None`: from the newest group.
    pub resume: Option<Resume>,
}

/// Why this node closes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HangUp {
    /// Two links to one neighbour; the other one stays.
    #[error("a second link to this neighbour is not needed")]
    Duplicate,
    /// Nothing came for too long.
    #[error("the neighbour has been silent for too long")]
    Silent,
    /// The peer does not speak a version in common.
    #[error("the neighbour speaks no protocol version that this node speaks")]
    Version,
    /// The peer broke the protocol.
    #[error("the neighbour broke the protocol: {0}")]
    Protocol(&'static str),
    /// The peer exceeded a bound.
    #[error("the neighbour exceeds a limit: {0}")]
    Limit(&'static str),
    /// The neighbour was removed from this node's list.
    #[error("the neighbour was removed")]
    Removed,
    /// This node stops.
    #[error("the node stops")]
    Shutdown,
}

impl HangUp {
    /// Application error code of the QUIC connection (docs/protocol.md).
    pub fn code(self) -> u32 {
        match self {
            Self::Shutdown => 0,
            Self::Duplicate => 1,
            Self::Silent => 2,
            Self::Version => 3,
            Self::Protocol(_) => 4,
            Self::Limit(_) => 5,
            Self::Removed => 6,
        }
    }
}

/// Something that happened, for logs and consoles.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A link came up.
    LinkUp {
        /// Name of the peer.
        peer: String,
    },
    /// A link went down.
    LinkDown {
        /// Name of the peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A stream has a new parent.
    Committed {
        /// The stream.
        stream: StreamName,
        /// Name of the parent.
        parent: String,
        /// Name of the parent before.
        before: Option<String>,
        /// First object that was newer.
        position: Position,
    },
    /// A wanted stream has no path; it goes on by itself when there is one.
    Waiting {
        /// The stream.
        stream: StreamName,
    },
    /// A record was refused.
    RecordRefused {
        /// Name of the peer that sent it.
        peer: String,
        /// Why.
        reason: String,
    },
}
