//! Owns the pairing of a backbone with its place in the feature store: which texts are missing, and computing
//! just those.
//!
//! Refuses to trust a damaged part (its rows are computed again) and to load the network when nothing is
//! missing.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::extractor::{Extractor, Work};
use super::features::FeatureRows;
use super::ids;
use super::layout::RowLayout;
use super::options::EmbedOptions;
use super::reader::Reader;
use super::stored_rows::StoredRows;
use super::windowed::WindowNotes;
use super::words::TextWords;
use crate::backbone::Backbone;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;
use crate::runtime::{Device, Load, Runtime, processor_kind};
use crate::store::{Damage, Owner, StoreKey, free_space, space_needed};
use crate::text::{AsText, Text, as_texts};
use crate::tokens::{Batching, Grams, LongTexts, Truncation};

/// How far a pass over a window of rows has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Rows finished before this window.
    pub rows_before: u64,
    /// Rows of this window.
    pub window: u64,
    /// Texts of this window that had to be computed.
    pub missing: u64,
    /// How many of those are done.
    pub computed: u64,
    /// Tokens computed so far, in all windows.
    pub tokens: u64,
}

impl Progress {
    /// So many rows are done, and none is half-done.
    #[must_use]
    pub fn of_rows(rows: u64) -> Self {
        Self { rows_before: rows, window: 0, missing: 0, computed: 0, tokens: 0 }
    }

    /// Rows that are done, counting a half-done window in proportion.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows_before + (self.window * self.computed).checked_div(self.missing).unwrap_or(self.window)
    }
}

/// A backbone with its place in the feature store.
pub struct Embedder {
    backbone: Arc<Backbone>,
    runtime: Arc<Runtime>,
    options: EmbedOptions,
    rows: StoredRows,
    root: PathBuf,
    layout: RowLayout,
    /// Loaded when the first missing text comes.
    extractor: Option<Extractor>,
    reused: u64,
    rows_before: u64,
    /// What stands in the texts, where heads look at that.
    words: Option<TextWords>,
}

impl Embedder {
    /// Opens the backbone's place in the store under `root`.
    ///
    /// # Errors
    /// The store cannot be opened, or texts cannot be read in such windows.
    pub fn open(
        backbone: Arc<Backbone>,
        runtime: Arc<Runtime>,
        root: &Path,
        options: EmbedOptions,
    ) -> Result<Self> {
        let layout = RowLayout::of(&backbone, options.stored);
        ids::windows(&backbone, options.long)?;
        let whole = RowLayout::whole(&backbone).unwrap_or(layout);
        let key = |layout: &RowLayout| store_key(&backbone, &runtime, layout, options.long);
        let rows = StoredRows::open(root, (layout, whole), &key)?;
        Ok(Self {
            backbone,
            runtime,
            options,
            rows,
            root: root.to_path_buf(),
            layout,
            extractor: None,
            reused: 0,
            rows_before: 0,
            words: None,
        })
    }

    /// What a stored row holds.
    #[must_use]
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// The backbone.
    #[must_use]
    pub fn backbone(&self) -> &Arc<Backbone> {
        &self.backbone
    }

    /// What runs it.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The place of the feature store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Parts of the store that could not be trusted; their rows are computed again.
    #[must_use]
    pub fn damaged(&self) -> &[Damage] {
        self.rows.damaged()
    }

    /// What the network was made to do so far; nothing when everything was stored.
    #[must_use]
    pub fn work(&self) -> Work {
        self.extractor.as_ref().map(|extractor| extractor.work().clone()).unwrap_or_default()
    }

