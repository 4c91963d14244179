//! HTTP Live Streaming (RFC 8216; draft-pantos-hls-rfc8216bis, here *bis*) with its low-latency extensions: from frames
//! to segments, parts and playlists.
//!
//! Whoever reads the same stream makes the same segments, parts, names and numbers, whenever it began to read. So they are
//! derived from what every reader has, the stamps of groups and the times of frames, and from nothing that was counted:
//!
//! ```text
//! slot          0                1                2                3                4
//!        |                |                |                |                |
//! groups    [------][------][------][------][--------------------------------------][----
//! segments  [ 0            ][ 1            ][ 2                     |: 3             ][ 4
//! ```
//!
//! Unix time is divided into slots of [`SLOT_MS`]. Each has the segment of its number, which begins with the first group
//! whose stamp lies in the slot. Where a whole slot has no such group, its segment begins within the group that covers it,
//! at the end of the slot, when that is certain ([`cutter`]). Numbers follow one another without a counter.

mod cutter;
mod multivariant;
mod window;

pub use cutter::{Cut, Cutter, Init};
pub use multivariant::{Pathway, Variant, multivariant, steering};
pub use window::{Refused, Window};

/// Length of a slot, in milliseconds. Tuned: a little more than the two seconds that encoders for HLS have between keyframes,
/// so that with these every slot has a group that begins in it.
pub const SLOT_MS: u64 = 2_100;
/// EXT-X-TARGETDURATION (RFC 8216, section 4.3.3.1), in seconds: no segment is longer, rounded. The longest one begins with its
/// slot, and the next one at the end of its own.
pub const TARGET_S: u64 = 4;
/// PART-TARGET (bis, section 4.4.3.7), in microseconds: no part is longer, and few are shorter than 85 % (bis, section 4.4.4.9). Tuned:
/// so many whole frames of 10, 15, 20, 24, 25, 30, 50 or 60 a second, or of AAC, fit in.
pub const PART_US: i64 = 210_000;
/// PART-HOLD-BACK, in parts. The least that the draft recommends (bis, section 4.4.3.8).
pub const PART_HOLD_BACK: i64 = 3;
/// HOLD-BACK, in target durations. The least that the draft allows (bis, section 4.4.3.8).
pub const HOLD_BACK: u64 = 3;

/// File name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number}.m4s")
}

/// File name of a part.
pub fn part_name(number: u64, part: usize) -> String {
    format!("{number}.{part}.m4s")
}

#[cfg(test)]
mod tests;
