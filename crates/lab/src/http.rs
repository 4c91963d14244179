//! The little HTTP that a lab needs: requests over a connection that the network made, in version 1.0, so that an answer
//! ends with the connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use levada_node::http::ACTION_HEADER;
use serde::de::DeserializeOwned;

/// A node that says nothing for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest line of an answer's head, in bytes, and most lines.
const LINE_MAX: u64 = 8 * 1024;
const LINES_MAX: usize = 100;
/// Longest answer that is no stream, in bytes.
const BODY_MAX: u64 = 16 * 1024 * 1024;

/// Asks for a path of the API.
pub(crate) fn get<T: DeserializeOwned>(connection: TcpStream, path: &str) -> io::Result<T> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let body = request(connection, "GET", path, "")?;
    serde_json::from_reader(body.take(BODY_MAX)).map_err(io::Error::from)
}

/// Tells a node to do something, and waits for as long as that may take.
pub(crate) fn act(connection: TcpStream, path: &str, within: Duration) -> io::Result<()> {
    connection.set_read_timeout(Some(within))?;
    request(connection, "POST", path, &format!("{ACTION_HEADER}: lab\r\nContent-Length: 0\r\n")).map(drop)
}

/// Asks for a stream, whose bytes are what can be read from then on.
pub(crate) fn stream(connection: TcpStream, path: &str) -> io::Result<BufReader<TcpStream>> {
    request(connection, "GET", path, "")
}

fn request(mut connection: TcpStream, method: &str, path: &str, more: &str) -> io::Result<BufReader<TcpStream>> {
    // Nodes take commands only from whoever calls them by a name that nobody else can have.
    write!(connection, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{more}\r\n")?;
    let mut answer = BufReader::new(connection);
    let status = line(&mut answer)?;
    if status.split(' ').nth(1).is_none_or(|code| !code.starts_with('2')) {
        return Err(io::Error::other(format!("{method} {path} was answered with {status:?}")));
    }
    for _ in 0..LINES_MAX {
        if line(&mut answer)?.is_empty() {
            return Ok(answer);
        }
    }
    Err(io::Error::other(format!("{method} {path} was answered without an end")))
}

fn line(answer: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    answer.by_ref().take(LINE_MAX).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
