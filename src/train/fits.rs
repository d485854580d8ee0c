//! Owns the heads a training begins with: fitted on frozen features, drawn at random, or from an earlier run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::event::{Show, TrainEvent};
use super::request::{FrozenHead, Learning, TrainRequest};
use super::rows::Table;
use super::task::Task;
use crate::backbone::Backbone;
use crate::classifier::run::SplitRows;
use crate::classifier::{Run, enough_rows, limit_numbers};
use crate::data::Part;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::finetune::HeadInit;
use crate::heads::{
    self, Alpha, Examples, FitReport, Head, OutOfFold, SCREENED_ROWS, fit_bytes, select_bytes,
};
use crate::plan::{FreezePlan, Scenario};
use crate::recognize::shell_word;
use crate::task::Truth;

/// The heads a training begins with, in the order of the tasks, and the reports of those that were fitted.
#[derive(Default)]
pub(super) struct InitialHeads {
    pub heads: Vec<Head>,
    pub fits: Vec<FitReport>,
}

/// The heads of an earlier run that training begins with, instead of fitting them; perhaps none.
#[derive(Default)]
pub(super) struct GivenHeads {
    directory: PathBuf,
    given: Vec<GivenHead>,
    /// The rows of that run.
    seen: SplitRows,
}

/// A head of an earlier run that training begins with.
struct GivenHead {
    head: Head,
    /// What it sees; none for vectors made elsewhere.
    choice: Option<FeatureChoice>,
}

impl GivenHeads {
    /// Opens the earlier run of a request, when there is one.
    ///
    /// # Errors
    /// It cannot be opened, has no head that would be taken, or its heads belong to another backbone than the
    /// one they would be put on.
    pub fn open(request: &TrainRequest, plan: &FreezePlan, backbone: Option<&Backbone>) -> Result<Self> {
        let Some(directory) = request.freezing.init_heads.run() else {
            let random = request.freezing.init_heads == FrozenHead::Random;
            return if random && plan.frozen_heads().is_empty() {
                Err(Error::new(Kind::Usage, "--init-heads random has no effect")
                    .found("no frozen head")
                    .help("freeze one with --freeze head:TASK; trained heads begin by --head-init"))
            } else {
                Ok(Self::default())
            };
        };
        let run = Run::open(directory)?;
        if let Some(backbone) = backbone {
            check_backbone(&run, directory, backbone)?;
        }
        let tasks = request.rows.tasks.names();
        let wanted: Vec<&str> =
            tasks.iter().map(String::as_str).filter(|task| !begins_fitted(request, plan, task)).collect();
        let taken = run.heads.iter().filter(|head| wanted.contains(&head.task.as_str()));
        let given = taken.map(|head| GivenHead { head: head.clone(), choice: run.choice(&head.task) });
        let given: Vec<GivenHead> = given.collect();
        if given.is_empty() {
            return Err(nothing_taken(directory, &run, &wanted));
        }
        Ok(Self { directory: directory.to_path_buf(), given, seen: run.rows()? })
    }

    /// Says how many test rows the earlier run was trained on: figures on them are what its heads remember.
    pub fn say_seen(&self, table: &Table, show: &mut Show<'_>) {
        say_seen((&self.directory, &self.seen), table, show);
    }

    /// What the given head of a task sees.
    pub fn choice(&self, task: &str) -> Option<FeatureChoice> {
        self.of(task)?.choice
    }

    fn of(&self, task: &str) -> Option<&GivenHead> {
        self.given.iter().find(|given| given.head.task == task)
    }

    /// The given head of a task.
    ///
    /// # Errors
    /// It has other labels or other features than the task's.
    fn head(&self, task: &Task) -> Result<Option<Head>> {
        let Some(GivenHead { head, choice }) = self.of(&task.name) else { return Ok(None) };
        let (labels, sees) = (task.labels.names(), &task.sees);
        let same = choice.is_none() || sees.choice.is_none() || *choice == sees.choice;
        if same && head.kind == task.kind && head.labels == labels && head.features == sees.columns.len() {
            return Ok(Some(head.clone()));
        }
        let described = |labels: &[String], width: usize, choice: Option<FeatureChoice>| {
            let of = choice.map_or_else(String::new, |choice| format!(" of {choice}"));
            format!("{} labels ({}) on {width} features{of}", labels.len(), labels.join(", "))
        };
        let error = Error::new(Kind::Run, "the earlier run's head does not fit")
            .at(&self.directory)
            .task(&head.task)
            .found(described(&head.labels, head.features, *choice))
            .expected(described(labels, sees.columns.len(), sees.choice));
        Err(match choice.filter(|_| !same) {
            Some(choice) => error.help(format!("say --features {choice}")),
            None => error,
        })
    }
}

