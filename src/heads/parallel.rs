//! Owns dividing work among threads.
//!
//! Refuses to let their number change a result: the work is divided the same way whatever it is.

use std::ops::Range;
use std::sync::Mutex;

use ndarray::{Array2, ArrayView2, LinalgScalar, s};

/// Parts into which rows are divided; each has sums of its own.
pub(super) const PARTS: usize = 8;
/// Rows of a band of a product.
const BAND: usize = 256;

/// Does something for every range, several at a time; the results in their order.
pub(super) fn in_parallel<T: Send>(
    threads: usize,
    ranges: Vec<Range<usize>>,
    each: &(dyn Fn(Range<usize>) -> T + Sync),
) -> Vec<T> {
    let done: Vec<Mutex<Option<T>>> = ranges.iter().map(|_| Mutex::new(None)).collect();
    let next = Mutex::new(0..ranges.len());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, ranges.len().max(1)) {
            scope.spawn(|| {
                while let Some(place) = next.lock().ok().and_then(|mut next| next.next()) {
                    let result = each(ranges[place].clone());
                    if let Ok(mut own) = done[place].lock() {
                        *own = Some(result);
                    }
                }
            });
        }
    });
    let taken = done.into_iter().map(|own| own.into_inner().ok().flatten());
    taken
        .map(|own| own.expect("every part was done before the scope ended: anything else is a bug"))
        .collect()
}

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
