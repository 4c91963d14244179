//! Join tokens: one word that a person can paste, which lets one node in once.
//!
//! ```text
//! levada1.BASE64URL(Protocol Buffers: name, expiry, number, CA fingerprint, HMAC-SHA256 of the fields before it)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use ring::hmac;

use super::Fingerprint;

const PREFIX: &str = "levada1.";
/// Longest token that is read, in characters.
const LEN_MAX: usize = 512;

/// A join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The node that it is for; `None`: any.
    pub name: Option<String>,
    /// End of its validity, seconds since the Unix epoch.
    pub expires_unix_s: u64,
    /// Its number.
    pub nonce: [u8; 16],
    /// SHA-256 of the CA's certificate.
    pub fingerprint: Fingerprint,
    mac: Vec<u8>,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token.
    #[error("this is not a join token (they begin with {PREFIX}); make one with: levada token NAME")]
    Malformed,
    /// Of another cluster.
    #[error("this token belongs to another cluster; make one with this bootstrapper: levada token NAME")]
    Foreign,
    /// The MAC does not fit.
    #[error("this token was not made by this bootstrapper, or was changed; make a new one with: levada token NAME")]
    Forged,
    /// Too old.
    #[error("this token has expired; make a new one with: levada token NAME")]
    Expired,
    /// For somebody else.
    #[error("this token is for node {for_name}, not {name}; make a new one with: levada token {name}")]
    OtherNode {
        /// The node that it is for.
        for_name: String,
        /// The node that showed it.
        name: String,
    },
    /// Single use.
    #[error("this token was already used by another node; make a new one with: levada token {name}")]
    Used {
        /// The node that showed it.
        name: String,
    },
    /// Its use cannot be noted.
    #[error("the bootstrapper cannot read or write its list of used tokens; see its log and directory")]
    Ledger,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(uint64, tag = "2")]
    expires_unix_s: u64,
    #[prost(bytes = "vec", tag = "3")]
    nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    fingerprint: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    mac: Vec<u8>,
}

impl JoinToken {
    pub(super) fn mint(
        name: Option<String>,
        expires_unix_s: u64,
        nonce: [u8; 16],
        fingerprint: Fingerprint,
        key: &hmac::Key,
    ) -> Self {
        let mut token = Self { name, expires_unix_s, nonce, fingerprint, mac: Vec::new() };
        token.mac = hmac::sign(key, &token.wire().encode_to_vec()).as_ref().to_vec();
        token
    }

    pub(super) fn check(
        &self,
        name: &str,
        ca: Fingerprint,
        now_unix_s: u64,
        key: &hmac::Key,
    ) -> Result<(), TokenError> {
        if self.fingerprint != ca {
            return Err(TokenError::Foreign);
        }
        let unsigned = Self { mac: Vec::new(), ..self.clone() };
        hmac::verify(key, &unsigned.wire().encode_to_vec(), &self.mac).map_err(|_| TokenError::Forged)?;
        if now_unix_s >= self.expires_unix_s {
            return Err(TokenError::Expired);
        }
        match &self.name {
            Some(for_name) if for_name != name => {
                Err(TokenError::OtherNode { for_name: for_name.clone(), name: name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn wire(&self) -> Wire {
        Wire {
            name: self.name.clone(),
            expires_unix_s: self.expires_unix_s,
            nonce: self.nonce.to_vec(),
            fingerprint: self.fingerprint.to_vec(),
            mac: self.mac.clone(),
        }
    }
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.wire().encode_to_vec()))
    }
}

impl std::str::FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).filter(|_| text.len() <= LEN_MAX).ok_or(TokenError::Malformed)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Malformed)?;
        let wire = Wire::decode(&bytes[..]).map_err(|_| TokenError::Malformed)?;
        Ok(Self {
            name: wire.name,
            expires_unix_s: wire.expires_unix_s,
            nonce: wire.nonce.try_into().map_err(|_| TokenError::Malformed)?,
            fingerprint: wire.fingerprint.try_into().map_err(|_| TokenError::Malformed)?,
            mac: wire.mac,
        })
    }
}
