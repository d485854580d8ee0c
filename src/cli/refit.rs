//! Owns `frosthead refit`: a bundle and new labelled rows → a bundle with heads fitted anew, and the table of
//! old against new.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::bundle::say_written;
use super::fitted::{say_calibration, say_fits, say_rows};
use super::given::{Given, Idle, names};
use super::learning::LearningArguments;
use super::network::TrainProgress;
use super::options::{RuntimeArguments, StrictArguments, TableArguments, TrustArguments};
use super::printing::{Columns, print_result, table};
use super::stores::FeatureStoreArguments;
use super::terminal::{Terminal, grouped};
use super::{Outcome, measured};
use frosthead::internal::bundle::{Bundle, signature_path};
use frosthead::internal::data::TableReader;
use frosthead::internal::dataset::Input;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::heads::WordsWanted;
use frosthead::internal::quantities::{counted, error_text};
use frosthead::internal::recognize::{Thing, shell_word};
use frosthead::internal::runtime::Runtime;
use frosthead::internal::train::{
    FeatureRequest, HeadChange, Learning, Output, RefitReport, RefitRequest, Refitted, RowsRequest,
    ScoreChange, refit,
};

/// Fit heads of a bundle anew on new rows, or add some, and write a bundle: its backbone and its other heads
/// stay as they are. Texts are read as the bundle reads them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead refit x.frost new.csv --task sentiment --out y.frost
  frosthead refit x.frost new.csv --task topic --features auto --out y.frost --sign me.key")]
pub(crate) struct Arguments {
    /// The bundle.
    bundle: PathBuf,
    /// A table of labelled texts.
    data: String,
    /// The bundle to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign the new bundle with this minisign secret key.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// What the heads of new tasks see: `last` (the sentence embedding), `layers:A-B` or `all` (the mean
    /// states of these layers, side by side), or `auto`: the smallest features within one standard error of
    /// the best, on training rows [default: last]. Heads of the bundle keep seeing what they saw.
    #[arg(long, value_name = "WHICH")]
    features: Option<FeatureRequest>,
    /// Write nothing, and exit with 1, when a head of the bundle loses more points of accuracy than this on
    /// the validation rows that the bundle carries.
    #[arg(long, value_name = "POINTS")]
    max_drift: Option<f64>,
    /// Exit with 1 when any task's macro-F1 on the test rows is lower.
    #[arg(long, value_name = "F1")]
    min_f1: Option<f64>,
    /// Print the report as JSON to standard output.
    #[arg(long)]
    json: bool,
    /// Replace a bundle that was made from something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    learning: LearningArguments,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    store: FeatureStoreArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    let from = &arguments.bundle;
    let runtime = arguments.runtime.load(terminal)?;
    let bundle = open(arguments, &runtime)?;
    refuse_idle(arguments, given, &bundle)?;
    let rows = rows(arguments, &bundle)?;
    arguments.learning.refuse_idle(given, &rows.tasks)?;
    // Before the bundle may be replaced, and its signature with it.
    let signed = bundle.has_signature();
    let Refitted { written, report, fits } = fit(arguments, &rows, &bundle, runtime, terminal)?;
    say_fits(terminal, &fits, &report.metrics);
    say_rows(terminal, &report.metrics);
    say_calibration(terminal, &report.metrics, arguments.learning.interval);
    print_result(arguments.json, &report, || {
        format!("{}\n{}", changed(&report), measured::accuracy_table(&report.metrics.tasks))
    })?;
    measured::say_unmeasured(terminal, &report.metrics.tasks, "no test row");
    say_compared(terminal, &report, &bundle);
    let out = &arguments.out;
    let (Some(written), Some(after)) = (written, report.backbone_after) else {
        terminal.warn(format!(
            "a head lost {:.2} points on the kept validation rows: more than --max-drift; nothing was written",
            report.lost()
        ));
        return Ok(Outcome::CriterionMissed);
    };
    terminal.say(format!(
        "backbone: hash {} in {}, {} in {}",
        report.backbone_before.short(),
        from.display(),
        after.short(),
        out.display()
    ));
    say_written(terminal, out, &written);
    match (&arguments.sign, signed) {
        (Some(_), _) => terminal.say(format!("{}: its signature", signature_path(out).display())),
        (None, true) if !signature_path(out).is_file() => terminal.warn(format!(
            "{} is not signed, as {} was: its heads are others; --sign KEY signs it",
            out.display(),
            from.display()
        )),
        (None, _) => {}
    }
    Ok(measured::criterion(&report.metrics.tasks, arguments.min_f1, terminal))
}

