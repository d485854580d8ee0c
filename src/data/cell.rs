//! Owns one value of a table: what it is, its text, and its name as a label.
//!
//! Refuses to round: a number is the digits that it was written in.

use std::borrow::Cow;

use super::label_name::{label_of_number, label_of_text};

/// One value of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cell {
    /// Null, or not there.
    #[default]
    Null,
    Bool(bool),
    /// A number in JSON's notation, as it was written; or `NaN`, `inf`, `-inf`, which only binary formats
    /// have.
    Number(String),
    Text(String),
    /// Anything else as JSON on one line: a list, an object.
    Json(String),
}

impl Cell {
    /// The value as text; none for null.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) | Self::Text(text) | Self::Json(text) => Some(text),
        }
    }

    /// The value's name as a label; none for null, nothing and NaN.
    #[must_use]
    pub fn label(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Number(number) => label_of_number(number),
            other => other.as_str().and_then(label_of_text),
        }
    }

    /// Bytes that it takes beside its own place.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(text) | Self::Text(text) | Self::Json(text) => text.len(),
        }
    }

    /// Appends the value as JSON. JSON has no `NaN`, which is nothing: null; nor infinities, which are
    /// something: the texts `"inf"` and `"-inf"`.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Number(number) if number.ends_with('N') => out.extend(b"null"),
            Self::Number(number) if number.ends_with('f') => json_text(number, out),
            Self::Text(text) => json_text(text, out),
            other => out.extend(other.as_str().unwrap_or_default().as_bytes()),
        }
    }
}

/// Appends a text as a JSON string.
pub(super) fn json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text is written to memory: an error is a bug");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_a_text_a_json_form_and_a_label() {
        let number = |text: &str| Cell::Number(text.into());
        for (cell, text, json, label) in [
            (Cell::Null, None, "null", None),
            (Cell::Bool(true), Some("true"), "true", Some("true")),
            (number("1.10"), Some("1.10"), "1.10", Some("1.1")),
            (number("1.0"), Some("1.0"), "1.0", Some("1")),
            (number("NaN"), Some("NaN"), "null", None),
            (number("-inf"), Some("-inf"), "\"-inf\"", Some("-inf")),
            (Cell::Text("1.0".into()), Some("1.0"), "\"1.0\"", Some("1")),
            (Cell::Text("a\"".into()), Some("a\""), "\"a\\\"\"", Some("a\"")),
            (Cell::Text(String::new()), Some(""), "\"\"", None),
            (Cell::Json("[1]".into()), Some("[1]"), "[1]", Some("[1]")),
        ] {
            let mut written = Vec::new();
            cell.write_json(&mut written);
            assert_eq!(cell.as_str(), text);
            assert_eq!(String::from_utf8(written).unwrap(), json);
            assert_eq!(cell.label().as_deref(), label);
        }
    }
}
