//! Owns the rows of a training: reading them, their labels, and which part each belongs to.

use std::collections::BTreeMap;

use super::{Show, TrainEvent, TrainRequest};
use crate::classifier::TaskRows;
use crate::data::{Classes, Contradictions, LabelSet, Part, Rare, split};
use crate::dataset::{Columns, Dataset, Input, name_alike};
use crate::embed::{Embedder, Progress};
use crate::error::{Error, Kind, Result, quoted};

/// All rows with their features, labels and parts.
pub(super) struct Table {
    pub rows: Dataset,
    /// Per task, the labels of its training rows.
    pub labels: Vec<LabelSet>,
    /// Per task, in the order of the tasks.
    pub classes: Vec<Classes>,
    /// None: the row is left out, because its text is in a test or validation file.
    pub parts: Vec<Option<Part>>,
}

impl Table {
    /// Reads all inputs of a request and divides their rows.
    ///
    /// # Errors
    /// An input is malformed, has nothing to learn from, or cannot be split.
    pub fn read(
        request: &TrainRequest,
        mut embedder: Option<&mut Embedder>,
        show: &mut Show<'_>,
    ) -> Result<Self> {
        let mut load = |input: &Input| load(input, request, embedder.as_deref_mut(), show);
        let mut rows = load(&request.data)?;
        let place = |error: Error| match request.data.path() {
            Some(path) => error.at(path),
            None => error,
        };
        // What cannot be learned from is said before other tables are read.
        count(&rows, request).map_err(place)?;
        let mut valid = request.valid.as_ref().map(&mut load).transpose()?;
        let mut test = request.test.as_ref().map(&mut load).transpose()?;
        let others = [&mut valid, &mut test].into_iter().flatten();
        name_alike(&mut [&mut rows].into_iter().chain(others).collect::<Vec<_>>());
        let mut classes = count(&rows, request).map_err(place)?;
        for (number, (task, own)) in request.tasks.iter().zip(&mut classes).enumerate() {
            let others = [&valid, &test].into_iter().flatten();
            if !others.into_iter().any(|other| own.occur_in(&other.cells[number])) {
                own.check_own(task, request.rare).map_err(place)?;
            }
            if request.rare == Rare::Drop {
                own.keep_out_single(&mut rows.cells[number]);
                own.check(task).map_err(place)?;
            }
        }
        let (parts, files) = divide(request, &mut rows, &classes, valid, test)?;
        for (own, cells) in classes.iter_mut().zip(&rows.cells) {
            own.contradictions = Contradictions::find(&rows.keys, cells, &|row| place_of(&files, row));
        }
        let mut table = Self { rows, labels: Vec::new(), classes, parts };
        table.settle_labels(request).map_err(place)?;
        let _uninterrupted = show(&TrainEvent::Classes(&table.classes_by_task(request)));
        Ok(table)
    }

    /// Takes the labels of the training rows as those that can be learned; what else the table has is said.
    ///
    /// # Errors
    /// There is only one.
    pub fn settle_labels(&mut self, request: &TrainRequest) -> Result<()> {
        self.labels.clear();
        for ((task, classes), cells) in request.tasks.iter().zip(&mut self.classes).zip(&self.rows.cells) {
            let trained = cells.iter().zip(&self.parts).filter(|(_, part)| **part == Some(Part::Train));
            let labels = LabelSet::new(trained.clone().filter_map(|(cell, _)| cell.as_deref()));
            classes.untrained =
                classes.rows.keys().filter(|own| labels.index(own).is_none()).cloned().collect();
            if labels.names().len() < 2 {
                let label = labels.names().first().map_or_else(|| "none".to_owned(), |label| quoted(label));
                return Err(Error::new(Kind::Table, "the training rows have too few labels to tell apart")
                    .column(task)
                    .found(match trained.count() {
                        1 => format!("{label} in 1 training row"),
                        rows => format!("{label} in {rows} training rows"),
                    })
                    .expected("at least two different labels")
                    .help("the texts of the other classes are among the test or validation rows: give more texts"));
            }
            self.labels.push(labels);
        }
        Ok(())
    }

    /// What there is to know of every task's classes.
    pub fn classes_by_task(&self, request: &TrainRequest) -> BTreeMap<String, Classes> {
        request.tasks.iter().cloned().zip(self.classes.iter().cloned()).collect()
    }
}

