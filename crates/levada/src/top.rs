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

use anyhow::bail;
use levada_node::http::{Log, Map, Status, Streams};
use levada_node::journal::Entry;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::cli::TopArgs;
use crate::client::Client;
use levada_node::http::Pops;

/// Pause between two looks at the node.
const LOOK: Duration = Duration::from_secs(1);
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
    /// Asks for everything. What was seen stays when the node does not answer.
    async fn look(&mut self, client: &Client) {
        self.failure = self.try_look(client).await.err().map(|error| format!("{error:#}"));
    }

    async fn try_look(&mut self, client: &Client) -> anyhow::Result<()> {
        self.status = Some(client.get("/api/v1/status").await?);
        self.streams = Some(client.get("/api/v1/streams").await?);
        self.map = Some(client.get("/api/v1/map").await?);
        let after = self.entries.back().map_or(0, |entry| entry.id);
        let log: Log = client.get(&format!("/api/v1/log?after={after}")).await?;
        self.entries.extend(log.entries);
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.pops = client.get("/api/v1/pops").await.ok();
        Ok(())
    }
}

/// Tables, by the keys that show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Streams,
    Links,
    Nodes,
    Pops,
    Events,
}

const TABS: [(Tab, &str); 5] = [
    (Tab::Streams, "Streams"),
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
            KeyCode::Char(digit @ '1'..='5') => self.tab = digit as usize - '1' as usize,
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
    seen.try_look(&client).await?;
    // Restores the terminal also when something panics.
    let terminal = ratatui::try_init()?;
    let result = run(terminal, &client, seen).await;
    ratatui::restore();
    result
}

async fn run(mut terminal: ratatui::DefaultTerminal, client: &Client, mut seen: Seen) -> anyhow::Result<()> {
    let mut desk = Desk::default();
    let mut inputs = inputs();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw::screen(frame, client.node(), &seen, &mut desk))?;
        tokio::select! {
            _ = looks.tick() => seen.look(client).await,
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
