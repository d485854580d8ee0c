//! Owns the metrics of a task whose answer is several labels or none.
//!
//! Refuses to choose thresholds: it is given them.

use super::classification::{float, ratio, share_error};
use super::reliability::{calibration_error, reliability};
use super::task_metrics::{LabelMetrics, SeveralMetrics, TaskMetrics};

/// Rows with their labels, and what was said of them.
#[derive(Debug, Clone)]
pub struct Tagged<'t> {
    pub labels: &'t [String],
    /// Labels of the rows that training never saw.
    pub unseen: &'t [String],
    /// Per row, places among `labels` and, behind them, `unseen`.
    pub truth: Vec<&'t [u32]>,
    /// `[rows, labels]`.
    pub probabilities: &'t [f32],
    /// Per label, from which probability on it is predicted.
    pub thresholds: &'t [f32],
}

impl Tagged<'_> {
    /// Probability of a label, row by row, and whether the row has it.
    fn of_label(&self, label: usize) -> Vec<(f32, bool)> {
        let wanted = label as u32;
        let said = self.probabilities.iter().skip(label).step_by(self.labels.len().max(1));
        said.zip(&self.truth).map(|(p, truth)| (*p, truth.contains(&wanted))).collect()
    }

    /// Rows whose labels are all predicted, and no other is.
    fn exact(&self) -> u64 {
        let rows = self.probabilities.chunks_exact(self.labels.len().max(1)).zip(&self.truth);
        let exact = |(row, truth): (&[f32], &&[u32])| {
            let mut all = (0..).zip(row.iter().zip(self.thresholds));
            let known = truth.iter().all(|label| (*label as usize) < self.labels.len());
            known && all.all(|(label, (p, least))| (p >= least) == truth.contains(&label))
        };
        rows.filter(|row| exact(*row)).count() as u64
    }

    fn metrics_of(&self, label: usize) -> LabelMetrics {
        let said = self.of_label(label);
        let count = |of: &dyn Fn(&(f32, bool)) -> bool| said.iter().filter(|row| of(row)).count() as u64;
        let least = self.thresholds[label];
        let (rows, predicted) = (count(&|(_, has)| *has), count(&|(p, _)| *p >= least));
        let right = count(&|(p, has)| *has && *p >= least);
        LabelMetrics {
            label: self.labels[label].clone(),
            unseen: false,
            rows,
            precision: ratio(right, predicted),
            recall: ratio(right, rows),
            f1: ratio(2 * right, predicted + rows),
            average_precision: average_precision(said),
            threshold: (least <= 1.0).then_some(f64::from(least)),
        }
    }

    fn of_unseen(&self, place: usize) -> LabelMetrics {
        let label = (self.labels.len() + place) as u32;
        let rows = self.truth.iter().filter(|truth| truth.contains(&label)).count() as u64;
        LabelMetrics {
            label: self.unseen[place].clone(),
            unseen: true,
            rows,
            precision: None,
            recall: ratio(0, rows),
            f1: ratio(0, rows),
            average_precision: None,
            threshold: None,
        }
    }

    /// Every label of every row: its probability, and whether the row has it.
    fn answers(&self) -> impl Iterator<Item = (f64, bool)> {
        let rows = self.probabilities.chunks_exact(self.labels.len().max(1)).zip(&self.truth);
        rows.flat_map(|(row, truth)| (0..).zip(row).map(|(label, p)| (f64::from(*p), truth.contains(&label))))
    }
}

