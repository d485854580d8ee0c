//! Owns measuring a trained model on a labelled table: which rows it had seen, figures for the rest first, groups, errors.
//!
//! Refuses to mix rows used in training with unseen ones unless asked to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

use crate::classifier::run::SplitRows;
use crate::classifier::{Model, TaskRows, measure, probabilities};
use crate::data::Part;
use crate::dataset::Dataset;
use crate::error::{Error, Kind, Result};
use crate::heads::{FeatureView, Head};
use crate::metrics::{Coverage, TaskMetrics, coverage};

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

/// Where the rows of a table stand to the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub total: u64,
    /// Trained on.
    pub train: u64,
    /// Kept out of the fit, but used for choices.
    pub valid: u64,
    /// The run's own test rows.
    pub test: u64,
    /// Never met before.
    pub new: u64,
}

/// Measurements of one set of rows, in the shape of `metrics.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
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

/// A row that was labelled wrongly.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// Row number, from 1.
    pub row: usize,
    pub task: String,
    pub truth: String,
    pub predicted: String,
    /// Probability of the wrong label.
    pub probability: f32,
}

/// A labelled table, ready to be measured against a model.
pub struct Evaluator<'e> {
    heads: &'e [Head],
    rows: &'e Dataset,
    /// The model's tasks, as indices into its heads; `rows.cells[i]` belongs to `tasks[i]`.
    tasks: Vec<usize>,
    /// What each of the model's heads sees of a row.
    columns: Vec<Range<usize>>,
    parts: Vec<Option<Part>>,
}

impl<'e> Evaluator<'e> {
    /// Pairs a model with a table whose first cells are the columns `tasks`.
    ///
    /// # Errors
    /// The features are not those the heads were fitted on, or the table has no rows.
    pub fn new(model: &'e Model, rows: &'e Dataset, seen: &SplitRows, tasks: &[String]) -> Result<Self> {
        let tasks: Vec<usize> = tasks.iter().map(|task| task_index(model, task)).collect::<Result<_>>()?;
        let columns: Vec<Range<usize>> = match &rows.layout {
            Some(layout) => model.columns(layout)?,
            None => model.heads().iter().map(|_| 0..rows.width).collect(),
        };
        let heads = model.heads();
        if let Some(&task) = tasks.iter().find(|&&task| columns[task].len() != heads[task].features) {
            return Err(Error::new(Kind::Table, "the features are not the ones the run was trained on")
                .column(&heads[task].task)
                .found(format!("{} numbers in a vector", columns[task].len()))
                .expected(heads[task].features.to_string())
                .help("embed the table with the run's own backbone"));
        }
        let parts = rows.keys.iter().map(|key| seen.part(key)).collect();
        Ok(Self { heads, rows, tasks, columns, parts })
    }

