//! A viewer over HTTP: from the PoP it was told of, and from the best of the others that this one knew when it is lost.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use levada_node::http::{Pop, Pops};
use levada_overlay::StreamName;
use reqwest::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, checked};
use crate::pops;

/// A PoP that sends nothing for this long is asked whether it lives. Tuned: longer than a mesh takes to mend itself.
const SILENT: Duration = Duration::from_secs(3);
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
    response: Option<reqwest::Response>,
    /// Those that the PoP in use named, itself among them.
    known: watch::Receiver<Vec<Pop>>,
    learning: JoinSet<()>,
}

impl Viewer {
    /// Watches from `node`, a base URL, which must have the stream.
    pub(crate) async fn open(node: &str, stream: StreamName) -> anyhow::Result<Self> {
        let pop = Client::new(node)?;
        let response = Some(get(&pop, &stream, "").await?);
        let mut viewer = Self { stream, pop, response, known: watch::channel(Vec::new()).1, learning: JoinSet::new() };
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
            match tokio::time::timeout(SILENT, open.chunk()).await {
                Ok(Ok(Some(bytes))) => return bytes,
                Ok(Ok(None) | Err(_)) => {}
                // A stream may pause; its PoP then answers all the same.
                Err(_) if pops::answers(self.pop.node()).await => continue,
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
        let (pop, path) = (self.pop.clone(), format!("/api/v1/pops?stream={}", self.stream));
        let (learned, known) = watch::channel(self.known.borrow().clone());
        self.known = known;
        self.learning.abort_all();
        self.learning.spawn(async move {
            loop {
                if let Ok(Pops { pops, .. }) = pop.get(&path).await {
                    learned.send_replace(pops);
                }
                tokio::time::sleep(LEARN).await;
            }
        });
    }
}

async fn get(pop: &Client, stream: &StreamName, query: &str) -> anyhow::Result<reqwest::Response> {
    let asked = pop.request(Method::GET, &format!("/live/{stream}.ts{query}")).send().await;
    let response = asked.with_context(|| format!("{} cannot be reached; choose a PoP with --node", pop.node()))?;
    checked(response).await
}
