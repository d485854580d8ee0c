//! Owns how features are asked for.

use crate::encoder::FeatureChoice;
use crate::runtime::Load;
use crate::tokens::{Batching, LongTexts};

/// How features are computed and stored.
#[derive(Debug, Clone)]
pub struct EmbedOptions {
    /// What rows hold beside the sentence embedding: all that this sees. By default everything, so that no
    /// later choice of features costs inference.
    pub stored: FeatureChoice,
    /// How texts are put into batches.
    pub batching: Batching,
    /// What happens to texts beyond the model's limit.
    pub long: LongTexts,
    /// For how many texts at a time the network is loaded. An [`Embedder`](super::Embedder) sees for itself.
    pub load: Load,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        let (batching, long, load) = (Batching::default(), LongTexts::default(), Load::default());
        Self { stored: FeatureChoice::All, batching, long, load }
    }
}
