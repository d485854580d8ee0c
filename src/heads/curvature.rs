//! Owns the first guess of a head's inverse Hessian, which conditions its descent.
//!
//! Refuses to change where a descent ends: a bad guess costs steps, nothing else.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, s};

use super::loss::first_curvature;
use super::narrow::{add_transposed_times, times};
use super::objective::Problem;
use super::parallel::{in_bands, subtract_in_bands};
use super::preconditioner::dot;

/// Rows that the guess is made from, at most.
const SAMPLE: usize = 4096;
/// Features of a block of the guess, at most.
const BLOCK: usize = 3072;

/// Bytes that making it takes at its peak.
pub(super) fn guess_bytes(rows: usize, width: usize) -> u64 {
    let (sample, block) = (rows.min(SAMPLE), width.min(BLOCK));
    // The sample and the products in single precision, a block's factor twice, the factors of the others.
    (4 * sample * width + 4 * width * block + 16 * block * block + 8 * width * block) as u64
}

/// What the guesses of a problem have in common, whatever the penalty: the products of its features, of a
/// sample of the rows.
pub(super) struct Products {
    /// First feature of each block and the lower triangle of its `XᵀX`.
    blocks: Vec<(usize, Array2<f32>)>,
    /// What a product counts.
    share: f64,
    /// The curvature of a bias.
    bias: f64,
    /// The bias is penalised too.
    penalized_bias: bool,
    threads: usize,
}

impl Products {
    pub fn of(problem: &Problem<'_>) -> Self {
        let (rows, width, threads) = (problem.examples.rows, problem.width(), problem.threads);
        let every = rows.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<usize> = rows.iter().copied().step_by(every).collect();
        let scale = first_curvature(problem.shape, problem.examples.targets);
        let share = scale * rows.len() as f64 / sample.len() as f64;
        let standardized = problem.scaler.apply::<f32>(problem.examples.features, sample.into_iter());
        let blocks = (0..width).step_by(BLOCK).map(|start| {
            let columns = standardized.slice(s![.., start..(start + BLOCK).min(width)]);
            (start, in_bands(columns.t(), columns.t(), threads))
        });
        Self {
            blocks: blocks.collect(),
            share,
            bias: scale * rows.len() as f64,
            penalized_bias: problem.there.is_some(),
            threads,
        }
    }

    /// The guess with this penalty.
    pub fn guess(&self, alpha: f64) -> Guess {
        let blocks = self.blocks.iter();
        let blocks = blocks
            .map(|(start, products)| (*start, factor(products.view(), self.share, alpha, self.threads)));
        Guess { blocks: blocks.collect(), bias: self.bias + if self.penalized_bias { alpha } else { 0.0 } }
    }
}

/// A guess of the inverse Hessian, the same for every class: `(c·XᵀX + αI)⁻¹`, by blocks of features; `c` is
/// how the loss curves where nothing is known yet: of one of k labels `p·(1 − p)`, `(1 − 1/k) / k`.
pub(super) struct Guess {
    /// First feature of each block and its lower Cholesky factor, row by row.
    blocks: Vec<(usize, Array2<f64>)>,
    /// The curvature of a bias.
    bias: f64,
}

impl Guess {
    /// Multiplies a direction `[features + 1, classes]` by the guess.
    pub fn apply(&self, direction: &mut Array2<f64>) {
        for (start, factor) in &self.blocks {
            let size = factor.nrows();
            solve(factor, direction.slice_mut(s![*start..*start + size, ..]));
        }
        let last = direction.nrows() - 1;
        direction.row_mut(last).mapv_inplace(|value| value / self.bias);
    }
}

/// The Cholesky factor of `share·XᵀX + αI`.
fn factor(products: ArrayView2<'_, f32>, share: f64, alpha: f64, threads: usize) -> Array2<f64> {
    let mut matrix = products.mapv(|value| share * f64::from(value));
    matrix.diag_mut().mapv_inplace(|value| value + alpha);
    cholesky(&mut matrix, threads);
    matrix
}

/// Rows and columns that a factor and a solution go on by.
const PANEL: usize = 64;

