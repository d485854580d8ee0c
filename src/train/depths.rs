//! Owns what the depths of a backbone cost the tasks of a training, by its rows.

use super::event::{Show, TrainEvent};
use super::request::{Learning, RowsRequest};
use super::rows::Table;
use crate::data::Part;
use crate::embed::Embedder;
use crate::error::Result;
use crate::selection::{self, DepthFigures, TaskRows};
use crate::task::Truth;

/// What each of these depths costs each task of labelled texts; see [`selection::depths`].
///
/// # Errors
/// The rows are malformed or cannot be divided, the network has no such depth, or a fit fails.
pub fn depths(
    request: &RowsRequest,
    learning: &Learning,
    asked: &[usize],
    embedder: &mut Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<DepthFigures>> {
    let mut table = Table::read(request, false, &|_| false, Some(embedder), show)?;
    figures(&mut table, learning, asked, embedder, show)
}

/// The same of rows that have been read.
///
/// # Errors
/// As [`depths`].
pub(super) fn figures(
    table: &mut Table,
    learning: &Learning,
    asked: &[usize],
    embedder: &Embedder,
    show: &mut Show<'_>,
) -> Result<Vec<DepthFigures>> {
    let Table { rows, tasks, parts, .. } = table;
    let held = (0..parts.len()).filter(|&row| matches!(parts[row], Some(Part::Train | Part::Valid)));
    let held: Vec<usize> = held.collect();
    let mut of_tasks = Vec::with_capacity(tasks.len());
    for task in tasks.iter() {
        let labels = task.labels.names();
        let known = Truth::new(labels, &task.cells, held.iter().copied()).known(labels.len());
        of_tasks.push(TaskRows { answers: task.answers(), train: task.truth(parts, Part::Train), known });
    }
    selection::depths(embedder, rows, &of_tasks, asked, learning.fitting(), &mut |what| {
        let _uninterrupted = show(&TrainEvent::Work(what));
    })
}
