//! NAL units in their two framings: behind 4-byte lengths (ISO/IEC 14496-15), as frames carry them, and between start
//! codes (ITU-T H.264, annex B).

use bytes::{BufMut as _, Bytes, BytesMut};

/// The NAL units of a frame, which stand behind 4-byte lengths. Stops at the first length that does not fit.
pub fn units(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<4>()?;
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        data = rest;
        Some(unit)
    })
}

/// The NAL units between start codes, trailing zeros removed.
pub fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(data).map(|(_, after)| &data[after..]);
    std::iter::from_fn(move || {
        loop {
            let from = rest?;
            let (unit, next) = match start_code(from) {
                Some((at, after)) => (&from[..at], Some(&from[after..])),
                None => (from, None),
            };
            rest = next;
            let len = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                return Some(&unit[..len]);
            }
        }
    })
}

/// Where the next start code begins and ends.
fn start_code(data: &[u8]) -> Option<(usize, usize)> {
    let at = data.windows(3).position(|three| three == [0, 0, 1])?;
    Some((at, at + 3))
}

/// Puts units behind 4-byte lengths.
pub fn join<'a>(units: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    for unit in units {
        out.put_u32(unit.len() as u32);
        out.put_slice(unit);
    }
    out.freeze()
}

/// Rewrites units behind lengths of 1, 2 or 3 bytes to 4; `None` if a length does not fit.
pub fn widen(mut data: &[u8], length_size: usize) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(data.len() + data.len() / 8);
    while !data.is_empty() {
        let (len, rest) = data.split_at_checked(length_size)?;
        let len = len.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(len)?;
        out.put_u32(len as u32);
        out.put_slice(unit);
        data = rest;
    }
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_give_the_same_units() {
        let annex = [0, 0, 0, 1, 9, 0x10, 0, 0, 1, 7, 1, 2, 0, 0, 0, 0, 1, 5, 3];
        let found: Vec<_> = annex_b(&annex).collect();
        assert_eq!(found, [&[9, 0x10][..], &[7, 1, 2], &[5, 3]]);
        let joined = join(found.iter().copied());
        assert_eq!(units(&joined).collect::<Vec<_>>(), found);
    }

    #[test]
    fn lengths_are_widened_and_bad_ones_refused() {
        assert_eq!(widen(&[0, 2, 7, 8], 2).as_deref(), Some(&[0, 0, 0, 2, 7, 8][..]));
        assert_eq!(widen(&[0, 9, 7, 8], 2), None);
        assert_eq!(units(&[0, 0, 0, 9, 1]).count(), 0);
    }
}
