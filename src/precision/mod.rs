//! Owns which precision and depth a run is bundled in: the variants, heads refitted on each, what each costs,
//! and the gate.
//!
//! Refuses to let a variant through that costs any task more than was allowed.

mod chosen;
mod cut;
mod gate;
mod report;
mod request;
mod rows;
mod trial;
mod trying;
mod vocabulary;

use crate::classifier::run::FIT;
use crate::data::Part;
use crate::error::Result;
use crate::heads::{FitOptions, FitReport, Head};
use crate::quantize::{Precision, TableBits, Variant};
pub use chosen::Chosen;
use cut::Cut;
pub use gate::TaskCost;
use gate::{Judged, Reference};
pub use report::{PrecisionReport, VariantReport, VocabularyReport};
pub use request::{DepthChoice, PrecisionChoice, PrecisionRequest, VocabularyChoice};
pub use rows::RunRows;
use trying::Trying;
use vocabulary::Kept;

/// The file in a run directory that says what its precisions cost.
pub const PRECISION: &str = "precision.json";

/// Tries the variants that were asked for, from small to large, and takes the first that passes the gate: of
/// all depths in 8 bits, then in fp32, which is larger at any.
///
/// # Errors
/// The device does not compute such a precision, the backbone is opaque or has no such depth, or building,
/// running or fitting a variant fails.
pub fn choose(
    request: &PrecisionRequest<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<(PrecisionReport, Option<Chosen>)> {
    let judged = judged(request)?;
    let depths = cut::depths(request, &judged)?;
    let references = judged.iter().map(|judged| judged.reference(&request.rows.features));
    let references: Vec<Reference<'_>> = references.collect::<Result<_>>()?;
    let kept = request.vocabulary.as_ref().map(|choice| Kept::choose(request, choice)).transpose()?;
    let mut trying = Trying::new(request, (&judged, &references), kept.as_ref());
    let is_exact = |(variant, _): &(Variant, bool)| variant.precision == Precision::Fp32;
    let (exact, coded): (Vec<_>, Vec<_>) =
        steps(request.choice, table_bits(request)).into_iter().partition(is_exact);
    let mut cuts: Vec<Option<Cut>> = Vec::with_capacity(depths.len());
    for steps in [coded, exact].iter().filter(|steps| !steps.is_empty()) {
        for (place, depth) in depths.iter().enumerate() {
            if trying.is_over() {
                break;
            }
            if place == cuts.len() {
                cuts.push(trying.look_at(*depth, show)?);
            }
            if let Some(cut) = &cuts[place] {
                trying.steps(cut, steps, show)?;
            }
        }
    }
    trying.timed()
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

/// The run's tasks with their rows and the way their heads are fitted.
fn judged<'r>(request: &PrecisionRequest<'r>) -> Result<Vec<Judged<'r>>> {
    let run = request.run;
    let fits: Vec<FitReport> = run.json(FIT)?;
    let of = |(task, head): (usize, &'r Head)| {
        let fit = fits.iter().find(|fit| fit.task == run.recipe.tasks[task]).map(|fit| FitOptions {
            seed: run.recipe.seed,
            threads: request.threads,
            ..fit.settled(&run.recipe.heads)
        });
        let known = request.rows.of_task(run, task, &[Part::Train, Part::Valid]).known(head.labels.len());
        Judged { task, head, known, test: request.rows.of_task(run, task, &[Part::Test]), fit }
    };
    Ok(run.heads.iter().enumerate().map(of).collect())
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
                report::name(&variant, None) + if excepted { " with exceptions" } else { "" }
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
