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
use crate::encoder::Product;
use crate::error::Result;
use crate::heads::{Alpha, FitOptions, FitReport, Head};
use crate::quantize::{
    Agreement, CALIBRATION_TEXTS, Calibration, Precision, TableBits, Variant, calibrate, sensitivity,
};
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
    /// Its precision, how many products are exceptions, and whether its word table is in 4 bits.
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
        asked: asked(request),
        max_drop: request.max_drop,
        variants: Vec::new(),
        chosen: None,
    };
    let (mut chosen, mut loaded, mut worst) = (None, Vec::new(), None);
    for (mut variant, with_exceptions) in steps(request.choice, table_bits(request)) {
        if let Err(error) = variant.check_device(request.runtime.device()) {
            if request.choice != PrecisionChoice::Auto {
                return Err(error);
            }
            show(&format!("{} is left out: {error}", name(&variant)));
            continue;
        }
        if with_exceptions {
            let found = match worst.take() {
                Some(found) => found,
                None => exceptions(request, &calibration, show)?,
            };
            variant.kept.clone_from(worst.insert(found));
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

/// Variants in the order in which they are tried, smallest first, and whether with exceptions.
fn steps(choice: PrecisionChoice, table: Option<TableBits>) -> Vec<(Variant, bool)> {
    let step = |precision, table, with_exceptions| {
        (Variant { precision, table, ..Variant::default() }, with_exceptions)
    };
    let int8 = |table| [false, true].map(|excepted| step(Precision::Int8, table, excepted)).to_vec();
    let one = |precision, table| vec![step(precision, table, false)];
    let eight = || [int8(TableBits::Eight), one(Precision::W8, TableBits::Eight)].concat();
    match (choice, table) {
        (PrecisionChoice::Fixed(Precision::Int8), table) => int8(table.unwrap_or_default()),
        (PrecisionChoice::Fixed(precision), table) => one(precision, table.unwrap_or_default()),
        // No table of fp32 is in 4 bits: nothing is bundled when none of these passes.
        (PrecisionChoice::Auto, Some(TableBits::Four)) => {
            [int8(TableBits::Four), one(Precision::W8, TableBits::Four)].concat()
        }
        (PrecisionChoice::Auto, Some(TableBits::Eight)) => {
            [eight(), one(Precision::Fp32, TableBits::Eight)].concat()
        }
        (PrecisionChoice::Auto, None) => {
            [int8(TableBits::Four), eight(), one(Precision::Fp32, TableBits::Eight)].concat()
        }
    }
}

/// The bits that were asked for; `auto` does not try 4 where rows cannot be kept so.
fn table_bits(request: &PrecisionRequest<'_>) -> Option<TableBits> {
    let fit = TableBits::Four.fit(request.backbone.manifest().hidden_size);
    request.table.or_else(|| (!fit).then_some(TableBits::Eight))
}

/// The choice, as it was asked for.
fn asked(request: &PrecisionRequest<'_>) -> String {
    match request.table {
        None => request.choice.to_string(),
        Some(bits) => format!("{}, {bits}-bit table", request.choice),
    }
}

/// The products that had better not compute in 8 bits.
fn exceptions(
    request: &PrecisionRequest<'_>,
    calibration: &Calibration,
    show: &mut dyn FnMut(&str),
) -> Result<BTreeSet<Product>> {
    let texts = request.rows.sample(SENSITIVITY_TEXTS);
    show(&format!("what each product loses, on {} training texts", texts.len()));
    let found = sensitivity(request.backbone, request.runtime, calibration, &texts, &mut |_| ())?;
    Ok(found.worst(EXCEPTED_SHARE))
}

fn name(variant: &Variant) -> String {
    let precision = match variant.kept.len() {
        0 => variant.precision.to_string(),
        count => format!("{} but {count} products", variant.precision),
    };
    match variant.table {
        TableBits::Eight => precision,
        TableBits::Four => format!("{precision}, 4-bit table"),
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
    let exact = *variant == Variant::default();
    let passes = tasks.values().all(|cost| cost.lost().map_or(exact, |lost| lost <= request.max_drop));
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
    let mut details = BTreeMap::from([
        ("more exact products".to_owned(), serde_json::json!(kept)),
        ("calibration texts".to_owned(), serde_json::json!(texts.len())),
    ]);
    if variant.table != TableBits::default() {
        details.insert(bundle::TABLE_BITS.to_owned(), serde_json::json!(variant.table));
    }
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
        let named = |choice, table| {
            let steps = steps(choice, table).into_iter();
            let name = |(variant, excepted): (Variant, bool)| {
                name(&variant) + if excepted { " with exceptions" } else { "" }
            };
            steps.map(name).collect::<Vec<_>>()
        };
        let (four, eight) = (Some(TableBits::Four), Some(TableBits::Eight));
        let of_four = ["int8, 4-bit table", "int8, 4-bit table with exceptions"];
        let of_eight = ["int8", "int8 with exceptions", "w8", "fp32"];
        let auto = PrecisionChoice::Auto;
        assert_eq!(named(auto, None), [&of_four[..], &of_eight].concat());
        assert_eq!(named(auto, eight), of_eight);
        assert_eq!(named(auto, four), [&of_four[..], &["w8, 4-bit table"]].concat());
        let [int8, w8] = [Precision::Int8, Precision::W8].map(PrecisionChoice::Fixed);
        assert_eq!(named(int8, None), of_eight[..2]);
        assert_eq!(named(int8, four), of_four);
        assert_eq!(
            (named(w8, None), named(w8, four)),
            (vec!["w8".to_owned()], vec!["w8, 4-bit table".to_owned()])
        );
    }
}
