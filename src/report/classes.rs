//! Owns how a page shows what was measured of tasks: whether probabilities are true, how well each class is
//! told from the others, and which are taken for which; also of hundreds of classes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::charts::{Chart, Drawn, Point, Scale, Series};
use super::text::{escape, figure, scrolled};
use crate::metrics::{LabelMetrics, TaskMetrics};
use crate::quantities::{fixed, grouped};

/// From so many classes on a matrix is not read any more: the pairs that are confused most are listed.
const CROSSED: usize = 30;
/// Pairs that are listed.
const PAIRS: usize = 40;

/// A line for each task with its score; `of` says of which rows.
pub(super) fn scores(tasks: &BTreeMap<String, TaskMetrics>, of: &str) -> String {
    let heads = ["task", "rows", "score", "", "macro-F1", "calibration error", "mean absolute error"];
    let heads =
        heads.map(|name| if name.is_empty() { "<td></td>".to_owned() } else { column(name) }).concat();
    let row = |(task, metrics): (&String, &TaskMetrics)| {
        let off = metrics.number.as_ref().and_then(|number| number.mae);
        let cells = [
            grouped(metrics.rows),
            metrics.score_name().to_owned(),
            figure(metrics.score(), metrics.score_error()),
            figure(metrics.macro_f1, metrics.macro_f1_standard_error),
            figure(metrics.ece, None),
            off.map_or_else(|| "–".to_owned(), |off| fixed(off, 3)),
        ];
        let cells = cells.map(|cell| format!("<td>{cell}</td>")).concat();
        format!("<tr><th scope=\"row\" class=\"left\">{}</th>{cells}</tr>", escape(task))
    };
    let rows: String = tasks.iter().map(row).collect();
    let table = format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>");
    format!(
        "<h2>Scores</h2>\n<p class=\"soft\">On {}.</p>\n{}\n",
        escape(of),
        scrolled("scores of all tasks", &table)
    )
}

fn column(name: &str) -> String {
    format!("<th scope=\"col\">{name}</th>")
}

/// What was said against what is so, task by task; `of` is whose it is, where that must be said.
pub(super) fn calibration(tasks: &BTreeMap<String, TaskMetrics>, of: &str) -> String {
    let curve = |(task, metrics): (&String, &TaskMetrics)| {
        let point = |x: f64, y: f64| Point { x, y, error: 0.0, label: String::new() };
        let points = metrics.reliability.iter().map(|bin| point(bin.said, bin.so)).collect();
        let series = [
            Series { name: "as it is".to_owned(), drawn: Drawn::Line, points },
            Series {
                name: "as it should be".to_owned(),
                drawn: Drawn::Line,
                points: vec![point(0.0, 0.0), point(1.0, 1.0)],
            },
        ];
        let what = if metrics.several.is_some() { "labels that are true" } else { "rows that are right" };
        let caption = format!("{task}{of}: share of {what}, by the probability that was said");
        let chart = Chart { caption: &caption, x: "probability", series: &series, scale: Scale::Shares };
        let rows = metrics.reliability.iter().map(|bin| {
            format!(
                "<tr><td>{:.3}</td><td>{:.3}</td><td>{}</td></tr>",
                bin.said,
                bin.so,
                grouped(bin.answers)
            )
        });
        let heads = ["said", "true", "answers"].map(column).concat();
        let rows = rows.collect::<String>();
        let table = format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>");
        let numbers = scrolled(&format!("{task}{of}: calibration in numbers"), &table);
        format!(
            "<div>{}<details><summary>{}: in numbers</summary>{numbers}</details></div>",
            chart.figure(),
            escape(&format!("{task}{of}"))
        )
    };
    let measured = tasks.iter().filter(|(_, metrics)| !metrics.reliability.is_empty());
    let figures: String = measured.map(curve).collect();
    if figures.is_empty() {
        return String::new();
    }
    format!("<div class=\"charts\">{figures}</div>\n")
}

