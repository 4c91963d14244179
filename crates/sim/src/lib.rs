//! A virtual world for many brains: links with delay and jitter, nodes that crash, restart and join late, links that are
//! cut, and checkers that look at every event. Same seed, same events.
//!
//! The water is modelled as a set of numbered objects per node and stream, which obeys routes as the real one does; the
//! brains are the real ones. Control messages go through the real codec.

pub mod checkers;
mod keys;
pub mod topology;
mod water;
mod world;

pub use checkers::Violation;
pub use water::{GROUP_MS, GROUP_OBJECTS, OBJECT_INTERVAL};
pub use world::{Settings, World};
