//! The page's player over real nodes, in a real Chromium.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{Mesh, tool, until};
use tokio::sync::Mutex;

/// Frames of the clip: more than a test lasts ...
const FRAMES: usize = 2_000;
/// ... even one that waits until another PoP has been better for long.
const FRAMES_FAR: usize = 4_000;

/// Web tests, and where their screenshots go.
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests");
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");

/// A clip with sound whose frames are numbered by bars that the page can read.
fn numbered_clip(dir: &Path, frames: usize) -> PathBuf {
    let print = format!("import {{ barcodeFilter }} from '{TESTS}/barcode.mjs'; console.log(barcodeFilter())");
    let (filter, _) = tool("node", &["--input-type=module", "-e", &print]);
    let path = dir.join("numbered.mp4");
    let (picture, frames) = (format!("testsrc2=size=320x180:rate=25,{}", filter.trim()), frames.to_string());
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
    moves(Leaving::Dies("SIGKILL"), "WebTransport", "steady").await;
}

/// The short buffer outlasts a death that the system tells of.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_with_a_short_delay() {
    moves(Leaving::Dies("SIGKILL"), "WebTransport", "short").await;
}

/// A page whose network loses what goes over UDP plays over WebSockets, and fares no worse.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_without_udp() {
    moves(Leaving::Dies("SIGKILL"), "WebSocket", "steady").await;
}

/// The buffer outlasts a death that only silence tells of.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_when_the_pop_falls_silent() {
    moves(Leaving::Dies("SIGSTOP"), "WebTransport", "steady").await;
}

/// A PoP that is lastingly farther away than another one is left, and nobody sees it.
#[tokio::test]
async fn no_frame_is_skipped_or_doubled_when_another_pop_is_better() {
    moves(Leaving::IsFar, "WebTransport", "steady").await;
}

/// Why the page leaves its PoP.
enum Leaving {
    /// It gets this signal.
    Dies(&'static str),
    /// It answers late what the page measures it by.
    IsFar,
}

async fn moves(why: Leaving, carrier: &'static str, delay: &'static str) {
    let _alone = ALONE.lock().await;
    let frames = if matches!(why, Leaving::IsFar) { FRAMES_FAR } else { FRAMES };
    let mesh = two_pops(frames).await;
    let (url, pid) = (mesh.node("p1").url(), format!("p1={}", mesh.node("p1").pid()));
    let script = format!("{TESTS}/moves.mjs");
    let playing = tokio::task::spawn_blocking(move || {
        let frames = frames.to_string();
        let streams = ["--streams", "one,two", "--frames", &frames];
        let why = match why {
            Leaving::Dies(signal) => vec!["--kill", &pid, "--signal", signal],
            Leaving::IsFar => vec!["--far", "p1"],
        };
        let how = ["--carrier", carrier, "--delay", delay, "--json", "--out", OUT];
        tool("node", &[&[&script[..], &url][..], &why, &streams, &how].concat())
    });
    let (result, _) = playing.await.unwrap();
    println!("{result}");
    assert!(result.contains("\"ok\":true"), "{result}");
}

/// An origin that publishes `one` and `two`, and two PoPs that know of both.
async fn two_pops(frames: usize) -> Mesh {
    let mut mesh = Mesh::new(&["origin", "p1", "p2"], &[("origin", "p1"), ("origin", "p2"), ("p1", "p2")]);
    let clip = numbered_clip(mesh.dir.path(), frames);
    let (one, two) = (format!("one={}", clip.display()), format!("two={}", clip.display()));
    mesh.start("origin", &["--publish", &one, "--publish", &two]);
    ["p1", "p2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("p1", 2).await;
    mesh.knows("p2", 2).await;
    mesh
}

/// The shortest delay has no buffer: the picture may stand still for a moment.
#[tokio::test]
async fn pictures_as_they_come_go_on_when_the_pop_dies() {
    outlived("direct.mjs", &["--stream", "one"]).await;
}

/// Whatever the browser's own player of HLS makes of it, the page goes on from another PoP.
#[tokio::test]
async fn the_browsers_own_hls_goes_on_when_the_pop_dies() {
    outlived("play.mjs", &["--streams", "one", "--no-mse"]).await;
}

/// A script that kills the PoP that it watches from.
async fn outlived(script: &'static str, args: &'static [&str]) {
    let _alone = ALONE.lock().await;
    let mesh = two_pops(FRAMES).await;
    for pop in ["p1", "p2"] {
        let url = mesh.node(pop).url();
        until(&format!("{pop} has segments"), async || segments(&url, "one").await >= 3).await;
    }
    let victim = format!("p1={}", mesh.node("p1").pid());
    run(&mesh.node("p1").url(), script, &[args, &["--kill", &victim]].concat()).await;
}

#[tokio::test]
async fn pictures_and_sound_are_played_as_they_come() {
    played("direct.mjs", &["--stream", "cam"]).await;
}

/// On a small screen a player keeps its picture, its buttons and its name.
#[tokio::test]
async fn a_stream_plays_on_a_phone() {
    played("play.mjs", &["--streams", "cam", "--width", "320", "--height", "640"]).await;
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
    let clip = numbered_clip(mesh.dir.path(), FRAMES);
    mesh.start("pop", &["--publish", &format!("cam={}", clip.display())]);
    mesh.knows("pop", 1).await;
    let url = mesh.node("pop").url();
    // A stream that has just begun has no whole segment yet, and a player of HLS nothing in front of it.
    until("there are segments", async || segments(&url, "cam").await >= 3).await;
    run(&url, script, args).await;
}

/// Runs a script of the page at a node, to its end.
async fn run(url: &str, script: &str, args: &[&str]) {
    let script = format!("{TESTS}/{script}");
    let all = [&[&script[..], url][..], args, &["--out", OUT]].concat();
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let playing = tokio::task::spawn_blocking(move || {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        tool("node", &all)
    });
    println!("{}", playing.await.unwrap().0);
}

/// How many segments a PoP lists.
async fn segments(url: &str, stream: &str) -> usize {
    let Ok(answer) = reqwest::get(format!("{url}/hls/{stream}/media.m3u8")).await else { return 0 };
    answer.text().await.unwrap_or_default().matches("#EXTINF").count()
}
