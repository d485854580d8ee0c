//! Owns what a training is asked for, in parts: rows, learning, freezing, layers, output.
//!
//! Refuses parts that contradict themselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::backbone::Backbone;
use crate::data::{Rare, Source, SplitOptions};
use crate::dataset::Input;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::finetune::LayerOptions;
use crate::heads::{FitOptions, WordsWanted};
use crate::plan::{FreezePlan, Scenario};
use crate::selection::{FIT_MEMORY, Fitting};
use crate::task::Tasks;

/// What to train, on what, and where to put it.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// Labelled rows.
    pub rows: RowsRequest,
    /// How heads are fitted.
    pub learning: Learning,
    /// What stays as it is.
    pub freezing: Freezing,
    /// How layers are trained, where some are.
    pub layers: LayerOptions,
    /// Points that a task may lose by a lesser depth of a frozen backbone: the shallowest is taken that loses
    /// no more of its score or macro-F1, on rows that its heads have not seen.
    pub max_drop: Option<f64>,
    /// The run's directory.
    pub output: Output,
}

impl TrainRequest {
    /// Heads on a frozen backbone, fitted by default, into the directory `out`.
    #[must_use]
    pub fn new(rows: RowsRequest, out: impl Into<PathBuf>) -> Self {
        let (learning, freezing) = (Learning::default(), Freezing::default());
        let (layers, output) = (LayerOptions::default(), Output::new(out));
        Self { rows, learning, freezing, layers, max_drop: None, output }
    }

    /// The plans of all stages, in their order.
    ///
    /// # Errors
    /// The tasks or the backbone do not have what is named, or layers are to be trained without one.
    pub fn plans(&self, backbone: Option<&Backbone>) -> Result<Vec<FreezePlan>> {
        let plans = self.freezing.plans(&self.rows.tasks, backbone)?;
        Ok(plans.into_iter().map(|plan| plan.training(self.layers.train)).collect())
    }
}

/// Labelled rows, and how they are divided.
#[derive(Debug, Clone)]
pub struct RowsRequest {
    /// The table.
    pub data: Input,
    /// Validation rows of their own; otherwise a fraction of the training rows.
    pub valid: Option<Input>,
    /// Test rows of their own; otherwise a fraction of all rows.
    pub test: Option<Input>,
    /// One head each.
    pub tasks: Tasks,
    /// The fractions, and the seed of the split.
    pub split: SplitOptions,
    /// What becomes of classes with a single row.
    pub rare: Rare,
    /// Empty texts and NUL bytes are errors.
    pub strict: bool,
}

impl RowsRequest {
    /// Rows with these tasks' labels, of which a fifth is for testing and a tenth of the rest for validation.
    #[must_use]
    pub fn new(data: Input, tasks: Tasks) -> Self {
        let (split, rare) = (SplitOptions::default(), Rare::default());
        Self { data, valid: None, test: None, tasks, split, rare, strict: false }
    }

    /// All tables, the data first.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        [Some(&self.data), self.valid.as_ref(), self.test.as_ref()].into_iter().flatten()
    }

    /// The tables of texts.
    #[must_use]
    pub fn sources(&self) -> Vec<&Source> {
        let mut sources = Vec::new();
        for input in self.inputs() {
            if let Input::Texts { source, .. } = input {
                sources.push(source);
            }
        }
        sources
    }
}

/// How heads are fitted.
#[derive(Debug, Clone)]
pub struct Learning {
    /// Penalty, weights of classes, seed and threads.
    pub fit: FitOptions,
    /// What the heads see.
    pub features: FeatureRequest,
    /// Bytes a fit may take: `auto` leaves out choices that would take more.
    pub fit_memory: u64,
}

impl Learning {
    /// The same with heads that see something else.
    pub fn see(&mut self, features: FeatureRequest) {
        self.features = features;
        self.fit.words.wanted = features.words;
    }

    pub(super) fn fitting(&self) -> Fitting<'_> {
        Fitting { fit: &self.fit, memory: self.fit_memory }
    }
}

impl Default for Learning {
    fn default() -> Self {
        let (fit, features) = (FitOptions::default(), FeatureRequest::default());
        Self { fit, features, fit_memory: FIT_MEMORY }
    }
}

/// Where the result goes.
#[derive(Debug, Clone)]
pub struct Output {
    /// The file or directory.
    pub path: PathBuf,
    /// Replace what was made from something else.
    pub overwrite: bool,
}

