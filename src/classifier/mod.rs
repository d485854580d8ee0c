//! Owns the public type that predicts: [`Classifier`], texts → labels and probabilities for every task.
//!
//! Refuses to train and to measure itself: see `train` and `evaluate`.

mod answers;
#[cfg(feature = "train")]
mod bundling;
mod explain;
mod extractors;
mod measure;
mod model;
mod prediction;
pub mod run;
pub mod run_files;
mod tables;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backbone::Backbone;
use crate::bundle::{Bundle, CopyNote, PublicKey, SelfTest};
use crate::embed::{
    EmbedOptions, Extractor, MemoryPlan, Reader, RowLayout, WindowSpan, Work, check_loadable, threads_within,
};
use crate::encoder::ports;
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::quantize::Precision;
use crate::recognize::{Thing, Wanted};
use crate::runtime::{Load, Runtime, RuntimeOptions, rss_bytes};
use crate::text::AsText;
use crate::tokens::{LongTexts, Tokens};
use crate::tuning::{Applied, apply};
pub use answers::TaskAnswers;
#[cfg(feature = "train")]
pub use bundling::{BundleOptions, Deployed, bundle_run};
pub use explain::WordLogits;
use extractors::extractor_of_run;
#[cfg(feature = "train")]
pub use measure::{Calibrated, calibrate, enough_rows, limit_numbers};
pub use measure::{measure, probabilities, row_scores};
use model::is_bundle;
pub use model::{Model, refuse_unsigned};
use prediction::head_of_run;
pub(crate) use prediction::most_probable;
pub use prediction::{TaskPrediction, by_probability};
pub use run::Run;

/// How a classifier is opened.
#[derive(Debug, Default)]
pub struct OpenOptions {
    /// Library, device and threads.
    pub runtime: RuntimeOptions,
    /// Where the backbone lies, when it is not where the run says.
    pub backbone: Option<std::path::PathBuf>,
    /// Load nothing but a bundle that was signed with this key.
    pub trust: Option<PublicKey>,
    /// Do not run a bundle's golden sentences.
    pub skip_self_test: bool,
    /// For how many texts at a time; with a limit of memory, always for few.
    pub load: Load,
    /// Bytes that the process may take: batches, and threads unless their number is given, are planned for
    /// it.
    pub memory: Option<u64>,
    /// Where tunings are kept (`tuning::folder` is the user's); without, the defaults of threads and batches.
    pub tuning: Option<std::path::PathBuf>,
    /// Work on a private copy of a bundle, in the first of these folders that takes it: the file may be
    /// written to afterwards. Without, on the file itself: whoever writes to it ends what is computed with an
    /// error.
    pub copy_to: Option<Vec<std::path::PathBuf>>,
}

impl OpenOptions {
    /// Memory that is planned for is one session's.
    fn load(&self) -> Load {
        if self.memory.is_some() { Load::Few } else { self.load }
    }

    /// How a backbone is run here: as it was tuned, as far as the memory allows.
    fn tuned(&self, backbone: &Backbone, runtime: &Runtime) -> Applied {
        let mut applied = apply(self.tuning.as_deref(), backbone, runtime, self.load());
        if let (Some(limit), false) = (self.memory, runtime.threads_given()) {
            let threads = applied.runtime.threads().min(threads_within(limit));
            applied.runtime = applied.runtime.with_threads(threads);
        }
        applied
    }
}

/// A trained model, ready to predict. `Send + Sync`: calls from several threads take turns.
pub struct Classifier {
    model: Model,
    extractor: Mutex<Extractor>,
    /// Where each head's part of a row lies: what it sees, or, in a bundle, its logits.
    columns: Vec<Range<usize>>,
    /// Where lies what each head's words add to a run's logits; nothing of a head without words.
    words: Vec<Range<usize>>,
    /// Where the sentence embedding lies in a row.
    embedding: Range<usize>,
    /// Longest text, in tokens.
    max_length: usize,
    self_test: Option<SelfTest>,
    memory: Option<MemoryPlan>,
    tuning: Applied,
    copy: Option<CopyNote>,
}