    /// Texts in the store, of this backbone and layout.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.rows.count() as u64
    }

    /// Texts that were found in the store.
    #[must_use]
    pub fn reused(&self) -> u64 {
        self.reused
    }

    /// Bytes that storing up to `texts` more texts takes, and bytes free at the store.
    ///
    /// # Errors
    /// The file system cannot be asked.
    pub fn space(&self, texts: u64) -> Result<(u64, u64)> {
        Ok((space_needed(texts, self.layout.width()), free_space(&self.rows.store().written_to())?))
    }

    /// Why nothing can be written to the store, if nothing can: what is computed is not kept.
    #[must_use]
    pub fn unwritable(&self) -> Option<&Error> {
        self.rows.store().unwritable()
    }

    /// From now on, what stands in texts that are [ensured](Self::ensure) is kept, at these places: rows that
    /// are read have it.
    ///
    /// # Errors
    /// Texts cannot be read in such windows.
    pub fn look_at_words(&mut self, grams: Grams) -> Result<()> {
        if self.words.as_ref().is_none_or(|words| *words.grams() != grams) {
            let (backbone, spacing) = (Arc::clone(&self.backbone), self.options.batching.spacing);
            let reader = Reader::new(backbone, self.options.long, spacing)?;
            self.words = Some(TextWords::new(reader, grams, self.runtime.threads()));
        }
        Ok(())
    }

    /// The places that words take in its own vocabulary.
    #[must_use]
    pub fn own_grams(&self) -> Grams {
        Grams::of(self.backbone.tokenizer().vocabulary_size())
    }

    /// Computes and stores what is missing of a window's texts. `keys[i]` is the key of `texts[i]`.
    ///
    /// # Errors
    /// The texts are of another kind than the backbone reads; tokenising, running or storing fails; what was stored before stays.
    pub fn ensure(
        &mut self,
        texts: &[impl AsText],
        keys: &[TextKey],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<()> {
        let texts = &as_texts(texts)[..];
        self.words.as_mut().map_or(Ok(()), |words| words.ensure(texts, keys))?;
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            if seen.insert(*key) {
                if self.rows.contains(key) {
                    self.reused += 1;
                } else {
                    missing.push(index);
                }
            }
        }
        let mut state = Progress {
            rows_before: self.rows_before,
            window: texts.len() as u64,
            missing: missing.len() as u64,
            computed: 0,
            tokens: self.extractor.as_ref().map_or(0, |extractor| extractor.work().tokens),
        };
        if !missing.is_empty() {
            self.compute(texts, keys, &missing, &mut state, progress)?;
        }
        progress(&state);
        self.rows_before += texts.len() as u64;
        Ok(())
    }

    fn compute(
        &mut self,
        texts: &[Text<'_>],
        keys: &[TextKey],
        missing: &[usize],
        state: &mut Progress,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<()> {
        self.load_for(missing.len())?;
        let Self { extractor: Some(extractor), rows, layout, .. } = self else {
            unreachable!("the extractor was just made: its absence is a bug")
        };
        let chosen: Vec<Text<'_>> = missing.iter().map(|&index| texts[index]).collect();
        let counts = layout.token_counts();
        let computed = extractor.extract(&chosen, &mut |position, row| {
            rows.append(keys[missing[position]], row)?;
            state.computed += 1;
            state.tokens += stored_count(row[counts.start]);
            progress(state);
            Ok(())
        });
        computed.map_err(|error| error.map_text(|position| missing[position]))
    }

    /// Loads the network, for few texts or for many.
    fn load_for(&mut self, texts: usize) -> Result<()> {
        let load = Load::of_texts(texts);
        if self.extractor.is_some() && (self.options.load == Load::Many || load == Load::Few) {
            return Ok(());
        }
        self.options.load = load;
        let work = self.extractor.take().map(|few| few.work().clone()).unwrap_or_default();
        let extractor = Extractor::new(Arc::clone(&self.backbone), &self.runtime, &self.options)?;
        self.extractor = Some(extractor.having_done(work));
        Ok(())
    }

    /// Reads a part of a text's row (see `RowLayout`).
    ///
    /// # Errors
    /// The text was not [ensured](Self::ensure) before, or the store cannot be read.
    pub fn read(&self, key: &TextKey, first: usize, out: &mut [f32]) -> Result<()> {
        if self.rows.read(key, first, out)? {
            return if out.iter().all(|number| number.is_finite()) { Ok(()) } else { Err(self.not_finite()) };
        }
        Err(Error::new(Kind::Store, "a stored feature is gone")
            .found(format!("no row for text {key}"))
            .help("another program may have emptied the cache; run the command again"))
    }

    /// What versions stored that did not look at their numbers.
    fn not_finite(&self) -> Error {
        Error::new(Kind::Store, "a stored feature is not finite")
            .at(&self.root)
            .found(format!("features of {}", self.backbone.directory().display()))
            .expected("finite numbers")
            .help("an older version has stored it: empty the cache (frosthead cache prune --max-bytes 0), and the row is named")
    }

    /// These places of many texts' rows.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_rows(&self, keys: &[TextKey], places: Range<usize>) -> Result<FeatureRows> {
        let mut numbers = vec![0.0; keys.len() * places.len()];
        for (key, row) in keys.iter().zip(numbers.chunks_exact_mut(places.len().max(1))) {
            self.read(key, places.start, row)?;
        }
        let words = self.words.as_ref().map(|words| words.rows(keys)).transpose()?;
        Ok(FeatureRows::new(places, numbers).with_words(words))
    }

    /// Where a choice of features lies in a row.
    ///
    /// # Errors
    /// The backbone's layers are not known or not stored, or there is no such layer.
    pub fn columns(&self, choice: FeatureChoice) -> Result<Range<usize>> {
        self.columns_at(choice, None)
    }

    /// The same for a choice of the network cut to `depth`: what it gives lies in the whole row too.
    ///
    /// # Errors
    /// As [`Self::columns`], and the cut network has no such features.
    pub fn columns_at(&self, choice: FeatureChoice, depth: Option<usize>) -> Result<Range<usize>> {
        if choice == FeatureChoice::Last || self.backbone.layers().is_some() {
            return depth.map_or(self.layout, |depth| self.layout.to_depth(depth)).columns(choice);
        }
        Err(Error::new(Kind::Usage, "this backbone has no layers to choose from")
            .at(self.backbone.directory())
            .found(format!("--features {choice}, and an imported .onnx file or a bundle of 8-bit weights: its layers are not known"))
            .expected("--features last")
            .help("import the model from its Hugging Face directory (model.safetensors) to use its layers"))
    }

    /// What happens to texts beyond the model's limit.
    #[must_use]
    pub fn long(&self) -> LongTexts {
        self.options.long
    }

    /// How texts are put into batches.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.options.batching
    }

    /// What became of a stored text that was longer than the limit: what it lost, and the windows it was read
    /// in.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn counts(&self, key: &TextKey) -> Result<(Truncation, WindowNotes)> {
        let mut counts = [0.0; 2];
        self.read(key, self.layout.token_counts().start, &mut counts)?;
        let lost = counts[1];
        let truncation = Truncation {
            texts: u64::from(lost != 0.0),
            tokens_lost: stored_count(lost.abs()),
            at_least: lost.is_sign_negative() && lost != 0.0,
        };
        let LongTexts::Windows(options) = self.options.long else {
            return Ok((truncation, WindowNotes::default()));
        };
        // Every window but the last is full.
        let windows = stored_count(counts[0]).div_ceil(options.window as u64);
        let notes = WindowNotes { texts: 1, windows };
        Ok((truncation, if windows > 1 { notes } else { WindowNotes::default() }))
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.rows.flush()
    }
}

