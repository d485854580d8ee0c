//! Owns how RoBERTa is published, and what differs from it by name only: XLM-R and CamemBERT.
//!
//! Positions begin behind the padding id; the rows of the table before that are nobody's, and are not taken.
//! Refuses what says `roberta` and computes something else: decoders, relative positions. XLM-RoBERTa-XL
//! normalises before each block, Longformer attends to a part of the text.

use super::{Family, Named, POSITION_IDS, like_bert, only_encoders, shifted};
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
    like_bert(fields, shifted(fields, pad_token_id as usize + 1)?, pad_token_id)
}

/// Our names are its names.
fn tensor(name: &str) -> Named {
    if name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    if tensors::is_of_encoder(name) { Named::Ours(name.to_owned()) } else { Named::Unknown }
}
