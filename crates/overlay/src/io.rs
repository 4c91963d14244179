//! What goes into the brain and what comes out of it.

use std::time::Duration;

use crate::id::{NodeId, StreamName};
use crate::message::{FeedId, Hop, Join, Message, Mode, Refusal};
use crate::pace::Patience;
use crate::position::{Position, Resume};
use crate::record::StreamFacts;
use crate::time::Time;

/// A connection to a neighbour, numbered by the driver. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct LinkId(pub u64);

/// A node that this node shall have a link to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Neighbour {
    /// Its name, which its certificate must carry.
    pub name: String,
    /// Where to reach it, `host:port` each.
    pub addresses: Vec<String>,
}

/// What happens to a node.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
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
        /// The other end wants no link any more, so it is not dialled until somebody asks for it anew.
        #[serde(default)]
        unwanted: bool,
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
        #[serde(with = "crate::tape::hex_message")]
        message: Message,
    },
    /// The echo of a probe came.
    Echo {
        /// From there.
        link: LinkId,
        /// The nonce of the probe.
        nonce: u64,
    },
    /// Something came over a link that media come over, whatever it was: told every [`crate::link::HEARD_INTERVAL`] in which that
    /// is so. After an [`Output::Listen`] the first that comes is told within [`crate::link::HEARD_ALERT`].
    Heard {
        /// The link.
        link: LinkId,
        /// After this time.
        since: Time,
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
    /// A feed whose route says so brought its first object that is newer than everything held (the commit rule).
    Newer {
        /// Which feed.
        feed: FeedId,
        /// The object.
        position: Position,
    },
    /// The feed that is watched has fallen behind for longer than its route's patience, or keeps up again.
    Behind {
        /// The feed.
        feed: FeedId,
        /// Since when what it ought to have brought is missing; `None`: it keeps up again.
        since: Option<Time>,
        /// Whether another feed announced what is missing. If not, the feed is only silent, which may be the origin's
        /// own silence.
        announced: bool,
        /// Whether the feed brings nothing at all, though it did until then and another feed goes on.
        silent: bool,
    },
    /// How many viewers the edge serves, told when that changes, and in good time.
    Viewers {
        /// So many.
        count: u64,
        /// The most that it takes.
        max: u64,
    },
    /// How much a stream takes, measured.
    Rate {
        /// The stream.
        stream: StreamName,
        /// Bits per second.
        bps: u64,
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
    /// The neighbours that this node shall have by the topology, all of them.
    Neighbours(Vec<Neighbour>),
    /// An operator wants a link to this node, whatever the topology says.
    Connect(Neighbour),
    /// An operator wants no link to the node of this name, whatever the topology says.
    Disconnect(String),
    /// Somebody here asks for the way of a stream.
    Trace {
        /// Number of the question, given back with the answer.
        ticket: u64,
        /// The stream.
        stream: StreamName,
    },
    /// The node is to stop soon: children move while it still serves them, then comes [`Output::Drained`].
    Drain,
    /// The node stops now: say goodbye.
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
    /// Tell soon of the first that comes over a link, if it comes within [`crate::link::ALERT`]: whoever is at the other end may be
    /// dead.
    Listen {
        /// This link.
        link: LinkId,
    },
    /// Send a join.
    Join {
        /// To this parent.
        link: LinkId,
        /// With the resume point that the brain knows of: what children wait for.
        join: Join,
        /// If the log holds anything, the driver puts in the log's own resume point: only the water knows it at the
        /// instant of sending. Otherwise the point stands as it is.
        from_log: bool,
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
    /// All children that could move have moved, or their time is up: the node may stop.
    Drained,
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
    /// The feeds that have been asked for.
    pub inflows: Vec<Inflow>,
    /// The feed to watch: that of the committed parent, whether or not another one is ready to take over.
    pub watch: Option<Watch>,
    /// Whom to feed.
    pub children: Vec<ChildRoute>,
}

/// A feed that has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflow {
    /// Over this link.
    pub link: LinkId,
    /// Under this number.
    pub feed: FeedId,
    /// Objects, or only how far the parent is.
    pub mode: Mode,
    /// The first object that is newer than everything held, or in a shadow the first such account, is to be reported.
    /// Set anew, it is to be reported anew.
    pub report: bool,
    /// A shadow that stands for the stream itself: what it announces is passed on to children that are shadows.
    pub passed_on: bool,
}

/// Which feed is to be watched, and how closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The feed that should keep up.
    pub feed: FeedId,
    /// The shadow that tells what it should have brought.
    pub reference: Option<FeedId>,
    /// How late it may be before that is reported.
    pub patience: Patience,
    /// Since when both come the ways that they do: when this gets later, how far they are apart is to be learned anew.
    pub ways_since: Time,
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
    /// Objects, or only how far this node is.
    pub mode: Mode,
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
    /// It stood in for other nodes, and no tree has used it for a while.
    #[error("no tree uses the link any more")]
    Unused,
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
            Self::Unused => 7,
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
        /// Name of the parent before; `None` for the first one.
        before: Option<String>,
        /// Why it changed.
        cause: Cause,
        /// First object that was newer.
        position: Position,
        /// What the parent gives: objects, or only how far it is.
        mode: Mode,
    },
    /// A feed fell behind and another one was asked for what is missing; the parent stays for now.
    Suspected {
        /// The stream.
        stream: StreamName,
        /// Name of the parent that is suspected.
        parent: String,
    },
    /// The parent that was suspected keeps up again, and stays.
    Cleared {
        /// The stream.
        stream: StreamName,
        /// Its name.
        parent: String,
    },
    /// A node that is no neighbour is dialled, because no neighbour can give a stream.
    Adopting {
        /// The stream.
        stream: StreamName,
        /// Name of the node.
        node: String,
    },
    /// A neighbour did not want to feed this node.
    Refused {
        /// The stream.
        stream: StreamName,
        /// Name of the neighbour.
        by: String,
        /// Why.
        reason: Refusal,
        /// Names of the nodes that it named in its stead.
        alternates: Vec<String>,
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

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LinkUp { peer } => write!(f, "link to {peer} up"),
            Self::LinkDown { peer, reason } => write!(f, "link to {peer} down: {reason}"),
            Self::Committed { stream, parent, before: None, .. } => write!(f, "{stream}: fed by {parent}"),
            Self::Committed { stream, parent, before: Some(before), cause, .. } => {
                write!(f, "{stream}: fed by {parent} instead of {before}, because {cause}")
            }
            Self::Suspected { stream, parent } => write!(f, "{stream}: {parent} does not keep up; asking elsewhere"),
            Self::Cleared { stream, parent } => write!(f, "{stream}: {parent} keeps up again"),
            Self::Adopting { stream, node } => write!(f, "{stream}: no neighbour can give it; dialling {node}"),
            Self::Refused { stream, by, reason, alternates } if alternates.is_empty() => {
                write!(f, "{stream}: {by} refuses, because {reason}")
            }
            Self::Refused { stream, by, reason, alternates } => {
                write!(f, "{stream}: {by} refuses, because {reason}; it names {}", alternates.join(", "))
            }
            Self::Waiting { stream } => write!(f, "{stream}: no path yet; it goes on by itself"),
            Self::RecordRefused { peer, reason } => write!(f, "record from {peer} refused: {reason}"),
        }
    }
}

/// Why a stream gets another parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It had none.
    First,
    /// The link to it was closed.
    LinkLost,
    /// It fell behind what others had, or fell silent.
    Behind,
    /// It had no supply of its own.
    Dry,
    /// It is about to stop.
    Leaving,
    /// It refused.
    Refused,
    /// Another one has been better for long enough.
    Better,
    /// It is fed by an origin of lower priority than one that can be reached.
    Outranked,
    /// The same parent, asked anew: from further back, or for more than before.
    Again,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::First => "it had none",
            Self::LinkLost => "the link to it was lost",
            Self::Behind => "it fell behind",
            Self::Dry => "it had no supply",
            Self::Leaving => "it is about to stop",
            Self::Refused => "it refused",
            Self::Better => "another one is better",
            Self::Outranked => "an origin of higher priority is there",
            Self::Again => "asked anew",
        })
    }
}
