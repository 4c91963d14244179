//! MP4 files (ISO/IEC 14496-12, -14, -15): the movie header is read with the crate `mp4-atom`, samples on demand.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use mp4_atom::{Atom, Codec as Entry, Ftyp, Header, Moov, ReadFrom as _, StszSamples, Trak};

use crate::catalog::{Catalog, Codec, Kind, Track};
use crate::codec::{OPUS_RATE, h264, hevc, nal};
use crate::frame::Frame;
use crate::object::MAX_FRAME;
use crate::source::{Source, SourceError};

/// Largest movie header that is read, in bytes: some ten hours of 60 frames a second.
const MOOV_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Most samples of a track: what such a header can hold.
const SAMPLES_MAX: usize = 16 * 1024 * 1024;

/// An MP4 file.
pub struct Mp4<R> {
    reader: R,
    catalog: Catalog,
    tracks: Vec<Samples>,
}

/// The samples of one track.
struct Samples {
    id: u8,
    codec: Codec,
    timescale: u32,
    /// Bytes of the lengths before NAL units.
    length_size: usize,
    samples: Vec<Sample>,
    next: usize,
}

#[derive(Clone, Copy)]
struct Sample {
    at: u64,
    len: u32,
    dts: i64,
    pts: i64,
    duration: u32,
    sync: bool,
}

impl<R: Read + Seek> Mp4<R> {
    /// Reads the movie header and lays out the samples of the first video track and of all audio tracks.
    pub fn open(mut reader: R) -> Result<Self, SourceError> {
        let len = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        let moov = read_moov(&mut reader, len)?;
        let mut catalog = Catalog::default();
        let mut tracks = Vec::new();
        for trak in &moov.trak {
            let is_video = catalog.tracks.iter().any(|track| matches!(track.kind, Kind::Video { .. }));
            let id = catalog.tracks.len() as u8;
            let Some((track, length_size)) = describe(trak, id)? else {
                continue;
            };
            if matches!(track.kind, Kind::Video { .. }) && is_video || catalog.tracks.len() >= 16 {
                continue;
            }
            let mut samples = lay_out(trak, moov.mvhd.timescale)?;
            if matches!(track.kind, Kind::Audio { .. }) {
                mend_last_duration(&mut samples);
            }
            if samples.is_empty() {
                continue;
            }
            tracks.push(Samples { id, codec: track.codec, timescale: track.timescale, length_size, samples, next: 0 });
            catalog.tracks.push(track);
        }
        if tracks.is_empty() {
            let fragmented = moov.mvex.is_some();
            return Err(if fragmented { SourceError::Fragmented } else { SourceError::NoTrack });
        }
        let end = tracks.iter().flat_map(|track| &track.samples).map(|s| s.at + u64::from(s.len)).max().unwrap_or(0);
        if end > len {
            return Err(SourceError::Truncated { missing: end - len });
        }
        Ok(Self { reader, catalog, tracks })
    }
}

impl<R: Read + Seek> Source for Mp4<R> {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let time = |track: &Samples| {
            let sample = track.samples.get(track.next)?;
            Some(i128::from(sample.dts) * 1_000_000 / i128::from(track.timescale))
        };
        let due = self.tracks.iter_mut().filter_map(|track| time(track).map(|time| (time, track)));
        let Some((_, track)) = due.min_by_key(|(time, track)| (*time, track.id)) else {
            return Ok(None);
        };
        let sample = track.samples[track.next];
        track.next += 1;
        self.reader.seek(SeekFrom::Start(sample.at))?;
        let mut data = vec![0; sample.len as usize];
        self.reader.read_exact(&mut data)?;
        track.frame(sample, data.into()).map(Some)
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.tracks.iter_mut().for_each(|track| track.next = 0);
        Ok(())
    }
}

impl Samples {
    fn frame(&self, sample: Sample, data: Bytes) -> Result<Frame, SourceError> {
        let video = self.codec.is_video();
        let data = match self.length_size {
            4 => data,
            size if video => nal::widen(&data, size).ok_or(SourceError::Damaged("NAL unit length"))?,
            _ => data,
        };
        let is_payload = if self.codec == Codec::Hevc { hevc::is_payload } else { h264::is_payload };
        let clean = !video || nal::units(&data).all(is_payload);
        // Some writers repeat parameter sets in band; the catalog holds them.
        let data = if clean { data } else { nal::join(nal::units(&data).filter(|unit| is_payload(unit))) };
        let discardable = match self.codec {
            Codec::H264 => h264::classify(nal::units(&data)).1,
            Codec::Hevc => hevc::classify(nal::units(&data)).1,
            Codec::Aac | Codec::Opus => false,
        };
        Ok(Frame {
            track: self.id,
            pts: sample.pts,
            dts: sample.dts,
            duration: sample.duration,
            keyframe: sample.sync,
            discardable: discardable && !sample.sync,
            data,
        })
    }
}

