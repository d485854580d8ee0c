//! Owns reading any table row by row, in bounded batches.
//!
//! Refuses to hold more than one batch, and to go on after a malformed row.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
#[cfg(feature = "parquet")]
use std::path::Path;

#[cfg(feature = "parquet")]
use super::carried_type::CarriedType;
use super::cell::Cell;
use super::cells::Dialect;
use super::column_use::{Columns, Use, free_name};
#[cfg(feature = "parquet")]
use super::compression::seekable;
use super::compression::unpacked;
use super::delimited::Delimited;
use super::encoding::{decoded, with_line_feeds};
use super::features::CarriedColumn;
use super::format::Format;
use super::header::{Header, TextColumns, TextPlaces};
#[cfg(feature = "parquet")]
use super::json::carried;
use super::json::{JsonRows, Layout};
use super::kept::KeptColumn;
use super::lines::Lines;
use super::reading::Delimiter;
use super::records::CARRIED;
use super::row::{Row, Values, empty_table, open_file};
use super::source::Source;
use crate::error::{Error, Result};

/// A table that is being read. Only columns that are [asked for](Self::column) or [carried](Self::carry) are:
/// no other is looked at.
pub struct TableReader {
    source: Source,
    name: String,
    columns: Columns,
    rows: Rows,
    /// The first line, when nobody said that these are lines.
    presumed: Option<String>,
    next: u64,
    others: Others,
    /// Names of what no column has and was to be carried.
    left_out: BTreeSet<String>,
}

/// What becomes of what no column has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Nobody wants it.
    Ignored,
    /// It cannot be carried: its name is noted.
    Noted,
    Given,
}

/// Names that are noted, at most.
const MOST_LEFT_OUT: usize = 100;

