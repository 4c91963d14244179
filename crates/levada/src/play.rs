//! `levada watch`: streams into a player, a file, a pipe or UDP.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::BoxStream;
use levada_node::playout::{ChunkReader, Format, Playouts};
use levada_overlay::StreamName;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::cli::{Player, WatchArgs};
use crate::config::Member;
use crate::serve::{Joining, end_of, join};
use crate::viewer::Viewer;

/// The PoP that is asked unless told otherwise.
const NODE: &str = "http://127.0.0.1:8080";
const NODE_VARIABLE: &str = "LEVADA_NODE";
/// Stands for the name of a stream in the place where it goes.
const NAME: &str = "{}";
/// Bytes of a datagram: seven transport packets, which fit every path.
const DATAGRAM: usize = 7 * 188;

type Pieces = BoxStream<'static, Bytes>;

pub(crate) async fn watch(args: WatchArgs) -> anyhow::Result<()> {
    let streams = args.streams.iter().map(|name| StreamName::new(name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(to) = args.to.as_ref().filter(|to| streams.len() > 1 && !to.contains(NAME)) {
        bail!(
            "--to {to} is one place for {} streams; write {NAME} where the name of each goes: --to {NAME}.ts",
            streams.len()
        )
    }
    let mut tasks = JoinSet::new();
    let member = &args.member;
    let as_leaf =
        args.node.is_none() && (member.bootstrap.is_some() || member.dir.is_some() || member.config.is_some());
    let lifetime = args.member.lifetime;
    let node = match as_leaf {
        true => Some(join(Member::new(args.member)?, Joining::light().only(args.pop), &mut tasks).await?),
        false if args.pop.is_some() => {
            bail!("--pop is for a leaf of the mesh; add --bootstrap HOST:PORT, or use --node URL")
        }
        false => None,
    };
    // Which node other commands ask does not make a leaf of the mesh a viewer of that node.
    let url = args.node.or_else(|| std::env::var(NODE_VARIABLE).ok()).unwrap_or_else(|| NODE.to_owned());
    let playouts = node.clone().map(Playouts::new);
    let playing = streams.into_iter().map(|stream| {
        let (playouts, url) = (playouts.as_ref(), url.clone());
        let to = args.to.as_ref().map(|to| to.replace(NAME, stream.as_str()));
        async move {
            let pieces = match playouts {
                Some(playouts) => from_mesh(playouts, stream).await?,
                None => from_pop(url, stream).await?,
            };
            deliver(pieces, args.with, to).await
        }
    });
    let limit = args.duration.unwrap_or(Duration::MAX);
    let result = tokio::select! {
        result = try_join_all(playing) => result.map(drop),
        () = tokio::time::sleep(limit) => Ok(()),
        ended = end_of(lifetime) => ended.map(drop),
    };
    if let Some(node) = node {
        node.shutdown().await;
    }
    result
}

/// As a leaf of the mesh: the stream is joined, resumed and muxed here.
async fn from_mesh(playouts: &Playouts, stream: StreamName) -> anyhow::Result<Pieces> {
    let playout = playouts.open(stream, Format::Ts, None).await?;
    let reader = ChunkReader::new(playout.chunks.clone());
    let next = |(mut reader, playout): (ChunkReader, Arc<_>)| async move {
        let mut chunks = Vec::new();
        reader.next(64, &mut chunks).await;
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect();
        Some((Bytes::from(bytes), (reader, playout)))
    };
    Ok(futures_util::stream::unfold((reader, playout), next).boxed())
}

/// Over HTTP from a PoP.
async fn from_pop(node: String, stream: StreamName) -> anyhow::Result<Pieces> {
    let viewer = Viewer::open(&node, stream).await?;
    let next = |mut viewer: Viewer| async move { Some((viewer.next().await, viewer)) };
    Ok(futures_util::stream::unfold(viewer, next).boxed())
}

async fn deliver(mut pieces: Pieces, with: Option<Player>, to: Option<String>) -> anyhow::Result<()> {
    match to.as_deref() {
        Some("-") => copy(&mut pieces, tokio::io::stdout()).await,
        Some(url) if url.starts_with("udp://") => {
            let target = url.trim_start_matches("udp://").trim_end_matches('/');
            let socket = UdpSocket::bind("0.0.0.0:0").await?;
            socket.connect(target).await.with_context(|| format!("{url} is not udp://HOST:PORT"))?;
            while let Some(bytes) = pieces.next().await {
                for datagram in bytes.chunks(DATAGRAM) {
                    // Nobody listening is no reason to stop: somebody may later.
                    let _ = socket.send(datagram).await;
                }
            }
            Ok(())
        }
        Some(path) => {
            let file = tokio::fs::File::create(path).await.with_context(|| format!("cannot write {path}"))?;
            copy(&mut pieces, file).await
        }
        None => {
            let mut player = open_player(with)?;
            let stdin = player.stdin.take().context("the player takes no input")?;
            let fed = copy(&mut pieces, stdin);
            tokio::select! {
                result = fed => result,
                status = player.wait() => status.map(drop).map_err(Into::into),
            }
        }
    }
}

/// Writes until the other end has had enough.
async fn copy(pieces: &mut Pieces, mut to: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
    while let Some(bytes) = pieces.next().await {
        let written = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("cannot write the stream"),
        }
    }
    Ok(())
}

fn open_player(wanted: Option<Player>) -> anyhow::Result<Child> {
    let players: &[(Player, &str, &[&str])] = &[
        (Player::Mpv, "mpv", &["--profile=low-latency", "-"]),
        (Player::Ffplay, "ffplay", &["-loglevel", "error", "-fflags", "nobuffer", "-i", "-"]),
        (Player::Vlc, "vlc", &["--quiet", "-"]),
    ];
    for (player, program, args) in players.iter().filter(|(player, ..)| wanted.is_none_or(|wanted| wanted == *player)) {
        match Command::new(program).args(*args).stdin(Stdio::piped()).kill_on_drop(true).spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::debug!(?player, "not installed");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot start {program}")),
        }
    }
    match wanted {
        Some(player) => bail!("{player:?} is not installed; install it, or write the stream with --to FILE"),
        None => bail!("none of mpv, ffplay and vlc is installed; install one, or write the stream with --to FILE"),
    }
}
