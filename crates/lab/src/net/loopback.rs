//! Nodes that all live on 127.0.0.1: between any two that talk stands a proxy for UDP, one for each direction of dialling.
//!
//! A *door* is the port that one node dials instead of another. Each socket that sends to a door gets a *session*: a socket
//! of its own towards the other node, so that answers find back. What a node sends in is carried over the links from it to
//! the other, and what is answered over the links back. TCP is not impaired.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags};

use super::NetError;
use super::bundle::Segments;
use super::engine::{Ports, Received, Tag, lock};
use super::fabric::Load;

/// Sockets that talk through one door at the same time; more take the place of the longest silent.
const SESSIONS_MAX: usize = 32;
/// Bytes that wait in a socket while the lab is busy: 20 ms at 400 Mbit/s.
const SOCKET_BUFFER: usize = 1 << 20;
/// What IPv4 and UDP add to a datagram.
const HEADERS_LEN: usize = 28;

/// The doors that there are.
#[derive(Debug)]
pub(crate) struct Loopback {
    nodes: Vec<SocketAddr>,
    doors: Mutex<BTreeMap<(usize, usize), SocketAddr>>,
    fresh: Arc<Mutex<Vec<Door>>>,
}

/// The sockets of all doors and sessions.
#[derive(Debug)]
pub(crate) struct Proxies {
    nodes: Vec<SocketAddr>,
    fresh: Arc<Mutex<Vec<Door>>>,
    doors: Vec<Door>,
    sessions: Vec<Session>,
    by_client: HashMap<(usize, SocketAddr), usize>,
    /// Counts packets, to tell the longest silent session.
    clock: u64,
}

#[derive(Debug)]
struct Door {
    from: usize,
    to: usize,
    socket: UdpSocket,
}

#[derive(Debug)]
struct Session {
    /// Tells this session from others that were in its place.
    id: u32,
    door: usize,
    client: SocketAddr,
    socket: UdpSocket,
    used: u64,
}

impl Loopback {
    /// Chooses a port for each node.
    pub(crate) fn make(names: &[String]) -> Result<(Self, Proxies), NetError> {
        // None that the system would give to a door before the node listens.
        let ports = levada_node::ports::free(names.len()).map_err(NetError::Start)?;
        let nodes: Vec<SocketAddr> = ports.into_iter().map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
        let fresh = Arc::new(Mutex::new(Vec::new()));
        let proxies = Proxies {
            nodes: nodes.clone(),
            fresh: fresh.clone(),
            doors: Vec::new(),
            sessions: Vec::new(),
            by_client: HashMap::new(),
            clock: 0,
        };
        Ok((Self { nodes, doors: Mutex::default(), fresh }, proxies))
    }

    pub(crate) fn listen(&self, node: usize) -> SocketAddr {
        self.nodes[node]
    }

    /// The door from one node to another, and whether it is new, so that the engine has to be woken.
    pub(crate) fn door(&self, from: usize, to: usize) -> io::Result<(SocketAddr, bool)> {
        let mut doors = lock(&self.doors);
        if let Some(address) = doors.get(&(from, to)) {
            return Ok((*address, false));
        }
        let socket = open_socket()?;
        let address = socket.local_addr()?;
        lock(&self.fresh).push(Door { from, to, socket });
        doors.insert((from, to), address);
        Ok((address, true))
    }
}

fn open_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // The system may allow less.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    Ok(socket)
}

impl Proxies {
    /// The session of whoever sent to a door.
    fn session(&mut self, door: usize, client: SocketAddr) -> io::Result<usize> {
        if let Some(slot) = self.by_client.get(&(door, client)) {
            return Ok(*slot);
        }
        let socket = open_socket()?;
        let of_door = || self.sessions.iter().enumerate().filter(|(_, session)| session.door == door);
        let silent = of_door().min_by_key(|(_, session)| session.used).map(|(slot, session)| (slot, session.id));
        let is_full = of_door().count() >= SESSIONS_MAX;
        let slot = match silent.filter(|_| is_full) {
            Some((slot, id)) => {
                self.by_client.remove(&(door, self.sessions[slot].client));
                self.sessions[slot] = Session { id: id.wrapping_add(1), door, client, socket, used: self.clock };
                slot
            }
            None => {
                self.sessions.push(Session { id: 0, door, client, socket, used: self.clock });
                self.sessions.len() - 1
            }
        };
        self.by_client.insert((door, client), slot);
        Ok(slot)
    }
}

