use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::catalog::{Catalog, Codec, Kind, Track};
use crate::frame::Frame;

const START_MS: u64 = 1_700_000_000_000 / SLOT_MS * SLOT_MS;
const TIMELINE: u64 = 1_700_000_000_000_000;

fn catalog() -> Catalog {
    // Baseline, 3.0; one parameter set of each kind, too short to be decoded.
    let avcc = [&[1, 66, 0, 30, 0xff, 0xe1, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 1][..]].concat();
    let video = Kind::Video { width: 320, height: 180 };
    let audio = Kind::Audio { sample_rate: 48_000, channels: 2 };
    let track = |id, codec, timescale, config: &[u8], kind| Track {
        id,
        codec,
        timescale,
        config: Bytes::copy_from_slice(config),
        kind,
        language: None,
    };
    let tracks = vec![track(0, Codec::H264, 90_000, &avcc, video), track(1, Codec::Aac, 48_000, &[0x11, 0x90], audio)];
    Catalog { tracks }
}

/// A group: its stamp, and its frames.
#[derive(Clone, Debug)]
struct Group {
    timeline: u64,
    stamp: u64,
    previous: Option<u64>,
    frames: Vec<Frame>,
}

/// Groups of so many pictures, with sound, of `rate` pictures a second. Stamps are late by so much, milliseconds.
fn groups(rate: u32, lengths: &[(u32, u64)]) -> Vec<Group> {
    let (mut picture, mut sound, mut previous) = (0, 0, None);
    let step = 90_000 / rate;
    let group = |(pictures, late_ms): &(u32, u64)| {
        let mut frames = Vec::new();
        let dts = |picture: u32| i64::from(picture) * i64::from(step);
        let stamp =
            (START_MS + dts(picture) as u64 / 90 + late_ms).max(previous.map_or(0, |previous: u64| previous + 1));
        for first in 0..*pictures {
            let frame = |track, dts, duration, keyframe, payload: String| Frame {
                track,
                pts: dts,
                dts,
                duration,
                keyframe,
                discardable: false,
                data: payload.into(),
            };
            frames.push(frame(0, dts(picture), step, first == 0, format!("picture {picture}")));
            picture += 1;
            while i64::from(sound) * 1_024 * 90 / 48 < dts(picture) {
                frames.push(frame(1, i64::from(sound) * 1_024, 1_024, true, format!("sound {sound}")));
                sound += 1;
            }
        }
        Group { timeline: TIMELINE, stamp, previous: previous.replace(stamp), frames }
    };
    lengths.iter().map(group).collect()
}

/// Ends the last group after so many pictures.
fn keep_pictures(groups: &mut [Group], count: usize) {
    let Some(last) = groups.last_mut() else { return };
    let mut left = count;
    last.frames.retain(|frame| {
        let kept = left > 0;
        left -= usize::from(kept && frame.track == 0);
        kept
    });
}

fn cut(groups: &[Group]) -> Vec<Cut> {
    let mut cutter = Cutter::default();
    for group in groups {
        cutter.group(group.timeline, group.stamp, group.previous, &catalog()).unwrap();
        group.frames.iter().for_each(|frame| cutter.frame(frame.clone()));
    }
    cutter.cuts().collect()
}

fn window(cuts: &[Cut]) -> Window {
    let mut window = Window::default();
    cuts.iter().for_each(|cut| window.apply(cut.clone()));
    window
}

/// The whole segments, by number: when they begin, and their parts.
fn segments(cuts: &[Cut]) -> BTreeMap<u64, (u64, Vec<Cut>)> {
    let (mut all, mut open) = (BTreeMap::new(), None);
    for cut in cuts {
        match cut {
            Cut::Begin { number, unix_ms, .. } => open = Some((*number, (*unix_ms, Vec::new()))),
            Cut::Part { .. } => open.as_mut().unwrap().1.1.push(cut.clone()),
            Cut::End => all.extend(open.take()),
            Cut::Gap { .. } => {}
        }
    }
    all
}

