//! The console of a node, in a real browser over a mesh of real processes, as an operator uses it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Mesh, clip, tool};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests/console.mjs");
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");
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

    // The page watches from the best PoP, which need not be this node; the tree is to lead here all the same.
    let _viewer = mesh.recorder("pop", "card").await;
    let far = format!("127.0.0.1:{}", mesh.node("far").link);
    let relays = format!("r1={},r2={}", mesh.node("r1").pid(), mesh.node("r2").pid());
    use_console(&mesh, &["--file", "harbour.mp4", "--connect", &far, "--relays", &relays]).await;
}

/// A node that shows its mesh to operators only: streams play, the mesh opens with the token and closes without it.
#[tokio::test]
async fn a_closed_console_opens_with_the_token() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let card = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", card.to_str().unwrap()]);
    mesh.start("pop", &["--look", "token", "--operator-token", TOKEN]);
    mesh.knows("pop", 1).await;
    use_console(&mesh, &["--closed"]).await;
}

async fn use_console(mesh: &Mesh, how: &[&str]) {
    let url = mesh.node("pop").url();
    let what = [SCRIPT, &url, "--token", TOKEN, "--stream", "card", "--out", OUT, "--json"];
    let args: Vec<String> = what.iter().chain(how).map(ToString::to_string).collect();
    let using = tokio::task::spawn_blocking(move || tool("node", &args.iter().map(String::as_str).collect::<Vec<_>>()));
    let (result, _) = using.await.unwrap();
    assert!(result.contains("\"ok\":true"), "{result}");
}
