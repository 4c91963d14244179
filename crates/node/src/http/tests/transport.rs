//! Pages over WebTransport, by the client of the same crate.

use std::net::UdpSocket;

use levada_overlay::Position;
use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use web_transport_quinn::{ClientBuilder, RecvStream, Session, SessionError, WebTransportError};

use super::*;

/// A page that watches.
struct Page {
    session: Session,
    stream: RecvStream,
}

#[derive(Debug)]
enum Heard {
    Text(Value),
    Binary(Vec<u8>),
}

impl Served {
    async fn offer(&self) -> Offer {
        let ping = held(self.request(Method::GET, "/api/v1/ping"), "/api/v1/ping", 200).await;
        let ping: Ping = serde_json::from_value(ping).unwrap();
        ping.webtransport.expect("there is WebTransport")
    }

    async fn session(&self, path: &str) -> Session {
        let offer = self.offer().await;
        let hash = |hex: &String| (0..32).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect();
        let hashes = offer.certificates.iter().map(hash).collect();
        let client = ClientBuilder::new().with_server_certificate_hashes(hashes).unwrap();
        let url: Url = format!("https://127.0.0.1:{}{path}", offer.port).parse().unwrap();
        in_time(client.connect(url)).await.unwrap()
    }

    async fn page(&self, path: &str) -> Page {
        let session = self.session(path).await;
        let stream = in_time(session.accept_uni()).await.unwrap();
        Page { session, stream }
    }

    /// With what a session ends that is not wanted.
    async fn refusal(&self, path: &str) -> (u32, String) {
        ended(&self.session(path).await).await.expect("it says why")
    }

    async fn publish(&self, stream: &str) {
        let body = json!({"file": "clip.mp4", "stream": stream}).to_string();
        held(self.change(Method::POST, "/api/v1/publish").body(body), "/api/v1/publish", 201).await;
    }

    async fn viewers(&self, viewers: u64) {
        self.until("/api/v1/status", "viewers are counted", |status| status["viewers"] == viewers).await;
    }
}

impl Page {
    async fn next(&mut self) -> Heard {
        let mut head = [0; 5];
        in_time(self.stream.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut bytes = vec![0; length as usize];
        in_time(self.stream.read_exact(&mut bytes)).await.unwrap();
        match head[0] {
            1 => Heard::Text(serde_json::from_slice(&bytes).unwrap()),
            2 => Heard::Binary(bytes),
            kind => panic!("there is no kind {kind}"),
        }
    }

    /// What stands before media: whether they go on where the page was.
    async fn init(&mut self) -> bool {
        loop {
            match self.next().await {
                Heard::Text(text) if text["type"] == "waiting" => {}
                Heard::Text(text) => {
                    assert_eq!(text["type"], "init", "{text}");
                    assert!(text["mime"].as_str().unwrap().starts_with("video/mp4; codecs="), "{text}");
                    let Heard::Binary(segment) = self.next().await else { panic!("there is a segment") };
                    assert_eq!(&segment[4..8], b"ftyp");
                    return text["resumed"].as_bool().unwrap();
                }
                Heard::Binary(_) => panic!("media before anything is known of them"),
            }
        }
    }

    /// Positions of the next frames.
    async fn frames(&mut self, count: usize) -> Vec<Position> {
        let mut positions = Vec::new();
        while positions.len() < count {
            let frame = match self.next().await {
                Heard::Binary(frame) => frame,
                Heard::Text(text) => panic!("{text}"),
            };
            assert_eq!(&frame[24..28], b"moof");
            positions.push(Position {
                group: u64::from_be_bytes(frame[..8].try_into().unwrap()),
                timeline: u64::from_be_bytes(frame[8..16].try_into().unwrap()),
                index: u32::from_be_bytes(frame[16..20].try_into().unwrap()),
            });
        }
        assert!(positions.is_sorted(), "{positions:?}");
        positions
    }
}

/// QUIC with the protocol's name and nothing else of it; trusts anybody.
fn quinn_client() -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.alpn_protocols = vec![web_transport_quinn::ALPN.as_bytes().to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it does not come")
}

/// Code and words at the end of a session; nothing if it ended without any.
async fn ended(session: &Session) -> Option<(u32, String)> {
    match in_time(session.closed()).await {
        SessionError::WebTransportError(WebTransportError::Closed(code, words)) => Some((code, words)),
        _ => None,
    }
}

#[tokio::test]
async fn a_page_plays_and_goes_on_at_another_pop_at_the_very_frame() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    b.connect(&a).await;
    a.publish("cam").await;
    b.until("/api/v1/streams", "b knows it", |streams| named(&streams["streams"], "cam").is_object()).await;
    // The other PoP has it already, as one has that others watch from.
    let mut other = b.page("/live/cam").await;
    other.init().await;
    let mut page = a.page("/live/cam").await;
    assert!(!page.init().await);
    let seen = page.frames(50).await;
    a.viewers(1).await;
    b.viewers(1).await;
    drop(page);
    let last = seen[49];
    let mut moved = b.page(&format!("/live/cam?after={last}")).await;
    assert!(moved.init().await, "it goes on right after {last}");
    let next = moved.frames(50).await[0];
    // Both tell the same frames of the same places.
    let both = other.frames(200).await;
    let place = both.iter().position(|at| *at == last).expect("the other has seen it");
    assert_eq!(both[place + 1], next);
    a.viewers(0).await;
    moved.session.close(0, b"");
    b.viewers(1).await;
}

