//! Owns how the logits of two models are mixed: `a · one + b · other` with the least cross entropy on rows
//! that neither was fitted on, `a` and `b` not negative; of other kinds of tasks the least loss (`loss.rs`).
//!
//! The mix is a convex problem of two numbers, solved by Newton's method. Refuses to believe few rows too
//! much: a penalty, as if of a single row, draws the mix to the first model alone.

use super::class_weight::Counts;
use super::loss::{curvature, right, slopes};
use super::shape::Shape;
use crate::task::{Target, TaskKind};

/// What draws the mix: `PRIOR / 2 · ((a − 1)² + b²)` beside the summed cross entropy.
const PRIOR: f64 = 1.0;
/// Newton steps, at most.
const STEPS: usize = 60;

/// Rows of logits of two models.
pub(super) struct Pairs<'p> {
    /// `[rows, classes]` of each.
    pub logits: [&'p [f64]; 2],
    pub targets: &'p [Target],
    /// What rows count.
    pub counts: &'p Counts,
    pub shape: Shape,
}

/// A mix, and how good it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mix {
    /// What the logits of each count.
    pub counts: [f64; 2],
    /// The penalised loss.
    pub loss: f64,
}

/// Loss, gradient and Hessian (`aa`, `ab`, `bb`).
type Model = (f64, [f64; 2], [f64; 3]);

impl Pairs<'_> {
    /// The best mix; with only the first where `alone`.
    pub fn best(&self, alone: bool) -> Mix {
        let first = |free: [bool; 2], start: [f64; 2]| self.descend(free, start);
        if alone {
            return first([true, false], [1.0, 0.0]);
        }
        let both = first([true, true], [1.0, 1.0]);
        match both.counts {
            [_, b] if b < 0.0 => first([true, false], [1.0, 0.0]),
            [a, _] if a < 0.0 => first([false, true], [0.0, 1.0]),
            _ => both,
        }
    }

    /// Cross entropy of every row with a mix, times what the row counts.
    pub fn losses(&self, counts: [f64; 2]) -> Vec<f64> {
        let rows = (0..self.targets.len()).map(|row| self.row(row, counts).0);
        rows.collect()
    }

    /// What every row adds to the score, as whether its label has the largest logit, times what it counts.
    pub fn right(&self, counts: [f64; 2]) -> Vec<f64> {
        let rows = 0..self.targets.len();
        let mixed: Vec<f64> = rows.clone().flat_map(|row| self.mixed(row, counts)).collect();
        let counts: Vec<f64> = rows.map(|row| self.counts.row(row)).collect();
        right(self.shape, &mixed, self.targets, &counts)
    }

    fn logits_of(&self, row: usize) -> [&[f64]; 2] {
        self.logits.map(|all| &all[row * self.shape.classes..(row + 1) * self.shape.classes])
    }

    fn mixed(&self, row: usize, [a, b]: [f64; 2]) -> Vec<f64> {
        let [one, other] = self.logits_of(row);
        one.iter().zip(other).map(|(one, other)| a * one + b * other).collect()
    }

    /// A row's part of the loss, the gradient and the Hessian.
    fn row(&self, row: usize, counts: [f64; 2]) -> Model {
        match self.shape.kind {
            TaskKind::OneOf => self.row_of_one(row, counts),
            TaskKind::AnyOf | TaskKind::Number => {
                let (mixed, target, logits) =
                    (self.mixed(row, counts), &self.targets[row], self.logits_of(row));
                let hessian = curvature(self.shape.kind, &mixed, logits, (target, self.counts));
                let mut residual = mixed;
                let loss = slopes(self.shape.kind, &mut residual, target, (self.counts, row));
                let along =
                    |logits: &[f64]| residual.iter().zip(logits).map(|(slope, logit)| slope * logit).sum();
                (loss, logits.map(along), hessian)
            }
        }
    }

    fn row_of_one(&self, row: usize, counts: [f64; 2]) -> Model {
        let (mut shares, label, weight) =
            (self.mixed(row, counts), self.targets[row].label(), self.counts.row(row));
        let largest = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let of_label = shares[label] - largest;
        shares.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
        let sum: f64 = shares.iter().sum();
        let logits = self.logits_of(row);
        let (mut means, mut squares) = ([0.0; 2], [0.0; 3]);
        for (class, share) in shares.iter().enumerate() {
            let share = share / sum;
            let [one, other] = logits.map(|logits| logits[class]);
            means[0] += share * one;
            means[1] += share * other;
            squares[0] += share * one * one;
            squares[1] += share * one * other;
            squares[2] += share * other * other;
        }
        let gradient = [0, 1].map(|model| weight * (means[model] - logits[model][label]));
        let [a, b] = means;
        let hessian =
            [squares[0] - a * a, squares[1] - a * b, squares[2] - b * b].map(|value| weight * value);
        (weight * (sum.ln() - of_label), gradient, hessian)
    }

    fn at(&self, counts: [f64; 2]) -> Model {
        let [a, b] = counts;
        let mut loss = 0.5 * PRIOR * ((a - 1.0).powi(2) + b * b);
        let (mut gradient, mut hessian) = ([PRIOR * (a - 1.0), PRIOR * b], [PRIOR, 0.0, PRIOR]);
        for row in 0..self.targets.len() {
            let (part, slope, curvature) = self.row(row, counts);
            loss += part;
            gradient.iter_mut().zip(slope).for_each(|(sum, term)| *sum += term);
            hessian.iter_mut().zip(curvature).for_each(|(sum, term)| *sum += term);
        }
        (loss, gradient, hessian)
    }

    /// Newton's method on the free numbers, each step halved until the loss falls.
    fn descend(&self, free: [bool; 2], start: [f64; 2]) -> Mix {
        let (mut counts, mut model) = (start, self.at(start));
        for _ in 0..STEPS {
            let (loss, gradient, hessian) = model;
            let step = newton(free, gradient, hessian);
            if step.iter().zip(gradient).map(|(step, slope)| (step * slope).abs()).sum::<f64>()
                < 1e-9 * (1.0 + loss)
            {
                break;
            }
            let mut length = 1.0;
            let next = loop {
                let tried = [counts[0] + length * step[0], counts[1] + length * step[1]];
                let found = self.at(tried);
                if found.0 <= loss || length < 1e-6 {
                    break (tried, found);
                }
                length /= 2.0;
            };
            (counts, model) = next;
        }
        Mix { counts, loss: model.0 }
    }
}

