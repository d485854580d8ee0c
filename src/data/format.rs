//! Owns which kinds of tables there are, and what their files' names end with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::named::named;

/// Endings of files that hold a table compressed; what stands before them tells the table's format.
const COMPRESSED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

/// A kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated, RFC 4180 quoting, with a header.
    Csv,
    /// Tab-separated, with a header; quotes enclose cells, but no tab and no line end.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// One text a line; the column is called `text`.
    Lines,
    /// A stream of Arrow's IPC format.
    Arrow,
}

named!(
    Format,
    "there is no such format",
    Csv = "csv",
    Tsv = "tsv",
    Jsonl = "jsonl",
    Json = "json",
    Parquet = "parquet",
    Lines = "lines",
    Arrow = "arrow"
);

impl Format {
    /// The format that a file's extension stands for, or the one before `.gz` or `.zst`.
    ///
    /// # Errors
    /// It stands for none.
    pub fn of_path(path: &Path) -> Result<Self> {
        let name = if names_compressed(path) { path.with_extension("") } else { path.to_path_buf() };
        let extension = name.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("tsv" | "tab") => Ok(Self::Tsv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("json") => Ok(Self::Json),
            Some("parquet") => Ok(Self::Parquet),
            Some("txt") => Ok(Self::Lines),
            Some("arrows") => Ok(Self::Arrow),
            other => Err(Error::new(Kind::Usage, "the file's extension does not tell its format")
                .at(path)
                .found(other.map_or_else(|| "no extension".to_owned(), |other| format!(".{other}")))
                .expected(
                    ".csv, .tsv, .jsonl, .ndjson, .json, .parquet, .txt or .arrows, or one of these and .gz or .zst",
                )
                .help("say --format csv, tsv, jsonl, json, parquet, lines or arrow")),
        }
    }
}

/// Whether a file's name says that it is compressed.
pub(super) fn names_compressed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| COMPRESSED.contains(&extension.to_string_lossy().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_extension_names_the_known_ones() {
        for path in ["a.dat", "a", "a.gz", "a.csv.bz2"] {
            let error = Format::of_path(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains(".jsonl"), "{error}");
        }
    }

    #[test]
    fn names_round_trip() {
        for name in ["csv", "tsv", "jsonl", "json", "parquet", "lines", "arrow"] {
            assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
        }
        assert!("xlsx".parse::<Format>().unwrap_err().to_string().contains("xlsx"));
    }
}