fn numbers(cuts: &[Cut]) -> Vec<u64> {
    segments(cuts).keys().map(|number| number - START_MS / SLOT_MS).collect()
}

fn durations_ms(cuts: &[Cut]) -> Vec<i64> {
    let of_part = |cut: &Cut| if let Cut::Part { duration_us, .. } = cut { *duration_us } else { 0 };
    segments(cuts).values().map(|(_, parts)| parts.iter().map(of_part).sum::<i64>() / 1_000).collect()
}

#[test]
fn a_segment_takes_in_the_groups_that_begin_in_its_slot() {
    let cuts = cut(&groups(25, &[(25, 0); 13]));
    // The first slot is passed over: a segment may have begun in it before.
    assert_eq!(numbers(&cuts), [1, 2, 3, 4]);
    assert_eq!(durations_ms(&cuts), [2_000, 2_000, 2_000, 2_000]);
    // Keyframes every two seconds: each segment begins with one.
    assert_eq!(durations_ms(&cut(&groups(25, &[(50, 0); 8]))), [2_000; 5]);
}

#[test]
fn a_long_group_is_cut_at_the_end_of_each_slot_that_it_covers() {
    let cuts = cut(&groups(25, &[(300, 0), (300, 0)]));
    let begins: Vec<u64> = segments(&cuts).values().map(|(unix_ms, _)| unix_ms - START_MS).collect();
    // Slot 1 has passed without a group at 4,200 ms. The second group begins at 12,000 ms, in slot 5.
    assert_eq!(begins, [4_200, 6_320, 8_400, 10_520, 12_000, 14_720, 16_800, 18_920, 21_000][..begins.len()]);
    assert_eq!(numbers(&cuts)[..5], [1, 2, 3, 4, 5]);
}

#[test]
fn a_slot_that_passed_unseen_has_the_first_part_of_the_next_group() {
    // The second group begins exactly where slot 2 does: slot 1 had no group and no frame after its end.
    let cuts = cut(&groups(25, &[(1, 0), (104, 0), (60, 0), (60, 0), (60, 0)]));
    assert_eq!(numbers(&cuts), [1, 2, 3]);
    assert_eq!(durations_ms(&cuts)[0], 200);
}

#[test]
fn parts_are_as_long_as_whole_frames_allow() {
    for (rate, parts) in [(25, 5), (30, 6), (50, 10), (24, 5), (10, 2)] {
        let cuts = cut(&groups(rate, &[(2 * rate, 0); 6]));
        for (_, parts_of_segment) in segments(&cuts).values() {
            let Cut::Part { duration_us, independent, bytes } = &parts_of_segment[0] else { panic!() };
            assert_eq!(*duration_us, i64::from(parts) * 1_000_000 / i64::from(rate));
            assert!(*independent && bytes[4..8] == *b"moof");
        }
    }
}

#[test]
fn a_pause_leaves_a_gap_and_the_next_slot_is_begun_with() {
    let mut all = groups(25, &[(50, 0); 12]);
    // Nobody publishes for nine seconds.
    all[6..].iter_mut().for_each(|group| group.stamp += 9_000);
    all[6..].iter_mut().for_each(|group| group.previous = group.previous.map(|previous| previous + 9_000));
    all[6].previous = Some(all[5].stamp);
    let cuts = cut(&all);
    let gaps: Vec<&Cut> = cuts.iter().filter(|cut| matches!(cut, Cut::Gap { .. })).collect();
    let base = START_MS / SLOT_MS;
    // All is known of the gap, so that the segment before the next slot's is not lost.
    assert_eq!(gaps, [&Cut::Gap { from: base + 5, to: base + 9 }], "{:?}", numbers(&cuts));
    assert_eq!(numbers(&cuts), [1, 2, 3, 4, 9, 10, 11, 12, 13]);
    let text = window(&cuts).playlist();
    assert_eq!(text.matches("#EXT-X-GAP\n#EXTINF:2.10000,").count(), 4, "{text}");
    assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
}

