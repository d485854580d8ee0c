//! Owns the options of what is stored of texts and how much of a network is run for it: the feature store, the
//! depth.
//!
//! Refuses to start where what is to be stored cannot fit the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::given::{Idle, group, names};
use super::options::{LongArguments, StrictArguments, TrustArguments, TuningArguments};
use super::terminal::{Terminal, bytes, count_rows};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::data::Source;
use frosthead::internal::embed::{EmbedOptions, Embedder, RowLayout};
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::quantities::counted;
use frosthead::internal::runtime::{Load, Runtime};
use frosthead::internal::store::default_root;
#[cfg(all(feature = "parquet", feature = "train"))]
use frosthead::internal::tokens::Batching;
use frosthead::internal::tokens::LongTexts;

/// Where features are stored, and which.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Features")]
pub(crate) struct StoreArguments {
    /// `all` stores the mean states of every layer, so that other features cost no inference later; `last`
    /// stores the sentence embedding only [default: all, up to the highest layer of --features layers:A-B].
    #[arg(long, value_name = "WHICH", value_parser = parse_stored)]
    store_layers: Option<FeatureChoice>,
    #[command(flatten)]
    place: FeatureStoreArguments,
}

/// What has no effect where a table holds features, beside what its format has no use for: no text is read,
/// no network runs.
pub(crate) fn idle_on_features(when: bool) -> Idle {
    let mut options = names(&["text", "onnxruntime", "device"]);
    options.extend(group::<StrictArguments>());
    options.extend(group::<LongArguments>());
    options.extend(group::<StoreArguments>());
    options.extend(group::<TrustArguments>());
    Idle {
        when,
        options,
        why: "the table holds features, so no text is read and no network runs",
        instead: "give a table of texts",
    }
}

/// How much of a network is run.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Features")]
pub(crate) struct DepthArguments {
    /// Run only the lowest N layers (0: the embeddings alone): faster and smaller, without the sentence
    /// embedding. Heads see the states of those layers.
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,
}

impl DepthArguments {
    /// The backbone of which so much is run.
    #[cfg(feature = "train")]
    pub(crate) fn cut(self, backbone: Backbone) -> Result<Backbone> {
        match self.depth {
            Some(depth) => backbone.to_depth(depth),
            None => Ok(backbone),
        }
    }
}

/// Where features are stored, and how they are computed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Features")]
pub(crate) struct FeatureStoreArguments {
    /// The feature store [default: $FROSTHEAD_CACHE, else the user's cache directory].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Tokens in a batch, padding included [default: as tuned, else 256; 1024 on a GPU].
    #[arg(long, value_name = "N", value_parser = parse_budget)]
    token_budget: Option<usize>,
    #[command(flatten)]
    tuning: TuningArguments,
}

/// What rows of the store hold beside the sentence embedding.
pub(crate) fn parse_stored(text: &str) -> Result<FeatureChoice> {
    match text.parse() {
        Ok(stored @ (FeatureChoice::Last | FeatureChoice::All)) => Ok(stored),
        _ => Err(Error::new(Kind::Usage, "there is no such choice of stored layers")
            .found(format!("{text:?}"))
            .expected("last or all")),
    }
}

/// A number of tokens above 0.
pub(crate) fn parse_budget(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|budget| *budget > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

impl StoreArguments {
    /// What has no effect where none of these backbones has more than its sentence embedding to give.
    pub(crate) fn idle<'b>(backbones: impl IntoIterator<Item = &'b Backbone>) -> Idle {
        let embedding_only =
            |backbone: &Backbone| RowLayout::of(backbone, FeatureChoice::All).levels().is_empty();
        Idle {
            when: backbones.into_iter().all(embedding_only),
            options: names(&["store-layers"]),
            why: "the backbone's graph gives its sentence embedding only, no layer",
            instead: "",
        }
    }

    /// What is stored where nothing was asked for: all that a choice of features needs.
    #[cfg(feature = "train")]
    pub(crate) fn for_features(mut self, choice: FeatureChoice) -> Self {
        if matches!(choice, FeatureChoice::Layers { .. }) {
            self.store_layers.get_or_insert(FeatureChoice::holding([choice]));
        }
        self
    }

    /// How texts are put into batches where nothing is stored, and what runs them.
    #[cfg(all(feature = "parquet", feature = "train"))]
    pub(crate) fn batching(
        &self,
        backbone: &Backbone,
        runtime: &Runtime,
        load: Load,
        terminal: &Terminal,
    ) -> (Runtime, Batching) {
        let FeatureStoreArguments { token_budget, tuning, .. } = &self.place;
        let applied = tuning.apply_with(load, *token_budget, backbone, runtime, terminal);
        (applied.runtime, applied.batching)
    }

    /// Opens the backbone's place in the store, and checks that what `sources` may need fits the disk.
    pub(crate) fn open(
        &self,
        backbone: Arc<Backbone>,
        runtime: Arc<Runtime>,
        long: LongTexts,
        sources: &[&Source],
        terminal: &Terminal,
    ) -> Result<(Embedder, Option<u64>)> {
        let stored = self.store_layers.unwrap_or(FeatureChoice::All);
        self.place.open(stored, (backbone, runtime), long, sources, terminal)
    }
}

impl FeatureStoreArguments {
    /// As [`StoreArguments::open`], with what is stored.
    pub(crate) fn open(
        &self,
        stored: FeatureChoice,
        (backbone, runtime): (Arc<Backbone>, Arc<Runtime>),
        long: LongTexts,
        sources: &[&Source],
        terminal: &Terminal,
    ) -> Result<(Embedder, Option<u64>)> {
        let root = default_root(self.cache.as_deref())?;
        let applied = self.tuning.apply_with(Load::Many, self.token_budget, &backbone, &runtime, terminal);
        let options = EmbedOptions { stored, batching: applied.batching, long, ..EmbedOptions::default() };
        let embedder = Embedder::open(backbone, Arc::new(applied.runtime), &root, options)?;
        terminal.damage(embedder.damaged());
        terminal.unwritable(&root, embedder.unwritable());
        let counting = terminal.working("counting the rows");
        let rows = sources.iter().map(|source| count_rows(source)).sum::<Option<u64>>();
        drop(counting);
        if let Some(rows) = rows {
            check_space(&embedder, rows, &root, terminal)?;
        }
        Ok((embedder, rows))
    }
}

/// Says what storing up to `rows` new texts would take, and refuses to start when it cannot fit.
fn check_space(embedder: &Embedder, rows: u64, root: &Path, terminal: &Terminal) -> Result<()> {
    let (need, free) = embedder.space(rows)?;
    let stored = embedder.stored();
    let more = match need {
        0 => String::new(),
        need => format!("up to {} more for {}, ", bytes(need), counted(rows, "row")),
    };
    terminal.say(format!(
        "feature store {}: {}, {more}{} free",
        root.display(),
        counted(stored, "text"),
        bytes(free)
    ));
    let (missing, _) = embedder.space(rows.saturating_sub(stored))?;
    if missing <= free {
        return Ok(());
    }
    Err(Error::new(Kind::Space, "the feature store may not fit the disk")
        .at(root)
        .found(format!("{} free", bytes(free)))
        .expected(bytes(missing))
        .help("free some space, give another place with --cache, or say --store-layers last"))
}
