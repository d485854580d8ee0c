//! Owns texts as Python has them: a sequence of strings or of pairs of strings, or a column of Arrow.
//!
//! Refuses what is not text, and says which place it has; nothing is made a text by the way.

use arrow_array::ArrayRef;
use frosthead::Text;
use frosthead::internal::data::texts_of;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyString, PyTuple};

use crate::arrow;
use crate::errors::raised;

/// Texts that stay while the interpreter is let go.
pub enum Texts {
    Strings(Vec<PyBackedStr>),
    Pairs(Vec<[PyBackedStr; 2]>),
    Columns(Vec<ArrayRef>),
}

impl Texts {
    /// Takes what a caller gave.
    ///
    /// # Errors
    /// It is no sequence of texts.
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        if given.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "texts: found a str, expected a sequence of them: put it into a list",
            ));
        }
        if arrow::is_arrow(given)? {
            return arrow::columns(given).map(Self::Columns);
        }
        let mut items = given.try_iter().map_err(|_| {
            let message =
                format!("texts: found {}, expected a sequence of str, or a column of Arrow", kind(given));
            PyTypeError::new_err(message)
        })?;
        match items.next().transpose()? {
            None => Ok(Self::Strings(Vec::new())),
            Some(first) if first.is_instance_of::<PyTuple>() => {
                let rest = items.enumerate().map(|(index, item)| pair(&item?, index + 1));
                std::iter::once(pair(&first, 0)).chain(rest).collect::<PyResult<_>>().map(Self::Pairs)
            }
            Some(first) => {
                let rest = items.enumerate().map(|(index, item)| string(&item?, index + 1));
                std::iter::once(string(&first, 0)).chain(rest).collect::<PyResult<_>>().map(Self::Strings)
            }
        }
    }

    /// All of them, as the library has them.
    ///
    /// # Errors
    /// One is missing.
    pub fn all<'t>(&'t self, py: Python<'_>) -> PyResult<Vec<Text<'t>>> {
        match self {
            Self::Strings(strings) => Ok(strings.iter().map(|text| Text::one(text)).collect()),
            Self::Pairs(pairs) => Ok(pairs.iter().map(|[first, second]| Text::pair(first, second)).collect()),
            Self::Columns(columns) => {
                let mut texts = Vec::new();
                for column in columns {
                    let before = texts.len() as u64;
                    texts_of(column, before, "texts", &mut |text| texts.push(Text::one(text)))
                        .map_err(|error| raised(py, &error))?;
                }
                Ok(texts)
            }
        }
    }
}

fn string(item: &Bound<'_, PyAny>, index: usize) -> PyResult<PyBackedStr> {
    let Ok(text) = item.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!("texts[{index}]: found {}, expected str", kind(item))));
    };
    PyBackedStr::try_from(text.clone())
        .map_err(|error| PyValueError::new_err(format!("texts[{index}] is no Unicode text: {error}")))
}

fn pair(item: &Bound<'_, PyAny>, index: usize) -> PyResult<[PyBackedStr; 2]> {
    match item.cast::<PyTuple>() {
        Ok(tuple) if tuple.len() == 2 => {
            Ok([string(&tuple.get_item(0)?, index)?, string(&tuple.get_item(1)?, index)?])
        }
        _ => Err(PyTypeError::new_err(format!(
            "texts[{index}]: found {}, expected a pair of str, as the first is",
            kind(item)
        ))),
    }
}

/// What a value is called, for people.
fn kind(value: &Bound<'_, PyAny>) -> String {
    if value.is_none() { "None".to_owned() } else { value.get_type().to_string() }
}
