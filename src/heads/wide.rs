//! Owns fitting a head on many features: L-BFGS (Nocedal & Wright 2006, algorithm 7.4) on `objective`'s loss, whose first guess of
//! the inverse Hessian is that of `c·XᵀX + αI`, block by block, from a sample of the rows.
//!
//! linfa-logistic has no such guess and needs many more passes over the rows, each three products in which the rows are copied;
//! here rows are standardised in pieces as they are needed, so that no second copy of the features is held.
//!
//! Refuses to let the number of threads change the result: rows are divided the same way whatever it is.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, LinalgScalar, s};

use super::minimize::{Solution, TOLERANCE_PER_ROW, penalty};
use super::objective::residuals;
use super::options::Examples;
use super::standardize::Scaler;
use crate::error::Result;

/// Features beyond which this is the faster way.
pub(super) const WIDE: usize = 1024;
/// Rows standardised at a time.
const PIECE: usize = 128;
/// Parts into which rows are divided; each sums its own gradient.
const PARTS: usize = 8;
/// Rows that the guess of the Hessian is made from, at most.
const SAMPLE: usize = 4096;
/// Features of a block of the guess, at most.
const BLOCK: usize = 3072;
/// Steps remembered.
const MEMORY: usize = 20;
/// Steps of a fit, at most.
const STEPS: usize = 400;

/// The rows of a fit, standardised when they are looked at.
pub(super) struct WideProblem<'a> {
    pub examples: Examples<'a>,
    pub scaler: &'a Scaler,
    pub classes: usize,
    /// What each row counts; 1 where there are none.
    pub weights: Option<Vec<f64>>,
    pub threads: usize,
}

/// Bytes that takes at its peak, beside the features themselves.
pub(super) fn wide_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    let (sample, block) = (rows.min(SAMPLE), width.min(BLOCK));
    // The sample in double and single precision, a block's products and factor, the factors of the others.
    let guess = 12 * sample * width + 16 * block * block + 8 * width * block;
    let parameters = (2 * MEMORY + PARTS + 8) * 8 * (width + 1) * classes;
    (guess + parameters) as u64
}

/// Minimises the objective from zero.
pub(super) fn minimize_wide(problem: &WideProblem<'_>, alpha: f64) -> Result<Solution> {
    let alpha = penalty(alpha, problem.classes);
    let width = problem.examples.features.width();
    let guess = Guess::new(problem, alpha);
    let mut at = problem.evaluate(alpha, Array2::zeros((width + 1, problem.classes)));
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..STEPS {
        if at.solution.gradient_norm <= at.solution.tolerance {
            break;
        }
        let direction = direction(&guess, &memory, &at.gradient);
        let Some(next) = search(problem, alpha, &at, &direction) else { break };
        let step = &next.solution.parameters - &at.solution.parameters;
        let change = &next.gradient - &at.gradient;
        let curvature = dot(&step, &change);
        if curvature > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Pair { step, change, curvature });
        }
        at = next;
    }
    Ok(at.solution)
}

/// Parameters with their loss and gradient.
struct Point {
    solution: Solution,
    gradient: Array2<f64>,
}

/// A step that was taken and what it did to the gradient.
struct Pair {
    step: Array2<f64>,
    change: Array2<f64>,
    curvature: f64,
}

/// The two-loop recursion: the direction in which a quadratic model of the loss has its minimum.
fn direction(guess: &Guess, memory: &VecDeque<Pair>, gradient: &Array2<f64>) -> Array2<f64> {
    let mut direction = gradient * -1.0;
    let mut shares = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let share = dot(&pair.step, &direction) / pair.curvature;
        direction.scaled_add(-share, &pair.change);
        shares.push(share);
    }
    guess.apply(&mut direction);
    for (pair, share) in memory.iter().zip(shares.into_iter().rev()) {
        let other = dot(&pair.change, &direction) / pair.curvature;
        direction.scaled_add(share - other, &pair.step);
    }
    direction
}

/// Halves the step until the loss falls as much as the slope promises (Armijo); nothing when it cannot fall any further.
fn search(problem: &WideProblem<'_>, alpha: f64, at: &Point, direction: &Array2<f64>) -> Option<Point> {
    let slope = dot(&at.gradient, direction);
    let mut length = 1.0;
    for _ in 0..20 {
        let next = problem.evaluate(alpha, &at.solution.parameters + &(direction * length));
        if next.solution.loss <= at.solution.loss + 1e-4 * length * slope {
            return Some(next);
        }
        length /= 2.0;
    }
    None
}

fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl WideProblem<'_> {
    fn evaluate(&self, alpha: f64, parameters: Array2<f64>) -> Point {
        let width = self.examples.features.width();
        let parts = self.in_parts(&|rows| self.evaluate_part(&parameters, rows));
        let weights = parameters.slice(s![..width, ..]);
        let mut loss = 0.5 * alpha * weights.iter().map(|weight| weight * weight).sum::<f64>();
        let mut gradient = Array2::zeros(parameters.raw_dim());
        gradient.slice_mut(s![..width, ..]).assign(&(&weights * alpha));
        for (own, part) in parts {
            loss += own;
            gradient += &part;
        }
        let gradient_norm = dot(&gradient, &gradient).sqrt();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
        let tolerance = TOLERANCE_PER_ROW * self.examples.rows.len() as f64;
        Point { solution: Solution { parameters, loss, gradient_norm, tolerance }, gradient }
    }

    /// Loss and gradient of some rows, without the penalty.
    fn evaluate_part(&self, parameters: &Array2<f64>, rows: Range<usize>) -> (f64, Array2<f64>) {
        let width = self.examples.features.width();
        let bias = parameters.row(width);
        let mut gradient = Array2::zeros(parameters.raw_dim());
        let mut loss = 0.0;
        let mut place = rows.start;
        while place < rows.end {
            let piece = place..(place + PIECE).min(rows.end);
            let own = self.standardized(piece.clone());
            let mut residual = own.dot(&parameters.slice(s![..width, ..])) + bias;
            let labels = self.examples.labels[piece.clone()].iter().map(|label| *label as usize);
            let weight = |row: usize| self.weights.as_ref().map_or(1.0, |weights| weights[piece.start + row]);
            loss += residuals(&mut residual, labels, weight);
            general_mat_mul(1.0, &own.t(), &residual, 1.0, &mut gradient.slice_mut(s![..width, ..]));
            let mut bias = gradient.row_mut(width);
            bias += &residual.sum_axis(Axis(0));
            place = piece.end;
        }
        (loss, gradient)
    }

    fn standardized(&self, piece: Range<usize>) -> Array2<f64> {
        self.scaler.apply(self.examples.features, self.examples.rows[piece].iter().copied())
    }

    /// Does something for every part of the rows, several at a time; the results in the parts' order.
    fn in_parts<T: Send>(&self, each: &(dyn Fn(Range<usize>) -> T + Sync)) -> Vec<T> {
        let count = self.examples.rows.len();
        let ranges = (0..PARTS).map(|part| part * count / PARTS..(part + 1) * count / PARTS).collect();
        in_parallel(self.threads, ranges, each)
    }
}

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

/// A guess of the inverse Hessian, the same for every class: `(c·XᵀX + αI)⁻¹`, by blocks of features; `c = (1 − 1/k) / k` is what
/// `p·(1 − p)` is where nothing is known yet.
struct Guess {
    /// First feature of each block and its lower Cholesky factor, row by row.
    blocks: Vec<(usize, Array2<f64>)>,
    /// The curvature of a bias.
    bias: f64,
}

impl Guess {
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows, features and classes")]
    fn new(problem: &WideProblem<'_>, alpha: f64) -> Self {
        let (rows, width) = (problem.examples.rows, problem.examples.features.width());
        let every = rows.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<usize> = rows.iter().copied().step_by(every).collect();
        let scale = (1.0 - 1.0 / problem.classes as f64) / problem.classes as f64;
        let share = scale * rows.len() as f64 / sample.len() as f64;
        let standardized = problem.scaler.apply(problem.examples.features, sample.iter().copied());
        let single = standardized.mapv(|value| value as f32);
        drop(standardized);
        let starts = (0..width).step_by(BLOCK);
        let blocks = starts.map(|start| {
            let columns = single.slice(s![.., start..(start + BLOCK).min(width)]);
            (start, factor(columns, share, alpha, problem.threads))
        });
        Self { blocks: blocks.collect(), bias: scale * rows.len() as f64 }
    }

    /// Multiplies a direction `[features + 1, classes]` by the guess.
    fn apply(&self, direction: &mut Array2<f64>) {
        for (start, factor) in &self.blocks {
            let size = factor.nrows();
            solve(factor, direction.slice_mut(s![*start..*start + size, ..]));
        }
        let last = direction.nrows() - 1;
        direction.row_mut(last).mapv_inplace(|value| value / self.bias);
    }
}

/// The Cholesky factor of `share·XᵀX + αI`.
fn factor(columns: ArrayView2<'_, f32>, share: f64, alpha: f64, threads: usize) -> Array2<f64> {
    let products = in_bands(columns.t(), columns.t(), threads);
    let mut matrix = products.mapv(|value| share * f64::from(value));
    drop(products);
    matrix.diag_mut().mapv_inplace(|value| value + alpha);
    cholesky(&mut matrix, threads);
    matrix
}

