//! Real clips, made by ffmpeg, through demuxer, loop and muxers, and what ffprobe and ffmpeg say of the result.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use levada_media::demux::ts::TsDemuxer;
use levada_media::mux::fmp4::Fmp4Muxer;
use levada_media::mux::ts::TsMuxer;
use levada_media::source::{self, Looped, Source, SourceError};
use levada_media::{Catalog, Codec, Frame};

use tool::tool;

const PICTURE: &str = "testsrc2=size=320x180:rate=25";
const SOUND: &str = "sine=frequency=440:sample_rate=48000";

/// Makes a clip of three seconds.
fn clip(dir: &Path, name: &str, picture: Option<&[&str]>, sound: Option<&[&str]>) -> PathBuf {
    let path = dir.join(name);
    let mut args = vec!["-v", "error", "-y"];
    if picture.is_some() {
        args.extend(["-f", "lavfi", "-i", PICTURE]);
    }
    if sound.is_some() {
        args.extend(["-f", "lavfi", "-i", SOUND]);
    }
    args.extend(["-t", "3"]);
    args.extend(picture.into_iter().flatten());
    args.extend(sound.into_iter().flatten());
    args.push(path.to_str().unwrap());
    tool("ffmpeg", &args);
    path
}

const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"];
const HEVC: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error:bframes=2:keyint=25",
    "-tag:v",
    "hvc1",
];
const AAC: &[&str] = &["-c:a", "aac"];
const OPUS: &[&str] = &["-c:a", "libopus"];

fn open(path: &Path) -> Box<dyn Source + Send> {
    source::open(File::open(path).unwrap()).unwrap()
}

fn all_frames(path: &Path) -> (Catalog, Vec<Frame>) {
    let mut source = open(path);
    let mut frames = Vec::new();
    while let Some(frame) = source.next_frame().unwrap() {
        frames.push(frame);
    }
    (source.catalog().clone(), frames)
}

/// (pts, dts, keyframe) in microseconds of each packet of a stream, as ffprobe sees them.
fn packets(path: &Path, select: &str) -> Vec<(i64, i64, bool)> {
    let entries = "packet=pts_time,dts_time,flags";
    let path = path.to_str().unwrap();
    let (out, _) =
        tool("ffprobe", &["-v", "error", "-select_streams", select, "-show_entries", entries, "-of", "csv=p=0", path]);
    let micros = |text: &str| (text.parse::<f64>().unwrap() * 1e6).round() as i64;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (micros(fields[0]), micros(fields[1]), fields[2].contains('K'))
    };
    out.lines().filter(|line| !line.is_empty()).map(line).collect()
}

/// The same of our own frames.
fn times(catalog: &Catalog, frames: &[Frame], track: u8) -> Vec<(i64, i64, bool)> {
    let scale = i64::from(catalog.tracks.iter().find(|t| t.id == track).unwrap().timescale);
    let micros = |ticks: i64| (ticks as f64 * 1e6 / scale as f64).round() as i64;
    frames.iter().filter(|f| f.track == track).map(|f| (micros(f.pts), micros(f.dts), f.keyframe)).collect()
}

fn assert_close(ours: &[(i64, i64, bool)], theirs: &[(i64, i64, bool)], tolerance_us: i64) {
    assert_eq!(ours.len(), theirs.len(), "number of packets");
    let (a, b) = (ours[0].0, theirs[0].0);
    for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let off = (ours.0 - a - theirs.0 + b).abs().max((ours.1 - a - theirs.1 + b).abs());
        assert!(off <= tolerance_us && ours.2 == theirs.2, "packet {n}: {ours:?} is not {theirs:?}");
    }
}

/// Decodes everything; ffmpeg says nothing if all is well.
fn assert_decodes(path: &Path) {
    let (_, complaints) =
        tool("ffmpeg", &["-v", "warning", "-xerror", "-i", path.to_str().unwrap(), "-f", "null", "-"]);
    assert_eq!(complaints, "", "{}", path.display());
}

fn mux(catalog: &Catalog, frames: &[Frame], dir: &Path) -> (PathBuf, PathBuf) {
    let (ts, mp4) = (dir.join("out.ts"), dir.join("out.mp4"));
    let mut muxer = TsMuxer::new(catalog).unwrap();
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| muxer.mux(frame, &mut out));
    std::fs::write(&ts, &out).unwrap();
    let muxer = Fmp4Muxer::new(catalog).unwrap();
    let mut out = BytesMut::from(&muxer.init_segment()[..]);
    frames.iter().zip(1..).for_each(|(frame, number)| muxer.fragment(frame, number, &mut out));
    std::fs::write(&mp4, &out).unwrap();
    (ts, mp4)
}

