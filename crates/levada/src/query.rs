//! Questions to a running node: streams, map, trace.

use anyhow::Context as _;
use levada_node::http::{ACTION_HEADER, Drained, Map, Refused, Streams, Trace, Why};
use levada_overlay::node::view::LinkView;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{DrainArgs, QueryArgs, TraceArgs};
use crate::client::Client;

/// Asks a node for a path of its API.
pub(crate) async fn get<T: DeserializeOwned>(node: &str, path: &str) -> anyhow::Result<T> {
    Client::new(node)?.get(path).await
}

/// Prints JSON as it came, if that was asked for.
pub(crate) async fn raw(args: &QueryArgs, path: &str) -> anyhow::Result<bool> {
    if args.json {
        let value: Value = Client::of(args)?.get(path).await?;
        say(&serde_json::to_string_pretty(&value)?);
    }
    Ok(args.json)
}

pub(crate) async fn streams(args: &QueryArgs) -> anyhow::Result<()> {
    const PATH: &str = "/api/v1/streams";
    if raw(args, PATH).await? {
        return Ok(());
    }
    let answer: Streams = Client::of(args)?.get(PATH).await?;
    if answer.streams.is_empty() {
        say("no streams yet; publish one with: levada publish FILE");
        return Ok(());
    }
    let mut rows =
        vec![["STREAM", "HERE", "ORIGIN", "PARENT", "VIEWERS", "BITRATE", "GROUP", "AGE"].map(str::to_owned)];
    for stream in answer.streams {
        rows.push([
            stream.name,
            if stream.waiting { "waiting".to_owned() } else { stream.state },
            if stream.origins.is_empty() { dash() } else { stream.origins.join(",") },
            stream.parent.unwrap_or_else(dash),
            stream.viewers.to_string(),
            mbps(stream.bitrate_bps),
            stream.group_ms.map_or_else(dash, |ms| format!("{ms} ms")),
            stream.newest_age_ms.map_or_else(dash, |ms| format!("{ms} ms")),
        ]);
    }
    print_table(&rows);
    Ok(())
}

pub(crate) async fn map(args: &QueryArgs) -> anyhow::Result<()> {
    const PATH: &str = "/api/v1/map";
    if raw(args, PATH).await? {
        return Ok(());
    }
    let answer: Map = Client::of(args)?.get(PATH).await?;
    let mut rows = vec![["NODE", "ROLES", "ADDRESSES", "HTTP", "REACHABLE"].map(str::to_owned)];
    for node in answer.nodes {
        let reachable = if node.reachable { "yes" } else { "no" };
        let roles: Vec<String> = node.roles.iter().map(ToString::to_string).collect();
        let http = node.http.unwrap_or_else(dash);
        rows.push([node.name, roles.join(","), node.addresses.join(","), http, reachable.to_owned()]);
    }
    print_table(&rows);
    say("");
    let mut rows = vec![LINK_HEADS.map(str::to_owned)];
    rows.extend(answer.links.iter().map(link));
    print_table(&rows);
    for neighbour in answer.neighbours.into_iter().filter(|neighbour| !neighbour.up) {
        let why = neighbour.failure.unwrap_or_else(dash);
        say(&format!("\nneighbour {} is not reached: {why}", neighbour.name));
    }
    Ok(())
}

/// What [`link`] tells.
pub(crate) const LINK_HEADS: [&str; 6] = ["FROM", "TO", "COST", "RTT", "LOSS", "LOAD"];

/// One direction of a link of the mesh.
pub(crate) fn link(link: &LinkView) -> [String; LINK_HEADS.len()] {
    let loss = link.loss.map_or_else(dash, |loss| format!("{:.1} %", loss * 100.0));
    let (cost, rtt) = (ms(Some(link.cost_us.into())), ms(Some(link.rtt_us.into())));
    [link.from.clone(), link.to.clone(), cost, rtt, loss, mbps(link.bps)]
}

