//! Owns `frosthead train`: labelled rows → a run, and the table of what it reached.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::network::{NetworkArguments, TrainProgress};
use super::options::{LongArguments, RuntimeArguments, StoreArguments, TableArguments};
use super::terminal::{Terminal, grouped};
use super::{Outcome, eval};
use crate::backbone::Backbone;
use crate::data::{Format, Source, SplitOptions};
use crate::dataset::Input;
use crate::embed::any_longer;
use crate::error::{Error, Kind, Result};
use crate::heads::{Alpha, ClassWeight, FitOptions, FitReport};
use crate::runtime::allowed_cores;
use crate::train::{FeatureRequest, TrainRequest, TrainSummary, Trained, train};

/// Train what the freeze plan leaves free (by default one head per task on a frozen backbone), measure it, and write a run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead train data.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --out runs/first
  frosthead train features.parquet --task domain --alpha auto --out runs/second
  frosthead train data.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --unfreeze 0,1,2 --out runs/third")]
pub(crate) struct Arguments {
    /// A table of labelled texts, or (without --backbone) a Parquet of features.
    data: String,
    /// The backbone directory; without it DATA holds features.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// A label column; once per task.
    #[arg(long = "task", value_name = "COLUMN", required = true)]
    tasks: Vec<String>,
    /// The run directory to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
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
    /// Seed of every draw.
    #[arg(long, value_name = "N", default_value_t = SplitOptions::default().seed)]
    seed: u64,
    /// What the heads see: `last` (the sentence embedding), `layers:A-B` or `all` (the mean-pooled states of these layers, side
    /// by side), or `auto`: per task, the fewest numbers within one standard error of the best on training rows.
    #[arg(long, value_name = "WHICH", default_value_t = FeatureRequest::default(), requires_if("auto", "backbone"))]
    features: FeatureRequest,
    /// Memory that fitting a head may take, in GB: `--features auto` leaves out what would take more.
    #[arg(long, value_name = "GB", default_value_t = 4.0)]
    fit_memory: f64,
    /// Penalty on the weights: a number, or `auto` to choose it by 3-fold cross-validation on the training rows [default: 100, or
    /// `auto` beside `--features auto`].
    #[arg(long, value_name = "ALPHA")]
    alpha: Option<Alpha>,
    /// `none`, or `balanced`: every class counts the same.
    #[arg(long, value_name = "HOW", default_value_t = FitOptions::default().class_weight)]
    class_weight: ClassWeight,
    /// The feature column of a Parquet [default: `embedding`, or the only column of number lists].
    #[arg(long, value_name = "COLUMN", conflicts_with = "backbone")]
    features_column: Option<String>,
    /// Exit with 1 when any task's macro-F1 on the test rows is lower.
    #[arg(long, value_name = "F1")]
    min_f1: Option<f64>,
    /// Print metrics.json to standard output.
    #[arg(long)]
    json: bool,
    /// Replace a run that was made from something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    long: LongArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let request = request(arguments)?;
    let trained = match &arguments.backbone {
        None => train(&request, None, &mut |_| ControlFlow::Continue(()))?,
        Some(directory) => {
            let backbone = Arc::new(Backbone::open(directory)?);
            let max_length = backbone.manifest().preparation.max_length;
            let runtime = arguments.runtime.load(terminal)?;
            let sources: Vec<_> = [Some(&request.data), request.valid.as_ref(), request.test.as_ref()]
                .into_iter()
                .flatten()
                .filter_map(|input| match input {
                    Input::Texts { source, .. } => Some(source),
                    Input::Features { .. } => None,
                })
                .collect();
            let last = request.features == FeatureRequest::default();
            let long = arguments.long.resolve(|| {
                let longer = |source: &&Source| any_longer(&backbone, source, &arguments.table.text);
                !last && backbone.tokenizer().check_pieces().is_ok() && sources.iter().any(longer)
            })?;
            let (mut embedder, rows) = arguments.store.open(backbone, runtime, long, &sources, terminal)?;
            let mut progress = TrainProgress::new(terminal, rows, &request.tasks);
            let trained = train(&request, Some(&mut embedder), &mut |event| progress.show(event))?;
            drop(progress);
            let work = embedder.work();
            terminal.detail(format!("{} texts computed, {} from the store", work.texts, embedder.reused()));
            terminal.notes(&trained.metrics().texts, long, max_length);
            trained
        }
    };
    if let Trained::Written(summary) = &trained {
        say_fits(terminal, summary);
        say_training(terminal, summary);
    }
    let metrics = trained.metrics();
    let sizes = &metrics.sizes;
    terminal.say(format!(
        "{} rows: {} train, {} validation, {} test{}",
        grouped(sizes.rows),
        grouped(sizes.train),
        grouped(sizes.valid),
        grouped(sizes.test),
        if sizes.left_out > 0 {
            format!(", {} left out (their text is in another part)", sizes.left_out)
        } else {
            String::new()
        }
    ));
    for (task, rows) in metrics.unlabelled.iter().filter(|(_, rows)| **rows > 0) {
        terminal.say(format!("{task}: {} rows without a label were left out of this task", grouped(*rows)));
    }
    if arguments.json {
        eval::print_json(metrics)?;
    } else {
        eval::print_table(&metrics.tasks)?;
    }
    let up_to_date = if matches!(trained, Trained::UpToDate(_)) { "up to date" } else { "written" };
    terminal.say(format!("{}: {up_to_date}", arguments.out.display()));
    for (task, drift) in &metrics.drift {
        let points = 100.0 * (drift.after - drift.before);
        terminal.say(format!(
            "{task} (frozen): accuracy {:.4} before, {:.4} after the backbone moved ({points:+.2} points)",
            drift.before, drift.after
        ));
    }
    if !metrics.untrained.is_empty() {
        for (task, own) in &metrics.untrained {
            let accuracy = own.accuracy;
            terminal.say(format!(
                "{task}: untrained heads {accuracy:.4}; the table shows labels as their own descriptions"
            ));
        }
    }
    let lost = metrics.drift.values().map(|drift| 100.0 * (drift.before - drift.after)).fold(0.0, f64::max);
    if arguments.network.max_drift.is_some_and(|most| lost > most) {
        terminal.warn(format!("a frozen head lost {lost:.2} points of accuracy: more than --max-drift"));
        return Ok(Outcome::CriterionMissed);
    }
    Ok(eval::criterion(&metrics.tasks, arguments.min_f1, terminal))
}

