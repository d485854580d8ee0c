//! Owns the labels of one task: their names in a fixed order, and what is done with those that have a single
//! row.

use serde::{Deserialize, Serialize};

use crate::named::named;

/// What becomes of a class whose rows have one text only: it cannot be both learned and tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rare {
    /// It is learned from, and never tested.
    #[default]
    Train,
    /// Its rows are kept out of the task.
    Drop,
}

impl Rare {
    /// Whether it is the default, which a recipe does not name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

named!(Rare, "there is no such way with classes of a single row", Train = "train", Drop = "drop");

/// The labels of one task, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    names: Vec<String>,
}

impl LabelSet {
    /// These labels, each once.
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = labels.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self { names: names.into_iter().map(str::to_owned).collect() }
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

    #[test]
    fn labels_are_sorted_and_each_is_there_once() {
        let labels = LabelSet::new(["b", "a", "b", "a", "A", "A"]);
        assert_eq!(labels.names(), ["A", "a", "b"]);
        assert_eq!(labels.index("b"), Some(2));
        assert_eq!(labels.index(""), None);
    }

    #[test]
    fn ways_with_rare_classes_are_parsed_and_printed_alike() {
        for text in ["train", "drop"] {
            assert_eq!(text.parse::<Rare>().unwrap().to_string(), text);
        }
        assert!("merge".parse::<Rare>().unwrap_err().to_string().contains("train or drop"));
    }
}
