//! The thread that carries packets: it waits for packets and for the time when the next one is due, and for nothing else.
//! It is the same for both kinds of network; [`Ports`] is what differs.

use std::collections::BinaryHeap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use levada_overlay::Time;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::bundle::Segments;
use super::fabric::{Fabric, Load};
use super::pool::{LARGE_LEN, Packet, Pool};

/// Packets read from one port before the others and those that are due have their turn.
const BURST: usize = 32;

/// Where packets come from and go to.
pub(crate) trait Ports: Send + 'static {
    /// Takes in what was added since the last call.
    fn refresh(&mut self);
    /// What is to be waited for; the position in the list is the `port` of [`Ports::receive`].
    fn watch<'a>(&'a self, list: &mut Vec<PollFd<'a>>);
    fn receive(&mut self, port: usize, memory: &mut [u8]) -> Received;
    /// Hands a packet to the node it is for. A node that takes none has lost it, as from a full socket.
    fn deliver(&mut self, node: usize, tag: Tag, packet: &[u8]);
    fn load(packet: &[u8]) -> Load;
    fn segments(packet: &[u8]) -> Option<Segments<'_>>;
}

pub(crate) enum Received {
    Packet {
        len: usize,
        from: usize,
        to: usize,
        tag: Tag,
    },
    /// Something for nobody.
    Stray,
    /// There is nothing more.
    Nothing,
}

/// What ports want to know again at delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) slot: u32,
    pub(crate) id: u32,
    pub(crate) is_back: bool,
}

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    fabric: Arc<Mutex<Fabric>>,
    wake: Arc<UnixStream>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    epoch: Instant,
}

