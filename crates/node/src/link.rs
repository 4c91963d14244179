//! One link: a QUIC connection to a neighbour, from the handshake to its end.
//!
//! The dialler opens the one bidirectional stream, which carries control messages both ways. Probes are datagrams and are
//! echoed here at once, so that the time they take is the link's and not the brain's. Media come on unidirectional streams.
//!
//! ```text
//! datagram   kind u8 (0 probe, 1 echo), nonce u64 big-endian
//!            kind u8 (2 front), see feed::shadow
//! ```

mod turns;
mod warmth;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use levada_overlay::link::{ALERT, HEARD_ALERT, HEARD_INTERVAL};
use levada_overlay::{HangUp, Input, LinkId, Message};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::driver::ToBrain;
use crate::feed::{Feeds, ReceiveError, receive, shadow};
use crate::journal::Journal;
use crate::quic::SEND_WINDOW;
use crate::stats::Stats;
use crate::trust::PeerIdentity;

use window::{Counted, Window};

pub use turns::{Turn, Turns};
pub use warmth::Warmth;

/// Control messages that may wait for a neighbour that does not read; one more and the link is closed.
const CONTROL_QUEUE: usize = 1_024;
/// Time for a neighbour to open the control stream after the handshake.
const CONTROL_DEADLINE: Duration = Duration::from_secs(5);
/// The transport's counters are looked at every [`HEARD_INTERVAL`]; the window is made anew at every so manyth look, and the brain is
/// told of loss at every so manyth: once a second.
const TICKS_OF_WINDOW: u64 = 2;
const TICKS_OF_TRANSPORT: u64 = 20;
const PROBE: u8 = 0;
const ECHO: u8 = 1;

/// Sends control messages to one neighbour.
#[derive(Clone, Debug)]
pub struct ControlSender {
    queue: mpsc::Sender<Bytes>,
    connection: Connection,
}

impl ControlSender {
    /// Queues a message. A neighbour that does not read what it is sent loses its link.
    pub fn send(&self, message: &Message) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(message.encode()) {
            close(&self.connection, HangUp::Limit("unread control messages"));
        }
    }
}

/// The driver's hold on a link.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    /// The connection.
    pub connection: Connection,
    /// Its control stream.
    pub control: ControlSender,
    /// Who writes media first.
    pub turns: Arc<Turns>,
    /// Since when it carries media.
    pub warmth: Arc<Warmth>,
    alert: Arc<Notify>,
}

impl LinkHandle {
    /// Sends a probe. One that finds no room is lost, like any datagram.
    pub fn probe(&self, nonce: u64) {
        let _ = self.connection.send_datagram(datagram(PROBE, nonce));
    }

    /// Has the brain told soon of what comes.
    pub fn listen(&self) {
        self.alert.notify_one();
    }

    /// Closes the link after what is queued has had a moment to leave.
    pub fn close(&self, reason: HangUp) {
        close(&self.connection, reason);
    }
}

/// Closes a connection with the code of the reason.
pub fn close(connection: &Connection, reason: HangUp) {
    connection.close(VarInt::from_u32(reason.code()), reason.to_string().as_bytes());
}

/// What all links of a node share.
#[derive(Clone)]
pub struct LinkContext {
    /// Where everything that happens is told.
    pub brain: mpsc::Sender<ToBrain>,
    /// Feeds that this node asked for.
    pub feeds: Arc<Feeds>,
    /// Counters.
    pub stats: Arc<Stats>,
    /// What happened, for people.
    pub journal: Arc<Journal>,
}

