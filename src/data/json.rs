//! Owns tables of JSON objects: one a line (JSONL), or the elements of one array. One object is in memory at
//! a time.
//!
//! Refuses a key that stands twice in a row or in an object inside it, and to guess: what is the other kind
//! of JSON is named, with what to say.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::cell::Cell;
use super::column_use::{Columns, Use};
use super::compression::unreadable;
use super::json_object::Entries;
use super::row::{Values, empty_table, excerpt, invalid_utf8};
use crate::error::{Error, Kind, Result, quoted};
use crate::recognize::shell_word;

/// Bytes of a first object that are looked at to tell JSON lines from one object.
const FIRST_OBJECT: usize = 1 << 20;

/// How the objects follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One a line.
    Lines,
    /// Elements of an array.
    Array,
}

/// The rows of a table of JSON objects.
pub(super) struct JsonRows {
    reader: Box<dyn BufRead>,
    layout: Layout,
    /// The line that is read now, from 1.
    line: u64,
    /// The current object, and the line that it begins in.
    object: Vec<u8>,
    begins: u64,
    /// The first object had to be read to know the columns, and is still to be given.
    first: bool,
    /// Elements of an array so far.
    elements: u64,
    ended: bool,
}

impl JsonRows {
    /// Reads the first row: its keys are the columns.
    pub fn open(reader: Box<dyn BufRead>, layout: Layout) -> Result<(Vec<String>, Self)> {
        let mut rows = Self {
            reader,
            layout,
            line: 1,
            object: Vec::new(),
            begins: 1,
            first: false,
            elements: 0,
            ended: false,
        };
        rows.begin()?;
        if !rows.next_object().map_err(|error| error.row(1))? {
            return Err(empty_table());
        }
        let columns = rows.entries().map_err(|error| error.row(1))?.keys().map(str::to_owned).collect();
        rows.first = true;
        Ok((columns, rows))
    }

    /// The next row's values; `None` at the end. Keys that are no column are given too if `others` is said.
    pub fn next(&mut self, columns: &Columns, others: bool) -> Result<Option<Values>> {
        if !self.next_object()? {
            return Ok(None);
        }
        let entries = self.entries()?;
        let mut values = Values::new(columns.names().len());
        for (key, raw) in entries.0 {
            let Some(place) = columns.place(&key) else {
                if others {
                    values.others.push((key, carried(raw.get())));
                }
                continue;
            };
            match columns.uses()[place] {
                Use::Ignored => {}
                Use::Carried => values.cells[place] = carried(raw.get()),
                Use::Asked => values.cells[place] = asked(&key, raw.get())?,
            }
        }
        Ok(Some(values))
    }

