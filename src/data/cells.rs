//! Owns dividing bytes into the cells of one row, as they come: delimiters, quotes, line ends.
//!
//! Refuses quotes that cannot be meant as they stand; says in which line they opened.

use memchr::{memchr, memchr_iter, memchr3};

use super::joined::Joined;
use super::reading::{Delimiter, Quoting};
use super::row::{EXCERPT, invalid_utf8, quoted_excerpt};
use crate::error::{Error, Kind, Result};

/// Of so many lines in one cell three quarters are rows of the table by their delimiters: that is no
/// accident.
const ENCLOSED_ROWS: usize = 16;
/// So many, if all of them and the line of the quote are rows; twice as many where one delimiter makes a row.
/// Not where quotes were needed before: then they do enclose cells.
const FEW_ROWS: usize = 3;
/// Lines of a cell beyond which its quote is taken for one that was never meant to open it.
const LONGEST_CELL: u64 = 10_000;

/// What a table's characters mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub delimiter: Delimiter,
    /// The delimiter was asked for: a header of one column is one.
    pub certain: bool,
    pub quoting: Quoting,
}

impl Dialect {
    /// Most programs write tables with tabs without any quotes that enclose cells.
    fn has_tabs(self) -> bool {
        self.delimiter == Delimiter::TAB
    }
}

/// What ended the reading of a row.
pub(super) enum Ended {
    Row,
    /// So many lines without anything in them.
    Blank(u64),
    Table,
}

/// Where in a cell the reader is.
#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Start,
    Plain,
    /// Between quotes.
    Quoted(Opened),
    /// After a quote that closes the cell, unless another follows: then it is a doubled one, which is text.
    Closed(Opened),
}

/// The quote that opened a cell.
#[derive(Clone, Copy)]
struct Opened {
    line: u64,
    /// Where the cell's text starts.
    start: usize,
    feeds: u64,
    returns: u64,
}

impl Opened {
    /// Line ends between the quotes.
    fn lines(self) -> u64 {
        self.feeds.max(self.returns)
    }
}

/// One row that is being read, and how far the table has been.
#[derive(Default)]
pub(super) struct Cells {
    bytes: Vec<u8>,
    /// Where each cell ends.
    ends: Vec<usize>,
    state: State,
    /// The line in which the row starts, and the one that is being read; from 0.
    pub first_line: u64,
    pub line: u64,
    /// Columns of the table, once its header is read.
    pub columns: usize,
    /// The row's cells of several lines that would be rows if their quotes were text.
    pub joined: Vec<Joined>,
    /// A quote was needed around a cell of one line.
    pub quotes: bool,
}

impl Cells {
    /// The cells of one line by itself; none when its quotes cannot be meant as they stand.
    pub fn of_line(line: &[u8], dialect: Dialect) -> Option<Self> {
        let mut cells = Self::default();
        cells.take(line, dialect).ok()?;
        cells.end(dialect).ok()?;
        Some(cells)
    }