/// Where frozen heads come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FrozenHead {
    /// They are fitted on the frozen backbone first.
    #[default]
    Fitted,
    /// They stay as they are drawn.
    Random,
    /// They are taken from an earlier run; heads that begin at random begin there too.
    Run(PathBuf),
}

impl FrozenHead {
    /// Reads `fitted`, `random` or a run directory.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "fitted" => Self::Fitted,
            "random" => Self::Random,
            _ => Self::Run(text.into()),
        }
    }

    /// The earlier run.
    pub(super) fn run(&self) -> Option<&Path> {
        if let Self::Run(run) = self { Some(run) } else { None }
    }
}

impl fmt::Display for FrozenHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fitted => f.write_str("fitted"),
            Self::Random => f.write_str("random"),
            Self::Run(run) => run.display().fmt(f),
        }
    }
}

impl Output {
    /// Without replacing what was made from something else.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), overwrite: false }
    }

    /// Checkpoints lie beside the run, under a hidden name, until it is written.
    pub(super) fn checkpoints(&self) -> PathBuf {
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        self.path.with_file_name(format!(".{name}.training"))
    }

    /// Removes the checkpoints of a run that is written; should they stay, they are ignored.
    pub(super) fn forget_checkpoints(&self) {
        let _leftover = std::fs::remove_dir_all(self.checkpoints());
    }
}

/// What is frozen, and what is there before training begins.
#[derive(Debug, Clone, Default)]
pub struct Freezing {
    freeze: Vec<String>,
    unfreeze: Vec<usize>,
    /// Where frozen heads come from.
    pub init_heads: FrozenHead,
    /// The run that the backbone was trained by: how many test rows it was trained on is said.
    pub trained_by: Option<PathBuf>,
    /// A run of the first stages of `unfreeze`, otherwise made from the same: its result stands for training
    /// them again.
    pub earlier: Option<PathBuf>,
    /// A table `task,label,text` that describes the labels, for the baseline without training.
    pub label_text: Option<Source>,
}

impl Freezing {
    /// The values of `--freeze` (none freezes the backbone) and of `--unfreeze`: trainable top layers, stage
    /// by stage (none follows `freeze`).
    ///
    /// # Errors
    /// They contradict each other, or stages do not go from fewer to more layers.
    pub fn new(freeze: Vec<String>, unfreeze: Vec<usize>) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::Usage, what.to_owned()));
        if !unfreeze.is_empty() && freeze.iter().any(|value| value.starts_with("backbone:")) {
            return wrong("--freeze of layers and --unfreeze contradict each other");
        }
        if !unfreeze.is_sorted_by(|a, b| a < b) {
            return wrong("--unfreeze goes from fewer to more layers, each number once");
        }
        if !unfreeze.is_empty() && freeze.iter().any(|value| !value.starts_with("head:")) {
            return wrong("beside --unfreeze only heads can be frozen");
        }
        Ok(Self { freeze, unfreeze, ..Self::default() })
    }

    /// The values of `--freeze`.
    #[must_use]
    pub fn freeze(&self) -> &[String] {
        &self.freeze
    }

    /// The values of `--unfreeze`.
    #[must_use]
    pub fn unfreeze(&self) -> &[usize] {
        &self.unfreeze
    }

    /// The same with the first stages only.
    #[must_use]
    pub fn first_stages(&self, count: usize) -> Self {
        Self { unfreeze: self.unfreeze[..count].to_vec(), ..self.clone() }
    }

    /// Whether texts are needed once more, for their token states.
    #[must_use]
    pub fn needs_texts(&self) -> bool {
        !self.unfreeze.is_empty() || self.freeze.iter().any(|value| value != "backbone")
    }

    /// The plans of all stages, whatever is trained of free layers.
    fn plans(&self, tasks: &Tasks, backbone: Option<&Backbone>) -> Result<Vec<FreezePlan>> {
        let (tasks, depth) = (tasks.names(), backbone.and_then(|backbone| backbone.layers()));
        let plans = if self.unfreeze.is_empty() {
            vec![FreezePlan::parse(&self.freeze, &tasks, depth)?]
        } else {
            let stage = |&count: &usize| FreezePlan::top(count, &tasks, depth)?.without(&self.freeze);
            self.unfreeze.iter().map(stage).collect::<Result<_>>()?
        };
        if backbone.is_none() && plans.iter().any(|plan| plan.scenario() == Scenario::Network) {
            return Err(Error::new(Kind::Usage, "training layers needs texts and their backbone")
                .help("say --backbone models/NAME and give a table of texts"));
        }
        Ok(plans)
    }

    /// Whether a part of the backbone is trained, which sees only the start of a long text.
    ///
    /// # Errors
    /// The tasks or the backbone do not have what is named.
    pub fn trains_layers(&self, tasks: &Tasks, backbone: &Backbone) -> Result<bool> {
        Ok(self.plans(tasks, Some(backbone))?.iter().any(|plan| plan.scenario() == Scenario::Network))
    }
}