/// A clip through demuxer and both muxers, and three turns of the loop.
fn check(name: &str, picture: Option<&[&str]>, sound: Option<&[&str]>) {
    let dir = tempfile::tempdir().unwrap();
    let path = clip(dir.path(), name, picture, sound);
    let (catalog, frames) = all_frames(&path);
    assert_eq!(catalog.tracks.len(), usize::from(picture.is_some()) + usize::from(sound.is_some()));
    for (kind, present) in [("v:0", picture.is_some()), ("a:0", sound.is_some())] {
        if present {
            let video = |codec: Codec| codec.is_video() == (kind == "v:0");
            let track = catalog.tracks.iter().find(|track| video(track.codec)).unwrap().id;
            // A tick of the container's clock.
            assert_close(&times(&catalog, &frames, track), &packets(&path, kind), 25);
        }
    }

    let mut looped = Looped::new(open(&path)).unwrap();
    let turns: Vec<Frame> = (0..3 * frames.len()).map(|_| looped.next_frame().unwrap()).collect();
    let mut last = BTreeMap::new();
    let mut newest_s = 0.0;
    for frame in &turns {
        let decoded_s = frame.dts as f64 / f64::from(catalog.tracks[usize::from(frame.track)].timescale);
        assert!(decoded_s >= newest_s, "in the order of decoding, over the seam too: {decoded_s} after {newest_s}");
        newest_s = decoded_s;
        assert!(frame.dts >= 0 && frame.pts >= frame.dts, "{frame:?}");
        let before = last.insert(frame.track, frame.clone());
        if let Some(before) = before {
            assert!(frame.dts > before.dts, "decode times ascend: {} after {}", frame.dts, before.dts);
            if !catalog.tracks[usize::from(frame.track)].codec.is_video() {
                assert_eq!(frame.pts, before.pts + i64::from(before.duration), "sound has no gap");
            }
        }
    }
    let (ts, mp4) = mux(&catalog, &turns, dir.path());
    for out in [&ts, &mp4] {
        assert_decodes(out);
        for track in &catalog.tracks {
            let kind = if track.codec.is_video() { "v:0" } else { "a:0" };
            assert_close(&times(&catalog, &turns, track.id), &packets(out, kind), 25);
        }
    }
    // Our own demuxer reads what our muxer writes.
    let (again, frames_again) = all_frames(&ts);
    assert_eq!(frames_again.len(), turns.len());
    let bytes = |frames: &[Frame], track| -> Vec<_> {
        frames.iter().filter(|frame| frame.track == track).map(|frame| frame.data.clone()).collect()
    };
    for (ours, theirs) in catalog.tracks.iter().zip(&again.tracks) {
        assert_eq!((ours.codec, &ours.kind), (theirs.codec, &theirs.kind));
        for (n, (sent, read)) in bytes(&turns, ours.id).iter().zip(bytes(&frames_again, theirs.id)).enumerate() {
            let units = |data: &[u8]| -> Vec<(u8, usize)> {
                levada_media::codec::nal::units(data).map(|unit| (unit[0], unit.len())).collect()
            };
            assert!(
                *sent == read,
                "frame {n} of track {}: {:?} is read back as {:?}",
                ours.id,
                units(sent),
                units(&read)
            );
        }
    }
}

#[test]
fn h264_with_reordered_frames_and_aac_in_mp4() {
    check("a.mp4", Some(H264), Some(AAC));
}

#[test]
fn h264_with_reordered_frames_and_aac_in_ts() {
    check("a.ts", Some(H264), Some(AAC));
}

#[test]
fn hevc_and_opus_in_mp4() {
    check("a.mp4", Some(HEVC), Some(OPUS));
}

#[test]
fn hevc_and_opus_in_ts() {
    check("a.ts", Some(HEVC), Some(OPUS));
}

#[test]
fn picture_without_sound() {
    check("a.mp4", Some(H264), None);
}

#[test]
fn sound_without_picture() {
    check("a.mp4", None, Some(AAC));
}

