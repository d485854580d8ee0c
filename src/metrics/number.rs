//! Owns the metrics of a task whose answer is a number.

use super::classification::{float, share_error};
use super::several::{mean, mean_error};
use super::task_metrics::{IntervalMetrics, NumberMetrics, TaskMetrics};

/// Measures answers against numbers; `interval` is the level and the width that are promised, `scores` what
/// each row adds to R².
#[must_use]
pub fn regression(
    truth: &[f64],
    answers: &[f32],
    interval: Option<(f64, f64)>,
    scores: &[f64],
) -> TaskMetrics {
    let off: Vec<f64> =
        truth.iter().zip(answers).map(|(truth, said)| (f64::from(*said) - truth).abs()).collect();
    let squares: Vec<f64> = off.iter().map(|off| off * off).collect();
    let rows = truth.len() as u64;
    let covered = |(level, width): (f64, f64)| {
        // The width is kept in single precision.
        let inside = off.iter().filter(|off| **off <= width * (1.0 + 1e-6)).count() as u64;
        IntervalMetrics {
            level,
            width,
            coverage: (rows > 0).then(|| float(inside) / float(rows)),
            coverage_standard_error: share_error(inside, rows),
        }
    };
    let number = NumberMetrics {
        r_squared: mean(scores),
        r_squared_standard_error: mean_error(scores),
        mae: mean(&off),
        mae_standard_error: mean_error(&off),
        rmse: mean(&squares).map(f64::sqrt),
        spearman: spearman(truth, answers),
        interval: interval.map(covered),
    };
    TaskMetrics { rows, number: Some(number), ..TaskMetrics::default() }
}

/// The correlation of ranks.
fn spearman(truth: &[f64], answers: &[f32]) -> Option<f64> {
    let answers: Vec<f64> = answers.iter().map(|said| f64::from(*said)).collect();
    let (one, other) = (ranks(truth), ranks(&answers));
    let middle = (float(truth.len() as u64) - 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum() };
    let spread = (product(&one, &one) * product(&other, &other)).sqrt();
    (spread > 0.0).then(|| product(&one, &other) / spread)
}

/// The rank of each number, from 0; equal ones have the mean of theirs.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let (mut ranks, mut first) = (vec![0.0; numbers.len()], 0);
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let mean = float((2 * first + equal.len() - 1) as u64) / 2.0;
        equal.iter().for_each(|&place| ranks[place] = mean);
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_scikit_learn_and_scipy() {
        // mean_absolute_error, mean_squared_error, scipy.stats.spearmanr.
        let (truth, answers) = ([1.0, 2.0, 2.0, 5.0], [1.5_f32, 1.0, 3.0, 4.0]);
        let found = regression(&truth, &answers, Some((0.5, 0.75)), &[0.5, 0.7]);
        let number = found.number.as_ref().unwrap();
        let near = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
        };
        near(number.mae, 0.875);
        near(number.rmse, (3.25_f64 / 4.0).sqrt());
        near(number.spearman, 0.632_455_532_033_675_9);
        near(found.score(), 0.6);
        let interval = number.interval.unwrap();
        assert_eq!((interval.coverage, found.score_name()), (Some(0.25), "R²"));
    }

    #[test]
    fn nothing_and_constants_are_not_zero() {
        let number = |truth: &[f64], answers: &[f32]| regression(truth, answers, None, &[]).number.unwrap();
        let nothing = number(&[], &[]);
        assert_eq!((nothing.mae, nothing.r_squared, nothing.spearman), (None, None, None));
        assert_eq!(number(&[1.0, 1.0], &[1.0, 2.0]).spearman, None);
    }
}