impl Classifier {
    /// Opens a run directory or a bundle with default options.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a run directory and its backbone, or a bundle.
    ///
    /// # Errors
    /// It is missing, damaged, forged or changed, a bundle fails its self-test, or ONNX Runtime cannot be
    /// loaded.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        refuse_unsigned(path, options.trust.as_ref())?;
        if is_bundle(path)? { Self::open_bundle(path, options) } else { Self::open_run(path, options) }
    }

    fn open_run(path: &Path, options: &OpenOptions) -> Result<Self> {
        if options.memory.is_some() {
            return Err(Error::new(Kind::Usage, "memory is planned for bundles only")
                .at(path)
                .help("bundle the run first: frosthead bundle RUN --out x.frost"));
        }
        let run = Run::open(path)?;
        let backbone = Arc::new(run.backbone(options.backbone.as_deref())?);
        let tuning = options.tuned(&backbone, &Runtime::load(&options.runtime)?);
        let stored = run.stored();
        let columns = run.columns(&RowLayout::of(&backbone, stored))?;
        let (long, batching) = (run.recipe.features.long, tuning.batching);
        let reading = EmbedOptions { stored, long, batching, load: options.load };
        let extractor = extractor_of_run(&run, backbone, &tuning.runtime, &reading)?;
        Ok(Self::new(Model::Run(Box::new(run)), extractor, columns, tuning))
    }

    fn open_bundle(path: &Path, options: &OpenOptions) -> Result<Self> {
        let load = |bundle: &Bundle| {
            // ONNX Runtime's library takes about as long to load as the tokenizer.
            let (runtime, backbone) = std::thread::scope(|scope| {
                let loading = scope.spawn(|| Runtime::load(&options.runtime));
                let backbone = bundle.own_backbone();
                (loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), backbone)
            });
            let (runtime, backbone) = (runtime?, backbone?);
            let needs = bundle.weight_bytes();
            let loadable = options.memory.map_or(Ok(()), |limit| check_loadable(limit, needs));
            loadable.map_err(|error| advised(error.at(path), bundle))?;
            let tuning = options.tuned(&backbone, &runtime);
            Ok((bundle.extractor_of(backbone, &tuning.runtime, tuning.batching, options.load())?, tuning))
        };
        let trust = options.trust.as_ref();
        let (opened, copy) = match &options.copy_to {
            Some(folders) => {
                let (opened, copy) = Bundle::open_copy_while(path, trust, folders, load)?;
                (opened, Some(copy))
            }
            None => (Bundle::open_while(path, trust, load)?, None),
        };
        let (bundle, (mut extractor, mut tuning)) = opened;
        let idle = rss_bytes();
        let test = (!options.skip_self_test).then(|| bundle.self_test(&mut extractor)).transpose()?;
        extractor.forget_work();
        let columns = bundle.logits(extractor.parts());
        let weights = bundle.weight_bytes();
        let plan = options.memory.map(|limit| extractor.plan_memory(limit, idle, weights, bundle.path()));
        let memory = plan.transpose().map_err(|error| advised(error.at(path), &bundle))?;
        tuning.batching = extractor.batching();
        let model = Model::Bundle(Box::new(bundle));
        // Says that a bundle has a backbone of its own, if it was told to use another.
        options.backbone.as_deref().map_or(Ok(()), |other| model.backbone(Some(other)).map(drop))?;
        Ok(Self { self_test: test, memory, copy, ..Self::new(model, extractor, columns, tuning) })
    }

    fn new(model: Model, extractor: Extractor, columns: Vec<Range<usize>>, tuning: Applied) -> Self {
        let max_length = extractor.backbone().manifest().preparation.max_length;
        let embedding = extractor.parts().place(ports::EMBEDDING).unwrap_or_default();
        let of_words = |head: &Head| extractor.parts().place(&ports::words(&head.task)).unwrap_or_default();
        let words = model.heads().iter().map(of_words).collect();
        let extractor = Mutex::new(extractor);
        let (self_test, memory, copy) = (None, None, None);
        Self { model, extractor, columns, words, embedding, max_length, self_test, memory, tuning, copy }
    }

    /// The heads: one per task, with their labels.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        self.model.heads()
    }

    /// What it was opened from.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens of a text, at most; the rest is cut off, or read in windows.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Whether it reads pairs of texts.
    #[must_use]
    pub fn reads_pairs(&self) -> bool {
        self.locked().backbone().reads_pairs()
    }

    /// Tokens that its network can read at once.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.locked().backbone().positions()
    }

    /// What a bundle's self-test found, if it was run.
    #[must_use]
    pub fn self_test(&self) -> Option<SelfTest> {
        self.self_test
    }

    /// How it keeps below the limit that it was opened with.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryPlan> {
        self.memory
    }

    /// Where its private copy of the bundle lies, if it has one.
    #[must_use]
    pub fn copy(&self) -> Option<&CopyNote> {
        self.copy.as_ref()
    }

    /// How its network is run here, and whether that was tuned.
    #[must_use]
    pub fn tuning(&self) -> &Applied {
        &self.tuning
    }

    /// What the network was made to do so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.locked().work().clone()
    }

    /// Predicts every task for every text, or, of a model that reads pairs, for every pair:
    /// `result[text][task]`.
    ///
    /// # Errors
    /// The texts are of another kind than the model reads (see [`Self::reads_pairs`]), or tokenising or running
    /// fails.
    pub fn predict(&self, texts: &[impl AsText]) -> Result<Vec<Vec<TaskPrediction>>> {
        let mut predictions = vec![Vec::new(); texts.len()];
        self.predict_each(texts, &mut |text, all| {
            predictions[text] = all;
            Ok(())
        })?;
        Ok(predictions)
    }

    /// The same, handed on text by text, as soon as they are there and in no particular order.
    ///
    /// # Errors
    /// As [`Self::predict`], and `each` fails, which ends it.
    pub fn predict_each(
        &self,
        texts: &[impl AsText],
        each: &mut dyn FnMut(usize, Vec<TaskPrediction>) -> Result<()>,
    ) -> Result<()> {
        self.locked().extract(texts, &mut |text, row| each(text, self.predictions(row)))
    }

    /// Which windows of a text spoke for which label: per task, every window with its logits.
    ///
    /// # Errors
    /// The run does not read texts in windows, or running fails.
    pub fn explain(&self, text: &str) -> Result<Vec<Vec<WindowLogits>>> {
        let mut tasks = vec![Vec::new(); self.heads().len()];
        let mut extractor = self.locked();
        extractor.explain(text, &mut |span, row| {
            let predictions = self.predictions(row);
            for (task, prediction) in tasks.iter_mut().zip(predictions) {
                task.push((span.clone(), prediction.logits));
            }
            Ok(())
        })?;
        Ok(tasks)
    }

    /// Reads texts apart from the network, from any thread; `long`: otherwise than the model does by itself.
    ///
    /// # Errors
    /// The model's texts cannot be read in such windows.
    pub fn reader(&self, long: Option<LongTexts>) -> Result<Reader> {
        self.locked().reader(long.unwrap_or_else(|| self.model.long()))
    }

    /// Runs pieces of texts as one batch: a row for each, for [`Self::predictions`] and [`Self::embedding`];
    /// an error of its own for a piece whose numbers are not finite.
    ///
    /// # Errors
    /// As `Extractor::run_pieces`.
    pub fn rows(&self, pieces: &[&Tokens], length: usize) -> Result<Vec<Result<Vec<f32>>>> {
        self.locked().run_pieces(pieces, length)
    }

    /// The sentence embedding in a row; nothing where there is none.
    #[must_use]
    pub fn embedding<'r>(&self, row: &'r [f32]) -> &'r [f32] {
        &row[self.embedding.clone()]
    }

    /// Numbers of a sentence embedding; 0 where layers that no head sees were left away.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.embedding.len()
    }

    fn locked(&self) -> MutexGuard<'_, Extractor> {
        self.extractor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every task says of a row.
    #[must_use]
    pub fn predictions(&self, row: &[f32]) -> Vec<TaskPrediction> {
        match &self.model {
            Model::Run(run) => {
                let heads = run.heads.iter().zip(&self.columns).zip(&self.words);
                heads
                    .map(|((head, columns), words)| {
                        head_of_run(head, &row[columns.clone()], &row[words.clone()])
                    })
                    .collect()
            }
            Model::Bundle(bundle) => {
                let heads = bundle.heads().iter().zip(&self.columns);
                heads
                    .map(|(head, columns)| TaskPrediction::new(head, row[columns.clone()].to_vec()))
                    .collect()
            }
        }
    }
}

