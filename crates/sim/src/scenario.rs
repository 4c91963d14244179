//! Scenarios: a mesh, who publishes and who watches, what befalls them, and what is expected. TOML; examples/sim/ has some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::Deserialize;

use crate::action::Action;
use crate::link::Impairment;
use crate::topology::{self, Cities, Mesh};
use crate::units;
use crate::world::BITRATE_DEFAULT;

/// Where files of topologies are looked for besides the scenario's own directory.
pub const TOPOLOGIES_VARIABLE: &str = "LEVADA_TOPOLOGIES";
/// ... and where else.
const TOPOLOGIES_USUAL: &str = "../shared/topologies";
/// Worlds of more nodes than this pass control messages as values.
const CODEC_NODES_MAX: usize = 100;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The scenario itself cannot be read.
    #[error("scenario {path} cannot be read")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a scenario looks like.
    #[error("scenario {path} is not understood")]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file of measurements that is not part of this project.
    #[error(
        "scenario needs {name}, which is not part of this project; put it beside the scenario, or in the directory that \
         {TOPOLOGIES_VARIABLE} names (looked for: {})", looked_for.join(", ")
    )]
    Missing {
        /// Name of the file.
        name: String,
        /// Where it is not.
        looked_for: Vec<String>,
    },
    /// A topology that cannot be used.
    #[error("topology {path}: {reason}")]
    Topology {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that makes no sense.
    #[error("{0}")]
    Senseless(String),
}

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// The mesh.
    pub topology: Topology,
    /// How long it runs after the warm-up.
    #[serde(deserialize_with = "units::de_duration")]
    pub duration: Duration,
    /// How long the mesh may find itself before anything is measured. Streams and readers begin within.
    #[serde(deserialize_with = "units::de_duration", default = "usual_warm_up")]
    pub warm_up: Duration,
    /// Nodes start within this time, each at a moment left to chance; 0: all at once, and their records with them.
    #[serde(deserialize_with = "units::de_duration", default)]
    pub start_over: Duration,
    /// Quiet at the end, without churn; then connected nodes must agree, and after the last leave nothing may be left.
    /// 0: neither is checked.
    #[serde(deserialize_with = "units::de_duration", default)]
    pub quiet: Duration,
    /// Whether control messages are handed over without the codec; usually in meshes of more than a hundred nodes.
    pub pass_values: Option<bool>,
    /// What is published.
    #[serde(default)]
    pub streams: Vec<Stream>,
    /// Who watches.
    #[serde(default)]
    pub subscribers: Vec<Subscribers>,
    /// Nodes that fail by chance.
    pub churn: Option<Churn>,
    /// What happens when.
    #[serde(default)]
    pub at: Vec<At>,
    /// Bounds of the numbers of the report: `NAME_max`, `NAME_min`, or NAME for exactly that.
    #[serde(default)]
    pub expect: BTreeMap<String, f64>,
}

fn usual_warm_up() -> Duration {
    Duration::from_secs(5)
}

/// Which mesh.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Topology {
    /// 0 - 1 - 2 - …
    Line {
        /// Number of nodes.
        nodes: usize,
        /// What every link does.
        link: Option<Impairment>,
    },
    /// A line whose ends meet.
    Ring {
        /// Number of nodes.
        nodes: usize,
        /// What every link does.
        link: Option<Impairment>,
    },
    /// Everybody with everybody.
    Full {
        /// Number of nodes.
        nodes: usize,
        /// What every link does.
        link: Option<Impairment>,
    },
    /// Links left to chance.
    Random {
        /// Number of nodes.
        nodes: usize,
        /// Links of a node, as a mean.
        degree: usize,
        /// What every link does.
        link: Option<Impairment>,
    },
    /// Nodes in cities among which round-trip times were measured.
    Geographic {
        /// Number of nodes.
        nodes: usize,
        /// Least and most links of a node: `"6-10"`.
        degree: String,
        /// The file of measurements.
        cities: String,
        /// Most jitter of a link.
        #[serde(deserialize_with = "units::de_duration", default = "usual_jitter_max")]
        jitter_max: Duration,
    },
    /// A file of the Topology Zoo.
    Gml {
        /// The file.
        file: String,
    },
    /// These links.
    Explicit {
        /// Each with what it does.
        links: Vec<Link>,
    },
}

fn usual_jitter_max() -> Duration {
    Duration::from_millis(5)
}

/// A link of an explicit topology.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// `"n0-n1"`.
    pub between: String,
    /// What it does, in both directions.
    #[serde(default)]
    pub link: Impairment,
    /// What it does on the way back, where that differs.
    pub back: Option<Impairment>,
}

/// A stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Nodes that publish it, `["n0"]`. Several share one encoder, and with it the timeline.
    pub origins: Vec<String>,
    /// When it begins, from the start of the world.
    #[serde(deserialize_with = "units::de_duration", default)]
    pub at: Duration,
    /// Bits a second.
    #[serde(deserialize_with = "units::de_rate", default = "usual_bitrate")]
    pub bitrate: u64,
}

fn usual_bitrate() -> u64 {
    BITRATE_DEFAULT
}

/// Readers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribers {
    /// How many, at nodes left to chance that do not publish.
    pub count: Option<usize>,
    /// Or these.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Of this stream; otherwise each of one stream left to chance.
    pub stream: Option<String>,
    /// When they begin, from the start of the world.
    #[serde(deserialize_with = "units::de_duration", default = "usual_subscription")]
    pub at: Duration,
}

