//! A viewer over HTTP: from the PoP it was told of, and from the best of the others that this one knew when it is lost.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use levada_node::http::{Pop, Pops};
use levada_overlay::StreamName;
use reqwest::{Method, Response};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::pops;

/// A PoP that sends nothing for this long is asked whether it lives, and has a way to the stream. Tuned: longer than a mesh takes to mend
/// itself.
const SILENT: Duration = Duration::from_secs(3);
/// A PoP that does not begin to give the stream within this time is none ...
const ANSWERS: Duration = Duration::from_secs(5);
/// ... nor is one that does not say that it lives within this.
const LIVES: Duration = Duration::from_secs(1);
/// Pause before lost PoPs are tried again.
const RETRY: Duration = Duration::from_millis(500);
/// The PoP is asked this often whom else it knows.
const LEARN: Duration = Duration::from_secs(10);
/// Pings that decide which PoP comes next.
const PINGS: u32 = 2;

/// What comes, as MPEG-TS.
pub(crate) struct Viewer {
    stream: StreamName,
    /// The PoP in use.
    pop: Client,
    response: Option<Response>,
    /// Those that the PoP in use named, itself among them.
    known: watch::Sender<Vec<Pop>>,
    learning: JoinSet<()>,
}

impl Viewer {
    /// Watches from `node`, a base URL. A stream that nobody publishes yet is waited for.
    pub(crate) async fn open(node: &str, stream: StreamName) -> anyhow::Result<Self> {
        let pop = Client::new(node)?;
        let response = Some(get(&pop, &stream).await?);
        if has_way(&pop, &stream).await == Some(false) {
            tracing::warn!(%stream, "nobody gives the stream now; waiting for it (levada streams tells what there is)");
        }
        let mut viewer = Self { stream, pop, response, known: watch::Sender::default(), learning: JoinSet::new() };
        viewer.learn();
        Ok(viewer)
    }

    /// The next bytes; waits as long as there are none anywhere.
    pub(crate) async fn next(&mut self) -> Bytes {
        loop {
            let Some(open) = self.response.as_mut() else {
                self.go_on().await;
                continue;
            };
            let lost = match timeout(SILENT, open.chunk()).await {
                Ok(Ok(Some(bytes))) => return bytes,
                Ok(Ok(None) | Err(_)) => true,
                Err(_) => match has_way(&self.pop, &self.stream).await {
                    // The stream pauses.
                    Some(true) => false,
                    Some(false) => {
                        self.go_elsewhere().await;
                        false
                    }
                    None => true,
                },
            };
            if lost {
                tracing::warn!(pop = self.pop.node(), "the PoP is lost; looking for the next best");
                self.response = None;
            }
        }
    }

    /// From another PoP, or from the last one again.
    async fn go_on(&mut self) {
        if self.go_elsewhere().await {
            return;
        }
        match get(&self.pop, &self.stream).await {
            Ok(response) => self.watch(self.pop.clone(), response),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }

    /// Tries every other PoP that is known and has a way to the stream, the best first. What is open stays open until then.
    async fn go_elsewhere(&mut self) -> bool {
        let known = self.known.borrow().clone();
        let ranked = pops::ranked(known, PINGS).await.into_iter().filter(pops::Measured::answered);
        for pop in ranked.map(|measured| self.pop.elsewhere(&measured.pop.http)) {
            if pop.node() == self.pop.node() || has_way(&pop, &self.stream).await != Some(true) {
                continue;
            }
            if let Ok(response) = get(&pop, &self.stream).await {
                self.watch(pop, response);
                return true;
            }
        }
        false
    }

    fn watch(&mut self, pop: Client, response: Response) {
        tracing::info!(pop = pop.node(), "watching");
        (self.pop, self.response) = (pop, Some(response));
        self.learn();
    }

    /// Keeps in mind whom the PoP in use knows.
    fn learn(&mut self) {
        let (pop, known) = (self.pop.clone(), self.known.clone());
        let stream = self.stream.clone();
        self.learning = JoinSet::new();
        self.learning.spawn(async move {
            loop {
                if let Ok(Ok(Pops { pops, .. })) = timeout(ANSWERS, pop.pops(Some(&stream))).await {
                    known.send_replace(pops);
                }
                tokio::time::sleep(LEARN).await;
            }
        });
    }
}

/// Whether a node has a way to the stream, by its own word; `None`: it does not answer in time.
async fn has_way(node: &Client, stream: &StreamName) -> Option<bool> {
    let own = node.itself(Some(stream), LIVES).await?;
    Some(own.is_some_and(|own| own.stream_metric_us.is_some()))
}

/// The stream, once there is one.
async fn get(pop: &Client, stream: &StreamName) -> anyhow::Result<Response> {
    let asked = pop.sent(pop.request(Method::GET, &format!("/live/{stream}.ts?wait=1")));
    let late = || format!("node {} does not answer; choose another with --node URL", pop.node());
    timeout(ANSWERS, asked).await.with_context(late)?
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A PoP whose stream says its name, once; with it the list of PoPs that it answers.
    async fn serve(listener: TcpListener, says: &'static str, pops: serde_json::Value) {
        let mut tasks = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            tasks.spawn(answer(socket, says, pops.to_string()));
        }
    }

    async fn answer(mut socket: TcpStream, says: &'static str, pops: String) {
        let mut asked = [0; 4096];
        while let Ok(len @ 1..) = socket.read(&mut asked).await {
            let is_live = asked[..len].starts_with(b"GET /live/");
            let answer = match is_live {
                true => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{says}\r\n", says.len()),
                false => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{pops}", pops.len()),
            };
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// The PoPs `cut` and `good`, of which the former has no way to the stream.
    async fn cut_and_good(tasks: &mut JoinSet<()>) -> String {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cut, good) = (listen().await, listen().await);
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let pop = |name, listener, way: Option<u64>| {
            json!({"name": name, "http": url(listener), "viewers": null, "viewers_max": null, "load": 0.0, "reachable": true,
                "stream_metric_us": way})
        };
        let pops = json!([pop("cut", &cut, None), pop("good", &good, Some(1_000))]);
        let at = url(&cut);
        tasks.spawn(serve(cut, "cut", json!({"node": "cut", "pops": pops})));
        tasks.spawn(serve(good, "good", json!({"node": "good", "pops": pops})));
        at
    }

    /// It answers, and so would be waited for without an end.
    #[tokio::test]
    async fn a_pop_that_lives_but_has_no_way_to_the_stream_is_left() {
        let mut tasks = JoinSet::new();
        let cut = cut_and_good(&mut tasks).await;
        let mut viewer = Viewer::open(&cut, StreamName::new("cam").unwrap()).await.unwrap();
        assert_eq!(viewer.next().await, "cut");
        let next = timeout(Duration::from_secs(30), viewer.next()).await;
        assert_eq!(next.expect("it goes on from the other one"), "good");
    }
}
