//! Owns how the labels of a column are spelled, for where numbers and texts of the same value meet.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::cell::Cell;
use super::label_name::value;

/// How the labels of a column are written, for where numbers and texts of the same value meet: in rows of
/// JSON, or in several tables of one training.
#[derive(Debug, Clone, Default)]
pub struct Spellings {
    /// Names that a number has, or true and false.
    numbers: HashSet<String>,
    /// By value, how texts write it.
    texts: HashMap<String, BTreeSet<String>>,
}

impl Spellings {
    /// Takes a label.
    pub fn add(&mut self, cell: &Cell) {
        let Some(label) = cell.label() else { return };
        let Some(value) = value(&label) else { return };
        if matches!(cell, Cell::Text(_)) {
            self.texts.entry(value).or_default().insert(label.into_owned());
        } else {
            self.numbers.insert(value);
        }
    }

    /// Takes those of another table.
    pub fn extend(&mut self, other: &Self) {
        self.numbers.extend(other.numbers.iter().cloned());
        for (value, texts) in &other.texts {
            self.texts.entry(value.clone()).or_default().extend(texts.iter().cloned());
        }
    }

    /// The name of a label that is written otherwise as a text than as a number, where both are there: `2.50`
    /// is `2.5`, `True` is `true`. Texts of one value that are written in two ways stay two labels.
    #[must_use]
    pub fn name(&self, label: &str) -> Option<&str> {
        let number = self.numbers.get(&value(label)?).filter(|number| *number != label)?;
        self.texts.get(number).is_none_or(|texts| texts.len() < 2).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::LabelNames;

    #[test]
    fn a_text_and_a_number_of_one_value_have_the_number_s_name_where_they_meet() {
        let of = |cells: &[Cell]| {
            let mut found = Spellings::default();
            cells.iter().for_each(|cell| found.add(cell));
            found
        };
        let (number, text) = (|text: &str| Cell::Number(text.into()), |text: &str| Cell::Text(text.into()));
        let texts = of(&[text("2.50"), text("1.10"), text("1.1"), text("True"), text("a")]);
        for label in ["2.50", "1.10", "1.1", "True", "a"] {
            assert_eq!(texts.name(label), None, "{label}");
        }
        // Codes are no numbers, whatever else is there.
        let codes = of(&[text("002"), text("007"), number("2"), number("7"), text("-01.50"), number("-1.5")]);
        for label in ["002", "007", "2", "7", "-01.50"] {
            assert_eq!(codes.name(label), None, "{label}");
        }
        let names = ["001".to_owned(), "2".to_owned()];
        assert_eq!(
            ["1", "2.0", "002"].map(|label| LabelNames::new(&names).index(label)),
            [None, Some(1), None]
        );
        let mut both = of(&[number("2.5"), number("1.100"), Cell::Bool(true), Cell::Null]);
        both.extend(&texts);
        for (label, name) in [
            ("2.50", Some("2.5")),
            ("2.5", None),
            ("True", Some("true")),
            ("1.10", None),
            ("1.1", None),
            ("a", None),
        ] {
            assert_eq!(both.name(label), name, "{label}");
        }
    }
}
