//! How whoever runs a lab ends it before its time. It is asked at every wait, so that a mesh is dropped, with its processes and its
//! directory, and never just left.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Longest time for which nobody asks.
const SLICE: Duration = Duration::from_millis(50);

/// Raised once, and for good; a copy is the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(watch::Sender<bool>);

impl Interrupt {
    /// Ends what the lab does.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it is raised.
    pub async fn raised(&self) {
        // An error says that nobody is left to raise it, and here is one.
        let _ = self.0.subscribe().wait_for(|is_raised| *is_raised).await;
    }

    /// Sleeps for so long, or until it is raised.
    pub(crate) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_raised() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_when_it_is_raised() {
        let interrupt = Interrupt::default();
        let (began, other) = (Instant::now(), interrupt.clone());
        interrupt.sleep(Duration::from_millis(60));
        assert!(began.elapsed() >= Duration::from_millis(60) && !interrupt.is_raised());
        let raising = std::thread::spawn(move || other.raise());
        interrupt.sleep(Duration::from_secs(3_600));
        raising.join().unwrap();
        assert!(interrupt.is_raised());
    }
}
