//! Owns tables whose rows are cells between delimiters: CSV, TSV. A row ends with a line feed, a carriage
//! return, or both.
//!
//! Refuses to guess: a quote that is never closed, text after the quote that ends a cell, quotes that seem to
//! enclose rows, and a header that another delimiter separates are errors, never a table that reads
//! differently from what is written.

use std::io::{BufRead, ErrorKind};

use serde::de::IgnoredAny;

use super::cells::{Cells, Dialect, Ended};
use super::compression::{peek, unreadable};
use super::joined::Seen;
use super::reading::{Delimiter, Quoting};
use super::row::{empty_table, quoted_excerpt};
use crate::error::{Error, Kind, Result};

/// Bytes in which a header ends.
const LONGEST_HEADER: usize = 1 << 16;

/// The rows of a delimited table.
pub(super) struct Delimited {
    reader: Box<dyn BufRead>,
    dialect: Dialect,
    /// The header as it is written.
    header: Vec<u8>,
    /// The row that is being read.
    row: Cells,
    /// The row before ended with a carriage return: a line feed that follows belongs to it.
    returned: bool,
    /// Blank lines that are still to be given, where a blank line is a row.
    blank: u64,
    /// What the rows so far tell of quotes.
    seen: Seen,
}

impl Delimited {
    /// Reads the header: the names of the columns.
    pub fn open(reader: Box<dyn BufRead>, dialect: Dialect) -> Result<(Vec<String>, Self)> {
        let in_header = Error::header;
        let is_whole = |head: &[u8]| head.contains(&b'\n') || head.len() >= LONGEST_HEADER;
        let (head, reader) = peek(reader, is_whole).map_err(in_header)?;
        let mut lines = head.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
        let header = lines.next().unwrap_or_default().to_vec();
        let row = Cells::default();
        let seen = Seen::default();
        let mut table = Self { reader, dialect, header, row, returned: false, blank: 0, seen };
        if let Some(named) = separator(&table.header) {
            if named != dialect.delimiter {
                let message = format!("the table says that it is separated by {}", named.spoken());
                return Err(Error::new(Kind::Table, message)
                    .found(quoted_excerpt(&table.header))
                    .help(format!("say --delimiter '{named}'")));
            }
            table.next_record()?;
            table.header = lines.next().unwrap_or_default().to_vec();
        }
        refuse_documents(&table.header)?;
        table.check_delimiter()?;
        let there = table.next_record().map_err(in_header)?;
        if !there || (table.row.len() == 1 && table.row.bytes(0).is_empty()) {
            return Err(empty_table());
        }
        let names = (0..table.row.len()).map(|place| table.row.text(place));
        let columns: Vec<String> = names.collect::<Result<_>>().map_err(in_header)?;
        table.row.columns = columns.len();
        Ok((columns, table))
    }

    /// The next row's cells; `None` at the end.
    pub fn next(&mut self, columns: &[String]) -> Result<Option<Vec<Option<String>>>> {
        loop {
            if self.blank > 0 {
                self.blank -= 1;
                return Ok(Some(vec![Some(String::new())]));
            }
            let ended = self.record().map_err(|error| match columns.get(self.row.len()) {
                Some(column) => error.column(column),
                None => error,
            });
            match ended? {
                Ended::Table => return self.seen.end(columns).map(|()| None),
                Ended::Row => break,
                // In a table of one column a blank line is an empty text; in others it is no row.
                Ended::Blank(lines) if columns.len() == 1 => self.blank = lines,
                Ended::Blank(_) => {}
            }
        }
        if self.row.len() != columns.len() {
            return Err(self.ragged(columns.len()));
        }
        if self.dialect.quoting == Quoting::Auto && columns.len() > 1 {
            self.look_for_stray_quotes(columns)?;
        }
        let cell = |place: usize| self.row.text(place).map_err(|error| error.column(&columns[place]));
        (0..columns.len()).map(|place| cell(place).map(Some)).collect::<Result<_>>().map(Some)
    }

    fn look_for_stray_quotes(&mut self, columns: &[String]) -> Result<()> {
        let joined = std::mem::take(&mut self.row.joined);
        self.seen.quotes = self.row.quotes;
        let row = &self.row;
        self.seen.add((0..row.len()).map(|place| row.bytes(place)), joined, columns)
    }

