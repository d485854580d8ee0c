//! Owns how far probabilities can be believed: the temperature that calibrates them, and accuracy against
//! coverage.
//!
//! Refuses to choose a threshold: it shows what each would cost; and to change probabilities where that does
//! not help on rows that it was not found on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::limits::Interval;
use super::threshold::LabelLimit;

/// Temperatures lie between one over this and this: where every row is right, ever smaller ones are ever
/// better.
const EXTREME: f64 = 20.0;
/// Halvings of the interval of log temperatures: beyond the last digit of an f32.
const HALVINGS: usize = 40;
/// So many rows count half: the logarithm of a temperature found on n rows is multiplied by n / (n + this).
/// With 100 no table of 60 to 400 rows became worse by .02 (`docs/LOG.md`, 2026-11-28).
const PRIOR_ROWS: f64 = 100.0;
/// Parts into which rows are divided to find out whether a temperature helps.
const PARTS: usize = 3;
/// Shares of the rows that [`coverage`] answers.
const SHARES: [f64; 8] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25];

/// What calibration did to a task's probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it; 1 where none helped. Of several labels, the mean of theirs.
    pub temperature: f64,
    /// Validation rows it was found on.
    pub rows: u64,
    /// Training rows it was found on too, each by a head that was fitted without it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out_of_fold: u64,
    /// Expected calibration error on the test rows with temperature 1; none without such rows …
    pub ece_before: Option<f64>,
    /// … and with this one.
    pub ece_after: Option<f64>,
    /// From where on each label is answered, where something was found for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LabelLimit>,
    /// How far numbers may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// What is answered, and how well, when the least certain rows are not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Rows with at least this probability are answered; none where each label has its own threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
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

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A row's logits, and its label.
type Row<'l> = (&'l [f32], u32);

/// What logits are to be divided by, found on rows that the head was not fitted on: the most probable
/// temperature, drawn towards 1 where rows are few. It is 1 unless temperatures found in the same way on two
/// thirds of the rows lower the cross entropy of the last third, by more than one standard error, row by row.
/// `logits` is `[rows, classes]`; 1 without rows.
#[must_use]
pub fn temperature(classes: usize, truth: &[u32], logits: &[f32]) -> f64 {
    let rows: Vec<Row<'_>> = logits.chunks_exact(classes.max(1)).zip(truth.iter().copied()).collect();
    let parts = parts(truth);
    let part = |number: usize, inside: bool| -> Vec<Row<'_>> {
        let those = rows.iter().zip(&parts).filter(|(_, part)| (**part == number) == inside);
        those.map(|(row, _)| *row).collect()
    };
    let mut gains = Vec::with_capacity(rows.len());
    for number in 0..PARTS {
        let found = drawn_to_one(&part(number, false));
        let gain = |row: &Row<'_>| cross_entropy(*row, 1.0) - cross_entropy(*row, found);
        gains.extend(part(number, true).iter().map(gain));
    }
    if helps(&gains) { drawn_to_one(&rows) } else { 1.0 }
}

/// The part of each row: every class is divided alike.
fn parts(truth: &[u32]) -> Vec<usize> {
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let part = |label: &u32| {
        let before = seen.entry(*label).or_insert(0);
        *before += 1;
        (*before - 1) % PARTS
    };
    truth.iter().map(part).collect()
}

/// Whether the mean is above 0 by more than its standard error.
fn helps(gains: &[f64]) -> bool {
    let count = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / count;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / count;
    mean > (variance / count).sqrt()
}

/// The most probable temperature, as far as so many rows can be believed.
fn drawn_to_one(rows: &[Row<'_>]) -> f64 {
    let count = rows.len() as f64;
    (most_probable(rows).ln() * count / (count + PRIOR_ROWS)).exp()
}

/// The temperature T that makes softmax(logits / T) most probable (Guo et al. 2017, §4.2): the mean cross
/// entropy is convex in 1 / T, so its slope, mean(Σ p·z − z of the truth), is halved down to zero. 1 without
/// rows.
fn most_probable(rows: &[Row<'_>]) -> f64 {
    if rows.is_empty() {
        return 1.0;
    }
    let slope = |inverse: f64| -> f64 {
        rows.iter().map(|(row, truth)| expected(row, inverse) - f64::from(row[*truth as usize])).sum()
    };
    // Low temperatures (large inverses) punish certain mistakes: there the slope is positive.
    let (mut low, mut high) = (-EXTREME.ln(), EXTREME.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle.exp()) > 0.0 { high = middle } else { low = middle }
    }
    (-f64::midpoint(low, high)).exp()
}

/// −log of the probability of the truth.
fn cross_entropy((row, truth): Row<'_>, temperature: f64) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let below = |logit: f32| (f64::from(logit) - largest) / temperature;
    row.iter().map(|logit| below(*logit).exp()).sum::<f64>().ln() - below(row[truth as usize])
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
        let answered: Vec<bool> = confidence.iter().map(|certainty| *certainty >= threshold).collect();
        let missed: Vec<bool> = strangers.iter().map(|certainty| *certainty < threshold).collect();
        Coverage { threshold: Some(f64::from(threshold)), ..answered_only(&answered, right, &missed) }
    };
    if confidence.is_empty() { Vec::new() } else { SHARES.into_iter().map(of_share).collect() }
}