/// What can be done about a bundle that needs too much memory.
fn advised(error: Error, bundle: &Bundle) -> Error {
    let smallest = bundle.manifest().precision == Precision::Int8.to_string();
    match error.kind() {
        Kind::Space if !smallest => {
            error.help("say --memory with at least that, or bundle the run with --precision int8")
        }
        _ => error,
    }
}

/// A window of a text, and its logits for one task.
pub type WindowLogits = (WindowSpan, Vec<f32>);

impl Run {
    /// Opens the backbone the run was trained on, with the tensors that training changed.
    ///
    /// # Errors
    /// The run has none, it is gone, or it is another one now.
    pub fn backbone(&self, elsewhere: Option<&Path>) -> Result<Backbone> {
        let Some(recipe) = &self.recipe.backbone else {
            return Err(Error::new(
                Kind::Run,
                "the run was trained on features made elsewhere: it cannot read texts",
            )
            .at(&self.directory)
            .help("give it a Parquet of features, or train on texts with --backbone"));
        };
        let Some(directory) = elsewhere.or(recipe.directory.as_deref()) else {
            return Err(Error::new(
                Kind::Run,
                "the run was trained on cached features and does not know where its backbone lies",
            )
            .at(&self.directory)
            .expected(format!("backbone {} ({})", recipe.name, recipe.fingerprint.short()))
            .help("say --backbone models/NAME"));
        };
        let moved =
            || tables::places(directory, &self.directory).find(|place| Thing::of(place) == Thing::Backbone);
        let moved = if elsewhere.is_some() || directory.exists() { None } else { moved() };
        let directory = moved.as_deref().unwrap_or(directory);
        if !directory.exists() {
            return Err(Error::new(Kind::Run, "the run's backbone is gone")
                .at(directory)
                .expected(format!("backbone {} ({})", recipe.name, recipe.fingerprint.short()))
                .help("import it again, or say --backbone DIR"));
        }
        let backbone = open_backbone(directory)?;
        let found = backbone.fingerprint();
        if found != recipe.fingerprint {
            return Err(Error::new(Kind::Run, "the backbone is not the one the run was trained on")
                .at(directory)
                .found(format!("{} ({})", backbone.manifest().name, found.told_from(&recipe.fingerprint)))
                .expected(format!("{} ({})", recipe.name, recipe.fingerprint.told_from(&found)))
                .help("give the right one with --backbone DIR, or train the run again"));
        }
        // What a run changed is all that differs from the imported backbone: it takes the place of what an
        // earlier run changed.
        let backbone = match self.changed()? {
            Some((tensors, fingerprint)) => backbone.with_changed(tensors, fingerprint),
            None => backbone,
        };
        let backbone = match recipe.depth {
            Some(depth) => backbone.to_depth(depth)?,
            None => backbone,
        };
        backbone.reading(self.recipe.data.second_text.is_some())
    }
}

