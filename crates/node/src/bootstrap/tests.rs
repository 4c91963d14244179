use std::path::Path;
use std::time::Duration;

use super::*;
use crate::trust::{Authority, Identity, TokenError};

const HOUR: Duration = Duration::from_secs(3600);
const PAIR: &str =
    "links = [[\"a\", \"b\"]]\n[[node]]\nname = \"a\"\n[[node]]\nname = \"b\"\naddress = \"127.0.0.1:9\"\n";

struct World {
    dir: tempfile::TempDir,
    bootstrapper: Bootstrapper,
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("topology.toml"), PAIR).unwrap();
        let bootstrapper = Bootstrapper::start(Self::config(dir.path())).unwrap();
        Self { dir, bootstrapper }
    }

    fn config(dir: &Path) -> BootstrapConfig {
        BootstrapConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            topology: dir.join("topology.toml"),
            dir: dir.join("ca"),
        }
    }

    fn token(&self, name: &str) -> String {
        let authority = Authority::open_or_create(&self.dir.path().join("ca")).unwrap();
        authority.mint_token(Some(name), HOUR).unwrap().to_string()
    }

    fn request(&self, name: &str, token: Option<String>) -> EnrolRequest {
        let bootstrapper = self.bootstrapper.local_addr().unwrap().to_string();
        EnrolRequest { bootstrapper, name: name.into(), token, dir: self.dir.path().join(name) }
    }
}

#[tokio::test]
async fn a_node_is_enrolled_with_a_token_once_and_with_its_credential_afterwards() {
    let world = World::start();
    let enrolled = enrol(&world.request("a", Some(world.token("a")))).await.unwrap();
    assert_eq!(enrolled.neighbours[0].addresses, ["127.0.0.1:9"]);
    assert_eq!(saved_neighbours(&world.dir.path().join("a")), enrolled.neighbours);
    let again = enrol(&world.request("a", None)).await.unwrap();
    assert_eq!(again.identity.id(), enrolled.identity.id());
    assert_eq!(Identity::load(&world.dir.path().join("a")).unwrap().unwrap().name(), "a");
}

#[tokio::test]
async fn refusals_say_why() {
    let world = World::start();
    let refusal = |request: EnrolRequest| async move { enrol(&request).await.unwrap_err().to_string() };
    let unknown = refusal(world.request("stranger", Some(world.token("stranger")))).await;
    assert!(unknown.contains("\"stranger\"") && unknown.contains("a, b"), "{unknown}");
    let own = refusal(world.request("bootstrapper", Some(world.token("bootstrapper")))).await;
    assert!(own.contains("choose another"), "{own}");
    let none = refusal(world.request("a", None)).await;
    assert!(none.contains("levada token a"), "{none}");
    let other = refusal(world.request("a", Some(world.token("b")))).await;
    assert!(other.contains("is for node b"), "{other}");
    assert!(matches!(
        enrol(&world.request("a", Some("nonsense".into()))).await,
        Err(EnrolError::Token(TokenError::Malformed))
    ));
    let foreign = World::start();
    let wrong = refusal(world.request("b", Some(foreign.token("b")))).await;
    assert!(wrong.contains("not the bootstrapper of this node's cluster"), "{wrong}");
    let mut nobody = world.request("b", Some(world.token("b")));
    nobody.bootstrapper = "localhost:no".into();
    assert!(refusal(nobody).await.contains("cannot be reached"));
}

#[tokio::test]
async fn a_token_is_worthless_to_a_second_node() {
    let world = World::start();
    let token = world.token("a");
    enrol(&world.request("a", Some(token.clone()))).await.unwrap();
    let mut thief = world.request("a", Some(token));
    thief.dir = world.dir.path().join("thief");
    let error = enrol(&thief).await.unwrap_err().to_string();
    assert!(error.contains("already used"), "{error}");
}

#[tokio::test]
async fn an_edited_topology_is_pushed_and_a_broken_one_is_not() {
    let world = World::start();
    let request = world.request("a", Some(world.token("a")));
    let enrolled = enrol(&request).await.unwrap();
    let (sender, mut updates) = tokio::sync::mpsc::channel(4);
    let follower = tokio::spawn(follow(request, Some(enrolled), sender));
    let path = world.dir.path().join("topology.toml");
    std::fs::write(&path, "this is no topology").unwrap();
    std::fs::write(&path, PAIR.replace(":9", ":10")).unwrap();
    let update = tokio::time::timeout(Duration::from_secs(20), updates.recv()).await.unwrap().unwrap();
    assert_eq!(update[0].addresses, ["127.0.0.1:10"]);
    follower.abort();
}

#[tokio::test]
async fn garbage_and_half_open_connections_leave_it_serving() {
    let world = World::start();
    let address = world.bootstrapper.local_addr().unwrap();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for len in [1, 20, 1200, 1400] {
        socket.send_to(&vec![0xc3; len], address).await.unwrap();
    }
    let authority = Authority::open_or_create(&world.dir.path().join("ca")).unwrap();
    let config = crate::trust::enrol_client_config(authority.fingerprint()).unwrap();
    let endpoint = crate::quic::endpoint("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let connection = endpoint.connect_with(config, address, crate::trust::SERVER_NAME).unwrap().await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
    assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed}");
    enrol(&world.request("a", Some(world.token("a")))).await.unwrap();
}