/// What is answered, and how well, where that is decided for each row; `missed` are rows that belong to no
/// label and are not.
#[must_use]
pub fn answered_only(answered: &[bool], right: &[bool], missed: &[bool]) -> Coverage {
    let count = |rows: &mut dyn Iterator<Item = bool>| rows.filter(|is| *is).count() as u64;
    let rows = count(&mut answered.iter().copied());
    let correct = count(&mut answered.iter().zip(right).map(|(answered, right)| *answered && *right));
    let caught = count(&mut missed.iter().copied());
    Coverage {
        threshold: None,
        rows,
        coverage: ratio(rows, answered.len() as u64),
        accuracy: ratio(correct, rows),
        caught: (!missed.is_empty()).then(|| ratio(caught, missed.len() as u64)),
    }
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two classes with logits `[claim, 0]`; one of `of` is not of the first.
    fn claims(count: usize, claim: f32, of: usize) -> (Vec<u32>, Vec<f32>) {
        ((0..count).map(|row| u32::from(row % of == 0)).collect(), [claim, 0.0].repeat(count))
    }

    fn rows<'l>(truth: &[u32], logits: &'l [f32]) -> Vec<Row<'l>> {
        logits.chunks_exact(2).zip(truth.iter().copied()).collect()
    }

    fn mean_cross_entropy(rows: &[Row<'_>], temperature: f64) -> f64 {
        rows.iter().map(|row| cross_entropy(*row, temperature)).sum::<f64>() / rows.len() as f64
    }

    #[test]
    fn the_most_probable_temperature_is_where_cross_entropy_is_least() {
        // Right three times of four with logits that claim more.
        let (logits, truth) = ([2.0, 0.0, 0.5, 3.0, 4.0, 0.0, 0.0, 2.5], [0, 1, 1, 1]);
        let found = most_probable(&rows(&truth, &logits));
        assert!(found > 1.5, "{found}");
        let least = mean_cross_entropy(&rows(&truth, &logits), found);
        for factor in [0.99, 1.01] {
            assert!(mean_cross_entropy(&rows(&truth, &logits), found * factor) > least);
        }
        // Twice the logits, twice the temperature.
        let twice: Vec<f32> = logits.iter().map(|logit| 2.0 * logit).collect();
        assert!((most_probable(&rows(&truth, &twice)) / found - 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_temperature_is_never_extreme() {
        assert_eq!(most_probable(&[]), 1.0);
        let logits = [1.0, 0.0, 0.0, 1.0];
        let always_right = most_probable(&rows(&[0, 1], &logits));
        let always_wrong = most_probable(&rows(&[1, 0], &logits));
        assert!((always_right - 0.05).abs() < 1e-6 && (always_wrong - 20.0).abs() < 1e-4);
    }

    #[test]
    fn few_rows_move_the_temperature_little_and_many_all_the_way() {
        // Four of five are right, where e⁴ / (1 + e⁴) = .982 is claimed: it would be right at 4 / ln 4.
        let whole = (4.0 / 4.0_f64.ln()).ln();
        for (count, share) in [(100, 0.5), (300, 0.75), (9900, 0.99)] {
            let (truth, logits) = claims(count, 4.0, 5);
            let found = temperature(2, &truth, &logits);
            assert!((found.ln() - share * whole).abs() < 1e-6, "{count} rows: {found}");
        }
    }

    #[test]
    fn what_would_hurt_on_other_rows_is_not_applied() {
        assert_eq!(temperature(2, &[], &[]), 1.0);
        // Honest claims: 3 of 4 are right where e^1.1 / (1 + e^1.1) = .75 is claimed.
        let (truth, logits) = claims(400, 1.0986, 4);
        assert_eq!(temperature(2, &truth, &logits), 1.0);
        // Five rows of six are right: by luck, as far as a third of them can tell.
        let logits = [1.0, 0.0].repeat(6);
        let truth = [0, 0, 0, 0, 0, 1];
        assert!(most_probable(&rows(&truth, &logits)) < 0.7);
        assert_eq!(temperature(2, &truth, &logits), 1.0);
    }

    #[test]
    fn fewer_answers_are_better_ones_and_strangers_are_caught() {
        let confidence = [0.9, 0.8, 0.7, 0.6];
        let table = coverage(&confidence, &[true, true, false, false], &[0.65, 0.75, 0.95, 0.1]);
        let at = |share: f64| table.iter().find(|row| (row.coverage - share).abs() < 1e-9).unwrap();
        assert_eq!((at(1.0).accuracy, at(1.0).caught), (0.5, Some(0.0)));
        assert_eq!((at(0.5).accuracy, at(0.5).rows), (1.0, 2));
        assert!((at(0.5).threshold.unwrap() - 0.8).abs() < 1e-6);
        assert_eq!(at(0.5).caught, Some(0.75));
        assert!(coverage(&[0.5], &[true], &[]).iter().all(|row| row.caught.is_none() && row.rows == 1));
        assert!(coverage(&[], &[], &[]).is_empty());
    }
}
