//! Owns how far probabilities can be believed: the temperature that calibrates them, and accuracy against
//! coverage.
//!
//! Refuses to choose a threshold: it shows what each would cost.

use serde::{Deserialize, Serialize};

/// Temperatures lie between one over this and this: where every row is right, ever smaller ones are ever
/// better.
const EXTREME: f64 = 20.0;
/// Halvings of the interval of log temperatures: beyond the last digit of an f32.
const HALVINGS: usize = 40;
/// Shares of the rows that [`coverage`] answers.
const SHARES: [f64; 8] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25];

/// What calibration did to a task's probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it.
    pub temperature: f64,
    /// Validation rows it was found on.
    pub rows: u64,
    /// Expected calibration error on the test rows with temperature 1; none without such rows …
    pub ece_before: Option<f64>,
    /// … and with this one.
    pub ece_after: Option<f64>,
}

/// What is answered, and how well, when the least certain rows are not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Rows with at least this probability are answered.
    pub threshold: f64,
    /// Rows that are.
    pub rows: u64,
    /// Their share of all.
    pub coverage: f64,
    /// Share of them that is right.
    pub accuracy: f64,
    /// Share of rows that belong to no label and are not answered, when there are such rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caught: Option<f64>,
}

/// The temperature T that makes softmax(logits / T) most probable (Guo et al. 2017, §4.2): the mean cross
/// entropy is convex in 1 / T, so its slope, mean(Σ p·z − z of the truth), is halved down to zero. `logits`
/// is `[rows, classes]`; 1 without rows.
#[must_use]
pub fn temperature(classes: usize, truth: &[u32], logits: &[f32]) -> f64 {
    if truth.is_empty() {
        return 1.0;
    }
    let slope = |inverse: f64| -> f64 {
        let rows = logits.chunks_exact(classes.max(1)).zip(truth);
        rows.map(|(row, &truth)| expected(row, inverse) - f64::from(row[truth as usize])).sum()
    };
    // Low temperatures (large inverses) punish certain mistakes: there the slope is positive.
    let (mut low, mut high) = (-EXTREME.ln(), EXTREME.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle.exp()) > 0.0 { high = middle } else { low = middle }
    }
    (-f64::midpoint(low, high)).exp()
}

/// Σ p·z for p = softmax(inverse · z).
fn expected(row: &[f32], inverse: f64) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for &logit in row {
        let weight = (inverse * (f64::from(logit) - largest)).exp();
        sum += weight;
        weighted += weight * f64::from(logit);
    }
    weighted / sum
}

/// Accuracy against the share of rows that is answered, from all rows to the most certain quarter.
/// `confidence[row]` is the probability of the predicted label; `strangers` those of rows that belong to no
/// label.
#[must_use]
pub fn coverage(confidence: &[f32], right: &[bool], strangers: &[f32]) -> Vec<Coverage> {
    let mut order: Vec<usize> = (0..confidence.len()).collect();
    order.sort_by(|&a, &b| confidence[b].total_cmp(&confidence[a]));
    let of_share = |share: f64| {
        let wanted = ((share * confidence.len() as f64).round() as usize).clamp(1, confidence.len());
        let threshold = if share < 1.0 { confidence[order[wanted - 1]] } else { 0.0 };
        let answered = order.iter().filter(|&&row| confidence[row] >= threshold);
        let rows = answered.clone().count() as u64;
        let correct = answered.filter(|&&row| right[row]).count() as u64;
        let missed = strangers.iter().filter(|&&certainty| certainty < threshold).count() as u64;
        Coverage {
            threshold: f64::from(threshold),
            rows,
            coverage: ratio(rows, confidence.len() as u64),
            accuracy: ratio(correct, rows),
            caught: (!strangers.is_empty()).then(|| ratio(missed, strangers.len() as u64)),
        }
    };
    if confidence.is_empty() { Vec::new() } else { SHARES.into_iter().map(of_share).collect() }
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean cross entropy at a temperature.
    fn cross_entropy(truth: &[u32], logits: &[f32], temperature: f64) -> f64 {
        let rows = logits.chunks_exact(2).zip(truth).map(|(row, &truth)| {
            let scaled = row.iter().map(|logit| f64::from(*logit) / temperature);
            let sum: f64 = scaled.clone().map(f64::exp).sum();
            sum.ln() - scaled.clone().nth(truth as usize).unwrap()
        });
        rows.sum::<f64>() / truth.len() as f64
    }

    #[test]
    fn the_temperature_is_where_cross_entropy_is_least() {
        // Right three times of four with logits that claim more.
        let logits = [2.0, 0.0, 0.5, 3.0, 4.0, 0.0, 0.0, 2.5];
        let truth = [0, 1, 1, 1];
        let found = temperature(2, &truth, &logits);
        assert!(found > 1.5, "{found}");
        let least = cross_entropy(&truth, &logits, found);
        for factor in [0.99, 1.01] {
            assert!(cross_entropy(&truth, &logits, found * factor) > least);
        }
        // Twice the logits, twice the temperature.
        let twice: Vec<f32> = logits.iter().map(|logit| 2.0 * logit).collect();
        assert!((temperature(2, &truth, &twice) / found - 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_temperature_is_never_extreme() {
        assert_eq!(temperature(2, &[], &[]), 1.0);
        let always_right = temperature(2, &[0, 1], &[1.0, 0.0, 0.0, 1.0]);
        let always_wrong = temperature(2, &[1, 0], &[1.0, 0.0, 0.0, 1.0]);
        assert!((always_right - 0.05).abs() < 1e-6 && (always_wrong - 20.0).abs() < 1e-4);
    }

    #[test]
    fn fewer_answers_are_better_ones_and_strangers_are_caught() {
        let confidence = [0.9, 0.8, 0.7, 0.6];
        let table = coverage(&confidence, &[true, true, false, false], &[0.65, 0.75, 0.95, 0.1]);
        let at = |share: f64| table.iter().find(|row| (row.coverage - share).abs() < 1e-9).unwrap();
        assert_eq!((at(1.0).accuracy, at(1.0).caught), (0.5, Some(0.0)));
        assert_eq!((at(0.5).accuracy, at(0.5).rows), (1.0, 2));
        assert!((at(0.5).threshold - 0.8).abs() < 1e-6);
        assert_eq!(at(0.5).caught, Some(0.75));
        assert!(coverage(&[0.5], &[true], &[]).iter().all(|row| row.caught.is_none() && row.rows == 1));
        assert!(coverage(&[], &[], &[]).is_empty());
    }
}
