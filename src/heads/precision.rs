//! Owns the two precisions in which a pass over the rows is made: single while a fit is far from its optimum,
//! double at its end.
//!
//! Refuses to choose: who descends says in which.

use ndarray::NdFloat;

/// A floating point number.
pub(super) trait Precision: NdFloat {
    /// The number of this precision that is nearest.
    fn of(number: f64) -> Self;
    fn double(self) -> f64;
}

impl Precision for f32 {
    fn of(number: f64) -> Self {
        number as Self
    }

    fn double(self) -> f64 {
        f64::from(self)
    }
}

impl Precision for f64 {
    fn of(number: f64) -> Self {
        number
    }

    fn double(self) -> f64 {
        self
    }
}
