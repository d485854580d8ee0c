//! Owns the metrics of one task from truth and probabilities.

use super::reliability::{calibration_error, reliability};
use super::task_metrics::{LabelMetrics, TaskMetrics};

/// Resamples behind the standard error of macro-F1.
const RESAMPLES: usize = 200;
/// Resamples that differ by less than this do so by rounding.
const NO_DEVIATION: f64 = 1e-12;

/// Measures predictions: `truth[row]` indexes `labels` and, behind them, `unseen`; `probabilities` is `[rows,
/// labels]`, row-major. The prediction is the most probable label, the first of equals; a row whose
/// probabilities are NaN counts as label 0 with confidence 0.
#[must_use]
pub fn classification(
    labels: &[String],
    unseen: &[String],
    truth: &[u32],
    probabilities: &[f32],
) -> TaskMetrics {
    let classes = labels.len();
    let shape = (classes + unseen.len(), classes);
    let predictions: Vec<(usize, f32)> = probabilities.chunks_exact(classes.max(1)).map(best).collect();
    let pairs: Vec<(usize, usize)> =
        truth.iter().zip(&predictions).map(|(truth, (predicted, _))| (*truth as usize, *predicted)).collect();
    let confusion = confusion(shape, pairs.iter().copied());
    let right: u64 = (0..classes).map(|class| confusion[class][class]).sum();
    let rows = pairs.len() as u64;
    let said = pairs.iter().zip(&predictions);
    let reliability =
        reliability(said.map(|((truth, predicted), (_, p))| (f64::from(*p), truth == predicted)));
    TaskMetrics {
        rows,
        accuracy: ratio(right, rows),
        accuracy_standard_error: share_error(right, rows),
        macro_f1: macro_f1(&confusion),
        macro_f1_standard_error: bootstrap(shape, &pairs),
        ece: calibration_error(&reliability),
        reliability,
        labels: labels.to_vec(),
        unseen: unseen.to_vec(),
        per_label: labels
            .iter()
            .chain(unseen)
            .enumerate()
            .map(|(class, label)| of_label(&confusion, class, label))
            .collect(),
        confusion,
        ..TaskMetrics::default()
    }
}

/// The standard error of a share of rows; see [`TaskMetrics::accuracy_standard_error`].
pub(super) fn share_error(part: u64, rows: u64) -> Option<f64> {
    let (part, whole) = match rows {
        0 | 1 => return None,
        _ if part == 0 || part == rows => (float(part) + 1.0, float(rows) + 2.0),
        _ => (float(part), float(rows)),
    };
    let share = part / whole;
    Some((share * (1.0 - share) / whole).sqrt())
}

fn best(row: &[f32]) -> (usize, f32) {
    row.iter().enumerate().fold((0, 0.0), |best, (class, p)| if *p > best.1 { (class, *p) } else { best })
}

/// Rows by truth and prediction; of the shape `(true labels, predicted labels)`.
fn confusion(
    (truths, classes): (usize, usize),
    pairs: impl Iterator<Item = (usize, usize)>,
) -> Vec<Vec<u64>> {
    let mut confusion = vec![vec![0; classes]; truths];
    for (truth, predicted) in pairs {
        confusion[truth][predicted] += 1;
    }
    confusion
}

/// Rows of a class, those for which it is predicted, and those that are both.
fn counts(confusion: &[Vec<u64>], class: usize) -> (u64, u64, u64) {
    let of = |row: &Vec<u64>| row.get(class).copied().unwrap_or(0);
    (confusion[class].iter().sum(), confusion.iter().map(of).sum(), of(&confusion[class]))
}

fn of_label(confusion: &[Vec<u64>], class: usize, label: &str) -> LabelMetrics {
    let (rows, predicted, right) = counts(confusion, class);
    LabelMetrics {
        label: label.to_owned(),
        unseen: class >= confusion[class].len(),
        rows,
        precision: ratio(right, predicted),
        recall: ratio(right, rows),
        f1: ratio(2 * right, predicted + rows),
        average_precision: None,
        threshold: None,
    }
}

fn macro_f1(confusion: &[Vec<u64>]) -> Option<f64> {
    let (mut sum, mut occurring) = (0.0, 0_u64);
    for class in 0..confusion.len() {
        let (rows, predicted, right) = counts(confusion, class);
        if let Some(f1) = ratio(2 * right, rows + predicted) {
            sum += f1;
            occurring += 1;
        }
    }
    (occurring > 0).then(|| sum / float(occurring))
}

/// Standard deviation of macro-F1 over resamples of the rows with replacement; none where there is no
/// deviation.
fn bootstrap(shape: (usize, usize), pairs: &[(usize, usize)]) -> Option<f64> {
    if pairs.len() < 2 {
        return None;
    }
    let mut state = 0x5EED_u64;
    let mut draw = || {
        // SplitMix64 (Steele, Lea, Flood 2014): seeded, so that the same rows always give the same figure.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let wide = u128::from(bits ^ (bits >> 31)) * pairs.len() as u128;
        pairs[usize::try_from(wide >> 64).expect("less than the number of rows: anything else is a bug")]
    };
    let scores: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| macro_f1(&confusion(shape, std::iter::repeat_with(&mut draw).take(pairs.len()))))
        .collect();
    let mean = scores.iter().sum::<f64>() / float(RESAMPLES as u64);
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = (squares / float(RESAMPLES as u64 - 1)).sqrt();
    (deviation > NO_DEVIATION).then_some(deviation)
}

pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|label| label.to_string()).collect()
    }

    /// Made with scikit-learn 1.9.1: truth = [0,0,0,1,1,2,2,2,2,0], prediction = [0,0,1,1,2,2,2,0,2,0];
    /// accuracy_score 0.7; f1_score(average=None) = [0.75, 0.5, 0.75]; macro 2/3;
    /// precision_score = [0.75, 0.5, 0.75]; recall_score = [0.75, 0.5, 0.75].
    #[test]
    fn figures_equal_scikit_learns() {
        let truth = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0];
        let predicted = [0, 0, 1, 1, 2, 2, 2, 0, 2, 0];
        let mut probabilities = vec![0.1_f32; 40];
        for (row, class) in predicted.iter().enumerate() {
            probabilities[row * 4 + class] = 0.7;
        }
        let metrics = classification(&labels(4), &[], &truth, &probabilities);
        assert_eq!(metrics.rows, 10);
        assert!((metrics.accuracy.unwrap() - 0.7).abs() < 1e-12);
        assert!((metrics.accuracy_standard_error.unwrap() - (0.21_f64 / 10.0).sqrt()).abs() < 1e-12);
        assert!(
            (metrics.macro_f1.unwrap() - 2.0 / 3.0).abs() < 1e-12,
            "label 3 never occurs: it does not count"
        );
        let f1: Vec<Option<f64>> = metrics.per_label.iter().map(|label| label.f1).collect();
        assert_eq!(f1, [Some(0.75), Some(0.5), Some(0.75), None]);
        assert_eq!(metrics.confusion[2], [1, 0, 3, 0]);
        assert_eq!((metrics.per_label[0].precision, metrics.per_label[0].recall), (Some(0.75), Some(0.75)));
        // Confidence .7 everywhere, accuracy .7: perfectly calibrated.
        assert!(metrics.ece.unwrap() < 1e-6);
        let error = metrics.macro_f1_standard_error.unwrap();
        assert!((0.05..0.3).contains(&error), "{error}");
        assert_eq!(
            metrics,
            classification(&labels(4), &[], &truth, &probabilities),
            "the bootstrap is seeded"
        );
    }

    #[test]
    fn overconfidence_is_measured() {
        // Two rows at confidence 1 (one right), two at 0.6 (both right): (|1 − 2| + |2 − 1.2|) / 4 = 0.45.
        let probabilities = [1.0, 0.0, 1.0, 0.0, 0.6, 0.4, 0.4, 0.6];
        let metrics = classification(&labels(2), &[], &[0, 1, 0, 1], &probabilities);
        assert!((metrics.ece.unwrap() - 0.45).abs() < 1e-6, "{metrics:?}");
    }

    #[test]
    fn no_rows_give_no_figures_and_nan_gives_no_panic() {
        let metrics = classification(&labels(2), &[], &[], &[]);
        assert_eq!((metrics.rows, metrics.accuracy, metrics.macro_f1, metrics.ece), (0, None, None, None));
        assert_eq!((metrics.accuracy_standard_error, metrics.macro_f1_standard_error), (None, None));
        assert!(
            metrics
                .per_label
                .iter()
                .all(|label| (label.precision, label.recall, label.f1) == (None, None, None))
        );
        let metrics = classification(&labels(2), &[], &[1], &[f32::NAN, f32::NAN]);
        assert_eq!(metrics.confusion, [[0, 0], [1, 0]]);
    }

    #[test]
    fn an_error_is_never_0_by_luck() {
        let of = |rows: usize, wrong: usize| {
            let probabilities: Vec<f32> =
                (0..rows).flat_map(|row| if row < wrong { [0.1, 0.9] } else { [0.9, 0.1] }).collect();
            classification(&labels(2), &[], &vec![0; rows], &probabilities)
        };
        // One row has no error of its own.
        assert_eq!((of(1, 0).accuracy, of(1, 0).accuracy_standard_error), (Some(1.0), None));
        // Ten of ten: as eleven of twelve.
        let likely = 11.0_f64 / 12.0;
        for wrong in [0, 10] {
            let all = of(10, wrong);
            let error = all.accuracy_standard_error.unwrap();
            assert!((error - (likely * (1.0 - likely) / 12.0).sqrt()).abs() < 1e-12, "{error}");
            assert_eq!(all.macro_f1_standard_error, None, "every resample is the same");
        }
        assert!(of(10, 1).accuracy_standard_error > of(10, 0).accuracy_standard_error);
    }

    /// By hand, as scikit-learn defines it (zero division 0): 2 · 2 / (2 + 4), 2 · 1 / (2 + 2) and 0, their
    /// mean 7/18.
    #[test]
    fn a_label_that_training_never_saw_counts_as_wrong() {
        let predicted = [0, 0, 1, 0, 0, 1];
        let probabilities: Vec<f32> =
            predicted.iter().flat_map(|class| if *class == 0 { [0.8, 0.2] } else { [0.2, 0.8] }).collect();
        let metrics = classification(&labels(2), &["new".into()], &[0, 0, 1, 1, 2, 2], &probabilities);
        assert_eq!((metrics.rows, metrics.accuracy), (6, Some(0.5)));
        assert!((metrics.macro_f1.unwrap() - 7.0 / 18.0).abs() < 1e-12);
        assert_eq!(metrics.confusion, [[2, 0], [1, 1], [1, 1]]);
        let new = &metrics.per_label[2];
        assert_eq!((new.label.as_str(), new.unseen, new.rows), ("new", true, 2));
        assert_eq!((new.precision, new.recall, new.f1), (None, Some(0.0), Some(0.0)));
        assert!(!metrics.per_label[1].unseen);
        // Six rows at confidence 0.8, three of them right.
        assert!((metrics.ece.unwrap() - 0.3).abs() < 1e-6, "{metrics:?}");
    }

    #[test]
    fn the_first_of_equal_labels_is_predicted() {
        let metrics = classification(&labels(2), &[], &[0], &[0.5, 0.5]);
        assert_eq!(metrics.accuracy, Some(1.0));
    }
}
