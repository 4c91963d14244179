//! Where the nodes of a lab are: all on loopback, with links that do nothing to packets.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command};

use levada_sim::Impairment;

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
    /// Links of this mode do nothing.
    #[error("link {0}-{1} cannot be changed on plain loopback")]
    Unchangeable(String, String),
}

/// The network of a lab.
#[derive(Debug)]
pub struct Network {
    addresses: BTreeMap<String, SocketAddr>,
}

impl Network {
    /// Lays it out.
    pub fn open(layout: &Layout, _mode: Mode) -> Result<Self, NetError> {
        let mut held = Vec::new();
        let mut addresses = BTreeMap::new();
        for node in &layout.nodes {
            let port = |error| NetError::Port(node.clone(), error);
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(port)?;
            addresses.insert(node.clone(), socket.local_addr().map_err(port)?);
            // Held until all are chosen, so that none is chosen twice.
            held.push(socket);
        }
        Ok(Self { addresses })
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
    pub fn address(&self, _from: &str, to: &str) -> SocketAddr {
        self.bind(to)
    }

    /// Connects with a port of a node, beside the links.
    pub fn connect(&self, _node: &str, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
    }

    /// Changes one direction of a link.
    pub fn change(&self, from: &str, to: &str, _change: Change) -> Result<(), NetError> {
        Err(NetError::Unchangeable(from.to_owned(), to.to_owned()))
    }
}
