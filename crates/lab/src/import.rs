//! Topologies from elsewhere in the lab's format: GML of the Topology Zoo (Knight et al., IEEE JSAC 29(9), 2011), with
//! delays from the places of its nodes, and the .imn files of the CORE emulator, with the delays, losses and rates of its
//! links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use levada_sim::topology::parse_gml;

use crate::file::NODES_MAX;

/// Why a topology cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no GML, or has no links.
    #[error("the GML is not understood: {0}")]
    Gml(String),
    /// It is no .imn, or has no links.
    #[error("the .imn is not understood: {0}")]
    Imn(String),
}

/// A topology as a lab file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The file.
    pub text: String,
    /// Why it cannot be run as it is.
    pub warning: Option<String>,
}

/// A topology in GML. A mesh has one link between two nodes, so parallel ones become one.
pub fn gml(text: &str, title: &str) -> Result<Imported, ImportError> {
    let (labels, mesh) = parse_gml(text).map_err(ImportError::Gml)?;
    let names = names(&labels);
    let links = mesh.links.iter().zip(&mesh.impairments).map(|(&(a, b), both)| {
        let line = format!("{}-{} delay={}", names[a], names[b], written(both[0].delay));
        if both[0].jitter.is_zero() { line } else { format!("{line} jitter={}", written(both[0].jitter)) }
    });
    Ok(file(title, &names, &links.collect::<Vec<_>>()))
}

/// A topology of the CORE emulator. What is no host, router or PC (switches, hubs, wireless LANs) becomes links between all
/// that are connected with it.
pub fn imn(text: &str, title: &str) -> Result<Imported, ImportError> {
    let network = Imn::parse(text).map_err(ImportError::Imn)?;
    let hosts: Vec<&str> = network.nodes.iter().filter(|node| !node.is_segment).map(|node| node.id.as_str()).collect();
    let labels: Vec<String> = hosts
        .iter()
        .map(|id| network.nodes.iter().find(|node| node.id == *id).map_or_else(String::new, |node| node.name.clone()))
        .collect();
    let names = names(&labels);
    let named: BTreeMap<&str, &str> = hosts.iter().copied().zip(names.iter().map(String::as_str)).collect();
    let mut seen = BTreeSet::new();
    let mut links = Vec::new();
    for link in network.joined() {
        if let (Some(a), Some(b)) = (named.get(link.ends[0].as_str()), named.get(link.ends[1].as_str()))
            && a != b
            && seen.insert((a.min(b), a.max(b)))
        {
            links.push(format!("{a}-{b}{}", link.impairments()));
        }
    }
    if links.is_empty() {
        return Err(ImportError::Imn("no links in it".to_owned()));
    }
    Ok(file(title, &names, &links))
}

fn file(title: &str, names: &[String], links: &[String]) -> Imported {
    let about = format!("{title}, imported: {} nodes and {} links", names.len(), links.len());
    let mut text = format!("about = {}\nlinks = [\n", toml::Value::from(about));
    let mut linked = BTreeSet::new();
    for link in links {
        let ends = link.split(' ').next().unwrap_or_default();
        linked.extend(ends.split('-').map(str::to_owned));
        let _ = writeln!(text, "  \"{link}\",");
    }
    text.push_str("]\n");
    let alone: Vec<String> =
        names.iter().filter(|name| !linked.contains(*name)).map(|name| format!("\"{name}\"")).collect();
    if !alone.is_empty() {
        let _ = writeln!(text, "nodes = [{}]", alone.join(", "));
    }
    text.push_str(&hint(names));
    let too_large = || format!("it has {} nodes, and a lab {NODES_MAX} at most; leave some out", names.len());
    Imported { text, warning: (names.len() > NODES_MAX).then(too_large) }
}

/// What a topology does not say, to be filled in.
fn hint(names: &[String]) -> String {
    let [at, watched] = [names.first(), names.last()].map(|name| name.map_or("n1", String::as_str));
    format!(
        "\n# Nothing is published yet, and nobody watches; docs/lab.md tells what else a lab can have.\n# viewers = \"{watched} \
         cam\"\n#\n# [[stream]]\n# name = \"cam\"\n# at = \"{at}\"\n#\n# [[step]]\n# when = \"flows\"\n# expect = \"gap < \
         450ms\"\n"
    )
}

