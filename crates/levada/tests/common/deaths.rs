//! Deaths under a running stream, with two viewers that watch over each: one over HTTP from a PoP, one that is a leaf of
//! the mesh itself. Needs the modules `common` and `feed` beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use levada_lab::Frozen;
use levada_lab::tape::{Round, Seen, Tape};
use levada_node::http::{StreamEntry, Streams};
use serde::Serialize;
use serde_json::Value;

use crate::common::{DEADLINE, LEVADA, Light, Mesh, clip_of, is_error, said, until};
use crate::feed::Feed;

const STREAM: &str = "cam";
/// Nothing happens this long before a death: what the schedule and the cadence of this machine are taken from.
const CALM: Duration = Duration::from_secs(1);
/// A death is watched at least this long: a silence is noticed late.
const WATCH: Duration = Duration::from_millis(1_500);
/// A viewer whose newest frame is no further behind its schedule is in time: five frames.
const IN_TIME: Duration = Duration::from_millis(200);
/// A group of the clips.
const GROUP: Duration = Duration::from_secs(1);
/// Just before the end of a group: viewers have all of it, and nothing of the next one.
pub const GROUP_END: Duration = Duration::from_millis(990);
/// A stream that is not back by then is lost to the viewer.
const GIVEN_UP: Duration = Duration::from_secs(12);
/// Seconds of a clip, for each round and for the start: long enough that it is not looped. Where a loop begins anew, its
/// origin itself sends the first picture 48 to 60 ms late (docs/decisions.md). A broken round ends its kind.
const CLIP_PER_ROUND: usize = 12;
const CLIP_EXTRA: usize = 40;

/// How something dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// kill -9 of the relay in use; another one stands by.
    Kill,
    /// The relay in use is stopped (SIGSTOP): silence, but no closed socket. It goes on afterwards.
    Stop,
    /// kill -9 of the publisher in use; another one publishes the same stream with the same timeline.
    Origin,
    /// kill -9 of the only relay on the line: what is left is the origin's address in its record.
    LastPath,
    /// The relay in use is told to leave.
    Drain,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Kill, Self::Stop, Self::Origin, Self::LastPath, Self::Drain];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Origin => "origin",
            Self::LastPath => "last-path",
            Self::Drain => "drain",
        }
    }

    /// What the binary lacks for this kind.
    pub fn lacks(self) -> Option<&'static str> {
        let says = |args: &[&str], what: &str| {
            let output = Command::new(LEVADA).args(args).stdin(Stdio::null()).output().unwrap();
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(what)
        };
        match self {
            Self::Origin if !says(&["publish", "--help"], "--shared") => Some("levada publish --shared"),
            Self::Drain if !says(&["drain", "--help"], "URL") => Some("levada drain"),
            _ => None,
        }
    }
}

/// What came of all rounds of a kind.
#[derive(Debug, Serialize)]
pub struct Report {
    pub kind: &'static str,
    pub rounds: Vec<RoundReport>,
    /// What decoders said of the recordings, by viewer.
    pub decode_errors: BTreeMap<&'static str, Vec<String>>,
}

/// One death and the wait for it.
#[derive(Debug, Serialize)]
pub struct RoundReport {
    pub victim: String,
    /// How far the group was.
    pub phase_ms: u64,
    pub took_ms: f64,
    /// Of the PoP, over the round.
    pub objects_lost: u64,
    pub objects_duplicated: u64,
    pub switches: u64,
    pub viewers: Vec<ViewerReport>,
}

/// What a viewer saw of one death.
#[derive(Debug, Serialize)]
pub struct ViewerReport {
    pub viewer: &'static str,
    /// Whether the dead fed this viewer.
    pub hit: bool,
    /// Whether the stream came back in time.
    pub resumed: bool,
    #[serde(flatten)]
    pub seen: Seen,
}

impl Report {
    pub const VIEWERS: [&str; 2] = [HTTP, LEAF];

    /// The rounds of a viewer that the death could hurt.
    pub fn hits(&self, viewer: &str) -> Vec<&ViewerReport> {
        self.of(viewer).filter(|seen| seen.hit).collect()
    }

    pub fn of(&self, viewer: &str) -> impl Iterator<Item = &ViewerReport> {
        self.rounds.iter().flat_map(|round| &round.viewers).filter(move |seen| seen.viewer == viewer)
    }

