//! A node.
pub mod bootstrap;
pub mod topology;
pub mod trust;
