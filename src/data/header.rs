//! Owns what a table says of itself before its first row, and which of its columns hold the texts.
//!
//! Refuses lines that look like the header of another table, and to read pairs from lines.

use super::row::Row;
use crate::error::{Error, Kind, Result, quoted};
use crate::text::Text;

/// The column that holds the texts, or both that hold those that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumns {
    /// The column of the texts, or of the first of two.
    pub first: String,
    /// The column of the second of two.
    pub second: Option<String>,
    /// Where the names come from; none when they were given, or are the default.
    pub from: Option<String>,
}

impl TextColumns {
    /// The default.
    pub const DEFAULT: &'static str = "text";

    /// A column of texts, and perhaps one of their second halves.
    #[must_use]
    pub fn new(first: &str, second: Option<&str>) -> Self {
        Self { first: first.to_owned(), second: second.map(str::to_owned), from: None }
    }

    /// Whether they hold pairs.
    #[must_use]
    pub fn are_pairs(&self) -> bool {
        self.second.is_some()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.first.as_str()).chain(self.second.as_deref())
    }

    /// Says of the error that there is no column of this name where that comes from.
    pub(super) fn explain(&self, name: &str, error: Error) -> Error {
        let Some(from) = &self.from else { return error };
        let help = match self.second {
            None => "say --text COLUMN, with the column that holds the texts",
            Some(_) => "say --text COLUMN --text COLUMN, with both columns of a pair, the first one first",
        };
        error.found(format!("{}, {from}", quoted(name))).help(help)
    }
}

impl From<&str> for TextColumns {
    fn from(name: &str) -> Self {
        Self::new(name, None)
    }
}

/// Where in a row its text lies, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPlaces {
    pub first: usize,
    pub second: Option<usize>,
}

impl TextPlaces {
    /// The text of a row, or the pair. What is not there is empty.
    #[must_use]
    pub fn of(self, row: &Row) -> Text<'_> {
        let cell = |place: usize| row.cells[place].as_str().unwrap_or("");
        Text { first: cell(self.first), second: self.second.map(cell) }
    }
}

/// What a table says of itself before its first row.
#[derive(Debug, Clone)]
pub struct Header {
    /// What to call the table in a message.
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// The first line, when nobody said that the table is one of lines.
    pub(super) presumed: Option<String>,
    /// Whether its rows are lines, whose only column has no name of its own.
    pub(super) lines: bool,
}

impl Header {
    /// What to call the table in a message.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether its rows are lines, which are the texts whatever their column is called.
    ///
    /// # Errors
    /// The table was presumed to be lines, and begins like another that has the text column.
    pub(super) fn is_lines_of(&self, columns: &TextColumns) -> Result<bool> {
        let TextColumns { first, second, from } = columns;
        let lines = self.lines && (from.is_some() || first == TextColumns::DEFAULT || second.is_some());
        if !lines {
            return Ok(false);
        }
        self.refuse_header(first)?;
        match second {
            None => Ok(true),
            Some(_) => Err(Error::new(Kind::Table, "a table of lines has one text in a row, not a pair")
                .at(&self.table)
                .expected("a table with a column for each text of a pair")
                .help("say --format csv, tsv or jsonl, and give the names of both columns")),
        }
    }

    /// What is odd about a table of lines whose first line is the name of the text column; none when nothing
    /// is.
    #[must_use]
    pub fn doubt(&self, name: &str) -> Option<String> {
        let first = self.presumed.as_deref().filter(|first| *first == name)?;
        Some(format!(
            "{}: the first line, {}, is the name of the text column, and was read as a text; --format csv reads it as a header",
            self.table,
            quoted(first)
        ))
    }

    /// Refuses presumed lines of which the first is the header of a delimited table with this column.
    fn refuse_header(&self, name: &str) -> Result<()> {
        let Some(first) = &self.presumed else { return Ok(()) };
        let has = |delimiter| {
            first.contains(delimiter) && first.split(delimiter).any(|cell| cell.trim_matches('"') == name)
        };
        let formats =
            [('\t', "tsv"), (',', "csv"), (';', "csv --delimiter ';'"), ('|', "csv --delimiter '|'")];
        let Some((_, format)) = formats.into_iter().find(|(delimiter, _)| has(*delimiter)) else {
            return Ok(());
        };
        Err(Error::new(Kind::Table, "this begins like the header of a table, not like a text")
            .at(&self.table)
            .row(1)
            .found(format!("{}, with the text column {} in it", quoted(first), quoted(name)))
            .expected("one text a line")
            .help(format!(
                "say --format {format}; --format lines reads every line as a text, whatever it is"
            )))
    }
}
