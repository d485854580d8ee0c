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

use crate::classifier::run::FIT;
use crate::data::Part;
use crate::error::Result;
use crate::heads::{Alpha, FitOptions, FitReport, Head};
use crate::quantize::Precision;
pub use chosen::Chosen;
use cut::Cut;
pub use gate::TaskCost;
use gate::{Judged, Reference};
pub use report::{PrecisionReport, VariantReport};
pub use request::{DepthChoice, PrecisionChoice, PrecisionRequest};
pub use rows::RunRows;
use trying::Trying;

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
    let mut trying = Trying::new(request, &judged, &references);
    let (exact, coded): (Vec<_>, Vec<_>) =
        steps(request.choice).into_iter().partition(|(precision, _)| *precision == Precision::Fp32);
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

/// Precisions in the order in which they are tried, and whether with exceptions.
fn steps(choice: PrecisionChoice) -> Vec<(Precision, bool)> {
    let int8 = [(Precision::Int8, false), (Precision::Int8, true)];
    match choice {
        PrecisionChoice::Fixed(Precision::Int8) => int8.to_vec(),
        PrecisionChoice::Fixed(precision) => vec![(precision, false)],
        PrecisionChoice::Auto => [&int8[..], &[(Precision::W8, false), (Precision::Fp32, false)]].concat(),
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
