//! Who a node is and what it may call itself.

use std::fmt;

/// Identity of a node: its Ed25519 public key (RFC 8032). Never an address, so several nodes share a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first eight bytes in hexadecimal: enough for people.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Longest node name, in bytes: a DNS label (RFC 1035, section 2.3.4), since certificates carry it as one.
pub const NODE_NAME_LEN_MAX: usize = 63;
/// Longest stream name, in bytes. Tuned: fits a line, and a thousand of them fit a record.
pub const STREAM_NAME_LEN_MAX: usize = 64;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A node name that is no DNS label.
    #[error("node name {0:?} is not 1 to {NODE_NAME_LEN_MAX} letters a-z, digits and inner hyphens; choose another")]
    Node(String),
    /// A stream name with characters that URLs or terminals would garble.
    #[error(
        "stream name {0:?} is not 1 to {STREAM_NAME_LEN_MAX} letters, digits, '-', '_' and inner '.'; choose another"
    )]
    Stream(String),
}

/// Checks that `name` can name a node.
pub fn check_node_name(name: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=NODE_NAME_LEN_MAX).contains(&name.len());
    if fits && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(NameError::Node(clip(name)))
}

/// The name of a stream: letters, digits, `-`, `_` and inner `.`. A clone costs a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(std::sync::Arc<str>);

impl TryFrom<String> for StreamName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.as_str().to_owned()
    }
}

impl StreamName {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = (1..=STREAM_NAME_LEN_MAX).contains(&name.len());
        if fits && name.bytes().all(allowed) && !name.starts_with('.') && !name.ends_with('.') {
            return Ok(Self(name.into()));
        }
        Err(NameError::Stream(clip(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// At most 80 characters of somebody's text, for an error message.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
