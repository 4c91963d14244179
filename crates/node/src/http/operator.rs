//! Who may change things, and who may look at the tables.
//!
//! An operator shows a token, `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). A page of another site cannot know it,
//! and cannot make a browser send it.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::Rooms;
use super::api::Problem;

/// Name of the file in a node's directory that holds its operator's token.
pub const TOKEN_FILE: &str = "operator-token";
/// Shortest token that is taken, in bytes: what a person makes up should not be guessed.
const TOKEN_LEN_MIN: usize = 16;
/// Longest token, in bytes.
const TOKEN_LEN_MAX: usize = 256;
/// Random bytes of a token that a node makes.
const TOKEN_RANDOM: usize = 24;

/// Why there is no operator's token.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Too short, too long, or not to be put into a header.
    #[error(
        "an operator's token has {TOKEN_LEN_MIN} to {TOKEN_LEN_MAX} letters, digits and signs and no spaces; \
         make one with: openssl rand -hex 24"
    )]
    Token,
    /// The file cannot be read or made.
    #[error("cannot keep an operator's token in {0}; give one with --operator-token")]
    File(PathBuf, #[source] io::Error),
}

/// Who may look at the tables. Players need no permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Everyone who reaches the node.
    #[default]
    Open,
    /// Operators.
    Token,
}

/// Knows an operator's token when it sees it.
#[derive(Debug)]
pub struct Operator {
    key: hmac::Key,
    tag: hmac::Tag,
    look: Look,
}

impl Operator {
    /// One with this token.
    pub fn new(token: &str, look: Look) -> Result<Self, OperatorError> {
        let fits = (TOKEN_LEN_MIN..=TOKEN_LEN_MAX).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OperatorError::Token);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        let tag = hmac::sign(&key, token.as_bytes());
        Ok(Self { key, tag, look })
    }

    /// Whether the token came with a request. Takes the same time whatever is wrong with it.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let token = given.and_then(|value| value.split_at_checked("Bearer ".len()));
        token.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && hmac::verify(&self.key, token, self.tag.as_ref()).is_ok()
        })
    }
}

/// The token that a node keeps in its directory, made at the first start, and where it is.
pub fn kept_token(dir: &Path) -> Result<(String, PathBuf), OperatorError> {
    let path = dir.join(TOKEN_FILE);
    let token = read_or_make(&path).map_err(|error| OperatorError::File(path.clone(), error))?;
    Ok((token, path))
}

fn read_or_make(path: &Path) -> io::Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_RANDOM]>());
            writeln!(file, "{token}")?;
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            // With room for the end of the line.
            std::fs::File::open(path)?.take(TOKEN_LEN_MAX as u64 + 2).read_to_string(&mut text)?;
            Ok(text.trim().to_owned())
        }
        Err(error) => Err(error),
    }
}

/// Proof that a request may change things.
#[derive(Debug)]
pub(super) struct MayChange;

/// Proof that a request may look at the tables.
#[derive(Debug)]
pub(super) struct MayLook;

impl FromRequestParts<Rooms> for MayChange {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        may_change(rooms, &parts.headers).then_some(Self).ok_or_else(|| refusal(rooms))
    }
}

impl FromRequestParts<Rooms> for MayLook {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        let may = rooms.operator.look == Look::Open || may_change(rooms, &parts.headers);
        may.then_some(Self).ok_or_else(|| refusal(rooms))
    }
}

/// Whether an operator asks.
pub(super) fn may_change(rooms: &Rooms, headers: &HeaderMap) -> bool {
    rooms.operator.is_shown(headers)
}

fn refusal(rooms: &Rooms) -> Problem {
    let node = rooms.node.name();
    Problem::unauthorized(format!(
        "node {node} wants its operator's token for this; it is what the node was started with, or in the file {TOKEN_FILE} of its directory"
    ))
}

/// Tells whether a token is right.
pub(super) async fn check(_: MayChange) -> StatusCode {
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn shown(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Operator::new(TOKEN, Look::Open).unwrap().is_shown(&headers)
    }

    #[test]
    fn the_token_alone_opens() {
        assert!(shown("Bearer 0123456789abcdef") && shown("bearer 0123456789abcdef"));
        for wrong in
            ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer ", "Bearer"]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!shown("Basic 0123456789abcdef") && !shown("0123456789abcdef"));
        assert!(!Operator::new(TOKEN, Look::Open).unwrap().is_shown(&HeaderMap::new()));
    }

    #[test]
    fn tokens_that_are_guessed_or_fit_no_header_are_refused() {
        for bad in ["", "short", "fifteen-letters", "has a space in it somewhere", "ümläüts-in-a-token"] {
            assert!(Operator::new(bad, Look::Open).is_err(), "{bad}");
        }
        assert!(Operator::new(&"x".repeat(TOKEN_LEN_MAX), Look::Open).is_ok());
        assert!(Operator::new(&"x".repeat(TOKEN_LEN_MAX + 1), Look::Open).is_err());
    }

    #[test]
    fn a_token_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let (made, path) = kept_token(dir.path()).unwrap();
        assert!(Operator::new(&made, Look::Open).is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(kept_token(dir.path()).unwrap(), (made, path));
        assert!(kept_token(&dir.path().join("nowhere")).unwrap_err().to_string().contains("--operator-token"));
    }
}
