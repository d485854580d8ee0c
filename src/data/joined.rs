//! Owns telling a stray quote from one that opens a cell of several lines: by what other rows of the table
//! hold.
//!
//! Refuses a cell whose lines, were the quote text, would be rows: each has the table's number of cells; what
//! stands there in one of the other columns stands in that column of other rows too (a label, say), or is a
//! number where the column numbers its rows; and no other column says the opposite. Numbers alone also stand
//! at the ends of lines that are text: in two lines they count only at the table's end, if no other cell has
//! shown that its quotes enclose delimiters. Columns of ever new texts tell nothing.

use std::collections::HashSet;

use memchr::memchr_iter;

use super::row::quoted_excerpt;
use crate::error::{Error, Kind, Result, quoted};

/// Values of a column that are remembered, and of all columns.
const VALUES: usize = 1000;
const ALL_VALUES: usize = 100_000;
/// Bytes of a value that may be a label.
const LONGEST: usize = 64;
/// Cells that wait for what later rows say of them.
const WAITING: usize = 1000;
/// Rows per value from which on a column is one of a few values.
const FREQUENT: u64 = 4;
/// Rows of numbers from which on a column is one that numbers its rows.
const NUMBERED: u64 = 3;

/// A cell of several lines which would be rows if its quotes were text.
pub(super) struct Joined {
    /// The lines where the quotes are, from 1.
    lines: [u64; 2],
    /// The start of the cell.
    excerpt: String,
    /// The row and the column that it stands in.
    row: u64,
    column: usize,
    /// Lines between the first and the last.
    whole: usize,
    /// Per other column, what would stand there.
    values: Vec<(usize, Vec<Value>)>,
}

/// What would stand in another column; none where that is too long for a label.
type Value = Option<Vec<u8>>;

impl Joined {
    /// The cell in this column of so many, from the line of its opening quote to that of its closing one;
    /// none where a line of it cannot be a row, or nothing in it can be a label.
    pub fn of(text: &[u8], quotes: [u64; 2], [column, columns]: [usize; 2], delimiter: u8) -> Option<Self> {
        let feed = if text.contains(&b'\n') { b'\n' } else { b'\r' };
        let lines = text.split(|byte| *byte == feed).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines: Vec<&[u8]> = lines.collect();
        let [first, inner @ .., last] = &lines[..] else { return None };
        let inner: Vec<&[u8]> = inner.iter().copied().filter(|line| !line.is_empty()).collect();
        let delimiters = |line: &[u8]| memchr_iter(delimiter, line).count();
        let fits = column + delimiters(first) + 1 == columns
            && delimiters(last) == column
            && inner.iter().all(|line| delimiters(line) + 1 == columns);
        if !fits {
            return None;
        }
        let mut values: Vec<(usize, Vec<Value>)> = (0..columns).map(|place| (place, Vec::new())).collect();
        let mut put = |from: usize, line: &[u8]| {
            for (place, cell) in line.split(|byte| *byte == delimiter).enumerate() {
                let kept = (cell.len() <= LONGEST).then(|| cell.to_vec());
                // Nothing stands anywhere.
                values[from + place].1.extend((!cell.is_empty()).then_some(kept));
            }
        };
        put(column, first);
        inner.iter().for_each(|line| put(0, line));
        put(0, last);
        values.retain(|(place, values)| *place != column && !values.is_empty());
        if !values.iter().any(|(_, values)| values.iter().all(Option::is_some)) {
            return None;
        }
        let excerpt = quoted_excerpt(&[b"\"", text].concat());
        let whole = inner.len();
        Some(Self { lines: quotes, excerpt, row: 0, column, whole, values })
    }

