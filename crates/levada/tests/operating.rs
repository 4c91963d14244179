//! The console of a node, in a real browser over a mesh of real processes, as an operator uses it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Mesh, clip, tool};

const TOKEN: &str = "operator-of-this-test";

/// A file is published from the console and plays beside another stream; a neighbour is connected and disconnected; the
/// relay that feeds the node is killed, and the map shows it within a second.
#[tokio::test]
async fn an_operator_uses_the_console() {
    let links = [("origin", "r1"), ("origin", "r2"), ("r1", "pop"), ("r2", "pop"), ("origin", "far")];
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop", "far"], &links);
    let card = clip(mesh.dir.path(), "card.mp4");
    let media = mesh.path("media");
    std::fs::create_dir(&media).unwrap();
    std::fs::copy(&card, media.join("harbour.mp4")).unwrap();
    mesh.start("origin", &["--publish", card.to_str().unwrap()]);
    ["r1", "r2", "far"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.start("pop", &["--media", media.to_str().unwrap(), "--operator-token", TOKEN]);
    mesh.knows("pop", 1).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests/console.mjs");
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");
    let url = mesh.node("pop").url();
    let far = format!("127.0.0.1:{}", mesh.node("far").link);
    let relays = format!("r1={},r2={}", mesh.node("r1").pid(), mesh.node("r2").pid());
    let using = tokio::task::spawn_blocking(move || {
        let settings = ["--token", TOKEN, "--file", "harbour.mp4", "--connect", &far, "--relays", &relays];
        let how = ["--stream", "card", "--out", out, "--json"];
        tool("node", &[&[script, &url][..], &settings, &how].concat())
    });
    let (result, _) = using.await.unwrap();
    assert!(result.contains("\"ok\":true"), "{result}");
}
