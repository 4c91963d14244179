//! Bytes in, bytes out: containers, codec headers, frames and objects. No thread, no clock, no file of its own.
//!
//! ```text
//! file, stdin ──> demux::{mp4, ts} ──> Frame ──> Object (to the mesh)
//! Object (from the mesh) ──> Assembler ──> Frame ──> mux::{ts, fmp4} ──> player
//! ```

pub mod catalog;
pub mod codec;
pub mod demux;
pub mod frame;
pub mod hls;
pub mod mux;
pub mod object;
pub mod source;

pub use catalog::{Catalog, Codec, Kind, Track};
pub use frame::Frame;
pub use object::{Assembler, Layer, Object, ObjectError};
