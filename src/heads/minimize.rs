//! Owns which of the two solvers searches for a head's weights: our descent, or linfa-logistic where rows are
//! so few that the descent's first guess, a matrix of all features, would cost more than the whole search.
//!
//! Refuses to let anything but the shape and the weights of rows decide, and to keep a solution of
//! linfa-logistic's that did not converge: then the descent does it all.

use linfa::traits::Fit;

use super::class_weight::Counts;
use super::curvature::Products;
use super::descent::{Descent, descent_bytes};
use super::logistic::{LinfaLogistic, logistic_bytes};
use super::objective::Problem;
use super::shape::Shape;
use super::solver::{Solution, dataset};
use crate::task::TaskKind;

/// The gradient of the summed loss may be so long per row: scikit-learn's default precision (`tol = 1e-4` on
/// the mean loss).
pub(super) const TOLERANCE_PER_ROW: f64 = 1e-4;
/// The same where fits are only compared: which is better shows long before the last digits of the weights do.
pub(super) const COARSE: f64 = 1e-3;

/// The penalty of the multinomial problem. Two classes are one too: its optimum has `v₁ = −v₀ = v/2`, so with
/// twice the penalty it is that of the binary problem, `α/2 · |v|²`, which scikit-learn solves.
pub(super) fn penalty(alpha: f64, shape: Shape) -> f64 {
    if shape == (Shape { kind: TaskKind::OneOf, classes: 2 }) { 2.0 * alpha } else { alpha }
}

/// Whether rows are so few (measured: `docs/LOG.md`, two solvers). A pass over them costs
/// rows · width · classes, making the guess width² · (rows + width / 3).
fn few(rows: usize, width: usize, classes: usize) -> bool {
    rows * classes <= width
}

/// Bytes that takes at its peak, beside the features themselves.
pub(super) fn minimize_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    let logistic = if few(rows, width, classes) { logistic_bytes(rows, width, classes) } else { 0 };
    descent_bytes(rows, width, classes).max(logistic)
}

/// Minimises the objective.
pub(super) fn minimize(problem: &Problem<'_>, alpha: f64) -> Solution {
    let (alpha, shape) = (penalty(alpha, problem.shape), problem.shape);
    let plain = problem.counts == Counts::Alike && problem.there.is_none() && shape.kind == TaskKind::OneOf;
    if plain && few(problem.examples.rows.len(), problem.width(), shape.classes) {
        let found = LinfaLogistic { alpha }.fit(&dataset(problem));
        if let Some(found) = found.ok().filter(Solution::converged) {
            return found;
        }
    }
    Descent { alpha, products: &Products::of(problem), start: None }.solve(problem)
}

#[cfg(test)]
mod tests;
