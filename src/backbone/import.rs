//! Owns turning a Hugging Face directory into a backbone directory.
//!
//! Refuses anything it cannot reproduce exactly (another architecture, module, pooling mode), and leaves no
//! half-made directory behind. Foreign ONNX files are `onnx`'s work, downloads are `hub`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::layout::{self, Network};
use super::length::{self, Decided};
use super::manifest::{FORMAT, Manifest, Preparation, Source};
use super::sentence_transformers::{self, Card, Stated};
use super::source;
use super::trial::{Foreign, Trial, TrialReport};
use super::{EMBEDDING_GRAPH, LAYERS_GRAPH, MANIFEST, STANDARD_GRAPH, TOKENIZER, WEIGHTS};
use crate::document;
use crate::encoder::{
    self, Architecture, Config, GraphOptions, Operators, Outputs, Pooling, Published, Weights,
};
use crate::error::{Error, Kind, Result};
use crate::files::replace_directory;
use crate::fingerprint::{Fields, Fingerprint};
use crate::runtime::{Runtime, RuntimeOptions};
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

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    pub manifest: Manifest,
    /// The same import had been done before, so nothing was.
    pub up_to_date: bool,
    /// How what was imported ran; none when nothing was.
    pub trial: Option<TrialReport>,
    pub notes: ImportNotes,
}

/// What decided about an import, in words for people.
#[derive(Debug, Clone, Default)]
pub struct ImportNotes {
    /// The file and its field that say how long a text may be.
    pub length: String,
    /// Choices that the source left open.
    pub choices: Vec<String>,
}

