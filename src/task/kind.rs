//! Owns the kinds of tasks, and asks each for what is its own.

use serde::{Deserialize, Serialize};

use super::target::Target;
use super::truth::Truth;
use super::{any_of, number, one_of};
use crate::data::CellForm;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::{Interval, Limits, Promise, TaskMetrics, Threshold};

/// What a task's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One of several labels: probabilities that add up to 1.
    #[default]
    OneOf,
    /// Several labels, or none: a probability each.
    AnyOf,
    /// A number.
    Number,
}

impl TaskKind {
    /// Whether it is the kind that files do not name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What its answers are called in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneOf => "one-of",
            Self::AnyOf => "any-of",
            Self::Number => "number",
        }
    }

    /// How the cells of its column are read; `separator` stands between labels in a text.
    #[must_use]
    pub fn form(self, separator: &str) -> CellForm {
        match self {
            Self::OneOf => CellForm::Label,
            Self::AnyOf => CellForm::Labels { separator: separator.to_owned() },
            Self::Number => CellForm::Number,
        }
    }

    /// The link: logits `[classes]` → the answer `[classes]`.
    pub fn link(self, logits: &mut [f32]) {
        match self {
            Self::OneOf => one_of::softmax(logits),
            Self::AnyOf => any_of::sigmoids(logits),
            Self::Number => {}
        }
    }

    /// The link as the node that ends a deployed graph: its input and output are `[batch, classes]`.
    #[must_use]
    pub fn tail(self, logits: &Value) -> Operation {
        match self {
            Self::OneOf => one_of::tail(logits),
            Self::AnyOf => Operation::new("Sigmoid", &[logits]),
            Self::Number => Operation::new("Identity", &[logits]),
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
            Self::AnyOf => any_of::loss(graph, [logits, targets], rows, named),
            Self::Number => number::loss(graph, [logits, targets], rows, named),
        }
    }

    /// Numbers in a row's target.
    #[must_use]
    pub fn target_width(self, classes: usize) -> usize {
        match self {
            Self::OneOf => classes,
            // What it counts, and what is wanted.
            Self::AnyOf | Self::Number => 2 * classes,
        }
    }

    /// Writes the target of a row, `[target_width]`, which is zeros before, as it is of a row without truth:
    /// so that the row loses nothing. `weights` is what each class counts, where the row has it and where it
    /// has not.
    pub fn put_target(self, of_row: &Target, weights: &[[f32; 2]], target: &mut [f32]) {
        match self {
            Self::OneOf => one_of::put_target(of_row.label(), weights, target),
            Self::AnyOf => any_of::put_target(of_row.labels(), weights, target),
            Self::Number => number::put_target(of_row.number(), weights, target),
        }
    }

    /// What the answers `[rows, classes]` to the rows of the truth add to the score, each: the score is their
    /// mean.
    #[must_use]
    pub fn row_scores(self, limits: Limits<'_>, truth: &Truth, answers: &[f32], classes: usize) -> Vec<f64> {
        let answers = || answers.chunks_exact(classes.max(1));
        let targets = &truth.targets;
        match self {
            Self::OneOf => {
                let pairs = answers().zip(targets);
                pairs.map(|(answer, target)| one_of::row_score(answer, target.label())).collect()
            }
            Self::AnyOf => any_of::row_scores(limits, targets, answers()),
            Self::Number => number::row_scores(targets, answers()),
        }
    }

    /// Whether a label of this probability is answered, where it is the most probable one or several can be.
    #[must_use]
    pub fn answers(self, limits: Limits<'_>, label: usize, probability: f32) -> bool {
        match self {
            Self::OneOf => probability >= limits.of_one(label),
            Self::AnyOf => probability >= limits.of_several(label),
            Self::Number => false,
        }
    }

    /// The fewest labels that make sense. A number's only one is the name of its task.
    #[must_use]
    pub fn least_labels(self) -> usize {
        match self {
            Self::OneOf => 2,
            Self::AnyOf | Self::Number => 1,
        }
    }

    /// Whether its answers are labels.
    #[must_use]
    pub fn has_labels(self) -> bool {
        self != Self::Number
    }

    /// What the score of its tasks is called.
    #[must_use]
    pub fn score_name(self) -> &'static str {
        match self {
            Self::OneOf => "accuracy",
            Self::AnyOf => "micro-F1",
            Self::Number => "R²",
        }
    }

    /// Measures answers `[rows, classes]` against the truth of as many rows; `labels` are those that can be
    /// answered.
    #[must_use]
    pub fn measure(
        self,
        (labels, limits): (&[String], Limits<'_>),
        truth: &Truth,
        answers: &[f32],
    ) -> TaskMetrics {
        match self {
            Self::OneOf => one_of::measure(labels, truth, answers),
            Self::AnyOf => any_of::measure((labels, limits), truth, answers),
            Self::Number => number::measure(limits, truth, answers),
        }
    }

    /// What logits `[rows, classes]` of rows with these targets are to be divided by so that answers can be
    /// believed: one number, or one for each label.
    #[must_use]
    pub fn temperature(self, classes: usize, targets: &[Target], logits: &[f32]) -> Vec<f64> {
        match self {
            Self::OneOf => vec![one_of::temperature(classes, targets, logits)],
            Self::AnyOf => any_of::temperatures(classes, targets, logits),
            Self::Number => vec![1.0],
        }
    }

    /// From where on each label is answered, if anything is to be found for that, by answers `[rows,
    /// classes]` to rows that the head was not fitted on.
    #[must_use]
    pub fn thresholds(
        self,
        promise: Promise,
        classes: usize,
        targets: &[Target],
        answers: &[f32],
    ) -> Vec<Threshold> {
        match self {
            Self::OneOf => one_of::thresholds(promise, classes, targets, answers),
            Self::AnyOf => any_of::thresholds(promise, classes, targets, answers),
            Self::Number => Vec::new(),
        }
    }

    /// How far numbers may be off, by answers to rows that the head was not fitted on; none of other kinds,
    /// and where rows are too few.
    #[must_use]
    pub fn interval(self, promise: Promise, targets: &[Target], answers: &[f32]) -> Option<Interval> {
        match self {
            Self::OneOf | Self::AnyOf => None,
            Self::Number => number::interval(promise, targets, answers),
        }
    }

    /// How many temperatures a head of so many labels has.
    #[must_use]
    pub fn temperatures(self, classes: usize) -> usize {
        if self == Self::AnyOf { classes } else { 1 }
    }
}

impl Truth {
    /// Takes the rows among `rows` that have a truth; `names` are the labels that the head knows,
    /// `cells[row]` is the task's cell.
    #[must_use]
    pub fn new(
        kind: TaskKind,
        names: &[String],
        cells: &[Option<String>],
        rows: impl Iterator<Item = usize>,
    ) -> Self {
        Self::read(names, cells, rows, |cell, place| match kind {
            TaskKind::OneOf => Some(Target::Label(place(cell))),
            TaskKind::AnyOf => Some(any_of::target(cell, place)),
            // Whoever read the table let nothing but numbers through.
            TaskKind::Number => cell.parse().ok().map(Target::Number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_name_in_files() {
        for kind in [TaskKind::OneOf, TaskKind::AnyOf, TaskKind::Number] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.name()));
            assert_eq!(kind.is_default(), kind == TaskKind::OneOf);
        }
    }
}
