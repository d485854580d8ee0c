//! Owns the figures of a task, whatever its kind, and which of them is its score.
//!
//! Refuses to find them.

use serde::{Deserialize, Serialize};

use super::reliability::Reliability;

/// How well one task is predicted. What cannot be measured is `None`: without rows there is no accuracy, and
/// not one of 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// Labelled rows, those with an unseen label included.
    pub rows: u64,
    pub accuracy: Option<f64>,
    /// √(p (1 − p) / rows). Where all rows are right, or all are wrong, of one more right and one more wrong
    /// row: few rows that are all right do not say that there is no error. None for a single row.
    pub accuracy_standard_error: Option<f64>,
    /// Unweighted mean of the F1 of every label that occurs in truth or prediction (as scikit-learn, zero
    /// division 0). A label that training never saw occurs in the truth: it counts, with an F1 of 0.
    pub macro_f1: Option<f64>,
    /// By a seeded bootstrap of 200 resamples of the rows; none where all of them come to the same.
    pub macro_f1_standard_error: Option<f64>,
    /// Expected calibration error: 15 equal bins of confidence, |accuracy − confidence| weighted by rows (Guo
    /// et al. 2017). A row with an unseen label is a wrong one.
    pub ece: Option<f64>,
    /// Rows by their confidence, in those bins; of several labels, every label of every row by its probability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reliability: Vec<Reliability>,
    /// The labels that can be predicted.
    pub labels: Vec<String>,
    /// Labels of the rows that training never saw: whatever is predicted is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// `confusion[true][predicted]`, rows: a line for each of `labels`, then one for each of `unseen`.
    pub confusion: Vec<Vec<u64>>,
    /// In the same order.
    pub per_label: Vec<LabelMetrics>,
    /// Of a task whose answer is several labels or none: accuracy is then the share of rows whose labels are
    /// all right, and no other label is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub several: Option<SeveralMetrics>,
    /// Of a task whose answer is a number: there are neither labels nor what is counted of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberMetrics>,
}

impl TaskMetrics {
    /// The one figure that early stopping, gates and recommendations go by, more is better; none without
    /// rows: accuracy, micro-F1 where several labels can be true, R² of numbers.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        match (&self.several, &self.number) {
            (Some(several), _) => several.micro_f1,
            (_, Some(number)) => number.r_squared,
            _ => self.accuracy,
        }
    }

    /// The standard error of [`Self::score`].
    #[must_use]
    pub fn score_error(&self) -> Option<f64> {
        match (&self.several, &self.number) {
            (Some(several), _) => several.micro_f1_standard_error,
            (_, Some(number)) => number.r_squared_standard_error,
            _ => self.accuracy_standard_error,
        }
    }

    /// What the score is called.
    #[must_use]
    pub fn score_name(&self) -> &'static str {
        match (&self.several, &self.number) {
            (Some(_), _) => "micro-F1",
            (_, Some(_)) => "R²",
            _ => "accuracy",
        }
    }
}

/// How well one label is predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    pub label: String,
    /// Training never saw it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// Rows that truly have it.
    pub rows: u64,
    /// None where it is never predicted.
    pub precision: Option<f64>,
    /// None where no row has it.
    pub recall: Option<f64>,
    /// None where it neither occurs nor is predicted.
    pub f1: Option<f64>,
    /// Of a label beside others: the area under precision against recall, step by step; none where no row
    /// has it …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// … and from which probability on it is predicted; none where it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// How well several labels are predicted, beside what [`TaskMetrics`] says of all tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeveralMetrics {
    /// F1 of all labels of all rows together.
    pub micro_f1: Option<f64>,
    /// By the delta method, row by row.
    pub micro_f1_standard_error: Option<f64>,
    /// Mean over the labels that a row has (as scikit-learn).
    pub average_precision: Option<f64>,
    /// Of all labels of all rows together.
    pub micro_average_precision: Option<f64>,
}

/// How well numbers are predicted. What cannot be measured is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberMetrics {
    /// 1 − mean squared error / variance of the truth.
    pub r_squared: Option<f64>,
    /// Row by row, the variance taken as it is.
    pub r_squared_standard_error: Option<f64>,
    /// Mean absolute error …
    pub mae: Option<f64>,
    pub mae_standard_error: Option<f64>,
    /// … and the root of the mean squared one.
    pub rmse: Option<f64>,
    /// Correlation of ranks, equal numbers sharing theirs; none where one side is all alike.
    pub spearman: Option<f64>,
    /// What became of the promise how far answers may be off, where one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalMetrics>,
}

/// Whether the truth lies where it was promised to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntervalMetrics {
    /// The share of rows that was promised to be no further away …
    pub level: f64,
    /// … than this …
    pub width: f64,
    /// … and the share that is.
    pub coverage: Option<f64>,
    pub coverage_standard_error: Option<f64>,
}
