//! The API of running nodes, held to its document.

mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use levada_overlay::Neighbour;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::node::NodeConfig;
use crate::trust::Authority;

const CLIP: &[u8] = include_bytes!("../../../levada/assets/testcard.mp4");
const TOKEN: &str = "a-token-for-tests";
/// For everything that comes true by itself, on a machine that runs other tests too.
const DEADLINE: Duration = Duration::from_secs(30);
const UPLOAD_MAX: u64 = 4_000_000;

/// A node of a cluster of this test.
struct Served {
    node: Node,
    server: HttpServer,
    client: Client,
}

/// Nodes in this process, and their directories.
struct World {
    dir: tempfile::TempDir,
    authority: Authority,
    viewers_max: Option<u64>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("media")).unwrap();
        std::fs::write(dir.path().join("media/clip.mp4"), CLIP).unwrap();
        let authority = Authority::open_or_create(&dir.path().join("ca")).unwrap();
        Self { dir, authority, viewers_max: None }
    }

    async fn start(&self, name: &str, neighbours: Vec<Neighbour>) -> Served {
        self.start_with(name, neighbours, Look::Open).await
    }

    /// Its files lie in a folder that all nodes of this test share.
    async fn start_with(&self, name: &str, neighbours: Vec<Neighbour>, look: Look) -> Served {
        // One that is free for UDP too.
        let port = crate::ports::free(1).unwrap()[0];
        let listener = bind(([127, 0, 0, 1], port).into()).await.unwrap();
        self.start_at(listener, name, neighbours, look)
    }

    fn start_at(&self, listener: TcpListener, name: &str, neighbours: Vec<Neighbour>, look: Look) -> Served {
        let node = Node::start(NodeConfig {
            identity: self.authority.enrol(name, &self.dir.path().join(name)).unwrap(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: Vec::new(),
            http_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            light: false,
            neighbours,
            children_max: None,
            egress_max_bps: None,
            viewers_max: self.viewers_max,
            record: None,
        });
        let node = node.unwrap();
        let operator = Operator::new(TOKEN, look).unwrap();
        let media = Some(self.dir.path().join("media"));
        let config = HttpConfig { operator, media, upload_bytes_max: UPLOAD_MAX };
        let server = serve(node.clone(), listener, config).unwrap();
        Served { node, server, client: Client::new() }
    }
}

impl Served {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.server.address()))
    }

    fn change(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(TOKEN)
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    async fn connect(&self, other: &Served) -> Response {
        let body = json!({"address": other.node.address().to_string()}).to_string();
        self.change(Method::POST, "/api/v1/neighbours").body(body).send().await.unwrap()
    }

    /// Asks until `holds` says so of an answer, which is returned.
    async fn until(&self, path: &str, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if holds(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what} did not come true: {answer:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn neighbour(view: &Value, name: &str) -> Value {
    named(&view["neighbours"], name)
}

fn named(list: &Value, name: &str) -> Value {
    list.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned().unwrap_or_default()
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// What the document says of an answer, strictly: a field that it does not tell of is an error.
fn validator(path: &str, method: &str, status: u16) -> jsonschema::Validator {
    let document = document();
    let operation = &document["paths"][path][method];
    let mut answer = &operation["responses"][status.to_string()];
    assert!(answer.is_object(), "{method} {path} is not described to answer {status}");
    if let Some(shared) = answer["$ref"].as_str() {
        answer = document.pointer(shared.trim_start_matches('#')).unwrap();
    }
    let mut schema = answer["content"]["application/json"]["schema"].clone();
    let mut components = document["components"].clone();
    close(&mut components);
    schema["components"] = components;
    jsonschema::validator_for(&schema).unwrap()
}

/// Refuses fields that are not described.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Sends a request and holds its answer to the document.
async fn held(request: RequestBuilder, path: &str, expected: u16) -> Value {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let method = request.method().as_str().to_ascii_lowercase();
    let answer = client.execute(request).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(status, expected, "{method} {path}: {text}");
    if status == 204 {
        assert!(document()["paths"][path][&method]["responses"]["204"].is_object(), "{method} {path}");
        return Value::Null;
    }
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
    let errors: Vec<String> = validator(path, &method, status)
        .iter_errors(&value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:#?} in {value:#}");
    value
}

#[tokio::test]
async fn every_route_is_described_and_the_other_way_round() {
    let world = World::new();
    let node = world.start("a", Vec::new()).await;
    let mut routed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, _) in routes() {
        // Nobody takes this method, so the answer names those that are taken (RFC 9110, section 15.5.6).
        let concrete = path.replace("{name}", "x").replace("{file}", "x");
        let answer = node.request(Method::PATCH, &concrete).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().to_ascii_lowercase();
        let methods = allowed.split(',').map(|method| method.trim().to_owned()).filter(|method| method != "head");
        routed.insert(path.to_owned(), methods.collect());
    }
    let document = document();
    let described: BTreeMap<String, BTreeSet<String>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| (path.clone(), methods.as_object().unwrap().keys().cloned().collect()))
        .collect();
    assert_eq!(described, routed);
    // Every operation says who may ask for it, and nothing refers to what is not there.
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["security"].is_array(), "{method} {path}");
        }
    }
    let text = document.to_string();
    let refs = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for target in refs {
        assert!(document.pointer(target).is_some(), "{target}");
    }
}

