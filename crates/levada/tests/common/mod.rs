//! Real processes of the real binary on loopback, for end-to-end tests. Whatever happens, they end with the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

#[path = "../../../media/tests/common/tool.rs"]
mod tool;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use levada_node::http::{GroupDigest, Status, Streams, Trace, Why};
use levada_node::trust::Authority;
use serde::de::DeserializeOwned;

pub(crate) use tool::tool;

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const LEVADA: &str = env!("CARGO_BIN_EXE_levada");
/// Bytes of a clip that take at least a second to play, and a few at most.
const ENOUGH: usize = 100_000;
/// Nodes without an address: they connect out only.
const LIGHT: [&str; 3] = ["leaf", "pen", "pen2"];

/// A mesh of processes.
pub struct Mesh {
    pub dir: tempfile::TempDir,
    pub bootstrap: String,
    topology: String,
    pops: Vec<String>,
    nodes: Vec<Node>,
    bootstrapper: Option<Child>,
}

pub struct Node {
    pub name: String,
    pub link: u16,
    pub http: u16,
    child: Option<Child>,
}

impl Node {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }
}

/// A process that is a node without an address; killed when dropped.
pub struct Light {
    pub child: Option<Child>,
}

impl Light {
    pub fn start(mesh: &Mesh, name: &str, args: &[&str], stdout: Stdio) -> Self {
        let log = mesh.log_file(name);
        let mut command = Command::new(LEVADA);
        command.args(args).args(mesh.member(name)).args(["--token", &mesh.token(name)]).env_remove("LEVADA_NODE");
        Self { child: Some(command.stdin(Stdio::piped()).stdout(stdout).stderr(log).spawn().unwrap()) }
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        end(self.child.take());
    }
}

impl Mesh {
    /// Lays out nodes and links and starts the bootstrapper.
    pub fn new(names: &[&str], links: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nodes: Vec<Node> = names
            .iter()
            .map(|name| Node { name: (*name).to_owned(), link: free_port(), http: free_port(), child: None })
            .collect();
        let mut mesh = Self {
            pops: Vec::new(),
            bootstrap: format!("127.0.0.1:{}", free_port()),
            topology: String::new(),
            nodes,
            bootstrapper: None,
            dir,
        };
        mesh.write_topology(links);
        mesh.start_bootstrapper();
        mesh
    }

    /// The same, with nodes that viewers may use which no topology lists.
    pub fn with_pops(names: &[&str], links: &[(&str, &str)], pops: &[&str]) -> Self {
        let mut mesh = Self::new(names, links);
        mesh.kill_bootstrapper();
        mesh.pops = pops.iter().map(|pop| (*pop).to_owned()).collect();
        mesh.write_topology(links);
        mesh.start_bootstrapper();
        mesh
    }

    pub fn write_topology(&mut self, links: &[(&str, &str)]) {
        let links: Vec<String> = links.iter().map(|(a, b)| format!("[\"{a}\", \"{b}\"]")).collect();
        let node = |n: &Node| format!("[[node]]\nname = \"{}\"\naddress = \"127.0.0.1:{}\"\n", n.name, n.link);
        let light: String = LIGHT.iter().map(|name| format!("[[node]]\nname = \"{name}\"\n")).collect();
        let (links, nodes) = (links.join(", "), self.nodes.iter().map(node).collect::<String>());
        self.topology = format!("links = [{links}]\npops = {:?}\n{nodes}{light}", self.pops);
        std::fs::write(self.path("topology.toml"), &self.topology).unwrap();
    }

    pub fn start_bootstrapper(&mut self) {
        let mut command = Command::new(LEVADA);
        command.args(["bootstrap", "--listen", &self.bootstrap, "--until-stdin-closes"]);
        command.arg("--topology").arg(self.path("topology.toml")).arg("--dir").arg(self.path("ca"));
        self.bootstrapper = Some(self.spawn(command, "bootstrap"));
    }