#[test]
fn another_timeline_begins_with_the_next_slot_and_is_marked() {
    let mut all = groups(25, &[(50, 0); 12]);
    for group in &mut all[6..] {
        group.timeline = TIMELINE + 5_000_000;
    }
    all[6].previous = None;
    let cuts = cut(&all);
    // The group at 12 s, in slot 5, is passed over.
    assert_eq!(numbers(&cuts), [1, 2, 3, 4, 6, 7, 8, 9]);
    let text = window(&cuts).playlist();
    let marks: Vec<&str> = text.lines().skip_while(|line| *line != "#EXT-X-DISCONTINUITY").take(2).collect();
    assert_eq!(marks.len(), 2, "{text}");
    assert!(marks[1].starts_with("#EXT-X-MAP:URI=\"init-"), "{text}");
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:256\n"), "{text}");
}

#[test]
fn a_playlist_says_what_the_draft_asks_for() {
    let mut all = groups(25, &[(50, 0); 30]);
    keep_pictures(&mut all, 16);
    let window = window(&cut(&all));
    let text = window.playlist();
    let first =
        text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse::<u64>().unwrap();
    let (header, rest) = text.split_at(text.find("#EXT-X-MAP").unwrap());
    let expected = format!(
        "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:4\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=12.0,PART-HOLD-BACK=0.630\n\
         #EXT-X-PART-INF:PART-TARGET=0.210\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:256\n"
    );
    assert_eq!(header, expected);
    let listed: Vec<String> = (first..).map(segment_name).take(rest.matches("#EXTINF:").count()).collect();
    let uris: Vec<&str> = rest.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(uris, listed);
    // At least three target durations remain, and parts of the last one and of the one that is open are listed.
    assert!(rest.matches("#EXTINF:2.00000,").count() >= 6 && rest.matches("#EXTINF").count() <= 10, "{rest}");
    assert!(rest.matches("#EXT-X-PART:").count() == 13, "{rest}");
    assert_eq!(rest.matches("#EXT-X-PROGRAM-DATE-TIME:2023-11-14T").count(), listed.len() + 1);
    let open = first + listed.len() as u64;
    assert!(text.ends_with(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{open}.3.m4s\"\n")), "{text}");
    assert!(text.contains(&format!("#EXT-X-PART:DURATION=0.20000,URI=\"{open}.0.m4s\",INDEPENDENT=YES\n")), "{text}");
    assert!(text.contains(&format!("#EXT-X-PART:DURATION=0.20000,URI=\"{open}.1.m4s\"\n")), "{text}");
    let parts = window.segment(open - 1).unwrap();
    assert_eq!((parts.len(), window.segment(open)), (10, None));
    assert_eq!(parts[9], window.part(open - 1, 9).unwrap());
    assert!(window.is_hinted(open, 3) && !window.is_hinted(open, 4) && !window.is_hinted(open + 1, 0));
    // What is listed no more is held for a while.
    assert!(window.segment(first - 1).is_some() && window.segment(first - 30).is_none());
    let name = text.split("MAP:URI=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(&window.init(name).unwrap()[4..8], b"ftyp");
}

#[test]
fn what_a_player_waits_for() {
    let mut all = groups(25, &[(50, 0); 8]);
    keep_pictures(&mut all, 16);
    let window = window(&cut(&all));
    let open = START_MS / SLOT_MS + 6;
    assert!(window.is_hinted(open, 3));
    let has = |number, part| window.has(number, part);
    assert_eq!(has(open - 1, None), Ok(true));
    assert_eq!(has(open, None), Ok(false), "a segment that is not whole");
    assert_eq!((has(open, Some(2)), has(open, Some(3))), (Ok(true), Ok(false)));
    assert_eq!(has(open - 1, Some(9)), Ok(true));
    assert_eq!(has(open - 1, Some(10)), Ok(true), "the next segment's first part");
    assert_eq!(has(open + 1, Some(0)), Ok(false));
    assert_eq!(has(open + 2, None), Err(Refused::Ahead(open + 2, open - 1)));
    // Three seconds have fifteen parts.
    assert_eq!(has(open, Some(17)), Ok(false));
    assert_eq!(has(open, Some(18)), Err(Refused::Ahead(open, open - 1)));
    assert_eq!(has(0, None), Ok(true), "a playlist is given even if what was asked for is gone");
}

