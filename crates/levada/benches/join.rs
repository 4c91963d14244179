//! How long a viewer waits for the first decodable frame: with the stream already at the PoP, and with three hops to join.
//! Real processes on loopback, whose round-trip time is a fraction of a millisecond: what is left is our own doing.
//!
//! The bounds: warm, 1 RTT and 50 ms; cold, 1 RTT a hop and 100 ms.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Mesh, clip, until};

const WARM: usize = 50;
const COLD: usize = 10;

#[tokio::main]
async fn main() {
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &[("origin", "r1"), ("r1", "r2"), ("r2", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    ["r1", "r2", "pop"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop", 1).await;
    let mut cold = Vec::new();
    for _ in 0..COLD {
        cold.push(join(&mesh).await);
        until("the tree is gone", async || {
            mesh.status("r1").await.objects_out == {
                tokio::time::sleep(Duration::from_millis(300)).await;
                mesh.status("r1").await.objects_out
            }
        })
        .await;
    }
    let keep = mesh.view("pop", "card").await;
    until("the stream flows", async || mesh.path_of("pop", "card").await.len() == 4).await;
    let mut warm = Vec::new();
    for _ in 0..WARM {
        warm.push(join(&mesh).await);
    }
    drop(keep);
    report("warm join (bound 50 ms and 1 RTT)", warm);
    report("cold join, 3 hops (bound 100 ms and 3 RTT)", cold);
}

/// Time from the request to the first bytes, which begin with a keyframe.
async fn join(mesh: &Mesh) -> Duration {
    let asked = Instant::now();
    let mut viewer = mesh.view("pop", "card").await;
    viewer.chunk().await.unwrap().unwrap();
    asked.elapsed()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{what}: p50 {:.1} ms, worst of {} {:.1} ms",
        p50.as_secs_f64() * 1e3,
        times.len(),
        max.as_secs_f64() * 1e3
    );
}
