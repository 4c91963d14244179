//! Muxing against copying: MB of payload a second, and as a share of what memcpy does in the same run.

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use levada_media::mux::fmp4::Fmp4Muxer;
use levada_media::mux::ts::TsMuxer;
use levada_media::{Catalog, Codec, Frame, Kind, Layer, Object, Track};

/// A second of 6 Mbit/s at 25 frames, one keyframe.
fn frames() -> Vec<Frame> {
    let frame = |n: usize| {
        let len: usize = if n == 0 { 150_000 } else { 25_000 };
        let mut data = (len as u32).to_be_bytes().to_vec();
        data.push(if n == 0 { 0x65 } else { 0x41 });
        data.resize(len + 4, 0x5a);
        let dts = n as i64 * 3_600;
        let keyframe = n == 0;
        Frame { track: 0, pts: dts, dts, duration: 3_600, keyframe, discardable: false, data: Bytes::from(data) }
    };
    (0..25).map(frame).collect()
}

fn measure(what: &str, bytes: usize, copied: Option<f64>, mut round: impl FnMut()) -> f64 {
    const ROUNDS: usize = 300;
    (0..20).for_each(|_| round());
    let begun = Instant::now();
    (0..ROUNDS).for_each(|_| round());
    let rate = (bytes * ROUNDS) as f64 / 1e6 / begun.elapsed().as_secs_f64();
    match copied {
        Some(copied) => println!("{what}: {rate:.0} MB/s, {:.2} of memcpy", rate / copied),
        None => println!("{what}: {rate:.0} MB/s"),
    }
    rate
}

fn main() {
    // Main profile, level 3.0, 640x360: the parameter sets of some encoder.
    let sps = [0x67, 0x4d, 0x40, 0x1e, 0xec, 0xa0, 0x50, 0x17, 0xfc, 0xb8, 0x0a, 0x90, 0x91, 0x00];
    let Some(config) = levada_media::codec::h264::avcc(&sps, &[0x68, 0xce, 0x3c, 0x80]) else { return };
    let kind = Kind::Video { width: 640, height: 360 };
    let track = Track { id: 0, codec: Codec::H264, timescale: 90_000, config, kind, language: None };
    let catalog = Catalog { tracks: vec![track] };
    let frames = frames();
    let bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
    let mut out = BytesMut::with_capacity(2 * bytes);
    let copied = measure("memcpy", bytes, None, || {
        out.clear();
        frames.iter().for_each(|frame| out.extend_from_slice(&frame.data));
        black_box(&out);
    });
    let (Ok(mut ts), Ok(fmp4)) = (TsMuxer::new(&catalog), Fmp4Muxer::new(&catalog)) else { return };
    measure("MPEG-TS", bytes, Some(copied), || {
        out.clear();
        frames.iter().for_each(|frame| ts.mux(frame, &mut out));
        black_box(&out);
    });
    measure("fragmented MP4", bytes, Some(copied), || {
        out.clear();
        frames.iter().for_each(|frame| fmp4.fragment(frame, 1, &mut out));
        black_box(&out);
    });
    measure("frames to objects", bytes, Some(copied), || {
        for frame in &frames {
            Object::split(frame, Layer::Video, 0).for_each(|object| drop(black_box(object)));
        }
    });
}
