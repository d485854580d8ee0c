//! Owns how BERT is published. MiniLM, GTE, BGE and E5 checkpoints that are BERT say so themselves.
//!
//! Refuses what says `bert` and computes something else: decoders, relative positions. Other families that
//! share most names compute something else, too (RoBERTa, XLM-R and CamemBERT shift positions, ELECTRA
//! projects embeddings, DistilBERT and ALBERT name or share tensors otherwise, Megatron-BERT normalises
//! before each block).

use super::{Family, Named};
use crate::encoder::config::Config;
use crate::encoder::fields::Fields;
use crate::encoder::tensors;
use crate::error::Result;

pub(super) const FAMILY: Family =
    Family { name: "BERT", model_types: &["bert"], config, tensor, skipped_rows: |_, _| 0, zeros: &[] };

/// Beside the encoder in Hugging Face's `BertFor…` classes, or above it; the encoder's output does not depend
/// on them.
const HEADS: [&str; 4] = ["cls.", "classifier.", "qa_outputs.", "pooler."];
/// 0, 1, 2, …, which some versions of transformers store.
const POSITION_IDS: &str = "embeddings.position_ids";

fn config(fields: &Fields) -> Result<Config> {
    fields.one_of(
        "position_embedding_type",
        &["absolute"],
        Some("absolute"),
        "relative positions are not BERT's",
    )?;
    for field in ["is_decoder", "add_cross_attention"] {
        fields.not_true(field, "only encoders can be imported")?;
    }
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
    })
}

/// Our names are BERT's, but for how TensorFlow called a normalisation's two tensors.
fn tensor(name: &str) -> Named {
    if name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    let ours =
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
    if tensors::is_ours(&ours) { Named::Ours(ours) } else { Named::Unknown }
}
