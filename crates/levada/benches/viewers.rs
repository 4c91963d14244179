//! What a PoP pays for its viewers: CPU time per gigabyte and memory per viewer, of MPEG-TS over HTTP, of fragmented MP4 over
//! WebSocket and of Low-Latency HLS. Real processes on loopback, a new PoP for each kind; the viewers are tasks of this one.
//!
//! `cargo bench --package levada --bench viewers -- --viewers 100 --seconds 10 --only ws --json`

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use common::{Mesh, tool, until};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Time for the log and the muxed forms of a stream to fill before anything is measured.
const WARM: Duration = Duration::from_secs(12);
/// Time for new viewers to have what they begin with.
const SETTLE: Duration = Duration::from_secs(2);
/// Bytes that a viewer reads at once.
const READ: usize = 64 * 1024;
/// What /proc counts CPU time in, per second (USER_HZ).
const TICKS: f64 = 100.0;

#[derive(Parser)]
struct Args {
    /// Viewers of each kind [default: 500 of ts, 200 of ws and hls]
    #[arg(long, value_name = "N")]
    viewers: Option<usize>,
    /// How long they are watched
    #[arg(long, default_value_t = 20, value_name = "S")]
    seconds: u64,
    /// Kinds to run; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Kind>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// MPEG-TS over HTTP
    Ts,
    /// Fragmented MP4 over WebSocket
    Ws,
    /// Low-Latency HLS: playlists that wait, and parts
    Hls,
}

impl Kind {
    fn viewers(self) -> usize {
        if self == Self::Ts { 500 } else { 200 }
    }
}

/// Figures of one kind.
#[derive(Serialize)]
struct Row {
    kind: Kind,
    viewers: usize,
    seconds: f64,
    /// What all of them got, headers included.
    bytes: u64,
    /// CPU time of the PoP meanwhile; and as long before, with one viewer.
    cpu_s: f64,
    cpu_alone_s: f64,
    cpu_s_per_gb: f64,
    /// Resident memory of the PoP with one viewer, and with all.
    rss_alone_bytes: u64,
    rss_bytes: u64,
    /// What resident memory grew by, less what it grew by with one viewer in the same time, for each of the others.
    rss_bytes_per_viewer: f64,
    /// Viewers whose connection ended.
    lost: usize,
    /// What the viewer that got least got less than the middle one.
    behind_bytes: u64,
    behind_ms: f64,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let mut mesh = Mesh::new(&["origin", "pop"], &[("origin", "pop")]);
    let clip = broadcast(mesh.dir.path());
    mesh.start("origin", &["--publish", &format!("card={}", clip.display())]);
    let mut rows = Vec::new();
    if !args.json {
        println!("{HEADER}");
    }
    for kind in Kind::value_variants().iter().copied().filter(|kind| args.only.is_empty() || args.only.contains(kind)) {
        mesh.start("pop", &[]);
        mesh.knows("pop", 1).await;
        let row = run(&mesh, kind, args.viewers.unwrap_or(kind.viewers()).max(2), args.seconds).await;
        mesh.kill("pop");
        if !args.json {
            println!("{row}");
        }
        rows.push(row);
    }
    match args.json {
        true => println!("{}", serde_json::to_string(&rows).unwrap()),
        false => println!("{LEGEND}"),
    }
}

const HEADER: &str = "kind  viewers  Mbit/s each  GB    CPU s  CPU s/GB  alone s  KiB/viewer  behind ms  lost";
const LEGEND: &str = "\
CPU: of the PoP, user and system, which takes the stream over one link and muxes it once; alone: the same with one viewer
KiB: resident memory, what the kernel keeps in sockets excluded
behind: what the viewer that got least got less than the middle one, as time of the stream; a picture or a part is usual";

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<5} {:>7} {:>12.2} {:>5.2} {:>6.2} {:>9.3} {:>8.2} {:>11.1} {:>10.0} {:>5}",
            format!("{:?}", self.kind).to_lowercase(),
            self.viewers,
            self.bytes as f64 * 8e-6 / self.seconds / self.viewers as f64,
            self.bytes as f64 / 1e9,
            self.cpu_s,
            self.cpu_s_per_gb,
            self.cpu_alone_s,
            self.rss_bytes_per_viewer / 1024.0,
            self.behind_ms,
            self.lost,
        )
    }
}

/// Twelve seconds of moving picture with sound, at three Mbit/s, a keyframe each second.
fn broadcast(dir: &Path) -> PathBuf {
    let path = dir.join("broadcast.mp4");
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25"];
    args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "12"]);
    // Noise, so that the encoder has use for its bits.
    args.extend(["-vf", "noise=alls=10:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt"]);
    args.extend(["yuv420p", "-b:v", "3M", "-maxrate", "3M", "-bufsize", "3M", "-c:a", "aac", path.to_str().unwrap()]);
    tool("ffmpeg", &args);
    path
}

