//! The network of a lab: nodes as real processes, joined by links that do to packets what their [`Impairment`] says.
//!
//! There are two kinds, and [`Mode`] tells which one a lab has.
//!
//! **Namespaces.** The lab moves into a namespace of users and one of networks, so it needs no root. Each node has a
//! network of its own, with one TUN device and one address of 198.18.0.0/15. The lab holds the other end of all devices,
//! and one thread carries packets between them (`engine`). Nodes see an ordinary network: UDP and TCP alike are delayed,
//! lost and queued. The devices hand over *bundles* of up to 64 KiB; a link that loses, queues or reorders gets the
//! packets that they stand for (`bundle`), a link that only delays carries them whole (jitter then moves a bundle as one).
//!
//! **Loopback.** Where TUN devices or namespaces are not to be had, all nodes live on 127.0.0.1, and what one sends to
//! another goes through a UDP proxy (`loopback`). Links are impaired in the same way, but only for whom dials
//! [`Network::address`]: a node that dials what another has told of itself goes past the links. TCP is not impaired.
//!
//! What both have in common: two nodes that share a link use it; others are routed over the shortest path by delay as the
//! layout has it, and meet every link on it, also past nodes whose process is dead. A cut does not change routes: to find
//! another way is what is to be seen of the nodes. Links count in microseconds, so a rate beyond some 300 Mbit/s is a few
//! per cent too high. Time is that of the machine: a lab that has not enough of it is late, and says so nowhere but in what
//! is measured.
//!
//! Nothing outlives the lab. Processes of nodes die with it, also when it is killed (on Linux); namespaces and devices have
//! no names and end with the last of them. What a node has started itself dies when the node's pipes close.

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only TUN devices hand over bundles"))]
mod bundle;
mod engine;
mod fabric;
mod forward;
mod loopback;
#[cfg(target_os = "linux")]
mod namespaces;
mod pool;
mod routes;
mod spawner;
#[cfg(target_os = "linux")]
mod sys;
mod tap;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;

use levada_node::limits::raise_open_files;
use levada_sim::Impairment;
use rustix::io::Errno;

pub use forward::Forwarder;
pub use tap::Tap;

use self::engine::Engine;
use self::fabric::Fabric;
use self::forward::Connector;
use self::loopback::Loopback;
#[cfg(target_os = "linux")]
use self::namespaces::Namespaces;
use self::spawner::Spawner;

/// Nodes of a lab; each takes two descriptors and, with the others, a place in a square table.
pub const NODES_MAX: usize = 400;
/// `namespaces` or `loopback`: what [`enter`] must do. Unset, it does what it can.
pub const MODE_VARIABLE: &str = "LEVADA_LAB_NET";

/// What a lab runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each node in a network of its own.
    Namespaces,
    /// All nodes on 127.0.0.1, and why.
    Loopback(Why),
}

/// Why a lab runs on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody wanted it so.
    Asked,
    /// There is no TUN device, or it may not be used.
    NoTun(Errno),
    /// The system does not let this user make namespaces.
    NoNamespaces(Errno),
    /// Namespaces are Linux's.
    NotLinux,
}

/// Nodes, and links with what they do.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Names.
    pub nodes: Vec<String>,
    /// Both ends, and what happens in each direction.
    pub links: Vec<(String, String, Impairment)>,
    /// Chance of the links: with the same seed the n-th packet of a link has the same fate.
    pub seed: u64,
}

/// What becomes of one direction of a link.
#[derive(Clone, Debug)]
pub enum Change {
    /// It does this from now on.
    Impair(Impairment),
    /// Nothing passes.
    Cut,
    /// It passes again.
    Heal,
}

/// What one direction of a link has seen. Packets are those on a wire, not bundles; bytes count from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent into it.
    pub packets: u64,
    /// Bytes sent into it.
    pub bytes: u64,
    /// Packets that came to its other end.
    pub delivered: u64,
    /// Bytes that came to its other end.
    pub delivered_bytes: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets that found the queue full.
    pub dropped: u64,
    /// Packets sent while it was cut.
    pub cut: u64,
}

