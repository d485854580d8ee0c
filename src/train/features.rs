//! Owns what each task's head sees: the choice that was asked for, or the one that `auto` finds on training
//! rows.
//!
//! Refuses to look at validation or test rows, and choices whose fit would not fit the memory.

use std::ops::Range;
use std::str::FromStr;
use std::{fmt, time::Instant};

use super::fits::earlier_choices;
use super::rows::{Table, task_rows};
use super::{Show, TrainEvent, TrainRequest};
use crate::classifier::TaskRows;
use crate::data::Part;
use crate::dataset::{Dataset, Input};
use crate::embed::{Embedder, FeatureChoice, covering};
use crate::error::{Error, Kind, Result};
use crate::heads::{self, Alpha, Candidate, FeatureView, Selection, Trial, fit_bytes, select_bytes};
use crate::plan::{FreezePlan, Scenario};
use crate::tokens::LongTexts;

/// Most training rows that `auto` compares choices on.
const SCREENED_ROWS: usize = 3000;

/// What the heads shall see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FeatureRequest {
    /// The same for every task.
    Choice(FeatureChoice),
    /// Per task, the fewest numbers within one standard error of the best on training rows.
    Auto,
}

impl Default for FeatureRequest {
    fn default() -> Self {
        Self::Choice(FeatureChoice::Last)
    }
}

impl FromStr for FeatureRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Choice).map_err(|error: Error| {
                error.expected("last, layers:A-B (such as layers:2-5 or layers:3), all or auto")
            }),
        }
    }
}

impl fmt::Display for FeatureRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(choice) => choice.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// What `auto` settled for a task.
#[derive(Debug)]
pub struct Chosen<'c> {
    pub task: &'c str,
    pub choice: FeatureChoice,
    /// Numbers the head sees of a text.
    pub width: usize,
    pub tried: &'c [Candidate],
    /// Those that were compared once more on all training rows, if any.
    pub run_off: &'c [Candidate],
    pub seconds: f64,
    /// Bytes that trying and fitting take at their peak, the features included.
    pub memory: u64,
}

/// What one task's head sees, and the penalty it is fitted with.
#[derive(Debug, Clone)]
pub(super) struct TaskView {
    /// None: vectors made elsewhere.
    pub choice: Option<FeatureChoice>,
    /// Its place in a stored row.
    pub columns: Range<usize>,
    pub alpha: Alpha,
    /// What `auto` tried, and the seconds that took.
    pub tried: Vec<Candidate>,
    pub run_off: Vec<Candidate>,
    pub seconds: f64,
    /// Bytes that trying and fitting take at their peak, the features included.
    pub memory: u64,
}

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
    if request.features == FeatureRequest::default() {
        return Ok(());
    }
    let wrong = |what: &str| {
        Error::new(Kind::Usage, what.to_owned()).found(format!("--features {}", request.features))
    };
    let Some(embedder) = embedder.filter(|_| matches!(request.data, Input::Texts { .. })) else {
        return Err(wrong("a Parquet holds the features it holds")
            .help("choose its column with --features-column, or give texts and --backbone"));
    };
    match request.features {
        FeatureRequest::Choice(choice) => {
            embedder.columns(choice)?;
            check_gradients(request, embedder, plans, &vec![choice; request.tasks.len()])
        }
        FeatureRequest::Auto if plans.iter().all(|plan| plan.scenario() == Scenario::Frozen) => {
            Err(wrong("nothing is trained, so there is nothing to choose by")
                .expected("last, layers:A-B or all beside --freeze all"))
        }
        FeatureRequest::Auto => Ok(()),
    }
}

/// Refuses to train layers that no head sees: their gradient would be zero.
fn check_gradients(
    request: &TrainRequest,
    embedder: &Embedder,
    plans: &[FreezePlan],
    choices: &[FeatureChoice],
) -> Result<()> {
    let layers = embedder.backbone().manifest().layers().unwrap_or(0);
    let network = plans.iter().filter(|plan| plan.scenario() == Scenario::Network);
    let Some(trained) = network.map(|plan| plan.layers.last().map_or(0, |layer| layer + 1)).max() else {
        return Ok(());
    };
    // A head sees what is at its highest state or below.
    let counted = choices.iter().zip(&request.network.shares).filter(|(_, share)| **share > 0.0);
    let seen = counted.map(|(choice, _)| choice.seen(layers).top(layers)).max();
    if seen.is_some_and(|seen| seen >= trained) {
        return Ok(());
    }
    let part =
        trained.checked_sub(1).map_or_else(|| "the embeddings".to_owned(), |own| format!("layer {own}"));
    let heads = request.tasks.iter().zip(choices).zip(&request.network.shares);
    let heads = heads.map(|((task, choice), share)| format!("{task}: {choice}, its loss counts {share}"));
    Err(Error::new(Kind::Training, "a part of the backbone would be trained without any gradient")
        .found(format!("{part} is trained; the heads see {}", heads.collect::<Vec<_>>().join("; ")))
        .expected(format!("a head that sees {part} or a layer above it, and whose loss counts"))
        .help("say --features last or all, or freeze what no head sees"))
}