/// Finds and reads the movie header, wherever it stands.
fn read_moov<R: Read + Seek>(reader: &mut R, len: u64) -> Result<Moov, SourceError> {
    let mut at = 0;
    let mut first = true;
    while at + 8 <= len {
        reader.seek(SeekFrom::Start(at))?;
        let Ok(header) = Header::read_from(reader) else {
            break;
        };
        if std::mem::take(&mut first) && !is_known(&header) {
            return Err(SourceError::Unknown);
        }
        let body_at = reader.stream_position()?;
        let body = header.size.map_or(len - body_at, |size| size as u64);
        if header.kind == Moov::KIND {
            if body > MOOV_LEN_MAX {
                return Err(SourceError::TooLarge("movie header"));
            }
            if body_at + body > len {
                return Err(SourceError::Truncated { missing: body_at + body - len });
            }
            let mut bytes = vec![0; body as usize];
            reader.read_exact(&mut bytes)?;
            return Moov::decode_body(&mut &bytes[..]).map_err(|error| SourceError::Mp4(error.to_string()));
        }
        at = body_at.saturating_add(body);
    }
    if at > len { Err(SourceError::Truncated { missing: at - len }) } else { Err(SourceError::NoHeader) }
}

fn is_known(header: &Header) -> bool {
    header.kind == Ftyp::KIND || [&b"moov"[..], b"mdat", b"free", b"wide", b"skip"].contains(&&header.kind.as_ref()[..])
}

/// Catalog entry of a track that Levada carries, with the size of its NAL unit lengths.
fn describe(trak: &Trak, id: u8) -> Result<Option<(Track, usize)>, SourceError> {
    let timescale = trak.mdia.mdhd.timescale;
    let body = |atom: &dyn Fn(&mut Vec<u8>) -> mp4_atom::Result<()>| {
        let mut out = Vec::new();
        atom(&mut out).map(|()| Bytes::from(out)).map_err(|error| SourceError::Mp4(error.to_string()))
    };
    let audio = |rate: u32, channels: u16| Kind::Audio { sample_rate: rate, channels: channels.min(255) as u8 };
    let Some(entry) = trak.mdia.minf.stbl.stsd.codecs.first() else {
        return Ok(None);
    };
    let (codec, config, kind, length_size) = match entry {
        Entry::Avc1(mp4_atom::Avc1 { visual, avcc, .. }) | Entry::Avc3(mp4_atom::Avc3 { visual, avcc, .. }) => {
            let wide = mp4_atom::Avcc { length_size: 4, ..avcc.clone() };
            let kind = Kind::Video { width: visual.width, height: visual.height };
            (Codec::H264, body(&|out| wide.encode_body(out))?, kind, usize::from(avcc.length_size))
        }
        Entry::Hvc1(mp4_atom::Hvc1 { visual, hvcc, .. }) | Entry::Hev1(mp4_atom::Hev1 { visual, hvcc, .. }) => {
            let wide = mp4_atom::Hvcc { length_size_minus_one: 3, ..hvcc.clone() };
            let kind = Kind::Video { width: visual.width, height: visual.height };
            (Codec::Hevc, body(&|out| wide.encode_body(out))?, kind, usize::from(hvcc.length_size_minus_one) + 1)
        }
        Entry::Mp4a(mp4a) => {
            let config = mp4a.esds.es_desc.dec_config.dec_specific.as_ref().map(|s| Bytes::from(s.raw.clone()));
            // The sample entry's own channel count is a template that writers leave at 2 (ISO/IEC 14496-14, section 5.6).
            let facts = config.as_deref().and_then(crate::codec::aac::Config::parse);
            let Some((config, facts)) = config.zip(facts) else {
                return Ok(None);
            };
            let channels = if facts.channels == 0 { mp4a.audio.channel_count } else { u16::from(facts.channels) };
            (Codec::Aac, config, audio(facts.rate(), channels), 4)
        }
        Entry::Opus(opus) => {
            let config = body(&|out| opus.dops.encode_body(out))?;
            (Codec::Opus, config, audio(OPUS_RATE, opus.audio.channel_count), 4)
        }
        _ => return Ok(None),
    };
    if timescale == 0 || !(1..=4).contains(&length_size) {
        return Err(SourceError::Damaged("timescale"));
    }
    let language = Some(trak.mdia.mdhd.language.clone()).filter(|code| code != "und" && code.len() == 3);
    Ok(Some((Track { id, codec, timescale, config, kind, language }, length_size)))
}