/// Names that a lab takes: letters and digits, each once.
fn names(labels: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |(n, label): (usize, &String)| {
        let plain: String = label.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let begins_well = plain.starts_with(|c: char| c.is_ascii_lowercase());
        let wanted = if begins_well { plain } else { format!("n{n}") };
        let mut name = wanted.clone();
        let mut again = 2;
        while !taken.insert(name.clone()) {
            name = format!("{wanted}x{again}");
            again += 1;
        }
        name
    };
    labels.iter().enumerate().map(name).collect()
}

/// As units read it.
fn written(time: Duration) -> String {
    format!("{}us", time.as_micros())
}

#[derive(Debug, Default)]
struct Imn {
    nodes: Vec<ImnNode>,
    links: Vec<ImnLink>,
}

#[derive(Debug)]
struct ImnNode {
    id: String,
    name: String,
    /// A switch, a hub, a wireless LAN.
    is_segment: bool,
}

#[derive(Clone, Debug, Default)]
struct ImnLink {
    ends: [String; 2],
    /// Microseconds.
    delay_us: u64,
    jitter_us: u64,
    /// Percent.
    loss: f64,
    /// Bits a second; 0: no limit.
    bandwidth: u64,
}

impl ImnLink {
    fn impairments(&self) -> String {
        let mut text = String::new();
        for (key, value, unit) in [("delay", self.delay_us, "us"), ("jitter", self.jitter_us, "us")] {
            if value > 0 {
                let _ = write!(text, " {key}={value}{unit}");
            }
        }
        if self.loss > 0.0 {
            let _ = write!(text, " loss={}%", self.loss);
        }
        if self.bandwidth > 0 {
            let _ = write!(text, " rate={}bit/s", self.bandwidth);
        }
        text
    }
}

impl Imn {
    /// Blocks of Tcl: `node ID {`, `link ID {`, up to the brace that closes them.
    fn parse(text: &str) -> Result<Self, String> {
        let mut network = Self::default();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (kind, id) = match words[..] {
                [kind @ ("node" | "link"), id, "{"] => (kind, id),
                _ => continue,
            };
            let mut body = Vec::new();
            let mut depth = 1;
            while depth > 0 {
                let line = lines.next().ok_or_else(|| format!("{kind} {id} has no end"))?;
                depth += line.matches('{').count() as i64 - line.matches('}').count() as i64;
                body.push(line);
            }
            match kind {
                "node" => network.nodes.push(ImnNode::of(id, &body)),
                _ => network.links.push(ImnLink::of(id, &body)?),
            }
        }
        Ok(network)
    }

    /// Links between hosts: their own, and those over each segment, whose halves add up.
    fn joined(&self) -> Vec<ImnLink> {
        let segment = |id: &str| self.nodes.iter().any(|node| node.id == id && node.is_segment);
        let direct = self.links.iter().filter(|link| !link.ends.iter().any(|end| segment(end)));
        let mut joined: Vec<ImnLink> = direct.cloned().collect();
        for node in self.nodes.iter().filter(|node| node.is_segment) {
            let spokes: Vec<(&ImnLink, &String)> = self
                .links
                .iter()
                .filter_map(|link| match &link.ends {
                    [a, b] if *a == node.id => Some((link, b)),
                    [a, b] if *b == node.id => Some((link, a)),
                    _ => None,
                })
                .collect();
            for (n, (one, a)) in spokes.iter().enumerate() {
                for (other, b) in &spokes[n + 1..] {
                    let slower = [one.bandwidth, other.bandwidth].into_iter().filter(|rate| *rate > 0).min();
                    joined.push(ImnLink {
                        ends: [(*a).clone(), (*b).clone()],
                        delay_us: one.delay_us + other.delay_us,
                        jitter_us: one.jitter_us + other.jitter_us,
                        loss: one.loss + other.loss,
                        bandwidth: slower.unwrap_or(0),
                    });
                }
            }
        }
        joined
    }
}

impl ImnNode {
    fn of(id: &str, body: &[&str]) -> Self {
        let value = |key: &str| body.iter().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let is_segment = matches!(value("type "), Some("lanswitch" | "hub" | "wlan" | "rj45" | "tunnel"));
        Self { id: id.to_owned(), name: value("hostname ").unwrap_or(id).to_owned(), is_segment }
    }
}

