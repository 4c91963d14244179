//! Bad input of every kind: each gets a clear error, and the node keeps serving.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{Mesh, check_recording, clip, record, until};
use levada_node::trust::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn stderr(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "an error was expected");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn strangers_are_told_why() {
    let mesh = Mesh::new(&["a", "b"], &[("a", "b")]);
    let token = mesh.token("a");
    let node = |name: &str, token: &str| {
        let member = mesh.member(name);
        let mut args = vec!["node", "--http", "off", "--listen", "127.0.0.1:0", "--token", token];
        args.extend(member.iter().map(String::as_str));
        stderr(&mesh.run(&args))
    };
    let wrong = node("a", "levada1.bm9uc2Vuc2U");
    assert!(wrong.contains("token") && wrong.contains("levada token"), "{wrong}");
    let unknown = node("c", &mesh.token("c"));
    assert!(unknown.contains("\"c\" is not in the topology") && unknown.contains("a, b"), "{unknown}");
    let other = node("b", &token);
    assert!(other.contains("is for node a, not b"), "{other}");
    let foreign = tempfile::tempdir().unwrap();
    let foreign = Authority::open_or_create(foreign.path()).unwrap().mint_token(None, Duration::from_secs(60)).unwrap();
    let foreign = node("a", &foreign.to_string());
    assert!(foreign.contains("not the bootstrapper of this node's cluster"), "{foreign}");
    let name = stderr(&mesh.run(&["node", "--name", "Bad Name"]));
    assert!(name.contains("\"Bad Name\"") && name.contains("--name"), "{name}");
}

#[tokio::test]
async fn broken_settings_are_named() {
    let mut mesh = Mesh::new(&["a"], &[]);
    mesh.start("a", &[]);
    until("a serves", async || mesh.get::<serde_json::Value>("a", "/api/v1/status").await.is_some()).await;
    let http = format!("127.0.0.1:{}", mesh.node("a").http);
    let busy = stderr(&mesh.run(&["node", "--name", "x", "--dir", "/nonexistent", "--http", &http]));
    assert!(busy.contains(&http) && busy.contains("--http"), "{busy}");
    let bootstrap = mesh.bootstrap.clone();
    let topology = mesh.path("topology.toml");
    let dir = mesh.path("ca2");
    let start = |listen: &str, topology: &std::path::Path| {
        let (topology, dir) = (topology.to_str().unwrap(), dir.to_str().unwrap());
        stderr(&mesh.run(&["bootstrap", "--listen", listen, "--topology", topology, "--dir", dir]))
    };
    let busy = start(&bootstrap, &topology);
    assert!(busy.contains(&bootstrap) && busy.contains("--listen"), "{busy}");
    let broken = mesh.path("broken.toml");
    std::fs::write(&broken, "[[node]]\nname = \"a\"\nneighbors = [\"b\"]").unwrap();
    let error = start("127.0.0.1:0", &broken);
    assert!(error.contains("broken.toml") && error.contains("neighbors"), "{error}");
    let missing = start("127.0.0.1:0", std::path::Path::new("/no/such.toml"));
    assert!(missing.contains("/no/such.toml"), "{missing}");
    let nobody = stderr(&mesh.run(&["streams", "--node", "http://127.0.0.1:1"]));
    assert!(nobody.contains("--node"), "{nobody}");
}

#[tokio::test]
async fn garbage_at_every_port_stops_nothing() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    mesh.start("pop", &[]);
    mesh.knows("pop", 1).await;
    let recording = tokio::spawn(record(mesh.view("pop", "card").await, Duration::from_secs(6)));

    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let boot: std::net::SocketAddr = mesh.bootstrap.parse().unwrap();
    for port in [mesh.node("pop").link, mesh.node("origin").link, boot.port()] {
        for len in [0, 1, 21, 300, 1200, 1452] {
            for first in [0x00, 0x40, 0xc0, 0xff] {
                let mut bytes = vec![0xa5; len];
                bytes.iter_mut().take(1).for_each(|byte| *byte = first);
                socket.send_to(&bytes, ("127.0.0.1", port)).await.unwrap();
            }
        }
    }
    let http = mesh.node("pop").http;
    for request in [&b"\x00\xff\x13garbage\r\n\r\n"[..], b"GET /live/../../etc/passwd HTTP/1.1\r\n\r\n", b"GET"] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", http)).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    }

    let url = mesh.node("pop").url();
    let unknown = reqwest::get(format!("{url}/live/nothing.ts")).await.unwrap();
    assert_eq!(unknown.status(), 404);
    let text = unknown.text().await.unwrap();
    assert!(text.contains("\\\"nothing\\\"") && text.contains("card"), "{text}");
    assert_eq!(reqwest::get(format!("{url}/live/b%20d.ts")).await.unwrap().status(), 400);
    assert_eq!(reqwest::get(format!("{url}/live/card.ws")).await.unwrap().status(), 400);
    assert_eq!(reqwest::get(format!("{url}/nowhere")).await.unwrap().status(), 404);
    check_recording(&mesh.path("out.ts"), &recording.await.unwrap());
}

/// A node of another cluster dials; so does one without any certificate.
#[tokio::test]
async fn a_foreign_certificate_gets_no_link() {
    let mut ours = Mesh::new(&["a"], &[]);
    ours.start("a", &[]);
    until("a serves", async || ours.get::<serde_json::Value>("a", "/api/v1/status").await.is_some()).await;
    let mut theirs = Mesh::new(&["a", "spy"], &[("a", "spy")]);
    // Their topology says that our node is the spy's neighbour.
    let topology = std::fs::read_to_string(theirs.path("topology.toml")).unwrap();
    let (their_a, our_a) = (theirs.node("a").link.to_string(), ours.node("a").link.to_string());
    std::fs::write(theirs.path("topology.toml"), topology.replace(&their_a, &our_a)).unwrap();
    theirs.start("spy", &[]);
    until("the link is refused", async || ours.log("a").contains("link refused")).await;
    let map: serde_json::Value = ours.get("a", "/api/v1/map").await.unwrap();
    assert_eq!(map["neighbours"].as_array().map(Vec::len), Some(0), "{map}");
    assert_eq!(map["nodes"].as_array().map(Vec::len), Some(1), "{map}");
}
