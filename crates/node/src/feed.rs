//! Feeds: objects of one stream over one link, one unidirectional QUIC stream per group and layer.
//!
//! ```text
//! header   feed varint, timeline varint, group varint, layer varint, since varint: stamp of the group less that of the one
//!          before it in its timeline; 0 unknown, or the first
//! objects  as they are stored (levada_media::object), back to back
//! end      0 varint, number of objects of the group over all layers varint; then the stream is finished
//! ```

mod receive;
mod send;
pub(crate) mod shadow;
mod watch;

pub use receive::{Feeds, Inlet, ReceiveError, receive};
pub use send::{ChildFeed, ChildTarget};
pub use watch::Watched;
pub(crate) use watch::watch;