#[tokio::test]
async fn what_needs_a_token_says_so_and_the_document_too() {
    let world = World::new();
    let (open, closed) = (world.start("a", Vec::new()).await, world.start_with("b", Vec::new(), Look::Token).await);
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security: Vec<bool> =
                operation["security"].as_array().unwrap().iter().map(|way| way == &json!({})).collect();
            let needs = match (operation["security"].as_array().unwrap().len(), security.contains(&true)) {
                (_, false) => (true, true),
                (1, true) => (false, false),
                (_, true) => (false, path != "/api/v1/drain"),
            };
            // Draining would end the node, events go on for ever.
            if ["/api/v1/drain", "/api/v1/events"].contains(&path.as_str()) {
                continue;
            }
            let concrete = path.replace("{name}", "x").replace("{file}", "x");
            let verb: Method = method.to_ascii_uppercase().parse().unwrap();
            for (node, needs) in [(&open, needs.0), (&closed, needs.1)] {
                for request in [
                    node.request(verb.clone(), &concrete),
                    node.request(verb.clone(), &concrete).bearer_auth("another-token-of-tests"),
                    node.request(verb.clone(), &concrete).header("x-levada-action", "test"),
                ] {
                    let answer = request.send().await.unwrap();
                    let refused = answer.status() == StatusCode::UNAUTHORIZED;
                    assert_eq!(refused, needs, "{method} {path}: {}", answer.status());
                    if refused {
                        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                        assert!(answer.text().await.unwrap().contains("operator-token"));
                    }
                }
                let answer = node.change(verb.clone(), &concrete).send().await.unwrap();
                assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            }
        }
    }
    let refused = closed.request(Method::GET, "/api/v1/events").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let proxied = open.request(Method::POST, "/api/v1/drain").header("x-levada-action", "test").header("via", "1.1 x");
    let answer = held(proxied, "/api/v1/drain", 403).await;
    assert!(answer["error"].as_str().unwrap().contains("operator's token"), "{answer}");
}

