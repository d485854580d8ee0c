//! Owns how the cells of a column that is kept are read: as a label, as several, or as a number.
//!
//! Refuses what is not such a cell. What is kept is a text: a label's name, a list of names
//! (`label_list.rs`), or a number's shortest form.

use std::borrow::Cow;

use super::cell::Cell;
use super::label_list::label_list;
use crate::error::{Error, Kind, Result, quoted};

/// What the cells of a kept column are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CellForm {
    /// A label each.
    #[default]
    Label,
    /// Several labels each, or none: a list, or a text with this between labels.
    Labels { separator: String },
    /// A number each.
    Number,
}

/// A column that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptColumn {
    pub name: String,
    pub form: CellForm,
}

impl From<&str> for KeptColumn {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), form: CellForm::Label }
    }
}

impl KeptColumn {
    /// Whether its cells may be lists.
    #[must_use]
    pub fn takes_lists(&self) -> bool {
        matches!(self.form, CellForm::Labels { .. })
    }

    /// What is kept of a cell; none where it says nothing.
    ///
    /// # Errors
    /// It is not what the column holds.
    pub fn read(&self, cell: &Cell) -> Result<Option<String>> {
        let read = match &self.form {
            CellForm::Label => Ok(cell.label().map(Cow::into_owned)),
            CellForm::Labels { separator } => label_list(cell, separator),
            CellForm::Number => number(cell),
        };
        read.map_err(|error| error.column(&self.name))
    }
}

fn number(cell: &Cell) -> Result<Option<String>> {
    let wrong = |text: &str, expected: &str| {
        Error::new(Kind::Table, "a cell of a column of numbers is none")
            .found(quoted(text))
            .expected(expected)
            .help("empty the cell to leave the row out of this task")
    };
    // A label is none where nothing is said, or `NaN`.
    let (Some(text), Some(_)) = (cell.as_str().map(str::trim), cell.label()) else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    let plain = matches!(cell, Cell::Number(_) | Cell::Text(_));
    match text.parse::<f64>() {
        Ok(found) if plain && (found as f32).is_finite() => Ok(Some(found.to_string())),
        Ok(_) if plain => Err(wrong(text, "a number that is finite in single precision")),
        _ => Err(wrong(text, "a number, like 4 or -0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_in_their_shortest_form_and_nothing_else_is_one() {
        let column = KeptColumn { name: "rating".to_owned(), form: CellForm::Number };
        let read = |cell: Cell| column.read(&cell);
        for (cell, kept) in [
            (Cell::Text(" 4.50 ".to_owned()), Some("4.5")),
            (Cell::Number("1e2".to_owned()), Some("100")),
            (Cell::Text(String::new()), None),
            (Cell::Text(" ".to_owned()), None),
            (Cell::Number("NaN".to_owned()), None),
            (Cell::Null, None),
        ] {
            assert_eq!(read(cell).unwrap().as_deref(), kept);
        }
        for wrong in [
            Cell::Text("four".to_owned()),
            Cell::Text("inf".to_owned()),
            Cell::Number("-inf".to_owned()),
            Cell::Text("1e300".to_owned()),
            Cell::Bool(true),
            Cell::Json("[1]".to_owned()),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("rating") && error.contains("a number"), "{error}");
        }
    }
}
