//! Owns the rows of a training: reading them, their labels, and which part each belongs to.

use std::collections::{BTreeMap, HashSet};

use super::event::{Show, TrainEvent};
use super::request::RowsRequest;
use super::task::Task;
use crate::data::{Classes, Contradictions, Part, Rare, split};
use crate::dataset::{Columns, Dataset, Input, name_alike};
use crate::embed::{Embedder, Progress};
use crate::error::{Error, Kind, Result, quoted};
use crate::fingerprint::TextKey;
use crate::heads::Head;
use crate::quantities::counted;
use crate::task::{TaskKind, TaskRequest, Truth, labels_of, strata};

/// All rows with their features, tasks and parts.
pub(super) struct Table {
    /// Without cells: those are the tasks'.
    pub rows: Dataset,
    pub tasks: Vec<Task>,
    /// None: the row is left out, because its text is in a test or validation file.
    pub parts: Vec<Option<Part>>,
    /// The seed that divided them.
    pub seed: u64,
    /// Layers that are run, where a lesser depth than the embedder's was chosen.
    pub depth: Option<usize>,
}

impl Table {
    /// Reads all inputs of a request and divides their rows; texts are kept when they are needed again. A task
    /// that is `known` has a head already, which knows other labels than these rows.
    ///
    /// # Errors
    /// An input is malformed, has nothing to learn from, or cannot be split.
    pub fn read(
        request: &RowsRequest,
        texts: bool,
        known: &dyn Fn(&str) -> bool,
        mut embedder: Option<&mut Embedder>,
        show: &mut Show<'_>,
    ) -> Result<Self> {
        let kept = request.tasks.columns();
        let columns = Columns { kept: &kept, texts };
        let mut load = |input: &Input| {
            let progress = &mut |progress: &Progress| {
                let _uninterrupted = show(&TrainEvent::Rows(progress));
            };
            Dataset::read(input, columns, request.strict, embedder.as_deref_mut(), progress)
        };
        let mut rows = load(&request.data)?;
        let place = |error: Error| request.data.named(error);
        // What cannot be learned from is said before other tables are read.
        for (asked, cells) in request.tasks.iter().zip(&rows.cells) {
            check(asked, &rows.keys, cells, known(&asked.name)).map_err(place)?;
        }
        let mut valid = request.valid.as_ref().map(&mut load).transpose()?;
        let mut test = request.test.as_ref().map(&mut load).transpose()?;
        let others = [&mut valid, &mut test].into_iter().flatten();
        name_alike(&mut [&mut rows].into_iter().chain(others).collect::<Vec<_>>());
        let asked = request.tasks.iter().enumerate();
        let mut tasks: Vec<Task> =
            asked.map(|(column, asked)| Task::take(asked, column, &mut rows)).collect();
        for task in &mut tasks {
            let occurs = |other: &Dataset| task.classes.occur_in(&other.cells[task.column]);
            task.known = known(&task.name);
            if task.kind == TaskKind::OneOf
                && !task.known
                && ![&valid, &test].into_iter().flatten().any(occurs)
            {
                task.classes.check_own(&task.name, request.rare).map_err(place)?;
            }
            if request.rare == Rare::Drop && task.kind.has_labels() {
                task.classes.keep_out_single(task.kind == TaskKind::AnyOf, &mut task.cells);
                if !(task.known && task.classes.rows.len() == 1) {
                    task.classes.check(&task.name, task.kind.least_labels()).map_err(place)?;
                }
            }
        }
        let (parts, files) = divide(request, &mut rows, &mut tasks, valid, test)?;
        for task in &mut tasks {
            let place = |row: usize| place_of(&files, row);
            task.classes.contradictions = Contradictions::find(&rows.keys, &task.cells, &place);
        }
        rows.cells.clear();
        let mut table = Self { rows, tasks, parts, seed: request.split.seed, depth: None };
        table.settle_labels().map_err(place)?;
        let _uninterrupted = show(&TrainEvent::Classes(&table.classes_by_task()));
        Ok(table)
    }

    /// Takes the labels of the training rows as those that can be learned; what else the table has is said.
    ///
    /// # Errors
    /// There is only one.
    pub fn settle_labels(&mut self) -> Result<()> {
        let parts = &self.parts;
        let trained: Vec<usize> = (0..parts.len()).filter(|&row| parts[row] == Some(Part::Train)).collect();
        for task in &mut self.tasks {
            let cells = trained.iter().filter_map(|&row| task.cells[row].as_deref());
            task.labels = labels_of((&task.name, task.kind), cells);
            let labels = &task.labels;
            task.classes.untrained =
                task.classes.rows.keys().filter(|label| labels.index(label).is_none()).cloned().collect();
            if !task.known && labels.names().len() < task.kind.least_labels() {
                let label = labels.names().first().map_or_else(|| "none".to_owned(), |label| quoted(label));
                return Err(Error::new(Kind::Table, "the training rows have too few labels to tell apart")
                    .column(&task.name)
                    .found(format!("{label} in {}", counted(trained.len() as u64, "training row")))
                    .expected(counted(task.kind.least_labels() as u64, "different label"))
                    .help("the texts of the other classes are among the test or validation rows: give more texts"));
            }
        }
        Ok(())
    }

    /// What there is to know of every task's classes.
    pub fn classes_by_task(&self) -> BTreeMap<String, Classes> {
        self.tasks.iter().map(|task| (task.name.clone(), task.classes.clone())).collect()
    }

