//! What happened, for people: the newest entries, in order.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use levada_overlay::{Event, Mode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::node::{unix_micros, unix_ms};

/// Entries that are kept. Tuned: some hours of a quiet mesh, some minutes of a bad one, half a megabyte.
pub const ENTRIES_MAX: usize = 1_000;
/// Longest text of an entry, in bytes: reasons come from peers.
const TEXT_MAX: usize = 1_024;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Greater for later entries. Counts from the microsecond at which the node started, so that this holds over a restart.
    pub id: u64,
    /// Unix time, milliseconds.
    pub at_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// The same for people.
    pub text: String,
    /// The stream that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Name of the other node that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the parent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A link came up.
    LinkUp,
    /// A link went down.
    LinkDown,
    /// A stream has a new parent.
    Parent,
    /// A stream that only backups want has a new parent.
    Shadow,
    /// A parent fell behind.
    Suspected,
    /// It keeps up again.
    Cleared,
    /// A node that is no neighbour is dialled.
    Adopting,
    /// A neighbour did not want to feed this node.
    Refused,
    /// A wanted stream has no path.
    Waiting,
    /// A record was refused.
    RecordRefused,
    /// A node of the mesh can be reached.
    NodeUp,
    /// A node of the mesh cannot be reached any more.
    NodeDown,
    /// A stream is published.
    StreamNew,
    /// A stream is published no more.
    StreamGone,
    /// An operator connected a neighbour.
    NeighbourAdded,
    /// An operator disconnected a neighbour.
    NeighbourRemoved,
    /// An operator published a file.
    Published,
    /// An operator stopped a stream.
    Stopped,
    /// An operator uploaded a file.
    Uploaded,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// What an entry says besides its number and time.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it is.
    pub kind: Kind,
    /// The same for people.
    pub text: String,
    /// The stream that it is about.
    pub stream: Option<String>,
    /// Name of the other node that it is about.
    pub node: Option<String>,
    /// Name of the parent before.
    pub before: Option<String>,
}

impl Note {
    /// One that is about no stream and no node.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), stream: None, node: None, before: None }
    }

    /// The same, about a stream.
    #[must_use]
    pub fn of_stream(self, stream: impl ToString) -> Self {
        Self { stream: Some(stream.to_string()), ..self }
    }

    /// The same, about a node.
    #[must_use]
    pub fn of_node(self, node: impl Into<String>) -> Self {
        Self { node: Some(node.into()), ..self }
    }
}

impl From<&Event> for Note {
    fn from(event: &Event) -> Self {
        let note = |kind| Self::new(kind, event.to_string());
        match event {
            Event::LinkUp { peer } => note(Kind::LinkUp).of_node(peer),
            Event::LinkDown { peer, .. } => note(Kind::LinkDown).of_node(peer),
            Event::Committed { stream, parent, before, mode, .. } => {
                let kind = if *mode == Mode::Full { Kind::Parent } else { Kind::Shadow };
                Self { before: before.clone(), ..note(kind).of_stream(stream).of_node(parent) }
            }
            Event::Suspected { stream, parent } => note(Kind::Suspected).of_stream(stream).of_node(parent),
            Event::Cleared { stream, parent } => note(Kind::Cleared).of_stream(stream).of_node(parent),
            Event::Adopting { stream, node } => note(Kind::Adopting).of_stream(stream).of_node(node),
            Event::Refused { stream, by, .. } => note(Kind::Refused).of_stream(stream).of_node(by),
            Event::Waiting { stream } => note(Kind::Waiting).of_stream(stream),
            Event::RecordRefused { peer, .. } => note(Kind::RecordRefused).of_node(peer),
        }
    }
}

/// The newest entries.
#[derive(Debug)]
pub struct Journal {
    entries: Mutex<VecDeque<Entry>>,
    /// The newest id.
    newest: watch::Sender<u64>,
}

/// Entries after a certain one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Some that came after it are no longer kept.
    pub missed: bool,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::default(), newest: watch::Sender::new(unix_micros()) }
    }

    /// Adds an entry.
    pub fn note(&self, note: Note) {
        let Note { kind, mut text, stream, node, before } = note;
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        let mut entries = self.entries();
        let id = *self.newest.borrow() + 1;
        entries.push_back(Entry { id, at_ms: unix_ms(), kind, text, stream, node, before });
        while entries.len() > ENTRIES_MAX {
            entries.pop_front();
        }
        self.newest.send_replace(id);
    }

    pub(crate) fn note_event(&self, event: &Event) {
        self.note(event.into());
    }

    /// What came after the entry with this id; 0: all that is kept, of which nothing counts as missed.
    pub fn since(&self, id: u64) -> Since {
        let entries = self.entries();
        let missed = id > 0 && entries.front().is_some_and(|first| first.id > id + 1);
        Since { missed, entries: entries.iter().filter(|entry| entry.id > id).cloned().collect() }
    }

    /// The newest id, as it changes.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use levada_overlay::StreamName;

    use super::*;

    #[test]
    fn the_newest_entries_are_kept_and_what_was_missed_is_told() {
        let journal = Journal::new();
        for n in 0..ENTRIES_MAX + 10 {
            journal.note(Note::new(Kind::LinkUp, format!("entry {n}")));
        }
        let all = journal.since(0);
        assert_eq!((all.missed, all.entries.len(), all.entries[0].text.as_str()), (false, ENTRIES_MAX, "entry 10"));
        let first = all.entries[0].id;
        assert_eq!(*journal.follow().borrow(), first + ENTRIES_MAX as u64 - 1);
        assert!(!journal.since(first - 1).missed);
        assert!(journal.since(first - 2).missed);
        // An id of an earlier life of the node.
        let since = journal.since(1);
        assert!(since.missed && since.entries == all.entries);
        let last = journal.since(first + ENTRIES_MAX as u64 - 2);
        assert_eq!((last.missed, last.entries.len()), (false, 1));
    }

    #[test]
    fn long_reasons_of_peers_are_cut() {
        let journal = Journal::new();
        journal.note(Note::new(Kind::LinkDown, "ö".repeat(TEXT_MAX)));
        assert_eq!(journal.since(0).entries[0].text.len(), TEXT_MAX);
    }

    #[test]
    fn events_tell_whom_they_are_about() {
        let stream = StreamName::new("cam").unwrap();
        let note = Note::from(&Event::Adopting { stream, node: "n1".to_owned() });
        assert_eq!(
            (note.kind, note.stream.as_deref(), note.node.as_deref()),
            (Kind::Adopting, Some("cam"), Some("n1"))
        );
        assert_eq!(note.text, "cam: no neighbour can give it; dialling n1");
    }
}