#[test]
fn a_window_is_bounded() {
    let all = groups(10, &vec![(1, 0); 3_000]);
    let window = window(&cut(&all));
    let held = (0..200).filter(|slot| window.segment(START_MS / SLOT_MS + slot).is_some()).count();
    assert!((10..=20).contains(&held), "{held}");
    assert!(window.playlist().len() < 8 * 1_024);
}

#[test]
fn a_variant_tells_rate_codecs_and_size() {
    let window = window(&cut(&groups(25, &[(50, 0); 8])));
    let variant = window.variant().unwrap();
    assert_eq!((variant.codecs.as_str(), variant.resolution), ("avc1.42001e,mp4a.40.2", Some((320, 180))));
    assert!(variant.bandwidth_bps >= variant.average_bps && variant.average_bps > 1_000);
}

#[test]
fn a_multivariant_playlist_tells_what_the_stream_is_and_who_steers() {
    let variant = Variant {
        bandwidth_bps: 900_000,
        average_bps: 800_000,
        codecs: "avc1.42001e,mp4a.40.2".to_owned(),
        resolution: Some((320, 180)),
    };
    let text = multivariant(&variant, "p1", 7, true);
    let expected = "#EXTM3U\n#EXT-X-VERSION:8\n\
                    #EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json?viewer=7\",PATHWAY-ID=\"p1\"\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=800000,CODECS=\"avc1.42001e,mp4a.40.2\",\
                    RESOLUTION=320x180,STABLE-VARIANT-ID=\"live\",PATHWAY-ID=\"p1\"\nmedia.m3u8?viewer=7\n";
    assert_eq!(text, expected);
    assert!(!multivariant(&variant, "p1", 7, false).contains("STEERING"));
}

#[test]
fn a_steering_manifest_tells_of_all_pops() {
    let pathway = |id: &str, base: &str| Pathway { id: id.to_owned(), base: base.to_owned() };
    let own = pathway("p1", "http://10.0.0.1:8080");
    let other = pathway("p2", "http://10.0.0.2:8080/");
    let manifest: serde_json::Value = serde_json::from_str(&steering("cam", "p1", Some(7), &[other, own])).unwrap();
    assert_eq!(manifest["VERSION"], 1);
    assert!(manifest["TTL"].as_u64().unwrap() <= 10);
    assert_eq!(manifest["RELOAD-URI"], "http://10.0.0.1:8080/hls/cam/steering.json?viewer=7");
    assert_eq!(manifest["PATHWAY-PRIORITY"], serde_json::json!(["p2", "p1"]));
    let clone = serde_json::json!({
        "BASE-ID": "p1",
        "ID": "p2",
        "URI-REPLACEMENT": {"PER-VARIANT-URIS": {"live": "http://10.0.0.2:8080/hls/cam/media.m3u8?viewer=7"}},
    });
    assert_eq!(manifest["PATHWAY-CLONES"], serde_json::json!([clone]));
    let alone: serde_json::Value = serde_json::from_str(&steering("cam", "p1", None, &[pathway("p1", "")])).unwrap();
    assert_eq!((&alone["RELOAD-URI"], &alone["PATHWAY-CLONES"]), (&"steering.json".into(), &serde_json::json!([])));
}

