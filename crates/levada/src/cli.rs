//! The command line. Values come from the command line, then from `LEVADA_…` variables, then from `levada.toml`, then
//! from the defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Live video over a mesh of machines that you own.
#[derive(Debug, Parser)]
#[command(name = "levada", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Say more (-v: decisions, -vv: every message)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell starting nodes who their neighbours are, and sign their certificates
    Bootstrap(BootstrapArgs),
    /// Make a join token for a node (at the bootstrapper's machine)
    Token(TokenArgs),
    /// Run a node: it relays, serves viewers, and publishes what it is given
    Node(NodeArgs),
    /// Publish a file, a folder of files, or an MPEG transport stream from standard input
    Publish(PublishArgs),
    /// Watch a stream in a player, or write it to a file, a pipe or UDP
    Watch(WatchArgs),
    /// List the streams
    Streams(QueryArgs),
    /// Show the nodes, the links and what they cost
    Map(QueryArgs),
    /// Show the way of a stream from its origin, hop by hop
    Trace(TraceArgs),
    /// Explain why a stream comes the way it comes: who could give it, what each lacks, the backup, the last changes
    Why(TraceArgs),
    /// List the PoPs, with how far each is from here
    Pops(PopsArgs),
    /// List the neighbours of a node, connect it to another node, or disconnect it from one
    Neighbours(NeighboursArgs),
    /// Stop a stream at the node that publishes it
    Stop(StopArgs),
    /// Watch a node's tables in this terminal: streams, neighbours, links, nodes, PoPs, events
    Top(TopArgs),
    /// Run a recorded node again and show what it decided, and why
    Replay(ReplayArgs),
    /// Stop a node without a gap for anybody: its children move first
    ///
    /// The node tells its neighbours that it leaves, goes on feeding its children until each has another parent, and stops.
    /// A child that has no other path gets five seconds to find one; then it waits, and goes on by itself where it left off
    /// when the node or another path is there. Draining a node twice does no harm.
    ///
    /// Example, on the node's own machine: levada drain http://127.0.0.1:8080
    Drain(DrainArgs),
    /// Run a whole mesh on this machine: bootstrapper, two origins, five relays, two PoPs
    Demo(DemoArgs),
    /// Run a scenario in a virtual world: many nodes, links and faults, in seconds and always the same for one seed
    Sim(SimArgs),
    /// Run a mesh of real processes on links that are as bad as a file says, by hand or by the file's script
    Lab(LabArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// The topology: which nodes there are and who is whose neighbour (TOML or JSON); read again when it changes
    #[arg(long, env = "LEVADA_TOPOLOGY", default_value = "topology.toml")]
    pub(crate) topology: PathBuf,
    /// Where to listen (UDP)
    #[arg(long, env = "LEVADA_BOOTSTRAP_LISTEN", default_value = "0.0.0.0:7000")]
    pub(crate) listen: SocketAddr,
    /// Where the cluster's CA and the list of used tokens are kept
    #[arg(long, env = "LEVADA_CA_DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The node that it is for; `any` for whichever node comes first
    pub(crate) name: String,
    /// How long it can be used, for example 1h or 7d
    #[arg(long, default_value = "24h", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// Directory of the bootstrapper
    #[arg(long, env = "LEVADA_CA_DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct MemberArgs {
    /// Configuration file; every key is explained in examples/levada.toml
    #[arg(long, env = "LEVADA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this node, as in the topology [default: the host's name]
    #[arg(long, env = "LEVADA_NAME")]
    pub(crate) name: Option<String>,
    /// The bootstrapper, HOST:PORT
    #[arg(long, env = "LEVADA_BOOTSTRAP")]
    pub(crate) bootstrap: Option<String>,
    /// Join token, needed once; made with `levada token NAME`
    #[arg(long, env = "LEVADA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Where this node keeps its key, certificate and neighbours [default: ~/.local/state/levada/NAME]
    #[arg(long, env = "LEVADA_DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Lifetime {
    /// Stop when standard input closes, so that whoever started this leaves nothing behind
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    /// Where to listen for links (UDP) [default: 0.0.0.0:7001]
    #[arg(long, env = "LEVADA_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address that other nodes are told, HOST:PORT; may be given several times [default: the one it listens on]
    #[arg(long, env = "LEVADA_ADVERTISE", value_delimiter = ',')]
    pub(crate) advertise: Vec<String>,
    /// Where to serve viewers, the page and the API (TCP), or `off` [default: 127.0.0.1:8080]
    #[arg(long, env = "LEVADA_HTTP")]
    pub(crate) http: Option<String>,
    /// Base URL by which viewers elsewhere reach --http, told to all who look for a PoP [default: http://HOST:PORT, with the host
    /// of --advertise if --http listens on all addresses; none, so no PoP, if it listens for this machine only]
    #[arg(long, env = "LEVADA_HTTP_URL", value_name = "URL")]
    pub(crate) http_url: Option<String>,
    /// Most viewers at once; one more is sent to another PoP
    #[arg(long, env = "LEVADA_MAX_VIEWERS")]
    pub(crate) max_viewers: Option<u64>,
    /// File or folder to publish, or NAME=FILE; may be given several times
    #[arg(long, value_name = "[NAME=]PATH")]
    pub(crate) publish: Vec<String>,
    /// Most neighbours that are fed at once, over all streams; one more is told who else has the stream
    #[arg(long, env = "LEVADA_MAX_CHILDREN")]
    pub(crate) max_children: Option<usize>,
    /// Most Mbit/s that leave for other nodes; a child that would exceed it is told who else has the stream
    #[arg(long, env = "LEVADA_MAX_EGRESS", value_name = "MBIT/S")]
    pub(crate) max_egress: Option<f64>,
    /// Folder whose files an operator can publish while the node runs, and upload into
    #[arg(long, env = "LEVADA_MEDIA", value_name = "DIR")]
    pub(crate) media: Option<PathBuf>,
    /// Longest file that can be uploaded, in MB [default: 2000]
    #[arg(long, env = "LEVADA_MAX_UPLOAD", value_name = "MB")]
    pub(crate) max_upload: Option<u64>,
    /// What an operator shows to change things: 16 to 256 signs [default: made at the first start, and kept in the file
    /// operator-token of the node's directory]
    #[arg(long, env = "LEVADA_OPERATOR_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) operator_token: Option<String>,
    /// Who may look at the tables: everyone (open) or operators (token). Players need no permission [default: open]
    #[arg(long, env = "LEVADA_LOOK")]
    pub(crate) look: Option<Looking>,
    /// Record what happens to the node's brain into this file; `levada replay FILE` runs it again. Holds addresses and
    /// names, no media and no keys
    #[arg(long, env = "LEVADA_RECORD", value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

/// Who may look at the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Looking {
    Open,
    Token,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording: made by a node with --record FILE
    pub(crate) file: PathBuf,
    /// Show this stream only
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// .mp4 or .ts file, a folder of them, or - for an MPEG transport stream on standard input
    pub(crate) source: String,
    /// Name of the stream [default: the file's name]
    #[arg(long = "as", value_name = "STREAM")]
    pub(crate) stream: Option<String>,
    /// Which origin is preferred if several publish this stream: the highest, 0 to 255
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=255))]
    pub(crate) priority: u32,
    /// Other origins get the same transport stream from the same encoder: make the same groups of it, so that viewers can
    /// change from one to another without a seam
    #[arg(long)]
    pub(crate) shared: bool,
    /// Let the running node of this base URL publish a file of its media folder, and return
    #[arg(long, value_name = "URL", conflicts_with = "shared")]
    pub(crate) at: Option<String>,
    /// Put the file into that node's media folder first
    #[arg(long, requires = "at")]
    pub(crate) upload: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Player {
    Mpv,
    Ffplay,
    Vlc,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Names of the streams, each of which gets a player of its own
    #[arg(required = true, value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// Player to open; closing it gives the stream up [default: the first that is installed]
    #[arg(long, conflicts_with = "to")]
    pub(crate) with: Option<Player>,
    /// Write MPEG-TS instead: to a FILE, - (standard output) or udp://HOST:PORT; {} stands for the name of the stream
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// The PoP to use, by its name, instead of the best: for a leaf of the mesh, see --node
    #[arg(long, value_name = "NAME", conflicts_with = "node")]
    pub(crate) pop: Option<String>,
    /// Stop after this long, for example 30s
    #[arg(long = "for", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Base URL of the PoP to watch from; when that is lost, the best of the others that it knew is next. Without it and with
    /// --bootstrap, --dir or --config, this is a leaf of the mesh itself, which misses nothing when a PoP is lost
    /// [default: $LEVADA_NODE, or http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Base URL of the node to ask
    #[arg(long, env = "LEVADA_NODE", default_value = "http://127.0.0.1:8080")]
    pub(crate) node: String,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// What opens a node to an operator.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OperatorArgs {
    /// Token of the node's operator, which changes need
    #[arg(long, env = "LEVADA_OPERATOR_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) operator_token: Option<String>,
    /// File that holds it: operator-token in the node's directory
    #[arg(long, env = "LEVADA_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub(crate) operator_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PopsArgs {
    /// Tell how far each is from this stream
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// Pings to each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) pings: u32,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct NeighboursArgs {
    #[command(subcommand)]
    pub(crate) command: Option<NeighbourCommand>,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NeighbourCommand {
    /// Connect to whoever accepts links at an address, and stay connected
    Add {
        /// HOST:PORT
        address: String,
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Disconnect, and stay disconnected
    Remove {
        /// Name of the neighbour
        name: String,
        #[command(flatten)]
        query: QueryArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Name of the stream
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Base URL of the node to look at
    #[arg(long, env = "LEVADA_NODE", default_value = "http://127.0.0.1:8080")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Name of the stream
    pub(crate) stream: String,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Base URL of the node to stop; it obeys requests from its own machine, or an operator's token
    /// [default: --node]
    #[arg(value_name = "URL")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Stop after this long, for example 20s, and print what was measured
    #[arg(long = "for", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Viewers that the demo itself opens, spread over PoPs and streams
    #[arg(long, default_value_t = 4)]
    pub(crate) viewers: usize,
    /// Another video to publish
    #[arg(long)]
    pub(crate) clip: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The scenario (TOML); examples/sim/ has some, docs/simulation.md tells how to write one. Measured networks are looked for
    /// beside it, in the directory that LEVADA_TOPOLOGIES names, and in ../shared/topologies
    pub(crate) scenario: PathBuf,
    /// Seed of everything left to chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run with this many seeds, one after the other; each is told of as it ends
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write every event to this file, of several seeds those of the last; it becomes long
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LabCommand>,
    /// Start the mesh of this file (TOML; examples/lab/ has some), and print the address of a console where nodes and links
    /// can be clicked: kill, stall, cut, slow down; until Ctrl-C
    pub(crate) file: Option<PathBuf>,
    /// Open the console in a browser
    #[arg(long, requires = "file")]
    pub(crate) open: bool,
    /// Keep the nodes' logs in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Run the script of a file, and fail if anything that it expects is not seen
    Run(LabRunArgs),
    /// Let nodes and links of a file fail by chance, and look whether what must always hold does
    Chaos(LabChaosArgs),
    /// Print a topology in the lab's format: a Topology Zoo .gml or a CORE .imn
    Import(LabImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LabRunArgs {
    /// The lab file (TOML); examples/lab/ has some
    pub(crate) file: PathBuf,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of what the links leave to chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Multiply every time that is expected, for a machine that is busy with other things
    #[arg(long, default_value_t = 1.0, value_parser = parse_slack)]
    pub(crate) slack: f64,
    /// Write a report with maps and plots to this file (HTML)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Keep the nodes' logs in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Keep there, of each life of a node that is no leaf, what came to it: levada replay DIR/NODE-1.jsonl shows what it decided
    #[arg(long, requires = "keep")]
    pub(crate) record: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LabChaosArgs {
    /// The lab file (TOML); its script is not played
    pub(crate) file: PathBuf,
    /// Seed of the failures
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long things fail, for example 10m
    #[arg(long = "for", default_value = "1m", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the nodes' logs in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabImportArgs {
    /// The topology
    pub(crate) file: PathBuf,
}

fn parse_slack(text: &str) -> Result<f64, String> {
    let slack = text.parse().ok().filter(|slack| (1.0..=100.0).contains(slack));
    slack.ok_or_else(|| format!("{text:?} is no number from 1 to 100"))
}

/// Parses `250ms`, `20s`, `5m`, `24h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 =
        number.parse().map_err(|_| format!("{text:?} is no duration; write 250ms, 20s, 5m, 24h or 7d"))?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("{text:?} has no unit; write 250ms, 20s, 5m, 24h or 7d")),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_simulation_runs_at_least_once() {
        let seeds = |count| Cli::try_parse_from(["levada", "sim", "small.toml", "--seeds", count]).is_ok();
        assert!(seeds("1") && !seeds("0"));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_duration("20").unwrap_err().contains("no unit"));
        assert!(parse_duration("soon").unwrap_err().contains("no duration"));
    }
}
