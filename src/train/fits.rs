//! Owns the heads a training begins with: fitted on frozen features, drawn at random, or from an earlier run.

use super::features::TaskView;
use super::rows::{Table, task_rows};
use super::{HeadInit, TrainRequest};
use crate::backbone::Backbone;
use crate::classifier::{Run, TaskRows};
use crate::data::{LabelSet, Part};
use crate::embed::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::{self, Examples, FitOptions, FitReport, Head, fit_bytes};
use crate::plan::{FreezePlan, Scenario};
use crate::recognize::shell_word;

/// The heads a training begins with, in the order of the tasks, and the reports of those that were fitted.
pub(super) struct InitialHeads {
    pub heads: Vec<Head>,
    pub fits: Vec<FitReport>,
}

/// The seeded weights of a network that nobody has trained.
pub(super) fn untrained(request: &TrainRequest, labels: &[LabelSet], views: &[TaskView]) -> Vec<Head> {
    let seed = request.split.seed;
    let tasks = request.tasks.iter().zip(labels).zip(views);
    tasks.map(|((task, labels), view)| Head::random(task, labels.names(), view.columns.len(), seed)).collect()
}

/// Heads that are trained are fitted on the rows' features, or drawn when that was asked for; frozen ones
/// come from `--init-heads`, or stay as they were drawn.
///
/// # Errors
/// A fit fails, or the earlier run has no such head for these labels and features.
pub(super) fn initial_heads(
    request: &TrainRequest,
    plan: &FreezePlan,
    table: &Table,
    views: &[TaskView],
) -> Result<InitialHeads> {
    let mut heads = untrained(request, &table.labels, views);
    let earlier = earlier_heads(request, plan)?;
    for ((found, head), (labels, view)) in
        earlier.into_iter().zip(&mut heads).zip(table.labels.iter().zip(views))
    {
        if let Some(found) = found {
            found.check(request, labels, view)?;
            *head = found.head;
        }
    }
    let fitted: Vec<usize> = (0..heads.len()).filter(|&task| is_fitted(request, plan, task)).collect();
    let mut fits = Vec::new();
    for (&task, (head, report)) in fitted.iter().zip(fit_heads(request, &fitted, table, views)?) {
        heads[task] = head;
        fits.push(report);
    }
    Ok(InitialHeads { heads, fits })
}

/// Refuses heads of an earlier run that belong to another backbone than the one they would be put on.
///
/// # Errors
/// They do, or the earlier run cannot be opened.
pub(super) fn check_earlier(request: &TrainRequest, backbone: Option<&Backbone>) -> Result<()> {
    let (Some(directory), Some(backbone)) = (&request.init_heads, backbone) else { return Ok(()) };
    let recipe = Run::open(directory)?.recipe;
    let changed = recipe.training.and_then(|training| training.changed);
    let own = if changed.is_some() { backbone.fingerprint_before() } else { backbone.fingerprint() };
    let same = recipe.backbone.is_none_or(|earlier| earlier.fingerprint == own);
    if same && (changed.is_none() || changed == backbone.changed_fingerprint()) {
        return Ok(());
    }
    Err(Error::new(Kind::Run, "the earlier run's heads belong to another backbone")
        .at(directory)
        .found(format!("--backbone {}", backbone.directory().display()))
        .help(format!(
            "say --backbone {} to go on from its backbone too",
            shell_word(&directory.display().to_string())
        )))
}

/// A head of an earlier run that training begins with.
struct EarlierHead {
    head: Head,
    /// What it sees; none for vectors made elsewhere.
    choice: Option<FeatureChoice>,
}

