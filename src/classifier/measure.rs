//! Owns measuring heads on labelled features: truth against probabilities, task by task.
//!
//! Refuses to choose the rows: callers say which.

#[cfg(feature = "train")]
use std::collections::HashSet;

#[cfg(feature = "train")]
use crate::fingerprint::TextKey;
#[cfg(feature = "train")]
use crate::heads::OutOfFold;
use crate::heads::{FeatureView, Head};
use crate::metrics::TaskMetrics;
use crate::task::Truth;

/// Probabilities of a head for some rows: `[rows, classes]`, row-major. `features` shows all rows as the head
/// sees them.
#[must_use]
pub fn probabilities(head: &Head, features: FeatureView<'_>, rows: &[usize]) -> Vec<f32> {
    let classes = head.labels.len();
    let mut all = vec![0.0; rows.len() * classes];
    for (out, &row) in all.chunks_exact_mut(classes).zip(rows) {
        head.probabilities_of(features, row, out);
    }
    all
}

/// Validation rows that are enough to calibrate on: with so many, no training row is held out for it.
#[cfg(feature = "train")]
pub const ENOUGH_ROWS: usize = 1000;

/// What a head was calibrated on, and with what result.
#[cfg(feature = "train")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibrated {
    pub temperature: f64,
    /// Validation rows that say something of it: those whose label it knows.
    pub rows: u64,
    /// Training rows, each said by a head that was fitted without it.
    pub out_of_fold: u64,
}

/// Gives a head the temperature (`metrics::temperature`) that suits its logits on validation rows and, where
/// these are fewer than [`ENOUGH_ROWS`], what was said of training rows out of their fold. Nothing, and the
/// head stays as it is, without such rows.
#[cfg(feature = "train")]
pub fn calibrate(
    head: &mut Head,
    features: FeatureView<'_>,
    rows: &Truth,
    out_of_fold: &OutOfFold,
) -> Option<Calibrated> {
    let classes = head.labels.len();
    let mut truth = rows.known(classes);
    let mut logits = vec![0.0; truth.rows.len() * classes];
    for (out, &row) in logits.chunks_exact_mut(classes).zip(&truth.rows) {
        head.logits_of(features, row, out);
    }
    let mut texts: Vec<TextKey> = truth.rows.iter().map(|&row| features.text(row)).collect();
    let mut found = Calibrated { temperature: 1.0, rows: truth.rows.len() as u64, out_of_fold: 0 };
    if truth.rows.len() < ENOUGH_ROWS {
        truth.labels.extend_from_slice(&out_of_fold.labels);
        logits.extend_from_slice(&out_of_fold.logits);
        texts.extend_from_slice(&out_of_fold.texts);
        found.out_of_fold = out_of_fold.labels.len() as u64;
    }
    if truth.labels.is_empty() {
        return None;
    }
    let (labels, logits) = each_once(&truth.labels, &texts, &logits);
    let temperature = head.kind.temperature(classes, &labels, &logits);
    found.temperature = if out_of_fold.begun { temperature.max(1.0) } else { temperature };
    let kept = found.temperature as f32;
    head.temperature = kept;
    Some(found)
}

/// Every text once, with each label that it has: many rows of one text say no more than one.
#[cfg(feature = "train")]
fn each_once(labels: &[u32], texts: &[TextKey], logits: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let classes = logits.len() / labels.len();
    let (mut met, mut once) = (HashSet::new(), (Vec::new(), Vec::new()));
    for ((&label, &text), row) in labels.iter().zip(texts).zip(logits.chunks_exact(classes)) {
        if met.insert((label, text)) {
            once.0.push(label);
            once.1.extend_from_slice(row);
        }
    }
    once
}

/// What each labelled row adds to the score of a head, whose mean that is.
#[must_use]
pub fn row_scores(head: &Head, features: FeatureView<'_>, rows: &Truth) -> Vec<f64> {
    let answers = probabilities(head, features, &rows.rows);
    let answers = answers.chunks_exact(head.labels.len()).enumerate();
    answers.map(|(place, answer)| head.kind.row_score(answer, rows, place)).collect()
}

