//! Owns what a variant costs a task: both networks' features are judged by heads fitted on the same folds, on rows that these
//! heads have not seen.
//!
//! Refuses to judge by the training rows' own predictions: a head knows those.

use serde::Serialize;

use super::rows::Features;
use crate::classifier::{TaskRows, most_probable, probabilities};
use crate::error::Result;
use crate::heads::{self, Examples, FitOptions, Head};
use crate::metrics::classification;

/// What a variant costs one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskCost {
    /// Rows that were held out: all labelled training and validation rows.
    pub rows: u64,
    /// Points of accuracy lost on them …
    pub accuracy_drop: f64,
    /// … with the standard error of the difference, row by row …
    pub standard_error: f64,
    /// … and points of macro-F1.
    pub macro_f1_drop: f64,
    /// Accuracy on the test rows by the run, and by the variant's own heads.
    pub test_accuracy_fp32: f64,
    pub test_accuracy: f64,
    /// Test rows that get another label.
    pub flipped: u64,
    pub test_rows: u64,
}

/// A task's rows.
pub(super) struct Judged<'j> {
    /// Its place among the heads.
    pub task: usize,
    pub head: &'j Head,
    /// Training and validation rows.
    pub known: TaskRows,
    pub test: TaskRows,
    /// How its head is fitted; none for a head that stays as it is.
    pub fit: Option<FitOptions>,
}

impl Judged<'_> {
    /// Compares a variant's features with the run's; `refitted` is the head on the variant's features.
    pub fn cost(&self, exact: &Features, variant: &Features, refitted: &Head) -> Result<TaskCost> {
        let [before, after] =
            [(exact, self.head), (variant, refitted)].map(|(features, head)| self.held_out(features, head));
        let (before, after) = (before?, after?);
        let classes = self.head.labels.len();
        let right = |all: &[f32]| -> Vec<f64> {
            let rows = all.chunks_exact(classes).zip(&self.known.labels);
            rows.map(|(row, &label)| if most_probable(row) == label as usize { 1.0 } else { 0.0 }).collect()
        };
        let lost: Vec<f64> = right(&before).iter().zip(right(&after)).map(|(a, b)| a - b).collect();
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        let count = lost.len().max(1) as f64;
        let mean = lost.iter().sum::<f64>() / count;
        let spread = lost.iter().map(|own| (own - mean).powi(2)).sum::<f64>();
        let f1 = |all: &[f32]| classification(&self.head.labels, &self.known.labels, all).macro_f1;
        let [exact_test, variant_test] = [(exact, self.head), (variant, refitted)]
            .map(|(features, head)| probabilities(head, features.view(self.task), &self.test.rows));
        let accuracy = |all: &[f32]| classification(&self.head.labels, &self.test.labels, all).accuracy;
        let pairs = exact_test.chunks_exact(classes).zip(variant_test.chunks_exact(classes));
        Ok(TaskCost {
            rows: lost.len() as u64,
            accuracy_drop: 100.0 * mean,
            standard_error: 100.0 * spread.sqrt() / count,
            macro_f1_drop: 100.0 * (f1(&before) - f1(&after)),
            test_accuracy_fp32: accuracy(&exact_test),
            test_accuracy: accuracy(&variant_test),
            flipped: pairs.filter(|(a, b)| most_probable(a) != most_probable(b)).count() as u64,
            test_rows: self.test.rows.len() as u64,
        })
    }

    /// Probabilities of the known rows `[rows, classes]`, each by a head that has not seen it.
    fn held_out(&self, features: &Features, head: &Head) -> Result<Vec<f32>> {
        let view = features.view(self.task);
        let Some(fit) = &self.fit else {
            return Ok(probabilities(head, view, &self.known.rows));
        };
        let classes = head.labels.len();
        let folds = heads::folds(&self.known.labels, classes, fit.seed);
        let alone = |label: u32| self.known.labels.iter().filter(|own| **own == label).count() < 2;
        let alone: Vec<bool> =
            (0..classes).map(|class| alone(u32::try_from(class).unwrap_or(u32::MAX))).collect();
        let mut all = vec![0.0; self.known.rows.len() * classes];
        for fold in 0..=folds.iter().copied().max().unwrap_or(0) {
            // A class with a single row stays inside: no head can do without it.
            let (outside, inside): (Vec<usize>, Vec<usize>) =
                (0..folds.len()).partition(|&place| folds[place] == fold);
            let kept = outside.iter().filter(|&&place| alone[self.known.labels[place] as usize]);
            let (rows, labels): (Vec<usize>, Vec<u32>) = inside
                .iter()
                .chain(kept)
                .map(|&place| (self.known.rows[place], self.known.labels[place]))
                .unzip();
            let examples = Examples { features: view, rows: &rows, labels: &labels };
            let (fitted, _) = heads::fit(&head.task, &head.labels, &examples, fit)?;
            for place in outside {
                let own = &mut all[place * classes..(place + 1) * classes];
                fitted.probabilities(view.row(self.known.rows[place]), own);
            }
        }
        Ok(all)
    }
}