async fn run(mesh: &Mesh, kind: Kind, viewers: usize, seconds: u64) -> Row {
    let (process, address) = (Process(mesh.node("pop").pid()), format!("127.0.0.1:{}", mesh.node("pop").http));
    let mut crowd = Crowd::default();
    crowd.admit(kind, &address, 1).await;
    sleep(WARM).await;
    let rss_before = process.rss_bytes();
    let alone = crowd.observe(&process, seconds).await;
    let rss_alone = process.rss_bytes();
    crowd.admit(kind, &address, viewers - 1).await;
    sleep(SETTLE).await;
    let all = crowd.observe(&process, seconds).await;
    let rss = process.rss_bytes();
    let mut sorted = all.bytes;
    sorted.sort_unstable();
    let (bytes, middle) = (sorted.iter().sum::<u64>(), sorted[viewers / 2]);
    let behind_bytes = middle - sorted[0];
    // While some were being admitted the stream's own memory may have grown too: by little, and it counts against us.
    let grown = (rss as f64 - rss_alone as f64) - (rss_alone as f64 - rss_before as f64);
    Row {
        kind,
        viewers,
        seconds: all.took.as_secs_f64(),
        bytes,
        cpu_s: all.cpu_s,
        cpu_alone_s: alone.cpu_s,
        cpu_s_per_gb: all.cpu_s / (bytes as f64 / 1e9),
        rss_alone_bytes: rss_alone,
        rss_bytes: rss,
        rss_bytes_per_viewer: grown / (viewers - 1) as f64,
        lost: viewers - crowd.remaining(),
        behind_bytes,
        behind_ms: behind_bytes as f64 / middle.max(1) as f64 * all.took.as_secs_f64() * 1e3,
    }
}

/// What the kernel tells of a process.
struct Process(u32);

impl Process {
    /// User and system time.
    fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        // The name may contain spaces; after it comes the third field (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
    }

    fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Viewers, and how many bytes each has got.
#[derive(Default)]
struct Crowd {
    got: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<()>,
}

/// Ends only with the connection.
type Watched = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What happened in a while.
struct Observed {
    took: Duration,
    cpu_s: f64,
    /// What each viewer got.
    bytes: Vec<u64>,
}

impl Crowd {
    /// Lets so many more in, and waits until all get something.
    async fn admit(&mut self, kind: Kind, address: &str, count: usize) {
        for _ in 0..count {
            let (got, address) = (Arc::<AtomicU64>::default(), address.to_owned());
            self.got.push(got.clone());
            self.tasks.spawn(async move {
                let ended = match kind {
                    Kind::Ts => watch(&address, "GET /live/card.ts HTTP/1.1\r\n", "200", &got).await,
                    Kind::Ws => watch(&address, UPGRADE, "101", &got).await,
                    Kind::Hls => watch_hls(&address, &got).await,
                };
                eprintln!("a viewer has ended: {ended:?}");
            });
        }
        until("all viewers get something", async || self.bytes().iter().all(|got| *got > 0)).await;
    }

    fn bytes(&self) -> Vec<u64> {
        self.got.iter().map(|got| got.load(Ordering::Relaxed)).collect()
    }

    async fn observe(&self, process: &Process, seconds: u64) -> Observed {
        let (began, cpu_s, before) = (Instant::now(), process.cpu_s(), self.bytes());
        sleep(Duration::from_secs(seconds)).await;
        let (took, cpu_s, after) = (began.elapsed(), process.cpu_s() - cpu_s, self.bytes());
        Observed { took, cpu_s, bytes: after.iter().zip(before).map(|(after, before)| after - before).collect() }
    }

    fn remaining(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }
}

/// The key is that of RFC 6455, section 1.2.
const UPGRADE: &str = "GET /live/card.ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Takes all that comes on one connection and looks at none of it.
async fn watch(address: &str, request: &str, status: &str, got: &AtomicU64) -> Watched {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{request}Host: {address}\r\n\r\n").as_bytes()).await?;
    let mut buffer = vec![0; READ];
    let mut read = stream.read(&mut buffer).await?;
    let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    while read > 0 {
        got.fetch_add(read as u64, Ordering::Relaxed);
        read = stream.read(&mut buffer).await?;
    }
    Ok(())
}

/// Reads as a player does that is near to live: the playlist as soon as it has the next part, and each part once.
async fn watch_hls(address: &str, got: &AtomicU64) -> Watched {
    let client = reqwest::Client::new();
    let get = async |file: &str| {
        let answer = client.get(format!("http://{address}/hls/card/{file}")).send().await?.error_for_status()?;
        let body = answer.bytes().await?;
        got.fetch_add(body.len() as u64, Ordering::Relaxed);
        reqwest::Result::Ok(body)
    };
    let (mut next, mut file) = (None, "media.m3u8".to_owned());
    loop {
        let playlist = get(&file).await?;
        let playlist = String::from_utf8_lossy(&playlist);
        let parts = playlist.lines().filter(|line| line.starts_with("#EXT-X-PART:")).filter_map(part_of);
        for (segment, part) in parts.filter(|part| next.is_some_and(|next| *part >= next)) {
            get(&format!("{segment}.{part}.m4s")).await?;
        }
        next = playlist.lines().last().and_then(part_of);
        let (segment, part) = next.expect("a playlist ends with a hint");
        file = format!("media.m3u8?_HLS_msn={segment}&_HLS_part={part}");
    }
}

/// Segment and part that a line of a playlist names.
fn part_of(line: &str) -> Option<(u64, u64)> {
    let (segment, part) = line.split_once("URI=\"")?.1.split_once(".m4s")?.0.split_once('.')?;
    Some((segment.parse().ok()?, part.parse().ok()?))
}
