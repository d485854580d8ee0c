//! Owns the public type that predicts: [`Classifier`], texts → labels and probabilities for every task.
//!
//! Refuses to train and to measure itself: see `train` and `evaluate`.

mod measure;
pub mod run;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backbone::Backbone;
use crate::embed::{EmbedOptions, Extractor, StoredLayers, WindowSpan, Work};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::runtime::{Runtime, RuntimeOptions};
pub use measure::{TaskRows, calibrate, measure, probabilities};
pub use run::Run;

/// How a classifier is opened.
#[derive(Debug, Default)]
pub struct OpenOptions {
    /// Library, device and threads.
    pub runtime: RuntimeOptions,
    /// Where the backbone lies, when it is not where the run says.
    pub backbone: Option<std::path::PathBuf>,
}

/// A trained model, ready to predict. `Send + Sync`: calls from several threads take turns.
pub struct Classifier {
    run: Run,
    backbone: Arc<Backbone>,
    extractor: Mutex<Extractor>,
    /// What each head sees of a row.
    columns: Vec<Range<usize>>,
}

/// What one task says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPrediction {
    /// Index of the most probable label (the first of equals).
    pub label: usize,
    /// `[classes]`; of a text read in windows, the mean of theirs, each counting as many times as it has tokens.
    pub logits: Vec<f32>,
    /// `[classes]`, calibrated, adding up to 1, in the order of [`Head::labels`].
    pub probabilities: Vec<f32>,
}

impl Classifier {
    /// Opens a run directory with default options.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a run directory and its backbone.
    ///
    /// # Errors
    /// The run or its backbone is missing, damaged or changed, or ONNX Runtime cannot be loaded.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let run = Run::open(path.as_ref())?;
        let backbone = Arc::new(run.backbone(options.backbone.as_deref())?);
        let runtime = Runtime::load(&options.runtime)?;
        let stored = if run.sees_embedding_only() { StoredLayers::Last } else { StoredLayers::All };
        let options = EmbedOptions { stored, long: run.recipe.features.long, ..EmbedOptions::default() };
        let extractor = Extractor::new(Arc::clone(&backbone), &runtime, &options)?;
        let columns = run.columns(&extractor.layout())?;
        Ok(Self { run, backbone, extractor: Mutex::new(extractor), columns })
    }

    /// The heads: one per task, with their labels.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        &self.run.heads
    }

    /// The run it was opened from.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The backbone.
    #[must_use]
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// What the network was made to do so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.extractor.lock().unwrap_or_else(PoisonError::into_inner).work().clone()
    }

    /// Predicts every task for every text: `result[text][task]`.
    ///
    /// # Errors
    /// Tokenising or running fails.
    pub fn predict(&self, texts: &[&str]) -> Result<Vec<Vec<TaskPrediction>>> {
        let mut predictions = vec![Vec::new(); texts.len()];
        let mut extractor = self.extractor.lock().unwrap_or_else(PoisonError::into_inner);
        extractor.extract(texts, &mut |index, row| {
            predictions[index] = apply_heads(&self.run.heads, &self.columns, row);
            Ok(())
        })?;
        Ok(predictions)
    }

    /// Which windows of a text spoke for which label: per task, every window with its logits.
    ///
    /// # Errors
    /// The run does not read texts in windows, or running fails.
    pub fn explain(&self, text: &str) -> Result<Vec<Vec<WindowLogits>>> {
        let mut tasks = vec![Vec::new(); self.run.heads.len()];
        let mut extractor = self.extractor.lock().unwrap_or_else(PoisonError::into_inner);
        extractor.explain(text, &mut |span, row| {
            let own = apply_heads(&self.run.heads, &self.columns, row);
            for (task, own) in tasks.iter_mut().zip(own) {
                task.push((span.clone(), own.logits));
            }
            Ok(())
        })?;
        Ok(tasks)
    }
}

/// A window of a text, and its logits for one task.
pub type WindowLogits = (WindowSpan, Vec<f32>);

/// What every head says of a row, of which each sees its own columns.
#[must_use]
pub fn apply_heads(heads: &[Head], columns: &[Range<usize>], row: &[f32]) -> Vec<TaskPrediction> {
    heads
        .iter()
        .zip(columns)
        .map(|(head, columns)| {
            let mut logits = vec![0.0; head.labels.len()];
            head.logits(&row[columns.clone()], &mut logits);
            let mut probabilities = logits.clone();
            head.calibrated(&mut probabilities);
            TaskPrediction { label: most_probable(&probabilities), logits, probabilities }
        })
        .collect()
}

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
                .found(found.short())
                .expected(format!("{} ({})", recipe.name, recipe.fingerprint.short()))
                .help("give the right one with --backbone DIR, or train the run again"));
        }
        // What a run changed is all that differs from the imported backbone: it takes the place of what an earlier run changed.
        Ok(match self.changed()? {
            Some((tensors, fingerprint)) => backbone.with_changed(tensors, fingerprint),
            None => backbone,
        })
    }
}

/// Opens what can stand for a backbone: an imported one, or the backbone of a run, with what its training changed.
///
/// # Errors
/// It is neither, or one of its files is missing or was changed.
pub fn open_backbone(path: &Path) -> Result<Backbone> {
    if path.join(run::RECIPE).exists() { Run::open(path)?.backbone(None) } else { Backbone::open(path) }
}

/// Index of the largest probability, the first of equals.
pub(crate) fn most_probable(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (index, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = index;
        }
    }
    best
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