/// Opens what can stand for a backbone: an imported one, that of a run, with what its training changed, or
/// that of a bundle.
///
/// # Errors
/// It is none of them, or one of its files is missing or was changed.
pub fn open_backbone(path: &Path) -> Result<Backbone> {
    open_trusted_backbone(path, None, None)
}

/// The same; with a key, only what was signed with it; with a runtime, only a bundle that passes its
/// self-test on it.
///
/// # Errors
/// As [`open_backbone`], and it is not signed or fails its test.
pub fn open_trusted_backbone(
    path: &Path,
    key: Option<&PublicKey>,
    runtime: Option<&Runtime>,
) -> Result<Backbone> {
    refuse_unsigned(path, key)?;
    match Thing::of(path) {
        Thing::Bundle => {
            let bundle = Bundle::open(path, key)?;
            if let Some(runtime) = runtime {
                bundle.self_test(&mut bundle.extractor(runtime)?)?;
            }
            bundle.backbone()
        }
        Thing::Run => Run::open(path)?.backbone(None),
        Thing::Backbone => Backbone::open(path),
        thing => Err(thing.instead_of(Wanted::Backbone, Some(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_probabilities_wins() {
        assert_eq!(most_probable(&[0.25, 0.5, 0.5]), 1);
        assert_eq!(most_probable(&[0.5, 0.5]), 0);
    }

    #[test]
    fn a_classifier_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Classifier>();
    }
}
