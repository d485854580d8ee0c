//! Owns the names of our tensors: how they are spelled, which layer each belongs to, and their shapes.
//!
//! Refuses other spellings: a checkpoint's are translated by its `family`. No other module of the program
//! spells such a name.

use super::config::Config;
use super::forms::Part;

/// One row per token id.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";
/// One row per position.
pub(super) const POSITIONS: &str = "embeddings.position_embeddings.weight";
/// One row per token type.
pub(super) const TOKEN_TYPES: &str = "embeddings.token_type_embeddings.weight";
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

/// Whether a tensor is called as one of an encoder's embeddings or layers, whatever its size.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with(EMBEDDINGS) || layer_of(name).is_some()
}

/// A tensor that the encoder has: its name and shape, in PyTorch's layout (`[out, in]` for products).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl Expected {
    /// Bytes as 32-bit floats.
    pub(super) fn byte_length(&self) -> u64 {
        4 * self.shape.iter().map(|&size| size as u64).product::<u64>()
    }
}

/// Every tensor of the encoder, in the order of the canonical file: embeddings, then layer by layer.
pub(super) fn expected(config: &Config) -> Vec<Expected> {
    let hidden = config.hidden_size;
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push(Expected { name, shape: shape.to_vec() });
    add(WORDS.to_owned(), &[config.vocabulary_size, hidden]);
    add(POSITIONS.to_owned(), &[config.positions, hidden]);
    add(TOKEN_TYPES.to_owned(), &[config.token_types, hidden]);
    add(format!("{EMBEDDINGS_NORM}.weight"), &[hidden]);
    add(format!("{EMBEDDINGS_NORM}.bias"), &[hidden]);
    for layer in 0..config.layers {
        for part in Part::ALL {
            let shape = part.shape(config);
            for name in part.tensors() {
                add(in_layer(layer, &format!("{name}.weight")), &shape);
                add(in_layer(layer, &format!("{name}.bias")), &shape[..1]);
            }
        }
        for name in [ATTENTION_NORM, OUTPUT_NORM] {
            add(in_layer(layer, &format!("{name}.weight")), &[hidden]);
            add(in_layer(layer, &format!("{name}.bias")), &[hidden]);
        }
    }
    tensors
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
