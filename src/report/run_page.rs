//! Owns the page of one run, or of one measurement of it: scores, whether probabilities are true, every class.

use std::collections::BTreeMap;

use super::classes::{bars, calibration, confusion, scores};
use super::html::document;
use super::text::escape;
use crate::metrics::TaskMetrics;

/// What was measured, for the page.
#[derive(Debug)]
pub struct Measured<'m> {
    pub title: String,
    /// What else there is to know: of which data, how many rows.
    pub about: String,
    /// Which rows were measured.
    pub rows: String,
    pub tasks: &'m BTreeMap<String, TaskMetrics>,
}

/// The page.
#[must_use]
pub fn run_page(measured: &Measured<'_>) -> String {
    let Measured { title, about, rows, tasks } = measured;
    let section = |title: &str, note: &str, body: String| match body.is_empty() {
        true => body,
        false => format!("<h2>{title}</h2>\n<p class=\"soft\">{note}</p>\n{body}"),
    };
    let each = |of: fn(&str, &TaskMetrics, &str) -> String| {
        tasks.iter().map(|(task, metrics)| of(task, metrics, "")).collect::<String>()
    };
    let crossed = tasks.iter().filter(|(_, metrics)| !metrics.confusion.is_empty());
    let crossed: String = crossed.map(|(task, metrics)| confusion(task, metrics, "")).collect();
    let crossed =
        if crossed.is_empty() { crossed } else { format!("<div class=\"matrices\">{crossed}</div>\n") };
    let body = [
        format!("<h1>{}</h1>\n<p class=\"soft\">{}</p>\n", escape(title), escape(about)),
        scores(tasks, rows),
        section(
            "Are the probabilities true?",
            "Answers by the probability that was said, in 15 bins: on the diagonal so many are right as was said.",
            calibration(tasks, ""),
        ),
        section("Classes", "Bars are shares of 1: a full bar is 1.", each(bars)),
        section(
            "Which are taken for which",
            "The true label in a row, the answered one in a column.",
            crossed,
        ),
    ];
    document(title, &body.concat())
}