    /// Number of cells that are whole.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn bytes(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[place]]
    }

    pub fn text(&self, place: usize) -> Result<String> {
        let bytes = self.bytes(place);
        let text = std::str::from_utf8(bytes).map_err(|error| invalid_utf8(error.valid_up_to()))?;
        Ok(text.to_owned())
    }

    /// Makes room for the next row.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.joined.clear();
        self.state = State::Start;
    }

    /// Takes bytes of the table, at least one and none beyond the row's line end: how many, and what ended
    /// it.
    pub fn take(&mut self, bytes: &[u8], dialect: Dialect) -> Result<(usize, Option<Ended>)> {
        let delimiter = dialect.delimiter.byte();
        let mut place = 0;
        while place < bytes.len() {
            let rest = &bytes[place..];
            match self.state {
                State::Start if rest[0] == b'"' && dialect.quoting != Quoting::None => {
                    let start = self.bytes.len();
                    self.state = State::Quoted(Opened { line: self.line, start, feeds: 0, returns: 0 });
                    place += 1;
                }
                State::Start | State::Plain => {
                    let end = memchr3(delimiter, b'\n', b'\r', rest);
                    self.bytes.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
                    let Some(end) = end else {
                        self.state = State::Plain;
                        return Ok((bytes.len(), None));
                    };
                    place += end + 1;
                    let blank = end == 0 && rest[0] != delimiter && self.is_untouched();
                    let ended = self.end_cell(rest[end]);
                    if ended.is_some() {
                        return Ok((place, if blank { Some(Ended::Blank(1)) } else { ended }));
                    }
                }
                State::Quoted(opened) => place += self.take_quoted(rest, opened, dialect)?,
                State::Closed(opened) if rest[0] == b'"' => {
                    self.bytes.push(b'"');
                    self.state = State::Quoted(opened);
                    place += 1;
                }
                State::Closed(opened) if rest[0] == delimiter || matches!(rest[0], b'\n' | b'\r') => {
                    self.close(opened, dialect)?;
                    place += 1;
                    if let Some(ended) = self.end_cell(rest[0]) {
                        return Ok((place, Some(ended)));
                    }
                }
                State::Closed(opened) => return Err(self.text_after(opened, rest, dialect)),
            }
        }
        Ok((place, None))
    }

    /// Ends the row where the table ends.
    pub fn end(&mut self, dialect: Dialect) -> Result<Ended> {
        match self.state {
            State::Start if self.is_untouched() => return Ok(Ended::Table),
            State::Quoted(opened) => {
                return Err(self.quote(opened, "is never closed", dialect));
            }
            State::Closed(opened) => self.close(opened, dialect)?,
            State::Start | State::Plain => {}
        }
        self.end_cell(dialect.delimiter.byte());
        Ok(Ended::Row)
    }

    /// Nothing of the row was read yet.
    fn is_untouched(&self) -> bool {
        matches!(self.state, State::Start) && self.ends.is_empty()
    }

    fn end_cell(&mut self, byte: u8) -> Option<Ended> {
        self.ends.push(self.bytes.len());
        self.state = State::Start;
        matches!(byte, b'\n' | b'\r').then(|| {
            self.line += 1;
            Ended::Row
        })
    }

    /// Takes what stands between quotes, and the quote after it.
    fn take_quoted(&mut self, rest: &[u8], mut opened: Opened, dialect: Dialect) -> Result<usize> {
        let end = memchr(b'"', rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        opened.feeds += memchr_iter(b'\n', text).count() as u64;
        opened.returns += memchr_iter(b'\r', text).count() as u64;
        self.bytes.extend_from_slice(text);
        self.state = if end.is_some() { State::Closed(opened) } else { State::Quoted(opened) };
        if dialect.quoting == Quoting::Auto && opened.lines() > LONGEST_CELL {
            let what = format!("is not closed within {LONGEST_CELL} lines");
            return Err(self.doubtful(opened, &what, dialect));
        }
        Ok(text.len() + usize::from(end.is_some()))
    }

    /// Ends a cell in quotes, if they can be meant to enclose what they do.
    fn close(&mut self, opened: Opened, dialect: Dialect) -> Result<()> {
        self.line += opened.lines();
        if dialect.quoting != Quoting::Auto {
            return Ok(());
        }
        let text = &self.bytes[opened.start..];
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let delimiter = dialect.delimiter.byte();
        if dialect.has_tabs() && text.iter().any(|byte| *byte == delimiter || is_line_end(byte)) {
            return Err(self.doubtful(opened, "encloses a tab or a line end", dialect));
        }
        if opened.lines() == 0 {
            self.quotes = self.quotes || memchr(delimiter, text).is_some();
        }
        if self.columns < 2 || opened.lines() == 0 {
            return Ok(());
        }
        let place = [self.ends.len(), self.columns];
        self.joined.extend(Joined::of(text, [opened.line + 1, self.line + 1], place, delimiter));
        if opened.lines() < FEW_ROWS as u64 {
            return Ok(());
        }
        let lines: Vec<&[u8]> = text.split(is_line_end).filter(|line| !line.is_empty()).collect();
        let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
        let is_row = |line: &&[u8]| memchr_iter(delimiter, line).count() + 1 == self.columns;
        let rows = inner.iter().filter(|line| is_row(line)).count();
        // The line of the quote is a row too, when the quote is text.
        let first =
            lines.first().map_or(0, |line| memchr_iter(delimiter, line).count()) + self.ends.len() + 1;
        let few = if self.columns == 2 { 2 * FEW_ROWS } else { FEW_ROWS };
        let all = !self.quotes && inner.len() >= few && rows == inner.len() && first == self.columns;
        if !all && (inner.len() < ENCLOSED_ROWS || rows * 4 < inner.len() * 3) {
            return Ok(());
        }
        Err(self.doubtful(opened, &format!("encloses {rows} lines that look like rows"), dialect))
    }

    fn text_after(&self, opened: Opened, rest: &[u8], dialect: Dialect) -> Error {
        let line = opened.line + opened.lines() + 1;
        let what = format!("is closed by another in line {line}, and text follows");
        let text = [b"\"", &self.bytes[opened.start..], b"\"", &rest[..rest.len().min(EXCERPT / 2)]].concat();
        let start = text.len().saturating_sub(EXCERPT);
        let error = self.quote(opened, &what, dialect).found(quoted_excerpt(&text[start..]));
        match self.bytes.last() {
            Some(b'\\') => {
                error.help("write a quote inside a cell twice (\"\"): a backslash before it is text")
            }
            _ => error,
        }
    }

    /// The error of a quote that opens a cell.
    fn quote(&self, opened: Opened, what: &str, dialect: Dialect) -> Error {
        let help = if dialect.has_tabs() {
            "say --quoting none if quotes are text in this table, as in most TSV files; else close the cell with a quote"
        } else {
            "close the cell with a quote; if the quote is part of the text, write it twice, and the cell in quotes (\"\"\"…\"); if \
             no quote of the table encloses a cell, say --quoting none"
        };
        let text = [b"\"", &self.bytes[opened.start..]].concat();
        Error::new(Kind::Table, format!("the quote that opens a cell in line {} {what}", opened.line + 1))
            .found(quoted_excerpt(&text))
            .help(help)
    }

    /// The error of a quote that does enclose something, but hardly one text.
    fn doubtful(&self, opened: Opened, what: &str, dialect: Dialect) -> Error {
        let error = self.quote(opened, what, dialect);
        let help =
            format!("{}; if it encloses one text, say --quoting double", error.remedy().unwrap_or_default());
        error.help(help)
    }
}
