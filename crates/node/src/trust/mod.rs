//! Who belongs to the cluster: the CA, join tokens, the identity of a node, and TLS on both ends of every link.
//!
//! A node's identity is its Ed25519 key. The CA, which lives with the bootstrapper, signs a certificate for TLS and a
//! credential for records, both for that key. A join token gets a new node that far; from then on its key and its
//! credential do.

mod authority;
mod identity;
mod tls;
mod token;

use std::path::{Path, PathBuf};

pub(crate) use authority::fingerprint;
pub use authority::{Authority, CERTIFICATE_TTL, Issued};
pub use identity::{Identity, verify, verify_credential};
pub(crate) use identity::{key_id, load_or_create_key, new_key, sign as sign_with};
pub use tls::{
    ENROL_ALPN, LINK_ALPN, PeerIdentity, SERVER_NAME, ca_key, enrol_client_config, enrol_server_config,
    link_client_config, link_server_config, peer_identity,
};
pub use token::{JoinToken, TokenError};

/// SHA-256 of the CA's certificate.
pub type Fingerprint = [u8; 32];

/// What can go wrong with keys, certificates and the files that hold them.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read or written.
    #[error("cannot access {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({what}); delete it and enrol the node again with a new token")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// A peer's certificate does not tell who it is.
    #[error("the peer's certificate does not name a node of this cluster")]
    Peer,
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(path).map_err(|source| TrustError::File { path: path.to_owned(), source })
}

/// Writes a file whole or not at all, readable by its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    use std::io::Write as _;
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let draft = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&draft, path).map_err(failed)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unix_now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