/// Measures predictions of several labels; `scores` is what each row adds to micro-F1.
#[must_use]
pub fn tagging(tagged: &Tagged<'_>, scores: &[f64]) -> TaskMetrics {
    let Tagged { labels, unseen, truth, .. } = tagged;
    let rows = truth.len() as u64;
    let exact = tagged.exact();
    let reliability = reliability(tagged.answers());
    let known = (0..labels.len()).map(|label| tagged.metrics_of(label));
    let per_label: Vec<LabelMetrics> =
        known.chain((0..unseen.len()).map(|place| tagged.of_unseen(place))).collect();
    let of_each = |of: fn(&LabelMetrics) -> Option<f64>| per_label.iter().filter_map(of).collect::<Vec<_>>();
    let f1 = of_each(|label| label.f1);
    let all = (0..labels.len()).flat_map(|label| tagged.of_label(label)).collect();
    TaskMetrics {
        rows,
        accuracy: ratio(exact, rows),
        accuracy_standard_error: share_error(exact, rows),
        macro_f1: mean(&f1),
        ece: calibration_error(&reliability),
        reliability,
        labels: labels.to_vec(),
        unseen: unseen.to_vec(),
        several: Some(SeveralMetrics {
            micro_f1: mean(scores),
            micro_f1_standard_error: mean_error(scores),
            average_precision: mean(&of_each(|label| label.average_precision)),
            micro_average_precision: average_precision(all),
        }),
        per_label,
        ..TaskMetrics::default()
    }
}

/// The mean; none of nothing.
pub(super) fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// The standard error of the mean; none where nothing varies.
pub(super) fn mean_error(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let error = squares.sqrt() / numbers.len() as f64;
    (numbers.len() > 1 && error > 1e-12).then_some(error)
}

/// `Σ (recall − recall before) · precision`, from the most probable row on, equal ones together; none where
/// no row has the label.
fn average_precision(mut said: Vec<(f32, bool)>) -> Option<f64> {
    let all = said.iter().filter(|(_, has)| *has).count() as u64;
    said.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut sum, mut answered, mut right) = (0.0, 0_u64, 0_u64);
    for equal in said.chunk_by(|a, b| a.0 == b.0) {
        let more = equal.iter().filter(|(_, has)| *has).count() as u64;
        (answered, right) = (answered + equal.len() as u64, right + more);
        sum += float(more) * float(right) / float(answered);
    }
    (all > 0).then(|| sum / float(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn figures_are_those_of_scikit_learn() {
        // y = [[1,0,0],[1,1,0],[0,0,0],[0,1,1]], p as below, predicted where p >= .5:
        // f1_score macro (1/2 + 1 + 0) / 3; accuracy_score 1/4;
        // average_precision_score macro (5/6 + 1 + 1/2)/3.
        let labels = names(&["a", "b", "c"]);
        let probabilities = [0.9_f32, 0.2, 0.1, 0.4, 0.8, 0.7, 0.5, 0.1, 0.3, 0.3, 0.6, 0.4];
        let truth: [&[u32]; 4] = [&[0], &[0, 1], &[], &[1, 2]];
        let thresholds = [0.5; 3];
        let tagged = Tagged {
            labels: &labels,
            unseen: &[],
            truth: truth.to_vec(),
            probabilities: &probabilities,
            thresholds: &thresholds,
        };
        let found = tagging(&tagged, &[1.0, 0.5, 0.5, 0.8]);
        let near = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
        };
        near(found.accuracy, 0.25);
        near(found.macro_f1, (0.5 + 1.0 + 0.0) / 3.0);
        let several = found.several.as_ref().unwrap();
        near(several.average_precision, (5.0 / 6.0 + 1.0 + 0.5) / 3.0);
        near(found.score(), 0.7);
        assert_eq!((found.score_name(), found.per_label[1].f1), ("micro-F1", Some(1.0)));
        assert_eq!((found.per_label[2].precision, found.per_label[2].recall), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_label_that_cannot_be_answered_is_missed() {
        let (labels, unseen) = (names(&["a"]), names(&["new"]));
        let truth: [&[u32]; 2] = [&[0, 1], &[]];
        let tagged = Tagged {
            labels: &labels,
            unseen: &unseen,
            truth: truth.to_vec(),
            probabilities: &[0.9, 0.1],
            thresholds: &[0.5],
        };
        let found = tagging(&tagged, &[0.5, 0.5]);
        assert_eq!((found.accuracy, found.macro_f1), (Some(0.5), Some(0.5)));
        assert!(found.per_label[1].unseen && found.per_label[1].rows == 1);
    }

    #[test]
    fn nothing_is_not_zero() {
        let tagged = Tagged { labels: &[], unseen: &[], truth: vec![], probabilities: &[], thresholds: &[] };
        let found = tagging(&tagged, &[]);
        assert_eq!((found.rows, found.accuracy, found.macro_f1, found.score()), (0, None, None, None));
    }
}
