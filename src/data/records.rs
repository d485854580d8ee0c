//! Owns results written row by row: JSONL, CSV or TSV.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::error::{Error, Kind, Result};

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordFormat {
    #[default]
    Jsonl,
    Csv,
    Tsv,
}

impl fmt::Display for RecordFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
        })
    }
}

impl FromStr for RecordFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "jsonl" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            _ => Err(Error::new(Kind::Usage, "there is no such output format")
                .found(format!("{text:?}"))
                .expected("jsonl, csv or tsv")),
        }
    }
}

impl RecordFormat {
    /// The format that an output's extension stands for.
    ///
    /// # Errors
    /// It stands for none.
    pub fn of_path(path: &Path) -> Result<Self> {
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
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum RecordValue<'a> {
    Null,
    Integer(u64),
    Number(f64),
    Text(&'a str),
    /// Anything nested; a CSV cell holds it as JSON.
    Json(serde_json::Value),
}

/// A row as a JSON object, columns in their order.
struct Record<'a>(&'a [String], &'a [RecordValue<'a>]);

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.1.len()))?;
        for (column, value) in self.0.iter().zip(self.1) {
            object.serialize_entry(column, value)?;
        }
        object.end()
    }
}

/// Writes result rows to anything.
pub struct RecordWriter<'w> {
    columns: Vec<String>,
    target: Target<'w>,
}

enum Target<'w> {
    Jsonl(&'w mut dyn Write),
    Csv(Box<csv::Writer<&'w mut dyn Write>>),
}

impl<'w> RecordWriter<'w> {
    /// Starts a result with these columns; CSV gets its header.
    ///
    /// # Errors
    /// The header cannot be written, or two columns have the same name.
    pub fn new(out: &'w mut dyn Write, format: RecordFormat, columns: &[String]) -> Result<Self> {
        if let Some(twice) = columns.iter().enumerate().find(|(place, name)| columns[..*place].contains(name))
        {
            return Err(Error::new(Kind::Table, "the output would have two columns of the same name")
                .found(format!("{:?}", twice.1))
                .help("give the tasks and labels names that are not each other's"));
        }
        let target = match format {
            RecordFormat::Jsonl => Target::Jsonl(out),
            RecordFormat::Csv | RecordFormat::Tsv => {
                let delimiter = if format == RecordFormat::Tsv { b'\t' } else { b',' };
                let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
                writer.write_record(columns).map_err(failed)?;
                Target::Csv(Box::new(writer))
            }
        };
        Ok(Self { columns: columns.to_vec(), target })
    }

    /// Writes one row, a value per column.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, values: &[RecordValue<'_>]) -> Result<()> {
        match &mut self.target {
            Target::Jsonl(out) => {
                serde_json::to_writer(&mut **out, &Record(&self.columns, values))
                    .map_err(|error| Error::io("write", "the output", error.into()))?;
                out.write_all(b"\n").map_err(|source| Error::io("write", "the output", source))
            }
            Target::Csv(writer) => writer.write_record(values.iter().map(text)).map_err(failed),
        }
    }

    /// Hands everything written so far on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Jsonl(out) => out.flush(),
            Target::Csv(writer) => writer.flush(),
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

fn text<'a>(value: &RecordValue<'a>) -> Cow<'a, [u8]> {
    match value {
        RecordValue::Null => Cow::Borrowed(b""),
        RecordValue::Integer(number) => number.to_string().into_bytes().into(),
        RecordValue::Number(number) => number.to_string().into_bytes().into(),
        RecordValue::Text(text) => text.as_bytes().into(),
        RecordValue::Json(value) => value.to_string().into_bytes().into(),
    }
}

fn failed(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io("write", "the output", source),
        other => Error::new(Kind::Io, format!("the output cannot be written: {other:?}")),
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
    fn csv_is_quoted() {
        assert_eq!(written(RecordFormat::Csv), "row,text,p\n1,\"a, \"\"b\"\"\n\",0.25\n2,,1\n");
    }

    #[test]
    fn tsv_is_quoted_where_it_must_be() {
        assert_eq!(written(RecordFormat::Tsv), "row\ttext\tp\n1\t\"a, \"\"b\"\"\n\"\t0.25\n2\t\t1\n");
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
        for path in ["a.parquet", "a", "a.csv.gz"] {
            let error = RecordFormat::of_path(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(".jsonl"), "{error}");
        }
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let mut out = Vec::new();
        let columns = ["a", "a"].map(str::to_owned);
        assert!(RecordWriter::new(&mut out, RecordFormat::Csv, &columns).is_err());
    }
}
