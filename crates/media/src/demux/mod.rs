//! Demuxers: from containers to frames.

pub mod mp4;
pub mod ts;