    fn ragged(&self, columns: usize) -> Error {
        let (line, cells) = (self.row.first_line + 1, self.row.len());
        let behind_space = |place: usize| {
            let cell = self.row.bytes(place);
            cell.starts_with(b" ") && cell.trim_ascii_start().starts_with(b"\"")
        };
        let help = match self.dialect.quoting {
            _ if cells < columns => {
                "write a cell for every column, empty ones too; a text that holds a line end needs quotes around it"
            }
            Quoting::None => "a text that holds the delimiter needs quotes around it, and --quoting auto",
            _ if (0..cells).any(behind_space) => {
                "a quote encloses a cell only as its first character: take out the space in front of it"
            }
            _ => {
                "put quotes around fields that hold the separator, a quote or a line feed; double inner quotes"
            }
        };
        Error::new(Kind::Table, format!("the row that starts in line {line} does not fit the header"))
            .found(format!("{cells} field{}", if cells == 1 { "" } else { "s" }))
            .expected(columns.to_string())
            .help(help)
    }

    /// Reads on to the next row that is not blank; whether there is one before the table's end.
    fn next_record(&mut self) -> Result<bool> {
        loop {
            match self.record()? {
                Ended::Blank(_) => {}
                ended => return Ok(matches!(ended, Ended::Row)),
            }
        }
    }

    /// Reads a row's cells. When that fails, those before the failure are there.
    fn record(&mut self) -> Result<Ended> {
        self.row.clear();
        if self.returned {
            self.returned = false;
            let blank = self.skip_line_end()?;
            if blank > 0 {
                self.row.line += blank;
                return Ok(Ended::Blank(blank));
            }
        }
        self.row.first_line = self.row.line;
        loop {
            let bytes = fill(&mut self.reader)?;
            if bytes.is_empty() {
                return self.row.end(self.dialect);
            }
            let (read, ended) = self.row.take(bytes, self.dialect)?;
            self.returned = ended.is_some() && bytes[read - 1] == b'\r';
            self.reader.consume(read);
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Passes over what belongs to the line end before: a line feed, and carriage returns before it (as where
    /// text was converted twice). The number of blank lines, if it was carriage returns alone.
    fn skip_line_end(&mut self) -> Result<u64> {
        let mut blank = 0;
        loop {
            match fill(&mut self.reader)?.first() {
                Some(b'\r') => blank += 1,
                Some(b'\n') => {
                    self.reader.consume(1);
                    return Ok(0);
                }
                _ => return Ok(blank),
            }
            self.reader.consume(1);
        }
    }

    /// Refuses a header of one column that another delimiter separates, unless this one was asked for.
    fn check_delimiter(&self) -> Result<()> {
        let cells =
            |delimiter: Delimiter| Cells::of_line(&self.header, Dialect { delimiter, ..self.dialect });
        let Dialect { delimiter, certain, .. } = self.dialect;
        if certain || cells(delimiter).is_some_and(|cells| cells.len() > 1) {
            return Ok(());
        }
        let others = Delimiter::USUAL.into_iter().filter_map(|other| Some((cells(other)?.len(), other)));
        let Some((_, other)) = others.filter(|(columns, _)| *columns > 1).max_by_key(|(columns, _)| *columns)
        else {
            return Ok(());
        };
        let message =
            format!("the header is one column: the table seems to be separated by {}", other.spoken());
        Err(Error::new(Kind::Table, message).found(quoted_excerpt(&self.header)).help(format!(
            "say --delimiter '{other}' (or --delimiter '{delimiter}', if this is the name of its only column)"
        )))
    }

    /// What is said of a column that is not there, if the header explains it.
    pub fn missing(&self, column: &str) -> Option<String> {
        let has_it = |delimiter: &Delimiter| {
            let cells = Cells::of_line(&self.header, Dialect { delimiter: *delimiter, ..self.dialect });
            cells.is_some_and(|cells| {
                (0..cells.len()).any(|place| cells.text(place).is_ok_and(|name| name.trim() == column))
            })
        };
        let others = Delimiter::USUAL.iter().filter(|other| **other != self.dialect.delimiter);
        let other = others.copied().find(has_it)?;
        Some(format!("the header has it when separated by {}: say --delimiter '{other}'", other.spoken()))
    }
}

fn fill(reader: &mut dyn BufRead) -> Result<&[u8]> {
    // Asked twice, since what is borrowed in a loop cannot be returned from it.
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(source) if source.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(unreadable(source)),
        }
    }
    reader.fill_buf().map_err(unreadable)
}

/// The delimiter that a line like `sep=;` names: spreadsheets write and read it.
fn separator(line: &[u8]) -> Option<Delimiter> {
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (name, value) = line.split_at_checked(4)?;
    match value {
        [byte] if name.eq_ignore_ascii_case(b"sep=") => Delimiter::of_byte(*byte),
        _ => None,
    }
}

/// Refuses what begins as no header does.
fn refuse_documents(header: &[u8]) -> Result<()> {
    let start: Vec<u8> = header.trim_ascii().iter().take(16).map(u8::to_ascii_lowercase).collect();
    let begins = |words: &[&str]| words.iter().any(|word| start.starts_with(word.as_bytes()));
    let (kind, help) = if begins(&["{\""]) && serde_json::from_slice::<IgnoredAny>(header).is_ok() {
        ("JSON lines", "say --format jsonl")
    } else if begins(&["[{"]) || matches!(&start[..], b"[" | b"{") {
        ("JSON", "say --format json, if it is an array of objects")
    } else if begins(&["<!doctype", "<html", "<?xml"]) {
        ("a web page or XML", "get the table itself: a download may have failed")
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Table, "the table is not one of separated values").found(kind).help(help))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    const CSV: Dialect = Dialect { delimiter: Delimiter::COMMA, certain: false, quoting: Quoting::Auto };
    const TSV: Dialect = Dialect { delimiter: Delimiter::TAB, ..CSV };
    const UNQUOTED: Dialect = Dialect { quoting: Quoting::None, ..CSV };
    const TRUSTED: Dialect = Dialect { quoting: Quoting::Double, ..CSV };

