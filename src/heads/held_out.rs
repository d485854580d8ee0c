//! Owns how well parameters do on rows that they were not fitted on: which are right, and what their
//! probabilities are worth once they are calibrated.
//!
//! Refuses to count the size of logits for or against a penalty: before anybody reads a probability, a
//! temperature divides them (`metrics::temperature`), here the best of a grid (Guo et al. 2017, §4.2).

use ndarray::Array2;

use super::loss::{loss_at, right};
use super::objective::{Problem, logits};
use crate::task::TaskKind;

/// Temperatures are powers of the fourth root of 2, with these exponents: from 1/16 to 16.
const EXPONENTS: std::ops::RangeInclusive<i32> = -16..=16;

/// How well parameters do on rows, as they are weighted; no penalty.
#[derive(Debug)]
pub(super) struct Score {
    /// Per temperature: the mean cross entropy.
    pub losses: Vec<f64>,
    /// Per row: its share of all weight where its label is the most probable, 0 where it is not; their sum is
    /// the accuracy.
    pub right: Vec<f64>,
}

/// Scores parameters `[features + 1, classes]`.
pub(super) fn score(problem: &Problem<'_>, parameters: &Array2<f64>) -> Score {
    let inverses: Vec<f64> = EXPONENTS.map(|exponent| (-f64::from(exponent) / 4.0).exp2()).collect();
    let (all, shares) = (logits(problem, parameters), problem.shares());
    let (shape, targets) = (problem.shape, problem.examples.targets);
    let mut losses = vec![0.0; inverses.len()];
    for (place, (row, target)) in all.rows().into_iter().zip(targets).enumerate() {
        match shape.kind {
            TaskKind::OneOf => {
                let best =
                    (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
                // How far each logit is below the largest.
                let below: Vec<f64> = row.iter().map(|logit| logit - row[best]).collect();
                for (loss, inverse) in losses.iter_mut().zip(&inverses) {
                    let sum: f64 = below.iter().map(|below| (inverse * below).exp()).sum();
                    *loss += shares[place] * (sum.ln() - inverse * below[target.label()]);
                }
            }
            TaskKind::AnyOf => {
                let row = row.to_vec();
                for (loss, inverse) in losses.iter_mut().zip(&inverses) {
                    let counted = (&problem.counts, place, *inverse);
                    *loss += shares[place] * loss_at(shape.kind, &row, target, counted);
                }
            }
            TaskKind::Number => {
                let lost = loss_at(shape.kind, &row.to_vec(), target, (&problem.counts, place, 1.0));
                losses.iter_mut().for_each(|loss| *loss += shares[place] * lost);
            }
        }
    }
    let flat: Vec<f64> = all.iter().copied().collect();
    Score { losses, right: right(shape, &flat, targets, &shares) }
}

/// The mean cross entropy of folds that count the same, at the temperature that is best for all of them.
pub(super) fn calibrated_loss<'s>(folds: impl ExactSizeIterator<Item = &'s Score> + Clone) -> f64 {
    let at = |place: usize| folds.clone().map(|fold| fold.losses[place]).sum::<f64>() / folds.len() as f64;
    (0..EXPONENTS.count()).map(at).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::class_weight::Counts;
    use crate::heads::standardize::Scaler;
    use crate::heads::{Examples, FeatureView, Shape};
    use crate::task::Target;

    /// The score of a head with this weight on one feature, `-weight` for the first label, `weight` for the
    /// second.
    fn scored(features: &[f32], labels: &[u32], weights: Option<Vec<f64>>, weight: f64) -> Score {
        let rows: Vec<usize> = (0..labels.len()).collect();
        let examples = Examples {
            features: FeatureView::whole(features, 1),
            rows: &rows,
            targets: &Target::each(labels),
        };
        let scaler = &Scaler::none(1);
        let counts = weights.map_or(Counts::Alike, Counts::Rows);
        let problem = Problem {
            examples,
            scaler,
            shape: Shape::one_of(2),
            counts,
            there: None,
            precision: 1e-4,
            threads: 1,
        };
        score(&problem, &ndarray::array![[-weight, weight], [0.0, 0.0]])
    }

    /// The loss at temperature 1.
    fn plain(scored: &Score) -> f64 {
        scored.losses[EXPONENTS.into_iter().position(|exponent| exponent == 0).unwrap()]
    }

    #[test]
    fn known_values() {
        let even = scored(&[0.0, 0.0], &[0, 1], None, 1.0);
        assert_eq!(even.right, [0.5, 0.0], "the first class wins a tie");
        assert!(even.losses.iter().all(|loss| (loss - 2.0_f64.ln()).abs() < 1e-12));
        let weighted = scored(&[0.0, 1.0], &[0, 1], Some(vec![3.0, 1.0]), 0.5);
        assert_eq!(weighted.right, [0.75, 0.25]);
        let expected = 0.75 * 2.0_f64.ln() + 0.25 * (1.0 + (-1.0_f64).exp()).ln();
        assert!((plain(&weighted) - expected).abs() < 1e-12);
    }

    #[test]
    fn the_size_of_logits_does_not_count_once_they_are_calibrated() {
        // Right three times of four: the best probability is 3/4, whatever the head claims.
        let of = |weight: f64| scored(&[1.0, 1.0, -1.0, 1.0], &[1, 1, 0, 0], None, weight);
        let entropy = 0.75 * (4.0_f64 / 3.0).ln() + 0.25 * 4.0_f64.ln();
        for weight in [0.1, 0.5, 4.0] {
            let loss = calibrated_loss([&of(weight)].into_iter());
            assert!((loss - entropy).abs() < 2e-3 && loss >= entropy, "{weight}: {loss} {entropy}");
        }
        assert!(plain(&of(4.0)) > 3.0 * entropy && plain(&of(0.1)) > 1.1 * entropy);
        // Folds have one temperature together, not each its own.
        let (modest, bold) = (of(0.5), of(4.0));
        let together = calibrated_loss([&modest, &bold].into_iter());
        assert!(together > entropy + 0.01, "{together}");
    }
}
