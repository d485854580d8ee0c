//! Owns results written row by row: JSONL, CSV or TSV.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use super::cell::{Cell, json_text};
use super::format::names_compressed;
use super::label_list::SEPARATOR;
use crate::error::{Error, Kind, Result, quoted};
use crate::named::named;

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordFormat {
    #[default]
    Jsonl,
    Csv,
    Tsv,
}

named!(RecordFormat, "there is no such output format", Jsonl = "jsonl", Csv = "csv", Tsv = "tsv");

impl RecordFormat {
    /// Refuses the name of a compressed file, whatever shall be written to it.
    ///
    /// # Errors
    /// It is one.
    pub fn refuse_compressed(path: &Path) -> Result<()> {
        if !names_compressed(path) {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, "tables are written uncompressed")
            .at(path)
            .help("leave .gz or .zst away from the name, and compress the file afterwards"))
    }

    /// The format that an output's extension stands for.
    ///
    /// # Errors
    /// It stands for none.
    pub fn of_path(path: &Path) -> Result<Self> {
        Self::refuse_compressed(path)?;
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            Some("tsv" | "tab") => Ok(Self::Tsv),
            other => Err(Error::new(Kind::Usage, "the output's extension does not tell how to write it")
                .at(path)
                .found(other.map_or_else(|| "no extension".to_owned(), |other| format!(".{other}")))
                .expected(".csv, .tsv, .jsonl or .ndjson")
                .help("give the output such a name")),
        }
    }
}

/// One value of a result row; texts are borrowed, for one may be megabytes long.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordValue<'a> {
    Null,
    Integer(u64),
    Number(f64),
    Text(&'a str),
    /// A value of the input, as it was there.
    Cell(&'a Cell),
    /// Several texts; a CSV cell holds them with the usual separator between them, or, where one of them has
    /// that in it, as JSON.
    List(Vec<&'a str>),
    /// Anything nested; a CSV cell holds it as JSON.
    Json(serde_json::Value),
}

impl RecordValue<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Integer(number) => out.extend(number.to_string().bytes()),
            Self::Number(number) => out.extend(serde_json::json!(number).to_string().bytes()),
            Self::Text(text) => json_text(text, out),
            Self::Cell(cell) => cell.write_json(out),
            Self::List(texts) => out.extend(serde_json::json!(texts).to_string().bytes()),
            Self::Json(value) => out.extend(value.to_string().bytes()),
        }
    }
}

/// What is put in front of the name of a carried column that the output uses itself.
pub const CARRIED: &str = "input_";

/// Writes result rows to anything.
pub struct RecordWriter<'w> {
    columns: Vec<String>,
    target: Target<'w>,
}

