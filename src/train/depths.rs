//! Owns the depth of a training: what the depths of a backbone cost its tasks, by its rows, and the
//! shallowest that is good enough.
//!
//! Refuses to choose a depth where layers are trained, or heads are taken over.

use std::sync::Arc;

use super::event::{Show, TrainEvent};
use super::request::{FrozenHead, Learning, RowsRequest, TrainRequest};
use super::rows::Table;
use crate::backbone::Backbone;
use crate::classifier::run::{ChosenDepth, Recipe};
use crate::data::Part;
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result};
use crate::plan::{FreezePlan, Scenario};
use crate::selection::{self, DepthFigures, TaskRows};
use crate::task::Truth;

/// What is asked for of the depth, if one is to be chosen.
///
/// # Errors
/// There is no backbone whose layers are known, more than heads is trained, or what heads see is not chosen.
pub(super) fn asked(
    request: &TrainRequest,
    backbone: Option<&Arc<Backbone>>,
    plans: &[FreezePlan],
) -> Result<Option<ChosenDepth>> {
    let Some(max_drop) = request.max_drop else { return Ok(None) };
    let wrong = |what: &str, found: String| {
        Error::new(Kind::Usage, what.to_owned()).found(format!("--max-drop {max_drop}, and {found}"))
    };
    let heads = |plan: &FreezePlan| plan.scenario() == Scenario::Heads && plan.frozen_heads().is_empty();
    if !plans.iter().all(heads) || request.freezing.init_heads != FrozenHead::Fitted {
        let found = plans.last().map_or_else(String::new, |plan| format!("frozen: {plan}"));
        return Err(wrong("a depth is chosen where all heads, and nothing but heads, are fitted", found)
            .expected("a frozen backbone: neither --freeze nor --unfreeze")
            .help("choose the depth first; then train layers of it: --depth N --unfreeze 1"));
    }
    if !request.learning.features.chooses() {
        let found = format!("--features {}", request.learning.features);
        return Err(wrong("what the heads see is chosen with the depth", found)
            .expected("--features auto, which is the default here"));
    }
    let Some(deepest) = backbone.and_then(|backbone| backbone.layers()) else {
        return Err(wrong("there is no depth to choose", "no backbone whose layers are known".to_owned())
            .help("give texts, and a backbone imported from its Hugging Face directory"));
    };
    Ok(Some(ChosenDepth { max_drop, deepest }))
}

/// The depth of the run that is there already, if it was chosen as this one is to be.
pub(super) fn chosen_before(request: &TrainRequest, asked: Option<ChosenDepth>) -> Option<usize> {
    let made = Recipe::open(&request.output.path).ok()?.backbone?;
    asked.filter(|asked| made.chosen == Some(*asked)).map(|asked| made.depth.unwrap_or(asked.deepest))
}

/// The backbone, of which only so much is run.
///
/// # Errors
/// It cannot be cut there.
pub(super) fn cut(backbone: Option<&Arc<Backbone>>, depth: Option<usize>) -> Result<Option<Arc<Backbone>>> {
    match (backbone, depth) {
        (Some(backbone), Some(depth)) => Backbone::clone(backbone).to_depth(depth).map(Arc::new).map(Some),
        _ => Ok(backbone.cloned()),
    }
}

/// Gives the rows the shallowest depth that is good enough; what each depth costs.
///
/// # Errors
/// The features cannot be read, or a fit fails.
pub(super) fn choose(
    request: &TrainRequest,
    asked: ChosenDepth,
    table: &mut Table,
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<DepthFigures>> {
    let all: Vec<usize> = (0..=asked.deepest).collect();
    let figures = figures(table, &request.learning, &all, embedder, show)?;
    let chosen = selection::shallowest(&figures, asked.max_drop).unwrap_or(asked.deepest);
    let _uninterrupted = show(&TrainEvent::Depth { figures: &figures, chosen });
    table.depth = Some(chosen);
    Ok(figures)
}

/// What each of these depths costs each task of labelled texts; see [`selection::depths`].
///
/// # Errors
/// The rows are malformed or cannot be divided, the network has no such depth, or a fit fails.
pub fn depths(
    request: &RowsRequest,
    learning: &Learning,
    asked: &[usize],
    embedder: &mut Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<DepthFigures>> {
    let mut table = Table::read(request, false, &|_| false, Some(embedder), show)?;
    figures(&mut table, learning, asked, embedder, show)
}

/// The same of rows that have been read.
///
/// # Errors
/// As [`depths`].
pub(super) fn figures(
    table: &mut Table,
    learning: &Learning,
    asked: &[usize],
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<DepthFigures>> {
    let Table { rows, tasks, parts, .. } = table;
    let held = (0..parts.len()).filter(|&row| matches!(parts[row], Some(Part::Train | Part::Valid)));
    let held: Vec<usize> = held.collect();
    let mut of_tasks = Vec::with_capacity(tasks.len());
    for task in tasks.iter() {
        let labels = task.labels.names();
        let known = Truth::new(task.kind, labels, &task.cells, held.iter().copied()).known(labels.len());
        of_tasks.push(TaskRows { answers: task.answers(), train: task.truth(parts, Part::Train), known });
    }
    selection::depths(embedder, rows, &of_tasks, asked, learning.fitting(), &mut |what| {
        let _uninterrupted = show(&TrainEvent::Work(what));
    })
}
