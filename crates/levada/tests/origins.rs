//! Several origins of one stream, as processes: what they make of one encoder, and what viewers see when one dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use common::{Mesh, check_recording, record, tool, until};
use levada_node::http::GroupDigest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;

/// An encoder in real time, whose bytes go to whoever listens.
struct Encoder {
    bytes: broadcast::Sender<Vec<u8>>,
    _ffmpeg: Child,
}

impl Encoder {
    fn start(rate: &str, frequency: u32) -> Self {
        let sound = format!("sine=frequency={frequency}:sample_rate={rate}");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
        command.args(["-re", "-f", "lavfi", "-i", &sound, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"]);
        command.args(["-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mpegts", "-flush_packets", "1", "-"]);
        let mut ffmpeg = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut out = ffmpeg.stdout.take().unwrap();
        let (bytes, _) = broadcast::channel(4_096);
        let sender = bytes.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 188 * 7];
            while let Ok(len) = out.read(&mut buffer).await {
                if len == 0 {
                    return;
                }
                // Nobody may be listening yet.
                let _ = sender.send(buffer[..len].to_vec());
            }
        });
        Self { bytes, _ffmpeg: ffmpeg }
    }

    /// Publishes from now on what the encoder makes.
    fn publish(&self, mesh: &Mesh, name: &str, more: &[&str]) -> Child {
        let token = mesh.token(name);
        let log = std::fs::File::create(mesh.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.args(["publish", "-", "--as", "cam", "-v", "--token", &token]).args(mesh.member(name)).args(more);
        let mut publisher = command.stdin(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let (mut stdin, mut bytes) = (publisher.stdin.take().unwrap(), self.bytes.subscribe());
        tokio::spawn(async move {
            while let Ok(bytes) = bytes.recv().await {
                if stdin.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        publisher
    }
}

fn mesh() -> Mesh {
    // With a relay between them each one's own origin is a third as far as the other one, however noisy the machine.
    let links = [("pen", "r1"), ("leaf", "r2"), ("r1", "hub"), ("hub", "r2")];
    let mut mesh = Mesh::new(&["r1", "hub", "r2"], &links);
    ["r1", "hub", "r2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh
}

fn by_name(groups: Vec<GroupDigest>) -> BTreeMap<(u64, u64), GroupDigest> {
    groups.into_iter().map(|group| ((group.timeline, group.group), group)).collect()
}

/// Names of the nodes that publish the stream, as a node sees it.
async fn origins(mesh: &Mesh, node: &str) -> usize {
    let streams: Option<levada_node::http::Streams> = mesh.get(node, "/api/v1/streams").await;
    streams.map_or(0, |known| known.streams.iter().map(|stream| stream.origins.len()).sum())
}

const BY_PEN: [&str; 2] = ["pen", "r1"];
const BY_LEAF: [&str; 4] = ["leaf", "r2", "hub", "r1"];

/// Viewers at both relays, each fed by its own origin. Which one is nearer takes a while to measure.
async fn views(mesh: &Mesh) -> [reqwest::Response; 2] {
    let mut views = None;
    until("each relay is fed by its own origin", async || {
        views = None;
        until("nothing is left of earlier viewers", async || {
            mesh.groups("r1", "cam").await.is_empty() && mesh.groups("r2", "cam").await.is_empty()
        })
        .await;
        views = Some([mesh.view("r1", "cam").await, mesh.view("r2", "cam").await]);
        until("both are fed", async || {
            !mesh.groups("r1", "cam").await.is_empty() && !mesh.groups("r2", "cam").await.is_empty()
        })
        .await;
        mesh.path_of("r1", "cam").await == BY_PEN && mesh.path_of("r2", "cam").await == ["leaf", "r2"]
    })
    .await;
    views.unwrap()
}

/// Two seconds after a viewer at r1 has a picture, kills the origin that feeds it; returns once the other one does.
async fn kill_the_origin_in_use(mesh: &Mesh, pen: &mut Child, leaf: &mut Child) {
    let mut path = Vec::new();
    until("r1 is fed", async || {
        path = mesh.path_of("r1", "cam").await;
        path == BY_PEN || path == BY_LEAF
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (dying, other): (_, &[&str]) = if path == BY_PEN { (pen, &BY_LEAF) } else { (leaf, &BY_PEN) };
    dying.kill().await.unwrap();
    until("r1 is fed by the other origin", async || mesh.path_of("r1", "cam").await == other).await;
}

/// Waits until both relays hold enough groups of the same names, each from its own origin, and compares them.
async fn same_groups(mesh: &Mesh) {
    let mut compared = BTreeMap::new();
    until("six groups are the same at both origins", async || {
        let (one, two) = (by_name(mesh.groups("r1", "cam").await), by_name(mesh.groups("r2", "cam").await));
        for (name, group) in one {
            if let Some(other) = two.get(&name) {
                assert_eq!(group, *other, "one name, two contents");
                compared.insert(name, group);
            }
        }
        compared.len() >= 6
    })
    .await;
}

/// Sound whose frames are no whole number of ticks, and an origin that starts in the middle of a group.
#[tokio::test]
async fn two_origins_of_one_encoder_make_the_same_groups() {
    let mesh = mesh();
    let encoder = Encoder::start("44100", 440);
    let _first = encoder.publish(&mesh, "pen", &["--shared"]);
    until("r2 knows the first origin", async || origins(&mesh, "r2").await == 1).await;
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    let _second = encoder.publish(&mesh, "leaf", &["--shared"]);
    until("r1 knows both origins", async || origins(&mesh, "r1").await == 2).await;
    let _viewers = views(&mesh).await;
    same_groups(&mesh).await;
}

#[tokio::test]
async fn an_origin_of_higher_priority_serves_those_who_are_nearer_to_another() {
    let mesh = mesh();
    let encoder = Encoder::start("48000", 440);
    let _first = encoder.publish(&mesh, "pen", &["--shared"]);
    until("r2 knows the first origin", async || origins(&mesh, "r2").await == 1).await;
    let _viewers = [mesh.view("r1", "cam").await, mesh.view("r2", "cam").await];
    let mut preferred = encoder.publish(&mesh, "leaf", &["--shared", "--priority", "200"]);
    let serves = async |origin: &str| {
        let path_of = async |relay| mesh.path_of(relay, "cam").await.first().cloned();
        path_of("r1").await.as_deref() == Some(origin) && path_of("r2").await.as_deref() == Some(origin)
    };
    until("both are served by the preferred one", async || serves("leaf").await).await;
    preferred.start_kill().unwrap();
    until("both are served by the one that is left", async || serves("pen").await).await;
}

/// Asked to stop, a publisher feeds its children until they have moved to the other origin.
#[tokio::test]
async fn a_publisher_that_is_asked_to_stop_is_left_first() {
    let mesh = mesh();
    let encoder = Encoder::start("48000", 440);
    let _other = encoder.publish(&mesh, "pen", &["--shared"]);
    until("r2 knows the first origin", async || origins(&mesh, "r2").await == 1).await;
    let _viewer = mesh.view("r2", "cam").await;
    let mut preferred = encoder.publish(&mesh, "leaf", &["--shared", "--priority", "200"]);
    let why = async || mesh.get::<levada_node::http::Why>("r2", "/api/v1/why/cam").await;
    let parent = async || why().await.and_then(|why| why.parent);
    until("r2 is fed by the preferred one", async || parent().await.as_deref() == Some("leaf")).await;
    let pid = preferred.id().unwrap().to_string();
    tool("kill", &["-TERM", &pid]);
    assert!(tokio::time::timeout(Duration::from_secs(10), preferred.wait()).await.unwrap().unwrap().success());
    let why = why().await.unwrap();
    assert_eq!(why.parent.as_deref(), Some("hub"));
    let mut switches = why.switches.iter();
    assert!(switches.any(|switch| switch.to == "hub" && switch.cause == "it is about to stop"), "{:?}", why.switches);
}

#[tokio::test]
async fn origins_that_start_at_once_agree_on_a_timeline() {
    let mesh = mesh();
    let encoder = Encoder::start("48000", 440);
    let _publishers = (encoder.publish(&mesh, "pen", &["--shared"]), encoder.publish(&mesh, "leaf", &["--shared"]));
    until("both relays know both origins", async || origins(&mesh, "r1").await == 2 && origins(&mesh, "r2").await == 2)
        .await;
    let _viewers = views(&mesh).await;
    same_groups(&mesh).await;
}

#[tokio::test]
async fn viewers_of_a_shared_timeline_see_nothing_of_the_death_of_an_origin() {
    let mesh = mesh();
    let encoder = Encoder::start("48000", 440);
    let mut first = encoder.publish(&mesh, "pen", &["--shared"]);
    until("r2 knows the first origin", async || origins(&mesh, "r2").await == 1).await;
    let mut second = encoder.publish(&mesh, "leaf", &["--shared"]);
    until("r1 knows both origins", async || origins(&mesh, "r1").await == 2).await;
    let recording = tokio::spawn(record(mesh.view("r1", "cam").await, Duration::from_secs(12)));
    kill_the_origin_in_use(&mesh, &mut first, &mut second).await;
    let bytes = recording.await.unwrap();
    let frames = check_recording(&mesh.path("out.ts"), &bytes);
    assert!(frames > 25 * 9, "{frames} frames");
    assert_eq!(mesh.status("r1").await.objects_lost, 0);
}

/// Encoders, timestamps and pictures of their own: the change is a discontinuity at a group's beginning, and players go on.
#[tokio::test]
async fn viewers_of_independent_origins_go_on_after_the_death_of_one() {
    let mesh = mesh();
    let (one, two) = (Encoder::start("48000", 440), Encoder::start("48000", 880));
    let mut first = one.publish(&mesh, "pen", &[]);
    until("r2 knows the first origin", async || origins(&mesh, "r2").await == 1).await;
    let mut second = two.publish(&mesh, "leaf", &[]);
    until("r1 knows both origins", async || origins(&mesh, "r1").await == 2).await;
    let recording = tokio::spawn(record(mesh.view("r1", "cam").await, Duration::from_secs(12)));
    kill_the_origin_in_use(&mesh, &mut first, &mut second).await;
    let bytes = recording.await.unwrap();
    let path = mesh.path("out.ts");
    std::fs::write(&path, &bytes).unwrap();
    let name = path.to_str().unwrap();
    let (_, complaints) = tool("ffmpeg", &["-v", "warning", "-xerror", "-i", name, "-f", "null", "-"]);
    assert_eq!(complaints, "");
    let show = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=dts_time", "-of", "csv=p=0", name];
    let times: Vec<f64> =
        tool("ffprobe", &show).0.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect();
    assert!(times.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] < 0.5), "{times:?}");
    // Twelve seconds less what the failure was noticed in and the group that the other origin had begun.
    assert!(times.len() > 25 * 7, "{} frames", times.len());
    assert_eq!(mesh.status("r1").await.objects_lost, 0);
}
