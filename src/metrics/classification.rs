//! Owns the metrics of one task from truth and probabilities.

use serde::{Deserialize, Serialize};

/// Bins of the calibration error.
const BINS: usize = 15;
/// Resamples behind the standard error of macro-F1.
const RESAMPLES: usize = 200;

/// How well one task is predicted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskMetrics {
    pub rows: u64,
    pub accuracy: f64,
    /// √(p (1 − p) / rows).
    pub accuracy_standard_error: f64,
    /// Unweighted mean of the F1 of every label that occurs in truth or prediction (as scikit-learn, zero division 0).
    pub macro_f1: f64,
    /// By a seeded bootstrap of 200 resamples of the rows.
    pub macro_f1_standard_error: f64,
    /// Expected calibration error: 15 equal bins of confidence, |accuracy − confidence| weighted by rows (Guo et al. 2017).
    pub ece: f64,
    pub labels: Vec<String>,
    /// `confusion[true][predicted]`, rows.
    pub confusion: Vec<Vec<u64>>,
    pub per_label: Vec<LabelMetrics>,
}

/// How well one label is predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    pub label: String,
    /// Rows that truly have it.
    pub rows: u64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// Measures predictions: `truth[row]` indexes `labels`, `probabilities` is `[rows, labels]`, row-major. The prediction is the
/// most probable label, the first of equals; a row whose probabilities are NaN counts as label 0 with confidence 0.
#[must_use]
pub fn classification(labels: &[String], truth: &[u32], probabilities: &[f32]) -> TaskMetrics {
    let classes = labels.len();
    let predictions: Vec<(usize, f32)> = probabilities.chunks_exact(classes.max(1)).map(best).collect();
    let pairs: Vec<(usize, usize)> =
        truth.iter().zip(&predictions).map(|(truth, (predicted, _))| (*truth as usize, *predicted)).collect();
    let confusion = confusion(classes, pairs.iter().copied());
    let right: u64 = (0..classes).map(|class| confusion[class][class]).sum();
    let rows = pairs.len() as u64;
    let accuracy = ratio(right, rows);
    TaskMetrics {
        rows,
        accuracy,
        accuracy_standard_error: if rows == 0 {
            0.0
        } else {
            (accuracy * (1.0 - accuracy) / float(rows)).sqrt()
        },
        macro_f1: macro_f1(&confusion),
        macro_f1_standard_error: bootstrap(classes, &pairs),
        ece: calibration_error(&pairs, &predictions),
        labels: labels.to_vec(),
        per_label: labels
            .iter()
            .enumerate()
            .map(|(class, label)| of_label(&confusion, class, label))
            .collect(),
        confusion,
    }
}

fn best(row: &[f32]) -> (usize, f32) {
    row.iter().enumerate().fold((0, 0.0), |best, (class, p)| if *p > best.1 { (class, *p) } else { best })
}

