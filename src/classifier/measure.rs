//! Owns measuring heads on labelled features: truth against probabilities, task by task.
//!
//! Refuses to choose the rows: callers say which.

use crate::data::LabelNames;
use crate::error::{Error, Kind, Result};
use crate::heads::{FeatureView, Head};
use crate::metrics::{TaskMetrics, classification, temperature};

/// The labelled rows of one task: which rows, and the index of each one's label among the head's.
#[derive(Debug, Clone, Default)]
pub struct TaskRows {
    /// Row numbers into the data set (from 0).
    pub rows: Vec<usize>,
    /// Parallel to `rows`.
    pub labels: Vec<u32>,
}

impl TaskRows {
    /// Takes the labelled rows among `rows`; `cells[row]` is the task's cell.
    ///
    /// # Errors
    /// A label the head does not know.
    pub fn new(
        task: &str,
        names: &[String],
        cells: &[Option<String>],
        rows: impl Iterator<Item = usize>,
    ) -> Result<Self> {
        let mut chosen = Self::default();
        let labels = LabelNames::new(names);
        for row in rows {
            let Some(cell) = &cells[row] else { continue };
            let label = labels.index(cell).ok_or_else(|| {
                Error::new(Kind::Table, "a label that training never saw")
                    .row(row as u64 + 1)
                    .column(task)
                    .found(format!("{cell:?}"))
                    .expected(format!("one of {}", some(names)))
                    .help("correct the label, or leave the cell empty to leave the row out of this task")
            })?;
            chosen.rows.push(row);
            chosen.labels.push(u32::try_from(label).unwrap_or(u32::MAX));
        }
        Ok(chosen)
    }
}

/// A list for a message: at most ten names.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 10 { format!("{shown} … ({} in all)", names.len()) } else { shown }
}

/// Probabilities of a head for some rows: `[rows, classes]`, row-major. `features` shows all rows as the head sees them.
#[must_use]
pub fn probabilities(head: &Head, features: FeatureView<'_>, rows: &[usize]) -> Vec<f32> {
    let classes = head.labels.len();
    let mut all = vec![0.0; rows.len() * classes];
    for (out, &row) in all.chunks_exact_mut(classes).zip(rows) {
        head.probabilities(features.row(row), out);
    }
    all
}

/// Gives a head the temperature that makes its probabilities of labelled rows most probable; returns it.
pub fn calibrate(head: &mut Head, features: FeatureView<'_>, rows: &TaskRows) -> f64 {
    let classes = head.labels.len();
    let mut logits = vec![0.0; rows.rows.len() * classes];
    for (out, &row) in logits.chunks_exact_mut(classes).zip(&rows.rows) {
        head.logits(features.row(row), out);
    }
    let found = temperature(classes, &rows.labels, &logits);
    #[expect(clippy::cast_possible_truncation, reason = "the head keeps an f32")]
    let kept = found as f32;
    head.temperature = kept;
    found
}

/// Measures a head on labelled rows.
#[must_use]
pub fn measure(head: &Head, features: FeatureView<'_>, rows: &TaskRows) -> TaskMetrics {
    classification(&head.labels, &rows.labels, &probabilities(head, features, &rows.rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            task: "t".into(),
            labels: vec!["no".into(), "yes".into()],
            features: 1,
            weights: vec![0.0, 1.0],
            bias: vec![0.0, 0.0],
            temperature: 1.0,
        }
    }

    fn cells(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| Some((*cell).to_owned()).filter(|cell| !cell.is_empty())).collect()
    }

    #[test]
    fn unlabelled_rows_are_left_out_and_the_rest_measured() {
        let cells = cells(&["yes", "", "no", "no"]);
        let rows = TaskRows::new("t", &head().labels, &cells, 0..4).unwrap();
        assert_eq!(rows.rows, [0, 2, 3]);
        let metrics = measure(&head(), FeatureView::whole(&[1.0, 9.0, -1.0, 1.0], 1), &rows);
        assert_eq!(metrics.rows, 3);
        assert!((metrics.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(metrics.confusion, [[1, 1], [0, 1]]);
    }

    #[test]
    fn an_unknown_label_is_named_with_its_row() {
        let error =
            TaskRows::new("t", &head().labels, &cells(&["yes", "maybe"]), 0..2).unwrap_err().to_string();
        assert!(error.contains("row 2") && error.contains("maybe") && error.contains("no, yes"), "{error}");
    }
}
