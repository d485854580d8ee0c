//! Owns turning a Hugging Face directory into a backbone directory.
//!
//! Refuses anything it cannot reproduce exactly (another architecture, module, pooling mode), and leaves no
//! half-made directory behind. Foreign ONNX files are `onnx`'s work, downloads are `hub`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::decided::{
    Content, ImportNotes, ImportOptions, Limits, Plan, inputs, open_tokenizer, origin, preparation,
};
use super::layout::{self, Network};
use super::manifest::{FORMAT, Manifest, Preparation, Source};
use super::sentence_transformers;
use super::source;
use super::trial::{Trial, TrialReport};
use super::{EMBEDDING_GRAPH, LAYERS_GRAPH, MANIFEST, STANDARD_GRAPH, TOKENIZER, WEIGHTS};
use crate::document;
use crate::encoder::{self, Architecture, Config, GraphOptions, Operators, Outputs, Published, Weights};
use crate::error::{Error, Kind, Result};
use crate::files::replace_directory;
use crate::fingerprint::Fingerprint;
use crate::runtime::{Runtime, RuntimeOptions};
use crate::tokens::Tokenizer;

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
        let mut published = Published::open(&config_path)?;
        if let Some(dense) = &card.dense {
            published = published.with_dense(dense)?;
        }
        let config = published.config.clone();
        let tokenizer_path = match &options.tokenizer {
            Some(path) => path.clone(),
            None => layout::tokenizer(&[&card.folder, directory])?,
        };
        let tokenizer = open_tokenizer(&tokenizer_path, Some(config.vocabulary_size))?;
        check_padding(&published, &tokenizer).map_err(|error| error.at(&tokenizer_path))?;
        let (preparation, mut notes) = preparation(&card, options, &tokenizer, Limits::from(&config))
            .map_err(|error| error.or_at(directory))?;
        let left_out = published.left_out(&weights)?;
        if !left_out.is_empty() {
            let parts = left_out.join(", ");
            notes.choices.push(format!("left out, because no embedding depends on it: {parts}"));
        }
        let mut files = encoder::checkpoint_files(&weights)?;
        files.iter().try_for_each(|file| source::check(file))?;
        files.extend([config_path, tokenizer_path.clone()]);
        files.extend(published.other_files());
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
                family: Source::family_of(published.name),
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

/// Refuses a tokenizer of another family where positions are counted from the padding's id on: where it has
/// another one, every position would be another text's.
fn check_padding(published: &Published, tokenizer: &Tokenizer) -> Result<()> {
    let expected = published.config.pad_token_id;
    let found: Vec<u32> = tokenizer.padding_ids().collect();
    let [first, ..] = found[..] else { return Ok(()) };
    if !published.counts_from_padding() || found.contains(&expected) {
        return Ok(());
    }
    Err(Error::new(Kind::Tokenizer, "the tokenizer and the configuration do not belong together")
        .found(format!("the padding's id {first} in the tokenizer"))
        .expected(format!(
            "{expected}, which config.json says (pad_token_id), and by which {} counts positions",
            published.name
        ))
        .help("take both files from the model's own directory"))
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
        (LAYERS_GRAPH, Operators::Fused, Outputs::Vectors { means: config.layers + 1, embedding: true }),
        (STANDARD_GRAPH, Operators::Standard, Outputs::EMBEDDING),
    ]
    .into_iter()
    .map(|(name, operators, outputs)| {
        let options = GraphOptions { operators, outputs, ..GraphOptions::default() };
        Ok((name, encoder::inference_graph(&preparation.network(config, &weights), &options)?))
    })
    .collect()
}

/// Copies the bytes alone: who may read them is for the user's umask to say, not for the source.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = File::open(from).and_then(|mut source| std::io::copy(&mut source, &mut File::create(to)?));
    copied.map(drop).map_err(|source| Error::io("copy to the backbone", from, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| Error::io("write", path, source))
}
