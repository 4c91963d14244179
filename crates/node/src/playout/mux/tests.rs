//! A stream that changes from one origin to another and back, in the eyes of ffmpeg.

#[path = "../../../../media/tests/common/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::path::Path;

use levada_media::source::{self, Source};
use levada_media::{Codec, Layer};

use super::super::chunks::ChunkReader;
use super::*;
use tool::tool;

fn clip(dir: &Path, name: &str, size: &str, offset_s: &str) -> Box<dyn Source + Send> {
    let path = dir.join(name);
    let picture = format!("testsrc2=size={size}:rate=25");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"];
    let video =
        ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let place = ["-output_ts_offset", offset_s, "-t", "4", path.to_str().unwrap()];
    tool("ffmpeg", &[&["-v", "error", "-y"], &inputs[..], &video, &place].concat());
    source::open(std::fs::File::open(path).unwrap()).unwrap()
}

/// The objects of a clip, a group each.
fn groups(mut source: Box<dyn Source + Send>) -> Vec<Vec<Object>> {
    let catalog = source.catalog().clone();
    let json = serde_json::to_vec(&catalog).unwrap();
    let is_video = |id| catalog.tracks.iter().any(|track| track.id == id && track.codec == Codec::H264);
    let mut groups: Vec<Vec<Object>> = Vec::new();
    while let Some(frame) = source.next_frame().unwrap() {
        if is_video(frame.track) && frame.keyframe {
            groups.push(vec![Object::catalog(&json).unwrap()]);
        }
        if let Some(group) = groups.last_mut() {
            let index = group.len() as u32;
            let layer = if is_video(frame.track) { Layer::Video } else { Layer::Base };
            group.extend(Object::split(&frame, layer, index));
        }
    }
    groups
}

async fn muxed(format: Format, parts: &[(u64, &[Vec<Object>])]) -> Vec<Chunk> {
    let chunks = Arc::new(Chunks::default());
    let mut shaper = Shaper::new(format, chunks.clone());
    let mut reader = ChunkReader::new(chunks);
    let mut out = Vec::new();
    for (timeline, groups) in parts {
        for (group, objects) in (1..).map(|stamp| stamp * 1_000).zip(groups.iter()) {
            let id = GroupId { group, timeline: *timeline };
            objects.iter().for_each(|object| shaper.take(id, object).unwrap());
        }
        reader.next(usize::MAX, &mut out).await;
    }
    out
}

/// Two origins with clocks and pictures of their own, the first one cut off within a group, and back again.
fn parts<'a>(a: &'a mut [Vec<Object>], b: &'a [Vec<Object>]) -> [(u64, &'a [Vec<Object>]); 3] {
    let cut = a[1].len() / 2;
    a[1].truncate(cut);
    [(1, &a[..2]), (2, &b[..2]), (1, &a[2..])]
}

fn check(path: &Path) {
    let name = path.to_str().unwrap();
    let (_, complaints) = tool("ffmpeg", &["-v", "warning", "-xerror", "-i", name, "-f", "null", "-"]);
    assert_eq!(complaints, "", "{name}");
    for (kind, longest) in [("v:0", 0.1), ("a:0", 0.6)] {
        let entries = ["-show_entries", "packet=dts_time", "-of", "csv=p=0", name];
        let (out, _) = tool("ffprobe", &[&["-v", "error", "-select_streams", kind], &entries[..]].concat());
        let times: Vec<f64> = out.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect();
        assert!(times.len() > 50, "{kind}: {} packets", times.len());
        for pair in times.windows(2) {
            let step = pair[1] - pair[0];
            assert!(step > 0.0 && step < longest, "{kind}: {} after {}", pair[1], pair[0]);
        }
    }
}

#[tokio::test]
async fn a_transport_stream_goes_on_over_a_change_of_timeline() {
    let dir = tempfile::tempdir().unwrap();
    for size in ["320x180", "160x120"] {
        let mut a = groups(clip(dir.path(), "a.ts", "320x180", "5000"));
        let b = groups(clip(dir.path(), "b.mp4", size, "0"));
        let chunks = muxed(Format::Ts, &parts(&mut a, &b)).await;
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        let path = dir.path().join("out.ts");
        std::fs::write(&path, &bytes).unwrap();
        check(&path);
        let (mut counters, mut marks) = (BTreeMap::new(), BTreeMap::<u16, u32>::new());
        for packet in bytes.chunks_exact(188) {
            let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
            if let Some(before) = counters.insert(pid, packet[3] & 0xf) {
                assert_eq!(packet[3] & 0xf, (before + 1) & 0xf, "continuity of PID {pid:#x}");
            }
            let marked = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
            *marks.entry(pid).or_default() += u32::from(marked);
        }
        assert_eq!(
            marks.range(0x100..0x1000).map(|(_, marks)| *marks).collect::<Vec<_>>(),
            [2, 2],
            "a mark per change and PID"
        );
    }
}

#[tokio::test]
async fn sound_of_a_transport_stream_goes_with_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let groups = groups(clip(dir.path(), "a.ts", "320x180", "5000"));
    let chunks = muxed(Format::Ts, &[(1, &groups)]).await;
    // A reader begins with the newest group, of 25 pictures and twice as much sound.
    assert!((25..28).contains(&chunks.len()), "{} chunks", chunks.len());
    assert!(chunks[0].start && chunks[1..].iter().all(|chunk| !chunk.start));
    assert_eq!(chunks[0].bytes[..3], [0x47, 0x40, 0x00], "a player begins with the program association table");
}

/// What a page gets, which moves between nodes: one of them has played another origin before, the other has not.
#[tokio::test]
async fn fragments_are_the_same_on_every_node_whatever_it_played_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut a = groups(clip(dir.path(), "a.mp4", "320x180", "0"));
    let b = groups(clip(dir.path(), "b.mp4", "320x180", "0"));
    let parts = parts(&mut a, &b);
    let messages = |chunks: Vec<Chunk>| chunks.into_iter().map(|chunk| (chunk.at, chunk.message)).collect::<Vec<_>>();
    let all = muxed(Format::Fmp4, &parts).await;
    let mut inits: Vec<Arc<Init>> = all.iter().map(|chunk| chunk.init.clone()).collect();
    inits.dedup_by(|a, b| Arc::ptr_eq(a, b));
    assert_eq!(inits.len(), 3, "each timeline is told");
    let all = messages(all);
    assert!(
        all.iter().all(|(at, message)| message[..8] == at.group.to_be_bytes() && message[20 + 4..][..4] == *b"moof")
    );
    for timeline in 1..=2 {
        let alone: Vec<_> = parts.iter().copied().filter(|(t, _)| *t == timeline).take(1).collect();
        let alone = messages(muxed(Format::Fmp4, &alone).await);
        assert!(alone.len() > 30, "{} fragments", alone.len());
        let same = all.iter().filter(|one| alone.contains(one)).count();
        assert_eq!(same, alone.len(), "of timeline {timeline}");
    }
}

#[tokio::test]
async fn fragments_decode() {
    let dir = tempfile::tempdir().unwrap();
    let a = groups(clip(dir.path(), "a.mp4", "320x180", "0"));
    // The first group is decoded from before time 0 on, which a fragment cannot say.
    let parts: Vec<_> = a[1..].chunks(1).map(|group| (1, group)).collect();
    let chunks = muxed(Format::Fmp4, &parts).await;
    let fragments = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec());
    let bytes: Vec<u8> = chunks[0].init.segment.iter().copied().chain(fragments).collect();
    let path = dir.path().join("out.mp4");
    std::fs::write(&path, &bytes).unwrap();
    check(&path);
}
