//! Long-running commands: bootstrapper, node, publisher.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use levada_node::bootstrap::{
    BootstrapConfig, Bootstrapper, EnrolError, EnrolRequest, Enrolled, enrol, follow, saved_neighbours,
};
use levada_node::http::{HttpConfig, Operator};
use levada_node::ingest::{publish_file, publish_folder, publish_stdin, stream_name};
use levada_node::trust::{Authority, Identity};
use levada_node::{Node, NodeConfig, http};
use levada_overlay::record::PRIORITY_DEFAULT;
use levada_overlay::{Neighbour, StreamName};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::{BootstrapArgs, Lifetime, NodeArgs, PublishArgs, TokenArgs};
use crate::config::{Member, NodeSettings, state_dir};

/// Longest time for each part of the end of a process. Children that are to move take up to five seconds.
const PART_OF_END: Duration = Duration::from_secs(6);
/// Pause between attempts to reach a bootstrapper that a new node cannot do without.
const ENROL_RETRY: Duration = Duration::from_secs(1);

pub(crate) async fn bootstrap(args: BootstrapArgs) -> anyhow::Result<()> {
    let dir = ca_dir(args.dir)?;
    let config = BootstrapConfig { listen: args.listen, topology: args.topology, dir: dir.clone() };
    let bootstrapper = Bootstrapper::start(config)?;
    tracing::info!(listen = %bootstrapper.local_addr()?, dir = %dir.display(), "bootstrapper is ready; make tokens with: levada token NAME");
    end_of(args.lifetime).await?;
    bootstrapper.shutdown().await;
    Ok(())
}

pub(crate) fn token(args: TokenArgs) -> anyhow::Result<()> {
    let authority = Authority::open_or_create(&ca_dir(args.dir)?)?;
    let name = Some(args.name.as_str()).filter(|name| *name != "any");
    if let Some(name) = name {
        levada_overlay::check_node_name(name)?;
    }
    crate::query::say(&authority.mint_token(name, args.ttl)?.to_string());
    Ok(())
}

fn ca_dir(given: Option<std::path::PathBuf>) -> anyhow::Result<std::path::PathBuf> {
    given.map_or_else(|| Ok(state_dir()?.join("bootstrap")), Ok)
}

pub(crate) async fn node(args: NodeArgs) -> anyhow::Result<()> {
    let lifetime = args.member.lifetime;
    let settings = NodeSettings::new(args)?;
    let listener = match settings.http {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    let serves_at = listener.as_ref().map(|listener| listener.local_addr()).transpose()?;
    let found = serves_at.and_then(|address| viewer_url(address, &settings.advertise, settings.listen));
    let http_url = serves_at.and_then(|_| settings.http_url.clone()).or(found);
    let page = http_url.clone().or(serves_at.map(|address| format!("http://{address}")));
    let http = match &listener {
        Some(_) => Some(http_config(&settings)?),
        None => None,
    };
    let mut tasks = JoinSet::new();
    let joining = Joining {
        listen: settings.listen,
        advertise: settings.advertise,
        http_url,
        light: false,
        max_children: settings.max_children,
        max_egress_bps: settings.max_egress_bps,
        max_viewers: settings.max_viewers,
        only: None,
        record: settings.record,
    };
    let node = tokio::select! {
        node = join(settings.member, joining, &mut tasks) => node?,
        ended = end_of(lifetime) => return ended.map(drop),
    };
    let serving = listener.zip(http);
    let server = serving.map(|(listener, config)| http::serve(node.clone(), listener, config)).transpose()?;
    for given in &settings.publish {
        spawn_publish(&node, given, &mut tasks)?;
    }
    tracing::info!(node = node.name(), links = %node.address(), page, "node is ready");
    let ending = tokio::select! {
        ended = end_of(lifetime) => ended?,
        () = node.stop_requested() => Ending::Asked,
    };
    let_children_move(&node, ending, lifetime).await;
    if let Some(server) = &server {
        in_time("answers to those who drain it", server.answer_drains()).await;
        in_time("the sessions of pages", server.end_sessions()).await;
    }
    in_time("what the node publishes", tasks.shutdown()).await;
    in_time("the node", node.shutdown()).await;
    Ok(())
}

/// Where viewers find a server that listens there: one that listens on all addresses is found where the node is. One that
/// listens for this machine only is no PoP, unless the whole mesh is on this machine.
fn viewer_url(http: SocketAddr, advertise: &[String], links: SocketAddr) -> Option<String> {
    let told = advertise.first().and_then(|address| Some(address.rsplit_once(':')?.0));
    match told {
        _ if http.ip().is_loopback() && !links.ip().is_loopback() => None,
        _ if !http.ip().is_unspecified() => Some(format!("http://{http}")),
        Some(host) => Some(format!("http://{host}:{}", http.port())),
        None => Some(format!("http://{}", SocketAddr::new(links.ip(), http.port()))),
    }
}

/// The operator's token, given or kept, and what an operator may do.
fn http_config(settings: &NodeSettings) -> anyhow::Result<HttpConfig> {
    let dir = &settings.member.dir;
    let token = match &settings.operator_token {
        Some(token) => token.clone(),
        None => {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let (token, path) = http::kept_token(dir)?;
            tracing::info!(path = %path.display(), "the operator's token is kept here");
            token
        }
    };
    Ok(HttpConfig {
        operator: Operator::new(&token, settings.look)?,
        media: settings.media.clone(),
        upload_bytes_max: settings.upload_bytes_max,
    })
}

/// Asks the children of a node that is to stop to move, if there is time for that, and waits until they have.
async fn let_children_move(node: &Node, ending: Ending, lifetime: Lifetime) {
    if ending == Ending::Asked {
        tracing::info!("stopping: children move to other parents; interrupt again to stop at once");
        tokio::select! {
            () = in_time("moving the children", node.drain()) => {}
            _ = end_of(lifetime) => {}
        }
    }
}

/// Waits for a part of the end, but not for ever: whoever asked for it wants it.
async fn in_time(what: &str, part: impl Future<Output = ()>) {
    if tokio::time::timeout(PART_OF_END, part).await.is_err() {
        tracing::warn!("{what} did not end within {} s; the process ends without it", PART_OF_END.as_secs());
    }
}

/// Publishes `[NAME=]PATH` in the background; an error is told and does not stop the node.
fn spawn_publish(node: &Node, given: &str, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let (name, path) = match given.split_once('=') {
        Some((name, path)) => (Some(StreamName::new(name)?), path),
        None => (None, given),
    };
    let (node, path) = (node.clone(), std::path::PathBuf::from(path));
    tasks.spawn(async move {
        if let Err(error) = publish_path(&node, &path, name, PRIORITY_DEFAULT).await {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            tracing::warn!("{}; the node goes on without it", chain.join(": "));
        }
    });
    Ok(())
}

async fn publish_path(node: &Node, path: &Path, name: Option<StreamName>, priority: u32) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(publish_folder(node, path).await?);
    }
    let name = name.map_or_else(|| stream_name(path), Ok)?;
    Ok(publish_file(node, path, name, priority).await?)
}

