//! Owns recipe → run: split the rows, fit or train what the freeze plan leaves free, measure on held-out
//! rows, write the run.
//!
//! Refuses to touch what is frozen, and to overwrite a run made from something else.

mod described;
mod earlier;
mod features;
mod fits;
mod job;
mod measured;
mod network;
mod proof;
mod recipe;
mod refit;
mod rows;
mod seen;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::classifier::run::{BackboneRecipe, TaskFeatures};
use crate::data::{Classes, Rare, Source, SplitOptions};
use crate::dataset::Input;
use crate::embed::{Embedder, Progress, StatesProgress, TextNotes};
use crate::error::{Error, Kind, Result};
use crate::finetune::StageProgress;
use crate::fingerprint::Fingerprint;
use crate::heads::{FitOptions, FitReport};
use crate::metrics::{Calibration, TaskMetrics};
use crate::plan::{FreezePlan, Scenario};
use crate::tokens::LongTexts;
use earlier::Earlier;
pub use earlier::reports as stage_reports;
pub use features::{Chosen, FeatureRequest};
use fits::check_earlier;
use job::Job;
pub use network::{NetworkOptions, StageReport};
pub use proof::TensorProof;
use recipe::{recipe, up_to_date};
pub use refit::{Accuracy, HeadChange, RefitReport, RefitRequest, Refitted, refit};
use rows::Table;

/// How trainable heads begin when a part of the backbone is trained with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadInit {
    /// Fitted on the frozen backbone's features: scenario 2's solution.
    #[default]
    Fitted,
    /// Drawn.
    Random,
}

impl FromStr for HeadInit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fitted" => Ok(Self::Fitted),
            "random" => Ok(Self::Random),
            _ => Err(Error::new(Kind::Usage, "heads cannot begin like this")
                .found(format!("{text:?}"))
                .expected("fitted or random")),
        }
    }
}

impl fmt::Display for HeadInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fitted => "fitted",
            Self::Random => "random",
        })
    }
}

/// What to train, on what, and where to put it.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    pub data: Input,
    /// Validation rows of their own; otherwise a fraction of the training rows.
    pub valid: Option<Input>,
    /// Test rows of their own; otherwise a fraction of all rows.
    pub test: Option<Input>,
    /// Label columns; one head each.
    pub tasks: Vec<String>,
    pub split: SplitOptions,
    /// What becomes of classes with a single row.
    pub rare: Rare,
    pub fit: FitOptions,
    /// What the heads see.
    pub features: FeatureRequest,
    /// Bytes a fit may take: `auto` leaves out choices that would take more.
    pub fit_memory: u64,
    /// The values of `--freeze`; none freezes the backbone.
    pub freeze: Vec<String>,
    /// Trainable top layers, stage by stage; none follows `freeze`.
    pub unfreeze: Vec<usize>,
    pub network: NetworkOptions,
    pub head_init: HeadInit,
    /// An earlier run whose heads are taken over.
    pub init_heads: Option<PathBuf>,
    /// A run of the first stages of `unfreeze`, otherwise made from the same: its result stands for training
    /// them again.
    pub earlier: Option<PathBuf>,
    /// A table `task,label,text` that describes the labels, for the baseline without training.
    pub label_text: Option<Source>,
    /// Empty texts and NUL bytes are errors.
    pub strict: bool,
    pub output: PathBuf,
    pub overwrite: bool,
}

/// What happens during a training, as it happens.
#[derive(Debug)]
pub enum TrainEvent<'e> {
    /// Rows are read and their features computed.
    Rows(&'e Progress),
    /// All rows are read and divided: what there is to know of each task's classes.
    Classes(&'e BTreeMap<String, Classes>),
    /// Work without results of its own that may take long, and how far it is, in words.
    Work(&'e str),
    /// `auto` has settled what a task's head sees.
    Chosen(&'e Chosen<'e>),
    /// Token states at a cut are computed.
    States(StatesProgress),
    /// A stage begins.
    Stage { frozen: &'e str, trained_parameters: u64, all_parameters: u64 },
    /// A stage goes on.
    Progress(&'e StageProgress<'e>),
}

/// Shows what happens; a break ends training with the best so far.
pub type Show<'s> = dyn FnMut(&TrainEvent<'_>) -> ControlFlow<()> + 's;

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
    /// Of seeded heads that nobody has trained, on the test rows; when everything is frozen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untrained: BTreeMap<String, TaskMetrics>,
    /// What a moving backbone did to the frozen heads, on the test rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drift: BTreeMap<String, Drift>,
}

/// Accuracy of a frozen head before and after the backbone below it was trained; none without test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub before: Option<f64>,
    pub after: Option<f64>,
}

