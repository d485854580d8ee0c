//! Owns the names of our tensors: how they are spelled, which layer each belongs to, and their shapes.
//!
//! Refuses other spellings: a checkpoint's are translated by its `family`. No other module of the program
//! spells such a name.

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
