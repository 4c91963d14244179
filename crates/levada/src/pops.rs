//! `levada pops`: the PoPs of the mesh, as far away as they are from here.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use levada_node::http::{Pop, Pops};
use levada_overlay::StreamName;
use levada_overlay::pop::{self, Cost};
use serde::Serialize;

use crate::audience;
use crate::cli::PopsArgs;
use crate::client::Client;
use crate::query::{dash, ms, print_table, say};

/// A ping that takes longer is lost.
const PING_DEADLINE: Duration = Duration::from_secs(1);
/// What is lost costs this and a round trip more; web/src/media/guide.ts counts it alike.
const RESEND_US: f64 = 200_000.0;
/// PoPs that are pinged at once.
const PINGED_AT_ONCE: usize = 16;

/// A PoP, and how far away it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) pop: Pop,
    /// Median round-trip time of a request, microseconds.
    rtt_us: Option<u64>,
    /// Share of pings that were lost.
    loss: f64,
    /// Why none came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Measured {
    pub(crate) fn answered(&self) -> bool {
        self.rtt_us.is_some()
    }

    /// To the PoP and back, with what is lost on the way, the stream's way to it, and its load.
    fn cost(&self) -> Cost {
        let rtt = self.rtt_us.unwrap_or(0);
        let resent = self.loss * (rtt as f64 + RESEND_US);
        let way = rtt + resent as u64 + self.pop.stream_metric_us.unwrap_or(0);
        Cost { way, load_percent: (self.pop.load * 100.0) as u8 }
    }

    /// What makes it of less use than any other, however near: it does not answer, or the stream has no way to it.
    fn lacks(&self) -> (bool, bool) {
        (self.rtt_us.is_none(), self.pop.stream_metric_us.is_none())
    }
}

pub(crate) async fn pops(args: &PopsArgs) -> anyhow::Result<()> {
    let client = Client::of(&args.query)?;
    let stream = args.stream.as_deref().map(StreamName::new).transpose()?;
    let Pops { node, pops } = client.pops(stream.as_ref()).await?;
    let measured = ranked(audience::count(&client, pops).await, args.pings).await;
    if args.query.json {
        say(&serde_json::to_string_pretty(&serde_json::json!({"node": node, "pops": measured}))?);
        return Ok(());
    }
    if measured.is_empty() {
        say("no PoPs: no node of the mesh serves HTTP");
        return Ok(());
    }
    let mut rows = vec![["POP", "RTT", "LOSS", "STREAM", "LOAD", "VIEWERS", "IN THE MESH", "URL"].map(str::to_owned)];
    for Measured { pop, rtt_us, loss, failure } in measured {
        rows.push([
            pop.name,
            rtt_us.map_or_else(|| failure.unwrap_or_else(dash), |us| ms(Some(us))),
            format!("{:.0} %", loss * 100.0),
            ms(pop.stream_metric_us),
            format!("{:.0} %", pop.load * 100.0),
            pop.viewers.map_or_else(dash, |viewers| viewers.to_string()),
            if pop.reachable { "yes" } else { "no" }.to_owned(),
            pop.http,
        ]);
    }
    print_table(&rows);
    Ok(())
}

/// Measures all of them, and puts the best first.
pub(crate) async fn ranked(pops: Vec<Pop>, pings: u32) -> Vec<Measured> {
    let measured = futures_util::stream::iter(pops).map(|pop| measure(pop, pings));
    let mut measured: Vec<Measured> = measured.buffer_unordered(PINGED_AT_ONCE).collect().await;
    sort(&mut measured);
    measured
}

/// As viewers choose (DESIGN 3).
fn sort(measured: &mut [Measured]) {
    let best = measured.iter().map(|one| (one.lacks(), one.cost().score())).min().map_or(0, |(_, score)| score);
    measured.sort_by_cached_key(|one| (one.lacks(), pop::order(best, one.cost()), one.pop.name.clone()));
}

async fn measure(pop: Pop, pings: u32) -> Measured {
    let http = reqwest::Client::builder().timeout(PING_DEADLINE).build();
    let (mut took, mut failure) = (Vec::new(), None);
    if let Ok(http) = http {
        let url = format!("{}/api/v1/ping", pop.http.trim_end_matches('/'));
        let ping = async || {
            let asked = Instant::now();
            let answer = http.get(&url).send().await?.error_for_status()?;
            // The connection is used again only once the answer is read.
            answer.bytes().await?;
            Ok::<Duration, reqwest::Error>(asked.elapsed())
        };
        // The first one opens the connection.
        if let Err(error) = ping().await {
            failure = Some(if error.is_timeout() { "no answer in 1 s" } else { "not reached" }.to_owned());
        }
        for _ in 0..pings {
            match ping().await {
                Ok(time) => took.push(time.as_micros() as u64),
                // One that is not there need not be waited for again and again.
                Err(_) if failure.is_some() => break,
                Err(_) => {}
            }
        }
    }
    took.sort_unstable();
    let loss = 1.0 - took.len() as f64 / f64::from(pings.max(1));
    let rtt_us = took.get(took.len() / 2).copied();
    Measured { pop, rtt_us, loss, failure: failure.filter(|_| rtt_us.is_none()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, rtt_ms: u64, loss: f64) -> Measured {
        let pop = serde_json::json!({
            "name": name, "http": "http://x.example", "viewers": null, "viewers_max": null, "load": 0.0, "reachable": true,
            "stream_metric_us": 0, "stream_hops": 0,
        });
        Measured { pop: serde_json::from_value(pop).unwrap(), rtt_us: Some(rtt_ms * 1_000), loss, failure: None }
    }

    fn sorted<const N: usize>(mut pops: [Measured; N]) -> [String; N] {
        sort(&mut pops);
        pops.map(|measured| measured.pop.name)
    }

    #[test]
    fn one_that_loses_much_comes_after_one_that_is_further_away() {
        let mut pops = [measured("near", 5, 0.6), measured("far", 60, 0.0), measured("silent", 0, 1.0)];
        pops[2].rtt_us = None;
        assert_eq!(sorted(pops), ["far", "near", "silent"]);
    }

    #[test]
    fn of_about_equal_ones_the_least_loaded_is_first_and_one_without_the_stream_behind_all_that_have_it() {
        let mut pops = [measured("lost", 1, 0.0), measured("busy", 20, 0.0), measured("calm", 24, 0.0)];
        pops[0].pop.stream_metric_us = None;
        pops[1].pop.load = 0.4;
        assert_eq!(sorted(pops), ["calm", "busy", "lost"]);
    }
}
