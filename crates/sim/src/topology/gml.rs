//! Topologies in GML, as the Topology Zoo has them (Knight et al., IEEE JSAC 29(9), 2011): nodes with their places, and the
//! delay of a link from the distance between them. The files are not part of this project.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cities::Mesh;
use crate::link::Impairment;

/// Fibre is longer than the great circle by about this factor.
const DETOUR: f64 = 1.4;
/// Speed of light in fibre, kilometres a second.
const FIBRE_KM_PER_S: f64 = 200_000.0;
/// Mean radius of the earth, kilometres (IUGG).
const EARTH_KM: f64 = 6_371.0;
/// Delay of a link whose ends have no place, or the same: the last metres.
const SHORT: Duration = Duration::from_micros(500);

/// Reads a file: the labels of the nodes, empty where there is none, and the links among them. Node `n3` is the fourth in
/// the file.
pub fn parse(text: &str) -> Result<(Vec<String>, Mesh), String> {
    let mut ids = BTreeMap::new();
    let mut places = Vec::new();
    let (mut labels, mut label) = (Vec::new(), String::new());
    let mut mesh = Mesh::default();
    let mut block: Option<(&str, BTreeMap<&str, f64>)> = None;
    let mut edges = Vec::new();
    for line in text.lines().map(str::trim) {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match (key, value.trim()) {
            ("node" | "edge", "[") => {
                block = Some((key, BTreeMap::new()));
                label.clear();
            }
            ("]", _) => match block.take() {
                Some(("node", fields)) => {
                    let id = fields.get("id").ok_or("a node without an id")?;
                    ids.insert(*id as i64, places.len());
                    labels.push(std::mem::take(&mut label));
                    places.push(fields.get("Longitude").copied().zip(fields.get("Latitude").copied()));
                }
                Some((_, fields)) => {
                    let end = |key| fields.get(key).map(|id| *id as i64).ok_or(format!("an edge without a {key}"));
                    edges.push((end("source")?, end("target")?));
                }
                None => {}
            },
            ("label", value) => label = value.trim_matches('"').to_owned(),
            (key, value) => {
                if let Some((_, fields)) = &mut block
                    && let Ok(value) = value.parse()
                {
                    fields.insert(key, value);
                }
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for (source, target) in edges {
        let index = |id: i64| ids.get(&id).copied().ok_or(format!("an edge to node {id}, which is not there"));
        let (a, b) = (index(source)?, index(target)?);
        // Parallel links and loops occur; one link is what a mesh has between two nodes.
        if a != b && seen.insert((a.min(b), a.max(b))) {
            let delay = places[a].zip(places[b]).map_or(SHORT, |(a, b)| delay(a, b)).max(SHORT);
            let impairment = Impairment::new(delay, delay / 20);
            mesh.links.push((a, b));
            mesh.impairments.push([impairment.clone(), impairment]);
        }
    }
    if mesh.links.is_empty() {
        return Err("no links in it".to_owned());
    }
    Ok((labels, mesh))
}

/// Time that light takes between two places (longitude, latitude), by the haversine formula.
fn delay(a: (f64, f64), b: (f64, f64)) -> Duration {
    let (latitude_a, latitude_b) = (a.1.to_radians(), b.1.to_radians());
    let half = |x: f64| (x / 2.0).sin().powi(2);
    let h = half(latitude_b - latitude_a) + latitude_a.cos() * latitude_b.cos() * half((b.0 - a.0).to_radians());
    let km = 2.0 * EARTH_KM * h.sqrt().min(1.0).asin();
    Duration::from_secs_f64(km * DETOUR / FIBRE_KM_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_york_to_chicago_takes_eight_milliseconds() {
        let text = "graph [\n label \"x\"\n node [\n id 7\n label \"New York\"\n Longitude -74.0\n Latitude 40.7\n ]\n node [\n id 9\n \
                    Longitude -87.65\n Latitude 41.85\n ]\n edge [\n source 7\n target 9\n ]\n edge [\n source 9\n target 7\n ]\n]";
        let (labels, mesh) = parse(text).unwrap();
        assert_eq!((labels, mesh.links), (vec!["New York".to_owned(), String::new()], vec![(0, 1)]));
        let ms = mesh.impairments[0][0].delay.as_secs_f64() * 1e3;
        assert!((7.5..8.5).contains(&ms), "{ms}");
        assert!(parse("graph [ ]").is_err());
    }
}
