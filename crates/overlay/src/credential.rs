//! The cluster's word for a node: who signs records must show it, so a stranger cannot fill the tables of others.

use crate::id::NodeId;

/// A node's name and term, signed by the cluster CA. It travels inside the node's record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credential {
    /// Name of the node, a DNS label.
    pub name: String,
    /// End of validity, in seconds since the Unix epoch.
    pub not_after_unix_s: u64,
    /// Ed25519 signature of [`Credential::signed_bytes`] by the cluster CA's key.
    #[serde(with = "crate::tape::hex_signature")]
    pub signature: [u8; 64],
}

impl Credential {
    /// The bytes that the CA signs. The prefix keeps them apart from certificates, which the same key signs.
    pub fn signed_bytes(id: NodeId, name: &str, not_after_unix_s: u64) -> Vec<u8> {
        let mut bytes = b"levada credential v1\0".to_vec();
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&not_after_unix_s.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }
}
