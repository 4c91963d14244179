//! Where the nodes of a lab are: all on loopback, with a proxy in each link that delays, loses and holds back packets.
//! A node that dials another by the address in its record goes around the proxies.

use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levada_sim::Impairment;
use rand::Rng as _;

/// Longest datagram.
const DATAGRAM_MAX: usize = 65_535;
/// Most datagrams on their way at once; more are dropped.
const FLYING_MAX: usize = 100_000;

/// What a lab runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All nodes in this process's own network.
    Loopback,
}

/// Nodes, and links with what they do.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Names.
    pub nodes: Vec<String>,
    /// Both ends, and what happens in both directions.
    pub links: Vec<(String, String, Impairment)>,
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

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Too many nodes, or too few ports.
    #[error("node {0} gets no port on loopback")]
    Port(String, #[source] io::Error),
    /// A program cannot be started.
    #[error("a program of node {0} cannot be started")]
    Spawn(String, #[source] io::Error),
}

type Pair = (String, String);

/// The network of a lab.
#[derive(Debug)]
pub struct Network {
    addresses: BTreeMap<String, SocketAddr>,
    /// Where the first dials the second.
    doors: BTreeMap<Pair, SocketAddr>,
    wires: BTreeMap<Pair, Arc<Mutex<Wire>>>,
}

/// One direction of a link.
#[derive(Debug)]
struct Wire {
    impairment: Impairment,
    cut: bool,
    /// When the last packet that waits for its turn has left.
    busy_until: Instant,
}

impl Network {
    /// Lays it out.
    pub fn open(layout: &Layout, _mode: Mode) -> Result<Self, NetError> {
        let mut held = Vec::new();
        let mut network = Self { addresses: BTreeMap::new(), doors: BTreeMap::new(), wires: BTreeMap::new() };
        for node in &layout.nodes {
            let socket = socket(node)?;
            network.addresses.insert(node.clone(), local(&socket, node)?);
            // Held until all are chosen, so that none is chosen twice.
            held.push(socket);
        }
        let post = Arc::<Post>::default();
        let posting = post.clone();
        std::thread::spawn(move || posting.deliver());
        for (a, b, impairment) in &layout.links {
            for (from, to) in [(a, b), (b, a)] {
                let wire = Wire { impairment: impairment.clone(), cut: false, busy_until: Instant::now() };
                network.wires.insert((from.clone(), to.clone()), Arc::new(Mutex::new(wire)));
            }
            for (from, to) in [(a, b), (b, a)] {
                let door = Arc::new(socket(from)?);
                network.doors.insert((from.clone(), to.clone()), local(&door, from)?);
                let wire = |from: &str, to: &str| network.wires.get(&(from.to_owned(), to.to_owned())).cloned();
                if let (Some(there), Some(back)) = (wire(from, to), wire(to, from)) {
                    let (target, post) = (network.bind(to), post.clone());
                    std::thread::spawn(move || pass(&door, target, &there, &back, &post));
                }
            }
        }
        Ok(network)
    }

    /// Starts a program at a node.
    pub fn spawn(&self, node: &str, mut command: Command) -> Result<Child, NetError> {
        command.spawn().map_err(|error| NetError::Spawn(node.to_owned(), error))
    }

    /// Where a node listens for links.
    pub fn bind(&self, node: &str) -> SocketAddr {
        self.addresses.get(node).copied().unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Where one node dials another.
    pub fn address(&self, from: &str, to: &str) -> SocketAddr {
        self.doors.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or_else(|| self.bind(to))
    }

    /// Connects with a port of a node, beside the links.
    pub fn connect(&self, _node: &str, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
    }

    /// Changes one direction of a link.
    pub fn change(&self, from: &str, to: &str, change: Change) -> Result<(), NetError> {
        if let Some(wire) = self.wires.get(&(from.to_owned(), to.to_owned())) {
            let mut wire = lock(wire);
            match change {
                Change::Impair(impairment) => wire.impairment = impairment,
                Change::Cut => wire.cut = true,
                Change::Heal => wire.cut = false,
            }
        }
        Ok(())
    }
}

impl Wire {
    /// When a packet arrives; `None`: it does not.
    fn arrival(&mut self, len: usize, now: Instant) -> Option<Instant> {
        let mut rng = rand::rng();
        if self.cut || rng.random::<f64>() < self.impairment.loss {
            return None;
        }
        let mut at = now;
        if let Some(rate) = self.impairment.rate {
            let per_byte_s = 8.0 / rate as f64;
            let start = self.busy_until.max(now);
            if start.duration_since(now).as_secs_f64() / per_byte_s > self.impairment.queue as f64 {
                return None;
            }
            self.busy_until = start + Duration::from_secs_f64(len as f64 * per_byte_s);
            at = self.busy_until;
        }
        Some(at + self.impairment.delay + self.impairment.jitter.mul_f64(rng.random()))
    }
}

/// Datagrams on their way.
#[derive(Default)]
struct Post {
    flying: Mutex<BinaryHeap<Letter>>,
    changed: Condvar,
}

struct Letter {
    at: Instant,
    bytes: Vec<u8>,
    from: Arc<UdpSocket>,
    to: SocketAddr,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Letter {}

impl PartialOrd for Letter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Letter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

impl Post {
    fn send(&self, letter: Letter) {
        let mut flying = lock(&self.flying);
        if flying.len() < FLYING_MAX {
            flying.push(letter);
            self.changed.notify_one();
        }
    }

    fn deliver(&self) {
        let mut flying = lock(&self.flying);
        loop {
            let now = Instant::now();
            let wait = match flying.peek() {
                Some(letter) if letter.at <= now => {
                    if let Some(letter) = flying.pop() {
                        // Nobody listening is what happens to datagrams.
                        let _ = letter.from.send_to(&letter.bytes, letter.to);
                    }
                    continue;
                }
                Some(letter) => letter.at - now,
                None => Duration::from_secs(1),
            };
            flying = self.changed.wait_timeout(flying, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Passes on what comes in at a door, and back what is answered, with a socket for each who dials.
fn pass(
    door: &Arc<UdpSocket>,
    target: SocketAddr,
    there: &Arc<Mutex<Wire>>,
    back: &Arc<Mutex<Wire>>,
    post: &Arc<Post>,
) {
    let mut behind: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        let Ok((len, dialler)) = door.recv_from(&mut bytes) else { continue };
        let from = match behind.get(&dialler) {
            Some(socket) => socket.clone(),
            None => {
                let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(Arc::new) else { continue };
                behind.insert(dialler, socket.clone());
                let (answers, door, back, post) = (socket.clone(), door.clone(), back.clone(), post.clone());
                std::thread::spawn(move || {
                    let mut bytes = vec![0; DATAGRAM_MAX];
                    loop {
                        let Ok((len, _)) = answers.recv_from(&mut bytes) else { continue };
                        if let Some(at) = lock(&back).arrival(len, Instant::now()) {
                            post.send(Letter { at, bytes: bytes[..len].to_vec(), from: door.clone(), to: dialler });
                        }
                    }
                });
                socket
            }
        };
        if let Some(at) = lock(there).arrival(len, Instant::now()) {
            post.send(Letter { at, bytes: bytes[..len].to_vec(), from, to: target });
        }
    }
}

fn socket(node: &str) -> Result<UdpSocket, NetError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| NetError::Port(node.to_owned(), error))
}

fn local(socket: &UdpSocket, node: &str) -> Result<SocketAddr, NetError> {
    socket.local_addr().map_err(|error| NetError::Port(node.to_owned(), error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
