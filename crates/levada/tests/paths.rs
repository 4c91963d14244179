//! Paths that end one after the other, all at once, for a moment, or on purpose: the viewer behind them has every frame once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/feed.rs"]
mod feed;

use std::process::Stdio;

use common::{Light, Mesh, Recorder, clip, clip_of, said, until};
use feed::Feed;
use levada_node::http::ACTION_HEADER;
use serde_json::{Value, json};

const DIAMOND: [(&str, &str); 4] = [("origin", "r1"), ("origin", "r2"), ("r1", "pop"), ("r2", "pop")];
/// Seconds of a clip that is played once: longer than a test with every wait at its deadline.
const LONG: usize = 120;

/// Starts nodes of which the first publishes, and waits until the last knows the stream.
async fn start(mesh: &mut Mesh, names: &[&str]) {
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start(names[0], &["--publish", clip.to_str().unwrap()]);
    names[1..].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows(names.last().unwrap(), 1).await;
}

/// A whole diamond whose PoP is fed by a relay, with the other one as the backup: the viewer and both names.
async fn diamond(mesh: &mut Mesh) -> (Recorder, String, String) {
    start(mesh, &["origin", "r1", "r2", "pop"]).await;
    for (a, b) in DIAMOND {
        until(&format!("{a} and {b} have a link"), async || mesh.linked(a, b).await).await;
    }
    let viewer = mesh.recorder("pop", "card").await;
    let (mut parent, mut backup) = (None, None);
    until("the PoP has a parent and a backup", async || {
        let why = mesh.why("pop", "card").await;
        (parent, backup) = (why.parent, why.backup);
        parent.is_some() && backup.is_some()
    })
    .await;
    (viewer, parent.unwrap(), backup.unwrap())
}

/// Waits for more of the stream at the PoP, and checks all that its viewer got.
async fn goes_on_whole(mesh: &Mesh, viewer: Recorder) {
    viewer.goes_on().await;
    assert_eq!(mesh.status("pop").await.objects_lost, 0);
    viewer.check();
}

#[tokio::test]
async fn a_line_whose_relays_die_one_after_the_other() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"], &[("a", "b"), ("b", "c"), ("c", "d")]);
    start(&mut mesh, &["a", "b", "c", "d"]).await;
    let viewer = mesh.recorder("d", "card").await;
    mesh.comes_over(&["a", "b", "c", "d"], "card").await;
    mesh.kill("b");
    mesh.comes_over(&["a", "c", "d"], "card").await;
    viewer.goes_on().await;
    mesh.kill("c");
    mesh.comes_over(&["a", "d"], "card").await;
    viewer.goes_on().await;

    // Who comes back is of use again, and moves nobody.
    let switches = mesh.status("d").await.switches;
    mesh.start("c", &[]);
    until("c and d have a link again", async || mesh.linked("c", "d").await).await;
    mesh.knows("c", 1).await;
    let second = mesh.recorder("c", "card").await;
    mesh.comes_over(&["a", "d", "c"], "card").await;
    second.goes_on().await;
    mesh.start("b", &[]);
    until("b has its links again", async || mesh.linked("a", "b").await && mesh.linked("b", "c").await).await;
    viewer.goes_on().await;
    mesh.comes_over(&["a", "d"], "card").await;
    let status = mesh.status("d").await;
    assert_eq!((status.switches, status.objects_lost), (switches, 0));
    viewer.check();
    second.check();
}

#[tokio::test]
async fn the_parent_and_the_backup_die_together() {
    let links = [&DIAMOND[..], &[("origin", "r3"), ("r3", "pop")]].concat();
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "r3", "pop"], &links);
    let (viewer, parent, backup) = diamond(&mut mesh).await;
    mesh.start("r3", &[]);
    // A link alone is not enough: before its cost is told, the origin itself is the nearest that is known.
    until("the PoP knows a way over the third relay", async || {
        let candidates = mesh.why("pop", "card").await.candidates;
        candidates.iter().any(|candidate| candidate.name == "r3" && candidate.metric_us.is_some())
    })
    .await;
    mesh.kill(&parent);
    mesh.kill(&backup);
    mesh.comes_over(&["origin", "r3", "pop"], "card").await;
    goes_on_whole(&mesh, viewer).await;
}

