//! Muxers.
