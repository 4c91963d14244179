//! A lab at work: its nodes as processes, its viewers, and everything that a script can do to them.

mod leaves;
mod leaving;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_node::bootstrap::save_neighbours;
use levada_node::trust::{Authority, TrustError};
use levada_overlay::{Neighbour, StreamName};
use levada_sim::{Action, Impairment};
use serde::Serialize;

use crate::cadence::{Cadence, CadenceError};
use crate::check::Check;
use crate::file::{Lab, Name, Stream, TESTCARD};
use crate::interrupt::Interrupt;
use crate::net::{Change, Forwarder, Layout, Mode, NetError, Network, Tap};
use crate::nodes::{Process, command};
use crate::state::{Lookout, Snapshot, Switch};
use crate::viewers::{Latency, Viewer, ViewerId};

/// Time for all nodes to have their links. Tuned: 30 debug processes that start at once on 2 cores.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// Time to know them for what they are. On a machine that is too busy for that a lab begins all the same.
pub(crate) const SETTLED: Duration = Duration::from_secs(8);
/// Time for a node to let its children move, and to end.
const DRAIN: Duration = Duration::from_secs(20);
/// Last changes of a way that are told.
const CHANGES_SHOWN: usize = 4;
/// Lines of logs that are told at most.
const ERRORS_MAX: usize = 20;

/// What a lab is made of besides its file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program whose nodes are started.
    pub program: PathBuf,
    /// The built-in video, MP4.
    pub testcard: &'static [u8],
    /// Where the nodes are.
    pub mode: Mode,
    /// Chance of the links.
    pub seed: u64,
    /// Where logs and recordings are kept; otherwise they go with the lab.
    pub keep: Option<PathBuf>,
    /// Whether nodes that are no leaves record what happens to their brains: `NAME-1.jsonl` of the first life, and so on.
    pub record: bool,
    /// What ends it before its time.
    pub interrupt: Interrupt,
}

