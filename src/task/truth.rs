//! Owns the truth of a task: what is true of rows, labels as places among those that a head can answer.

use std::collections::HashMap;

use super::target::Target;
use crate::data::LabelNames;

/// The truth of one task: which rows have one, and it; labels are indices among those that a head can say;
/// behind these come labels that it cannot, because training never saw them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// Row numbers into the data set (from 0).
    pub rows: Vec<usize>,
    /// Parallel to `rows`; indices of the head's labels and, behind them, of `unseen`.
    pub targets: Vec<Target>,
    /// Labels that the head does not know, in the order in which the rows have them.
    pub unseen: Vec<String>,
}

/// Labels by their names, those that a head does not know behind those that it does.
struct Named<'n> {
    labels: LabelNames<'n>,
    known: usize,
    met: HashMap<String, usize>,
    unseen: Vec<String>,
}

impl Named<'_> {
    fn place(&mut self, name: &str) -> u32 {
        let place = self.labels.index(name).or_else(|| self.met.get(name).copied());
        let place = place.unwrap_or_else(|| {
            let next = self.known + self.unseen.len();
            self.met.insert(name.to_owned(), next);
            self.unseen.push(name.to_owned());
            next
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

impl Truth {
    /// Takes the rows among `rows` that have a truth; `names` are the labels that the head knows,
    /// `cells[row]` is the task's cell, and `target` reads one: it gets the place of each label that it names.
    #[must_use]
    pub(super) fn read(
        names: &[String],
        cells: &[Option<String>],
        rows: impl Iterator<Item = usize>,
        target: impl Fn(&str, &mut dyn FnMut(&str) -> u32) -> Option<Target>,
    ) -> Self {
        let (labels, known) = (LabelNames::new(names), names.len());
        let mut named = Named { labels, known, met: HashMap::new(), unseen: Vec::new() };
        let mut chosen = Self::default();
        for row in rows {
            let Some(cell) = cells[row].as_deref() else { continue };
            if let Some(target) = target(cell, &mut |name| named.place(name)) {
                chosen.rows.push(row);
                chosen.targets.push(target);
            }
        }
        chosen.unseen = named.unseen;
        chosen
    }

    /// The truth of rows, from that of each; none where a row has none.
    #[must_use]
    pub fn of_places(places: &[Option<Target>]) -> Self {
        let there = places.iter().enumerate().filter_map(|(row, target)| Some((row, target.clone()?)));
        let (rows, targets) = there.unzip();
        Self { rows, targets, unseen: Vec::new() }
    }

    /// The name of a label.
    #[must_use]
    pub fn name<'n>(&'n self, names: &'n [String], label: u32) -> &'n str {
        let label = label as usize;
        names.get(label).unwrap_or_else(|| &self.unseen[label - names.len()])
    }

    /// What the head can know of it: without rows whose only label is none of `classes`, and without such
    /// labels of others.
    #[must_use]
    pub fn known(&self, classes: usize) -> Self {
        let known = self.rows.iter().zip(&self.targets).filter_map(|(row, target)| {
            Some((*row, target.placed(|label| Some(label).filter(|label| (*label as usize) < classes))?))
        });
        let (rows, targets) = known.unzip();
        Self { rows, targets, unseen: Vec::new() }
    }

    /// The truth of some of its rows, by their places.
    #[must_use]
    pub fn only(&self, places: impl Iterator<Item = usize>) -> Self {
        let (rows, targets) = places.map(|place| (self.rows[place], self.targets[place].clone())).unzip();
        Self { rows, targets, unseen: self.unseen.clone() }
    }

    /// The same with other numbers for its rows.
    #[must_use]
    pub fn placed(&self, place: impl Fn(usize) -> usize) -> Self {
        Self { rows: self.rows.iter().map(|&row| place(row)).collect(), ..self.clone() }
    }
}
