//! Fragments of many frames: what HLS calls a partial segment, and CMAF (ISO/IEC 23000-19) a chunk.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Fmp4Muxer, put_head, sample_flags};
use crate::frame::Frame;

/// Bytes of `moof` and `mfhd`.
const HEAD: usize = 8 + 16;
/// Bytes of `traf`, `tfhd`, `tfdt` and `trun` without samples.
const TRACK_HEAD: usize = 8 + 16 + 20 + 20;
/// Bytes that tell of a sample.
const SAMPLE: usize = 16;

impl Fmp4Muxer {
    /// One fragment with a run of samples for each track. It depends on nothing but its arguments and the catalog. Frames
    /// of unknown tracks are passed over.
    pub fn part(&self, sequence: u32, frames: &[Frame]) -> Bytes {
        let of = |track: u8| frames.iter().filter(move |frame| frame.track == track);
        let tracks: Vec<u8> = self.tracks.iter().copied().filter(|track| of(*track).next().is_some()).collect();
        let samples: usize = tracks.iter().map(|track| of(*track).count()).sum();
        let payload: usize = tracks.iter().flat_map(|track| of(*track)).map(|frame| frame.data.len()).sum();
        let moof = HEAD + tracks.len() * TRACK_HEAD + samples * SAMPLE;
        let mut out = BytesMut::with_capacity(moof + 8 + payload);
        put_head(&mut out, moof, b"moof");
        put_head(&mut out, 16, b"mfhd");
        out.put_u32(0);
        out.put_u32(sequence);
        let mut offset = moof + 8;
        for track in &tracks {
            let count = of(*track).count();
            put_head(&mut out, TRACK_HEAD + count * SAMPLE, b"traf");
            put_head(&mut out, 16, b"tfhd");
            // default-base-is-moof
            out.put_u32(0x02_0000);
            out.put_u32(u32::from(*track) + 1);
            put_head(&mut out, 20, b"tfdt");
            out.put_u32(0x0100_0000);
            out.put_u64(of(*track).next().map_or(0, |first| first.dts.max(0) as u64));
            put_head(&mut out, 20 + count * SAMPLE, b"trun");
            // Version 1: signed offsets; data offset, duration, size, flags and composition offset are present.
            out.put_u32(0x0100_0f01);
            out.put_u32(count as u32);
            out.put_u32(offset as u32);
            for frame in of(*track) {
                out.put_u32(frame.duration);
                out.put_u32(frame.data.len() as u32);
                out.put_u32(sample_flags(frame));
                out.put_i32(i32::try_from(frame.pts - frame.dts).unwrap_or(0));
                offset += frame.data.len();
            }
        }
        put_head(&mut out, 8 + payload, b"mdat");
        tracks.iter().flat_map(|track| of(*track)).for_each(|frame| out.put_slice(&frame.data));
        out.freeze()
    }
}
