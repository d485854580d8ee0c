//! Owns the two products of a pass over the rows: of rows with the columns of a head, and of their transpose
//! with what each column is off by. A matrix that is solved for is passed over in the same way.
//!
//! `matrixmultiply` copies rows in an order of its own before it multiplies them, which pays where a row meets
//! many columns. A row of few columns is multiplied as it lies here: half the time of a product, and less.
//! Refuses that where a processor has no fused products: `matrixmultiply` is the faster one there.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor's instructions"
)]

use std::array::from_fn;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2};

use super::precision::Precision;

/// Columns that are few.
const FEW: usize = 16;
/// Rows whose transpose is multiplied at a time: a few features of each stay in the nearest cache.
const NEAR: usize = 64;

/// `rows · columns`, of `[rows, features]` and `[features, columns]`; the numbers of a row lie one after the other.
pub(super) fn times<T: Precision>(rows: ArrayView2<'_, T>, columns: ArrayView2<'_, T>) -> Array2<T> {
    let mut products = Array2::zeros((rows.nrows(), columns.ncols()));
    if !is_fast(rows.ncols(), columns.ncols()) {
        general_mat_mul(T::one(), &rows, &columns, T::zero(), &mut products);
        return products;
    }
    let rows = &lying(&rows)[..];
    match (columns.ncols(), size_of::<T>()) {
        (..=4, _) => Few::<T, 4, 8>::times(rows, columns, &mut products),
        (..=8, 4) => Few::<T, 8, 8>::times(rows, columns, &mut products),
        (..=8, _) => Few::<T, 8, 4>::times(rows, columns, &mut products),
        (_, 4) => Few::<T, 16, 4>::times(rows, columns, &mut products),
        _ => Few::<T, 16, 2>::times(rows, columns, &mut products),
    }
    products
}

/// Adds `rowsᵀ · columns` to sums, of `[rows, features]`, `[rows, columns]` and `[features, columns]`; the numbers
/// of a row lie one after the other.
pub(super) fn add_transposed_times<T: Precision>(
    rows: ArrayView2<'_, T>,
    columns: ArrayView2<'_, T>,
    mut sums: ArrayViewMut2<'_, T>,
) {
    if !is_fast(rows.ncols(), columns.ncols()) {
        general_mat_mul(T::one(), &rows.t(), &columns, T::one(), &mut sums);
        return;
    }
    let rows = &lying(&rows)[..];
    match (columns.ncols(), size_of::<T>()) {
        (..=4, _) => Few::<T, 4, 8>::add_transposed_times(rows, columns, sums),
        (..=8, 4) => Few::<T, 8, 8>::add_transposed_times(rows, columns, sums),
        (..=8, _) => Few::<T, 8, 4>::add_transposed_times(rows, columns, sums),
        (_, 4) => Few::<T, 16, 4>::add_transposed_times(rows, columns, sums),
        _ => Few::<T, 16, 2>::add_transposed_times(rows, columns, sums),
    }
}

/// Whether rows have features, so many columns are few, and this processor has what makes them fast.
fn is_fast(features: usize, columns: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    // All of these have it.
    #[cfg(not(target_arch = "x86_64"))]
    let fused = cfg!(target_arch = "aarch64");
    fused && features > 0 && columns <= FEW
}

/// Products of up to `N` columns, `R` rows or features at a time: as many sums as registers hold while eight of
/// 32 bytes wait for each other.
struct Few<T, const N: usize, const R: usize>(std::marker::PhantomData<T>);

impl<T: Precision, const N: usize, const R: usize> Few<T, N, R> {
    fn times(rows: &[&[T]], columns: ArrayView2<'_, T>, products: &mut Array2<T>) {
        let padded = Self::padded(columns);
        let mut found = vec![[T::zero(); N]; rows.len()];
        Self::fused_times(rows, &padded, &mut found);
        for (mut product, found) in products.rows_mut().into_iter().zip(&found) {
            product.iter_mut().zip(found).for_each(|(product, found)| *product = *found);
        }
    }

    fn add_transposed_times(rows: &[&[T]], columns: ArrayView2<'_, T>, mut sums: ArrayViewMut2<'_, T>) {
        let padded = Self::padded(columns);
        let mut found = vec![[T::zero(); N]; sums.nrows()];
        Self::fused_transposed(rows, &padded, &mut found);
        for (mut sum, found) in sums.rows_mut().into_iter().zip(&found) {
            sum.iter_mut().zip(found).for_each(|(sum, found)| *sum += *found);
        }
    }

    /// Rows of few columns, filled up with zeros.
    fn padded(columns: ArrayView2<'_, T>) -> Vec<[T; N]> {
        let row = |row: ArrayView1<'_, T>| from_fn(|column| row.get(column).copied().unwrap_or(T::zero()));
        columns.rows().into_iter().map(row).collect()
    }

