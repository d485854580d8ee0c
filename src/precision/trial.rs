//! Owns one variant on trial: built, run on every text of the run, its heads refitted, its speed measured.
//!
//! Refuses to judge it: see `gate`.

use std::sync::Arc;
use std::time::Instant;

use super::cut::Cut;
use super::gate::Judged;
use super::request::PrecisionRequest;
use super::rows::Features;
use crate::classifier::{calibrate, enough_rows, limit_numbers};
use crate::data::Part;
use crate::embed::{
    EmbedOptions, Extractor, FeatureRows, RowLayout, RowParts, covering, words_of_fewer_pieces,
};
use crate::error::{Error, Result};
use crate::files::Scratch;
use crate::graph::{self, ModelProto};
use crate::heads::{self, Examples, FitOptions, Head, OutOfFold, WordRows};
use crate::metrics::Latency;
use crate::quantize::{BuildOptions, Calibration, Precision, Variant, build};
use crate::runtime::Sessions;
use crate::text::Text;

/// Texts that speed is measured on …
const TIMED_TEXTS: usize = 512;
/// … and so many of them one at a time.
const SINGLE_TEXTS: usize = 64;
/// Passes over them; the fastest counts.
const PASSES: usize = 3;
/// Lends a place for the weights until the bundle is written.
const WEIGHTS_FILE: &str = "model.onnx.data";

/// A variant that was built and run.
pub(super) struct Trial {
    pub model: ModelProto,
    pub folder: Scratch,
    /// Of graph and weights.
    pub bytes: u64,
    pub features: Features,
    pub embeddings: FeatureRows,
    /// Per task of the run; their words have the places of the whole vocabulary.
    pub heads: Vec<Head>,
}

impl Trial {
    /// A task's head on the variant's features.
    pub fn head(&self, task: &str) -> &Head {
        let head = self.heads.iter().find(|head| head.task == task);
        head.expect("a variant has the run's tasks: another one is a bug")
    }

