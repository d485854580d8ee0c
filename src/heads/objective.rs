//! Owns the objective of a head: what the trainer should have minimised, computed without it.
//!
//! `loss(V, c) = Σ_i w_i · (logsumexp(x_i V + c) − (x_i V + c)[y_i]) + α/2 · |V|²`, the bias not penalised;
//! its gradient is `Xᵀ (w · (softmax − onehot)) + α V` and `Σ w · (softmax − onehot)` (Bishop 2006, equation
//! 4.109). What stands there for softmax is the kind's own (`loss.rs`).
//!
//! Rows are standardised in pieces as they are needed, so that no second copy of the features is held.
//! Refuses to let the number of threads change the result.

use std::ops::Range;

use linfa::traits::{Predict as _, PredictInplace};
use ndarray::{Array2, Axis, s};

use super::class_weight::Counts;
use super::loss::{label_shares, slopes};
use super::narrow::{add_transposed_times, times};
use super::options::Examples;
use super::parallel::PARTS;
use super::precision::Precision;
use super::shape::Shape;
use super::standardize::Scaler;
use crate::parallel::in_parallel;
use crate::task::TaskKind;

/// Rows standardised at a time, at most …
const PIECE: usize = 256;
/// … and their numbers, at most: a processor's second cache holds them while they are multiplied twice.
const PIECE_NUMBERS: usize = 1 << 17;

/// What is to be fitted.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub examples: Examples<'a>,
    pub scaler: &'a Scaler,
    pub shape: Shape,
    /// What rows count.
    pub counts: Counts,
    /// Logits `[rows, classes]` of a head that is there already. The parameters are then what is added to it,
    /// and their bias is penalised as their weights are: a penalty without end leaves that head as it is.
    pub there: Option<Array2<f64>>,
    /// How long the gradient of the summed loss may be at the end, per row.
    pub precision: f64,
    pub threads: usize,
}

impl Problem<'_> {
    /// Numbers a row has.
    pub fn width(&self) -> usize {
        self.examples.features.width()
    }

    /// How long the gradient of the summed loss may be at the end.
    pub fn tolerance(&self) -> f64 {
        self.precision * self.examples.rows.len() as f64
    }

    /// What each row is of all that rows count.
    pub fn shares(&self) -> Vec<f64> {
        let rows = 0..self.examples.rows.len();
        let total: f64 = rows.clone().map(|row| self.counts.row(row)).sum();
        rows.map(|row| self.counts.row(row) / total).collect()
    }

    /// Parameters where nothing is known yet: zeros, but that each of several labels is as likely as it is
    /// among the rows.
    pub fn start(&self) -> Array2<f64> {
        let mut start = Array2::zeros((self.width() + 1, self.shape.classes));
        if self.shape.kind == TaskKind::AnyOf && self.there.is_none() && self.counts == Counts::Alike {
            let shares = label_shares(self.shape, self.examples.targets);
            let mut bias = start.row_mut(self.width());
            bias.iter_mut().zip(shares).for_each(|(bias, share)| *bias = (share / (1.0 - share)).ln());
        }
        start
    }

    /// The standardised rows, `[rows, features]`.
    pub fn standardized<T: Precision>(&self, rows: Range<usize>) -> Array2<T> {
        self.scaler.apply(self.examples.features, self.examples.rows[rows].iter().copied())
    }

    /// Logits `[rows, classes]` with the standardised rows, piece by piece.
    pub fn in_pieces<T: Precision>(
        &self,
        parameters: &Array2<T>,
        rows: Range<usize>,
        mut each: impl FnMut(Range<usize>, &Array2<T>, Array2<T>),
    ) {
        let at_once = (PIECE_NUMBERS / self.width().max(1)).clamp(1, PIECE);
        let mut first = rows.start;
        while first < rows.end {
            let piece = first..(first + at_once).min(rows.end);
            let standardized = self.standardized(piece.clone());
            let mut logits = Linear(parameters).predict(&standardized);
            if let Some(there) = &self.there {
                logits.zip_mut_with(&there.slice(s![piece.clone(), ..]), |logit, there| {
                    *logit += T::of(*there);
                });
            }
            each(piece.clone(), &standardized, logits);
            first = piece.end;
        }
    }

    /// Does something for every part of the rows, several at a time; the results in the parts' order.
    fn in_parts<T: Send>(&self, each: &(dyn Fn(Range<usize>) -> T + Sync)) -> Vec<T> {
        let count = self.examples.rows.len();
        let ranges = (0..PARTS).map(|part| part * count / PARTS..(part + 1) * count / PARTS).collect();
        in_parallel(self.threads, ranges, each)
    }
}

/// The linear model on standardised rows: parameters `[features + 1, classes]`, the last row the bias.
pub(super) struct Linear<'p, T>(pub &'p Array2<T>);

/// Logits, `[rows, classes]`.
impl<T: Precision> PredictInplace<Array2<T>, Array2<T>> for Linear<'_, T> {
    fn predict_inplace(&self, rows: &Array2<T>, logits: &mut Array2<T>) {
        let width = rows.ncols();
        *logits = times(rows.view(), self.0.slice(s![..width, ..]));
        *logits += &self.0.row(width);
    }

    fn default_target(&self, rows: &Array2<T>) -> Array2<T> {
        Array2::zeros((rows.nrows(), self.0.ncols()))
    }
}

