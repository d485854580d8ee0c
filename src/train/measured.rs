//! Owns measuring the heads of a training on its rows, and calibrating them on rows that they were not fitted
//! on.
//!
//! Refuses to fit them.

use std::collections::BTreeMap;

use super::outcome::{RunMetrics, Sizes};
use super::rows::Table;
use super::task::Task;
use crate::classifier::{Calibrated, calibrate, measure, row_scores};
use crate::data::Part;
use crate::dataset::Dataset;
use crate::embed::FeatureRows;
use crate::heads::{Believed, FeatureView, Head, OutOfFold};
use crate::metrics::{Calibration, Promise, TaskMetrics};
use crate::task::{TaskKind, Truth};

/// What a trained network gives of some rows.
#[derive(Debug, Default)]
pub(super) struct TrainedRows {
    /// Which rows, in rising order.
    pub rows: Vec<usize>,
    /// At the places at which features were loaded.
    pub features: FeatureRows,
}

/// What heads see of rows: as it is stored, or as a trained network gives it.
#[derive(Clone, Copy)]
pub(super) struct Features<'f> {
    pub stored: &'f Dataset,
    pub trained: Option<&'f TrainedRows>,
}

impl<'f> Features<'f> {
    /// What a task's head sees, and the truth with its rows' places there.
    pub fn of(&self, task: &Task, truth: &Truth) -> (FeatureView<'f>, Truth) {
        let columns = &task.sees.columns;
        let Some(TrainedRows { rows, features }) = self.trained else {
            return (self.stored.view(columns), truth.clone());
        };
        let place = |row| rows.binary_search(&row).expect("every row was asked for: a missing one is a bug");
        (features.view(columns), truth.placed(place))
    }
}

/// Calibrates the heads on the validation rows and on what is said of training rows out of their fold, task by
/// task, and measures them.
pub(super) fn calibrated_metrics(
    table: &Table,
    features: Features<'_>,
    heads: &mut [Head],
    (out_of_fold, promise): (&BTreeMap<String, OutOfFold>, Promise),
) -> RunMetrics {
    heads.iter_mut().for_each(|head| head.believed = Believed::nothing(head.kind, head.labels.len()));
    let before = measure_part(table, features, heads, Part::Test);
    let (mut calibrated, none) = (BTreeMap::new(), OutOfFold::default());
    for head in heads.iter_mut() {
        let task = table.task(head);
        let mut truth = task.truth(&table.parts, Part::Valid);
        if features.trained.is_some() {
            truth = promised_by(head.kind, &truth);
        }
        let (seen, truth) = features.of(task, &truth);
        let out_of_fold = out_of_fold.get(&head.task).unwrap_or(&none);
        if let Some(found) = calibrate(head, seen, &truth, out_of_fold, promise) {
            calibrated.insert(head.task.clone(), (found, head.believed.interval));
        }
    }
    let mut metrics = metrics(table, features, heads);
    metrics.calibration = calibrated
        .into_iter()
        .map(|(task, (Calibrated { temperature, rows, out_of_fold, limits }, interval))| {
            let (ece_before, ece_after) = (before[&task].ece, metrics.tasks[&task].ece);
            let found =
                Calibration { temperature, rows, out_of_fold, ece_before, ece_after, limits, interval };
            (task, found)
        })
        .collect();
    metrics
}

/// Validation rows that tell which epoch was the best: of a number every second one, so that a promise can be
/// made by the others.
pub(super) fn chosen_by(kind: TaskKind, valid: &Truth) -> Truth {
    half(kind, valid, 0)
}

/// The others of them: nothing else was chosen by them.
fn promised_by(kind: TaskKind, valid: &Truth) -> Truth {
    half(kind, valid, 1)
}

fn half(kind: TaskKind, valid: &Truth, which: usize) -> Truth {
    if kind.has_labels() { valid.clone() } else { valid.only((which..valid.rows.len()).step_by(2)) }
}

/// What every labelled row of one part adds to the score of its task, in the order of the rows: others on the
/// same rows are compared with these row by row.
pub(super) fn scores(
    table: &Table,
    features: Features<'_>,
    heads: &[Head],
    part: Part,
) -> BTreeMap<String, Vec<f64>> {
    let of_head = |head: &Head| {
        let task = table.task(head);
        let (seen, truth) = features.of(task, &task.truth(&table.parts, part));
        (head.task.clone(), row_scores(head, seen, &truth))
    };
    heads.iter().map(of_head).collect()
}

/// Measures the heads as they are.
pub(super) fn metrics(table: &Table, features: Features<'_>, heads: &[Head]) -> RunMetrics {
    RunMetrics {
        tasks: measure_part(table, features, heads, Part::Test),
        valid: measure_part(table, features, heads, Part::Valid),
        sizes: sizes(&table.parts),
        unlabelled: table.tasks.iter().map(|task| (task.name.clone(), task.unlabelled())).collect(),
        classes: table.classes_by_task(),
        texts: table.rows.notes,
        seed: table.seed,
        calibration: BTreeMap::new(),
        final_rows: BTreeMap::new(),
        untrained: BTreeMap::new(),
        described: BTreeMap::new(),
        drift: BTreeMap::new(),
    }
}

/// Measures the heads on the rows of one part.
pub(super) fn measure_part(
    table: &Table,
    features: Features<'_>,
    heads: &[Head],
    part: Part,
) -> BTreeMap<String, TaskMetrics> {
    let of_head = |head: &Head| {
        let task = table.task(head);
        let (seen, truth) = features.of(task, &task.truth(&table.parts, part));
        (head.task.clone(), measure(head, seen, &truth))
    };
    heads.iter().map(of_head).collect()
}

fn sizes(parts: &[Option<Part>]) -> Sizes {
    let count = |part| parts.iter().filter(|found| **found == part).count() as u64;
    Sizes {
        rows: parts.len() as u64,
        train: count(Some(Part::Train)),
        valid: count(Some(Part::Valid)),
        test: count(Some(Part::Test)),
        left_out: count(None),
    }
}