    /// The next row's keys, and their values as they are written; `None` at the end.
    pub fn next_entries(&mut self) -> Result<Option<Entries<'_>>> {
        if self.next_object()? { self.entries().map(Some) } else { Ok(None) }
    }

    /// Looks at the table's beginning, and takes an array's bracket away.
    fn begin(&mut self) -> Result<()> {
        match (self.layout, self.peek()?) {
            (_, None) => Err(empty_table()),
            (Layout::Lines, Some(b'[')) => {
                self.skip_byte();
                match self.peek()? {
                    Some(b'{' | b']') | None => {
                        Err(Error::new(Kind::Table, "this is one JSON array, not one JSON object a line")
                            .help("say --format json"))
                    }
                    Some(_) => Err(Error::new(Kind::Table, "line 1 is not a JSON object")
                        .row(1)
                        .found("an array")
                        .expected("{\"text\": …}")),
                }
            }
            (Layout::Array, Some(b'[')) => {
                self.skip_byte();
                Ok(())
            }
            (Layout::Array, Some(b'{')) => Err(self.no_array()?),
            (Layout::Array, Some(_)) => Err(Error::new(Kind::Table, "this is not JSON")
                .found(self.ahead()?)
                .expected("[{\"text\": …}, …]")),
            (Layout::Lines, Some(_)) => Ok(()),
        }
    }

    /// What stands where an array of objects should: an object.
    fn no_array(&mut self) -> Result<Error> {
        self.object.clear();
        let whole = self.take_object(FIRST_OBJECT)?;
        let one_line = !self.object.contains(&b'\n');
        if whole && self.peek()? == Some(b'{') {
            let what = "these are JSON lines (objects one after another), not one JSON array";
            let one_each = "make it one object a line (jq -c . FILE > rows.jsonl) and say --format jsonl";
            let help = if one_line { "say --format jsonl" } else { one_each };
            return Ok(Error::new(Kind::Table, what).help(help));
        }
        let only =
            if one_line { "say --format jsonl" } else { "write it on one line: jq -c . FILE > rows.jsonl" };
        let keys = std::str::from_utf8(&self.object)
            .ok()
            .and_then(|object| serde_json::from_str::<Entries<'_>>(object).ok())
            .map(|entries| entries.keys().take(5).map(quoted).collect::<Vec<_>>().join(", "));
        let found = match keys {
            Some(keys) => format!("one object, with the keys {keys}"),
            None => format!("one object: {}", excerpt(&String::from_utf8_lossy(&self.object))),
        };
        Ok(Error::new(Kind::Table, "the JSON is not a list of rows")
            .found(found)
            .expected("an array of objects: [{\"text\": …}, …]")
            .help(self.advice_for_object(only)))
    }

    /// What to do with a table that is one object: mostly the rows are a list under one of its keys.
    fn advice_for_object(&self, only: &str) -> String {
        let only_row = format!("if the object is the only row, {only}");
        let taken_out = |key: &str| {
            let key = Value::from(key);
            let program = format!("import json, sys; json.dump(json.load(sys.stdin)[{key}], sys.stdout)");
            format!("`python3 -c {} < FILE > rows.json` takes them out", shell_word(&program))
        };
        let is_rows =
            |value: &Value| value.as_array().is_some_and(|all| all.first().is_some_and(Value::is_object));
        match serde_json::from_slice::<Map<String, Value>>(&self.object) {
            // Longer than what was looked at.
            Err(_) => format!("if its rows stand under a key, {}; {only_row}", taken_out("KEY")),
            Ok(object) => match object.iter().find(|(_, value)| is_rows(value)) {
                Some((key, _)) => {
                    format!("its rows stand under {}: {}; {only_row}", quoted(key), taken_out(key))
                }
                None => only_row,
            },
        }
    }

    /// Reads the next object into `object`; false at the end.
    fn next_object(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.first) {
            return Ok(true);
        }
        let found = match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Array => self.next_element(),
        }?;
        without_odd_numbers(&mut self.object);
        Ok(found)
    }

    fn next_line(&mut self) -> Result<bool> {
        loop {
            self.object.clear();
            if self.reader.read_until(b'\n', &mut self.object).map_err(unreadable)? == 0 {
                return Ok(false);
            }
            while self.object.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                self.object.pop();
            }
            self.begins = self.line;
            self.line += 1;
            if !self.object.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn next_element(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut next = self.peek()?;
        self.begins = self.line;
        if next == Some(b']') {
            self.skip_byte();
            self.ended = true;
            return match self.peek()? {
                None => Ok(false),
                Some(_) => {
                    Err(self.broken("something stands behind the end of the array").found(self.ahead()?))
                }
            };
        }
        if self.elements > 0 {
            if next != Some(b',') {
                let what = if next.is_none() {
                    "the array is not closed: the file is cut off"
                } else {
                    "a comma is missing between two rows"
                };
                return Err(self.broken(what).found(self.ahead()?));
            }
            self.skip_byte();
            next = self.peek()?;
            self.begins = self.line;
        }
        self.object.clear();
        if next != Some(b'{') {
            return Err(self
                .broken("the row is not a JSON object")
                .found(self.ahead()?)
                .expected("{\"text\": …}"));
        }
        if !self.take_object(usize::MAX)? {
            return Err(self.broken("the row is not closed: the file is cut off"));
        }
        self.elements += 1;
        Ok(true)
    }

    /// Appends the object that comes next to `object`; false when the table ends in it, or it is longer than
    /// `most`.
    fn take_object(&mut self, most: usize) -> Result<bool> {
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        while self.object.len() < most {
            let chunk = self.reader.fill_buf().map_err(unreadable)?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let mut end = None;
            for (place, &byte) in chunk.iter().enumerate() {
                match byte {
                    b'\n' => self.line += 1,
                    _ if escaped => escaped = false,
                    b'\\' if in_text => escaped = true,
                    b'"' => in_text = !in_text,
                    b'{' | b'[' if !in_text => depth += 1,
                    b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 {
                    end = Some(place + 1);
                    break;
                }
            }
            let used = end.unwrap_or(chunk.len());
            self.object.extend_from_slice(&chunk[..used]);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next byte that is no white space; it stays where it is.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let chunk = self.reader.fill_buf().map_err(unreadable)?;
            let space = chunk.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += chunk[..space].iter().filter(|byte| **byte == b'\n').count() as u64;
            let found = chunk.get(space).copied();
            let at_end = chunk.is_empty();
            self.reader.consume(space);
            if found.is_some() || at_end {
                return Ok(found);
            }
        }
    }

    fn skip_byte(&mut self) {
        self.reader.consume(1);
    }

    /// What comes next, for a message.
    fn ahead(&mut self) -> Result<String> {
        let chunk = self.reader.fill_buf().map_err(unreadable)?;
        let start = &chunk[..chunk.len().min(400)];
        Ok(if start.is_empty() {
            "the end of the file".into()
        } else {
            excerpt(&String::from_utf8_lossy(start))
        })
    }

    /// The keys of the current object and their values.
    fn entries(&self) -> Result<Entries<'_>> {
        let object = std::str::from_utf8(&self.object).map_err(|error| invalid_utf8(error.valid_up_to()))?;
        let entries: Entries<'_> =
            serde_json::from_str(object).map_err(|source| self.unparsable(object, &source))?;
        let Some(twice) = entries.twice() else { return Ok(entries) };
        let what = match twice.place() {
            Some(place) => format!("the key {} stands twice in the object {place}", quoted(&twice.key)),
            None => "a key stands twice in the row".to_owned(),
        };
        Err(self.broken(&what).column(twice.column()).help("leave one of the two out"))
    }

    /// What a row is that is not JSON, in words for what people have.
    fn unparsable(&self, object: &str, source: &serde_json::Error) -> Error {
        let text = object.trim();
        let known = if text
            .strip_suffix(',')
            .is_some_and(|object| serde_json::from_str::<Entries<'_>>(object).is_ok())
        {
            Some((
                "a comma stands behind the object, as in an array",
                "take the commas at the ends of the lines out; or put [ in front and ] behind all rows, without a comma behind the \
                 last, and say --format json",
            ))
        } else if text.starts_with("{'") {
            Some((
                "the keys are in single quotes: this is how Python prints, and not JSON",
                "write the rows with Python's json.dumps",
            ))
        } else if self.layout == Layout::Lines
            && self.begins == 1
            && !text.starts_with(['{', '['])
            && source.is_syntax()
        {
            Some((
                "this is not a JSON object, nor are these JSON lines",
                "if it is a table of separated values, say --format csv; if every line is a text, --format lines",
            ))
        } else {
            None
        };
        if let Some((what, help)) = known {
            return self.broken(what).found(excerpt(object)).expected("{\"text\": …}").help(help);
        }
        if source.is_data() {
            return self
                .broken("the row is not a JSON object")
                .found(excerpt(object))
                .expected("{\"text\": …}");
        }
        let message = source.to_string();
        let what = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what);
        let line = self.begins + (source.line() as u64).saturating_sub(1);
        Error::new(Kind::Table, format!("line {line} is not JSON: {what} at column {}", source.column()))
            .found(excerpt(object))
    }

    /// An error with the line that the current row begins in.
    fn broken(&self, what: &str) -> Error {
        Error::new(Kind::Table, format!("line {}: {what}", self.begins))
    }
}

