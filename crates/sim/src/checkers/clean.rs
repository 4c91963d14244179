//! Invariant 5: after the last leave no media move, nobody tells how far he is, and no state remains.

use levada_overlay::node::view::Sizes;

use super::NodeIndex;

/// What had moved when the time of grace after the last leave was over: from then on nothing may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clean {
    pub(crate) objects: u64,
    /// How often shadows were told how far a parent is.
    pub(crate) fronts: u64,
}

impl Clean {
    /// What is wrong at the end, when so much has moved and nodes hold this.
    pub(crate) fn end(self, now: Self, held: impl Iterator<Item = (NodeIndex, Sizes)>) -> Option<String> {
        let (objects, fronts) = (now.objects - self.objects, now.fronts - self.fronts);
        if objects + fronts > 0 {
            return Some(format!("{objects} objects and {fronts} fronts move although nobody reads"));
        }
        let left = |(node, sizes): (NodeIndex, Sizes)| {
            let (table, size) = sizes.of_watching().into_iter().find(|(_, size)| size.held > 0)?;
            Some(format!("node {node} holds {} {table}", size.held))
        };
        let left: Vec<String> = held.filter_map(left).collect();
        Some(format!("{}, and {} others hold something", left.first()?, left.len() - 1))
    }
}
