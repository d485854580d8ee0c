//! Owns the features of rows while layers are trained: up to the cut as they are stored, above it by the
//! graph as it is now.
//!
//! Refuses to take anything that training changes from the store.

use std::ops::Range;

use super::measured::TrainedRows;
use super::rows::Table;
use super::task::Task;
use crate::embed::{CutRows, RowLayout, StoredLayers};
use crate::encoder::{Outputs, Seen, Start};
use crate::error::Result;
use crate::heads::FeatureView;
use crate::runtime::Sessions;

/// All rows with what is stored of them, and what each head sees.
#[derive(Clone, Copy)]
pub(super) struct SeenRows<'r> {
    pub table: &'r Table,
    pub layout: RowLayout,
    /// Layers of the network.
    pub layers: usize,
}

impl<'r> SeenRows<'r> {
    /// What a task's head sees.
    pub fn seen(&self, task: &Task) -> Seen {
        task.sees.choice.unwrap_or_default().seen(self.layers)
    }

    /// The stored means of a hidden state, of every row; a head sees them.
    pub fn means(&self, level: usize) -> FeatureView<'r> {
        self.table.rows.view(&self.layout.means(level..level + 1))
    }

    /// What the deployed graph has to give.
    pub fn outputs(&self) -> Outputs {
        let choices = self.table.tasks.iter().map(|task| task.sees.choice.unwrap_or_default());
        Outputs::Vectors { means: StoredLayers::holding(choices).means(Some(self.layers)) }
    }

    /// The features of some rows, in rising order, by a graph that gives [`Self::outputs`] from the rows'
    /// cut.
    ///
    /// # Errors
    /// Stored states are gone, or ONNX Runtime fails.
    pub fn features(
        &self,
        sessions: &mut Sessions,
        (cut, start): (&CutRows, Start),
        rows: Vec<usize>,
    ) -> Result<TrainedRows> {
        let stored = &self.table.rows;
        let held = stored.first..stored.first + stored.width;
        // States up to the start are what they were; the graph gives the start's own once more, which may be
        // rounded.
        let (unchanged, given) = match start {
            Start::Ids => (0, 0),
            Start::States(level) => (level + 1, level),
        };
        let means = self.layout.means(unchanged..self.layers + 1);
        let repeated = self.layout.means(given..unchanged).len();
        // What is held of the states that did not change.
        let below = means.start.min(self.layout.states().end).clamp(held.start, held.end) - held.start;
        let mut numbers = vec![0.0; rows.len() * held.len()];
        for (row, numbers) in rows.iter().zip(numbers.chunks_exact_mut(held.len())) {
            numbers[..below].copy_from_slice(&stored.view(&held).row(*row)[..below]);
        }
        let names = self.outputs().names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        cut.run(sessions, &rows, &names, &mut |place, found| {
            let row = &mut numbers[place * held.len()..(place + 1) * held.len()];
            put(row, &held, &self.layout.embedding(), found[0]);
            if let Some(given) = found.get(1) {
                put(row, &held, &means, &given[repeated..]);
            }
        })?;
        Ok(TrainedRows { rows, numbers })
    }
}

/// Writes the numbers of a run of places into what is held of a row.
fn put(row: &mut [f32], held: &Range<usize>, places: &Range<usize>, numbers: &[f32]) {
    let (start, end) = (places.start.max(held.start), places.end.min(held.end));
    if start < end {
        row[start - held.start..end - held.start]
            .copy_from_slice(&numbers[start - places.start..end - places.start]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_of_a_run_of_places_is_written() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        let of = |held: Range<usize>, places: Range<usize>| {
            let mut row = vec![0.0; held.len()];
            put(&mut row, &held, &places, &numbers);
            row
        };
        assert_eq!(of(2..8, 3..7), [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
        assert_eq!(of(4..6, 3..7), [2.0, 3.0]);
        assert_eq!(of(0..3, 2..6), [0.0, 0.0, 1.0]);
        assert_eq!(of(0..2, 3..7), [0.0, 0.0]);
    }
}
