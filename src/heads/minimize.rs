//! Owns the search for a head's weights: linfa-logistic; and where rows are weighted, which it cannot, or where it stops far from
//! the optimum (its loss is wrong once logits are far apart), argmin's L-BFGS, the one inside linfa-logistic, on our own objective
//! from there.
//!
//! Refuses to believe either: loss and gradient are computed by `objective` at the weights that are returned.

use argmin::core::{CostFunction, Executor, Gradient, State as _};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, s};

use super::objective::{Problem, loss_and_gradient};
use crate::error::{Error, Kind, Result};

/// The gradient of the summed loss may be so long per row: scikit-learn's default precision (`tol = 1e-4` on the mean loss).
pub(super) const TOLERANCE_PER_ROW: f64 = 1e-4;
/// L-BFGS steps of one attempt.
const STEPS: u64 = 400;
/// Gradients that L-BFGS remembers: linfa-logistic's choice.
const MEMORY: usize = 10;
/// A line search can stop far from the optimum without an error: it is started again from where it stopped, so often at most.
const ATTEMPTS: usize = 6;

/// A solution and how good it is.
#[derive(Debug)]
pub(super) struct Solution {
    /// `[features + 1, classes]`, the last row the bias.
    pub parameters: Array2<f64>,
    pub loss: f64,
    pub gradient_norm: f64,
    pub tolerance: f64,
}

/// The penalty of the multinomial problem. Two classes are one too: its optimum has `v₁ = −v₀ = v/2`, so with twice the penalty
/// it is that of the binary problem, `α/2 · |v|²`, which scikit-learn solves.
pub(super) fn penalty(alpha: f64, classes: usize) -> f64 {
    if classes == 2 { 2.0 * alpha } else { alpha }
}

/// Minimises the objective, from `start` when there is one.
pub(super) fn minimize(problem: &Problem, alpha: f64, start: Option<&Array2<f64>>) -> Result<Solution> {
    let alpha = penalty(alpha, problem.classes);
    let zeros = || Array2::zeros((problem.features.ncols() + 1, problem.classes));
    let first = start.cloned().unwrap_or_else(zeros);
    let near = match (&problem.weights, start) {
        (None, _) => {
            let found = attempts(problem, alpha, first, unweighted)?;
            if found.gradient_norm <= found.tolerance {
                return Ok(found);
            }
            found.parameters
        }
        (Some(_), Some(_)) => first,
        (Some(_), None) => unweighted(problem, alpha, tolerance(problem), first)?,
    };
    attempts(problem, alpha, near, exact)
}

/// One search: problem, penalty, gradient tolerance, where to start.
type Search = fn(&Problem, f64, f64, Array2<f64>) -> Result<Array2<f64>>;

fn attempts(problem: &Problem, alpha: f64, start: Array2<f64>, search: Search) -> Result<Solution> {
    let mut best = evaluate(problem, alpha, start);
    for _ in 0..ATTEMPTS {
        if best.gradient_norm <= best.tolerance {
            break;
        }
        let next = evaluate(problem, alpha, search(problem, alpha, best.tolerance, best.parameters.clone())?);
        if !next.loss.is_finite() || next.loss >= best.loss {
            break;
        }
        best = next;
    }
    Ok(best)
}

pub(super) fn evaluate(problem: &Problem, alpha: f64, parameters: Array2<f64>) -> Solution {
    let (loss, gradient) = loss_and_gradient(problem, alpha, &parameters);
    let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
    Solution { parameters, loss, gradient_norm, tolerance: tolerance(problem) }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
fn tolerance(problem: &Problem) -> f64 {
    problem.precision * problem.labels.len() as f64
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Heads, "the head cannot be fitted").because(source)
}

fn unweighted(problem: &Problem, alpha: f64, tolerance: f64, start: Array2<f64>) -> Result<Array2<f64>> {
    let data = DatasetBase::new(problem.features.view(), Array1::from(problem.labels.clone()));
    let fitted = MultiLogisticRegression::default()
        .alpha(alpha)
        .max_iterations(STEPS)
        .gradient_tolerance(tolerance)
        .initial_params(start.clone())
        .fit(&data)
        .map_err(failed)?;
    let mut parameters = Array2::zeros(start.raw_dim());
    let width = problem.features.ncols();
    // linfa orders classes as it meets them sorted; a class without rows has no column there.
    for (column, &class) in fitted.classes().iter().enumerate() {
        parameters.slice_mut(s![..width, class]).assign(&fitted.params().column(column));
        parameters[[width, class]] = fitted.intercept()[column];
    }
    Ok(parameters)
}

/// The objective as argmin asks for it: parameters and gradient as one vector, row-major.
struct Exact<'a> {
    problem: &'a Problem,
    alpha: f64,
}

impl Exact<'_> {
    fn at(&self, parameters: &Array1<f64>) -> (f64, Array2<f64>) {
        loss_and_gradient(self.problem, self.alpha, &matrix(self.problem, parameters))
    }
}

fn matrix(problem: &Problem, parameters: &Array1<f64>) -> Array2<f64> {
    Array2::from_shape_vec((problem.features.ncols() + 1, problem.classes), parameters.to_vec())
        .expect("parameters keep their number: anything else is a bug")
}

impl CostFunction for Exact<'_> {
    type Param = Array1<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Array1<f64>) -> std::result::Result<f64, argmin::core::Error> {
        Ok(self.at(parameters).0)
    }
}

impl Gradient for Exact<'_> {
    type Param = Array1<f64>;
    type Gradient = Array1<f64>;

    fn gradient(&self, parameters: &Array1<f64>) -> std::result::Result<Array1<f64>, argmin::core::Error> {
        Ok(self.at(parameters).1.into_iter().collect())
    }
}

/// On our own objective: row weights count, and no logit is so large that the loss is wrong.
fn exact(problem: &Problem, alpha: f64, tolerance: f64, start: Array2<f64>) -> Result<Array2<f64>> {
    let solver =
        LBFGS::new(MoreThuenteLineSearch::new(), MEMORY).with_tolerance_grad(tolerance).map_err(failed)?;
    let vector: Array1<f64> = start.iter().copied().collect();
    let result = Executor::new(Exact { problem, alpha }, solver)
        .configure(|state| state.param(vector).max_iters(STEPS))
        .run()
        .map_err(failed)?;
    Ok(result.state().get_best_param().map_or(start, |best| matrix(problem, best)))
}