#[tokio::test]
async fn the_page_of_another_node_may_look_and_not_change() {
    let node = World::new().start("a", Vec::new()).await;
    let page = |method| node.request(method, "/api/v1/neighbours").header("origin", "http://another.example");
    let looked = page(Method::GET).send().await.unwrap();
    assert_eq!(
        (looked.status(), &looked.headers()["access-control-allow-origin"]),
        (StatusCode::OK, &"*".parse().unwrap())
    );
    let asked = page(Method::OPTIONS)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-methods"], "GET,HEAD");
    assert!(!answer.headers().contains_key("access-control-allow-headers"));
    let changed = page(Method::POST).bearer_auth(TOKEN).body(r#"{"address":"nowhere"}"#).send().await.unwrap();
    assert!(!changed.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn answers_of_running_nodes_are_as_described() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    let published = held(
        a.change(Method::POST, "/api/v1/publish").body(json!({"file": "clip.mp4", "stream": "cam"}).to_string()),
        "/api/v1/publish",
        201,
    )
    .await;
    assert_eq!(published, json!({"stream": "cam", "file": "clip.mp4"}));
    let address = json!({"address": a.node.address().to_string()}).to_string();
    let met = held(b.change(Method::POST, "/api/v1/neighbours").body(address), "/api/v1/neighbours", 200).await;
    assert_eq!(met["name"], "a");
    let known = |streams: &Value| named(&streams["streams"], "cam")["origins"] == json!(["a"]);
    b.until("/api/v1/streams", "b knows the stream", known).await;
    let mut viewer = b.request(Method::GET, "/live/cam.ts").send().await.unwrap();
    viewer.chunk().await.unwrap().unwrap();
    // Two groups, so that all is known that can be.
    let flows = |streams: &Value| {
        let cam = named(&streams["streams"], "cam");
        cam["group_ms"].is_u64() && cam["bitrate_bps"].is_u64() && cam["viewers"] == 1
    };
    let streams = b.until("/api/v1/streams", "the stream flows", flows).await;
    let cam = named(&streams["streams"], "cam");
    assert_eq!((&cam["state"], &cam["parent"], &cam["path"]), (&json!("watched"), &json!("a"), &json!(["a", "b"])));
    assert!(cam["latency_ms"].as_i64().unwrap().abs() < 5_000, "{cam:#}");

    for path in ["status", "map", "streams", "neighbours", "viewers", "log", "history"] {
        let path = format!("/api/v1/{path}");
        for node in [&a, &b] {
            held(node.request(Method::GET, &path), &path, 200).await;
        }
    }
    for path in ["/api/v1/pops", "/api/v1/pops?stream=cam"] {
        held(b.request(Method::GET, path), "/api/v1/pops", 200).await;
    }
    held(b.request(Method::GET, "/api/v1/pops?stream=a%20b"), "/api/v1/pops", 400).await;
    for kind in ["trace", "why"] {
        let (path, described) = (format!("/api/v1/{kind}/cam"), format!("/api/v1/{kind}/{{name}}"));
        held(b.request(Method::GET, &path), &described, 200).await;
        let missing = format!("/api/v1/{kind}/nothing");
        held(b.request(Method::GET, &missing), &described, 404).await;
        let bad = format!("/api/v1/{kind}/{}", "x".repeat(100));
        held(b.request(Method::GET, &bad), &described, 400).await;
    }
    let groups = "/api/v1/streams/{name}/groups";
    let held_groups = held(b.request(Method::GET, "/api/v1/streams/cam/groups"), groups, 200).await;
    assert!(!held_groups.as_array().unwrap().is_empty());
    held(b.request(Method::GET, "/api/v1/streams/none/groups"), groups, 404).await;

    let map = b.get("/api/v1/map").await;
    assert_eq!(named(&map["nodes"], "a")["roles"], json!(["origin", "relay", "pop"]), "{map:#}");
    assert_eq!(named(&map["nodes"], "b")["roles"], json!(["relay", "pop"]));
    assert_eq!(named(&map["streams"], "cam")["path"], json!(["a", "b"]));
    let viewers = b.get("/api/v1/viewers").await;
    assert_eq!(viewers, json!({"node": "b", "viewers": 1, "streams": [{"stream": "cam", "viewers": 1}]}));
    let measured = |map: &Value| {
        let links = map["links"].as_array().unwrap();
        let (link, other) = (neighbour(map, "a"), neighbour(map, "b"));
        assert!(other.is_null());
        links.len() == 2
            && links.iter().all(|link| link["bps"].is_u64())
            && link["received_bps"].as_u64() > Some(10_000)
    };
    b.until("/api/v1/map", "what the links carry is known", measured).await;

    let media = held(a.change(Method::GET, "/api/v1/media"), "/api/v1/media", 200).await;
    assert_eq!(media["files"], json!([{"file": "clip.mp4", "bytes": CLIP.len(), "stream": "clip"}]));
    held(a.change(Method::GET, "/api/v1/operator"), "/api/v1/operator", 204).await;
    held(a.request(Method::GET, "/api/v1/openapi.json"), "/api/v1/openapi.json", 200).await;
    for (path, described) in [
        ("/api/v1/history?last=0", "/api/v1/history"),
        ("/api/v1/history?last=ten", "/api/v1/history"),
        ("/api/v1/log?after=-1", "/api/v1/log"),
        ("/api/v1/events?tables=chairs", "/api/v1/events"),
    ] {
        held(a.request(Method::GET, path), described, 400).await;
    }
    let drained = held(b.change(Method::POST, "/api/v1/drain"), "/api/v1/drain", 200).await;
    assert_eq!(drained, json!({"left": []}));
}

/// Phones pay for it by the byte.
#[tokio::test]
async fn the_page_is_sent_packed() {
    let world = World::new();
    let node = world.start("a", Vec::new()).await;
    for (path, whole) in [("/", PAGE)].into_iter().chain(ASSETS.map(|(path, _, whole)| (path, whole))) {
        assert_eq!(node.request(Method::GET, path).send().await.unwrap().text().await.unwrap(), whole);
        let packed = node.request(Method::GET, path).header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip", "{path}");
        let (len, whole) = (packed.bytes().await.unwrap().len(), whole.len());
        assert!(len < whole * 3 / 4, "{path}: {len} of {whole} bytes");
    }
}

/// Pages say nothing over a WebSocket; whoever announces a long message is not waited for, and nothing is kept for it.
#[tokio::test]
async fn a_long_message_ends_a_websocket() {
    let world = World::new();
    let node = world.start("a", Vec::new()).await;
    let mut socket = tokio::net::TcpStream::connect(node.server.address()).await.unwrap();
    let upgrade = "GET /live/cam.ws?wait=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // The first bytes of a masked binary message of 2,000 (RFC 6455, section 5.2).
    socket.write_all(&[0x82, 0x80 | 126, 0x07, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    let mut rest = Vec::new();
    // It may be ended by a reset as well.
    let _ = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("the connection ends");
}

#[tokio::test]
async fn a_stream_is_published_stopped_and_published_again() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    let publish = |body: Value| a.change(Method::POST, "/api/v1/publish").body(body.to_string());
    let path = "/api/v1/publish";
    held(publish(json!({"file": "clip.mp4"})), path, 201).await;
    let twice = held(publish(json!({"file": "clip.mp4"})), path, 409).await;
    assert!(twice["error"].as_str().unwrap().contains("already published"), "{twice}");
    for (body, status) in [
        (json!({"file": "none.mp4"}), 404),
        (json!({"file": "../ca/ca-key.pem"}), 400),
        (json!({"file": "clip.mp4", "stream": "no spaces"}), 400),
        (json!({"file": "clip.mp4", "stream": "x", "priority": 256}), 400),
        (json!({"file": "clip.mp4", "strem": "x"}), 400),
        (json!({}), 400),
        (json!({"file": "x".repeat(20_000)}), 413),
    ] {
        held(publish(body), path, status).await;
    }
    b.connect(&a).await;
    b.until("/api/v1/streams", "b knows it", |streams| named(&streams["streams"], "clip")["origins"] == json!(["a"]))
        .await;

    let stop = "/api/v1/streams/{name}";
    let elsewhere = held(b.change(Method::DELETE, "/api/v1/streams/clip"), stop, 409).await;
    assert!(elsewhere["error"].as_str().unwrap().contains("published by a"), "{elsewhere}");
    held(a.change(Method::DELETE, "/api/v1/streams/none"), stop, 404).await;
    held(a.change(Method::DELETE, "/api/v1/streams/clip"), stop, 204).await;
    assert_eq!(a.get("/api/v1/streams").await["streams"], json!([]), "it is gone at once");
    b.until("/api/v1/streams", "b knows it no more", |streams| streams["streams"] == json!([])).await;
    held(publish(json!({"file": "clip.mp4", "stream": "again", "priority": 7})), path, 201).await;
    b.until("/api/v1/streams", "b knows the other", |streams| named(&streams["streams"], "again").is_object()).await;

    let log = held(a.request(Method::GET, "/api/v1/log"), "/api/v1/log", 200).await;
    let kinds: Vec<&str> = log["entries"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count("published"), count("stopped")), (2, 1), "{log:#}");
}

#[tokio::test]
async fn uploads_are_bounded_and_replace_nothing() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    let described = "/api/v1/media/{file}";
    let put = |file: &str, body: Vec<u8>| a.change(Method::PUT, &format!("/api/v1/media/{file}")).body(body);
    let uploaded = held(put("new.mp4", CLIP.to_vec()), described, 201).await;
    assert_eq!(uploaded, json!({"file": "new.mp4", "bytes": CLIP.len(), "stream": "new"}));
    held(put("new.mp4", b"other".to_vec()), described, 409).await;
    held(put("notes.txt", b"other".to_vec()), described, 400).await;
    held(put("..%2Fout.mp4", b"other".to_vec()), described, 400).await;
    held(put("large.mp4", vec![0; UPLOAD_MAX as usize + 1]), described, 413).await;
    // The same without a length told beforehand.
    let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![0; 1_000_000])));
    let endless = a.change(Method::PUT, "/api/v1/media/large.mp4").body(reqwest::Body::wrap_stream(pieces));
    // The node closes the connection under the upload, before or after its answer is read.
    if let Ok(answer) = endless.send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let publish = a.change(Method::POST, "/api/v1/publish").body(json!({"file": "new.mp4"}).to_string());
    held(publish, "/api/v1/publish", 201).await;
    let bad = held(put("bad.mp4", b"no movie".to_vec()), described, 201).await;
    assert_eq!(bad["bytes"], 8);
    let refused = a.change(Method::POST, "/api/v1/publish").body(json!({"file": "bad.mp4"}).to_string());
    let refused = held(refused, "/api/v1/publish", 400).await;
    assert!(refused["error"].as_str().unwrap().contains("bad.mp4"), "{refused}");
    let mut left: Vec<String> = std::fs::read_dir(world.dir.path().join("media"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["bad.mp4", "clip.mp4", "new.mp4"], "no part of a refused upload stays");
}

