//! ITU-T H.265: parameter sets, `hvcC`, keyframes, frames that nothing refers to.

use bytes::Bytes;
use mp4_atom::{Atom as _, HvcCArray, Hvcc};

use super::bits::{Bits, unescape};
use super::nal;

/// Video parameter set.
pub const NAL_VPS: u8 = 32;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 33;
/// Picture parameter set.
pub const NAL_PPS: u8 = 34;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 35;

/// Type of a NAL unit.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(u8::MAX, |byte| byte >> 1 & 0x3f)
}

/// Whether decoding can start at this frame (IRAP, types 16 to 23), and whether no other frame of its sub-layer refers
/// to it (even types below 15; table 7-1).
pub fn classify<'a>(units: impl Iterator<Item = &'a [u8]>) -> (bool, bool) {
    let mut slices = units.map(nal_type).filter(|kind| *kind < 32).peekable();
    let any = slices.peek().is_some();
    let (mut keyframe, mut discardable) = (false, any);
    for kind in slices {
        keyframe |= (16..24).contains(&kind);
        discardable &= kind < 15 && kind % 2 == 0;
    }
    (keyframe, discardable)
}

/// What a sequence parameter set tells.
struct Sps {
    chroma: u32,
    width: u16,
    height: u16,
    depth_luma: u32,
    depth_chroma: u32,
    profile: [u8; 12],
    sub_layers: u32,
    nested: bool,
}

/// Section 7.3.2.2, up to the bit depths.
fn parse_sps(sps: &[u8]) -> Option<Sps> {
    let rbsp = unescape(sps.get(2..)?);
    let mut bits = Bits::new(&rbsp);
    bits.skip(4)?;
    let sub_layers = bits.bits(3)?;
    let nested = bits.bit()? == 1;
    // general_profile_space .. general_level_idc, byte aligned.
    let profile: [u8; 12] = rbsp.get(1..13)?.try_into().ok()?;
    bits.skip(96)?;
    let present: Vec<(u32, u32)> = (0..sub_layers).map(|_| Some((bits.bit()?, bits.bit()?))).collect::<Option<_>>()?;
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (has_profile, has_level) in present {
        bits.skip(88 * has_profile as usize + 8 * has_level as usize)?;
    }
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.skip(1)?;
    }
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.bit()? == 1 {
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 };
        width = width.checked_sub(bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?)?;
    }
    let (depth_luma, depth_chroma) = (bits.ue()?, bits.ue()?);
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    Some(Sps { chroma, width, height, depth_luma, depth_chroma, profile, sub_layers: sub_layers + 1, nested })
}

/// Width and height in pixels, after cropping.
pub fn dimensions(sps: &[u8]) -> Option<(u16, u16)> {
    parse_sps(sps).map(|sps| (sps.width, sps.height))
}

/// Body of an `hvcC` box (ISO/IEC 14496-15, section 8.3.3) from parameter sets; `None` if they are not ones.
pub fn hvcc(vps: &[u8], sps: &[u8], pps: &[u8]) -> Option<Bytes> {
    let facts = parse_sps(sps)?;
    let mut hvcc = Hvcc::new();
    let [first, compatibility @ .., level] = facts.profile;
    let (compatibility, constraints) = compatibility.split_at(4);
    hvcc.configuration_version = 1;
    hvcc.general_profile_space = first >> 6;
    hvcc.general_tier_flag = first >> 5 & 1 == 1;
    hvcc.general_profile_idc = first & 0x1f;
    hvcc.general_profile_compatibility_flags = compatibility.try_into().ok()?;
    hvcc.general_constraint_indicator_flags = constraints.try_into().ok()?;
    hvcc.general_level_idc = level;
    hvcc.chroma_format_idc = facts.chroma as u8 & 3;
    hvcc.bit_depth_luma_minus8 = facts.depth_luma as u8 & 7;
    hvcc.bit_depth_chroma_minus8 = facts.depth_chroma as u8 & 7;
    hvcc.num_temporal_layers = facts.sub_layers as u8 & 7;
    hvcc.temporal_id_nested = facts.nested;
    hvcc.length_size_minus_one = 3;
    let array =
        |nal_unit_type, unit: &[u8]| HvcCArray { completeness: true, nal_unit_type, nalus: vec![unit.to_vec()] };
    hvcc.arrays = vec![array(NAL_VPS, vps), array(NAL_SPS, sps), array(NAL_PPS, pps)];
    let mut body = Vec::new();
    hvcc.encode_body(&mut body).ok()?;
    Some(body.into())
}

/// Parameter sets of an `hvcC` body, in the order they are to be sent in.
pub fn parameter_sets(hvcc: &[u8]) -> Option<Vec<Bytes>> {
    let hvcc = Hvcc::decode_body(&mut &hvcc[..]).ok()?;
    // Encoders put messages about themselves there as well; decoders do not need them.
    let units = hvcc.arrays.into_iter().flat_map(|array| array.nalus);
    Some(units.filter(|unit| (NAL_VPS..=NAL_PPS).contains(&nal_type(unit))).map(Bytes::from).collect())
}

/// Units that frames carry: everything but delimiters and parameter sets, which the catalog holds.
pub fn is_payload(unit: &[u8]) -> bool {
    !(NAL_VPS..=NAL_AUD).contains(&nal_type(unit))
}

/// Turns an access unit between start codes into a frame's payload.
pub fn payload(access_unit: &[u8]) -> Bytes {
    nal::join(nal::annex_b(access_unit).filter(|unit| is_payload(unit)))
}
