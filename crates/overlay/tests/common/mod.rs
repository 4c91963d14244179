//! A brain for tests: with keys that need no arithmetic, and otherwise as it comes.

use levada_overlay::node::CHILDREN_MAX_DEFAULT;
use levada_overlay::{Config, Credential, Keys, Node, NodeId, Time};

/// What a relay is told that passes streams on.
pub(crate) fn config(id: NodeId, epoch: u64) -> Config {
    Config {
        id,
        credential: credential("own"),
        epoch,
        seed: 1,
        addresses: Vec::new(),
        http: None,
        transit: true,
        children_max: CHILDREN_MAX_DEFAULT,
        egress_max_bps: None,
    }
}

/// A brain that is told so.
pub(crate) fn brain(config: Config) -> Node {
    let keys = Box::new(PlainKeys(config.id));
    Node::new(config, keys, Time::ZERO)
}

/// One that no authority signed.
pub(crate) fn credential(name: &str) -> Credential {
    Credential { name: name.to_owned(), not_after_unix_s: u64::MAX, signature: [0; 64] }
}

/// Keys of a node whose signature is its identity twice, so that a test can sign as anybody.
pub(crate) struct PlainKeys(pub(crate) NodeId);

/// What [`PlainKeys`] take for the signature of a node.
pub(crate) fn signed_by(author: NodeId) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&author.0);
    signature[32..].copy_from_slice(&author.0);
    signature
}

impl Keys for PlainKeys {
    fn sign(&self, _message: &[u8]) -> [u8; 64] {
        signed_by(self.0)
    }

    fn verify(&self, author: NodeId, _message: &[u8], signature: &[u8; 64]) -> bool {
        *signature == signed_by(author)
    }

    fn verify_credential(&self, _id: NodeId, _credential: &Credential) -> bool {
        true
    }
}
