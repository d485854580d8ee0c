//! Owns which precision a run is bundled in: the variants, heads refitted on each, what each costs, and the
//! gate.
//!
//! Refuses to let a variant through that costs any task more than was allowed.

mod chosen;
mod gate;
mod request;
mod rows;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bundle;
use crate::classifier::Run;
use crate::classifier::run::FIT;
use crate::data::Part;
use crate::error::Result;
use crate::heads::{Alpha, FitOptions, FitReport, Head};
use crate::quantize::{Agreement, CALIBRATION_TEXTS, Precision, Variant, calibrate, sensitivity};
use crate::selection::passes;
pub use chosen::Chosen;
use gate::Judged;
pub use gate::TaskCost;
pub use request::{PrecisionChoice, PrecisionRequest};
pub use rows::RunRows;
use trial::{Trial, speeds};

/// The file in a run directory that says what its precisions cost.
pub const PRECISION: &str = "precision.json";
/// Texts that sensitivity is measured on.
const SENSITIVITY_TEXTS: usize = 128;
/// The share of the loss whose products stay more exact in `int8` with exceptions.
const EXCEPTED_SHARE: f64 = 0.2;
/// How far a golden vector may be off on another processor, as a share of its largest number: codes round
/// differently where a sum ends in another bit.
const CODED_TOLERANCE: f32 = 0.02;

/// What one variant is like.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Its precision, and how many products are exceptions.
    pub name: String,
    /// Products that stay more exact.
    pub kept: Vec<String>,
    /// Of graph and weights.
    pub bytes: u64,
    pub texts_per_second: f64,
    /// Milliseconds of a single text, at the median.
    pub latency: f64,
    /// Of its embeddings with the run's, over all texts.
    pub cosine: Agreement,
    pub tasks: BTreeMap<String, TaskCost>,
    pub passes: bool,
}

/// What choosing came to, as `precision.json` has it.
#[derive(Debug, Clone, Serialize)]
pub struct PrecisionReport {
    pub asked: String,
    pub max_drop: f64,
    /// In the order in which they are tried; fp32 is measured beside them.
    pub variants: Vec<VariantReport>,
    /// The first that passes.
    pub chosen: Option<String>,
}

/// Tries the variants that were asked for and takes the first that passes the gate.
///
/// # Errors
/// The device does not compute such a precision, the backbone is opaque, or building, running or fitting a
/// variant fails.
pub fn choose(
    request: &PrecisionRequest<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<(PrecisionReport, Option<Chosen>)> {
    let judged = judged(request)?;
    let texts = request.rows.sample(CALIBRATION_TEXTS);
    show(&format!("calibrating on {} training texts", texts.len()));
    let calibration = calibrate(request.backbone, request.runtime, &texts)?;
    let mut report = PrecisionReport {
        asked: request.choice.to_string(),
        max_drop: request.max_drop,
        variants: Vec::new(),
        chosen: None,
    };
    let (mut chosen, mut loaded) = (None, Vec::new());
    for step in steps(request.choice) {
        if let Err(error) = step.0.check_device(request.runtime.device()) {
            if request.choice != PrecisionChoice::Auto {
                return Err(error);
            }
            show(&format!("{} is left out: {error}", step.0));
            continue;
        }
        let mut variant = Variant { precision: step.0, ..Variant::default() };
        if step.1 {
            let texts = request.rows.sample(SENSITIVITY_TEXTS);
            show(&format!("what each product loses, on {} training texts", texts.len()));
            let found = sensitivity(request.backbone, request.runtime, &calibration, &texts, &mut |_| ())?;
            variant.kept = found.worst(EXCEPTED_SHARE);
            if variant.kept.is_empty() {
                // No product loses anything: it was tried without exceptions.
                continue;
            }
        }
        let name = name(&variant);
        show(&format!("{name}: built, run on {} texts, heads refitted and judged", request.rows.texts.len()));
        let (trial, extractor) = Trial::run(request, &variant, &calibration, &judged)?;
        loaded.push(extractor);
        let judgement = described(request, &variant, &trial, &judged)?;
        if judgement.passes && chosen.is_none() {
            report.chosen = Some(name);
            chosen = Some(deployed(request.run, &variant, &texts, trial));
        }
        report.variants.push(judgement);
    }
    for (variant, speed) in report.variants.iter_mut().zip(speeds(request, &mut loaded)?) {
        (variant.texts_per_second, variant.latency) = (speed.texts_per_second, speed.latency);
    }
    Ok((report, chosen))
}

/// Precisions in the order in which they are tried, and whether with exceptions.
fn steps(choice: PrecisionChoice) -> Vec<(Precision, bool)> {
    let int8 = [(Precision::Int8, false), (Precision::Int8, true)];
    match choice {
        PrecisionChoice::Fixed(Precision::Int8) => int8.to_vec(),
        PrecisionChoice::Fixed(precision) => vec![(precision, false)],
        PrecisionChoice::Auto => [&int8[..], &[(Precision::W8, false), (Precision::Fp32, false)]].concat(),
    }
}

fn name(variant: &Variant) -> String {
    match variant.kept.len() {
        0 => variant.precision.to_string(),
        count => format!("{} but {count} products", variant.precision),
    }
}

/// The run's tasks with their rows and the way their heads are fitted.
fn judged<'r>(request: &PrecisionRequest<'r>) -> Result<Vec<Judged<'r>>> {
    let run = request.run;
    let fits: Vec<FitReport> = run.json(FIT)?;
    let of = |(task, head): (usize, &'r Head)| {
        let fit = fits.iter().find(|fit| fit.task == run.recipe.tasks[task]).map(|fit| FitOptions {
            alpha: Alpha::Fixed(fit.alpha),
            seed: run.recipe.seed,
            threads: request.threads,
            ..run.recipe.heads.clone()
        });
        let known = request.rows.of_task(run, task, &[Part::Train, Part::Valid]).known(head.labels.len());
        Judged { task, head, known, test: request.rows.of_task(run, task, &[Part::Test]), fit }
    };
    Ok(run.heads.iter().enumerate().map(of).collect())
}

