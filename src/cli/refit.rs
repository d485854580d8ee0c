//! Owns `frosthead train --from`: a bundle and new labelled rows → a bundle with heads fitted anew, and the
//! table of old against new.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::bundle::say_written;
use super::eval::unprintable;
use super::network::TrainProgress;
use super::terminal::{Terminal, grouped};
use super::train::{Arguments, say_calibration, say_fits, say_rows, sources};
use super::{Outcome, eval};
use crate::bundle::{Bundle, signature_path};
use crate::data::TableReader;
use crate::dataset::Input;
use crate::error::{Error, Kind, Result};
use crate::quantities::error_text;
use crate::recognize::{Thing, shell_word};
use crate::runtime::Runtime;
use crate::train::{Accuracy, HeadChange, RefitReport, RefitRequest, Refitted, TrainRequest, refit};

pub(super) fn run(
    arguments: &Arguments,
    request: &TrainRequest,
    from: &Path,
    terminal: &Terminal,
) -> anyhow::Result<Outcome> {
    let runtime = arguments.runtime.load(terminal)?;
    let bundle = open(arguments, from, &runtime)?;
    let request = &with_text_column(arguments, request, &bundle)?;
    // Before the bundle may be replaced, and its signature with it.
    let signed = bundle.has_signature();
    let Refitted { written, report, fits } = fit(arguments, request, &bundle, runtime, terminal)?;
    say_fits(terminal, &fits);
    say_rows(terminal, &report.metrics);
    say_calibration(terminal, &report.metrics);
    if arguments.json {
        eval::print_json(&report)?;
    } else {
        print_changes(&report)?;
        eval::print_table(&report.metrics.tasks)?;
    }
    eval::say_unmeasured(terminal, &report.metrics.tasks, "no test row");
    say_compared(terminal, &report);
    let out = &arguments.out;
    terminal.say(format!(
        "backbone: hash {} in {}, {} in {}",
        report.backbone_before.short(),
        from.display(),
        report.backbone_after.short(),
        out.display()
    ));
    say_written(terminal, out, written);
    match (&arguments.sign, signed) {
        (Some(_), _) => terminal.say(format!("{}: its signature", signature_path(out).display())),
        (None, true) if !signature_path(out).is_file() => terminal.warn(format!(
            "{} is not signed, as {} was: its heads are others; --sign KEY signs it",
            out.display(),
            from.display()
        )),
        (None, _) => {}
    }
    let lost =
        report.kept.values().map(|own| own.all.before.map_or(0.0, |before| 100.0 * (before - own.all.after)));
    let lost = lost.fold(0.0, f64::max);
    if arguments.freeze.max_drift.is_some_and(|most| lost > most) {
        terminal
            .warn(format!("a head lost {lost:.2} points on the kept validation rows: more than --max-drift"));
        return Ok(Outcome::CriterionMissed);
    }
    Ok(eval::criterion(&report.metrics.tasks, arguments.min_f1, terminal))
}

/// The request with the text column that the bundle was trained with, unless --text names one; every table
/// must have it.
fn with_text_column(arguments: &Arguments, request: &TrainRequest, bundle: &Bundle) -> Result<TrainRequest> {
    let known = arguments.table.text_or(bundle.manifest().text.as_deref(), bundle.path());
    let mut request = request.clone();
    let inputs = [Some(&mut request.data), request.valid.as_mut(), request.test.as_mut()];
    for input in inputs.into_iter().flatten() {
        if let Input::Texts { source, column } = input {
            TableReader::open(source)?.text(&known)?;
            column.clone_from(&known.name);
        }
    }
    Ok(request)
}