/// Measures a head on labelled rows.
#[must_use]
pub fn measure(head: &Head, features: FeatureView<'_>, rows: &Truth) -> TaskMetrics {
    head.kind.measure(&head.labels, rows, &probabilities(head, features, &rows.rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;

    fn head() -> Head {
        Head {
            task: "t".into(),
            kind: TaskKind::OneOf,
            labels: vec!["no".into(), "yes".into()],
            features: 1,
            weights: vec![0.0, 1.0],
            bias: vec![0.0, 0.0],
            temperature: 1.0,
            words: None,
        }
    }

    fn cells(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| Some((*cell).to_owned()).filter(|cell| !cell.is_empty())).collect()
    }

    #[test]
    fn unlabelled_rows_are_left_out_and_the_rest_measured() {
        let cells = cells(&["yes", "", "no", "no"]);
        let rows = Truth::new(&head().labels, &cells, 0..4);
        assert_eq!(rows.rows, [0, 2, 3]);
        let metrics = measure(&head(), FeatureView::whole(&[1.0, 9.0, -1.0, 1.0], 1), &rows);
        assert_eq!(metrics.rows, 3);
        assert!((metrics.accuracy.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(metrics.confusion, [[1, 1], [0, 1]]);
    }

    #[cfg(feature = "train")]
    #[test]
    fn labels_that_the_head_does_not_know_are_wrong_and_calibrate_nothing() {
        let cells = cells(&["maybe", "yes", "perhaps", "maybe"]);
        let rows = Truth::new(&head().labels, &cells, 0..4);
        assert_eq!(
            (&rows.labels[..], &rows.unseen[..]),
            (&[2, 1, 3, 2][..], &["maybe".into(), "perhaps".into()][..])
        );
        let names = head().labels;
        let named: Vec<&str> = rows.labels.iter().map(|label| rows.name(&names, *label)).collect();
        assert_eq!(named, ["maybe", "yes", "perhaps", "maybe"]);
        let features = [1.0, 2.0, 1.0, 1.0];
        let metrics = measure(&head(), FeatureView::whole(&features, 1), &rows);
        assert_eq!((metrics.rows, metrics.accuracy), (4, Some(0.25)));
        assert_eq!(metrics.unseen, ["maybe", "perhaps"]);
        let mut calibrated = head();
        let (view, none) = (FeatureView::whole(&features, 1), OutOfFold::default());
        assert_eq!(calibrate(&mut calibrated, view, &rows, &none).unwrap().rows, 1);
        let strange = Truth::new(&head().labels, &cells, 2..4);
        assert_eq!(calibrate(&mut head(), view, &strange, &none), None);
    }

    #[cfg(feature = "train")]
    #[test]
    fn a_text_counts_once_and_what_a_head_may_have_seen_makes_it_no_surer() {
        let of = |copies: usize, begun: bool| {
            let cells = cells(&["yes"].repeat(60 * copies));
            let rows = Truth::new(&head().labels, &cells, 0..60 * copies);
            let features: Vec<f32> = (0..60 * copies).map(|row| 1.0 + (row % 60) as f32 / 1000.0).collect();
            let out_of_fold = OutOfFold { begun, ..OutOfFold::default() };
            let view = FeatureView::whole(&features, 1);
            calibrate(&mut head(), view, &rows, &out_of_fold).unwrap().temperature
        };
        assert!(of(1, false) < 0.5);
        assert_eq!(of(20, false), of(1, false));
        assert_eq!(of(20, true), 1.0);
    }

    #[cfg(feature = "train")]
    #[test]
    fn training_rows_out_of_their_fold_count_as_long_as_validation_rows_are_few() {
        // Always right: the temperature falls as far as so many rows can be believed.
        let at = |valid: usize, training: usize| {
            let cells = cells(&["yes"].repeat(valid));
            let rows = Truth::new(&head().labels, &cells, 0..valid);
            let logits = (0..training).flat_map(|_| [0.0, 2.0]).collect();
            // Different texts count, even where the same is said of all of them.
            let texts = (0..training).map(|row| TextKey::of(&row.to_string())).collect();
            let out_of_fold = OutOfFold { labels: vec![1; training], texts, logits, begun: false };
            let features: Vec<f32> = (0..valid).map(|row| 1.0 + row as f32 / 10_000.0).collect();
            let mut head = head();
            let found = calibrate(&mut head, FeatureView::whole(&features, 1), &rows, &out_of_fold).unwrap();
            assert!((f64::from(head.temperature) - found.temperature).abs() < 1e-6);
            (found.rows, found.out_of_fold, found.temperature)
        };
        let expected = |count: f64| (0.05_f64.ln() * count / (count + 100.0)).exp();
        for (valid, training, used) in [(10, 0, 0), (10, 90, 90), (0, 50, 50), (999, 1, 1), (1000, 500, 0)] {
            let (rows, out_of_fold, temperature) = at(valid, training);
            assert_eq!((rows, out_of_fold), (valid as u64, used as u64));
            let expected = expected((valid + used) as f64);
            assert!((temperature - expected).abs() < 1e-6, "{valid} {training}: {temperature} {expected}");
        }
    }
}
