//! Owns what each task's head sees: the choice that was asked for, or the one that `auto` finds on training
//! rows (`selection`).
//!
//! Refuses choices that the rows or the plans cannot give.

use std::ops::Range;

use super::event::{Chosen, Show, TrainEvent};
use super::request::{FeatureRequest, Learning, StatesRequest, TrainRequest};
use super::rows::Table;
use super::task::{Task, TaskView};
use crate::data::Part;
use crate::dataset::Input;
use crate::embed::{Embedder, covering};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::WordsWanted;
use crate::plan::{FreezePlan, Scenario};
use crate::selection::{Screening, options};
use crate::tokens::LongTexts;

/// Refuses, before any work, features that the rows or the plans cannot give.
///
/// # Errors
/// There is no such layer, the backbone cannot be looked into, or a plan needs the sentence embedding.
pub(super) fn check(request: &TrainRequest, embedder: Option<&Embedder>, plans: &[FreezePlan]) -> Result<()> {
    let network = plans.iter().any(|plan| plan.scenario() == Scenario::Network);
    if let Some(long) = embedder.map(Embedder::long).filter(|long| network && *long != LongTexts::Truncate) {
        return Err(Error::new(Kind::Usage, "layers are trained on the start of a text only")
            .found(format!("--long windows: {long}"))
            .expected("--long truncate")
            .help("windows need a frozen backbone: leave --freeze and --unfreeze away"));
    }
    let features = request.learning.features;
    if features == FeatureRequest::default() {
        return Ok(());
    }
    let wrong = |what: &str| Error::new(Kind::Usage, what.to_owned()).found(format!("--features {features}"));
    let Some(embedder) = embedder.filter(|_| matches!(request.rows.data, Input::Texts { .. })) else {
        return Err(wrong("a Parquet holds the features it holds")
            .help("choose its column with --features-column, or give texts and --backbone"));
    };
    let frozen = plans.iter().all(|plan| plan.scenario() == Scenario::Frozen);
    if frozen && features.words == WordsWanted::Yes {
        return Err(wrong("nothing is trained, so words would have no weights")
            .expected("last, layers:A-B or all beside --freeze all"));
    }
    match features.states {
        StatesRequest::Choice(choice) => {
            embedder.columns(choice)?;
            let sees = request.rows.tasks.iter().map(|task| (task.name.as_str(), task.share, choice));
            check_gradients(embedder, plans, &sees.collect::<Vec<_>>())
        }
        StatesRequest::Auto if frozen => Err(wrong("nothing is trained, so there is nothing to choose by")
            .expected("last, layers:A-B or all beside --freeze all")),
        StatesRequest::Auto => Ok(()),
    }
}

/// Refuses to train layers that no head sees: their gradient would be zero. `sees` says of every task its
/// name, what its loss counts, and what its head sees.
fn check_gradients(
    embedder: &Embedder,
    plans: &[FreezePlan],
    sees: &[(&str, f32, FeatureChoice)],
) -> Result<()> {
    let layers = embedder.backbone().layers().unwrap_or(0);
    let network = plans.iter().filter(|plan| plan.scenario() == Scenario::Network);
    let Some(trained) = network.map(|plan| plan.layers.last().map_or(0, |layer| layer + 1)).max() else {
        return Ok(());
    };
    // A head sees what is at its highest state or below; one of words alone sees nothing of it.
    let counted = sees.iter().filter(|(_, share, choice)| *share > 0.0 && *choice != FeatureChoice::Nothing);
    let seen = counted.map(|(.., choice)| choice.top(layers)).max();
    if seen.is_some_and(|seen| seen >= trained) {
        return Ok(());
    }
    let part =
        trained.checked_sub(1).map_or_else(|| "the embeddings".to_owned(), |layer| format!("layer {layer}"));
    let heads = sees.iter().map(|(task, share, choice)| format!("{task}: {choice}, its loss counts {share}"));
    Err(Error::new(Kind::Training, "a part of the backbone would be trained without any gradient")
        .found(format!("{part} is trained; the heads see {}", heads.collect::<Vec<_>>().join("; ")))
        .expected(format!("a head that sees {part} or a layer above it, and whose loss counts"))
        .help("say --features last or all, or freeze what no head sees"))
}

