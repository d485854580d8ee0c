//! Owns how the work of a fit is divided among threads.
//!
//! Refuses to let their number change a result: the work is divided the same way whatever it is.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, LinalgScalar, s};

use crate::parallel::in_parallel;

/// Parts into which rows are divided; each has sums of its own.
pub(super) const PARTS: usize = 8;
/// Rows of a band of a product.
const BAND: usize = 256;

/// The lower triangle of `a·bᵀ` (and some of the upper), in bands of rows.
pub(super) fn in_bands<T: LinalgScalar + Send + Sync>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    threads: usize,
) -> Array2<T> {
    let size = a.nrows();
    let ranges: Vec<Range<usize>> =
        (0..size).step_by(BAND).map(|first| first..(first + BAND).min(size)).collect();
    let bands = in_parallel(threads, ranges.clone(), &|band: Range<usize>| {
        a.slice(s![band.clone(), ..]).dot(&b.slice(s![..band.end, ..]).t())
    });
    let mut products = Array2::zeros((size, size));
    for (range, band) in ranges.into_iter().zip(bands) {
        let end = range.end;
        products.slice_mut(s![range, ..end]).assign(&band);
    }
    products
}
