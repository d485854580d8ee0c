//! Owns measuring heads on labelled features: truth against probabilities, task by task.
//!
//! Refuses to choose the rows: callers say which.

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
        head.probabilities(features.row(row), out);
    }
    all
}

/// Gives a head the temperature that makes its probabilities of labelled rows most probable; returns it with
/// the number of rows that say something of it: those whose label it knows. Nothing without such rows.
pub fn calibrate(head: &mut Head, features: FeatureView<'_>, rows: &Truth) -> Option<(f64, u64)> {
    let classes = head.labels.len();
    let rows = rows.known(classes);
    if rows.rows.is_empty() {
        return None;
    }
    let mut logits = vec![0.0; rows.rows.len() * classes];
    for (out, &row) in logits.chunks_exact_mut(classes).zip(&rows.rows) {
        head.logits(features.row(row), out);
    }
    let found = head.kind.temperature(classes, &rows, &logits);
    let kept = found as f32;
    head.temperature = kept;
    Some((found, rows.rows.len() as u64))
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
        let (_, used) = calibrate(&mut calibrated, FeatureView::whole(&features, 1), &rows).unwrap();
        assert_eq!(used, 1);
        let strange = Truth::new(&head().labels, &cells, 2..4);
        assert_eq!(calibrate(&mut head(), FeatureView::whole(&features, 1), &strange), None);
    }
}
