//! The brain of a Levada node: which links there are and what they cost, where streams spring, who feeds whom.
//!
//! It has no sockets, no clock, no threads and no randomness of its own: [`Input`]s go in with the time they happened at,
//! [`Output`]s come out, and the same inputs with the same seed give the same outputs. Payload never passes through it.
//!
//! ```text
//! Input ──> Node ──> Output
//!            ├ table    signed records of all nodes        (record, table, credential)
//!            ├ links    measurement and cost of each       (link)
//!            ├ graph    shortest paths from the origins    (graph)
//!            └ streams  parent, candidate, backup, children  (node/streams: join, commit, repair, adopt)
//! ```

#[cfg(test)]
extern crate self as levada_overlay;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;

pub mod anchor;
pub mod credential;
pub mod graph;
pub mod id;
pub mod io;
pub mod link;
pub mod message;
pub mod node;
pub mod pace;
pub mod pop;
pub mod position;
pub mod record;
pub mod table;
pub mod tape;
pub mod time;

pub use anchor::Anchor;
pub use credential::Credential;
pub use id::{NameError, NodeId, StreamName, check_node_name};
pub use io::{Asker, Cause, ChildRoute, Event, HangUp, Inflow, Input, LinkId, Neighbour, Output, Route, Watch};
pub use message::{FeedId, Message, Mode};
pub use node::{Config, Keys, Node};
pub use position::{Position, Resume};
pub use record::StreamFacts;
pub use time::Time;
