//! Owns how MPNet is published: positions begin behind the padding id, tokens have no types, and one bias for
//! each distance between two tokens is added in every layer.
//!
//! Refuses another number of distances than 32: transformers counts with 32 whatever the configuration says.

use super::{Family, Named, POSITION_IDS, only_encoders, shifted};
use crate::encoder::config::Config;
use crate::encoder::fields::{Fields, unsupported};
use crate::encoder::relative::RelativePositions;
use crate::encoder::tensors::{self, POSITION_BIAS, POSITIONS, TOKEN_TYPES};
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
    Ok(Config {
        hidden_size: fields.size("hidden_size", None)?,
        layers: fields.size("num_hidden_layers", None)?,
        attention_heads: fields.size("num_attention_heads", None)?,
        intermediate_size: fields.size("intermediate_size", None)?,
        vocabulary_size: fields.size("vocab_size", None)?,
        positions: shifted(fields, FIRST_POSITION)?,
        token_types: 1,
        activation: fields.activation("hidden_act", "gelu")?,
        layer_norm_epsilon: fields.epsilon("layer_norm_eps", 1e-12)?,
        pad_token_id: fields.token_id("pad_token_id", 1)?,
        relative_positions: Some(RelativePositions { buckets: BUCKETS, distance: DISTANCE }),
        dense: None,
    })
}

fn tensor(name: &str) -> Named {
    if name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    if name == BIAS {
        return Named::Ours(POSITION_BIAS.to_owned());
    }
    match name.strip_prefix(LAYERS) {
        Some(inside) => tensors::renamed(inside, &PARTS).map_or(Named::Unknown, Named::Ours),
        None if tensors::is_of_embeddings(name) => Named::Ours(name.to_owned()),
        None => Named::Unknown,
    }
}