/// What every format gives: the next row's cells, or the end.
enum Rows {
    Delimited(Delimited),
    Json(JsonRows),
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
        match source.format {
            Format::Parquet => return Self::open_parquet(source, name),
            Format::Arrow => return Err(no_stream(name)),
            _ => {}
        }
        let mut presumed = None;
        let (columns, rows) = Self::open_text(source, &mut presumed).map_err(|error| error.at(&name))?;
        Ok(Self { presumed, ..Self::of(source, name, columns, rows) })
    }

    /// Opens a table of text, unpacked and as UTF-8.
    fn open_text(source: &Source, presumed: &mut Option<String>) -> Result<(Vec<String>, Rows)> {
        let input: Box<dyn BufRead> = match &source.path {
            Some(path) => Box::new(BufReader::with_capacity(1 << 16, open_file(path)?)),
            None => Box::new(BufReader::with_capacity(1 << 16, std::io::stdin())),
        };
        let reading = source.reading();
        let reader = decoded(unpacked(input, source.path.as_deref())?, reading.encoding)?;
        let lines = |reader| with_line_feeds(reader).map_err(|error| error.row(1));
        match source.format {
            Format::Csv | Format::Tsv => {
                let usual = if source.format == Format::Tsv { Delimiter::TAB } else { Delimiter::COMMA };
                let dialect = Dialect {
                    delimiter: reading.delimiter.unwrap_or(usual),
                    certain: reading.delimiter.is_some(),
                    quoting: reading.quoting.unwrap_or_default(),
                };
                let (columns, rows) = Delimited::open(reader, dialect)?;
                Ok((columns, Rows::Delimited(rows)))
            }
            Format::Jsonl | Format::Json => {
                let layout = if source.format == Format::Jsonl { Layout::Lines } else { Layout::Array };
                let (columns, rows) = JsonRows::open(lines(reader)?, layout)?;
                Ok((columns, Rows::Json(rows)))
            }
            Format::Lines | Format::Parquet | Format::Arrow => {
                let (first, rows) = Lines::open(lines(reader)?, source.presumed)?;
                *presumed = first.filter(|_| source.presumed);
                Ok((vec![TextColumns::DEFAULT.to_owned()], Rows::Lines(rows)))
            }
        }
    }

    fn of(source: &Source, name: String, columns: Vec<String>, rows: Rows) -> Self {
        let (source, columns) = (source.clone(), Columns::new(columns));
        let (others, left_out) = (Others::Ignored, BTreeSet::new());
        Self { source, name, columns, rows, presumed: None, next: 1, others, left_out }
    }

    #[cfg(feature = "parquet")]
    fn open_parquet(source: &Source, name: String) -> Result<Self> {
        let path = source.path.as_deref().unwrap_or(Path::new("-"));
        let (columns, rows) = super::parquet_table::ParquetRows::open(path, seekable(path)?)?;
        Ok(Self::of(source, name, columns, Rows::Parquet(rows)))
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parquet(_: &Source, name: String) -> Result<Self> {
        Err(Error::new(crate::error::Kind::Usage, "this build of frosthead does not read Parquet").at(name))
    }

    /// Names of the columns: one each. The second column of a name is called `NAME_2`.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        self.columns.names()
    }

    /// Asks for a column's values, as text: gives its place in every row's cells.
    ///
    /// # Errors
    /// There is none of that name, or two; or it holds lists, structs or maps.
    pub fn column(&mut self, name: &str) -> Result<usize> {
        self.kept(&name.into())
    }

    /// The same of a column that is kept, whose cells may be lists where that is what it holds.
    ///
    /// # Errors
    /// There is none of that name, or two; or it holds structs, maps, or lists that are not welcome.
    pub fn kept(&mut self, column: &KeptColumn) -> Result<usize> {
        let name = column.name.as_str();
        if self.columns.place(name).is_none() {
            self.look_ahead(Some(name), &mut |_, _| {})?;
        }
        let named = |error: Error| match &self.rows {
            Rows::Delimited(rows) => match rows.missing(name) {
                Some(help) => error.help(help),
                None => error,
            },
            _ => error,
        };
        // Whoever reads the column knows its lists.
        let wanted = if column.takes_lists() { Use::Carried } else { Use::Asked };
        let place = self.columns.want(name, wanted).map_err(|error| named(error).at(&self.name))?;
        #[cfg(feature = "parquet")]
        if let Rows::Parquet(rows) = &self.rows {
            rows.check_text(place, column.takes_lists())?;
        }
        Ok(place)
    }

    /// Asks for the text column, or both of pairs. A table of lines has one whatever its name.
    ///
    /// # Errors
    /// There is none of a name, or the table was presumed to be lines and begins like another that has one, or
    /// is one of lines and pairs are wanted.
    pub fn text(&mut self, columns: &TextColumns) -> Result<TextPlaces> {
        if self.header().is_lines_of(columns)? {
            return Ok(TextPlaces { first: self.column(TextColumns::DEFAULT)?, second: None });
        }
        let mut place = |name: &str| {
            self.column(name).map_err(|error| match self.columns.place(name) {
                None => columns.explain(name, error),
                Some(_) => error,
            })
        };
        let first = place(&columns.first)?;
        Ok(TextPlaces { first, second: columns.second.as_deref().map(place).transpose()? })
    }

    /// What the table says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            table: self.name.clone(),
            columns: self.columns.names().to_vec(),
            presumed: self.presumed.clone(),
            lines: matches!(self.rows, Rows::Lines(_)),
        }
    }

    /// Wants every column carried through, as cells of every row; what no column has is given in
    /// [`Row::others`].
    pub fn carry(&mut self) {
        self.columns.carry_all();
        self.others = Others::Given;
    }

    /// The same for who must know all columns before the first row. Where rows can bring more and the table
    /// can be read twice, it is; else see [`Self::left_out`].
    ///
    /// # Errors
    /// A row is malformed.
    pub fn carry_known(&mut self) -> Result<()> {
        self.look_ahead(None, &mut |_, _| {})?;
        self.columns.carry_all();
        self.others = Others::Noted;
        Ok(())
    }

    /// Wants these columns carried through a [`FeatureWriter`](super::FeatureWriter), under names that are
    /// not among `taken`. Columns of Parquet keep their type; those of a file of JSON are booleans, 64-bit
    /// integers or floats where all their values are, else text, as are those of a stream, whose later values
    /// nobody knows.
    ///
    /// # Errors
    /// As [`Self::carry_known`].
    pub fn carry_to_features(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        taken: &[&str],
    ) -> Result<Vec<CarriedColumn>> {
        let types = self.types()?;
        self.others = Others::Noted;
        let names: Vec<String> = self.columns().to_vec();
        let places = (0..names.len()).filter(|&place| wanted(&names[place]));
        let places: Vec<usize> = places.inspect(|&place| self.columns.carry(place)).collect();
        let mut used: std::collections::HashSet<String> = names.iter().cloned().collect();
        let rename = |name: &String| {
            if !taken.contains(&name.as_str()) {
                return name.clone();
            }
            let other = format!("{CARRIED}{name}");
            let other = if used.contains(&other) { free_name(&other, &used) } else { other };
            used.insert(other.clone());
            other
        };
        let others: Vec<String> = names.iter().map(rename).collect();
        let named = places.into_iter().map(|place| (others[place].clone(), place)).collect();
        Ok(self.sources(named, &types))
    }

    /// Where the values of carried columns are to be found.
    #[cfg(feature = "parquet")]
    fn sources(&mut self, named: Vec<(String, usize)>, types: &[CarriedType]) -> Vec<CarriedColumn> {
        let Rows::Parquet(rows) = &mut self.rows else {
            let kind = |place: usize| types.get(place).copied().unwrap_or(CarriedType::TEXT);
            let of = |(name, place)| CarriedColumn::of_type(name, place, kind(place));
            return named.into_iter().map(of).collect();
        };
        rows.keep_arrays();
        let in_batch = rows.places_in_batch(&self.columns);
        let of = |(name, place): (String, usize)| {
            CarriedColumn::of_arrays(name, in_batch[place], rows.field(place))
        };
        named.into_iter().map(of).collect()
    }

    #[cfg(not(feature = "parquet"))]
    fn sources(&mut self, _: Vec<(String, usize)>, _: &[()]) -> Vec<CarriedColumn> {
        Vec::new()
    }

    #[cfg(not(feature = "parquet"))]
    fn types(&mut self) -> Result<[(); 0]> {
        self.look_ahead(None, &mut |_, _| {}).map(|()| [])
    }

    /// The types of a table of JSON that can be read twice; of others none.
    #[cfg(feature = "parquet")]
    fn types(&mut self) -> Result<Vec<CarriedType>> {
        let mut types: Vec<CarriedType> = Vec::new();
        self.look_ahead(None, &mut |place, value| {
            types.resize(types.len().max(place + 1), CarriedType::default());
            if types[place] != CarriedType::TEXT {
                types[place].add(&carried(value));
            }
        })?;
        Ok(types)
    }

    /// Names of what no column had and could not be carried.
    #[must_use]
    pub fn left_out(&self) -> &BTreeSet<String> {
        &self.left_out
    }

    /// Reads a table of JSON that can be read twice for the keys of its later rows: up to the one that is
    /// looked for, or all. `see` is shown every value, as it is written, and its column.
    fn look_ahead(&mut self, wanted: Option<&str>, see: &mut dyn FnMut(usize, &str)) -> Result<()> {
        let twice = self.source.path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        if !matches!(self.rows, Rows::Json(_)) || !twice.is_some_and(|file| file.is_file()) {
            return Ok(());
        }
        let Self { rows: Rows::Json(mut rows), .. } = Self::open(&self.source)? else { return Ok(()) };
        let mut number = 1;
        while let Some(entries) = rows.next_entries().map_err(|error| error.at(&self.name).row(number))? {
            for (key, value) in entries.0 {
                let place = self.columns.place(&key).unwrap_or_else(|| self.columns.push(key));
                see(place, value.get());
            }
            if wanted.is_some_and(|name| self.columns.place(name).is_some()) {
                break;
            }
            number += 1;
        }
        Ok(())
    }

    /// The next rows: at most `max_rows`, and not many more than `max_bytes` of cells (one row at least).
    /// None at the end.
    ///
    /// # Errors
    /// A row is malformed.
    pub fn read(&mut self, max_rows: usize, max_bytes: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < max_rows && (rows.is_empty() || bytes < max_bytes) {
            let number = self.next;
            let values = self.next_values().map_err(|error| error.at(&self.name).in_row(number))?;
            let Some(Values { cells, mut others, origin }) = values else { break };
            if self.others == Others::Noted {
                self.left_out
                    .extend(others.drain(..).map(|(name, _)| name).take(MOST_LEFT_OUT - self.left_out.len()));
            }
            let row = Row { number, cells, others, origin };
            bytes += row.bytes();
            rows.push(row);
            self.next += 1;
        }
        if rows.is_empty() && self.next == 1 {
            return Err(empty_table().at(&self.name));
        }
        Ok(rows)
    }

    fn next_values(&mut self) -> Result<Option<Values>> {
        let of_texts = |texts: Vec<Option<String>>| Values {
            cells: texts.into_iter().map(|text| text.map_or(Cell::Null, Cell::Text)).collect(),
            others: Vec::new(),
            origin: None,
        };
        match &mut self.rows {
            Rows::Delimited(rows) => Ok(rows.next(self.columns.names())?.map(of_texts)),
            Rows::Json(rows) => rows.next(&self.columns, self.others != Others::Ignored),
            Rows::Lines(lines) => Ok(lines.next()?.map(of_texts)),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.next(&self.columns),
        }
    }
}