fn usual_subscription() -> Duration {
    Duration::from_secs(2)
}

/// Nodes that fail by chance, at any time of the measured duration. Those that publish are spared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Share of all nodes that fail in a minute.
    #[serde(deserialize_with = "units::de_share")]
    pub fail_per_minute: f64,
    /// How long a failed node is away; its readers come back with it.
    #[serde(deserialize_with = "units::de_duration")]
    pub restart_after: Duration,
    /// How they fail.
    #[serde(default)]
    pub how: How,
}

/// How a node fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Without a word.
    #[default]
    Crash,
    /// With a goodbye.
    Stop,
    /// It stands still.
    Stall,
}

/// Something that happens at a time after the warm-up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// When, from the end of the warm-up.
    #[serde(deserialize_with = "units::de_duration")]
    pub t: Duration,
    /// What: `crash n3`, `cut n1-n2`, `link n1-n2 delay=80ms loss=5%` and so on.
    #[serde(rename = "do")]
    pub action: Action,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ScenarioError::Syntax { path: path.to_owned(), source: Box::new(source) })
    }

    /// Whether control messages skip the codec in a world of that size.
    pub fn passes_values(&self, nodes: usize) -> bool {
        self.pass_values.unwrap_or(nodes > CODEC_NODES_MAX)
    }
}

impl Topology {
    /// Lays the mesh: how many nodes, and their links. `beside` is the scenario's file.
    pub fn lay(&self, seed: u64, beside: &Path) -> Result<(usize, Mesh), ScenarioError> {
        // Not the sequence that the world draws from, or delays would hang together with the shape.
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x7090_1067);
        let plain = |nodes: usize, links: Vec<(usize, usize)>, link: &Option<Impairment>| {
            let impairments = link.iter().flat_map(|link| links.iter().map(|_| [link.clone(), link.clone()])).collect();
            (nodes, Mesh { links, impairments })
        };
        let least = match self {
            Self::Line { nodes, .. } | Self::Full { nodes, .. } => (*nodes, 2),
            Self::Ring { nodes, .. } => (*nodes, 3),
            Self::Random { nodes, degree, .. } => (*nodes, degree + 1),
            Self::Geographic { nodes, .. } => (*nodes, 2),
            Self::Gml { .. } | Self::Explicit { .. } => (0, 0),
        };
        if least.0 < least.1 {
            return Err(ScenarioError::Senseless(format!("topology of {} nodes; it takes {}", least.0, least.1)));
        }
        Ok(match self {
            Self::Line { nodes, link } => plain(*nodes, topology::line(*nodes), link),
            Self::Ring { nodes, link } => plain(*nodes, topology::ring(*nodes), link),
            Self::Full { nodes, link } => plain(*nodes, topology::full(*nodes), link),
            Self::Random { nodes, degree, link } => plain(*nodes, topology::random(*nodes, *degree, &mut rng), link),
            Self::Geographic { nodes, degree, cities, jitter_max } => {
                let path = find(cities, beside)?;
                let bytes = std::fs::read(&path)
                    .map_err(|error| ScenarioError::Topology { path: path.clone(), reason: error.to_string() })?;
                let cities = Cities::parse(&bytes).map_err(|reason| ScenarioError::Topology { path, reason })?;
                let bounds =
                    degree.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
                let bounds = bounds.filter(|(least, most)| 0 < *least && least <= most);
                let bounds =
                    bounds.ok_or_else(|| ScenarioError::Senseless(format!("degree {degree:?}; write \"6-10\"")))?;
                (*nodes, cities.mesh(*nodes, bounds, *jitter_max, &mut rng))
            }
            Self::Gml { file } => {
                let path = find(file, beside)?;
                // Some files of the Zoo are in Latin-1; names do not matter here.
                let bytes = std::fs::read(&path)
                    .map_err(|error| ScenarioError::Topology { path: path.clone(), reason: error.to_string() })?;
                topology::parse_gml(&String::from_utf8_lossy(&bytes))
                    .map(|(labels, mesh)| (labels.len(), mesh))
                    .map_err(|reason| ScenarioError::Topology { path, reason })?
            }
            Self::Explicit { links } => {
                let mut mesh = Mesh::default();
                for link in links {
                    let (a, b) = crate::action::pair::<usize>(&link.between, '-').map_err(ScenarioError::Senseless)?;
                    mesh.links.push((a, b));
                    mesh.impairments.push([link.link.clone(), link.back.clone().unwrap_or_else(|| link.link.clone())]);
                }
                let nodes = mesh.links.iter().map(|(a, b)| a.max(b) + 1).max().unwrap_or(0);
                (nodes, mesh)
            }
        })
    }
}

/// Looks for a file that is not part of this project.
fn find(name: &str, beside: &Path) -> Result<PathBuf, ScenarioError> {
    let own = beside.parent().unwrap_or(Path::new("")).join(name);
    let told = std::env::var_os(TOPOLOGIES_VARIABLE).map(|directory| Path::new(&directory).join(name));
    let usual = Path::new(TOPOLOGIES_USUAL).join(name);
    let candidates: Vec<PathBuf> = [Some(own), told, Some(usual)].into_iter().flatten().collect();
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| ScenarioError::Missing {
        name: name.to_owned(),
        looked_for: candidates.iter().map(|path| path.display().to_string()).collect(),
    })
}