    /// Everything but the gaps: each round was a death, both viewers had every frame once, and no decoder complained.
    /// Objects that the PoP received twice are none: a parent is left only once the next one feeds.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (n, round) in self.rounds.iter().enumerate() {
            for viewer in &round.viewers {
                let seen = &viewer.seen;
                let counts =
                    [seen.lost, seen.doubled, seen.audio_lost, seen.audio_doubled, seen.jumps, seen.continuity];
                if !viewer.hit || !viewer.resumed || counts != [0; 6] {
                    faults.push(format!("round {n}, death of {}: {viewer:?}", round.victim));
                }
            }
            if round.objects_lost != 0 {
                faults.push(format!("round {n}, death of {}: {round:?}", round.victim));
            }
        }
        let said =
            self.decode_errors.iter().flat_map(|(viewer, said)| said.iter().map(move |s| format!("{viewer}: {s}")));
        faults.extend(said);
        faults
    }
}

const HTTP: &str = "http";
const LEAF: &str = "leaf";

/// Names a directory in which logs and recordings of all kinds are kept.
const KEEP: &str = "LEVADA_DEATHS_KEEP";

/// So many deaths spread evenly over a group, backwards from its end.
pub fn spread(rounds: usize) -> Vec<Duration> {
    (0..rounds).map(|n| GROUP_END.mul_f64((rounds - n) as f64 / rounds as f64)).collect()
}

/// Lets one kind of death happen again and again under the same stream, each so long after the start of a group.
pub async fn run(kind: Kind, phases: &[Duration]) -> Report {
    let mut stage = Stage::open(kind, phases.len()).await;
    let mut report = Report { kind: kind.name(), rounds: Vec::new(), decode_errors: BTreeMap::new() };
    for phase in phases {
        let round = stage.round(*phase).await;
        let goes_on = round.viewers.iter().all(|viewer| viewer.resumed);
        report.rounds.push(round);
        if !goes_on {
            break;
        }
    }
    report.decode_errors = stage.decode();
    stage.close();
    report
}

/// A mesh with a stream, its two viewers, and something that can die.
struct Stage {
    kind: Kind,
    viewers: Vec<Viewer>,
    publishers: BTreeMap<&'static str, Light>,
    feed: Option<Feed>,
    recordings: Vec<(&'static str, std::path::PathBuf)>,
    since: Instant,
    mesh: Mesh,
}

impl Stage {
    async fn open(kind: Kind, rounds: usize) -> Self {
        let mesh = match kind {
            Kind::Kill | Kind::Stop | Kind::Drain => Mesh::new(
                &["origin", "r1", "r2", "pop"],
                &[("origin", "r1"), ("origin", "r2"), ("r1", "pop"), ("r2", "pop"), ("r1", LEAF), ("r2", LEAF)],
            ),
            Kind::Origin => Mesh::new(&["r1", "pop"], &[("pen", "r1"), ("pen2", "r1"), ("r1", "pop"), ("r1", LEAF)]),
            Kind::LastPath => Mesh::new(&["origin", "r1", "pop"], &[("origin", "r1"), ("r1", "pop"), ("r1", LEAF)]),
        };
        let (viewers, publishers, recordings) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut stage = Self { kind, viewers, publishers, feed: None, recordings, since: Instant::now(), mesh };
        let seconds = CLIP_EXTRA + rounds * CLIP_PER_ROUND;
        if kind == Kind::Origin {
            let clip = clip_of(stage.mesh.dir.path(), "card.ts", seconds);
            stage.mesh.start("r1", &[]);
            stage.feed = Some(Feed::start(&clip));
            stage.publish("pen");
            stage.publish("pen2");
        } else {
            let clip = clip_of(stage.mesh.dir.path(), "card.mp4", seconds);
            let publish = format!("{STREAM}={}", clip.display());
            stage.mesh.start("origin", &["--publish", &publish]);
            stage.mesh.start("r1", &[]);
        }
        stage.mesh.start("pop", &[]);
        stage.watch().await;
        // The second relay comes late, so that both viewers are fed by the first. From then on they share the fate of
        // dying parents.
        if matches!(kind, Kind::Kill | Kind::Stop | Kind::Drain) {
            stage.mesh.start("r2", &[]);
        }
        stage
    }

