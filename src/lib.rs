//! Freeze the backbone, train the heads, ship one file.

pub mod bert;
pub mod data;
pub mod error;
pub mod fingerprint;
pub mod graph;
pub mod heads;
pub mod metrics;
pub mod runtime;
pub mod store;
pub mod tokens;
