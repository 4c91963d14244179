//! A node explains itself: `levada why` before and after a death, and its recording, run again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Mesh, Recorder, clip, said, until};
use levada_node::http::Why;
use serde_json::Value;

/// What a killed parent looks like from below.
const CAUSES: [&str; 2] = ["it fell behind", "the link to it was lost"];

/// A PoP between two relays, recorded, whose parent was killed under a viewer: the mesh, the viewer, and the names of the
/// dead parent and of the one that took over.
async fn after_a_death() -> (Mesh, Recorder, String, String) {
    let links = [("origin", "r1"), ("origin", "r2"), ("r1", "pop"), ("r2", "pop")];
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &links);
    let clip = clip(mesh.dir.path(), "card.mp4");
    let tape = mesh.path("tape.jsonl");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    ["r1", "r2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.start("pop", &["--record", tape.to_str().unwrap()]);
    mesh.knows("pop", 1).await;
    for (a, b) in links {
        until(&format!("{a} and {b} have a link"), async || mesh.linked(a, b).await).await;
    }
    let viewer = mesh.recorder("pop", "card").await;
    until("a backup stands by, and tells its path", async || {
        let why = mesh.why("pop", "card").await;
        why.backup.is_some() && why.path.len() == 2 && why.backup_path.len() == 2
    })
    .await;
    let why = mesh.why("pop", "card").await;
    let (parent, backup) = (why.parent.clone().unwrap(), why.backup.clone().unwrap());
    assert_ne!(parent, backup);
    assert_eq!(
        (&why.path, &why.backup_path),
        (&vec!["origin".to_owned(), parent.clone()], &vec!["origin".to_owned(), backup.clone()])
    );
    assert_eq!((why.node.as_str(), why.stream.as_str(), why.state.as_str()), ("pop", "card", "fed"));
    let names: Vec<&str> = why.candidates.iter().map(|candidate| candidate.name.as_str()).collect();
    assert!(names.len() == 2 && names.contains(&"r1") && names.contains(&"r2"), "{names:?}");
    for candidate in &why.candidates {
        assert!(candidate.metric_us > Some(0) && candidate.hops == Some(2), "{candidate:?}");
    }
    assert_eq!(why.switches.len(), 1, "{why:?}");

    mesh.kill(&parent);
    mesh.comes_over(&["origin", &backup, "pop"], "card").await;
    viewer.goes_on().await;
    (mesh, viewer, parent, backup)
}

#[tokio::test]
async fn why_names_candidates_the_backup_and_the_last_switches() {
    let (mut mesh, viewer, dead, parent) = after_a_death().await;
    until("the dead relay is no candidate", async || mesh.why("pop", "card").await.candidates.len() == 1).await;
    mesh.start(&dead, &[]);
    until("it is one again", async || {
        let why = mesh.why("pop", "card").await;
        why.candidates.iter().any(|candidate| candidate.name == dead && candidate.metric_us.is_some())
            && why.backup.as_deref() == Some(&dead)
    })
    .await;
    // Seen from the relay, the PoP is a child.
    let above = mesh.why(&parent, "card").await;
    let child = above.candidates.iter().find(|candidate| candidate.name == "pop").unwrap();
    assert_eq!(child.lacks.as_deref(), Some("it is fed by this node"));
    assert_eq!(mesh.why("origin", "card").await.state, "published here");

    let why = mesh.why("pop", "card").await;
    let [first, switch] = &why.switches[..] else { panic!("{:?}", why.switches) };
    assert_eq!((&first.from, &first.to, first.cause.as_str()), (&None, &dead, "it had none"));
    assert_eq!((switch.from.as_ref(), &switch.to), (Some(&dead), &parent));
    assert!(CAUSES.contains(&switch.cause.as_str()), "{switch:?}");
    assert!(first.ago_s > switch.ago_s && switch.ago_s > 0.0, "{why:?}");
    let node = mesh.node("pop").url();
    let json: Why = serde_json::from_str(&said(&mesh.run(&["why", "card", "--json", "--node", &node]))).unwrap();
    assert_eq!((json.parent, json.backup), (why.parent.clone(), why.backup.clone()));
    let table = said(&mesh.run(&["why", "card", "--node", &node]));
    for line in [
        "card at pop: fed".to_owned(),
        format!("parent  {parent} (by origin > {parent})"),
        format!("backup  {dead}"),
        "NEIGHBOUR  METRIC".to_owned(),
        "CAUSE".to_owned(),
        switch.cause.clone(),
    ] {
        assert!(table.contains(&line), "{line:?} is not in:\n{table}");
    }
    let unknown = mesh.run(&["why", "nothing", "--node", &node]);
    assert!(!unknown.status.success() && said(&unknown).contains("nobody publishes a stream \"nothing\""));
    viewer.check();
}

