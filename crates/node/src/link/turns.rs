//! Who writes first while a link carries less than is to be sent.
//!
//! QUIC sends urgent streams first, but only of what it has taken; where its window is full, whoever asks next gets the room that
//! is left. While the window is short (`window`), layers take turns: none writes while a more urgent one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use levada_media::Layer;
use levada_media::object::LAYERS;
use tokio::sync::Notify;

/// Shared by all that write media into a link.
#[derive(Debug, Default)]
pub struct Turns {
    short: AtomicBool,
    /// By layer, who writes or waits for room.
    writing: [AtomicUsize; LAYERS],
    over: Notify,
}

/// A turn; over when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    layer: Layer,
}

impl Turns {
    pub(crate) fn set_short(&self, short: bool) {
        self.short.store(short, Ordering::Relaxed);
    }

    /// Whether turns must be short, too.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Waits until no more urgent layer writes.
    pub async fn take(self: &Arc<Self>, layer: Layer) -> Turn {
        let above = &self.writing[..layer as usize];
        loop {
            let over = self.over.notified();
            if !self.is_short() || above.iter().all(|writing| writing.load(Ordering::Acquire) == 0) {
                self.writing[layer as usize].fetch_add(1, Ordering::AcqRel);
                return Turn { turns: self.clone(), layer };
            }
            over.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.turns.writing[self.layer as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.turns.over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_writes_while_a_more_urgent_layer_does() {
        let turns = Arc::<Turns>::default();
        turns.set_short(true);
        let sound = (turns.take(Layer::Base).await, turns.take(Layer::Base).await);
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(Layer::Video).await }
        });
        tokio::task::yield_now().await;
        drop(sound.0);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(sound.1);
        let video = waiting.await.unwrap();
        turns.take(Layer::Base).await;
        turns.set_short(false);
        turns.take(Layer::Discardable).await;
        drop(video);
    }
}
