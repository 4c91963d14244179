//! The server side.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use levada_overlay::{NodeId, check_node_name};
use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wire::{self, Answer, Kind, Neighbours, Request, Welcome, WireError};
use crate::topology::{Topology, TopologyError};
use crate::trust::{
    Authority, CERTIFICATE_TTL, Identity, JoinToken, TrustError, enrol_server_config, verify, verify_credential,
};

/// The name in the bootstrapper's own certificate, which no node may carry.
pub(super) const OWN_NAME: &str = "bootstrapper";
/// Pause between two looks at the topology file.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Time for a stranger to show itself.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Most connections: the nodes of a large mesh, and strangers.
const CONNECTIONS_MAX: usize = 8_192;
/// Code with which a connection is closed that breaks the protocol, or is refused.
const CODE_REFUSED: u32 = 1;

/// What a bootstrapper needs.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The topology file.
    pub topology: PathBuf,
    /// Where the CA and the used tokens are kept.
    pub dir: PathBuf,
}

/// Why a bootstrapper does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The topology is refused.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Keys or certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}; choose another address with --listen")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// A running bootstrapper; stops when dropped.
pub struct Bootstrapper {
    endpoint: Endpoint,
    _tasks: JoinSet<()>,
}

struct Shared {
    authority: Authority,
    topology: watch::Receiver<Topology>,
    connections: AtomicUsize,
}

