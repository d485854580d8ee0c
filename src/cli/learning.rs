//! Owns the options of learning from labelled rows that `train`, `refit` and `compare` share: tasks, split,
//! heads.

use clap::Args;

use super::options::RuntimeArguments;
use frosthead::internal::data::{Rare, SplitOptions};
use frosthead::internal::dataset::Input;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::heads::{Alpha, ClassWeight, FitOptions, WORDS_AT_LEAST, WordsOptions};
use frosthead::internal::runtime::allowed_cores;
use frosthead::internal::task::Tasks;
use frosthead::internal::train::{FeatureRequest, Learning, RowsRequest};

/// What is learned from which rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tasks and rows")]
pub(crate) struct LearningArguments {
    /// A label column; once per task.
    #[arg(long = "task", value_name = "COLUMN", required = true)]
    pub(crate) tasks: Vec<String>,
    /// Test rows of their own.
    #[arg(long, value_name = "FILE", conflicts_with = "test_fraction")]
    test: Option<String>,
    /// Share of the rows kept for testing.
    #[arg(long, value_name = "SHARE", default_value_t = SplitOptions::default().test_fraction)]
    test_fraction: f64,
    /// Validation rows of their own.
    #[arg(long, value_name = "FILE", conflicts_with = "valid_fraction")]
    valid: Option<String>,
    /// Share of the training rows kept for validation.
    #[arg(long, value_name = "SHARE", default_value_t = SplitOptions::default().valid_fraction)]
    valid_fraction: f64,
    /// What becomes of a class with a single row, which cannot be both learned and tested: `train` learns
    /// from it, `drop` keeps the row out of the task.
    #[arg(long, value_name = "HOW", default_value_t = Rare::default())]
    rare: Rare,
    /// Seed of every draw.
    #[arg(long, value_name = "N", default_value_t = SplitOptions::default().seed)]
    seed: u64,
    /// Memory that fitting heads may take, in GB: `auto` features leave out what would take more, and several
    /// heads are fitted side by side within it.
    #[arg(long, value_name = "GB", default_value_t = 4.0)]
    fit_memory: f64,
    /// Penalty on the weights: a number, or `auto` to choose it by 3-fold cross-validation on training rows
    /// [default: auto].
    #[arg(long, value_name = "ALPHA")]
    pub(crate) alpha: Option<Alpha>,
    /// A piece or a pair of words must stand in so many different training texts to have a weight: what
    /// stands in a single one tells of that text, and can be found in the heads.
    #[arg(long, value_name = "N", default_value_t = WORDS_AT_LEAST, value_parser = clap::value_parser!(u32).range(1..))]
    words_at_least: u32,
    /// `none`, or `balanced`: every class counts the same.
    #[arg(long, value_name = "HOW", default_value_t = FitOptions::default().class_weight)]
    class_weight: ClassWeight,
}

impl LearningArguments {
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
                seed: self.seed,
                threads: runtime.options().threads.unwrap_or_else(allowed_cores),
            },
            features,
            fit_memory: fit_memory(self.fit_memory)?,
        })
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
