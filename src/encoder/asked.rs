//! Owns what is asked of a training graph: its heads, what each of them sees, and what is trained.

use std::collections::BTreeSet;

use super::choice::FeatureChoice;
use super::transformer::Start;
use crate::task::TaskKind;

/// A task's head in a training step.
#[derive(Clone, Debug)]
pub struct TrainingHead {
    /// The task.
    pub task: String,
    /// What its loss is.
    pub kind: TaskKind,
    /// Number of classes.
    pub classes: usize,
    /// What it sees of a text.
    pub seen: FeatureChoice,
    /// What its loss counts in the sum.
    pub share: f32,
    /// `[classes, width]` and `[classes]` when the head is frozen; a trained one is an input.
    pub frozen: Option<(Vec<f32>, Vec<f32>)>,
    /// Whether something is added to its logits ([`beside`](super::beside)).
    pub beside: bool,
}

/// What is trained, and on what.
#[derive(Clone, Debug)]
pub struct TrainingOptions {
    /// What the graph starts from.
    pub start: Start,
    /// Encoder tensors that are trained, by canonical name; all above the start.
    pub tensors: BTreeSet<String>,
    /// The heads, trained or frozen.
    pub heads: Vec<TrainingHead>,
    /// Layers whose numbers are dropped at random; with any, those of the vectors that heads see are too.
    pub dropped: BTreeSet<usize>,
}
