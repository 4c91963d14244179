use bytes::{Bytes, BytesMut};

use crate::Frame;
use crate::catalog::{Catalog, Codec, Kind, Track};

use super::fmp4::Fmp4Muxer;
use super::ts::TsMuxer;

/// AAC-LC, 48 kHz, stereo (ISO/IEC 14496-3, section 1.6.2.1).
const STEREO: Bytes = Bytes::from_static(&[0x11, 0x90]);

/// A peer says what times it pleases, and a file may begin to be decoded before its time 0.
#[test]
fn any_times_are_muxed() {
    let kind = Kind::Audio { sample_rate: 48_000, channels: 2 };
    let track = Track { id: 1, codec: Codec::Aac, timescale: 48_000, config: STEREO, kind, language: None };
    let catalog = Catalog { tracks: vec![track] };
    let (mut ts, fmp4) = (TsMuxer::new(&catalog).unwrap(), Fmp4Muxer::new(&catalog).unwrap());
    let times = [i64::MIN, -48_000, -1, 0, 1, i64::MAX];
    for (pts, dts) in times.into_iter().flat_map(|pts| times.map(|dts| (pts, dts))) {
        let data = Bytes::from_static(&[0; 8]);
        let frame = Frame { track: 1, pts, dts, duration: 1_024, keyframe: true, discardable: false, data };
        let (mut packets, mut fragment) = (BytesMut::new(), BytesMut::new());
        ts.mux(&frame, &mut packets);
        fmp4.fragment(&frame, 1, &mut fragment);
        assert!(!packets.is_empty() && packets.len() % 188 == 0 && !fragment.is_empty(), "{pts} {dts}");
    }
}
