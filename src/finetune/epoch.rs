//! Owns what an epoch came to.

use serde::{Deserialize, Serialize};

/// What validation says of some weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// What the best epoch is chosen by: more is better.
    pub score: f64,
    /// Per task, its score; none of a task without validation rows.
    #[serde(rename = "accuracy")]
    pub scores: Vec<Option<f64>>,
}

/// What an epoch came to. Epoch 0 is the state before training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    pub number: u64,
    /// Mean loss of the rows, per task; none before training.
    pub losses: Vec<f64>,
    pub validation: Validation,
    pub seconds: f64,
    /// Seconds inside ONNX Runtime, of those.
    pub runtime_seconds: f64,
    /// Real tokens trained on.
    pub tokens: u64,
}
