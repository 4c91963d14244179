//! MPEG transport streams (ISO/IEC 13818-1) for players over HTTP.
//!
//! One PES packet per frame. Program tables stand before every video keyframe and at least every 100 ms; the program
//! clock rides on the video (or first audio) track. All timestamps are shifted by [`LEAD`], so that the clock, which
//! shows decode time less the lead, starts at zero.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::MuxError;
use crate::catalog::{Catalog, Codec, Kind, Track};
use crate::codec::{aac, h264, hevc, nal};
use crate::demux::ts::crc32;
use crate::frame::Frame;

const PACKET: usize = 188;
const PMT_PID: u16 = 0x1000;
const FIRST_PID: u16 = 0x0100;
/// Ticks per second.
const CLOCK: i128 = 90_000;
/// Ticks by which every timestamp runs ahead of the program clock: time for a decoder to fill its buffer.
const LEAD: u64 = 90_000 / 2;
/// Program tables are repeated after this many ticks: 100 ms (ETSI TR 101 290, section 5.2.1, indicators 1.3 and 1.5).
const TABLES_EVERY: u64 = 9_000;
/// The clock is repeated after this many ticks: 40 ms (ETSI TR 101 290, indicator 2.3).
const PCR_EVERY: u64 = 3_600;
const TIMESTAMP_MASK: u64 = (1 << 33) - 1;

/// Muxes the frames of one stream.
#[derive(Debug)]
pub struct TsMuxer {
    tracks: Vec<MuxTrack>,
    tables: Bytes,
    tables_continuity: u8,
    tables_at: Option<u64>,
    pcr_at: Option<u64>,
    /// Index of the track that carries the clock.
    clock: usize,
    /// Version of the program map.
    version: u8,
    /// The frame in the form that the container wants; kept to spare an allocation per frame.
    scratch: BytesMut,
}

#[derive(Debug)]
struct MuxTrack {
    id: u8,
    pid: u16,
    codec: Codec,
    timescale: i128,
    continuity: u8,
    /// The next packet is to say that its PID does not go on from the last one (section 2.4.3.5).
    discontinuity: bool,
    stream_id: u8,
    /// Parameter sets between start codes.
    parameters: Bytes,
    aac: Option<aac::Config>,
}

impl TsMuxer {
    /// Prepares the tables for a catalog.
    pub fn new(catalog: &Catalog) -> Result<Self, MuxError> {
        let tracks: Vec<MuxTrack> = catalog.tracks.iter().enumerate().map(MuxTrack::new).collect::<Result<_, _>>()?;
        if tracks.is_empty() {
            return Err(MuxError::NoTrack);
        }
        let clock = catalog.tracks.iter().position(|track| matches!(track.kind, Kind::Video { .. })).unwrap_or(0);
        let tables = tables(catalog, &tracks, clock, 0);
        Ok(Self {
            tracks,
            tables,
            tables_continuity: 0,
            tables_at: None,
            pcr_at: None,
            clock,
            version: 0,
            scratch: BytesMut::new(),
        })
    }

    /// What comes next does not continue what came; players are told on every PID.
    pub fn mark_discontinuity(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.discontinuity = true);
        self.tables_at = None;
        self.pcr_at = None;
    }

    /// Goes on with other tracks: a new version of the program map, counters that go on, and a discontinuity.
    pub fn change(&mut self, catalog: &Catalog) -> Result<(), MuxError> {
        let mut next = Self::new(catalog)?;
        for track in &mut next.tracks {
            // A PID that comes back after a while goes on from zero, which its mark allows.
            let before = self.tracks.iter().find(|before| before.pid == track.pid);
            track.continuity = before.map_or(0, |before| before.continuity);
        }
        next.tables_continuity = self.tables_continuity;
        next.version = (self.version + 1) & 0x1f;
        next.tables = tables(catalog, &next.tracks, next.clock, next.version);
        next.mark_discontinuity();
        *self = next;
        Ok(())
    }

    /// Appends the packets of a frame. A frame of an unknown track is passed over.
    pub fn mux(&mut self, frame: &Frame, out: &mut BytesMut) {
        let Some(at) = self.tracks.iter().position(|track| track.id == frame.track) else {
            return;
        };
        let track = &self.tracks[at];
        let ticks = |time: i64| ((i128::from(time) * CLOCK + track.timescale / 2).div_euclid(track.timescale)) as u64;
        let (pts, dts) = (ticks(frame.pts), ticks(frame.dts));
        let video = track.codec.is_video();
        if video && frame.keyframe || due(self.tables_at, dts, TABLES_EVERY) {
            self.tables_at = Some(dts);
            self.put_tables(out);
        }
        let with_clock = at == self.clock && (frame.keyframe && video || due(self.pcr_at, dts, PCR_EVERY));
        let pcr = with_clock.then_some(dts);
        if with_clock {
            self.pcr_at = Some(dts);
        }
        let mut pes = std::mem::take(&mut self.scratch);
        pes.clear();
        let track = &mut self.tracks[at];
        // Times are modulo 2^33, and the first pictures may be decoded before time 0.
        track.put_pes(frame, pts.wrapping_add(LEAD), dts.wrapping_add(LEAD), &mut pes);
        // The clock's PID says so where the new clock is.
        let marks = at != self.clock || with_clock;
        let discontinuity = marks && std::mem::take(&mut track.discontinuity);
        track.put_packets(&pes, pcr, video && frame.keyframe, discontinuity, out);
        self.scratch = pes;
    }

    fn put_tables(&mut self, out: &mut BytesMut) {
        let at = out.len();
        out.put_slice(&self.tables);
        for packet in out[at..].chunks_exact_mut(PACKET) {
            packet[3] = packet[3] & 0xf0 | self.tables_continuity;
        }
        self.tables_continuity = (self.tables_continuity + 1) & 0xf;
    }
}