    fn publish(&mut self, name: &'static str) {
        let args = ["publish", "-", "--as", STREAM, "--shared", "-v"];
        let mut publisher = Light::start(&self.mesh, name, &args, Stdio::null());
        let stdin = publisher.child.as_mut().and_then(|child| child.stdin.take()).unwrap();
        self.feed.as_ref().unwrap().add(stdin);
        self.publishers.insert(name, publisher);
    }

    /// Opens both viewers, and waits until the stream flows.
    async fn watch(&mut self) {
        self.viewers.clear();
        self.mesh.knows("pop", 1).await;
        self.viewers = vec![Viewer::over_http(&self.mesh), Viewer::as_leaf(&self.mesh)];
        self.since = Instant::now();
        for viewer in &self.viewers {
            until(&format!("the viewer {} has the stream", viewer.name), async || {
                viewer.tape().newest().is_some_and(|at| at.elapsed() < IN_TIME)
            })
            .await;
        }
    }

    /// One death, from a whole mesh to a whole mesh, so long after the start of a group.
    async fn round(&mut self, phase: Duration) -> RoundReport {
        let began = Instant::now();
        let (victim, calm, hit) = loop {
            self.make_ready().await;
            let calm = self.calm().await;
            let victim = self.victim().await.expect("somebody feeds the viewers");
            let hit = [self.feeds(&victim, HTTP).await, self.feeds(&victim, LEAF).await];
            // A viewer that moved meanwhile would not be hit.
            if hit == [true; 2] || began.elapsed() > DEADLINE {
                break (victim, calm, hit);
            }
        };
        let before = self.mesh.status("pop").await;
        self.aim(phase).await;
        let death = Instant::now();
        let frozen = self.strike(&victim).await;
        let resumed = self.settle(calm, death).await;
        let settled = Instant::now();
        if let Some(frozen) = frozen {
            frozen.thaw().unwrap();
        }
        self.revive(&victim).await;
        self.whole().await;
        let after = self.mesh.status("pop").await;
        let round = Round { since: self.since, calm, death, settled, until: Instant::now() };
        self.since = round.until;
        let viewers = self.viewers.iter().zip(hit).zip(resumed);
        let report = RoundReport {
            victim,
            phase_ms: phase.as_millis() as u64,
            took_ms: began.elapsed().as_secs_f64() * 1e3,
            objects_lost: after.objects_lost - before.objects_lost,
            objects_duplicated: after.objects_duplicated - before.objects_duplicated,
            switches: after.switches - before.switches,
            viewers: viewers
                .map(|((viewer, hit), resumed)| ViewerReport {
                    viewer: viewer.name,
                    hit,
                    resumed,
                    seen: viewer.tape().seen(&round),
                })
                .collect(),
        };
        for viewer in &self.viewers {
            let path = self.mesh.path(&format!("{}-{}.ts", viewer.name, self.recordings.len()));
            std::fs::write(&path, viewer.tape().recording(&round)).unwrap();
            self.recordings.push((viewer.name, path));
        }
        report
    }

    /// Waits for the whole mesh, and sees to it that the next victim feeds both viewers.
    async fn make_ready(&mut self) {
        self.whole().await;
        match self.kind {
            // Whoever found a way around the relay begins anew behind it.
            Kind::LastPath => {
                if !(self.feeds("r1", HTTP).await && self.feeds("r1", LEAF).await) {
                    self.viewers.clear();
                    self.mesh.kill("pop");
                    self.mesh.start("pop", &[]);
                    self.watch().await;
                }
            }
            // A leaf that went its own way is driven back by another death, whose losses would count in this round too.
            Kind::Kill | Kind::Stop | Kind::Drain => {
                let victim = self.victim().await.expect("a relay feeds the PoP");
                if !self.feeds(&victim, LEAF).await {
                    let other = if victim == "r1" { "r2" } else { "r1" };
                    self.mesh.kill(other);
                    until("one relay feeds both viewers", async || self.feeds(&victim, LEAF).await).await;
                    self.mesh.start(other, &[]);
                    self.whole().await;
                }
            }
            Kind::Origin => {}
        }
    }

