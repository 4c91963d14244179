//! Program-specific information (section 2.4.4): which streams there are.

use crate::catalog::Codec;

/// Longest section, in bytes (section 2.4.4.1).
const SECTION_MAX: usize = 4_096;

/// Puts sections together.
#[derive(Default)]
pub(super) struct Sections {
    buffer: Vec<u8>,
}

impl Sections {
    /// Takes the payload of a packet; gives a section that it completes and whose checksum is right.
    pub(super) fn push(&mut self, start: bool, payload: &[u8]) -> Option<&[u8]> {
        if start {
            let (&pointer, rest) = payload.split_first()?;
            self.buffer.clear();
            self.buffer.extend_from_slice(rest.get(usize::from(pointer)..)?);
        } else if !self.buffer.is_empty() && self.buffer.len() < SECTION_MAX {
            self.buffer.extend_from_slice(payload);
        }
        let len = 3 + (usize::from(*self.buffer.get(1)? & 0xf) << 8 | usize::from(*self.buffer.get(2)?));
        let section = self.buffer.get(..len)?;
        (crc32(section) == 0).then_some(section)
    }
}

/// CRC-32/MPEG-2; zero over a section with its checksum.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| (crc << 1) ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

/// PID of the first program's map, from a program association section.
pub(super) fn program_map_pid(section: &[u8]) -> Option<u16> {
    let programs = section.get(8..section.len().checked_sub(4)?)?;
    let (programs, _) = programs.as_chunks::<4>();
    programs.iter().find(|p| p[..2] != [0, 0]).map(|p| u16::from(p[2] & 0x1f) << 8 | u16::from(p[3]))
}

/// One stream of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u16,
    pub(super) codec: Codec,
    /// Channels of Opus, which its descriptor tells.
    pub(super) channels: u8,
    pub(super) language: Option<String>,
}

/// The streams of a program map section whose codecs Levada carries.
pub(super) fn elementary_streams(section: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let end = section.len().saturating_sub(4);
    let info = section.get(10..12).map_or(0, |len| usize::from(len[0] & 0xf) << 8 | usize::from(len[1]));
    let mut rest = section.get(12 + info..end).unwrap_or_default();
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let len = usize::from(head[3] & 0xf) << 8 | usize::from(head[4]);
        let Some((descriptors, tail)) = tail.split_at_checked(len) else {
            break;
        };
        rest = tail;
        let (mut opus, mut channels, mut language) = (false, 2, None);
        for (tag, body) in descriptors_of(descriptors) {
            match (tag, body) {
                (0x05, [b'O', b'p', b'u', b's', ..]) => opus = true,
                (0x7f, [0x80, config, ..]) => channels = (*config).clamp(1, 8),
                (0x0a, [a, b, c, ..]) => language = String::from_utf8(vec![*a, *b, *c]).ok(),
                _ => {}
            }
        }
        let codec = match head[0] {
            0x1b => Codec::H264,
            0x24 => Codec::Hevc,
            0x0f => Codec::Aac,
            0x06 if opus => Codec::Opus,
            _ => continue,
        };
        let pid = u16::from(head[1] & 0x1f) << 8 | u16::from(head[2]);
        entries.push(Entry { pid, codec, channels, language });
    }
    entries
}

fn descriptors_of(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([tag, len], rest) = bytes.split_first_chunk::<2>()?;
        let (body, rest) = rest.split_at_checked(usize::from(*len))?;
        bytes = rest;
        Some((*tag, body))
    })
}