fn due(last: Option<u64>, now: u64, every: u64) -> bool {
    // A time that went back is due as well.
    last.is_none_or(|last| now.wrapping_sub(last) >= every)
}

impl MuxTrack {
    fn new((at, track): (usize, &Track)) -> Result<Self, MuxError> {
        let bad = || MuxError::Config(track.id);
        let sets = match track.codec {
            Codec::H264 => h264::parameter_sets(&track.config).ok_or_else(bad)?,
            Codec::Hevc => hevc::parameter_sets(&track.config).ok_or_else(bad)?,
            Codec::Aac | Codec::Opus => Vec::new(),
        };
        let mut parameters = BytesMut::new();
        for set in sets {
            parameters.put_u32(1);
            parameters.put_slice(&set);
        }
        let aac = match track.codec {
            Codec::Aac => Some(aac::Config::parse(&track.config).ok_or_else(bad)?),
            _ => None,
        };
        if track.timescale == 0 {
            return Err(bad());
        }
        Ok(Self {
            id: track.id,
            pid: FIRST_PID + at as u16,
            codec: track.codec,
            timescale: i128::from(track.timescale),
            continuity: 0,
            discontinuity: false,
            // Table 2-22: video stream 0, audio stream 0, private stream 1.
            stream_id: match track.codec {
                Codec::H264 | Codec::Hevc => 0xe0,
                Codec::Aac => 0xc0,
                Codec::Opus => 0xbd,
            },
            parameters: parameters.freeze(),
            aac,
        })
    }

    /// PES header (section 2.4.3.6) and payload.
    fn put_pes(&self, frame: &Frame, pts: u64, dts: u64, pes: &mut BytesMut) {
        let reordered = pts != dts;
        pes.put_slice(&[0, 0, 1, self.stream_id, 0, 0, 0x84, if reordered { 0xc0 } else { 0x80 }]);
        pes.put_u8(if reordered { 10 } else { 5 });
        put_timestamp(pes, if reordered { 3 } else { 2 }, pts);
        if reordered {
            put_timestamp(pes, 1, dts);
        }
        match self.codec {
            Codec::H264 | Codec::Hevc => self.put_video(frame, pes),
            Codec::Aac => {
                if let Some(header) = self.aac.and_then(|config| config.adts(frame.data.len())) {
                    pes.put_slice(&header);
                    pes.put_slice(&frame.data);
                }
            }
            Codec::Opus => {
                // Control header: prefix 0x3ff, no trimming, no extension; then the length in bytes of 255.
                pes.put_slice(&[0x7f, 0xe0]);
                pes.put_bytes(255, frame.data.len() / 255);
                pes.put_u8((frame.data.len() % 255) as u8);
                pes.put_slice(&frame.data);
            }
        }
        // Zero means unbounded, which only video may be.
        if let Ok(len) = u16::try_from(pes.len() - 6) {
            pes[4..6].copy_from_slice(&len.to_be_bytes());
        }
    }

    fn put_video(&self, frame: &Frame, pes: &mut BytesMut) {
        match self.codec {
            Codec::H264 => pes.put_slice(&[0, 0, 0, 1, h264::NAL_AUD, 0xf0]),
            _ => pes.put_slice(&[0, 0, 0, 1, hevc::NAL_AUD << 1, 1, 0x50]),
        }
        if frame.keyframe {
            pes.put_slice(&self.parameters);
        }
        for unit in nal::units(&frame.data) {
            pes.put_slice(&[0, 0, 1]);
            pes.put_slice(unit);
        }
    }

