//! TLS 1.3 settings of links and of enrolment.

use std::sync::Arc;

use levada_overlay::{NodeId, check_node_name};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme, version,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::authority::fingerprint;
use super::{Fingerprint, Identity, TrustError};

/// Name that every node's certificate carries: who it is tells the key, not the address.
pub const SERVER_NAME: &str = "node.levada";
/// Protocol of links between nodes.
pub const LINK_ALPN: &[u8] = b"levada/1";
/// Protocol of the bootstrapper.
pub const ENROL_ALPN: &[u8] = b"levada-enrol/1";

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Public key.
    pub id: NodeId,
    /// Name that the CA certifies.
    pub name: String,
}

/// Accepts links from nodes of the cluster.
pub fn link_server_config(identity: &Identity) -> Result<quinn::ServerConfig, TrustError> {
    let roots = Arc::new(roots(&identity.ca)?);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, crypto()).build().map_err(tls)?;
    let builder = ServerConfig::builder_with_provider(crypto()).with_protocol_versions(&[&version::TLS13]);
    let certificates = vec![identity.certificate.clone()];
    let config = builder.map_err(tls)?.with_client_cert_verifier(clients);
    server(config.with_single_cert(certificates, identity.private_key()).map_err(tls)?, LINK_ALPN)
}

/// Dials links to nodes of the cluster.
pub fn link_client_config(identity: &Identity) -> Result<quinn::ClientConfig, TrustError> {
    let roots = Arc::new(roots(&identity.ca)?);
    let servers = WebPkiServerVerifier::builder_with_provider(roots, crypto()).build().map_err(tls)?;
    let builder = ClientConfig::builder_with_provider(crypto()).with_protocol_versions(&[&version::TLS13]);
    let config = builder.map_err(tls)?.with_webpki_verifier(servers);
    let certificates = vec![identity.certificate.clone()];
    client(config.with_client_auth_cert(certificates, identity.private_key()).map_err(tls)?, LINK_ALPN)
}

/// Accepts nodes that want to enrol; they have no certificate yet.
pub fn enrol_server_config(
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<quinn::ServerConfig, TrustError> {
    let builder = ServerConfig::builder_with_provider(crypto()).with_protocol_versions(&[&version::TLS13]);
    let config = builder.map_err(tls)?.with_no_client_auth();
    server(config.with_single_cert(vec![certificate, ca], key).map_err(tls)?, ENROL_ALPN)
}

/// Dials a bootstrapper whose CA has the given fingerprint.
pub fn enrol_client_config(ca: Fingerprint) -> Result<quinn::ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(crypto()).with_protocol_versions(&[&version::TLS13]);
    let verifier = Arc::new(PinnedCa(ca));
    let config = builder.map_err(tls)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    client(config, ENROL_ALPN)
}

/// Who is at the other end of a link; the handshake has checked the certificate already.
pub fn peer_identity(connection: &quinn::Connection) -> Result<PeerIdentity, TrustError> {
    let certificates = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(TrustError::Peer)?;
    let leaf = webpki::EndEntityCert::try_from(certificates.first().ok_or(TrustError::Peer)?);
    let leaf = leaf.map_err(|_| TrustError::Peer)?;
    let key = ed25519_key(&leaf)?;
    let suffix = format!(".{SERVER_NAME}");
    let name = leaf.valid_dns_names().find_map(|name| name.strip_suffix(&suffix)).ok_or(TrustError::Peer)?;
    check_node_name(name).map_err(|_| TrustError::Peer)?;
    Ok(PeerIdentity { id: key, name: name.to_owned() })
}

/// The public key of the CA, which checks credentials.
pub fn ca_key(ca: &CertificateDer<'static>) -> Result<NodeId, TrustError> {
    ed25519_key(&webpki::EndEntityCert::try_from(ca).map_err(tls)?)
}

/// RFC 8410: an Ed25519 key ends its SubjectPublicKeyInfo, which has 44 bytes with no other kind of key.
fn ed25519_key(certificate: &webpki::EndEntityCert<'_>) -> Result<NodeId, TrustError> {
    let spki = certificate.subject_public_key_info();
    spki.last_chunk::<32>().filter(|_| spki.len() == 44).map(|key| NodeId(*key)).ok_or(TrustError::Peer)
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

fn tls(error: impl std::fmt::Display) -> TrustError {
    TrustError::Tls(error.to_string())
}

fn roots(ca: &CertificateDer<'static>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(tls)?;
    Ok(roots)
}

fn server(mut config: ServerConfig, alpn: &[u8]) -> Result<quinn::ServerConfig, TrustError> {
    config.alpn_protocols = vec![alpn.to_vec()];
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).map_err(tls)?));
    config.transport_config(crate::quic::transport());
    Ok(config)
}

fn client(mut config: ClientConfig, alpn: &[u8]) -> Result<quinn::ClientConfig, TrustError> {
    config.alpn_protocols = vec![alpn.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).map_err(tls)?));
    config.transport_config(crate::quic::transport());
    Ok(config)
}

/// Trusts the server whose chain ends in the CA certificate with this fingerprint, and whose leaf that CA signed.
#[derive(Debug)]
struct PinnedCa(Fingerprint);

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = chain.iter().find(|certificate| fingerprint(certificate) == self.0);
        let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let roots = roots(&ca.clone().into_owned()).map_err(|error| Error::General(error.to_string()))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(leaf, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
