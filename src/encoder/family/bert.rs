//! Owns how BERT is published. MiniLM, GTE, BGE and E5 checkpoints that are BERT say so themselves.
//!
//! Refuses what says `bert` and computes something else: decoders, relative positions. Other families that
//! share most names compute something else, too (ELECTRA projects embeddings, ALBERT shares layers,
//! Megatron-BERT normalises before each block).

use super::{Family, Named, POSITION_IDS, only_encoders};
use crate::encoder::config::Config;
use crate::encoder::fields::Fields;
use crate::encoder::tensors;
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "BERT",
    model_types: &[("bert", "BERT")],
    classes: &["Bert"],
    prefix: "bert",
    config,
    tensor,
    skipped_rows: |_, _| 0,
    zeros: &[],
    tied: "cls.predictions.decoder.weight",
};

/// Beside the encoder in Hugging Face's `BertFor…` classes, or above it; the encoder's output does not depend
/// on them.
const HEADS: [&str; 4] = ["cls.", "classifier.", "qa_outputs.", "pooler."];

fn config(fields: &Fields) -> Result<Config> {
    only_encoders(fields)?;
    Ok(Config {
        hidden_size: fields.size("hidden_size", None)?,
        layers: fields.size("num_hidden_layers", None)?,
        attention_heads: fields.size("num_attention_heads", None)?,
        intermediate_size: fields.size("intermediate_size", None)?,
        vocabulary_size: fields.size("vocab_size", None)?,
        positions: fields.size("max_position_embeddings", None)?,
        token_types: fields.size("type_vocab_size", Some(2))?,
        activation: fields.activation("hidden_act", "gelu")?,
        layer_norm_epsilon: fields.epsilon("layer_norm_eps", 1e-12)?,
        pad_token_id: fields.token_id("pad_token_id", 0)?,
        relative_positions: None,
        dense: None,
    })
}

/// Our names are BERT's, but for how TensorFlow called a normalisation's two tensors.
fn tensor(name: &str) -> Named {
    if name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    let ours =
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
    if tensors::is_of_encoder(&ours) { Named::Ours(ours) } else { Named::Unknown }
}