#[tokio::test]
async fn a_recorded_node_decides_the_same_again() {
    let (mut mesh, viewer, dead, parent) = after_a_death().await;
    let switch = mesh.why("pop", "card").await.switches.pop().unwrap();
    viewer.check();
    mesh.kill("pop");
    let tape = std::fs::read_to_string(mesh.path("tape.jsonl")).unwrap();
    let whole = &tape[..=tape.rfind('\n').unwrap()];

    let (success, told) = replay(&mesh, whole.as_bytes(), &[]);
    assert!(success && told.contains("every one as it was recorded"), "{told}");
    assert!(told.contains(&format!("card: fed by {parent} instead of {dead}, because {}", switch.cause)), "{told}");
    let (success, told) = replay(&mesh, whole.as_bytes(), &["--json", "--stream", "card"]);
    let verdict: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    let steps = whole.lines().count() - 1;
    assert!(success && steps > 100, "{steps}: {told}");
    assert_eq!((&verdict["node"], &verdict["differing"], &verdict["cut"]), (&"pop".into(), &0.into(), &false.into()));
    assert_eq!(verdict["steps"], steps);

    // A recording that is not true is told from one that is.
    let mut one = Some(());
    let other_outputs = changed(whole, |step| {
        if one.take().is_some() {
            step["outputs"] = step["outputs"].as_u64().unwrap().wrapping_add(1).into();
        }
    });
    let (success, told) = replay(&mesh, other_outputs.as_bytes(), &[]);
    assert!(!success && told.contains(" 1 of them otherwise than recorded"), "{told}");
    let without_messages = changed(whole, |step| step["input"] = Value::Null);
    let (success, told) = replay(&mesh, without_messages.as_bytes(), &[]);
    assert!(!success && told.contains("otherwise than recorded"), "{told}");
    // Half a line is what a killed node leaves; other damage is refused, and named.
    let (success, told) = replay(&mesh, &whole.as_bytes()[..whole.len() - 20], &[]);
    assert!(success && told.contains("ends in the middle of a line"), "{told}");
    let line = whole.lines().nth(49).unwrap();
    let with = |instead: &[u8]| {
        let at = whole.find(line).unwrap();
        [&whole.as_bytes()[..at], instead, &whole.as_bytes()[at + line.len()..]].concat()
    };
    let long = vec![b' '; 17 << 20];
    let begin = whole.lines().next().unwrap();
    let newer = begin.replacen("\"version\":1", "\"version\":99", 1);
    let cases: [(&[u8], &str); 8] = [
        (b"", "is empty"),
        (b"this is no recording\n", "is no recording of a node"),
        (&whole.as_bytes()[..begin.len() / 2], "is no recording of a node"),
        (newer.as_bytes(), "has version 99 of the format"),
        (&with(b"{\"step\":"), "line 50 of"),
        (&with(b"\xff\xfe"), "line 50 of"),
        (&with(begin.as_bytes()), "it begins anew"),
        (&with(&long), "longer than any that a node records"),
    ];
    for (bytes, expected) in cases {
        let (success, told) = replay(&mesh, bytes, &[]);
        assert!(!success && told.contains(expected), "{expected:?} is not in: {told}");
    }
    // Whatever else is in it: an answer, and no panic.
    for n in 0..20 {
        let mut damaged = whole.as_bytes().to_vec();
        let at = begin.len() + 1 + (damaged.len() - begin.len()) / 20 * n + n;
        damaged[at] ^= 1;
        let (success, told) = replay(&mesh, &damaged, &[]);
        let known = ["is damaged", "otherwise than recorded"].iter().any(|known| told.contains(known));
        assert!(!told.contains("panicked") && (success || known), "byte {at} is other: {told}");
    }
}

/// Changes the steps of the second half in which a message came.
fn changed(tape: &str, mut change: impl FnMut(&mut Value)) -> String {
    let half = tape.lines().count() / 2;
    let line = |(n, line): (usize, &str)| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if n > half && value["step"]["input"].get("Message").is_some() {
            change(&mut value["step"]);
        }
        format!("{value}\n")
    };
    tape.lines().enumerate().map(line).collect()
}

/// Runs `levada replay` over a recording.
fn replay(mesh: &Mesh, tape: &[u8], more: &[&str]) -> (bool, String) {
    let path = mesh.path("copy.jsonl");
    std::fs::write(&path, tape).unwrap();
    let output = mesh.run(&[&["replay", path.to_str().unwrap()], more].concat());
    (output.status.success(), said(&output))
}
