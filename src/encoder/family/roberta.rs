//! Owns how RoBERTa is published, and what differs from it by name only: XLM-R and CamemBERT.
//!
//! Positions begin behind the padding id; the rows of the table before that are nobody's, and are not taken.
//! Refuses what says `roberta` and computes something else: decoders, relative positions. XLM-RoBERTa-XL
//! normalises before each block, Longformer attends to a part of the text.

use super::{Family, Named, POSITION_IDS, only_encoders, shifted};
use crate::encoder::config::Config;
use crate::encoder::fields::Fields;
use crate::encoder::tensors::{self, POSITIONS};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "RoBERTa",
    model_types: &[("roberta", "RoBERTa"), ("xlm-roberta", "XLM-R"), ("camembert", "CamemBERT")],
    classes: &["Roberta", "XLMRoberta", "Camembert"],
    prefix: "roberta",
    config,
    tensor,
    skipped_rows: |name, config| if name == POSITIONS { config.pad_token_id as usize + 1 } else { 0 },
    zeros: &[],
    tied: "lm_head.decoder.weight",
};

/// Beside the encoder in Hugging Face's `RobertaFor…` classes, or above it.
const HEADS: [&str; 4] = ["lm_head.", "classifier.", "qa_outputs.", "pooler."];

fn config(fields: &Fields) -> Result<Config> {
    only_encoders(fields)?;
    let pad_token_id = fields.token_id("pad_token_id", 1)?;
    Ok(Config {
        hidden_size: fields.size("hidden_size", None)?,
        layers: fields.size("num_hidden_layers", None)?,
        attention_heads: fields.size("num_attention_heads", None)?,
        intermediate_size: fields.size("intermediate_size", None)?,
        vocabulary_size: fields.size("vocab_size", None)?,
        positions: shifted(fields, pad_token_id as usize + 1)?,
        token_types: fields.size("type_vocab_size", Some(2))?,
        activation: fields.activation("hidden_act", "gelu")?,
        layer_norm_epsilon: fields.epsilon("layer_norm_eps", 1e-12)?,
        pad_token_id,
        relative_positions: None,
        dense: None,
    })
}

/// Our names are its names.
fn tensor(name: &str) -> Named {
    if name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    if tensors::is_of_encoder(name) { Named::Ours(name.to_owned()) } else { Named::Unknown }
}
