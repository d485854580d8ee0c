//! Owns what is asked of a training graph: its heads, what each of them sees, and what is trained.

use std::collections::BTreeSet;
use std::ops::Range;

use super::transformer::Start;
use crate::task::TaskKind;

/// What a head sees of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// The sentence embedding, as the deployed graph gives it: `[hidden]`.
    #[default]
    Embedding,
    /// The means over real tokens of these hidden states (0 is what the embeddings give, k + 1 what layer k
    /// gives), side by side and not normalised: `[levels · hidden]`.
    Means(Range<usize>),
}

impl Seen {
    /// The highest hidden state that it is made of, in a network of so many layers.
    #[must_use]
    pub fn top(&self, layers: usize) -> usize {
        match self {
            Self::Embedding => layers,
            Self::Means(levels) => levels.end.saturating_sub(1),
        }
    }
}

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
    pub seen: Seen,
    /// What its loss counts in the sum.
    pub share: f32,
    /// `[classes, width]` and `[classes]` when the head is frozen; a trained one is an input.
    pub frozen: Option<(Vec<f32>, Vec<f32>)>,
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
