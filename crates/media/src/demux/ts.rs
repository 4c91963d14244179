//! MPEG transport streams (ISO/IEC 13818-1): 188-byte packets in, frames out.

mod pes;
mod psi;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};

use crate::catalog::Catalog;
use crate::frame::Frame;
use crate::source::{Source, SourceError};

use pes::Elementary;
use psi::Sections;

pub(crate) use psi::crc32;

/// Length of a packet, in bytes.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// Bytes within which every track must have shown its configuration.
const PROBE_LEN: usize = 8 * 1024 * 1024;
/// Frames held back while another track has none, so that tracks interleave.
const REORDER_MAX: usize = 512;
/// Most tracks that are carried.
const TRACKS_MAX: usize = 16;

/// Whether bytes are the beginning of a transport stream: five packets in a row.
pub fn looks_like_ts(start: &[u8]) -> bool {
    let packets = (start.len() / PACKET).min(5);
    packets >= 1 && (0..packets).all(|packet| start[packet * PACKET] == SYNC)
}

/// Takes a transport stream apart as its bytes come.
#[derive(Default)]
pub struct TsDemuxer {
    rest: Vec<u8>,
    pat: Sections,
    pmt: Option<(u16, Sections)>,
    streams: BTreeMap<u16, Elementary>,
    queues: Queues,
    clock: Clock,
    ended: bool,
    /// Bytes that belong to no packet, or to none that can be used.
    pub skipped: u64,
}

/// Frames by track, as they came, each with the run of the encoder it is of.
type Queues = BTreeMap<u8, VecDeque<(u64, Frame)>>;

/// Timestamps that go further than this at once, in ticks of 90 kHz, are those of an encoder that started anew. Tuned: tracks
/// are less than a second apart in a stream.
const JUMP: i64 = 2 * 90_000;

/// Unwraps 33-bit timestamps of all streams against one reference.
#[derive(Default)]
struct Clock {
    base: Option<u64>,
    last: Option<i64>,
    /// Timestamps stay those of the encoder, this many wraps added.
    absolute: Option<i64>,
    /// Counts the times that the encoder started anew.
    run: u64,
}

impl Clock {
    /// Ticks at 90 kHz. The first timestamp becomes ten seconds, so that earlier ones stay positive.
    fn unwrap(&mut self, raw: u64) -> i64 {
        let base = if self.absolute.is_some() { 0 } else { *self.base.get_or_insert(raw) };
        let ahead = (raw.wrapping_sub(base) & 0x1_ffff_ffff) as i64;
        let last = *self.last.get_or_insert(ahead);
        let turns = (last - ahead + (1 << 32)).div_euclid(1 << 33);
        let now = ahead + (turns << 33);
        self.last = Some(now);
        if now.abs_diff(last) > JUMP as u64 {
            self.run += 1;
        }
        match self.absolute {
            Some(wraps) => now.saturating_add(wraps.saturating_mul(1 << 33)),
            None => now + 900_000,
        }
    }
}

impl TsDemuxer {
    /// One whose timestamps stay those of the encoder, so that whoever takes the same stream apart gets the same frames,
    /// wherever he begins.
    pub fn absolute() -> Self {
        Self { clock: Clock { absolute: Some(0), ..Clock::default() }, ..Self::default() }
    }

    /// Adds wraps of the 33-bit timestamps (26.5 hours each) to those that are to come; frames on their way are dropped.
    pub fn add_wraps(&mut self, wraps: i64) {
        if let Some(added) = &mut self.clock.absolute {
            *added = added.saturating_add(wraps);
        }
        self.queues.clear();
        self.streams.values_mut().for_each(Elementary::forget);
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while rest.len() - at >= PACKET {
            let synced = rest[at] == SYNC && rest.get(at + PACKET).is_none_or(|next| *next == SYNC);
            if !synced {
                at += 1;
                self.skipped += 1;
                continue;
            }
            self.packet(&rest[at..at + PACKET]);
            at += PACKET;
        }
        self.rest = rest[at..].to_vec();
    }

    /// No more bytes: completes the last frames.
    pub fn end(&mut self) {
        self.ended = true;
        for stream in self.streams.values_mut() {
            stream.end(&mut self.clock, &mut self.queues);
        }
    }

    /// All tracks, once every one has shown its configuration.
    pub fn catalog(&self) -> Option<Catalog> {
        let complete = !self.streams.is_empty() && self.streams.values().all(|stream| stream.track.is_some());
        complete.then(|| self.known())
    }

