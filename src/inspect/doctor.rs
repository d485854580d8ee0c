//! Owns the facts `doctor` reports about the machine, what opening a model takes on it, and the count of a
//! graph's nodes per provider.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::bundle::SelfTest;
use crate::classifier::{Classifier, Model, OpenOptions};
use crate::embed::MemoryPlan;
use crate::error::Result;
use crate::runtime::{self, Runtime};
use crate::text::Text;
use crate::tuning::{self, Applied, Kept, Setting};

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

/// Whether a network was tuned for this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Tuning {
    /// How it is run now.
    pub setting: Setting,
    /// What that comes from, if it was tuned.
    pub kept: Option<Kept>,
    /// Why a tuning that is there cannot be used.
    pub problem: Option<String>,
    /// Tunings of the same network that are not of this machine and library, and in what.
    pub elsewhere: Vec<String>,
}

impl Tuning {
    /// Of what was applied, and what else is in the folder.
    #[must_use]
    pub fn of(applied: &Applied, folder: Option<&Path>) -> Self {
        let elsewhere = folder.zip(applied.key.as_ref()).map(|(folder, key)| {
            let others = tuning::kept_elsewhere(folder, key);
            others.iter().map(|kept| key.differences(&kept.key)).collect()
        });
        Self {
            setting: applied.setting(),
            kept: applied.kept.clone(),
            problem: applied.problem.as_ref().map(ToString::to_string),
            elsewhere: elsewhere.unwrap_or_default(),
        }
    }
}

/// What opening a model took.
#[derive(Debug, Clone, Serialize)]
pub struct Opened {
    /// `run`, or the precision of a bundle.
    pub precision: String,
    /// How this processor multiplies its codes; none where it computes in floats.
    pub kernel: Option<String>,
    /// Checking everything and loading the network, the self-test included.
    pub open_seconds: f64,
    /// The first prediction after that.
    pub first_prediction_seconds: f64,
    /// What a bundle's self-test found; none for a run, or when it was skipped.
    pub self_test: Option<SelfTest>,
    /// The most memory this process ever had.
    pub peak_rss_bytes: u64,
    /// How it keeps below a limit, if one was given.
    pub memory: Option<MemoryPlan>,
    pub tuning: Tuning,
}

/// Opens a model and lets it predict once; gives the model, too.
///
/// # Errors
/// It cannot be opened, or running fails.
pub fn open_model(path: &Path, options: &OpenOptions) -> Result<(Opened, Classifier)> {
    let start = Instant::now();
    let classifier = Classifier::open_with(path, options)?;
    let open_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let second = classifier.reads_pairs().then_some("It is.");
    let text = Text { first: "Is this sentence understood?", second };
    classifier.predict(&[text])?;
    let precision = match classifier.model() {
        Model::Run(_) => "run".to_owned(),
        Model::Bundle(bundle) => bundle.manifest().precision.clone(),
    };
    let features = runtime::processor().features;
    let opened = Opened {
        kernel: (precision == "int8").then(|| kernel(&features)),
        precision,
        open_seconds,
        first_prediction_seconds: start.elapsed().as_secs_f64(),
        self_test: classifier.self_test(),
        peak_rss_bytes: runtime::peak_rss_bytes(),
        memory: classifier.memory(),
        tuning: Tuning::of(classifier.tuning(), options.tuning.as_deref()),
    };
    Ok((opened, classifier))
}

/// How a processor with these instruction sets multiplies 8-bit codes. A bundle needs no second variant for
/// those without: its codes are limited so that pairs of products fit into 16 bits (`quantize`).
fn kernel(features: &[&str]) -> String {
    const DOT_PRODUCTS: [&str; 5] = ["amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "dotprod"];
    match DOT_PRODUCTS.iter().find(|name| features.contains(name)) {
        Some(name) => format!("8-bit dot products ({name})"),
        None => "pairs of products in 16 bits, which the codes cannot overflow".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_follows_from_the_processor() {
        assert!(kernel(&["avx2", "avx512_vnni"]).contains("avx512_vnni"));
        assert!(kernel(&["neon", "dotprod", "i8mm"]).contains("i8mm"));
        assert!(kernel(&["sse4.1", "avx2"]).contains("cannot overflow"));
    }
}
