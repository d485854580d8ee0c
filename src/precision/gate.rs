//! Owns what a variant costs a task: both networks' features are judged by heads fitted on the same folds, on
//! rows that these heads have not seen.
//!
//! Refuses to judge by the training rows' own predictions: a head knows those.

use serde::Serialize;

use super::rows::Features;
use crate::classifier::{most_probable, probabilities};
use crate::error::Result;
use crate::heads::{self, Examples, FitOptions, Head};
use crate::task::Truth;

/// What a variant costs one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskCost {
    /// Rows that were held out: all labelled training and validation rows but those of classes with a single
    /// one, which no head can do without.
    pub rows: u64,
    /// Points of accuracy lost on them; none without such rows …
    pub accuracy_drop: Option<f64>,
    /// … with the standard error of the difference, row by row; none where all rows differ alike, as where
    /// none does …
    pub standard_error: Option<f64>,
    /// … and points of macro-F1.
    pub macro_f1_drop: Option<f64>,
    /// Accuracy on the test rows by the run, and by the variant's own heads; none without such rows.
    pub test_accuracy_fp32: Option<f64>,
    pub test_accuracy: Option<f64>,
    /// Test rows that get another label.
    pub flipped: u64,
    pub test_rows: u64,
}

impl TaskCost {
    /// Points lost, of accuracy or macro-F1, whichever lost more; none where nothing could be measured.
    #[must_use]
    pub fn lost(&self) -> Option<f64> {
        Some(self.accuracy_drop?.max(self.macro_f1_drop?))
    }
}

/// A task's rows.
pub(super) struct Judged<'j> {
    /// Its place among the heads.
    pub task: usize,
    pub head: &'j Head,
    /// Training and validation rows whose label the head knows: the others are wrong before and after.
    pub known: Truth,
    pub test: Truth,
    /// How its head is fitted; none for a head that stays as it is.
    pub fit: Option<FitOptions>,
}

impl Judged<'_> {
    /// Compares a variant's features with the run's; `refitted` is the head on the variant's features.
    pub fn cost(&self, exact: &Features, variant: &Features, refitted: &Head) -> Result<TaskCost> {
        let folds = self.folds(exact);
        let [before, after] = [(exact, self.head), (variant, refitted)]
            .map(|(features, head)| self.held_out(features, head, &folds));
        let (before, after) = (before?, after?);
        let classes = self.head.labels.len();
        let judged = |row: &usize| folds[*row] != heads::NO_FOLD;
        let truth = self.known.only((0..folds.len()).filter(judged));
        let of_judged = |all: &[f32]| -> Vec<f32> {
            let rows = (0..folds.len()).filter(judged);
            rows.flat_map(|row| &all[row * classes..(row + 1) * classes]).copied().collect()
        };
        let (before, after) = (of_judged(&before), of_judged(&after));
        let scores = |all: &[f32]| -> Vec<f64> {
            let rows = all.chunks_exact(classes).enumerate();
            rows.map(|(place, row)| self.head.kind.row_score(row, &truth, place)).collect()
        };
        let lost: Vec<f64> = scores(&before).iter().zip(scores(&after)).map(|(a, b)| a - b).collect();
        let count = lost.len().max(1) as f64;
        let mean = lost.iter().sum::<f64>() / count;
        let spread = lost.iter().map(|drop| (drop - mean).powi(2)).sum::<f64>();
        let measure = |truth: &Truth, all: &[f32]| self.head.kind.measure(&self.head.labels, truth, all);
        let f1 = |all: &[f32]| measure(&truth, all).macro_f1;
        let [exact_test, variant_test] = [(exact, self.head), (variant, refitted)]
            .map(|(features, head)| probabilities(head, features.view(self.task), &self.test.rows));
        let score = |all: &[f32]| measure(&self.test, all).score();
        let pairs = exact_test.chunks_exact(classes).zip(variant_test.chunks_exact(classes));
        Ok(TaskCost {
            rows: lost.len() as u64,
            accuracy_drop: (!lost.is_empty()).then_some(100.0 * mean),
            standard_error: Some(100.0 * spread.sqrt() / count).filter(|error| *error > 0.0),
            macro_f1_drop: f1(&before).zip(f1(&after)).map(|(before, after)| 100.0 * (before - after)),
            test_accuracy_fp32: score(&exact_test),
            test_accuracy: score(&variant_test),
            flipped: pairs.filter(|(a, b)| most_probable(a) != most_probable(b)).count() as u64,
            test_rows: self.test.rows.len() as u64,
        })
    }

    /// The fold in which each known row is held out; a head that stays as it is has seen none of them.
    fn folds(&self, features: &Features) -> Vec<usize> {
        let Truth { rows, labels, .. } = &self.known;
        match &self.fit {
            Some(fit) => {
                let examples = Examples { features: features.view(self.task), rows, labels };
                heads::text_folds(&examples, self.head.labels.len(), fit.seed)
            }
            None => vec![0; labels.len()],
        }
    }

    /// Probabilities of the known rows `[rows, classes]`, each by a head that has not seen it; zeros for a
    /// row that is never held out.
    fn held_out(&self, features: &Features, head: &Head, folds: &[usize]) -> Result<Vec<f32>> {
        let view = features.view(self.task);
        let Some(fit) = &self.fit else {
            return Ok(probabilities(head, view, &self.known.rows));
        };
        let classes = head.labels.len();
        let mut all = vec![0.0; self.known.rows.len() * classes];
        for fold in 0..heads::NO_FOLD {
            let (outside, inside): (Vec<usize>, Vec<usize>) =
                (0..folds.len()).partition(|&place| folds[place] == fold);
            if outside.is_empty() {
                continue;
            }
            let (rows, labels): (Vec<usize>, Vec<u32>) =
                inside.iter().map(|&place| (self.known.rows[place], self.known.labels[place])).unzip();
            let examples = Examples { features: view, rows: &rows, labels: &labels };
            let (fitted, _) = heads::fit(head.answers(), &examples, fit)?;
            for place in outside {
                let shares = &mut all[place * classes..(place + 1) * classes];
                fitted.probabilities(view.row(self.known.rows[place]), shares);
            }
        }
        Ok(all)
    }
}
