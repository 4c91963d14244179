//! The newest segments of a stream, and the media playlist that lists them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::{Cut, HOLD_BACK, Init, PART_HOLD_BACK, PART_US, SLOT_MS, TARGET_S, Variant, part_name, segment_name};

/// A playlist lists at least so much, in microseconds: segments go only while three target durations remain (RFC 8216,
/// section 6.2.2), and one more is for players that were held up.
const LISTED_US: i64 = 4 * TARGET_US;
/// Segments are held for the length of a playlist after they were last listed (RFC 8216, section 6.2.2), microseconds.
const HELD_US: i64 = 2 * LISTED_US + TARGET_US;
/// The parts of a segment are listed until this long after its end, in microseconds; the draft wants them gone after three target
/// durations at the latest (bis, section 6.2.2). Tuned: more than players hold back, and short since hls.js 1.7, having changed
/// the pathway within a segment, waits until the parts that it had from elsewhere are listed no more.
const PARTS_US: i64 = 1_500_000;
const TARGET_US: i64 = TARGET_S as i64 * 1_000_000;
/// Most bytes held of one stream. Tuned: all that is to be held, at 14 Mbit/s; at more the oldest segments go sooner.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Least segments held, however large they are: a player needs as many to begin with (RFC 8216, section 6.3.3).
const SEGMENTS_MIN: usize = 3;
/// Most segments held, however short they are.
const SEGMENTS_MAX: usize = 64;
/// A longer gap than this many segments is not listed: what follows it begins a new playlist.
const GAPS_MAX: u64 = 4;
/// The Advance Part Limit (bis, section 6.2.5.2): parts of three seconds.
const ADVANCE_PARTS: usize = 3_000_000_usize.div_ceil(PART_US as usize);
/// How far ahead a segment may be asked for (bis, section 6.2.5.2).
const ADVANCE_SEGMENTS: u64 = 2;

/// Broadcasts are told apart by the second in which they began, modulo this. hls.js takes time in proportion to the number.
const BROADCASTS: u64 = 4_096;

/// The newest segments.
#[derive(Debug, Default)]
pub struct Window {
    segments: VecDeque<Segment>,
    /// Segments that are held and listed no more.
    unlisted: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    unix_ms: u64,
    init: Arc<Init>,
    parts: Vec<Part>,
    duration_us: i64,
    /// Its timestamps or its codecs are not those of the segment before.
    anew: bool,
    /// No more parts.
    done: bool,
    /// It has no media.
    gap: bool,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    duration_us: i64,
    independent: bool,
}

/// A request for what is not to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Further ahead than a player may ask (bis, section 6.2.5.2).
    #[error("segment {0} is too far ahead; the newest one is {1}")]
    Ahead(u64, u64),
}

impl Window {
    /// Takes what a [`super::Cutter`] gave.
    pub fn apply(&mut self, cut: Cut) {
        match cut {
            Cut::Begin { number, unix_ms, init } => {
                let differs = |last: &Segment| last.init.name != init.name || last.init.timeline != init.timeline;
                let anew = self.segments.back().is_some_and(differs);
                self.push(Segment { anew, ..Segment::new(number, unix_ms, init) });
            }
            Cut::Part { bytes, duration_us, independent } => {
                let Some(open) = self.segments.back_mut().filter(|last| !last.done) else { return };
                self.bytes += bytes.len();
                open.duration_us += duration_us;
                open.parts.push(Part { bytes, duration_us, independent });
            }
            Cut::End => {
                self.segments.back_mut().into_iter().for_each(|last| last.done = true);
                self.evict();
            }
            Cut::Gap { from, to } if to - from > GAPS_MAX => *self = Self::default(),
            Cut::Gap { from, to } => {
                let Some(init) = self.segments.back().map(|last| last.init.clone()) else { return };
                for number in from..to {
                    let missing = Segment::new(number, number * SLOT_MS, init.clone());
                    self.push(Segment { done: true, gap: true, duration_us: SLOT_MS as i64 * 1_000, ..missing });
                }
            }
        }
    }

    fn push(&mut self, segment: Segment) {
        self.segments.push_back(segment);
        self.evict();
    }

    fn evict(&mut self) {
        while self.segments.len() > self.unlisted + SEGMENTS_MIN && self.media_us(self.unlisted + 1) >= LISTED_US {
            self.unlisted += 1;
        }
        while self.segments.len() > SEGMENTS_MIN {
            let old = self.unlisted > 0 && self.media_us(0) > HELD_US;
            if !old && self.bytes <= BYTES_MAX && self.segments.len() <= SEGMENTS_MAX {
                return;
            }
            let Some(gone) = self.segments.pop_front() else { return };
            self.bytes -= gone.len();
            self.unlisted = self.unlisted.saturating_sub(1);
        }
    }

    /// Length of the whole segments held, without the first so many, microseconds.
    fn media_us(&self, skipped: usize) -> i64 {
        let whole = self.segments.iter().skip(skipped).filter(|segment| segment.done && !segment.gap);
        whole.map(|segment| segment.duration_us).sum()
    }

    fn listed(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().skip(self.unlisted)
    }