    fn read_in(content: &str, dialect: Dialect, piece: usize) -> Result<Vec<Vec<String>>> {
        let input = BufReader::with_capacity(piece, Cursor::new(content.to_owned()));
        let (columns, mut table) = Delimited::open(Box::new(input), dialect)?;
        let mut rows = vec![columns.clone()];
        while let Some(cells) = table.next(&columns)? {
            rows.push(cells.into_iter().flatten().collect());
        }
        Ok(rows)
    }

    /// The header and the rows, whatever the pieces they come in.
    #[track_caller]
    fn reads(content: &str, dialect: Dialect, rows: &[&[&str]]) {
        for piece in [1, 2, 3, 5, 1 << 16] {
            assert_eq!(read_in(content, dialect, piece).unwrap(), rows, "{piece} bytes at a time");
        }
    }

    /// The message and the help, whatever the pieces.
    #[track_caller]
    fn refused(content: &str, dialect: Dialect, parts: &[&str]) -> String {
        let texts = [1, 4, 1 << 16].map(|piece| {
            let error = read_in(content, dialect, piece).unwrap_err();
            format!("{error}; {}", error.remedy().unwrap_or_default())
        });
        for part in parts {
            assert!(texts[2].contains(part), "{:?} should say {part:?}", texts[2]);
        }
        assert_eq!(texts[0].split(": found").next(), texts[2].split(": found").next());
        texts[2].clone()
    }

    #[test]
    fn every_line_end_ends_a_row() {
        for end in ["\n", "\r\n", "\r", "\r\r\n"] {
            let text = ["a,b", "c,\"d\"", "\"e\",f", ",", ""].join(end);
            reads(&text, CSV, &[&["a", "b"], &["c", "d"], &["e", "f"], &["", ""]]);
            reads(text.trim_end(), CSV, &[&["a", "b"], &["c", "d"], &["e", "f"], &["", ""]]);
        }
    }

    #[test]
    fn a_blank_line_is_an_empty_text_in_one_column_and_no_row_in_more() {
        for end in ["\n", "\r\n", "\r", "\r\r\n"] {
            reads(&["a", "", "", "b", "\"\"", ""].join(end), CSV, &[&["a"], &[""], &[""], &["b"], &[""]]);
            reads(&["", "a,b", "", "", "c,d", "", ""].join(end), CSV, &[&["a", "b"], &["c", "d"]]);
        }
    }

    #[test]
    fn a_quote_inside_a_cell_is_text() {
        reads("a,b\n5\" disk,x \"y\" z\n", CSV, &[&["a", "b"], &["5\" disk", "x \"y\" z"]]);
        reads("a\tb\ndull \"and\" slow\t0\n", TSV, &[&["a", "b"], &["dull \"and\" slow", "0"]]);
        reads("a\tb\n\"say \"\"hi\"\"\"\t0\n", TSV, &[&["a", "b"], &["say \"hi\"", "0"]]);
        reads("a,b\n\"\"\"x\"\", y\",\"line\n\nline\"\n", CSV, &[&["a", "b"], &["\"x\", y", "line\n\nline"]]);
    }

