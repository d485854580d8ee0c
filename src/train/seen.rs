//! Owns the features of rows while layers are trained: up to the cut as they are stored, above it by the
//! graph as it is now.
//!
//! Refuses to take anything that training changes from the store.

use std::ops::Range;

use super::measured::TrainedRows;
use super::rows::Table;
use super::task::Task;
use crate::embed::{CutRows, FeatureRows, RowLayout};
use crate::encoder::{FeatureChoice, Outputs, Start, ports};
use crate::error::Result;
use crate::heads::FeatureView;
use crate::runtime::Sessions;

/// All rows with what is stored of them, and what their heads see.
#[derive(Clone, Copy)]
pub(super) struct SeenRows<'r> {
    pub table: &'r Table,
    /// What a stored row holds; in memory is what heads see of it.
    pub layout: RowLayout,
}

impl<'r> SeenRows<'r> {
    /// The stored means of a hidden state, of every row; a head sees them.
    pub fn means(&self, level: usize) -> FeatureView<'r> {
        self.table.rows.view(&self.layout.means(level..level + 1))
    }

    /// What the deployed graph has to give.
    pub fn outputs(&self) -> Outputs {
        let seen = FeatureChoice::holding(self.table.tasks.iter().map(Task::choice));
        let embedding = seen == FeatureChoice::Last || !self.layout.embedding().is_empty();
        let means = seen.levels(self.layout.levels().len().saturating_sub(1)).map_or(0, |levels| levels.end);
        Outputs::Vectors { means, embedding: embedding && !matches!(seen, FeatureChoice::Layers { .. }) }
    }

    /// The levels of the hidden states whose means the deployed graph gives.
    fn levels(&self) -> Range<usize> {
        match self.outputs() {
            Outputs::Vectors { means, .. } => 0..means,
            Outputs::HiddenState(_) => 0..0,
        }
    }

    /// The places in a stored row that nothing above this start can change: the means of states up to it.
    fn unchanged(&self, start: Start) -> Range<usize> {
        let above = match start {
            Start::Ids => 0,
            Start::States(level) => level + 1,
        };
        self.layout.means(0..above.min(self.levels().end))
    }

    /// The places in a stored row of the means that a graph with this start gives: those of the start's own
    /// state and of all above it.
    fn given(&self, start: Start) -> Range<usize> {
        let lowest = match start {
            Start::Ids => 0,
            Start::States(level) => level,
        };
        self.layout.means(lowest..self.levels().end.max(lowest))
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
        let stored = &self.table.rows.features;
        let (embedding, given, unchanged) =
            (self.layout.embedding(), self.given(start), self.unchanged(start));
        let place_of = |name: &String| if name == ports::EMBEDDING { &embedding } else { &given };
        let words = stored.words().map(|words| words.only(&rows));
        let mut features = FeatureRows::zeros(stored.places(), rows.len()).with_words(words);
        let given_names = self.outputs().names();
        let names: Vec<&str> = given_names.iter().map(String::as_str).collect();
        cut.run(sessions, &rows, &names, &mut |place, found| {
            for (name, numbers) in given_names.iter().zip(found) {
                features.put(place, place_of(name), numbers);
            }
            // After the graph's: the start's own state, from which it began, may have been rounded.
            features.take(place, &unchanged, stored, rows[place]);
            Ok(())
        })?;
        Ok(TrainedRows { rows, features })
    }
}