    /// Builds and runs a variant; the network is still loaded, to be timed beside the others.
    ///
    /// # Errors
    /// It cannot be built, or ONNX Runtime fails.
    pub fn run(
        request: &PrecisionRequest<'_>,
        cut: &Cut,
        (variant, calibration): (&Variant, Option<&Calibration>),
        judged: &[Judged<'_>],
    ) -> Result<(Self, Extractor)> {
        let stored = cut.stored();
        let layout = RowLayout::of(&cut.backbone, stored);
        let options = BuildOptions { outputs: layout.outputs(), location: WEIGHTS_FILE.to_owned() };
        let built = build(&cut.backbone, variant, calibration, &options)?;
        let place = std::env::temp_dir();
        let folder = Scratch::new(&place, 0o700).map_err(|source| Error::io("write", &place, source))?;
        let path = folder.path().join(WEIGHTS_FILE);
        let mut file = std::fs::File::create(&path).map_err(|source| Error::io("create", &path, source))?;
        built.write_weights(&mut file, &path)?;
        let session = request.runtime.session_from_memory(&built.graph, folder.path())?;
        let long = request.run.recipe.features.long;
        let embed = EmbedOptions { stored, long, ..EmbedOptions::default() };
        let backbone = Arc::clone(&cut.backbone);
        let (sessions, parts) = (Sessions::one(session), RowParts::of(&layout));
        let mut extractor = Extractor::with_sessions(backbone, sessions, parts, &embed)?;
        let (features, embeddings) = extract(request, cut, &mut extractor, &layout)?;
        let refitted = judged.iter().zip(&cut.fits);
        let in_bytes = variant.precision != Precision::Fp32;
        let refitted = refitted.map(|(task, fit)| {
            let fit = fit.as_ref().map(|fit| fit.with_words_in_bytes(in_bytes));
            let mut head = refit(task, fit.as_ref(), request, &features)?;
            // A head that stays as it is has its words rounded, too.
            head.words = head.words.map(|words| if in_bytes { words.rounded() } else { words });
            Ok(head)
        });
        let heads = refitted.collect::<Result<_>>()?;
        let bytes = built.graph.len() as u64 + built.weights_length();
        let model = graph::decode(&built.graph)?;
        Ok((Self { model, folder, bytes, features, embeddings, heads }, extractor))
    }
}

/// What the heads see of every text, and the embeddings.
fn extract(
    request: &PrecisionRequest<'_>,
    cut: &Cut,
    extractor: &mut Extractor,
    layout: &RowLayout,
) -> Result<(Features, FeatureRows)> {
    let columns = cut.columns(layout)?;
    let texts = &request.rows.texts;
    let words = words(request, cut, extractor)?;
    let mut rows = FeatureRows::zeros(covering(&columns), texts.len()).with_words(words);
    let mut embeddings = FeatureRows::zeros(layout.summary(), texts.len());
    extractor.extract(texts, &mut |index, row| {
        for held in [&mut rows, &mut embeddings] {
            held.put(index, &(0..row.len()), row);
        }
        Ok(())
    })?;
    Ok((Features { rows, columns }, embeddings))
}

/// What stands in the texts, as the network's own tokenizer cuts them.
fn words(request: &PrecisionRequest<'_>, cut: &Cut, extractor: &Extractor) -> Result<Option<WordRows>> {
    let Some(whole) = request.rows.features.rows.words() else { return Ok(None) };
    let Some(ids) = cut.backbone.pieces() else { return Ok(Some(whole.clone())) };
    let reader = extractor.reader(request.run.recipe.features.long)?;
    words_of_fewer_pieces(&reader, whole.grams(), ids, &request.rows.texts).map(Some)
}

/// The head on the variant's features: fitted on the run's training rows as the run's was, and calibrated so.
fn refit(
    judged: &Judged<'_>,
    fit: Option<&FitOptions>,
    request: &PrecisionRequest<'_>,
    features: &Features,
) -> Result<Head> {
    let Judged { task, head, .. } = judged;
    let view = features.view(*task);
    let rows = |part| request.rows.of_task(request.run, *task, &[part]).known(head.labels.len());
    let promise = request.run.recipe.heads.promise;
    let (mut refitted, valid) = (Head::clone(head), rows(Part::Valid));
    let mut out_of_fold = OutOfFold::default();
    if let Some(fit) = fit {
        let training = rows(Part::Train);
        let examples = Examples { features: view, rows: &training.rows, targets: &training.targets };
        refitted = heads::fit(head.answers(), &examples, fit)?.0;
        let enough = enough_rows(head.kind, promise);
        if (1..enough).contains(&valid.rows.len()) || valid.rows.is_empty() && !head.kind.has_labels() {
            out_of_fold = heads::out_of_fold(head.answers(), &examples, fit, enough)?;
        }
    }
    if valid.rows.is_empty() {
        // After a final fit no validation row is left: the head keeps what was found before, but for how far
        // its numbers are off.
        refitted.believed = head.believed.clone();
        if !out_of_fold.targets.is_empty() {
            limit_numbers(&mut refitted, promise, &out_of_fold);
        }
    } else {
        calibrate(&mut refitted, view, &valid, &out_of_fold, promise);
    }
    Ok(refitted)
}

/// How fast a variant is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    pub texts_per_second: f64,
    /// Milliseconds of a single text, at the median.
    pub latency: f64,
}

/// The speed of each network, taken in turns, so that whatever else the machine does meets them all.
///
/// # Errors
/// ONNX Runtime fails.
pub(super) fn speeds(request: &PrecisionRequest<'_>, extractors: &mut [Extractor]) -> Result<Vec<Speed>> {
    let texts = request.rows.sample(TIMED_TEXTS);
    let timed = |extractor: &mut Extractor, texts: &[Text<'_>]| -> Result<f64> {
        let start = Instant::now();
        extractor.extract(texts, &mut |_, _| Ok(()))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut found = vec![(f64::INFINITY, Vec::new()); extractors.len()];
    for _ in 0..PASSES {
        for (extractor, (best, singles)) in extractors.iter_mut().zip(&mut found) {
            *best = best.min(timed(extractor, &texts)?);
            for text in texts.iter().take(SINGLE_TEXTS) {
                singles.push(timed(extractor, &[*text])?);
            }
        }
    }
    let count = texts.len() as f64;
    let speed = |(best, singles): (f64, Vec<f64>)| Speed {
        texts_per_second: count / best,
        latency: Latency::of(&singles).map_or(0.0, |latency| latency.p50),
    };
    Ok(found.into_iter().map(speed).collect())
}
