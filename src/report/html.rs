//! Owns the page of a report: one HTML file that works offline, on a phone, in light and dark.
//!
//! Refuses scripts, outside resources, and text of the user's that is not escaped.

use super::charts::{Chart, Drawn, Point, Scale, Series};
use super::classes::{bars, calibration, confusion};
use super::frontier;
use super::names::in_words;
use super::recommend::{Recommendation, recommend};
use super::text::{escape, figure, scrolled};
use super::{BackboneReport, Done, Outcome, Report, ScenarioReport};
use crate::metrics::TaskMetrics;
use crate::quantities::{bytes, duration, grouped};

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let advice = recommend(report);
    let title = format!("Which parts to freeze: {}", file_name(&report.data));
    let parts = [
        heading(report, &title),
        recommendation(&advice),
        frontier::section(report),
        table(report, &advice),
        backbones(report),
        charts(report),
        measured(report, &advice),
        matrices(report, &advice),
        notes(),
    ];
    document(&title, &parts.concat())
}

/// A whole page around its content.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("page.css")
    )
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn heading(report: &Report, title: &str) -> String {
    let rows = done(report).next().map_or_else(String::new, |(_, _, done)| {
        let sizes = &done.metrics.sizes;
        format!(
            " {} rows: {} train, {} validation, {} test.",
            grouped(sizes.rows),
            grouped(sizes.train),
            grouped(sizes.valid),
            grouped(sizes.test)
        )
    });
    format!(
        "<h1>{}</h1>\n<p class=\"soft\">{}.{rows} Tasks: {}. Seed {}. Measured on {}, frosthead {}.</p>\n",
        escape(title),
        escape(&report.data),
        escape(&report.tasks.join(", ")),
        report.seed,
        escape(&report.machine),
        escape(&report.frosthead)
    )
}

fn recommendation(advice: &Recommendation) -> String {
    let reasons: String =
        advice.reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
    let run = advice
        .run
        .as_ref()
        .map_or_else(String::new, |run| format!("<p>Its run: <code>{}</code></p>", escape(run)));
    format!(
        "<h2>Recommendation</h2>\n<div class=\"advice\"><strong>{}</strong>{run}</div>\n<ul>{reasons}</ul>\n",
        escape(&advice.summary)
    )
}

fn table(report: &Report, advice: &Recommendation) -> String {
    let of_task = |task: &String| {
        format!(
            "<th scope=\"col\">{} {}</th><th scope=\"col\">macro-F1</th>",
            escape(task),
            report.score_name(task)
        )
    };
    let tasks: String = report.tasks.iter().map(of_task).collect();
    let costs = ["trained parameters", "token states", "training", "in all", "peak memory", "disk"]
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .concat();
    let head = format!(
        "<th scope=\"col\">scenario</th>{tasks}<th scope=\"col\" class=\"left\">what it is</th>\
         <th scope=\"col\" class=\"left\">frozen</th>{costs}"
    );
    // Depths have a table of their own.
    let shown = scenarios(report).filter(|(_, scenario)| !scenario.is_depth());
    let rows = shown.map(|(backbone, scenario)| row(report, backbone, scenario, advice));
    let rows: String = rows.collect();
    let table = format!("<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>");
    format!(
        "<h2>Scenarios</h2>\n{}\n\
         <p class=\"soft\">Accuracy (micro-F1 where several labels can be true, R² of numbers) and macro-F1 on the test rows, ± one standard error where there is one; – where there was nothing to measure.</p>\n",
        scrolled("all scenarios", &table)
    )
}

fn name(report: &Report, backbone: &BackboneReport, scenario: &ScenarioReport) -> String {
    if report.backbones.len() > 1 {
        format!("{} {}", backbone.name, scenario.scenario)
    } else {
        scenario.scenario.clone()
    }
}

fn row(
    report: &Report,
    backbone: &BackboneReport,
    scenario: &ScenarioReport,
    advice: &Recommendation,
) -> String {
    let name = escape(&name(report, backbone, scenario));
    let done = match &scenario.outcome {
        Outcome::Skipped(why) => {
            let columns = 8 + 2 * report.tasks.len();
            return format!(
                "<tr><td>{name}</td><td class=\"left\" colspan=\"{columns}\">not run: {}</td></tr>",
                escape(why)
            );
        }
        Outcome::Done(done) => done,
    };
    let chosen = advice.run.as_ref() == Some(&done.run);
    let stopped = if done.time_limit.is_some() { " (ended by the time limit)" } else { "" };
    let chosen = if chosen { " class=\"chosen\"" } else { "" };
    let mut row = format!("<tr{chosen}><td>{name}</td>");
    for task in &report.tasks {
        row += &done.metrics.tasks.get(task).map_or_else(|| "<td>?</td><td>?</td>".to_owned(), scores);
    }
    row += &format!("<td class=\"left\">{}</td>", escape(&in_words(&scenario.scenario)));
    row += &format!("<td class=\"left\">{}{stopped}</td>", escape(&scenario.frozen));
    let unknown = || "?".to_owned();
    for cell in [
        parameters(scenario),
        duration(done.states_seconds),
        duration(done.training_seconds),
        done.seconds.map_or_else(unknown, duration),
        done.peak_memory.map_or_else(unknown, bytes),
        bytes(done.run_bytes + done.states_bytes.unwrap_or(0)),
    ] {
        row += &format!("<td>{cell}</td>");
    }
    row + "</tr>"
}

