//! How often the frames of a video come, from its file: only who knows that can say what a viewer should have got.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use levada_media::source::{self, Source, SourceError};

/// Ticks of the clock of MPEG-TS in a second (ISO/IEC 13818-1, section 2.4.3.7).
const TICKS_PER_S: f64 = 90_000.0;
/// Frames of both tracks that are looked at: at 50 pictures a second, twenty seconds.
const FRAMES_LOOKED_AT: usize = 2_000;
/// Distances that differ by less than this share count as one: 30 pictures a second are 33 and 34 ms apart where a file
/// counts milliseconds.
const SAME: f64 = 0.1;
/// So many distances must be the same. The others may be a cut, or the end of the sound.
const EVEN: f64 = 0.9;

/// Why a video is of no use to a lab.
#[derive(Debug, thiserror::Error)]
pub enum CadenceError {
    /// Its file.
    #[error("the source {0} cannot be used")]
    Source(PathBuf, #[source] SourceError),
    /// Nobody could say what a viewer misses.
    #[error(
        "the pictures of {0} come at uneven times, so lost ones cannot be counted; convert it: ffmpeg -i FILE -r 25 OUT.mp4"
    )]
    Uneven(PathBuf),
}

/// Ticks of 1/90,000 s between two frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    pub(crate) video: f64,
    pub(crate) audio: f64,
}

/// That of the built-in test card: 25 pictures a second, and 1,024 samples of 48,000.
impl Default for Cadence {
    fn default() -> Self {
        Self { video: 3_600.0, audio: 1_920.0 }
    }
}

impl Cadence {
    /// That of a file; where it has no such track, the usual one.
    pub fn of(path: &Path) -> Result<Self, CadenceError> {
        let unusable = |error: SourceError| CadenceError::Source(path.to_owned(), error);
        let file = File::open(path).map_err(|error| unusable(error.into()))?;
        let [video, audio] = distances(source::open(file).map_err(unusable)?).map_err(unusable)?;
        let uneven = || CadenceError::Uneven(path.to_owned());
        let usual = Self::default();
        Ok(Self {
            video: if video.is_empty() { usual.video } else { even(&video).ok_or_else(uneven)? },
            audio: even(&audio).unwrap_or(usual.audio),
        })
    }

    /// Milliseconds from picture to picture.
    pub(crate) fn picture_ms(&self) -> f64 {
        self.video * 1e3 / TICKS_PER_S
    }
}

/// Ticks from each frame to the next, of video and of audio.
fn distances(mut source: Box<dyn Source + Send>) -> Result<[Vec<f64>; 2], SourceError> {
    let tracks = source.catalog().tracks.clone();
    let (mut found, mut before) = ([Vec::new(), Vec::new()], BTreeMap::new());
    for _ in 0..FRAMES_LOOKED_AT {
        let Some(frame) = source.next_frame()? else { break };
        let Some(track) = tracks.iter().find(|track| track.id == frame.track) else { continue };
        if let Some(before) = before.insert(frame.track, frame.dts) {
            let ticks = (frame.dts - before) as f64 * TICKS_PER_S / f64::from(track.timescale);
            found[usize::from(!track.codec.is_video())].push(ticks);
        }
    }
    Ok(found)
}

/// The distance that all have, but for a few; `None` where there is none.
fn even(distances: &[f64]) -> Option<f64> {
    let mut sorted = distances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied()?;
    let same: Vec<f64> = sorted.into_iter().filter(|one| (one - median).abs() <= SAME * median).collect();
    let is_even = median > 0.0 && same.len() as f64 >= EVEN * distances.len() as f64;
    is_even.then(|| same.iter().sum::<f64>() / same.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_that_are_rounded_are_even_and_those_of_a_telephone_are_not() {
        let of_milliseconds: Vec<f64> = (0..300).map(|n| if n % 3 == 0 { 3_060.0 } else { 2_970.0 }).collect();
        assert_eq!(even(&of_milliseconds), Some(3_000.0));
        let with_a_cut = [vec![1_800.0; 50], vec![9_000.0]].concat();
        assert_eq!(even(&with_a_cut), Some(1_800.0));
        let of_a_telephone: Vec<f64> = (0..300).map(|n| 3_000.0 + 40.0 * f64::from(n % 100)).collect();
        assert_eq!(even(&of_a_telephone), None);
        assert_eq!(even(&[]), None);
    }
}
