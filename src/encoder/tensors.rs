//! Owns the names of our tensors: how they are spelled, which layer each belongs to, which of them are
//! trained.
//!
//! Refuses other spellings: a checkpoint's are translated by its `family`. No other module of the program
//! spells such a name.

use serde::{Deserialize, Serialize};

use crate::named::named;

/// One row per token id.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";
/// One row per position.
pub(super) const POSITIONS: &str = "embeddings.position_embeddings.weight";
/// One row per token type.
pub(super) const TOKEN_TYPES: &str = "embeddings.token_type_embeddings.weight";
/// One number per attention head for each bucket of distances between two tokens; every layer adds it to its
/// scores.
pub(super) const POSITION_BIAS: &str = "embeddings.position_bias.weight";
/// The product behind the pooling.
pub(super) const DENSE_WEIGHT: &str = "dense.weight";
pub(super) const DENSE_BIAS: &str = "dense.bias";
/// The normalisation of the embeddings' sum; `.weight` and `.bias` follow.
pub(super) const EMBEDDINGS_NORM: &str = "embeddings.LayerNorm";
/// The normalisations within a layer, in the order they are computed.
pub(super) const ATTENTION_NORM: &str = "attention.output.LayerNorm";
pub(super) const OUTPUT_NORM: &str = "output.LayerNorm";

const EMBEDDINGS: &str = "embeddings.";
const LAYERS: &str = "encoder.layer.";

/// The name of a part of a layer.
pub(super) fn in_layer(layer: usize, part: &str) -> String {
    format!("{LAYERS}{layer}.{part}")
}

/// The layer that one of our tensors belongs to; none for those of the embeddings.
#[must_use]
pub fn layer_of(tensor: &str) -> Option<usize> {
    tensor.strip_prefix(LAYERS)?.split('.').next()?.parse().ok()
}

/// Whether one of our tensors is part of every layer's computation: it is trained only when all of them are.
#[must_use]
pub fn is_shared_by_layers(tensor: &str) -> bool {
    tensor == POSITION_BIAS
}

/// Whether one of our tensors is trained at all: what lies behind the pooling is not.
#[must_use]
pub fn can_be_trained(tensor: &str) -> bool {
    ![DENSE_WEIGHT, DENSE_BIAS].contains(&tensor)
}

/// What is trained of the layers, and the embeddings, that are not frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainedTensors {
    /// Every tensor.
    #[default]
    All,
    /// Biases and LayerNorms, which are vectors: matrices stay as they are (Ben Zaken, Goldberg & Ravfogel
    /// 2022).
    Biases,
}

named!(TrainedTensors, "nothing of layers is called so", All = "all", Biases = "biases");

impl TrainedTensors {
    /// Whether a tensor of this shape is among them.
    #[must_use]
    pub fn has(self, shape: &[usize]) -> bool {
        self == Self::All || shape.len() == 1
    }

    /// Whether this is what is trained where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a tensor is called as one of an encoder's embeddings.
#[cfg(feature = "train")]
pub(super) fn is_of_embeddings(name: &str) -> bool {
    name.starts_with(EMBEDDINGS)
}

/// Our name of a tensor that is called `LAYER.PART.weight` or `.bias` elsewhere, by this list of parts, theirs
/// and ours.
#[cfg(feature = "train")]
pub(super) fn renamed(inside: &str, parts: &[(&str, &str)]) -> Option<String> {
    let (layer, rest) = inside.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, ours) = parts.iter().find(|(theirs, _)| *theirs == part)?;
    Some(in_layer(layer.parse().ok()?, &format!("{ours}.{kind}")))
}

/// Whether a tensor is called as one of a network's.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    is_of_encoder(name) || !can_be_trained(name)
}

/// Whether a tensor is called as one of an encoder's embeddings or layers, whatever its size.
pub(super) fn is_of_encoder(name: &str) -> bool {
    name.starts_with(EMBEDDINGS) || layer_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_from_tensor_names() {
        assert_eq!(layer_of(&in_layer(11, "output.dense.bias")), Some(11));
        assert_eq!(layer_of(WORDS), None);
        assert!(is_ours(WORDS) && is_ours("encoder.layer.3.anything"));
        assert!(!is_ours("encoder.layer.x.anything") && !is_ours("bert.embeddings.LayerNorm.bias"));
    }
}