impl Ports for Proxies {
    fn refresh(&mut self) {
        self.doors.append(&mut lock(&self.fresh));
    }

    fn watch<'a>(&'a self, list: &mut Vec<PollFd<'a>>) {
        list.extend(self.doors.iter().map(|door| PollFd::new(&door.socket, PollFlags::IN)));
        list.extend(self.sessions.iter().map(|session| PollFd::new(&session.socket, PollFlags::IN)));
    }

    fn receive(&mut self, port: usize, memory: &mut [u8]) -> Received {
        self.clock += 1;
        let Some(slot) = port.checked_sub(self.doors.len()) else {
            let Ok((len, client)) = self.doors[port].socket.recv_from(memory) else { return Received::Nothing };
            let Ok(slot) = self.session(port, client) else { return Received::Stray };
            self.sessions[slot].used = self.clock;
            let tag = Tag { slot: slot as u32, id: self.sessions[slot].id, is_back: false };
            return Received::Packet { len, from: self.doors[port].from, to: self.doors[port].to, tag };
        };
        let session = &mut self.sessions[slot];
        let Ok((len, sender)) = session.socket.recv_from(memory) else { return Received::Nothing };
        let door = &self.doors[session.door];
        if sender != self.nodes[door.to] {
            return Received::Stray;
        }
        session.used = self.clock;
        let tag = Tag { slot: slot as u32, id: session.id, is_back: true };
        Received::Packet { len, from: door.to, to: door.from, tag }
    }

    fn deliver(&mut self, node: usize, tag: Tag, packet: &[u8]) {
        let session = &self.sessions[tag.slot as usize];
        if session.id != tag.id {
            return;
        }
        let _ = match tag.is_back {
            true => self.doors[session.door].socket.send_to(packet, session.client),
            false => session.socket.send_to(packet, self.nodes[node]),
        };
    }

    fn load(packet: &[u8]) -> Load {
        Load { packets: 1, bytes: (packet.len() + HEADERS_LEN) as u64 }
    }

    fn segments(_packet: &[u8]) -> Option<Segments<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_door_gets_the_port_of_a_node_that_does_not_listen_yet() {
        levada_node::limits::raise_open_files();
        let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
        let (loopback, _proxies) = Loopback::make(&names).unwrap();
        for (from, to) in (0..40).flat_map(|from| (0..40).map(move |to| (from, to))) {
            let (door, _) = loopback.door(from, to).unwrap();
            assert!(!loopback.nodes.contains(&door), "{door} is a node's");
        }
    }

    #[test]
    fn the_longest_silent_session_gives_way() {
        let (loopback, mut proxies) = Loopback::make(&["a".to_owned(), "b".to_owned()]).unwrap();
        let (address, is_new) = loopback.door(0, 1).unwrap();
        assert!(is_new);
        assert_eq!(loopback.door(0, 1).unwrap(), (address, false));
        proxies.refresh();
        let client = |n: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + n as u16));
        for n in 0..SESSIONS_MAX {
            proxies.clock += 1;
            assert_eq!(proxies.session(0, client(n)).unwrap(), n);
        }
        // The first talks again, so the second has been silent for longest.
        proxies.clock += 1;
        let first = proxies.session(0, client(0)).unwrap();
        proxies.sessions[first].used = proxies.clock;
        assert_eq!(proxies.session(0, client(SESSIONS_MAX)).unwrap(), 1);
        assert_eq!((proxies.sessions.len(), proxies.by_client.len()), (SESSIONS_MAX, SESSIONS_MAX));
        assert!(!proxies.by_client.contains_key(&(0, client(1))));
        // What is on its way for the one that was there before is not given to the new one.
        assert_eq!((proxies.sessions[0].id, proxies.sessions[1].id), (0, 1));
    }
}