    fn get(&self, number: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(number.checked_sub(self.segments.front()?.number)?).ok()?)
    }

    /// Whether there is a whole segment to begin with: a playlist without one is of no use.
    pub fn is_ready(&self) -> bool {
        self.listed().any(|segment| segment.done && !segment.gap)
    }

    /// Unix time at which the newest part ends, milliseconds.
    pub fn reached_ms(&self) -> Option<u64> {
        let last = self.segments.back()?;
        Some(last.unix_ms.saturating_add_signed(last.duration_us / 1_000))
    }

    /// The part that comes next: segment and index (EXT-X-PRELOAD-HINT).
    fn next_part(&self) -> Option<(u64, usize)> {
        let last = self.segments.back()?;
        Some(if last.done { (last.number + 1, 0) } else { (last.number, last.parts.len()) })
    }

    /// Whether the playlist holds what a player waits for (bis, section 6.2.5.2): a segment, or a part of it.
    pub fn has(&self, number: u64, part: Option<usize>) -> Result<bool, Refused> {
        let Some((open, parts)) = self.next_part() else { return Ok(false) };
        let whole = self.segments.iter().rev().find(|segment| segment.done).map_or(open, |segment| segment.number);
        if number > whole + ADVANCE_SEGMENTS
            || number >= open && part.is_some_and(|part| part >= ADVANCE_PARTS + if number == open { parts } else { 0 })
        {
            return Err(Refused::Ahead(number, whole));
        }
        // A part beyond the last one of a segment is the first one of the next.
        let beyond = |part| self.get(number).is_some_and(|segment| segment.done && part >= segment.parts.len());
        let (number, part) = match part {
            Some(part) if number < open && beyond(part) => (number + 1, Some(0)),
            part => (number, part),
        };
        Ok(number < open || number == open && part.is_some_and(|part| part < parts))
    }

    /// A whole segment: its parts, back to back.
    pub fn segment(&self, number: u64) -> Option<Vec<Bytes>> {
        let segment = self.get(number).filter(|segment| segment.done && !segment.gap)?;
        Some(segment.parts.iter().map(|part| part.bytes.clone()).collect())
    }

    /// A part.
    pub fn part(&self, number: u64, part: usize) -> Option<Bytes> {
        Some(self.get(number)?.parts.get(part)?.bytes.clone())
    }

    /// Whether a part is the one that is hinted at: it will come, or another one in its place.
    pub fn is_hinted(&self, number: u64, part: usize) -> bool {
        self.next_part() == Some((number, part))
    }

    /// An initialisation segment.
    pub fn init(&self, name: &str) -> Option<Bytes> {
        let of_name = |segment: &&Segment| segment.init.name == name;
        self.segments.iter().rev().find(of_name).map(|segment| segment.init.segment.clone())
    }

    /// What the stream is; `None` before there is a whole segment.
    pub fn variant(&self) -> Option<Variant> {
        let whole = || self.segments.iter().filter(|segment| segment.done && segment.duration_us > 0 && !segment.gap);
        let rate = |bytes: usize, us: i64| (bytes as u64 * 8_000_000).div_ceil(us.max(1) as u64);
        let init = &whole().next_back()?.init;
        Some(Variant {
            bandwidth_bps: whole().map(|segment| rate(segment.len(), segment.duration_us)).max()?,
            average_bps: rate(whole().map(Segment::len).sum(), whole().map(|segment| segment.duration_us).sum()),
            codecs: init.codecs.clone(),
            resolution: init.resolution,
        })
    }

    /// The media playlist.
    pub fn playlist(&self) -> String {
        let mut out = String::with_capacity(8 * 1024);
        // Version 8 is that of EXT-X-GAP (bis, section 8).
        let _ = write!(
            out,
            "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:{TARGET_S}\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={:.1},PART-HOLD-BACK={:.3}\n\
             #EXT-X-PART-INF:PART-TARGET={:.3}\n",
            (HOLD_BACK * TARGET_S) as f64,
            seconds(PART_HOLD_BACK * PART_US),
            seconds(PART_US),
        );
        if let Some(first) = self.listed().next() {
            // Another broadcast has another number, at every PoP, so that no player takes its times for those of before.
            let broadcast = first.init.timeline / 1_000_000 % BROADCASTS;
            let _ = write!(out, "#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{broadcast}\n", first.number);
        }
        let mut left_us: i64 = self.listed().map(|segment| segment.duration_us).sum();
        let mut map = None;
        for segment in self.listed() {
            if segment.anew && map.is_some() {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let init = &segment.init.name;
            if map.replace(init) != Some(init) || segment.anew {
                let _ = writeln!(out, "#EXT-X-MAP:URI=\"{init}\"");
            }
            let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(segment.unix_ms));
            left_us -= segment.duration_us;
            segment.list(left_us <= PARTS_US, &mut out);
        }
        if let Some((number, part)) = self.next_part() {
            let _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", part_name(number, part));
        }
        out
    }
}

impl Segment {
    fn new(number: u64, unix_ms: u64, init: Arc<Init>) -> Self {
        Self { number, unix_ms, init, parts: Vec::new(), duration_us: 0, anew: false, done: false, gap: false }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    fn list(&self, with_parts: bool, out: &mut String) {
        for (index, part) in self.parts.iter().enumerate().filter(|_| with_parts) {
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            let (duration, name) = (seconds(part.duration_us), part_name(self.number, index));
            let _ = writeln!(out, "#EXT-X-PART:DURATION={duration:.5},URI=\"{name}\"{independent}");
        }
        if self.done {
            let gap = if self.gap { "#EXT-X-GAP\n" } else { "" };
            let _ = writeln!(out, "{gap}#EXTINF:{:.5},\n{}", seconds(self.duration_us), segment_name(self.number));
        }
    }
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// Unix time as ISO 8601 has it. The calendar counts years from March, so that the day that a leap year has more is the last.
fn date_time(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_time(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(date_time(951_868_799_999), "2000-02-29T23:59:59.999Z");
        assert_eq!(date_time(1_735_689_599_000), "2024-12-31T23:59:59.000Z");
        assert_eq!(date_time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
