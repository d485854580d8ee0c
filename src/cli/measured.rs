//! Owns the tables of what was measured: a line for each task beside what costs nothing, what leaving rows
//! unanswered gains, and what was asked for and is not met.
//!
//! Refuses to measure.

use std::collections::BTreeMap;

use super::Outcome;
use super::printing::{Columns, table};
use super::terminal::{Terminal, grouped};
use frosthead::internal::error::quoted;
use frosthead::internal::metrics::{Coverage, IntervalMetrics, LabelMetrics, TaskMetrics};
use frosthead::internal::quantities::{self, counted, fixed, with_error};

/// Labels that training never saw, of each task, which are named.
const NAMED: usize = 10;

/// The scores of a task that cost no training; none where they are not known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Baselines {
    /// Of always answering the label that most rows have.
    pub majority: Option<f64>,
    /// Of taking labels by their descriptions.
    pub described: Option<f64>,
}

/// The accuracy table: one line per task, then one per label that training never saw. Tasks of several labels
/// and of numbers have tables of their own.
pub(crate) fn accuracy_table(tasks: &BTreeMap<String, TaskMetrics>) -> String {
    table_beside(tasks, None)
}

/// The same beside what costs no training.
pub(crate) fn table_beside(
    tasks: &BTreeMap<String, TaskMetrics>,
    baselines: Option<&BTreeMap<String, Baselines>>,
) -> String {
    let of = |of: fn(&TaskMetrics) -> bool| tasks.iter().filter(|task| of(task.1)).collect::<Vec<_>>();
    let one = of(|found| found.several.is_none() && found.number.is_none());
    let (several, numbers) = (of(|found| found.several.is_some()), of(|found| found.number.is_some()));
    let mut tables = Vec::new();
    let mut add = |figures: &[&str], tasks: &[(&String, &TaskMetrics)], line: Line, beside: bool| {
        if tasks.is_empty() {
            return;
        }
        let beside = baselines.filter(|_| beside);
        let headings = ["task", "rows", figures[0]].into_iter();
        let headings = headings.chain(beside.iter().flat_map(|_| ["majority", "descriptions"]));
        let headings = headings.chain(figures[1..].iter().copied()).map(str::to_owned);
        let mut lines = vec![headings.collect::<Vec<_>>()];
        for (task, metrics) in tasks {
            let mut cells = vec![(*task).clone(), grouped(metrics.rows)];
            match line(metrics) {
                None => cells.push("nothing to measure".to_owned()),
                Some(mut figures) => {
                    cells.push(figures.remove(0));
                    let found = beside.map(|all| all.get(*task).copied().unwrap_or_default());
                    let found = found.iter().flat_map(|found| [found.majority, found.described]);
                    cells.extend(found.map(|value| figure(value, 3)).chain(figures));
                }
            }
            lines.push(cells);
        }
        tables.push(table(Columns::keyed(1), &lines));
    };
    add(&["accuracy", "macro-F1", "ECE"], &one, of_one, true);
    add(&["micro-F1", "macro-F1", "avg. prec.", "exact", "ECE"], &several, of_several, true);
    // The mean of the training rows has an R² of about 0: nothing to say of every task.
    add(&["R²", "MAE", "RMSE", "Spearman", "interval"], &numbers, of_number, false);
    let unseen = tasks.iter().map(|(task, metrics)| unseen_labels(task, metrics));
    tables.join("") + &unseen.collect::<String>()
}

/// A line of figures, where there were rows.
type Line = fn(&TaskMetrics) -> Option<Vec<String>>;

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn of_one(metrics: &TaskMetrics) -> Option<Vec<String>> {
    let (accuracy, macro_f1, ece) = figures(metrics);
    Some(vec![
        with_error(accuracy?, metrics.accuracy_standard_error, 3),
        with_error(macro_f1?, metrics.macro_f1_standard_error, 3),
        figure(Some(ece?), 3),
    ])
}

fn of_several(metrics: &TaskMetrics) -> Option<Vec<String>> {
    let several = metrics.several.as_ref()?;
    let others = [metrics.macro_f1, several.average_precision, metrics.accuracy, metrics.ece];
    let score = with_error(several.micro_f1?, several.micro_f1_standard_error, 3);
    Some(std::iter::once(score).chain(others.map(|value| figure(value, 3))).collect())
}