#[test]
fn a_rate_that_divides_nothing() {
    check("a.mp4", Some(H264), Some(&["-c:a", "aac", "-ar", "44100", "-ac", "1"]));
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = clip(dir.path(), "a.mp4", Some(H264), Some(&["-c:a", "aac", "-movflags", "+faststart"]));
    let whole = std::fs::read(&path).unwrap();
    let error = |bytes: &[u8]| source::open(std::io::Cursor::new(bytes.to_vec())).err().unwrap();
    assert!(matches!(error(b""), SourceError::Empty));
    assert!(matches!(error(b"hello, this is no video at all"), SourceError::Unknown));
    assert!(matches!(error(&whole[..whole.len() - 1000]), SourceError::Truncated { missing: 1000 }));
    assert!(matches!(error(&whole[..600]), SourceError::Truncated { .. }));
    let png = dir.path().join("a.png");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", PICTURE, "-frames:v", "1", png.to_str().unwrap()]);
    assert!(matches!(error(&std::fs::read(png).unwrap()), SourceError::Unknown));
    let mjpeg = clip(dir.path(), "m.mp4", Some(&["-c:v", "mjpeg"]), None);
    assert!(matches!(error(&std::fs::read(mjpeg).unwrap()), SourceError::NoTrack));
}

#[test]
fn damaged_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.mp4", "a.ts"] {
        let whole = std::fs::read(clip(dir.path(), name, Some(H264), Some(AAC))).unwrap();
        let mut state = 1_u64;
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..20 {
                // Xorshift: any spread of positions will do.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Headers are where damage hurts; they stand at the end (moov) or everywhere (TS).
                let span = bytes.len().min(20_000);
                let at = bytes.len() - 1 - (state >> 8) as usize % span;
                bytes[at] = state as u8;
            }
            let Ok(mut source) = source::open(std::io::Cursor::new(bytes)) else {
                continue;
            };
            for _ in 0..1_000 {
                let Ok(Some(_)) = source.next_frame() else {
                    break;
                };
            }
        }
    }
}

fn demuxed(mut demuxer: TsDemuxer, bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for chunk in bytes.chunks(7 * 188) {
        demuxer.push(chunk);
        // No frame is taken before all tracks are known, as an ingest does.
        while let Some(frame) = demuxer.catalog().and_then(|_| demuxer.next_frame()) {
            frames.push(frame);
        }
    }
    frames
}

/// Two origins of one encoder: whoever begins in the middle gets the same frames, wrapped timestamps and sound whose frames
/// are no whole number of ticks included.
#[test]
fn an_absolute_transport_stream_is_the_same_wherever_one_begins() {
    let dir = tempfile::tempdir().unwrap();
    let sound = ["-ar", "44100", "-c:a", "aac"];
    // The 33 bits run out 1.5 s into the clip.
    let place = [&sound[..], &["-output_ts_offset", "95442.2"]].concat();
    let bytes = std::fs::read(clip(dir.path(), "a.ts", Some(H264), Some(&place))).unwrap();
    let whole = demuxed(TsDemuxer::absolute(), &bytes);
    for part in [1, 2, 3] {
        let from = bytes.len() / 188 * part / 5 * 188;
        let late = demuxed(TsDemuxer::absolute(), &bytes[from..]);
        // The second keyframe: what is before may lack frames that were sent before.
        let Some(first) = late.iter().filter(|frame| frame.track == 0 && frame.keyframe).nth(1) else { continue };
        let turn = if whole.iter().any(|frame| frame.dts == first.dts) { 0 } else { 1 };
        let mut demuxer = TsDemuxer::absolute();
        demuxer.add_wraps(turn);
        let late = demuxed(demuxer, &bytes[from..]);
        let begin = |frames: &[Frame]| frames.iter().position(|f| f.track == 0 && f.data == first.data).unwrap();
        let (a, b) = (&whole[begin(&whole)..], &late[begin(&late)..]);
        assert!(a.len() > 20 && a.len().abs_diff(b.len()) <= 1, "{} and {} frames", a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| a == b), "from {part}/5 on");
    }
}

#[test]
fn an_encoder_that_starts_anew_is_followed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let late = [AAC, &["-output_ts_offset", "1000"]].concat();
    let one = std::fs::read(clip(dir.path(), "a.ts", Some(H264), Some(&late))).unwrap();
    let two = std::fs::read(clip(dir.path(), "b.ts", Some(H264), Some(AAC))).unwrap();
    let frames = demuxed(TsDemuxer::absolute(), &[one, two].concat());
    let hour = |frame: &Frame| {
        let scale = if frame.track == 0 { 90_000 } else { 48_000 };
        frame.dts / scale > 900
    };
    let turn = frames.iter().position(|frame| !hour(frame)).unwrap();
    assert!(turn > 150 && frames.len() - turn > 150, "{turn} of {}", frames.len());
    assert!(frames[turn..].iter().all(|frame| !hour(frame)), "runs are not mixed");
    assert!(frames.iter().all(|frame| frame.duration > 0), "the last picture of a run has a duration, too");
}