pub(crate) async fn publish(args: PublishArgs) -> anyhow::Result<()> {
    let lifetime = args.member.lifetime;
    anyhow::ensure!(
        !args.shared || args.source == "-",
        "only an MPEG transport stream on standard input can be shared; pipe the encoder's into: levada publish - --shared"
    );
    if let Some(node) = &args.at {
        return crate::control::publish_at(&args, node).await;
    }
    let member = Member::new(args.member)?;
    let name = args.stream.as_deref().map(StreamName::new).transpose()?;
    let mut tasks = JoinSet::new();
    let node = tokio::select! {
        node = join(member, Joining::light(), &mut tasks) => node?,
        ended = end_of(lifetime) => return ended.map(drop),
    };
    let publishing = async {
        if args.source == "-" {
            let name = name.context("standard input has no name; give it one with --as NAME")?;
            return Ok(publish_stdin(&node, name, args.priority, args.shared).await?);
        }
        publish_path(&node, Path::new(&args.source), name, args.priority).await
    };
    tokio::pin!(publishing);
    let result = tokio::select! {
        result = &mut publishing => result,
        ended = end_of(lifetime) => match ended {
            // They are fed until they have moved, to another origin if there is one.
            Ok(ending) => tokio::select! {
                result = &mut publishing => result,
                () = let_children_move(&node, ending, lifetime) => Ok(()),
            },
            Err(error) => Err(error),
        },
    };
    in_time("the node", node.shutdown()).await;
    result
}

/// How a node takes part.
pub(crate) struct Joining {
    listen: SocketAddr,
    advertise: Vec<String>,
    http_url: Option<String>,
    light: bool,
    max_children: Option<usize>,
    max_egress_bps: Option<u64>,
    max_viewers: Option<u64>,
    /// The only neighbour to use, if one is chosen by hand.
    only: Option<String>,
    record: Option<std::path::PathBuf>,
}

impl Joining {
    /// Connects out, accepts nobody.
    pub(crate) fn light() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 0).into(),
            advertise: Vec::new(),
            http_url: None,
            light: true,
            max_children: None,
            max_egress_bps: None,
            max_viewers: None,
            only: None,
            record: None,
        }
    }

    /// Uses this neighbour only, if any is named.
    pub(crate) fn only(self, neighbour: Option<String>) -> Self {
        Self { only: neighbour, ..self }
    }
}

