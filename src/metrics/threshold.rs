//! Owns from which probability on a label is answered: the best F1, or what was promised of it, found on rows
//! that the head was not fitted on.
//!
//! A promise is believed only as far as rows allow: one more row, which would be against it, is counted as if
//! it were there. Refuses to promise what rows are too few for: such a label is never answered for precision,
//! and always for recall.

use serde::{Deserialize, Serialize};

use super::limits::NEVER;

/// So many rows with a label count half for its threshold: its log odds are multiplied by n / (n + this).
const PRIOR_ROWS: f64 = 10.0;

/// What is promised of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Promise {
    /// Of every label, the share of the answers that are right …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// … or the share of the rows with it that are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// The share of rows whose number lies within the interval.
    pub interval: f64,
}

impl Default for Promise {
    fn default() -> Self {
        Self { precision: None, recall: None, interval: 0.9 }
    }
}

impl Promise {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found for a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelLimit {
    pub label: String,
    /// The least probability; none where it is never answered.
    pub threshold: Option<f64>,
    /// Rows that truly have it, of those that this was found on.
    pub rows: u64,
    /// What can be promised, where that is less than what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
}

/// Where a label's threshold lies, and what can be promised where that is less than what was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub least: f32,
    pub most: Option<f64>,
}

/// Rows by the probability of a label, the largest first; equal ones stand together.
struct Ranked {
    /// Per distinct probability: it, the rows that have at least it, and how many of these are right.
    steps: Vec<(f32, u64, u64)>,
}

impl Ranked {
    fn new(mut said: Vec<(f32, bool)>) -> Self {
        said.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut all, mut right) = (0, 0);
        let steps = said.chunk_by(|a, b| a.0 == b.0).map(|equal| {
            all += equal.len() as u64;
            right += equal.iter().filter(|(_, right)| *right).count() as u64;
            (equal[0].0, all, right)
        });
        Self { steps: steps.collect() }
    }

    fn right(&self) -> u64 {
        self.steps.last().map_or(0, |(.., right)| *right)
    }
}

/// The threshold for a promise; `said` is, of every row to which the label could be answered, its probability
/// and whether it would be right.
#[must_use]
pub fn promised(promise: Promise, said: Vec<(f32, bool)>) -> Option<Threshold> {
    let ranked = Ranked::new(said);
    match (promise.precision, promise.recall) {
        (Some(precision), _) => Some(for_precision(&ranked, precision)),
        (_, Some(recall)) => Some(for_recall(&ranked, recall)),
        _ => None,
    }
}

/// The least threshold whose answers are right often enough.
fn for_precision(ranked: &Ranked, wanted: f64) -> Threshold {
    let sure = |(_, all, right): &(f32, u64, u64)| *right as f64 / (*all as f64 + 1.0);
    match ranked.steps.iter().rev().find(|step| sure(step) >= wanted) {
        Some((least, ..)) => Threshold { least: *least, most: None },
        None => {
            let most = ranked.steps.iter().map(sure).fold(0.0, f64::max);
            Threshold { least: NEVER, most: Some(most) }
        }
    }
}

/// The highest threshold that finds enough of the rows that have the label.
fn for_recall(ranked: &Ranked, wanted: f64) -> Threshold {
    let rows = ranked.right() as f64;
    let found = |(_, _, right): &(f32, u64, u64)| *right as f64 / (rows + 1.0);
    match ranked.steps.iter().find(|step| found(step) >= wanted) {
        Some((least, ..)) => Threshold { least: *least, most: None },
        None => Threshold { least: 0.0, most: Some(rows / (rows + 1.0)) },
    }
}

/// The threshold with the best F1, half way to the next probability below; drawn towards one half where few
/// rows have the label.
#[must_use]
pub fn best_f1(said: Vec<(f32, bool)>) -> f32 {
    let ranked = Ranked::new(said);
    let rows = ranked.right();
    let f1 = |place: usize| {
        let (_, all, right) = ranked.steps[place];
        2.0 * right as f64 / (all + rows) as f64
    };
    let best = (0..ranked.steps.len()).max_by(|a, b| f1(*a).total_cmp(&f1(*b)).then(b.cmp(a)));
    let Some(best) = best.filter(|_| rows > 0) else { return 0.5 };
    let at = |place: usize| ranked.steps.get(place).map_or(0.0, |step| f64::from(step.0));
    let between = f64::midpoint(at(best), at(best + 1)).clamp(1e-6, 1.0 - 1e-6);
    let odds = (between / (1.0 - between)).ln() * rows as f64 / (rows as f64 + PRIOR_ROWS);
    (1.0 / (1.0 + (-odds).exp())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(probabilities: &[f32], right: &[bool]) -> Vec<(f32, bool)> {
        probabilities.iter().copied().zip(right.iter().copied()).collect()
    }

    #[test]
    fn precision_is_promised_where_rows_are_enough_for_it() {
        let promise = Promise { precision: Some(0.8), ..Promise::default() };
        // 4 of 4 right: at least 4 of 5. With the fifth and sixth, 4 of 7.
        let rows = said(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], &[true, true, true, true, false, false]);
        assert_eq!(promised(promise, rows.clone()), Some(Threshold { least: 0.6, most: None }));
        let more = Promise { precision: Some(0.9), ..promise };
        let found = promised(more, rows).unwrap();
        assert_eq!(found.least, NEVER);
        assert!((found.most.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(promised(promise, Vec::new()), Some(Threshold { least: NEVER, most: Some(0.0) }));
        assert_eq!(promised(Promise::default(), Vec::new()), None);
    }

    #[test]
    fn recall_is_promised_where_rows_are_enough_for_it() {
        let rows = said(&[0.9, 0.8, 0.7, 0.6, 0.5], &[true, false, true, true, true]);
        let of = |recall: f64| {
            promised(Promise { recall: Some(recall), ..Promise::default() }, rows.clone()).unwrap()
        };
        assert_eq!(of(0.6), Threshold { least: 0.6, most: None });
        assert_eq!(of(0.8).least, 0.5);
        assert_eq!(of(0.9), Threshold { least: 0.0, most: Some(0.8) });
    }

    #[test]
    fn the_best_f1_is_drawn_to_one_half_by_few_rows() {
        let rows = |times: usize| -> Vec<(f32, bool)> {
            let once = said(&[0.4, 0.3, 0.1], &[true, true, false]);
            (0..times).flat_map(|_| once.clone()).collect()
        };
        // Between 0.3 and 0.1.
        let (few, many) = (best_f1(rows(1)), best_f1(rows(10_000)));
        assert!((many - 0.2).abs() < 1e-3 && few > 0.4 && few < 0.5, "{few} {many}");
        assert_eq!(best_f1(said(&[0.4], &[false])), 0.5);
    }
}