/// Runs a link until its connection is closed. Tells the brain of its beginning and its end.
pub async fn run(link: LinkId, connection: Connection, peer: PeerIdentity, dialed: bool, context: LinkContext) {
    let rtt = connection.rtt();
    let streams = tokio::time::timeout(CONTROL_DEADLINE, async {
        if dialed { connection.open_bi().await } else { connection.accept_bi().await }
    });
    let (send, recv) = match streams.await {
        Ok(Ok(streams)) => streams,
        Ok(Err(_)) => return,
        Err(_) => {
            return close(&connection, HangUp::Protocol("no control stream was opened in time"));
        }
    };
    let (queue, queued) = mpsc::channel(CONTROL_QUEUE);
    let control = ControlSender { queue, connection: connection.clone() };
    let turns = Arc::<Turns>::default();
    let alert = Arc::<Notify>::default();
    let handle = LinkHandle {
        connection: connection.clone(),
        control,
        turns: turns.clone(),
        warmth: Arc::default(),
        alert: alert.clone(),
    };
    if context.brain.send(ToBrain::LinkUp { link, handle, peer, dialed, rtt }).await.is_err() {
        return close(&connection, HangUp::Shutdown);
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(write_control(send, queued));
    tasks.spawn(read_control(link, recv, connection.clone(), context.brain.clone()));
    tasks.spawn(read_datagrams(link, connection.clone(), context.clone()));
    tasks.spawn(watch_transport(link, connection.clone(), turns, context.clone()));
    tasks.spawn(listen(link, connection.clone(), alert, context.brain.clone()));
    tasks.spawn(accept_media(link, connection.clone(), context.clone()));
    let end = connection.closed().await;
    drop(tasks);
    let removed = VarInt::from_u32(HangUp::Removed.code());
    let unwanted = matches!(&end, ConnectionError::ApplicationClosed(close) if close.error_code == removed);
    // Fails only when the node is stopping.
    let _ = context.brain.send(ToBrain::Input(Input::LinkDown { link, reason: describe(&end), unwanted })).await;
}

/// Why a connection ended, in words for people. Part of them may be the peer's, who is not to move the cursor of anybody's terminal.
pub fn describe(error: &ConnectionError) -> String {
    let words = match error {
        ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).into_owned(),
        ConnectionError::TimedOut => "the neighbour did not answer in time".to_owned(),
        ConnectionError::LocallyClosed => "closed here".to_owned(),
        other => other.to_string(),
    };
    words.replace(char::is_control, "\u{fffd}")
}

async fn write_control(mut send: SendStream, mut queued: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::new();
    // Ahead of all media.
    let _ = send.set_priority(1);
    while queued.recv_many(&mut batch, 64).await > 0 {
        if send.write_all_chunks(&mut batch).await.is_err() {
            return;
        }
        batch.clear();
    }
}

