//! Owns the truth of a task: the labels of rows, as places among those that a head can answer.

use std::collections::HashMap;

use crate::data::LabelNames;

/// The truth of one task: which rows have a label, and the index of each one's among those that a head can
/// say; behind these come labels that it cannot, because training never saw them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    /// Row numbers into the data set (from 0).
    pub rows: Vec<usize>,
    /// Parallel to `rows`: an index into the head's labels and, behind them, `unseen`.
    pub labels: Vec<u32>,
    /// Labels that the head does not know, in the order in which the rows have them.
    pub unseen: Vec<String>,
}

impl Truth {
    /// Takes the labelled rows among `rows`; `names` are the labels that the head knows, `cells[row]` is the
    /// task's cell.
    #[must_use]
    pub fn new(names: &[String], cells: &[Option<String>], rows: impl Iterator<Item = usize>) -> Self {
        let mut unseen: HashMap<&str, usize> = HashMap::new();
        let mut chosen = Self::default();
        let labels = LabelNames::new(names);
        for row in rows {
            let Some(cell) = cells[row].as_deref() else { continue };
            let label = labels.index(cell).unwrap_or_else(|| {
                let next = names.len() + unseen.len();
                *unseen.entry(cell).or_insert_with(|| {
                    chosen.unseen.push(cell.to_owned());
                    next
                })
            });
            let label = u32::try_from(label).unwrap_or(u32::MAX);
            chosen.rows.push(row);
            chosen.labels.push(label);
        }
        chosen
    }

    /// The truth of rows, from the place of each one's label; none where a row has no label.
    #[must_use]
    pub fn of_places(places: &[Option<u32>]) -> Self {
        let labelled = places.iter().enumerate().filter_map(|(row, label)| Some((row, (*label)?)));
        let (rows, labels) = labelled.unzip();
        Self { rows, labels, unseen: Vec::new() }
    }

    /// The name of a row's label.
    #[must_use]
    pub fn name<'n>(&'n self, names: &'n [String], label: u32) -> &'n str {
        let label = label as usize;
        names.get(label).unwrap_or_else(|| &self.unseen[label - names.len()])
    }

    /// The rows whose label the head knows, one of `classes`.
    #[must_use]
    pub fn known(&self, classes: usize) -> Self {
        let known = self.rows.iter().zip(&self.labels).filter(|(_, label)| (**label as usize) < classes);
        let (rows, labels) = known.map(|(row, label)| (*row, *label)).unzip();
        Self { rows, labels, unseen: Vec::new() }
    }

    /// The truth of some of its rows, by their places.
    #[must_use]
    pub fn only(&self, places: impl Iterator<Item = usize>) -> Self {
        let (rows, labels) = places.map(|place| (self.rows[place], self.labels[place])).unzip();
        Self { rows, labels, unseen: self.unseen.clone() }
    }

    /// The same with other numbers for its rows.
    #[must_use]
    pub fn placed(&self, place: impl Fn(usize) -> usize) -> Self {
        Self { rows: self.rows.iter().map(|&row| place(row)).collect(), ..self.clone() }
    }
}