/// The rows, with the text column that the bundle was trained with, unless --text names one; every table must
/// have it.
fn rows(arguments: &Arguments, bundle: &Bundle) -> Result<RowsRequest> {
    let Arguments { data, table, texts, learning, .. } = arguments;
    let known = table.text_or(bundle.manifest().text_columns(), bundle.path())?;
    let input = |given: &str| {
        let source = table.source_of(given, data)?;
        Ok(Input::Texts { source, columns: known.clone() })
    };
    let rows = learning.rows(data, learning.tasks()?, &input, texts.strict)?;
    for source in rows.sources() {
        TableReader::open(source)?.text(&known)?;
    }
    Ok(rows)
}

/// Refuses options that have no effect on these tasks.
fn refuse_idle(arguments: &Arguments, given: &Given, bundle: &Bundle) -> Result<()> {
    let tasks = &arguments.learning.tasks()?.names();
    let known = |task: &String| bundle.heads().iter().any(|head| head.task == *task);
    let validation = bundle.validation()?;
    let kept = |task: &String| {
        known(task) && validation.as_ref().is_some_and(|validation| validation.task(task).is_some())
    };
    given.refuse([
        Idle {
            when: tasks.iter().all(known),
            options: names(&["features", "fit-memory"]),
            why: "no task is added, and a head that is fitted further sees what it saw",
            instead: "name a task that the bundle has not",
        },
        Idle {
            when: !arguments.features.is_some_and(FeatureRequest::chooses),
            options: names(&["fit-memory"]),
            why: "what the heads see is not chosen",
            instead: "say --features auto",
        },
        Idle {
            when: arguments.features.is_none_or(|features| features.words == WordsWanted::No),
            options: names(&["words-at-least"]),
            why: "no head that is added looks at words",
            instead: "say --features last+words",
        },
        Idle {
            when: !tasks.iter().any(kept),
            options: names(&["max-drift"]),
            why: "none of these tasks has a head in the bundle and labels on the validation rows that it keeps",
            instead: "",
        },
    ])
}

/// Opens the bundle and lets it speak on its golden sentences.
fn open(arguments: &Arguments, runtime: &Runtime) -> Result<Bundle> {
    let from = &arguments.bundle;
    match Thing::of(from) {
        Thing::Run | Thing::Backbone => {
            return Err(Error::new(Kind::Usage, "heads are fitted anew in a bundle")
                .at(from)
                .found(Thing::of(from).to_string())
                .expected("a file made by `frosthead bundle`")
                .help(format!(
                    "bundle the run first, or train on its backbone: `frosthead train --backbone {}`",
                    shell_word(&from.display().to_string())
                )));
        }
        _ => {}
    }
    let bundle = Bundle::open(from, arguments.trust.trust.as_ref())?;
    if !arguments.trust.skip_self_test {
        bundle.self_test(&mut bundle.extractor(runtime)?)?;
    }
    if arguments.max_drift.is_some() && bundle.validation()?.is_none() {
        return Err(Error::new(Kind::Usage, "the bundle carries no validation rows to see a loss on")
            .at(from)
            .found("--max-drift")
            .help("make the bundle with --keep-validation, or leave --max-drift away"));
    }
    Ok(bundle)
}