    #[test]
    fn a_quote_that_is_never_closed_names_the_line_where_it_opened() {
        let parts = ["line 3 is never closed", "\"bad screen", "--quoting none"];
        refused("text\ngood phone\n\"bad screen\nlovely film\ndull plot\n", CSV, &parts);
        refused("text\tlabel\na\tb\n\"bad screen\tc\nd\te\n", TSV, &parts);
        // In the last row, at the end of the table, in a later cell, after rows of several lines, in the
        // header.
        refused("a,b\r\nc,\"d\r\ne\"\r\nf,\"g\r\n", CSV, &["line 4 is never closed"]);
        refused("a,b\rc,\"d\re\"\rf,\"g", CSV, &["line 4 is never closed"]);
        refused("a,b\nc,\"", CSV, &["line 2 is never closed"]);
        refused("a,b\n\nc,\"d\"\"", CSV, &["line 3 is never closed"]);
        refused("\"a,b\nc,d\n", CSV, &["the header: the quote", "line 1 is never closed"]);
        refused("a,b\nc,\"d\n", TRUSTED, &["line 2 is never closed"]);
        reads("text\n\"bad screen\nx\n", UNQUOTED, &[&["text"], &["\"bad screen"], &["x"]]);
    }

    #[test]
    fn text_after_a_closing_quote_is_refused() {
        refused("a,b\n\"c\"d,e\n", CSV, &["line 2 is closed by another in line 2, and text follows"]);
        refused("a,b\n\"c\" ,e\n", CSV, &["text follows"]);
        let glued = "sentence\tlabel\n\"a moving film\t1\ndull \"and\" slow\t0\n";
        refused(glued, TSV, &["line 2 is closed by another in line 3, and text follows", "--quoting none"]);
        refused("a\tb\n\"fine\" acting\t1\n", TSV, &["text follows", "--quoting none"]);
        let escaped = refused("a,b\n\"say \\\"hi\\\"\",e\n", CSV, &["backslash"]);
        assert!(escaped.contains("twice"), "{escaped}");
    }

    #[test]
    fn quotes_that_enclose_a_tab_or_a_line_end_in_a_tsv_are_doubtful() {
        for cell in ["a\tb", "a\nb\tc\nd", "a\r\nb"] {
            let content = format!("x\ty\n1\t\"{cell}\"\n");
            let double = Dialect { quoting: Quoting::Double, ..TSV };
            reads(&content, double, &[&["x", "y"], &["1", cell]]);
            let said = refused(&content, TSV, &["line 2 encloses a tab or a line end", "--quoting none"]);
            assert!(said.contains("--quoting double"), "{said}");
        }
    }

    #[test]
    fn a_cell_of_what_looks_like_rows_is_doubtful() {
        let rows: String = (0..20).map(|row| format!("text {row},label\n")).collect();
        let content = format!("text,label\n\"a 27,x\n{rows}c 5\",y\n");
        let said = refused(&content, CSV, &["line 2 encloses 20 lines that look like rows"]);
        assert!(said.contains("--quoting double") && said.contains("--quoting none"), "{said}");
        assert_eq!(read_in(&content, TRUSTED, 1 << 16).unwrap().len(), 2);
        assert_eq!(read_in(&content, UNQUOTED, 1 << 16).unwrap().len(), 23);
        // One odd line among them, and few of them, change nothing.
        let odd = content.replace("text 7,label", "text 7");
        refused(&odd, CSV, &["line 2 encloses 19 lines that look like rows"]);
        refused("text,label\n\"a 27,x\nb,x\nc,x\nd,x\ne,x\nf,x\ng,x\nc 5\",y\n", CSV, &["encloses 6 lines"]);
        refused("id,text,label\n1,\"a 27,x\n2,b,x\n3,c,x\n4,d,x\n5,c 5\",y\n", CSV, &["encloses 3 lines"]);
        // Nothing but empty lines is no row.
        let empty = "\n".repeat(9);
        reads(&format!("a,b,c\n1,\"{empty}\",x\n"), CSV, &[&["a", "b", "c"], &["1", &empty, "x"]]);
        // A long text is one.
        let poem = "a line, with two commas, or none\nanother line\n".repeat(100);
        reads(&format!("a,b\n\"{poem}\",x\n"), CSV, &[&["a", "b"], &[&poem, "x"]]);
        let long = "a line\n".repeat(10_001);
        refused(
            &format!("a\n\"{long}"),
            CSV,
            &["line 2 is not closed within 10000 lines", "--quoting double"],
        );
        reads(&format!("a\n\"{long}\"\n"), TRUSTED, &[&["a"], &[&long]]);
    }

