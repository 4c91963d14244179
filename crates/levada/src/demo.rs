//! `levada demo`: a whole mesh as processes on loopback, which leaves nothing behind.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use levada_lab::tape::{Faults, Tape};
use levada_node::http::{Status, Streams, Trace};
use levada_node::trust::Authority;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::cli::{DemoArgs, Lifetime};
use crate::query;

/// Moving test card with clock, frame counter and tone (assets/make-testcard.sh).
pub(crate) const CLIP: &[u8] = include_bytes!("../assets/testcard.mp4");
const ORIGINS: [(&str, &str); 2] = [("origin1", "testcard"), ("origin2", "testcard-two")];
const RELAYS: [&str; 5] = ["relay1", "relay2", "relay3", "relay4", "relay5"];
const POPS: [&str; 2] = ["pop1", "pop2"];
const LINKS: [(&str, &str); 12] = [
    ("origin1", "relay1"),
    ("origin1", "relay2"),
    ("origin2", "relay2"),
    ("origin2", "relay3"),
    ("relay1", "relay2"),
    ("relay2", "relay3"),
    ("relay1", "relay4"),
    ("relay3", "relay5"),
    ("relay4", "relay5"),
    ("relay4", "pop1"),
    ("relay5", "pop2"),
    ("relay5", "pop1"),
];
/// Time for all processes to be ready, and for the streams to be known at the PoPs.
const READY: Duration = Duration::from_secs(30);
/// Time for a process to stop by itself.
const STOP: Duration = Duration::from_secs(3);

/// What a demo measured.
#[derive(Debug, Serialize)]
struct Report {
    streams: usize,
    nodes: usize,
    viewers: usize,
    objects_published: u64,
    objects_delivered: u64,
    objects_lost: u64,
    /// Received again by a node, as while a parent is suspected and the next one asked; nobody sees them.
    objects_duplicated: u64,
    /// Of an object, on the average of a node.
    copies_per_link_max: u64,
    /// What the viewers saw; of the test card only, whose cadence is known.
    frames_lost: u64,
    frames_doubled: u64,
    join_ms_p50: Option<f64>,
    added_latency_per_hop_us_p50: Option<u64>,
    paths: std::collections::BTreeMap<String, Vec<String>>,
}

