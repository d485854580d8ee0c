//! Owns the objective of a head in f64: what the trainer should have minimised, computed without it.
//!
//! `loss(V, c) = Σ_i w_i · (logsumexp(x_i V + c) − (x_i V + c)[y_i]) + α/2 · |V|²`, the bias not penalised; its gradient is
//! `Xᵀ (w · (softmax − onehot)) + α V` and `Σ w · (softmax − onehot)` (Bishop 2006, equation 4.109).

use ndarray::{Array1, Array2, Axis, s};

/// A problem in the form the trainer takes it.
#[derive(Debug)]
pub(super) struct Problem {
    /// Standardised, `[rows, features]`.
    pub features: Array2<f64>,
    pub labels: Vec<usize>,
    pub classes: usize,
    /// What each row counts; 1 where there are none.
    pub weights: Option<Vec<f64>>,
    /// How long the gradient of the summed loss may be at the end, per row.
    pub precision: f64,
}

impl Problem {
    fn weight(&self, row: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[row])
    }
}

/// Loss and gradient (`[features + 1, classes]`, the last row the bias's) at `parameters` of the same shape.
pub(super) fn loss_and_gradient(
    problem: &Problem,
    alpha: f64,
    parameters: &Array2<f64>,
) -> (f64, Array2<f64>) {
    let features = &problem.features;
    let width = features.ncols();
    let weights = parameters.slice(s![..width, ..]);
    let mut residual = logits(features, parameters);
    let mut loss = 0.5 * alpha * weights.iter().map(|weight| weight * weight).sum::<f64>();
    loss += residuals(&mut residual, problem.labels.iter().copied(), |row| problem.weight(row));
    let mut gradient = Array2::zeros(parameters.raw_dim());
    gradient.slice_mut(s![..width, ..]).assign(&(features.t().dot(&residual) + &weights * alpha));
    gradient.row_mut(width).assign(&residual.sum_axis(Axis(0)));
    (loss, gradient)
}

/// Turns rows of logits into `w · (softmax − onehot)`; the sum of their cross entropies, as they are weighted.
pub(super) fn residuals(
    logits: &mut Array2<f64>,
    labels: impl Iterator<Item = usize>,
    weight: impl Fn(usize) -> f64,
) -> f64 {
    let mut loss = 0.0;
    for (place, (mut row, label)) in logits.rows_mut().into_iter().zip(labels).enumerate() {
        let counts = weight(place);
        loss += counts
            * cross_entropy(
                row.as_slice_mut().expect("rows of a fresh product are contiguous: anything else is a bug"),
                label,
            );
        row[label] -= 1.0;
        row *= counts;
    }
    loss
}

/// How well parameters do on rows, as they are weighted; no penalty.
#[derive(Debug)]
pub(super) struct Score {
    /// Mean.
    pub cross_entropy: f64,
    /// Per row: its share of all weight where its label is the most probable, 0 where it is not; their sum is the accuracy.
    pub right: Vec<f64>,
}

pub(super) fn score(problem: &Problem, parameters: &Array2<f64>) -> Score {
    let mut all = logits(&problem.features, parameters);
    let total: f64 = (0..problem.labels.len()).map(|row| problem.weight(row)).sum();
    let (mut loss, mut right) = (0.0, Vec::with_capacity(problem.labels.len()));
    for (place, (mut row, &label)) in all.rows_mut().into_iter().zip(&problem.labels).enumerate() {
        let counts = problem.weight(place) / total;
        let best = row
            .iter()
            .enumerate()
            .fold(0, |best, (class, logit)| if *logit > row[best] { class } else { best });
        right.push(if best == label { counts } else { 0.0 });
        loss += counts
            * cross_entropy(
                row.as_slice_mut().expect("rows of a fresh product are contiguous: anything else is a bug"),
                label,
            );
    }
    Score { cross_entropy: loss, right }
}

fn logits(features: &Array2<f64>, parameters: &Array2<f64>) -> Array2<f64> {
    let width = features.ncols();
    let bias: Array1<f64> = parameters.row(width).to_owned();
    features.dot(&parameters.slice(s![..width, ..])) + bias
}

/// Turns a row of logits into probabilities and gives its cross entropy.
fn cross_entropy(row: &mut [f64], label: usize) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = row[label] - largest;
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    row.iter_mut().for_each(|value| *value /= sum);
    sum.ln() - own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let features = Array2::from_shape_fn((7, 3), |(i, j)| ((i * 5 + j * 3) % 7) as f64 / 3.0 - 1.0);
        let labels = vec![0, 1, 2, 1, 0, 2, 2];
        let weights = Some(vec![1.0, 0.3, 2.0, 0.3, 1.0, 2.0, 2.0]);
        let problem = Problem { features, labels, classes: 3, weights, precision: 1e-4 };
        let parameters = Array2::from_shape_fn((4, 3), |(i, j)| ((i * 2 + j) % 5) as f64 / 4.0 - 0.5);
        let (_, gradient) = loss_and_gradient(&problem, 0.7, &parameters);
        // Central differences: error of order step² ≈ 1e-10, far below the tolerance.
        let step = 1e-5;
        for place in ndarray::indices(parameters.raw_dim()) {
            let at = |offset: f64| {
                let mut moved = parameters.clone();
                moved[place] += offset;
                loss_and_gradient(&problem, 0.7, &moved).0
            };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (difference - gradient[place]).abs() < 1e-7,
                "{place:?}: {difference} {}",
                gradient[place]
            );
        }
    }

    #[test]
    fn known_values() {
        let mut problem = Problem {
            features: Array2::zeros((2, 1)),
            labels: vec![0, 1],
            classes: 2,
            weights: None,
            precision: 1e-4,
        };
        let parameters = Array2::zeros((2, 2));
        let (loss, _) = loss_and_gradient(&problem, 1.0, &parameters);
        assert!((loss - 2.0 * 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(score(&problem, &parameters).right, [0.5, 0.0], "the first class wins a tie");
        problem.weights = Some(vec![3.0, 1.0]);
        let (loss, _) = loss_and_gradient(&problem, 1.0, &parameters);
        assert!((loss - 4.0 * 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(score(&problem, &parameters).right, [0.75, 0.0]);
        assert!((score(&problem, &parameters).cross_entropy - 2.0_f64.ln()).abs() < 1e-12);
    }
}
