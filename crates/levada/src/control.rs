//! What an operator changes at a running node: neighbours, and what it publishes.

use std::path::Path;

use anyhow::Context as _;
use levada_node::http::{MediaFile, Meet, Met, Neighbours, Publish, Published};
use levada_overlay::node::view::NeighbourView;
use reqwest::Method;

use crate::cli::{NeighbourCommand, NeighboursArgs, PublishArgs, StopArgs};
use crate::client::{Client, checked, segment};
use crate::query::{dash, mbps, ms, print_table, raw, say};

pub(crate) async fn neighbours(args: &NeighboursArgs) -> anyhow::Result<()> {
    const PATH: &str = "/api/v1/neighbours";
    match &args.command {
        Some(NeighbourCommand::Add { address, query }) => {
            let met: Met = Client::of(query)?.change(Method::POST, PATH, &Meet { address: address.clone() }).await?;
            tell(query, &met, &format!("{} at {} is a neighbour now", met.name, met.address))
        }
        Some(NeighbourCommand::Remove { name, query }) => {
            Client::of(query)?.delete(&format!("{PATH}/{name}")).await?;
            tell(query, &serde_json::json!({"removed": name}), &format!("{name} is no neighbour any more"))
        }
        None if raw(&args.query, PATH).await? => Ok(()),
        None => {
            let answer: Neighbours = Client::of(&args.query)?.get(PATH).await?;
            if answer.neighbours.is_empty() {
                say("no neighbours; add one with: levada neighbours add HOST:PORT");
                return Ok(());
            }
            let header = ["NEIGHBOUR", "LINK", "CAME BY", "RTT", "JITTER", "LOSS", "SENT", "RECEIVED", "WHY NOT"];
            let mut rows = vec![header.map(str::to_owned)];
            rows.extend(answer.neighbours.iter().map(row));
            print_table(&rows);
            Ok(())
        }
    }
}

/// A neighbour as a row of a table.
pub(crate) fn row(one: &NeighbourView) -> [String; 9] {
    let link = match (one.up, one.in_use) {
        (false, _) => "down",
        (true, false) => "up",
        (true, true) => "in use",
    };
    [
        one.name.clone(),
        link.to_owned(),
        one.kind.to_string(),
        ms(one.rtt_us),
        ms(one.jitter_us),
        one.loss.map_or_else(dash, |loss| format!("{:.2} %", loss * 100.0)),
        mbps(one.sent_bps),
        mbps(one.received_bps),
        one.failure.clone().unwrap_or_default(),
    ]
}

pub(crate) async fn stop(args: &StopArgs) -> anyhow::Result<()> {
    Client::of(&args.query)?.delete(&format!("/api/v1/streams/{}", args.stream)).await?;
    tell(&args.query, &serde_json::json!({"stopped": args.stream}), &format!("{} is published no more", args.stream))
}

/// Publishes a file of a running node's media folder, put there first if that is asked for.
pub(crate) async fn publish_at(args: &PublishArgs, node: &str) -> anyhow::Result<()> {
    let client = Client::operated(node, &args.operator)?;
    let mut file = args.source.clone();
    if args.upload {
        let path = Path::new(&args.source);
        let name = path.file_name().and_then(|name| name.to_str()).context("the file to upload has no name")?;
        let opened = tokio::fs::File::open(path).await.with_context(|| format!("cannot open {}", path.display()))?;
        let length = opened.metadata().await.with_context(|| format!("cannot read {}", path.display()))?.len();
        let put = client.request(Method::PUT, &format!("/api/v1/media/{}", segment(name)));
        let put = put.header(reqwest::header::CONTENT_LENGTH, length);
        let response = client.sent(put.body(reqwest::Body::wrap_stream(pieces(opened)))).await?;
        let uploaded: MediaFile =
            checked(response).await?.json().await.context("the node stopped in the middle of its answer")?;
        say(&format!("{} ({} bytes) is in the media folder of {}", uploaded.file, uploaded.bytes, client.node()));
        file = uploaded.file;
    }
    let wish = Publish { file, stream: args.stream.clone(), priority: Some(args.priority) };
    let published: Published = client.change(Method::POST, "/api/v1/publish", &wish).await?;
    say(&format!("{} is published by {}; stop it with: levada stop {0} --node {1}", published.stream, client.node()));
    Ok(())
}

/// The bytes of a file as they are read.
fn pieces(file: tokio::fs::File) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> {
    use tokio::io::AsyncReadExt as _;
    /// Bytes that are read at once.
    const PIECE: usize = 256 * 1024;
    futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), file)))
    })
}

fn tell(args: &crate::cli::QueryArgs, value: &impl serde::Serialize, text: &str) -> anyhow::Result<()> {
    match args.json {
        true => say(&serde_json::to_string_pretty(value)?),
        false => say(text),
    }
    Ok(())
}
