//! Owns the options several commands share: the runtime, the table, the cache.
//!
//! Refuses to interpret them beyond what the library's own parsers do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::given::{Idle, names};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::bundle::PublicKey;
use frosthead::internal::classifier::{Model, open_trusted_backbone};
use frosthead::internal::data::{Delimiter, Format, Quoting, Reading, Source, TextColumns, TextEncoding};
use frosthead::internal::embed::MemoryPlan;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::quantities::{MemorySize, date};
use frosthead::internal::recognize::{Thing, shell_word};
use frosthead::internal::runtime::{Device, Load, Runtime, RuntimeOptions};
#[cfg(feature = "train")]
use frosthead::internal::tokens::{LongTexts, WindowOptions};
use frosthead::internal::tuning::{self, Applied};

/// Where and how the network runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct RuntimeArguments {
    /// ONNX Runtime's library, or the directory that holds it.
    #[arg(long, value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads to use [default: as tuned, else all cores this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl RuntimeArguments {
    pub(crate) fn options(&self) -> RuntimeOptions {
        RuntimeOptions {
            library: self.onnxruntime.clone(),
            device: self.device,
            threads: self.threads.map(usize::from),
        }
    }

    pub(crate) fn load(&self, terminal: &Terminal) -> Result<Arc<Runtime>> {
        let runtime = Runtime::load(&self.options())?;
        terminal.detail(format!(
            "ONNX Runtime {} from {}, {}, {} threads",
            runtime.version(),
            runtime.library().display(),
            runtime.device(),
            runtime.threads()
        ));
        Ok(Arc::new(runtime))
    }
}

/// Whether what `frosthead tune` found is used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct TuningArguments {
    /// Ignore what `frosthead tune` found for this network on this machine.
    #[arg(long)]
    no_tuning: bool,
}

impl TuningArguments {
    /// Where tunings are looked for.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        if self.no_tuning { None } else { tuning::folder() }
    }

    pub(crate) fn are_ignored(&self) -> bool {
        self.no_tuning
    }

    /// A backbone's threads and batches here, for many texts at a time.
    pub(crate) fn apply(&self, backbone: &Backbone, runtime: &Runtime) -> Applied {
        tuning::apply(self.folder().as_deref(), backbone, runtime, Load::Many)
    }

    /// The same, said, with the batches that were asked for.
    pub(crate) fn apply_with(
        &self,
        load: Load,
        token_budget: Option<usize>,
        backbone: &Backbone,
        runtime: &Runtime,
        terminal: &Terminal,
    ) -> Applied {
        let mut applied = tuning::apply(self.folder().as_deref(), backbone, runtime, load);
        let batching = &mut applied.batching;
        batching.token_budget = token_budget.unwrap_or(batching.token_budget);
        self.show(&applied, terminal);
        applied
    }

    /// Says how a network is run, and warns of a tuning that cannot be used.
    pub(crate) fn show(&self, applied: &Applied, terminal: &Terminal) {
        if let Some(problem) = &applied.problem {
            terminal.warn(format!("{problem}; {}", problem.remedy().unwrap_or_default()));
        }
        let why = match &applied.kept {
            Some(kept) => format!("tuned {}", date(kept.tuned)),
            None if self.no_tuning => "--no-tuning".to_owned(),
            None => "not tuned".to_owned(),
        };
        terminal.detail(format!("{} ({why})", applied.setting()));
    }
}

/// How much memory the process may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct MemoryArguments {
    /// Keep the whole process below this much memory, like 96M or 1G (of 1,024): chooses threads (unless
    /// --threads says) and tokens per batch, or says how much would be enough.
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemorySize>,
}

impl MemoryArguments {
    pub(crate) fn limit(&self) -> Option<u64> {
        self.memory.map(|size| size.0)
    }

    /// Says what was planned.
    pub(crate) fn show(plan: Option<&MemoryPlan>, terminal: &Terminal) {
        if let Some(plan) = plan {
            terminal.detail(format!("memory: {}", describe_plan(plan)));
        }
    }
}

/// A memory plan, for people.
pub(crate) fn describe_plan(plan: &MemoryPlan) -> String {
    format!(
        "{} tokens a batch (one text has at most {}), {} rehearsed and {} in reserve, of {}",
        grouped(plan.token_budget as u64),
        grouped(plan.longest as u64),
        bytes(plan.rehearsed),
        bytes(plan.reserve),
        bytes(plan.limit)
    )
}