/// Counts every task's classes, which must be two at least.
fn count(rows: &Dataset, request: &TrainRequest) -> Result<Vec<Classes>> {
    let classes: Vec<Classes> = rows.cells.iter().map(|cells| Classes::count(&rows.keys, cells)).collect();
    request.tasks.iter().zip(&classes).try_for_each(|(task, own)| own.check(task))?;
    Ok(classes)
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

fn load(
    input: &Input,
    request: &TrainRequest,
    embedder: Option<&mut Embedder>,
    show: &mut Show<'_>,
) -> Result<Dataset> {
    // Training layers needs the texts again, for their token states.
    let texts = !request.unfreeze.is_empty() || request.freeze.iter().any(|value| value != "backbone");
    let columns = Columns { kept: &request.tasks, texts };
    let progress = &mut |progress: &Progress| {
        let _uninterrupted = show(&TrainEvent::Rows(progress));
    };
    match (input, embedder) {
        (Input::Texts { source, column }, Some(embedder)) => {
            Dataset::from_texts(embedder, source, &column.as_str().into(), columns, request.strict, progress)
        }
        (Input::Features { path, column }, _) => Dataset::from_features(path, column.as_deref(), columns),
        (Input::Texts { .. }, None) => Err(Error::new(Kind::Usage, "a table of texts needs a backbone")
            .help("say --backbone models/NAME, or give a Parquet of features")),
    }
    .map_err(|error| match input.path() {
        Some(path) => error.at(path),
        None => error,
    })
}

/// Gives every row its part and appends the rows of other files. `None`: the row is left out, because its
/// text is in a test or validation file.
fn divide(
    request: &TrainRequest,
    rows: &mut Dataset,
    classes: &[Classes],
    valid: Option<Dataset>,
    test: Option<Dataset>,
) -> Result<(Vec<Option<Part>>, Files)> {
    let encoded: Vec<Vec<Option<u32>>> = classes
        .iter()
        .zip(&rows.cells)
        .map(|(classes, cells)| {
            let labels = classes.labels();
            cells.iter().map(|cell| cell.as_deref().and_then(|cell| labels.index(cell))).collect()
        })
        .collect();
    let mut options = request.split.clone();
    options.test_fraction = if test.is_some() { 0.0 } else { options.test_fraction };
    options.valid_fraction = if valid.is_some() { 0.0 } else { options.valid_fraction };
    let mut parts: Vec<Option<Part>> = split(&rows.keys, &encoded, &options)?.into_iter().map(Some).collect();
    let mut files = Files::new();
    // Test first: a text in both files belongs to the test.
    let own = parts.len();
    let others =
        [(test, &request.test, Part::Test, "--test"), (valid, &request.valid, Part::Valid, "--valid")];
    for (other, input, part, option) in others {
        let Some(other) = other else { continue };
        check_width(rows, &other)?;
        let taken: std::collections::HashSet<_> = other.keys.iter().copied().collect();
        for (key, own) in rows.keys.iter().zip(&mut parts) {
            if taken.contains(key) && *own != Some(Part::Test) {
                *own = None;
            }
        }
        if !parts[..own].contains(&Some(Part::Train)) {
            return Err(nothing_left(request, input.as_ref(), option));
        }
        let tested: std::collections::HashSet<_> = rows
            .keys
            .iter()
            .zip(&parts)
            .filter(|(_, own)| **own == Some(Part::Test))
            .map(|(key, _)| *key)
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
        rows.features.extend(other.features);
        rows.texts.extend(other.texts);
        for (own, cells) in rows.cells.iter_mut().zip(other.cells) {
            own.extend(cells);
        }
    }
    Ok((parts, files))
}

/// The error of a validation or test file that holds every text there is to train on.
fn nothing_left(request: &TrainRequest, other: Option<&Input>, option: &str) -> Error {
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
    if rows.width == other.width {
        return Ok(());
    }
    Err(Error::new(Kind::Table, "the files hold features of different lengths")
        .found(other.width.to_string())
        .expected(rows.width.to_string())
        .help("make both with the same backbone"))
}

/// The labelled rows of one part, with the labels that a head knows.
pub(super) fn task_rows(
    names: &[String],
    cells: &[Option<String>],
    parts: &[Option<Part>],
    part: Part,
) -> TaskRows {
    TaskRows::new(names, cells, (0..parts.len()).filter(|&row| parts[row] == Some(part)))
}
