//! Shadows: how far a parent is, told in datagrams instead of objects.
//!
//! ```text
//! datagram   kind u8 (2), feed varint, timeline varint, then per layer: group varint, index varint
//! ```
//!
//! One that gets lost is made good by the next: each tells the whole front.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use levada_media::object::{get_varint, put_varint};
use levada_overlay::position::LAYERS;
use levada_overlay::{FeedId, Resume};
use quinn::Connection;

use crate::log::StreamLog;

/// First byte of the datagram.
pub(crate) const FRONT: u8 = 2;
/// Least time between two datagrams of a feed. Tuned: a third of the least lateness that is suspicious.
const PAUSE: Duration = Duration::from_millis(20);
/// The same front is told again after this long, in case the datagram was lost.
const REPEAT: Duration = Duration::from_millis(200);

/// Tells a child how far the log is, until the task is ended.
pub(super) async fn tell_fronts(log: Arc<StreamLog>, connection: Connection, feed: FeedId) {
    let mut changes = log.watch();
    loop {
        changes.mark_unchanged();
        if let Some(front) = log.front() {
            // A front that finds no room is lost, like any datagram.
            let _ = connection.send_datagram(encode(feed, &front));
        }
        tokio::time::sleep(PAUSE).await;
        // A log that is gone has no sender: the task is about to be ended with its route.
        let _ = tokio::time::timeout(REPEAT, changes.changed()).await;
    }
}

fn encode(feed: FeedId, front: &Resume) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(FRONT);
    put_varint(&mut out, feed.0);
    put_varint(&mut out, front.timeline);
    for (group, index) in front.layers {
        put_varint(&mut out, group);
        put_varint(&mut out, u64::from(index));
    }
    out.freeze()
}

/// Reads a datagram without its first byte.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<(FeedId, Resume)> {
    let mut field = || get_varint(&mut bytes);
    let feed = FeedId(field()?);
    let mut front = Resume { timeline: field()?, layers: [(0, 0); LAYERS] };
    for layer in &mut front.layers {
        *layer = (field()?, u32::try_from(field()?).ok()?);
    }
    front.is_in_bounds().then_some((feed, front))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_reads_back_and_garbage_is_passed_over() {
        let front = Resume { timeline: 1 << 50, layers: [(1 << 40, 7), (3, 0), (0, 9)] };
        let bytes = encode(FeedId(12), &front);
        assert_eq!(decode(&bytes[1..]), Some((FeedId(12), front)));
        for len in 1..bytes.len() {
            assert_eq!(decode(&bytes[1..len]), None);
        }
        assert_eq!(decode(&[0xff; 80]), None);
        let far = encode(FeedId(12), &Resume { layers: [((1 << 62) - 1, 0); LAYERS], ..front });
        assert_eq!(decode(&far[1..]), None, "a stamp that cannot be");
    }
}