    /// Where the rows stand to the run.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let count = |part| self.parts.iter().filter(|own| **own == part).count() as u64;
        Seen {
            total: self.parts.len() as u64,
            train: count(Some(Part::Train)),
            valid: count(Some(Part::Valid)),
            test: count(Some(Part::Test)),
            new: count(None),
        }
    }

    /// Measures every task on the chosen rows; `group` is the index of a kept column.
    ///
    /// # Errors
    /// A label the run does not know, or no rows to measure.
    pub fn measure(&self, which: Rows, group: Option<usize>) -> Result<Evaluation> {
        let chosen = self.chosen(which);
        if chosen.is_empty() {
            return Err(Error::new(Kind::Usage, "there are no rows to measure on")
                .found(format!("{:?}", self.seen()))
                .expected(format!("rows of the kind `{which:?}`").to_lowercase())
                .help("give labelled rows the run was not trained on, or say --rows all"));
        }
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        if let Some(column) = group {
            for &row in &chosen {
                let name = self.rows.cells[column][row].clone().unwrap_or_default();
                groups.entry(name).or_default().push(row);
            }
        }
        Ok(Evaluation {
            tasks: self.measure_rows(&chosen)?,
            coverage: BTreeMap::new(),
            measured: which,
            rows: self.seen(),
            groups: groups
                .into_iter()
                .map(|(name, rows)| Ok((name, self.measure_rows(&rows)?)))
                .collect::<Result<_>>()?,
        })
    }

    fn measure_rows(&self, chosen: &[usize]) -> Result<BTreeMap<String, TaskMetrics>> {
        (0..self.tasks.len())
            .map(|task| {
                let (head, rows) = self.task_rows(task, chosen)?;
                Ok((head.task.clone(), measure(head, self.view(task), &rows)))
            })
            .collect()
    }

    /// What a task's head sees of the rows.
    fn view(&self, task: usize) -> FeatureView<'_> {
        self.rows.view(&self.columns[self.tasks[task]])
    }

    fn task_rows(&self, task: usize, chosen: &[usize]) -> Result<(&Head, TaskRows)> {
        let head = &self.heads[self.tasks[task]];
        let rows = TaskRows::new(&head.task, &head.labels, &self.rows.cells[task], chosen.iter().copied())?;
        Ok((head, rows))
    }

    /// Per task, how well the chosen rows are labelled when the least certain ones are not; and how many of `strangers`, rows
    /// that belong to no label, are caught by that.
    ///
    /// # Errors
    /// A label the run does not know, or features that are not the run's.
    pub fn coverage(
        &self,
        which: Rows,
        strangers: Option<&Dataset>,
    ) -> Result<BTreeMap<String, Vec<Coverage>>> {
        let chosen = self.chosen(which);
        let of_task = |task: usize| {
            let (head, rows) = self.task_rows(task, &chosen)?;
            let all = probabilities(head, self.view(task), &rows.rows);
            let (confidence, predicted) = most_certain(&all, head.labels.len());
            let right: Vec<bool> =
                predicted.iter().zip(&rows.labels).map(|(own, truth)| *own == *truth as usize).collect();
            let strange = strangers.map_or_else(Vec::new, |strangers| {
                let every: Vec<usize> = (0..strangers.rows()).collect();
                let view = strangers.view(&self.columns[self.tasks[task]]);
                most_certain(&probabilities(head, view, &every), head.labels.len()).0
            });
            Ok((head.task.clone(), coverage(&confidence, &right, &strange)))
        };
        (0..self.tasks.len()).map(of_task).collect()
    }

    fn chosen(&self, which: Rows) -> Vec<usize> {
        (0..self.parts.len()).filter(|&row| which.takes(self.parts[row])).collect()
    }

    /// The wrongly labelled rows among the chosen ones, most confident first.
    ///
    /// # Errors
    /// A label the run does not know.
    pub fn mistakes(&self, which: Rows) -> Result<Vec<Mistake>> {
        let chosen = self.chosen(which);
        let mut mistakes = Vec::new();
        for task in 0..self.tasks.len() {
            let (head, rows) = self.task_rows(task, &chosen)?;
            let all = probabilities(head, self.view(task), &rows.rows);
            let of_rows = all.chunks_exact(head.labels.len()).zip(rows.rows.iter().zip(&rows.labels));
            for (probabilities, (&row, &truth)) in of_rows {
                let predicted = crate::classifier::most_probable(probabilities);
                if predicted != truth as usize {
                    mistakes.push(Mistake {
                        row: row + 1,
                        task: head.task.clone(),
                        truth: head.labels[truth as usize].clone(),
                        predicted: head.labels[predicted].clone(),
                        probability: probabilities[predicted],
                    });
                }
            }
        }
        mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.row.cmp(&b.row)));
        Ok(mistakes)
    }
}

/// Per row of `probabilities` `[rows, classes]`, that of the most probable label, and its index.
fn most_certain(probabilities: &[f32], classes: usize) -> (Vec<f32>, Vec<usize>) {
    let rows = probabilities.chunks_exact(classes);
    rows.map(|row| {
        let best = crate::classifier::most_probable(row);
        (row[best], best)
    })
    .unzip()
}

fn task_index(model: &Model, task: &str) -> Result<usize> {
    let heads = model.heads();
    heads.iter().position(|head| head.task == task).ok_or_else(|| {
        let known: Vec<&str> = heads.iter().map(|head| head.task.as_str()).collect();
        Error::new(Kind::Usage, "the model has no such task")
            .at(model.path())
            .found(format!("{task:?}"))
            .expected(format!("one of {}", known.join(", ")))
    })
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