/// Offsets, sizes and times of all samples of a track.
fn lay_out(trak: &Trak, movie_timescale: u32) -> Result<Vec<Sample>, SourceError> {
    let table = &trak.mdia.minf.stbl;
    let count = match &table.stsz.samples {
        StszSamples::Identical { count, .. } => *count as usize,
        StszSamples::Different { sizes } => sizes.len(),
    };
    if count > SAMPLES_MAX {
        return Err(SourceError::TooLarge("sample table"));
    }
    let size = |n: usize| match &table.stsz.samples {
        StszSamples::Identical { size, .. } => *size,
        StszSamples::Different { sizes } => sizes[n],
    };
    let chunks: Vec<u64> = match (&table.stco, &table.co64) {
        (Some(stco), _) => stco.entries.iter().map(|at| u64::from(*at)).collect(),
        (None, Some(co64)) => co64.entries.clone(),
        (None, None) if count == 0 => Vec::new(),
        (None, None) => return Err(SourceError::Damaged("chunk offsets")),
    };
    let mut durations =
        table.stts.entries.iter().flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let offsets = table.ctts.iter().flat_map(|ctts| &ctts.entries);
    let mut offsets = offsets.flat_map(|e| std::iter::repeat_n(e.sample_offset, e.sample_count as usize));
    let sync: Option<VecDeque<u32>> = table.stss.as_ref().map(|stss| stss.entries.iter().copied().collect());
    let shift = edit_shift(trak, movie_timescale);
    let mut sync = sync;
    let mut samples = Vec::with_capacity(count);
    let mut dts = shift;
    let mut runs = table.stsc.entries.iter().peekable();
    let mut per_chunk = 0;
    for (chunk, &start) in chunks.iter().enumerate() {
        while let Some(run) = runs.next_if(|run| run.first_chunk as usize <= chunk + 1) {
            per_chunk = run.samples_per_chunk;
        }
        let mut at = start;
        for _ in 0..per_chunk {
            let n = samples.len();
            if n == count {
                return Ok(samples);
            }
            let len = size(n);
            if len as usize > MAX_FRAME {
                return Err(SourceError::TooLarge("sample"));
            }
            let duration = durations.next().ok_or(SourceError::Damaged("sample times"))?;
            let pts = dts.saturating_add(offsets.next().unwrap_or(0));
            let is_sync = match &mut sync {
                None => true,
                Some(list) => list.pop_front_if(|number| *number as usize == n + 1).is_some(),
            };
            samples.push(Sample { at, len, dts, pts, duration, sync: is_sync });
            at += u64::from(len);
            dts = dts.saturating_add(i64::from(duration));
        }
    }
    if samples.len() < count { Err(SourceError::Damaged("chunk table")) } else { Ok(samples) }
}

/// Writers cut the table's last entry to the edit, but a decoder plays all of the last packet.
fn mend_last_duration(samples: &mut [Sample]) {
    if let [.., before, last] = samples {
        last.duration = last.duration.max(before.duration);
    }
}

/// What the edit list adds to all times (section 8.6.6): an initial empty edit delays, `media_time` of the first real
/// one advances.
fn edit_shift(trak: &Trak, movie_timescale: u32) -> i64 {
    let Some(list) = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref()) else {
        return 0;
    };
    let mut shift = 0;
    for entry in &list.entries {
        let Some(media_time) = entry.media_time else {
            let ticks = i128::from(entry.segment_duration) * i128::from(trak.mdia.mdhd.timescale);
            shift += i64::try_from(ticks / i128::from(movie_timescale.max(1))).unwrap_or(0);
            continue;
        };
        return shift - i64::try_from(media_time).unwrap_or(0);
    }
    shift
}
