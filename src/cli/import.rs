//! Owns `frosthead import`: where the source is found, and what was made of it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::inspect::pooling;
use super::printing::{Columns, print, table};
use super::terminal::{Terminal, bytes};
use frosthead::internal::backbone::{Catalog, CatalogEntry, ImportOptions, Imported, import};
use frosthead::internal::encoder::Pooling;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::recognize::{Thing, Wanted};
use frosthead::internal::runtime::RuntimeOptions;

/// Make a backbone directory from a pre-trained encoder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead import downloads/all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2
  frosthead import sentence-transformers/all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2
  frosthead import                      (lists encoders to choose from)
  frosthead import encoder.onnx --tokenizer tokenizer.json --pooling mean --out models/encoder")]
pub(crate) struct Arguments {
    /// A downloaded Hugging Face model (its folder), a name from the catalogue, a hub id
    /// (organisation/name[@revision]), or an .onnx file. Without it, the catalogue is listed.
    source: Option<String>,
    /// The backbone directory to make.
    #[arg(long, value_name = "DIR", requires = "source")]
    out: Option<PathBuf>,
    /// Put this in front of every text [default: the model's own default prompt, mostly none].
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt", requires = "source")]
    prefix: Option<String>,
    /// Put the model's prompt of this name in front of every text.
    #[arg(long, value_name = "NAME", requires = "source")]
    prompt: Option<String>,
    /// How token states become one embedding: `mean`, `cls` or `max` [default: as the model says, else mean].
    /// Not for an .onnx file whose output is pooled already.
    #[arg(long, value_name = "HOW", requires = "source")]
    pooling: Option<Pooling>,
    /// Scale embeddings to length 1 [default: as the model says, else no].
    #[arg(long, value_name = "YES", requires = "source")]
    normalize: Option<bool>,
    /// The most tokens that are read of a text [default: as the model says].
    #[arg(long, value_name = "TOKENS", requires = "source")]
    max_length: Option<usize>,
    /// The tokenizer.json, if it is not beside the model.
    #[arg(long, value_name = "FILE", requires = "source")]
    tokenizer: Option<PathBuf>,
    /// Replace a backbone directory that was made from something else.
    #[arg(long, requires = "source")]
    overwrite: bool,
    /// ONNX Runtime's library, or the folder with it: the model is tried before it is kept.
    #[arg(long, value_name = "PATH", help_heading = "Runtime", requires = "source")]
    onnxruntime: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome> {
    let Some(source) = &arguments.source else {
        print(&listed(&Catalog::built_in()?))?;
        return Ok(Outcome::Done);
    };
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
    let entry = known(source, terminal)?;
    let Some(out) = &arguments.out else {
        return Err(Error::new(Kind::Usage, "where is the backbone to be made?")
            .expected("--out DIR")
            .help(format!("say --out models/{}", source.rsplit('/').next().unwrap_or(source))));
    };
    let source = locate(source, entry.as_ref(), &mut options, terminal)?;
    let importing = terminal.working(format!("{}: being imported", out.display()));
    let imported = import(&source, out, &options)?;
    drop(importing);
    say_imported(&imported, out, terminal);
    Ok(Outcome::Done)
}

fn say_imported(imported: &Imported, out: &Path, terminal: &Terminal) {
    let Imported { manifest, up_to_date, trial, notes } = imported;
    let done = if *up_to_date { "up to date" } else { "imported" };
    let preparation = &manifest.preparation;
    terminal.say(format!(
        "{}: {done}: {}, {} dimensions, {}{}, at most {} tokens ({}){}{}",
        out.display(),
        manifest.layers().zip(manifest.family()).map_or_else(
            || "ONNX graph".to_owned(),
            |(layers, family)| format!("{family} with {layers} layers")
        ),
        manifest.embedding_size(),
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
        .filter_map(|name| std::fs::metadata(out.join(name)).ok())
        .map(|file| file.len())
        .sum();
    terminal.detail(format!(
        "{} on disk, licence {}",
        bytes(size),
        manifest.source.licence.as_deref().unwrap_or("unknown")
    ));
}

/// The catalogue, for people.
fn listed(catalog: &Catalog) -> String {
    let titles = ["name", "family", "licence", "languages", "MB", "width", "tokens", "take it for"];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    for entry in catalog.entries() {
        let CatalogEntry { name, family, licence, languages, megabytes, dimensions, longest, .. } = entry;
        let numbers = [megabytes, dimensions, longest].map(ToString::to_string);
        let mut purpose = entry.purpose.clone();
        if let Some(measured) = &entry.measured {
            purpose = format!("{purpose}; measured: {measured}");
        }
        let words = [name, family, licence, languages].map(Clone::clone);
        lines.push(words.into_iter().chain(numbers).chain([format!("{purpose} ({})", entry.hub)]).collect());
    }
    let table = table(Columns { numbers: (4, 7), ..Columns::keyed(1) }, &lines);
    format!(
        "{table}\nfrosthead import NAME --out models/NAME downloads one; any other is imported by its hub id \
         or directory.\nChecked: {}.\n",
        catalog.checked
    )
}

/// The entry of the catalogue that a source names, if it names one.
///
/// # Errors
/// It is nothing that can be imported: then the catalogue is shown.
fn known(source: &str, terminal: &Terminal) -> Result<Option<CatalogEntry>> {
    let catalog = Catalog::built_in()?;
    let entry = catalog.find(source);
    let path = Path::new(source);
    if entry.is_some() || path.exists() || source.contains(['/', '.']) {
        return Ok(entry.cloned());
    }
    terminal.say(listed(&catalog));
    Err(Error::new(Kind::Io, "there is no such encoder")
        .found(format!("{source:?}, neither a file nor a directory here, nor a name of the catalogue"))
        .expected("a Hugging Face directory, an .onnx file, a name of the catalogue, or a hub id (organisation/name)")
        .help("choose one of the catalogue above, or give the path or the hub id"))
}

/// A path that exists wins over a catalogue name, and that over a hub id.
fn locate(
    source: &str,
    entry: Option<&CatalogEntry>,
    options: &mut ImportOptions,
    terminal: &Terminal,
) -> Result<PathBuf> {
    let path = Path::new(source);
    if path.exists() {
        return match Thing::of(path) {
            thing if thing.is_importable() => Ok(path.to_path_buf()),
            thing => Err(thing.instead_of(Wanted::Source, Some(path))),
        };
    }
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
    Err(Error::new(Kind::Usage, "this build of frosthead cannot download models")
        .at(id)
        .help("download the model elsewhere and give its directory"))
}