/// Replaces the lower triangle of a positive definite matrix by its Cholesky factor, panel by panel.
fn cholesky(matrix: &mut Array2<f64>, threads: usize) {
    let size = matrix.nrows();
    for first in (0..size).step_by(PANEL) {
        let end = (first + PANEL).min(size);
        let mut columns = matrix.slice_mut(s![first.., first..end]);
        let (mut diagonal, mut below) = columns.view_mut().split_at(Axis(0), end - first);
        for row in 0..end - first {
            let (above, mut here) = diagonal.view_mut().split_at(Axis(0), row);
            let own = lying(here.row_mut(0));
            divide(own, above.view());
            // Rounding can make a pivot vanish; any small one keeps the guess a guess.
            own[row] = (own[row] - dot(&own[..row], &own[..row])).max(f64::MIN_POSITIVE).sqrt();
        }
        below.rows_mut().into_iter().for_each(|row| divide(lying(row), diagonal.view()));
        let below = matrix.slice(s![end.., first..end]).to_owned();
        subtract_in_bands(matrix.slice_mut(s![end.., end..]), below.view(), threads);
    }
}

/// Replaces the first numbers of a row by what times the rows of a lower triangle gives them.
fn divide(row: &mut [f64], triangle: ArrayView2<'_, f64>) {
    for (column, other) in triangle.rows().into_iter().enumerate() {
        let other = other.to_slice().expect("rows of a triangle lie as rows: anything else is a bug");
        row[column] = (row[column] - dot(&row[..column], &other[..column])) / other[column];
    }
}

fn lying(row: ArrayViewMut1<'_, f64>) -> &mut [f64] {
    row.into_slice().expect("the numbers of a row lie one after the other: anything else is a bug")
}

/// Replaces `x` by `(L·Lᵀ)⁻¹·x`, panel by panel.
fn solve(factor: &Array2<f64>, mut x: ArrayViewMut2<'_, f64>) {
    let size = factor.nrows();
    let starts: Vec<usize> = (0..size).step_by(PANEL).collect();
    for &first in &starts {
        let end = (first + PANEL).min(size);
        let (solved, mut rest) = x.view_mut().split_at(Axis(0), first);
        let mut panel = rest.slice_mut(s![..end - first, ..]);
        panel -= &times(factor.slice(s![first..end, ..first]), solved.view());
        for row in 0..end - first {
            let (above, mut here) = panel.view_mut().split_at(Axis(0), row);
            let here = lying(here.row_mut(0));
            for (column, above) in above.rows().into_iter().enumerate() {
                take_away(here, factor[[first + row, first + column]], above);
            }
            here.iter_mut().for_each(|value| *value /= factor[[first + row, first + row]]);
        }
    }
    for &first in starts.iter().rev() {
        let end = (first + PANEL).min(size);
        let (mut upper, solved) = x.view_mut().split_at(Axis(0), end);
        let mut panel = upper.slice_mut(s![first.., ..]);
        let mut known = Array2::zeros(panel.raw_dim());
        add_transposed_times(factor.slice(s![end.., first..end]), solved.view(), known.view_mut());
        panel -= &known;
        for row in (0..end - first).rev() {
            let (mut here, below) = panel.view_mut().split_at(Axis(0), row + 1);
            let here = lying(here.row_mut(row));
            for (offset, below) in below.rows().into_iter().enumerate() {
                take_away(here, factor[[first + row + 1 + offset, first + row]], below);
            }
            here.iter_mut().for_each(|value| *value /= factor[[first + row, first + row]]);
        }
    }
}

fn take_away(row: &mut [f64], times: f64, other: ArrayView1<'_, f64>) {
    row.iter_mut().zip(other).for_each(|(value, other)| *value -= times * other);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_solves_its_matrix() {
        // Ten panels and three bands, the last of each not full.
        let mut bits = 11_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let values: Vec<f32> = (0..700 * 600).map(|_| draw()).collect();
        let columns = Array2::from_shape_vec((700, 600), values).unwrap();
        let products = in_bands(columns.t(), columns.t(), 2);
        let factor = factor(products.view(), 0.5, 2.0, 2);
        let double = columns.mapv(f64::from);
        let matrix = double.t().dot(&double) * 0.5 + Array2::<f64>::eye(600) * 2.0;
        let expected =
            Array2::from_shape_fn((600, 2), |(row, column)| (row as f64 - 70.0) / 50.0 + column as f64);
        let mut x = matrix.dot(&expected);
        solve(&factor, x.view_mut());
        let largest = (&x - &expected).iter().fold(0.0_f64, |most, difference| most.max(difference.abs()));
        assert!(largest < 1e-3, "{largest}");
    }
}
