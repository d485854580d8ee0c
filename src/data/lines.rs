//! Owns tables of one text a line.
//!
//! Refuses JSON lines that nobody called lines: every text would be a line of JSON.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::compression::unreadable;
use super::row::{excerpt, invalid_utf8};
use crate::error::{Error, Kind, Result};

/// The rows of a file of lines.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    /// The first line, which had to be read to know what the table is.
    first: Option<String>,
    /// Nobody said that these are lines, and none with a text in it has come yet.
    doubtful: bool,
}

impl Lines {
    /// Reads the first line; `presumed`: nobody said that these are lines. Gives that line, too.
    ///
    /// # Errors
    /// It is not UTF-8, or, when presumed, it begins a JSON table.
    pub fn open(mut reader: Box<dyn BufRead>, presumed: bool) -> Result<(Option<String>, Self)> {
        let first = next_line(&mut *reader).map_err(|error| error.row(1))?;
        let mut lines = Self { reader, first, doubtful: presumed };
        if let Some(first) = lines.first.clone() {
            lines.look_at(&first).map_err(|error| error.row(1))?;
        }
        Ok((lines.first.clone(), lines))
    }

    /// Refuses a first line with something in it that is JSON.
    fn look_at(&mut self, line: &str) -> Result<()> {
        if !self.doubtful || line.trim().is_empty() {
            return Ok(());
        }
        self.doubtful = false;
        refuse_json(line)
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// It is not UTF-8, or the first one that is not blank, and JSON.
    pub fn next(&mut self) -> Result<Option<Vec<Option<String>>>> {
        let line = match self.first.take() {
            Some(first) => Some(first),
            None => next_line(&mut *self.reader)?,
        };
        if let Some(line) = &line {
            self.look_at(line)?;
        }
        Ok(line.map(|line| vec![Some(line)]))
    }
}

fn refuse_json(first: &str) -> Result<()> {
    let line = first.trim();
    let wrong = |what: &str| Error::new(Kind::Table, what.to_owned()).expected("one text a line");
    let lines_help = "say --format jsonl; --format lines reads every line as a text, whatever it is";
    if serde_json::from_str::<Map<String, Value>>(line).is_ok() {
        return Err(wrong("these are JSON lines").found(excerpt(line)).help(lines_help));
    }
    let (what, help) = if line == "[" || line.starts_with("[{\"") {
        (
            "this is a JSON array",
            "say --format json; --format lines reads every line as a text, whatever it is",
        )
    } else if line == "{" {
        (
            "this is JSON over several lines",
            "make it one object a line (`jq -c .` does it) and say --format jsonl; --format lines reads every line as a text, \
             whatever it is",
        )
    } else {
        return Ok(());
    };
    Err(wrong(what).found(excerpt(line)).help(help))
}

/// The next line without its line feed (and carriage return); `None` at the end.
fn next_line(reader: &mut dyn BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = reader.read_until(b'\n', &mut bytes).map_err(unreadable)?;
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
