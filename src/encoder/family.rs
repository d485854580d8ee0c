//! Owns the families of published encoders: how each spells its configuration and its tensors, and what
//! becomes of their numbers on the way into our one layout.
//!
//! A family is a table of constants and plain functions; a graph knows nothing of it. Refuses encoders that
//! compute something else than our network does: those need a field of [`Config`], or another builder.

mod bert;

use std::path::Path;

use super::config::Config;
use super::fields::Fields;
use crate::error::Result;

/// What a tensor of a checkpoint is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// One of our tensors, by our name (which layers there are, the configuration says).
    Ours(String),
    /// Nothing that the encoder's output depends on.
    LeftOut,
    /// Nobody knows: the checkpoint is refused.
    Unknown,
}

/// How a family of encoders is published.
#[derive(Debug)]
pub(super) struct Family {
    /// For people.
    pub(super) name: &'static str,
    /// What the field `model_type` says.
    pub(super) model_types: &'static [&'static str],
    /// Its fields and their defaults → our dimensions.
    pub(super) config: fn(&Fields) -> Result<Config>,
    /// A name, without what stands in front of every name of the encoder.
    pub(super) tensor: fn(&str) -> Named,
    /// Rows at the start of one of our tensors that are the checkpoint's only, and are not copied.
    pub(super) skipped_rows: fn(&str, &Config) -> usize,
    /// Tensors of ours that it does not have: they are zeros.
    pub(super) zeros: &'static [&'static str],
}

static ALL: [&Family; 1] = [&bert::FAMILY];

/// Model types whose positions begin behind the padding id; those whose checkpoints are not read may come as
/// graphs.
const SHIFTED: [&str; 8] = [
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "ibert",
    "data2vec-text",
];

/// Whether the position table of such a model has rows for the padding id and what lies below it, which no
/// text uses.
#[must_use]
pub fn shifts_positions(model_type: &str) -> bool {
    SHIFTED.contains(&model_type)
}

/// An encoder as somebody published it.
#[derive(Debug)]
pub struct Published {
    /// Its dimensions.
    pub config: Config,
    pub(super) family: &'static Family,
}

impl Published {
    /// Reads a Hugging Face `config.json`.
    ///
    /// Sizes must be there; what Hugging Face has a default for may be left out.
    ///
    /// # Errors
    /// The file cannot be read, is not a JSON object, or describes something other than a plain encoder of a
    /// known family.
    pub fn open(path: &Path) -> Result<Self> {
        let fields = Fields::open(path)?;
        Self::of(&fields).map_err(|error| error.at(path))
    }

    fn of(fields: &Fields) -> Result<Self> {
        let types: Vec<&str> = ALL.iter().flat_map(|family| family.model_types).copied().collect();
        let names: Vec<&str> = ALL.iter().map(|family| family.name).collect();
        let why = format!("only {} encoders can be imported this way", names.join(", "));
        let model_type = fields.one_of("model_type", &types, None, &why)?;
        let known = |family: &&&Family| family.model_types.contains(&model_type);
        let family = ALL.iter().find(known).expect("every model type is some family's; this is a bug");
        let config = (family.config)(fields)?;
        config.check()?;
        Ok(Self { config, family })
    }
}