enum Target<'w> {
    /// Where to, and the line that is being made.
    Jsonl(&'w mut dyn Write, Vec<u8>),
    Csv(Box<csv::Writer<&'w mut dyn Write>>),
    Tsv(Box<csv::Writer<&'w mut dyn Write>>),
}

impl<'w> RecordWriter<'w> {
    /// Starts a result with these columns; CSV gets its header.
    ///
    /// # Errors
    /// The header cannot be written, or two columns have the same name.
    pub fn new(out: &'w mut dyn Write, format: RecordFormat, columns: &[String]) -> Result<Self> {
        if let Some((_, name)) =
            columns.iter().enumerate().find(|(place, name)| columns[..*place].contains(name))
        {
            return Err(twice(name));
        }
        let target = match format {
            RecordFormat::Jsonl => Target::Jsonl(out, Vec::new()),
            RecordFormat::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(columns).map_err(failed)?;
                Target::Csv(Box::new(writer))
            }
            RecordFormat::Tsv => {
                let mut writer = csv::WriterBuilder::new().delimiter(b'\t').from_writer(out);
                columns.iter().try_for_each(|column| fits_tsv(column.as_bytes()))?;
                writer.write_record(columns).map_err(failed)?;
                Target::Tsv(Box::new(writer))
            }
        };
        Ok(Self { columns: columns.to_vec(), target })
    }

    /// Writes one row, a value per column.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, values: &[RecordValue<'_>]) -> Result<()> {
        self.write_with(values, &[])
    }

    /// The same with values that no column has; CSV has no place for them. One with a column's name gets
    /// [`CARRIED`] in front of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_with(&mut self, values: &[RecordValue<'_>], others: &[(String, Cell)]) -> Result<()> {
        match &mut self.target {
            Target::Jsonl(out, line) => {
                line.clear();
                for (column, value) in self.columns.iter().zip(values) {
                    begin_entry(line, column);
                    value.write_json(line);
                }
                for (name, cell) in others {
                    let mut key = Cow::Borrowed(name.as_str());
                    while self.columns.iter().any(|column| **column == *key)
                        || (*key != **name && others.iter().any(|(other, _)| **other == *key))
                    {
                        key.to_mut().insert_str(0, CARRIED);
                    }
                    begin_entry(line, &key);
                    cell.write_json(line);
                }
                line.extend(if line.is_empty() { &b"{}\n"[..] } else { b"}\n" });
                out.write_all(line).map_err(|source| Error::io("write", "the output", source))
            }
            Target::Csv(writer) => writer.write_record(values.iter().map(text)).map_err(failed),
            Target::Tsv(writer) => {
                let cells: Vec<Cow<'_, [u8]>> = values.iter().map(text).collect();
                cells.iter().try_for_each(|cell| fits_tsv(cell))?;
                writer.write_record(&cells).map_err(failed)
            }
        }
    }

    /// Hands everything written so far on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Jsonl(out, _) => out.flush(),
            Target::Csv(writer) | Target::Tsv(writer) => writer.flush(),
        }
        .map_err(|source| Error::io("write", "the output", source))
    }

    /// Ends the result.
    ///
    /// # Errors
    /// The last rows cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }
}

/// Refuses a cell that readers of TSV would take apart.
fn fits_tsv(cell: &[u8]) -> Result<()> {
    if !cell.iter().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r')) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Table,
        "a cell of the output holds a tab or a line end, which TSV has no way to say",
    )
    .found(quoted(&String::from_utf8_lossy(cell).chars().take(60).collect::<String>()))
    .help("write CSV or JSON lines: --out with .csv or .jsonl, or --output-format csv or jsonl"))
}

/// Writes a key, and what comes before it.
fn begin_entry(line: &mut Vec<u8>, key: &str) {
    line.push(if line.is_empty() { b'{' } else { b',' });
    json_text(key, line);
    line.push(b':');
}

fn twice(name: &str) -> Error {
    Error::new(Kind::Table, "the output would have two columns of the same name")
        .found(quoted(name))
        .help("give the tasks and labels names that are not each other's")
}

fn text<'a>(value: &RecordValue<'a>) -> Cow<'a, [u8]> {
    match value {
        RecordValue::Null => Cow::Borrowed(b""),
        RecordValue::Integer(number) => number.to_string().into_bytes().into(),
        RecordValue::Number(number) => number.to_string().into_bytes().into(),
        RecordValue::Text(text) => text.as_bytes().into(),
        RecordValue::Cell(cell) => cell.as_str().unwrap_or_default().as_bytes().into(),
        RecordValue::List(texts) if texts.iter().any(|text| text.contains(SEPARATOR)) => {
            serde_json::json!(texts).to_string().into_bytes().into()
        }
        RecordValue::List(texts) => texts.join(SEPARATOR).into_bytes().into(),
        RecordValue::Json(value) => value.to_string().into_bytes().into(),
    }
}

