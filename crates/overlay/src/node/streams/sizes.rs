//! How much a node holds, table by table, each with the limit that is written for it: for checkers, which look while a
//! world runs, and at what is left when nobody watches.

use super::admission::STREAMS_MAX;
use super::adopt::ADOPTED_MAX;
use super::{Node, Stream};
use crate::graph::VERTICES_MAX;
use crate::node::records::DISTANCES_MAX;
use crate::node::trace::OPEN_MAX;
use crate::table::AUTHORS_MAX;

/// Records of an author: one of each kind.
const KINDS: usize = 3;
/// Lists of links that are not to be asked for a while.
const PAUSES_PER_STREAM: usize = 3;

/// What a table holds, and what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Entries.
    pub held: usize,
    /// Most entries, given what else the node has.
    pub limit: usize,
}

/// All tables that grow with what others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Streams with state, besides those that are published or read here.
    pub streams: Size,
    /// Feeds that were asked for; each is that of a parent, a candidate, the parent before, or a backup.
    pub feeds: Size,
    /// Children, over all streams.
    pub children: Size,
    /// Links not to be asked for a while, over all streams: for a feed, for a better one, for a backup.
    pub pauses: Size,
    /// Neighbours that were adopted.
    pub adopted: Size,
    /// Traces under way.
    pub traces: Size,
    /// Records held.
    pub records: Size,
    /// Nodes of the graph.
    pub vertices: Size,
    /// Sets of distances kept.
    pub distances: Size,
}

impl Sizes {
    /// All tables, by name.
    pub fn tables(&self) -> [(&'static str, Size); 9] {
        [
            ("streams", self.streams),
            ("feeds", self.feeds),
            ("children", self.children),
            ("pauses", self.pauses),
            ("adopted neighbours", self.adopted),
            ("traces", self.traces),
            ("records", self.records),
            ("vertices", self.vertices),
            ("distances", self.distances),
        ]
    }

    /// The tables that hold something only while somebody watches.
    pub fn of_watching(&self) -> [(&'static str, Size); 4] {
        [("streams", self.streams), ("feeds", self.feeds), ("children", self.children), ("pauses", self.pauses)]
    }
}

impl Node {
    /// How much this node holds.
    pub fn sizes(&self) -> Sizes {
        let size = |held, limit| Size { held, limit };
        let sum = |of: fn(&Stream) -> usize| self.streams.values().map(of).sum::<usize>();
        let (links, streams) = (self.links.len(), self.streams.len());
        let for_others = |stream: &&Stream| stream.published.is_none() && stream.readers == 0;
        let adopted = self.contacts.values().filter(|contact| contact.adopted).count();
        Sizes {
            streams: size(self.streams.values().filter(for_others).count(), STREAMS_MAX),
            feeds: size(self.feeds.len(), sum(|stream| stream.upstreams().count())),
            children: size(sum(|stream| stream.children.len()), self.config.children_max.min(links * streams)),
            pauses: size(
                sum(|stream| stream.avoid.len() + stream.slower.len() + stream.unfit.len()),
                PAUSES_PER_STREAM * links * streams,
            ),
            adopted: size(adopted, ADOPTED_MAX),
            traces: size(self.traces.len(), OPEN_MAX),
            records: size(self.table.len(), KINDS * AUTHORS_MAX),
            vertices: size(self.graph.len(), VERTICES_MAX),
            distances: size(self.distances.len(), DISTANCES_MAX),
        }
    }
}
