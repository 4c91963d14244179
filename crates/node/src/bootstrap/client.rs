//! The node's side.

use std::path::Path;
use std::time::Duration;

use levada_overlay::Neighbour;
use quinn::{Connection, RecvStream, VarInt};
use rand::Rng as _;
use ring::signature::Ed25519KeyPair;
use tokio::sync::mpsc;

use super::wire::{self, Answer, Kind, Request};
use crate::trust::{
    Fingerprint, Identity, Issued, JoinToken, SERVER_NAME, TokenError, TrustError, enrol_client_config, key_id,
    load_or_create_key, sign_with,
};

/// Time for the bootstrapper to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pause before the first new attempt to reach a lost bootstrapper, and the longest one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a node asks with.
#[derive(Clone, Debug)]
pub struct EnrolRequest {
    /// `host:port` of the bootstrapper.
    pub bootstrapper: String,
    /// The node's name.
    pub name: String,
    /// A join token, if the node is new.
    pub token: Option<String>,
    /// Where the node keeps its key and certificates.
    pub dir: std::path::PathBuf,
}

/// What the bootstrapper gave.
#[derive(Debug)]
pub struct Enrolled {
    /// The identity, already kept on disk.
    pub identity: Identity,
    /// The neighbours.
    pub neighbours: Vec<Neighbour>,
    connection: Connection,
    updates: RecvStream,
    endpoint: quinn::Endpoint,
}

/// Why a node could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nobody there.
    #[error("bootstrapper {address} cannot be reached: {reason}; is it running, and is --bootstrap right?")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// It answered with a refusal.
    #[error("bootstrapper {address} refuses: {reason}")]
    Refused {
        /// Who.
        address: String,
        /// Why.
        reason: String,
    },
    /// The token cannot be read.
    #[error("the join token cannot be used")]
    Token(#[from] TokenError),
    /// Neither token nor earlier enrolment.
    #[error(
        "node {0} has not been enrolled yet; give it a token with --token, made at the bootstrapper with: levada token {0}"
    )]
    NoToken(String),
    /// Keys or certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Enrols a node, or renews its certificate: one attempt. The identity is kept in the node's directory.
pub async fn enrol(request: &EnrolRequest) -> Result<Enrolled, EnrolError> {
    let known = Identity::load(&request.dir)?.filter(|identity| identity.name() == request.name);
    let token = request.token.as_deref().map(str::parse::<JoinToken>).transpose()?;
    let ca = match (&known, &token) {
        (_, Some(token)) => token.fingerprint,
        (Some(identity), None) => crate::trust::fingerprint(&identity.ca),
        (None, None) => return Err(EnrolError::NoToken(request.name.clone())),
    };
    let pkcs8 = load_or_create_key(&request.dir)?;
    let attempt = ask(request, known.as_ref(), ca, &pkcs8);
    let answered = tokio::time::timeout(DEADLINE, attempt).await;
    answered.unwrap_or_else(|_| Err(unreachable(request, format!("no answer within {} s", DEADLINE.as_secs()))))
}

fn unreachable(request: &EnrolRequest, reason: impl ToString) -> EnrolError {
    EnrolError::Unreachable { address: request.bootstrapper.clone(), reason: reason.to_string() }
}