    pub fn kill_bootstrapper(&mut self) {
        end(self.bootstrapper.take());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn token(&self, name: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        while !self.path("ca/ca-key.pem").exists() {
            assert!(Instant::now() < deadline, "the bootstrapper makes no CA");
            std::thread::sleep(Duration::from_millis(20));
        }
        let authority = Authority::open_or_create(&self.path("ca")).unwrap();
        authority.mint_token(Some(name), Duration::from_secs(3600)).unwrap().to_string()
    }

    /// The arguments with which a member finds its mesh.
    pub fn member(&self, name: &str) -> Vec<String> {
        let dir = self.path(name).display().to_string();
        ["--name", name, "--bootstrap", &self.bootstrap, "--dir", &dir].map(str::to_owned).to_vec()
    }

    /// Starts a node, with more arguments.
    pub fn start(&mut self, name: &str, more: &[&str]) {
        let token = self.token(name);
        let node = self.node(name);
        let mut command = Command::new(LEVADA);
        command.arg("node").args(self.member(name)).args(["--token", &token, "--until-stdin-closes", "-v"]);
        command.args(["--listen", &format!("127.0.0.1:{}", node.link), "--http", &format!("127.0.0.1:{}", node.http)]);
        command.args(more);
        let child = self.spawn(command, name);
        self.nodes.iter_mut().find(|node| node.name == name).unwrap().child = Some(child);
    }

    pub fn start_all(&mut self) {
        for name in self.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>() {
            self.start(&name, &[]);
        }
    }

    pub fn kill(&mut self, name: &str) {
        end(self.nodes.iter_mut().find(|node| node.name == name).unwrap().child.take());
    }

    /// Whether a node's process has ended by itself.
    pub fn has_ended(&mut self, name: &str) -> bool {
        let child = self.nodes.iter_mut().find(|node| node.name == name).unwrap().child.as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap()
    }

    fn spawn(&self, mut command: Command, name: &str) -> Child {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(self.log_file(name)).spawn().unwrap()
    }

    fn log_file(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap()
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    pub async fn get<T: DeserializeOwned>(&self, node: &str, path: &str) -> Option<T> {
        let url = format!("{}{path}", self.node(node).url());
        reqwest::get(url).await.ok()?.error_for_status().ok()?.json().await.ok()
    }

    pub async fn status(&self, node: &str) -> Status {
        self.get(node, "/api/v1/status").await.unwrap_or_else(|| panic!("node {node} gives no status"))
    }

    pub async fn groups(&self, node: &str, stream: &str) -> Vec<GroupDigest> {
        self.get(node, &format!("/api/v1/streams/{stream}/groups")).await.unwrap_or_default()
    }

    pub async fn path_of(&self, node: &str, stream: &str) -> Vec<String> {
        let trace: Option<Trace> = self.get(node, &format!("/api/v1/trace/{stream}")).await;
        trace.map(|trace| trace.hops.into_iter().map(|hop| hop.node).collect()).unwrap_or_default()
    }

    /// Waits until a node knows so many live streams.
    pub async fn knows(&self, node: &str, count: usize) {
        until(&format!("{node} knows {count} streams"), async || {
            let known: Option<Streams> = self.get(node, "/api/v1/streams").await;
            known.is_some_and(|known| known.streams.iter().filter(|s| !s.origins.is_empty()).count() == count)
        })
        .await;
    }

    /// Opens a viewer.
    pub async fn view(&self, node: &str, stream: &str) -> reqwest::Response {
        let url = format!("{}/live/{stream}.ts", self.node(node).url());
        reqwest::get(url).await.unwrap().error_for_status().unwrap()
    }

    /// Opens a viewer whose bytes are kept from now on.
    pub async fn recorder(&self, node: &str, stream: &str) -> Recorder {
        let mut viewer = self.view(node, stream).await;
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (to, mut task) = (bytes.clone(), tokio::task::JoinSet::new());
        task.spawn(async move {
            while let Ok(Some(chunk)) = viewer.chunk().await {
                to.lock().unwrap().extend_from_slice(&chunk);
            }
        });
        Recorder { bytes, out: self.path(&format!("{node}-{stream}.ts")), _task: task }
    }

    /// Whether both ends of a link say that it is up.
    pub async fn linked(&self, a: &str, b: &str) -> bool {
        self.sees_neighbour(a, b).await && self.sees_neighbour(b, a).await
    }

    async fn sees_neighbour(&self, node: &str, neighbour: &str) -> bool {
        let map: Option<serde_json::Value> = self.get(node, "/api/v1/map").await;
        let neighbours = map.and_then(|map| map["neighbours"].as_array().cloned()).unwrap_or_default();
        neighbours.iter().any(|known| known["name"] == neighbour && known["up"] == true)
    }

    pub async fn why(&self, node: &str, stream: &str) -> Why {
        let why = self.get(node, &format!("/api/v1/why/{stream}")).await;
        why.unwrap_or_else(|| panic!("node {node} does not explain {stream}"))
    }

    /// Waits until a stream comes to a node over these nodes, the origin first.
    pub async fn comes_over(&self, path: &[&str], stream: &str) {
        let node = path.last().unwrap();
        until(&format!("{stream} comes over {path:?}"), async || self.path_of(node, stream).await == path).await;
    }

    /// Runs a `levada` command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(LEVADA).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        end(self.bootstrapper.take());
        self.nodes.iter_mut().for_each(|node| end(node.child.take()));
        let logs = self.nodes.iter().map(|node| node.name.clone()).chain(["bootstrap".to_owned()]);
        let errors: Vec<String> = logs
            .flat_map(|name| {
                self.log(&name).lines().filter(|l| is_error(l)).map(|l| format!("{name}: {l}")).collect::<Vec<_>>()
            })
            .collect();
        if std::thread::panicking() {
            // The logs are what one wants to see then.
            for name in self.nodes.iter().map(|node| &node.name) {
                eprintln!("--- {name}\n{}", self.log(name));
            }
        } else {
            assert!(errors.is_empty(), "errors were logged:\n{}", errors.join("\n"));
        }
    }
}

/// An ERROR line or a panic is our own bug.
pub fn is_error(line: &str) -> bool {
    line.contains(" ERROR ") || line.contains("panicked at")
}

pub fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn free_port() -> u16 {
    levada_node::ports::free(1).unwrap()[0]
}

/// Polls until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {} s: {what}", DEADLINE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a command wrote, whether result or complaint.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// A clip of four seconds with B-frames, groups of one second, and sound.
pub fn clip(dir: &Path, name: &str) -> PathBuf {
    clip_of(dir, name, 4)
}

/// The same, of any length.
pub fn clip_of(dir: &Path, name: &str, seconds: usize) -> PathBuf {
    let path = dir.join(name);
    let seconds = seconds.to_string();
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"];
    args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", &seconds]);
    args.extend(["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"]);
    args.extend(["-c:a", "aac", path.to_str().unwrap()]);
    tool("ffmpeg", &args);
    path
}

/// A viewer that goes on until it is done with or dropped.
pub struct Recorder {
    bytes: Arc<Mutex<Vec<u8>>>,
    out: PathBuf,
    _task: tokio::task::JoinSet<()>,
}

impl Recorder {
    /// Waits until seconds of the stream have come since now.
    pub async fn goes_on(&self) {
        let len = || self.bytes.lock().unwrap().len();
        let enough = len() + ENOUGH;
        until(&format!("{} goes on", self.out.display()), async || len() >= enough).await;
    }

