//! What must always hold (DESIGN 7), one checker a file, run at every event that can break it.

mod agreement;
mod bounds;
mod clean;
mod copies;
mod costs;
mod delivery;
mod loops;
mod progress;
mod switches;
mod traffic;

pub(crate) use agreement::differing;
pub(crate) use bounds::Bounds;
pub(crate) use clean::Clean;
pub(crate) use copies::Copies;
pub(crate) use costs::{Costs, Truth};
pub(crate) use delivery::Delivery;
pub(crate) use loops::find_loop;
pub(crate) use progress::Progress;
pub(crate) use switches::Switches;
pub(crate) use traffic::{Traffic, length as message_length};

/// Number of a node.
pub(crate) type NodeIndex = u32;
/// Number of a stream in its world.
pub(crate) type StreamIndex = u16;

/// Something that must never happen, and when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// Virtual time.
    pub at: levada_overlay::Time,
    /// What was seen.
    pub seen: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {}: {}: {}", self.at, self.invariant, self.seen)
    }
}

/// Something for each stream at each node where there is any.
#[derive(Debug)]
pub(crate) struct PerNode<T>(Vec<Vec<Option<T>>>);

impl<T> Default for PerNode<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> PerNode<T> {
    pub(crate) fn get(&self, node: NodeIndex, stream: StreamIndex) -> Option<&T> {
        self.0.get(node as usize)?.get(usize::from(stream))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, node: NodeIndex, stream: StreamIndex) -> Option<&mut T> {
        self.0.get_mut(node as usize)?.get_mut(usize::from(stream))?.as_mut()
    }

    /// The place of it, made if need be.
    pub(crate) fn place(&mut self, node: NodeIndex, stream: StreamIndex) -> &mut Option<T> {
        let (node, stream) = (node as usize, usize::from(stream));
        if self.0.len() <= node {
            self.0.resize_with(node + 1, Vec::new);
        }
        if self.0[node].len() <= stream {
            self.0[node].resize_with(stream + 1, || None);
        }
        &mut self.0[node][stream]
    }

    /// Removes what there is of one stream at a node, or of all.
    pub(crate) fn remove(&mut self, node: NodeIndex, stream: Option<StreamIndex>) {
        let Some(of_node) = self.0.get_mut(node as usize) else { return };
        for (index, place) in of_node.iter_mut().enumerate() {
            if stream.is_none_or(|stream| usize::from(stream) == index) {
                *place = None;
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIndex, StreamIndex, &T)> {
        self.0.iter().enumerate().flat_map(|(node, of_node)| {
            let places = of_node.iter().enumerate();
            places.filter_map(move |(stream, place)| Some((node as NodeIndex, stream as StreamIndex, place.as_ref()?)))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIndex, StreamIndex, &mut T)> {
        self.0.iter_mut().enumerate().flat_map(|(node, of_node)| {
            let places = of_node.iter_mut().enumerate();
            places.filter_map(move |(stream, place)| Some((node as NodeIndex, stream as StreamIndex, place.as_mut()?)))
        })
    }
}

/// The value below which `share` of the sorted values lie (nearest rank).
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
