//! Owns the report of a comparison: its types (`report.json`), the recommendation they lead to, and the page
//! for people.
//!
//! Refuses to measure anything, and to say in the page what is not in `report.json`.

mod beside;
mod charts;
mod classes;
mod dial;
mod frontier;
mod gain;
mod html;
mod names;
mod recommend;
mod run_page;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document;
use crate::error::{Kind, Result};
use crate::files;
use crate::finetune::Epoch;
use crate::fingerprint::Fingerprint;
use crate::train::RunMetrics;
pub use beside::{BesidePoint, read_beside};
pub use dial::{DialPoint, DialTask, HeldOutFigures, Speed, depth_name, depth_of};
pub use html::page;
pub use names::in_words;
pub use recommend::recommend;
pub use run_page::{Measured, run_page};

/// The version of `report.json` this program writes and reads.
pub const FORMAT: u32 = 1;
/// File names in the directory of a comparison.
pub const REPORT: &str = "report.json";
pub const PAGE: &str = "report.html";

/// Everything a comparison found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub format: u32,
    /// The version of frosthead that made it.
    pub frosthead: String,
    /// Hash of the rows and options that all scenarios share.
    pub inputs: Fingerprint,
    /// The table the rows came from.
    pub data: String,
    pub tasks: Vec<String>,
    pub seed: u64,
    /// Processor and threads: what the seconds were measured on.
    pub machine: String,
    pub backbones: Vec<BackboneReport>,
    /// What other programs came to, measured elsewhere: drawn beside the dial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<BesidePoint>,
}

/// One backbone, and every scenario with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneReport {
    pub name: String,
    /// Its directory below that of the comparison.
    pub folder: String,
    /// Hash of what identifies its features; empty only before it was opened.
    pub fingerprint: String,
    /// Bytes of its weight file.
    pub bytes: u64,
    /// None when it cannot be looked into (an imported `.onnx` file).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    pub hidden: usize,
    /// Speed of a frozen pass, measured on a sample of the texts.
    pub texts_per_second: f64,
    /// Seconds of the passes that computed features …
    pub features_seconds: f64,
    /// … of so many texts; the others were in the store.
    pub features_texts: u64,
    pub scenarios: Vec<ScenarioReport>,
    /// Accuracy of scenario 2 against the number of training rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_curve: Vec<CurvePoint>,
    /// Its depths as they are deployed, from shallow to deep, and behind them the usual recipe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dial: Vec<DialPoint>,
}

/// Time and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    pub seconds: f64,
    pub bytes: u64,
}

/// One scenario with one backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioReport {
    /// `1`, `2`, `3:TASK`, `top1`, …
    pub scenario: String,
    /// What is frozen, for people.
    pub frozen: String,
    pub trained_parameters: u64,
    /// None when the backbone cannot be looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_parameters: Option<u64>,
    /// Said before it was started.
    pub estimate: Estimate,
    pub outcome: Outcome,
}

/// What became of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not run, and why.
    Skipped(String),
    /// It was run.
    Done(Box<Done>),
}

/// A scenario that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The run directory, below that of the comparison.
    pub run: String,
    /// The time limit (seconds) that ended training early, if one did: the run is the best so far then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
    /// Seconds for token states at the cut, earlier stages included.
    pub states_seconds: f64,
    /// Seconds of fitting and training, earlier stages included.
    pub training_seconds: f64,
    /// Seconds from start to written run, in the call that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Largest resident set meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Bytes of the run directory.
    pub run_bytes: u64,
    /// Bytes of the token states at the last cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_bytes: Option<u64>,
    /// The run's `metrics.json`.
    pub metrics: RunMetrics,
    /// The run's `scores.json`: what each labelled validation row adds to the score of its task.
    #[serde(skip)]
    pub scores: BTreeMap<String, Vec<f64>>,
    /// The stages in which a part of the backbone was trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageCurve>,
}

/// A stage of training, epoch by epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageCurve {
    pub frozen: String,
    pub epochs: Vec<Epoch>,
    pub best: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Accuracy of scenario 2 on the test rows when fitted on a part of the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Share of the training rows.
    pub share: f64,
    pub rows: u64,
    pub tasks: BTreeMap<String, Score>,
}

/// Figures of one task with their standard errors; none where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    pub accuracy: Option<f64>,
    pub accuracy_standard_error: Option<f64>,
    pub macro_f1: Option<f64>,
    pub macro_f1_standard_error: Option<f64>,
    /// What the accuracy gained since the point before, on the same rows …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// … and the standard error of that, row by row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_standard_error: Option<f64>,
}

impl Report {
    /// What the score of a task is called, where it was measured.
    #[must_use]
    pub fn score_name(&self, task: &str) -> &'static str {
        let scenarios = self.backbones.iter().flat_map(|backbone| &backbone.scenarios);
        let found = scenarios.filter_map(ScenarioReport::done).find_map(|done| done.metrics.tasks.get(task));
        found.map_or("accuracy", |metrics| metrics.score_name())
    }

    /// Reads `report.json` of a comparison; nothing when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is of another version.
    pub fn open(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(REPORT);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let what = "this is not the report of a comparison";
        document::versioned_json(&text, &(FORMAT..=FORMAT), Kind::Run, what)
            .map(Some)
            .map_err(|error| error.at(&path).help("choose another --out"))
    }

    /// Writes `report.json` and `report.html`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        // First that by which a comparison is known: a page alone would be somebody else's.
        files::write(&directory.join(REPORT), document::pretty(self).as_bytes())?;
        files::write(&directory.join(PAGE), page(self).as_bytes())
    }
}

impl ScenarioReport {
    /// What it came to, when it was run.
    #[must_use]
    pub fn done(&self) -> Option<&Done> {
        match &self.outcome {
            Outcome::Done(done) => Some(done),
            Outcome::Skipped(_) => None,
        }
    }

    /// Whether a part of the backbone is trained.
    #[must_use]
    pub fn trains_backbone(&self) -> bool {
        self.done().is_some_and(|done| !done.stages.is_empty())
    }
}

#[cfg(test)]
pub(crate) mod tests;
