//! A live encoder: the same transport stream, in real time, into any number of standard inputs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::io::Write as _;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PACKET: usize = 188;
/// Ticks of the program clock's base in a second.
const CLOCK: f64 = 90_000.0;

type Sinks = Arc<Mutex<Vec<Sender<Arc<[u8]>>>>>;

/// Ends when dropped, or with its clip.
pub struct Feed {
    sinks: Sinks,
    stop: Arc<AtomicBool>,
    pacer: Option<JoinHandle<()>>,
}

impl Feed {
    /// Plays a transport stream by its program clock: the packets from one clock to the next go out at that one's time.
    pub fn start(clip: &Path) -> Self {
        let bytes = std::fs::read(clip).unwrap();
        let (sinks, stop) = (Sinks::default(), Arc::new(AtomicBool::new(false)));
        let (to, stopping) = (sinks.clone(), stop.clone());
        let pacer = std::thread::spawn(move || {
            let start = Instant::now();
            for (due, piece) in pieces(&bytes) {
                std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let piece: Arc<[u8]> = piece.into();
                // A sink whose reader died is gone.
                to.lock().unwrap_or_else(PoisonError::into_inner).retain(|sink| sink.send(piece.clone()).is_ok());
            }
        });
        Self { sinks, stop, pacer: Some(pacer) }
    }

    /// Feeds one more, from now on. Each has a thread: one that reads nothing holds up no other.
    pub fn add(&self, mut stdin: ChildStdin) {
        let (sender, pieces) = channel::<Arc<[u8]>>();
        std::thread::spawn(move || {
            for piece in pieces {
                if stdin.write_all(&piece).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.pacer.take().map(JoinHandle::join);
    }
}

/// The stream cut before each packet that has a clock, with its time since the first.
fn pieces(bytes: &[u8]) -> Vec<(Duration, &[u8])> {
    let clocks: Vec<(usize, u64)> = bytes
        .chunks_exact(PACKET)
        .enumerate()
        .filter_map(|(at, packet)| clock(packet).map(|clock| (at * PACKET, clock)))
        .collect();
    let first = clocks.first().expect("the clip has a clock").1;
    let ends = clocks.iter().skip(1).map(|(at, _)| *at).chain([bytes.len()]);
    let piece = |((at, clock), end): (&(usize, u64), usize)| {
        (Duration::from_secs_f64(clock.saturating_sub(first) as f64 / CLOCK), &bytes[*at..end])
    };
    let mut pieces: Vec<(Duration, &[u8])> = clocks.iter().zip(ends).map(piece).collect();
    // The tables stand before the first clock.
    pieces.insert(0, (Duration::ZERO, &bytes[..clocks[0].0]));
    pieces
}

/// The base of the program clock reference, if the packet has one (ISO/IEC 13818-1, section 2.4.3.4).
fn clock(packet: &[u8]) -> Option<u64> {
    let has_clock = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    let base = u64::from(u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]));
    has_clock.then_some(base << 1 | u64::from(packet[10] >> 7))
}
