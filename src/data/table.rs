//! Owns reading any table row by row, in bounded batches.
//!
//! Refuses to hold more than one batch, and to go on after a malformed row.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::delimited::Delimited;
use super::format::{Format, Source};
use super::header::{Header, TextColumn};
use super::json_lines::JsonLines;
use super::lines::Lines;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;
use crate::recognize::{Thing, Wanted};

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// From 1, the header not counted.
    pub number: u64,
    /// One per column; `None` is null.
    pub cells: Vec<Option<String>>,
}

impl Row {
    /// Bytes of its cells.
    pub(super) fn bytes(&self) -> usize {
        self.cells.iter().flatten().map(String::len).sum()
    }
}

/// A Parquet of features in memory.
#[derive(Debug, Default)]
pub struct FeatureTable {
    /// Names of the other columns.
    pub columns: Vec<String>,
    /// `rows[row][column]`, as text.
    pub rows: Vec<Vec<Option<String>>>,
    /// `[rows, width]`, row-major.
    pub features: Vec<f32>,
    pub width: usize,
    /// The column they are from.
    pub column: String,
    /// From the column `text_hash`, when there is one.
    pub keys: Option<Vec<TextKey>>,
    /// The file's own key-value metadata.
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// A table that is being read.
pub struct TableReader {
    name: String,
    columns: Vec<String>,
    rows: Rows,
    /// The first line, when nobody said that these are lines.
    presumed: Option<String>,
    next: u64,
}

/// What every format gives: the next row's cells, or the end.
enum Rows {
    Delimited(Delimited),
    JsonLines(JsonLines),
    Lines(Lines),
    #[cfg(feature = "parquet")]
    Parquet(super::parquet_table::ParquetRows),
}

impl TableReader {
    /// Opens a table and reads its header.
    ///
    /// # Errors
    /// There is no such file, it is empty, or its header is malformed.
    pub fn open(source: &Source) -> Result<Self> {
        let name = source.name();
        if source.format == Format::Parquet {
            return Self::open_parquet(source, name);
        }
        let mut reader: Box<dyn BufRead> = match &source.path {
            Some(path) => Box::new(BufReader::with_capacity(1 << 16, open_file(path)?)),
            None => Box::new(BufReader::with_capacity(1 << 16, std::io::stdin())),
        };
        skip_byte_order_mark(&mut reader).map_err(|source| Error::io("read", &name, source))?;
        refuse_other(&mut reader, source).map_err(|error| error.at(&name))?;
        let mut presumed = None;
        let (columns, rows) = match source.format {
            Format::Csv | Format::Tsv => {
                let delimiter = if source.format == Format::Csv { b',' } else { b'\t' };
                let (columns, rows) = Delimited::open(reader, delimiter).map_err(|error| error.at(&name))?;
                (columns, Rows::Delimited(rows))
            }
            Format::Jsonl => {
                let (columns, rows) = JsonLines::open(reader).map_err(|error| error.at(&name))?;
                (columns, Rows::JsonLines(rows))
            }
            Format::Lines | Format::Parquet => {
                let (first, lines) = Lines::open(reader, source.presumed).map_err(|error| error.at(&name))?;
                presumed = first.filter(|_| source.presumed);
                (vec![TextColumn::DEFAULT.to_owned()], Rows::Lines(lines))
            }
        };
        check_columns(&columns).map_err(|error| error.at(&name))?;
        let mut table = Self { name, columns, rows, presumed, next: 1 };
        if source.path.is_some() {
            table.refuse_nothing(source)?;
        }
        Ok(table)
    }

    #[cfg(feature = "parquet")]
    fn open_parquet(source: &Source, name: String) -> Result<Self> {
        let path = source.path.as_deref().unwrap_or(Path::new("-"));
        let rows = super::parquet_table::ParquetRows::open(path, open_file(path)?)?;
        let columns = rows.columns().to_vec();
        check_columns(&columns).map_err(|error| error.at(&name))?;
        Ok(Self { name, columns, rows: Rows::Parquet(rows), presumed: None, next: 1 })
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parquet(_: &Source, name: String) -> Result<Self> {
        Err(Error::new(Kind::Usage, "this build of frosthead does not read Parquet").at(name))
    }

    /// A file of lines has no header to miss, so only its size tells that it is empty.
    fn refuse_nothing(&mut self, source: &Source) -> Result<()> {
        let empty = match (&source.path, source.format) {
            (Some(path), Format::Lines) => {
                std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
            }
            _ => false,
        };
        if empty { Err(empty_table().at(&self.name)) } else { Ok(()) }
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
        self.header().column(name)
    }

    /// The place of the text column.
    ///
    /// # Errors
    /// As [`Header::text`].
    pub fn text(&self, column: &TextColumn) -> Result<usize> {
        self.header().text(column)
    }

    /// What the table says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            table: self.name.clone(),
            columns: self.columns.clone(),
            presumed: self.presumed.clone(),
            lines: matches!(self.rows, Rows::Lines(_)),
        }
    }

