//! Owns fitting a head on features alone: standardise, minimise, check with our own objective, fold the scaler in.
//!
//! Refuses classes without rows, and features that are not finite.

use std::time::Instant;

use super::cross_validation::choose_alpha;
use super::head::{Answers, Head};
use super::minimize::{COARSE, TOLERANCE_PER_ROW, minimize};
use super::objective::Problem;
use super::options::{Alpha, Examples, FitOptions, FitReport};
use super::problem::problem;
use super::standardize::Scaler;
use super::units::Units;
use crate::error::{Error, Kind, Result};
use crate::task::{Target, TaskKind};

/// Fits a head on what it sees of the network, whatever is said of words.
///
/// # Errors
/// Fewer than two classes, a class without rows, or features that do not fit or are not finite.
pub(super) fn fit_dense(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<(Head, FitReport)> {
    fit_to(TOLERANCE_PER_ROW, answers, examples, options)
}

/// The same, near enough to be compared.
///
/// # Errors
/// As [`fit_dense`].
pub(super) fn fit_coarsely(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<Head> {
    fit_to(COARSE, answers, examples, options).map(|(head, _)| head)
}

/// A fit to this precision, per row.
fn fit_to(
    precision: f64,
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<(Head, FitReport)> {
    let start = Instant::now();
    let (Answers { task, kind, .. }, shape) = (answers, answers.shape());
    check(answers, examples)?;
    let units = Units::of(kind, examples.targets, task)?;
    let targets = units.targets(examples.targets);
    let examples = &Examples { targets: &targets, ..*examples };
    let (alpha, candidates) = match options.alpha {
        Alpha::Fixed(alpha) => (alpha, Vec::new()),
        Alpha::Auto => choose_alpha(examples, shape, options),
    };
    let scaler = Scaler::of(examples, options.threads);
    let problem = Problem { precision, ..problem(&scaler, examples, shape, options) };
    let solution = minimize(&problem, alpha);
    let (mut weights, mut bias) = scaler.fold(&solution.parameters);
    units.own_weights(&mut weights, &mut bias);
    let report = solution.report(task, examples, (alpha, candidates), start);
    Ok((Head::new(answers, examples.features.width(), weights, bias), report))
}

fn check(answers: Answers<'_>, examples: &Examples<'_>) -> Result<()> {
    let Answers { task, kind, labels: names, .. } = answers;
    let wrong = |what: &str| Error::new(Kind::Heads, what).task(task);
    if names.len() < kind.least_labels() {
        return Err(wrong("a head needs classes to tell apart")
            .found(names.len().to_string())
            .expected(format!("{} or more", kind.least_labels())));
    }
    if !examples.features.is_whole() {
        return Err(wrong("the features do not have the declared width")
            .expected(examples.features.width().to_string()));
    }
    let mut has_rows = vec![!kind.has_labels(); names.len()];
    examples.targets.iter().flat_map(Target::labels).for_each(|label| has_rows[*label as usize] = true);
    for (name, has_rows) in names.iter().zip(has_rows) {
        // Of several labels, one that no row of a fold has is one that none has.
        if !has_rows && kind == TaskKind::OneOf {
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
