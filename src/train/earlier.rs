//! Owns going on from an earlier run: gradual unfreezing whose first stages are trained already takes them
//! over.
//!
//! Refuses a run that is not exactly the beginning of what was asked for: the result is that of training
//! every stage anew.

use super::outcome::{StageReport, stage_reports};
use super::recipe::recipe;
use super::request::TrainRequest;
use crate::backbone::Backbone;
use crate::classifier::Run;
use crate::encoder::ChangedTensors;
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::plan::FreezePlan;
use crate::tokens::LongTexts;

/// What the first stages came to.
pub(super) struct Earlier {
    /// How many of the request's stages it stands for.
    pub stages: usize,
    pub changed: ChangedTensors,
    pub heads: Vec<Head>,
    pub reports: Vec<StageReport>,
}

impl Earlier {
    /// Opens the earlier run of a request; nothing when there is none.
    ///
    /// # Errors
    /// It is no run, is damaged, or was not made by the first stages of this request.
    pub fn open(
        request: &TrainRequest,
        (backbone, long): (Option<&Backbone>, LongTexts),
        plans: &[FreezePlan],
    ) -> Result<Option<Self>> {
        let Some(directory) = &request.freezing.earlier else { return Ok(None) };
        let run = Run::open(directory)?;
        let trained = run.recipe.training.as_ref().map_or(&[][..], |training| &training.unfreeze);
        let stages = trained.len();
        let all = request.freezing.unfreeze();
        let begins = stages > 0 && stages < all.len() && all.starts_with(trained);
        let expected = if begins {
            let freezing = request.freezing.first_stages(stages);
            let first = TrainRequest { freezing, ..request.clone() };
            Some(recipe(&first, (backbone, long), None, &plans[..stages])?.inputs)
        } else {
            None
        };
        if expected != Some(run.recipe.inputs) {
            return Err(Error::new(Kind::Usage, "the earlier run is not the beginning of this one")
                .at(directory)
                .found(format!("stages {} ({})", listed(trained), run.recipe.inputs.short()))
                .expected(format!("the first of {}, on the same rows and options", listed(all))));
        }
        if run.recipe.training.as_ref().is_some_and(|training| training.interrupted) {
            return Err(Error::new(Kind::Usage, "the earlier run was interrupted")
                .at(directory)
                .help("give its command again to go on with it"));
        }
        let changed = run.changed()?.map(|(tensors, _)| tensors).unwrap_or_default();
        let reports = stage_reports(&run)?;
        Ok(Some(Self { stages, changed, heads: run.heads, reports }))
    }
}

/// Numbers of layers, for a message.
fn listed(stages: &[usize]) -> String {
    if stages.is_empty() {
        return "none".to_owned();
    }
    stages.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
