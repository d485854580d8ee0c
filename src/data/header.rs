//! Owns the names of a table's columns, and finding one of them.
//!
//! Refuses a name that is not there, and says where it came from when the user did not give it.

use crate::error::{Error, Kind, Result};

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

    /// The place of a column.
    ///
    /// # Errors
    /// There is none of that name; the message names those there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            self.missing(format!("{name:?}"))
                .help("check the name; --text names the text column, --task a label column")
        })
    }

    /// The place of the text column. A table of lines has one whatever its name.
    ///
    /// # Errors
    /// There is none of that name, or the table was presumed to be lines and begins like another that has one.
    pub fn text(&self, column: &TextColumn) -> Result<usize> {
        let TextColumn { name, from } = column;
        if self.lines && (from.is_some() || name == TextColumn::DEFAULT) {
            return self.refuse_header(name).map(|()| 0);
        }
        let Some(from) = from else { return self.column(name) };
        self.find(name).ok_or_else(|| {
            self.missing(format!("{name:?}, {from}"))
                .help("say --text COLUMN, with the column that holds the texts")
        })
    }

    /// What is odd about a table of lines whose first line is the name of the text column; none when nothing is.
    #[must_use]
    pub fn doubt(&self, name: &str) -> Option<String> {
        let first = self.presumed.as_deref().filter(|first| *first == name)?;
        Some(format!(
            "{}: the first line, {first:?}, is the name of the text column, and was read as a text; --format csv reads it as a header",
            self.table
        ))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    fn missing(&self, found: String) -> Error {
        Error::new(Kind::Table, "there is no such column")
            .at(&self.table)
            .found(found)
            .expected(format!("one of {}", self.columns.join(", ")))
    }

    /// Refuses presumed lines of which the first is the header of a delimited table with this column.
    fn refuse_header(&self, name: &str) -> Result<()> {
        let Some(first) = &self.presumed else { return Ok(()) };
        let has = |delimiter| {
            first.contains(delimiter) && first.split(delimiter).any(|own| own.trim_matches('"') == name)
        };
        let format = if has('\t') {
            "tsv"
        } else if has(',') {
            "csv"
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Table, "this begins like the header of a table, not like a text")
            .at(&self.table)
            .row(1)
            .found(format!("{first:?}, with the text column {name:?} in it"))
            .expected("one text a line")
            .help(format!(
                "say --format {format}; --format lines reads every line as a text, whatever it is"
            )))
    }
}
