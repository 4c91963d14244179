//! Messages between a node and its bootstrapper (docs/protocol.md).

use levada_overlay::{Credential, Neighbour};
use prost::Message as _;
use quinn::{RecvStream, SendStream};

/// Largest message, in bytes: a few hundred neighbours.
const LEN_MAX: usize = 64 * 1024;
/// Label of the exported TLS secret that a node signs to prove that it holds its key (RFC 8446, section 7.5).
pub(super) const EXPORT_LABEL: &[u8] = b"EXPORTER-levada-enrol";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Ed25519 public key.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    /// Signature of the exported secret by that key.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) possession: Vec<u8>,
    /// A join token, from a node that is new.
    #[prost(string, optional, tag = "4")]
    pub(super) token: Option<String>,
    /// The credential, from a node that is known.
    #[prost(message, optional, tag = "5")]
    pub(super) credential: Option<WireCredential>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(oneof = "Kind", tags = "1, 2, 3")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    /// A refusal, in words for people.
    #[prost(string, tag = "2")]
    Refusal(String),
    #[prost(message, tag = "3")]
    Neighbours(Neighbours),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Welcome {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) ca: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(super) credential: Option<WireCredential>,
    #[prost(message, optional, tag = "4")]
    pub(super) neighbours: Option<Neighbours>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireCredential {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint64, tag = "2")]
    pub(super) not_after_unix_s: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Neighbours {
    #[prost(message, repeated, tag = "1")]
    pub(super) neighbours: Vec<WireNeighbour>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireNeighbour {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) addresses: Vec<String>,
}

impl From<&Credential> for WireCredential {
    fn from(credential: &Credential) -> Self {
        Self {
            name: credential.name.clone(),
            not_after_unix_s: credential.not_after_unix_s,
            signature: credential.signature.to_vec(),
        }
    }
}

impl WireCredential {
    pub(super) fn credential(self) -> Option<Credential> {
        let signature = self.signature.try_into().ok()?;
        Some(Credential { name: self.name, not_after_unix_s: self.not_after_unix_s, signature })
    }
}

impl Neighbours {
    pub(super) fn of(neighbours: &[Neighbour]) -> Self {
        let wire = |n: &Neighbour| WireNeighbour { name: n.name.clone(), addresses: n.addresses.clone() };
        Self { neighbours: neighbours.iter().map(wire).collect() }
    }

    pub(super) fn neighbours(self) -> Vec<Neighbour> {
        self.neighbours.into_iter().map(|n| Neighbour { name: n.name, addresses: n.addresses }).collect()
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the connection broke off")]
    Broken,
    #[error("a message is malformed or too long")]
    Malformed,
}

pub(super) async fn read<M: prost::Message + Default>(recv: &mut RecvStream) -> Result<M, WireError> {
    let mut prefix = [0; 4];
    recv.read_exact(&mut prefix).await.map_err(|_| WireError::Broken)?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > LEN_MAX {
        return Err(WireError::Malformed);
    }
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await.map_err(|_| WireError::Broken)?;
    M::decode(&body[..]).map_err(|_| WireError::Malformed)
}

pub(super) async fn write(send: &mut SendStream, message: &impl prost::Message) -> Result<(), WireError> {
    let body = message.encode_to_vec();
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    send.write_all(&bytes).await.map_err(|_| WireError::Broken)
}

pub(super) fn exported(connection: &quinn::Connection) -> Result<[u8; 32], WireError> {
    let mut secret = [0; 32];
    connection.export_keying_material(&mut secret, EXPORT_LABEL, b"").map_err(|_| WireError::Broken)?;
    Ok(secret)
}

/// Encodes an answer of one kind.
pub(super) fn answer(kind: Kind) -> Answer {
    let answer = Answer { kind: Some(kind) };
    debug_assert!(answer.encoded_len() <= LEN_MAX, "topologies give a node a few hundred neighbours at most");
    answer
}