/// Which bundles may be loaded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bundles")]
pub(crate) struct TrustArguments {
    /// Load only a bundle that is signed with this minisign public key (RW…, or its .pub file).
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) trust: Option<PublicKey>,
    /// Do not check that a bundle computes here what it computed where it was made.
    #[arg(long)]
    pub(crate) skip_self_test: bool,
}

impl TrustArguments {
    /// What has no effect where none of these is a bundle.
    pub(crate) fn idle<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Idle {
        let is_no_bundle = |path: &Path| matches!(Thing::of(path), Thing::Run | Thing::Backbone);
        Idle {
            when: paths.into_iter().all(is_no_bundle),
            options: names(&["skip-self-test"]),
            why: "only a bundle has a self-test",
            instead: "give a bundle",
        }
    }

    /// Opens what can stand for a backbone.
    pub(crate) fn open_backbone(&self, path: &Path, runtime: &Runtime) -> Result<Backbone> {
        let runtime = (!self.skip_self_test).then_some(runtime);
        open_trusted_backbone(path, self.trust.as_ref(), runtime)
    }
}

/// How a table is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Table")]
pub(crate) struct TableArguments {
    /// csv, tsv, jsonl, json, parquet or lines [default: by the file's extension]. Tables may be compressed
    /// (gzip, zstd).
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What separates the cells of a row, like ';', or '\t' for a tab [default: a comma in CSV, a tab in
    /// TSV].
    #[arg(long, value_name = "C")]
    delimiter: Option<Delimiter>,
    /// How quotes at the start of a cell are read: `auto`, as the beginning of a quoted cell, and an error
    /// where that is doubtful; `double`, always so; `none`, as plain text [default: auto].
    #[arg(long, value_name = "HOW")]
    quoting: Option<Quoting>,
    /// The encoding of a text table, like windows-1252, utf-16le or shift_jis [default: by its byte-order
    /// mark, else UTF-8, or UTF-16 where it can be nothing else].
    #[arg(long, value_name = "NAME")]
    encoding: Option<TextEncoding>,
    /// The column that holds the text [default: the one that the run or bundle was trained with, else
    /// `text`]. Give it twice for pairs of texts: both columns are read together, in this order.
    #[arg(long, value_name = "COLUMN")]
    text: Vec<String>,
}

/// Which texts are taken.
#[derive(Debug, Args)]
#[command(next_help_heading = "Table")]
pub(crate) struct StrictArguments {
    /// Treat empty texts and NUL bytes as errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

impl TableArguments {
    /// A table named on the command line: the one that the command is about, or one beside it.
    pub(crate) fn source_of(&self, data: &str, about: &str) -> Result<Source> {
        if data == about { self.source(data) } else { self.source_beside(data) }
    }

    /// The table named on the command line; a bare `-` is one text a line unless --format says otherwise.
    pub(crate) fn source(&self, data: &str) -> Result<Source> {
        self.unread(data)?.with(self.reading())
    }

    /// A table beside the one that the command is about: what of the options fits its format holds for it
    /// too.
    fn source_beside(&self, data: &str) -> Result<Source> {
        self.fitted(self.unread(data)?)
    }

    /// The same for a table whose format is its own.
    pub(crate) fn fitted(&self, source: Source) -> Result<Source> {
        let reading = self.reading().fitting(source.format);
        source.with(reading)
    }

    fn unread(&self, data: &str) -> Result<Source> {
        Source::new(data, self.format)
    }

    /// The text columns that --text says, if it was said.
    fn said(&self) -> Result<Option<TextColumns>> {
        let wrong = |what: &str| Error::new(Kind::Usage, what.to_owned()).found(self.texts_as_said());
        match &self.text[..] {
            [] => Ok(None),
            [one] => Ok(Some(TextColumns::new(one, None))),
            [first, second] if first != second => Ok(Some(TextColumns::new(first, Some(second)))),
            [_, _] => Err(wrong("a pair of texts needs two columns").expected("two different columns")),
            _ => {
                Err(wrong("no more than two texts are read together")
                    .expected("--text once, or twice for pairs"))
            }
        }
    }

    fn texts_as_said(&self) -> String {
        self.text.iter().map(|name| format!("--text {}", shell_word(name))).collect::<Vec<_>>().join(" ")
    }

    /// The text columns where no model knows them.
    pub(crate) fn text(&self) -> Result<TextColumns> {
        Ok(self.said()?.unwrap_or_else(|| TextColumns::DEFAULT.into()))
    }

