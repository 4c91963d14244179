//! Demuxers.
