//! Owns how the work of a fit is divided among threads.
//!
//! Refuses to let their number change a result: the work is divided the same way whatever it is.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, LinalgScalar, s};

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

/// Takes the lower triangle of `a·aᵀ` (and some of the upper) from a square matrix, in bands of rows.
pub(super) fn subtract_in_bands(mut matrix: ArrayViewMut2<'_, f64>, a: ArrayView2<'_, f64>, threads: usize) {
    let bands = matrix.axis_chunks_iter_mut(Axis(0), BAND).enumerate();
    // Each is taken once: a lock says so to the compiler.
    let bands: Vec<_> = bands.map(|(place, band)| Mutex::new((place * BAND, band))).collect();
    in_parallel(threads, (0..bands.len()).collect(), &|place: usize| {
        let mut band = bands[place].lock().unwrap_or_else(PoisonError::into_inner);
        let (first, band) = &mut *band;
        let end = *first + band.nrows();
        let mut band = band.slice_mut(s![.., ..end]);
        general_mat_mul(-1.0, &a.slice(s![*first..end, ..]), &a.slice(s![..end, ..]).t(), 1.0, &mut band);
    });
}