/// Settles what every task's head sees, and brings that into memory.
///
/// # Errors
/// The features cannot be read, trying them fails, or a trained layer has no head that sees it.
pub(super) fn settle(
    request: &TrainRequest,
    plans: &[FreezePlan],
    table: &mut Table,
    embedder: Option<&Embedder>,
    show: &mut Show<'_>,
) -> Result<Vec<TaskView>> {
    let Some(embedder) = embedder.filter(|_| table.rows.layout.is_some()) else {
        let choice = table.rows.made_with.as_ref().map(|made| made.choice);
        let columns = 0..table.rows.width;
        return Ok(request.tasks.iter().map(|_| fixed(request, choice, columns.clone())).collect());
    };
    let earlier = earlier_choices(request, &plans[0])?;
    let mut views = Vec::with_capacity(request.tasks.len());
    for (task, earlier) in earlier.into_iter().enumerate() {
        views.push(match (request.features, earlier) {
            // A head that is taken over sees what it saw, and needs no penalty.
            (FeatureRequest::Auto, Some(choice)) => fixed(request, Some(choice), embedder.columns(choice)?),
            (asked, _) => settle_task(request, asked, (table, task), embedder, show)?,
        });
    }
    let choices: Vec<FeatureChoice> = views.iter().map(|view| view.choice.unwrap_or_default()).collect();
    check_gradients(request, embedder, plans, &choices)?;
    load(table, &views, embedder)?;
    Ok(views)
}