fn failed(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io("write", "the output", source),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::new(Kind::Io, "a row of the output does not fit its header; this is a bug")
                .found(format!("{len} cells"))
                .expected(expected_len.to_string())
        }
        _ => Error::new(Kind::Io, "the output cannot be written as CSV"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: RecordFormat) -> String {
        let mut out = Vec::new();
        let mut writer =
            RecordWriter::new(&mut out, format, &["row", "text", "p"].map(str::to_owned)).unwrap();
        writer
            .write(&[RecordValue::Integer(1), RecordValue::Text("a, \"b\"\n"), RecordValue::Number(0.25)])
            .unwrap();
        writer.write(&[RecordValue::Integer(2), RecordValue::Null, RecordValue::Number(1.0)]).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_lines_keep_the_columns_order() {
        assert_eq!(
            written(RecordFormat::Jsonl),
            "{\"row\":1,\"text\":\"a, \\\"b\\\"\\n\",\"p\":0.25}\n{\"row\":2,\"text\":null,\"p\":1.0}\n"
        );
    }

    #[test]
    fn a_cell_keeps_its_type_and_its_digits() {
        let cells = [
            Cell::Number("1.10".into()),
            Cell::Bool(true),
            Cell::Json("{\"a\": [1e2]}".into()),
            Cell::Text("1.10".into()),
            Cell::Null,
        ];
        let written = |format| {
            let mut out = Vec::new();
            let columns = ["n", "b", "j", "t", "z"].map(str::to_owned);
            let mut writer = RecordWriter::new(&mut out, format, &columns).unwrap();
            writer.write(&cells.each_ref().map(RecordValue::Cell)).unwrap();
            writer.finish().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(RecordFormat::Jsonl),
            "{\"n\":1.10,\"b\":true,\"j\":{\"a\": [1e2]},\"t\":\"1.10\",\"z\":null}\n"
        );
        assert_eq!(written(RecordFormat::Csv), "n,b,j,t,z\n1.10,true,\"{\"\"a\"\": [1e2]}\",1.10,\n");
    }

    #[test]
    fn values_without_a_column_follow_in_json_lines() {
        let mut out = Vec::new();
        let mut writer = RecordWriter::new(&mut out, RecordFormat::Jsonl, &["a".to_owned()]).unwrap();
        let others = |name: &str| [(name.to_owned(), Cell::Bool(false))];
        writer.write_with(&[RecordValue::Integer(1)], &others("b")).unwrap();
        writer.write_with(&[RecordValue::Integer(1)], &others("a")).unwrap();
        drop(writer);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":1,\"b\":false}\n{\"a\":1,\"input_a\":false}\n");
    }

    #[test]
    fn csv_is_quoted() {
        assert_eq!(written(RecordFormat::Csv), "row,text,p\n1,\"a, \"\"b\"\"\n\",0.25\n2,,1\n");
    }

    #[test]
    fn tsv_is_quoted_where_it_must_be_and_refuses_what_it_cannot_say() {
        let written = |text: &str| {
            let mut out = Vec::new();
            let columns = ["row", "text"].map(str::to_owned);
            let mut writer = RecordWriter::new(&mut out, RecordFormat::Tsv, &columns)?;
            writer.write(&[RecordValue::Integer(1), RecordValue::Text(text)])?;
            writer.finish()?;
            Ok::<_, Error>(String::from_utf8(out).unwrap())
        };
        assert_eq!(written("a, \"b\"").unwrap(), "row\ttext\n1\t\"a, \"\"b\"\"\"\n");
        for text in ["a\tb", "a\nb", "a\r"] {
            assert!(written(text).unwrap_err().to_string().contains("a tab or a line end"), "{text:?}");
        }
    }

    #[test]
    fn an_extension_tells_the_format() {
        for (path, format) in [
            ("a.csv", RecordFormat::Csv),
            ("a.TSV", RecordFormat::Tsv),
            ("a.jsonl", RecordFormat::Jsonl),
            ("a.ndjson", RecordFormat::Jsonl),
        ] {
            assert_eq!(RecordFormat::of_path(Path::new(path)).unwrap(), format);
        }
        for path in ["a.parquet", "a"] {
            let error = RecordFormat::of_path(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(".jsonl"), "{error}");
        }
        let packed = RecordFormat::of_path(Path::new("a.csv.gz")).unwrap_err().to_string();
        assert!(packed.contains("uncompressed"), "{packed}");
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let mut out = Vec::new();
        let columns = ["a", "a"].map(str::to_owned);
        assert!(RecordWriter::new(&mut out, RecordFormat::Csv, &columns).is_err());
    }
}
