//! What an operator sees and does at running nodes, from the command line and by the API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use common::{DEADLINE, Mesh, clip, until};
use serde_json::Value;

/// Within this time it is told that a relay was killed.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Runs a command that answers in JSON.
fn json(mesh: &Mesh, args: &[&str]) -> Value {
    let output = mesh.run(&[args, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(mesh: &Mesh, args: &[&str]) -> String {
    let output = mesh.run(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn neighbour<'a>(listing: &'a Value, name: &str) -> &'a Value {
    let found = listing["neighbours"].as_array().unwrap().iter().find(|neighbour| neighbour["name"] == name);
    found.unwrap_or(&Value::Null)
}

#[tokio::test]
async fn an_operator_does_it_from_the_command_line() {
    let mut mesh = Mesh::new(&["porto", "faro"], &[]);
    let media = mesh.path("media");
    std::fs::create_dir(&media).unwrap();
    mesh.start("porto", &["--media", media.to_str().unwrap()]);
    mesh.start("faro", &[]);
    mesh.knows("porto", 0).await;
    mesh.knows("faro", 0).await;
    let kept = mesh.path("porto/operator-token");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(mesh.log("porto").contains(kept.to_str().unwrap()), "the log tells where the token is");
    let token = std::fs::read_to_string(&kept).unwrap();
    assert!(!mesh.log("porto").contains(token.trim()), "and not the token");

    let (porto, faro) = (mesh.node("porto").url(), mesh.node("faro").url());
    let at = format!("127.0.0.1:{}", mesh.node("faro").link);
    let file = kept.to_str().unwrap();
    let open = ["--node", &porto, "--operator-token-file", file];
    let said = refusal(&mesh, &["neighbours", "add", &at, "--node", &porto]);
    assert!(said.contains("operator's token") && said.contains("--operator-token-file"), "{said}");
    let met = json(&mesh, &[&["neighbours", "add", &at][..], &open].concat());
    assert_eq!(met["name"], "faro");
    until("they are linked", async || mesh.linked("porto", "faro").await).await;
    let listing = json(&mesh, &["neighbours", "--node", &porto]);
    assert_eq!(neighbour(&listing, "faro")["kind"], "added");
    let table = String::from_utf8(mesh.run(&["neighbours", "--node", &porto]).stdout).unwrap();
    assert!(table.contains("NEIGHBOUR") && table.contains("operator"), "{table}");

    let path = clip(mesh.dir.path(), "film.ts");
    let publish = ["publish", path.to_str().unwrap(), "--at", &porto, "--upload", "--operator-token-file", file];
    let published = mesh.run(&publish);
    let said = String::from_utf8(published.stdout).unwrap();
    assert!(published.status.success() && said.contains("film is published by"), "{said}");
    mesh.knows("faro", 1).await;
    assert!(refusal(&mesh, &publish).contains("already"), "no file is replaced");
    let bytes = common::record(mesh.view("faro", "film").await, Duration::from_secs(2)).await;
    common::check_recording(&mesh.path("film-at-faro.ts"), &bytes);

    let said = refusal(&mesh, &["stop", "film", "--node", &faro, "--operator-token", token.trim()]);
    assert!(said.contains("operator's token"), "each node has its own: {said}");
    json(&mesh, &[&["stop", "film"][..], &open].concat());
    mesh.knows("faro", 0).await;
    json(&mesh, &[&["neighbours", "remove", "faro"][..], &open].concat());
    until("they are apart", async || {
        let (a, b) = (json(&mesh, &["neighbours", "--node", &porto]), json(&mesh, &["neighbours", "--node", &faro]));
        neighbour(&a, "faro").is_null() && neighbour(&b, "porto").is_null()
    })
    .await;
}

/// When an event comes.
async fn told(events: &mut reqwest::Response, holds: impl Fn(&str) -> bool) -> Instant {
    let mut heard = String::new();
    loop {
        let chunk = tokio::time::timeout(DEADLINE, events.chunk()).await.unwrap().unwrap().unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((event, rest)) = heard.split_once("\n\n") {
            if holds(event) {
                return Instant::now();
            }
            heard = rest.to_owned();
        }
    }
}

/// Origin, two relays, a PoP that is fed over one of them. The PoP's operator follows the events.
#[tokio::test]
async fn a_killed_relay_is_told_within_a_second() {
    let links = [("origin", "left"), ("origin", "right"), ("left", "pop"), ("right", "pop")];
    let mut mesh = Mesh::new(&["origin", "left", "right", "pop"], &links);
    let film = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", film.to_str().unwrap()]);
    ["left", "right", "pop"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop", 1).await;
    for (a, b) in links {
        until(&format!("{a} and {b} are linked"), async || mesh.linked(a, b).await).await;
    }
    let _viewer = mesh.recorder("pop", "card").await;
    let mut fed = Value::Null;
    until("the PoP is fed and has a backup", async || {
        fed = mesh.get("pop", "/api/v1/why/card").await.unwrap_or_default();
        fed["parent"].is_string() && fed["backup"].is_string()
    })
    .await;
    let parent = fed["parent"].as_str().unwrap().to_owned();
    let mut events = reqwest::get(format!("{}/api/v1/events", mesh.node("pop").url())).await.unwrap();
    events.chunk().await.unwrap().unwrap();
    let killed = Instant::now();
    mesh.kill(&parent);
    // First the tree goes on without it, then its link is given up, which no tree uses any more.
    let left = format!("\"before\":\"{parent}\"");
    let moved = told(&mut events, |event| event.contains("event: entry") && event.contains(&left)).await - killed;
    let down = format!("\"name\":\"{parent}\",\"up\":false");
    let gone = told(&mut events, |event| event.contains("event: neighbours") && event.contains(&down)).await - killed;
    println!("{parent} was killed: its child has moved after {moved:?}, the link is down after {gone:?}");
    assert!(moved < SHOWN_WITHIN, "{moved:?}");
    // Who looks from elsewhere sees it too, by the records.
    until("the map tells of it", async || {
        let map: Value = mesh.get("origin", "/api/v1/map").await.unwrap_or_default();
        map["nodes"].as_array().unwrap().iter().any(|node| node["name"] == *parent && node["reachable"] == false)
    })
    .await;
}
