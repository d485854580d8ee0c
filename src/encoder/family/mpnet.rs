//! Owns how MPNet is published: positions begin behind the padding id, tokens have no types, and one bias for
//! each distance between two tokens is added in every layer.
//!
//! Refuses another number of distances than 32: transformers counts with 32 whatever the configuration says.

use super::{Family, Named, by_parts, like_bert, only_encoders, shifted};
use crate::encoder::config::Config;
use crate::encoder::fields::{Fields, unsupported};
use crate::encoder::relative::RelativePositions;
use crate::encoder::tensors::{POSITION_BIAS, POSITIONS, TOKEN_TYPES};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "MPNet",
    model_types: &[("mpnet", "MPNet")],
    classes: &["MPNet"],
    prefix: "mpnet",
    config,
    tensor,
    skipped_rows: |name, _| if name == POSITIONS { FIRST_POSITION } else { 0 },
    zeros: &[TOKEN_TYPES],
    tied: "lm_head.decoder.weight",
};

/// Beside the encoder in Hugging Face's `MPNetFor…` classes, or above it.
const HEADS: [&str; 4] = ["lm_head.", "classifier.", "qa_outputs.", "pooler."];
/// The position of the first token, whatever id the padding has.
const FIRST_POSITION: usize = 2;
/// What transformers counts with.
const BUCKETS: usize = 32;
const DISTANCE: usize = 128;
const BIAS: &str = "encoder.relative_attention_bias.weight";
const LAYERS: &str = "encoder.layer.";
/// Parts of a layer, each with ours.
const PARTS: [(&str, &str); 8] = [
    ("attention.attn.q", "attention.self.query"),
    ("attention.attn.k", "attention.self.key"),
    ("attention.attn.v", "attention.self.value"),
    ("attention.attn.o", "attention.output.dense"),
    ("attention.LayerNorm", "attention.output.LayerNorm"),
    ("intermediate.dense", "intermediate.dense"),
    ("output.dense", "output.dense"),
    ("output.LayerNorm", "output.LayerNorm"),
];

fn config(fields: &Fields) -> Result<Config> {
    only_encoders(fields)?;
    let buckets = fields.size("relative_attention_num_buckets", Some(BUCKETS))?;
    if buckets != BUCKETS {
        let (field, why) =
            ("relative_attention_num_buckets", "transformers counts with 32, whatever is said");
        return Err(unsupported(field, &buckets.into(), &BUCKETS.to_string(), why));
    }
    let known = like_bert(fields, shifted(fields, FIRST_POSITION)?, fields.token_id("pad_token_id", 1)?)?;
    let relative_positions = Some(RelativePositions { buckets: BUCKETS, distance: DISTANCE });
    Ok(Config { token_types: 1, relative_positions, ..known })
}

fn tensor(name: &str) -> Named {
    if name == BIAS {
        return Named::Ours(POSITION_BIAS.to_owned());
    }
    by_parts(name, &HEADS, LAYERS, &PARTS)
}
