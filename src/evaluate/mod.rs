//! Owns measuring a trained model on a labelled table: which rows it had seen, figures for the rest first,
//! groups, errors.
//!
//! Refuses to mix rows used in training with unseen ones unless asked to, and to call rows unseen where
//! nobody knows.

mod mistake;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::classifier::run::SplitRows;
use crate::classifier::{Model, Run, measure, most_probable, probabilities};
use crate::data::{CellForm, KeptColumn, Part};
use crate::dataset::{Columns, Dataset, Input};
use crate::embed::{EmbedOptions, Embedder, covering};
use crate::error::{Error, Kind, Result};
use crate::heads::{FeatureView, Head};
use crate::metrics::{Coverage, TaskMetrics, answered_only, coverage};
use crate::quantities::{counted, grouped};
use crate::runtime::Runtime;
use crate::task::{TaskKind, Truth};
pub use mistake::Mistake;
use mistake::mistake;

/// Which rows to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// Neither trained on nor used for validation: the run's test rows and texts it never met.
    #[default]
    Unseen,
    Test,
    Valid,
    Train,
    All,
}

impl FromStr for Rows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "unseen" => Ok(Self::Unseen),
            "test" => Ok(Self::Test),
            "valid" => Ok(Self::Valid),
            "train" => Ok(Self::Train),
            "all" => Ok(Self::All),
            _ => Err(Error::new(Kind::Usage, "there is no such choice of rows")
                .found(format!("{text:?}"))
                .expected("test, valid, train, all or unseen")),
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unseen => "unseen",
            Self::Test => "test",
            Self::Valid => "valid",
            Self::Train => "train",
            Self::All => "all",
        })
    }
}

impl Rows {
    fn takes(self, part: Option<Part>) -> bool {
        match self {
            Self::All => true,
            Self::Unseen => !matches!(part, Some(Part::Train | Part::Valid)),
            Self::Test => part == Some(Part::Test),
            Self::Valid => part == Some(Part::Valid),
            Self::Train => part == Some(Part::Train),
        }
    }
}

/// Where the rows of a table stand to the run; nothing where that is not known, as of a bundle, which keeps
/// no list of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub total: u64,
    /// Trained on.
    pub train: Option<u64>,
    /// Kept out of the fit, but used for choices.
    pub valid: Option<u64>,
    /// The run's own test rows.
    pub test: Option<u64>,
    /// Never met before.
    pub new: Option<u64>,
}

impl Seen {
    /// Whether it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.train.is_some()
    }

    /// Rows that influenced the run.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.train.unwrap_or(0) + self.valid.unwrap_or(0)
    }
}

/// For people: `600 trained on, 0 used for validation, 300 of the run's test rows, 100 new`.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, train: Some(train), valid: Some(valid), test: Some(test), new: Some(new) } = self
        else {
            return write!(
                f,
                "{}; which of them it was trained on is not known, so none can be called unseen",
                counted(self.total, "row")
            );
        };
        write!(
            f,
            "{}: {} were trained on, {} used for validation, {} are the run's test rows, {} are new",
            counted(*total, "row"),
            grouped(*train),
            grouped(*valid),
            grouped(*test),
            grouped(*new)
        )
    }
}

/// Measurements of one set of rows, in the shape of `metrics.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Per task, what was measured.
    pub tasks: BTreeMap<String, TaskMetrics>,
    /// Which rows were measured.
    pub measured: Rows,
    /// Where the table's rows stand to the run.
    pub rows: Seen,
    /// Per task, accuracy against the share of rows that is answered; when it was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub coverage: BTreeMap<String, Vec<Coverage>>,
    /// Per value of the column given with `--by`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, BTreeMap<String, TaskMetrics>>,
}

/// A labelled table, ready to be measured against a model.
pub struct Evaluator<'e> {
    rows: &'e Dataset,
    tasks: Vec<Task<'e>>,
    /// Per row, the part of the training table that its text was in; nothing when that is not known of any.
    parts: Option<Vec<Option<Part>>>,
}

/// A task that is measured.
struct Task<'e> {
    head: &'e Head,
    /// What its head sees of a row.
    columns: Range<usize>,
    /// Per row, what is kept of its cell.
    cells: &'e [Option<String>],
}

impl Task<'_> {
    fn truth(&self, rows: &[usize]) -> Truth {
        Truth::new(self.head.kind, &self.head.labels, self.cells, rows.iter().copied())
    }
}

