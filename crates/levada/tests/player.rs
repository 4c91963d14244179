//! The page's player over real nodes, in a real Chromium.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{Mesh, tool, until};
use tokio::sync::Mutex;

/// Frames of the clip: more than the test lasts.
const FRAMES: usize = 1_000;

/// Web tests, and where their screenshots go.
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests");
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");

/// A clip with sound whose frames are numbered by bars that the page can read.
fn numbered_clip(dir: &Path) -> PathBuf {
    let print = format!("import {{ barcodeFilter }} from '{TESTS}/barcode.mjs'; console.log(barcodeFilter())");
    let (filter, _) = tool("node", &["--input-type=module", "-e", &print]);
    let path = dir.join("numbered.mp4");
    let (picture, frames) = (format!("testsrc2=size=320x180:rate=25,{}", filter.trim()), FRAMES.to_string());
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture];
    args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-frames:v", &frames, "-shortest"]);
    args.extend(["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "50", "-pix_fmt", "yuv420p"]);
    args.extend(["-c:a", "aac", path.to_str().unwrap()]);
    tool("ffmpeg", &args);
    path
}

/// One at a time: two browsers that decode two streams each take more than a small machine has, and every frame counts.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The PoP that gives both streams is killed: the picture goes on from another one at the very frame.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_when_the_pop_dies() {
    moves("SIGKILL", "WebTransport").await;
}

/// A page whose network loses what goes over UDP plays over WebSockets, and fares no worse.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_without_udp() {
    moves("SIGKILL", "WebSocket").await;
}

/// The buffer outlasts a death that only silence tells of.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_when_the_pop_falls_silent() {
    moves("SIGSTOP", "WebTransport").await;
}

async fn moves(signal: &'static str, carrier: &'static str) {
    let _alone = ALONE.lock().await;
    let mut mesh = Mesh::new(&["origin", "p1", "p2"], &[("origin", "p1"), ("origin", "p2"), ("p1", "p2")]);
    let clip = numbered_clip(mesh.dir.path());
    let (one, two) = (format!("one={}", clip.display()), format!("two={}", clip.display()));
    mesh.start("origin", &["--publish", &one, "--publish", &two]);
    ["p1", "p2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("p1", 2).await;
    mesh.knows("p2", 2).await;
    let (url, victim) = (mesh.node("p1").url(), format!("p1={}", mesh.node("p1").pid()));
    let script = format!("{TESTS}/moves.mjs");
    let playing = tokio::task::spawn_blocking(move || {
        let frames = FRAMES.to_string();
        let streams = ["--streams", "one,two", "--frames", &frames];
        let death = ["--kill", &victim, "--signal", signal, "--carrier", carrier];
        tool("node", &[&[&script[..], &url][..], &death, &streams, &["--json", "--out", OUT]].concat())
    });
    let (result, _) = playing.await.unwrap();
    println!("{result}");
    assert!(result.contains("\"ok\":true"), "{result}");
}

#[tokio::test]
async fn pictures_and_sound_are_played_as_they_come() {
    played("direct.mjs", &["--stream", "cam"]).await;
}

/// Chromium has HLS of its own, as browsers have that have no Media Source Extensions.
#[tokio::test]
async fn the_browser_plays_hls_itself_without_media_source_extensions() {
    played("play.mjs", &["--streams", "cam", "--no-mse"]).await;
}

/// A script, which fails where something is not as it is to be, over one PoP that publishes `cam`.
async fn played(script: &'static str, args: &'static [&str]) {
    let _alone = ALONE.lock().await;
    let mut mesh = Mesh::new(&["pop"], &[]);
    let clip = numbered_clip(mesh.dir.path());
    mesh.start("pop", &["--publish", &format!("cam={}", clip.display())]);
    mesh.knows("pop", 1).await;
    let (url, script) = (mesh.node("pop").url(), format!("{TESTS}/{script}"));
    // A stream that has just begun has no whole segment yet, and a player of HLS nothing in front of it.
    until("there are segments", async || segments(&url, "cam").await >= 3).await;
    let playing =
        tokio::task::spawn_blocking(move || tool("node", &[&[&script[..], &url][..], args, &["--out", OUT]].concat()));
    println!("{}", playing.await.unwrap().0);
}

/// How many segments a PoP lists.
async fn segments(url: &str, stream: &str) -> usize {
    let Ok(answer) = reqwest::get(format!("{url}/hls/{stream}/media.m3u8")).await else { return 0 };
    answer.text().await.unwrap_or_default().matches("#EXTINF").count()
}
