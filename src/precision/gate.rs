//! Owns what a variant costs a task: both networks' features are judged by heads fitted on the same folds, on
//! rows that these heads have not seen (`selection`); on test rows, by the heads themselves.

use serde::Serialize;

use super::rows::Features;
use crate::classifier::{most_probable, probabilities};
use crate::error::Result;
use crate::heads::{FitOptions, Head};
use crate::selection::{HeldOut, Judging, Loss};
use crate::task::Truth;

/// What a variant costs one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskCost {
    /// Points lost on rows that were held out.
    #[serde(flatten)]
    pub loss: Loss,
    /// Accuracy on the test rows by the run, and by the variant's own heads; none without such rows.
    pub test_accuracy_fp32: Option<f64>,
    pub test_accuracy: Option<f64>,
    /// Test rows that get another label.
    pub flipped: u64,
    pub test_rows: u64,
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
        let judging = self.judging(exact);
        let [before, after] = [(exact, self.head), (variant, refitted)]
            .map(|(features, head)| self.held_out(&judging, features, head));
        let loss = after?.loss(&before?);
        let classes = self.head.labels.len();
        let [exact_test, variant_test] = [(exact, self.head), (variant, refitted)]
            .map(|(features, head)| probabilities(head, features.view(self.task), &self.test.rows));
        let score = |all: &[f32]| self.head.kind.measure(&self.head.labels, &self.test, all).score();
        let pairs = exact_test.chunks_exact(classes).zip(variant_test.chunks_exact(classes));
        Ok(TaskCost {
            loss,
            test_accuracy_fp32: score(&exact_test),
            test_accuracy: score(&variant_test),
            flipped: pairs.filter(|(a, b)| most_probable(a) != most_probable(b)).count() as u64,
            test_rows: self.test.rows.len() as u64,
        })
    }

    /// A head that stays as it is has seen none of the rows.
    fn judging(&self, features: &Features) -> Judging<'_> {
        match &self.fit {
            Some(fit) => {
                Judging::by_folds(self.head.answers(), &self.known, features.view(self.task), fit.seed)
            }
            None => Judging::unseen(self.head.answers(), &self.known),
        }
    }

    fn held_out(&self, judging: &Judging<'_>, features: &Features, head: &Head) -> Result<HeldOut> {
        let view = features.view(self.task);
        match &self.fit {
            Some(fit) => judging.fitted(view, fit),
            None => Ok(judging.of(&probabilities(head, view, &self.known.rows))),
        }
    }
}