/// What can change any value that a backbone computes, except the text and where the network is cut.
pub(super) fn key_fields(backbone: &Backbone, runtime: &Runtime) -> BTreeMap<String, String> {
    let mut fields = backbone.values();
    let device = match runtime.device() {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
    };
    fields.insert("device".into(), device.into());
    fields.insert("onnxruntime".into(), runtime.version().into());
    fields.insert("long texts".into(), "truncate".into());
    fields
}

/// Whose the stored values are.
pub(super) fn owner(backbone: &Backbone) -> Owner {
    let path = backbone.directory();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string();
    Owner { name: backbone.manifest().name.clone(), path, fingerprint: backbone.fingerprint() }
}

/// The kind of processor that computes stored values; of a GPU, that of the machine says nothing.
pub(super) fn processor(runtime: &Runtime) -> Option<String> {
    (runtime.device() == Device::Cpu).then(processor_kind)
}

/// Everything that can change a stored value, except the text.
fn store_key(backbone: &Backbone, runtime: &Runtime, layout: &RowLayout, long: LongTexts) -> StoreKey {
    let mut fields = key_fields(backbone, runtime);
    fields.insert("long texts".into(), long.to_string());
    // A bundle in another precision says so itself.
    fields.entry("precision".into()).or_insert_with(|| "fp32".into());
    fields.insert("cut".into(), "after pooling".into());
    fields.insert("row".into(), layout.described());
    StoreKey { fields, owner: Some(owner(backbone)), processor: processor(runtime) }
}

fn stored_count(number: f32) -> u64 {
    number as u64
}