#[tokio::test]
async fn a_page_is_told_what_is_wrong() {
    let world = World { viewers_max: Some(1), ..World::new() };
    let a = world.start("a", Vec::new()).await;
    a.publish("cam").await;
    for (path, code, words) in [
        ("/live/none", 404, "there are: cam"),
        ("/live/none%20such", 400, "none%20such"),
        ("/live/", 400, "stream"),
        ("/live/cam/more", 404, "nothing at"),
        ("/", 404, "nothing at"),
        ("/live/cam?after=yesterday", 400, "yesterday"),
        ("/live/cam?wait=perhaps", 400, "not understood"),
        (&format!("/live/{}", "x".repeat(4_000)), 400, "stream"),
    ] {
        let (said, why) = a.refusal(path).await;
        assert_eq!(said, code, "{path}: {why}");
        assert!(why.contains(words), "{path}: {why}");
    }
    let mut page = a.page("/live/cam").await;
    page.init().await;
    let (code, words) = a.refusal("/live/cam").await;
    assert_eq!((code, words.contains("as many viewers as it takes")), (503, true), "{words}");
    // Places are the same ones over WebSocket and HTTP.
    let refused = a.request(Method::GET, "/live/cam.ts").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(page);
    a.viewers(0).await;
    a.page("/live/cam").await.init().await;
}

#[tokio::test]
async fn a_page_waits_for_a_stream_that_is_yet_to_come() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    let mut page = a.page("/live/cam?wait=1").await;
    let Heard::Text(text) = page.next().await else { panic!("nobody publishes it") };
    assert_eq!(text, json!({"type": "waiting"}));
    a.publish("cam").await;
    page.init().await;
    page.frames(10).await;
}

#[tokio::test]
async fn garbage_and_silence_cost_nobody_anything() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    a.publish("cam").await;
    let address = a.server.address();
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [1, 20, 1_200, 9_000] {
        let packet: Vec<u8> = (0..length).map(|_| rand::random()).collect();
        noise.send_to(&packet, address).unwrap();
    }
    // QUIC, but nothing that is WebTransport above it, or nothing at all.
    let mut strangers = Vec::new();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4_000], &[0xff; 4_000], b""] {
        let connection = in_time(quinn_client().connect(address, "stranger").unwrap()).await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(bytes).await.unwrap();
        strangers.push((connection, control));
    }
    let mut page = a.page("/live/cam").await;
    page.init().await;
    page.frames(10).await;
    // A page has nothing to say.
    let mut chatter = page.session.open_uni().await.unwrap();
    chatter.write_all(&[7; 10_000]).await.unwrap();
    page.session.send_datagram(bytes::Bytes::from_static(b"hello?")).unwrap();
    page.frames(50).await;
    a.viewers(1).await;
    for (connection, _control) in &strangers {
        in_time(connection.closed()).await;
    }
}

#[tokio::test]
async fn a_node_that_stops_says_so() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    a.publish("cam").await;
    let mut page = a.page("/live/cam").await;
    page.init().await;
    a.server.end_sessions().await;
    // Long before silence would tell.
    tokio::time::timeout(Duration::from_secs(5), page.session.closed()).await.expect("it is told");
}

#[tokio::test]
async fn without_its_udp_port_a_node_serves_all_the_same() {
    let world = World::new();
    let listener = bind(([127, 0, 0, 1], crate::ports::free(1).unwrap()[0]).into()).await.unwrap();
    let _taken = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
    let a = world.start_at(listener, "a", Vec::new(), Look::Open);
    let ping = held(a.request(Method::GET, "/api/v1/ping"), "/api/v1/ping", 200).await;
    assert_eq!(ping, json!({"webtransport": null}));
    a.publish("cam").await;
    let mut viewer = a.request(Method::GET, "/live/cam.ts").send().await.unwrap();
    viewer.chunk().await.unwrap().unwrap();
}
