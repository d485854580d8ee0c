//! Owns trying variants one after the other: each is built, run, judged, and, in the end, timed beside the
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chosen::Chosen;
use super::cut::Cut;
use super::gate::{Judged, Reference, TaskCost};
use super::report::{PrecisionReport, VariantReport, name};
use super::request::{DepthChoice, PrecisionChoice, PrecisionRequest};
use super::trial::{Trial, speeds};
use super::vocabulary::Kept;
use crate::backbone::Backbone;
use crate::bundle;
use crate::data::Part;
use crate::embed::{Extractor, piece_uses};
use crate::encoder::Product;
use crate::error::Result;
use crate::heads::Head;
use crate::quantize::{
    Agreement, CALIBRATION_TEXTS, Calibration, Precision, TableBits, Variant, calibrate, sensitivity,
};
use crate::selection::{Loss, passes};
use crate::tokens::PieceUse;

/// Texts that sensitivity is measured on.
const SENSITIVITY_TEXTS: usize = 128;
/// The share of the loss whose products stay more exact in `int8` with exceptions.
const EXCEPTED_SHARE: f64 = 0.2;
/// How far a golden vector of `int8` may be off on another processor, as a share of its largest number: codes
/// round differently where a sum ends in another bit (between x86-64 and AArch64 .0073 was seen, by
/// scripts/test-aarch64.sh).
const CODED_TOLERANCE: f32 = 0.02;

/// What was tried so far.
pub(super) struct Trying<'t> {
    request: &'t PrecisionRequest<'t>,
    judged: &'t [Judged<'t>],
    references: &'t [Reference<'t>],
    /// A smaller vocabulary, if one is kept.
    kept: Option<&'t Kept>,
    report: PrecisionReport,
    chosen: Option<Chosen>,
    /// The network of each variant, to be timed.
    loaded: Vec<Extractor>,
}