fn fit(
    arguments: &Arguments,
    rows: &RowsRequest,
    bundle: &Bundle,
    runtime: Arc<Runtime>,
    terminal: &Terminal,
) -> Result<Refitted> {
    let backbone = Arc::new(bundle.backbone()?);
    let max_length = backbone.manifest().preparation.max_length;
    let stored = bundle.stored();
    let network = (backbone, runtime);
    let (mut embedder, count) =
        arguments.store.open(stored, network, bundle.long(), &rows.sources(), terminal)?;
    let learning: Learning =
        arguments.learning.learning(arguments.features.unwrap_or_default(), &arguments.runtime)?;
    let output = Output { path: arguments.out.clone(), overwrite: arguments.overwrite };
    let (features, sign) = (arguments.features, arguments.sign.clone());
    let (alpha, max_drift) = (arguments.learning.alpha, arguments.max_drift);
    let request =
        RefitRequest { bundle, rows, learning: &learning, features, alpha, max_drift, output: &output, sign };
    let tasks = rows.tasks.names();
    let mut progress = TrainProgress::new(terminal, count, &tasks);
    let refitted = refit(&request, &mut embedder, &mut |event| progress.show(event))?;
    drop(progress);
    let work = embedder.work();
    terminal.detail(format!(
        "{} texts computed, {} from the store",
        grouped(work.texts),
        grouped(embedder.reused())
    ));
    terminal.notes(&refitted.report.metrics.texts, bundle.long(), max_length);
    Ok(refitted)
}

/// What old and new heads were compared on.
fn say_compared(terminal: &Terminal, report: &RefitReport, bundle: &Bundle) {
    let kept = report.kept_rows as u64;
    if kept == 0 {
        terminal.say(
            "the bundle carries no validation rows (`frosthead bundle --keep-validation`): what the new heads forgot is not seen",
        );
    }
    if report.valid.values().any(|change| change.all.before.is_some()) {
        terminal.say(
            "whether the old head was trained on these rows is not known: where it was, \"before\" on new rows is what it remembers",
        );
    }
    for (task, change) in report.valid.iter().filter(|(task, _)| kept > 0 && !report.kept.contains_key(*task))
    {
        let before = change.all.before.map_or("it is new", |_| "it was added later");
        terminal.say(format!(
            "{task}: the {} kept validation rows have no labels of it: {before}",
            grouped(kept)
        ));
    }
    for (task, rows) in report.kept_fitted.iter().filter(|(_, rows)| **rows > 0) {
        terminal.say(format!(
            "{task}: fitted on {} that the bundle keeps too; \"after\" on kept rows is of heads that this fit did not show them to",
            counted(*rows, "row")
        ));
    }
    let refits = &bundle.manifest().refits;
    for task in report.kept.keys().filter(|task| refits.iter().any(|refit| refit.tasks.contains_key(*task))) {
        terminal.say(format!(
            "{task}: an earlier refit fitted its head on the kept rows: figures on them are partly what it remembers, and --max-drift sees less than is lost"
        ));
    }
    for (task, labels) in &report.without_rows {
        terminal.say(format!(
            "{task}: no row is {}: the head keeps what it knew of {}",
            labels.join(" or "),
            if labels.len() == 1 { "it" } else { "them" }
        ));
    }
}

/// One line per task and label, on each kind of validation rows.
fn changed(report: &RefitReport) -> String {
    let headings = ["validation", "task", "label", "rows", "before", "after", "points"].map(str::to_owned);
    let lines = [("kept", &report.kept), ("new", &report.valid)].into_iter().flat_map(changes);
    table(Columns::keyed(3), &std::iter::once(headings).chain(lines).collect::<Vec<_>>())
}

/// The lines of one kind of validation rows.
fn changes((kind, tasks): (&str, &BTreeMap<String, HeadChange>)) -> Vec<[String; 7]> {
    let mut lines = Vec::new();
    for (task, change) in tasks {
        let mut line = |label: &str, score: &ScoreChange| {
            let points = score.before.map(|before| {
                let error = error_text(score.standard_error.map(|error| 100.0 * error), 1);
                let error = error.map_or_else(String::new, |error| format!(" ± {error}"));
                format!("{:+.1}{error}", 100.0 * (score.after - before))
            });
            lines.push([
                kind.to_owned(),
                task.clone(),
                label.to_owned(),
                grouped(score.rows),
                score.before.map_or_else(|| "-".to_owned(), |before| format!("{before:.3}")),
                format!("{:.3}", score.after),
                points.unwrap_or_default(),
            ]);
        };
        line("(all)", &change.all);
        change.labels.iter().for_each(|(label, score)| line(label, score));
    }
    lines
}
