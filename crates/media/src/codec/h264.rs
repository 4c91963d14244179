//! ITU-T H.264: parameter sets, `avcC`, keyframes, frames that nothing refers to.

use bytes::Bytes;
use mp4_atom::{Atom as _, Avcc};

use super::bits::{Bits, unescape};
use super::nal;

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// Picture parameter set.
pub const NAL_PPS: u8 = 8;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 9;

/// Type of a NAL unit.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// Whether decoding can start at this frame, and whether no other frame refers to it (`nal_ref_idc` 0, section 7.4.1).
pub fn classify<'a>(units: impl Iterator<Item = &'a [u8]>) -> (bool, bool) {
    let mut slices = units.filter(|unit| (NAL_SLICE..=NAL_IDR).contains(&nal_type(unit))).peekable();
    let any = slices.peek().is_some();
    let (mut keyframe, mut discardable) = (false, any);
    for unit in slices {
        keyframe |= nal_type(unit) == NAL_IDR;
        discardable &= unit[0] & 0x60 == 0;
    }
    (keyframe, discardable)
}

/// Body of an `avcC` box (ISO/IEC 14496-15, section 5.3.3) from parameter sets; `None` if they are not ones.
pub fn avcc(sps: &[u8], pps: &[u8]) -> Option<Bytes> {
    let avcc = Avcc::new(sps, pps).ok()?;
    let mut body = Vec::new();
    avcc.encode_body(&mut body).ok()?;
    Some(body.into())
}

/// Parameter sets of an `avcC` body, in the order they are to be sent in.
pub fn parameter_sets(avcc: &[u8]) -> Option<Vec<Bytes>> {
    let avcc = Avcc::decode_body(&mut &avcc[..]).ok()?;
    Some(avcc.sequence_parameter_sets.into_iter().chain(avcc.picture_parameter_sets).map(Bytes::from).collect())
}

/// Profiles whose parameter sets tell the chroma format (section 7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Width and height in pixels, after cropping.
pub fn dimensions(sps: &[u8]) -> Option<(u16, u16)> {
    let rbsp = unescape(sps.get(1..)?);
    let mut bits = Bits::new(&rbsp);
    let profile = bits.bits(8)?;
    bits.skip(16)?;
    bits.ue()?;
    let mut chroma = 1;
    if HIGH_PROFILES.contains(&profile) {
        chroma = bits.ue()?;
        if chroma == 3 {
            bits.skip(1)?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
        if bits.bit()? == 1 {
            scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => drop(bits.ue()?),
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.skip(1)?;
    let width = (bits.ue()?.checked_add(1)?).checked_mul(16)?;
    let units = bits.ue()?.checked_add(1)?;
    let frame_only = bits.bit()?;
    let height = units.checked_mul(16)?.checked_mul(2 - frame_only)?;
    if frame_only == 0 {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.bit()? == 1 {
        let (unit_x, unit_y) = match chroma {
            0 | 3 => (1, 1),
            1 => (2, 2),
            _ => (2, 1),
        };
        crop_x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        crop_y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y * (2 - frame_only))?;
    }
    let size = |full: u32, crop| full.checked_sub(crop).and_then(|size| u16::try_from(size).ok());
    Some((size(width, crop_x)?, size(height, crop_y)?))
}

fn scaling_lists(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    for list in 0..count {
        if bits.bit()? == 0 {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

/// Units that frames carry: everything but delimiters and parameter sets, which the catalog holds.
pub fn is_payload(unit: &[u8]) -> bool {
    !matches!(nal_type(unit), NAL_SPS | NAL_PPS | NAL_AUD | 0)
}

/// Turns an access unit between start codes into a frame's payload.
pub fn payload(access_unit: &[u8]) -> Bytes {
    nal::join(nal::annex_b(access_unit).filter(|unit| is_payload(unit)))
}
