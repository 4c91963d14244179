//! How many viewers PoPs have: each node knows its own only, so the others are asked.

use std::time::Duration;

use futures_util::StreamExt as _;
use levada_node::http::Pop;

use crate::client::Client;

/// A PoP that does not tell within this time is left out.
const DEADLINE: Duration = Duration::from_millis(700);
/// More PoPs are not asked; web/src/console/audience.ts asks as many.
const POPS_MAX: usize = 64;
/// PoPs that are asked at once.
const ASKED_AT_ONCE: usize = 16;

/// Asks those whose viewers the list lacks, as `client` asks.
pub(crate) async fn count(client: &Client, mut pops: Vec<Pop>) -> Vec<Pop> {
    let lacking: Vec<usize> = (0..pops.len()).filter(|at| pops[*at].viewers.is_none() && pops[*at].reachable).collect();
    let asked = lacking.into_iter().take(POPS_MAX).map(|at| ask(client, at, pops[at].clone()));
    let told: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
    for (at, own) in told.into_iter().flatten() {
        (pops[at].viewers, pops[at].viewers_max) = (own.viewers, own.viewers_max);
    }
    pops
}

async fn ask(client: &Client, at: usize, pop: Pop) -> Option<(usize, Pop)> {
    let own = client.elsewhere(&pop.http).itself(None, DEADLINE).await??;
    (own.name == pop.name).then_some((at, own))
}
