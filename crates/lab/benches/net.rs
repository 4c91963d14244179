//! What the lab's network does on this machine: how late packets are, how many bits a second one link carries, and how long
//! sixty nodes take to be set up. `LEVADA_LAB_NET=loopback cargo bench -p levada-lab --bench net` measures the proxies.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use levada_lab::net::{self, Layout, Mode, Network};
use levada_sim::Impairment;

/// Tells a process of this program that it is a node's.
const ROLE: &str = "LAB_BENCH_ROLE";
const NODES: usize = 60;
const DELAY: Duration = Duration::from_millis(20);
const PROBES: usize = 2_000;
/// Between two probes; not a divisor of anything else's period.
const PROBE_EVERY: Duration = Duration::from_micros(1_700);
const POUR_FOR: Duration = Duration::from_secs(3);
/// TCP port beside the one for links.
const POUR_PORT: u16 = 4434;

fn main() {
    if let Some(role) = std::env::var_os(ROLE) {
        return play(&role.into_string().unwrap());
    }
    let mode = net::enter().unwrap();
    println!("network of a lab in {mode}");
    set_up(mode);
    lateness(mode);
    if mode == Mode::Namespaces {
        for (name, change) in [
            ("delay alone, bundles whole", "delay=1ms"),
            ("with a rate, bundles cut", "delay=1ms rate=100Gbit/s queue=100MB"),
        ] {
            println!("{:34} {:.2} Gbit/s of TCP", name, throughput(mode, change));
        }
    }
}

fn open(mode: Mode, count: usize, change: &str) -> Network {
    let mut impairment = Impairment::default();
    impairment.change(change).unwrap();
    let nodes: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    let links = nodes.windows(2).map(|pair| (pair[0].clone(), pair[1].clone(), impairment.clone())).collect();
    Network::open(&Layout { nodes, links, seed: 1 }, mode).unwrap()
}

fn set_up(mode: Mode) {
    let start = Instant::now();
    let network = open(mode, NODES, "delay=1ms");
    println!("{:34} {:.2} s", format!("{NODES} nodes set up in"), start.elapsed().as_secs_f64());
    let start = Instant::now();
    drop(network);
    println!("{:34} {:.2} s", "and gone in", start.elapsed().as_secs_f64());
}

/// How much later than the link's delay a datagram is there: half of what a round trip takes too long.
fn lateness(mode: Mode) {
    let network = open(mode, 2, &format!("delay={}ms", DELAY.as_millis()));
    let mut echo = start(&network, "n1", &format!("echo {}", network.bind("n1").unwrap()));
    let mut probe = start(
        &network,
        "n0",
        &format!("probe {} {}", network.bind("n0").unwrap(), network.address("n0", "n1").unwrap()),
    );
    let mut line = String::new();
    BufReader::new(probe.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut late: Vec<i64> = line.split_whitespace().map(|text| text.parse().unwrap()).collect();
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!("{:34} p50 {:.3} ms, p99 {:.3} ms, most {:.3} ms", "one-way delay error", at(0.5), at(0.99), at(1.0));
    for child in [&mut echo, &mut probe] {
        let _ = child.kill();
        child.wait().unwrap();
    }
}

fn throughput(mode: Mode, change: &str) -> f64 {
    let network = open(mode, 2, change);
    let listen = SocketAddr::new(network.bind("n1").unwrap().ip(), POUR_PORT);
    let mut drain = start(&network, "n1", &format!("drain {listen}"));
    let mut output = BufReader::new(drain.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let mut pour = start(&network, "n0", &format!("pour {listen}"));
    line.clear();
    output.read_line(&mut line).unwrap();
    pour.wait().unwrap();
    drain.wait().unwrap();
    line.trim().parse::<f64>().unwrap() / 1e9
}

fn start(network: &Network, node: &str, role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    network
        .spawn(node, {
            command.env(ROLE, role).stdout(Stdio::piped());
            command
        })
        .unwrap()
}

fn play(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["echo", listen] => {
            let socket = UdpSocket::bind(listen).unwrap();
            let mut memory = [0; 2_048];
            while let Ok((len, from)) = socket.recv_from(&mut memory) {
                socket.send_to(&memory[..len], from).unwrap();
            }
        }
        ["probe", listen, to] => probe(listen, to),
        ["pour", to] => {
            let mut stream = TcpStream::connect(to).unwrap();
            let (memory, start) = (vec![0; 1 << 20], Instant::now());
            while start.elapsed() < POUR_FOR {
                stream.write_all(&memory).unwrap();
            }
        }
        ["drain", listen] => {
            let listener = TcpListener::bind(listen).unwrap();
            println!("ready");
            let (mut stream, _) = listener.accept().unwrap();
            let (mut memory, mut bytes, start) = (vec![0; 1 << 20], 0, Instant::now());
            while let Ok(len @ 1..) = stream.read(&mut memory) {
                bytes += len;
            }
            println!("{}", bytes as f64 * 8.0 / start.elapsed().as_secs_f64());
        }
        _ => panic!("{role:?} is no role"),
    }
}

fn probe(listen: &str, to: &str) {
    let socket = UdpSocket::bind(listen).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let epoch = Instant::now();
    let sender = socket.try_clone().unwrap();
    let to: SocketAddr = to.parse().unwrap();
    std::thread::spawn(move || {
        for _ in 0..PROBES {
            sender.send_to(&(epoch.elapsed().as_nanos() as u64).to_be_bytes(), to).unwrap();
            std::thread::sleep(PROBE_EVERY);
        }
    });
    let mut memory = [0; 8];
    let mut late = Vec::new();
    while late.len() < PROBES && socket.recv(&mut memory).is_ok() {
        let taken = epoch.elapsed().as_nanos() as i64 - u64::from_be_bytes(memory) as i64;
        late.push((taken - 2 * DELAY.as_nanos() as i64) / 2 / 1_000);
    }
    let words: Vec<String> = late.iter().map(i64::to_string).collect();
    println!("{}", words.join(" "));
    std::io::stdout().flush().unwrap();
}
