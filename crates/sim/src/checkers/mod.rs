//! What must always hold (DESIGN 7), one checker a file, run at every event that can break it.

mod copies;
mod delivery;
mod loops;

pub(crate) use copies::Copies;
pub(crate) use delivery::Delivery;
pub(crate) use loops::find_loop;

/// Something that must never happen, and when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// Virtual time.
    pub at: levada_overlay::Time,
    /// What was seen.
    pub seen: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {}: {}: {}", self.at, self.invariant, self.seen)
    }
}