#[tokio::test]
async fn a_neighbour_is_connected_and_disconnected() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    let listed = Neighbour { name: "a".to_owned(), addresses: vec![a.node.address().to_string()] };
    let b = world.start("b", vec![listed]).await;
    let path = "/api/v1/neighbours";
    let up = |view: &Value, name: &str, kind: &str| {
        let entry = neighbour(view, name);
        entry["up"] == true && entry["kind"] == kind
    };
    a.until(path, "b has called", |view| up(view, "b", "caller")).await;
    b.until(path, "a is there", |view| up(view, "a", "listed")).await;

    // The end that is not in the other's list removes it, and the other dials no more.
    held(a.change(Method::DELETE, "/api/v1/neighbours/b"), "/api/v1/neighbours/{name}", 204).await;
    let gone = |view: &Value| neighbour(view, "a")["failure"] == "the neighbour was removed";
    b.until(path, "b was told", gone).await;
    a.until(path, "it is gone", |view| neighbour(view, "b").is_null()).await;
    let missing = held(a.change(Method::DELETE, "/api/v1/neighbours/b"), "/api/v1/neighbours/{name}", 404).await;
    assert!(missing["error"].as_str().unwrap().contains("its neighbours: nobody"), "{missing}");

    // Either end can bring it back.
    assert_eq!(b.connect(&a).await.status(), StatusCode::OK);
    a.until(path, "b is back", |view| up(view, "b", "caller")).await;
    b.until(path, "a is back", |view| up(view, "a", "added")).await;
    assert_eq!(a.connect(&b).await.status(), StatusCode::OK);
    a.until(path, "both want it", |view| up(view, "b", "added")).await;

    let connect = |address: &str| a.change(Method::POST, path).body(json!({ "address": address }).to_string());
    for (address, status) in [("nowhere", 400), ("127.0.0.1:port", 400), ("", 400)] {
        held(connect(address), path, status).await;
    }
    let own = held(connect(&a.node.address().to_string()), path, 400).await;
    assert!(own["error"].as_str().unwrap().contains("node a itself"), "{own}");
    let stranger = World::new().start("c", Vec::new()).await;
    for address in [stranger.node.address().to_string(), "no.such.host.invalid:7001".to_owned()] {
        let refused = held(connect(&address), path, 502).await;
        assert!(refused["error"].as_str().unwrap().contains(&address), "{refused}");
    }
}

