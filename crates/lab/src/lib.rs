//! A lab for meshes: real nodes as processes, on links that are as bad as a file says, under a script of failures, with
//! expectations that are checked while viewers record what they see. docs/lab.md tells how to use it.

pub mod cadence;
pub mod chaos;
pub mod check;
pub mod console;
pub mod file;

mod history;
mod http;
pub mod import;
mod interrupt;
mod judge;
pub mod mesh;
pub mod net;
mod nodes;
mod notation;
pub mod outcome;
pub mod report;
mod run;
mod state;
pub mod tape;
mod viewers;

pub use file::{Lab, LabError};
pub use interrupt::Interrupt;
pub use nodes::Frozen;
pub use run::run;
