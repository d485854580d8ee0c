//! Owns the solver that linfa-logistic is: L-BFGS from zero, all rows in double precision at once.
//!
//! Refuses weights of rows, which linfa-logistic does not have. Where logits are far apart it stops far from
//! the optimum without an error (its loss is wrong there): whoever asked looks whether it converged.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2, s};

use super::class_weight::Counts;
use super::objective::Problem;
use super::solver::{Dataset, Failure, Solution};
use crate::task::Target;

/// Its steps, at most.
const STEPS: u64 = 400;

/// Bytes that it takes at its peak, beside the features themselves: the standardised rows in double
/// precision, and what it keeps per row and class, and per parameter.
pub(super) fn logistic_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    8 * (rows * width + 6 * rows * classes + 30 * (width + 1) * classes) as u64
}

/// The solver, with the penalty of the multinomial problem.
pub(super) struct LinfaLogistic {
    pub alpha: f64,
}

impl<'p> Fit<&'p Problem<'p>, &'p [Target], Failure> for LinfaLogistic {
    type Object = Solution;

    fn fit(&self, dataset: &Dataset<'p>) -> Result<Solution, Failure> {
        let problem = dataset.records;
        debug_assert!(
            problem.counts == Counts::Alike && problem.there.is_none(),
            "rows count alike, from nothing"
        );
        let rows = problem.standardized::<f64>(0..dataset.targets.len());
        let labels: Array1<usize> = dataset.targets.iter().map(Target::label).collect();
        let fitted = MultiLogisticRegression::default()
            .alpha(self.alpha)
            .max_iterations(STEPS)
            .gradient_tolerance(problem.tolerance())
            .fit(&DatasetBase::new(rows, labels))?;
        let width = problem.width();
        let mut parameters = Array2::zeros((width + 1, problem.shape.classes));
        // Its classes are the labels that it met, sorted; a class without rows has no column there.
        for (column, &class) in fitted.classes().iter().enumerate() {
            parameters.slice_mut(s![..width, class]).assign(&fitted.params().column(column));
            parameters[[width, class]] = fitted.intercept()[column];
        }
        Ok(Solution::at::<f64>(problem, self.alpha, parameters))
    }
}