impl<'e> Evaluator<'e> {
    /// Pairs a model with a table whose first cells are the columns `tasks`; `seen` is [`Model::rows`].
    ///
    /// # Errors
    /// The features are not those the heads were fitted on, or the table has no rows.
    pub fn new(
        model: &'e Model,
        rows: &'e Dataset,
        seen: Option<&SplitRows>,
        tasks: &[String],
    ) -> Result<Self> {
        let columns = rows.layout.as_ref().map(|layout| model.columns(layout)).transpose()?;
        let task = |(place, name): (usize, &String)| {
            let number = task_index(model, name)?;
            let (head, cells) = (&model.heads()[number], &rows.cells[place][..]);
            let columns = columns.as_ref().map_or(rows.features.places(), |columns| columns[number].clone());
            Ok(Task { head, columns, cells })
        };
        let tasks: Vec<Task<'_>> = tasks.iter().enumerate().map(task).collect::<Result<_>>()?;
        if let Some(Task { head, columns, .. }) =
            tasks.iter().find(|task| task.columns.len() != task.head.features)
        {
            return Err(Error::new(Kind::Table, "the features are not the ones the run was trained on")
                .column(&head.task)
                .found(format!("{} numbers in a vector", columns.len()))
                .expected(head.features.to_string())
                .help("embed the table with the run's own backbone"));
        }
        if let Some(Task { head, .. }) = tasks.iter().find(|task| task.head.words.is_some())
            && rows.features.words().is_none()
        {
            return Err(Error::new(Kind::Table, "the head looks at words, and these rows have no texts")
                .column(&head.task)
                .found("features")
                .expected("a table of texts")
                .help(
                    "give the texts, with --backbone where the run does not know where its backbone lies",
                ));
        }
        let parts = seen.map(|seen| rows.keys.iter().map(|key| seen.part(key)).collect());
        Ok(Self { rows, tasks, parts })
    }