fn of_number(metrics: &TaskMetrics) -> Option<Vec<String>> {
    let number = metrics.number.as_ref()?;
    let interval = number.interval.map_or_else(
        || "-".to_owned(),
        |IntervalMetrics { level, width, coverage, .. }| {
            let held = coverage.map_or_else(|| "-".to_owned(), |share| format!("{:.1}", 100.0 * share));
            format!("±{} holds {held}/{}", fixed(width, 3), quantities::level(level))
        },
    );
    Some(vec![
        with_error(number.r_squared?, number.r_squared_standard_error, 3),
        with_error(number.mae?, number.mae_standard_error, 4),
        fixed(number.rmse?, 4),
        figure(number.spearman, 3),
        interval,
    ])
}

/// Accuracy, macro-F1 and calibration error, where there were rows; runs of earlier versions say 0 where
/// there were none.
fn figures(metrics: &TaskMetrics) -> (Option<f64>, Option<f64>, Option<f64>) {
    let measured = |value: Option<f64>| value.filter(|_| metrics.rows > 0);
    (measured(metrics.accuracy), measured(metrics.macro_f1), measured(metrics.ece))
}

/// One line per label that training never saw, the most frequent first; at most so many.
fn unseen_labels(task: &str, metrics: &TaskMetrics) -> String {
    let mut unseen: Vec<&LabelMetrics> = metrics.per_label.iter().filter(|label| label.unseen).collect();
    unseen.sort_by_key(|label| std::cmp::Reverse(label.rows));
    let mut text = String::new();
    for label in unseen.iter().take(NAMED) {
        text += &format!(
            "{task}: training never saw the label {}: {}, counted as wrong (in macro-F1 with an F1 of 0)\n",
            quoted(&label.label),
            counted(label.rows, "row")
        );
    }
    let (more, rows) =
        unseen.iter().skip(NAMED).fold((0, 0), |(more, rows), label| (more + 1, rows + label.rows));
    if more > 0 {
        text += &format!("{task}: {more} more labels that training never saw: {}\n", counted(rows, "row"));
    }
    text
}

/// What a row of a task has where it can be measured: a label, or a number.
pub(crate) fn truth_of(metrics: &TaskMetrics) -> &'static str {
    if metrics.number.is_some() { "number" } else { "label" }
}

/// Tasks that have no row to be measured on; `rows` is who has no label.
pub(crate) fn say_unmeasured(terminal: &Terminal, tasks: &BTreeMap<String, TaskMetrics>, rows: &str) {
    for (task, metrics) in tasks.iter().filter(|(_, metrics)| metrics.rows == 0) {
        terminal.warn(format!("{task}: nothing to measure: {rows} has a {}", truth_of(metrics)));
    }
}

/// One line per share of the rows that is answered.
pub(crate) fn coverage_table(task: &str, coverage: &[Coverage]) -> String {
    if coverage.is_empty() {
        return format!("\n{task}: nothing to measure\n");
    }
    let caught = coverage.iter().any(|line| line.caught.is_some());
    let mut headings = ["probability", "rows", "answered", "accuracy"].map(str::to_owned).to_vec();
    headings.extend(caught.then(|| "out of scope, caught".to_owned()));
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    let line = |line: &Coverage| {
        let least = line.threshold.map_or_else(|| "thresholds".to_owned(), |least| format!("{least:.3}"));
        let mut cells =
            vec![least, grouped(line.rows), share(line.coverage), format!("{:.3}", line.accuracy)];
        cells.extend(line.caught.map(share));
        cells
    };
    let lines: Vec<Vec<String>> = std::iter::once(headings).chain(coverage.iter().map(line)).collect();
    format!(
        "\n{task}, when only rows with at least this probability are answered\n{}",
        table(Columns { numbers: (0, usize::MAX), ..Columns::keyed(1) }, &lines)
    )
}

/// Whether every task reaches the macro-F1 the user asked for.
pub(crate) fn criterion(
    tasks: &BTreeMap<String, TaskMetrics>,
    min_f1: Option<f64>,
    terminal: &Terminal,
) -> Outcome {
    let Some(least) = min_f1 else { return Outcome::Done };
    let mut outcome = Outcome::Done;
    for (task, metrics) in tasks.iter().filter(|(_, metrics)| metrics.number.is_none()) {
        match figures(metrics).1 {
            Some(macro_f1) if macro_f1 >= least => continue,
            Some(macro_f1) => {
                terminal.warn(format!("{task}: macro-F1 {macro_f1:.3} is below --min-f1 {least}"));
            }
            None => terminal.warn(format!("{task}: nothing to measure: --min-f1 {least} is not met")),
        }
        outcome = Outcome::CriterionMissed;
    }
    outcome
}
