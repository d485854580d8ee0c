//! Owns how BERT is published. MiniLM, GTE, BGE and E5 checkpoints that are BERT say so themselves.
//!
//! Refuses what says `bert` and computes something else: decoders, relative positions. Other families that
//! share most names compute something else, too (ELECTRA projects embeddings, ALBERT shares layers,
//! Megatron-BERT normalises before each block).

use super::{Family, Named, POSITION_IDS, like_bert, only_encoders};
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
    let positions = fields.size("max_position_embeddings", None)?;
    like_bert(fields, positions, fields.token_id("pad_token_id", 0)?)
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
