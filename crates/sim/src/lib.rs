//! A virtual world for many brains: links with delay, jitter, loss and rate, nodes that crash, stall, restart and join
//! late, clocks that differ, and checkers that look at every event. Same seed, same events.
//!
//! The water is modelled as a set of numbered objects per node and stream, which obeys routes as the real one does; the
//! brains are the real ones. Control messages go through the real codec, unless a large world asks for speed.

mod action;
pub mod checkers;
mod clock;
mod held;
mod keys;
mod link;
mod queue;
pub mod report;
mod run;
pub mod scenario;
pub mod topology;
pub mod units;
mod water;
mod world;

pub use action::{Action, NodeRef, pair};
pub use checkers::Violation;
pub use link::{Burst, Fate, Impairment, Repace, Wire};
pub use run::run;
pub use water::{GROUP_MS, GROUP_OBJECTS, OBJECT_INTERVAL};
pub use world::{BITRATE_DEFAULT, Settings, World};
