//! A node: tokio and QUIC around the brain, the water, and what goes in and comes out.
//!
//! ```text
//! ingest ──> log (StreamLog) ──> feed::send ──> QUIC ──> feed::receive ──> log ──> playout ──> http
//!              ^ control plane: link ──> driver ──> overlay::Node ──> driver::routes ┘
//! ```

pub mod bootstrap;
pub mod driver;
pub mod feed;
pub mod http;
pub mod ingest;
pub mod journal;
pub mod limits;
pub mod link;
pub mod log;
pub mod node;
pub mod playout;
pub mod ports;
pub mod quic;
pub mod stats;
pub mod topology;
pub mod trust;

pub use node::{Node, NodeConfig, NodeError, Publication, Subscription};