impl ImnLink {
    fn of(id: &str, body: &[&str]) -> Result<Self, String> {
        let value = |key: &str| body.iter().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let ends = value("nodes {").and_then(|ends| ends.strip_suffix('}')).unwrap_or_default();
        let ends: Vec<String> = ends.split_whitespace().map(str::to_owned).collect();
        let ends = <[String; 2]>::try_from(ends).map_err(|_| format!("link {id} has not two ends"))?;
        // A value that differs by direction stands in braces, one for each; the first counts.
        let number = |key: &str| {
            let text = value(key).unwrap_or("0").trim_start_matches('{');
            text.split_whitespace().next().and_then(|number| number.trim_end_matches('}').parse::<f64>().ok())
        };
        let whole = |key: &str| number(key).map_or(0, |number| number.max(0.0) as u64);
        Ok(Self {
            ends,
            delay_us: whole("delay "),
            jitter_us: whole("jitter "),
            // Older versions call it a bit error rate and mean percent of packets, too.
            loss: number("loss ").filter(|loss| *loss > 0.0).or(number("ber ")).unwrap_or(0.0).clamp(0.0, 100.0),
            bandwidth: whole("bandwidth "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn a_gml_becomes_a_lab_that_can_be_read() {
        let text = "graph [\n node [\n id 7\n label \"New York\"\n Longitude -74.0\n Latitude 40.7\n ]\n node [\n id 9\n \
                    label \"São\"\n Longitude -87.65\n Latitude 41.85\n ]\n node [\n id 3\n label \"new york\"\n ]\n edge \
                    [\n source 7\n target 9\n ]\n]";
        let text = gml(text, "Two \"cities\"").unwrap().text;
        assert!(text.contains("newyork-so delay=8"), "{text}");
        assert!(text.contains("nodes = [\"newyorkx2\"]"), "{text}");
        let lab = Lab::parse(&text).unwrap();
        assert_eq!(lab.nodes, ["newyork", "so", "newyorkx2"]);
        assert_eq!(lab.about, "Two \"cities\", imported: 3 nodes and 1 links");
        // What it hints at makes a lab that can be run.
        let lines = text.lines().filter(|line| !line.contains("docs/lab.md"));
        let filled: Vec<&str> = lines.map(|line| line.trim_start_matches('#').trim_start()).collect();
        let lab = Lab::parse(&filled.join("\n")).unwrap();
        assert_eq!(
            (lab.viewers.len(), lab.streams[0].at.as_slice(), lab.steps.len()),
            (1, &["newyork".to_owned()][..], 1)
        );
    }

    #[test]
    fn a_topology_that_is_too_large_for_a_lab_is_warned_of() {
        let of = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            file("many", &names, &["n0-n1".to_owned()])
        };
        assert!(of(NODES_MAX).warning.is_none());
        let many = of(NODES_MAX + 1);
        assert!(many.warning.unwrap().contains("101 nodes"));
        assert!(Lab::parse(&many.text).is_err(), "a lab refuses it");
    }

    #[test]
    fn a_core_file_becomes_a_lab_that_can_be_read() {
        let text = "node n1 {\n type router\n network-config {\n hostname lisboa\n !\n }\n}\nnode n2 {\n type router\n}\nnode \
                    n3 {\n type lanswitch\n}\nnode n4 {\n type router\n}\nlink l1 {\n delay 20000\n loss 1.5\n bandwidth \
                    10000000\n nodes {n1 n2}\n}\nlink l2 {\n nodes {n3 n2}\n delay 100\n}\nlink l3 {\n nodes {n4 n3}\n delay \
                    {200 300}\n}\n";
        let text = imn(text, "core").unwrap().text;
        assert!(text.contains("\"lisboa-n2 delay=20000us loss=1.5% rate=10000000bit/s\""), "{text}");
        assert!(text.contains("\"n2-n4 delay=300us\""), "{text}");
        assert_eq!(Lab::parse(&text).unwrap().links.len(), 2);
        assert!(imn("node n1 {", "").unwrap_err().to_string().contains("no end"));
        assert!(imn("", "").is_err());
    }
}