/// The error of a stream of Arrow where rows are read.
fn no_stream(name: String) -> Error {
    Error::new(crate::error::Kind::Usage, "this does not read streams of Arrow").at(name).help(
        "`frosthead embed` and `frosthead predict` answer such a stream with another; elsewhere give a Parquet",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of a file with that content, all columns carried.
    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<(Vec<String>, Vec<Row>)> {
        read_asking(&[], name, content)
    }

    fn read_asking(asked: &[&str], name: &str, content: impl AsRef<[u8]>) -> Result<(Vec<String>, Vec<Row>)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None)?)?;
        for name in asked {
            reader.column(name)?;
        }
        reader.carry();
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
        row.cells.iter().map(|cell| cell.as_str().unwrap_or("null")).collect()
    }

    #[track_caller]
    fn refused(name: &str, content: impl AsRef<[u8]>, parts: &[&str]) {
        refused_asking(&[], name, content, parts);
    }

    #[track_caller]
    fn refused_asking(asked: &[&str], name: &str, content: impl AsRef<[u8]>, parts: &[&str]) {
        let error = read_asking(asked, name, content).map(|_| ()).unwrap_err().to_string();
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
        assert_eq!(cells(&rows[0]), ["a\0", "1.50", "true"]);
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
        for name in ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt"] {
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
        refused("a.csv", "text,label\n\"a,b\nc,d\n", &["a.csv, row 1, column \"text\"", "line 2"]);
    }

    #[test]
    fn invalid_utf8_is_named_with_row_and_column() {
        refused("a.csv", b"text,label\na,b\nc,\xff\n", &["row 2", "\"label\"", "UTF-8"]);
        refused("a.csv", b"text,label\na,b\n\"c\nd\xff\",e\n", &["row 2", "\"text\"", "UTF-8"]);
        refused("a.csv", b"te\xffxt,label\na,b\n", &["header", "UTF-8"]);
        refused("a.jsonl", b"{\"text\": \"\xff\"}\n", &["row 1", "UTF-8"]);
        refused("a.txt", b"a\n\xff\n", &["row 2", "UTF-8"]);
        refused("a.txt", b"a\xff\n", &["row 1", "UTF-8"]);
    }

    #[test]
    fn malformed_json_is_named_with_its_line() {
        refused("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n", &["line 3", "row 2"]);
        refused("a.jsonl", "[1]\n", &["line 1", "object"]);
    }

    #[test]
    fn a_nested_value_is_refused_only_where_a_text_is_asked_for() {
        let table = "{\"text\": \"a\", \"m\": {\"a\": [1, 2.50]}}\n";
        refused_asking(&["m"], "a.jsonl", table, &["row 1", "\"m\"", "an object"]);
        refused_asking(&["text"], "a.jsonl", "{\"text\": [\"a\"]}\n", &["row 1", "\"text\"", "a list"]);
        let (_, rows) = read_asking(&["text"], "a.jsonl", table).unwrap();
        assert_eq!(rows[0].cells[1], Cell::Json("{\"a\": [1, 2.50]}".into()));
    }

    #[test]
    fn keys_of_later_rows_are_carried_and_can_be_asked_for() {
        let table = "{\"text\": \"a\"}\n{\"text\": \"b\", \"new\": 1}\n";
        let (columns, rows) = read("a.jsonl", table).unwrap();
        assert_eq!(columns, ["text"]);
        assert_eq!(rows[1].others, [("new".to_owned(), Cell::Number("1".into()))]);
        let (columns, rows) = read_asking(&["new"], "a.jsonl", table).unwrap();
        assert_eq!(columns, ["text", "new"]);
        assert_eq!([cells(&rows[0]), cells(&rows[1])], [["a", "null"], ["b", "1"]]);
        refused_asking(&["no"], "a.jsonl", table, &["\"no\"", "one of text, new"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_named() {
        let twice = "{\"text\": \"a\"}\n\n{\"text\": \"b\", \"n\": 1, \"text\": \"c\"}\n";
        refused("a.jsonl", twice, &["row 2", "line 3", "twice", "\"text\""]);
        refused("a.json", "[{\"a\": 1, \"a\": 1}]", &["row 1", "line 1", "twice", "\"a\""]);
    }

    #[test]
    fn an_array_of_objects_is_a_table_however_it_is_laid_out() {
        let pretty = "[\n  {\"text\": \"a]}\\\"\", \"n\": 36893488147419103232,\n  \"l\": [1,\n \"x y\"]},\n\n  {\"n\": -0.10, \"text\": null}\n]\n";
        for table in [pretty.to_owned(), pretty.replace('\n', ""), format!("\u{feff}\n{pretty}")] {
            let (columns, rows) = read("a.json", table).unwrap();
            assert_eq!(columns, ["text", "n", "l"]);
            assert_eq!(cells(&rows[0])[..2], ["a]}\"", "36893488147419103232"]);
            assert_eq!(rows[0].cells[2].as_str().unwrap().replace(", ", ","), "[1,\"x y\"]");
            assert_eq!(cells(&rows[1]), ["null", "-0.10", "null"]);
        }
    }

    #[test]
    fn tables_are_unpacked_and_decoded_in_every_format_of_text() {
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode(text);
            std::io::Write::write_all(&mut encoder, &bytes).unwrap();
            encoder.finish().unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("a.csv.gz", "text,label\n“caf\u{e9}”,x\n"),
            ("a.tsv.gz", "text\tlabel\n“caf\u{e9}”\tx\n"),
            ("a.jsonl.gz", "{\"text\": \"“caf\u{e9}”\", \"label\": \"x\"}\n"),
            ("a.json.gz", "[{\"text\": \"“caf\u{e9}”\", \"label\": \"x\"}]"),
            ("a.txt.gz", "“caf\u{e9}”\n"),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, gzip(content)).unwrap();
            let source = Source::new(path.to_str().unwrap(), None).unwrap();
            let first = |source: &Source| {
                let mut reader = TableReader::open(source)?;
                reader.column("text")?;
                Ok(reader.read(10, 1 << 20)?.remove(0).cells.remove(0))
            };
            let error: Error = first(&source).map(|_| ()).unwrap_err();
            let help = error.remedy().unwrap();
            assert!(help.contains("--encoding windows-1252"), "{error}: {help}");
            let encoding = "windows-1252".parse().ok();
            let source = source.with(super::super::Reading { encoding, ..Default::default() }).unwrap();
            assert_eq!(first(&source).unwrap().as_str(), Some("“café”"), "{name}");
        }
    }

    #[test]
    fn faults_of_an_array_are_named_with_line_and_row() {
        let of = |rows: &str| format!("[\n{{\"text\": \"a\"}}{rows}");
        refused("a.json", "[]", &["the table is empty"]);
        refused("a.json", of(""), &["row 2", "line 2", "cut off"]);
        refused("a.json", of(",\n]"), &["row 2", "line 3", "not a JSON object"]);
        refused("a.json", of(" {}"), &["row 2", "line 2", "comma"]);
        refused("a.json", of(",\n[1]]"), &["row 2", "line 3", "not a JSON object", "[1]"]);
        refused("a.json", of(",\n{\"text\": \"b"), &["row 2", "line 3", "cut off"]);
        refused("a.json", of(",\n{\"text\":\n tru}]"), &["row 2", "line 4", "not JSON"]);
        refused("a.json", of("]\n[]"), &["row 2", "line 2", "behind the end"]);
        refused("a.json", b"[{\"text\": \"\xff\"}]", &["row 1", "UTF-8"]);
    }

    #[test]
    fn the_other_kind_of_json_is_recognised() {
        let lines = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
        refused("a.json", lines, &["JSON lines"]);
        refused("a.jsonl", " [\n {\"text\": \"a\"}]", &["one JSON array"]);
        refused(
            "a.json",
            "{\"data\": [{\"text\": \"a\"}], \"n\": 1}",
            &["not a list of rows", "\"data\", \"n\""],
        );
        let long = format!("{{\"data\": [{}]}}", "{\"text\": \"a\"},".repeat(100_000));
        refused("a.json", long, &["not a list of rows", "{\"data\""]);
        refused("a.json", "text,label\n", &["not JSON", "text,label"]);
    }

    #[test]
    fn two_columns_of_one_name_are_refused_only_where_one_is_asked_for() {
        refused_asking(&["text"], "a.csv", "text,text\na,b\n", &["same name", "\"text\""]);
        let (columns, rows) = read_asking(&["text"], "a.csv", "text,,\na,b,c\n").unwrap();
        assert_eq!(columns, ["text", "", "_2"]);
        assert_eq!(cells(&rows[0]), ["a", "b", "c"]);
    }

    #[test]
    fn what_nobody_asks_for_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\": \"a\", \"n\": \"\\ud800\"}\n").unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap()).unwrap();
        reader.column("text").unwrap();
        assert_eq!(reader.read(1, 1).unwrap()[0].cells, [Cell::Text("a".into()), Cell::Null]);
        let (_, rows) = read("a.jsonl", "{\"n\": \"\\ud800\"}\n").unwrap();
        assert_eq!(rows[0].cells, [Cell::Json("\"\\ud800\"".into())]);
        refused_asking(&["n"], "a.jsonl", "{\"n\": \"\\ud800\"}\n", &["row 1", "\"n\"", "surrogate"]);
    }

    #[test]
    fn lines_of_old_macs_are_lines() {
        let (_, rows) = read("a.txt", "one\rtwo\rthree").unwrap();
        assert_eq!(rows.iter().map(|row| cells(row)[0]).collect::<Vec<_>>(), ["one", "two", "three"]);
        let (_, rows) = read("a.jsonl", "{\"text\": \"a\"}\r{\"text\": \"b\"}\r").unwrap();
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_column_that_is_nearly_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "Text, label\na,b\n").unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap()).unwrap();
        assert!(reader.column("text").unwrap_err().remedy().unwrap().contains("say \"Text\""));
        assert!(reader.column("label").unwrap_err().remedy().unwrap().contains("say \" label\""));
    }

    #[test]
    fn a_missing_column_names_those_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "review,label\na,b\n").unwrap();
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap()).unwrap();
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
        reader.column("text").unwrap();
        assert_eq!(reader.read(10, 50).unwrap().len(), 1);
        assert_eq!(reader.read(10, 50).unwrap().len(), 2);
        assert!(reader.read(10, 50).unwrap().is_empty());
    }
}
