//! Owns `frosthead eval`: a labelled table against a run, as a table for people or JSON for machines.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::given::{Given, Idle, group, names};
use super::measured::{accuracy_table, coverage_table, criterion, say_unmeasured};
use super::options::{RuntimeArguments, StrictArguments, TableArguments, TrustArguments};
use super::per_class::report;
use super::printing::{print, print_result};
use super::stores::{StoreArguments, idle_on_features};
use super::terminal::{Terminal, grouped};
use frosthead::internal::classifier::Model;
use frosthead::internal::data::{Format, KeptColumn, RecordFormat, RecordValue, RecordWriter};
use frosthead::internal::dataset::{Columns, Dataset};
use frosthead::internal::embed::covering;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::evaluate::{Evaluation, Evaluator, Rows, Seen, keep_out, seen_rows};
use frosthead::internal::files::write_atomically;
use frosthead::internal::metrics::TaskMetrics;
#[cfg(feature = "train")]
use frosthead::internal::report::Measured;

/// Measure a trained model on labelled rows, unseen ones first. A label that training never saw counts as
/// wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead eval new.csv --model runs/first
  frosthead eval new.csv --model runs/first --report
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
    /// What stands between the labels in a text cell, where several can be true [default: as in training; for
    /// a bundle `;`].
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    separator: Option<String>,
    /// Which rows: test, valid, train, all or unseen (neither trained on nor used for validation) [default:
    /// unseen; all for a bundle, which does not know what it was trained on].
    #[arg(long, value_name = "WHICH")]
    rows: Option<Rows>,
    /// Also show the figures for each value of this column.
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// Write the wrong rows to this file (.csv, .tsv or .jsonl), the most confident first; of numbers all
    /// rows, the largest errors first.
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Show accuracy against coverage: what it gains to leave the least certain rows unanswered.
    #[arg(long)]
    coverage: bool,
    /// Show the classes of each task, the worst first, and which are taken for which; of numbers, how large
    /// errors are.
    #[arg(long, conflicts_with = "json")]
    report: bool,
    /// Texts that belong to no label: how many of them each threshold of --coverage catches.
    #[arg(long, value_name = "FILE", requires = "coverage")]
    out_of_scope: Option<String>,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
    /// Write a page with the figures: calibration, classes, confusions.
    #[cfg(feature = "train")]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 1 when any task's macro-F1 is lower.
    #[arg(long, value_name = "F1")]
    min_f1: Option<f64>,
    /// Where the backbone is now, if it was moved.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    // Before the work.
    given.refuse([TrustArguments::idle([&*arguments.model])])?;
    arguments.errors.as_deref().map(RecordFormat::of_path).transpose()?;
    let model = Model::open(&arguments.model, arguments.trust.trust.as_ref())?;
    refuse_on_features(arguments, given, &model)?;
    let mut tasks = arguments.tasks.clone();
    if tasks.is_empty() {
        tasks.extend(model.heads().iter().map(|head| head.task.clone()));
    }
    let named = model.kept_columns(&tasks, arguments.separator.as_deref())?;
    refuse_separator(given, &named)?;
    let mut kept = named.clone();
    kept.extend(arguments.by.as_deref().map(KeptColumn::from));
    let reading = Reading { arguments, given, model: &model, terminal };
    let mut rows = reading.load(&arguments.data, &kept)?;
    let seen = seen_rows(&model, &rows)?;
    if let (Model::Run(run), Some(seen)) = (&model, &seen) {
        for (task, rows) in keep_out(run, seen, &mut rows, &named)? {
            terminal.say(format!(
                "{task}: rows that were kept out of training, of classes with a single one (--rare drop), are not measured: {}",
                grouped(rows)
            ));
        }
    }
    let evaluator = Evaluator::new(&model, &rows, seen.as_ref(), &tasks)?;
    let seen = evaluator.seen();
    terminal.say(seen.to_string());
    if !seen.is_known() {
        terminal.say(match model {
            Model::Bundle(_) => {
                "a bundle keeps no list of the rows it was trained on: the run it was made of does"
            }
            Model::Run(_) => {
                "only one of the run and this table knows its rows by their texts: they cannot be compared"
            }
        });
    }
    let which = arguments.rows.unwrap_or_else(|| evaluator.default_rows());
    let evaluation = evaluate(&reading, &evaluator, which)?;
    show((&reading, &evaluator), &evaluation, &rows)?;
    if evaluation.tasks.values().all(|metrics| metrics.rows == 0) {
        let all = evaluator.measure(Rows::All, None)?;
        return Err(nothing_labelled(which, &all, &tasks).at(&arguments.data));
    }
    say_unmeasured(terminal, &evaluation.tasks, "none of these rows");
    #[cfg(feature = "train")]
    super::classes::say_unseen_alike(terminal, &evaluation.tasks);
    Ok(criterion(&evaluation.tasks, arguments.min_f1, terminal))
}

