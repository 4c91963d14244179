//! The console of a lab: its API over a small mesh of real processes, and its page in a real browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../media/tests/common/tool.rs"]
mod tool;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

const LEVADA: &str = env!("CARGO_BIN_EXE_levada");
/// For everything that comes true by itself, on a machine that runs other tests too.
const DEADLINE: Duration = Duration::from_secs(60);
/// Followers that the console has seats for.
const FOLLOWERS: usize = 32;

/// n4 is fed over n2 or n3, and the other stands by.
const DIAMOND: &str = r#"
about = "A relay dies, and the viewer does not notice"
links = ["s1-n1", "n1-{n2,n3}", "{n2,n3}-n4", "n4-k1"]
link = "delay=10ms"
pops = "n4"
leaves = "k1"
viewers = ["n4 cam", "k1 cam"]

[[stream]]
name = "cam"
at = "s1"
"#;

/// A lab that is run by hand. It ends with the test, and its nodes and files with it.
struct Lab {
    child: Child,
    console: String,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn start(file: &str) -> Self {
        Self::start_with(Command::new(LEVADA), file)
    }

    fn start_with(mut command: Command, file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.toml");
        std::fs::write(&path, file).unwrap();
        command.env("TMPDIR", dir.path());
        command.args(["-q", "lab"]).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let Some(console) = first.strip_prefix("console").map(|rest| rest.trim().trim_end_matches('/').to_owned())
        else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("expected the console's address first, saw {first:?}: {said}");
        };
        Self { child, console, client: Client::new(), _dir: dir }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.console))
    }

    fn post(&self, line: &str) -> RequestBuilder {
        self.client.post(format!("{}/api/do", self.console)).body(line.to_owned())
    }

    async fn act(&self, line: &str) -> (StatusCode, String) {
        said(self.post(line).header("x-levada-action", "test")).await
    }

    async fn done(&self, line: &str) {
        let (status, answer) = self.act(line).await;
        assert_eq!(status, StatusCode::OK, "{line}: {answer}");
    }

    async fn state(&self) -> Value {
        let (_, text) = said(self.get("/api/state")).await;
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Asks until `holds` says so of the state, which is returned.
    async fn until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let state = self.state().await;
            if holds(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what} did not come true: {state:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until somebody feeds n4 and another stands by; who feeds.
    async fn parent(&self) -> String {
        let fed = |state: &Value| {
            place(state, "n4").is_some_and(|place| place["parent"].is_string() && place["backup"].is_string())
        };
        let state = self.until("n4 is fed, and another stands by", fed).await;
        place(&state, "n4").unwrap()["parent"].as_str().unwrap().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Killed, it would leave its directory behind.
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + DEADLINE;
        while told.as_ref().is_ok_and(|told| told.success()) && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn said(request: RequestBuilder) -> (StatusCode, String) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

fn entry<'a>(list: &'a Value, key: &str, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry[key] == name)
}

fn place<'a>(state: &'a Value, node: &str) -> Option<&'a Value> {
    entry(&entry(&state["streams"], "name", "cam")?["nodes"], "node", node)
}

fn condition<'a>(state: &'a Value, node: &str) -> &'a str {
    entry(&state["nodes"], "name", node).and_then(|node| node["state"].as_str()).unwrap_or_default()
}

fn link<'a>(state: &'a Value, a: &str, b: &str) -> &'a Value {
    let links = state["links"].as_array().unwrap();
    links.iter().find(|link| link["a"] == a && link["b"] == b).unwrap()
}