/// What heads see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeatureRequest {
    /// Of the network.
    pub states: StatesRequest,
    /// Whether words stand beside that.
    pub words: WordsWanted,
}

/// What heads see of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatesRequest {
    /// The same for every task.
    Choice(FeatureChoice),
    /// Per task, the fewest numbers within one standard error of the best on training rows.
    Auto,
}

/// What makes the words of a choice part of it.
const WITH_WORDS: &str = "+words";
/// Words alone.
const WORDS: &str = "words";
/// What keeps `auto` from weighing words.
const WITHOUT_WORDS: &str = "-words";

impl FeatureRequest {
    /// Per task, what is best on training rows: of the network, and whether words help beside that.
    pub const AUTO: Self = Self { states: StatesRequest::Auto, words: WordsWanted::Auto };

    /// The same of the network for every task, without words.
    #[must_use]
    pub fn of(choice: FeatureChoice) -> Self {
        Self { states: StatesRequest::Choice(choice), words: WordsWanted::No }
    }

    /// Whether what is seen of the network is chosen.
    #[must_use]
    pub fn chooses(self) -> bool {
        self.states == StatesRequest::Auto
    }
}

impl Default for FeatureRequest {
    fn default() -> Self {
        Self::of(FeatureChoice::Last)
    }
}

impl FromStr for FeatureRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == WORDS {
            return Ok(Self { words: WordsWanted::Yes, ..Self::of(FeatureChoice::Nothing) });
        }
        let (states, words) = match (text.strip_suffix(WITH_WORDS), text.strip_suffix(WITHOUT_WORDS)) {
            (Some(states), _) => (states, Some(WordsWanted::Yes)),
            (None, Some("auto")) => ("auto", Some(WordsWanted::No)),
            _ => (text, None),
        };
        if states == "auto" {
            return Ok(Self { states: StatesRequest::Auto, words: words.unwrap_or(WordsWanted::Auto) });
        }
        let expected = "last, layers:A-B (such as layers:2-5 or layers:3) or all, with +words behind it or not, \
                        words, auto or auto-words";
        let choice =
            states.parse().map_err(|error: Error| error.found(format!("{text:?}")).expected(expected))?;
        Ok(Self { words: words.unwrap_or_default(), ..Self::of(choice) })
    }
}

impl fmt::Display for FeatureRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.states {
            StatesRequest::Choice(FeatureChoice::Nothing) => return f.write_str(WORDS),
            StatesRequest::Choice(choice) => choice.fmt(f)?,
            StatesRequest::Auto => f.write_str("auto")?,
        }
        f.write_str(match (self.states, self.words) {
            (_, WordsWanted::Yes) => WITH_WORDS,
            (StatesRequest::Auto, WordsWanted::No) => WITHOUT_WORDS,
            _ => "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_no_freezing() {
        let of = |freeze: &[&str], unfreeze: &[usize]| {
            Freezing::new(freeze.iter().map(|value| (*value).to_owned()).collect(), unfreeze.to_vec())
        };
        assert!(of(&["backbone:0-3", "head:a"], &[]).is_ok() && of(&["head:a"], &[0, 2]).is_ok());
        for (freeze, unfreeze, part) in [
            (&["backbone:0-3"][..], &[1][..], "contradict"),
            (&[], &[2, 1], "fewer to more"),
            (&[], &[1, 1], "each number once"),
            (&["backbone"], &[1], "only heads"),
            (&["all"], &[1], "only heads"),
        ] {
            let error = of(freeze, unfreeze).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(of(&[], &[0, 1, 2]).unwrap().first_stages(2).unfreeze(), [0, 1]);
    }

    #[test]
    fn texts_are_needed_above_a_cut_only() {
        let needs = |freeze: &[&str]| {
            let freeze = freeze.iter().map(|value| (*value).to_owned()).collect();
            Freezing::new(freeze, Vec::new()).unwrap().needs_texts()
        };
        assert!(!needs(&[]) && !needs(&["backbone"]) && needs(&["backbone:0-3"]));
    }
}
