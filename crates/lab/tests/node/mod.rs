//! What a process of a node does: `echo` answers every datagram, and tells over TCP that it is there; `ask` sends what its
//! standard input says, and prints what came back and when; `blast` sends bundles of datagrams, `count` counts what comes
//! of them; `pour` and `drain` do the same with TCP; `sleep` waits to be killed; `open` prints what it has open; `lab` is a
//! lab of its own; `outside` connects from the host.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The variable with the role; its words are the arguments.
pub(crate) const ROLE: &str = "LAB_TEST_ROLE";
/// With nothing more coming in for so long, all has come that will.
const QUIET: Duration = Duration::from_millis(1_500);
/// Between two datagrams: slow enough for any machine.
const PACE: Duration = Duration::from_micros(300);

pub(crate) fn play(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["echo", listen] => echo(listen.parse().unwrap()),
        ["ask", listen] => ask(listen.parse().unwrap()),
        ["blast", listen] => blast(listen.parse().unwrap()),
        ["count", listen] => count(listen.parse().unwrap()),
        ["pour", to] => pour(to.parse().unwrap()),
        ["drain", listen] => drain(listen.parse().unwrap()),
        ["lab"] => lab(),
        ["outside"] => outside(),
        ["serve"] => serve(),
        ["sleep"] => std::thread::sleep(Duration::from_secs(600)),
        ["open"] => print_open(),
        _ => panic!("{role:?} is no role"),
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn echo(listen: SocketAddr) {
    let socket = UdpSocket::bind(listen).unwrap();
    say("ready");
    let mut memory = [0; 2_048];
    loop {
        let (len, from) = socket.recv_from(&mut memory).unwrap();
        socket.send_to(&memory[..len], from).unwrap();
    }
}

/// Each line of input is `ADDRESS COUNT LEN`. Answers with a line of `NUMBER:MICROSECONDS` for each datagram that came back.
fn ask(listen: SocketAddr) {
    let socket = UdpSocket::bind(listen).unwrap();
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let to: SocketAddr = words[0].parse().unwrap();
        let (count, len): (u32, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let receiver = socket.try_clone().unwrap();
        receiver.set_read_timeout(Some(QUIET)).unwrap();
        let epoch = Instant::now();
        let send = || {
            for number in 0..count {
                let mut datagram = vec![0; len];
                datagram[..4].copy_from_slice(&number.to_be_bytes());
                datagram[4..12].copy_from_slice(&(epoch.elapsed().as_micros() as u64).to_be_bytes());
                socket.send_to(&datagram, to).unwrap();
                std::thread::sleep(PACE);
            }
        };
        let mut came = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(send);
            let mut memory = [0; 2_048];
            while let Ok(len) = receiver.recv(&mut memory) {
                assert!(len >= 12);
                let number = u32::from_be_bytes(memory[..4].try_into().unwrap());
                let sent = u64::from_be_bytes(memory[4..12].try_into().unwrap());
                came.push(format!("{number}:{}", epoch.elapsed().as_micros() as u64 - sent));
                if came.len() == count as usize {
                    break;
                }
            }
        });
        say(&came.join(" "));
    }
}

/// Datagrams of a bundle, and their length: as quinn sends them.
pub(crate) const BUNDLE: usize = 40;
const DATAGRAM_LEN: usize = 1_200;

/// The payload of the n-th datagram of all.
fn datagram(number: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..DATAGRAM_LEN).map(|at| (at as u32 ^ number) as u8).collect();
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Each line of input is `ADDRESS BUNDLES`.
fn blast(listen: SocketAddr) {
    let socket = UdpSocket::bind(listen).unwrap();
    let state = quinn_udp::UdpSocketState::new((&socket).into()).unwrap();
    socket.set_nonblocking(false).unwrap();
    assert!(state.max_gso_segments() >= BUNDLE);
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (to, bundles) = line.split_once(' ').unwrap();
        for bundle in 0..bundles.parse::<u32>().unwrap() {
            let numbers = (0..BUNDLE as u32).map(|n| bundle * BUNDLE as u32 + n);
            let contents: Vec<u8> = numbers.flat_map(datagram).collect();
            let destination = to.parse().unwrap();
            let segment_size = Some(DATAGRAM_LEN);
            let transmit =
                quinn_udp::Transmit { destination, ecn: None, contents: &contents, segment_size, src_ip: None };
            state.try_send((&socket).into(), &transmit).unwrap();
            std::thread::sleep(PACE * 10);
        }
        say("sent");
    }
}

/// Prints the numbers of the datagrams that came, whole, until nothing comes any more; then counts anew.
fn count(listen: SocketAddr) {
    let socket = UdpSocket::bind(listen).unwrap();
    say("ready");
    let mut memory = [0; 2_048];
    loop {
        socket.set_read_timeout(None).unwrap();
        let mut came = Vec::new();
        while let Ok(len) = socket.recv(&mut memory) {
            let number = u32::from_be_bytes(memory[..4].try_into().unwrap());
            assert_eq!(memory[..len], datagram(number));
            came.push(number.to_string());
            socket.set_read_timeout(Some(QUIET)).unwrap();
        }
        say(&came.join(" "));
    }
}

/// Bytes that `pour` sends: no two pieces of a segment's length in it are alike.
pub(crate) const POURED: usize = 4_000_000;

fn poured() -> Vec<u8> {
    (0..POURED as u32 / 4).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect()
}

fn pour(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&poured()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    say("poured");
}

fn drain(listen: SocketAddr) {
    let listener = TcpListener::bind(listen).unwrap();
    say("ready");
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    assert!(bytes == poured());
    say(&bytes.len().to_string());
}

/// Opens a lab, prints the process of its only node, and waits to be killed.
fn lab() {
    let mode = levada_lab::net::enter().unwrap();
    let layout = levada_lab::net::Layout { nodes: vec!["a".to_owned()], ..Default::default() };
    let network = levada_lab::net::Network::open(&layout, mode).unwrap();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, "sleep");
    let mut child = network.spawn("a", command).unwrap();
    say(&child.id().to_string());
    child.wait().unwrap();
}

/// Each line of input is `ADDRESS TEXT`: sends the text there, and prints the answer.
fn outside() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (to, text) = line.split_once(' ').unwrap();
        let mut stream = TcpStream::connect(to).unwrap();
        writeln!(stream, "{text}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        say(&answer);
    }
}

/// Answers each TCP connection with what it sends, turned upside down.
fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    say(&listener.local_addr().unwrap().port().to_string());
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        std::io::BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        stream.write_all(line.trim().chars().rev().collect::<String>().as_bytes()).unwrap();
    }
}

fn print_open() {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        format!("{}={}", path.file_name().unwrap().display(), std::fs::read_link(&path).unwrap_or_default().display())
    });
    say(&open.collect::<Vec<_>>().join(" "));
}