#[tokio::test]
async fn a_relay_that_restarts_at_once() {
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &DIAMOND);
    let (viewer, parent, _) = diamond(&mut mesh).await;
    mesh.kill(&parent);
    mesh.start(&parent, &[]);
    until("its links are back", async || mesh.linked("origin", &parent).await && mesh.linked(&parent, "pop").await)
        .await;
    goes_on_whole(&mesh, viewer).await;
}

/// How the only path ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Drained,
}

/// The publisher accepts no links, so there is no way around the relay: the PoP waits until it is back, and has all of
/// what was published meanwhile.
async fn the_only_path_comes_back(end: End) {
    let mut mesh = Mesh::new(&["relay", "pop"], &[("pen", "relay"), ("relay", "pop")]);
    let feed = Feed::start(&clip_of(mesh.dir.path(), "card.ts", LONG));
    mesh.start("relay", &[]);
    mesh.start("pop", &[]);
    let mut publisher = Light::start(&mesh, "pen", &["publish", "-", "--as", "card", "-v"], Stdio::null());
    feed.add(publisher.child.as_mut().unwrap().stdin.take().unwrap());
    mesh.knows("pop", 1).await;
    let viewer = mesh.recorder("pop", "card").await;
    mesh.comes_over(&["pen", "relay", "pop"], "card").await;
    viewer.goes_on().await;
    match end {
        End::Killed => mesh.kill("relay"),
        End::Drained => {
            let (success, said) = drain(&mesh, "relay").await;
            assert!(success && said.contains("pop waits for card"), "{said}");
            ended(&mut mesh, "relay").await;
        }
    }
    until("the PoP waits", async || mesh.why("pop", "card").await.state.contains("waits")).await;
    mesh.start("relay", &[]);
    mesh.comes_over(&["pen", "relay", "pop"], "card").await;
    goes_on_whole(&mesh, viewer).await;
}

#[tokio::test]
async fn the_only_path_dies_and_comes_back() {
    the_only_path_comes_back(End::Killed).await;
}

#[tokio::test]
async fn the_only_path_is_drained_and_comes_back() {
    the_only_path_comes_back(End::Drained).await;
}

#[tokio::test]
async fn a_node_is_drained_twice_and_once_more_when_it_is_gone() {
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &DIAMOND);
    let (viewer, parent, other) = diamond(&mut mesh).await;
    // Processes may take a second to start on a busy machine, and the node does not wait for the later one.
    let (first, second) = tokio::join!(ask_to_drain(&mesh, &parent), ask_to_drain(&mesh, &parent));
    assert_eq!([&first["left"], &second["left"]], [&json!([]), &json!([])], "its children have other parents");
    ended(&mut mesh, &parent).await;
    let (success, said) = drain(&mesh, &parent).await;
    assert!(!success && said.contains("cannot be reached") && said.contains("stopped already"), "{said}");
    mesh.comes_over(&["origin", &other, "pop"], "card").await;
    goes_on_whole(&mesh, viewer).await;
}

#[test]
fn the_help_of_drain_teaches() {
    let output = std::process::Command::new(common::LEVADA).args(["drain", "--help"]).output().unwrap();
    let help = said(&output);
    for word in ["children", "waits", "levada drain http://127.0.0.1:8080", "its own machine"] {
        assert!(help.contains(word), "{word:?} is not in:\n{help}");
    }
}

/// Runs `levada drain`: whether it succeeded, and what it said.
async fn drain(mesh: &Mesh, node: &str) -> (bool, String) {
    let mut command = tokio::process::Command::new(common::LEVADA);
    // Which node other commands ask is another matter.
    let command = command.args(["drain", &mesh.node(node).url()]).env("LEVADA_NODE", "http://127.0.0.1:9");
    let output = command.kill_on_drop(true);
    let output = output.output().await.unwrap();
    (output.status.success(), said(&output))
}

/// What a node says that is told to drain.
async fn ask_to_drain(mesh: &Mesh, node: &str) -> Value {
    let request = reqwest::Client::new().post(format!("{}/api/v1/drain", mesh.node(node).url()));
    request.header(ACTION_HEADER, "drain").send().await.unwrap().json().await.unwrap()
}

async fn ended(mesh: &mut Mesh, node: &str) {
    until(&format!("{node} has ended"), async || mesh.has_ended(node)).await;
    mesh.kill(node);
}
