//! Muxers: from frames to what players read. Made once per PoP and stream, whatever the number of viewers.

pub mod fmp4;
pub mod ts;

/// Why a catalog cannot be muxed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// A track's decoder configuration is not one.
    #[error("the configuration of track {0} cannot be used")]
    Config(u8),
    /// Nothing to mux.
    #[error("the catalog lists no track")]
    NoTrack,
    /// The container's header could not be written.
    #[error("the header of the container cannot be written: {0}")]
    Header(String),
}

#[cfg(test)]
mod tests;