impl EarlierHead {
    /// Refuses other labels or other features than those of the task.
    fn check(&self, request: &TrainRequest, labels: &LabelSet, view: &TaskView) -> Result<()> {
        let Self { head, choice } = self;
        let same = choice.is_none() || view.choice.is_none() || *choice == view.choice;
        if same && head.labels == labels.names() && head.features == view.columns.len() {
            return Ok(());
        }
        let described = |labels: &[String], width: usize, choice: Option<FeatureChoice>| {
            let of = choice.map_or_else(String::new, |choice| format!(" of {choice}"));
            format!("{} labels ({}) on {width} features{of}", labels.len(), labels.join(", "))
        };
        let error = Error::new(Kind::Run, "the earlier run's head does not fit")
            .task(&head.task)
            .found(described(&head.labels, head.features, *choice))
            .expected(described(labels.names(), view.columns.len(), view.choice));
        let error = match &request.init_heads {
            Some(directory) => error.at(directory),
            None => error,
        };
        Err(match choice.filter(|_| !same) {
            Some(choice) => error.help(format!("say --features {choice}")),
            None => error,
        })
    }
}

/// Whether a task's head is fitted before anything else is trained.
fn is_fitted(request: &TrainRequest, plan: &FreezePlan, task: usize) -> bool {
    plan.heads.contains(&request.tasks[task])
        && (plan.scenario() == Scenario::Heads || request.head_init == HeadInit::Fitted)
}

/// Per task, the head of `--init-heads` that training begins with; none where the earlier run has no such
/// head, and where one is fitted instead.
fn earlier_heads(request: &TrainRequest, plan: &FreezePlan) -> Result<Vec<Option<EarlierHead>>> {
    let Some(directory) = &request.init_heads else {
        return Ok(request.tasks.iter().map(|_| None).collect());
    };
    let Run { heads, recipe, .. } = Run::open(directory)?;
    let of = |(task, name): (usize, &String)| {
        let head = heads.iter().find(|own| own.task == *name).filter(|_| !is_fitted(request, plan, task))?;
        let choice = recipe.features.tasks.get(name).and_then(|own| own.choice);
        Some(EarlierHead { head: head.clone(), choice })
    };
    Ok(request.tasks.iter().enumerate().map(of).collect())
}

/// Per task, what the head of `--init-heads` that training begins with sees.
///
/// # Errors
/// The earlier run cannot be opened.
pub(super) fn earlier_choices(
    request: &TrainRequest,
    plan: &FreezePlan,
) -> Result<Vec<Option<FeatureChoice>>> {
    let heads = earlier_heads(request, plan)?;
    Ok(heads.into_iter().map(|own| own.and_then(|own| own.choice)).collect())
}

/// Fits the heads of some tasks, several at a time when there are threads for it; the result does not depend
/// on how many.
fn fit_heads(
    request: &TrainRequest,
    which: &[usize],
    table: &Table,
    views: &[TaskView],
) -> Result<Vec<(Head, FitReport)>> {
    let Table { rows, labels, parts, .. } = table;
    let needs = which
        .iter()
        .map(|&task| fit_bytes(rows.rows(), views[task].columns.len(), labels[task].names().len()));
    let fits_memory = needs.sum::<u64>() <= request.fit_memory;
    let at_once = if fits_memory { request.fit.threads.clamp(1, which.len().max(1)) } else { 1 };
    let fit_one = |&task: &usize| {
        let (name, labels, view) = (&request.tasks[task], labels[task].names(), &views[task]);
        let TaskRows { rows: chosen, labels: classes, .. } =
            task_rows(labels, &rows.cells[task], parts, Part::Train);
        let examples = Examples { features: rows.view(&view.columns), rows: &chosen, labels: &classes };
        let threads = request.fit.threads / at_once;
        let options = FitOptions { threads, alpha: view.alpha, ..request.fit.clone() };
        let (head, mut report) = heads::fit(name, labels, &examples, &options)?;
        if !view.tried.is_empty() {
            report.candidates.clone_from(&view.tried);
            report.run_off.clone_from(&view.run_off);
            report.seconds += view.seconds;
        }
        Ok((head, report))
    };
    let mut fitted = Vec::new();
    for group in which.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|task| scope.spawn(|| fit_one(task))).collect();
            for thread in running {
                fitted.push(thread.join().expect("a fit returns its errors: a panic in it is a bug"));
            }
        });
    }
    fitted.into_iter().collect()
}
