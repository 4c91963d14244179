//! Real video through a real mesh of processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Light, Mesh, check_recording, clip, record, tool, until};

/// A clip three hops away: every frame of both tracks, over several loop points, and byte for byte what was sent.
#[tokio::test]
async fn a_stream_three_hops_away_is_whole() {
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &[("origin", "r1"), ("r1", "r2"), ("r2", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    ["r1", "r2", "pop"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop", 1).await;

    let bytes = record(mesh.view("pop", "card").await, Duration::from_secs(13)).await;
    let frames = check_recording(&mesh.path("out.ts"), &bytes);
    // Real time, give or take the group that a viewer starts with and what is still on its way.
    assert!((25 * 12..=25 * 14 + 5).contains(&frames), "{frames} frames in 13 s");

    let viewer = mesh.view("pop", "card").await;
    until("three groups are the same at both ends", async || {
        let (sent, come) = (mesh.groups("origin", "card").await, mesh.groups("pop", "card").await);
        let both: Vec<_> = come.iter().filter(|group| sent.iter().any(|s| s.group == group.group)).collect();
        both.iter().for_each(|group| assert!(sent.contains(group), "{group:?} differs from what was sent: {sent:?}"));
        both.len() >= 3
    })
    .await;
    assert_eq!(mesh.path_of("pop", "card").await, ["origin", "r1", "r2", "pop"]);
    drop(viewer);
    for node in ["r1", "r2", "pop"] {
        let status = mesh.status(node).await;
        assert_eq!((status.objects_lost, status.objects_duplicated), (0, 0), "{node}");
    }
}

#[tokio::test]
async fn ten_viewers_cost_one_copy_per_link_and_the_last_one_stops_it() {
    let links = [("origin", "relay"), ("relay", "pop1"), ("relay", "pop2")];
    let mut mesh = Mesh::new(&["origin", "relay", "pop1", "pop2"], &links);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    ["relay", "pop1", "pop2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop1", 1).await;
    mesh.knows("pop2", 1).await;

    let mut viewers = tokio::task::JoinSet::new();
    for n in 0..10 {
        let viewer = mesh.view(if n % 2 == 0 { "pop1" } else { "pop2" }, "card").await;
        viewers.spawn(record(viewer, Duration::from_secs(60)));
    }
    until("media flows", async || mesh.status("pop2").await.objects_in > 500).await;
    let (relay, origin) = (mesh.status("relay").await, mesh.status("origin").await);
    assert_eq!(relay.objects_duplicated, 0);
    // The counters are read one after the other while media flow; a second copy would double them.
    let ratio = |a: u64, b: u64| a as f64 / b as f64;
    assert!((0.9..1.1).contains(&ratio(origin.objects_out, relay.objects_in)), "{origin:?} {relay:?}");
    assert!((1.8..2.1).contains(&ratio(relay.objects_out, relay.objects_in)), "{relay:?}");

    viewers.shutdown().await;
    let left = Instant::now();
    let mut sent = 0;
    until("media stops on every link", async || {
        let now = mesh.status("origin").await.objects_out + mesh.status("relay").await.objects_out;
        std::mem::replace(&mut sent, now) == now
    })
    .await;
    assert!(left.elapsed() < Duration::from_secs(3), "stopped after {:?}", left.elapsed());
    until("no state remains", async || mesh.groups("pop1", "card").await.is_empty()).await;
}

#[tokio::test]
async fn ten_streams_at_once() {
    let mut mesh = Mesh::new(&["origin", "relay", "pop"], &[("origin", "relay"), ("relay", "pop")]);
    let folder = mesh.path("videos");
    std::fs::create_dir(&folder).unwrap();
    let card = clip(mesh.dir.path(), "card.mp4");
    for n in 0..10 {
        std::fs::copy(&card, folder.join(format!("cam{n}.mp4"))).unwrap();
    }
    mesh.start("origin", &["--publish", folder.to_str().unwrap()]);
    ["relay", "pop"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop", 10).await;
    let mut recordings = tokio::task::JoinSet::new();
    for n in 0..10 {
        let viewer = mesh.view("pop", &format!("cam{n}")).await;
        recordings.spawn(async move { (n, record(viewer, Duration::from_secs(6)).await) });
    }
    while let Some(recording) = recordings.join_next().await {
        let (n, bytes) = recording.unwrap();
        let frames = check_recording(&mesh.path(&format!("cam{n}.out.ts")), &bytes);
        assert!(frames >= 25 * 5, "cam{n}: {frames} frames in 6 s");
    }
    let status = mesh.status("pop").await;
    assert_eq!((status.objects_lost, status.objects_duplicated), (0, 0));
}

#[tokio::test]
async fn a_folder_is_followed_and_one_bad_file_stops_nothing() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let folder = mesh.path("videos");
    std::fs::create_dir(&folder).unwrap();
    let card = clip(mesh.dir.path(), "card.mp4");
    let bytes = std::fs::read(&card).unwrap();
    std::fs::write(folder.join("broken.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(folder.join("text.mp4"), "this is no video").unwrap();
    std::fs::copy(&card, folder.join("first.mp4")).unwrap();
    mesh.start("origin", &["--publish", folder.to_str().unwrap()]);
    mesh.start("pop", &[]);
    mesh.knows("pop", 1).await;
    std::fs::copy(clip(mesh.dir.path(), "other.ts"), folder.join("second.ts")).unwrap();
    mesh.knows("pop", 2).await;
    let bytes = record(mesh.view("pop", "second").await, Duration::from_secs(3)).await;
    check_recording(&mesh.path("second.out.ts"), &bytes);
    std::fs::remove_file(folder.join("first.mp4")).unwrap();
    mesh.knows("pop", 1).await;
    let log = mesh.log("origin");
    assert!(log.contains("broken.mp4") && log.contains("text.mp4"), "{log}");
}

/// Whoever stands between: the relay in use is killed, and the recording has every frame.
#[tokio::test]
async fn the_stream_survives_the_relay_that_carried_it() {
    let links = [("origin", "r1"), ("origin", "r2"), ("r1", "pop"), ("r2", "pop")];
    let mut mesh = Mesh::new(&["origin", "r1", "r2", "pop"], &links);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    ["r1", "r2", "pop"].iter().for_each(|name| mesh.start(name, &[]));
    until("pop has both neighbours", async || {
        let map: Option<serde_json::Value> = mesh.get("pop", "/api/v1/map").await;
        let links = map.and_then(|map| map["links"].as_array().map(Vec::len));
        links == Some(8)
    })
    .await;
    let recording = tokio::spawn(record(mesh.view("pop", "card").await, Duration::from_secs(12)));
    let mut path = Vec::new();
    until("the stream comes over a relay", async || {
        path = mesh.path_of("pop", "card").await;
        path.len() == 3
    })
    .await;
    mesh.kill(&path[1].clone());
    until("the stream comes over the other relay", async || {
        let now = mesh.path_of("pop", "card").await;
        now.len() == 3 && now[1] != path[1]
    })
    .await;
    let bytes = recording.await.unwrap();
    check_recording(&mesh.path("out.ts"), &bytes);
    let status = mesh.status("pop").await;
    assert_eq!(status.objects_lost, 0);
}

#[tokio::test]
async fn nodes_start_in_any_order_and_live_without_the_bootstrapper() {
    let mut mesh = Mesh::new(&["origin", "relay", "pop"], &[("origin", "relay"), ("relay", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("pop", &[]);
    // Nobody publishes it yet: the viewer waits, and is served when somebody does.
    until("pop serves", async || mesh.get::<serde_json::Value>("pop", "/api/v1/status").await.is_some()).await;
    let url = format!("{}/live/card.ts?wait=1", mesh.node("pop").url());
    let viewer = reqwest::get(url).await.unwrap();
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    mesh.start("relay", &[]);
    mesh.knows("pop", 1).await;
    mesh.kill_bootstrapper();
    let bytes = record(viewer, Duration::from_secs(4)).await;
    check_recording(&mesh.path("waited.ts"), &bytes);

    mesh.kill("relay");
    mesh.start("relay", &[]);
    let viewer = mesh.view("pop", "card").await;
    // The origin may have been adopted meanwhile; the relay is a neighbour again in any case.
    until("the relay is back without a bootstrapper", async || {
        let map: serde_json::Value = mesh.get("pop", "/api/v1/map").await.unwrap_or_default();
        let neighbours = map["neighbours"].as_array().cloned().unwrap_or_default();
        let back = neighbours.iter().any(|neighbour| neighbour["name"] == "relay" && neighbour["up"] == true);
        back && mesh.path_of("pop", "card").await.len() >= 2
    })
    .await;
    let bytes = record(viewer, Duration::from_secs(3)).await;
    check_recording(&mesh.path("again.ts"), &bytes);
}

#[tokio::test]
async fn an_edited_topology_reaches_running_nodes() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    mesh.start("pop", &[]);
    mesh.knows("origin", 1).await;
    until("pop serves", async || mesh.get::<serde_json::Value>("pop", "/api/v1/status").await.is_some()).await;
    mesh.write_topology(&[("origin", "pop")]);
    mesh.knows("pop", 1).await;
}

#[tokio::test]
async fn publishing_from_a_pipe_and_watching_as_a_leaf() {
    let mut mesh = Mesh::new(&["relay"], &[("leaf", "relay"), ("pen", "relay")]);
    mesh.start("relay", &[]);
    let clip = clip(mesh.dir.path(), "card.ts");
    let (pen_token, leaf_token) = (mesh.token("pen"), mesh.token("leaf"));
    let mut publish = tokio::process::Command::new(env!("CARGO_BIN_EXE_levada"));
    publish.args(["publish", "-", "--as", "piped", "--token", &pen_token]).args(mesh.member("pen"));
    let mut publisher = publish.stdin(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    let video = std::fs::read(&clip).unwrap();
    let feeding = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        for _ in 0..20 {
            if stdin.write_all(&video).await.is_err() {
                return;
            }
        }
    });
    mesh.knows("relay", 1).await;
    let out = mesh.path("watched.ts");
    let mut watch = tokio::process::Command::new(env!("CARGO_BIN_EXE_levada"));
    watch.args(["watch", "piped", "--for", "4s", "--to", out.to_str().unwrap(), "--token", &leaf_token]);
    // Which node other commands ask is another matter.
    let status = watch.args(mesh.member("leaf")).env("LEVADA_NODE", "http://127.0.0.1:9").status().await.unwrap();
    assert!(status.success());
    let (_, complaints) = tool("ffmpeg", &["-v", "error", "-i", out.to_str().unwrap(), "-f", "null", "-"]);
    assert_eq!(complaints, "");
    let probe = ["-v", "error", "-count_packets", "-select_streams", "v:0", "-show_entries", "stream=nb_read_packets"];
    let (count, _) = tool("ffprobe", &[&probe[..], &["-of", "csv=p=0", out.to_str().unwrap()]].concat());
    let frames: u32 = count.split([',', '\n']).find_map(|field| field.parse().ok()).unwrap();
    assert!(frames > 60, "{frames} frames in 4 s");
    feeding.abort();
}

/// A viewer over HTTP that was told of one PoP only: it learns of the other one from it.
#[tokio::test]
async fn a_viewer_over_http_goes_on_from_another_pop() {
    let mut mesh = Mesh::new(&["origin", "pop1", "pop2"], &[("origin", "pop1"), ("origin", "pop2")]);
    mesh.start("origin", &["--publish", &format!("card={}", clip(mesh.dir.path(), "card.mp4").display())]);
    ["pop1", "pop2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop1", 1).await;
    mesh.knows("pop2", 1).await;
    until("the PoP in use knows the other one", async || {
        let known: Option<levada_node::http::Pops> = mesh.get("pop1", "/api/v1/pops").await;
        known.is_some_and(|known| known.pops.iter().any(|pop| pop.name == "pop2" && pop.reachable))
    })
    .await;
    let (out, log) = (mesh.path("watched.ts"), mesh.path("viewer.log"));
    let mut viewer = tokio::process::Command::new(common::LEVADA);
    viewer.args(["watch", "card", "--node", &mesh.node("pop1").url(), "--to", out.to_str().unwrap()]);
    viewer.stderr(std::fs::File::create(&log).unwrap()).kill_on_drop(true);
    let _running = viewer.spawn().unwrap();
    grow(std::slice::from_ref(&out), 300_000).await;
    mesh.kill("pop1");
    grow(&[out], 300_000).await;
    let told = std::fs::read_to_string(log).unwrap();
    // The origin serves viewers as well.
    let next = ["pop2", "origin"].map(|name| mesh.node(name).url());
    assert!(told.contains("the PoP is lost") && next.iter().any(|url| told.contains(url)), "{told}");
}

/// A viewer whom no topology lists: it uses the PoPs, and when the one in use dies its streams go on from another.
#[tokio::test]
async fn a_guest_watches_two_streams_and_outlives_its_pop() {
    let (names, links) = (["origin", "pop1", "pop2"], [("origin", "pop1"), ("origin", "pop2"), ("pop1", "pop2")]);
    let mut mesh = Mesh::with_pops(&names, &links, &["pop1", "pop2"]);
    let streams = ["one", "two"];
    let published = streams.map(|stream| format!("{stream}={}", clip(mesh.dir.path(), "card.mp4").display()));
    mesh.start("origin", &["--publish", &published[0], "--publish", &published[1]]);
    ["pop1", "pop2"].iter().for_each(|name| mesh.start(name, &[]));
    mesh.knows("pop1", 2).await;
    mesh.knows("pop2", 2).await;
    until("the PoPs are linked", async || mesh.linked("pop1", "pop2").await).await;

    let files = mesh.path("{}.ts");
    let watch = ["watch", streams[0], streams[1], "--to", files.to_str().unwrap()];
    let guest = Light::start(&mesh, "guest", &watch, std::process::Stdio::null());
    let written = streams.map(|stream| mesh.path(&format!("{stream}.ts")));
    grow(&written, 300_000).await;
    let mut in_use = None;
    until("it has a PoP", async || {
        for pop in ["pop1", "pop2"] {
            let known: Option<levada_node::http::Streams> = mesh.get(pop, "/api/v1/streams").await;
            let feeds = |entry: &levada_node::http::StreamEntry| entry.children.iter().any(|child| child == "guest");
            if known.is_some_and(|known| known.streams.iter().any(feeds)) {
                in_use = Some(pop);
            }
        }
        in_use.is_some()
    })
    .await;
    mesh.kill(in_use.unwrap());
    grow(&written, 600_000).await;
    drop(guest);
    for path in written {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 188 * 188);
        check_recording(&path, &bytes);
    }
}

/// Waits until so many more bytes have been written to each file.
async fn grow(files: &[PathBuf], more: u64) {
    let sizes = || files.iter().map(|file| std::fs::metadata(file).map_or(0, |file| file.len()));
    let wanted: Vec<u64> = sizes().map(|size| size + more).collect();
    until("the streams flow", async || sizes().zip(&wanted).all(|(size, wanted)| size >= *wanted)).await;
}

#[tokio::test]
async fn questions_are_answered_in_tables_and_in_json() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    mesh.start("origin", &["--publish", clip.to_str().unwrap()]);
    mesh.start("pop", &[]);
    mesh.knows("pop", 1).await;
    let viewer = tokio::spawn(record(mesh.view("pop", "card").await, Duration::from_secs(30)));
    until("the stream flows", async || mesh.path_of("pop", "card").await.len() == 2).await;
    let node = mesh.node("pop").url();
    let ask = |args: &[&str]| {
        let output = mesh.run(&[args, &["--node", &node]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask(&["streams"]).contains("card"));
    assert!(ask(&["map"]).contains("origin"));
    assert!(ask(&["trace", "card"]).contains("ms ago"));
    let json = |args: &[&str]| serde_json::from_str::<serde_json::Value>(&ask(args)).unwrap();
    for args in [&["streams", "--json"][..], &["map", "--json"], &["trace", "card", "--json"]] {
        json(args);
    }
    // Those of another PoP, too, which only that one knows.
    let _elsewhere = mesh.view("origin", "card").await;
    until("the viewers of both are told", async || {
        let pops = json(&["pops", "--json", "--stream", "card"])["pops"].clone();
        ["pop", "origin"]
            .iter()
            .all(|name| pops.as_array().unwrap().iter().any(|pop| pop["name"] == *name && pop["viewers"] == 1))
    })
    .await;
    assert!(ask(&["pops", "--stream", "card"]).contains("VIEWERS"));
    viewer.abort();
}

/// The page, in a real Chromium: picture and sound at real-time pace, two streams side by side, each with its name.
#[tokio::test]
async fn the_page_plays_in_a_browser() {
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let clip = clip(mesh.dir.path(), "card.mp4");
    let (one, two) = (format!("one={}", clip.display()), format!("testcard={}", clip.display()));
    mesh.start("origin", &["--publish", &one, "--publish", &two]);
    mesh.start("pop", &[]);
    mesh.knows("pop", 2).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests/play.mjs");
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");
    let url = mesh.node("pop").url();
    let playing = tokio::task::spawn_blocking(move || {
        tool("node", &[script, &url, "--streams", "one,testcard", "--seconds", "6", "--json", "--out", out])
    });
    let (result, _) = playing.await.unwrap();
    assert!(result.contains("\"ok\":true"), "{result}");
}

#[tokio::test]
async fn the_demo_loses_and_doubles_nothing_and_leaves_nothing_behind() {
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_levada"));
    let output = demo.args(["demo", "--for", "6s", "--json"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = ["objects_lost", "frames_lost", "frames_doubled"].map(|count| report[count].as_u64());
    assert_eq!(faults, [Some(0); 3], "{report}");
    assert_eq!((&report["streams"], &report["nodes"], &report["viewers"]), (&2.into(), &9.into(), &4.into()));
    assert_eq!(report["copies_per_link_max"], 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://"));
}
