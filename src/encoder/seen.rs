//! Owns what a head sees of a text, in terms of a network's hidden states.

use std::ops::Range;

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
