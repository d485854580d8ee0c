//! Owns recipe → run: split the rows, fit or train what the freeze plan leaves free, measure on held-out
//! rows, write the run.
//!
//! Refuses to touch what is frozen, and to overwrite a run made from something else.

mod change;
mod depths;
mod described;
mod earlier;
mod event;
mod features;
mod fits;
mod gathered;
mod job;
mod measured;
mod network;
pub(crate) mod outcome;
mod proof;
mod recipe;
mod refit;
mod request;
mod rows;
mod seen;
mod task;

use std::sync::Arc;

use crate::backbone::Backbone;
use crate::classifier::Run;
use crate::classifier::run::{BackboneRecipe, TaskFeatures};
use crate::embed::{Embedder, MadeWith};
use crate::error::Result;
use crate::heads::WordsWanted;
pub use change::{HeadChange, ScoreChange};
pub use depths::depths;
use earlier::Earlier;
pub use event::{Chosen, Show, TrainEvent};
use fits::{GivenHeads, check_final, say_seen};
use job::Job;
pub use outcome::{Described, Drift, RunMetrics, Sizes, TrainSummary, Trained, stage_reports};
pub use recipe::{heads_hash, shared_inputs};
use recipe::{recipe, up_to_date};
pub use refit::{RefitReport, RefitRequest, Refitted, refit};
pub use request::{
    FeatureRequest, Freezing, FrozenHead, Learning, Output, RowsRequest, StatesRequest, TrainRequest,
};
use rows::Table;

/// Trains a run. `embedder` is needed when any input is a table of texts.
///
/// # Errors
/// The inputs are malformed, the plan is impossible, the rows cannot be split or fitted, or the run cannot be
/// written.
pub fn train(
    request: &TrainRequest,
    mut embedder: Option<&mut Embedder>,
    show: &mut Show<'_>,
) -> Result<Trained> {
    let TrainRequest { rows, learning, freezing, layers, .. } = request;
    layers.check()?;
    let whole = embedder.as_deref().map(|embedder| Arc::clone(embedder.backbone()));
    let stages = request.plans(whole.as_deref())?;
    features::check(request, embedder.as_deref(), &stages)?;
    check_final(request, &stages)?;
    let long = embedder.as_deref().map(Embedder::long).unwrap_or_default();
    let asked = depths::asked(request, whole.as_ref(), &stages)?;
    // A run that is there says the depth that the same inputs lead to.
    let mut backbone = depths::cut(whole.as_ref(), depths::chosen_before(request, asked))?;
    let made = |backbone: Option<&Backbone>| recipe(request, (backbone, long), asked, &stages);
    let mut recipe = made(backbone.as_deref())?;
    if let Some(metrics) = up_to_date(request, &recipe)? {
        // It may have been killed between the appearing of the run and this.
        request.output.forget_checkpoints();
        return Ok(Trained::UpToDate(Box::new(metrics)));
    }
    look_at_words(learning, embedder.as_deref_mut())?;
    let given = GivenHeads::open(request, &stages[0], backbone.as_deref())?;
    let earlier = Earlier::open(request, (backbone.as_deref(), long), &stages)?;
    let mut table = Table::read(rows, freezing.needs_texts(), &|_| false, embedder.as_deref_mut(), show)?;
    given.say_seen(&table, show);
    if let Some(run) = &freezing.trained_by {
        say_seen((run, &Run::open(run)?.rows()?), &table, show);
    }
    let choice = |task: &str| given.choice(task);
    let mut figures = Vec::new();
    if let (Some(asked), Some(embedder)) = (asked, embedder.as_deref()) {
        figures = depths::choose(request, asked, &mut table, embedder, show)?;
        backbone = depths::cut(whole.as_ref(), table.depth)?;
        recipe = made(backbone.as_deref())?;
    }
    features::settle(learning, &stages, &choice, &mut table, embedder.as_deref(), show)?;
    for task in &table.tasks {
        let seen = TaskFeatures { choice: task.sees.choice, width: task.sees.columns.len() };
        recipe.features.tasks.insert(task.name.clone(), seen);
    }
    if recipe.data.text.is_none() {
        recipe.data.by_vector = Some(table.rows.by_vector);
    }
    if let Some(made) = table.rows.made_with.clone() {
        recipe.features.long = made.long;
        let MadeWith { name, fingerprint, depth, second_text, .. } = made;
        recipe.data.second_text = second_text;
        recipe.backbone.get_or_insert(BackboneRecipe {
            name,
            fingerprint,
            depth,
            chosen: None,
            directory: None,
        });
    }
    Job { request, stages, earlier, given, table, recipe, backbone, depths: figures }.run(embedder, show)
}

/// Makes the embedder keep what stands in texts, where heads may look at that.
fn look_at_words(learning: &Learning, embedder: Option<&mut Embedder>) -> Result<()> {
    match embedder.filter(|_| learning.fit.words.wanted != WordsWanted::No) {
        Some(embedder) => embedder.look_at_words(embedder.own_grams()),
        None => Ok(()),
    }
}