/// The same for heads of which each is asked for features of its own, on a frozen backbone.
///
/// # Errors
/// The features cannot be read, or trying them fails.
pub(super) fn settle_each(
    request: &TrainRequest,
    asked: &[FeatureRequest],
    table: &mut Table,
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<TaskView>> {
    let asked = asked.iter().enumerate();
    let views = asked.map(|(task, asked)| settle_task(request, *asked, (table, task), embedder, show));
    let views = views.collect::<Result<Vec<_>>>()?;
    load(table, &views, embedder)?;
    Ok(views)
}

/// Brings what the heads see into memory.
fn load(table: &mut Table, views: &[TaskView], embedder: &Embedder) -> Result<()> {
    let columns: Vec<Range<usize>> = views.iter().map(|view| view.columns.clone()).collect();
    table.rows.load(embedder, covering(&columns))
}

/// Settles what one task's head sees.
fn settle_task(
    request: &TrainRequest,
    asked: FeatureRequest,
    (table, task): (&mut Table, usize),
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<TaskView> {
    let view = match asked {
        FeatureRequest::Choice(FeatureChoice::Last) => {
            fixed(request, Some(FeatureChoice::Last), embedder.columns(FeatureChoice::Last)?)
        }
        FeatureRequest::Choice(choice) if request.fit.alpha != Alpha::Auto => {
            fixed(request, Some(choice), embedder.columns(choice)?)
        }
        FeatureRequest::Choice(choice) => screen(request, (table, task), embedder, &[choice], show)?,
        FeatureRequest::Auto => {
            let layers =
                embedder.backbone().manifest().layers().filter(|_| !embedder.layout().states().is_empty());
            let choices = layers.map_or_else(|| vec![FeatureChoice::Last], FeatureChoice::candidates);
            screen(request, (table, task), embedder, &choices, show)?
        }
    };
    if !view.tried.is_empty() {
        let event = TrainEvent::Chosen(&Chosen {
            task: &request.tasks[task],
            choice: view.choice.unwrap_or_default(),
            width: view.columns.len(),
            tried: &view.tried,
            run_off: &view.run_off,
            seconds: view.seconds,
            memory: view.memory,
        });
        let _uninterrupted = show(&event);
    }
    Ok(view)
}

fn fixed(request: &TrainRequest, choice: Option<FeatureChoice>, columns: Range<usize>) -> TaskView {
    TaskView {
        choice,
        columns,
        alpha: request.fit.alpha,
        tried: Vec::new(),
        run_off: Vec::new(),
        seconds: 0.0,
        memory: 0,
    }
}

/// A task's training rows and what may be chosen for it.
struct Screening<'s> {
    request: &'s TrainRequest,
    embedder: &'s Embedder,
    labels: Vec<String>,
    rows: TaskRows,
    /// Each choice with its place in a stored row, fewest numbers first.
    options: Vec<(FeatureChoice, Range<usize>)>,
}

/// Compares choices and penalties by cross-validation on some of a task's training rows.
fn screen(
    request: &TrainRequest,
    (table, task): (&mut Table, usize),
    embedder: &Embedder,
    choices: &[FeatureChoice],
    show: &mut Show<'_>,
) -> Result<TaskView> {
    let start = Instant::now();
    let name = &request.tasks[task];
    let labels = table.labels[task].names().to_vec();
    let rows = task_rows(&labels, &table.rows.cells[task], &table.parts, Part::Train);
    let mut options = Vec::with_capacity(choices.len());
    for &choice in choices {
        let columns = embedder.columns(choice)?;
        let bytes = fit_bytes(rows.rows.len(), columns.len(), labels.len());
        if options.is_empty() || bytes <= request.fit_memory {
            options.push((choice, columns));
        }
    }
    let screening = Screening { request, embedder, labels, rows, options };
    let sample =
        heads::sample(&screening.rows.labels, screening.labels.len(), SCREENED_ROWS, request.fit.seed);
    let mut fits = |done: usize, most: usize| {
        let what = format!("{name}: choosing what its head sees, {done} of at most {most} fits");
        let _uninterrupted = show(&TrainEvent::Work(&what));
    };
    let selection = screening.select(&table.rows, &sample, &mut fits).map_err(|error| error.task(name))?;
    let mut chosen = (selection.trial, selection.alpha);
    let (mut run_off, mut fitted) = (Vec::new(), vec![chosen.0]);
    if !selection.rivals.is_empty() && screening.rows.rows.len() > sample.len() {
        let finalists: Vec<(usize, f64)> = [chosen].into_iter().chain(selection.rivals).collect();
        fitted = finalists.iter().map(|(option, _)| *option).collect();
        let what = format!("{name}: choosing between {} on all training rows", finalists.len());
        let _uninterrupted = show(&TrainEvent::Work(&what));
        run_off = screening.run_off(&mut table.rows, &finalists)?;
        let best = run_off.iter().map(|own| own.accuracy).fold(0.0, f64::max);
        let near = run_off.iter().position(|own| best - own.accuracy <= own.standard_error);
        chosen = finalists[near.unwrap_or(0)];
    }
    let (choice, columns) = screening.options[chosen.0].clone();
    Ok(TaskView {
        choice: Some(choice),
        columns,
        alpha: Alpha::Fixed(chosen.1),
        tried: selection.candidates,
        run_off,
        seconds: start.elapsed().as_secs_f64(),
        memory: screening.memory(table.rows.rows(), sample.len(), &fitted),
    })
}

impl Screening<'_> {
    /// Compares all options on a sample of the rows.
    fn select(
        &self,
        rows: &Dataset,
        sample: &[usize],
        show: &mut dyn FnMut(usize, usize),
    ) -> Result<Selection> {
        let keys: Vec<_> = sample.iter().map(|&place| rows.keys[self.rows.rows[place]]).collect();
        let labels: Vec<u32> = sample.iter().map(|&place| self.rows.labels[place]).collect();
        let places: Vec<usize> = (0..sample.len()).collect();
        let all = self.covered(0..self.options.len());
        let matrix = self.embedder.read_rows(&keys, all.clone())?;
        let view = |columns: &Range<usize>| {
            FeatureView::new(&matrix, all.len(), columns.start - all.start..columns.end - all.start)
        };
        let trials: Vec<Trial<'_>> = self
            .options
            .iter()
            .map(|(choice, columns)| Trial { name: choice.to_string(), features: view(columns) })
            .collect();
        Ok(heads::select(&trials, (&places, &labels), self.labels.len(), &self.request.fit, show))
    }

    /// Compares options, with their penalties, on all rows.
    fn run_off(&self, rows: &mut Dataset, finalists: &[(usize, f64)]) -> Result<Vec<Candidate>> {
        rows.load(self.embedder, self.covered(finalists.iter().map(|(option, _)| *option)))?;
        let trial = |&(option, alpha): &(usize, f64)| {
            let (choice, columns) = &self.options[option];
            (Trial { name: choice.to_string(), features: rows.view(columns) }, alpha)
        };
        let trials: Vec<(Trial<'_>, f64)> = finalists.iter().map(trial).collect();
        heads::run_off(&trials, (&self.rows.rows, &self.rows.labels), &self.labels, &self.request.fit)
    }

    /// The places that hold all of some options.
    fn covered(&self, options: impl IntoIterator<Item = usize>) -> Range<usize> {
        let columns: Vec<Range<usize>> =
            options.into_iter().map(|option| self.options[option].1.clone()).collect();
        covering(&columns)
    }

    /// Bytes at the peak of trying all options on `sampled` rows and of fitting some; `all` rows are held.
    fn memory(&self, all: usize, sampled: usize, fitted: &[usize]) -> u64 {
        let (classes, threads) = (self.labels.len(), self.request.fit.threads);
        let widest = self.options.iter().map(|(_, columns)| columns.len()).max().unwrap_or(0);
        let matrix = 4 * (sampled * self.covered(0..self.options.len()).len()) as u64;
        let trying = matrix + select_bytes(sampled, widest, classes, threads);
        let fits = fitted.iter().map(|&option| self.options[option].1.len());
        let fit = fits.map(|width| fit_bytes(self.rows.rows.len(), width, classes)).max().unwrap_or(0);
        trying.max(4 * (all * self.covered(fitted.iter().copied()).len()) as u64 + fit)
    }
}