    fn refused(&self, columns: &[String], place: usize) -> Error {
        let value =
            self.values.iter().find(|(column, _)| *column == place).and_then(|(_, all)| all[0].as_deref());
        let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let message = format!(
            "the quote that opens a cell in line {} is closed in line {}, but these lines look like rows: {} stands in the \
             column {} of them as in that of other rows",
            self.lines[0],
            self.lines[1],
            quoted(&value),
            quoted(&columns[place])
        );
        Error::new(Kind::Table, message)
            .row(self.row)
            .column(&columns[self.column])
            .found(self.excerpt.clone())
            .help(
                "if it is one text of several lines, say --quoting double; if no quote of the table encloses a cell, say \
                 --quoting none; else take the stray quotes out",
            )
    }
}

/// What the rows so far hold, and the cells that may still turn out to be several rows.
#[derive(Default)]
pub(super) struct Seen {
    columns: Vec<Column>,
    values: usize,
    rows: u64,
    waiting: Vec<Joined>,
    /// Quotes were needed around a cell of one line: that the table has quotes which enclose cells is sure.
    pub quotes: bool,
}

#[derive(Default)]
struct Column {
    values: HashSet<Vec<u8>>,
    /// Rows with a value.
    rows: u64,
    /// There are more values than are remembered.
    more: bool,
    /// A value stands in two rows.
    repeated: bool,
    /// A value is no number.
    texts: bool,
}

impl Seen {
    /// Takes one row's cells, and those of them that would be several rows.
    ///
    /// # Errors
    /// What is known now shows that such a cell is several rows.
    pub fn add<'c>(
        &mut self,
        cells: impl Iterator<Item = &'c [u8]>,
        joined: Vec<Joined>,
        names: &[String],
    ) -> Result<()> {
        self.columns.resize_with(names.len(), Column::default);
        self.rows += 1;
        let before = self.values;
        let mut room = self.values < ALL_VALUES;
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.values += usize::from(column.add(cell, room));
            room = self.values < ALL_VALUES;
        }
        let news = self.values > before;
        for mut joined in joined {
            joined.row = self.rows;
            self.check(&joined, names, false)?;
            if self.waiting.len() < WAITING {
                self.waiting.push(joined);
            }
        }
        if news {
            self.waiting.iter().try_for_each(|joined| self.check(joined, names, false))?;
        }
        Ok(())
    }

    /// Says of the cells that wait what all rows say of them.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn end(&self, names: &[String]) -> Result<()> {
        self.waiting.iter().try_for_each(|joined| self.check(joined, names, true))
    }

    fn check(&self, joined: &Joined, names: &[String], ended: bool) -> Result<()> {
        let all = |(place, values): &(usize, Vec<Value>), wanted: Says| {
            values.iter().all(|value| self.columns[*place].says(value.as_deref()) == wanted)
        };
        let opposes = |(place, values): &(usize, Vec<Value>)| {
            values.iter().any(|value| self.columns[*place].says(value.as_deref()) == Says::No)
        };
        let sure = |(_, values): &(usize, Vec<Value>)| {
            let texts = values.iter().flatten().any(|value| !is_number(value));
            joined.whole > 0 || texts || ended && !self.quotes
        };
        let telling = joined.values.iter().find(|values| all(values, Says::Yes) && sure(values));
        match telling {
            Some((place, _)) if !joined.values.iter().any(opposes) => Err(joined.refused(names, *place)),
            _ => Ok(()),
        }
    }
}

/// What a column says of a value that would stand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Yes,
    No,
    Nothing,
}

impl Column {
    /// Takes a value; whether it is a new one.
    fn add(&mut self, value: &[u8], room: bool) -> bool {
        let tells_nothing = self.more && (self.texts || self.repeated);
        if value.is_empty() || tells_nothing {
            return false;
        }
        self.rows += 1;
        self.texts = self.texts || !is_number(value);
        if self.values.contains(value) {
            self.repeated = true;
            return false;
        }
        let kept = room && value.len() <= LONGEST && self.values.len() < VALUES;
        self.more = self.more || !kept;
        if kept {
            self.values.insert(value.to_vec());
        }
        kept
    }

