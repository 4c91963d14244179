//! Keys of a world in which nobody lies: a keyed hash in place of signatures, since thousands of nodes check millions.

use levada_overlay::{Credential, Keys, NodeId};

/// Signs as one node.
pub(crate) struct HashKeys(pub(crate) NodeId);

impl Keys for HashKeys {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(self.0, message)
    }

    fn verify(&self, author: NodeId, message: &[u8], given: &[u8; 64]) -> bool {
        signature(author, message) == *given
    }

    fn verify_credential(&self, _id: NodeId, _credential: &Credential) -> bool {
        true
    }
}

fn signature(author: NodeId, message: &[u8]) -> [u8; 64] {
    let hash = author
        .0
        .iter()
        .chain(message)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut out = [0; 64];
    out[..8].copy_from_slice(&hash.to_be_bytes());
    out
}