fn request(arguments: &Arguments) -> Result<TrainRequest> {
    let input = |data: &str| -> Result<Input> {
        let source = arguments.table.source(data)?;
        if arguments.backbone.is_some() {
            return Ok(Input::Texts { source, column: arguments.table.text.clone() });
        }
        match (source.format, source.path) {
            (Format::Parquet, Some(path)) => {
                Ok(Input::Features { path, column: arguments.features_column.clone() })
            }
            _ => Err(Error::new(Kind::Usage, "a table of texts needs a backbone")
                .at(data)
                .help("say --backbone models/NAME, or give a Parquet of features made by `frosthead embed`")),
        }
    };
    let threads = arguments.runtime.options().threads.unwrap_or_else(allowed_cores);
    let mut tasks = arguments.tasks.clone();
    tasks.sort();
    if let Some(pair) = tasks.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(Kind::Usage, "a task was given twice").found(format!("--task {}", pair[0])));
    }
    Ok(TrainRequest {
        data: input(&arguments.data)?,
        valid: arguments.valid.as_deref().map(input).transpose()?,
        test: arguments.test.as_deref().map(input).transpose()?,
        tasks: arguments.tasks.clone(),
        split: SplitOptions {
            test_fraction: arguments.test_fraction,
            valid_fraction: arguments.valid_fraction,
            seed: arguments.seed,
        },
        fit: FitOptions {
            alpha: arguments.alpha.unwrap_or(match arguments.features {
                FeatureRequest::Auto => Alpha::Auto,
                FeatureRequest::Choice(_) => FitOptions::default().alpha,
            }),
            class_weight: arguments.class_weight,
            seed: arguments.seed,
            threads,
        },
        features: arguments.features,
        fit_memory: fit_memory(arguments.fit_memory)?,
        freeze: arguments.network.freeze.clone(),
        unfreeze: arguments.network.unfreeze.clone(),
        network: arguments.network.options(&arguments.tasks, arguments.seed, threads)?,
        head_init: arguments.network.head_init,
        init_heads: arguments.network.init_heads.clone(),
        label_text: arguments
            .network
            .label_text
            .as_deref()
            .map(|path| Source::new(path, None))
            .transpose()?,
        strict: arguments.table.strict,
        output: arguments.out.clone(),
        overwrite: arguments.overwrite,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a checked number of bytes")]
fn fit_memory(gigabytes: f64) -> Result<u64> {
    if gigabytes > 0.0 && gigabytes < 1e6 {
        return Ok((gigabytes * 1e9) as u64);
    }
    Err(Error::new(Kind::Usage, "fitting a head takes memory")
        .found(format!("--fit-memory {gigabytes}"))
        .expected("a number of GB above 0"))
}

fn say_fits(terminal: &Terminal, summary: &TrainSummary) {
    for FitReport { task, width, rows, alpha, loss, gradient_norm, tolerance, converged, seconds, .. } in
        &summary.fits
    {
        terminal.say(format!(
            "{task}: fitted on {} rows of {} numbers in {seconds:.1} s, alpha {alpha}, loss {loss:.2}, gradient {gradient_norm:.2e} ({} {tolerance:.1e})",
            grouped(*rows),
            grouped(*width as u64),
            if *converged { "within" } else { "NOT within" }
        ));
        if !converged {
            terminal.warn(format!(
                "{task}: the fit stopped before the tolerance was met; a larger --alpha makes it easier"
            ));
        }
    }
}

fn say_training(terminal: &Terminal, summary: &TrainSummary) {
    for stage in &summary.stages {
        let best = &stage.epochs[usize::try_from(stage.best).unwrap_or(0)];
        terminal.say(format!(
            "frozen {}: best after epoch {}, validation score {:.4}{}",
            stage.frozen,
            stage.best,
            best.validation.score,
            stage.stopped.as_ref().map_or_else(String::new, |why| format!("; ended early: {why}"))
        ));
    }
    if !summary.proof.is_empty() {
        let frozen = summary.proof.iter().filter(|tensor| !tensor.trained).count();
        let moved = summary.proof.iter().filter(|tensor| tensor.moved()).count();
        terminal.say(format!(
            "proof: {frozen} tensors are frozen and unchanged; of {} trained ones {moved} moved (proof.json)",
            summary.proof.len() - frozen
        ));
    }
}