    /// The next rows: at most `max_rows`, and not many more than `max_bytes` of cells (one row at least). None at the end.
    ///
    /// # Errors
    /// A row is malformed.
    pub fn read(&mut self, max_rows: usize, max_bytes: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < max_rows && (rows.is_empty() || bytes < max_bytes) {
            let number = self.next;
            let cells = self.next_cells(number).map_err(|error| error.at(&self.name).row(number))?;
            let Some(cells) = cells else { break };
            let row = Row { number, cells };
            bytes += row.bytes();
            rows.push(row);
            self.next += 1;
        }
        if rows.is_empty() && self.next == 1 {
            return Err(empty_table().at(&self.name));
        }
        Ok(rows)
    }

    fn next_cells(&mut self, number: u64) -> Result<Option<Vec<Option<String>>>> {
        match &mut self.rows {
            Rows::Delimited(rows) => rows.next(&self.columns),
            Rows::JsonLines(rows) => rows.next(&self.columns, number),
            Rows::Lines(lines) => lines.next(),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.next(),
        }
    }
}

/// The error of a table without rows.
pub(super) fn empty_table() -> Error {
    Error::new(Kind::Table, "the table is empty").expected("at least one row of data")
}

pub(super) fn open_file(path: &Path) -> Result<File> {
    match Thing::of(path) {
        Thing::Nothing if std::fs::symlink_metadata(path).is_err() => {
            Err(Thing::Nothing.instead_of(Wanted::Table, Some(path)))
        }
        thing if path.is_dir() => Err(thing.instead_of(Wanted::Table, Some(path))),
        _ => File::open(path).map_err(|source| Error::io("read", path, source)),
    }
}

fn skip_byte_order_mark(reader: &mut impl BufRead) -> std::io::Result<()> {
    if reader.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    }
    Ok(())
}

/// Refuses bytes that are no text of a table, whatever they were called.
fn refuse_other(reader: &mut impl BufRead, source: &Source) -> Result<()> {
    let start = reader.fill_buf().map_err(|error| Error::io("read", source.name(), error))?;
    Thing::of_start(start)
        .map_or(Ok(()), |thing| Err(thing.instead_of(Wanted::Table, source.path.as_deref())))
}

fn check_columns(columns: &[String]) -> Result<()> {
    let twice = columns.iter().enumerate().find(|(place, column)| columns[..*place].contains(column));
    match twice {
        Some((_, column)) => Err(Error::new(Kind::Table, "two columns have the same name")
            .found(format!("{column:?}"))
            .help("rename one of them")),
        None => Ok(()),
    }
}

/// The next line without its line feed (and carriage return); `None` at the end.
pub(super) fn next_line(reader: &mut dyn BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = reader
        .read_until(b'\n', &mut bytes)
        .map_err(|source| Error::new(Kind::Io, "the line cannot be read").because(source))?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map(Some).map_err(|error| invalid_utf8(error.utf8_error().valid_up_to()))
}

