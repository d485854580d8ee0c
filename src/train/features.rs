//! Owns what each task's head sees: the choice that was asked for, or the one that `auto` finds on training
//! rows.
//!
//! Refuses to look at validation or test rows, and choices whose fit would not fit the memory.

use std::ops::Range;
use std::time::Instant;

use super::event::{Chosen, Show, TrainEvent};
use super::request::{FeatureRequest, Learning, TrainRequest};
use super::rows::Table;
use super::task::{Task, TaskView};
use crate::data::Part;
use crate::dataset::{Dataset, Input};
use crate::embed::{Embedder, covering};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::{self, Alpha, Candidate, SCREENED_ROWS, Selection, Trial, fit_bytes, select_bytes};
use crate::plan::{FreezePlan, Scenario};
use crate::task::Truth;
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
    match features {
        FeatureRequest::Choice(choice) => {
            embedder.columns(choice)?;
            let sees = request.rows.tasks.iter().map(|task| (task.name.as_str(), task.share, choice));
            check_gradients(embedder, plans, &sees.collect::<Vec<_>>())
        }
        FeatureRequest::Auto if plans.iter().all(|plan| plan.scenario() == Scenario::Frozen) => {
            Err(wrong("nothing is trained, so there is nothing to choose by")
                .expected("last, layers:A-B or all beside --freeze all"))
        }
        FeatureRequest::Auto => Ok(()),
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
    // A head sees what is at its highest state or below.
    let counted = sees.iter().filter(|(_, share, _)| *share > 0.0);
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
    let asked = |task: &str| match (learning.features, given(task)) {
        // A head that is taken over sees what it saw, and needs no penalty.
        (FeatureRequest::Auto, Some(choice)) => Asked::Given(choice),
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
    Learned(FeatureRequest),
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
    let Table { rows, tasks, parts, .. } = table;
    for task in tasks {
        let truth = task.truth(parts, Part::Train);
        let mut screening = Screening { learning, embedder, task, truth, rows, options: Vec::new() };
        task.sees = screening.settle(asked(&task.name), show)?;
        if !task.sees.tried.is_empty() {
            let _uninterrupted = show(&TrainEvent::Chosen(&chosen(task)));
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
        tried,
        run_off,
        seconds: *seconds,
        memory: *memory,
    }
}

/// A task's training rows and what may be chosen for it.
struct Screening<'s> {
    learning: &'s Learning,
    embedder: &'s Embedder,
    task: &'s Task,
    truth: Truth,
    rows: &'s mut Dataset,
    /// Each choice with its place in a stored row, fewest numbers first.
    options: Vec<(FeatureChoice, Range<usize>)>,
}

impl Screening<'_> {
    /// Settles what the head sees.
    fn settle(&mut self, asked: Asked, show: &mut Show<'_>) -> Result<TaskView> {
        let embedder = self.embedder;
        let alpha = self.learning.fit.alpha;
        let fixed = |choice| Ok(TaskView::fixed(alpha, Some(choice), embedder.columns(choice)?));
        match asked {
            Asked::Given(choice) | Asked::Learned(FeatureRequest::Choice(choice)) => fixed(choice),
            Asked::Learned(FeatureRequest::Auto) => {
                let backbone = embedder.backbone();
                let layers = backbone.layers().filter(|_| !embedder.layout().levels().is_empty());
                let choices = layers.map_or_else(
                    || vec![FeatureChoice::Last],
                    |layers| FeatureChoice::candidates(layers, backbone.has_embedding()),
                );
                self.screen(&choices, show)
            }
        }
    }

    /// Compares choices and penalties by cross-validation on some of the task's training rows.
    fn screen(&mut self, choices: &[FeatureChoice], show: &mut Show<'_>) -> Result<TaskView> {
        let start = Instant::now();
        let (name, classes) = (self.task.name.clone(), self.classes());
        for &choice in choices {
            let columns = self.embedder.columns(choice)?;
            let bytes = fit_bytes(self.truth.rows.len(), columns.len(), classes);
            if self.options.is_empty() || bytes <= self.learning.fit_memory {
                self.options.push((choice, columns));
            }
        }
        let sample = heads::sample(&self.truth.labels, classes, SCREENED_ROWS, self.learning.fit.seed);
        let mut fits = |done: usize, most: usize| {
            let what = format!("{name}: choosing what its head sees, {done} of at most {most} fits");
            let _uninterrupted = show(&TrainEvent::Work(&what));
        };
        let selection = self.select(&sample, &mut fits).map_err(|error| error.task(&name))?;
        let mut chosen = (selection.trial, selection.alpha);
        let (mut run_off, mut fitted) = (Vec::new(), vec![chosen.0]);
        if !selection.rivals.is_empty() && self.truth.rows.len() > sample.len() {
            let finalists: Vec<(usize, f64)> = [chosen].into_iter().chain(selection.rivals).collect();
            fitted = finalists.iter().map(|(option, _)| *option).collect();
            let what = format!("{name}: choosing between {} on all training rows", finalists.len());
            let _uninterrupted = show(&TrainEvent::Work(&what));
            run_off = self.run_off(&finalists)?;
            let best = run_off.iter().map(|found| found.accuracy).fold(0.0, f64::max);
            let near = run_off.iter().position(|found| best - found.accuracy <= found.standard_error);
            chosen = finalists[near.unwrap_or(0)];
        }
        let (choice, columns) = self.options[chosen.0].clone();
        let memory = self.memory(sample.len(), &fitted);
        Ok(TaskView {
            tried: selection.candidates,
            run_off,
            seconds: start.elapsed().as_secs_f64(),
            memory,
            ..TaskView::fixed(Alpha::Fixed(chosen.1), Some(choice), columns)
        })
    }

    fn classes(&self) -> usize {
        self.task.labels.names().len()
    }

    /// Compares all options on a sample of the rows.
    fn select(&self, sample: &[usize], show: &mut dyn FnMut(usize, usize)) -> Result<Selection> {
        let keys: Vec<_> = sample.iter().map(|&place| self.rows.keys[self.truth.rows[place]]).collect();
        let labels: Vec<u32> = sample.iter().map(|&place| self.truth.labels[place]).collect();
        let places: Vec<usize> = (0..sample.len()).collect();
        let sampled = self.embedder.read_rows(&keys, self.covered(0..self.options.len()))?;
        let trial = |(choice, columns): &(FeatureChoice, Range<usize>)| Trial {
            name: choice.to_string(),
            features: sampled.view(columns),
        };
        let trials: Vec<Trial<'_>> = self.options.iter().map(trial).collect();
        Ok(heads::select(&trials, (&places, &labels), self.classes(), &self.learning.fit, show))
    }

    /// Compares options, with their penalties, on all rows.
    fn run_off(&mut self, finalists: &[(usize, f64)]) -> Result<Vec<Candidate>> {
        let covered = self.covered(finalists.iter().map(|(option, _)| *option));
        self.rows.load(self.embedder, covered)?;
        let trial = |&(option, alpha): &(usize, f64)| {
            let (choice, columns) = &self.options[option];
            (Trial { name: choice.to_string(), features: self.rows.view(columns) }, alpha)
        };
        let trials: Vec<(Trial<'_>, f64)> = finalists.iter().map(trial).collect();
        let rows = (&self.truth.rows[..], &self.truth.labels[..]);
        heads::run_off(&trials, rows, self.task.answers(), &self.learning.fit)
    }

    /// The places that hold all of some options.
    fn covered(&self, options: impl IntoIterator<Item = usize>) -> Range<usize> {
        let columns: Vec<Range<usize>> =
            options.into_iter().map(|option| self.options[option].1.clone()).collect();
        covering(&columns)
    }

    /// Bytes at the peak of trying all options on `sampled` rows and of fitting some; all rows are held.
    fn memory(&self, sampled: usize, fitted: &[usize]) -> u64 {
        let (all, classes, threads) = (self.rows.rows(), self.classes(), self.learning.fit.threads);
        let widest = self.options.iter().map(|(_, columns)| columns.len()).max().unwrap_or(0);
        let matrix = 4 * (sampled * self.covered(0..self.options.len()).len()) as u64;
        let trying = matrix + select_bytes(sampled, widest, classes, threads);
        let fits = fitted.iter().map(|&option| self.options[option].1.len());
        let fit = fits.map(|width| fit_bytes(self.truth.rows.len(), width, classes)).max().unwrap_or(0);
        trying.max(4 * (all * self.covered(fitted.iter().copied()).len()) as u64 + fit)
    }
}