struct Mesh {
    children: Vec<Child>,
    /// (name, base URL).
    nodes: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

pub(crate) async fn demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut mesh = Mesh { children: Vec::new(), nodes: Vec::new(), _dir: tempfile::tempdir()? };
    let run = async {
        mesh.start(args.clip.as_deref()).await?;
        mesh.run(&args).await
    };
    let result = tokio::select! {
        result = run => result,
        ended = crate::serve::end_of(Lifetime::default()) => ended.map(|_| None),
    };
    mesh.stop().await;
    let Some(report) = result? else { return Ok(ExitCode::SUCCESS) };
    if args.json {
        query::say(&serde_json::to_string(&report)?);
    } else {
        query::say(&serde_json::to_string_pretty(&report)?);
    }
    let faults = report.objects_lost + report.frames_lost + report.frames_doubled;
    if report.objects_delivered == 0 || faults > 0 {
        eprintln!(
            "levada: the demo failed: {} objects delivered, {} lost; the viewers lost {} frames and saw {} twice",
            report.objects_delivered, report.objects_lost, report.frames_lost, report.frames_doubled
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Mesh {
    async fn start(&mut self, clip: Option<&Path>) -> anyhow::Result<()> {
        let dir = self._dir.path().to_owned();
        let clip = match clip {
            Some(clip) => clip.to_owned(),
            None => {
                let path = dir.join("testcard.mp4");
                std::fs::write(&path, CLIP)?;
                path
            }
        };
        let names: Vec<&str> = ORIGINS.iter().map(|(name, _)| *name).chain(RELAYS).chain(POPS).collect();
        // A page is served over TCP and UDP of one port, so links need another.
        let ports = levada_node::ports::free(2 * names.len() + 1)?;
        let (links, rest) = ports.split_at(names.len());
        let (pages, boot) = rest.split_at(names.len());
        let topology = dir.join("topology.toml");
        std::fs::write(&topology, topology_text(&names, links))?;
        let ca = dir.join("ca");
        let authority = Authority::open_or_create(&ca)?;
        let boot = format!("127.0.0.1:{}", boot[0]);
        eprintln!("starting a bootstrapper and {} nodes on loopback …", names.len());
        let mut command = vec!["bootstrap".to_owned(), "--listen".to_owned(), boot.clone()];
        command.extend(["--topology".to_owned(), topology.display().to_string()]);
        command.extend(["--dir".to_owned(), ca.display().to_string()]);
        self.spawn(&command)?;
        for ((name, link), page) in names.iter().zip(links).zip(pages) {
            let token = authority.mint_token(Some(name), Duration::from_secs(3600))?.to_string();
            let (listen, http) = (format!("127.0.0.1:{link}"), format!("127.0.0.1:{page}"));
            let dir = dir.join(name).display().to_string();
            let mut command: Vec<String> =
                ["node", "--name", name, "--bootstrap", &boot, "--token", &token, "--dir", &dir]
                    .into_iter()
                    .chain(["--listen", &listen, "--http", &http])
                    .map(str::to_owned)
                    .collect();
            if let Some((_, stream)) = ORIGINS.iter().find(|(origin, _)| origin == name) {
                command.extend(["--publish".to_owned(), format!("{stream}={}", clip.display())]);
            }
            self.spawn(&command)?;
            self.nodes.push(((*name).to_owned(), format!("http://{http}")));
        }
        self.ready().await
    }

    fn spawn(&mut self, args: &[String]) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(args).args(["--quiet", "--until-stdin-closes"]);
        // A pipe that closes with this process stops the others, however this one ends.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        // Ctrl-C goes to the whole terminal; the demo stops its processes itself, in order.
        command.process_group(0);
        self.children.push(command.spawn().context("cannot start a process")?);
        Ok(())
    }

    fn pops(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|(name, _)| POPS.contains(&name.as_str())).map(|(_, url)| url.as_str())
    }

    /// Waits until every PoP knows every stream and every link.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let pops: Vec<String> = self.pops().map(str::to_owned).collect();
        for pop in pops {
            loop {
                for child in &mut self.children {
                    if let Some(status) = child.try_wait()? {
                        bail!("a process of the demo ended early ({status}); run it again with -v for more");
                    }
                }
                let known: anyhow::Result<Streams> = query::get(&pop, "/api/v1/streams").await;
                let live = |streams: &Streams| streams.streams.iter().filter(|s| !s.origins.is_empty()).count();
                let map: anyhow::Result<serde_json::Value> = query::get(&pop, "/api/v1/map").await;
                let links = map.ok().and_then(|map| map.get("links")?.as_array().map(Vec::len));
                if known.as_ref().is_ok_and(|known| live(known) == ORIGINS.len()) && links == Some(2 * LINKS.len()) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("the mesh was not ready within {} s", READY.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn run(&self, args: &DemoArgs) -> anyhow::Result<Option<Report>> {
        let pops: Vec<&str> = self.pops().collect();
        let joins = Arc::new(Mutex::new(Vec::new()));
        let is_measured = args.clip.is_none() && args.duration.is_some();
        let mut tapes = Vec::new();
        let mut viewers = JoinSet::new();
        for viewer in 0..args.viewers {
            let (pop, (_, stream)) = (pops[viewer % pops.len()], ORIGINS[viewer / pops.len() % ORIGINS.len()]);
            let tape = is_measured.then(|| Arc::new(Mutex::new(Tape::of_times(Instant::now()))));
            tapes.extend(tape.clone());
            viewers.spawn(view(format!("{pop}/live/{stream}.ts"), joins.clone(), tape));
        }
        eprintln!("\n  watch it:   {}/\n  the other:  {}/", pops[0], pops[1]);
        let levada = std::env::args().next().unwrap_or_else(|| "levada".to_owned());
        eprintln!("  ask it:     {levada} map --node {}\n", pops[0]);
        let Some(duration) = args.duration else {
            eprintln!("Ctrl-C stops everything.");
            std::future::pending::<()>().await;
            return Ok(None);
        };
        tokio::time::sleep(duration).await;
        let lost_viewers = args.viewers - viewers.len();
        if lost_viewers > 0 || viewers.try_join_next().is_some() {
            bail!("a viewer of the demo was cut off");
        }
        let joins = joins.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let report = self.report(args.viewers, joins, &tapes).await;
        viewers.shutdown().await;
        report.map(Some)
    }

    async fn report(&self, viewers: usize, joins: Vec<f64>, tapes: &[Arc<Mutex<Tape>>]) -> anyhow::Result<Report> {
        let mut all = Vec::new();
        for (name, url) in &self.nodes {
            match query::get::<Status>(url, "/api/v1/status").await {
                Ok(status) => all.push(status),
                // Whoever watches the demo is invited to kill one.
                Err(_) => eprintln!("{name} does not answer; the figures are without it"),
            }
        }
        let sum = |count: fn(&Status) -> u64| all.iter().map(count).sum();
        let once = |s: &Status| (s.objects_in - s.objects_duplicated).max(1);
        let copies = |s: &Status| (s.objects_in as f64 / once(s) as f64).round() as u64;
        let now = Instant::now();
        let faults = |tape: &Arc<Mutex<Tape>>| {
            let tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
            tape.faults(tape.began(), now)
        };
        let faults: Vec<Faults> = tapes.iter().map(faults).collect();
        let relays = all.iter().filter(|status| RELAYS.contains(&status.node.as_str()));
        let latencies: Vec<u64> = relays.filter_map(|status| status.forward_us_p50).collect();
        let mut paths = std::collections::BTreeMap::new();
        for (stream, pop) in ORIGINS.iter().flat_map(|(_, stream)| self.pops().map(move |pop| (*stream, pop))) {
            let trace: Trace = query::get(pop, &format!("/api/v1/trace/{stream}")).await?;
            let path: Vec<String> = trace.hops.into_iter().map(|hop| hop.node).collect();
            paths.insert(format!("{stream}@{}", path.last().map_or("", String::as_str)), path);
        }
        Ok(Report {
            streams: ORIGINS.len(),
            nodes: all.len(),
            viewers,
            objects_published: sum(|status| status.objects_published),
            objects_delivered: sum(|status| status.objects_delivered),
            objects_lost: sum(|status| status.objects_lost),
            objects_duplicated: sum(|status| status.objects_duplicated),
            copies_per_link_max: all.iter().map(copies).max().unwrap_or(0),
            frames_lost: faults.iter().map(|faults| faults.lost).sum(),
            frames_doubled: faults.iter().map(|faults| faults.doubled).sum(),
            join_ms_p50: median(joins),
            added_latency_per_hop_us_p50: median(latencies),
            paths,
        })
    }

    async fn stop(&mut self) {
        // Closing their input asks the processes to stop; who does not is killed.
        self.children.iter_mut().for_each(|child| drop(child.stdin.take()));
        for child in &mut self.children {
            if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                // It may have ended in this very moment.
                let _ = child.kill().await;
            }
        }
    }
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

/// Reads a stream as a player would, and notes how long the first bytes took, and what came when.
async fn view(url: String, joins: Arc<Mutex<Vec<f64>>>, tape: Option<Arc<Mutex<Tape>>>) -> Option<()> {
    let asked = Instant::now();
    let mut response = reqwest::get(&url).await.ok().filter(|response| response.status().is_success())?;
    let mut first = true;
    while let Ok(Some(bytes)) = response.chunk().await {
        if let Some(tape) = &tape {
            tape.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes, Instant::now());
        }
        if std::mem::take(&mut first) {
            let took = asked.elapsed().as_secs_f64() * 1e3;
            joins.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }
    None
}

fn topology_text(names: &[&str], ports: &[u16]) -> String {
    let links: Vec<String> = LINKS.iter().map(|(a, b)| format!("  [\"{a}\", \"{b}\"],\n")).collect();
    let node = |(name, port): (&&str, &u16)| format!("\n[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n");
    format!("links = [\n{}]\n{}", links.concat(), names.iter().zip(ports).map(node).collect::<String>())
}
