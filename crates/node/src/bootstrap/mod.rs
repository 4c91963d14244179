//! The bootstrapper: tells a starting node who its neighbours are and signs its certificate. The mesh lives on without it.
//!
//! QUIC, one bidirectional stream: the node asks once, the bootstrapper answers, and from then on pushes the neighbours
//! whenever the topology file changes. Messages are Protocol Buffers behind a 32-bit big-endian length.

mod client;
mod server;
mod wire;

pub use client::{EnrolError, EnrolRequest, Enrolled, enrol, follow, save_neighbours, saved_neighbours};
pub use server::{BootstrapConfig, BootstrapError, Bootstrapper};

#[cfg(test)]
mod tests;
