//! Owns the rows that a head of a bundle is fitted further on: the new ones, and those that the bundle keeps.
//!
//! Refuses to guess which words stood in rows that are kept: only what the head's own words say of them is known.

use super::rows::Table;
use super::task::Task;
use crate::bundle::Validation;
use crate::data::Part;
use crate::heads::{self, FeatureView, Head, WordLogits, WordRows};
use crate::task::Target;

/// The rows that a head is fitted further on: the new ones, then those that the bundle keeps.
pub(super) struct Gathered {
    /// `[rows, width]`, as the head sees them.
    features: Vec<f32>,
    width: usize,
    /// What stands in the texts of the new ones, where that is known …
    texts: Option<WordRows>,
    /// … and what the words of the head, where it has some, say of all: they stay as they are.
    words: Option<WordLogits>,
    /// The same of all rows that the bundle keeps.
    pub kept_words: Option<WordLogits>,
    /// What is true of them, by the task's labels.
    pub targets: Vec<Target>,
    pub kept: KeptRows,
}

/// Where the rows that a bundle keeps stand among those that a head is fitted further on.
#[derive(Default)]
pub(super) struct KeptRows {
    /// How many new ones stand before them.
    pub new: usize,
    /// Their numbers among the rows that the bundle keeps, in rising order.
    pub rows: Vec<usize>,
}

impl KeptRows {
    /// The place of a row that the bundle keeps, if it is one of those.
    pub fn place(&self, row: usize) -> Option<usize> {
        Some(self.new + self.rows.binary_search(&row).ok()?)
    }
}

impl Gathered {
    /// The rows for a head, by what it was and by where it begins.
    pub fn new(task: &Task, table: &Table, kept: Option<&Validation>, (old, begun): (&Head, &Head)) -> Self {
        let truth = task.truth(&table.parts, Part::Train);
        let view = table.rows.view(&task.sees.columns);
        let features = truth.rows.iter().flat_map(|&row| view.row(row).iter().copied()).collect();
        let texts = table.rows.features.words().map(|words| words.only(&truth.rows));
        let words = WordLogits::of(begun.words.as_ref(), table.rows.features.words(), &truth.rows);
        let (kept_words, width) = (None, view.width());
        let kept_rows = KeptRows { new: truth.rows.len(), rows: Vec::new() };
        let mut gathered =
            Self { features, width, texts, words, kept_words, targets: truth.targets, kept: kept_rows };
        let Some((validation, side)) = kept.and_then(|kept| Some((kept, kept.task(&task.name)?))) else {
            return gathered;
        };
        gathered.kept_words = side.words.as_ref().map(|said| heads::begun_words(old, &begun.labels, said));
        let view = validation.view(side);
        let places: Vec<Option<u32>> = side.labels.iter().map(|label| task.known_as(label)).collect();
        for (row, target) in side.truth.iter().enumerate() {
            let placed = target.as_ref().and_then(|target| target.placed(|label| places[label as usize]));
            let Some(target) = placed else { continue };
            gathered.features.extend_from_slice(view.row(row));
            if let (Some(words), Some(kept)) = (&mut gathered.words, &gathered.kept_words) {
                words.values.extend_from_slice(kept.row(row));
            }
            gathered.targets.push(target);
            gathered.kept.rows.push(row);
        }
        gathered
    }

    /// All of them, as the head sees them.
    pub fn view(&self) -> FeatureView<'_> {
        let features = FeatureView::whole(&self.features, self.width);
        match &self.words {
            // Of what is kept nobody knows which words stood there.
            Some(said) if !self.kept.rows.is_empty() => features.with_words(Some(said)),
            _ => features.with_words(self.texts.as_ref()),
        }
    }
}
