//! Nodes at a limit of children or of bandwidth: whoever is refused finds another way to the stream.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Mesh, clip, until};
use serde_json::Value;

/// Origin, relay, and two PoPs that know nobody but the relay, which can feed one of them: the second one finds the stream
/// at a node that the relay names. When the first one leaves, its place is free.
async fn one_place(limit: &[&str], mesh: &mut Mesh, clip: &std::path::Path) {
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    mesh.start("relay", limit);
    ["first", "second"].iter().for_each(|name| mesh.start(name, &[]));
    for pop in ["first", "second"] {
        mesh.knows(pop, 1).await;
        until(&format!("{pop} has a link to the relay"), async || mesh.linked("relay", pop).await).await;
    }
    let first = mesh.recorder("first", "card").await;
    mesh.comes_over(&["origin", "relay", "first"], "card").await;
    until("the relay knows what the stream takes", async || {
        let map: Value = mesh.get("relay", "/api/v1/map").await.unwrap_or_default();
        map["load"]["children"] == 1 && map["load"]["egress_bps"].as_u64() > Some(0)
    })
    .await;

    let second = mesh.recorder("second", "card").await;
    until("the second PoP is fed by another node", async || {
        let path = mesh.path_of("second", "card").await;
        path == ["origin", "second"] || path == ["origin", "relay", "first", "second"]
    })
    .await;
    let why = mesh.why("second", "card").await;
    let relay = why.candidates.iter().find(|candidate| candidate.name == "relay").unwrap();
    let refused = relay.refused.as_ref().expect("the relay refused");
    assert!(refused.reason.contains("full"), "{refused:?}");
    let parent = why.parent.as_ref().unwrap();
    assert!(refused.alternates.contains(parent), "{parent} is none of {refused:?}");
    assert!(mesh.status("second").await.joins_refused > 0 && mesh.status("relay").await.refusals > 0);
    let told = mesh.run(&["why", "card", "--node", &mesh.node("second").url()]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("it is full") && told.contains(&format!("named {}", refused.alternates.join(", "))),
        "{told}"
    );

    second.goes_on().await;
    first.goes_on().await;
    for (pop, viewer) in [("first", first), ("second", second)] {
        viewer.check();
        assert_eq!(mesh.status(pop).await.objects_lost, 0, "{pop}");
    }
    // Whoever comes once both are gone has the place.
    until("the relay feeds nobody", async || {
        let map: Value = mesh.get("relay", "/api/v1/map").await.unwrap_or_default();
        map["load"]["children"] == 0
    })
    .await;
    mesh.kill("first");
    mesh.kill("second");
    mesh.start("second", &[]);
    mesh.knows("second", 1).await;
    let again = mesh.recorder("second", "card").await;
    mesh.comes_over(&["origin", "relay", "second"], "card").await;
    again.goes_on().await;
    assert_eq!(mesh.status("second").await.joins_refused, 0);
    again.check();
}

fn mesh() -> (Mesh, std::path::PathBuf) {
    let links = [("origin", "relay"), ("relay", "first"), ("relay", "second")];
    let mesh = Mesh::new(&["origin", "relay", "first", "second"], &links);
    let clip = clip(mesh.dir.path(), "card.mp4");
    (mesh, clip)
}

#[tokio::test]
async fn a_relay_with_as_many_children_as_it_may_have() {
    let (mut mesh, clip) = mesh();
    one_place(&["--max-children", "1"], &mut mesh, &clip).await;
}

#[tokio::test]
async fn a_relay_whose_bandwidth_is_taken() {
    let (mut mesh, clip) = mesh();
    let bytes = std::fs::metadata(&clip).unwrap().len();
    // One stream and a half.
    let mbps = bytes as f64 * 8.0 / 4.0 * 1.5 / 1e6;
    one_place(&["--max-egress", &format!("{mbps:.3}")], &mut mesh, &clip).await;
}
