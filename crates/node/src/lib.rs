//! A node: tokio and QUIC around the brain.
pub mod bootstrap;
pub mod driver;
pub mod feed;
pub mod link;
pub mod log;
pub mod quic;
pub mod topology;
pub mod trust;

/// x
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// x
    #[error("stream \"{stream}\" is already published by node {node}; choose another name")]
    AlreadyPublished {
        #[allow(missing_docs)]
        stream: levada_overlay::StreamName,
        #[allow(missing_docs)]
        node: String,
    },
}
