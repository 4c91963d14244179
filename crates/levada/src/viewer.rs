//! A viewer over HTTP: from the PoP it was told of, and from the best of the others that this one knew when it is lost.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use levada_node::http::{Ping, Pop, Pops};
use levada_overlay::StreamName;
use reqwest::{Method, Response};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::pops;

/// A PoP that sends nothing for this long is asked whether it lives. Tuned: longer than a mesh takes to mend itself.
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
    /// Watches from `node`, a base URL, which must have the stream.
    pub(crate) async fn open(node: &str, stream: StreamName) -> anyhow::Result<Self> {
        let pop = Client::new(node)?;
        let response = Some(get(&pop, &stream, "").await?);
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
            match timeout(SILENT, open.chunk()).await {
                Ok(Ok(Some(bytes))) => return bytes,
                Ok(Ok(None) | Err(_)) => {}
                // A stream may pause; its PoP then answers all the same.
                Err(_) if lives(&self.pop).await => continue,
                Err(_) => {}
            }
            tracing::warn!(pop = self.pop.node(), "the PoP is lost; looking for the next best");
            self.response = None;
        }
    }

    /// Tries every PoP that is known, the best first, and the last one again.
    async fn go_on(&mut self) {
        let known = self.known.borrow().clone();
        let ranked = pops::ranked(known, PINGS).await.into_iter().filter(pops::Measured::answered);
        let others = ranked.filter_map(|measured| Client::new(&measured.pop.http).ok());
        for pop in others.filter(|pop| pop.node() != self.pop.node()).chain([self.pop.clone()]) {
            if let Ok(response) = get(&pop, &self.stream, "?wait=1").await {
                tracing::info!(pop = pop.node(), "watching");
                (self.pop, self.response) = (pop, Some(response));
                return self.learn();
            }
        }
        tokio::time::sleep(RETRY).await;
    }

    /// Keeps in mind whom the PoP in use knows.
    fn learn(&mut self) {
        let (pop, known) = (self.pop.clone(), self.known.clone());
        let path = format!("/api/v1/pops?stream={}", self.stream);
        self.learning = JoinSet::new();
        self.learning.spawn(async move {
            loop {
                if let Ok(Ok(Pops { pops, .. })) = timeout(ANSWERS, pop.get(&path)).await {
                    known.send_replace(pops);
                }
                tokio::time::sleep(LEARN).await;
            }
        });
    }
}

async fn lives(pop: &Client) -> bool {
    timeout(LIVES, pop.get::<Ping>("/api/v1/ping")).await.is_ok_and(|answer| answer.is_ok())
}

async fn get(pop: &Client, stream: &StreamName, query: &str) -> anyhow::Result<Response> {
    let asked = pop.sent(pop.request(Method::GET, &format!("/live/{stream}.ts{query}")));
    let late = || format!("node {} does not answer; choose another with --node URL", pop.node());
    timeout(ANSWERS, asked).await.with_context(late)?
}