/// Why a network cannot be had, or not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The variable is set to something else.
    #[error("{MODE_VARIABLE}={0} is neither namespaces nor loopback; correct or unset it")]
    Variable(String),
    /// Namespaces were asked for.
    #[error("no network namespaces, which {MODE_VARIABLE} asks for: {0}; unset it to run on loopback")]
    Unavailable(Why),
    /// A process of several threads cannot change its user namespace.
    #[error("other threads run already; enter the lab's network first in main")]
    Threads,
    /// The process is in new namespaces, but they are of no use.
    #[error("cannot set up the lab's own network namespace; set {MODE_VARIABLE}=loopback to do without")]
    Enter(#[source] io::Error),
    /// Too many nodes.
    #[error("{0} nodes are more than the {NODES_MAX} that a lab can have; leave some out")]
    TooMany(usize),
    /// Two nodes of the same name.
    #[error("node {0} is in the layout twice; rename one")]
    Twice(String),
    /// A name that the layout does not have.
    #[error("there is no node {0} in the layout")]
    UnknownNode(String),
    /// Two nodes that share no link, or one with itself.
    #[error("there is no link {0}-{1} in the layout")]
    UnknownLink(String, String),
    /// A link that is there twice.
    #[error("link {0}-{1} is in the layout twice; leave one out")]
    LinkTwice(String, String),
    /// A node's network cannot be made.
    #[error("no network for node {name}")]
    Node {
        /// Which one.
        name: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// No proxy between two nodes.
    #[error("no port for what {from} sends to {to}")]
    Door {
        /// Who dials.
        from: String,
        /// Who is dialled.
        to: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start the lab's network")]
    Start(#[source] io::Error),
    /// A program cannot be started.
    #[error("cannot start {program} at node {node}")]
    Spawn {
        /// Where.
        node: String,
        /// What.
        program: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// Does nothing, but in a process that [`enter`] has started to try whether namespaces can be had: there it never returns.
/// A program that reads its command line before it enters calls this first: that process has none.
pub fn answer_trial() {
    #[cfg(target_os = "linux")]
    namespaces::answer_trial();
}

/// Moves this process into namespaces where that is allowed, and tells in what labs of it run. To be called first in main:
/// this program is started once more to try, so what comes before the call happens twice.
///
/// Sockets keep the network they were opened in: a listener opened before this call is the host's for good.
pub fn enter() -> Result<Mode, NetError> {
    let wanted = std::env::var(MODE_VARIABLE).ok();
    match wanted.as_deref() {
        Some("loopback") => return Ok(Mode::Loopback(Why::Asked)),
        None | Some("" | "namespaces") => {}
        Some(other) => return Err(NetError::Variable(other.to_owned())),
    }
    match enter_namespaces()? {
        None => Ok(Mode::Namespaces),
        Some(why) if wanted.as_deref() == Some("namespaces") => Err(NetError::Unavailable(why)),
        Some(why) => Ok(Mode::Loopback(why)),
    }
}

/// The network of a running lab. When it is dropped its processes are killed (on Linux), and nothing is left of it.
#[derive(Debug)]
pub struct Network {
    names: BTreeMap<String, usize>,
    place: Place,
    engine: Engine,
    spawner: Spawner,
}

#[derive(Debug)]
enum Place {
    #[cfg(target_os = "linux")]
    Namespaces(Namespaces),
    Loopback(Loopback),
}

impl Network {
    /// Makes the nodes' networks, and begins to carry packets. `Mode::Namespaces` needs [`enter`] before.
    pub fn open(layout: &Layout, mode: Mode) -> Result<Self, NetError> {
        let (names, links) = resolve(layout)?;
        // A node takes two, a proxy one and one per session. Without more, `open` says what it could not make.
        raise_open_files();
        let fabric = Fabric::new(layout.nodes.len(), &links, layout.seed);
        let (place, engine) = match mode {
            #[cfg(target_os = "linux")]
            Mode::Namespaces => {
                let (namespaces, devices) = Namespaces::make(&layout.nodes)?;
                (Place::Namespaces(namespaces), Engine::start(fabric, devices))
            }
            #[cfg(not(target_os = "linux"))]
            Mode::Namespaces => return Err(NetError::Unavailable(Why::NotLinux)),
            Mode::Loopback(_) => {
                let (loopback, proxies) = Loopback::make(&layout.nodes)?;
                (Place::Loopback(loopback), Engine::start(fabric, proxies))
            }
        };
        let engine = engine.map_err(NetError::Start)?;
        Ok(Self { names, place, engine, spawner: Spawner::start().map_err(NetError::Start)? })
    }

    /// Starts a program in the network of a node. It dies with the lab (on Linux, whatever that died of).
    pub fn spawn(&self, node: &str, command: Command) -> Result<Child, NetError> {
        let index = self.index(node)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let place = match &self.place {
            #[cfg(target_os = "linux")]
            Place::Namespaces(namespaces) => Some(namespaces.of(index).clone()),
            Place::Loopback(_) => None,
        };
        let spawned = self.spawner.spawn(place, command);
        spawned.map_err(|cause| NetError::Spawn { node: node.to_owned(), program, cause })
    }

    /// Where a node is to listen for links.
    pub fn bind(&self, node: &str) -> Result<SocketAddr, NetError> {
        let index = self.index(node)?;
        Ok(match &self.place {
            #[cfg(target_os = "linux")]
            Place::Namespaces(namespaces) => namespaces.of(index).listen(),
            Place::Loopback(loopback) => loopback.listen(index),
        })
    }

    /// Where `from` dials `to`. On loopback this is a port that is there for these two alone.
    pub fn address(&self, from: &str, to: &str) -> Result<SocketAddr, NetError> {
        let (dialler, dialled) = (self.index(from)?, self.index(to)?);
        match &self.place {
            #[cfg(target_os = "linux")]
            Place::Namespaces(namespaces) => Ok(namespaces.of(dialled).listen()),
            Place::Loopback(loopback) => {
                let failed = |cause| NetError::Door { from: from.to_owned(), to: to.to_owned(), cause };
                let (address, is_new) = loopback.door(dialler, dialled).map_err(failed)?;
                if is_new {
                    self.engine.wake();
                }
                Ok(address)
            }
        }
    }

    /// Connects with a TCP port of a node, beside the links: it may listen on 127.0.0.1 or on its own address.
    pub fn connect(&self, node: &str, port: u16) -> io::Result<TcpStream> {
        self.connector(node, port).map_err(io::Error::other)?()
    }

    /// Passes connections that `listener` accepts on to a TCP port of a node, until the forwarder is dropped. With a listener
    /// opened before [`enter`], the host sees the node's pages.
    pub fn expose(&self, listener: TcpListener, node: &str, port: u16) -> Result<Forwarder, NetError> {
        Forwarder::start(listener, self.connector(node, port)?).map_err(NetError::Start)
    }

    /// Changes what happens from one node to a neighbour; the other direction stays as it is.
    pub fn change(&self, from: &str, to: &str, change: Change) -> Result<(), NetError> {
        let (a, b) = (self.index(from)?, self.index(to)?);
        let is_there = self.engine.fabric().change(a, b, change, self.engine.now());
        self.engine.wake();
        is_there.then_some(()).ok_or_else(|| NetError::UnknownLink(from.to_owned(), to.to_owned()))
    }

    /// What has happened so far from one node to a neighbour.
    pub fn counters(&self, from: &str, to: &str) -> Result<Counters, NetError> {
        let (a, b) = (self.index(from)?, self.index(to)?);
        let counters = self.engine.fabric().counters(a, b);
        counters.ok_or_else(|| NetError::UnknownLink(from.to_owned(), to.to_owned()))
    }

    /// Keeps from now on what goes from one node to a neighbour, for [`Network::overheard`].
    pub fn tap(&self, from: &str, to: &str) -> Result<(), NetError> {
        let (a, b) = (self.index(from)?, self.index(to)?);
        let is_there = self.engine.fabric().tap(a, b);
        is_there.then_some(()).ok_or_else(|| NetError::UnknownLink(from.to_owned(), to.to_owned()))
    }

    /// What went from one node to a neighbour, as a stranger on the wire would have it. `None`: nobody listened.
    pub fn overheard(&self, from: &str, to: &str) -> Result<Option<Tap>, NetError> {
        let (a, b) = (self.index(from)?, self.index(to)?);
        Ok(self.engine.fabric().overheard(a, b))
    }

    fn index(&self, node: &str) -> Result<usize, NetError> {
        self.names.get(node).copied().ok_or_else(|| NetError::UnknownNode(node.to_owned()))
    }

    fn connector(&self, node: &str, port: u16) -> Result<Connector, NetError> {
        let index = self.index(node)?;
        Ok(match &self.place {
            #[cfg(target_os = "linux")]
            Place::Namespaces(namespaces) => {
                let namespace = namespaces.of(index).clone();
                Arc::new(move || namespace.connect(port))
            }
            Place::Loopback(_) => {
                let _ = index;
                Arc::new(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
            }
        })
    }
}

/// Links as places in the list of nodes.
type Links = Vec<(usize, usize, Impairment)>;

fn resolve(layout: &Layout) -> Result<(BTreeMap<String, usize>, Links), NetError> {
    if layout.nodes.len() > NODES_MAX {
        return Err(NetError::TooMany(layout.nodes.len()));
    }
    let mut names = BTreeMap::new();
    for (index, name) in layout.nodes.iter().enumerate() {
        if names.insert(name.clone(), index).is_some() {
            return Err(NetError::Twice(name.clone()));
        }
    }
    let index = |name: &String| names.get(name).copied().ok_or_else(|| NetError::UnknownNode(name.clone()));
    let mut seen = std::collections::BTreeSet::new();
    let mut links = Vec::new();
    for (a, b, impairment) in &layout.links {
        let (from, to) = (index(a)?, index(b)?);
        if from == to {
            return Err(NetError::UnknownLink(a.clone(), b.clone()));
        }
        if !seen.insert((from.min(to), from.max(to))) {
            return Err(NetError::LinkTwice(a.clone(), b.clone()));
        }
        links.push((from, to, impairment.clone()));
    }
    Ok((names, links))
}

#[cfg(target_os = "linux")]
fn enter_namespaces() -> Result<Option<Why>, NetError> {
    namespaces::enter()
}

#[cfg(not(target_os = "linux"))]
fn enter_namespaces() -> Result<Option<Why>, NetError> {
    Ok(Some(Why::NotLinux))
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces => f.write_str("network namespaces"),
            Self::Loopback(why) => write!(f, "loopback with UDP proxies ({why})"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("as asked for"),
            Self::NoTun(error) => write!(f, "/dev/net/tun cannot be used: {error}"),
            Self::NoNamespaces(error) => write!(f, "this user may not make namespaces: {error}"),
            Self::NotLinux => f.write_str("namespaces are Linux's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(nodes: &[&str], links: &[(&str, &str)]) -> Layout {
        let links = links.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned(), Impairment::default()));
        Layout { nodes: nodes.iter().map(|name| (*name).to_owned()).collect(), links: links.collect(), seed: 1 }
    }

    #[test]
    fn layouts_that_make_no_sense_are_refused() {
        let refused = |nodes: &[&str], links: &[(&str, &str)]| resolve(&layout(nodes, links)).unwrap_err().to_string();
        assert_eq!(refused(&["a", "a"], &[]), "node a is in the layout twice; rename one");
        assert_eq!(refused(&["a"], &[("a", "b")]), "there is no node b in the layout");
        assert_eq!(refused(&["a"], &[("a", "a")]), "there is no link a-a in the layout");
        assert!(refused(&["a", "b"], &[("a", "b"), ("b", "a")]).contains("twice"));
        let many = Layout { nodes: (0..=NODES_MAX).map(|n| n.to_string()).collect(), ..Layout::default() };
        assert!(resolve(&many).unwrap_err().to_string().contains("401"));
    }

    #[test]
    fn names_that_are_not_there_are_told() {
        let network = Network::open(&layout(&["a", "b"], &[]), Mode::Loopback(Why::Asked)).unwrap();
        assert!(matches!(network.bind("c"), Err(NetError::UnknownNode(name)) if name == "c"));
        assert!(matches!(network.counters("a", "b"), Err(NetError::UnknownLink(..))));
        assert!(matches!(network.spawn("a", Command::new("/nonexistent")), Err(NetError::Spawn { .. })));
    }
}
