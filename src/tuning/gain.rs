//! Owns how much faster one setting is than another.

use serde::{Deserialize, Serialize};

/// How much faster one setting is than another, measured in turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// The geometric mean of the ratios of their speeds.
    pub ratio: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Pairs of passes.
    pub pairs: usize,
}