fn described(
    request: &PrecisionRequest<'_>,
    variant: &Variant,
    trial: &Trial,
    judged: &[Judged<'_>],
) -> Result<VariantReport> {
    let cost = |judged: &Judged<'_>| {
        let task = &judged.head.task;
        Ok((task.clone(), judged.cost(&request.rows.features, &trial.features, trial.head(task))?))
    };
    let tasks: BTreeMap<String, TaskCost> = judged.iter().map(cost).collect::<Result<_>>()?;
    // Where nothing can be measured, only what is exact may stand for the run.
    let exact = variant.precision == Precision::Fp32;
    let passes = passes(tasks.values().map(|cost| &cost.loss), request.max_drop, exact);
    let hidden = request.backbone.manifest().hidden_size;
    Ok(VariantReport {
        name: name(variant),
        kept: variant.kept.iter().map(ToString::to_string).collect(),
        bytes: trial.bytes,
        texts_per_second: 0.0,
        latency: 0.0,
        cosine: Agreement::of(request.rows.embeddings.numbers(), trial.embeddings.numbers(), hidden),
        tasks,
        passes,
    })
}

/// What the bundle is made of; nothing that was timed, so that the same run gives the same bytes.
fn deployed(run: &Run, variant: &Variant, texts: &[&str], trial: Trial) -> Chosen {
    let kept: BTreeSet<String> = variant.kept.iter().map(ToString::to_string).collect();
    let details = BTreeMap::from([
        ("more exact products".to_owned(), serde_json::json!(kept)),
        ("calibration texts".to_owned(), serde_json::json!(texts.len())),
    ]);
    let seen = |head: &Head| bundle::SeenHead {
        head: trial.head(&head.task).clone(),
        sees: run.choice(&head.task).unwrap_or_default(),
    };
    let heads = run.heads.iter().map(seen).collect();
    let variant = bundle::Variant {
        precision: variant.precision.to_string(),
        details,
        model: trial.model,
        folder: trial.folder.path().to_path_buf(),
        heads,
        tolerance: CODED_TOLERANCE,
    };
    Chosen { variant, _folder: trial.folder, features: trial.features }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_printed_and_tried_in_their_order() {
        for text in ["auto", "fp32", "w8", "int8"] {
            assert_eq!(text.parse::<PrecisionChoice>().unwrap().to_string(), text);
        }
        assert!("int4".parse::<PrecisionChoice>().unwrap_err().to_string().contains("auto"));
        let named = |choice| {
            steps(choice).iter().map(|(precision, kept)| format!("{precision}{kept}")).collect::<Vec<_>>()
        };
        assert_eq!(named(PrecisionChoice::Auto), ["int8false", "int8true", "w8false", "fp32false"]);
        assert_eq!(named(PrecisionChoice::Fixed(Precision::W8)), ["w8false"]);
    }
}
