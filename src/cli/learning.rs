//! Owns the options of learning from labelled rows that `train`, `refit` and `compare` share: tasks, split,
//! heads.

use clap::Args;

use super::given::{Given, Idle, names};
use super::options::RuntimeArguments;
use frosthead::internal::data::{Rare, SEPARATOR, SplitOptions};
use frosthead::internal::dataset::Input;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::heads::{Alpha, ClassWeight, FitOptions, WORDS_AT_LEAST, WordsOptions};
use frosthead::internal::metrics::Promise;
use frosthead::internal::runtime::allowed_cores;
use frosthead::internal::task::{TaskKind, Tasks};
use frosthead::internal::train::{FeatureRequest, Learning, RowsRequest};

/// What is learned from which rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tasks and rows")]
pub(crate) struct LearningArguments {
    /// A label column: one label a row; once per task.
    #[arg(long = "task", value_name = "COLUMN")]
    tasks: Vec<String>,
    /// A column of several labels a row, or none: a list, or text split at --separator; an empty cell is a
    /// row without labels. Once per task.
    #[arg(long, value_name = "COLUMN")]
    any_of: Vec<String>,
    /// A column of numbers; once per task.
    #[arg(long, value_name = "COLUMN")]
    number: Vec<String>,
    /// What stands between the labels in a text cell (of --any-of).
    #[arg(long, value_name = "TEXT", default_value = SEPARATOR)]
    separator: String,
    /// Answer a label only above the probability at which this share of its answers is right, measured on
    /// rows that the head was not fitted on. For each label of --any-of [default: the threshold with the best
    /// F1]; for --task, which otherwise always answers its most probable label.
    #[arg(long, value_name = "SHARE", conflicts_with = "recall_at", value_parser = share)]
    precision_at: Option<f64>,
    /// Answer a label of --any-of above the probability at which this share of its rows is found.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    recall_at: Option<f64>,
    /// The share of rows whose number must lie within the interval given with each answer.
    #[arg(long, value_name = "SHARE", default_value_t = Promise::default().interval, value_parser = share)]
    pub(crate) interval: f64,
    /// A table of test rows; otherwise they are split off.
    #[arg(long, value_name = "FILE", conflicts_with = "test_fraction")]
    test: Option<String>,
    /// Share of the rows that is kept for testing.
    #[arg(long, value_name = "SHARE", default_value_t = SplitOptions::default().test_fraction)]
    test_fraction: f64,
    /// A table of validation rows; otherwise they are split off.
    #[arg(long, value_name = "FILE", conflicts_with = "valid_fraction")]
    valid: Option<String>,
    /// Share of the training rows that is kept for validation.
    #[arg(long, value_name = "SHARE", default_value_t = SplitOptions::default().valid_fraction)]
    valid_fraction: f64,
    /// What to do with a class that has one row, which cannot be both learned and tested: `train` on it, or
    /// `drop` the row from the task.
    #[arg(long, value_name = "HOW", default_value_t = Rare::default())]
    rare: Rare,
    /// The seed of everything random.
    #[arg(long, value_name = "N", default_value_t = SplitOptions::default().seed)]
    seed: u64,
    /// Memory for fitting heads, in GB: `auto` features skip what would need more, and as many heads are
    /// fitted side by side as fit in.
    #[arg(long, value_name = "GB", default_value_t = 4.0)]
    fit_memory: f64,
    /// Penalty on the weights: a number, or `auto`, which chooses it by 3-fold cross-validation on the
    /// training rows [default: auto].
    #[arg(long, value_name = "ALPHA")]
    pub(crate) alpha: Option<Alpha>,
    /// How many different training texts must contain a word piece, or a pair of them, for it to get a
    /// weight: a piece of a single text would give that text away to whoever reads the heads.
    #[arg(long, value_name = "N", default_value_t = WORDS_AT_LEAST, value_parser = clap::value_parser!(u32).range(1..))]
    words_at_least: u32,
    /// `none`, or `balanced`: every class counts the same, however many rows it has.
    #[arg(long, value_name = "HOW", default_value_t = FitOptions::default().class_weight)]
    class_weight: ClassWeight,
}

