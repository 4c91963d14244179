//! Fragmented MP4 (ISO/IEC 14496-12, section 8.8) for Media Source Extensions: one fragment per frame, so that a frame
//! is shown as soon as it is here.

mod part;

use bytes::{BufMut as _, Bytes, BytesMut};
use mp4_atom::{
    Atom as _, Audio, Avc1, Avcc, Codec as Entry, Compressor, Dinf, Dops, Dref, Encode as _, Esds, FourCC, Ftyp, Hdlr,
    Hvc1, Hvcc, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Visual,
    Vmhd, esds,
};

use super::MuxError;
use crate::catalog::{Catalog, Codec, Kind, Track};
use crate::codec::aac;
use crate::frame::Frame;

/// `sample_flags` (section 8.8.3.1): depends on nothing, is a sync sample.
const FLAGS_SYNC: u32 = 0x0200_0000;
/// Depends on others, is no sync sample.
const FLAGS_DELTA: u32 = 0x0101_0000;
/// ... and no other depends on it.
const FLAGS_DISCARDABLE: u32 = 0x0181_0000;
/// Bytes of a fragment before its payload.
const FRAGMENT_HEAD: usize = 8 + 16 + 8 + 16 + 20 + 36 + 8;

/// Muxes the frames of one stream.
#[derive(Clone, Debug)]
pub struct Fmp4Muxer {
    init: Bytes,
    mime: String,
    tracks: Vec<u8>,
}

impl Fmp4Muxer {
    /// Prepares the initialisation segment for a catalog.
    pub fn new(catalog: &Catalog) -> Result<Self, MuxError> {
        if catalog.tracks.is_empty() {
            return Err(MuxError::NoTrack);
        }
        let codecs: Vec<String> = catalog.tracks.iter().map(codec_string).collect::<Result<_, _>>()?;
        let video = catalog.tracks.iter().any(|track| matches!(track.kind, Kind::Video { .. }));
        let container = if video { "video/mp4" } else { "audio/mp4" };
        Ok(Self {
            init: init_segment(catalog)?,
            mime: format!("{container}; codecs=\"{}\"", codecs.join(", ")),
            tracks: catalog.tracks.iter().map(|track| track.id).collect(),
        })
    }

    /// `ftyp` and `moov`.
    pub fn init_segment(&self) -> Bytes {
        self.init.clone()
    }

    /// Media type with codecs (RFC 6381), as Media Source Extensions want it.
    pub fn mime(&self) -> &str {
        &self.mime
    }

    /// Appends one fragment: `moof` with one sample, `mdat`. A frame of an unknown track is passed over. Nothing but the
    /// catalog, the frame and its `sequence` number decides on the bytes, so they are the same wherever they are made.
    pub fn fragment(&self, frame: &Frame, sequence: u32, out: &mut BytesMut) {
        let Ok(payload) = u32::try_from(frame.data.len()) else {
            return;
        };
        if !self.tracks.contains(&frame.track) {
            return;
        }
        // A file may begin to be decoded before its time 0, which the field cannot tell; what counts is when it is shown.
        let dts = frame.dts.max(0);
        let offset = i32::try_from(frame.pts.saturating_sub(dts)).unwrap_or(0);
        out.reserve(FRAGMENT_HEAD + frame.data.len());
        put_head(out, FRAGMENT_HEAD - 8, b"moof");
        put_head(out, 16, b"mfhd");
        out.put_u32(0);
        out.put_u32(sequence);
        put_head(out, 8 + 16 + 20 + 36, b"traf");
        put_head(out, 16, b"tfhd");
        // default-base-is-moof
        out.put_u32(0x02_0000);
        out.put_u32(u32::from(frame.track) + 1);
        put_head(out, 20, b"tfdt");
        out.put_u32(0x0100_0000);
        out.put_u64(dts as u64);
        put_head(out, 36, b"trun");
        // Version 1: signed offsets; data offset, duration, size, flags and composition offset are present.
        out.put_u32(0x0100_0f01);
        out.put_u32(1);
        out.put_u32(FRAGMENT_HEAD as u32);
        out.put_u32(frame.duration);
        out.put_u32(payload);
        out.put_u32(sample_flags(frame));
        out.put_i32(offset);
        put_head(out, 8 + frame.data.len(), b"mdat");
        out.put_slice(&frame.data);
    }
}

fn sample_flags(frame: &Frame) -> u32 {
    match (frame.keyframe, frame.discardable) {
        (true, _) => FLAGS_SYNC,
        (false, true) => FLAGS_DISCARDABLE,
        (false, false) => FLAGS_DELTA,
    }
}

fn put_head(out: &mut BytesMut, len: usize, kind: &[u8; 4]) {
    out.put_u32(len as u32);
    out.put_slice(kind);
}

