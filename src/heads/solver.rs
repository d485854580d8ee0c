//! Owns what the two solvers of a head's problem have in common: linfa's dataset that both fit (`Fit`), and
//! the solution that both find.
//!
//! Refuses to believe a solver: loss and gradient are computed by `objective` at the weights that it found.

use std::time::Instant;

use linfa::DatasetBase;
use linfa::dataset::Records;
use ndarray::Array2;

use super::objective::{Problem, loss_and_gradient};
use super::options::{Candidate, Examples, FitReport};
use super::precision::Precision;
use crate::task::Target;

/// The problem as linfa sees it: standardised rows, and the label of each.
pub(super) type Dataset<'p> = DatasetBase<&'p Problem<'p>, &'p [Target]>;

/// What fails in a solver; a descent never does.
pub(super) type Failure = linfa_logistic::error::Error;

impl Records for Problem<'_> {
    type Elem = f32;

    fn nsamples(&self) -> usize {
        self.examples.rows.len()
    }

    fn nfeatures(&self) -> usize {
        self.width()
    }
}

pub(super) fn dataset<'p>(problem: &'p Problem<'_>) -> Dataset<'p> {
    DatasetBase::new(problem, problem.examples.targets)
}

/// Parameters, and how good they are.
#[derive(Debug)]
pub(super) struct Solution {
    /// `[features + 1, classes]`, the last row the bias.
    pub parameters: Array2<f64>,
    pub loss: f64,
    pub gradient: Array2<f64>,
    pub gradient_norm: f64,
    pub tolerance: f64,
}

impl Solution {
    /// Computed in this precision.
    pub fn at<T: Precision>(problem: &Problem<'_>, alpha: f64, parameters: Array2<f64>) -> Self {
        let (loss, gradient) = loss_and_gradient::<T>(problem, alpha, &parameters);
        let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        Self { parameters, loss, gradient, gradient_norm, tolerance: problem.tolerance() }
    }

    pub fn converged(&self) -> bool {
        self.gradient_norm <= self.tolerance
    }

    /// What a fit of these examples reached that began at `start`, with this penalty and what else was tried.
    pub fn report(
        &self,
        task: &str,
        examples: &Examples<'_>,
        (alpha, candidates): (f64, Vec<Candidate>),
        start: Instant,
    ) -> FitReport {
        FitReport {
            task: task.to_owned(),
            width: examples.features.width(),
            rows: examples.rows.len() as u64,
            alpha,
            loss: self.loss,
            gradient_norm: self.gradient_norm,
            tolerance: self.tolerance,
            converged: self.converged(),
            seconds: start.elapsed().as_secs_f64(),
            candidates,
            run_off: Vec::new(),
            words: None,
        }
    }
}