impl LearningArguments {
    /// The tasks, of all kinds.
    pub(crate) fn tasks(&self) -> Result<Tasks> {
        let of = |names: &[String], kind: TaskKind| {
            names.iter().map(move |name| (name.clone(), kind)).collect::<Vec<_>>()
        };
        let all = [
            of(&self.tasks, TaskKind::OneOf),
            of(&self.any_of, TaskKind::AnyOf),
            of(&self.number, TaskKind::Number),
        ];
        Tasks::of(&all.concat())?.with_separator(&self.separator)
    }

    /// Refuses options that have no effect on tasks of these kinds.
    pub(crate) fn refuse_idle(&self, given: &Given, tasks: &Tasks) -> Result<()> {
        let line = |when, option: &str, why, instead| Idle { when, options: names(&[option]), why, instead };
        let [one, several, number] =
            [TaskKind::OneOf, TaskKind::AnyOf, TaskKind::Number].map(|kind| tasks.has(kind));
        given.refuse([
            line(!several, "separator", "no task has several labels", "say --any-of COLUMN"),
            line(!several, "recall-at", "no task has several labels", "say --any-of COLUMN"),
            line(!one && !several, "precision-at", "no task has labels", "say --task or --any-of COLUMN"),
            line(!one && !several, "class-weight", "no task has labels", "say --task or --any-of COLUMN"),
            line(!one && !several, "rare", "no task has labels", "say --task or --any-of COLUMN"),
            line(!number, "interval", "no task is a number", "say --number COLUMN"),
        ])
    }

    /// The rows that are learned from; `input` reads a table's argument.
    pub(crate) fn rows(
        &self,
        data: &str,
        tasks: Tasks,
        input: &dyn Fn(&str) -> Result<Input>,
        strict: bool,
    ) -> Result<RowsRequest> {
        // Before any of them is read.
        let input = |data: &str| input(data).and_then(|input| input.file().map(drop).map(|()| input));
        Ok(RowsRequest {
            data: input(data)?,
            valid: self.valid.as_deref().map(input).transpose()?,
            test: self.test.as_deref().map(input).transpose()?,
            tasks,
            split: SplitOptions {
                test_fraction: self.test_fraction,
                valid_fraction: self.valid_fraction,
                seed: self.seed,
            },
            rare: self.rare,
            strict,
        })
    }

    /// How heads on these features are fitted.
    pub(crate) fn learning(&self, features: FeatureRequest, runtime: &RuntimeArguments) -> Result<Learning> {
        Ok(Learning {
            fit: FitOptions {
                alpha: self.alpha.unwrap_or(FitOptions::default().alpha),
                class_weight: self.class_weight,
                final_fit: false,
                words: WordsOptions {
                    wanted: features.words,
                    at_least: self.words_at_least,
                    ..WordsOptions::default()
                },
                promise: Promise {
                    precision: self.precision_at,
                    recall: self.recall_at,
                    interval: self.interval,
                },
                seed: self.seed,
                threads: runtime.options().threads.unwrap_or_else(allowed_cores),
            },
            features,
            fit_memory: fit_memory(self.fit_memory)?,
        })
    }
}

/// A number between 0 and 1.
fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(number) if 0.0 < number && number < 1.0 => Ok(number),
        _ => Err("expected a share between 0 and 1, like 0.9".into()),
    }
}

fn fit_memory(gigabytes: f64) -> Result<u64> {
    if gigabytes > 0.0 && gigabytes < 1e6 {
        return Ok((gigabytes * 1e9) as u64);
    }
    Err(Error::new(Kind::Usage, "fitting a head takes memory")
        .found(format!("--fit-memory {gigabytes}"))
        .expected("a number of GB above 0"))
}
