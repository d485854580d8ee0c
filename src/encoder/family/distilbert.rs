//! Owns how DistilBERT is published: BERT without token types, by other names.
//!
//! Refuses what says `distilbert` and is not an encoder by itself.

use super::{Family, Named, by_parts, only_encoders};
use crate::encoder::config::Config;
use crate::encoder::fields::Fields;
use crate::encoder::tensors::TOKEN_TYPES;
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "DistilBERT",
    model_types: &[("distilbert", "DistilBERT")],
    classes: &["DistilBert"],
    prefix: "distilbert",
    config,
    tensor,
    skipped_rows: |_, _| 0,
    zeros: &[TOKEN_TYPES],
    tied: "vocab_projector.weight",
};

/// Beside the encoder in Hugging Face's `DistilBertFor…` classes.
const HEADS: [&str; 6] = [
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "pre_classifier.",
    "classifier.",
    "qa_outputs.",
];
/// What is added to the variance; no field says it.
const EPSILON: f32 = 1e-12;
const LAYERS: &str = "transformer.layer.";
/// Parts of a layer, each with ours.
const PARTS: [(&str, &str); 8] = [
    ("attention.q_lin", "attention.self.query"),
    ("attention.k_lin", "attention.self.key"),
    ("attention.v_lin", "attention.self.value"),
    ("attention.out_lin", "attention.output.dense"),
    ("sa_layer_norm", "attention.output.LayerNorm"),
    ("ffn.lin1", "intermediate.dense"),
    ("ffn.lin2", "output.dense"),
    ("output_layer_norm", "output.LayerNorm"),
];

fn config(fields: &Fields) -> Result<Config> {
    only_encoders(fields)?;
    Ok(Config {
        hidden_size: fields.size("dim", None)?,
        layers: fields.size("n_layers", None)?,
        attention_heads: fields.size("n_heads", None)?,
        intermediate_size: fields.size("hidden_dim", None)?,
        vocabulary_size: fields.size("vocab_size", None)?,
        positions: fields.size("max_position_embeddings", None)?,
        token_types: 1,
        activation: fields.activation("activation", "gelu")?,
        layer_norm_epsilon: EPSILON,
        pad_token_id: fields.token_id("pad_token_id", 0)?,
        relative_positions: None,
        dense: None,
    })
}

fn tensor(name: &str) -> Named {
    by_parts(name, &HEADS, LAYERS, &PARTS)
}
