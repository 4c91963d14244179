//! The topology file of the bootstrapper: which nodes there are and who is whose neighbour. TOML, or the same in JSON.
//!
//! ```toml
//! links = [["porto", "lisboa"]]     # or `neighbours` with each node
//! pops = ["lisboa"]                 # whom viewers may use, which are not listed themselves
//!
//! [[node]]
//! name = "porto"
//! address = "198.51.100.7:7000"     # or `addresses = [..]`
//! neighbours = ["lisboa"]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use levada_overlay::{Neighbour, check_node_name};
use serde::Deserialize;

/// Names listed in an error message at most.
const NAMES_LISTED_MAX: usize = 20;
/// Largest topology file, in bytes.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// A checked topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    nodes: BTreeMap<String, Entry>,
    pops: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    addresses: Vec<String>,
    neighbours: BTreeSet<String>,
}

/// Why a topology is refused.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file cannot be read.
    #[error("cannot read the topology file {0}")]
    Read(String, #[source] std::io::Error),
    /// The file is too large.
    #[error("the topology file {0} is larger than {FILE_LEN_MAX} bytes")]
    TooLarge(String),
    /// Not TOML or JSON, or with keys that are unknown.
    #[error("the topology file {0} cannot be understood: {1}")]
    Syntax(String, String),
    /// The content contradicts itself.
    #[error("the topology file {0} is wrong: {1}")]
    Content(String, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    node: Vec<FileNode>,
    #[serde(default)]
    links: Vec<(String, String)>,
    #[serde(default)]
    pops: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNode {
    name: String,
    address: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    neighbours: Vec<String>,
}

impl Topology {
    /// Reads and checks a file; `.json` is JSON, anything else TOML.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        let shown = path.display().to_string();
        let failed = |error| TopologyError::Read(shown.clone(), error);
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_LEN_MAX {
            return Err(TopologyError::TooLarge(shown));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text, path.extension().is_some_and(|ending| ending == "json"), &shown)
    }

    /// Checks a text; `shown` names it in errors.
    pub fn parse(text: &str, json: bool, shown: &str) -> Result<Self, TopologyError> {
        let syntax = |what: String| TopologyError::Syntax(shown.to_owned(), what.trim_end().to_owned());
        let file: File = if json {
            serde_json::from_str(text).map_err(|error| syntax(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error| syntax(error.to_string()))?
        };
        Self::check(file).map_err(|what| TopologyError::Content(shown.to_owned(), what))
    }

    fn check(file: File) -> Result<Self, String> {
        if file.node.is_empty() {
            return Err("it lists no node; add a [[node]] with a name and an address".to_owned());
        }
        let mut topology = Self::default();
        let mut links = file.links;
        for node in file.node {
            check_node_name(&node.name).map_err(|error| error.to_string())?;
            let addresses: Vec<String> = node.address.into_iter().chain(node.addresses).collect();
            addresses.iter().try_for_each(|address| check_address(&node.name, address))?;
            links.extend(node.neighbours.into_iter().map(|neighbour| (node.name.clone(), neighbour)));
            let entry = Entry { addresses, neighbours: BTreeSet::new() };
            if topology.nodes.insert(node.name.clone(), entry).is_some() {
                return Err(format!("node {} is listed twice; remove one of them", node.name));
            }
        }
        for (a, b) in links {
            if a == b {
                return Err(format!("node {a} is listed as its own neighbour; remove that link"));
            }
            for (from, to) in [(&a, &b), (&b, &a)] {
                let known = topology.names();
                let entry = topology.nodes.get_mut(from);
                let entry = entry.ok_or_else(|| format!("a link names the unknown node {from}; {known}"))?;
                entry.neighbours.insert(to.clone());
            }
        }
        if let Some(unknown) = file.pops.iter().find(|pop| !topology.nodes.contains_key(*pop)) {
            return Err(format!("pops names the unknown node {unknown}; {}", topology.names()));
        }
        topology.pops = file.pops;
        Ok(topology)
    }

    /// The neighbours of a node, or a message that names the nodes there are. One that is not listed is a viewer: it gets the PoPs,
    /// if the topology names any.
    pub fn neighbours_of(&self, name: &str) -> Result<Vec<Neighbour>, String> {
        let neighbours = match self.nodes.get(name) {
            Some(entry) => &entry.neighbours,
            None if !self.pops.is_empty() => &self.pops,
            None => return Err(format!("node {name:?} is not in the topology; {}", self.names())),
        };
        let neighbour = |name: &String| {
            let addresses = self.nodes.get(name).map(|entry| entry.addresses.clone()).unwrap_or_default();
            Neighbour { name: name.clone(), addresses }
        };
        Ok(neighbours.iter().map(neighbour).collect())
    }

    /// The known names, for an error message.
    fn names(&self) -> String {
        let listed: Vec<&str> = self.nodes.keys().take(NAMES_LISTED_MAX).map(String::as_str).collect();
        let more = self.nodes.len() - listed.len();
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("the nodes there are: {}{tail}", listed.join(", "))
    }
}

fn check_address(node: &str, address: &str) -> Result<(), String> {
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(format!("address {address:?} of node {node} is not HOST:PORT, for example 198.51.100.7:7000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Topology, String> {
        Topology::parse(text, false, "topology.toml").map_err(|error| error.to_string())
    }

    const THREE: &str = r#"
        links = [["a", "b"]]
        [[node]]
        name = "a"
        address = "127.0.0.1:1"
        [[node]]
        name = "b"
        addresses = ["127.0.0.1:2", "[::1]:2"]
        neighbours = ["c"]
        [[node]]
        name = "c"
    "#;

    #[test]
    fn links_hold_in_both_directions() {
        let topology = parse(THREE).unwrap();
        let names =
            |node| -> Vec<String> { topology.neighbours_of(node).unwrap().into_iter().map(|n| n.name).collect() };
        assert_eq!(names("a"), ["b"]);
        assert_eq!(names("b"), ["a", "c"]);
        assert_eq!(names("c"), ["b"]);
        assert_eq!(topology.neighbours_of("c").unwrap()[0].addresses, ["127.0.0.1:2", "[::1]:2"]);
    }

    #[test]
    fn json_says_the_same() {
        let json = r#"{"links": [["a","b"]], "node": [{"name": "a", "address": "127.0.0.1:1"},
            {"name": "b", "addresses": ["127.0.0.1:2", "[::1]:2"], "neighbours": ["c"]}, {"name": "c"}]}"#;
        assert_eq!(Topology::parse(json, true, "t.json").unwrap(), parse(THREE).unwrap());
    }

    #[test]
    fn who_is_not_listed_is_a_viewer_where_there_are_pops() {
        let topology = parse(&format!("pops = [\"a\", \"b\"]\n{THREE}")).unwrap();
        let names: Vec<String> = topology.neighbours_of("guest").unwrap().into_iter().map(|n| n.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(topology.neighbours_of("a").unwrap().len(), 1);
        let unknown = parse(&format!("pops = [\"x\"]\n{THREE}")).unwrap_err();
        assert!(unknown.contains("unknown node x") && unknown.contains("a, b, c"), "{unknown}");
    }

    #[test]
    fn errors_name_the_thing_and_the_mend() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(error("").contains("lists no node"));
        assert!(error("[[node]]\nname = \"A b\"").contains("\"A b\""));
        assert!(error("[[node]]\nname = \"a\"\nadress = \"x\"").contains("adress"));
        assert!(error("[[node]]\nname = \"a\"\naddress = \"x\"").contains("HOST:PORT"));
        assert!(error("[[node]]\nname = \"a\"\n[[node]]\nname = \"a\"").contains("listed twice"));
        assert!(error("[[node]]\nname = \"a\"\nneighbours = [\"a\"]").contains("its own neighbour"));
        let unknown = error("[[node]]\nname = \"a\"\nneighbours = [\"x\"]");
        assert!(unknown.contains("unknown node x") && unknown.contains("there are: a"), "{unknown}");
        let stranger = parse(THREE).unwrap().neighbours_of("d").unwrap_err();
        assert!(stranger.contains("\"d\"") && stranger.contains("a, b, c"), "{stranger}");
    }
}
