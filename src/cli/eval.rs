//! Owns `frosthead eval`: a labelled table against a run, as a table for people or JSON for machines.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::options::{RuntimeArguments, StoreArguments, TableArguments, TrustArguments};
use super::terminal::{Terminal, grouped};
use crate::classifier::Model;
use crate::data::{Format, RecordFormat, RecordValue, RecordWriter, write_atomically};
use crate::dataset::{Columns, Dataset};
use crate::embed::covering;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluator, Rows};
use crate::metrics::{Coverage, TaskMetrics};

/// Measure a trained model on labelled rows, unseen ones first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead eval new.csv --model runs/first
  frosthead eval data.csv --model runs/first --by source --errors errors.csv --json
  frosthead eval test.csv --model runs/first --coverage --out-of-scope other.csv")]
pub(crate) struct Arguments {
    /// A labelled table, or a Parquet of features.
    data: String,
    /// The run directory or bundle.
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Measure these tasks only.
    #[arg(long = "task", value_name = "COLUMN")]
    tasks: Vec<String>,
    /// test, valid, train, all or unseen (neither trained on nor used for validation).
    #[arg(long, value_name = "WHICH")]
    rows: Option<Rows>,
    /// Figures per value of this column as well.
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// Write the wrongly labelled rows here (.csv, .tsv or .jsonl), most confident first.
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Accuracy against coverage: what leaving the least certain rows unanswered gains.
    #[arg(long)]
    coverage: bool,
    /// Texts that belong to no label: how many of them each threshold of --coverage catches.
    #[arg(long, value_name = "FILE", requires = "coverage")]
    out_of_scope: Option<String>,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
    /// Exit with 1 when any task's macro-F1 is lower.
    #[arg(long, value_name = "F1")]
    min_f1: Option<f64>,
    /// Where the backbone lies, when it is not where the run says.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    // Before the work.
    arguments.errors.as_deref().map(RecordFormat::of_path).transpose()?;
    let model = Model::open(&arguments.model, arguments.trust.trust.as_ref())?;
    let mut tasks = arguments.tasks.clone();
    if tasks.is_empty() {
        tasks.extend(model.heads().iter().map(|head| head.task.clone()));
    }
    let mut kept = tasks.clone();
    kept.extend(arguments.by.clone());
    let rows = load(arguments, &arguments.data, &model, &kept, terminal)?;
    let evaluator = Evaluator::new(&model, &rows, &model.rows()?, &tasks)?;
    let seen = evaluator.seen();
    terminal.say(format!(
        "{} rows: {} were trained on, {} used for validation, {} are the run's test rows, {} are new",
        grouped(seen.total),
        grouped(seen.train),
        grouped(seen.valid),
        grouped(seen.test),
        grouped(seen.new)
    ));
    let group = arguments.by.as_ref().map(|_| tasks.len());
    let which = arguments.rows.unwrap_or_default();
    let mut evaluation = evaluator.measure(which, group).map_err(|error| error.at(&arguments.data))?;
    if arguments.coverage {
        let strangers = arguments.out_of_scope.as_ref();
        let strangers = strangers.map(|data| load(arguments, data, &model, &[], terminal)).transpose()?;
        evaluation.coverage = evaluator.coverage(which, strangers.as_ref())?;
    }
    if arguments.json {
        print_json(&evaluation)?;
    } else {
        print_heading(which)?;
        print_table(&evaluation.tasks)?;
        evaluation.coverage.iter().try_for_each(|(task, own)| print_coverage(task, own))?;
        for (name, tasks) in &evaluation.groups {
            writeln!(std::io::stdout(), "\n{} = {name}", arguments.by.as_deref().unwrap_or_default())
                .map_err(unprintable)?;
            print_table(tasks)?;
        }
        if arguments.rows.is_none() && seen.train + seen.valid > 0 {
            writeln!(std::io::stdout()).map_err(unprintable)?;
            print_heading(Rows::All)?;
            print_table(&evaluator.measure(Rows::All, None)?.tasks)?;
        }
    }
    if let Some(path) = &arguments.errors {
        write_mistakes(path, &evaluator, which, &rows)?;
        terminal.say(format!("{}: written", path.display()));
    }
    Ok(criterion(&evaluation.tasks, arguments.min_f1, terminal))
}

