//! Packetized elementary streams (section 2.4.3.6): frames of one PID.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::psi::Entry;
use super::{Clock, Queues};
use crate::catalog::{Codec, Kind, Track};
use crate::codec::{OPUS_RATE, aac, h264, hevc, nal, opus_samples};
use crate::frame::Frame;
use crate::object::MAX_FRAME;

/// Ticks per second of the container.
const CLOCK: i64 = 90_000;

/// The frames of one PID, as they come.
pub(super) struct Elementary {
    id: u8,
    entry: Entry,
    /// Set once the stream has shown its configuration.
    pub(super) track: Option<Track>,
    packet: Vec<u8>,
    /// Audio bytes that the last packet left over.
    rest: Vec<u8>,
    /// Where the next audio frame begins, in samples.
    next_pts: Option<i64>,
    /// The newest video frame, whose duration the next one tells.
    last: Option<(u64, Frame)>,
    parameters: BTreeMap<u8, Vec<u8>>,
}

impl Elementary {
    pub(super) fn new(id: u8, entry: Entry) -> Self {
        Self {
            id,
            entry,
            track: None,
            packet: Vec::new(),
            rest: Vec::new(),
            next_pts: None,
            last: None,
            parameters: BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, start: bool, payload: &[u8], clock: &mut Clock, queues: &mut Queues) {
        if start {
            self.flush(clock, queues);
        } else if self.packet.is_empty() || self.packet.len() + payload.len() > MAX_FRAME {
            // In the middle of a packet whose start was not seen, or of one that never ends.
            self.packet.clear();
            return;
        }
        self.packet.extend_from_slice(payload);
        let declared = self.packet.get(4..6).map_or(0, |len| usize::from(len[0]) << 8 | usize::from(len[1]));
        if declared > 0 && self.packet.len() >= 6 + declared {
            self.flush(clock, queues);
        }
    }

    pub(super) fn end(&mut self, clock: &mut Clock, queues: &mut Queues) {
        self.flush(clock, queues);
        if let Some(last) = self.last.take() {
            queues.entry(self.id).or_default().push_back(last);
        }
    }

    /// Drops what is on its way.
    pub(super) fn forget(&mut self) {
        self.packet.clear();
        self.rest.clear();
        self.next_pts = None;
        self.last = None;
    }

    fn flush(&mut self, clock: &mut Clock, queues: &mut Queues) {
        let packet = std::mem::take(&mut self.packet);
        let Some((stamps, data)) = parse(&packet) else {
            return;
        };
        let stamps = stamps.map(|(pts, dts)| {
            let ahead = pts.wrapping_sub(dts) & 0x1_ffff_ffff;
            let dts = clock.unwrap(dts);
            (dts + ahead as i64, dts)
        });
        match self.entry.codec {
            Codec::H264 | Codec::Hevc => self.video(stamps, data, clock.run, queues),
            Codec::Aac | Codec::Opus => self.audio(stamps.map(|(pts, _)| pts), data, clock, queues),
        }
    }

    fn video(&mut self, stamps: Option<(i64, i64)>, data: &[u8], run: u64, queues: &mut Queues) {
        let Some((pts, dts)) = stamps else { return };
        let h264 = self.entry.codec == Codec::H264;
        for unit in nal::annex_b(data) {
            let kind = if h264 { h264::nal_type(unit) } else { hevc::nal_type(unit) };
            let wanted = if h264 {
                [h264::NAL_SPS, h264::NAL_PPS, u8::MAX]
            } else {
                [hevc::NAL_VPS, hevc::NAL_SPS, hevc::NAL_PPS]
            };
            if wanted.contains(&kind) && unit.len() < 4_096 {
                self.parameters.insert(kind, unit.to_vec());
            }
        }
        if self.track.is_none() {
            self.track = self.describe_video();
        }
        let payload = if h264 { h264::payload(data) } else { hevc::payload(data) };
        if payload.is_empty() || self.track.is_none() {
            return;
        }
        let units = nal::units(&payload);
        let (keyframe, discardable) = if h264 { h264::classify(units) } else { hevc::classify(units) };
        let frame = Frame { track: self.id, pts, dts, duration: 0, keyframe, discardable, data: payload };
        if let Some((last_run, mut last)) = self.last.replace((run, frame)) {
            if let Some(duration) = u32::try_from(dts - last.dts).ok().filter(|_| last_run == run) {
                last.duration = duration;
            }
            if let Some((_, newest)) = self.last.as_mut() {
                // Until the one after it tells better, a frame lasts as long as the one before.
                newest.duration = last.duration;
            }
            queues.entry(self.id).or_default().push_back((last_run, last));
        }
    }

    fn describe_video(&self) -> Option<Track> {
        let get = |kind| self.parameters.get(&kind).map(Vec::as_slice);
        let (config, (width, height)) = if self.entry.codec == Codec::H264 {
            let (sps, pps) = (get(h264::NAL_SPS)?, get(h264::NAL_PPS)?);
            (h264::avcc(sps, pps)?, h264::dimensions(sps)?)
        } else {
            let (vps, sps, pps) = (get(hevc::NAL_VPS)?, get(hevc::NAL_SPS)?, get(hevc::NAL_PPS)?);
            (hevc::hvcc(vps, sps, pps)?, hevc::dimensions(sps)?)
        };
        Some(self.describe(config, CLOCK as u32, Kind::Video { width, height }))
    }

    fn describe(&self, config: Bytes, timescale: u32, kind: Kind) -> Track {
        Track { id: self.id, codec: self.entry.codec, timescale, config, kind, language: self.entry.language.clone() }
    }

    fn audio(&mut self, pts: Option<i64>, data: &[u8], clock: &Clock, queues: &mut Queues) {
        // A packet's time is that of the first frame that begins in it (section 2.4.3.7).
        let left_over = self.rest.len();
        self.rest.extend_from_slice(data);
        let buffer = std::mem::take(&mut self.rest);
        let mut stamp = pts;
        let mut rest = &buffer[..];
        loop {
            let begins_here = buffer.len() - rest.len() >= left_over;
            let taken = if self.entry.codec == Codec::Aac { self.adts(rest) } else { self.opus(rest) };
            let (used, found) = match taken {
                Taken::Nothing => break,
                Taken::Garbage => (1, None),
                Taken::Frame { used, samples, data } => (used, Some((samples, data))),
            };
            rest = rest.get(used..).unwrap_or_default();
            let Some((samples, data)) = found else {
                continue;
            };
            let Some(rate) = self.track.as_ref().map(|track| i64::from(track.timescale)) else {
                continue;
            };
            let ticks = |pts: i64| {
                let ticks = i128::from(pts) * i128::from(rate) + i128::from(CLOCK / 2);
                i64::try_from(ticks.div_euclid(i128::from(CLOCK))).ok()
            };
            let found = if clock.absolute.is_some() {
                // What an earlier packet said must not matter, for it may not have been seen elsewhere.
                stamp.take_if(|_| begins_here).and_then(ticks).or(self.next_pts)
            } else {
                let own = stamp.take().and_then(ticks);
                let joins = |next: &i64| own.is_none_or(|own| (own - next).abs() <= i64::from(samples));
                self.next_pts.filter(joins).or(own)
            };
            let Some(pts) = found else {
                continue;
            };
            self.next_pts = Some(pts + i64::from(samples));
            let frame =
                Frame { track: self.id, pts, dts: pts, duration: samples, keyframe: true, discardable: false, data };
            queues.entry(self.id).or_default().push_back((clock.run, frame));
        }
        if rest.len() < 8_192 {
            self.rest = rest.to_vec();
        }
    }

    fn adts(&mut self, data: &[u8]) -> Taken {
        if data.len() < 7 {
            return Taken::Nothing;
        }
        let Some((config, head, len)) = aac::parse_adts(data) else {
            return Taken::Garbage;
        };
        let Some(frame) = data.get(head..len) else {
            return Taken::Nothing;
        };
        if self.track.is_none() {
            let channels = if config.channels == 7 { 8 } else { config.channels };
            let kind = Kind::Audio { sample_rate: config.rate(), channels };
            self.track = Some(self.describe(Bytes::copy_from_slice(&config.to_asc()), config.rate(), kind));
        }
        Taken::Frame { used: len, samples: aac::SAMPLES, data: Bytes::copy_from_slice(frame) }
    }

    /// Opus access units stand behind a control header (ETSI TS 103 590 draft, as FFmpeg writes and reads it).
    fn opus(&mut self, data: &[u8]) -> Taken {
        let Some(&[a, b]) = data.first_chunk::<2>() else {
            return Taken::Nothing;
        };
        if a != 0x7f || b & 0xe0 != 0xe0 {
            return Taken::Garbage;
        }
        let mut at = 2;
        let mut len = 0;
        loop {
            let Some(&byte) = data.get(at) else {
                return Taken::Nothing;
            };
            at += 1;
            len += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
        at += 2 * usize::from(b >> 4 & 1) + 2 * usize::from(b >> 3 & 1);
        if b >> 2 & 1 == 1 {
            let Some(&extension) = data.get(at) else {
                return Taken::Nothing;
            };
            at += 1 + usize::from(extension);
        }
        let Some(packet) = data.get(at..at + len) else {
            return Taken::Nothing;
        };
        let Some(samples) = opus_samples(packet) else {
            return Taken::Garbage;
        };
        if self.track.is_none() {
            let channels = self.entry.channels;
            // dOps: version 0, channels, pre-skip 312 (RFC 7845, section 4.2, default), input rate, gain 0, family 0.
            let mut config = vec![0, channels, 0x01, 0x38];
            config.extend_from_slice(&OPUS_RATE.to_be_bytes());
            config.extend_from_slice(&[0, 0, 0]);
            self.track =
                Some(self.describe(config.into(), OPUS_RATE, Kind::Audio { sample_rate: OPUS_RATE, channels }));
        }
        Taken::Frame { used: at + len, samples, data: Bytes::copy_from_slice(packet) }
    }
}

enum Taken {
    /// More bytes are needed.
    Nothing,
    /// No frame begins here.
    Garbage,
    Frame {
        used: usize,
        samples: u32,
        data: Bytes,
    },
}

/// Presentation and decoding time, 33 bits of 90 kHz each.
type Stamps = (u64, u64);

/// Timestamps and payload of a packet.
fn parse(packet: &[u8]) -> Option<(Option<Stamps>, &[u8])> {
    let (head, rest) = packet.split_first_chunk::<9>()?;
    if head[..3] != [0, 0, 1] {
        return None;
    }
    let declared = usize::from(head[4]) << 8 | usize::from(head[5]);
    let (header, mut data) = rest.split_at_checked(usize::from(head[8]))?;
    if declared > 0 {
        data = data.get(..(declared + 6).saturating_sub(9 + header.len())).unwrap_or(data);
    }
    let pts = (head[7] & 0x80 != 0).then(|| stamp(header)).flatten();
    let dts = (head[7] & 0x40 != 0).then(|| stamp(header.get(5..)?)).flatten();
    Some((pts.map(|pts| (pts, dts.unwrap_or(pts))), data))
}

fn stamp(bytes: &[u8]) -> Option<u64> {
    let &[a, b, c, d, e] = bytes.first_chunk()?;
    let part = |byte: u8, shift| u64::from(byte) << shift;
    Some(part(a >> 1 & 7, 30) | part(b, 22) | part(c >> 1, 15) | part(d, 7) | part(e >> 1, 0))
}
