//! Owns fitting a head: standardise, minimise in f64, check with our own objective, fold the scaler in.

use std::time::Instant;

use super::class_weight::row_weights;
use super::cross_validation::{Selection, Trial, select};
use super::head::Head;
use super::minimize::{Solution, TOLERANCE_PER_ROW, minimize};
use super::objective::Problem;
use super::options::{Alpha, ClassWeight, Examples, FitOptions, FitReport};
use super::standardize::Scaler;
use super::wide::{WIDE, WideProblem, minimize_wide, wide_bytes};
use crate::error::{Error, Kind, Result};

/// Fits the head of one task on labelled rows.
///
/// # Errors
/// Fewer than two classes, a class without rows, features that do not fit or are not finite, or the trainer fails.
pub fn fit(
    task: &str,
    label_names: &[String],
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<(Head, FitReport)> {
    let start = Instant::now();
    check(task, label_names, examples)?;
    let (alpha, candidates) = match options.alpha {
        Alpha::Fixed(alpha) => (alpha, Vec::new()),
        Alpha::Auto => {
            let trials = [Trial { name: String::new(), features: examples.features }];
            let rows = (examples.rows, examples.labels);
            let Selection { alpha, candidates, .. } = select(&trials, rows, label_names.len(), options)?;
            (alpha, candidates)
        }
    };
    let scaler = Scaler::of(examples);
    let solution =
        solve(&scaler, examples, label_names.len(), alpha, options).map_err(|error| error.column(task))?;
    let (weights, bias) = scaler.fold(&solution.parameters);
    let report = FitReport {
        task: task.to_owned(),
        width: examples.features.width(),
        rows: examples.rows.len() as u64,
        alpha,
        loss: solution.loss,
        gradient_norm: solution.gradient_norm,
        tolerance: solution.tolerance,
        converged: solution.gradient_norm <= solution.tolerance,
        seconds: start.elapsed().as_secs_f64(),
        candidates,
        run_off: Vec::new(),
    };
    let head = Head {
        task: task.to_owned(),
        labels: label_names.to_vec(),
        features: examples.features.width(),
        weights,
        bias,
        temperature: 1.0,
    };
    Ok((head, report))
}

/// Narrow problems are linfa's; for wide ones there is a faster way.
fn solve(
    scaler: &Scaler,
    examples: &Examples<'_>,
    classes: usize,
    alpha: f64,
    options: &FitOptions,
) -> Result<Solution> {
    if examples.features.width() <= WIDE {
        return minimize(&problem(scaler, examples, classes, options.class_weight), alpha, None);
    }
    let weights = row_weights(examples.labels, classes, options.class_weight);
    let threads = options.threads;
    minimize_wide(&WideProblem { examples: *examples, scaler, classes, weights, threads }, alpha)
}

/// Bytes that fitting a head takes at its peak, beside the features themselves.
#[must_use]
pub fn fit_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    if width > WIDE {
        return wide_bytes(rows, width, classes);
    }
    // The standardised rows in double precision, and what the trainer keeps per row and class, and per parameter.
    let numbers = rows * width + 6 * rows * classes + 30 * (width + 1) * classes;
    8 * numbers as u64
}

/// The examples, standardised and weighted.
pub(super) fn problem(
    scaler: &Scaler,
    examples: &Examples<'_>,
    classes: usize,
    class_weight: ClassWeight,
) -> Problem {
    Problem {
        features: scaler.apply(examples.features, examples.rows.iter().copied()),
        labels: examples.labels.iter().map(|&label| label as usize).collect(),
        classes,
        weights: row_weights(examples.labels, classes, class_weight),
        precision: TOLERANCE_PER_ROW,
    }
}

fn check(task: &str, names: &[String], examples: &Examples<'_>) -> Result<()> {
    let wrong = |what: &str| Error::new(Kind::Heads, what).column(task);
    if names.len() < 2 {
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
    for &row in examples.rows {
        let vector = examples.features.row(row);
        if let Some(place) = vector.iter().position(|value| !value.is_finite()) {
            return Err(wrong("a feature is not a finite number").row(row as u64 + 1).found(format!(
                "{} at place {}",
                vector[place],
                place + 1
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
