//! Sources: files as sequences of frames, and the loop that turns them into broadcasts without end.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

use crate::catalog::{Catalog, Kind};
use crate::demux::mp4::Mp4;
use crate::demux::ts::TsFile;
use crate::frame::Frame;

/// Something that yields frames, interleaved by decode time.
pub trait Source {
    /// Its tracks.
    fn catalog(&self) -> &Catalog;

    /// The next frame; `None` at the end.
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError>;

    /// Goes back to the beginning.
    fn rewind(&mut self) -> Result<(), SourceError>;
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Reading failed.
    #[error("it cannot be read")]
    Read(#[from] std::io::Error),
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Neither MP4 nor MPEG-TS.
    #[error("it is neither MP4 nor MPEG-TS; convert it with: ffmpeg -i FILE -c:v libx264 -c:a aac OUT.mp4")]
    Unknown,
    /// An MP4 file without a movie header.
    #[error("it has no movie header (moov); the recording was not finished")]
    NoHeader,
    /// The file ends before its content does.
    #[error("it is truncated: {missing} bytes are missing at its end")]
    Truncated {
        /// How many bytes.
        missing: u64,
    },
    /// Fragments.
    #[error("it is a fragmented MP4; rewrite it with: ffmpeg -i FILE -c copy OUT.mp4")]
    Fragmented,
    /// No track that Levada carries.
    #[error("it has no H.264, HEVC, AAC or Opus track; convert it with: ffmpeg -i FILE -c:v libx264 -c:a aac OUT.mp4")]
    NoTrack,
    /// The MP4 parser refuses it.
    #[error("its MP4 header is damaged: {0}")]
    Mp4(String),
    /// A part contradicts another.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A part exceeds its bound.
    #[error("its {0} is larger than what is read")]
    TooLarge(&'static str),
}

/// Opens a file by its content.
pub fn open<R: Read + Seek + Send + 'static>(mut reader: R) -> Result<Box<dyn Source + Send>, SourceError> {
    let mut start = Vec::new();
    (&mut reader).take(16 * 1024).read_to_end(&mut start)?;
    reader.seek(SeekFrom::Start(0))?;
    if start.is_empty() {
        return Err(SourceError::Empty);
    }
    if crate::demux::ts::looks_like_ts(&start) {
        return Ok(Box::new(TsFile::open(reader)?));
    }
    Ok(Box::new(Mp4::open(reader)?))
}

/// With reordered pictures a turn begins to be decoded before the turn before has been heard to its end: so far is read
/// ahead, microseconds, to give frames out in the order of decoding. Tuned: the reordering of slow pictures.
const SEAM_US: i128 = 500_000;
/// ... and no more frames than this.
const AHEAD_MAX: usize = 256;

/// Plays a source for ever, with timestamps that go on.
///
/// The period is the duration of the video track. Audio goes on without gap or overlap: each turn takes as many audio
/// frames as bring it nearest to the video's end, so sound and picture stay within one audio frame of the file's own
/// alignment, for ever.
pub struct Looped {
    source: Box<dyn Source + Send>,
    tracks: Vec<LoopTrack>,
    /// Index of the track whose duration is the period.
    lead: usize,
    turn: i64,
    period: i64,
    /// Frames read ahead, in the order of decoding, with when they decode in microseconds.
    ahead: VecDeque<(i128, Frame)>,
}

struct LoopTrack {
    id: u8,
    timescale: u32,
    audio: bool,
    /// Where the lead's first frame is shown, in ticks of this track; the file's own clock may begin anywhere.
    start: i64,
    /// Ticks that bring the earliest decode time of the first turn to zero or later.
    shift: i64,
    /// Where the next audio frame begins, once one has been given out.
    next_pts: Option<i64>,
    last_dts: Option<i64>,
}

impl Looped {
    /// Reads the source once for its duration.
    pub fn new(mut source: Box<dyn Source + Send>) -> Result<Self, SourceError> {
        let catalog = source.catalog().clone();
        let video = catalog.tracks.iter().position(|track| matches!(track.kind, Kind::Video { .. }));
        let lead = video.unwrap_or(0);
        let lead_id = catalog.tracks.get(lead).ok_or(SourceError::NoTrack)?.id;
        let scale_of = |id| catalog.tracks.iter().find(|track| track.id == id).map_or(1, |track| track.timescale);
        let is_audio = |id| catalog.tracks.iter().any(|t| t.id == id && matches!(t.kind, Kind::Audio { .. }));
        let (mut start, mut end, mut earliest_us) = (i64::MAX, i64::MIN, i128::MAX);
        while let Some(frame) = source.next_frame()? {
            // Audio before zero is priming.
            if is_audio(frame.track) && frame.pts + i64::from(frame.duration / 2) < 0 {
                continue;
            }
            if frame.track == lead_id {
                start = start.min(frame.pts);
                end = end.max(frame.pts + i64::from(frame.duration));
            }
            earliest_us = earliest_us.min(i128::from(frame.dts) * 1_000_000 / i128::from(scale_of(frame.track)));
        }
        source.rewind()?;
        let period = end.checked_sub(start).filter(|period| *period > 0).ok_or(SourceError::Damaged("timestamps"))?;
        let start_us = i128::from(start) * 1_000_000 / i128::from(scale_of(lead_id));
        let lead_us = (start_us - earliest_us).max(0);
        let tracks = catalog.tracks.iter().map(|track| {
            let ticks = |us: i128| i64::try_from(us * i128::from(track.timescale) / 1_000_000).unwrap_or(0);
            LoopTrack {
                id: track.id,
                timescale: track.timescale,
                audio: is_audio(track.id),
                start: if track.id == lead_id { start } else { ticks(start_us) },
                shift: ticks(lead_us) + i64::from(lead_us > 0),
                next_pts: None,
                last_dts: None,
            }
        });
        Ok(Self { tracks: tracks.collect(), lead, turn: 0, period, source, ahead: VecDeque::new() })
    }

