//! Owns `frosthead import`: where the source is found, and what was made of it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::inspect::pooling;
use super::terminal::{Terminal, bytes};
use frosthead::internal::backbone::{Catalog, ImportOptions, Imported, import};
use frosthead::internal::encoder::Pooling;
use frosthead::internal::error::Result;
use frosthead::internal::recognize::{Thing, Wanted};
use frosthead::internal::runtime::RuntimeOptions;

/// Make a backbone directory from a pre-trained encoder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead import downloads/all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2
  frosthead import sentence-transformers/all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2
  frosthead import encoder.onnx --tokenizer tokenizer.json --pooling mean --out models/encoder")]
pub(crate) struct Arguments {
    /// A Hugging Face directory, a name from the catalogue, a hub id (organisation/name[@revision]), or an
    /// .onnx file.
    source: String,
    /// The backbone directory to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Put in front of every text; by default the model's own default prompt, mostly none.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt")]
    prefix: Option<String>,
    /// Use the model's prompt of that name as the prefix.
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// `mean` or `cls`; by default what the model says, else mean. A graph that has pooled its output already
    /// takes none.
    #[arg(long, value_name = "HOW")]
    pooling: Option<Pooling>,
    /// Scale embeddings to length 1; by default what the model says, else no.
    #[arg(long, value_name = "YES")]
    normalize: Option<bool>,
    /// Most tokens of a text; by default what the model says.
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// The tokenizer, when it does not lie beside the model.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Replace a backbone that was made from something else.
    #[arg(long)]
    overwrite: bool,
    /// ONNX Runtime's library, or the directory that holds it: what is imported is run before it is kept.
    #[arg(long, value_name = "PATH", help_heading = "Runtime")]
    onnxruntime: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome> {
    let mut options = ImportOptions {
        prefix: arguments.prefix.clone(),
        prompt: arguments.prompt.clone(),
        pooling: arguments.pooling,
        normalize: arguments.normalize,
        max_length: arguments.max_length,
        tokenizer: arguments.tokenizer.clone(),
        origin: None,
        overwrite: arguments.overwrite,
        runtime: RuntimeOptions { library: arguments.onnxruntime.clone(), ..RuntimeOptions::default() },
    };
    let source = locate(&arguments.source, &mut options, terminal)?;
    let importing = terminal.working(format!("{}: being imported", arguments.out.display()));
    let Imported { manifest, up_to_date, trial, notes } = import(&source, &arguments.out, &options)?;
    drop(importing);
    let done = if up_to_date { "up to date" } else { "imported" };
    let preparation = &manifest.preparation;
    terminal.say(format!(
        "{}: {done}: {}, {} dimensions, {}{}, at most {} tokens ({}){}{}",
        arguments.out.display(),
        manifest
            .layers()
            .map_or_else(|| "ONNX graph".to_owned(), |layers| format!("BERT with {layers} layers")),
        manifest.hidden_size,
        pooling(preparation),
        if preparation.normalize { ", normalised" } else { "" },
        preparation.max_length,
        notes.length,
        if preparation.prefix.is_empty() {
            String::new()
        } else {
            format!(", prefix {:?}", preparation.prefix)
        },
        manifest
            .source
            .output
            .as_ref()
            .map_or_else(String::new, |name| format!(", from its output {name:?}"))
    ));
    notes.choices.iter().for_each(|choice| terminal.say(format!("note: {choice}")));
    if let Some(trial) = trial {
        trial.notes.iter().for_each(|note| terminal.say(format!("note: {note}")));
        terminal.detail(format!("ran it on {} batches in {:.1} s", trial.batches, trial.seconds));
    }
    let size: u64 = manifest
        .files
        .keys()
        .filter_map(|name| std::fs::metadata(arguments.out.join(name)).ok())
        .map(|file| file.len())
        .sum();
    terminal.detail(format!(
        "{} on disk, licence {}",
        bytes(size),
        manifest.source.licence.as_deref().unwrap_or("unknown")
    ));
    Ok(Outcome::Done)
}

/// A path that exists wins over a catalogue name, and that over a hub id.
fn locate(source: &str, options: &mut ImportOptions, terminal: &Terminal) -> Result<PathBuf> {
    let path = Path::new(source);
    if path.exists() {
        return match Thing::of(path) {
            thing if thing.is_importable() => Ok(path.to_path_buf()),
            thing => Err(thing.instead_of(Wanted::Source, Some(path))),
        };
    }
    let catalog = Catalog::built_in()?;
    let entry = catalog.find(source);
    let id = entry.map_or(source, |entry| &entry.hub);
    let like_an_id = id.split('/').count() == 2 && !id.starts_with(['.', '/']) && !id.ends_with(".onnx");
    if !like_an_id {
        return Ok(path.to_path_buf());
    }
    download(id, entry.map(|entry| entry.sha256.clone()).unwrap_or_default(), options, terminal)
}

#[cfg(feature = "hub")]
fn download(
    id: &str,
    sha256: std::collections::BTreeMap<String, String>,
    options: &mut ImportOptions,
    terminal: &Terminal,
) -> Result<PathBuf> {
    terminal.say(format!("{id}: no such path here; downloading it from the hub"));
    let model = frosthead::internal::backbone::download(id, &sha256)?;
    let name = id.split('@').next().unwrap_or(id);
    options.origin = Some(format!("{name}@{}", model.revision));
    Ok(model.directory)
}

#[cfg(not(feature = "hub"))]
fn download(
    id: &str,
    _: std::collections::BTreeMap<String, String>,
    _: &mut ImportOptions,
    _: &Terminal,
) -> Result<PathBuf> {
    use frosthead::internal::error::{Error, Kind};
    Err(Error::new(Kind::Usage, "this build of frosthead cannot download models")
        .at(id)
        .help("download the model elsewhere and give its directory"))
}