/// Reads server-sent events.
struct Events {
    answer: Response,
    text: String,
}

#[derive(Debug)]
struct Sent {
    kind: String,
    id: Option<u64>,
    data: Value,
}

impl Events {
    async fn open(node: &Served, query: &str, last: Option<u64>) -> Self {
        let mut request = node.request(Method::GET, &format!("/api/v1/events{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    async fn next(&mut self) -> Sent {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let kind = field("event:").map(str::to_owned);
                let id = field("id:").map(|id| id.parse().unwrap());
                let data = field("data:").map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if let (Some(kind), Some(data)) = (kind, data) {
                    return Sent { kind, id, data };
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.answer.chunk()).await.unwrap().unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, holds: impl Fn(&Sent) -> bool) -> Sent {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let sent = self.next().await;
            if holds(&sent) {
                return sent;
            }
            assert!(Instant::now() < deadline, "it was not told; the last was {sent:#?}");
        }
    }
}

#[tokio::test]
async fn events_tell_what_happens_as_it_happens() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    let mut events = Events::open(&a, "", None).await;
    for table in ["streams", "map", "neighbours"] {
        let first = events.next().await;
        assert_eq!(first.kind, table);
        let errors = validator(&format!("/api/v1/{table}"), "get", 200);
        assert!(errors.is_valid(&first.data), "{first:?}");
    }
    b.connect(&a).await;
    let up =
        events.until(|sent| sent.kind == "entry" && sent.data["kind"] == "link_up" && sent.data["node"] == "b").await;
    assert_eq!(up.id, up.data["id"].as_u64());
    events.until(|sent| sent.kind == "neighbours" && neighbour(&sent.data, "b")["up"] == true).await;
    events.until(|sent| sent.kind == "map" && named(&sent.data["nodes"], "b")["reachable"] == true).await;
    let clip = json!({"file": "clip.mp4"}).to_string();
    let published = b.change(Method::POST, "/api/v1/publish").body(clip).send().await.unwrap();
    assert_eq!(published.status(), StatusCode::CREATED);
    events.until(|sent| sent.kind == "entry" && sent.data["kind"] == "stream_new").await;
    events.until(|sent| sent.kind == "streams" && named(&sent.data["streams"], "clip").is_object()).await;
    // The link is left by its other end, which ends.
    b.node.shutdown().await;
    events.until(|sent| sent.kind == "entry" && sent.data["kind"] == "link_down").await;
    events.until(|sent| sent.kind == "entry" && sent.data["kind"] == "node_down" && sent.data["node"] == "b").await;
    events.until(|sent| sent.kind == "map" && named(&sent.data["nodes"], "b")["reachable"] != true).await;