/// The step to the minimum of the quadratic model, along the free numbers.
fn newton(free: [bool; 2], gradient: [f64; 2], [aa, ab, bb]: [f64; 3]) -> [f64; 2] {
    match free {
        [true, true] => {
            let determinant = aa * bb - ab * ab;
            [
                (ab * gradient[1] - bb * gradient[0]) / determinant,
                (ab * gradient[0] - aa * gradient[1]) / determinant,
            ]
        }
        [true, false] => [-gradient[0] / aa, 0.0],
        [false, true] => [0.0, -gradient[1] / bb],
        [false, false] => [0.0, 0.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of two classes: the label's is higher by so much, or lower where it is negative.
    fn pairs(one: &[f64], other: &[f64]) -> [Vec<f64>; 2] {
        [one, other].map(|all| all.iter().flat_map(|above| [*above, 0.0]).collect())
    }

    fn best(one: &[f64], other: &[f64], alone: bool) -> (Mix, f64) {
        let logits = pairs(one, other);
        let labels = vec![0; one.len()];
        let pairs = Pairs {
            logits: [&logits[0], &logits[1]],
            targets: &Target::each(&labels),
            counts: &Counts::Alike,
            shape: Shape::one_of(2),
        };
        let mix = pairs.best(alone);
        // No neighbour is better.
        for (da, db) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
            let near = [mix.counts[0] + da, mix.counts[1] + db];
            if near.iter().all(|count| *count >= 0.0) && !(alone && db != 0.0) {
                assert!(pairs.at(near).0 >= mix.loss - 1e-9, "{mix:?} {near:?}");
            }
        }
        (mix, pairs.right(mix.counts).iter().sum())
    }

    #[test]
    fn models_that_know_different_rows_are_both_counted() {
        let one = [2.0, 2.0, 2.0, -0.5, -0.5, 2.0].repeat(10);
        let other = [-0.5, 2.0, 2.0, 2.0, 2.0, -0.5].repeat(10);
        let (mix, right) = best(&one, &other, false);
        assert!(mix.counts[0] > 0.5 && mix.counts[1] > 0.5, "{mix:?}");
        assert_eq!(right, 60.0);
        let (alone, right) = best(&one, &other, true);
        assert!(alone.counts[1] == 0.0 && alone.loss > mix.loss && right == 40.0, "{alone:?}");
    }

    #[test]
    fn a_model_that_is_wrong_counts_nothing_and_is_never_turned_around() {
        let one = [2.0, 1.0, -1.0, 2.0].repeat(20);
        let (mix, _) = best(&one, &[-1.0; 80], false);
        assert_eq!(mix.counts[1], 0.0);
        let (mix, _) = best(&[-1.0; 80], &one, false);
        assert!(mix.counts[0] == 0.0 && mix.counts[1] > 0.1, "{mix:?}");
    }

    #[test]
    fn few_rows_are_not_believed_without_end() {
        let (mix, _) = best(&[3.0; 2], &[3.0; 2], false);
        assert!(mix.counts.iter().all(|count| *count < 2.0), "{mix:?}");
    }

    #[test]
    fn rows_count_as_they_are_weighted() {
        let logits = pairs(&[1.0, -1.0], &[-1.0, 1.0]);
        let of = |weights: &[f64]| {
            let pairs = Pairs {
                logits: [&logits[0], &logits[1]],
                targets: &Target::each(&[0, 0]),
                counts: &Counts::Rows(weights.to_vec()),
                shape: Shape::one_of(2),
            };
            (pairs.best(false).counts, pairs.losses([1.0, 0.0]))
        };
        let (first, losses) = of(&[50.0, 1.0]);
        let (second, _) = of(&[1.0, 50.0]);
        assert!(first[0] > 1.0 && first[1] == 0.0 && second[1] > 1.0, "{first:?} {second:?}");
        assert!((losses[0] - 50.0 * (1.0 + (-1.0_f64).exp()).ln()).abs() < 1e-9);
    }
}