fn confusion(classes: usize, pairs: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<u64>> {
    let mut confusion = vec![vec![0; classes]; classes];
    for (truth, predicted) in pairs {
        confusion[truth][predicted] += 1;
    }
    confusion
}

fn of_label(confusion: &[Vec<u64>], class: usize, label: &str) -> LabelMetrics {
    let rows = confusion[class].iter().sum();
    let predicted = confusion.iter().map(|row| row[class]).sum();
    let right = confusion[class][class];
    LabelMetrics {
        label: label.to_owned(),
        rows,
        precision: ratio(right, predicted),
        recall: ratio(right, rows),
        f1: ratio(2 * right, predicted + rows),
    }
}

fn macro_f1(confusion: &[Vec<u64>]) -> f64 {
    let (mut sum, mut occurring) = (0.0, 0_u64);
    for class in 0..confusion.len() {
        let rows: u64 = confusion[class].iter().sum();
        let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
        if rows + predicted > 0 {
            sum += ratio(2 * confusion[class][class], rows + predicted);
            occurring += 1;
        }
    }
    if occurring == 0 { 0.0 } else { sum / float(occurring) }
}

/// Standard deviation of macro-F1 over resamples of the rows with replacement.
fn bootstrap(classes: usize, pairs: &[(usize, usize)]) -> f64 {
    if pairs.is_empty() {
        return 0.0;
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
        .map(|_| macro_f1(&confusion(classes, std::iter::repeat_with(&mut draw).take(pairs.len()))))
        .collect();
    let mean = scores.iter().sum::<f64>() / float(RESAMPLES as u64);
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    (squares / float(RESAMPLES as u64 - 1)).sqrt()
}

fn calibration_error(pairs: &[(usize, usize)], predictions: &[(usize, f32)]) -> f64 {
    let mut bins = [(0_u64, 0.0_f64, 0_u64); BINS];
    for ((truth, predicted), (_, confidence)) in pairs.iter().zip(predictions) {
        let confidence = f64::from(*confidence);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bin's number is between 0 and 15"
        )]
        let bin = ((confidence * float(BINS as u64)).ceil() as usize).clamp(1, BINS) - 1;
        let (rows, sum, right) = &mut bins[bin];
        *rows += 1;
        *sum += confidence;
        *right += u64::from(truth == predicted);
    }
    let all = float(pairs.len().max(1) as u64);
    bins.iter().map(|(_, sum, right)| (float(*right) - sum).abs() / all).sum()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(number: u64) -> f64 {
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
        let metrics = classification(&labels(4), &truth, &probabilities);
        assert_eq!(metrics.rows, 10);
        assert!((metrics.accuracy - 0.7).abs() < 1e-12);
        assert!((metrics.accuracy_standard_error - (0.21_f64 / 10.0).sqrt()).abs() < 1e-12);
        assert!((metrics.macro_f1 - 2.0 / 3.0).abs() < 1e-12, "label 3 never occurs: it does not count");
        let f1: Vec<f64> = metrics.per_label.iter().map(|label| label.f1).collect();
        assert_eq!(f1, [0.75, 0.5, 0.75, 0.0]);
        assert_eq!(metrics.confusion[2], [1, 0, 3, 0]);
        assert_eq!((metrics.per_label[0].precision, metrics.per_label[0].recall), (0.75, 0.75));
        // Confidence .7 everywhere, accuracy .7: perfectly calibrated.
        assert!(metrics.ece < 1e-6);
        assert!(
            (0.05..0.3).contains(&metrics.macro_f1_standard_error),
            "{}",
            metrics.macro_f1_standard_error
        );
        assert_eq!(metrics, classification(&labels(4), &truth, &probabilities), "the bootstrap is seeded");
    }

    #[test]
    fn overconfidence_is_measured() {
        // Two rows at confidence 1 (one right), two at 0.6 (both right): (|1 − 2| + |2 − 1.2|) / 4 = 0.45.
        let probabilities = [1.0, 0.0, 1.0, 0.0, 0.6, 0.4, 0.4, 0.6];
        let metrics = classification(&labels(2), &[0, 1, 0, 1], &probabilities);
        assert!((metrics.ece - 0.45).abs() < 1e-6, "{}", metrics.ece);
    }

    #[test]
    fn no_rows_give_zeros_and_nan_gives_no_panic() {
        let metrics = classification(&labels(2), &[], &[]);
        assert_eq!((metrics.rows, metrics.accuracy, metrics.macro_f1, metrics.ece), (0, 0.0, 0.0, 0.0));
        let metrics = classification(&labels(2), &[1], &[f32::NAN, f32::NAN]);
        assert_eq!(metrics.confusion, [[0, 0], [1, 0]]);
    }

    #[test]
    fn the_first_of_equal_labels_is_predicted() {
        let metrics = classification(&labels(2), &[0], &[0.5, 0.5]);
        assert!((metrics.accuracy - 1.0).abs() < 1e-12);
    }
}
