//! Owns the Arrow type of a column that is carried from JSON to Parquet: the one that all its values have.
//!
//! Refuses to lose a digit: numbers that neither i64 nor f64 holds as they are written stay text, and so do
//! values of several types.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;

use super::cell::Cell;
use super::label_name::label_of_number;

/// What the values of a column that were seen so far all are; nulls are anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CarriedType {
    any: bool,
    booleans: bool,
    /// In the range of i64.
    integers: bool,
    /// That f64 tells from all others.
    floats: bool,
}

/// Of no value yet.
impl Default for CarriedType {
    fn default() -> Self {
        Self { any: false, booleans: true, integers: true, floats: true }
    }
}

impl CarriedType {
    /// Text, whatever comes.
    pub const TEXT: Self = Self { any: true, booleans: false, integers: false, floats: false };

    /// Looks at one more value.
    pub fn add(&mut self, cell: &Cell) {
        match cell {
            Cell::Null => {}
            Cell::Bool(_) => *self = Self { booleans: self.booleans, ..Self::TEXT },
            Cell::Number(number) => {
                let integers = self.integers && integer(number).is_some();
                let floats = self.floats && (float(number).is_some());
                *self = Self { integers, floats, ..Self::TEXT };
            }
            Cell::Text(_) | Cell::Json(_) => *self = Self::TEXT,
        }
    }

    /// The Arrow type. A column without a value is one of texts.
    pub fn data_type(self) -> DataType {
        match self {
            Self { any: false, .. } => DataType::Utf8,
            Self { booleans: true, .. } => DataType::Boolean,
            Self { integers: true, .. } => DataType::Int64,
            Self { floats: true, .. } => DataType::Float64,
            _ => DataType::Utf8,
        }
    }

    /// Values, given as text, in this type; none where one is not of it.
    pub fn array(self, texts: StringArray) -> Option<ArrayRef> {
        Some(match self.data_type() {
            DataType::Boolean => Arc::new(parsed(&texts, boolean)?.into_iter().collect::<BooleanArray>()),
            DataType::Int64 => Arc::new(Int64Array::from(parsed(&texts, integer)?)),
            DataType::Float64 => Arc::new(Float64Array::from(parsed(&texts, float)?)),
            _ => Arc::new(texts),
        })
    }
}

fn parsed<T>(texts: &StringArray, parse: fn(&str) -> Option<T>) -> Option<Vec<Option<T>>> {
    texts.iter().map(|text| text.map_or(Some(None), |text| parse(text).map(Some))).collect()
}

fn boolean(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// A whole number, written as every program writes it: `-0` and `1.0` are floats.
fn integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

/// A number that f64 holds with all its digits.
fn float(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let same = number.is_finite() && label_of_number(&number.to_string()) == label_of_number(text);
    same.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_the_type_that_all_its_values_have() {
        let number = |text: &str| Cell::Number(text.to_owned());
        let of = |cells: &[Cell]| {
            let mut found = CarriedType::default();
            cells.iter().for_each(|cell| found.add(cell));
            found.data_type()
        };
        let text = || Cell::Text("1".to_owned());
        for (cells, expected) in [
            (vec![], DataType::Utf8),
            (vec![Cell::Null], DataType::Utf8),
            (vec![Cell::Bool(true), Cell::Null, Cell::Bool(false)], DataType::Boolean),
            (vec![number("1"), Cell::Null, number("-9223372036854775808")], DataType::Int64),
            (vec![number("1"), number("1.50"), number("1e3"), number("-0")], DataType::Float64),
            (vec![number("9223372036854775808")], DataType::Utf8),
            (vec![number("9007199254740993"), number("0.5")], DataType::Utf8),
            (vec![number("0.12345678901234567890")], DataType::Utf8),
            (vec![number("1e400")], DataType::Utf8),
            (vec![number("1e-400")], DataType::Utf8),
            (vec![Cell::Bool(true), number("1")], DataType::Utf8),
            (vec![number("1"), Cell::Bool(true)], DataType::Utf8),
            (vec![number("1"), text()], DataType::Utf8),
            (vec![text(), number("1")], DataType::Utf8),
            (vec![Cell::Json("[1]".to_owned()), Cell::Null], DataType::Utf8),
        ] {
            assert_eq!(of(&cells), expected, "{cells:?}");
        }
    }
}
