//! Ports for meshes that somebody starts whole on one machine: the demo, the lab, the tests.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

/// Below the ports that systems hand to whoever asks for any (32768 and up on Linux, 49152 and up by RFC 6335, section
/// 6): a port from those can be somebody else's by the time a node listens on it.
const RANGE: Range<u16> = 10_240..32_768;

/// Ports of the loopback that are free for UDP and TCP now, and that this process never gave before.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Other processes look too, so everybody begins somewhere else.
    let start = rand::random_range(RANGE);
    let ports: Vec<u16> = (start..RANGE.end)
        .chain(RANGE.start..start)
        .filter(|port| !given.contains(port) && is_free(*port))
        .take(count)
        .collect();
    if ports.len() < count {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("fewer than {count} ports of {RANGE:?} are free"),
        ));
    }
    given.extend(&ports);
    Ok(ports)
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_for_both_and_never_given_twice() {
        let first = free(20).unwrap();
        let all: BTreeSet<u16> = first.iter().chain(&free(20).unwrap()).copied().collect();
        assert_eq!(all.len(), 40);
        for port in all {
            assert!(is_free(port), "{port}");
        }
    }

    #[test]
    fn what_somebody_holds_is_not_free() {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(udp.local_addr().unwrap().port()));
        assert!(!is_free(tcp.local_addr().unwrap().port()));
    }
}
