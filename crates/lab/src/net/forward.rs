//! Shows a port of a node outside the lab: a listener that belongs to the host, and TCP connections passed on one by one.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

/// Connections passed on at the same time; a browser opens six to a host.
const CONNECTIONS_MAX: usize = 64;
/// When nothing can be accepted, as without descriptors, the next try is after this.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens a connection with what is shown.
pub(crate) type Connector = Arc<dyn Fn() -> io::Result<TcpStream> + Send + Sync>;

/// A listener at work. Dropped, it accepts nothing more; connections that are open go on.
#[derive(Debug)]
pub struct Forwarder {
    address: SocketAddr,
    end: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Accepts from `listener`, and passes on to where `connect` leads.
    pub(crate) fn start(listener: TcpListener, connect: Connector) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (end, ended) = UnixStream::pair()?;
        let run = move || accept(&listener, &ended, &connect);
        let thread = std::thread::Builder::new().name("lab-forward".to_owned()).spawn(run)?;
        Ok(Self { address, end, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.end.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, ended: &UnixStream, connect: &Connector) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut list = [PollFd::new(ended, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match rustix::event::poll(&mut list, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if !list[0].revents().is_empty() {
            return;
        }
        let Ok((outer, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (connect, counted) = (connect.clone(), Counted(open.clone()));
        // Without a thread the connection is closed, and its count given back.
        let _ = std::thread::Builder::new().name("lab-forward".to_owned()).spawn(move || {
            let _counted = counted;
            let _ = outer.set_nonblocking(false).and_then(|()| join(&outer, &connect()?));
        });
    }
}

/// One of the open connections, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Passes bytes on in both directions until both have ended.
fn join(outer: &TcpStream, inner: &TcpStream) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| pass(inner, outer));
        pass(outer, inner);
    });
    Ok(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    let mut memory = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut memory) {
        if to.write_all(&memory[..len]).is_err() {
            // Whoever sends must not wait for someone who does not read any more.
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
