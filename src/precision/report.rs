//! Owns what choosing a precision and a depth came to, as `precision.json` has it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gate::TaskCost;
use crate::encoder::FeatureChoice;
use crate::quantize::{Agreement, TableBits, Variant};
use crate::selection::DepthFigures;
use crate::tokens::{Coverage, PieceUse};

/// What one variant is like.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Its precision, how many products are exceptions, whether its word table is in 4 bits, and its depth where
    /// one was asked for.
    pub name: String,
    /// Layers that are run; none where they are not known.
    pub depth: Option<usize>,
    /// Per task, what its head sees.
    pub features: BTreeMap<String, FeatureChoice>,
    /// Products that stay more exact.
    pub kept: Vec<String>,
    /// Of graph and weights.
    pub bytes: u64,
    pub texts_per_second: f64,
    /// Milliseconds of a single text, at the median.
    pub latency: f64,
    /// Of its embeddings, or of the means of its highest state, with those of the run's backbone, over all
    /// texts.
    pub cosine: Agreement,
    pub tasks: BTreeMap<String, TaskCost>,
    pub passes: bool,
}

/// What a vocabulary is like.
#[derive(Debug, Clone, Serialize)]
pub struct VocabularyReport {
    /// Pieces that are kept …
    pub pieces: usize,
    /// … of so many.
    pub of: usize,
    /// Texts that were not looked at: where pieces are chosen by their use, validation texts under a vocabulary
    /// of the training texts.
    pub held_out: &'static str,
    pub coverage: Coverage,
    /// How the training and validation texts fit the vocabulary that is kept.
    pub use_now: PieceUse,
}

/// What choosing came to, as `precision.json` has it.
#[derive(Debug, Clone, Serialize)]
pub struct PrecisionReport {
    pub asked: String,
    /// What was asked of the depth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_depth: Option<String>,
    pub max_drop: f64,
    /// Depths that were looked at, from shallow to deep: what they lose in fp32 against the run's own heads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depths: Vec<DepthFigures>,
    /// The word pieces that are kept, where not all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<VocabularyReport>,
    /// In the order in which they are tried; fp32 is measured beside them. With depth `auto` none after the
    /// first that passes.
    pub variants: Vec<VariantReport>,
    /// The first that passes.
    pub chosen: Option<String>,
    /// What could not be tried, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What a variant is called.
pub(super) fn name(variant: &Variant, depth: Option<usize>) -> String {
    let precision = match variant.kept.len() {
        0 => variant.precision.to_string(),
        count => format!("{} but {count} products", variant.precision),
    };
    let precision = match variant.table {
        TableBits::Eight => precision,
        TableBits::Four => format!("{precision}, 4-bit table"),
    };
    depth.map_or_else(|| precision.clone(), |depth| format!("{precision} at depth {depth}"))
}
