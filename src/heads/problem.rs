//! Owns turning examples and options into what is minimised.

use super::class_weight::counts;
use super::minimize::TOLERANCE_PER_ROW;
use super::objective::Problem;
use super::options::{Examples, FitOptions};
use super::shape::Shape;
use super::standardize::Scaler;

/// The examples, standardised and weighted.
pub(super) fn problem<'a>(
    scaler: &'a Scaler,
    examples: &Examples<'a>,
    shape: Shape,
    options: &FitOptions,
) -> Problem<'a> {
    Problem {
        examples: *examples,
        scaler,
        shape,
        counts: counts(examples.targets, shape, options.class_weight),
        there: None,
        precision: TOLERANCE_PER_ROW,
        threads: options.threads,
    }
}