    #[test]
    fn quoting_none_reads_what_is_written() {
        let tsv = Dialect { quoting: Quoting::None, ..TSV };
        let content = "sentence\tlabel\n\"a moving film\t1\n\"fine\" acting\t1\n\"\"\t0\n";
        let rows: [&[&str]; 4] =
            [&["sentence", "label"], &["\"a moving film", "1"], &["\"fine\" acting", "1"], &["\"\"", "0"]];
        reads(content, tsv, &rows);
        refused("a,b\n\"c,d\",e\n", UNQUOTED, &["found 3 fields", "--quoting auto"]);
    }

    #[test]
    fn a_wrong_delimiter_is_named_and_the_advice_works() {
        for (content, dialect, delimiter) in [
            ("text;label\na, b;c\n", CSV, ";"),
            ("\"text\";\"label\"\n\"a, b\";c\n", CSV, ";"),
            ("text\tlabel\na, b\tc\n", CSV, "\\t"),
            ("text|label\na, b|c\n", CSV, "|"),
            ("sep=;\ntext;label\na, b;c\n", CSV, ";"),
            ("\"SEP=|\"\r\n\r\ntext|label\r\na, b|c\r\n", CSV, "|"),
            ("text,label\n\"a, b\",c\n", TSV, ","),
        ] {
            let spoken = if delimiter == "\\t" { "a tab".to_owned() } else { format!("'{delimiter}'") };
            let parts = [format!("separated by {spoken}"), format!("say --delimiter '{delimiter}'")];
            refused(content, dialect, &[&parts[0], &parts[1]]);
            let asked = Dialect { delimiter: delimiter.parse().unwrap(), certain: true, ..dialect };
            reads(content, asked, &[&["text", "label"], &["a, b", "c"]]);
        }
        reads("sep=,\ntext,label\na,b\n", CSV, &[&["text", "label"], &["a", "b"]]);
        refused("sep=;\n\"a,b\n", Dialect { delimiter: ";".parse().unwrap(), ..CSV }, &["line 2 is never"]);
        // One column it may be, when that is said; or its name is in quotes.
        let certain = Dialect { certain: true, ..CSV };
        reads("this; that\na\n", certain, &[&["this; that"], &["a"]]);
        reads("\"this; that\"\na\n", CSV, &[&["this; that"], &["a"]]);
        reads("text\na;b\n", CSV, &[&["text"], &["a;b"]]);
    }

    #[test]
    fn a_column_that_another_delimiter_would_give_is_named() {
        let open =
            |content: &str, dialect| Delimited::open(Box::new(Cursor::new(content.to_owned())), dialect);
        let (_, table) = open("id;text, long;label\n1;a, b;c\n", CSV).unwrap();
        assert!(table.missing("label").unwrap().contains("say --delimiter ';'"));
        assert!(table.missing("other").is_none());
        let (_, table) = open("text,label\na,b\n", Dialect { certain: true, ..TSV }).unwrap();
        assert!(table.missing("text").unwrap().contains("say --delimiter ','"));
    }

    #[test]
    fn what_begins_as_no_header_does_is_named() {
        refused("{\"text\": \"a\", \"label\": \"b\"}\n", CSV, &["JSON lines", "--format jsonl"]);
        refused("[{\"text\": \"a\"}]", CSV, &["JSON", "--format json"]);
        refused("[\n  {\"text\": \"a\"}\n]", TSV, &["JSON", "--format json"]);
        refused("<!DOCTYPE html>\n<html>", CSV, &["web page"]);
        reads("[id],{name}\n1,2\n", CSV, &[&["[id]", "{name}"], &["1", "2"]]);
    }

    #[test]
    fn a_ragged_row_names_its_first_line() {
        refused("a,b\nc,\"d\ne\"\nf\n", CSV, &["line 4", "found 1 field", "expected 2"]);
        refused("a,b\nc,d,\n", CSV, &["line 2", "found 3 fields"]);
    }

    #[test]
    fn a_row_is_the_same_as_the_csv_crate_reads_it() {
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let content: String = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ["a", "b", ",", ",", "\"", "\"", "\n", "\r\n", "é"][(state >> 33) as usize % 9]
                })
                .collect();
            let content = format!("x,y\n{content}");
            // Where it is read at all: the crate never refuses quotes, and takes ragged rows when asked to.
            let Ok(rows) = read_in(&content, TRUSTED, 3) else { continue };
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(content.as_bytes());
            let theirs: Vec<Vec<String>> =
                reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            assert_eq!(rows, theirs, "{content:?}");
        }
    }
}
