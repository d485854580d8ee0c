//! Owns making few features of many, for comparing choices on a few thousand rows.
//!
//! A head with a penalty on its squared weights sees only the rows' products with each other: any `Z` with
//! `Z·Zᵀ = X·Xᵀ` gives the same logits. The pivoted Cholesky factor of `X·Xᵀ` is such a `Z`, and its first
//! columns hold nearly all of it (Fine & Scheinberg 2001).
//!
//! Refuses to be used for a fit that is kept: what it leaves out is little, not nothing.

use ndarray::{Array2, ArrayView2, s};

use super::options::Examples;
use super::parallel::in_bands;
use super::standardize::Scaler;
use super::view::FeatureView;

/// Features that are made, at most.
pub(super) const REDUCED: usize = 600;
/// The share of the rows' squared length that may be left out, when there are fewer.
const LEFT_OUT: f32 = 0.002;

/// The rows in standardised, reduced form, `[rows, width]` row-major, and the width.
pub(super) fn reduced(features: FeatureView<'_>, rows: &[usize], threads: usize) -> (Vec<f32>, usize) {
    let scaler = Scaler::of(&Examples { features, rows, targets: &[] }, threads);
    let standardized = scaler.apply::<f32>(features, rows.iter().copied());
    factor(in_bands(standardized.view(), standardized.view(), threads).view())
}

/// The first columns of the pivoted Cholesky factor of a positive semidefinite matrix.
fn factor(matrix: ArrayView2<'_, f32>) -> (Vec<f32>, usize) {
    let rows = matrix.nrows();
    let mut factor: Array2<f32> = Array2::zeros((rows, REDUCED.min(rows)));
    let mut left: Vec<f32> = matrix.diag().to_vec();
    let whole: f32 = left.iter().sum();
    let mut width = 0;
    while width < factor.ncols() && left.iter().sum::<f32>() > LEFT_OUT * whole {
        let pivot = (0..rows).fold(0, |best, row| if left[row] > left[best] { row } else { best });
        let length = left[pivot].sqrt();
        let known = factor.slice(s![.., ..width]).dot(&factor.slice(s![pivot, ..width]));
        // The lower triangle is there: row and column of the pivot.
        for row in 0..rows {
            let product = matrix[[row.max(pivot), row.min(pivot)]];
            let value = (product - known[row]) / length;
            factor[[row, width]] = value;
            left[row] = (left[row] - value * value).max(0.0);
        }
        left[pivot] = 0.0;
        width += 1;
    }
    (factor.slice(s![.., ..width]).iter().copied().collect(), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduced_rows_have_the_products_of_the_standardised_ones() {
        // Rank 3 in 50 features.
        let mut bits = 3_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let basis = Array2::from_shape_fn((3, 50), |_| draw());
        let rows = Array2::from_shape_fn((300, 3), |_| draw());
        let values: Vec<f32> = rows.dot(&basis).iter().copied().collect();
        let every: Vec<usize> = (0..300).collect();
        let features = FeatureView::whole(&values, 50);
        let (reduced, width) = reduced(features, &every, 2);
        assert!((1..=3).contains(&width), "{width}");
        let reduced = Array2::from_shape_vec((300, width), reduced).unwrap();
        let scaler = Scaler::of(&Examples { features, rows: &every, targets: &[] }, 2);
        let standardized = scaler.apply::<f32>(features, every.iter().copied());
        let (expected, found) = (standardized.dot(&standardized.t()), reduced.dot(&reduced.t()));
        let largest =
            (&expected - &found).iter().fold(0.0_f32, |most, difference| most.max(difference.abs()));
        // Each row's squared length is about 50, of which 0.2 % of all rows' may be left out.
        assert!(largest < 0.002 * 50.0 * 300.0 / 3.0, "{largest}");
        assert!(found.diag().sum() > 0.997 * expected.diag().sum());
    }
}