    /// Waits until everything that may die is connected to all that it serves, and what replaces it is known.
    async fn whole(&self) {
        let (candidates, around): (&[&str], &[&str]) = match self.kind {
            Kind::Kill | Kind::Stop | Kind::Drain => (&["r1", "r2"], &["origin", "pop", LEAF]),
            Kind::Origin => (&["r1"], &["pen", "pen2", "pop", LEAF]),
            Kind::LastPath => (&["r1"], &["origin", "pop", LEAF]),
        };
        until(&format!("{candidates:?} have links to {around:?}"), async || {
            let Some(seen) = self.mesh.get::<Value>("pop", "/api/v1/map").await else { return false };
            for relay in candidates {
                let Some(map) = self.mesh.get::<Value>(relay, "/api/v1/map").await else { return false };
                let is_up = |name: &&str| {
                    let neighbours = map["neighbours"].as_array();
                    neighbours.is_some_and(|all| all.iter().any(|n| n["name"] == *name && n["up"] == true))
                };
                let links = |from: &str, to: &str| {
                    let links = seen["links"].as_array();
                    links.is_some_and(|all| all.iter().any(|link| link["from"] == from && link["to"] == to))
                };
                let known = |name: &&str| links(name, relay) && links(relay, name);
                if !around.iter().all(|name| is_up(name) && known(name)) {
                    return false;
                }
            }
            let origins = if self.kind == Kind::Origin { 2 } else { 1 };
            self.origins().await == origins
        })
        .await;
    }

    /// Origins that the PoP can reach.
    async fn origins(&self) -> usize {
        self.stream_at("pop").await.map_or(0, |stream| stream.origins.len())
    }

    async fn stream_at(&self, node: &str) -> Option<StreamEntry> {
        let known: Streams = self.mesh.get(node, "/api/v1/streams").await?;
        known.streams.into_iter().find(|stream| stream.name == STREAM)
    }

    /// Who feeds the PoP; of publishers, the one that feeds the relay.
    async fn victim(&self) -> Option<String> {
        let child = if self.kind == Kind::Origin { "r1" } else { "pop" };
        self.stream_at(child).await?.parent
    }

    /// Whether a viewer is fed by a node, over others only if the node is a publisher.
    async fn feeds(&self, node: &str, viewer: &str) -> bool {
        let relay = if self.kind == Kind::Origin { "r1" } else { node };
        let child = if viewer == HTTP { "pop" } else { LEAF };
        let feeds = |stream: StreamEntry| {
            let from_node = relay == node || stream.parent.as_deref() == Some(node);
            from_node && stream.children.iter().any(|name| name == child)
        };
        self.stream_at(relay).await.is_some_and(feeds)
    }

    /// Waits until both viewers have been in time for a while, and tells since when.
    async fn calm(&self) -> Instant {
        let deadline = Instant::now() + DEADLINE;
        let mut since = Instant::now();
        while since.elapsed() < CALM {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = Instant::now();
            assert!(now < deadline, "the stream does not flow in time");
            let flows =
                |viewer: &Viewer| viewer.tape().newest().is_some_and(|at| now.saturating_duration_since(at) < IN_TIME);
            if !self.viewers.iter().all(flows) {
                since = now;
            }
        }
        since
    }

    /// Waits until the PoP is so far in a group.
    async fn aim(&self, phase: Duration) {
        let group = self.viewers[0].tape().newest_keyframe().expect("groups begin with keyframes");
        let now = Instant::now();
        let mut at = group + phase;
        while at < now {
            at += GROUP;
        }
        tokio::time::sleep_until(at.into()).await;
    }

