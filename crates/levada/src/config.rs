//! `levada.toml`, and what comes of it together with the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use levada_node::http::{Look, UPLOAD_BYTES_MAX};
use serde::Deserialize;

use crate::cli::{Looking, MemberArgs, NodeArgs};

/// Where nodes listen for links unless told otherwise.
const LISTEN: &str = "0.0.0.0:7001";
/// Where nodes serve viewers unless told otherwise.
const HTTP: &str = "127.0.0.1:8080";

/// The file, as it is written. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    name: Option<String>,
    bootstrap: Option<String>,
    token: Option<String>,
    dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    #[serde(default)]
    advertise: Vec<String>,
    http: Option<String>,
    #[serde(default)]
    publish: Vec<String>,
    max_children: Option<usize>,
    max_egress: Option<f64>,
    media: Option<PathBuf>,
    max_upload: Option<u64>,
    operator_token: Option<String>,
    look: Option<Looking>,
}

impl File {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} cannot be understood", path.display()))
    }
}

/// How a process becomes a member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) bootstrap: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) dir: PathBuf,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    pub(crate) member: Member,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Vec<String>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) publish: Vec<String>,
    pub(crate) max_children: Option<usize>,
    pub(crate) max_egress_bps: Option<u64>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) media: Option<PathBuf>,
    pub(crate) upload_bytes_max: u64,
    pub(crate) operator_token: Option<String>,
    pub(crate) look: Look,
}

impl Member {
    pub(crate) fn new(args: MemberArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        Self::merge(args, &file)
    }

    fn merge(args: MemberArgs, file: &File) -> anyhow::Result<Self> {
        let name = args.name.or_else(|| file.name.clone()).map_or_else(host_name, Ok)?;
        levada_overlay::check_node_name(&name).context("choose a name with --name")?;
        let dir = match args.dir.or_else(|| file.dir.clone()) {
            Some(dir) => dir,
            None => state_dir()?.join(&name),
        };
        let bootstrap = args.bootstrap.or_else(|| file.bootstrap.clone());
        Ok(Self { name, bootstrap, token: args.token.or_else(|| file.token.clone()), dir })
    }
}

impl NodeSettings {
    pub(crate) fn new(args: NodeArgs) -> anyhow::Result<Self> {
        let file = args.member.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        Self::merge(args, file)
    }

    fn merge(args: NodeArgs, file: File) -> anyhow::Result<Self> {
        let member = Member::merge(args.member, &file)?;
        let listen = match args.listen.or(file.listen) {
            Some(listen) => listen,
            None => LISTEN.parse()?,
        };
        let http = args.http.or(file.http).unwrap_or_else(|| HTTP.to_owned());
        let http = match http.as_str() {
            "off" => None,
            text => Some(text.parse().with_context(|| format!("http = {text:?} is neither ADDRESS:PORT nor off"))?),
        };
        let or = |given: Vec<String>, file| if given.is_empty() { file } else { given };
        let (advertise, publish) = (or(args.advertise, file.advertise), or(args.publish, file.publish));
        let max_children = args.max_children.or(file.max_children);
        let max_egress_bps = match args.max_egress.or(file.max_egress) {
            Some(mbps) if !(mbps > 0.0 && mbps.is_finite()) => {
                bail!("max_egress = {mbps} is no rate in Mbit/s above 0")
            }
            given => given.map(|mbps| (mbps * 1e6) as u64),
        };
        let media = args.media.or(file.media);
        if let Some(folder) = media.as_deref().filter(|folder| !folder.is_dir()) {
            bail!("media = {folder:?} is no folder");
        }
        let max_upload = args.max_upload.or(file.max_upload);
        Ok(Self {
            member,
            listen,
            advertise,
            http,
            publish,
            max_children,
            max_egress_bps,
            record: args.record,
            media,
            upload_bytes_max: max_upload.map_or(UPLOAD_BYTES_MAX, |mb| mb.saturating_mul(1_000_000)),
            operator_token: args.operator_token.or(file.operator_token),
            look: match args.look.or(file.look) {
                None | Some(Looking::Open) => Look::Open,
                Some(Looking::Token) => Look::Token,
            },
        })
    }
}

/// Where state is kept unless told otherwise (XDG base directories).
pub(crate) fn state_dir() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    match base {
        Some(base) => Ok(base.join("levada")),
        None => bail!("there is no home directory to keep state in; choose one with --dir"),
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/etc/hostname").context("this node needs a name; choose one with --name")?;
    Ok(name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../examples/levada.toml");

    fn settings(args: NodeArgs, file: &str) -> NodeSettings {
        NodeSettings::merge(args, toml::from_str(file).unwrap()).unwrap()
    }

    fn args(line: &[&str]) -> NodeArgs {
        use clap::Parser as _;
        let line = ["levada", "node", "--name", "porto", "--dir", "/d"].iter().chain(line);
        match crate::cli::Cli::parse_from(line).command {
            crate::cli::Command::Node(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_explains_every_key_and_holds_the_defaults() {
        assert_eq!(settings(args(&[]), EXAMPLE), settings(args(&[]), ""));
        // Every line that sets something, switched on: all keys are known, and all are there.
        let switched: String =
            EXAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
        let file: File = toml::from_str(&switched).unwrap();
        let File { name, bootstrap, token, dir, listen, advertise, http, publish, max_children, max_egress, .. } =
            &file;
        let File { media, max_upload, operator_token, look, .. } = &file;
        assert!(name.is_some() && bootstrap.is_some() && token.is_some() && dir.is_some() && listen.is_some());
        assert!(!advertise.is_empty() && http.is_some() && !publish.is_empty());
        assert!(max_children.is_some() && max_egress.is_some());
        assert!(media.is_some() && max_upload.is_some() && operator_token.is_some() && look.is_some());
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\npublish = [\"a.mp4\"]";
        let given = settings(args(&["--listen", "127.0.0.1:9"]), file);
        assert_eq!(given.listen, "127.0.0.1:9".parse().unwrap());
        assert_eq!(given.http, Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!(given.publish, ["a.mp4"]);
        assert_eq!(settings(args(&["--http", "off"]), file).http, None);
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = toml::from_str::<File>("lisen = \"x\"").unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("listen"), "{error}");
    }
}
