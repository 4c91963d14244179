//! What happened, for people: what was done, and what the mesh did about it. The newest entries are kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;

/// Entries that are kept; a page that comes later sees no older ones.
const ENTRIES_MAX: usize = 500;

/// An entry.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Counts from 1.
    pub(super) id: u64,
    /// Seconds since the lab began.
    pub(super) at_s: f64,
    pub(super) kind: Kind,
    pub(super) text: String,
    /// What was done, as a script says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A command was carried out.
    Did,
    /// A command could not be.
    Failed,
    /// A process ended though nobody ended it.
    Ended,
    /// A node got another parent.
    Parent,
    /// A viewer has no pictures any more.
    Waits,
    /// A viewer has pictures, for the first time or again.
    Served,
}

#[derive(Debug)]
pub(super) struct Journal {
    began: Instant,
    entries: Mutex<VecDeque<Entry>>,
    /// The newest id.
    newest: watch::Sender<u64>,
}

impl Journal {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, entries: Mutex::new(VecDeque::new()), newest: watch::Sender::new(0) }
    }

    pub(super) fn add(&self, kind: Kind, text: String, line: Option<String>) {
        let mut entries = self.entries();
        let id = entries.back().map_or(1, |entry| entry.id + 1);
        let at_s = (self.began.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        entries.push_back(Entry { id, at_s, kind, text, line });
        while entries.len() > ENTRIES_MAX {
            entries.pop_front();
        }
        self.newest.send_replace(id);
    }

    pub(super) fn after(&self, id: u64) -> Vec<Entry> {
        self.entries().iter().filter(|entry| entry.id > id).cloned().collect()
    }

    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_kept() {
        let journal = Journal::new(Instant::now());
        for n in 0..ENTRIES_MAX + 10 {
            journal.add(Kind::Did, format!("line {n}"), None);
        }
        let kept = journal.after(0);
        assert_eq!((kept.len(), kept[0].id), (ENTRIES_MAX, 11));
        assert_eq!(journal.after(kept[0].id).len(), ENTRIES_MAX - 1);
        assert_eq!(*journal.follow().borrow(), kept[ENTRIES_MAX - 1].id);
    }
}
