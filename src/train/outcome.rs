//! Owns what a training came to: `metrics.json`, `training.json`, `proof.json`, and what is said of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::classifier::run::{Run, TRAINING};
use crate::data::Classes;
use crate::embed::TextNotes;
use crate::error::Result;
use crate::finetune::Epoch;
use crate::fingerprint::Fingerprint;
use crate::heads::FitReport;
use crate::metrics::{Calibration, TaskMetrics};

/// How many rows went where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub rows: u64,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
    /// Training rows left out because their text is among the test or validation rows of another file.
    pub left_out: u64,
}

/// `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// On the test rows.
    pub tasks: BTreeMap<String, TaskMetrics>,
    /// On the validation rows.
    pub valid: BTreeMap<String, TaskMetrics>,
    pub sizes: Sizes,
    /// Rows without a label, per task.
    pub unlabelled: BTreeMap<String, u64>,
    /// What there is to know of each task's classes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, Classes>,
    /// What was odd about the texts.
    pub texts: TextNotes,
    pub seed: u64,
    /// What each head's temperature, found on the validation rows, does to its probabilities; nothing of a
    /// task without such rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calibration: BTreeMap<String, Calibration>,
    /// Rows that heads were fitted on once more after these figures were taken, the test rows included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub final_rows: BTreeMap<String, u64>,
    /// Of seeded heads that nobody has trained, on the test rows; when everything is frozen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untrained: BTreeMap<String, TaskMetrics>,
    /// Of heads that are their labels' descriptions, on the test rows: what costs no training, where heads are
    /// trained on texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub described: BTreeMap<String, Described>,
    /// What a moving backbone did to the frozen heads, on the test rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drift: BTreeMap<String, Drift>,
}

/// The score of labels by their descriptions; none without test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Described {
    pub score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

/// The score of a frozen head before and after the backbone below it was trained; none without test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// Of the difference, row by row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

/// The outcome of a training.
#[derive(Debug)]
pub enum Trained {
    /// The run had been made from the same inputs before.
    UpToDate(Box<RunMetrics>),
    /// The run was written.
    Written(Box<TrainSummary>),
}

impl Trained {
    /// The run's figures.
    #[must_use]
    pub fn metrics(&self) -> &RunMetrics {
        match self {
            Self::UpToDate(metrics) => metrics,
            Self::Written(summary) => &summary.metrics,
        }
    }
}

/// What a training did.
#[derive(Debug)]
pub struct TrainSummary {
    pub metrics: RunMetrics,
    pub fits: Vec<FitReport>,
    /// Stages in which a part of the backbone was trained.
    pub stages: Vec<StageReport>,
    /// What became of every parameter tensor; empty when the backbone cannot be looked into.
    pub proof: Vec<TensorProof>,
}

/// What one stage came to, as `training.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// What was frozen, for people.
    pub frozen: String,
    pub trained_parameters: u64,
    pub all_parameters: u64,
    /// Before training, then epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch whose weights were kept.
    pub best: u64,
    /// Why training ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether somebody asked it to end: the same command goes on from the last whole epoch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Seconds for the frozen part below the cut (nothing when its states were stored).
    pub states_seconds: f64,
    /// The lower cut whose stored, rounded states those at the cut were computed from, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_from: Option<String>,
    /// Bytes of the stored token states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_bytes: Option<u64>,
    pub training_seconds: f64,
    /// Largest gradient seen, per trained parameter.
    pub largest_gradients: BTreeMap<String, f32>,
}

/// What became of one parameter tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorProof {
    pub name: String,
    /// Whether the plan trains it.
    pub trained: bool,
    pub before: Fingerprint,
    pub after: Fingerprint,
    /// Largest gradient that training steps saw; none for a frozen tensor, and for a head that was only
    /// fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_gradient: Option<f32>,
}

impl TensorProof {
    /// Whether its numbers changed.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.before != self.after
    }
}

/// The stages a run was trained in; none when it was not trained above a cut.
///
/// # Errors
/// `training.json` cannot be read, or was changed.
pub fn stage_reports(run: &Run) -> Result<Vec<StageReport>> {
    let there = run.files.find(TRAINING)?.is_some();
    if there { run.json(TRAINING) } else { Ok(Vec::new()) }
}
