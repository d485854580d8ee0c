//! Owns what a variant costs a task: both networks' features are judged by heads fitted on the same folds, on
//! rows that these heads have not seen (`selection`); on test rows, by the heads themselves.

use serde::Serialize;

use super::rows::Features;
use crate::classifier::{most_probable, probabilities};
use crate::error::Result;
use crate::heads::{FeatureView, FitOptions, Head};
use crate::selection::{HeldOut, Judging, Loss};
use crate::task::{TaskKind, Truth};

/// What a variant costs one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskCost {
    /// Points lost on rows that were held out.
    #[serde(flatten)]
    pub loss: Loss,
    /// Points that texts lose which were not looked at when the vocabulary was made smaller, in fp32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Loss>,
    /// The score on the test rows by the run, and by the variant's own heads; none without such rows.
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

/// A task's rows with what the run's own head answers, to compare others with.
pub(super) struct Reference<'j> {
    pub judged: &'j Judged<'j>,
    pub judging: Judging<'j>,
    /// To rows that were held out …
    pub before: HeldOut,
    /// … and to the test rows, `[rows, classes]`.
    test: Vec<f32>,
}

impl Judged<'_> {
    /// What the run's head answers; `features` are the run's own.
    ///
    /// # Errors
    /// A fit fails.
    pub fn reference(&self, features: &Features) -> Result<Reference<'_>> {
        let (view, answers) = (features.view(self.task), self.head.answers());
        let judging = match &self.fit {
            Some(fit) => Judging::by_folds(answers, &self.known, view, fit.seed),
            // A head that stays as it is has seen none of the rows.
            None => Judging::unseen(answers, &self.known),
        };
        let before = self.held_out(&judging, view, (self.head, self.fit.as_ref()))?;
        let test = probabilities(self.head, view, &self.test.rows);
        Ok(Reference { judged: self, judging, before, test })
    }

    fn held_out(
        &self,
        judging: &Judging<'_>,
        view: FeatureView<'_>,
        (head, fit): (&Head, Option<&FitOptions>),
    ) -> Result<HeldOut> {
        match fit {
            Some(fit) => judging.fitted(view, fit),
            None => Ok(judging.of(&probabilities(head, view, &self.known.rows))),
        }
    }
}

/// The labels that a head answers; none of a number.
fn answered(head: &Head, answer: &[f32]) -> Vec<usize> {
    let limits = head.believed.limits();
    match head.kind {
        TaskKind::OneOf => vec![most_probable(answer)],
        kind => (0..answer.len()).filter(|label| kind.answers(limits, *label, answer[*label])).collect(),
    }
}

impl TaskCost {
    /// All that is lost: what the gate judges.
    #[must_use]
    pub fn whole(&self) -> Loss {
        self.vocabulary.map_or(self.loss, |vocabulary| self.loss.and(&vocabulary))
    }
}

impl Reference<'_> {
    /// What a variant's features cost; `refitted` is the head on them, and how it is fitted.
    ///
    /// # Errors
    /// A fit fails.
    pub fn cost(&self, variant: &Features, refitted: (&Head, Option<&FitOptions>)) -> Result<TaskCost> {
        let Judged { task, head, test, .. } = self.judged;
        let view = variant.view(*task);
        let loss = self.judged.held_out(&self.judging, view, refitted)?.loss(&self.before);
        let after = probabilities(refitted.0, view, &test.rows);
        let score = |head: &Head, all: &[f32]| {
            head.kind.measure((&head.labels, head.believed.limits()), test, all).score()
        };
        let classes = head.labels.len();
        let pairs = self.test.chunks_exact(classes).zip(after.chunks_exact(classes));
        Ok(TaskCost {
            loss,
            vocabulary: None,
            test_accuracy_fp32: score(head, &self.test),
            test_accuracy: score(refitted.0, &after),
            flipped: pairs.filter(|(a, b)| answered(head, a) != answered(refitted.0, b)).count() as u64,
            test_rows: test.rows.len() as u64,
        })
    }
}
