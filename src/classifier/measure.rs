//! Owns measuring heads on labelled features, truth against answers, task by task; and how far answers can be
//! believed.
//!
//! Refuses to choose the rows: callers say which.

#[cfg(feature = "train")]
use std::collections::HashSet;

#[cfg(feature = "train")]
use crate::fingerprint::TextKey;
#[cfg(feature = "train")]
use crate::heads::{Believed, OutOfFold};
use crate::heads::{FeatureView, Head};
use crate::metrics::TaskMetrics;
#[cfg(feature = "train")]
use crate::metrics::{LabelLimit, NEVER, Promise, Threshold};
use crate::task::Truth;
#[cfg(feature = "train")]
use crate::task::{Target, TaskKind};

/// Answers of a head to some rows (probabilities of labels, or numbers): `[rows, classes]`, row-major. `features` shows all rows as the head
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
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The head's; of several labels the mean of theirs.
    pub temperature: f64,
    /// Validation rows that say something of it: those whose label it knows.
    pub rows: u64,
    /// Training rows, each said by a head that was fitted without it.
    pub out_of_fold: u64,
    /// From where on labels are answered, where something was found for that.
    pub limits: Vec<LabelLimit>,
}

/// Rows that a head was not fitted on: what is true of them, and its logits.
#[cfg(feature = "train")]
#[derive(Default)]
struct Held {
    targets: Vec<Target>,
    texts: Vec<TextKey>,
    logits: Vec<f32>,
}

/// Gives a head the temperature (`metrics::temperature`) that suits its logits on validation rows and, where
/// these are fewer than `ENOUGH_ROWS`, what was said of training rows out of their fold; and, by what it
/// answers to them then, the limits that were promised: for thresholds all of them count. Nothing, and the
/// head stays as it is, without such rows.
#[cfg(feature = "train")]
pub fn calibrate(
    head: &mut Head,
    features: FeatureView<'_>,
    rows: &Truth,
    out_of_fold: &OutOfFold,
    promise: Promise,
) -> Option<Calibrated> {
    let classes = head.labels.len();
    let Truth { rows, targets, .. } = rows.known(classes);
    let texts = rows.iter().map(|&row| features.text(row)).collect();
    let mut held = Held { targets, texts, logits: vec![0.0; rows.len() * classes] };
    for (out, &row) in held.logits.chunks_exact_mut(classes).zip(&rows) {
        head.logits_of(features, row, out);
    }
    let valid = rows.len();
    let mut found = Calibrated { temperature: 1.0, rows: valid as u64, out_of_fold: 0, limits: Vec::new() };
    if valid < enough_rows(head.kind, promise) {
        held.targets.extend_from_slice(&out_of_fold.targets);
        held.texts.extend_from_slice(&out_of_fold.texts);
        held.logits.extend_from_slice(&out_of_fold.logits);
        found.out_of_fold = out_of_fold.targets.len() as u64;
    }
    if held.targets.is_empty() {
        return None;
    }
    let once = held.each_once(head.kind, classes);
    let mut temperature = head.kind.temperature(classes, &once.targets, &once.logits);
    if out_of_fold.begun && head.kind.has_labels() {
        temperature.iter_mut().for_each(|temperature| *temperature = temperature.max(1.0));
    }
    found.temperature = temperature.iter().sum::<f64>() / temperature.len().max(1) as f64;
    let temperature = temperature.into_iter().map(|temperature| temperature as f32).collect();
    head.believed = Believed::with_temperature(temperature);
    found.limits = limit(head, promise, &once);
    Some(found)
}

/// Gives a calibrated head the thresholds and the interval that were promised, by rows that it was not fitted
/// on; says what was found for each label.
#[cfg(feature = "train")]
fn limit(head: &mut Head, promise: Promise, held: &Held) -> Vec<LabelLimit> {
    let classes = head.labels.len();
    let mut answers = held.logits.clone();
    answers.chunks_exact_mut(classes).for_each(|row| head.calibrated(row));
    let found = head.kind.thresholds(promise, classes, &held.targets, &answers);
    head.believed.thresholds = found.iter().map(|threshold| threshold.least).collect();
    head.believed.interval = head.kind.interval(promise, &held.targets, &answers);
    let rows = |label: usize| {
        let label = label as u32;
        held.targets.iter().filter(|target| target.labels().contains(&label)).count() as u64
    };
    let of_label = |(label, threshold): (usize, &Threshold)| LabelLimit {
        label: head.labels[label].clone(),
        threshold: (threshold.least < NEVER).then_some(f64::from(threshold.least)),
        rows: rows(label),
        most: threshold.most,
    };
    found.iter().enumerate().map(of_label).collect()
}

/// Gives a head of numbers the interval that was promised, by answers to rows that it was not fitted on.
#[cfg(feature = "train")]
pub fn limit_numbers(head: &mut Head, promise: Promise, out_of_fold: &OutOfFold) {
    head.believed.interval = head.kind.interval(promise, &out_of_fold.targets, &out_of_fold.logits);
}