    /// Lets the victim die; a stopped one is given back.
    async fn strike(&mut self, victim: &str) -> Option<Frozen> {
        match self.kind {
            Kind::Kill | Kind::LastPath => self.mesh.kill(victim),
            Kind::Stop => return Some(Frozen::new(self.mesh.node(victim).pid()).unwrap()),
            Kind::Origin => drop(self.publishers.remove(victim)),
            Kind::Drain => {
                let url = self.mesh.node(victim).url();
                let mut drain = tokio::process::Command::new(LEVADA);
                let output = drain.args(["drain", "--node", &url]).kill_on_drop(true).output().await.unwrap();
                let told = said(&output);
                let moved = told.contains("its children have other parents");
                assert!(output.status.success() && moved, "levada drain --node {url}: {told}");
                let deadline = Instant::now() + DEADLINE;
                while !self.mesh.has_ended(victim) {
                    assert!(Instant::now() < deadline, "{victim} is drained and does not end");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        None
    }

    /// Waits until both viewers are in time again, or are given up.
    async fn settle(&self, calm: Instant, death: Instant) -> Vec<bool> {
        // A drained node was in no hurry to go.
        let watched = Instant::now() + WATCH;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = Instant::now();
            let in_time = |viewer: &Viewer| viewer.tape().behind(calm, death, now).is_some_and(|late| late < IN_TIME);
            let all: Vec<bool> = self.viewers.iter().map(in_time).collect();
            if now > watched && all.iter().all(|in_time| *in_time) || now > watched + GIVEN_UP {
                return all;
            }
        }
    }

    async fn revive(&mut self, victim: &str) {
        match self.kind {
            Kind::Stop => {}
            Kind::Kill | Kind::LastPath => self.mesh.start(victim, &[]),
            Kind::Drain => {
                self.mesh.kill(victim);
                self.mesh.start(victim, &[]);
            }
            Kind::Origin => {
                // Else what it told in its former life would be taken for what it has now.
                until("the dead origin is missed", async || self.origins().await == 1).await;
                self.publish(if victim == "pen" { "pen" } else { "pen2" });
            }
        }
    }

    /// Lets a decoder loose on every recording.
    fn decode(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut said: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (viewer, path) in &self.recordings {
            let errors = complaints(path);
            if !errors.is_empty() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                said.entry(viewer).or_default().push(format!("{name}: {errors}"));
            }
        }
        said
    }

    /// Copies logs and recordings to where they outlive the mesh.
    fn keep(&self, dir: &std::path::Path) -> std::io::Result<()> {
        let dir = dir.join(self.kind.name());
        std::fs::create_dir_all(&dir)?;
        for entry in std::fs::read_dir(self.mesh.dir.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log" || extension == "ts") {
                std::fs::copy(&path, dir.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(())
    }

    /// Ends what runs, and fails if anybody logged an error. Without it, all ends in the same way but silently.
    fn close(mut self) {
        self.viewers.clear();
        self.publishers.clear();
        for name in [LEAF, "pen", "pen2"] {
            let log = self.mesh.log(name);
            let errors: Vec<&str> = log.lines().filter(|line| is_error(line)).collect();
            assert!(errors.is_empty(), "{name} logged errors:\n{}", errors.join("\n"));
        }
    }
}

/// What ffmpeg has to say of a recording; an empty recording is an error.
fn complaints(path: &std::path::Path) -> String {
    let args = ["-v", "warning", "-xerror", "-threads", "1", "-i"];
    let mut command = Command::new("ffmpeg");
    let output = command.args(args).arg(path).args(["-f", "null", "-"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.is_empty() && !output.status.success() { format!("ffmpeg: {}", output.status) } else { said }
}

/// A viewer and its tape.
struct Viewer {
    name: &'static str,
    tape: Arc<Mutex<Tape>>,
    _source: Source,
}

#[allow(dead_code, reason = "kept for what their ends do")]
enum Source {
    Http(tokio::task::JoinSet<()>),
    Leaf(Light),
}

impl Viewer {
    fn tape(&self) -> std::sync::MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A player at the PoP.
    fn over_http(mesh: &Mesh) -> Self {
        let url = format!("{}/live/{STREAM}.ts?wait=1", mesh.node("pop").url());
        let tape = Arc::new(Mutex::new(Tape::new(Instant::now())));
        let mut task = tokio::task::JoinSet::new();
        let to = tape.clone();
        task.spawn(async move {
            let Ok(mut response) = reqwest::get(url).await else { return };
            while let Ok(Some(bytes)) = response.chunk().await {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes, Instant::now());
            }
        });
        Self { name: HTTP, tape, _source: Source::Http(task) }
    }

    /// `levada watch` as a leaf, whose standard output is read.
    fn as_leaf(mesh: &Mesh) -> Self {
        let args = ["watch", STREAM, "--to", "-", "--until-stdin-closes", "-v"];
        let mut leaf = Light::start(mesh, LEAF, &args, Stdio::piped());
        let mut stdout = leaf.child.as_mut().and_then(|child| child.stdout.take()).unwrap();
        let tape = Arc::new(Mutex::new(Tape::new(Instant::now())));
        let to = tape.clone();
        // Ends with the leaf.
        std::thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(len @ 1..) = stdout.read(&mut bytes) {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes[..len], Instant::now());
            }
        });
        Self { name: LEAF, tape, _source: Source::Leaf(leaf) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(dir) = std::env::var_os(KEEP)
            && let Err(error) = self.keep(dir.as_ref())
        {
            eprintln!("nothing is kept in {}: {error}", dir.display());
        }
    }
}