/// Prints what was measured, and writes what shall be.
fn show(
    (reading, evaluator): (&Reading<'_>, &Evaluator<'_>),
    evaluation: &Evaluation,
    rows: &Dataset,
) -> Result<()> {
    let Reading { arguments, terminal, .. } = *reading;
    let seen = &evaluation.rows;
    print_result(arguments.json, evaluation, || described(arguments, evaluation))?;
    if arguments.report {
        print(&reported(evaluator, evaluation)?)?;
    }
    if !arguments.json && arguments.rows.is_none() && seen.used() > 0 {
        let table = accuracy_table(&evaluator.measure(Rows::All, None)?.tasks);
        print(&format!("\n{}\n{table}", heading(Rows::All, seen)))?;
    }
    #[cfg(feature = "train")]
    if let Some(path) = &arguments.html {
        let page = Measured {
            title: format!("{} on {}", arguments.model.display(), arguments.data),
            about: format!("{seen}."),
            rows: heading(evaluation.measured, seen).to_owned(),
            tasks: &evaluation.tasks,
        };
        super::pages::write_page(path, &page, terminal)?;
    }
    if let Some(path) = &arguments.errors {
        write_mistakes(path, evaluator, evaluation.measured, rows)?;
        terminal.say(format!("{}: written", path.display()));
    }
    Ok(())
}

/// The error of rows without any label; `all` are the measurements of all rows.
fn nothing_labelled(which: Rows, all: &Evaluation, tasks: &[String]) -> Error {
    let labelled = all.tasks.values().map(|metrics| metrics.rows).max().unwrap_or(0);
    let (rows, help) = match which {
        Rows::All => ("rows".to_owned(), "fill in labels: no row of the table has one".to_owned()),
        _ if labelled == 0 => {
            (format!("rows of the kind {which}"), "fill in labels: no row of the table has one".to_owned())
        }
        _ => (
            format!("rows of the kind {which}"),
            format!(
                "fill in the labels of such rows, or say --rows all: {} others have one",
                grouped(labelled)
            ),
        ),
    };
    let numbers = all.tasks.values().all(|metrics| metrics.number.is_some());
    let what = if numbers { "number" } else { "label" };
    Error::new(
        Kind::Table,
        format!("nothing to measure: none of the rows that were to be measured has a {what}"),
    )
    .found(all.rows.to_string())
    .expected(format!("{rows} with labels in {}", tasks.join(", ")))
    .help(help)
}

/// Measures what was asked for.
fn evaluate(reading: &Reading<'_>, evaluator: &Evaluator<'_>, which: Rows) -> Result<Evaluation> {
    let arguments = reading.arguments;
    let group = arguments.by.as_ref().map(|_| evaluator.tasks());
    let mut evaluation = evaluator.measure(which, group).map_err(|error| error.at(&arguments.data))?;
    if arguments.coverage {
        let strangers = arguments.out_of_scope.as_ref();
        let strangers = strangers.map(|data| reading.load(data, &[])).transpose()?;
        evaluation.coverage = evaluator.coverage(which, strangers.as_ref())?;
    }
    Ok(evaluation)
}

/// Everything that was measured, for people.
fn described(arguments: &Arguments, evaluation: &Evaluation) -> String {
    let heading = heading(evaluation.measured, &evaluation.rows);
    let mut text = format!("{heading}\n{}", accuracy_table(&evaluation.tasks));
    evaluation.coverage.iter().for_each(|(task, coverage)| text += &coverage_table(task, coverage));
    for (name, tasks) in &evaluation.groups {
        let column = arguments.by.as_deref().unwrap_or_default();
        text += &format!("\n{column} = {name}\n{}", accuracy_table(tasks));
    }
    text
}

/// What `--report` shows of every task.
fn reported(evaluator: &Evaluator<'_>, evaluation: &Evaluation) -> Result<String> {
    let off = evaluator.off(evaluation.measured)?;
    let of_task = |(task, metrics): (&String, &TaskMetrics)| {
        report(task, metrics, off.get(task).map_or(&[], Vec::as_slice))
    };
    Ok(evaluation.tasks.iter().map(of_task).collect())
}

/// Whether a table holds the features that a run was trained on in place of texts.
fn holds_features(arguments: &Arguments, data: &str, model: &Model) -> Result<bool> {
    let Model::Run(run) = model else { return Ok(false) };
    let source = arguments.table.source_of(data, &arguments.data)?;
    Ok(run.recipe.data.text.is_none() && source.format == Format::Parquet && source.path.is_some())
}