/// Validation rows that are enough: every label has a threshold of its own to find, and rows with it are few.
#[cfg(feature = "train")]
#[must_use]
pub fn enough_rows(kind: TaskKind, promise: Promise) -> usize {
    let thresholds = kind == TaskKind::AnyOf || kind == TaskKind::OneOf && promise.precision.is_some();
    if thresholds { usize::MAX } else { ENOUGH_ROWS }
}

#[cfg(feature = "train")]
impl Held {
    /// Every text once, with each truth that it has: many rows of one text say no more than one. Numbers are
    /// as they are: a promise holds for rows.
    fn each_once(self, kind: TaskKind, classes: usize) -> Self {
        if !kind.has_labels() {
            return self;
        }
        let (mut met, mut once) = (HashSet::new(), Self::default());
        let rows = self.targets.iter().zip(&self.texts).zip(self.logits.chunks_exact(classes));
        for ((target, &text), row) in rows {
            if met.insert((target.labels().to_vec(), text)) {
                once.targets.push(target.clone());
                once.texts.push(text);
                once.logits.extend_from_slice(row);
            }
        }
        once
    }
}

/// What each labelled row adds to the score of a head, whose mean that is.
#[must_use]
pub fn row_scores(head: &Head, features: FeatureView<'_>, rows: &Truth) -> Vec<f64> {
    let answers = probabilities(head, features, &rows.rows);
    head.kind.row_scores(head.believed.limits(), rows, &answers, head.labels.len())
}

/// Measures a head on labelled rows.
#[must_use]
pub fn measure(head: &Head, features: FeatureView<'_>, rows: &Truth) -> TaskMetrics {
    let answers = probabilities(head, features, &rows.rows);
    head.kind.measure((&head.labels, head.believed.limits()), rows, &answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::Believed;
    use crate::task::TaskKind;

    fn head() -> Head {
        Head {
            task: "t".into(),
            kind: TaskKind::OneOf,
            labels: vec!["no".into(), "yes".into()],
            features: 1,
            weights: vec![0.0, 1.0],
            bias: vec![0.0, 0.0],
            believed: Believed::nothing(TaskKind::OneOf, 2),
            words: None,
        }
    }

    fn cells(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| Some((*cell).to_owned()).filter(|cell| !cell.is_empty())).collect()
    }

    #[test]
    fn unlabelled_rows_are_left_out_and_the_rest_measured() {
        let cells = cells(&["yes", "", "no", "no"]);
        let rows = Truth::new(TaskKind::OneOf, &head().labels, &cells, 0..4);
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
        let rows = Truth::new(TaskKind::OneOf, &head().labels, &cells, 0..4);
        assert_eq!(
            (&rows.targets[..], &rows.unseen[..]),
            (&Target::each(&[2, 1, 3, 2])[..], &["maybe".into(), "perhaps".into()][..])
        );
        let names = head().labels;
        let named: Vec<&str> =
            rows.targets.iter().map(|target| rows.name(&names, target.label() as u32)).collect();
        assert_eq!(named, ["maybe", "yes", "perhaps", "maybe"]);
        let features = [1.0, 2.0, 1.0, 1.0];
        let metrics = measure(&head(), FeatureView::whole(&features, 1), &rows);
        assert_eq!((metrics.rows, metrics.accuracy), (4, Some(0.25)));
        assert_eq!(metrics.unseen, ["maybe", "perhaps"]);
        let mut calibrated = head();
        let (view, none) = (FeatureView::whole(&features, 1), OutOfFold::default());
        assert_eq!(calibrate(&mut calibrated, view, &rows, &none, Promise::default()).unwrap().rows, 1);
        let strange = Truth::new(TaskKind::OneOf, &head().labels, &cells, 2..4);
        assert_eq!(calibrate(&mut head(), view, &strange, &none, Promise::default()), None);
    }

    #[cfg(feature = "train")]
    #[test]
    fn a_text_counts_once_and_what_a_head_may_have_seen_makes_it_no_surer() {
        let of = |copies: usize, begun: bool| {
            let cells = cells(&["yes"].repeat(60 * copies));
            let rows = Truth::new(TaskKind::OneOf, &head().labels, &cells, 0..60 * copies);
            let features: Vec<f32> = (0..60 * copies).map(|row| 1.0 + (row % 60) as f32 / 1000.0).collect();
            let out_of_fold = OutOfFold { begun, ..OutOfFold::default() };
            let view = FeatureView::whole(&features, 1);
            calibrate(&mut head(), view, &rows, &out_of_fold, Promise::default()).unwrap().temperature
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
            let rows = Truth::new(TaskKind::OneOf, &head().labels, &cells, 0..valid);
            let logits = (0..training).flat_map(|_| [0.0, 2.0]).collect();
            // Different texts count, even where the same is said of all of them.
            let texts = (0..training).map(|row| TextKey::of(&row.to_string())).collect();
            let out_of_fold =
                OutOfFold { targets: Target::each(&vec![1; training]), texts, logits, begun: false };
            let features: Vec<f32> = (0..valid).map(|row| 1.0 + row as f32 / 10_000.0).collect();
            let mut head = head();
            let view = FeatureView::whole(&features, 1);
            let found = calibrate(&mut head, view, &rows, &out_of_fold, Promise::default()).unwrap();
            assert!((f64::from(head.believed.temperature[0]) - found.temperature).abs() < 1e-6);
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
