//! Owns what is decided about an import before anything is written, of a checkpoint or of a graph: prefix,
//! pooling, lengths, tokenizer.
//!
//! Refuses what cannot be reproduced exactly.

use std::path::{Path, PathBuf};

use super::layout;
use super::length::{self, Decided};
use super::manifest::{Manifest, Preparation};
use super::sentence_transformers::{Card, Stated};
use super::source;
use super::trial::Foreign;
use crate::encoder::{Config, Pooling, Published};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::runtime::RuntimeOptions;
use crate::tokens::Tokenizer;

/// What the user may decide at import; `None` follows the source.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Put in front of every text.
    pub prefix: Option<String>,
    /// A prompt of the model's own, by name, as the prefix.
    pub prompt: Option<String>,
    /// Token states → sentence embedding.
    pub pooling: Option<Pooling>,
    /// Scale the sentence embedding to length 1.
    pub normalize: Option<bool>,
    /// Most tokens a text may have.
    pub max_length: Option<usize>,
    /// The tokenizer, when it does not lie beside the model.
    pub tokenizer: Option<PathBuf>,
    /// What the manifest shall say about the source (a hub id); by default the source's name.
    pub origin: Option<String>,
    /// Replace a backbone that was made from something else.
    pub overwrite: bool,
    /// What runs the trial of what was imported.
    pub runtime: RuntimeOptions,
}

/// What decided about an import, in words for people.
#[derive(Debug, Clone, Default)]
pub struct ImportNotes {
    /// The file and its field that say how long a text may be.
    pub length: String,
    /// Choices that the source left open.
    pub choices: Vec<String>,
}

/// A checked import, before anything is written.
pub(super) struct Plan {
    pub manifest: Manifest,
    pub weights: Content,
    pub tokenizer: PathBuf,
    pub notes: ImportNotes,
}

/// What the network is made of.
pub(super) enum Content {
    /// A checkpoint to convert: its file, or the index of several.
    Checkpoint(PathBuf, Published),
    /// A finished graph, with the external data files it refers to, and what a run must tell of it.
    Graph { bytes: Vec<u8>, data: Vec<(String, PathBuf)>, foreign: Box<Foreign> },
}

/// What the network allows; a foreign graph says less than a configuration.
#[derive(Default)]
pub(super) struct Limits {
    pub positions: Option<usize>,
    pub pad_token_id: u32,
    /// Its output is one vector a text: what the source says of modules and pooling is inside it.
    pub pooled: bool,
    /// It can have a product behind its pooling.
    pub dense: bool,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            positions: Some(config.longest()),
            pad_token_id: config.pad_token_id,
            pooled: false,
            dense: true,
        }
    }
}

/// Brings the source's cards and the user's options together.
pub(super) fn preparation(
    card: &Card,
    options: &ImportOptions,
    tokenizer: &Tokenizer,
    limits: Limits,
) -> Result<(Preparation, ImportNotes)> {
    let prefix = prefix(card, options)?;
    if !prefix.is_empty() && !card.include_prompt {
        return Err(Error::new(
            Kind::Model,
            "the model leaves its prompt out of pooling, which is not supported",
        )
        .help("say --prefix '' to use it without a prompt"));
    }
    if card.lowercase && tokenizer.keeps_case() {
        return Err(Error::new(
            Kind::Model,
            "the model lower-cases texts outside its tokenizer, which is not supported",
        )
        .help("set do_lower_case in the tokenizer and save tokenizer.json again"));
    }
    let Decided { tokens, by } = length::decide(&card.lengths, limits.positions, options.max_length)?;
    let taken = tokenizer.encode(&[prefix.as_str()], usize::MAX)?.ids(0).len();
    if tokens <= taken {
        return Err(Error::new(Kind::Usage, "the maximum length leaves no room for text")
            .found(format!("{tokens} ({by})"))
            .expected(format!("more than the {taken} tokens that special tokens and the prefix take"))
            .help("say --max-length TOKENS, or give a shorter --prefix"));
    }
    if !limits.pooled {
        card.check_modules()?;
        if let Some(dense) = card.dense.as_ref().filter(|_| !limits.dense) {
            return Err(Error::new(
                Kind::Model,
                "the model has a module behind its pooling that its graph lacks",
            )
            .at(dense)
            .expected("weights (model.safetensors), or a graph with the output sentence_embedding")
            .help(
                "export the whole model to ONNX, with the output sentence_embedding, and import that file",
            ));
        }
    }
    let pooling = match options.pooling {
        Some(chosen) => chosen,
        None if limits.pooled => card.pooling.pooling().unwrap_or(Pooling::Mean),
        None => card.pooling.pooling()?,
    };
    let preparation = Preparation {
        pooling: Some(pooling),
        normalize: options.normalize.or(card.normalize).unwrap_or(false),
        max_length: tokens,
        prefix,
        pad_token_id: limits.pad_token_id,
    };
    Ok((preparation, ImportNotes { length: by, choices: Vec::from_iter(pooling_note(card, options)) }))
}

/// What there is to say when the user chooses another pooling than the model's.
fn pooling_note(card: &Card, options: &ImportOptions) -> Option<String> {
    let chosen = options.pooling?;
    match &card.pooling {
        Stated::Pooling(stated, _) if *stated != chosen => {
            Some(format!("{chosen} pooling as you say; the model was made for {stated} pooling"))
        }
        Stated::Other { modes, .. } => {
            Some(format!("{chosen} pooling as you say; the model was made for another ({modes})"))
        }
        _ => None,
    }
}

/// A tokenizer, tried, for a network that has so many embeddings.
pub(super) fn open_tokenizer(path: &Path, embeddings: Option<usize>) -> Result<Tokenizer> {
    source::check(path)?;
    Tokenizer::open_for(path, embeddings)
}

fn prefix(card: &Card, options: &ImportOptions) -> Result<String> {
    if let Some(prefix) = &options.prefix {
        return Ok(prefix.clone());
    }
    let Some(name) = options.prompt.as_ref().or(card.default_prompt.as_ref()) else {
        return Ok(String::new());
    };
    card.prompts.get(name).cloned().ok_or_else(|| {
        let known: Vec<_> = card.prompts.keys().map(String::as_str).collect();
        Error::new(Kind::Usage, "the model has no such prompt")
            .found(format!("{name:?}"))
            .expected(if known.is_empty() {
                "none: this model has no prompts".into()
            } else {
                known.join(", ")
            })
            .help("say --prefix TEXT to give the text itself")
    })
}

pub(super) fn origin(source: &Path, options: &ImportOptions) -> String {
    options.origin.clone().unwrap_or_else(|| layout::origin(source))
}

/// Hash of the source files and of what was decided about them.
pub(super) fn inputs(files: &[&Path], preparation: &Preparation) -> Result<Fingerprint> {
    let mut fields = Fields::new("frosthead import 1");
    for path in files {
        fields = fields.field("file", Fingerprint::of_file(path)?.0);
    }
    let preparation = serde_json::to_vec(preparation)
        .map_err(|source| Error::new(Kind::Model, "the import cannot be described").because(source))?;
    Ok(fields
        .field("preparation", preparation)
        .field("graph version", super::manifest::GRAPH_VERSION.to_string())
        .finish())
}