fn parameters(scenario: &ScenarioReport) -> String {
    let trained = grouped(scenario.trained_parameters);
    scenario.all_parameters.map_or_else(
        || trained.clone(),
        |all| format!("{trained} ({:.2} %)", 100.0 * scenario.trained_parameters as f64 / all as f64),
    )
}

fn scores(metrics: &TaskMetrics) -> String {
    let cell = |value, error| format!("<td>{}</td>", figure(value, error));
    cell(metrics.score(), metrics.score_error()) + &cell(metrics.macro_f1, metrics.macro_f1_standard_error)
}

fn backbones(report: &Report) -> String {
    let mut rows = String::new();
    for backbone in &report.backbones {
        let unknown = || "?".to_owned();
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{} for {} texts</td></tr>",
            escape(&backbone.name),
            bytes(backbone.bytes),
            backbone.parameters.map_or_else(unknown, grouped),
            backbone.layers.map_or_else(unknown, |layers| layers.to_string()),
            backbone.hidden,
            backbone.texts_per_second,
            duration(backbone.features_seconds),
            grouped(backbone.features_texts)
        );
    }
    let mut untrained = String::new();
    for (backbone, scenario, done) in done(report) {
        for (task, measured) in &done.metrics.untrained {
            untrained += &format!(
                "<li>{}, {}: {} with heads as drawn.</li>",
                escape(&name(report, backbone, scenario)),
                escape(task),
                figure(measured.score(), measured.score_error())
            );
        }
    }
    let heads = ["backbone", "size", "parameters", "layers", "width", "texts/s", "features computed"];
    let heads = heads.map(|name| format!("<th scope=\"col\">{name}</th>")).concat();
    let table = format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>");
    let untrained = if untrained.is_empty() { untrained } else { format!("<ul>{untrained}</ul>\n") };
    format!("<h2>Backbones</h2>\n{}\n{untrained}", scrolled("backbones", &table))
}

/// Every scenario that was run.
fn done(report: &Report) -> impl Iterator<Item = (&BackboneReport, &ScenarioReport, &Done)> {
    scenarios(report).filter_map(|(backbone, scenario)| Some((backbone, scenario, scenario.done()?)))
}

/// All scenarios, with their backbones.
fn scenarios(report: &Report) -> impl Iterator<Item = (&BackboneReport, &ScenarioReport)> {
    report
        .backbones
        .iter()
        .flat_map(|backbone| backbone.scenarios.iter().map(move |scenario| (backbone, scenario)))
}

fn charts(report: &Report) -> String {
    let figures: String = report.tasks.iter().map(|task| against_time(report, task)).collect();
    let (mut accuracy, mut loss) = (String::new(), String::new());
    for (place, task) in report.tasks.iter().enumerate() {
        accuracy += &training_curve(
            report,
            &format!("{task}: {} on validation rows, by epoch", report.score_name(task)),
            |epoch| epoch.validation.scores.get(place).copied().flatten(),
        );
        loss += &training_curve(report, &format!("{task}: loss on training rows, by epoch"), |epoch| {
            epoch.losses.get(place).copied()
        });
    }
    let rows = learning_curves(report);
    let section = |title: &str, figures: &str| {
        if figures.is_empty() {
            return String::new();
        }
        format!("<h2>{title}</h2>\n<div class=\"charts\">{figures}</div>\n")
    };
    section("Accuracy against time", &figures)
        + &section("Training", &(accuracy + &loss))
        + &section("Accuracy against labelled rows", &rows)
}

fn against_time(report: &Report, task: &str) -> String {
    let series: Vec<Series> = report
        .backbones
        .iter()
        .map(|backbone| {
            let point = |scenario: &ScenarioReport| {
                let done = scenario.done()?;
                let found = done.metrics.tasks.get(task)?;
                Some(Point {
                    x: done.states_seconds + done.training_seconds,
                    y: found.score()?,
                    error: found.score_error().unwrap_or(0.0),
                    label: scenario.scenario.clone(),
                })
            };
            let shown = backbone.scenarios.iter().filter(|scenario| !scenario.is_depth());
            let points = shown.filter_map(point).collect();
            Series { name: backbone.name.clone(), drawn: Drawn::Circles, points }
        })
        .collect();
    let caption = format!(
        "{task}: {} on test rows, against time for token states and training",
        report.score_name(task)
    );
    Chart { caption: &caption, x: "time", series: &series, scale: Scale::Seconds }.figure()
}