    /// Cuts a PES packet into transport packets (section 2.4.3.2).
    fn put_packets(&mut self, pes: &[u8], pcr: Option<u64>, keyframe: bool, discontinuity: bool, out: &mut BytesMut) {
        out.reserve(pes.len() / (PACKET - 4) * PACKET + 2 * PACKET);
        let mut rest = pes;
        let mut first = true;
        while first || !rest.is_empty() {
            let mut adaptation = [0_u8; 8];
            let mut needed = 0;
            if first && (keyframe || pcr.is_some() || discontinuity) {
                needed = 2;
                adaptation[1] = u8::from(discontinuity) << 7 | u8::from(keyframe) << 6;
                if let Some(base) = pcr {
                    let base = base & TIMESTAMP_MASK;
                    adaptation[1] |= 0x10;
                    adaptation[2..6].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
                    adaptation[6] = (base as u8 & 1) << 7 | 0x7e;
                    needed = 8;
                }
            }
            let room = PACKET - 4 - needed;
            let len = rest.len().min(room);
            let stuffing = room - len;
            let field = needed + stuffing;
            let control = if field > 0 { 0x30 } else { 0x10 } | self.continuity;
            out.put_slice(&[0x47, u8::from(first) << 6 | (self.pid >> 8) as u8, self.pid as u8, control]);
            if field > 0 {
                adaptation[0] = (field - 1) as u8;
                let used = if needed == 0 { field.min(2) } else { needed };
                out.put_slice(&adaptation[..used]);
                out.put_bytes(0xff, field - used);
            }
            let (now, later) = rest.split_at(len);
            out.put_slice(now);
            rest = later;
            first = false;
            self.continuity = (self.continuity + 1) & 0xf;
        }
    }
}

fn put_timestamp(out: &mut BytesMut, prefix: u8, value: u64) {
    let value = value & TIMESTAMP_MASK;
    out.put_u8(prefix << 4 | ((value >> 30) as u8) << 1 | 1);
    out.put_u16((((value >> 15) as u16) << 1) | 1);
    out.put_u16(((value as u16) << 1) | 1);
}

/// The packets of the program association table and the program map table.
fn tables(catalog: &Catalog, tracks: &[MuxTrack], clock: usize, version: u8) -> Bytes {
    let mut pat = BytesMut::from(&[0, 0, 0, 0, 1, 0xc1, 0, 0, 0, 1][..]);
    pat.put_u16(0xe000 | PMT_PID);
    pat[0] = 0x00;
    let mut pmt = BytesMut::from(&[2, 0, 0, 0, 1, 0xc1 | version << 1, 0, 0][..]);
    pmt.put_u16(0xe000 | tracks.get(clock).map_or(0x1fff, |track| track.pid));
    pmt.put_u16(0xf000);
    for (track, entry) in tracks.iter().zip(&catalog.tracks) {
        let kind = match track.codec {
            Codec::H264 => 0x1b,
            Codec::Hevc => 0x24,
            Codec::Aac => 0x0f,
            Codec::Opus => 0x06,
        };
        let descriptors = descriptors(entry);
        pmt.put_u8(kind);
        pmt.put_u16(0xe000 | track.pid);
        pmt.put_u16(0xf000 | descriptors.len() as u16);
        pmt.put_slice(&descriptors);
    }
    let mut out = BytesMut::new();
    put_section(&mut out, 0, pat);
    put_section(&mut out, PMT_PID, pmt);
    out.freeze()
}

fn descriptors(track: &Track) -> Vec<u8> {
    let mut out = Vec::new();
    if let (Codec::Opus, Kind::Audio { channels, .. }) = (track.codec, &track.kind) {
        out.extend_from_slice(b"\x05\x04Opus");
        out.extend_from_slice(&[0x7f, 2, 0x80, *channels]);
    }
    if let Some(language) = track.language.as_ref().filter(|code| code.len() == 3) {
        out.extend_from_slice(&[0x0a, 4]);
        out.extend_from_slice(language.as_bytes());
        out.push(0);
    }
    out
}

/// Completes a section with its length and checksum and puts it into packets of its own.
fn put_section(out: &mut BytesMut, pid: u16, mut section: BytesMut) {
    let len = section.len() - 3 + 4;
    section[1] = 0xb0 | (len >> 8) as u8;
    section[2] = len as u8;
    let crc = crc32(&section);
    section.put_u32(crc);
    let mut payload = BytesMut::from(&[0][..]);
    payload.put_slice(&section);
    for (at, chunk) in payload.chunks(PACKET - 4).enumerate() {
        out.put_slice(&[0x47, u8::from(at == 0) << 6 | (pid >> 8) as u8, pid as u8, 0x10]);
        out.put_slice(chunk);
        out.put_bytes(0xff, PACKET - 4 - chunk.len());
    }
}
