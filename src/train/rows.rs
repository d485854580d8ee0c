//! Owns the rows of a training: reading them, their labels, and which part each belongs to.

use super::{Show, TrainEvent, TrainRequest};
use crate::classifier::TaskRows;
use crate::data::{LabelSet, Part, split};
use crate::dataset::{Columns, Dataset, Input};
use crate::embed::{Embedder, Progress};
use crate::error::{Error, Kind, Result};

/// All rows with their features, labels and parts.
pub(super) struct Table {
    pub rows: Dataset,
    /// Per task.
    pub labels: Vec<LabelSet>,
    /// None: the row is left out, because its text is in a test or validation file.
    pub parts: Vec<Option<Part>>,
}

impl Table {
    /// Reads all inputs of a request and divides their rows.
    ///
    /// # Errors
    /// An input is malformed, has a label that training never saw, or cannot be split.
    pub fn read(
        request: &TrainRequest,
        mut embedder: Option<&mut Embedder>,
        show: &mut Show<'_>,
    ) -> Result<Self> {
        let mut load = |input: &Input| load(input, request, embedder.as_deref_mut(), show);
        let mut rows = load(&request.data)?;
        let labels = label_sets(request, &rows)?;
        let mut load_other = |input: &Input| {
            let rows = load(input)?;
            check_labels(request, input, &rows, &labels)?;
            Ok(rows)
        };
        let valid = request.valid.as_ref().map(&mut load_other).transpose()?;
        let test = request.test.as_ref().map(&mut load_other).transpose()?;
        let parts = divide(request, &mut rows, &labels, valid, test)?;
        Ok(Self { rows, labels, parts })
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

fn label_sets(request: &TrainRequest, rows: &Dataset) -> Result<Vec<LabelSet>> {
    request
        .tasks
        .iter()
        .zip(&rows.cells)
        .map(|(task, cells)| LabelSet::from_values(task, cells.iter().map(Option::as_deref)))
        .collect::<Result<_>>()
        .map_err(|error| match request.data.path() {
            Some(path) => error.at(path),
            None => error,
        })
}

/// Refuses a validation or test file with a label that training never saw, while its rows still have their own numbers.
fn check_labels(request: &TrainRequest, input: &Input, rows: &Dataset, labels: &[LabelSet]) -> Result<()> {
    for ((task, labels), cells) in request.tasks.iter().zip(labels).zip(&rows.cells) {
        TaskRows::new(task, labels.names(), cells, 0..cells.len()).map_err(|error| match input.path() {
            Some(path) => error.at(path),
            None => error,
        })?;
    }
    Ok(())
}

/// Gives every row its part and appends the rows of other files. `None`: the row is left out, because its text is in a test
/// or validation file.
fn divide(
    request: &TrainRequest,
    rows: &mut Dataset,
    labels: &[LabelSet],
    valid: Option<Dataset>,
    test: Option<Dataset>,
) -> Result<Vec<Option<Part>>> {
    let encoded: Vec<Vec<Option<u32>>> = labels
        .iter()
        .zip(&rows.cells)
        .map(|(labels, cells)| {
            cells.iter().map(|cell| cell.as_deref().and_then(|cell| labels.index(cell))).collect()
        })
        .collect();
    let mut options = request.split.clone();
    options.test_fraction = if test.is_some() { 0.0 } else { options.test_fraction };
    options.valid_fraction = if valid.is_some() { 0.0 } else { options.valid_fraction };
    let mut parts: Vec<Option<Part>> = split(&rows.keys, &encoded, &options)?.into_iter().map(Some).collect();
    // Test first: a text in both files belongs to the test.
    let own = parts.len();
    let files =
        [(test, &request.test, Part::Test, "--test"), (valid, &request.valid, Part::Valid, "--valid")];
    for (other, input, part, option) in files {
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
        rows.keys.extend(other.keys);
        rows.features.extend(other.features);
        rows.texts.extend(other.texts);
        for (own, cells) in rows.cells.iter_mut().zip(other.cells) {
            own.extend(cells);
        }
    }
    Ok(parts)
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

pub(super) fn task_rows(
    task: &str,
    names: &[String],
    cells: &[Option<String>],
    parts: &[Option<Part>],
    part: Part,
) -> Result<TaskRows> {
    TaskRows::new(task, names, cells, (0..parts.len()).filter(|&row| parts[row] == Some(part)))
}