    // Whoever comes back goes on where it was, and is told if that is no longer kept.
    let mut again = Events::open(&a, "?tables=", up.id).await;
    let next = again.next().await;
    assert_eq!((next.kind.as_str(), next.id), ("entry", up.id.map(|id| id + 1)));
    let mut all = Events::open(&a, "?tables=&after=0", None).await;
    assert_eq!(all.next().await.kind, "entry");
    let mut late = Events::open(&a, "?tables=", Some(7)).await;
    let missed = late.next().await;
    assert_eq!((missed.kind.as_str(), &missed.data["after"]), ("missed", &json!(7)));
    let next = late.next().await;
    assert_eq!(next.id, missed.data["next"].as_u64());
}

#[tokio::test]
async fn seats_are_limited_and_free_again() {
    let world = World::new();
    let a = world.start("a", Vec::new()).await;
    let mut seats = Vec::new();
    for _ in 0..lookout::FOLLOWERS_MAX {
        seats.push(Events::open(&a, "?tables=", None).await);
    }
    let refused = held(a.request(Method::GET, "/api/v1/events"), "/api/v1/events", 503).await;
    assert!(refused["error"].as_str().unwrap().contains("close one"), "{refused}");
    drop(seats);
    let deadline = Instant::now() + DEADLINE;
    while a.request(Method::GET, "/api/v1/events").send().await.unwrap().status() != StatusCode::OK {
        // A seat is given back when the node next has something to tell.
        a.node.journal().note(crate::journal::Note::new(crate::journal::Kind::Other, "wake"));
        assert!(Instant::now() < deadline, "seats do not become free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_history_has_a_value_for_every_second() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    let clip = json!({"file": "clip.mp4", "stream": "cam"}).to_string();
    a.change(Method::POST, "/api/v1/publish").body(clip).send().await.unwrap();
    b.connect(&a).await;
    let known = |streams: &Value| named(&streams["streams"], "cam").is_object();
    b.until("/api/v1/streams", "b knows the stream", known).await;
    let mut viewer = b.request(Method::GET, "/live/cam.ts").send().await.unwrap();
    viewer.chunk().await.unwrap().unwrap();
    let number = |column: &Value| column.as_array().and_then(|column| column.last()?.as_f64());
    let full = |history: &Value| {
        let (cam, link) = (named(&history["streams"], "cam"), neighbour(history, "a"));
        number(&cam["bitrate_bps"]) > Some(0.0) && number(&link["rtt_us"]).is_some() && number(&link["loss"]).is_some()
    };
    let history = b.until("/api/v1/history", "there are rates", full).await;
    let samples = history["samples"].as_u64().unwrap() as usize;
    let columns = |row: &Value| -> Vec<usize> {
        row.as_object().unwrap().values().filter_map(Value::as_array).map(Vec::len).collect()
    };
    for row in [named(&history["streams"], "cam"), neighbour(&history, "a")] {
        assert!(columns(&row).iter().all(|length| *length == samples), "{row:#}");
    }
    assert!(number(&history["in_bps"]) > Some(0.0), "{history:#}");
    let last = b.get("/api/v1/history?last=1&stream=cam").await;
    assert_eq!((&last["samples"], last["viewers"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!((last["streams"].as_array().unwrap().len(), &last["neighbours"]), (1, &json!([])));
}

/// Labels and value.
type Series = Vec<(BTreeMap<String, String>, f64)>;

/// Names, kinds and series of a page of metrics, read as strictly as its format is written.
fn parsed(page: &str) -> BTreeMap<String, (String, Series)> {
    let mut families: BTreeMap<String, (String, Series)> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.') && !families.contains_key(name), "{line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(name == current && ["counter", "gauge", "summary"].contains(&kind), "{line}");
            families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) =
                series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
            assert_eq!(name, current, "{line}");
            let pair = |pair: &str| {
                let (label, value) = pair.split_once('=').unwrap();
                (
                    label.to_owned(),
                    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap().to_owned(),
                )
            };
            let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
            families.get_mut(name).unwrap().1.push((labels, value.parse().unwrap()));
        }
    }
    families
}

#[tokio::test]
async fn metrics_keep_to_the_conventions_and_the_dashboard_to_them() {
    let world = World::new();
    let (a, b) = (world.start("a", Vec::new()).await, world.start("b", Vec::new()).await);
    let clip = json!({"file": "clip.mp4", "stream": "cam"}).to_string();
    a.change(Method::POST, "/api/v1/publish").body(clip).send().await.unwrap();
    b.connect(&a).await;
    b.until("/api/v1/streams", "b knows it", |streams| named(&streams["streams"], "cam").is_object()).await;
    let mut viewer = b.request(Method::GET, "/live/cam.ts").send().await.unwrap();
    viewer.chunk().await.unwrap().unwrap();
    b.until("/api/v1/streams", "it flows", |streams| named(&streams["streams"], "cam")["group_ms"].is_u64()).await;
    let answer = b.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let families = parsed(&answer.text().await.unwrap());
    for (name, (kind, series)) in &families {
        assert!(name.starts_with("levada_") && !series.is_empty(), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        // Base units only (https://prometheus.io/docs/practices/naming/).
        let parts: Vec<&str> = name.split('_').collect();
        assert!(!parts.iter().any(|part| ["ms", "us", "bps", "milliseconds", "bits", "kb"].contains(part)), "{name}");
        for (labels, value) in series {
            assert!(value.is_finite(), "{name}{labels:?}");
            let known = ["node", "version", "reachable", "state", "stream", "neighbour", "quantile"];
            assert!(labels.keys().all(|label| known.contains(&label.as_str())), "{name}{labels:?}");
        }
        let distinct: BTreeSet<_> = series.iter().map(|(labels, _)| labels).collect();
        assert_eq!(distinct.len(), series.len(), "{name} tells a series twice");
    }
    let value = |name: &str, label: (&str, &str)| {
        let series = &families[name].1;
        series.iter().find(|(labels, _)| labels.get(label.0).is_some_and(|value| value == label.1)).unwrap().1
    };
    assert_eq!(value("levada_stream_viewers", ("stream", "cam")), 1.0);
    assert_eq!(value("levada_neighbour_up", ("neighbour", "a")), 1.0);
    assert_eq!(value("levada_mesh_nodes", ("reachable", "true")), 2.0);
    assert!(value("levada_neighbour_received_bytes_total", ("neighbour", "a")) > 10_000.0);
    assert!(value("levada_stream_objects_bytes_total", ("stream", "cam")) > 10_000.0);

    // The origin forwards, so it has what the other has not.
    let origin = parsed(&a.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap());
    let known: BTreeSet<&String> = families.keys().chain(origin.keys()).collect();
    let dashboard = include_str!("../../../../examples/grafana/levada.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    queries.extend(
        dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|variable| variable["query"]["query"].as_str().map(str::to_owned)),
    );
    assert!(queries.len() > 10, "{queries:?}");
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    for query in &queries {
        let names: Vec<&str> = query.split(word).filter(|word| word.starts_with("levada_")).collect();
        assert!(!names.is_empty(), "{query}");
        for name in names {
            // Only nodes with a limit have it.
            assert!(
                known.iter().any(|known| *known == name) || name == "levada_egress_max_bytes_per_second",
                "{query}: there is no {name}"
            );
        }
    }
}

/// Whatever one viewer says, the others see the stream.
#[tokio::test]
async fn a_viewer_who_wants_to_go_on_where_nobody_was_starves_nobody() {
    use levada_overlay::position::STAMP_MAX;
    use levada_overlay::{Position, StreamName};

    use crate::playout::{ChunkReader, Format, Playouts};

    let world = World::new();
    let origin = world.start("origin", Vec::new()).await;
    let pop = world.start("pop", Vec::new()).await;
    assert_eq!(pop.connect(&origin).await.status(), StatusCode::OK);
    let body = json!({"file": "clip.mp4", "stream": "card"}).to_string();
    assert!(origin.change(Method::POST, "/api/v1/publish").body(body).send().await.unwrap().status().is_success());
    pop.until("/api/v1/streams", "the stream is known", |streams| !named(&streams["streams"], "card").is_null()).await;
    for (group, timeline) in [(STAMP_MAX, 1), (0, 1), (STAMP_MAX, STAMP_MAX)] {
        let playouts = Playouts::new(pop.node.clone());
        let (nowhere, stream) = (Position { group, timeline, index: 0 }, StreamName::new("card").unwrap());
        let _strange = playouts.open(stream.clone(), Format::Fmp4, Some(nowhere)).await.unwrap();
        for format in [Format::Fmp4, Format::Ts] {
            let other = playouts.open(stream.clone(), format, None).await.unwrap();
            let mut reader = ChunkReader::new(other.chunks.clone());
            let mut chunks = Vec::new();
            let come = reader.next(1, &mut chunks);
            tokio::time::timeout(DEADLINE, come).await.expect("a viewer who wants nothing in particular is served");
        }
    }
}

/// Players of HLS come and go without a word: they are viewers while they go on asking.
#[tokio::test]
async fn viewers_of_hls_are_counted_until_they_ask_no_more() {
    let world = World { viewers_max: Some(2), ..World::new() };
    let node = world.start("pop", Vec::new()).await;
    let body = json!({"file": "clip.mp4", "stream": "card"}).to_string();
    assert!(node.change(Method::POST, "/api/v1/publish").body(body).send().await.unwrap().status().is_success());
    let ask = async |file: &str| node.request(Method::GET, &format!("/hls/card/{file}")).send().await.unwrap();
    // Whoever opens the multivariant playlist gets a number of its own, and is no viewer yet.
    let mut playlists = Vec::new();
    for _ in 0..3 {
        let index = ask("index.m3u8").await.text().await.unwrap();
        playlists.push(index.lines().last().unwrap().to_owned());
    }
    assert!(playlists[0].starts_with("media.m3u8?viewer=") && playlists[0] != playlists[1], "{playlists:?}");
    let counted = async || {
        let (viewers, status) = (node.get("/api/v1/viewers").await, node.get("/api/v1/status").await);
        assert_eq!(viewers["viewers"], status["viewers"]);
        viewers["viewers"].as_u64().unwrap()
    };
    assert_eq!(counted().await, 0);
    for (playlist, status, viewers) in [
        (&*playlists[0], StatusCode::OK, 1),
        (&playlists[0], StatusCode::OK, 1),
        ("media.m3u8", StatusCode::OK, 2),
        ("media.m3u8", StatusCode::OK, 2),
        (&playlists[1], StatusCode::SERVICE_UNAVAILABLE, 2),
        (&playlists[0], StatusCode::OK, 2),
        ("media.m3u8?viewer=one", StatusCode::BAD_REQUEST, 2),
    ] {
        assert_eq!((ask(playlist).await.status(), counted().await), (status, viewers), "{playlist}");
    }
    let live = node.request(Method::GET, "/live/card.ts").send().await.unwrap();
    assert_eq!(live.status(), StatusCode::SERVICE_UNAVAILABLE, "the node is full, with whomever");
    let begun = node.request(Method::GET, "/live/card.ts?after=1@1:0").send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::BAD_REQUEST, "transport streams do not go on from elsewhere");
    node.until("/api/v1/viewers", "they are gone", |viewers| viewers["viewers"] == 0).await;
    assert_eq!(ask(&playlists[1]).await.status(), StatusCode::OK);
}
