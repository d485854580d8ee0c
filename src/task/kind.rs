//! Owns the kinds of tasks, and asks each for what is its own.

use serde::{Deserialize, Serialize};

use super::one_of;
use super::truth::Truth;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::TaskMetrics;

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

    /// A task's loss in a training graph, a scalar: of logits and targets, both of the type `rows`, `[batch,
    /// classes]`. `named` makes the names of values.
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

    /// Writes a row's target `[classes]`, which is zeros before: what it loses is multiplied by `count`.
    pub fn put_target(self, label: u32, count: f32, target: &mut [f32]) {
        match self {
            Self::OneOf => target[label as usize] = count,
        }
    }

    /// What an answer `[classes]` adds to the score of its rows, whose mean that is.
    #[must_use]
    pub fn row_score(self, answer: &[f32], label: u32) -> f64 {
        match self {
            Self::OneOf => one_of::row_score(answer, label),
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

    /// What logits `[rows, classes]` are to be divided by so that answers can be believed.
    #[must_use]
    pub fn temperature(self, classes: usize, truth: &Truth, logits: &[f32]) -> f64 {
        match self {
            Self::OneOf => one_of::temperature(classes, truth, logits),
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
