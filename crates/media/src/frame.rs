//! The encoded frame: what demuxers give, what muxers take.

use bytes::Bytes;

/// One encoded frame (access unit) of one track.
///
/// Video payloads are length-prefixed NAL units with 4-byte lengths (ISO/IEC 14496-15), without parameter sets and
/// access unit delimiters; AAC payloads are raw access units without ADTS; Opus payloads are Opus packets.
/// Codec configuration lives in the [`Track`](crate::catalog::Track), never in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Identifier of the track within its catalog.
    pub track: u8,
    /// Presentation time, in units of the track's timescale.
    pub pts: i64,
    /// Decoding time, in units of the track's timescale; non-decreasing within a track.
    pub dts: i64,
    /// Duration, in units of the track's timescale.
    pub duration: u32,
    /// Decoding can start here. Every audio frame is a keyframe.
    pub keyframe: bool,
    /// No other frame refers to this one, so dropping it harms nothing else.
    pub discardable: bool,
    /// The payload.
    pub data: Bytes,
}