    /// The tracks that have shown their configuration so far.
    pub fn known(&self) -> Catalog {
        let mut tracks: Vec<_> = self.streams.values().filter_map(|stream| stream.track.clone()).collect();
        tracks.sort_by_key(|track| track.id);
        Catalog { tracks }
    }

    /// The next frame by decode time, once no earlier one can come.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let known = self.streams.values().filter_map(|stream| stream.track.as_ref());
        let scales: BTreeMap<u8, u32> = known.map(|track| (track.id, track.timescale)).collect();
        let waiting = scales.keys().any(|id| self.queues.get(id).is_none_or(VecDeque::is_empty));
        let held: usize = self.queues.values().map(VecDeque::len).sum();
        if waiting && !self.ended && held < REORDER_MAX {
            return None;
        }
        let time = |(run, frame): &(u64, Frame)| {
            let scale = i128::from(scales.get(&frame.track).copied().unwrap_or(1));
            (*run, i128::from(frame.dts) * 1_000_000 / scale)
        };
        let first = self.queues.values_mut().filter(|queue| !queue.is_empty());
        first.min_by_key(|queue| queue.front().map(time))?.pop_front().map(|(_, frame)| frame)
    }

    fn packet(&mut self, packet: &[u8]) {
        let start = packet[1] & 0x40 != 0;
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let damaged = packet[1] & 0x80 != 0;
        let payload = match packet[3] >> 4 & 3 {
            1 => &packet[4..],
            3 => packet.get(5 + usize::from(packet[4])..).unwrap_or_default(),
            _ => &[],
        };
        if damaged || payload.is_empty() {
            return;
        }
        if pid == 0 {
            if let Some(pmt) = self.pat.push(start, payload).and_then(psi::program_map_pid)
                && self.pmt.as_ref().is_none_or(|(known, _)| *known != pmt)
            {
                self.pmt = Some((pmt, Sections::default()));
            }
            return;
        }
        if let Some((_, sections)) = self.pmt.as_mut().filter(|(pmt, _)| *pmt == pid) {
            if let Some(section) = sections.push(start, payload) {
                for entry in psi::elementary_streams(section) {
                    let id = self.streams.len() as u8;
                    if usize::from(id) < TRACKS_MAX {
                        self.streams.entry(entry.pid).or_insert_with(|| Elementary::new(id, entry));
                    }
                }
            }
            return;
        }
        if let Some(stream) = self.streams.get_mut(&pid) {
            stream.push(start, payload, &mut self.clock, &mut self.queues);
        }
    }
}

/// A transport stream file.
pub struct TsFile<R> {
    reader: R,
    demuxer: TsDemuxer,
    catalog: Catalog,
}

impl<R: Read + Seek> TsFile<R> {
    /// Reads until every track has shown its configuration.
    pub fn open(mut reader: R) -> Result<Self, SourceError> {
        let mut demuxer = TsDemuxer::default();
        let mut read = 0;
        while demuxer.catalog().is_none() && read < PROBE_LEN {
            match fill(&mut reader, &mut demuxer)? {
                0 => break,
                bytes => read += bytes,
            }
        }
        let catalog = demuxer.known();
        if catalog.tracks.is_empty() {
            return Err(SourceError::NoTrack);
        }
        let mut file = Self { reader, demuxer, catalog };
        file.rewind()?;
        Ok(file)
    }
}

fn fill(reader: &mut impl Read, demuxer: &mut TsDemuxer) -> Result<usize, SourceError> {
    let mut bytes = vec![0; 256 * PACKET];
    let len = reader.read(&mut bytes)?;
    match bytes.get(..len) {
        Some(read) if len > 0 => demuxer.push(read),
        _ => demuxer.end(),
    }
    Ok(len)
}

impl<R: Read + Seek> Source for TsFile<R> {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        loop {
            match self.demuxer.next_frame() {
                Some(frame) if self.catalog.tracks.iter().any(|track| track.id == frame.track) => {
                    return Ok(Some(frame));
                }
                Some(_) => {}
                None if self.demuxer.ended => return Ok(None),
                None => drop(fill(&mut self.reader, &mut self.demuxer)?),
            }
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.reader.seek(SeekFrom::Start(0))?;
        self.demuxer = TsDemuxer::default();
        Ok(())
    }
}
