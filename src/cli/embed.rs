//! Owns `frosthead embed`: a table of texts → a Parquet of features, a stream of Arrow → one with features.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::given::Given;
#[cfg(feature = "parquet")]
use super::given::{Idle, names};
use super::options::{LongArguments, RuntimeArguments, StrictArguments, TableArguments, TrustArguments};
use super::stores::{DepthArguments, StoreArguments};
#[cfg(feature = "parquet")]
use super::streamed::write_to;
use super::terminal::{Terminal, grouped};
#[cfg(feature = "parquet")]
use frosthead::internal::data::ArrowInput;
use frosthead::internal::data::{Format, Source};
#[cfg(feature = "parquet")]
use frosthead::internal::embed::{EmbedOptions, Extractor, StreamRequest, check_columns, embed_stream};
use frosthead::internal::embed::{EmbedRequest, Embedded, embed_file};
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::quantities::counted;
use frosthead::internal::recognize::shell_word;

/// Compute the sentence embeddings of a table of texts, once, and write them to Parquet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead embed data.csv --backbone models/all-MiniLM-L6-v2 --out features.parquet
  cat reviews.jsonl | frosthead embed - --format jsonl --text review --backbone models/all-MiniLM-L6-v2 --out features.parquet
  producer | frosthead embed - --format arrow --backbone models/all-MiniLM-L6-v2 --out - | consumer")]
pub(crate) struct Arguments {
    /// CSV, TSV, JSONL, Parquet or text file, or a stream of Arrow; `-` is standard input.
    data: String,
    /// The backbone directory, or a run or bundle for its trained backbone.
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// The Parquet to write. With --format arrow a stream of Arrow: every batch with its features as soon as
    /// they are computed, and nothing is stored; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Add a column `features` beside `embedding`: `layers:A-B` or `all`, the mean states of these layers,
    /// side by side. In a stream, `layers:A-B` stands alone, and no layer above is run.
    #[arg(long, value_name = "WHICH", default_value_t = FeatureChoice::default())]
    features: FeatureChoice,
    /// Write the text column too (the other columns always are).
    #[arg(long)]
    keep_text: bool,
    /// Replace an output that was made from something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    long: LongArguments,
    #[command(flatten)]
    depth: DepthArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    given.refuse([TrustArguments::idle([&*arguments.backbone]), arguments.long.idle()])?;
    let source = arguments.table.source(&arguments.data)?;
    if source.format == Format::Arrow {
        return embed_arrow(arguments, given, &source, terminal);
    }
    refuse_other_format(&arguments.out)?;
    let runtime = arguments.runtime.load(terminal)?;
    let text = arguments.table.text()?;
    let backbone = arguments.trust.open_backbone(&arguments.backbone, &runtime)?;
    let backbone = Arc::new(arguments.depth.cut(backbone)?.reading(text.are_pairs())?);
    given.refuse([StoreArguments::idle([&*backbone])])?;
    let max_length = backbone.manifest().preparation.max_length;
    let long = arguments.long.resolve(&backbone, || false)?;
    let (mut embedder, rows) = arguments.store.open(backbone, runtime, long, &[&source], terminal)?;
    let request = EmbedRequest {
        source: &source,
        text,
        output: &arguments.out,
        features: arguments.features,
        keep_text: arguments.keep_text,
        strict: arguments.texts.strict,
        overwrite: arguments.overwrite,
    };
    let mut progress = terminal.progress(rows);
    let embedded = embed_file(&mut embedder, &request, &mut |state| progress.show(state))?;
    drop(progress);
    match embedded {
        Embedded::UpToDate(notes) => {
            terminal.notes(&notes, long, max_length);
            terminal.say(format!("{}: up to date", arguments.out.display()));
        }
        Embedded::Written(summary) => {
            terminal.notes(&summary.notes, long, max_length);
            terminal.left_out(&summary.left_out);
            terminal.say(format!(
                "{}: {} of {} numbers ({} computed, {} from the store)",
                arguments.out.display(),
                counted(summary.notes.rows, "row"),
                grouped(summary.dimensions as u64),
                counted(summary.computed, "text"),
                grouped(summary.reused)
            ));
        }
    }
    Ok(Outcome::Done)
}

/// Embeds a stream of Arrow.
#[cfg(feature = "parquet")]
fn embed_arrow(
    arguments: &Arguments,
    given: &Given,
    source: &Source,
    terminal: &Terminal,
) -> Result<Outcome> {
    let nothing_stored = Idle {
        when: true,
        options: names(&["cache", "store-layers"]),
        why: "of a stream of Arrow nothing is stored",
        instead: "embed a table",
    };
    let all_carried = Idle {
        when: true,
        options: names(&["keep-text"]),
        why: "a stream of Arrow keeps all its columns",
        instead: "",
    };
    given.refuse([nothing_stored, all_carried])?;
    let input = ArrowInput::open(source)?;
    let runtime = arguments.runtime.load(terminal)?;
    let text = arguments.table.text()?;
    let backbone = arguments.trust.open_backbone(&arguments.backbone, &runtime)?;
    let backbone = Arc::new(arguments.depth.cut(backbone)?.reading(text.are_pairs())?);
    check_columns(&backbone, &text)?;
    let max_length = backbone.manifest().preparation.max_length;
    let long = arguments.long.resolve(&backbone, || false)?;
    let (features, strict) = (arguments.features, arguments.texts.strict);
    let request = StreamRequest { text, features, strict };
    let mut load = |load| {
        let (runtime, batching) = arguments.store.batching(&backbone, &runtime, load, terminal);
        let options = EmbedOptions { stored: features, batching, long, load };
        Extractor::new(Arc::clone(&backbone), &runtime, &options)
    };
    let mut progress = terminal.progress(None);
    let notes = write_to(Some(&arguments.out), arguments.overwrite, |out| {
        embed_stream((&backbone, &mut load), &request, input, out, &mut |state| progress.show(state))
    })?;
    drop(progress);
    terminal.notes(&notes, long, max_length);
    terminal.say(format!("{}: {}", arguments.out.display(), counted(notes.rows, "row")));
    Ok(Outcome::Done)
}

/// This build has no Arrow.
#[cfg(not(feature = "parquet"))]
fn embed_arrow(_: &Arguments, _: &Given, source: &Source, _: &Terminal) -> Result<Outcome> {
    Err(Error::new(Kind::Usage, "this build of frosthead does not read Arrow").at(source.name()))
}

/// Refuses an output whose extension promises another format than the one that is written.
fn refuse_other_format(out: &Path) -> Result<()> {
    if out == Path::new("-") {
        return Err(Error::new(Kind::Usage, "Parquet cannot be written to standard output")
            .found("--out -")
            .help("its table of contents is at the end: name a file, or say --format arrow for streams"));
    }
    match Format::of_path(out) {
        Ok(Format::Parquet) | Err(_) => Ok(()),
        Ok(format) => Err(Error::new(Kind::Usage, "features are written as Parquet")
            .at(out)
            .found(format!("an extension of {format}"))
            .expected(".parquet")
            .help(format!("say --out {}", shell_word(&out.with_extension("parquet").display().to_string())))),
    }
}
