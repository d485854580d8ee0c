//! Owns comma- and tab-separated tables.

use std::io::BufRead;

use csv::ByteRecord;

use super::table::{empty_table, invalid_utf8};
use crate::error::{Error, Kind, Result};

/// The rows of a delimited table.
pub(super) struct Delimited {
    reader: csv::Reader<Box<dyn BufRead>>,
    record: ByteRecord,
}

impl Delimited {
    /// Reads the header: the names of the columns.
    pub fn open(reader: Box<dyn BufRead>, delimiter: u8) -> Result<(Vec<String>, Self)> {
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(reader);
        let header = reader.byte_headers().map_err(broken)?.clone();
        if header.is_empty() || (header.len() == 1 && header[0].is_empty()) {
            return Err(empty_table());
        }
        let columns = header
            .iter()
            .map(|name| {
                String::from_utf8(name.to_vec())
                    .map_err(|error| invalid_utf8(error.utf8_error().valid_up_to()).column("(header)"))
            })
            .collect::<Result<_>>()?;
        Ok((columns, Self { reader, record: ByteRecord::new() }))
    }

    /// The next row's cells; `None` at the end.
    pub fn next(&mut self, columns: &[String]) -> Result<Option<Vec<Option<String>>>> {
        if !self.reader.read_byte_record(&mut self.record).map_err(broken)? {
            return Ok(None);
        }
        if self.record.len() != columns.len() {
            let line = self.record.position().map_or(0, csv::Position::line);
            let fields = self.record.len();
            return Err(Error::new(Kind::Table, format!("the row that starts in line {line} does not fit the header"))
                .found(format!("{fields} field{}", if fields == 1 { "" } else { "s" }))
                .expected(columns.len().to_string())
                .help("put quotes around fields that hold the separator, a quote or a line feed; double inner quotes"));
        }
        let cells = self.record.iter().zip(columns).map(|(cell, column)| match std::str::from_utf8(cell) {
            Ok(cell) => Ok(Some(cell.to_owned())),
            Err(error) => Err(invalid_utf8(error.valid_up_to()).column(column)),
        });
        cells.collect::<Result<_>>().map(Some)
    }
}

fn broken(source: csv::Error) -> Error {
    Error::new(Kind::Table, "the table cannot be read").because(source)
}
