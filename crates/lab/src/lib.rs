//! A lab for meshes: real nodes as processes, on links that are as bad as a file says.

pub mod net;