#[test]
fn addresses_that_would_break_a_playlist_are_left_out() {
    for base in ["http://a:1", "https://cdn.example/x/"] {
        assert!(Pathway { id: "p".to_owned(), base: base.to_owned() }.is_usable(), "{base}");
    }
    for base in [
        "",
        "ftp://a",
        "javascript:alert(1)",
        "http://a\nhttp://b",
        "http://a\"",
        "http://a b",
        "http://a?x",
        "http://ä",
    ] {
        assert!(!Pathway { id: "p".to_owned(), base: base.to_owned() }.is_usable(), "{base}");
    }
}

fn any_groups() -> impl Strategy<Value = Vec<Group>> {
    let length = prop_oneof![4 => 1_u32..60, 2 => 40..60_u32, 1 => 60_u32..250];
    let late = prop_oneof![3 => 0_u64..10, 1 => 0_u64..1_500];
    (prop::sample::select(vec![10, 24, 25, 30, 50]), prop::collection::vec((length, late), 3..40))
        .prop_map(|(rate, lengths)| groups(rate, &lengths))
}

proptest! {
    /// Whoever joins later cuts the same segments, byte for byte, from the slot after the one it came into.
    #[test]
    fn all_pops_cut_alike(all in any_groups(), joined in 0_usize..40) {
        let joined = joined % all.len();
        let (whole, late) = (segments(&cut(&all)), segments(&cut(&all[joined..])));
        for (number, segment) in &late {
            prop_assert_eq!(whole.get(number), Some(segment), "segment {}, joined at {}", number, all[joined].stamp);
        }
        let owed = whole.keys().filter(|number| **number > all[joined].stamp / SLOT_MS);
        prop_assert!(owed.eq(late.keys()));
    }

    /// Whoever lost a group makes the rest as the others do.
    #[test]
    fn a_loss_is_told_as_a_gap(all in any_groups(), lost in 1_usize..40) {
        let lost = lost % (all.len() - 1) + 1;
        let mut rest = all.clone();
        rest.remove(lost);
        let (whole, cuts) = (segments(&cut(&all)), cut(&rest));
        let entered = rest.get(lost).map_or(u64::MAX, |group| group.stamp / SLOT_MS);
        let touched = all[lost].stamp.min(all[lost - 1].stamp) / SLOT_MS;
        for (number, segment) in segments(&cuts) {
            if number > entered || number < touched.saturating_sub(1) {
                prop_assert_eq!(whole.get(&number), Some(&segment), "segment {}", number);
            }
        }
    }

    /// Numbers follow one another, and what is missing is told; parts and segments are no longer than was promised.
    #[test]
    fn promises_are_kept(all in any_groups()) {
        let cuts = cut(&all);
        let mut next = None;
        let mut parts: Vec<(i64, bool)> = Vec::new();
        for cut in &cuts {
            match cut {
                Cut::Gap { from, to } => {
                    prop_assert!(next == Some(*from) && from < to);
                    next = Some(*to);
                }
                Cut::Begin { number, .. } => {
                    prop_assert!(next.is_none_or(|next| next == *number));
                    next = Some(number + 1);
                    parts.clear();
                }
                Cut::Part { duration_us, independent, .. } => {
                    prop_assert!(*duration_us <= PART_US);
                    parts.push((*duration_us, *independent));
                }
                Cut::End => {
                    let (_, before) = parts.split_last().unwrap();
                    for (duration_us, independent) in before {
                        // 24 pictures a second and all others that are tried here fit.
                        prop_assert!(*independent || *duration_us * 100 >= PART_US * 85, "{:?}", parts);
                    }
                }
            }
        }
    }

    /// With stamps that follow the media no segment is longer than the target.
    #[test]
    fn segments_are_no_longer_than_the_target(lengths in prop::collection::vec(1_u32..250, 3..40)) {
        let lengths: Vec<(u32, u64)> = lengths.into_iter().map(|pictures| (pictures, 0)).collect();
        for duration_ms in durations_ms(&cut(&groups(25, &lengths))) {
            prop_assert!((duration_ms + 500) / 1_000 <= TARGET_S as i64, "{} ms", duration_ms);
        }
    }
}