/// Says how many test rows a run was trained on, whose heads or layers are taken over.
pub(super) fn say_seen((run, seen): (&Path, &SplitRows), table: &Table, show: &mut Show<'_>) {
    let trained = |key| matches!(seen.part(key), Some(Part::Train | Part::Valid));
    let rows = table.rows.keys.iter().zip(&table.parts);
    let rows = rows.filter(|(key, part)| **part == Some(Part::Test) && trained(key)).count() as u64;
    if rows > 0 {
        let _uninterrupted = show(&TrainEvent::SeenBefore { rows, run });
    }
}

fn nothing_taken(directory: &Path, run: &Run, wanted: &[&str]) -> Error {
    let error = Error::new(Kind::Usage, "--init-heads has no effect").at(directory);
    if wanted.is_empty() {
        return error
            .found("no frozen head, and trained ones begin fitted")
            .help("freeze a head with --freeze head:TASK, or say --head-init random to begin at its heads");
    }
    let heads: Vec<&str> = run.heads.iter().map(|head| head.task.as_str()).collect();
    error
        .found(format!("a run of the tasks {}", heads.join(", ")))
        .expected(format!("a head of {}", wanted.join(" or ")))
}

fn check_backbone(run: &Run, directory: &Path, backbone: &Backbone) -> Result<()> {
    let recipe = &run.recipe;
    let changed = recipe.training.as_ref().and_then(|training| training.changed);
    let fingerprint = if changed.is_some() { backbone.fingerprint_before() } else { backbone.fingerprint() };
    let same = recipe.backbone.as_ref().is_none_or(|earlier| earlier.fingerprint == fingerprint);
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

/// The seeded weights of a network that nobody has trained.
pub(super) fn untrained(table: &Table) -> Vec<Head> {
    table.tasks.iter().map(|task| drawn(task, table.seed)).collect()
}

fn drawn(task: &Task, seed: u64) -> Head {
    Head::random(task.answers(), task.sees.columns.len(), seed)
}

/// Heads are given by an earlier run, fitted on the rows' features, or drawn where that was asked for.
///
/// # Errors
/// A fit fails, or a given head is not for these labels and features.
pub(super) fn initial_heads(
    request: &TrainRequest,
    plan: &FreezePlan,
    table: &Table,
    given: &GivenHeads,
) -> Result<InitialHeads> {
    let drawn_unless_given = |task: &Task| {
        let trained = plan.heads.contains(&task.name);
        !begins_fitted(request, plan, &task.name)
            && (trained || request.freezing.init_heads == FrozenHead::Random)
    };
    let (mut fitted, mut others) = (Vec::new(), Vec::new());
    for task in &table.tasks {
        // A head that does not fit is said before the work.
        match given.head(task)? {
            Some(head) => others.push(head),
            None if drawn_unless_given(task) => others.push(drawn(task, table.seed)),
            None => fitted.push(task),
        }
    }
    let mut begun = fit_heads(&request.learning, table, &fitted)?;
    begun.heads.extend(others);
    begun.heads.sort_by_key(|head| table.task(head).column);
    Ok(begun)
}

/// Whether a task's head is trained, and begins where it fits the frozen features best.
fn begins_fitted(request: &TrainRequest, plan: &FreezePlan, task: &str) -> bool {
    let begins = plan.scenario() == Scenario::Heads || request.layers.head_init == HeadInit::Fitted;
    plan.heads.contains(task) && begins
}

/// Refuses a final fit where there is nothing that it could fit.
///
/// # Errors
/// Layers are trained, or no head is.
pub(super) fn check_final(request: &TrainRequest, plans: &[FreezePlan]) -> Result<()> {
    if !request.learning.fit.final_fit || plans.iter().all(|plan| plan.scenario() == Scenario::Heads) {
        return Ok(());
    }
    let frozen = plans.iter().all(|plan| plan.scenario() == Scenario::Frozen);
    Err(Error::new(Kind::Usage, "only heads on a frozen backbone are fitted once more")
        .found(if frozen { "--final where nothing is trained" } else { "--final where layers are trained" })
        .help("train the layers first, then the heads: `frosthead train DATA --backbone RUN --final`"))
}

/// Fits the heads that were fitted once more, frozen ones aside, on the labelled rows of all parts, with
/// their penalty and their temperature; gives the rows of each task.
///
/// # Errors
/// A fit fails.
pub(super) fn fit_once_more(
    learning: &Learning,
    table: &Table,
    (fits, frozen): (&[FitReport], &[String]),
    heads: &mut [Head],
) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for head in heads {
        let fit = fits.iter().find(|fit| fit.task == head.task && !frozen.contains(&fit.task));
        let Some(fit) = fit else { continue };
        let task = table.task(head);
        let rows = (0..table.parts.len()).filter(|&row| table.parts[row].is_some());
        // A label that training never saw would be a class without a measured figure.
        let truth = Truth::new(head.kind, &head.labels, &task.cells, rows).known(head.labels.len());
        let features = table.rows.view(&task.sees.columns);
        let examples = Examples { features, rows: &truth.rows, targets: &truth.targets };
        let options = fit.settled(&learning.fit);
        let (fitted, _) = heads::fit(head.answers(), &examples, &options)?;
        *head = Head { believed: head.believed.clone(), ..fitted };
        if !head.kind.has_labels() {
            // The rows that it was found on are trained on now.
            let held_out = heads::out_of_fold(head.answers(), &examples, &options, usize::MAX)?;
            limit_numbers(head, options.promise, &held_out);
        }
        counts.insert(head.task.clone(), truth.rows.len() as u64);
    }
    Ok(counts)
}