async fn read_control(link: LinkId, mut recv: RecvStream, connection: Connection, brain: mpsc::Sender<ToBrain>) {
    loop {
        match read_message(&mut recv).await {
            Ok(Some(message)) => {
                if brain.send(ToBrain::Input(Input::Message { link, message })).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(ControlError::Message(error)) => {
                tracing::warn!(%error, "a neighbour's control message was refused");
                return close(&connection, HangUp::Protocol("malformed control message"));
            }
            Err(ControlError::Read) => return,
        }
    }
}

enum ControlError {
    Message(levada_overlay::message::MessageError),
    Read,
}

async fn read_message(recv: &mut RecvStream) -> Result<Option<Message>, ControlError> {
    let mut prefix = [0; 4];
    recv.read_exact(&mut prefix).await.map_err(|_| ControlError::Read)?;
    let len = Message::len_of(prefix).map_err(ControlError::Message)?;
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await.map_err(|_| ControlError::Read)?;
    Message::decode(body.into()).map_err(ControlError::Message)
}

fn datagram(kind: u8, nonce: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u8(kind);
    bytes.put_u64(nonce);
    bytes.freeze()
}

async fn read_datagrams(link: LinkId, connection: Connection, context: LinkContext) {
    let LinkContext { brain, feeds, .. } = context;
    while let Ok(bytes) = connection.read_datagram().await {
        let at = Instant::now();
        let Some((&kind, nonce)) = bytes.split_first() else {
            continue;
        };
        if kind == shadow::FRONT {
            let news = shadow::decode(nonce).and_then(|(feed, front)| feeds.front(feed, link, front));
            if let Some(news) = news
                && brain.send(news).await.is_err()
            {
                return;
            }
            continue;
        }
        let Ok(nonce) = nonce.try_into().map(u64::from_be_bytes) else {
            continue;
        };
        match kind {
            // An echo that finds no room is lost, like any datagram.
            PROBE => drop(connection.send_datagram(datagram(ECHO, nonce))),
            ECHO if brain.send(ToBrain::Echo { link, nonce, at }).await.is_err() => return,
            _ => {}
        }
    }
}

/// Looks at what the transport counts: whether anything came, for a brain that is fed over the link; how much may be on its way;
/// what was sent and lost.
async fn watch_transport(link: LinkId, connection: Connection, turns: Arc<Turns>, context: LinkContext) {
    let mut window = Window::new();
    let (mut looked, mut packets, mut sent, mut lost) = (Instant::now(), 0, 0, 0);
    let mut ticks = tokio::time::interval(HEARD_INTERVAL);
    // Looks that follow each other at once would measure nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let stats = connection.stats();
        let path = stats.path;
        if tick.is_multiple_of(TICKS_OF_WINDOW) {
            let counted = Counted { rtt: path.rtt, sent_bytes: stats.udp_tx.bytes, lost_bytes: path.lost_bytes };
            if let Some(len) = window.look(counted, Instant::now()) {
                connection.set_send_window(len);
                turns.set_short(len < SEND_WINDOW);
            }
        }
        let since = std::mem::replace(&mut looked, Instant::now());
        let came = std::mem::replace(&mut packets, stats.udp_rx.datagrams) != packets;
        let heard = (came && context.feeds.come_over(link)).then_some(ToBrain::Heard { link, since });
        let counted = tick.is_multiple_of(TICKS_OF_TRANSPORT).then(|| {
            let before = (sent, lost);
            (sent, lost) = (path.sent_packets, path.lost_packets);
            ToBrain::Input(Input::Transport { link, sent: sent - before.0, lost: lost - before.1, load: 0.0 })
        });
        for news in heard.into_iter().chain(counted) {
            if context.brain.send(news).await.is_err() {
                return;
            }
        }
    }
}

/// Whenever the brain suspects the neighbour, tells it of the first that comes.
async fn listen(link: LinkId, connection: Connection, alert: Arc<Notify>, brain: mpsc::Sender<ToBrain>) {
    loop {
        alert.notified().await;
        let (mut since, before) = (Instant::now(), connection.stats().udp_rx.datagrams);
        let until = since + ALERT;
        while since < until {
            tokio::time::sleep(HEARD_ALERT).await;
            let looked = Instant::now();
            if connection.stats().udp_rx.datagrams != before {
                if brain.send(ToBrain::Heard { link, since }).await.is_err() {
                    return;
                }
                break;
            }
            since = looked;
        }
    }
}

async fn accept_media(link: LinkId, connection: Connection, context: LinkContext) {
    let mut tasks = JoinSet::new();
    while let Ok(stream) = connection.accept_uni().await {
        let (feeds, brain, stats) = (context.feeds.clone(), context.brain.clone(), context.stats.clone());
        let connection = connection.clone();
        tasks.spawn(async move {
            match receive(stream, link, feeds, brain, stats.clone()).await {
                // An unknown feed is one that was just left.
                Ok(()) | Err(ReceiveError::UnknownFeed | ReceiveError::Read(_)) => {}
                Err(error) => {
                    Stats::add(&stats.violations, 1);
                    tracing::warn!(%error, "a neighbour's media stream was refused");
                    close(&connection, HangUp::Protocol("malformed media stream"));
                }
            }
        });
        while tasks.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::ApplicationClose;

    use super::*;

    #[test]
    fn a_peers_last_words_move_nobodys_cursor() {
        let reason = Bytes::from_static(b"bye\x1b[2J\r\n\xff");
        let close = ApplicationClose { error_code: VarInt::from_u32(0), reason };
        assert_eq!(describe(&ConnectionError::ApplicationClosed(close)), "bye\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}");
    }
}