/// Opens the bundle and lets it speak on its golden sentences.
fn open(arguments: &Arguments, from: &Path, runtime: &Runtime) -> Result<Bundle> {
    match Thing::of(from) {
        Thing::Run | Thing::Backbone => {
            return Err(Error::new(Kind::Usage, "heads are fitted anew in a bundle")
                .at(from)
                .found(Thing::of(from).to_string())
                .expected("a file made by `frosthead bundle`")
                .help(format!(
                    "bundle the run first, or train on its backbone: --backbone {}",
                    shell_word(&from.display().to_string())
                )));
        }
        _ => {}
    }
    let bundle = Bundle::open(from, arguments.trust.trust.as_ref())?;
    if !arguments.trust.skip_self_test {
        bundle.self_test(&mut bundle.extractor(runtime)?)?;
    }
    if arguments.freeze.max_drift.is_some() && bundle.validation()?.is_none() {
        return Err(Error::new(Kind::Usage, "the bundle carries no validation rows to see a loss on")
            .at(from)
            .found("--max-drift")
            .help("make the bundle with --keep-validation, or leave --max-drift away"));
    }
    Ok(bundle)
}

fn fit(
    arguments: &Arguments,
    request: &TrainRequest,
    bundle: &Bundle,
    runtime: Arc<Runtime>,
    terminal: &Terminal,
) -> Result<Refitted> {
    let backbone = Arc::new(bundle.backbone()?);
    let max_length = backbone.manifest().preparation.max_length;
    let stored = bundle.stored();
    let network = (backbone, runtime);
    let (mut embedder, rows) =
        arguments.store.open_storing(stored, network, bundle.long(), &sources(request), terminal)?;
    let mut progress = TrainProgress::new(terminal, rows, &request.tasks);
    let asked =
        RefitRequest { bundle, train: request, features: arguments.features, sign: arguments.sign.clone() };
    let refitted = refit(&asked, &mut embedder, &mut |event| progress.show(event))?;
    drop(progress);
    let work = embedder.work();
    terminal.detail(format!("{} texts computed, {} from the store", work.texts, embedder.reused()));
    terminal.notes(&refitted.report.metrics.texts, bundle.long(), max_length);
    Ok(refitted)
}

/// What old and new heads were compared on.
fn say_compared(terminal: &Terminal, report: &RefitReport) {
    let kept = report.kept_rows as u64;
    if kept == 0 {
        terminal.say(
            "the bundle carries no validation rows (`frosthead bundle --keep-validation`): what the new heads forgot is not seen",
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
    for (task, labels) in &report.lost {
        terminal.warn(format!(
            "{task}: no new row is {}: the new head does not know it any more",
            labels.join(" or ")
        ));
    }
}

/// One line per task and label, on each kind of validation rows.
fn print_changes(report: &RefitReport) -> Result<()> {
    let lines: Vec<[String; 7]> =
        [("kept", &report.kept), ("new", &report.valid)].into_iter().flat_map(changes).collect();
    let headings = ["validation", "task", "label", "rows", "before", "after", "points"].map(str::to_owned);
    let widest = |place: usize| {
        lines.iter().chain([&headings]).map(|line| line[place].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(widest).collect();
    let mut text = String::new();
    for line in std::iter::once(&headings).chain(&lines) {
        let cells = line.iter().zip(&widths).enumerate().map(|(place, (cell, width))| {
            if place < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text.push('\n');
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(unprintable)
}

/// The lines of one kind of validation rows.
fn changes((kind, tasks): (&str, &BTreeMap<String, HeadChange>)) -> Vec<[String; 7]> {
    let mut lines = Vec::new();
    for (task, change) in tasks {
        let mut line = |label: &str, own: &Accuracy| {
            let points = own.before.map(|before| {
                let error = error_text(own.standard_error.map(|error| 100.0 * error), 1);
                let error = error.map_or_else(String::new, |error| format!(" ± {error}"));
                format!("{:+.1}{error}", 100.0 * (own.after - before))
            });
            lines.push([
                kind.to_owned(),
                task.clone(),
                label.to_owned(),
                grouped(own.rows),
                own.before.map_or_else(|| "-".to_owned(), |before| format!("{before:.3}")),
                format!("{:.3}", own.after),
                points.unwrap_or_default(),
            ]);
        };
        line("(all)", &change.all);
        change.labels.iter().for_each(|(label, own)| line(label, own));
    }
    lines
}