async fn ask(
    request: &EnrolRequest,
    known: Option<&Identity>,
    ca: Fingerprint,
    pkcs8: &[u8],
) -> Result<Enrolled, EnrolError> {
    let failed = |error: &dyn std::fmt::Display| unreachable(request, error);
    let address = tokio::net::lookup_host(&request.bootstrapper).await.map_err(|e| failed(&e))?.next();
    let address = address.ok_or_else(|| failed(&"the name has no address"))?;
    let any: std::net::IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
    let endpoint = crate::quic::endpoint((any, 0).into(), None).map_err(|e| failed(&e))?;
    let connecting = endpoint.connect_with(enrol_client_config(ca)?, address, SERVER_NAME).map_err(|e| failed(&e))?;
    let connection = connecting.await.map_err(|error| match error {
        quinn::ConnectionError::TransportError(_) => EnrolError::Refused {
            address: request.bootstrapper.clone(),
            reason: "it is not the bootstrapper of this node's cluster (its certificate does not fit)".to_owned(),
        },
        other => failed(&crate::link::describe(&other)),
    })?;
    // A node of the cluster could otherwise pass for the bootstrapper and collect tokens.
    if crate::trust::peer_identity(&connection)?.name != super::server::OWN_NAME {
        return Err(failed(&"a node of the cluster answers there, not its bootstrapper"));
    }
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| failed(&e))?;
    let key = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|e| TrustError::Tls(e.to_string()))?;
    let secret = wire::exported(&connection).map_err(|e| failed(&e))?;
    let question = Request {
        name: request.name.clone(),
        key: key_id(pkcs8)?.0.to_vec(),
        possession: sign_with(&key, &secret).to_vec(),
        token: request.token.clone().map(|token| token.trim().to_owned()),
        credential: known.map(|identity| (&identity.credential).into()),
    };
    wire::write(&mut send, &question).await.map_err(|e| failed(&e))?;
    let answer: Answer = wire::read(&mut recv).await.map_err(|e| failed(&e))?;
    let welcome = match answer.kind {
        Some(Kind::Welcome(welcome)) => welcome,
        Some(Kind::Refusal(reason)) => {
            connection.close(VarInt::from_u32(0), b"");
            return Err(EnrolError::Refused { address: request.bootstrapper.clone(), reason });
        }
        Some(Kind::Neighbours(_)) | None => return Err(failed(&"its answer is not understood")),
    };
    let credential = welcome.credential.and_then(wire::WireCredential::credential);
    let credential = credential.ok_or_else(|| failed(&"its answer holds no credential"))?;
    let issued = Issued { certificate: welcome.certificate.into(), credential };
    let identity = Identity::new(pkcs8.to_vec(), issued, welcome.ca.into())?;
    if crate::trust::fingerprint(&identity.ca) != ca {
        return Err(failed(&"it gives the certificate of another CA"));
    }
    identity.save(&request.dir)?;
    let neighbours = welcome.neighbours.map(wire::Neighbours::neighbours).unwrap_or_default();
    save_neighbours(&request.dir, &neighbours);
    Ok(Enrolled { identity, neighbours, connection, updates: recv, endpoint })
}

/// Keeps in touch with the bootstrapper for as long as the node runs: passes on changed neighbours, and comes back when
/// it was lost. The node does not depend on it.
pub async fn follow(request: EnrolRequest, mut enrolled: Option<Enrolled>, neighbours: mpsc::Sender<Vec<Neighbour>>) {
    let mut pause = RETRY_MIN;
    loop {
        if let Some(mut current) = enrolled.take() {
            pause = RETRY_MIN;
            while let Ok(answer) = wire::read::<Answer>(&mut current.updates).await {
                if let Some(Kind::Neighbours(new)) = answer.kind {
                    let new = new.neighbours();
                    save_neighbours(&request.dir, &new);
                    if neighbours.send(new).await.is_err() {
                        return;
                    }
                }
            }
            current.connection.close(VarInt::from_u32(0), b"");
            current.endpoint.close(VarInt::from_u32(0), b"");
            tracing::info!(bootstrapper = request.bootstrapper, "bootstrapper lost; the mesh goes on without it");
        }
        let jitter = rand::rng().random_range(0.75..1.25);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(RETRY_MAX);
        match enrol(&request).await {
            Ok(again) => {
                tracing::info!(bootstrapper = request.bootstrapper, "bootstrapper found again");
                if neighbours.send(again.neighbours.clone()).await.is_err() {
                    return;
                }
                enrolled = Some(again);
            }
            Err(error) => tracing::debug!(%error, "bootstrapper is still away"),
        }
    }
}

/// What is kept for a start without the bootstrapper. Failing to keep it costs only that.
pub fn save_neighbours(dir: &Path, neighbours: &[Neighbour]) {
    let list: Vec<(&str, &[String])> = neighbours.iter().map(|n| (n.name.as_str(), n.addresses.as_slice())).collect();
    let saved = serde_json::to_vec_pretty(&list)
        .map_err(|error| error.to_string())
        .and_then(|bytes| crate::trust::write_private(&dir.join("neighbours.json"), &bytes).map_err(|e| e.to_string()));
    if let Err(error) = saved {
        tracing::warn!(
            error,
            "the neighbours cannot be kept on disk; a start without the bootstrapper will not know them"
        );
    }
}

/// The neighbours kept by the last enrolment.
pub fn saved_neighbours(dir: &Path) -> Vec<Neighbour> {
    let list: Vec<(String, Vec<String>)> = std::fs::read(dir.join("neighbours.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    list.into_iter().map(|(name, addresses)| Neighbour { name, addresses }).collect()
}
