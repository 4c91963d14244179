//! The thread that starts the nodes' processes. A process dies with the thread that started it (see `sys`), so it has to be
//! one that lives as long as the lab; and a process is born into the network in which that thread is.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

#[cfg(target_os = "linux")]
use super::namespaces::Namespace;
#[cfg(target_os = "linux")]
use super::sys;

/// In whose network a process starts; none: the lab's own.
#[cfg(not(target_os = "linux"))]
pub(crate) type Namespace = std::convert::Infallible;

/// Ends when it is dropped, and with it, on Linux, all that it started.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: Sender<Order>,
}

struct Order {
    place: Option<Namespace>,
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, taken) = channel::<Order>();
        let run = move || {
            for Order { place, command, answer } in taken {
                // Whoever asked waits for it.
                let _ = answer.send(start(place, command));
            }
        };
        std::thread::Builder::new().name("lab-spawner".to_owned()).spawn(run)?;
        Ok(Self { orders })
    }

    pub(crate) fn spawn(&self, place: Option<Namespace>, command: Command) -> io::Result<Child> {
        let (answer, answered) = sync_channel(1);
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders.send(Order { place, command, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

#[cfg(target_os = "linux")]
fn start(place: Option<Namespace>, mut command: Command) -> io::Result<Child> {
    if let Some(place) = place {
        place.step_in()?;
    }
    sys::die_with_this_thread(&mut command);
    command.spawn()
}

#[cfg(not(target_os = "linux"))]
fn start(_place: Option<Namespace>, mut command: Command) -> io::Result<Child> {
    command.spawn()
}
