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
    // FNV-1a, eight bytes at a step.
    let mix = |hash: u64, bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
    };
    let start = author.0.chunks(8).fold(0xcbf2_9ce4_8422_2325_u64, mix);
    let hash = message.chunks(8).fold(start ^ message.len() as u64, mix);
    let mut out = [0; 64];
    out[..8].copy_from_slice(&hash.to_be_bytes());
    out
}