impl Engine {
    pub(crate) fn start(fabric: Fabric, ports: impl Ports) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let fabric = Arc::new(Mutex::new(fabric));
        let is_over = Arc::new(AtomicBool::new(false));
        let epoch = Instant::now();
        let carrier = Carrier {
            ports,
            pool: Pool::default(),
            flights: BinaryHeap::new(),
            flown: 0,
            memory: vec![0; LARGE_LEN].into_boxed_slice(),
            ready: Vec::new(),
            woken,
            epoch,
        };
        let shared = (fabric.clone(), is_over.clone());
        let run = move || carrier.run(&shared.0, &shared.1);
        let thread = std::thread::Builder::new().name("lab-links".to_owned()).spawn(run)?;
        Ok(Self { fabric, wake: Arc::new(wake), is_over, thread: Some(thread), epoch })
    }

    pub(crate) fn fabric(&self) -> MutexGuard<'_, Fabric> {
        lock(&self.fabric)
    }

    /// The time by which packets are carried.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// Makes the thread look at its ports again.
    pub(crate) fn wake(&self) {
        // A full pipe wakes it too.
        let _ = (&*self.wake).write(&[0]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A packet on a link. The next to arrive is the greatest.
#[derive(Debug)]
struct Flight {
    at: Time,
    /// Of those that arrive together the first sent is the first.
    order: u64,
    node: u16,
    to: u16,
    lane: u32,
    tag: Tag,
    packet: Packet,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Flight {}

struct Carrier<P> {
    ports: P,
    pool: Pool,
    /// Bounded by the pool.
    flights: BinaryHeap<Flight>,
    flown: u64,
    /// What was just read.
    memory: Box<[u8]>,
    ready: Vec<usize>,
    woken: UnixStream,
    epoch: Instant,
}

impl<P: Ports> Carrier<P> {
    fn run(mut self, fabric: &Mutex<Fabric>, is_over: &AtomicBool) {
        // The kernel may wake a thread 50 us late to spare itself timers; not this one.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        while !is_over.load(Ordering::Relaxed) {
            self.ports.refresh();
            self.wait();
            let fabric = &mut lock(fabric);
            self.repace(fabric);
            self.land(fabric);
            for port in std::mem::take(&mut self.ready) {
                self.take_in(port, fabric);
                self.land(fabric);
            }
        }
    }

    /// Waits for packets, or until one is due.
    fn wait(&mut self) {
        let left = self.flights.peek().map(|flight| flight.at.since(self.now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let mut list = vec![PollFd::new(&self.woken, PollFlags::IN)];
        self.ports.watch(&mut list);
        match rustix::event::poll(&mut list, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Only more descriptors than the process may have, or no memory. Without links there is no lab.
            Err(error) => panic!("the lab cannot wait for packets: {error}"),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let is_woken = is_ready(&list[0]);
        self.ready.extend(list[1..].iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(port, _)| port));
        drop(list);
        if is_woken {
            while matches!((&self.woken).read(&mut [0; 64]), Ok(1..)) {}
        }
    }

    fn take_in(&mut self, port: usize, fabric: &mut Fabric) {
        let mut memory = std::mem::take(&mut self.memory);
        for _ in 0..BURST {
            match self.ports.receive(port, &mut memory) {
                Received::Packet { len, from, to, tag } => self.depart(fabric, (from, to), tag, &memory[..len]),
                Received::Stray => {}
                Received::Nothing => break,
            }
        }
        self.memory = memory;
    }

    /// Where a rate has changed, packets that wait for it arrive at other times.
    fn repace(&mut self, fabric: &mut Fabric) {
        let repaced = fabric.take_repaced();
        if repaced.is_empty() {
            return;
        }
        let mut flights = std::mem::take(&mut self.flights).into_vec();
        for (lane, repace) in repaced {
            let on_it = flights.iter_mut().filter(|flight| flight.lane as usize == lane);
            on_it.for_each(|flight| flight.at = repace.arrival(flight.at));
        }
        self.flights = flights.into();
    }

    /// Delivers what is due, or sends it over its next link.
    fn land(&mut self, fabric: &mut Fabric) {
        let now = self.now();
        while self.flights.peek().is_some_and(|flight| flight.at <= now) {
            let Some(Flight { at, node, to, lane, tag, packet, .. }) = self.flights.pop() else { return };
            fabric.arrived(lane as usize, packet.bytes(), P::load(packet.bytes()));
            let way = (usize::from(node), usize::from(to));
            if node == to {
                self.ports.deliver(way.1, tag, packet.bytes());
                self.pool.give(packet);
            } else if fabric.cuts_bundles(way.0, way.1) && P::segments(packet.bytes()).is_some() {
                self.depart(fabric, way, tag, packet.bytes());
                self.pool.give(packet);
            } else {
                // From when it was due, so that lateness does not add up.
                self.fly(fabric, way, tag, packet, at);
            }
        }
    }

    /// Sends a packet that is at a node over its next link: as it is, or cut into segments where the link asks for it.
    fn depart(&mut self, fabric: &mut Fabric, way: (usize, usize), tag: Tag, bytes: &[u8]) {
        let now = self.now();
        let segments = if fabric.cuts_bundles(way.0, way.1) { P::segments(bytes) } else { None };
        let Some(segments) = segments else {
            match self.pool.take(bytes.len()) {
                Some(mut packet) => {
                    packet.bytes_mut().copy_from_slice(bytes);
                    self.fly(fabric, way, tag, packet, now);
                }
                None => fabric.refused(way.0, way.1, P::load(bytes)),
            }
            return;
        };
        for index in 0..segments.count() {
            let len = segments.len(index);
            match self.pool.take(len) {
                Some(mut packet) => {
                    segments.write(index, packet.bytes_mut());
                    self.fly(fabric, way, tag, packet, now);
                }
                None => fabric.refused(way.0, way.1, Load { packets: 1, bytes: len as u64 }),
            }
        }
    }

    fn fly(&mut self, fabric: &mut Fabric, (node, to): (usize, usize), tag: Tag, packet: Packet, now: Time) {
        let Some(hop) = fabric.send(node, to, P::load(packet.bytes()), now) else {
            return self.pool.give(packet);
        };
        self.flown += 1;
        let (order, lane) = (self.flown, hop.lane as u32);
        self.flights.push(Flight { at: hop.at, order, node: hop.node as u16, to: to as u16, lane, tag, packet });
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }
}
