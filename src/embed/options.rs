//! Owns how features are asked for.

use super::layout::StoredLayers;
use crate::runtime::Load;
use crate::tokens::{Batching, LongTexts};

/// How features are computed and stored.
#[derive(Debug, Clone, Default)]
pub struct EmbedOptions {
    /// Which mean-pooled states are stored beside the sentence embedding.
    pub stored: StoredLayers,
    /// How texts are put into batches.
    pub batching: Batching,
    /// What happens to texts beyond the model's limit.
    pub long: LongTexts,
    /// For how many texts at a time the network is loaded. An [`Embedder`](super::Embedder) sees for itself.
    pub load: Load,
}