#[tokio::test]
async fn what_is_done_is_seen() {
    let lab = Lab::start(DIAMOND);
    let parent = lab.parent().await;
    let other = if parent == "n2" { "n3" } else { "n2" };
    let flowing = |state: &Value| {
        let viewers = state["viewers"].as_array();
        viewers.is_some_and(|all| all.len() == 2 && all.iter().all(|viewer| viewer["state"] == "flowing"))
    };
    let state = lab.until("both viewers have pictures", flowing).await;
    assert!(place(&state, "k1").unwrap()["parent"].is_string(), "the leaf is in the tree: {state:#}");
    assert_eq!(state["streams"][0]["origins"], serde_json::json!(["s1"]));
    assert!(link(&state, "s1", "n1")["there"]["sent_bps"].as_u64().unwrap() > 10_000, "{state:#}");

    lab.done(&format!("kill {parent}")).await;
    let moved = |state: &Value| {
        condition(state, &parent) == "dead" && place(state, "n4").is_some_and(|place| place["parent"] == other)
    };
    lab.until("the child moves", moved).await;
    let (status, error) = lab.act(&format!("kill {parent}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.contains(&format!("{parent} does not run; start it first")), "{error}");
    lab.done(&format!("start {parent}")).await;
    lab.until("it is back", |state| condition(state, &parent) == "running").await;

    lab.done(&format!("stall {parent}")).await;
    lab.until("it stands still", |state| condition(state, &parent) == "stalled").await;
    let (status, error) = lab.act(&format!("drain {parent}")).await;
    assert!(status == StatusCode::BAD_REQUEST && error.contains("resume it first"), "{status} {error}");
    lab.done(&format!("resume {parent}")).await;
    lab.until("it goes on", |state| condition(state, &parent) == "running").await;

    // Whoever is drained lets its children move, and ends.
    let drained = lab.parent().await;
    lab.done(&format!("drain {drained}")).await;
    let left = |state: &Value| {
        let fed = place(state, "n4").is_some_and(|n4| n4["parent"].is_string() && n4["parent"] != drained.as_str());
        fed && condition(state, &drained) == "dead"
    };
    lab.until("its child has moved, and it has ended", left).await;

    lab.done("link n1>n2 delay=80ms loss=5%").await;
    lab.done("link n1>n2 burst=1%,20%,50% reorder=true rate=8Mbit/s queue=250kB").await;
    lab.done("cut n1-n3").await;
    lab.done("heal n1-n3").await;
    lab.done("cut n3>n1").await;
    let changed = |state: &Value| {
        let (bad, cut) = (link(state, "n1", "n2"), link(state, "n1", "n3"));
        let slow = bad["there"]["delay_ms"] == 80.0 && bad["there"]["loss"] == 0.05 && bad["back"]["delay_ms"] == 10.0;
        let fitful = bad["there"]["burst"] == "1%,20%,50%" && bad["there"]["reorder"] == true;
        let even = bad["back"]["burst"].is_null() && bad["back"]["reorder"] == false && bad["back"]["queue"].is_null();
        slow && fitful
            && even
            && bad["there"]["queue"] == "250kB"
            && cut["there"]["cut"] == false
            && cut["back"]["cut"] == true
    };
    lab.until("the links do what they were told", changed).await;

    lab.done("unwatch k1 cam").await;
    lab.until("the leaf has left", |state| condition(state, "k1") == "dead").await;
    for (line, mend) in [("kill k1", "start it first"), ("unwatch k1 cam", "nobody watches cam at k1")] {
        let (status, error) = lab.act(line).await;
        assert!(status == StatusCode::BAD_REQUEST && error.contains(mend), "{line}: {status} {error}");
    }
    lab.done("watch k1 cam").await;
    lab.until("the leaf is back, and has pictures", flowing).await;

    // What happened is told to whoever comes later, in order, and the view with it.
    let mut answer = lab.get("/api/events?after=0").send().await.unwrap();
    let (mut heard, deadline) = (String::new(), Instant::now() + DEADLINE);
    while !(heard.contains("event: state") && heard.contains("\"line\":\"watch k1 cam\"")) {
        assert!(Instant::now() < deadline, "{heard}");
        let chunk = tokio::time::timeout(DEADLINE, answer.chunk()).await.unwrap().unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
    }
    let at = |text: &str| heard.find(text).unwrap_or_else(|| panic!("{text} was not told: {heard}"));
    assert!(at(&format!("\"line\":\"kill {parent}\"")) < at("\"line\":\"cut n1-n3\""));
    at(&format!("n4 is fed cam by {other}"));
}

#[tokio::test]
async fn what_makes_no_sense_and_what_comes_from_elsewhere_is_refused() {
    let lab = Lab::start(DIAMOND);
    for (line, mend) in [
        ("tickle n1", "tickle"),
        ("kill n9", "there is no node n9"),
        ("cut s1-n4", "there is no link s1-n4"),
        ("link n1-n2 delay=fast", "write 40ms"),
        ("watch n4 film", "there is no stream film"),
        ("pause s1 cam 1s", "stall s1"),
        ("kill n2\nkill n3", "one line"),
        ("", "one line"),
    ] {
        let (status, answer) = lab.act(line).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{line}: {answer}");
        assert!(answer.contains(mend), "{line}: {answer}");
    }
    let (status, _) = lab.act(&"x".repeat(5_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    // A page of another site can send a form, and a name of its own that leads here; it cannot set the header.
    let foreign = [
        lab.post("kill n2"),
        lab.post("kill n2").header("content-type", "text/plain").header("origin", "http://evil.example"),
        lab.post("kill n2").header("x-levada-action", "test").header("host", "evil.example"),
        lab.post("kill n2").header("x-levada-action", "test").header("x-forwarded-for", "192.0.2.1"),
    ];
    for request in foreign {
        let (status, answer) = said(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }
    let (status, _) = said(lab.get("/api/do").header("x-levada-action", "test")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    // The negative control: all of these left n2 alone, and the same line from here does not.
    let state = lab.until("there is a view", |state| state["nodes"].is_array()).await;
    assert_eq!(condition(&state, "n2"), "running");
    lab.done("kill n2").await;
    lab.until("it is dead", |state| condition(state, "n2") == "dead").await;

    // Seats are limited, and free again when somebody leaves.
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        let answer = lab.get("/api/events").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        followers.push(answer);
    }
    let (status, answer) = said(lab.get("/api/events")).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && answer.contains("close one"), "{status} {answer}");
    drop(followers);
    let deadline = Instant::now() + DEADLINE;
    while lab.get("/api/events").send().await.unwrap().status() != StatusCode::OK {
        assert!(Instant::now() < deadline, "seats do not become free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn on_loopback_it_works_too_and_the_page_needs_nothing_from_elsewhere() {
    let mut command = Command::new(LEVADA);
    command.env("LEVADA_LAB_NET", "loopback");
    let lab = Lab::start_with(command, DIAMOND);
    let parent = lab.parent().await;
    lab.done(&format!("kill {parent}")).await;
    let moved = |state: &Value| {
        place(state, "n4").is_some_and(|place| place["parent"].is_string() && place["parent"] != parent.as_str())
    };
    let state = lab.until("the child moves", moved).await;
    assert!(state["mode"].as_str().unwrap().contains("loopback"), "{state:#}");

    let answer = lab.get("/").send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let page = answer.text().await.unwrap();
    for asset in ["lab.js", "lab.css"] {
        assert!(page.contains(asset), "{page}");
        assert_eq!(said(lab.get(&format!("/{asset}"))).await.0, StatusCode::OK);
    }
    let (status, error) = said(lab.get("/nothing")).await;
    assert!(status == StatusCode::NOT_FOUND && error.contains("/nothing"), "{status} {error}");
}

/// A teacher's lesson, in a real Chromium: a relay is clicked and killed, and the tree changes.
#[tokio::test]
async fn a_relay_is_killed_in_a_browser() {
    let lab = Lab::start(DIAMOND);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tests/lab.mjs");
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/test-results");
    let url = format!("{}/", lab.console);
    let testing = tokio::task::spawn_blocking(move || {
        tool::tool("node", &[script, &url, "--json", "--out", out, "--seconds", "60"])
    });
    let (result, _) = testing.await.unwrap();
    assert!(result.contains("\"ok\":true"), "{result}");
}
