//! Owns what goes to standard output: a result as text for people or as JSON for machines, and lines whose
//! cells stand below each other.

use std::io::Write as _;

use serde::Serialize;

use frosthead::internal::document;
use frosthead::internal::error::{Error, Result};

/// Text on standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|source| Error::io("write", "standard output", source))
}

/// JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&document::pretty(value))
}

/// A result on standard output: as JSON, or as text.
pub(crate) fn print_result(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json { print_json(value) } else { print(&text()) }
}

/// A line for each name and its value, which begin at the same place.
pub(crate) fn named(width: usize, lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

/// Lines of cells, each column as wide as its widest cell: the first `left` columns begin at the same place,
/// the others end there.
#[cfg(feature = "train")]
pub(crate) fn table<L: AsRef<[String]>>(left: usize, lines: &[L]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        let line = line.as_ref();
        widths.resize(widths.len().max(line.len()), 0);
        widths.iter_mut().zip(line).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let aligned = |line: &L| {
        let cells = line.as_ref().iter().zip(&widths).enumerate().map(|(place, (cell, width))| {
            if place < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(aligned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "train")]
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [vec!["name", "rows", "F1"], vec!["größer", "7", "0.5"], vec!["none"]];
        let lines = lines.map(|line| line.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(table(1, &lines), "name    rows   F1\ngrößer     7  0.5\nnone\n");
        assert_eq!(table::<Vec<String>>(1, &[]), "");
    }

    #[test]
    fn values_begin_at_the_same_place() {
        assert_eq!(named(6, &[("texts", "3".into()), ("", "4".into())]), "texts   3\n        4\n");
    }
}
