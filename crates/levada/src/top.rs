//! `levada top`: a node's tables in a terminal, for people without a browser.
//!
//! Every second the node is asked for all of them; what is drawn is a function of the last answers ([`Seen`]) and of what was
//! typed ([`Desk`]).

mod draw;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use levada_node::http::{Log, Map, Pops, Status, Streams};
use levada_node::journal::Entry;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::audience;
use crate::cli::TopArgs;
use crate::client::Client;

/// Pause between two looks at the node.
const LOOK: Duration = Duration::from_secs(1);
/// A node that has not told everything by then stands still.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for a key before it is seen whether anybody still wants keys.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// Entries of the log that are kept, as many as the node keeps.
const ENTRIES_MAX: usize = 1_000;

/// What the node last said.
#[derive(Debug, Default)]
struct Seen {
    status: Option<Status>,
    streams: Option<Streams>,
    map: Option<Map>,
    /// `None` with a node that does not tell of PoPs.
    pops: Option<Pops>,
    entries: VecDeque<Entry>,
    /// Why the last look failed.
    failure: Option<String>,
}

impl Seen {
    /// What was seen stays when the node does not answer.
    fn take(&mut self, told: anyhow::Result<Told>) {
        match told {
            Ok(told) => {
                (self.status, self.streams, self.map) = (Some(told.status), Some(told.streams), Some(told.map));
                self.pops = told.pops;
                self.entries.extend(told.entries);
                while self.entries.len() > ENTRIES_MAX {
                    self.entries.pop_front();
                }
                self.failure = None;
            }
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }
}

/// Everything that a node tells.
#[derive(Debug)]
struct Told {
    status: Status,
    streams: Streams,
    map: Map,
    pops: Option<Pops>,
    entries: Vec<Entry>,
}

impl Told {
    /// Asks for everything, and for what happened after an entry. A node that stands still answers nothing.
    async fn at(client: &Client, after: u64) -> anyhow::Result<Self> {
        let all = async {
            let log: Log = client.get(&format!("/api/v1/log?after={after}")).await?;
            Ok(Self {
                status: client.get("/api/v1/status").await?,
                streams: client.get("/api/v1/streams").await?,
                map: client.get("/api/v1/map").await?,
                pops: match client.pops(None).await {
                    Ok(told) => Some(Pops { pops: audience::count(client, told.pops).await, ..told }),
                    Err(_) => None,
                },
                entries: log.entries,
            })
        };
        let late = || format!("node {} does not answer", client.node());
        tokio::time::timeout(LOOK_DEADLINE, all).await.with_context(late)?
    }
}

/// Looks again and again, beside what keys do.
fn looks(client: Client, mut after: u64) -> mpsc::Receiver<anyhow::Result<Told>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let told = Told::at(&client, after).await;
            after = told.as_ref().ok().and_then(|told| told.entries.last()).map_or(after, |entry| entry.id);
            if sender.send(told).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Tables, by the keys that show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Streams,
    Neighbours,
    Links,
    Nodes,
    Pops,
    Events,
}

const TABS: [(Tab, &str); 6] = [
    (Tab::Streams, "Streams"),
    (Tab::Neighbours, "Neighbours"),
    (Tab::Links, "Links"),
    (Tab::Nodes, "Nodes"),
    (Tab::Pops, "PoPs"),
    (Tab::Events, "Events"),
];

/// What is shown of it.
#[derive(Debug)]
struct Desk {
    tab: usize,
    /// Which row is chosen, one table each.
    rows: [TableState; TABS.len()],
}

impl Default for Desk {
    fn default() -> Self {
        Self { tab: 0, rows: std::array::from_fn(|_| TableState::default().with_selected(0)) }
    }
}

impl Desk {
    /// Does what a key says; `false`: leave.
    fn press(&mut self, key: KeyEvent) -> bool {
        let row = &mut self.rows[self.tab];
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char(digit @ '1'..='6') => self.tab = digit as usize - '1' as usize,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.tab = (self.tab + 1) % TABS.len(),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.tab = (self.tab + TABS.len() - 1) % TABS.len()
            }
            KeyCode::Down | KeyCode::Char('j') => row.select_next(),
            KeyCode::Up | KeyCode::Char('k') => row.select_previous(),
            KeyCode::PageDown => row.scroll_down_by(10),
            KeyCode::PageUp => row.scroll_up_by(10),
            KeyCode::Home | KeyCode::Char('g') => row.select_first(),
            KeyCode::End | KeyCode::Char('G') => row.select_last(),
            _ => {}
        }
        true
    }
}

pub(crate) async fn top(args: &TopArgs) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        bail!(
            "levada top draws on a terminal; for programs there are levada streams --json, map --json and pops --json"
        );
    }
    let client = Client::operated(&args.node, &args.operator)?;
    let mut seen = Seen::default();
    // A node that is not there is told before the screen is taken.
    seen.take(Ok(Told::at(&client, 0).await?));
    // Restores the terminal also when something panics.
    let terminal = ratatui::try_init()?;
    let result = run(terminal, &client, seen).await;
    ratatui::restore();
    result
}

async fn run(mut terminal: ratatui::DefaultTerminal, client: &Client, mut seen: Seen) -> anyhow::Result<()> {
    let mut desk = Desk::default();
    let mut inputs = inputs();
    let mut looks = looks(client.clone(), seen.entries.back().map_or(0, |entry| entry.id));
    loop {
        terminal.draw(|frame| draw::screen(frame, client.node(), &seen, &mut desk))?;
        tokio::select! {
            Some(told) = looks.recv() => seen.take(told),
            input = inputs.recv() => match input {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press && !desk.press(key) => return Ok(()),
                // Another size is taken up by drawing.
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

/// Keys and sizes of the terminal, until nobody wants them any more.
fn inputs() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let Ok(event) = event else { return };
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