/// What Python writes although JSON has no such numbers: `NaN` is nothing, so null; infinities become the
/// texts `inf` and `-inf`, as everywhere here.
fn without_odd_numbers(object: &mut Vec<u8>) {
    const ODD: [(&[u8], &[u8]); 3] =
        [(b"NaN", b"null"), (b"-Infinity", b"\"-inf\""), (b"Infinity", b"\"inf\"")];
    if !object.windows(3).any(|three| three == b"NaN" || three == b"Inf") {
        return;
    }
    let (mut plain, mut place, mut quoted) = (Vec::with_capacity(object.len()), 0, false);
    while place < object.len() {
        let rest = &object[place..];
        match (quoted, rest[0]) {
            (true, b'\\') => {
                plain.extend(&rest[..rest.len().min(2)]);
                place += 2;
                continue;
            }
            (_, b'"') => quoted = !quoted,
            (false, _) => {
                if let Some((odd, written)) = ODD.iter().find(|(odd, _)| rest.starts_with(odd)) {
                    plain.extend(*written);
                    place += odd.len();
                    continue;
                }
            }
            (true, _) => {}
        }
        plain.push(rest[0]);
        place += 1;
    }
    *object = plain;
}

/// A value that is carried through: as it is.
pub(super) fn carried(raw: &str) -> Cell {
    match raw.as_bytes().first() {
        Some(b'n') => Cell::Null,
        Some(b't') => Cell::Bool(true),
        Some(b'f') => Cell::Bool(false),
        // Half of a surrogate pair is JSON, but no text: it stays JSON.
        Some(b'"') => serde_json::from_str(raw).map_or_else(|_| Cell::Json(raw.to_owned()), Cell::Text),
        Some(b'{' | b'[') => Cell::Json(on_one_line(raw)),
        _ => Cell::Number(raw.to_owned()),
    }
}

/// A value that is asked for.
fn asked(column: &str, raw: &str) -> Result<Cell> {
    match carried(raw) {
        Cell::Json(json) => {
            let (what, found) = match json.as_bytes().first() {
                Some(b'[') => ("the value is a list, not a text", excerpt(&json)),
                Some(b'{') => ("the value is an object, not a text", excerpt(&json)),
                _ => ("the value is half of a surrogate pair, which is no text", excerpt(&json)),
            };
            Err(Error::new(Kind::Table, what)
                .column(column)
                .found(found)
                .expected("text, a number, true, false or null"))
        }
        cell => Ok(cell),
    }
}

/// JSON without the line feeds between its values; texts have none.
fn on_one_line(json: &str) -> String {
    if !json.contains(['\n', '\r']) {
        return json.to_owned();
    }
    let (mut in_text, mut escaped) = (false, false);
    let kept = json.chars().filter(|&char| {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
        in_text || !char.is_ascii_whitespace()
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_null_or_a_text() {
        let of = |object: &str| {
            let mut bytes = object.as_bytes().to_vec();
            without_odd_numbers(&mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            of(r#"{"a": NaN, "b": [-Infinity, Infinity, 1], "NaN": "NaN \" Infinity"}"#),
            r#"{"a": null, "b": ["-inf", "inf", 1], "NaN": "NaN \" Infinity"}"#
        );
        assert_eq!(of(r#"{"a": 1}"#), r#"{"a": 1}"#);
    }
}