    /// Where the rows stand to the run.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let count = |part: Option<Part>| {
            let parts = self.parts.as_ref()?;
            Some(parts.iter().filter(|other| **other == part).count() as u64)
        };
        Seen {
            total: self.rows.rows() as u64,
            train: count(Some(Part::Train)),
            valid: count(Some(Part::Valid)),
            test: count(Some(Part::Test)),
            new: count(None),
        }
    }

    /// How many tasks are measured: the columns before the first other one.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The rows to measure when nobody said which: unseen ones, or all where it is not known what was seen.
    #[must_use]
    pub fn default_rows(&self) -> Rows {
        if self.parts.is_some() { Rows::Unseen } else { Rows::All }
    }

    /// Measures every task on the chosen rows; `group` is the index of a kept column.
    ///
    /// # Errors
    /// There are no such rows, or it is not known which are.
    pub fn measure(&self, which: Rows, group: Option<usize>) -> Result<Evaluation> {
        let chosen = self.chosen(which)?;
        if chosen.is_empty() {
            let error = Error::new(Kind::Usage, "nothing to measure: there are no such rows")
                .found(self.seen().to_string());
            return Err(match which {
                Rows::All => error.expected("labelled rows"),
                Rows::Unseen => error
                    .expected("rows of the kind unseen")
                    .help("give labelled rows the run was not trained on, or say --rows all"),
                _ => error
                    .expected(format!("rows of the kind {which}"))
                    .help("give the table that the run was trained on, or say --rows all"),
            });
        }
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        if let Some(column) = group {
            for &row in &chosen {
                let name = self.rows.cells[column][row].clone().unwrap_or_default();
                groups.entry(name).or_default().push(row);
            }
        }
        Ok(Evaluation {
            tasks: self.measure_rows(&chosen),
            coverage: BTreeMap::new(),
            measured: which,
            rows: self.seen(),
            groups: groups.into_iter().map(|(name, rows)| (name, self.measure_rows(&rows))).collect(),
        })
    }

    fn measure_rows(&self, chosen: &[usize]) -> BTreeMap<String, TaskMetrics> {
        let of_task = |task: &Task<'_>| {
            let found = measure(task.head, self.view(task), &task.truth(chosen));
            (task.head.task.clone(), found)
        };
        self.tasks.iter().map(of_task).collect()
    }

    /// What a task's head sees of the rows.
    fn view(&self, task: &Task<'_>) -> FeatureView<'_> {
        self.rows.view(&task.columns)
    }

    /// Per task, how well the chosen rows are labelled when the least certain ones are not; and how many of
    /// `strangers`, rows that belong to no label, are caught by that. A row with a label that training never
    /// saw is a wrong one.
    ///
    /// # Errors
    /// It is not known which rows were chosen.
    pub fn coverage(
        &self,
        which: Rows,
        strangers: Option<&Dataset>,
    ) -> Result<BTreeMap<String, Vec<Coverage>>> {
        let chosen = self.chosen(which)?;
        let of_task = |task: &&Task<'_>| {
            let (head, truth) = (task.head, task.truth(&chosen));
            let all = probabilities(head, self.view(task), &truth.rows);
            let (confidence, predicted) = most_certain(&all, head.labels.len());
            let right: Vec<bool> = predicted
                .iter()
                .zip(&truth.targets)
                .map(|(answer, target)| *answer == target.label())
                .collect();
            let (strange, strange_labels) = strangers.map_or_else(Default::default, |strangers| {
                let every: Vec<usize> = (0..strangers.rows()).collect();
                let view = strangers.view(&task.columns);
                most_certain(&probabilities(head, view, &every), head.labels.len())
            });
            let mut table = coverage(&confidence, &right, &strange);
            let limits = head.believed.limits();
            if !limits.thresholds.is_empty() && !table.is_empty() {
                let answers = |(label, p): (&usize, &f32)| head.kind.answers(limits, *label, *p);
                let answered: Vec<bool> = predicted.iter().zip(&confidence).map(answers).collect();
                let missed: Vec<bool> =
                    strange_labels.iter().zip(&strange).map(|one| !answers(one)).collect();
                table.push(answered_only(&answered, &right, &missed));
            }
            (head.task.clone(), table)
        };
        // Of several labels, or a number, no one is the answer that could be left away.
        let of_one = self.tasks.iter().filter(|task| task.head.kind == TaskKind::OneOf);
        Ok(of_one.collect::<Vec<_>>().iter().map(of_task).collect())
    }

    fn chosen(&self, which: Rows) -> Result<Vec<usize>> {
        match (&self.parts, which) {
            (_, Rows::All) => Ok((0..self.rows.rows()).collect()),
            (Some(parts), _) => Ok((0..parts.len()).filter(|&row| which.takes(parts[row])).collect()),
            (None, _) => Err(Error::new(Kind::Usage, "which of these rows it was trained on is not known")
                .found(format!("--rows {which}"))
                .expected("--rows all, or no --rows")
                .help(
                    "measure the run itself, on the table it was trained on: it keeps the hashes of its rows",
                )),
        }
    }

    /// Of tasks that answer numbers, by how much the answer to each of the chosen rows is off: above 0 where
    /// it is too high.
    ///
    /// # Errors
    /// It is not known which rows were chosen.
    pub fn off(&self, which: Rows) -> Result<BTreeMap<String, Vec<f64>>> {
        let chosen = self.chosen(which)?;
        let of_task = |task: &Task<'_>| {
            let truth = task.truth(&chosen);
            let said = probabilities(task.head, self.view(task), &truth.rows);
            let off =
                said.iter().zip(&truth.targets).map(|(said, target)| f64::from(*said) - target.number());
            (task.head.task.clone(), off.collect())
        };
        Ok(self.tasks.iter().filter(|task| !task.head.kind.has_labels()).map(of_task).collect())
    }

    /// The wrongly labelled rows among the chosen ones, most confident first.
    ///
    /// # Errors
    /// It is not known which rows were chosen.
    pub fn mistakes(&self, which: Rows) -> Result<Vec<Mistake>> {
        let chosen = self.chosen(which)?;
        let mut mistakes = Vec::new();
        for task in &self.tasks {
            let (head, truth) = (task.head, task.truth(&chosen));
            let all = probabilities(head, self.view(task), &truth.rows);
            let of_rows = all.chunks_exact(head.labels.len()).zip(truth.rows.iter().zip(&truth.targets));
            for (answer, (&row, target)) in of_rows {
                let found = mistake(head, (&truth, target), answer);
                mistakes.extend(found.map(|found| Mistake { row: row + 1, ..found }));
            }
        }
        mistakes.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.row.cmp(&b.row)));
        Ok(mistakes)
    }
}

