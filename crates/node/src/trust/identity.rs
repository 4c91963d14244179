//! The identity of a node, and what it keeps of it on disk.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use levada_overlay::{Credential, NodeId};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::{Issued, TrustError, read, unix_now_s, write_private};

/// A node's key with what the CA made of it.
pub struct Identity {
    key: Ed25519KeyPair,
    pkcs8: Vec<u8>,
    /// The node's certificate.
    pub certificate: CertificateDer<'static>,
    /// The CA's certificate.
    pub ca: CertificateDer<'static>,
    /// The CA's word for records; holds the name.
    pub credential: Credential,
}

#[derive(Serialize, Deserialize)]
struct Enrolment {
    name: String,
    not_after_unix_s: u64,
    /// Base64, as the certificates.
    credential: String,
    certificate: String,
    ca: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id()).field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Makes a new Ed25519 key, PKCS #8.
pub(crate) fn new_key() -> Result<Vec<u8>, TrustError> {
    let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
    Ok(document.map_err(|_| TrustError::Tls("no randomness".to_owned()))?.as_ref().to_vec())
}

/// Reads the key in `dir`, or makes one there.
pub(crate) fn load_or_create_key(dir: &Path) -> Result<Vec<u8>, TrustError> {
    let path = dir.join("key.pkcs8");
    if path.exists() {
        return read(&path);
    }
    let key = new_key()?;
    write_private(&path, &key)?;
    Ok(key)
}

impl Identity {
    /// Joins a key and what the CA issued for it.
    pub fn new(pkcs8: Vec<u8>, issued: Issued, ca: CertificateDer<'static>) -> Result<Self, TrustError> {
        let key = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| TrustError::Tls(error.to_string()))?;
        Ok(Self { key, pkcs8, certificate: issued.certificate, ca, credential: issued.credential })
    }

    /// Reads what [`Identity::save`] wrote; `None` if the node has not been enrolled.
    pub fn load(dir: &Path) -> Result<Option<Self>, TrustError> {
        let path = dir.join("enrolment.json");
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |what: String| TrustError::Damaged { path: path.clone(), what };
        let enrolment: Enrolment = serde_json::from_slice(&read(&path)?).map_err(|e| damaged(e.to_string()))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|e| damaged(e.to_string()));
        let signature = decode(&enrolment.credential)?.try_into().map_err(|_| damaged("credential".to_owned()))?;
        let credential = Credential { name: enrolment.name, not_after_unix_s: enrolment.not_after_unix_s, signature };
        let issued = Issued { certificate: decode(&enrolment.certificate)?.into(), credential };
        Self::new(load_or_create_key(dir)?, issued, decode(&enrolment.ca)?.into()).map(Some)
    }

    /// Keeps the identity in `dir`.
    pub fn save(&self, dir: &Path) -> Result<(), TrustError> {
        write_private(&dir.join("key.pkcs8"), &self.pkcs8)?;
        let enrolment = Enrolment {
            name: self.credential.name.clone(),
            not_after_unix_s: self.credential.not_after_unix_s,
            credential: STANDARD.encode(self.credential.signature),
            certificate: STANDARD.encode(&self.certificate),
            ca: STANDARD.encode(&self.ca),
        };
        let path = dir.join("enrolment.json");
        let bytes = serde_json::to_vec_pretty(&enrolment);
        let bytes = bytes.map_err(|e| TrustError::Damaged { path: path.clone(), what: e.to_string() })?;
        write_private(&path, &bytes)
    }

    /// The public key.
    pub fn id(&self) -> NodeId {
        id_of(&self.key)
    }

    /// The name that the CA certifies.
    pub fn name(&self) -> &str {
        &self.credential.name
    }

    /// Whether certificate and credential have run out.
    pub fn has_expired(&self) -> bool {
        unix_now_s() >= self.credential.not_after_unix_s
    }

    /// The private key, for TLS.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pkcs8.clone().into())
    }

    /// Signs with the private key.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        sign(&self.key, message)
    }
}

/// The public key that belongs to a private one.
pub(crate) fn key_id(pkcs8: &[u8]) -> Result<NodeId, TrustError> {
    let key = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|error| TrustError::Tls(error.to_string()))?;
    Ok(id_of(&key))
}

fn id_of(key: &Ed25519KeyPair) -> NodeId {
    let mut id = [0; 32];
    id.copy_from_slice(key.public_key().as_ref());
    NodeId(id)
}

pub(crate) fn sign(key: &Ed25519KeyPair, message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature.copy_from_slice(key.sign(message).as_ref());
    signature
}

/// Whether `signature` of `message` is by `author`.
pub fn verify(author: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, author.0).verify(message, signature).is_ok()
}

/// Whether the CA with the public key `ca` gave `credential` to `id`, and it has not run out.
pub fn verify_credential(ca: NodeId, id: NodeId, credential: &Credential) -> bool {
    let message = Credential::signed_bytes(id, &credential.name, credential.not_after_unix_s);
    credential.not_after_unix_s > unix_now_s() && verify(ca, &message, &credential.signature)
}
