//! What a process of a node does: `echo` answers every datagram, and tells over TCP that it is there; `ask` sends what its
//! standard input says, and prints what came back and when; `sleep` waits to be killed; `open` prints what it has open.

use std::io::{BufRead as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// The variable with the role; its words are the arguments.
pub(crate) const ROLE: &str = "LAB_TEST_ROLE";
/// With nothing more coming in for so long, all has come that will.
const QUIET: Duration = Duration::from_millis(700);
/// Between two datagrams: slow enough for any machine.
const PACE: Duration = Duration::from_micros(300);

pub(crate) fn play(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["echo", listen] => echo(listen.parse().unwrap()),
        ["ask", listen] => ask(listen.parse().unwrap()),
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