    fn says(&self, value: Option<&[u8]>) -> Says {
        let is_number = value.is_some_and(is_number);
        let numbers = !self.texts && self.rows >= NUMBERED;
        // Rows have one of a few values.
        let closed = !self.more && self.rows >= FREQUENT * self.values.len() as u64;
        match value {
            Some(value) if self.values.contains(value) => Says::Yes,
            _ if numbers && is_number && !self.repeated => Says::Yes,
            _ if numbers && is_number => Says::Nothing,
            _ if numbers || closed => Says::No,
            _ => Says::Nothing,
        }
    }
}

/// A number, a date, a time.
fn is_number(value: &[u8]) -> bool {
    let digits = value.iter().any(u8::is_ascii_digit);
    digits
        && value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':' | b'/' | b'+'))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::cells::Dialect;
    use super::super::delimited::Delimited;
    use super::super::reading::{Delimiter, Quoting};
    use super::*;

    fn rows(content: &str, quoting: Quoting) -> Result<usize> {
        let dialect = Dialect { delimiter: Delimiter::COMMA, certain: false, quoting };
        let (columns, mut table) = Delimited::open(Box::new(Cursor::new(content.to_owned())), dialect)?;
        let mut rows = 0;
        while table.next(&columns)?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    #[track_caller]
    fn refused(content: &str, parts: &[&str]) {
        let error = rows(content, Quoting::Auto).unwrap_err();
        let said = format!("{error}; {}", error.remedy().unwrap());
        for part in parts {
            assert!(said.contains(part), "{said} should say {part}");
        }
        // The advice.
        let lines = content.lines().filter(|line| !line.is_empty()).count() - 1;
        assert_eq!(rows(content, Quoting::None).unwrap(), lines);
        assert!(rows(content, Quoting::Double).unwrap() < lines);
    }

    #[test]
    fn rows_that_two_stray_quotes_join_are_known_by_their_labels() {
        let more = "a film,neg\nb phone,pos\n";
        for (cell, opens, closes) in [
            ("\"Great phone,pos\nnice one\",neg\n", "2", "3"),
            ("\"Great phone,pos\nbad one,neg\nnice one\",pos\n", "2", "4"),
            ("\"Great phone,pos\r\n\r\nbad one,neg\r\nnice one\",pos\r\n", "2", "5"),
        ] {
            let said = format!("opens a cell in line {opens} is closed in line {closes}");
            // What tells comes before the cell, or only behind it.
            refused(&format!("text,label\n{cell}{more}"), &[&said, "\"pos\"", "\"label\"", "row 1"]);
            refused(&format!("text,label\n{more}{cell}"), &["row 3", "--quoting double", "--quoting none"]);
        }
        // The label in front, and both ways about.
        refused("label,text\npos,a\nneg,\"b\npos,c\"\n", &["line 3 is closed in line 4", "\"label\""]);
        refused("id,text,label\n1,a,x\n2,\"b,x\n3,c\",y\n4,d,y\n", &["line 3 is closed in line 4"]);
        // Numbered rows without a label.
        refused("id,text\n1,a\n2,\"b\n3,c\"\n4,d\n5,e\n", &["line 3 is closed in line 4"]);
        refused("text,at\n\"a,2024-01-01\nb\",2024-01-02\nc,2024-01-03\nd,2024-01-04\n", &["\"at\""]);
    }

    #[test]
    fn texts_of_several_lines_are_read() {
        let more = "a film,neg\nb phone,pos\n";
        for (header, cell) in [
            ("text,label", "\"Great phone, nice\nbad one, too\nlovely\",pos\n"),
            ("text,label", "\"Great phone,\nlovely\",pos\n"),
            ("text,label", "\"I was pos\nthen neg\",pos\n"),
            ("text,label", "\"Great phone,pos\nand, then\",pos\n"),
            ("label,text", "pos,\"Dear all\nthanks, and goodbye\"\n"),
        ] {
            let content = format!("{header}\n{cell}{more}");
            assert_eq!(rows(&content, Quoting::Auto).unwrap(), 3, "{content}");
        }
        // In one column every line looks like a row.
        assert_eq!(rows("text\npos\n\"neg\npos\"\n", Quoting::Auto).unwrap(), 2);
        // Numbers alone tell nothing where quotes are known to enclose cells.
        let numbers = "text,stars\n\"good, nice\",5\nbad,1\n\"paid 3,5\neuro\",5\n";
        assert_eq!(rows(numbers, Quoting::Auto).unwrap(), 3);
        refused(&numbers.replace("\"good, nice\"", "good"), &["\"stars\""]);
    }

    /// Knuth's MMIX, its upper bits: a number below `end`.
    struct Drawn(u64);

    impl Drawn {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }

        fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
            all[self.below(all.len())]
        }

        fn line(&mut self, commas: bool) -> String {
            let words =
                ["the", "phone", "film", "great", "bad", "very", "not", "good", "3", "stars", "again"];
            let between = if commas { [" ", " ", " ", " ", " ", ", ", ","] } else { [" "; 7] };
            (0..2 + self.below(9)).fold("so".to_owned(), |line, _| line + self.of(&between) + self.of(&words))
        }
    }

    /// The rows of a table with these columns; a text has several lines and commas, or one line and none.
    fn drawn_rows(drawn: &mut Drawn, layout: &[&str], plain: bool) -> Vec<Vec<String>> {
        let cell = |drawn: &mut Drawn, row: usize, column: &str| match column {
            "id" => row.to_string(),
            "label" => drawn.of(&["pos", "neg", "mixed"]).to_owned(),
            "stars" => drawn.of(&["1", "2", "3", "4", "5"]).to_owned(),
            _ if plain => drawn.line(false),
            _ => {
                let lines: Vec<String> = (0..1 + drawn.below(5)).map(|_| drawn.line(true)).collect();
                lines.join(drawn.of(&["\n", "\r\n", "\n\n"]))
            }
        };
        let count = 10 + drawn.below(60);
        (0..count).map(|row| layout.iter().map(|column| cell(drawn, row, column)).collect()).collect()
    }

    const LAYOUTS: [&[&str]; 5] = [
        &["text", "label"],
        &["label", "text"],
        &["id", "text", "label"],
        &["id", "text"],
        &["text", "stars"],
    ];

    #[test]
    fn of_a_thousand_tables_with_texts_of_several_lines_one_in_500_is_refused_at_most() {
        let mut drawn = Drawn(7);
        let refused = (0..1000).filter(|number| {
            let layout = LAYOUTS[number % LAYOUTS.len()];
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(layout).unwrap();
            let all = drawn_rows(&mut drawn, layout, false);
            all.iter().for_each(|row| writer.write_record(row).unwrap());
            let content = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            rows(&content, Quoting::Auto).map_or(true, |read| read != all.len())
        });
        assert!(refused.count() <= 2);
    }

    #[test]
    fn of_a_thousand_tables_with_two_stray_quotes_19_in_20_are_refused() {
        let mut drawn = Drawn(8);
        let found = (0..1000).filter(|number| {
            let layout = LAYOUTS[number % LAYOUTS.len()];
            let text = layout.iter().position(|column| *column == "text").unwrap();
            let mut all = drawn_rows(&mut drawn, layout, true);
            let first = drawn.below(all.len() - 1);
            let last = (first + 1 + drawn.below(4)).min(all.len() - 1);
            all[first][text].insert(0, '"');
            all[last][text].push('"');
            let lines = all.iter().map(|row| row.join(",") + "\n");
            rows(&(layout.join(",") + "\n" + &lines.collect::<String>()), Quoting::Auto).is_err()
        });
        let found = found.count();
        assert!(found >= 950, "{found} of 1,000");
    }
}