/// Why a lab cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Namespaces, links.
    #[error("the lab's network cannot be made")]
    Net(#[from] NetError),
    /// Certificates.
    #[error("the lab's nodes get no identity")]
    Trust(#[from] TrustError),
    /// Files, processes.
    #[error("the lab cannot {0}")]
    Io(String, #[source] io::Error),
    /// A video.
    #[error(transparent)]
    Video(#[from] CadenceError),
    /// Nodes do not find each other.
    #[error("the mesh does not form within {0} s: {1}; look at the nodes' logs with --keep DIR")]
    NotReady(u64, String),
    /// Somebody wanted it to end.
    #[error("the lab was interrupted")]
    Interrupted,
    /// The script asks for what cannot be.
    #[error("\"{0}\" cannot be done: {1}")]
    Senseless(String, String),
}

/// A running lab. Everything ends with it.
pub struct Mesh {
    lab: Lab,
    settings: Settings,
    network: Arc<Network>,
    authority: Authority,
    nodes: BTreeMap<String, Node>,
    cadences: BTreeMap<StreamName, Cadence>,
    /// Everybody who watches or did.
    pub(crate) viewers: Vec<(ViewerId, Viewer)>,
    /// Who watches a stream where it is published, if its latency is asked for.
    at_sources: BTreeMap<StreamName, Viewer>,
    /// Directions of links over which nothing passes.
    cut: BTreeSet<(String, String)>,
    impairments: BTreeMap<(String, String), Impairment>,
    /// Whoever ended by itself, and was started again since.
    ended: Vec<String>,
    began: Instant,
    dir: tempfile::TempDir,
}

/// How a node fares. The later, the more of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    /// It has no process.
    Dead,
    /// Its process stands still.
    Stalled,
    Running,
}

#[derive(Debug)]
struct Node {
    http: u16,
    process: Option<Process>,
    /// That it was asked to end.
    leaving: Option<leaving::Leaving>,
}

impl Mesh {
    /// Lays out the network and starts every node that is not late.
    pub fn open(lab: &Lab, settings: Settings) -> Result<Self, MeshError> {
        let dir = tempfile::Builder::new().prefix("levada-lab-").tempdir().map_err(failed("make its directory"))?;
        let layout = Layout {
            nodes: lab.nodes.clone(),
            links: lab.links.iter().map(|link| (link.a.clone(), link.b.clone(), link.impairment.clone())).collect(),
            seed: settings.seed,
        };
        let network = Arc::new(Network::open(&layout, settings.mode)?);
        let both = |link: &crate::file::Link| {
            let (there, back) = ((link.a.clone(), link.b.clone()), (link.b.clone(), link.a.clone()));
            [(there, link.impairment.clone()), (back, link.impairment.clone())]
        };
        let authority = Authority::open_or_create(&dir.path().join("ca"))?;
        std::fs::write(dir.path().join("testcard.mp4"), settings.testcard).map_err(failed("write the test card"))?;
        let mut mesh = Self {
            lab: lab.clone(),
            settings,
            network,
            authority,
            nodes: BTreeMap::new(),
            cadences: BTreeMap::new(),
            viewers: Vec::new(),
            at_sources: BTreeMap::new(),
            cut: BTreeSet::new(),
            impairments: lab.links.iter().flat_map(both).collect(),
            ended: Vec::new(),
            began: Instant::now(),
            dir,
        };
        for stream in &lab.streams {
            let cadence = Cadence::of(&mesh.file_of(stream))?;
            mesh.cadences.insert(stream.name.clone(), cadence);
        }
        for (a, b) in lab.checks().filter_map(Check::overhears) {
            mesh.network.tap(a, b)?;
            mesh.network.tap(b, a)?;
        }
        for link in lab.links.iter().filter(|link| link.late) {
            mesh.apply(&Action::Cut(Name(link.a.clone()), Name(link.b.clone())))?;
        }
        let ports = levada_node::ports::free(lab.nodes.len()).map_err(failed("get ports"))?;
        for (name, http) in lab.nodes.iter().zip(ports) {
            mesh.must_go_on()?;
            mesh.prepare(name)?;
            mesh.nodes.insert(name.clone(), Node { http, process: None, leaving: None });
        }
        for name in lab.nodes.iter().filter(|name| !lab.late.contains(*name)) {
            mesh.must_go_on()?;
            mesh.start(name)?;
        }
        Ok(mesh)
    }

    /// Opens every viewer that is not the script's to open. A leaf that begins before the mesh is whole would make links
    /// of its own with whom it can reach.
    pub fn watch_all(&mut self) -> Result<(), MeshError> {
        if self.lab.checks().any(Check::compares_with_sources) {
            for stream in &self.lab.streams {
                let Some((node, port)) = stream.at.first().and_then(|at| Some((at, self.nodes.get(at)?.http))) else {
                    continue;
                };
                let viewer = self.player(node, port, &stream.name);
                self.at_sources.insert(stream.name.clone(), viewer);
            }
        }
        let is_the_scripts = |node: &str| self.lab.late.contains(node) && self.lab.leaves.contains(node);
        let viewers: Vec<ViewerId> = self.lab.viewers.iter().filter(|id| !is_the_scripts(&id.0)).cloned().collect();
        viewers.iter().try_for_each(|(node, stream)| self.watch(node, stream))
    }

    /// Waits until all that runs knows all links; says who lacks what if that takes too long.
    pub fn await_ready(&mut self) -> Result<(), MeshError> {
        let verdict = crate::run::await_ready(self);
        self.must_go_on()?;
        verdict.map_err(|seen| MeshError::NotReady(READY.as_secs(), seen))
    }

    /// What ends it before its time.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.settings.interrupt
    }

    /// An error once it is to end.
    pub(crate) fn must_go_on(&self) -> Result<(), MeshError> {
        if self.interrupt().is_raised() { Err(MeshError::Interrupted) } else { Ok(()) }
    }

    /// The lab that this is.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// When it was opened.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Shows a node's page where `listener` listens, which may be in another network than the lab's.
    pub fn expose(&self, listener: TcpListener, node: &str) -> Result<Forwarder, MeshError> {
        let port = self.nodes.get(node).map_or(0, |node| node.http);
        Ok(self.network.expose(listener, node, port)?)
    }

    /// Does what a line of a script says.
    pub fn apply(&mut self, action: &Action<Name>) -> Result<(), MeshError> {
        let doing = || action.to_string();
        match action {
            Action::Crash(node) if self.is_leaf(node) => self.kill_leaf(node, &doing()),
            Action::Crash(node) => self.kill(node),
            Action::Stop(node) if self.is_leaf(node) => self.stop_leaf(node, &doing()),
            Action::Stop(node) => {
                self.ask_to_stop(node, &doing())?;
                self.await_left(node)
            }
            Action::Drain(node) => {
                self.ask_to_leave(node)?;
                self.await_left(node)
            }
            Action::Start(node) if self.is_leaf(node) => self.start_leaf(node, &doing()),
            Action::Start(node) => self.start(&node.0),
            Action::Restart(node) if self.is_leaf(node) => self.restart_leaf(node, &doing()),
            Action::Restart(node) => {
                self.kill(node)?;
                self.start(&node.0)
            }
            Action::Stall(node) if self.is_leaf(node) => self.each_process(node, &doing(), Process::stall),
            Action::Stall(node) => self.process(node, &doing())?.stall().map_err(failed(&doing())),
            Action::Resume(node) if self.is_leaf(node) => self.each_process(node, &doing(), Process::resume),
            Action::Resume(node) => self.process(node, &doing())?.resume().map_err(failed(&doing())),
            Action::Cut(a, b) => self.cut(a, b).and_then(|()| self.cut(b, a)),
            Action::CutOneWay(a, b) => self.cut(a, b),
            Action::Heal(a, b) => {
                for (from, to) in [(a, b), (b, a)] {
                    if self.cut.remove(&(from.0.clone(), to.0.clone())) {
                        self.network.change(&from.0, &to.0, Change::Heal)?;
                    }
                }
                Ok(())
            }
            Action::Link(a, b, change) => {
                self.impair(a, b, change, &doing())?;
                self.impair(b, a, change, &doing())
            }
            Action::LinkOneWay(a, b, change) => self.impair(a, b, change, &doing()),
            Action::Subscribe(node, stream) => self.watch(&node.0, stream),
            Action::Unsubscribe(node, stream) => {
                let id = (node.0.clone(), stream.clone());
                let watching = self.viewers.iter_mut().filter(|(known, viewer)| *known == id && viewer.since.is_some());
                let leaving: Vec<&mut Viewer> = watching.map(|(_, viewer)| viewer).collect();
                if leaving.is_empty() {
                    let nobody = format!("nobody watches {stream} at {node}; watch it first");
                    return Err(MeshError::Senseless(doing(), nobody));
                }
                leaving.iter().for_each(|viewer| viewer.dismiss());
                leaving.into_iter().for_each(Viewer::end);
                Ok(())
            }
            Action::Publish(node, stream) => self.publish(&node.0, stream),
            Action::Withdraw(node, stream) => {
                let path = self.videos(&node.0).join(format!("{stream}.mp4"));
                std::fs::remove_file(path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => MeshError::Senseless(
                        doing(),
                        format!("{node} does not publish {stream}; publish it there first"),
                    ),
                    _ => failed(&doing())(error),
                })
            }
            Action::Pause(..) => Err(failed(&doing())(io::Error::from(io::ErrorKind::Unsupported))),
        }
    }

    /// Asks every node that runs.
    pub(crate) fn look(&self) -> Snapshot {
        self.lookout().look()
    }

    /// Where the nodes that run now can be asked, without holding the mesh.
    pub(crate) fn lookout(&self) -> Lookout {
        Lookout {
            network: self.network.clone(),
            nodes: self.running().map(|(name, node)| (name.clone(), node.http)).collect(),
            links: self.lab.links.iter().map(|link| (link.a.clone(), link.b.clone())).collect(),
        }
    }

    /// Why a node gets a stream the way it does: the last changes, in a line.
    pub(crate) fn changes(&self, node: &str, stream: &StreamName) -> Option<String> {
        let switches = self.lookout().switches(node, stream)?;
        let change = |change: &Switch| {
            let from = change.from.as_deref().unwrap_or("nobody");
            format!("{:.1} s ago from {from} to {}: {}", change.ago_s, change.to, change.cause)
        };
        let changes: Vec<String> = switches.iter().take(CHANGES_SHOWN).map(change).collect();
        Some(changes.join("; ")).filter(|changes| !changes.is_empty())
    }

    /// Who watches a stream where it is published.
    pub(crate) fn source(&self, stream: &StreamName) -> Option<&Viewer> {
        self.at_sources.get(stream)
    }

    /// How long after they had come at the source pictures came at a viewer.
    pub(crate) fn latency(
        &self,
        stream: &StreamName,
        viewer: &Viewer,
        since: Instant,
        until: Instant,
    ) -> Option<Latency> {
        viewer.latency(self.source(stream)?, since, until)
    }

    /// What went over a link in one direction, if somebody listened.
    pub(crate) fn overheard(&self, from: &str, to: &str) -> Option<Tap> {
        self.network.overheard(from, to).ok().flatten()
    }

    /// The files that are published.
    pub(crate) fn sources(&self) -> Vec<Vec<u8>> {
        let paths: BTreeSet<PathBuf> = self.lab.streams.iter().map(|stream| self.file_of(stream)).collect();
        paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
    }

    /// How every node fares, in the order of the file. A leaf runs as long as one of its viewers does.
    pub(crate) fn conditions(&mut self) -> Vec<(String, Condition)> {
        let names = self.lab.nodes.clone();
        names.into_iter().map(|name| (self.condition(&name), name)).map(|(condition, name)| (name, condition)).collect()
    }

    fn condition(&mut self, name: &str) -> Condition {
        let of = |process: &mut Process| match (process.has_ended(), process.is_stalled()) {
            (true, _) => Condition::Dead,
            (false, true) => Condition::Stalled,
            (false, false) => Condition::Running,
        };
        if self.lab.leaves.contains(name) {
            let processes = self.viewers.iter_mut().filter(|(id, _)| id.0 == name);
            let processes = processes.filter_map(|(_, viewer)| viewer.leaf.as_mut().map(|(process, _)| of(process)));
            return processes.max().unwrap_or(Condition::Dead);
        }
        self.nodes.get_mut(name).and_then(|node| node.process.as_mut()).map_or(Condition::Dead, of)
    }

    /// What the link does from one end to the other now, and whether it is cut in that direction.
    pub(crate) fn direction(&self, from: &str, to: &str) -> Option<(Impairment, bool)> {
        let ends = (from.to_owned(), to.to_owned());
        Some((self.impairments.get(&ends)?.clone(), self.cut.contains(&ends)))
    }

    /// Tells all viewers to leave, without waiting for any.
    pub(crate) fn dismiss_viewers(&self) {
        self.viewers.iter().map(|(_, viewer)| viewer).chain(self.at_sources.values()).for_each(Viewer::dismiss);
    }

    /// Lets go of viewers who have left, with what they recorded.
    pub(crate) fn forget_viewers(&mut self) {
        self.viewers.retain(|(_, viewer)| viewer.since.is_some());
    }

    /// Whether a node's process is there and does not stand still.
    pub(crate) fn runs(&self, node: &str) -> bool {
        self.running().any(|(name, _)| name == node)
    }

    /// Whether packets pass between two linked nodes, in both directions.
    pub(crate) fn passes(&self, a: &str, b: &str) -> bool {
        let cut = |from: &str, to: &str| self.cut.contains(&(from.to_owned(), to.to_owned()));
        !cut(a, b) && !cut(b, a)
    }

    /// The name that a viewer has in the mesh: its node's, or its own if it is the second of a leaf.
    pub(crate) fn identity(&self, node: &str, stream: &StreamName) -> String {
        let leaf = self.viewers.iter().rfind(|(id, viewer)| id.0 == node && id.1 == *stream && viewer.leaf.is_some());
        let name = leaf.and_then(|(_, viewer)| viewer.leaf.as_ref().map(|(_, name)| name.clone()));
        name.unwrap_or_else(|| node.to_owned())
    }

    /// Processes that ended though nobody ended them, and errors and panics that were logged.
    pub(crate) fn troubles(&mut self) -> Vec<String> {
        let mut troubles = self.ended.clone();
        for (name, node) in &mut self.nodes {
            if node.process.as_mut().is_some_and(Process::has_ended) {
                troubles.push(leaves::ended_by_itself(name));
            }
        }
        troubles.extend(self.lost_leaves());
        let logs = std::fs::read_dir(self.dir.path()).into_iter().flatten().filter_map(Result::ok);
        for path in logs.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "log")) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let errors = text.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked at"));
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            troubles.extend(errors.map(|line| format!("{name}: {line}")));
        }
        troubles.truncate(ERRORS_MAX);
        troubles
    }

    fn running(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.process.as_ref().is_some_and(|process| !process.is_stalled()))
    }

    fn process(&mut self, node: &Name, doing: &str) -> Result<&mut Process, MeshError> {
        let process = self.nodes.get_mut(&node.0).and_then(|node| node.process.as_mut());
        process.ok_or_else(|| MeshError::Senseless(doing.to_owned(), format!("{node} does not run; start it first")))
    }

    /// Whoever stands still cannot be asked for anything.
    fn must_run(&mut self, node: &Name, doing: &str) -> Result<(), MeshError> {
        match self.process(node, doing)?.is_stalled() {
            true => Err(MeshError::Senseless(doing.to_owned(), format!("{node} stands still; resume it first"))),
            false => Ok(()),
        }
    }

    /// Writes what a node is to know before it starts: who it is, and who its neighbours are. No bootstrapper: each link
    /// has its own address, which a topology file cannot say.
    fn prepare(&self, name: &str) -> Result<(), MeshError> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(dir.join("videos")).map_err(failed("make a node's directory"))?;
        for stream in self.lab.streams.iter().filter(|stream| stream.at.iter().any(|at| at == name)) {
            self.publish(name, &stream.name)?;
        }
        self.enrol(name, name)
    }

    fn enrol(&self, identity: &str, node: &str) -> Result<(), MeshError> {
        let dir = self.dir.path().join(identity);
        std::fs::create_dir_all(&dir).map_err(failed("make a node's directory"))?;
        self.authority.enrol(identity, &dir)?;
        let neighbour = |name: &str| {
            // A leaf dials and is not dialled.
            let is_leaf = self.lab.leaves.contains(name);
            let addresses = if is_leaf { Vec::new() } else { vec![self.network.address(node, name)?.to_string()] };
            Ok(Neighbour { name: name.to_owned(), addresses })
        };
        let neighbours: Vec<Neighbour> = self.lab.neighbours(node).map(neighbour).collect::<Result<_, NetError>>()?;
        save_neighbours(&dir, &neighbours);
        Ok(())
    }

    fn start(&mut self, name: &str) -> Result<(), MeshError> {
        if self.lab.leaves.contains(name) {
            return Ok(());
        }
        let doing = format!("start {name}");
        let videos = self.videos(name);
        let recording = self.settings.record.then(|| self.recording(name));
        let mut command = self.command(name)?;
        let Some(node) = self.nodes.get_mut(name) else { return Ok(()) };
        match node.process.as_mut().map(Process::has_ended) {
            Some(false) => {
                return Err(MeshError::Senseless(doing, format!("{name} runs already; kill or stop it first")));
            }
            Some(true) => self.ended.push(leaves::ended_by_itself(name)),
            None => {}
        }
        command.arg("node").args(["--name", name, "--until-stdin-closes"]);
        command.arg("--dir").arg(self.dir.path().join(name)).arg("--publish").arg(videos);
        command.args(["--listen", &self.network.bind(name)?.to_string()]);
        command.args(["--http", &format!("127.0.0.1:{}", node.http)]);
        if let Some(file) = recording {
            command.arg("--record").arg(file);
        }
        (node.process, node.leaving) = (Some(Process::new(self.network.spawn(name, command)?)), None);
        Ok(())
    }

    fn watch(&mut self, node: &str, stream: &StreamName) -> Result<(), MeshError> {
        let id = (node.to_owned(), stream.clone());
        let viewer = if self.lab.leaves.contains(node) {
            self.leaf(node, stream)?
        } else {
            let port = self.nodes.get(node).map_or(0, |node| node.http);
            self.player(node, port, stream)
        };
        self.viewers.push((id, viewer));
        Ok(())
    }

    fn player(&self, node: &str, port: u16, stream: &StreamName) -> Viewer {
        Viewer::player(self.network.clone(), node.to_owned(), port, stream, self.cadence(stream))
    }

    fn cadence(&self, stream: &StreamName) -> Cadence {
        self.cadences.get(stream).copied().unwrap_or_default()
    }

    /// Puts a video into the folder that a node publishes.
    fn publish(&self, node: &str, stream: &StreamName) -> Result<(), MeshError> {
        let doing = format!("publish {stream} at {node}");
        let Some(known) = self.lab.streams.iter().find(|known| known.name == *stream) else { return Ok(()) };
        let source = self.file_of(known);
        let videos = self.videos(node);
        let whole = self.dir.path().join(format!("{node}-{stream}.part"));
        std::fs::copy(&source, &whole).map_err(failed(&doing))?;
        std::fs::rename(&whole, videos.join(format!("{stream}.mp4"))).map_err(failed(&doing))
    }

    fn file_of(&self, stream: &Stream) -> PathBuf {
        match stream.source.as_str() {
            TESTCARD => self.dir.path().join("testcard.mp4"),
            path => PathBuf::from(path),
        }
    }

    fn videos(&self, node: &str) -> PathBuf {
        self.dir.path().join(node).join("videos")
    }

    /// Of the life of a node that begins now.
    fn recording(&self, name: &str) -> PathBuf {
        let of_life = |life: u32| self.dir.path().join(format!("{name}-{life}.jsonl"));
        (1..).map(of_life).find(|file| !file.exists()).unwrap_or_default()
    }

    fn command(&self, name: &str) -> Result<std::process::Command, MeshError> {
        let log = self.dir.path().join(format!("{name}.log"));
        command(&self.settings.program, &log).map_err(failed("write a log"))
    }

    fn kill(&mut self, node: &Name) -> Result<(), MeshError> {
        let process = self.process(node, &format!("kill {node}"))?;
        if process.has_ended() {
            self.ended.push(leaves::ended_by_itself(&node.0));
        }
        self.let_go(node);
        Ok(())
    }

    /// Ends its process, if it has not ended yet.
    fn let_go(&mut self, node: &Name) {
        if let Some(node) = self.nodes.get_mut(&node.0) {
            (node.process, node.leaving) = (None, None);
        }
    }

    fn cut(&mut self, from: &Name, to: &Name) -> Result<(), MeshError> {
        if self.cut.insert((from.0.clone(), to.0.clone())) {
            self.network.change(&from.0, &to.0, Change::Cut)?;
        }
        Ok(())
    }

    fn impair(&mut self, from: &Name, to: &Name, change: &str, doing: &str) -> Result<(), MeshError> {
        let Some(impairment) = self.impairments.get_mut(&(from.0.clone(), to.0.clone())) else { return Ok(()) };
        impairment.change(change).map_err(|what| MeshError::Senseless(doing.to_owned(), what))?;
        Ok(self.network.change(&from.0, &to.0, Change::Impair(impairment.clone()))?)
    }

    fn keep(&self, to: &Path) -> io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(self.dir.path())? {
            let path = entry?.path();
            if let Some(name) =
                path.file_name().filter(|_| path.extension().is_some_and(|end| end == "log" || end == "jsonl"))
            {
                std::fs::copy(&path, to.join(name))?;
            }
        }
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.dismiss_viewers();
        self.viewers.clear();
        self.at_sources.clear();
        self.nodes.clear();
        if let Some(to) = &self.settings.keep
            && let Err(error) = self.keep(to)
        {
            eprintln!("levada: what was to be kept cannot be written to {}: {error}", to.display());
        }
    }
}

/// An error with its causes, from the outside in.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

fn failed(what: &str) -> impl Fn(io::Error) -> MeshError + '_ {
    move |error| MeshError::Io(what.to_owned(), error)
}
