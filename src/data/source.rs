//! Owns a table by its place, and how a command-line argument becomes one.

use std::fmt;
use std::path::{Path, PathBuf};

use super::format::Format;
use super::reading::Reading;
use crate::error::{Error, Kind, Result};
use crate::recognize::{Thing, Wanted};

/// A table by its place, and how it is read.
#[derive(Clone)]
pub struct Source {
    /// `None`: standard input.
    pub path: Option<PathBuf>,
    /// How it is written.
    pub format: Format,
    /// Nobody said the format: the file's extension did, or, of standard input, nothing.
    pub presumed: bool,
    reading: Reading,
}

/// Part of what the inputs of a run are hashed from: nothing is said of a reading by default, as in the runs
/// of before.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut source = f.debug_struct("Source");
        source.field("path", &self.path).field("format", &self.format);
        if !self.reading.is_default() {
            source.field("reading", &self.reading);
        }
        source.finish()
    }
}

impl Source {
    /// The table in a file whose extension says the format.
    ///
    /// # Errors
    /// No table has such an extension.
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let format = format_of(&path)?;
        Ok(Self { path: Some(path), format, presumed: true, reading: Reading::default() })
    }

    /// Reads a command-line argument: `-` is standard input, one text a line unless `format` is given; else a
    /// path whose extension tells the format unless `format` is given.
    ///
    /// # Errors
    /// The format is not known.
    pub fn new(argument: &str, format: Option<Format>) -> Result<Self> {
        let presumed = format.is_none();
        if argument != "-" {
            let path = PathBuf::from(argument);
            let format = format.map_or_else(|| format_of(&path), Ok)?;
            return Ok(Self { path: Some(path), format, presumed, reading: Reading::default() });
        }
        match format.unwrap_or(Format::Lines) {
            Format::Parquet => Err(Error::new(Kind::Usage, "Parquet cannot be read from standard input")
                .help("its table of contents is at the end: save it to a file and give that")),
            format => Ok(Self { path: None, format, presumed, reading: Reading::default() }),
        }
    }

    /// Whether it lies in a file, which can be read as often as one likes, and not in a pipe or on a
    /// terminal.
    #[must_use]
    pub fn is_regular_file(&self) -> bool {
        match &self.path {
            Some(path) => path.is_file(),
            None => rustix::fs::fstat(std::io::stdin())
                .is_ok_and(|file| rustix::fs::FileType::from_raw_mode(file.st_mode).is_file()),
        }
    }

    /// The same table, read in this way.
    ///
    /// # Errors
    /// Its format has no use for it.
    pub fn with(self, reading: Reading) -> Result<Self> {
        reading.check(self.format).map_err(|error| error.at(self.name()))?;
        Ok(Self { reading, ..self })
    }

    /// How it is read.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// What to call it in a message.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
    }
}

/// The format that a path's extension tells.
fn format_of(path: &Path) -> Result<Format> {
    Format::of_path(path).map_err(|unknown| match Thing::of(path) {
        Thing::Parquet => unknown.help("it is Parquet: say --format parquet"),
        packed @ Thing::Compressed(..) if packed.may_be_table() => {
            unknown.found(format!("{packed} that does not say in its name what it holds"))
        }
        thing if thing.may_be_table() => unknown,
        thing => thing.instead_of(Wanted::Table, Some(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_tell_the_format() {
        for (path, format) in [
            ("a.csv", Format::Csv),
            ("a.TSV", Format::Tsv),
            ("a.ndjson", Format::Jsonl),
            ("a.parquet", Format::Parquet),
            ("a.txt", Format::Lines),
            ("a.csv.gz", Format::Csv),
            ("a.b.tsv.ZST", Format::Tsv),
            ("a.jsonl.gzip", Format::Jsonl),
            ("a.parquet.zstd", Format::Parquet),
        ] {
            assert_eq!(Source::new(path, None).unwrap().format, format);
        }
        assert_eq!(Source::new("a.dat", Some(Format::Csv)).unwrap().format, Format::Csv);
    }

    #[test]
    fn a_source_is_hashed_as_ever_unless_it_is_read_in_a_way_of_its_own() {
        let source = Source::new("a.csv", None).unwrap();
        assert_eq!(format!("{source:?}"), "Source { path: Some(\"a.csv\"), format: Csv }");
        let reading = Reading { delimiter: ";".parse().ok(), ..Reading::default() };
        let other = format!("{:?}", source.with(reading).unwrap());
        assert!(other.contains("format: Csv, reading: Reading"), "{other}");
        let lines = Source::new("-", Some(Format::Lines)).unwrap().with(reading).unwrap_err().to_string();
        assert!(lines.contains("standard input") && lines.contains("lines"), "{lines}");
    }

    #[test]
    fn standard_input_needs_a_streamable_format() {
        assert_eq!(Source::new("-", None).unwrap().format, Format::Lines);
        assert!(Source::new("-", Some(Format::Parquet)).is_err());
        assert_eq!(Source::new("-", Some(Format::Lines)).unwrap().name(), "standard input");
    }
}
