//! Owns the facts `doctor` reports about the machine, and the count of a graph's nodes per provider.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::runtime::{self, Runtime};

/// What this process may use of the machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: String,
    /// Instruction sets that matter for inference.
    pub features: Vec<String>,
    /// Cores this process may use: affinity and control group quota considered.
    pub cores_allowed: usize,
    /// Bytes; 0 where the system does not say.
    pub memory_total: u64,
    pub memory_available: u64,
    /// The control group's limit, if it has one.
    pub memory_limit: Option<u64>,
}

impl Machine {
    /// Looks at the machine.
    #[must_use]
    pub fn read() -> Self {
        let memory = runtime::memory();
        let processor = runtime::processor();
        Self {
            processor: processor.model,
            features: processor.features.into_iter().map(Into::into).collect(),
            cores_allowed: runtime::allowed_cores(),
            memory_total: memory.as_ref().map_or(0, |memory| memory.total),
            memory_available: memory.as_ref().map_or(0, |memory| memory.available),
            memory_limit: memory.and_then(|memory| memory.limit),
        }
    }
}

/// How many nodes of a graph each provider runs, after ONNX Runtime has optimised it.
///
/// # Errors
/// The graph cannot be loaded or run.
pub fn nodes_per_provider(runtime: &Runtime, graph: &Path) -> Result<BTreeMap<String, usize>> {
    let placement = runtime.placement(graph)?;
    Ok(placement
        .per_provider
        .into_iter()
        .map(|(provider, operators)| (provider, operators.values().sum()))
        .collect())
}