/// Enrols and starts a node, and keeps it in touch with its bootstrapper.
pub(crate) async fn join(member: Member, joining: Joining, tasks: &mut JoinSet<()>) -> anyhow::Result<Node> {
    let (identity, neighbours, following) = identify(&member).await?;
    let only = joining.only;
    let wanted = only.clone();
    let chosen = move |mut neighbours: Vec<Neighbour>| {
        neighbours.retain(|neighbour| only.as_ref().is_none_or(|only| neighbour.name == *only));
        neighbours
    };
    let names: Vec<String> = neighbours.iter().map(|neighbour| neighbour.name.clone()).collect();
    let neighbours = chosen(neighbours);
    if neighbours.is_empty() && !names.is_empty() {
        let wanted = wanted.unwrap_or_default();
        bail!("node {} may not use PoP \"{wanted}\"; choose one of {}", member.name, names.join(", "));
    }
    let config = NodeConfig {
        identity,
        listen: joining.listen,
        advertise: joining.advertise,
        http_url: joining.http_url,
        light: joining.light,
        neighbours,
        children_max: joining.max_children,
        egress_max_bps: joining.max_egress_bps,
        viewers_max: joining.max_viewers,
        record: joining.record,
    };
    let node = Node::start(config)?;
    if let Some((request, enrolled)) = following {
        let (sender, mut updates) = mpsc::channel(4);
        tasks.spawn(follow(request, enrolled, sender));
        let told = node.clone();
        tasks.spawn(async move {
            while let Some(neighbours) = updates.recv().await {
                if told.set_neighbours(chosen(neighbours)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(node)
}

type Following = Option<(EnrolRequest, Option<Enrolled>)>;

/// Identity and neighbours: from the bootstrapper, or from what was kept on disk.
async fn identify(member: &Member) -> anyhow::Result<(Identity, Vec<Neighbour>, Following)> {
    let kept = || -> anyhow::Result<Option<Identity>> {
        Ok(Identity::load(&member.dir)?.filter(|identity| identity.name() == member.name && !identity.has_expired()))
    };
    let Some(bootstrapper) = member.bootstrap.clone() else {
        let identity = kept()?.with_context(|| {
            format!("node {} has not been enrolled yet; tell it --bootstrap HOST:PORT and a --token", member.name)
        })?;
        return Ok((identity, saved_neighbours(&member.dir), None));
    };
    let request =
        EnrolRequest { bootstrapper, name: member.name.clone(), token: member.token.clone(), dir: member.dir.clone() };
    let mut told = false;
    loop {
        match enrol(&request).await {
            Ok(enrolled) => {
                let identity = Identity::load(&member.dir)?.context("the enrolment was not kept")?;
                return Ok((identity, enrolled.neighbours.clone(), Some((request, Some(enrolled)))));
            }
            Err(error @ EnrolError::Unreachable { .. }) => {
                if let Some(identity) = kept()? {
                    tracing::warn!(%error, "starting with what was kept on disk");
                    return Ok((identity, saved_neighbours(&member.dir), Some((request, None))));
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for it");
                }
                tokio::time::sleep(ENROL_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why a process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Somebody asked, who can wait for a moment.
    Asked,
    /// Whoever started it is gone.
    Orphaned,
}

/// Resolves when the process is to stop.
pub(crate) async fn end_of(lifetime: Lifetime) -> anyhow::Result<Ending> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(Ending::Asked),
        _ = interrupt.recv() => Ok(Ending::Asked),
        () = stdin_closed(), if lifetime.until_stdin_closes => Ok(Ending::Orphaned),
    }
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(stdin.read(&mut bytes).await, Ok(read) if read > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_are_told_an_address_that_they_can_reach() {
        let url = |http: &str, advertise: &[&str], links: &str| {
            let advertise: Vec<String> = advertise.iter().map(|&address| address.to_owned()).collect();
            viewer_url(http.parse().unwrap(), &advertise, links.parse().unwrap()).unwrap_or_default()
        };
        assert_eq!(url("192.0.2.1:80", &["a.example:1"], "0.0.0.0:1"), "http://192.0.2.1:80");
        assert_eq!(url("0.0.0.0:80", &["a.example:1"], "0.0.0.0:1"), "http://a.example:80");
        assert_eq!(url("[::]:80", &["[2001:db8::7]:1"], "[::]:1"), "http://[2001:db8::7]:80");
        assert_eq!(url("0.0.0.0:80", &[], "192.0.2.1:7001"), "http://192.0.2.1:80");
        assert_eq!(url("127.0.0.1:80", &[], "127.0.0.1:7001"), "http://127.0.0.1:80");
        assert_eq!(
            url("127.0.0.1:80", &["a.example:1"], "0.0.0.0:1"),
            "",
            "a page elsewhere would ask its own machine"
        );
    }
}
