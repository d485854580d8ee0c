//! Owns the search for a head's weights: a conditioned descent in single precision brings it near,
//! linfa-logistic ends it.
//!
//! linfa-logistic has no weights of rows, takes all rows in double precision at once, and stops far from the
//! optimum without an error where logits are far apart (its loss is wrong there): then the descent goes on in
//! double precision instead.
//!
//! Refuses to believe either: loss and gradient are computed by `objective` at the weights that are returned.

use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, s};

use super::curvature::Products;
use super::descent::{Solution, descend, descent_bytes, first};
use super::objective::Problem;
use crate::error::{Error, Kind, Result};

/// The gradient of the summed loss may be so long per row: scikit-learn's default precision (`tol = 1e-4` on
/// the mean loss).
pub(super) const TOLERANCE_PER_ROW: f64 = 1e-4;
/// Numbers of the rows beyond which the copy that linfa-logistic takes is too large for what it can still
/// add: 128 MiB.
const COPIED: usize = 1 << 24;
/// linfa-logistic's steps, at most.
const STEPS: u64 = 400;

/// The penalty of the multinomial problem. Two classes are one too: its optimum has `v₁ = −v₀ = v/2`, so with
/// twice the penalty it is that of the binary problem, `α/2 · |v|²`, which scikit-learn solves.
pub(super) fn penalty(alpha: f64, classes: usize) -> f64 {
    if classes == 2 { 2.0 * alpha } else { alpha }
}

/// Bytes that takes at its peak, beside the features themselves.
pub(super) fn minimize_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    let descent = descent_bytes(rows, width, classes);
    if rows * width > COPIED {
        return descent;
    }
    // The standardised rows in double precision, and what linfa keeps per row and class, and per parameter.
    let numbers = rows * width + 6 * rows * classes + 30 * (width + 1) * classes;
    descent.max(8 * numbers as u64)
}

/// Minimises the objective.
pub(super) fn minimize(problem: &Problem<'_>, alpha: f64) -> Result<Solution> {
    let alpha = penalty(alpha, problem.classes);
    let guess = Products::of(problem).guess(alpha);
    let mut near = descend::<f32>(problem, alpha, &guess, first(problem, None)).parameters;
    if problem.weights.is_none() && problem.examples.rows.len() * problem.width() <= COPIED {
        let found = linfa(problem, alpha, problem.tolerance(), near.clone())?;
        let found = Solution::at::<f64>(problem, alpha, found);
        if found.converged() {
            return Ok(found);
        }
        if found.loss.is_finite() {
            near = found.parameters;
        }
    }
    Ok(descend::<f64>(problem, alpha, &guess, near))
}

/// linfa-logistic's own search, without weights of rows.
pub(super) fn linfa(
    problem: &Problem<'_>,
    alpha: f64,
    tolerance: f64,
    start: Array2<f64>,
) -> Result<Array2<f64>> {
    let features = problem.standardized::<f64>(0..problem.examples.rows.len());
    let labels: Array1<usize> = problem.examples.labels.iter().map(|label| *label as usize).collect();
    let mut parameters = Array2::zeros(start.raw_dim());
    let fitted = MultiLogisticRegression::default()
        .alpha(alpha)
        .max_iterations(STEPS)
        .gradient_tolerance(tolerance)
        .initial_params(start)
        .fit(&DatasetBase::new(features, labels))
        .map_err(|source| Error::new(Kind::Heads, "the head cannot be fitted").because(source))?;
    let width = problem.width();
    // linfa orders classes as it meets them sorted; a class without rows has no column there.
    for (column, &class) in fitted.classes().iter().enumerate() {
        parameters.slice_mut(s![..width, class]).assign(&fitted.params().column(column));
        parameters[[width, class]] = fitted.intercept()[column];
    }
    Ok(parameters)
}
