//! From glass to glass on loopback: an encoder stamps pictures with the time, a real Chromium reads the stamps of what it
//! shows: our page with each delay that a viewer can choose, hls.js with Low-Latency HLS and mpegts.js with MPEG-TS, one after the other.
//!
//! The bounds: MSE p50 300 ms, WebCodecs p50 120 ms, Low-Latency HLS p50 1.5 s, and staying there for five minutes: each line
//! says whether its bound holds, over all and in each minute; where one does not the benchmark fails, after all of them.
//! `cargo bench -p levada --bench glass -- --quick` leaves the five minutes out.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};

use common::{LEVADA, Mesh, end};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests");
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");

#[tokio::main]
async fn main() {
    let mut mesh = Mesh::new(&["pop"], &[("pen", "pop")]);
    mesh.start("pop", &[]);
    let encoder = Command::new("node").arg(format!("{TESTS}/stamps.mjs")).stdout(Stdio::piped()).spawn();
    let mut encoder = encoder.unwrap();
    let mut publisher = Command::new(LEVADA);
    publisher.args(["publish", "-", "--as", "cam", "--token", &mesh.token("pen")]).args(mesh.member("pen"));
    let publisher = publisher.stdin(encoder.stdout.take().unwrap()).stderr(Stdio::null()).spawn().unwrap();
    mesh.knows("pop", 1).await;
    let url = mesh.node("pop").url();
    let script = format!("{TESTS}/glass.mjs");
    let measure = |args: &[&str]| {
        let mut node = Command::new("node");
        node.args([&script, &url, "--stream", "cam", "--out", OUT]).args(args).status().unwrap().success()
    };
    let quick = std::env::args().any(|arg| arg == "--quick");
    let each = measure(&[]);
    let stays = quick || measure(&["--players", "hls.js", "--seconds", "300"]);
    end(Some(publisher));
    end(Some(encoder));
    assert!(each && stays, "a bound does not hold");
}
