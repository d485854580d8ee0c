//! Owns the labels of one task: their names in a fixed order, and whether they can be learned from.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};

/// The labels of one task, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    names: Vec<String>,
}

impl LabelSet {
    /// Collects the labels of a column; null and empty cells are unlabelled.
    ///
    /// # Errors
    /// Nothing to learn from: no labels, only one, a different one in every row, or one with a single row.
    pub fn from_values<'a>(task: &str, values: impl Iterator<Item = Option<&'a str>>) -> Result<Self> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for value in values.flatten().filter(|value| !value.is_empty()) {
            *counts.entry(value).or_default() += 1;
        }
        let rows: u64 = counts.values().sum();
        let wrong = |what: &str| Error::new(Kind::Table, what).column(task);
        if counts.is_empty() {
            return Err(wrong("the task has no labels").expected("at least two different labels"));
        }
        if let (1, Some((label, _))) = (counts.len(), counts.first_key_value()) {
            return Err(wrong("the task's labels are all the same")
                .found(format!("{label:?} in all {rows} rows"))
                .expected("at least two different labels"));
        }
        if counts.len() as u64 == rows {
            return Err(wrong("every row has a label of its own")
                .found(format!("{rows} labels in {rows} rows"))
                .expected("a column of classes, not of texts or numbers")
                .help("check the column's name"));
        }
        let single: Vec<&str> =
            counts.iter().filter(|(_, rows)| **rows == 1).map(|(label, _)| *label).collect();
        if !single.is_empty() {
            let shown =
                single.iter().take(5).map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ");
            let more =
                if single.len() > 5 { format!(" and {} more", single.len() - 5) } else { String::new() };
            return Err(wrong("a class has only one row, so it cannot be both learned and tested")
                .found(format!("{shown}{more}"))
                .expected("at least two rows of every class")
                .help("merge the class with another, add rows, or empty the cell to leave the row out of this task"));
        }
        Ok(Self { names: counts.into_keys().map(str::to_owned).collect() })
    }

    /// The labels, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a label.
    #[must_use]
    pub fn index(&self, label: &str) -> Option<u32> {
        let place = self.names.binary_search_by(|name| name.as_str().cmp(label)).ok()?;
        u32::try_from(place).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<LabelSet> {
        LabelSet::from_values("mood", values.iter().map(|value| Some(*value)))
    }

    #[track_caller]
    fn refused(values: &[&str], parts: &[&str]) {
        let error = of(values).unwrap_err().to_string();
        for part in parts.iter().chain(&["\"mood\""]) {
            assert!(error.contains(part), "{error:?} should say {part:?}");
        }
    }

    #[test]
    fn labels_are_sorted_and_empty_cells_are_none() {
        let labels = of(&["b", "a", "", "b", "a", "A", "A"]).unwrap();
        assert_eq!(labels.names(), ["A", "a", "b"]);
        assert_eq!(labels.index("b"), Some(2));
        assert_eq!(labels.index(""), None);
    }

    #[test]
    fn a_column_without_labels_is_refused() {
        refused(&["", ""], &["no labels"]);
        assert!(LabelSet::from_values("mood", [None].into_iter()).is_err());
    }

    #[test]
    fn a_constant_column_is_refused() {
        refused(&["a", "a", ""], &["all the same", "\"a\" in all 2 rows"]);
    }

    #[test]
    fn a_column_unique_per_row_is_refused() {
        refused(&["a", "b", "c"], &["label of its own", "3 labels in 3 rows"]);
    }

    #[test]
    fn a_class_with_one_row_is_named() {
        refused(&["a", "a", "b", "b", "lonely"], &["only one row", "\"lonely\""]);
        refused(&["a", "a", "1", "2", "3", "4", "5", "6", "7"], &["and 2 more"]);
    }
}