/// Settles what every task's head sees, and brings that into memory. `given` says what the head of a task
/// sees that is taken over from an earlier run.
///
/// # Errors
/// The features cannot be read, trying them fails, or a trained layer has no head that sees it.
pub(super) fn settle(
    learning: &Learning,
    plans: &[FreezePlan],
    given: &dyn Fn(&str) -> Option<FeatureChoice>,
    table: &mut Table,
    embedder: Option<&Embedder>,
    show: &mut Show<'_>,
) -> Result<()> {
    let Some(embedder) = embedder.filter(|_| table.rows.layout.is_some()) else {
        let choice = table.rows.made_with.as_ref().map(|made| made.choice);
        for task in &mut table.tasks {
            task.sees = TaskView::fixed(learning.fit.alpha, choice, table.rows.features.places());
        }
        return Ok(());
    };
    let asked = |task: &str| match (learning.features.states, given(task)) {
        // A head that is taken over sees what it saw, and needs no penalty.
        (StatesRequest::Auto, Some(choice)) => Asked::Given(choice),
        (asked, _) => Asked::Learned(asked),
    };
    settle_each(learning, &asked, table, embedder, show)?;
    let sees = table.tasks.iter().map(|task| (task.name.as_str(), task.share, task.choice()));
    check_gradients(embedder, plans, &sees.collect::<Vec<_>>())?;
    load(table, embedder)
}

/// What the head of a task shall see.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// What it sees already: it is there.
    Given(FeatureChoice),
    Learned(StatesRequest),
}

/// The same for heads of which each is asked for features of its own, on a frozen backbone.
///
/// # Errors
/// The features cannot be read, or trying them fails.
pub(super) fn settle_frozen(
    learning: &Learning,
    asked: &dyn Fn(&str) -> Asked,
    table: &mut Table,
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<()> {
    settle_each(learning, asked, table, embedder, show)?;
    load(table, embedder)
}

/// Brings what the heads see into memory.
fn load(table: &mut Table, embedder: &Embedder) -> Result<()> {
    let columns: Vec<Range<usize>> = table.tasks.iter().map(|task| task.sees.columns.clone()).collect();
    table.rows.load(embedder, covering(&columns))
}

fn settle_each(
    learning: &Learning,
    asked: &dyn Fn(&str) -> Asked,
    table: &mut Table,
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<()> {
    let Table { rows, tasks, parts, depth, .. } = table;
    for task in tasks {
        match asked(&task.name) {
            Asked::Given(choice) | Asked::Learned(StatesRequest::Choice(choice)) => {
                task.sees =
                    TaskView::fixed(learning.fit.alpha, Some(choice), embedder.columns_at(choice, *depth)?);
            }
            Asked::Learned(StatesRequest::Auto) => {
                let (truth, options) = (task.truth(parts, Part::Train), options(embedder, *depth)?);
                let (answers, fitting) = (task.answers(), learning.fitting());
                let mut screening = Screening { embedder, rows, answers, truth: &truth, fitting };
                task.sees = TaskView::of(screening.among(&options, &mut |what| {
                    let _uninterrupted = show(&TrainEvent::Work(what));
                })?);
                let _uninterrupted = show(&TrainEvent::Chosen(&chosen(task)));
            }
        }
    }
    Ok(())
}

fn chosen(task: &Task) -> Chosen<'_> {
    let TaskView { columns, tried, run_off, seconds, memory, .. } = &task.sees;
    Chosen {
        task: &task.name,
        choice: task.choice(),
        width: columns.len(),
        score: task.kind.score_name(),
        tried,
        run_off,
        seconds: *seconds,
        memory: *memory,
    }
}