/// Empties the cells of rows that a run was told to keep out (`--rare drop`): its own figures are without
/// them, too. The table's first cells are the columns `tasks`; per task, how many there were.
///
/// # Errors
/// The run's figures cannot be read.
pub fn keep_out(
    run: &Run,
    seen: &SplitRows,
    rows: &mut Dataset,
    tasks: &[KeptColumn],
) -> Result<BTreeMap<String, u64>> {
    let kept_out = run.kept_out()?;
    let mut count = BTreeMap::new();
    for (task, cells) in tasks.iter().zip(&mut rows.cells) {
        let Some(single) = kept_out.get(&task.name).filter(|_| task.form == CellForm::Label) else {
            continue;
        };
        for (key, cell) in rows.keys.iter().zip(cells) {
            let known = seen.part(key).is_some();
            if known && cell.as_ref().is_some_and(|label| single.contains(label)) {
                *cell = None;
                *count.entry(task.name.clone()).or_default() += 1;
            }
        }
    }
    Ok(count)
}

/// Per row of `probabilities` `[rows, classes]`, that of the most probable label, and its index.
fn most_certain(probabilities: &[f32], classes: usize) -> (Vec<f32>, Vec<usize>) {
    let rows = probabilities.chunks_exact(classes);
    rows.map(|row| {
        let best = most_probable(row);
        (row[best], best)
    })
    .unzip()
}

fn task_index(model: &Model, task: &str) -> Result<usize> {
    let heads = model.heads();
    heads.iter().position(|head| head.task == task).ok_or_else(|| model.lacks(task))
}

/// Measures all tasks of a run or bundle on a labelled table: on rows that it had not seen, or on all where
/// nobody knows. Features of texts come from the store under `root`, and go there.
///
/// # Errors
/// The model or the table is missing or damaged, they do not fit together, or computing fails.
pub fn evaluate(model: &Path, data: &Input, runtime: &Arc<Runtime>, root: &Path) -> Result<Evaluation> {
    let model = Model::open(model, None)?;
    let tasks: Vec<String> = model.heads().iter().map(|head| head.task.clone()).collect();
    let kept = model.kept_columns(&tasks, None)?;
    let columns = Columns { kept: &kept, texts: false };
    let mut rows = match data {
        Input::Features { path, column } => Dataset::from_features(path, column.as_deref(), columns)?,
        Input::Texts { source, columns: text } => {
            let options = EmbedOptions { long: model.long(), ..EmbedOptions::default() };
            let backbone = Arc::new(model.backbone(None)?);
            let mut embedder = Embedder::open(backbone, Arc::clone(runtime), root, options)?;
            model.look_at_words(&mut embedder)?;
            let mut rows = Dataset::from_texts(&mut embedder, source, text, columns, false, &mut |_| ())?;
            rows.load(&embedder, covering(&model.columns(&embedder.layout())?))?;
            rows
        }
    };
    let seen = seen_rows(&model, &rows)?;
    if let (Model::Run(run), Some(seen)) = (&model, &seen) {
        keep_out(run, seen, &mut rows, &kept)?;
    }
    let evaluator = Evaluator::new(&model, &rows, seen.as_ref(), &tasks)?;
    evaluator.measure(evaluator.default_rows(), None)
}

/// Which texts were in which part of the training table, if that can be told of these rows.
///
/// # Errors
/// The run's list is missing or damaged.
pub fn seen_rows(model: &Model, rows: &Dataset) -> Result<Option<SplitRows>> {
    let Model::Run(run) = model else { return model.rows() };
    let data = &run.recipe.data;
    let others = data.text.is_none() && data.by_vector.is_some_and(|by_vector| by_vector != rows.by_vector);
    if others { Ok(None) } else { model.rows() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_rows_are_those_that_influenced_nothing() {
        assert!(Rows::Unseen.takes(None) && Rows::Unseen.takes(Some(Part::Test)));
        assert!(!Rows::Unseen.takes(Some(Part::Train)) && !Rows::Unseen.takes(Some(Part::Valid)));
        assert!(Rows::Test.takes(Some(Part::Test)) && !Rows::Test.takes(None));
        assert!(Rows::All.takes(Some(Part::Train)) && Rows::Valid.takes(Some(Part::Valid)));
        assert!("some".parse::<Rows>().unwrap_err().to_string().contains("some"));
    }
}