/// What is said of training rows out of their fold, task by task: for heads that were fitted, and whose
/// validation rows alone are too few to calibrate on.
///
/// # Errors
/// A fit fails.
pub(super) fn out_of_fold(
    learning: &Learning,
    table: &Table,
    fits: &[FitReport],
) -> Result<BTreeMap<String, OutOfFold>> {
    let mut found = BTreeMap::new();
    for fit in fits {
        let Some(task) = table.tasks.iter().find(|task| task.name == fit.task) else { continue };
        let valid = task.truth(&table.parts, Part::Valid).known(task.labels.names().len());
        let enough = enough_rows(task.kind, learning.fit.promise);
        if valid.rows.len() >= enough {
            continue;
        }
        let truth = task.truth(&table.parts, Part::Train);
        let features = table.rows.view(&task.sees.columns);
        let examples = Examples { features, rows: &truth.rows, targets: &truth.targets };
        let options = fit.settled(&learning.fit);
        let held_out = heads::out_of_fold(task.answers(), &examples, &options, enough)?;
        found.insert(fit.task.clone(), held_out);
    }
    Ok(found)
}

/// Fits the heads of some tasks, several at a time when there are threads for it; the result does not depend
/// on how many.
///
/// # Errors
/// A fit fails.
pub(super) fn fit_heads(learning: &Learning, table: &Table, tasks: &[&Task]) -> Result<InitialHeads> {
    let Learning { fit, fit_memory, .. } = learning;
    let rows = table.rows.rows();
    let need = |task: &&Task| {
        let (width, classes) = (task.sees.columns.len(), task.labels.names().len());
        let fitting = fit_bytes(rows, width, classes);
        match task.sees.alpha {
            Alpha::Fixed(_) => fitting,
            Alpha::Auto => fitting.max(select_bytes(rows.min(SCREENED_ROWS), width, classes, fit.threads)),
        }
    };
    let at_once = if tasks.iter().map(need).sum::<u64>() <= *fit_memory {
        fit.threads.clamp(1, tasks.len().max(1))
    } else {
        1
    };
    let fit_one = |task: &Task| {
        let (truth, sees) = (task.truth(&table.parts, Part::Train), &task.sees);
        let features = table.rows.view(&sees.columns);
        let examples = Examples { features, rows: &truth.rows, targets: &truth.targets };
        // Each may use all threads: what one cannot divide, and what is left when another is done, is not idle.
        let (head, mut report) = heads::fit(task.answers(), &examples, &sees.options(fit))?;
        sees.tell(&mut report);
        Ok((head, report))
    };
    let mut fitted: Vec<Result<(Head, FitReport)>> = Vec::with_capacity(tasks.len());
    for group in tasks.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|task| scope.spawn(|| fit_one(task))).collect();
            for thread in running {
                fitted.push(thread.join().expect("a fit returns its errors: a panic in it is a bug"));
            }
        });
    }
    let fitted = fitted.into_iter().collect::<Result<Vec<_>>>()?;
    let (heads, fits) = fitted.into_iter().unzip();
    Ok(InitialHeads { heads, fits })
}
