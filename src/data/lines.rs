//! Owns tables of one text a line.
//!
//! Refuses JSON lines that nobody called lines: every text would be a line of JSON.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::table::next_line;
use crate::error::{Error, Kind, Result};

/// The rows of a file of lines.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    /// The first line, which had to be read to know what the table is.
    first: Option<String>,
}

impl Lines {
    /// Reads the first line; `presumed`: nobody said that these are lines. Gives that line, too.
    ///
    /// # Errors
    /// It is not UTF-8, or, when presumed, it begins a JSON table.
    pub fn open(mut reader: Box<dyn BufRead>, presumed: bool) -> Result<(Option<String>, Self)> {
        let first = next_line(&mut *reader).map_err(|error| error.row(1))?;
        if presumed {
            first.as_deref().map_or(Ok(()), refuse_json)?;
        }
        Ok((first.clone(), Self { reader, first }))
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> Result<Option<Vec<Option<String>>>> {
        let line = match self.first.take() {
            Some(first) => Some(first),
            None => next_line(&mut *self.reader)?,
        };
        Ok(line.map(|line| vec![Some(line)]))
    }
}

fn refuse_json(first: &str) -> Result<()> {
    let line = first.trim();
    let wrong = |what: &str| Error::new(Kind::Table, what.to_owned()).row(1).expected("one text a line");
    let lines_help = "say --format jsonl; --format lines reads every line as a text, whatever it is";
    if serde_json::from_str::<Map<String, Value>>(line).is_ok() {
        return Err(wrong("these are JSON lines").found(excerpt(line)).help(lines_help));
    }
    if line == "[" || line == "{" || line.starts_with("[{\"") {
        return Err(wrong("this is JSON over several lines, or an array").found(excerpt(line)).help(
            "say --format json for an array of objects, --format jsonl for objects one after another; --format lines reads every \
             line as a text, whatever it is",
        ));
    }
    Ok(())
}

/// The start of a line, for a message.
fn excerpt(line: &str) -> String {
    let start: String = line.chars().take(60).collect();
    if start.len() < line.len() { format!("{start}…") } else { start }
}
