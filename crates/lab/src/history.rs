//! What was seen of the nodes since something was done: the newest look, and one to compare its counters with. A step may last for
//! hours, and what all nodes say is much.

use std::time::Duration;

use crate::state::Snapshot;

/// Counters are compared over at least this long.
const WINDOW: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
pub(crate) struct History {
    before: Snapshot,
    /// The newest last. Only the first may be older than the window.
    looks: Vec<Snapshot>,
}

impl History {
    pub(crate) fn begin(before: Snapshot) -> Self {
        Self { before, looks: Vec::new() }
    }

    pub(crate) fn add(&mut self, newest: Snapshot) {
        let is_of_use = |older: &Snapshot| newest.at.saturating_duration_since(older.at) >= WINDOW;
        if let Some(older) = self.looks.iter().rposition(is_of_use) {
            self.looks.drain(..older);
        }
        self.looks.push(newest);
    }

    /// How all was just before.
    pub(crate) fn before(&self) -> &Snapshot {
        &self.before
    }

    pub(crate) fn newest(&self) -> &Snapshot {
        self.looks.last().unwrap_or(&self.before)
    }

    /// The newest that is old enough to be compared with, since something was done.
    pub(crate) fn older(&self) -> Option<&Snapshot> {
        let newest = self.newest();
        self.looks.first().filter(|older| newest.at.saturating_duration_since(older.at) >= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::snapshot;

    #[test]
    fn the_newest_look_and_one_to_compare_it_with_are_kept_and_few_others() {
        let before = snapshot(&[("s", None)]);
        let at = |ms: u64| Snapshot { at: before.at + Duration::from_millis(ms), ..before.clone() };
        let mut history = History::begin(before.clone());
        assert!(history.newest().at == before.at && history.older().is_none());
        for ms in (200..100_000).step_by(200) {
            history.add(at(ms));
            assert_eq!(history.newest().at, at(ms).at);
            let older = history.older().map(|older| older.at);
            assert_eq!(older, ms.checked_sub(1_600).filter(|ms| *ms > 0).map(|ms| at(ms).at), "after {ms} ms");
        }
        assert!(history.looks.len() <= 9, "{} looks", history.looks.len());
        // A look that takes long leaves only itself and the one before.
        history.add(at(200_000));
        assert_eq!((history.looks.len(), history.older().map(|older| older.at)), (2, Some(at(99_800).at)));
    }
}