    /// Checks what has come as [`check_recording`] does.
    pub fn check(self) -> usize {
        let bytes = self.bytes.lock().unwrap();
        check_recording(&self.out, &bytes)
    }
}

/// Reads a viewer's bytes for a while.
pub async fn record(mut viewer: reqwest::Response, duration: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = tokio::time::Instant::now() + duration;
    while let Ok(chunk) = tokio::time::timeout_at(end, viewer.chunk()).await {
        bytes.extend_from_slice(&chunk.unwrap().expect("the stream goes on"));
    }
    bytes
}

/// Checks a recording: continuity counters, decoders' silence, even timestamps without a hole, and both tracks whole.
/// Gives the number of video frames.
pub fn check_recording(path: &Path, bytes: &[u8]) -> usize {
    std::fs::write(path, bytes).unwrap();
    let errors = continuity_errors(bytes);
    if !errors.is_empty() {
        std::fs::copy(path, std::env::temp_dir().join("levada-broken.ts")).unwrap();
        panic!("{}: continuity errors (byte, PID): {errors:?}; kept as levada-broken.ts", path.display());
    }
    let path = path.to_str().unwrap();
    let (_, complaints) = tool("ffmpeg", &["-v", "warning", "-xerror", "-i", path, "-f", "null", "-"]);
    assert_eq!(complaints, "", "decoders complain");
    let mut frames = 0;
    for (kind, step) in [("v:0", 1.0 / 25.0), ("a:0", 1024.0 / 48_000.0)] {
        let show = ["-v", "error", "-select_streams", kind, "-show_entries", "packet=dts_time", "-of", "csv=p=0", path];
        let (out, _) = tool("ffprobe", &show);
        let number = |line: &str| line.split(',').next().and_then(|n| n.parse::<f64>().ok());
        let times: Vec<f64> = out.lines().filter_map(number).collect();
        for pair in times.windows(2) {
            let off = (pair[1] - pair[0] - step).abs();
            assert!(off < 0.001, "{kind}: {} does not follow {} evenly", pair[1], pair[0]);
        }
        if kind == "v:0" {
            frames = times.len();
        }
    }
    frames
}

/// Packets whose continuity counter does not follow its predecessor's: where, and on which PID.
fn continuity_errors(bytes: &[u8]) -> Vec<(usize, u16)> {
    let mut counters = std::collections::BTreeMap::new();
    let mut errors = Vec::new();
    for (at, packet) in bytes.chunks_exact(188).enumerate() {
        assert_eq!(packet[0], 0x47, "sync byte");
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let (counter, has_payload) = (packet[3] & 0xf, packet[3] & 0x10 != 0);
        if let Some(before) = counters.insert(pid, counter)
            && has_payload
            && counter != (before + 1) & 0xf
        {
            errors.push((at * 188, pid));
        }
    }
    errors
}
