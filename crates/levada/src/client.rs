//! Asking a running node, and telling it what to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use levada_node::http::{Pop, Pops};
use levada_overlay::StreamName;
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::{OperatorArgs, QueryArgs};

/// Time for a node to take a connection; what it then answers may take longer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A node, and an operator's token for it if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    node: String,
    token: Option<String>,
}

impl Client {
    /// Asks without a token.
    pub(crate) fn new(node: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_DEADLINE).build()?;
        Ok(Self { http, node: node.trim_end_matches('/').to_owned(), token: None })
    }

    /// Asks another node, without the token, which is not for it.
    pub(crate) fn elsewhere(&self, node: &str) -> Self {
        Self { http: self.http.clone(), node: node.trim_end_matches('/').to_owned(), token: None }
    }

    pub(crate) fn of(args: &QueryArgs) -> anyhow::Result<Self> {
        Self::operated(&args.node, &args.operator)
    }

    /// Asks with the operator's token, if one is given.
    pub(crate) fn operated(node: &str, operator: &OperatorArgs) -> anyhow::Result<Self> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the operator's token in {}", file.display()))
        };
        let token = match (&operator.operator_token, &operator.operator_token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(read(file)?),
            (None, None) => None,
        };
        Ok(Self { token: token.map(|token| token.trim().to_owned()), ..Self::new(node)? })
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Asks for a path of the API.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let response = self.sent(self.request(Method::GET, path)).await?;
        response.json().await.with_context(|| format!("{}{path} did not answer as a Levada node does", self.node))
    }

    /// The PoPs that the node knows, itself among them if it is one, and how far a stream has come to each.
    pub(crate) async fn pops(&self, stream: Option<&StreamName>) -> anyhow::Result<Pops> {
        let path = stream.map_or_else(|| "/api/v1/pops".to_owned(), |stream| format!("/api/v1/pops?stream={stream}"));
        self.get(&path).await
    }

    /// What the node says of itself, if it is a PoP; `None`: it does not answer in this time, as one that is dead or hangs.
    pub(crate) async fn itself(&self, stream: Option<&StreamName>, time: Duration) -> Option<Option<Pop>> {
        let Pops { node, pops } = timeout(time, self.pops(stream)).await.ok()?.ok()?;
        Some(pops.into_iter().find(|pop| pop.name == node))
    }

    /// Tells the node to do something.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let response = self.sent(self.request(method, path).json(body)).await?;
        response.json().await.context("the node stopped in the middle of its answer")
    }

    /// Removes something.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.sent(self.request(Method::DELETE, path)).await.map(drop)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.node));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn sent(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let unreachable = || format!("node {} cannot be reached; choose another with --node URL", self.node);
        let response = request.send().await.with_context(unreachable)?;
        match checked(response).await {
            Err(error) if self.token.is_none() && error.to_string().contains("operator's token") => {
                bail!("{error}; give it with --operator-token-file FILE")
            }
            result => result,
        }
    }
}

/// A name as part of a path: what means something else in a URL is encoded.
pub(crate) fn segment(name: &str) -> String {
    let mut url = reqwest::Url::parse("http://node/").ok();
    if let Some(Ok(mut path)) = url.as_mut().map(|url| url.path_segments_mut()) {
        path.clear().push(name);
    }
    url.map_or_else(|| name.to_owned(), |url| url.path().trim_start_matches('/').to_owned())
}

/// Turns an error answer into an error that says what the node said.
pub(crate) async fn checked(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    match body.get("error").and_then(Value::as_str) {
        Some(error) => bail!("{error}"),
        None => bail!("the node answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn names_of_files_stay_what_they_are_in_a_path() {
        let names = ["clip.mp4", "take#2.mp4", "why?.mp4", "a b/c.mp4", "100%20.mp4"];
        let encoded = ["clip.mp4", "take%232.mp4", "why%3F.mp4", "a%20b%2Fc.mp4", "100%2520.mp4"];
        assert_eq!(names.map(segment), encoded);
    }
}
