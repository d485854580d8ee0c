//! Owns how several labels stand in one cell: a list, or a text with separators; what is kept of either is a
//! JSON list of their names, sorted, each once. A text that is a JSON list is one: lists that were carried
//! through a table without them.
//!
//! Refuses anything else but an empty text, which is a row with none of the labels, and a label that has the
//! separator in it: where it is written again, nobody could tell it from two.

use std::collections::BTreeSet;

use super::cell::Cell;
use super::label_name::{label_of_number, label_of_text};
use crate::error::{Error, Kind, Result, quoted};

/// What separates labels in a text, where nothing else is said.
pub const SEPARATOR: &str = ";";

/// The labels of a cell, as they are kept; none where it says nothing of them.
///
/// # Errors
/// It holds something else.
pub fn label_list(cell: &Cell, separator: &str) -> Result<Option<String>> {
    let names: BTreeSet<String> = match cell {
        Cell::Null => return Ok(None),
        Cell::Text(text) if is_list(text) => listed(text, separator)?,
        Cell::Text(text) => {
            let pieces = text.split(separator).map(str::trim);
            pieces.filter_map(label_of_text).map(std::borrow::Cow::into_owned).collect()
        }
        Cell::Json(list) => listed(list, separator)?,
        other => other.label().into_iter().map(std::borrow::Cow::into_owned).collect(),
    };
    Ok(Some(kept(&names)))
}

/// Whether a text is a JSON list.
fn is_list(text: &str) -> bool {
    text.starts_with('[') && serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok()
}

/// The names in a JSON list.
fn listed(list: &str, separator: &str) -> Result<BTreeSet<String>> {
    let wrong = || {
        Error::new(Kind::Table, "a cell is no list of labels")
            .found(quoted(list))
            .expected(format!("a list of texts, or a text with {separator:?} between labels"))
    };
    let values: Vec<serde_json::Value> = serde_json::from_str(list).map_err(|_| wrong())?;
    let mut names = BTreeSet::new();
    for value in values {
        let name = match &value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => label_of_text(text).map(std::borrow::Cow::into_owned),
            serde_json::Value::Number(number) => {
                label_of_number(&number.to_string()).map(std::borrow::Cow::into_owned)
            }
            serde_json::Value::Bool(is) => Some(is.to_string()),
            _ => return Err(wrong()),
        };
        let Some(name) = name else { continue };
        if name.contains(separator) {
            return Err(Error::new(Kind::Table, "a label has the separator in it")
                .found(quoted(&name))
                .expected(format!("labels without {separator:?}"))
                .help("say --separator with a text that no label has in it"));
        }
        names.insert(name);
    }
    Ok(names)
}

/// The names as they are kept.
pub(super) fn kept(names: &BTreeSet<String>) -> String {
    serde_json::Value::from(names.iter().cloned().collect::<Vec<_>>()).to_string()
}

/// The names in what `label_list` gave.
#[must_use]
pub fn labels_in(kept: &str) -> Vec<String> {
    serde_json::from_str(kept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: Cell) -> Option<String> {
        label_list(&cell, ";").unwrap()
    }

    #[test]
    fn texts_and_lists_of_the_same_labels_are_the_same() {
        let expected = Some(r#"["a b","c"]"#.to_owned());
        assert_eq!(read(Cell::Text("c; a b;;c".to_owned())), expected);
        assert_eq!(read(Cell::Json(r#"["c","a b",null,"c"]"#.to_owned())), expected);
        assert_eq!(read(Cell::Number("2.0".to_owned())), Some(r#"["2"]"#.to_owned()));
        assert_eq!(read(Cell::Json("[2.50, true]".to_owned())), Some(r#"["2.5","true"]"#.to_owned()));
        assert_eq!(
            [read(Cell::Text(String::new())), read(Cell::Json("[]".to_owned()))],
            [Some("[]".to_owned()), Some("[]".to_owned())]
        );
        assert_eq!(read(Cell::Text(r#"["c","a b"]"#.to_owned())), expected);
        assert_eq!(read(Cell::Text("[c;d]".to_owned())), Some(r#"["[c","d]"]"#.to_owned()));
        assert_eq!(read(Cell::Null), None);
        assert_eq!(labels_in(r#"["a b","c"]"#), ["a b", "c"]);
    }

    #[test]
    fn what_is_no_list_of_labels_is_refused() {
        for wrong in [r#"{"a":1}"#, r#"[["a"]]"#] {
            let error = label_list(&Cell::Json(wrong.to_owned()), ";").unwrap_err().to_string();
            assert!(error.contains("no list of labels"), "{error}");
        }
        let error = label_list(&Cell::Json(r#"["a;b"]"#.to_owned()), ";").unwrap_err();
        assert!(error.to_string().contains("a;b"), "{error}");
        assert!(error.remedy().is_some_and(|help| help.contains("--separator")), "{error}");
        assert!(label_list(&Cell::Json(r#"["a;b"]"#.to_owned()), "|").is_ok());
    }
}