    /// The task of a head.
    pub fn task(&self, head: &Head) -> &Task {
        let task = self.tasks.iter().find(|task| task.name == head.task);
        task.expect("heads are made of the table's tasks: another one is a bug")
    }
}

/// Refuses a column from which nothing can be learned.
fn check(asked: &TaskRequest, keys: &[TextKey], cells: &[Option<String>], known: bool) -> Result<()> {
    if asked.kind == TaskKind::Number {
        let mut numbers = cells.iter().flatten();
        let first = numbers.next().ok_or_else(|| {
            Error::new(Kind::Table, "the task has no numbers")
                .column(&asked.name)
                .expected("numbers that differ")
        })?;
        if known || numbers.any(|other| other != first) {
            return Ok(());
        }
        return Err(Error::new(Kind::Table, "the task's numbers are all the same")
            .column(&asked.name)
            .found(first.clone())
            .expected("numbers that differ"));
    }
    let classes = Classes::count(asked.kind == TaskKind::AnyOf, keys, cells);
    if known && classes.rows.len() == 1 {
        Ok(())
    } else {
        classes.check(&asked.name, asked.kind.least_labels())
    }
}

/// The stratum of every row that has a truth.
fn task_strata(task: &Task, rows: usize) -> Vec<Option<u32>> {
    let labels = task.classes.labels();
    let truth = Truth::new(task.kind, labels.names(), &task.cells, 0..rows);
    let (strata, _) = strata(&truth.targets, labels.names().len());
    let mut all = vec![None; rows];
    truth.rows.iter().zip(strata).for_each(|(row, stratum)| all[*row] = Some(stratum));
    all
}

/// Where the rows of other files begin, and what these are called.
type Files = Vec<(usize, String)>;

/// A row's file, when it is not the first one, and its number there, from 1.
fn place_of(files: &Files, row: usize) -> (Option<String>, u64) {
    match files.iter().rev().find(|(first, _)| row >= *first) {
        Some((first, name)) => (Some(name.clone()), (row - first) as u64 + 1),
        None => (None, row as u64 + 1),
    }
}

/// Gives every row its part and appends the rows of other files. `None`: the row is left out, because its
/// text is in a test or validation file.
fn divide(
    request: &RowsRequest,
    rows: &mut Dataset,
    tasks: &mut [Task],
    valid: Option<Dataset>,
    test: Option<Dataset>,
) -> Result<(Vec<Option<Part>>, Files)> {
    let encoded: Vec<Vec<Option<u32>>> = tasks.iter().map(|task| task_strata(task, rows.rows())).collect();
    let mut options = request.split.clone();
    options.test_fraction = if test.is_some() { 0.0 } else { options.test_fraction };
    options.valid_fraction = if valid.is_some() { 0.0 } else { options.valid_fraction };
    let mut parts: Vec<Option<Part>> = split(&rows.keys, &encoded, &options)?.into_iter().map(Some).collect();
    let mut files = Files::new();
    // Test first: a text in both files belongs to the test.
    let divided = parts.len();
    let others =
        [(test, &request.test, Part::Test, "--test"), (valid, &request.valid, Part::Valid, "--valid")];
    for (other, input, part, option) in others {
        let Some(mut other) = other else { continue };
        check_width(rows, &other)?;
        let taken: HashSet<_> = other.keys.iter().copied().collect();
        for (key, part) in rows.keys.iter().zip(&mut parts) {
            if taken.contains(key) && *part != Some(Part::Test) {
                *part = None;
            }
        }
        if !parts[..divided].contains(&Some(Part::Train)) {
            return Err(nothing_left(request, input.as_ref(), option));
        }
        let tested: HashSet<_> = (0..parts.len())
            .filter(|&row| parts[row] == Some(Part::Test))
            .map(|row| rows.keys[row])
            .collect();
        parts.extend(
            other
                .keys
                .iter()
                .map(|key| Some(part).filter(|part| *part == Part::Test || !tested.contains(key))),
        );
        let path = input.as_ref().and_then(Input::path);
        files.push((rows.keys.len(), path.map_or_else(String::new, |path| path.display().to_string())));
        rows.keys.extend(other.keys);
        rows.features.append(other.features);
        rows.texts.extend(other.texts);
        for task in &mut *tasks {
            task.cells.append(&mut other.cells[task.column]);
        }
    }
    Ok((parts, files))
}

/// The error of a validation or test file that holds every text there is to train on.
fn nothing_left(request: &RowsRequest, other: Option<&Input>, option: &str) -> Error {
    let name = |input: Option<&Input>| {
        input.and_then(Input::path).map_or_else(|| "-".to_owned(), |path| path.display().to_string())
    };
    let data = name(Some(&request.data));
    Error::new(Kind::Table, "no row is left to train on")
        .at(name(other))
        .found(format!("with {option} it holds every text of {data}, and none is in two parts"))
        .expected("a table of other texts")
        .help(format!("leave {option} away: {option}-fraction keeps a share of the rows of {data} for it"))
}

fn check_width(rows: &Dataset, other: &Dataset) -> Result<()> {
    let (width, other) = (rows.features.width(), other.features.width());
    if width == other {
        return Ok(());
    }
    Err(Error::new(Kind::Table, "the files hold features of different lengths")
        .found(other.to_string())
        .expected(width.to_string())
        .help("make both with the same backbone"))
}
