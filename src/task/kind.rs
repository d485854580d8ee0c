//! Owns the kinds of tasks, and asks each for what is its own.

use serde::{Deserialize, Serialize};

use super::one_of;
use super::truth::Truth;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::{self, TaskMetrics};

/// What a task's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One of several labels: probabilities that add up to 1.
    #[default]
    OneOf,
}

impl TaskKind {
    /// Whether it is the kind that files do not name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The link: logits `[classes]` → the answer `[classes]`.
    pub fn link(self, logits: &mut [f32]) {
        match self {
            Self::OneOf => one_of::softmax(logits),
        }
    }

    /// The link as the node that ends a deployed graph: its input and output are `[batch, classes]`.
    #[must_use]
    pub fn tail(self, logits: &Value) -> Operation {
        match self {
            Self::OneOf => one_of::tail(logits),
        }
    }

    /// A task's loss in a training graph, a scalar: of logits, of the type `rows`, `[batch, classes]`, and
    /// targets `[batch, target_width]`. `named` makes the names of values.
    ///
    /// # Errors
    /// A name is taken.
    pub fn loss(
        self,
        graph: &mut Builder,
        [logits, targets]: [&Value; 2],
        rows: &ValueType,
        named: &dyn Fn(&str) -> String,
    ) -> Result<Value> {
        match self {
            Self::OneOf => one_of::loss(graph, [logits, targets], rows, named),
        }
    }

    /// Numbers in a row's target.
    #[must_use]
    pub fn target_width(self, classes: usize) -> usize {
        match self {
            Self::OneOf => classes,
        }
    }

    /// Writes the target of a row of the truth, `[target_width]`, which is zeros before, as it is of a row
    /// without truth: so that the row loses nothing. `weights` is what each class counts.
    pub fn put_target(self, truth: &Truth, place: usize, weights: &[f32], target: &mut [f32]) {
        match self {
            Self::OneOf => one_of::put_target(truth.labels[place], weights, target),
        }
    }

    /// What the answer `[classes]` to a row of the truth adds to the score of the rows, whose mean that is.
    #[must_use]
    pub fn row_score(self, answer: &[f32], truth: &Truth, place: usize) -> f64 {
        match self {
            Self::OneOf => one_of::row_score(answer, truth.labels[place]),
        }
    }

    /// The fewest labels that make sense.
    #[must_use]
    pub fn least_labels(self) -> usize {
        match self {
            Self::OneOf => 2,
        }
    }

    /// Measures answers `[rows, classes]` against the truth of as many rows; `labels` are those that can be
    /// answered.
    #[must_use]
    pub fn measure(self, labels: &[String], truth: &Truth, answers: &[f32]) -> TaskMetrics {
        match self {
            Self::OneOf => one_of::measure(labels, truth, answers),
        }
    }

    /// What logits `[rows, classes]` of rows with these labels are to be divided by so that answers can be
    /// believed.
    #[must_use]
    pub fn temperature(self, classes: usize, labels: &[u32], logits: &[f32]) -> f64 {
        match self {
            Self::OneOf => metrics::temperature(classes, labels, logits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_name_in_files() {
        assert_eq!(serde_json::to_string(&TaskKind::OneOf).unwrap(), "\"one-of\"");
        assert!(TaskKind::OneOf.is_default());
    }
}