pub(crate) async fn trace(args: &TraceArgs) -> anyhow::Result<()> {
    let path = format!("/api/v1/trace/{}", args.stream);
    if raw(&args.query, &path).await? {
        return Ok(());
    }
    let answer: Trace = Client::of(&args.query)?.get(&path).await?;
    let mut rows = vec![["HOP", "NODE", "RTT", "COST", "NEWEST OBJECT"].map(str::to_owned)];
    for (hop, node) in answer.hops.iter().enumerate() {
        let ms = |us: u32| if hop == 0 { "-".to_owned() } else { format!("{:.2} ms", f64::from(us) / 1e3) };
        let age = node.newest_age_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms ago"));
        rows.push([hop.to_string(), node.node.clone(), ms(node.rtt_us), ms(node.cost_us), age]);
    }
    print_table(&rows);
    if !answer.complete {
        say("\nthis node is not fed from an origin now; the stream is idle here, or waits for a path");
    }
    Ok(())
}

pub(crate) async fn why(args: &TraceArgs) -> anyhow::Result<()> {
    let path = format!("/api/v1/why/{}", args.stream);
    if raw(&args.query, &path).await? {
        return Ok(());
    }
    let why: Why = Client::of(&args.query)?.get(&path).await?;
    let by = |node: &Option<String>, path: &[String]| match node {
        None => "none".to_owned(),
        Some(node) if path.is_empty() => node.clone(),
        Some(node) => format!("{node} (by {})", path.join(" > ")),
    };
    say(&format!("{} at {}: {}", why.stream, why.node, why.state));
    say(&format!("parent  {}", by(&why.parent, &why.path)));
    say(&format!("backup  {}\n", by(&why.backup, &why.backup_path)));
    let mut rows = vec![["NEIGHBOUR", "METRIC", "HOPS", "CARRIES IT", "LACKS"].map(str::to_owned)];
    for node in why.candidates {
        rows.push([
            node.name,
            node.metric_us.map_or("-".to_owned(), |us| format!("{:.2} ms", us as f64 / 1e3)),
            node.hops.map_or("-".to_owned(), |hops| hops.to_string()),
            if node.carries { "yes" } else { "no" }.to_owned(),
            lacks(node.lacks, node.refused),
        ]);
    }
    print_table(&rows);
    if !why.switches.is_empty() {
        say("");
        let mut rows = vec![["AGO", "FROM", "TO", "CAUSE"].map(str::to_owned)];
        for switch in why.switches {
            let from = switch.from.unwrap_or_else(|| "-".to_owned());
            rows.push([format!("{:.1} s", switch.ago_s), from, switch.to, switch.cause]);
        }
        print_table(&rows);
    }
    Ok(())
}

/// What a neighbour lacks, and what it said when it refused.
fn lacks(lacks: Option<String>, refused: Option<Refused>) -> String {
    let lacks = lacks.unwrap_or_else(|| "nothing".to_owned());
    let Some(refused) = refused else { return lacks };
    let named = if refused.alternates.is_empty() { "nobody".to_owned() } else { refused.alternates.join(", ") };
    format!("{lacks}; refused {:.1} s ago: {}; named {named}", refused.ago_s, refused.reason)
}

/// Asks a node to let its children move and to stop, and waits until it has.
pub(crate) async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let node = args.target.as_ref().unwrap_or(&args.query.node);
    let client = Client::operated(node, &args.query.operator)?;
    let request = client.request(Method::POST, "/api/v1/drain").header(ACTION_HEADER, "drain");
    let response = client.sent(request).await.context("it may have stopped already; name another one by its URL")?;
    let drained: Drained = response.json().await.context("the node stopped in the middle of its answer")?;
    if args.query.json {
        say(&serde_json::to_string_pretty(&drained)?);
        return Ok(());
    }
    if drained.left.is_empty() {
        say("drained: its children have other parents; it stops");
    } else {
        say("it stops, but was the only path for some of its children:");
        drained.left.iter().for_each(|child| say(&format!("{} waits for {}", child.node, child.stream)));
    }
    Ok(())
}

/// Prints a line. A reader who has had enough (`levada map | head`) is no error.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What is not known.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

pub(crate) fn ms(us: Option<u64>) -> String {
    us.map_or_else(dash, |us| format!("{:.2} ms", us as f64 / 1e3))
}

pub(crate) fn mbps(bps: Option<u64>) -> String {
    bps.map_or_else(dash, |bps| format!("{:.2} Mbit/s", bps as f64 / 1e6))
}

pub(crate) fn print_table<const N: usize>(rows: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say(line.join("  ").trim_end());
    }
}
