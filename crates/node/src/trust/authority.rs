//! The cluster CA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use levada_overlay::{Credential, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{
    Fingerprint, Identity, JoinToken, SERVER_NAME, TokenError, TrustError, hex, key_id, load_or_create_key, read,
    unix_now_s, write_private,
};

/// Validity of a node's certificate and credential; both are renewed whenever the node meets its bootstrapper. Tuned:
/// a season without the bootstrapper.
pub const CERTIFICATE_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Validity of the CA's own certificate.
const CA_TTL: time::Duration = time::Duration::days(20 * 365);
/// Certificates count from this long ago, since clocks differ.
const BACKDATED: time::Duration = time::Duration::days(1);

/// The CA: its key, its certificate, and the tokens it has redeemed.
pub struct Authority {
    dir: PathBuf,
    key: KeyPair,
    signer: Ed25519KeyPair,
    certificate: CertificateDer<'static>,
    token_key: ring::hmac::Key,
    /// Held while the list of used tokens is read and written.
    ledger: Mutex<()>,
}

/// What a node gets from the CA.
#[derive(Clone, Debug)]
pub struct Issued {
    /// X.509 certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The word for its records.
    pub credential: Credential,
}

#[derive(Default, Serialize, Deserialize)]
struct Redeemed {
    /// By token number: the node that used it and the token's end.
    tokens: BTreeMap<String, (String, u64)>,
}

impl Authority {
    /// Opens the CA in `dir`, or makes a new one there.
    pub fn open_or_create(dir: &Path) -> Result<Self, TrustError> {
        let key_path = dir.join("ca-key.pem");
        if !key_path.exists() {
            create(dir)?;
        }
        let damaged = |path: &Path, what: String| TrustError::Damaged { path: path.to_owned(), what };
        let pem = String::from_utf8(read(&key_path)?).map_err(|e| damaged(&key_path, e.to_string()))?;
        let key = KeyPair::from_pem(&pem).map_err(|e| damaged(&key_path, e.to_string()))?;
        let signer = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.serialize_der())
            .map_err(|e| damaged(&key_path, e.to_string()))?;
        let certificate = CertificateDer::from(read(&dir.join("ca.der"))?);
        let token_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &read(&dir.join("token.key"))?);
        Ok(Self { dir: dir.to_owned(), key, signer, certificate, token_key, ledger: Mutex::new(()) })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the CA's certificate, which tokens carry.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certificate)
    }

    /// The CA's public key, which checks credentials.
    pub fn public_key(&self) -> NodeId {
        use ring::signature::KeyPair as _;
        let mut key = [0; 32];
        key.copy_from_slice(self.signer.public_key().as_ref());
        NodeId(key)
    }

    /// Signs a certificate and a credential for a node's key.
    pub fn issue(&self, id: NodeId, name: &str, ttl: Duration) -> Result<Issued, TrustError> {
        let now = time::OffsetDateTime::now_utc();
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned(), format!("{name}.{SERVER_NAME}")])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = now - BACKDATED;
        params.not_after = now + ttl;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&NodeKey(id), &Issuer::from_params(&ca_params(), &self.key))?;
        let not_after_unix_s = unix_now_s() + ttl.as_secs();
        let signature = self.signer.sign(&Credential::signed_bytes(id, name, not_after_unix_s));
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        let credential = Credential { name: name.to_owned(), not_after_unix_s, signature: bytes };
        Ok(Issued { certificate: certificate.der().clone(), credential })
    }

    /// Gives a node of this machine its identity, kept in `dir`, without a bootstrapper between them.
    pub fn enrol(&self, name: &str, dir: &Path) -> Result<Identity, TrustError> {
        let pkcs8 = load_or_create_key(dir)?;
        let issued = self.issue(key_id(&pkcs8)?, name, CERTIFICATE_TTL)?;
        let identity = Identity::new(pkcs8, issued, self.certificate.clone())?;
        identity.save(dir)?;
        Ok(identity)
    }

    /// Makes a join token for the node called `name`, or for any node.
    pub fn mint_token(&self, name: Option<&str>, ttl: Duration) -> Result<JoinToken, TrustError> {
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).map_err(|_| TrustError::Tls("no randomness".to_owned()))?;
        let expires_unix_s = unix_now_s() + ttl.as_secs();
        Ok(JoinToken::mint(name.map(str::to_owned), expires_unix_s, nonce, self.fingerprint(), &self.token_key))
    }

    /// Checks a token and notes its use: the same node may show it again, another may not.
    pub fn redeem(&self, token: &JoinToken, name: &str, id: NodeId) -> Result<(), TokenError> {
        token.check(name, self.fingerprint(), unix_now_s(), &self.token_key)?;
        let _ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join("redeemed.json");
        let mut redeemed: Redeemed = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| TokenError::Ledger)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Redeemed::default(),
            Err(_) => return Err(TokenError::Ledger),
        };
        let id = hex(&id.0);
        if let Some((user, _)) = redeemed.tokens.get(&hex(&token.nonce)) {
            return if *user == id { Ok(()) } else { Err(TokenError::Used { name: name.to_owned() }) };
        }
        redeemed.tokens.retain(|_, (_, expires)| *expires > unix_now_s());
        redeemed.tokens.insert(hex(&token.nonce), (id, token.expires_unix_s));
        let bytes = serde_json::to_vec(&redeemed).map_err(|_| TokenError::Ledger)?;
        write_private(&path, &bytes).map_err(|_| TokenError::Ledger)
    }
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    out
}

fn create(dir: &Path) -> Result<(), TrustError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = ca_params().self_signed(&key)?;
    let mut token_key = [0; 32];
    SystemRandom::new().fill(&mut token_key).map_err(|_| TrustError::Tls("no randomness".to_owned()))?;
    write_private(&dir.join("token.key"), &token_key)?;
    write_private(&dir.join("ca.der"), certificate.der())?;
    // Last: its presence says that the rest is there.
    write_private(&dir.join("ca-key.pem"), key.serialize_pem().as_bytes())
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Levada cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = time::OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = time::OffsetDateTime::now_utc() + CA_TTL;
    params
}

/// A node's public key, as rcgen wants it.
struct NodeKey(NodeId);

impl PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}
