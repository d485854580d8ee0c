//! Owns the canonical layout: every tensor that an encoder has, and its shape.

use super::config::Config;
use super::products::Part;
use super::tensors::{
    ATTENTION_NORM, DENSE_BIAS, DENSE_WEIGHT, EMBEDDINGS_NORM, OUTPUT_NORM, POSITION_BIAS, POSITIONS,
    TOKEN_TYPES, WORDS, in_layer,
};

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

/// Every tensor of the network, in the order of the canonical file: the encoder's, then what is behind its
/// pooling.
pub(super) fn expected(config: &Config) -> Vec<Expected> {
    let mut tensors = expected_of_encoder(config);
    if let Some(dense) = config.dense {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push(Expected { name: name.to_owned(), shape: shape.to_vec() });
        };
        add(DENSE_WEIGHT, &[dense.outputs, config.hidden_size]);
        add(DENSE_BIAS, &[dense.outputs]);
    }
    tensors
}

/// The encoder's: embeddings, then layer by layer.
pub(super) fn expected_of_encoder(config: &Config) -> Vec<Expected> {
    let hidden = config.hidden_size;
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push(Expected { name, shape: shape.to_vec() });
    add(WORDS.to_owned(), &[config.vocabulary_size, hidden]);
    add(POSITIONS.to_owned(), &[config.positions, hidden]);
    add(TOKEN_TYPES.to_owned(), &[config.token_types, hidden]);
    add(format!("{EMBEDDINGS_NORM}.weight"), &[hidden]);
    add(format!("{EMBEDDINGS_NORM}.bias"), &[hidden]);
    if let Some(relative) = config.relative_positions {
        add(POSITION_BIAS.to_owned(), &[relative.buckets, config.attention_heads]);
    }
    for layer in 0..config.layers {
        for part in Part::ALL {
            let shape = part.shape([hidden, config.intermediate_size]);
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
