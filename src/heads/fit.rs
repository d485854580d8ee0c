//! Owns fitting a head: standardise, let linfa-logistic minimise in f64, check with our own objective, fold the scaler in.

use std::time::Instant;

use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, s};

use super::class_weight::repeated;
use super::cross_validation;
use super::head::Head;
use super::objective::loss_and_gradient;
use super::options::{Alpha, Examples, FitOptions, FitReport};
use super::standardize::Scaler;
use crate::error::{Error, Kind, Result};

/// The gradient of the summed loss may be so long per row: scikit-learn's default precision (`tol = 1e-4` on the mean loss).
const TOLERANCE_PER_ROW: f64 = 1e-4;
/// L-BFGS steps of one attempt.
const STEPS: u64 = 400;
/// linfa can stop far from the optimum without an error: it is started again from where it stopped, so often at most.
const ATTEMPTS: usize = 6;

/// A problem in the form the trainer takes it.
pub(super) struct Problem {
    /// Standardised, `[rows, features]`.
    pub features: Array2<f64>,
    pub labels: Vec<usize>,
    pub classes: usize,
}

/// A solution and how good it is.
pub(super) struct Solution {
    /// `[features + 1, classes]`, the last row the bias.
    pub parameters: Array2<f64>,
    pub loss: f64,
    pub gradient_norm: f64,
    pub tolerance: f64,
}

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
        Alpha::Auto => cross_validation::choose(examples, label_names.len(), options)?,
    };
    let scaler = Scaler::of(examples);
    let (chosen, growth) = repeated(examples.labels, label_names.len(), options.class_weight);
    let problem = problem(&scaler, examples, &chosen, label_names.len());
    let solution = minimize(&problem, alpha * growth, None).map_err(|error| error.column(task))?;
    let (weights, bias) = scaler.fold(&solution.parameters);
    let report = FitReport {
        task: task.to_owned(),
        rows: examples.rows.len() as u64,
        alpha,
        loss: solution.loss,
        gradient_norm: solution.gradient_norm,
        tolerance: solution.tolerance,
        converged: solution.gradient_norm <= solution.tolerance,
        seconds: start.elapsed().as_secs_f64(),
        candidates,
    };
    let head =
        Head { task: task.to_owned(), labels: label_names.to_vec(), features: examples.width, weights, bias };
    Ok((head, report))
}

/// The chosen examples (indices into `examples.rows`), standardised.
pub(super) fn problem(scaler: &Scaler, examples: &Examples<'_>, chosen: &[usize], classes: usize) -> Problem {
    Problem {
        features: scaler.apply(examples.features, chosen.iter().map(|&example| examples.rows[example])),
        labels: chosen.iter().map(|&example| examples.labels[example] as usize).collect(),
        classes,
    }
}

/// Minimises the objective, from `start` when there is one.
///
/// Two classes are a multinomial problem too: its optimum has `v₁ = −v₀ = v/2`, so with twice the penalty it is that of the
/// binary problem, `α/2 · |v|²`, which scikit-learn solves.
pub(super) fn minimize(problem: &Problem, alpha: f64, start: Option<&Array2<f64>>) -> Result<Solution> {
    let alpha = if problem.classes == 2 { 2.0 * alpha } else { alpha };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
    let tolerance = TOLERANCE_PER_ROW * problem.labels.len() as f64;
    let mut best = evaluate(
        problem,
        alpha,
        tolerance,
        start.cloned().unwrap_or_else(|| Array2::zeros((problem.features.ncols() + 1, problem.classes))),
    );
    let data = DatasetBase::new(problem.features.view(), Array1::from(problem.labels.clone()));
    for _ in 0..ATTEMPTS {
        if best.gradient_norm <= tolerance {
            break;
        }
        let fitted = MultiLogisticRegression::default()
            .alpha(alpha)
            .max_iterations(STEPS)
            .gradient_tolerance(tolerance)
            .initial_params(best.parameters.clone())
            .fit(&data)
            .map_err(|source| Error::new(Kind::Heads, "the head cannot be fitted").because(source))?;
        let mut parameters = Array2::zeros(best.parameters.raw_dim());
        let width = problem.features.ncols();
        // linfa orders classes as it meets them sorted; a class without rows has no column there.
        for (column, &class) in fitted.classes().iter().enumerate() {
            parameters.slice_mut(s![..width, class]).assign(&fitted.params().column(column));
            parameters[[width, class]] = fitted.intercept()[column];
        }
        let next = evaluate(problem, alpha, tolerance, parameters);
        if !next.loss.is_finite() || next.loss >= best.loss {
            break;
        }
        best = next;
    }
    Ok(best)
}

fn evaluate(problem: &Problem, alpha: f64, tolerance: f64, parameters: Array2<f64>) -> Solution {
    let (loss, gradient) = loss_and_gradient(&problem.features, &problem.labels, alpha, &parameters);
    let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
    Solution { parameters, loss, gradient_norm, tolerance }
}

fn check(task: &str, names: &[String], examples: &Examples<'_>) -> Result<()> {
    let wrong = |what: &str| Error::new(Kind::Heads, what).column(task);
    if names.len() < 2 {
        return Err(wrong("a head needs classes to tell apart")
            .found(names.len().to_string())
            .expected("2 or more"));
    }
    if examples.width == 0 || !examples.features.len().is_multiple_of(examples.width) {
        return Err(wrong("the features do not have the declared width").expected(examples.width.to_string()));
    }
    for (class, name) in names.iter().enumerate() {
        if !examples.labels.iter().any(|label| *label as usize == class) {
            return Err(wrong("a class has no training rows")
                .found(format!("{name:?}"))
                .help("add rows with other texts for it, or empty its cells to leave it out"));
        }
    }
    for &row in examples.rows {
        let vector = &examples.features[row * examples.width..(row + 1) * examples.width];
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
