//! Codec headers: what has to be known of a bitstream to carry it, and no more.

pub mod aac;
mod bits;
pub mod h264;
pub mod hevc;
pub mod nal;

/// Sample rate of Opus in every container (RFC 7845, section 5.1).
pub const OPUS_RATE: u32 = 48_000;

/// Samples, at 48 kHz, of an Opus packet, from its table-of-contents byte (RFC 6716, section 3.1).
pub fn opus_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        config @ 12..16 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames)
}
