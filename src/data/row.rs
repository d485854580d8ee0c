//! Owns a row of a table of any format, and what all formats say alike: that a table is empty, or not UTF-8.

use std::fs::File;
use std::path::Path;
#[cfg(feature = "parquet")]
use std::sync::Arc;

#[cfg(feature = "parquet")]
use arrow_array::RecordBatch;

use super::cell::Cell;
use crate::error::{Error, Kind, Result, quoted};
use crate::recognize::{Thing, Wanted};

/// One row of a table.
#[derive(Clone)]
pub struct Row {
    /// From 1, the header not counted.
    pub number: u64,
    /// One per column. A column that nobody asked for is null.
    pub cells: Vec<Cell>,
    /// Names and values that no column has: keys that first appear in a later row of JSON.
    pub others: Vec<(String, Cell)>,
    /// Where its carried columns are to be found as they are.
    pub(super) origin: Option<Origin>,
}

impl Row {
    /// A row of cells.
    #[must_use]
    pub fn new(number: u64, cells: Vec<Cell>) -> Self {
        Self { number, cells, others: Vec::new(), origin: None }
    }

    /// Bytes of its cells, and its share of the batch that it comes from.
    pub(super) fn bytes(&self) -> usize {
        let cells = self.cells.iter().chain(self.others.iter().map(|(_, cell)| cell));
        cells.map(Cell::size).sum::<usize>() + self.origin.as_ref().map_or(0, Origin::share)
    }
}

/// What a row of any format holds.
pub(super) struct Values {
    pub cells: Vec<Cell>,
    pub others: Vec<(String, Cell)>,
    pub origin: Option<Origin>,
}

impl Values {
    /// A row of so many nulls.
    pub fn new(columns: usize) -> Self {
        Self { cells: vec![Cell::Null; columns], others: Vec::new(), origin: None }
    }
}

/// A row of a batch, for those who carry columns through as they are.
#[derive(Clone)]
#[cfg(feature = "parquet")]
pub(super) struct Origin {
    pub batch: Arc<RecordBatch>,
    pub row: usize,
}

#[cfg(feature = "parquet")]
impl Origin {
    /// The row's share of its batch's memory.
    pub fn share(&self) -> usize {
        self.batch.get_array_memory_size() / self.batch.num_rows().max(1)
    }
}

/// No row of this build comes from a batch of Arrow arrays.
#[derive(Clone)]
#[cfg(not(feature = "parquet"))]
pub(super) enum Origin {}

#[cfg(not(feature = "parquet"))]
impl Origin {
    /// Never called: there is none.
    pub fn share(&self) -> usize {
        match *self {}
    }
}

/// The error of a table without rows.
pub(super) fn empty_table() -> Error {
    Error::new(Kind::Table, "the table is empty").expected("at least one row of data")
}

/// Opens the file of a table.
pub(super) fn open_file(path: &Path) -> Result<File> {
    match Thing::of(path) {
        Thing::Nothing if std::fs::symlink_metadata(path).is_err() => {
            Err(Thing::Nothing.instead_of(Wanted::Table, Some(path)))
        }
        thing if path.is_dir() => Err(thing.instead_of(Wanted::Table, Some(path))),
        _ => File::open(path).map_err(|source| Error::io("read", path, source)),
    }
}

/// The error of bytes that are not UTF-8.
pub(super) fn invalid_utf8(byte: usize) -> Error {
    Error::new(Kind::Table, format!("the text is not valid UTF-8 after byte {byte}"))
        .help("name the table's encoding with --encoding, or save it as UTF-8")
}

/// Bytes of a table that a message shows.
pub(super) const EXCERPT: usize = 60;

/// The start of bytes, for a message.
pub(super) fn quoted_excerpt(bytes: &[u8]) -> String {
    let end = bytes.len().min(EXCERPT);
    let text = String::from_utf8_lossy(&bytes[..end]);
    let text = text.trim_matches('\u{fffd}');
    if end < bytes.len() { format!("{}…", quoted(text)) } else { quoted(text) }
}

/// The start of a line, for a message.
pub(super) fn excerpt(line: &str) -> String {
    let line = line.trim();
    let start: String = line.chars().take(EXCERPT).collect();
    if start.len() < line.len() { format!("{start}…") } else { start }
}