    /// Its tracks.
    pub fn catalog(&self) -> &Catalog {
        self.source.catalog()
    }

    /// The next frame to be decoded; there always is one.
    pub fn next_frame(&mut self) -> Result<Frame, SourceError> {
        let span = |ahead: &VecDeque<(i128, Frame)>| Some(ahead.back()?.0 - ahead.front()?.0);
        while span(&self.ahead).is_none_or(|us| us < SEAM_US) && self.ahead.len() < AHEAD_MAX {
            let frame = self.read_frame()?;
            let scale = self.tracks.iter().find(|track| track.id == frame.track).map_or(1, |track| track.timescale);
            let us = i128::from(frame.dts) * 1_000_000 / i128::from(scale.max(1));
            self.ahead.insert(self.ahead.partition_point(|(earlier, _)| *earlier <= us), (us, frame));
        }
        self.ahead.pop_front().map(|(_, frame)| frame).ok_or(SourceError::Damaged("no frame can be played"))
    }

    fn read_frame(&mut self) -> Result<Frame, SourceError> {
        let mut rewinds = 0;
        loop {
            let Some(frame) = self.source.next_frame()? else {
                rewinds += 1;
                if rewinds > 1 {
                    return Err(SourceError::Damaged("no frame can be played"));
                }
                self.source.rewind()?;
                self.turn += 1;
                continue;
            };
            let period_us = i128::from(self.period) * i128::from(self.turn);
            let lead_scale = i128::from(self.tracks[self.lead].timescale);
            let Some(track) = self.tracks.iter_mut().find(|track| track.id == frame.track) else {
                continue;
            };
            let scale = i128::from(track.timescale);
            // Exact for the lead; within a tick for others.
            let offset = |turns: i128| ((turns * scale + lead_scale / 2) / lead_scale) as i64;
            let begin = offset(period_us) + track.shift;
            let end = offset(period_us + i128::from(self.period)) + track.shift;
            if let Some(frame) = track.place(frame, begin, end) {
                return Ok(frame);
            }
        }
    }
}

impl LoopTrack {
    /// Moves a frame to its place in a turn that lasts from `begin` to `end`; `None`: it is left out.
    fn place(&mut self, mut frame: Frame, begin: i64, end: i64) -> Option<Frame> {
        frame.pts -= self.start;
        frame.dts -= self.start;
        if !self.audio {
            frame.pts += begin;
            frame.dts += begin;
            // Reordered frames may decode before the turn before has been shown; decode times must still ascend.
            if let Some(last) = self.last_dts.filter(|last| frame.dts <= *last) {
                frame.dts = (last + 1).min(frame.pts);
            }
            self.last_dts = Some(frame.dts);
            return Some(frame);
        }
        // Priming, or sound before the first picture: a loop must not play it over the end of the turn before.
        let half = i64::from(frame.duration / 2);
        if frame.pts + half < 0 {
            return None;
        }
        let own = frame.pts + begin;
        // A hole in the file's sound stays one; anything less is the loop's own rounding.
        let joins = |next: &i64| (own - next).abs() <= i64::from(frame.duration);
        let pts = self.next_pts.filter(joins).unwrap_or(own);
        if pts + half >= end {
            return None;
        }
        self.next_pts = Some(pts + i64::from(frame.duration));
        frame.pts = pts;
        frame.dts = pts;
        Some(frame)
    }
}
