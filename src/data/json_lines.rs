//! Owns tables of one JSON object a line.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::table::{empty_table, next_line};
use crate::error::{Error, Kind, Result};

/// The rows of a JSONL table.
pub(super) struct JsonLines {
    reader: Box<dyn BufRead>,
    line: u64,
    /// The first row, which had to be read to know the columns.
    first: Option<Map<String, Value>>,
}

impl JsonLines {
    /// Reads the first row: its keys are the columns.
    pub fn open(reader: Box<dyn BufRead>) -> Result<(Vec<String>, Self)> {
        let mut rows = Self { reader, line: 0, first: None };
        let first = rows.next_object().map_err(|error| error.row(1))?.ok_or_else(empty_table)?;
        let columns = first.keys().cloned().collect();
        rows.first = Some(first);
        Ok((columns, rows))
    }

    /// The next row's cells; `None` at the end.
    pub fn next(&mut self, columns: &[String], number: u64) -> Result<Option<Vec<Option<String>>>> {
        let object = match self.first.take() {
            Some(first) => Some(first),
            None => self.next_object()?,
        };
        let Some(mut object) = object else { return Ok(None) };
        let cells = columns
            .iter()
            .map(|column| cell(column, object.remove(column).unwrap_or(Value::Null)))
            .collect::<Result<_>>()?;
        match object.keys().next() {
            None => Ok(Some(cells)),
            Some(key) => Err(Error::new(Kind::Table, format!("row {number} has a key the first row has not"))
                .column(key)
                .expected(format!("only {}", columns.join(", ")))
                .help("give every row the same keys; a missing value may be null or left out, but not in the first row")),
        }
    }

    /// The next object, blank lines passed over.
    fn next_object(&mut self) -> Result<Option<Map<String, Value>>> {
        loop {
            let Some(line) = next_line(&mut *self.reader)? else { return Ok(None) };
            self.line += 1;
            if line.trim().is_empty() {
                continue;
            }
            let number = self.line;
            return match serde_json::from_str(&line) {
                Ok(Value::Object(object)) => Ok(Some(object)),
                Ok(_) => Err(Error::new(Kind::Table, format!("line {number} is not a JSON object"))
                    .found(excerpt(&line))
                    .expected("{\"text\": …}")),
                Err(source) => Err(Error::new(Kind::Table, format!("line {number} is not JSON"))
                    .found(excerpt(&line))
                    .because(source)),
            };
        }
    }
}

fn cell(column: &str, value: Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(Error::new(Kind::Table, "the value is nested")
            .column(column)
            .found(excerpt(&value.to_string()))
            .expected("text, a number, true, false or null")),
    }
}

/// The start of a line, for a message.
fn excerpt(line: &str) -> String {
    let start: String = line.chars().take(60).collect();
    if start.len() < line.len() { format!("{start}…") } else { start }
}
