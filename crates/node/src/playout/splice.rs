//! Timestamps that go on over a change of timeline: each timeline is shifted so that it begins where the last one ended.
//!
//! For players that stay with one node. The shift depends on what this node has played, so it is not for those that move.

use levada_media::Frame;

const NS: i128 = 1_000_000_000;

/// Shifts the frames of one timeline after another, in playing order.
#[derive(Debug, Default)]
pub(super) struct Splice {
    /// Nanoseconds that are added to all times of this timeline.
    shift_ns: i128,
    /// Where the last frame ends, decoding and presentation; the latest of all tracks.
    end_ns: Option<(i128, i128)>,
    changed: bool,
}

impl Splice {
    /// The next frame is of another timeline.
    pub(super) fn change(&mut self) {
        self.changed = self.end_ns.is_some();
    }

    /// Puts a frame into its place. `timescale` is that of its track.
    pub(super) fn place(&mut self, frame: &mut Frame, timescale: u32) {
        let scale = i128::from(timescale.max(1));
        let ns = |ticks: i64| i128::from(ticks) * NS / scale;
        if let Some((decoded, shown)) = self.end_ns.filter(|_| std::mem::take(&mut self.changed)) {
            // Groups begin with their earliest frame. The shift is the same for all tracks, so they stay in step.
            self.shift_ns = (decoded - ns(frame.dts)).max(shown - ns(frame.pts));
        }
        let shift = (self.shift_ns * scale + NS / 2).div_euclid(NS) as i64;
        frame.dts = frame.dts.saturating_add(shift);
        frame.pts = frame.pts.saturating_add(shift);
        let end =
            (ns(frame.dts.saturating_add(frame.duration.into())), ns(frame.pts.saturating_add(frame.duration.into())));
        self.end_ns = Some(self.end_ns.map_or(end, |before| (before.0.max(end.0), before.1.max(end.1))));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(track: u8, dts: i64, pts: i64, duration: u32) -> Frame {
        Frame { track, pts, dts, duration, keyframe: true, discardable: false, data: Bytes::new() }
    }

    #[test]
    fn another_timeline_begins_where_the_last_one_ended_on_all_tracks() {
        let mut splice = Splice::default();
        let place = |splice: &mut Splice, mut frame: Frame, scale| {
            splice.place(&mut frame, scale);
            (frame.dts, frame.pts)
        };
        assert_eq!(place(&mut splice, frame(0, 90_000, 93_600, 3_600), 90_000), (90_000, 93_600));
        assert_eq!(place(&mut splice, frame(1, 48_000, 48_000, 1_024), 48_000), (48_000, 48_000));
        splice.change();
        // Decoded first where the last picture's decoding ends, 93,600, and so shown no earlier than where its showing does.
        assert_eq!(place(&mut splice, frame(0, 500, 7_700, 3_600), 90_000), (93_600, 100_800));
        // Sound is shifted by as much, 93,100 ticks of 90 kHz.
        assert_eq!(place(&mut splice, frame(1, 315, 315, 1_024), 48_000), (49_968, 49_968));
    }

    #[test]
    fn a_change_before_the_first_frame_shifts_nothing() {
        let mut splice = Splice::default();
        splice.change();
        let mut first = frame(0, 5, 5, 1);
        splice.place(&mut first, 1_000);
        assert_eq!(first.dts, 5);
    }
}