fn load(
    arguments: &Arguments,
    data: &str,
    model: &Model,
    kept: &[String],
    terminal: &Terminal,
) -> anyhow::Result<Dataset> {
    let source = arguments.table.source(data)?;
    let columns = Columns { kept, texts: arguments.errors.is_some() };
    let named = |error: Error| match &source.path {
        Some(path) => error.at(path),
        None => error,
    };
    if let (Model::Run(run), Format::Parquet, Some(path)) = (model, source.format, &source.path)
        && run.recipe.data.text.is_none()
    {
        let column = run.recipe.data.features_column.as_deref();
        return Ok(Dataset::from_features(path, column, columns).map_err(named)?);
    }
    let backbone = Arc::new(model.backbone(arguments.backbone.as_deref())?);
    let max_length = backbone.manifest().preparation.max_length;
    let runtime = arguments.runtime.load(terminal)?;
    if let (Model::Bundle(bundle), false) = (model, arguments.trust.skip_self_test) {
        bundle.self_test(&mut bundle.extractor(&runtime)?)?;
    }
    let long = model.long();
    let (mut embedder, rows) = arguments.store.open(backbone, runtime, long, &[&source], terminal)?;
    let mut progress = terminal.progress(rows);
    let mut dataset = Dataset::from_texts(
        &mut embedder,
        &source,
        &arguments.table.text_of(model),
        columns,
        arguments.table.strict,
        &mut |state| progress.show(state),
    )
    .map_err(named)?;
    drop(progress);
    dataset.load(&embedder, covering(&model.columns(&embedder.layout())?))?;
    terminal.notes(&dataset.notes, long, max_length);
    Ok(dataset)
}

fn write_mistakes(
    path: &std::path::Path,
    evaluator: &Evaluator<'_>,
    which: Rows,
    rows: &Dataset,
) -> Result<()> {
    let (format, mistakes) = (RecordFormat::of_path(path)?, evaluator.mistakes(which)?);
    write_atomically(path, |writer| {
        let columns = ["row", "task", "label", "predicted", "probability", "text"].map(str::to_owned);
        let mut records = RecordWriter::new(writer, format, &columns)?;
        for mistake in &mistakes {
            let text = rows.texts.get(mistake.row - 1).map(String::as_str);
            records.write(&[
                RecordValue::Integer(mistake.row as u64),
                RecordValue::Text(&mistake.task),
                RecordValue::Text(&mistake.truth),
                RecordValue::Text(&mistake.predicted),
                RecordValue::Number(f64::from(mistake.probability)),
                text.map_or(RecordValue::Null, RecordValue::Text),
            ])?;
        }
        records.finish()
    })
}

fn print_heading(which: Rows) -> Result<()> {
    let what = match which {
        Rows::Unseen => "unseen rows",
        Rows::Test => "the run's test rows",
        Rows::Valid => "the run's validation rows",
        Rows::Train => "rows the run was trained on",
        Rows::All => "all rows, those trained on included",
    };
    writeln!(std::io::stdout(), "{what}").map_err(unprintable)
}

/// The accuracy table: one line per task.
pub(crate) fn print_table(tasks: &BTreeMap<String, TaskMetrics>) -> Result<()> {
    let width = tasks.keys().map(|task| task.chars().count()).max().unwrap_or(0).max("task".len());
    let mut text =
        format!("{:<width$}  {:>8}  {:>15}  {:>15}  {:>6}\n", "task", "rows", "accuracy", "macro-F1", "ECE");
    for (task, metrics) in tasks {
        let share = |value: f64, error: f64| format!("{value:.3} ± {error:.3}");
        text += &format!(
            "{task:<width$}  {:>8}  {:>15}  {:>15}  {:>6.3}\n",
            grouped(metrics.rows),
            share(metrics.accuracy, metrics.accuracy_standard_error),
            share(metrics.macro_f1, metrics.macro_f1_standard_error),
            metrics.ece
        );
    }
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(unprintable)
}

/// One line per share of the rows that is answered.
fn print_coverage(task: &str, table: &[Coverage]) -> Result<()> {
    let caught = table.iter().any(|own| own.caught.is_some());
    let mut text = format!(
        "\n{task}, when only rows with at least this probability are answered\n{:>11}  {:>8}  {:>8}  {:>8}{}\n",
        "probability",
        "rows",
        "answered",
        "accuracy",
        if caught { "  out of scope, caught" } else { "" }
    );
    for own in table {
        text += &format!(
            "{:>11.3}  {:>8}  {:>8}  {:>8.3}{}\n",
            own.threshold,
            grouped(own.rows),
            format!("{:.1} %", 100.0 * own.coverage),
            own.accuracy,
            own.caught.map_or(String::new(), |share| format!("  {:>20}", format!("{:.1} %", 100.0 * share)))
        );
    }
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(unprintable)
}

/// JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(|error| unprintable(error.into()))?;
    writeln!(out).map_err(unprintable)
}

/// Whether every task reaches the macro-F1 the user asked for.
pub(crate) fn criterion(
    tasks: &BTreeMap<String, TaskMetrics>,
    min_f1: Option<f64>,
    terminal: &Terminal,
) -> Outcome {
    let Some(least) = min_f1 else { return Outcome::Done };
    let mut outcome = Outcome::Done;
    for (task, metrics) in tasks.iter().filter(|(_, metrics)| metrics.macro_f1 < least) {
        terminal.warn(format!("{task}: macro-F1 {:.3} is below --min-f1 {least}", metrics.macro_f1));
        outcome = Outcome::CriterionMissed;
    }
    outcome
}

pub(crate) fn unprintable(source: std::io::Error) -> Error {
    Error::io("write", "standard output", source)
}
