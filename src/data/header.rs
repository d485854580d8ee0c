//! Owns what a table says of itself before its first row, and which of its columns holds the texts.
//!
//! Refuses lines that look like the header of another table.

use crate::error::{Error, Kind, Result, quoted};

/// The column that holds the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumn {
    pub name: String,
    /// Where the name comes from; none when it was given, or is the default.
    pub from: Option<String>,
}

impl TextColumn {
    /// The default.
    pub const DEFAULT: &'static str = "text";

    /// Says of the error that there is no such column where its name comes from.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Some(from) = &self.from else { return error };
        error
            .found(format!("{}, {from}", quoted(&self.name)))
            .help("say --text COLUMN, with the column that holds the texts")
    }
}

impl From<&str> for TextColumn {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), from: None }
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
    pub(super) fn is_lines_of(&self, column: &TextColumn) -> Result<bool> {
        let TextColumn { name, from } = column;
        let lines = self.lines && (from.is_some() || name == TextColumn::DEFAULT);
        if lines { self.refuse_header(name).map(|()| true) } else { Ok(false) }
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