/// A figure of every epoch of the trained scenarios; later stages go on where the last ended.
fn training_curve(
    report: &Report,
    caption: &str,
    figure: impl Fn(&crate::finetune::Epoch) -> Option<f64>,
) -> String {
    let mut series = Vec::new();
    for (backbone, scenario, done) in done(report).filter(|(_, scenario, _)| scenario.trains_backbone()) {
        let mut points = Vec::new();
        let mut before = 0_u64;
        for (number, stage) in done.stages.iter().enumerate() {
            // Epoch 0 of a later stage is the best of the last.
            let first = usize::from(number > 0);
            points.extend(stage.epochs.iter().skip(first).filter_map(|epoch| {
                let x = (before + epoch.number) as f64;
                Some(Point { x, y: figure(epoch)?, error: 0.0, label: String::new() })
            }));
            before += stage.epochs.last().map_or(0, |epoch| epoch.number);
        }
        series.push(Series { name: name(report, backbone, scenario), drawn: Drawn::Line, points });
    }
    Chart { caption, x: "epoch", series: &series, scale: Scale::Numbers }.figure()
}

fn learning_curves(report: &Report) -> String {
    let mut figures = String::new();
    for task in &report.tasks {
        let curve = |backbone: &BackboneReport| {
            let point = |place: &super::CurvePoint| {
                let score = place.tasks.get(task)?;
                let x = place.rows as f64;
                let error = score.accuracy_standard_error.unwrap_or(0.0);
                Some(Point { x, y: score.accuracy?, error, label: String::new() })
            };
            let points = backbone.learning_curve.iter().filter_map(point).collect();
            Series { name: backbone.name.clone(), drawn: Drawn::Line, points }
        };
        let series: Vec<Series> = report.backbones.iter().map(curve).collect();
        let caption =
            format!("{task}: {} of scenario 2 on test rows, by training rows", report.score_name(task));
        let chart = Chart { caption: &caption, x: "training rows", series: &series, scale: Scale::Logarithm };
        figures += &chart.figure();
    }
    figures
}

/// Whether probabilities are true, and every class, of the run that is recommended.
fn measured(report: &Report, advice: &Recommendation) -> String {
    let recommended = done(report).find(|(_, _, done)| advice.run.as_ref() == Some(&done.run));
    let Some((backbone, scenario, done)) = recommended else { return String::new() };
    let (tasks, scenario) = (&done.metrics.tasks, escape(&name(report, backbone, scenario)));
    let bars: String = tasks.iter().map(|(task, metrics)| bars(task, metrics, "")).collect();
    let section = |title: &str, body: &str| match body.is_empty() {
        true => String::new(),
        false => format!("<h2>{title} of scenario {scenario}, which is recommended</h2>\n{body}"),
    };
    section("Calibration", &calibration(tasks, "")) + &section("Classes", &bars)
}

fn matrices(report: &Report, advice: &Recommendation) -> String {
    let mut all = "<h2>Which are taken for which</h2>\n<p class=\"soft\">Test rows: the true label in a row, the predicted one in a column. A row without a column is a label that training never saw.</p>\n".to_owned();
    for (backbone, scenario, done) in done(report) {
        let open = if advice.run.as_ref() == Some(&done.run) { " open" } else { "" };
        let of = format!(" of scenario {}", name(report, backbone, scenario));
        let tasks: String = report
            .tasks
            .iter()
            .filter_map(|task| Some((task, done.metrics.tasks.get(task)?)))
            // Where several labels can be true, none is taken for another; and numbers have none.
            .filter(|(_, metrics)| !metrics.confusion.is_empty())
            .map(|(task, metrics)| confusion(task, metrics, &of))
            .collect();
        let name = escape(&name(report, backbone, scenario));
        all += &format!(
            "<details{open}><summary>Scenario {name}</summary><div class=\"matrices\">{tasks}</div></details>\n"
        );
    }
    all
}

fn notes() -> String {
    "<h2>How this was measured</h2>\n<ul>\
     <li>All scenarios have the same training, validation and test rows (checked) and the same seed. Epochs were chosen, and the \
     recommendation is made, on validation rows; test rows chose nothing.</li>\
     <li>Scenario 1: everything frozen; labels by the embeddings of their descriptions. 2: heads fitted on the frozen backbone. \
     3:TASK: that head frozen, everything else trained. topN: gradual unfreezing of the N top layers; it goes on from the best of \
     the scenario before it, whose time is included.</li>\
     <li>Token states: one pass of the frozen layers, stored and shared. Training: fits and epochs with their validation. In all: \
     from start to written run in the call that made it, without the features, which all scenarios share. Gradual unfreezing that \
     goes on from an earlier scenario does not count its time here.</li>\
     <li>Peak memory: the process's largest resident set while the scenario ran (VmHWM, reset before \
     it; what the process holds anyway is in it). Disk: the run directory \
     and the token states at its cut.</li>\
     <li>Cannot tell: the gain is less than two standard errors of the difference, which is taken row by row, as \
     all scenarios answer the same rows. It may be there; these rows are too few to show it.</li></ul>\n"
        .to_owned()
}