impl<'t> Trying<'t> {
    pub fn new(
        request: &'t PrecisionRequest<'t>,
        (judged, references): (&'t [Judged<'t>], &'t [Reference<'t>]),
        kept: Option<&'t Kept>,
    ) -> Self {
        let report = PrecisionReport {
            asked: asked(request),
            asked_depth: request.depth.map(|depth| depth.to_string()),
            max_drop: request.max_drop,
            depths: Vec::new(),
            vocabulary: kept.map(|kept| kept.report.clone()),
            variants: Vec::new(),
            left_out: Vec::new(),
            chosen: None,
        };
        Self { request, judged, references, kept, report, chosen: None, loaded: Vec::new() }
    }

    /// Whether nothing more need be tried: what comes after the first that passes is larger. Where nothing but
    /// the precision is open, people see what each costs.
    pub fn is_over(&self) -> bool {
        let PrecisionRequest { choice, depth, max_drop, .. } = self.request;
        let compares = *choice == PrecisionChoice::Auto && *depth != Some(DepthChoice::Auto);
        self.chosen.is_some() && (!compares || max_drop.is_infinite())
    }

    /// The network at a depth (none: the run's own) with what its heads see; nothing where a depth is to be
    /// found and loses too much even in fp32, or cannot be had.
    ///
    /// # Errors
    /// It cannot be cut there, or a fit fails.
    pub fn look_at(&mut self, depth: Option<usize>, show: &mut dyn FnMut(&str)) -> Result<Option<Cut>> {
        let Some(depth) = depth else {
            return self.with_vocabulary(Cut::own(self.request, self.judged)?, show).map(Some);
        };
        let (cut, figures) = match Cut::at(self.request, self.references, depth, show) {
            Ok(found) => found,
            Err(error) if self.request.depth == Some(DepthChoice::Auto) => {
                self.report.left_out.push(format!("depth {depth} is left out: {error}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let losses = figures.tasks.values().map(|task| &task.loss);
        let good = passes(losses, self.request.max_drop, false);
        self.report.depths.push(figures);
        if good || self.request.depth != Some(DepthChoice::Auto) {
            return self.with_vocabulary(cut, show).map(Some);
        }
        show(&format!("depth {depth} loses too much in fp32"));
        Ok(None)
    }

    /// The network with the word pieces that are kept, and what that costs.
    fn with_vocabulary(&self, mut cut: Cut, show: &mut dyn FnMut(&str)) -> Result<Cut> {
        if let Some(kept) = self.kept {
            show(&format!("what a smaller vocabulary costs, on {} texts", kept.held_out()));
            cut.lost = Some(kept.losses(self.request, &cut, self.judged)?);
            cut.backbone = kept.applied(&cut.backbone)?;
        }
        Ok(cut)
    }

    /// Tries variants of a network, and whether with exceptions.
    ///
    /// # Errors
    /// The device does not compute one that was asked for, or building, running or fitting fails.
    pub fn steps(&mut self, cut: &Cut, steps: &[(Variant, bool)], show: &mut dyn FnMut(&str)) -> Result<()> {
        let (mut calibration, mut worst) = (None, None);
        for (step, excepted) in steps {
            if self.is_over() {
                break;
            }
            if let Err(error) = step.check_device(self.request.runtime.device()) {
                if self.request.choice != PrecisionChoice::Auto {
                    return Err(error);
                }
                self.report.left_out.push(format!("{} is left out: {error}", name(step, None)));
                continue;
            }
            if calibration.is_none() && step.precision == Precision::Int8 {
                calibration = Some(self.calibrate(cut, show)?);
            }
            let mut variant = step.clone();
            if let (true, Some(calibration)) = (excepted, &calibration) {
                let found = match worst.take() {
                    Some(found) => found,
                    None => self.exceptions(cut, calibration, show)?,
                };
                variant.kept.clone_from(worst.insert(found));
                if variant.kept.is_empty() {
                    // No product loses anything: it was tried without exceptions.
                    continue;
                }
            }
            self.variant(cut, &variant, calibration.as_ref(), show)?;
        }
        Ok(())
    }

    fn calibrate(&self, cut: &Cut, show: &mut dyn FnMut(&str)) -> Result<Calibration> {
        if let Some(ranges) = known_ranges(self.request, &cut.backbone) {
            show("8-bit steps are those of the bundle that is updated");
            return Ok(ranges);
        }
        let texts = self.request.rows.sample(CALIBRATION_TEXTS);
        show(&format!("calibrating on {} training texts", texts.len()));
        calibrate(&cut.backbone, self.request.runtime, &texts)
    }

    /// The products that had better not compute in 8 bits.
    fn exceptions(
        &self,
        cut: &Cut,
        calibration: &Calibration,
        show: &mut dyn FnMut(&str),
    ) -> Result<BTreeSet<Product>> {
        let texts = self.request.rows.sample(SENSITIVITY_TEXTS);
        show(&format!("what each product loses, on {} training texts", texts.len()));
        let found = sensitivity(&cut.backbone, self.request.runtime, calibration, &texts, &mut |_| ())?;
        Ok(found.worst(EXCEPTED_SHARE))
    }

    /// Tries one variant; the first that passes is chosen.
    fn variant(
        &mut self,
        cut: &Cut,
        variant: &Variant,
        calibration: Option<&Calibration>,
        show: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let request = self.request;
        let name = name(variant, request.depth.and(cut.backbone.layers()));
        show(&format!("{name}: built, run on {} texts, heads refitted and judged", request.rows.texts.len()));
        let (trial, extractor) = Trial::run(request, cut, (variant, calibration), self.judged)?;
        self.loaded.push(extractor);
        let judgement = self.judgement(cut, variant, &trial, name)?;
        if judgement.passes && self.chosen.is_none() {
            self.report.chosen = Some(judgement.name.clone());
            self.chosen = Some(deployed(request, cut, (variant, calibration), trial)?);
        }
        self.report.variants.push(judgement);
        Ok(())
    }

    fn judgement(&self, cut: &Cut, variant: &Variant, trial: &Trial, name: String) -> Result<VariantReport> {
        let request = self.request;
        let cost = |(reference, fit): (&Reference<'_>, &Option<_>)| {
            let task = &reference.judged.head.task;
            let mut cost = reference.cost(&trial.features, (trial.head(task), fit.as_ref()))?;
            cost.vocabulary = cut.lost.as_ref().and_then(|lost| lost.get(task)).copied();
            Ok((task.clone(), cost))
        };
        let tasks: BTreeMap<_, _> = self.references.iter().zip(&cut.fits).map(cost).collect::<Result<_>>()?;
        // Where nothing can be measured, only what is exact and the run's own may stand for it.
        let exact = variant.precision == Precision::Fp32 && self.is_own(cut) && cut.lost.is_none();
        let losses: Vec<Loss> = tasks.values().map(TaskCost::whole).collect();
        let passes = passes(&losses, request.max_drop, exact);
        let tasks_seen = request.run.heads.iter().zip(&cut.sees);
        Ok(VariantReport {
            name,
            depth: cut.backbone.layers(),
            features: tasks_seen.map(|(head, sees)| (head.task.clone(), *sees)).collect(),
            kept: variant.kept.iter().map(ToString::to_string).collect(),
            bytes: trial.bytes,
            texts_per_second: 0.0,
            latency: 0.0,
            cosine: self.agreement(cut, trial)?,
            tasks,
            passes,
        })
    }

    /// Whether the heads see what the run's heads see.
    fn is_own(&self, cut: &Cut) -> bool {
        let run = self.request.run;
        run.heads.iter().zip(&cut.sees).all(|(head, sees)| run.choice(&head.task) == Some(*sees))
    }

    /// How near what the variant says of texts is to what the run's backbone says of them at this depth.
    fn agreement(&self, cut: &Cut, trial: &Trial) -> Result<Agreement> {
        let embedder = self.request.embedder;
        let stored = embedder.layout();
        let summary = match cut.backbone.layers() {
            Some(layers) => stored.to_depth(layers).summary(),
            None => stored.summary(),
        };
        let width = summary.len();
        let exact = embedder.read_rows(&self.request.rows.keys, summary)?;
        Ok(Agreement::of(exact.numbers(), trial.embeddings.numbers(), width))
    }

    /// Times all variants, in turns.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    pub fn timed(mut self) -> Result<(PrecisionReport, Option<Chosen>)> {
        let speeds = speeds(self.request, &mut self.loaded)?;
        for (variant, speed) in self.report.variants.iter_mut().zip(speeds) {
            (variant.texts_per_second, variant.latency) = (speed.texts_per_second, speed.latency);
        }
        Ok((self.report, self.chosen))
    }
}

/// The choice, as it was asked for.
fn asked(request: &PrecisionRequest<'_>) -> String {
    match request.table {
        None => request.choice.to_string(),
        Some(bits) => format!("{}, {bits}-bit table", request.choice),
    }
}

/// What the bundle is made of; nothing that was timed, so that the same run gives the same bytes.
fn deployed(
    request: &PrecisionRequest<'_>,
    cut: &Cut,
    (variant, calibration): (&Variant, Option<&Calibration>),
    trial: Trial,
) -> Result<Chosen> {
    let seen = |(head, sees): (&Head, &_)| {
        let mut head = trial.head(&head.task).clone();
        if let Some(ids) = cut.backbone.pieces() {
            head.words = head.words.map(|words| words.with_pieces(ids));
        }
        bundle::SeenHead { head, sees: *sees }
    };
    let heads = request.run.heads.iter().zip(&cut.sees).map(seen).collect();
    let kept: BTreeSet<String> = variant.kept.iter().map(ToString::to_string).collect();
    let mut details = BTreeMap::from([("more exact products".to_owned(), serde_json::json!(kept))]);
    let calibration = calibration.filter(|_| variant.precision == Precision::Int8);
    if calibration.is_some() && known_ranges(request, &cut.backbone).is_some() {
        details.insert("calibration".to_owned(), serde_json::json!("as in the bundle that this one updates"));
    } else if calibration.is_some() {
        let texts = request.rows.sample(CALIBRATION_TEXTS).len();
        details.insert("calibration texts".to_owned(), serde_json::json!(texts));
    }
    if variant.table != TableBits::default() {
        details.insert(bundle::TABLE_BITS.to_owned(), serde_json::json!(variant.table));
    }
    let mut variant = match variant.precision {
        Precision::Fp32 => bundle::Variant::fp32(&cut.backbone, heads)?,
        precision => bundle::Variant {
            precision: precision.to_string(),
            details,
            model: trial.model,
            folder: trial.folder.path().to_path_buf(),
            heads,
            tolerance: if precision == Precision::Int8 { CODED_TOLERANCE } else { bundle::FLOAT_TOLERANCE },
            ranges: calibration.and_then(Calibration::to_bytes),
        },
    };
    variant.details.extend([bundle::piece_detail(own_pieces(request, cut)?)]);
    Ok(Chosen {
        variant,
        backbone: Arc::clone(&cut.backbone),
        _folder: trial.folder,
        features: trial.features,
        heads: trial.heads,
    })
}

/// The ranges of the bundle that is updated, where they are of this network.
fn known_ranges(request: &PrecisionRequest<'_>, backbone: &Backbone) -> Option<Calibration> {
    request.ranges.as_ref()?.of_network(backbone.config()?)
}

/// How the run's training and validation texts fit the vocabulary of a network.
fn own_pieces(request: &PrecisionRequest<'_>, cut: &Cut) -> Result<PieceUse> {
    let texts = request.rows.texts_of(&[Part::Train, Part::Valid]);
    let mut all = PieceUse::default();
    piece_uses(&cut.backbone, &texts, request.threads)?.into_iter().for_each(|used| all += used);
    Ok(all)
}
