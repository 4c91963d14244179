//! Whether a request comes from somebody on this machine, who may stop the node.
//!
//! The address alone does not tell: a reverse proxy beside the node connects from here for anyone, and so does a browser
//! that a page sent here under a name of its own (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

/// Header that a request must carry that changes something: a page of another site cannot set it.
pub const ACTION_HEADER: &str = "x-levada-action";
/// Beginnings of the names of headers by which proxies tell for whom they ask (RFC 7239; RFC 9110, section 7.6.3; custom).
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-", "x-real-ip", "via"];

/// Whether a request that changes something was made on this machine, for this machine.
pub fn is_local_action(from: SocketAddr, headers: &HeaderMap) -> bool {
    let proxied = |name: &header::HeaderName| PROXY_HEADERS.iter().any(|begins| name.as_str().starts_with(begins));
    from.ip().to_canonical().is_loopback()
        && headers.contains_key(ACTION_HEADER)
        && headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_loopback_host)
        && !headers.keys().any(proxied)
}

/// Whether a `Host` header names this machine as nobody else's can be named.
fn is_loopback_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn is_let_in(from: &str, given: &[(&str, &str)]) -> bool {
        let header = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        is_local_action(from.parse().unwrap(), &given.iter().map(header).collect())
    }

    const ACTION: (&str, &str) = (ACTION_HEADER, "drain");

    #[test]
    fn whoever_asks_on_this_machine_is_let_in() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert!(is_let_in("127.0.0.1:5000", &[ACTION, ("host", host)]), "{host}");
        }
        assert!(is_let_in("[::1]:5000", &[ACTION, ("host", "[::1]:8080")]));
    }

    #[test]
    fn nobody_is_let_in_from_elsewhere_or_without_the_header() {
        assert!(!is_let_in("192.0.2.1:5000", &[ACTION, ("host", "localhost")]));
        assert!(!is_let_in("127.0.0.1:5000", &[("host", "localhost")]));
    }

    #[test]
    fn names_that_anyone_can_point_here_are_refused() {
        for host in ["evil.example", "localhost.evil.example:8080", "192.0.2.1", "127.0.0.1.evil.example", "", "a b"] {
            assert!(!is_let_in("127.0.0.1:5000", &[ACTION, ("host", host)]), "{host}");
        }
        assert!(!is_let_in("127.0.0.1:5000", &[ACTION]));
    }

    #[test]
    fn a_proxy_that_says_so_is_refused() {
        for (name, value) in [
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("via", "1.1 edge"),
        ] {
            assert!(!is_let_in("127.0.0.1:5000", &[ACTION, ("host", "localhost"), (name, value)]), "{name}");
        }
    }
}
