//! The console of a lab: a page on which nodes and links are clicked, and the trees are seen changing.
//!
//! Two threads, so that neither a slow look nor a slow command holds up the other, and a server that waits for neither:
//!
//! ```text
//! POST /api/do -> orders -> keeper (owns the mesh) -> facts -> looker (asks the nodes) -> view -> GET /api/events
//!                              |                                  |
//!                              +----------> journal <-------------+
//! ```

mod http;
mod journal;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use levada_sim::Action;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};

use self::journal::{Journal, Kind};
use self::view::{Facts, Looker};
use crate::file::{Lab, Name};
use crate::mesh::{Condition, Mesh, chain};

/// Pause between two looks at all nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Commands that wait for their turn: to drain a node may take seconds.
const ORDERS_MAX: usize = 16;
/// Most viewers at a time: each is a thread or a process.
const VIEWERS_MAX: usize = 200;
/// Pages that may follow the lab at a time.
const FOLLOWERS_MAX: usize = 32;

/// A mesh that is looked at and worked upon over HTTP. It ends with this.
#[derive(Debug)]
pub struct Console {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and the server share.
#[derive(Debug)]
struct Desk {
    lab: Lab,
    mode: String,
    /// The page of each node that has one.
    pages: BTreeMap<String, String>,
    orders: SyncSender<Order>,
    facts: Mutex<Option<Arc<Facts>>>,
    /// The newest view, as JSON; empty before the first look.
    view: watch::Sender<Arc<str>>,
    journal: Journal,
    followers: Arc<Semaphore>,
    ended: AtomicBool,
}

/// A line of the script's notation that somebody wants done.
#[derive(Debug)]
struct Order {
    line: String,
    actions: Vec<Action<Name>>,
    /// Hears what came of it.
    reply: oneshot::Sender<Result<(), String>>,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Senseless(String),
    #[error("{ORDERS_MAX} commands wait for their turn; wait until they are done")]
    Busy,
    #[error("the lab has ended; start it again")]
    Ended,
}

impl Console {
    /// Takes over a mesh. `pages` are the addresses of the nodes' own pages.
    pub fn open(mesh: Mesh, mode: String, pages: BTreeMap<String, String>) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(ORDERS_MAX);
        let desk = Arc::new(Desk {
            lab: mesh.lab().clone(),
            mode,
            pages,
            orders,
            facts: Mutex::new(None),
            view: watch::Sender::new(Arc::from("")),
            journal: Journal::new(mesh.began()),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            ended: AtomicBool::new(false),
        });
        // One nudge is enough, however much was done since the last look.
        let (nudge, nudged) = sync_channel(1);
        let mut console = Self { desk: desk.clone(), threads: Vec::new() };
        let keeper = Keeper { desk: desk.clone(), mesh, nudge, before: Vec::new() };
        console.start("lab-keeper", move || keeper.keep(&waiting))?;
        console.start("lab-looker", move || look(&desk, &nudged))?;
        Ok(console)
    }

    /// Serves the page and its API to whoever connects, until it is dropped.
    pub fn serve(&self, listener: std::net::TcpListener) -> impl Future<Output = io::Result<()>> + use<> {
        let desk = self.desk.clone();
        async move {
            listener.set_nonblocking(true)?;
            http::serve(desk, TcpListener::from_std(listener)?).await
        }
    }

    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.desk.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Desk {
    /// Does what a line says, after everything that was ordered before.
    async fn order(&self, line: &str) -> Result<(), Refusal> {
        let line = line.trim();
        if line.is_empty() || line.contains('\n') {
            return Err(Refusal::Senseless("write one line, for example: kill n3".to_owned()));
        }
        let actions = self.lab.actions(line).map_err(Refusal::Senseless)?;
        let (reply, done) = oneshot::channel();
        self.orders.try_send(Order { line: line.to_owned(), actions, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Ended,
        })?;
        done.await.map_err(|_| Refusal::Ended)?.map_err(Refusal::Senseless)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn facts(&self) -> Option<Arc<Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Holds the mesh: does what is ordered, and tells how it is.
struct Keeper {
    desk: Arc<Desk>,
    mesh: Mesh,
    nudge: SyncSender<()>,
    before: Vec<(String, Condition)>,
}

impl Keeper {
    fn keep(mut self, orders: &Receiver<Order>) {
        self.tell(None);
        while !self.desk.has_ended() {
            match orders.recv_timeout(LOOK_INTERVAL) {
                Ok(order) => self.carry_out(order),
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.mesh.conditions();
                    let fell = |((name, now), (_, before)): (&(String, Condition), &(String, Condition))| {
                        (*now == Condition::Dead && *before != Condition::Dead).then(|| name.clone())
                    };
                    for name in now.iter().zip(&self.before).filter_map(fell) {
                        let text = format!("{name} ended by itself; its log tells why, with --keep DIR");
                        self.desk.journal.add(Kind::Ended, text, None);
                    }
                    self.tell(None);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        self.tell(Some(order.line.clone()));
        let done = order.actions.iter().try_for_each(|action| self.apply(action));
        self.mesh.forget_viewers();
        let journal = &self.desk.journal;
        match &done {
            Ok(()) => journal.add(Kind::Did, order.line.clone(), Some(order.line)),
            Err(why) => journal.add(Kind::Failed, format!("{}: {why}", order.line), None),
        }
        self.tell(None);
        let _ = order.reply.send(done);
        let _ = self.nudge.try_send(());
    }

    fn apply(&mut self, action: &Action<Name>) -> Result<(), String> {
        if matches!(action, Action::Subscribe(..)) && self.mesh.viewers.len() >= VIEWERS_MAX {
            return Err(format!("{VIEWERS_MAX} viewers watch already; let some leave, for example: unwatch n4 cam"));
        }
        self.mesh.apply(action).map_err(|error| chain(&error))
    }

    fn tell(&mut self, doing: Option<String>) {
        self.before = self.mesh.conditions();
        let facts = Facts::of(&self.mesh, self.before.clone(), doing);
        *self.desk.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(facts));
    }
}

/// Looks at the nodes again and again, and shows what is new.
fn look(desk: &Desk, nudged: &Receiver<()>) {
    let mut looker = Looker::default();
    while !desk.has_ended() {
        if let Some(facts) = desk.facts() {
            let view = looker.look(desk, &facts);
            // Numbers, text and lists only: nothing in it that JSON does not have.
            let json: Arc<str> = serde_json::to_string(&view).unwrap_or_default().into();
            desk.view.send_if_modified(|shown| {
                let is_new = *shown != json;
                *shown = json;
                is_new
            });
        }
        if nudged.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}
