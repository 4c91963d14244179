//! After quiet, nodes that are connected hold the same records.

use super::NodeIndex;

/// Of nodes with their component and the digest of their records: the first whose digest is not that of its component.
pub(crate) fn differing(nodes: impl Iterator<Item = (NodeIndex, u32, Vec<u64>)>) -> Option<(NodeIndex, NodeIndex)> {
    let mut first: std::collections::BTreeMap<u32, (NodeIndex, Vec<u64>)> = Default::default();
    for (node, component, digest) in nodes {
        let (other, expected) = first.entry(component).or_insert_with(|| (node, digest.clone()));
        if *expected != digest {
            return Some((*other, node));
        }
    }
    None
}
