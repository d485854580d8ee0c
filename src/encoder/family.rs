//! Owns the families of published encoders: how each spells its configuration and its tensors, and what
//! becomes of their numbers on the way into our one layout.
//!
//! A family is a table of constants and plain functions; a graph knows nothing of it. Refuses encoders that
//! compute something else than our network does: those need a field of [`Config`], or another builder.

mod bert;
mod distilbert;
mod mpnet;
mod roberta;

use std::path::{Path, PathBuf};

use super::config::Config;
use super::fields::Fields;
use super::tensors::{self, POSITIONS};
use crate::error::{Error, Kind, Result};

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
    /// What the field `model_type` says, and what people call an encoder of that type.
    pub(super) model_types: &'static [(&'static str, &'static str)],
    /// What the names of its classes begin with at Hugging Face …
    pub(super) classes: &'static [&'static str],
    /// … and what those with a head call the encoder in front of every tensor's name.
    pub(super) prefix: &'static str,
    /// Its fields and their defaults → our dimensions.
    pub(super) config: fn(&Fields) -> Result<Config>,
    /// A name, without what stands in front of every name of the encoder.
    pub(super) tensor: fn(&str) -> Named,
    /// Rows at the start of one of our tensors that are the checkpoint's only, and are not copied.
    pub(super) skipped_rows: fn(&str, &Config) -> usize,
    /// Tensors of ours that it does not have: they are zeros.
    pub(super) zeros: &'static [&'static str],
    /// The matrix of the head that says words, which is the table of the words unless the configuration says
    /// otherwise; a checkpoint may have it alone.
    pub(super) tied: &'static str,
}

static ALL: [&Family; 4] = [&bert::FAMILY, &roberta::FAMILY, &distilbert::FAMILY, &mpnet::FAMILY];

/// 0, 1, 2, …, which some versions of transformers store beside the weights.
const POSITION_IDS: &str = "embeddings.position_ids";

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

impl Family {
    /// Refuses a configuration that was saved by another family's class than it says.
    fn check_class(&self, fields: &Fields) -> Result<()> {
        let field = "architectures";
        let Some(class) = fields.first_text(field) else { return Ok(()) };
        let is_of = |family: &&&Self| {
            let rest = family.classes.iter().find_map(|start| class.strip_prefix(start));
            rest.is_some_and(|rest| rest.starts_with("Model") || rest.starts_with("For"))
        };
        match ALL.iter().find(is_of).filter(|other| other.name != self.name) {
            None => Ok(()),
            Some(other) => Err(Error::new(Kind::Model, "the configuration contradicts itself")
                .field(field)
                .found(format!("{class}, a class of {}", other.name))
                .expected(format!("a class of {}, as model_type says", self.name))
                .help("take config.json from the model's own directory")),
        }
    }
}

/// The family whose encoders are called so.
pub(super) fn of_prefix(prefix: &str) -> Option<&'static Family> {
    ALL.into_iter().find(|family| family.prefix == prefix)
}

/// Refuses decoders, cross attention, and relative positions that BERT and RoBERTa can be told to have.
fn only_encoders(fields: &Fields) -> Result<()> {
    const ABSOLUTE: &str = "absolute";
    let why = "only positions that are added to the embeddings can be imported so";
    fields.one_of("position_embedding_type", &[ABSOLUTE], Some(ABSOLUTE), why)?;
    ["is_decoder", "add_cross_attention"]
        .into_iter()
        .try_for_each(|field| fields.not_true(field, "only encoders can be imported"))
}

/// Dimensions by BERT's names of them, which others took over; a token has types unless the family says otherwise.
fn like_bert(fields: &Fields, positions: usize, pad_token_id: u32) -> Result<Config> {
    Ok(Config {
        hidden_size: fields.size("hidden_size", None)?,
        layers: fields.size("num_hidden_layers", None)?,
        attention_heads: fields.size("num_attention_heads", None)?,
        intermediate_size: fields.size("intermediate_size", None)?,
        vocabulary_size: fields.size("vocab_size", None)?,
        positions,
        token_types: fields.size("type_vocab_size", Some(2))?,
        activation: fields.activation("hidden_act", "gelu")?,
        layer_norm_epsilon: fields.epsilon("layer_norm_eps", 1e-12)?,
        pad_token_id,
        relative_positions: None,
        dense: None,
    })
}

/// What a tensor is to us in a family that calls the parts of a layer otherwise, and the embeddings as we do.
fn by_parts(name: &str, heads: &[&str], layers: &str, parts: &[(&str, &str)]) -> Named {
    if name == POSITION_IDS || heads.iter().any(|head| name.starts_with(head)) {
        return Named::LeftOut;
    }
    match name.strip_prefix(layers) {
        Some(inside) => tensors::renamed(inside, parts).map_or(Named::Unknown, Named::Ours),
        None if tensors::is_of_embeddings(name) => Named::Ours(name.to_owned()),
        None => Named::Unknown,
    }
}

/// Positions that texts can have, of a table whose first so many rows belong to none.
fn shifted(fields: &Fields, skipped: usize) -> Result<usize> {
    let field = "max_position_embeddings";
    let rows = fields.size(field, None)?;
    rows.checked_sub(skipped).filter(|left| *left > 0).ok_or_else(|| {
        Error::new(Kind::Model, "the model has no position for a token")
            .field(field)
            .found(rows.to_string())
            .expected(format!("more than {skipped}: the rows up to the padding's are no token's"))
            .help("take config.json from the model's own directory")
    })
}

/// An encoder as somebody published it.
#[derive(Debug)]
pub struct Published {
    /// Its dimensions.
    pub config: Config,
    /// What people call it.
    pub name: &'static str,
    pub(super) family: &'static Family,
    /// Whether the head that says words has the words' own table.
    pub(super) tied: bool,
    /// The weights of the product behind its pooling, if it has one.
    pub(super) dense: Option<PathBuf>,
}

impl Published {
    /// The files that it is published in beside its checkpoint and `config.json`.
    #[must_use]
    pub fn other_files(&self) -> Vec<PathBuf> {
        let weights = self.dense.iter();
        weights.flat_map(|path| [path.with_file_name("config.json"), path.clone()]).collect()
    }

    /// Whether the positions of its texts begin behind the padding's id.
    #[must_use]
    pub fn counts_from_padding(&self) -> bool {
        (self.family.skipped_rows)(POSITIONS, &self.config) > 0
    }

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
        let known = || ALL.iter().flat_map(|family| family.model_types.iter().map(|known| (*family, *known)));
        let types: Vec<&str> = known().map(|(_, (model_type, _))| model_type).collect();
        let names: Vec<&str> = known().map(|(_, (_, name))| name).collect();
        let why = format!(
            "weights of {} encoders can be imported; of any other the graph can: export it to ONNX (`optimum-cli \
             export onnx`), and import the .onnx file",
            names.join(", ")
        );
        let model_type = fields.one_of("model_type", &types, None, &why)?;
        let (family, (_, name)) = known()
            .find(|(_, (of_family, _))| *of_family == model_type)
            .expect("every model type is some family's; this is a bug");
        family.check_class(fields)?;
        let config = (family.config)(fields)?;
        config.check()?;
        let tied = !fields.is_false("tie_word_embeddings");
        Ok(Self { config, name, family, tied, dense: None })
    }
}