/// Turns `source` (a Hugging Face directory or an `.onnx` file) into the backbone directory `target`.
///
/// # Errors
/// The source is incomplete, damaged or unsupported; what was made of it does not run as a backbone must; the
/// target holds another backbone; writing fails.
pub fn import(source: &Path, target: &Path, options: &ImportOptions) -> Result<Imported> {
    if !source.exists() {
        return Err(Error::new(Kind::Io, "there is no such file or directory")
            .at(source)
            .expected(
                "a Hugging Face directory (config.json, model.safetensors, tokenizer.json) or an .onnx file",
            )
            .help("check the path, or give a hub id such as sentence-transformers/all-MiniLM-L6-v2"));
    }
    let plan = if source.is_dir() {
        Plan::read(&layout::root(source)?, options)?
    } else {
        super::onnx::plan(source, options)?
    };
    if let Ok(manifest) = Manifest::open(&target.join(MANIFEST))
        && manifest.source.inputs == plan.manifest.source.inputs
        && !options.overwrite
    {
        super::Backbone::open(target)?;
        return Ok(Imported { manifest, up_to_date: true, trial: None, notes: plan.notes });
    }
    let mut manifest = plan.manifest.clone();
    manifest.name =
        target.file_name().map_or_else(|| "backbone".into(), |name| name.to_string_lossy().into_owned());
    let mut report = TrialReport::default();
    replace_directory(target, options.overwrite, |directory| {
        plan.write(directory, &mut manifest)?;
        report = plan.try_out(source, directory, &mut manifest, &options.runtime)?;
        write(&directory.join(MANIFEST), document::pretty(&manifest).as_bytes())
    })?;
    let mut notes = plan.notes;
    if manifest.preparation.max_length != plan.manifest.preparation.max_length {
        notes.length = "as many as the graph reads".to_owned();
    }
    Ok(Imported { manifest, up_to_date: false, trial: Some(report), notes })
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

impl Plan {
    fn read(directory: &Path, options: &ImportOptions) -> Result<Self> {
        let card = sentence_transformers::read(directory)?;
        let weights = match layout::network(directory, &card.folder)? {
            Network::Checkpoint(path) => path,
            Network::Graph(path, note) => {
                let mut plan = super::onnx::plan(&path, options)?;
                plan.manifest.source.origin = origin(directory, options);
                plan.notes.choices.extend(note);
                return Ok(plan);
            }
        };
        source::check(&weights)?;
        let config_path = layout::required(&card.folder, "config.json", "the model's configuration")?;
        source::check(&config_path)?;
        let published = Published::open(&config_path)?;
        let config = published.config.clone();
        let tokenizer_path = match &options.tokenizer {
            Some(path) => path.clone(),
            None => layout::tokenizer(&[&card.folder, directory])?,
        };
        let tokenizer = open_tokenizer(&tokenizer_path, Some(config.vocabulary_size))?;
        let (preparation, notes) = preparation(&card, options, &tokenizer, Limits::from(&config))
            .map_err(|error| error.or_at(directory))?;
        let mut files = encoder::checkpoint_files(&weights)?;
        files.iter().try_for_each(|file| source::check(file))?;
        files.extend([config_path, tokenizer_path.clone()]);
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let inputs = inputs(&files, &preparation)?;
        let manifest = Manifest {
            format: FORMAT,
            name: String::new(),
            hidden_size: config.hidden_size,
            architecture: Architecture::known(config),
            preparation,
            source: Source {
                origin: origin(directory, options),
                output: None,
                licence: card.licence,
                inputs,
            },
            files: BTreeMap::new(),
        };
        Ok(Self {
            manifest,
            weights: Content::Checkpoint(weights, published),
            tokenizer: tokenizer_path,
            notes,
        })
    }

    fn write(&self, directory: &Path, manifest: &mut Manifest) -> Result<()> {
        copy(&self.tokenizer, &directory.join(TOKENIZER))?;
        let mut files = vec![TOKENIZER.to_owned()];
        match &self.weights {
            Content::Checkpoint(checkpoint, published) => {
                published.convert(checkpoint, &directory.join(WEIGHTS))?;
                files.push(WEIGHTS.to_owned());
                for (name, bytes) in graphs(directory, &published.config, &manifest.preparation)? {
                    write(&directory.join(name), &bytes)?;
                    files.push(name.to_owned());
                }
            }
            Content::Graph { bytes, data, .. } => {
                write(&directory.join(EMBEDDING_GRAPH), bytes)?;
                files.push(EMBEDDING_GRAPH.to_owned());
                for (name, path) in data {
                    copy(path, &directory.join(name))?;
                    files.push(name.clone());
                }
            }
        }
        for name in files {
            let fingerprint = Fingerprint::of_file(directory.join(&name))?;
            manifest.files.insert(name, fingerprint);
        }
        Ok(())
    }

    /// Runs what was written.
    fn try_out(
        &self,
        source: &Path,
        directory: &Path,
        manifest: &mut Manifest,
        runtime: &RuntimeOptions,
    ) -> Result<TrialReport> {
        let foreign = match &self.weights {
            Content::Checkpoint(..) => None,
            Content::Graph { foreign, .. } => Some(foreign.as_ref()),
        };
        let runtime = &Runtime::load(runtime)?;
        Trial { runtime, source, directory, foreign }.run(manifest)
    }
}

/// The graphs derived from the weights: file name and ONNX bytes.
fn graphs(
    directory: &Path,
    config: &Config,
    preparation: &Preparation,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let weights = Weights::open(&directory.join(WEIGHTS), config)?;
    [
        (EMBEDDING_GRAPH, Operators::Fused, Outputs::EMBEDDING),
        (LAYERS_GRAPH, Operators::Fused, Outputs::Vectors { means: config.layers + 1 }),
        (STANDARD_GRAPH, Operators::Standard, Outputs::EMBEDDING),
    ]
    .into_iter()
    .map(|(name, operators, outputs)| {
        let options = GraphOptions { operators, outputs, ..GraphOptions::default() };
        Ok((name, encoder::inference_graph(&preparation.network(config, &weights), &options)?))
    })
    .collect()
}

/// What the network allows; a foreign graph says less than a configuration.
#[derive(Default)]
pub(super) struct Limits {
    pub positions: Option<usize>,
    pub pad_token_id: u32,
    /// Its output is one vector a text: what the source says of modules and pooling is inside it.
    pub pooled: bool,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self { positions: Some(config.longest()), pad_token_id: config.pad_token_id, pooled: false }
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

/// Copies the bytes alone: who may read them is for the user's umask to say, not for the source.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = File::open(from).and_then(|mut source| std::io::copy(&mut source, &mut File::create(to)?));
    copied.map(drop).map_err(|source| Error::io("copy to the backbone", from, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| Error::io("write", path, source))
}