impl Bootstrapper {
    /// Reads the topology, opens the CA and listens.
    pub fn start(config: BootstrapConfig) -> Result<Self, BootstrapError> {
        let topology = Topology::read(&config.topology)?;
        let authority = Authority::open_or_create(&config.dir)?;
        let key = crate::trust::new_key()?;
        let id = crate::trust::key_id(&key)?;
        let issued = authority.issue(id, OWN_NAME, CERTIFICATE_TTL)?;
        let own = Identity::new(key, issued, authority.certificate().clone())?;
        let server = enrol_server_config(own.certificate.clone(), own.ca.clone(), own.private_key())?;
        let endpoint = crate::quic::endpoint(config.listen, Some(server))
            .map_err(|error| BootstrapError::Listen(config.listen, error))?;
        let (sender, receiver) = watch::channel(topology);
        let shared = Arc::new(Shared { authority, topology: receiver, connections: AtomicUsize::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_file(config.topology, sender));
        tasks.spawn(accept(endpoint.clone(), shared));
        Ok(Self { endpoint, _tasks: tasks })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Closes all connections.
    pub async fn shutdown(self) {
        self.endpoint.close(VarInt::from_u32(0), b"the bootstrapper stops");
        self.endpoint.wait_idle().await;
    }
}

/// Re-reads the file when its content changes. A broken file is told once; the last good one stays in force.
async fn watch_file(path: PathBuf, topology: watch::Sender<Topology>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    let mut failure = None;
    loop {
        ticks.tick().await;
        let reading = path.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Topology::read(&reading)).await else {
            continue;
        };
        match read {
            Ok(new) => {
                failure = None;
                let changed = topology.send_if_modified(|current| {
                    let changed = *current != new;
                    *current = new;
                    changed
                });
                if changed {
                    tracing::info!(path = %path.display(), "topology changed");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if failure.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "the topology stays as it was");
                    failure = Some(text);
                }
            }
        }
    }
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while tasks.try_join_next().is_some() {}
        if shared.connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            incoming.refuse();
            continue;
        }
        let shared = shared.clone();
        tasks.spawn(async move {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            serve(incoming, &shared).await;
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(incoming: Incoming, shared: &Shared) {
    let from = incoming.remote_address();
    let Ok(Ok(connection)) = tokio::time::timeout(REQUEST_DEADLINE, async { incoming.await }).await else {
        return tracing::debug!(%from, "a stranger did not finish the handshake");
    };
    if let Err(error) = converse(&connection, shared).await {
        tracing::debug!(%from, %error, "enrolment connection ended");
        connection.close(VarInt::from_u32(CODE_REFUSED), error.to_string().as_bytes());
    }
}

async fn converse(connection: &Connection, shared: &Shared) -> Result<(), WireError> {
    let asked = tokio::time::timeout(REQUEST_DEADLINE, async {
        let (send, mut recv) = connection.accept_bi().await.map_err(|_| WireError::Broken)?;
        let request: Request = wire::read(&mut recv).await?;
        Ok::<_, WireError>((send, request))
    });
    let (mut send, request) = asked.await.map_err(|_| WireError::Malformed)??;
    let name = request.name.clone();
    let mut topology = shared.topology.clone();
    match admit(connection, request, shared) {
        Ok(welcome) => wire::write(&mut send, &wire::answer(Kind::Welcome(welcome))).await?,
        Err(reason) => {
            tracing::warn!(node = %name.escape_debug(), reason, "enrolment refused");
            wire::write(&mut send, &wire::answer(Kind::Refusal(reason))).await?;
            // Finishing fails only if the node has gone, which ends the wait as well.
            let _ = send.finish();
            connection.closed().await;
            return Ok(());
        }
    }
    tracing::info!(node = name, "enrolled");
    let mut told = topology.borrow_and_update().neighbours_of(&name).unwrap_or_default();
    loop {
        tokio::select! {
            _ = connection.closed() => return Ok(()),
            changed = topology.changed() => if changed.is_err() { return Ok(()) },
        }
        let neighbours = topology.borrow_and_update().neighbours_of(&name).unwrap_or_default();
        if neighbours != told {
            let push: Answer = wire::answer(Kind::Neighbours(Neighbours::of(&neighbours)));
            wire::write(&mut send, &push).await?;
            told = neighbours;
        }
    }
}

/// Decides upon a request; a refusal is in words for people.
fn admit(connection: &Connection, request: Request, shared: &Shared) -> Result<Welcome, String> {
    check_node_name(&request.name).map_err(|error| error.to_string())?;
    if request.name == OWN_NAME {
        return Err(format!("the name {OWN_NAME} is the bootstrapper's own; choose another"));
    }
    let key: [u8; 32] = request.key.try_into().map_err(|_| "the request holds no Ed25519 key".to_owned())?;
    let id = NodeId(key);
    let possession = request.possession.try_into().map_err(|_| "the request is not signed".to_owned())?;
    let secret = wire::exported(connection).map_err(|error| error.to_string())?;
    if !verify(id, &secret, &possession) {
        return Err("the request is not signed with the node's key".to_owned());
    }
    let neighbours = shared.topology.borrow().neighbours_of(&request.name)?;
    let known = request.credential.and_then(wire::WireCredential::credential);
    match (known, request.token) {
        (Some(known), _)
            if known.name == request.name && verify_credential(shared.authority.public_key(), id, &known) => {}
        (_, Some(token)) => {
            let token: JoinToken = token.parse().map_err(|error: crate::trust::TokenError| error.to_string())?;
            shared.authority.redeem(&token, &request.name, id).map_err(|error| error.to_string())?;
        }
        (Some(_), None) => {
            return Err(format!(
                "the credential of node {0} has run out or is not of this cluster; give it a token made with: levada token {0}",
                request.name
            ));
        }
        (None, None) => {
            return Err(format!(
                "node {0} is new here and shows no token; give it one with --token, made with: levada token {0}",
                request.name
            ));
        }
    }
    let issued = shared.authority.issue(id, &request.name, CERTIFICATE_TTL).map_err(|error| error.to_string())?;
    Ok(Welcome {
        certificate: issued.certificate.to_vec(),
        ca: shared.authority.certificate().to_vec(),
        credential: Some((&issued.credential).into()),
        neighbours: Some(Neighbours::of(&neighbours)),
    })
}
