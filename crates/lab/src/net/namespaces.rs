//! Nodes that each have a network of their own: a namespace with one TUN device and one address. There is no way out of it
//! but the device, and its other end is in the lab's hands.
//!
//! The namespaces have no names and no files. They end with the last process and the last descriptor in them, so nothing is
//! left of a lab that is killed.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;

use super::bundle::{self, HEADER_LEN, Segments};
use super::engine::{Ports, Received, Tag};
use super::fabric::Load;
use super::sys::{self, device};
use super::{NODES_MAX, NetError, Why};

/// The range for tests of networks (RFC 2544, section C.2.2).
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 254, 0, 0);
/// Where nodes listen for links.
const NODE_PORT: u16 = 4433;
/// Tells a process that it is there to try, and its answer: no error has this number.
const TRY: &str = "LEVADA_LAB_TRY";
const TRY_WORKS: i32 = 200;
const TUN: &str = "/dev/net/tun";
const DEVICE: &str = "lab";
/// Inside a machine nothing takes this long unless it hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries, says what came of it and ends, if that is all that this process is there for.
pub(crate) fn answer_trial() {
    if std::env::var_os(TRY).is_some() {
        let code = match leave_host().and_then(|()| make_one(FIRST)) {
            Ok(_) => TRY_WORKS,
            Err(error) => error.raw_os_error().unwrap_or(1),
        };
        std::process::exit(code);
    }
}

/// Moves this process into namespaces in which it may make others. `Ok(Some(..))`: that cannot be had, and why.
///
/// The process keeps its user: who it was outside it is inside, and files look the same. It has power over networks that it
/// makes, and what it starts has none. There is no way back out of a namespace, and some systems grant one without the power
/// to use it, so another process of this program tries first.
pub(crate) fn enter() -> Result<Option<Why>, NetError> {
    answer_trial();
    if let Err(error) = open_tun().and_then(device::check) {
        return Ok(Some(Why::NoTun(error)));
    }
    let mut other = Command::new(std::env::current_exe().map_err(NetError::Enter)?);
    let output = other.env(TRY, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match output.status().map_err(NetError::Enter)?.code() {
        Some(TRY_WORKS) => {}
        code => return Ok(Some(Why::NoNamespaces(Errno::from_raw_os_error(code.unwrap_or(1))))),
    }
    match leave_host() {
        Ok(()) => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Err(NetError::Threads),
        Err(error) => Err(NetError::Enter(error)),
    }
}

fn leave_host() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::leave_host()?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    set_loopback_up()
}

/// The namespaces of all nodes, in the order of the layout.
#[derive(Debug)]
pub(crate) struct Namespaces {
    nodes: Vec<Namespace>,
}

/// The namespace of one node; a copy is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    file: Arc<File>,
    address: Ipv4Addr,
}

/// The devices of all nodes.
#[derive(Debug)]
pub(crate) struct Devices {
    tuns: Vec<OwnedFd>,
}

impl Namespaces {
    pub(crate) fn make(names: &[String]) -> Result<(Self, Devices), NetError> {
        // A thread that leaves its network does so for good; it ends when all are made.
        let make = || {
            let one = |(index, name): (usize, &String)| {
                let address = Ipv4Addr::from_bits(FIRST.to_bits() + index as u32);
                make_one(address).map_err(|cause| NetError::Node { name: name.clone(), cause })
            };
            names.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
        };
        let made = std::thread::scope(|scope| scope.spawn(make).join());
        let (nodes, tuns) =
            made.map_err(|_| NetError::Start(io::Error::other("a thread panicked")))??.into_iter().unzip();
        Ok((Self { nodes }, Devices { tuns }))
    }

    pub(crate) fn of(&self, node: usize) -> &Namespace {
        &self.nodes[node]
    }
}

impl Namespace {
    pub(crate) fn listen(&self) -> SocketAddr {
        (self.address, NODE_PORT).into()
    }

    /// Moves this thread here.
    pub(crate) fn step_in(&self) -> io::Result<()> {
        Ok(rustix::thread::move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Connects with a port of the node from beside it: no emulated link is crossed.
    pub(crate) fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let connect = || {
            self.step_in()?;
            let to = |address: Ipv4Addr| TcpStream::connect_timeout(&(address, port).into(), CONNECT_TIMEOUT);
            to(Ipv4Addr::LOCALHOST).or_else(|_| to(self.address))
        };
        let connected = std::thread::scope(|scope| scope.spawn(connect).join());
        connected.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    }
}

fn open_tun() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(TUN, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

fn make_one(address: Ipv4Addr) -> io::Result<(Namespace, OwnedFd)> {
    sys::leave_network()?;
    let file = Arc::new(File::open("/proc/thread-self/ns/net")?);
    set_loopback_up()?;
    let tun = open_tun()?;
    device::attach(&tun, DEVICE)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    device::set_address(&socket, DEVICE, address, MASK)?;
    device::set_up(&socket, DEVICE)?;
    Ok((Namespace { file, address }, tun))
}

fn set_loopback_up() -> io::Result<()> {
    Ok(device::set_up(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, "lo")?)
}

impl Ports for Devices {
    fn refresh(&mut self) {}

    fn watch<'a>(&'a self, list: &mut Vec<PollFd<'a>>) {
        list.extend(self.tuns.iter().map(|tun| PollFd::new(tun, PollFlags::IN)));
    }

    fn receive(&mut self, port: usize, memory: &mut [u8]) -> Received {
        let Ok(len) = rustix::io::read(&self.tuns[port], &mut *memory) else { return Received::Nothing };
        let Some((_, to)) = bundle::ends(&memory[..len]) else { return Received::Stray };
        let to = to.to_bits().wrapping_sub(FIRST.to_bits()) as usize;
        if to >= self.tuns.len() {
            return Received::Stray;
        }
        Received::Packet { len, from: port, to, tag: Tag::default() }
    }

    fn deliver(&mut self, node: usize, _tag: Tag, packet: &[u8]) {
        let _ = rustix::io::write(&self.tuns[node], packet);
    }

    fn load(packet: &[u8]) -> Load {
        let bytes = (packet.len() - HEADER_LEN) as u64;
        Load { packets: Segments::of(packet).map_or(1, |segments| segments.count() as u64), bytes }
    }

    fn segments(packet: &[u8]) -> Option<Segments<'_>> {
        Segments::of(packet)
    }
}

// All addresses lie in the range, and all numbers of nodes in 16 bits.
const _: () = assert!(NODES_MAX < 1 << 16);