/// The lower triangle of `a·bᵀ` (and some of the upper), in bands of rows.
pub(super) fn in_bands<T: LinalgScalar + Send + Sync>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    threads: usize,
) -> Array2<T> {
    let size = a.nrows();
    let ranges: Vec<Range<usize>> =
        (0..size).step_by(256).map(|first| first..(first + 256).min(size)).collect();
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

/// Replaces the lower triangle of a positive definite matrix by its Cholesky factor, panel by panel.
fn cholesky(matrix: &mut Array2<f64>, threads: usize) {
    const PANEL: usize = 64;
    let size = matrix.nrows();
    for first in (0..size).step_by(PANEL) {
        let end = (first + PANEL).min(size);
        for row in first..end {
            for column in first..=row {
                let known: f64 = (first..column).map(|k| matrix[[row, k]] * matrix[[column, k]]).sum();
                let value = matrix[[row, column]] - known;
                // Rounding can make a pivot vanish; any small one keeps the guess a guess.
                matrix[[row, column]] = if row == column {
                    value.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    value / matrix[[column, column]]
                };
            }
        }
        let diagonal = matrix.slice(s![first..end, first..end]).to_owned();
        for row in end..size {
            for column in first..end {
                let known: f64 =
                    (first..column).map(|k| matrix[[row, k]] * diagonal[[column - first, k - first]]).sum();
                matrix[[row, column]] =
                    (matrix[[row, column]] - known) / diagonal[[column - first, column - first]];
            }
        }
        let below = matrix.slice(s![end.., first..end]).to_owned();
        let mut rest = matrix.slice_mut(s![end.., end..]);
        rest -= &in_bands(below.view(), below.view(), threads);
    }
}

/// Replaces `x` by `(L·Lᵀ)⁻¹·x`, panel by panel.
fn solve(factor: &Array2<f64>, mut x: ndarray::ArrayViewMut2<'_, f64>) {
    const PANEL: usize = 64;
    let size = factor.nrows();
    let starts: Vec<usize> = (0..size).step_by(PANEL).collect();
    for &first in &starts {
        let end = (first + PANEL).min(size);
        let (solved, mut rest) = x.view_mut().split_at(Axis(0), first);
        let mut own = rest.slice_mut(s![..end - first, ..]);
        general_mat_mul(-1.0, &factor.slice(s![first..end, ..first]), &solved, 1.0, &mut own);
        for row in 0..end - first {
            let (above, mut here) = own.view_mut().split_at(Axis(0), row);
            let mut here = here.row_mut(0);
            for (column, above) in above.rows().into_iter().enumerate() {
                here.scaled_add(-factor[[first + row, first + column]], &above);
            }
            here /= factor[[first + row, first + row]];
        }
    }
    for &first in starts.iter().rev() {
        let end = (first + PANEL).min(size);
        let (mut upper, solved) = x.view_mut().split_at(Axis(0), end);
        let mut own = upper.slice_mut(s![first.., ..]);
        general_mat_mul(-1.0, &factor.slice(s![end.., first..end]).t(), &solved, 1.0, &mut own);
        for row in (0..end - first).rev() {
            let (mut here, below) = own.view_mut().split_at(Axis(0), row + 1);
            let mut here = here.row_mut(row);
            for (offset, below) in below.rows().into_iter().enumerate() {
                here.scaled_add(-factor[[first + row + 1 + offset, first + row]], &below);
            }
            here /= factor[[first + row, first + row]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::minimize::minimize;
    use crate::heads::{ClassWeight, FeatureView};

    /// Correlated features of which some tell three classes apart.
    fn sample(rows: usize, width: usize) -> (Vec<f32>, Vec<u32>) {
        let mut bits = 11_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 7 % 3).collect();
        let features = labels.iter().flat_map(|label| {
            let common = draw();
            let mut row: Vec<f32> = (0..width).map(|_| 0.3 * draw() + common).collect();
            row[*label as usize] += 0.2;
            row
        });
        (features.collect(), labels)
    }

    #[test]
    fn it_ends_where_linfa_does_whatever_the_threads_and_weights() {
        let (features, labels) = sample(500, 40);
        let rows: Vec<usize> = (0..500).collect();
        let examples = Examples { features: FeatureView::whole(&features, 40), rows: &rows, labels: &labels };
        let scaler = Scaler::of(&examples);
        for class_weight in [ClassWeight::None, ClassWeight::Balanced] {
            let narrow = crate::heads::fit::problem(&scaler, &examples, 3, class_weight);
            let expected = minimize(&narrow, 10.0, None).unwrap();
            let of = |threads| {
                let weights = narrow.weights.clone();
                minimize_wide(&WideProblem { examples, scaler: &scaler, classes: 3, weights, threads }, 10.0)
                    .unwrap()
            };
            let found = of(1);
            assert!(found.gradient_norm <= found.tolerance, "{}", found.gradient_norm);
            assert!((found.loss / expected.loss - 1.0).abs() < 1e-4, "{} {}", found.loss, expected.loss);
            assert_eq!(found.parameters, of(3).parameters);
        }
    }

    #[test]
    fn a_factor_solves_its_matrix() {
        // Three panels, the last not full.
        let (values, _) = sample(300, 150);
        let columns = Array2::from_shape_vec((300, 150), values).unwrap();
        let factor = factor(columns.view(), 0.5, 2.0, 2);
        let double = columns.mapv(f64::from);
        let matrix = double.t().dot(&double) * 0.5 + Array2::<f64>::eye(150) * 2.0;
        let expected =
            Array2::from_shape_fn((150, 2), |(row, column)| (row as f64 - 70.0) / 50.0 + column as f64);
        let mut x = matrix.dot(&expected);
        solve(&factor, x.view_mut());
        let largest = (&x - &expected).iter().fold(0.0_f64, |most, own| most.max(own.abs()));
        assert!(largest < 1e-3, "{largest}");
    }
}