/// The outcome of [`train`].
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

/// What [`train`] did.
#[derive(Debug)]
pub struct TrainSummary {
    pub metrics: RunMetrics,
    pub fits: Vec<FitReport>,
    /// Stages in which a part of the backbone was trained.
    pub stages: Vec<StageReport>,
    /// What became of every parameter tensor; empty when the backbone cannot be looked into.
    pub proof: Vec<TensorProof>,
}

/// Trains a run. `embedder` is needed when any input is a table of texts.
///
/// # Errors
/// The inputs are malformed, the plan is impossible, the rows cannot be split or fitted, or the run cannot be written.
pub fn train(
    request: &TrainRequest,
    mut embedder: Option<&mut Embedder>,
    show: &mut Show<'_>,
) -> Result<Trained> {
    let backbone = embedder.as_deref().map(|embedder| Arc::clone(embedder.backbone()));
    let stages = stages(request, backbone.as_deref())?;
    features::check(request, embedder.as_deref(), &stages)?;
    let long = embedder.as_deref().map(Embedder::long).unwrap_or_default();
    let mut recipe = recipe(request, (backbone.as_deref(), long), &stages)?;
    if let Some(metrics) = up_to_date(request, &recipe)? {
        return Ok(Trained::UpToDate(Box::new(metrics)));
    }
    check_earlier(request, backbone.as_deref())?;
    let earlier = Earlier::open(request, (backbone.as_deref(), long), &stages)?;
    let mut table = Table::read(request, embedder.as_deref_mut(), show)?;
    let views = features::settle(request, &stages, &mut table, embedder.as_deref(), show)?;
    recipe.features.tasks = request
        .tasks
        .iter()
        .zip(&views)
        .map(|(task, view)| (task.clone(), TaskFeatures { choice: view.choice, width: view.columns.len() }))
        .collect();
    if recipe.data.text.is_none() {
        recipe.data.by_vector = Some(table.rows.by_vector);
    }
    if let Some(made) = table.rows.made_with.clone() {
        recipe.features.long = made.long;
        let (name, fingerprint) = (made.name, made.fingerprint);
        recipe.backbone.get_or_insert(BackboneRecipe { name, fingerprint, directory: None });
    }
    let job = Job { request, stages, earlier, table, views, recipe };
    job.run(embedder, show)
}

/// Hash of everything a run depends on: a run with the same is up to date.
///
/// # Errors
/// The plan is impossible, or an input cannot be read.
pub fn inputs(
    request: &TrainRequest,
    (backbone, long): (Option<&Backbone>, LongTexts),
) -> Result<Fingerprint> {
    Ok(recipe(request, (backbone, long), &stages(request, backbone)?)?.inputs)
}

/// Whether a part of the backbone is trained, which sees only the start of a long text.
///
/// # Errors
/// The plan is impossible.
pub fn trains_layers(request: &TrainRequest, backbone: &Backbone) -> Result<bool> {
    Ok(stages(request, Some(backbone))?.iter().any(|plan| plan.scenario() == Scenario::Network))
}

/// The plans of all stages, in their order.
fn stages(request: &TrainRequest, backbone: Option<&Backbone>) -> Result<Vec<FreezePlan>> {
    let depth = backbone.and_then(|backbone| backbone.layers());
    let TrainRequest { freeze, unfreeze, tasks, .. } = request;
    let inner = freeze.iter().any(|value| value.starts_with("backbone:"));
    let wrong = |what: &str| Err(Error::new(Kind::Usage, what.to_owned()));
    if inner && !unfreeze.is_empty() {
        return wrong("--freeze of layers and --unfreeze contradict each other");
    }
    if !unfreeze.is_sorted_by(|a, b| a < b) {
        return wrong("--unfreeze goes from fewer to more layers, each number once");
    }
    let plans = if unfreeze.is_empty() {
        vec![FreezePlan::parse(freeze, tasks, depth)?]
    } else {
        let heads: Vec<String> = freeze.iter().filter(|value| value.starts_with("head:")).cloned().collect();
        if heads.len() < freeze.len() {
            return wrong("beside --unfreeze only heads can be frozen");
        }
        unfreeze
            .iter()
            .map(|&count| FreezePlan::top(count, tasks, depth)?.without(&heads))
            .collect::<Result<_>>()?
    };
    if backbone.is_none() && plans.iter().any(|plan| plan.scenario() == Scenario::Network) {
        return Err(Error::new(Kind::Usage, "training layers needs texts and their backbone")
            .help("say --backbone models/NAME and give a table of texts"));
    }
    Ok(plans)
}
