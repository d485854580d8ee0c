//! Owns measuring the heads of a training on its rows, and calibrating them on the validation rows.
//!
//! Refuses to fit them.

use std::collections::BTreeMap;

use super::features::TaskView;
use super::rows::{Table, task_rows};
use super::{RunMetrics, Sizes, TrainRequest};
use crate::classifier::{calibrate, measure};
use crate::data::Part;
use crate::heads::Head;
use crate::metrics::{Calibration, TaskMetrics};

/// Calibrates the heads on the validation rows, and measures them.
pub(super) fn calibrated_metrics(
    request: &TrainRequest,
    table: &Table,
    views: &[TaskView],
    heads: &mut [Head],
) -> RunMetrics {
    heads.iter_mut().for_each(|head| head.temperature = 1.0);
    let before = measure_part(request, table, views, heads, Part::Test);
    let mut calibration = BTreeMap::new();
    for (task, head) in heads.iter_mut().enumerate() {
        let cells = &table.rows.cells[task];
        let rows = task_rows(&head.labels, cells, &table.parts, Part::Valid);
        if let Some(found) = calibrate(head, table.rows.view(&views[task].columns), &rows) {
            calibration.insert(head.task.clone(), found);
        }
    }
    let mut metrics = metrics(request, table, views, heads);
    metrics.calibration = calibration
        .into_iter()
        .map(|(task, (temperature, rows))| {
            let (ece_before, ece_after) = (before[&task].ece, metrics.tasks[&task].ece);
            (task, Calibration { temperature, rows, ece_before, ece_after })
        })
        .collect();
    metrics
}

/// Measures the heads as they are.
pub(super) fn metrics(
    request: &TrainRequest,
    table: &Table,
    views: &[TaskView],
    heads: &[Head],
) -> RunMetrics {
    let unlabelled =
        table.rows.cells.iter().zip(&table.classes).map(|(cells, classes)| {
            cells.iter().filter(|cell| cell.is_none()).count() as u64 - classes.kept_out
        });
    RunMetrics {
        tasks: measure_part(request, table, views, heads, Part::Test),
        valid: measure_part(request, table, views, heads, Part::Valid),
        sizes: sizes(&table.parts),
        unlabelled: request.tasks.iter().cloned().zip(unlabelled).collect(),
        classes: table.classes_by_task(request),
        texts: table.rows.notes,
        seed: request.split.seed,
        calibration: BTreeMap::new(),
        untrained: BTreeMap::new(),
        drift: BTreeMap::new(),
    }
}

/// Measures the heads on the rows of one part.
pub(super) fn measure_part(
    request: &TrainRequest,
    table: &Table,
    views: &[TaskView],
    heads: &[Head],
    part: Part,
) -> BTreeMap<String, TaskMetrics> {
    let tasks = request.tasks.iter().zip(heads).zip(views).zip(&table.rows.cells);
    tasks
        .map(|(((task, head), view), cells)| {
            let chosen = task_rows(&head.labels, cells, &table.parts, part);
            (task.clone(), measure(head, table.rows.view(&view.columns), &chosen))
        })
        .collect()
}

fn sizes(parts: &[Option<Part>]) -> Sizes {
    let count = |part| parts.iter().filter(|own| **own == part).count() as u64;
    Sizes {
        rows: parts.len() as u64,
        train: count(Some(Part::Train)),
        valid: count(Some(Part::Valid)),
        test: count(Some(Part::Test)),
        left_out: count(None),
    }
}