/// The codec parameter of a track (RFC 6381; ISO/IEC 14496-15, annex E).
pub fn codec_string(track: &Track) -> Result<String, MuxError> {
    let bad = || MuxError::Config(track.id);
    let config = &track.config[..];
    Ok(match track.codec {
        Codec::H264 => {
            let &[_, profile, compatibility, level] = config.first_chunk().ok_or_else(bad)?;
            format!("avc1.{profile:02x}{compatibility:02x}{level:02x}")
        }
        Codec::Hevc => {
            let &[_, first, c0, c1, c2, c3, constraints @ .., level] = config.first_chunk::<13>().ok_or_else(bad)?;
            let space = ["", "A", "B", "C"][usize::from(first >> 6)];
            let tier = if first >> 5 & 1 == 1 { "H" } else { "L" };
            let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
            let kept = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let constraints: String = constraints[..kept].iter().map(|byte| format!(".{byte:X}")).collect();
            format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}{constraints}", first & 0x1f)
        }
        Codec::Aac => format!("mp4a.40.{}", aac::Config::parse(config).ok_or_else(bad)?.object_type),
        Codec::Opus => "opus".to_owned(),
    })
}

fn init_segment(catalog: &Catalog) -> Result<Bytes, MuxError> {
    let brand = |name: &[u8; 4]| FourCC::new(name);
    let ftyp = Ftyp {
        major_brand: brand(b"iso6"),
        minor_version: 0,
        compatible_brands: vec![brand(b"iso6"), brand(b"cmfc"), brand(b"mp41")],
    };
    let trex = |track: &Track| Trex {
        track_id: u32::from(track.id) + 1,
        default_sample_description_index: 1,
        ..Trex::default()
    };
    let moov = Moov {
        mvhd: Mvhd {
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: catalog.tracks.len() as u32 + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex: catalog.tracks.iter().map(trex).collect() }),
        trak: catalog.tracks.iter().map(trak).collect::<Result<_, _>>()?,
        ..Moov::default()
    };
    let mut out = Vec::new();
    let written = ftyp.encode(&mut out).and_then(|()| moov.encode(&mut out));
    written.map_err(|error| MuxError::Header(error.to_string()))?;
    Ok(out.into())
}

fn trak(track: &Track) -> Result<Trak, MuxError> {
    let (width, height, video) = match track.kind {
        Kind::Video { width, height } => (width, height, true),
        Kind::Audio { .. } => (0, 0, false),
    };
    let handler = if video { b"vide" } else { b"soun" };
    Ok(Trak {
        tkhd: Tkhd {
            track_id: u32::from(track.id) + 1,
            enabled: true,
            in_movie: true,
            volume: if video { 0.into() } else { 1.into() },
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd {
                timescale: track.timescale,
                language: track.language.clone().unwrap_or_else(|| "und".to_owned()),
                ..Mdhd::default()
            },
            hdlr: Hdlr { handler: FourCC::new(handler), name: "levada".to_owned() },
            minf: Minf {
                vmhd: video.then(Vmhd::default),
                smhd: (!video).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![sample_entry(track)?] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        },
        ..Trak::default()
    })
}

fn sample_entry(track: &Track) -> Result<Entry, MuxError> {
    let bad = || MuxError::Config(track.id);
    let mut config = &track.config[..];
    let visual = |width, height| Visual {
        data_reference_index: 1,
        width,
        height,
        horizresolution: 0x48.into(),
        vertresolution: 0x48.into(),
        frame_count: 1,
        compressor: Compressor::default(),
        depth: 0x18,
    };
    let audio = |rate: u32, channels: u8| Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: 16,
        // The field holds 16 bits; decoders take higher rates from the codec's own configuration.
        sample_rate: u16::try_from(rate).unwrap_or(0).into(),
    };
    Ok(match (track.codec, &track.kind) {
        (Codec::H264, Kind::Video { width, height }) => {
            let avcc = Avcc::decode_body(&mut config).map_err(|_| bad())?;
            Avc1 { visual: visual(*width, *height), avcc, ..Avc1::default() }.into()
        }
        (Codec::Hevc, Kind::Video { width, height }) => {
            let hvcc = Hvcc::decode_body(&mut config).map_err(|_| bad())?;
            Hvc1 { visual: visual(*width, *height), hvcc, ..Hvc1::default() }.into()
        }
        (Codec::Aac, Kind::Audio { sample_rate, channels }) => {
            let facts = aac::Config::parse(config).ok_or_else(bad)?;
            let specific = esds::DecoderSpecific {
                profile: facts.object_type,
                freq_index: facts.rate_index,
                chan_conf: facts.channels,
                raw: config.to_vec(),
            };
            let dec_config = esds::DecoderConfig {
                object_type_indication: 0x40,
                stream_type: 5,
                dec_specific: Some(specific),
                ..Default::default()
            };
            let es_desc = esds::EsDescriptor { es_id: u16::from(track.id) + 1, dec_config, ..Default::default() };
            Mp4a { audio: audio(*sample_rate, *channels), esds: Esds { es_desc }, btrt: None, taic: None }.into()
        }
        (Codec::Opus, Kind::Audio { channels, .. }) => {
            let dops = Dops::decode_body(&mut config).map_err(|_| bad())?;
            Opus { audio: audio(crate::codec::OPUS_RATE, *channels), dops, btrt: None }.into()
        }
        _ => return Err(bad()),
    })
}