/// The error of bytes that are not UTF-8.
pub(super) fn invalid_utf8(byte: usize) -> Error {
    Error::new(Kind::Table, format!("the text is not valid UTF-8 after byte {byte}"))
        .help("save the file as UTF-8 (iconv -f LATIN1 -t UTF-8 converts it)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of a file with that content.
    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<(Vec<String>, Vec<Row>)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None)?)?;
        let mut rows = Vec::new();
        loop {
            let batch = reader.read(2, 1 << 20)?;
            if batch.is_empty() {
                return Ok((reader.columns().to_vec(), rows));
            }
            assert!(batch.len() <= 2);
            rows.extend(batch);
        }
    }

    fn cells(row: &Row) -> Vec<&str> {
        row.cells.iter().map(|cell| cell.as_deref().unwrap_or("null")).collect()
    }

    #[track_caller]
    fn refused(name: &str, content: impl AsRef<[u8]>, parts: &[&str]) {
        let error = read(name, content).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error:?} should say {part:?}");
        }
    }

    #[test]
    fn csv_with_quotes_line_feeds_and_a_byte_order_mark() {
        let (columns, rows) = read("a.csv", "\u{feff}text,label\r\n\"a, \"\"b\"\"\nc\",x\n,y\n").unwrap();
        assert_eq!(columns, ["text", "label"]);
        assert_eq!(cells(&rows[0]), ["a, \"b\"\nc", "x"]);
        assert_eq!(cells(&rows[1]), ["", "y"]);
        assert_eq!(rows[1].number, 2);
    }

    #[test]
    fn tsv_is_split_at_tabs() {
        let (_, rows) = read("a.tsv", "text\tlabel\na,b\tc\n").unwrap();
        assert_eq!(cells(&rows[0]), ["a,b", "c"]);
    }

    #[test]
    fn json_lines_keep_the_first_rows_order_and_nulls() {
        let (columns, rows) = read(
            "a.jsonl",
            "{\"text\": \"a\\u0000\", \"n\": 1.50, \"b\": true}\n\n{\"b\": null, \"text\": \"c\"}\n",
        )
        .unwrap();
        assert_eq!(columns, ["text", "n", "b"]);
        assert_eq!(cells(&rows[0]), ["a\0", "1.5", "true"]);
        assert_eq!(cells(&rows[1]), ["c", "null", "null"]);
    }

    #[test]
    fn lines_are_texts_empty_ones_included() {
        let (columns, rows) = read("a.txt", "one\r\n\n three\0").unwrap();
        assert_eq!(columns, ["text"]);
        assert_eq!(rows.iter().map(|row| cells(row)[0]).collect::<Vec<_>>(), ["one", "", " three\0"]);
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let open =
            |path: &str| TableReader::open(&Source::new(path, Some(Format::Csv)).unwrap()).err().unwrap();
        assert!(open("no/such/file.csv").to_string().contains("no such file"));
        assert!(open("src").to_string().contains("directory"));
    }

    #[test]
    fn an_empty_file_is_refused_in_every_format() {
        for name in ["a.csv", "a.tsv", "a.jsonl", "a.txt"] {
            refused(name, "", &["the table is empty", name]);
        }
        refused("a.csv", "text,label\n", &["the table is empty"]);
    }

    #[test]
    fn a_ragged_row_is_named() {
        refused("a.csv", "text,label\na,b\nc,d,e\n", &["row 2", "line 3", "found 3 fields", "expected 2"]);
        refused("a.csv", "text,label\na\n", &["row 1", "found 1 field"]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_named() {
        refused("a.csv", "text,label\n\"a,b\nc,d\n", &["row 1"]);
    }

    #[test]
    fn invalid_utf8_is_named_with_row_and_column() {
        refused("a.csv", b"text,label\na,b\nc,\xff\n", &["row 2", "\"label\"", "UTF-8"]);
        refused("a.csv", b"te\xffxt,label\na,b\n", &["header", "UTF-8"]);
        refused("a.jsonl", b"{\"text\": \"\xff\"}\n", &["row 1", "UTF-8"]);
        refused("a.txt", b"a\n\xff\n", &["row 2", "UTF-8"]);
    }

    #[test]
    fn malformed_json_is_named_with_its_line() {
        refused("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n", &["line 3", "row 2"]);
        refused("a.jsonl", "[1]\n", &["line 1", "object"]);
        refused("a.jsonl", "{\"text\": {\"a\": 1}}\n", &["row 1", "\"text\"", "nested"]);
        refused("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\", \"new\": 1}\n", &["row 2", "\"new\""]);
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        refused("a.csv", "text,text\na,b\n", &["same name", "\"text\""]);
    }

    #[test]
    fn a_missing_column_names_those_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "review,label\na,b\n").unwrap();
        let reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap()).unwrap();
        let error = reader.column("text").unwrap_err().to_string();
        assert!(error.contains("\"text\"") && error.contains("review, label"), "{error}");
        assert_eq!(reader.column("label").unwrap(), 1);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, format!("{}\nb\nc\n", "a".repeat(100))).unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap()).unwrap();
        assert_eq!(reader.read(10, 50).unwrap().len(), 1);
        assert_eq!(reader.read(10, 50).unwrap().len(), 2);
        assert!(reader.read(10, 50).unwrap().is_empty());
    }
}