/// Refuses options of texts and networks where every table holds features.
fn refuse_on_features(arguments: &Arguments, given: &Given, model: &Model) -> Result<()> {
    let mut tables = [Some(&arguments.data), arguments.out_of_scope.as_ref()].into_iter().flatten();
    let features = tables.try_fold(true, |all, data| Ok(all && holds_features(arguments, data, model)?))?;
    let idle = idle_on_features(features);
    let mut more = group::<RuntimeArguments>();
    more.push("backbone".to_owned());
    let more = Idle { options: more, ..idle_on_features(features) };
    given.refuse([idle, more])
}

/// Refuses a separator where nothing is separated.
fn refuse_separator(given: &Given, kept: &[KeptColumn]) -> Result<()> {
    given.refuse([Idle {
        when: !kept.iter().any(KeptColumn::takes_lists),
        options: names(&["separator"]),
        why: "no task that is measured has several labels",
        instead: "",
    }])
}

/// What tables are read with.
struct Reading<'r> {
    arguments: &'r Arguments,
    given: &'r Given,
    model: &'r Model,
    terminal: &'r Terminal,
}

impl Reading<'_> {
    fn load(&self, data: &str, kept: &[KeptColumn]) -> Result<Dataset> {
        let Self { arguments, model, terminal, .. } = *self;
        let source = arguments.table.source_of(data, &arguments.data)?;
        let columns = Columns { kept, texts: arguments.errors.is_some() };
        let named = |error: Error| match &source.path {
            Some(path) => error.at(path),
            None => error,
        };
        if let (Model::Run(run), Some(path), true) =
            (model, &source.path, holds_features(arguments, data, model)?)
        {
            let column = run.recipe.data.features_column.as_deref();
            return Dataset::from_features(path, column, columns).map_err(named);
        }
        let backbone = Arc::new(model.backbone(arguments.backbone.as_deref())?);
        self.given.refuse([StoreArguments::idle([&*backbone])])?;
        let max_length = backbone.manifest().preparation.max_length;
        let runtime = arguments.runtime.load(terminal)?;
        if let (Model::Bundle(bundle), false) = (model, arguments.trust.skip_self_test) {
            bundle.self_test(&mut bundle.extractor(&runtime)?)?;
        }
        let long = model.long();
        let (mut embedder, rows) = arguments.store.open(backbone, runtime, long, &[&source], terminal)?;
        model.look_at_words(&mut embedder)?;
        let mut progress = terminal.progress(rows);
        let mut dataset = Dataset::from_texts(
            &mut embedder,
            &source,
            &arguments.table.text_of(model)?,
            columns,
            arguments.texts.strict,
            &mut |state| progress.show(state),
        )
        .map_err(named)?;
        drop(progress);
        dataset.load(&embedder, covering(&model.columns(&embedder.layout())?))?;
        terminal.notes(&dataset.notes, long, max_length);
        Ok(dataset)
    }
}

fn write_mistakes(
    path: &std::path::Path,
    evaluator: &Evaluator<'_>,
    which: Rows,
    rows: &Dataset,
) -> Result<()> {
    let (format, mistakes) = (RecordFormat::of_path(path)?, evaluator.mistakes(which)?);
    write_atomically(path, |writer| {
        let mut columns = vec!["row", "task", "label", "predicted", "probability", "text"];
        let pairs = rows.texts.iter().any(|text| text.second.is_some());
        columns.extend(pairs.then_some("second_text"));
        let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
        let mut records = RecordWriter::new(writer, format, &columns)?;
        for mistake in &mistakes {
            let text = rows.texts.get(mistake.row - 1);
            let mut record = vec![
                RecordValue::Integer(mistake.row as u64),
                RecordValue::Text(&mistake.task),
                RecordValue::Text(&mistake.truth),
                RecordValue::Text(&mistake.predicted),
                mistake.probability.map_or(RecordValue::Null, |p| RecordValue::Number(f64::from(p))),
                shown(text.map(|text| text.first.as_str())),
            ];
            record.extend(pairs.then(|| shown(text.and_then(|text| text.second.as_deref()))));
            records.write(&record)?;
        }
        records.finish()
    })
}

/// A text in a record, where there is one.
fn shown(text: Option<&str>) -> RecordValue<'_> {
    text.map_or(RecordValue::Null, RecordValue::Text)
}

fn heading(which: Rows, seen: &Seen) -> &'static str {
    match which {
        Rows::All if !seen.is_known() => "all rows; which of them it was trained on is not known",
        Rows::Unseen => "unseen rows",
        Rows::Test => "the run's test rows",
        Rows::Valid => "the run's validation rows",
        Rows::Train => "rows the run was trained on",
        Rows::All => "all rows, those trained on included",
    }
}