    fn fused_times(rows: &[&[T]], columns: &[[T; N]], products: &mut [[T; N]]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn on_x86<T: Precision, const N: usize, const R: usize>(
                rows: &[&[T]],
                columns: &[[T; N]],
                products: &mut [[T; N]],
            ) {
                Few::<T, N, R>::multiply(rows, columns, products);
            }
            // SAFETY: `is_fast` has seen that this processor has these instructions.
            unsafe { on_x86::<T, N, R>(rows, columns, products) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::multiply(rows, columns, products);
    }

    fn fused_transposed(rows: &[&[T]], columns: &[[T; N]], sums: &mut [[T; N]]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn on_x86<T: Precision, const N: usize, const R: usize>(
                rows: &[&[T]],
                columns: &[[T; N]],
                sums: &mut [[T; N]],
            ) {
                Few::<T, N, R>::multiply_transposed(rows, columns, sums);
            }
            // SAFETY: `is_fast` has seen that this processor has these instructions.
            unsafe { on_x86::<T, N, R>(rows, columns, sums) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::multiply_transposed(rows, columns, sums);
    }

    #[inline(always)]
    fn multiply(rows: &[&[T]], columns: &[[T; N]], products: &mut [[T; N]]) {
        let whole = products.len() / R * R;
        let (products, left) = products.split_at_mut(whole);
        let (rows, left_rows) = rows.split_at(whole);
        for (rows, products) in rows.chunks_exact(R).zip(products.chunks_exact_mut(R)) {
            let rows: [&[T]; R] = from_fn(|row| &rows[row][..columns.len()]);
            let mut sums = [[T::zero(); N]; R];
            for (feature, column) in columns.iter().enumerate() {
                for (sum, row) in sums.iter_mut().zip(rows) {
                    add(sum, row[feature], column);
                }
            }
            products.copy_from_slice(&sums);
        }
        for (row, product) in left_rows.iter().zip(left) {
            row.iter().zip(columns).for_each(|(value, column)| add(product, *value, column));
        }
    }

    #[inline(always)]
    fn multiply_transposed(rows: &[&[T]], columns: &[[T; N]], sums: &mut [[T; N]]) {
        let whole = sums.len() / R * R;
        for (rows, columns) in rows.chunks(NEAR).zip(columns.chunks(NEAR)) {
            let (some, left) = sums.split_at_mut(whole);
            for (first, some) in (0..whole).step_by(R).zip(some.chunks_exact_mut(R)) {
                let mut near: [[T; N]; R] = from_fn(|feature| some[feature]);
                for (row, column) in rows.iter().zip(columns) {
                    near.iter_mut()
                        .zip(&row[first..first + R])
                        .for_each(|(sum, value)| add(sum, *value, column));
                }
                some.copy_from_slice(&near);
            }
            for (row, column) in rows.iter().zip(columns) {
                let values = &row[whole..];
                left.iter_mut().zip(values).for_each(|(sum, value)| add(sum, *value, column));
            }
        }
    }
}

#[inline(always)]
fn add<T: Precision, const N: usize>(sums: &mut [T; N], value: T, column: &[T; N]) {
    sums.iter_mut().zip(column).for_each(|(sum, number)| *sum = value.mul_add(*number, *sum));
}

/// The rows as they lie in memory.
fn lying<'r, T>(rows: &'r ArrayView2<'_, T>) -> Vec<&'r [T]> {
    let row = |row: ArrayView1<'r, T>| row.to_slice();
    let rows: Option<Vec<&[T]>> = rows.rows().into_iter().map(row).collect();
    rows.expect("the numbers of a row lie one after the other: anything else is a bug")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern that a shifted row would have, too.
    fn numbers<T: Precision>(rows: usize, columns: usize, salt: usize) -> Array2<T> {
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            T::of(((row * 7919 + column * 104_729 + salt) % 1009) as f64 / 500.0 - 1.0)
        })
    }

    /// Checks with all shapes in which rows or features are left over. A sum of n terms below 1 is off by n·u·n at
    /// most, u a rounding (Higham 2002, equation 3.5); another row's would be off by a third.
    fn check<T: Precision>(rounding: f64) {
        for (rows, width, columns) in [
            (1, 1, 1),
            (4, 0, 3),
            (9, 5, 2),
            (67, 13, 4),
            (130, 24, 7),
            (33, 19, 10),
            (65, 9, 16),
            (12, 7, 40),
        ] {
            let (x, v, r) = (
                numbers::<T>(rows, width, 1),
                numbers::<T>(width, columns, 2),
                numbers::<T>(rows, columns, 3),
            );
            let sums = numbers::<T>(width, columns, 4);
            let product =
                |i: usize, j: usize| (0..width).map(|k| x[[i, k]].double() * v[[k, j]].double()).sum();
            let found = times(x.view(), v.view());
            let wanted = Array2::<f64>::from_shape_fn((rows, columns), |(i, j)| product(i, j));
            let near = |found: &Array2<T>, wanted: &Array2<f64>, terms: usize| {
                let apart = found.iter().zip(wanted).map(|(found, wanted)| (found.double() - wanted).abs());
                assert!(
                    apart.fold(0.0, f64::max) <= rounding * (terms + 1).pow(2) as f64,
                    "{rows} {width} {columns}"
                );
            };
            near(&found, &wanted, width);
            let mut found = sums.clone();
            add_transposed_times(x.view(), r.view(), found.view_mut());
            let term =
                |k: usize, j: usize| (0..rows).map(|i| x[[i, k]].double() * r[[i, j]].double()).sum::<f64>();
            let wanted = Array2::from_shape_fn((width, columns), |(k, j)| sums[[k, j]].double() + term(k, j));
            near(&found, &wanted, rows);
        }
    }

    #[test]
    fn products_are_those_of_the_definition_in_both_precisions() {
        check::<f32>(6e-8);
        check::<f64>(1.2e-16);
    }

    #[test]
    fn few_columns_are_up_to_sixteen() {
        assert!(!is_fast(5, FEW + 1) && !is_fast(0, FEW));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(is_fast(5, FEW), is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2"));
    }
}