/// Loss and gradient (`[features + 1, classes]`, the last row the bias's) at `parameters` of the same shape;
/// products of this precision, sums over rows in double.
pub(super) fn loss_and_gradient<T: Precision>(
    problem: &Problem<'_>,
    alpha: f64,
    parameters: &Array2<f64>,
) -> (f64, Array2<f64>) {
    let penalized = problem.width() + usize::from(problem.there.is_some());
    let rounded = parameters.mapv(T::of);
    let parts = problem.in_parts(&|rows| part(problem, &rounded, rows));
    let weights = parameters.slice(s![..penalized, ..]);
    let mut loss = 0.5 * alpha * weights.iter().map(|weight| weight * weight).sum::<f64>();
    let mut gradient = Array2::zeros(parameters.raw_dim());
    gradient.slice_mut(s![..penalized, ..]).assign(&(&weights * alpha));
    for (part_loss, part) in parts {
        loss += part_loss;
        gradient.zip_mut_with(&part, |sum, term| *sum += term.double());
    }
    (loss, gradient)
}

/// Loss and gradient of some rows, without the penalty.
fn part<T: Precision>(problem: &Problem<'_>, parameters: &Array2<T>, rows: Range<usize>) -> (f64, Array2<T>) {
    let width = problem.width();
    let mut gradient = Array2::zeros(parameters.raw_dim());
    let mut loss = 0.0;
    problem.in_pieces(parameters, rows, |piece, standardized, mut residual| {
        for (row, mut logits) in piece.zip(residual.rows_mut()) {
            let target = &problem.examples.targets[row];
            loss += slopes(problem.shape.kind, in_a_row(&mut logits), target, (&problem.counts, row));
        }
        add_transposed_times(standardized.view(), residual.view(), gradient.slice_mut(s![..width, ..]));
        let mut bias = gradient.row_mut(width);
        bias += &residual.sum_axis(Axis(0));
    });
    (loss, gradient)
}

/// The logits `[rows, classes]` of all rows.
pub(super) fn logits(problem: &Problem<'_>, parameters: &Array2<f64>) -> Array2<f64> {
    let count = problem.examples.rows.len();
    let mut all = Array2::zeros((count, problem.shape.classes));
    problem.in_pieces(parameters, 0..count, |piece, _, logits| {
        all.slice_mut(s![piece, ..]).assign(&logits);
    });
    all
}

fn in_a_row<'r, T>(row: &'r mut ndarray::ArrayViewMut1<'_, T>) -> &'r mut [T] {
    row.as_slice_mut().expect("rows of a fresh product are contiguous: anything else is a bug")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::FeatureView;
    use crate::task::Target;

    /// Checks with a problem on these rows as they are.
    fn with_problem(
        (features, width): (&[f32], usize),
        (labels, classes): (&[u32], usize),
        counts: Counts,
        check: impl Fn(&Problem<'_>),
    ) {
        let (rows, scaler) = ((0..labels.len()).collect::<Vec<_>>(), Scaler::none(width));
        let examples = Examples {
            features: FeatureView::whole(features, width),
            rows: &rows,
            targets: &Target::each(labels),
        };
        let there = None;
        let shape = Shape::one_of(classes);
        check(&Problem { examples, scaler: &scaler, shape, counts, there, precision: 1e-4, threads: 2 });
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_also_of_what_is_added_to_a_head() {
        let features: Vec<f32> = (0..21).map(|i| ((i / 3 * 5 + i % 3 * 3) % 7) as f32 / 3.0 - 1.0).collect();
        let counts = Counts::Rows(vec![1.0, 0.3, 2.0, 0.3, 1.0, 2.0, 2.0]);
        let parameters = Array2::from_shape_fn((4, 3), |(i, j)| ((i * 2 + j) % 5) as f64 / 4.0 - 0.5);
        let there = Array2::from_shape_fn((7, 3), |(i, j)| ((i + 2 * j) % 4) as f64 / 3.0 - 0.5);
        let check = |problem: &Problem<'_>| {
            let (loss, gradient) = loss_and_gradient::<f64>(problem, 0.7, &parameters);
            // Central differences: error of order step² ≈ 1e-10, far below the tolerance.
            let step = 1e-5;
            for place in ndarray::indices(parameters.raw_dim()) {
                let at = |offset: f64| {
                    let mut moved = parameters.clone();
                    moved[place] += offset;
                    loss_and_gradient::<f64>(problem, 0.7, &moved).0
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                assert!(
                    (difference - gradient[place]).abs() < 1e-7,
                    "{place:?}: {difference} {}",
                    gradient[place]
                );
            }
            // Single precision has 24 bits: 6e-8 of numbers near 1, seven of them summed.
            let (single, rounded) = loss_and_gradient::<f32>(problem, 0.7, &parameters);
            assert!((single - loss).abs() < 1e-5 && single != loss, "{single} {loss}");
            assert!(
                (&rounded - &gradient).iter().all(|difference| difference.abs() < 1e-5),
                "{rounded} {gradient}"
            );
            loss
        };
        with_problem((&features, 3), (&[0, 1, 2, 1, 0, 2, 2], 3), counts, |problem| {
            let alone = check(problem);
            let counts = problem.counts.clone();
            let added = check(&Problem { counts, there: Some(there.clone()), ..*problem });
            assert!((alone - added).abs() > 0.1, "{alone} {added}");
        });
    }

    #[test]
    fn known_values() {
        let parameters = Array2::zeros((2, 2));
        with_problem((&[0.0, 0.0], 1), (&[0, 1], 2), Counts::Alike, |problem| {
            let (loss, _) = loss_and_gradient::<f64>(problem, 1.0, &parameters);
            assert!((loss - 2.0 * 2.0_f64.ln()).abs() < 1e-12);
        });
        with_problem((&[0.0, 0.0], 1), (&[0, 1], 2), Counts::Rows(vec![3.0, 1.0]), |problem| {
            let (loss, _) = loss_and_gradient::<f64>(problem, 1.0, &parameters);
            assert!((loss - 4.0 * 2.0_f64.ln()).abs() < 1e-12);
        });
    }
}