    /// The text columns: what --text says, else what the model was trained with.
    pub(crate) fn text_of(&self, model: &Model) -> Result<TextColumns> {
        self.text_or(model.text_columns(), model.path())
    }

    /// What --text says, else the text columns that are `known` of what lies at `path`: one, or two if it was
    /// trained with pairs.
    pub(crate) fn text_or(&self, known: Option<TextColumns>, path: &Path) -> Result<TextColumns> {
        let pairs = known.as_ref().is_some_and(TextColumns::are_pairs);
        let Some(said) = self.said()? else {
            return Ok(match known {
                Some(known) => {
                    let what = if pairs { "a text column" } else { "the text column" };
                    let from = Some(format!("{what} that {} was trained with", path.display()));
                    TextColumns { from, ..known }
                }
                None => TextColumns::DEFAULT.into(),
            });
        };
        if said.are_pairs() == pairs {
            return Ok(said);
        }
        let error =
            |what: &str| Error::new(Kind::Usage, what.to_owned()).at(path).found(self.texts_as_said());
        Err(if pairs {
            error("this model reads pairs of texts").expected("--text COLUMN twice, the first text's first")
        } else {
            error("this model reads texts one by one").expected("--text COLUMN once")
        })
    }

    fn reading(&self) -> Reading {
        Reading { delimiter: self.delimiter, quoting: self.quoting, encoding: self.encoding }
    }
}

/// What happens to texts beyond the model's limit.
#[derive(Debug, Args)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct LongArguments {
    /// What to do with texts beyond the model's limit: `truncate` cuts off their end; `windows` reads them to
    /// the end, window by window, and takes the mean of their features.
    #[arg(long, value_name = "HOW")]
    long: Option<LongChoice>,
    /// Tokens of a window, special tokens included [default: 128, or the backbone's limit if that is less].
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens from the start of one window to the start of the next [default: a whole window, so that no
    /// token is read twice].
    #[arg(long, value_name = "M")]
    stride: Option<usize>,
    /// At most so many windows of a text; the rest is cut off [default: no limit].
    #[arg(long, value_name = "N")]
    max_windows: Option<usize>,
}

/// The values of `--long`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LongChoice {
    Truncate,
    Windows,
}

/// What was asked for.
impl fmt::Display for LongArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { long, window, stride, max_windows } = self;
        write!(f, "{long:?} {window:?} {stride:?} {max_windows:?}")
    }
}

impl LongArguments {
    /// What was asked for, if anything was.
    #[cfg(feature = "train")]
    pub(crate) fn asked(&self) -> Option<String> {
        let said = self.long.is_some() || self.is_shaped();
        said.then(|| self.to_string())
    }

    /// What has no effect on texts that are cut off.
    #[cfg(feature = "train")]
    pub(crate) fn idle(&self) -> Idle {
        Idle {
            when: self.long == Some(LongChoice::Truncate),
            options: names(&["window", "stride", "max-windows"]),
            why: "--long truncate cuts texts off instead of reading them in windows",
            instead: "say --long windows",
        }
    }

    #[cfg(feature = "train")]
    fn is_shaped(&self) -> bool {
        self.window.or(self.stride).or(self.max_windows).is_some()
    }

    /// What was asked for; windows by default when any text of these tables is longer than the backbone's
    /// limit and its tokenizer can be given texts in pieces.
    #[cfg(feature = "train")]
    pub(crate) fn resolve_for(
        &self,
        backbone: &Backbone,
        sources: &[&Source],
        text: &TextColumns,
    ) -> Result<LongTexts> {
        self.resolve(backbone, || {
            // Pairs are never read in windows.
            let TextColumns { first: text, second: None, .. } = text else { return false };
            backbone.tokenizer().check_pieces().is_ok()
                && sources.iter().any(|source| frosthead::internal::embed::any_longer(backbone, source, text))
        })
    }

    /// What was asked for; windows when only their shape was, and otherwise when `windows_by_default`.
    #[cfg(feature = "train")]
    pub(crate) fn resolve(
        &self,
        backbone: &Backbone,
        windows_by_default: impl FnOnce() -> bool,
    ) -> Result<LongTexts> {
        let Self { long, window, stride, max_windows } = *self;
        let windows = match long {
            Some(long) => long == LongChoice::Windows,
            None => self.is_shaped() || windows_by_default(),
        };
        if !windows {
            return Ok(LongTexts::Truncate);
        }
        let window = window.unwrap_or(WindowOptions::within(backbone.positions()).window);
        Ok(LongTexts::Windows(WindowOptions { window, stride, most: max_windows }))
    }
}
