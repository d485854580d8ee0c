//! Owns fitting a head on features alone: standardise, minimise, check with our own objective, fold the scaler in.
//!
//! Refuses classes without rows, and features that are not finite.

use std::time::Instant;

use super::cross_validation::choose_alpha;
use super::head::{Answers, Head};
use super::minimize::minimize;
use super::options::{Alpha, Examples, FitOptions, FitReport};
use super::problem::problem;
use super::standardize::Scaler;
use crate::error::{Error, Kind, Result};
use crate::task::TaskKind;

/// Fits a head on what it sees of the network, whatever is said of words.
///
/// # Errors
/// Fewer than two classes, a class without rows, or features that do not fit or are not finite.
pub(super) fn fit_dense(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<(Head, FitReport)> {
    let start = Instant::now();
    let Answers { task, labels: label_names, .. } = answers;
    check(task, label_names, examples)?;
    let (alpha, candidates) = match options.alpha {
        Alpha::Fixed(alpha) => (alpha, Vec::new()),
        Alpha::Auto => choose_alpha(examples, label_names.len(), options),
    };
    let scaler = Scaler::of(examples, options.threads);
    let problem = problem(&scaler, examples, label_names.len(), options);
    let solution = minimize(&problem, alpha);
    let (weights, bias) = scaler.fold(&solution.parameters);
    let report = solution.report(task, examples, (alpha, candidates), start);
    Ok((Head::new(answers, examples.features.width(), weights, bias), report))
}

fn check(task: &str, names: &[String], examples: &Examples<'_>) -> Result<()> {
    let wrong = |what: &str| Error::new(Kind::Heads, what).task(task);
    if names.len() < TaskKind::OneOf.least_labels() {
        return Err(wrong("a head needs classes to tell apart")
            .found(names.len().to_string())
            .expected("2 or more"));
    }
    if !examples.features.is_whole() {
        return Err(wrong("the features do not have the declared width")
            .expected(examples.features.width().to_string()));
    }
    for (class, name) in names.iter().enumerate() {
        if !examples.labels.iter().any(|label| *label as usize == class) {
            return Err(wrong("a class has no training rows")
                .found(format!("{name:?}"))
                .help("add rows with other texts for it, or empty its cells to leave it out"));
        }
    }
    finite(task, examples)
}

/// Refuses features that are not finite.
pub(super) fn finite(task: &str, examples: &Examples<'_>) -> Result<()> {
    for &row in examples.rows {
        let vector = examples.features.row(row);
        if let Some(place) = vector.iter().position(|value| !value.is_finite()) {
            return Err(Error::new(Kind::Heads, "a feature is not a finite number")
                .task(task)
                .row(row as u64 + 1)
                .found(format!("{} at place {}", vector[place], place + 1)));
        }
    }
    Ok(())
}