/// How well each class of a task is told, the worst first, as bars with their numbers.
pub(super) fn bars(task: &str, metrics: &TaskMetrics, of: &str) -> String {
    if metrics.per_label.is_empty() {
        return String::new();
    }
    let mut labels: Vec<&LabelMetrics> = metrics.per_label.iter().collect();
    let f1 = |label: &LabelMetrics| label.f1.unwrap_or(f64::INFINITY);
    labels.sort_by(|a, b| f1(a).total_cmp(&f1(b)).then(b.rows.cmp(&a.rows)));
    let bar = |value: Option<f64>| match value {
        Some(value) => format!("<td class=\"bar\" style=\"--share:{value:.3}\">{value:.3}</td>"),
        None => "<td>–</td>".to_owned(),
    };
    let row = |label: &&LabelMetrics| {
        format!(
            "<tr><th scope=\"row\" class=\"left\">{}</th><td>{}</td>{}{}{}</tr>",
            escape(&label.label),
            grouped(label.rows),
            bar(label.f1),
            bar(label.precision),
            bar(label.recall)
        )
    };
    let heads = ["label", "rows", "F1", "precision", "recall"].map(column).concat();
    let rows: String = labels.iter().map(row).collect();
    let table = format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>");
    format!(
        "<h3>{}: {} labels, the worst first</h3>{}",
        escape(&format!("{task}{of}")),
        grouped(labels.len() as u64),
        scrolled(&format!("{task}{of}: labels"), &table)
    )
}

/// Rows by what is true and what is answered; of very many classes the pairs that are confused most.
pub(super) fn confusion(task: &str, metrics: &TaskMetrics, of: &str) -> String {
    let table = if metrics.labels.len() > CROSSED { pairs(metrics) } else { matrix(metrics) };
    let what = if metrics.labels.len() > CROSSED { ": what is confused most" } else { "" };
    let named = format!("{task}{of}");
    let label = format!("{named}: which labels are taken for which");
    format!("<div><h3>{}{what}</h3>{}</div>", escape(&named), scrolled(&label, &table))
}

fn matrix(metrics: &TaskMetrics) -> String {
    let labels: String = metrics.labels.iter().map(|label| column(&escape(label))).collect();
    let row = |(label, counts): (&String, &Vec<u64>)| {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let cells: String = counts
            .iter()
            .map(|count| {
                let share = *count as f64 / all;
                format!("<td class=\"cell\" style=\"--share:{share:.3}\">{}</td>", grouped(*count))
            })
            .collect();
        format!("<tr><th scope=\"row\" class=\"left\">{}</th>{cells}</tr>", escape(label))
    };
    let all = metrics.labels.iter().chain(&metrics.unseen);
    let rows: String = all.zip(&metrics.confusion).map(row).collect();
    format!("<table><thead><tr><td></td>{labels}</tr></thead><tbody>{rows}</tbody></table>")
}

fn pairs(metrics: &TaskMetrics) -> String {
    let names: Vec<&String> = metrics.labels.iter().chain(&metrics.unseen).collect();
    let places = |(truth, counts): (usize, &Vec<u64>)| {
        let wrong = counts.iter().enumerate().filter(move |(answer, rows)| *answer != truth && **rows > 0);
        wrong.map(move |(answer, rows)| (*rows, truth, answer)).collect::<Vec<_>>()
    };
    let mut pairs: Vec<(u64, usize, usize)> = metrics.confusion.iter().enumerate().flat_map(places).collect();
    pairs.sort_by_key(|(rows, truth, answer)| (Reverse(*rows), *truth, *answer));
    let row = |(rows, truth, answer): &(u64, usize, usize)| {
        format!(
            "<tr><th scope=\"row\" class=\"left\">{}</th><td class=\"left\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(names[*truth]),
            escape(names[*answer]),
            grouped(*rows),
            grouped(metrics.confusion[*truth].iter().sum())
        )
    };
    let heads = ["true", "answered", "rows", "of"].map(column).concat();
    let more = pairs.len().saturating_sub(PAIRS);
    let rows: String = pairs.iter().take(PAIRS).map(row).collect();
    let rest = match more {
        0 => String::new(),
        more => format!(
            "<tfoot><tr><td class=\"left\" colspan=\"4\">{} more pairs, of fewer rows</td></tr></tfoot>",
            grouped(more as u64)
        ),
    };
    format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>{rest}</table>")
}
