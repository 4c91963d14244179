//! Certificates that a page trusts by their hash: ECDSA P-256, for two weeks at most (W3C WebTransport, "Custom
//! Certificate Requirements").

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::ring as provider;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::quic;
use crate::trust::{TrustError, fingerprint, hex};

/// A certificate is shown for this long, after it was told of for as long: a page that heard of a node's certificates may
/// connect that much later.
const SHOWN: Duration = Duration::days(4);
/// Certificates count from this long ago, since clocks differ, and for as much longer.
const SLACK: Duration = Duration::days(1);
/// The name in a certificate, which nobody looks at.
const NAME: &str = "levada";

/// The certificate that is shown, and the one that is shown next.
#[derive(Debug)]
pub(super) struct Certificates {
    shown: Certificate,
    next: Certificate,
    renewed: OffsetDateTime,
}

impl Certificates {
    /// Two new ones.
    pub(super) fn new(now: OffsetDateTime) -> Result<Self, TrustError> {
        Ok(Self { shown: Certificate::new(now)?, next: Certificate::new(now)?, renewed: now })
    }

    /// Goes on to the next certificate if it is time; false: it is not.
    pub(super) fn renew(&mut self, now: OffsetDateTime) -> Result<bool, TrustError> {
        if (self.renewed..self.renewed + SHOWN).contains(&now) {
            return Ok(false);
        }
        let next = Certificate::new(now)?;
        // After a long sleep, or with a clock that was set, the one that was to be next may not count; whoever heard of it
        // has to ask again.
        let old = std::mem::replace(&mut self.next, next);
        self.shown = if old.counts_for(SHOWN, now) { old } else { Certificate::new(now)? };
        self.renewed = now;
        Ok(true)
    }

    /// SHA-256 of each, hexadecimal.
    pub(super) fn hashes(&self) -> Vec<String> {
        [&self.shown, &self.next].map(|certificate| hex(&fingerprint(&certificate.der))).to_vec()
    }

    /// QUIC with the certificate that is shown, for viewers.
    pub(super) fn server_config(&self) -> Result<quinn::ServerConfig, TrustError> {
        let tls = |error: &dyn std::fmt::Display| TrustError::Tls(error.to_string());
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| tls(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![self.shown.der.clone()], self.shown.key.clone_key().into())
            .map_err(|error| tls(&error))?;
        config.alpn_protocols = vec![web_transport_quinn::ALPN.as_bytes().to_vec()];
        let crypto = QuicServerConfig::try_from(config).map_err(|error| tls(&error))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(quic::transport_to_viewers());
        Ok(config)
    }
}

#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    ends: OffsetDateTime,
}

impl Certificate {
    fn new(now: OffsetDateTime) -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        let ends = now + 2 * SHOWN + SLACK;
        (params.not_before, params.not_after) = (now - SLACK, ends);
        let certificate = params.self_signed(&key)?;
        Ok(Self { der: certificate.der().clone(), key: key.serialize_der().into(), ends })
    }

    fn counts_for(&self, time: Duration, now: OffsetDateTime) -> bool {
        (now + time..now + 2 * SHOWN + 2 * SLACK).contains(&self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the standard allows.
    const VALID_MAX: Duration = Duration::days(14);

    #[test]
    fn a_certificate_is_told_of_before_it_is_shown_and_never_shown_when_it_is_over() {
        let start = OffsetDateTime::now_utc();
        let mut certificates = Certificates::new(start).unwrap();
        for hour in 1..=60 * 24 {
            let now = start + Duration::hours(hour);
            let before = certificates.hashes();
            let renewed = certificates.renew(now).unwrap();
            assert_eq!(renewed, hour % 96 == 0, "hour {hour}");
            assert_eq!(renewed, certificates.hashes() != before);
            if renewed {
                assert_eq!(certificates.hashes()[0], before[1], "pages have heard of it");
            }
            assert!(certificates.shown.ends > now + SLACK, "hour {hour}");
        }
        certificates.server_config().unwrap();
    }

    #[test]
    fn browsers_take_it() {
        assert!(2 * SHOWN + 2 * SLACK <= VALID_MAX);
    }

    #[test]
    fn a_node_that_slept_or_whose_clock_was_set_shows_one_that_counts() {
        for slept in [Duration::days(7), Duration::days(30), Duration::days(-30), Duration::hours(-30)] {
            let start = OffsetDateTime::now_utc();
            let mut certificates = Certificates::new(start).unwrap();
            let now = start + slept;
            assert!(certificates.renew(now).unwrap());
            let from = certificates.shown.ends - 2 * SHOWN - 2 * SLACK;
            assert!(from <= now && now + SHOWN <= certificates.shown.ends, "{slept}");
        }
    }
}
