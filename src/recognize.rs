//! Owns telling what lies at a path, from its name, its first bytes and what is in a directory, and what to
//! do when something else is needed there.
//!
//! Refuses to check it: whether a bundle is whole is `bundle`'s to say.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::{Error, Kind};

/// Bytes that are looked at.
const START: usize = 512;
/// Bytes at the end of a ZIP archive that name its entries.
const END: u64 = 64 << 10;

/// What may lie at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    Nothing,
    /// A pipe, a terminal, a device.
    Stream,
    EmptyFile,
    Bundle,
    Zip,
    Parquet,
    /// A file of text with the extension of a table.
    Table(&'static str),
    Json,
    Text,
    Safetensors,
    Onnx,
    /// The name of the format, and the command that unpacks it.
    Compressed(&'static str, &'static str),
    /// Git LFS has not fetched the file yet.
    LfsPointer,
    /// A file of another program: what it is.
    Foreign(&'static str),
    /// Bytes that nothing is known of.
    Unknown,
    Backbone,
    Run,
    Comparison,
    /// What Hugging Face's libraries save.
    Checkpoint,
    Store,
    EmptyDirectory,
    Directory,
}

/// What is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Table,
    Bundle,
    Run,
    /// A run or a bundle.
    Model,
    /// A backbone, or a run or a bundle for its own.
    Backbone,
    /// Anything that this program makes.
    Made,
    /// What can be imported.
    Source,
}

/// Formats of other programs, by their first bytes.
const FOREIGN: [(&[u8], &str); 12] = [
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\xd0\xcf\x11\xe0", "a document of an old Office"),
    (b"\x89PNG", "an image"),
    (b"\x7fELF", "a program or a library"),
    (b"untrusted comment:", "a signature or a key of minisign"),
];

/// Formats that have to be unpacked, by their first bytes.
const COMPRESSED: [(&[u8], Thing); 5] = [
    (b"\x1f\x8b", Thing::Compressed("gzip", "gzip -d")),
    (b"\x28\xb5\x2f\xfd", Thing::Compressed("Zstandard", "zstd -d")),
    (b"\xfd7zXZ\0", Thing::Compressed("xz", "xz -d")),
    (b"\x04\x22\x4d\x18", Thing::Compressed("lz4", "lz4 -d")),
    (b"\x1f\x9d", Thing::Compressed("compress", "gzip -d")),
];

impl Thing {
    /// What lies there.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Err(_) => Self::Nothing,
            Ok(file) if file.is_dir() => Self::of_directory(path),
            Ok(file) if !file.is_file() => Self::Stream,
            Ok(_) => Self::of_file(path).unwrap_or(Self::Unknown),
        }
    }

    /// What a file is that begins like this; none when that does not tell.
    #[must_use]
    pub fn of_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Some(zip(start));
        }
        // Letters that a text may begin with tell nothing alone.
        if start.starts_with(b"PAR1\x15") {
            return Some(Self::Parquet);
        }
        if start.starts_with(b"version https://git-lfs") {
            return Some(Self::LfsPointer);
        }
        if let Some((header, b'{')) =
            start.split_first_chunk::<8>().map(|(length, rest)| (length, rest.first().copied().unwrap_or(0)))
            && u64::from_le_bytes(*header) < 1 << 32
        {
            return Some(Self::Safetensors);
        }
        if start.starts_with(b"BZh") && start.get(4..10) == Some(b"1AY&SY") {
            return Some(Self::Compressed("bzip2", "bzip2 -d"));
        }
        if start.get(257..262) == Some(b"ustar") {
            return Some(Self::Foreign("a tar archive"));
        }
        if start.starts_with(b"ORC") && !is_text(start) {
            return Some(Self::Foreign("an ORC file"));
        }
        let foreign = FOREIGN.iter().map(|(magic, what)| (*magic, Self::Foreign(what)));
        foreign.chain(COMPRESSED).find(|(magic, _)| start.starts_with(magic)).map(|(_, thing)| thing)
    }

    fn of_file(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let mut start = Vec::with_capacity(START);
        (&file).take(START as u64).read_to_end(&mut start)?;
        if start.is_empty() {
            return Ok(Self::EmptyFile);
        }
        match Self::of_start(&start) {
            Some(Self::Zip) => return zip_by_its_entries(&file),
            Some(thing) => return Ok(thing),
            None => {}
        }
        let extension = path.extension().map(|own| own.to_string_lossy().to_lowercase()).unwrap_or_default();
        let text = is_text(&start);
        Ok(match extension.as_str() {
            "csv" if text => Self::Table("CSV"),
            "tsv" | "tab" if text => Self::Table("TSV"),
            "jsonl" | "ndjson" if text => Self::Table("JSONL"),
            "json" if text => Self::Json,
            "onnx" => Self::Onnx,
            // A model's first field is the version of its format, and strings or messages follow.
            _ if matches!(start[..], [8, 1..=20, tag, ..] if tag & 7 == 2 && tag < 0x80) => Self::Onnx,
            _ if text => Self::Text,
            _ => Self::Unknown,
        })
    }

    fn of_directory(path: &Path) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| path.join(name).exists());
        let empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        match () {
            () if has(&["backbone.json"]) => Self::Backbone,
            () if has(&["recipe.toml"]) => Self::Run,
            () if has(&["report.json"]) => Self::Comparison,
            () if has(&["config.json", "modules.json", "model.safetensors", "tokenizer.json"]) => {
                Self::Checkpoint
            }
            () if path.join("features").is_dir() || path.join("parts").is_dir() => Self::Store,
            () if empty => Self::EmptyDirectory,
            () => Self::Directory,
        }
    }

    /// Whether it may be a table of a format that nothing but the user can tell.
    #[must_use]
    pub fn may_be_table(self) -> bool {
        matches!(
            self,
            Self::Stream
                | Self::EmptyFile
                | Self::Table(_)
                | Self::Parquet
                | Self::Json
                | Self::Text
                | Self::Unknown
        ) || matches!(self, Self::Compressed("gzip" | "Zstandard", _))
    }

    /// Whether it may be what `import` takes.
    #[must_use]
    pub fn is_importable(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Directory | Self::Onnx)
    }

    /// The error of finding it where something else is needed.
    #[must_use]
    pub fn instead_of(self, wanted: Wanted, path: Option<&Path>) -> Error {
        let place = path.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let error = match self {
            Self::Nothing => Error::new(wanted.kind(), wanted.missing()),
            _ => Error::new(wanted.kind(), wanted.not()).found(self.to_string()),
        };
        error
            .at(path.unwrap_or(Path::new("standard input")))
            .expected(wanted.made_by())
            .help(self.advice(wanted, &place))
    }

    /// What to do about it.
    fn advice(self, wanted: Wanted, place: &str) -> String {
        let table = matches!(self, Self::Table(_) | Self::Parquet | Self::Json | Self::Text);
        match (self, wanted) {
            (Self::Nothing, _) => wanted.advice_for_nothing().to_owned(),
            (Self::EmptyFile, _) => "nothing is in it: make it, or copy it here, again".to_owned(),
            (Self::LfsPointer, _) => "fetch the file itself: `git lfs pull` in its repository".to_owned(),
            (Self::Compressed(_, command), _) if place == "-" => {
                format!("unpack it on the way: `{command}c FILE | frosthead …`")
            }
            (Self::Compressed(name, command), _) => match is_called(name, place) {
                true => format!("unpack it first: `{command}k {place}`"),
                // These programs refuse a file of another name.
                false => format!("unpack it first: `{command}c {place} > UNPACKED`"),
            },
            (Self::Foreign("a spreadsheet"), _) => {
                "save it as CSV (UTF-8) in the program it was made with".to_owned()
            }
            (_, Wanted::Table) => self.advice_for_table(place),
            (_, Wanted::Source) => self.advice_for_import(place),
            (Self::Comparison, _) => format!("give one of the runs in it: {place}/BACKBONE/SCENARIO"),
            (Self::Store, _) => format!("`frosthead cache list --cache {place}` says what is in it"),
            (Self::Checkpoint, _) => format!("import it first: `frosthead import {place} --out models/NAME`"),
            (Self::Onnx, _) => format!(
                "import it first: `frosthead import {place} --tokenizer tokenizer.json --out models/NAME`"
            ),
            (Self::Safetensors, _) => {
                "a file of weights is one part of a model: `frosthead import` takes the \
                                       directory it lies in"
                    .to_owned()
            }
            (Self::Run, Wanted::Bundle) => {
                format!("bundle it first: `frosthead bundle {place} --out x.frost`")
            }
            (Self::Bundle, Wanted::Run) => {
                "a bundle is made already; give the run that it was made of".to_owned()
            }
            (Self::Backbone, _) => format!(
                "train a run on it: `frosthead train DATA --backbone {place} --task COLUMN --out runs/NAME`"
            ),
            (_, Wanted::Made) if table => format!(
                "a table is learned from and labelled: `frosthead predict {place} --model RUN`; inspect says what a model is"
            ),
            (_, Wanted::Model) if table => {
                "give the table first, and a run or a bundle with --model".to_owned()
            }
            (_, Wanted::Backbone) if table => {
                "give the table first, and a backbone with --backbone".to_owned()
            }
            _ => wanted.advice_for_nothing().to_owned(),
        }
    }

    /// What to do where a table is needed.
    fn advice_for_table(self, place: &str) -> String {
        match self {
            Self::Bundle | Self::Run => format!("give the table first, and this with --model {place}"),
            Self::Backbone => format!("give the table first, and this with --backbone {place}"),
            Self::Parquet if place == "-" => {
                "save it to a file, give that, and say --format parquet".to_owned()
            }
            Self::Parquet => "say --format parquet".to_owned(),
            Self::Zip | Self::Foreign("a tar archive" | "a RAR archive" | "a 7-Zip archive") => {
                "unpack it, and give the table that is in it".to_owned()
            }
            Self::Foreign("a document of an old Office") => {
                "save it as CSV (UTF-8) in the program it was made with".to_owned()
            }
            Self::Foreign(
                "an Arrow file" | "an Avro file" | "an ORC file" | "an HDF5 file" | "a NumPy array",
            ) => "write the table as Parquet, and give that".to_owned(),
            _ => "give the file that the texts are in".to_owned(),
        }
    }

    /// What to do where something to import is needed.
    fn advice_for_import(self, place: &str) -> String {
        match self {
            Self::Backbone => format!("it is imported already: use it with --backbone {place}"),
            Self::Run | Self::Bundle => {
                format!("it has a backbone already: --backbone {place} uses that")
            }
            Self::Comparison => {
                format!("its runs have a backbone: --backbone {place}/BACKBONE/SCENARIO uses that")
            }
            Self::Safetensors | Self::Checkpoint | Self::Onnx => {
                "give the directory of the whole model".to_owned()
            }
            _ => "give the directory that the model was downloaded to, or a hub id".to_owned(),
        }
    }
}

impl Wanted {
    fn kind(self) -> Kind {
        match self {
            Self::Table => Kind::Table,
            Self::Bundle => Kind::Bundle,
            Self::Run | Self::Model => Kind::Run,
            Self::Backbone | Self::Source => Kind::Model,
            Self::Made => Kind::Usage,
        }
    }

    /// What is wrong when nothing is there.
    fn missing(self) -> &'static str {
        match self {
            Self::Table => "there is no such file",
            Self::Bundle => "there is no such bundle",
            Self::Run => "there is no such run directory",
            Self::Model => "there is no such run directory or bundle",
            Self::Backbone => "there is no such backbone directory",
            Self::Made | Self::Source => "there is nothing here",
        }
    }

    /// What is wrong when something else is there.
    fn not(self) -> &'static str {
        match self {
            Self::Table => "this is not a table",
            Self::Bundle => "this is not a bundle",
            Self::Run => "this is not a run directory",
            Self::Model => "this is neither a run directory nor a bundle",
            Self::Backbone => "this is not a backbone directory",
            Self::Made => "this is neither a backbone nor a run nor a bundle",
            Self::Source => "this cannot be imported",
        }
    }

    /// What to do when there is nothing of use.
    fn advice_for_nothing(self) -> &'static str {
        match self {
            Self::Table | Self::Made | Self::Source => "check the path",
            Self::Bundle => "make one with `frosthead bundle runs/NAME --out x.frost`",
            Self::Run | Self::Model => {
                "make one with `frosthead train DATA --backbone models/NAME --task COLUMN --out runs/NAME`"
            }
            Self::Backbone => "make one with `frosthead import SOURCE --out models/NAME`",
        }
    }

    fn made_by(self) -> &'static str {
        match self {
            Self::Table => "a CSV, TSV, JSONL, Parquet or text file",
            Self::Bundle => "a file made by `frosthead bundle`",
            Self::Run => "a directory made by `frosthead train`",
            Self::Model => "something made by `frosthead train` or `frosthead bundle`",
            Self::Backbone => "a directory made by `frosthead import`, or a run or bundle for its backbone",
            Self::Made => "something made by `frosthead import`, `frosthead train` or `frosthead bundle`",
            Self::Source => {
                "a Hugging Face directory (config.json, model.safetensors, tokenizer.json) or an .onnx file"
            }
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Stream => "a pipe or a device",
            Self::EmptyFile => "an empty file",
            Self::Bundle => "a bundle",
            Self::Zip => "a ZIP archive",
            Self::Parquet => "a Parquet file",
            Self::Table(format) => return write!(f, "a {format} table"),
            Self::Json => "a JSON file",
            Self::Text => "a text file",
            Self::Safetensors => "a safetensors file (weights)",
            Self::Onnx => "an ONNX file",
            Self::Compressed(format, _) => return write!(f, "a file packed with {format}"),
            Self::LfsPointer => "a pointer of Git LFS in place of the file",
            Self::Foreign(what) => what,
            Self::Unknown => "a file of an unknown kind",
            Self::Backbone => "a backbone directory",
            Self::Run => "a run directory",
            Self::Comparison => "the directory of a comparison",
            Self::Checkpoint => "a model directory that is not imported",
            Self::Store => "a feature store",
            Self::EmptyDirectory => "an empty directory",
            Self::Directory => "a directory",
        })
    }
}

/// What a ZIP archive is, by its first entry.
fn zip(start: &[u8]) -> Thing {
    let first = start.get(30..).unwrap_or_default();
    // Of one that ends early `bundle` says so.
    if first.starts_with(b"manifest.json")
        || (start.starts_with(b"PK\x03") && b"manifest.json".starts_with(first))
    {
        Thing::Bundle
    } else if first.starts_with(b"[Content_Types].xml") || first.windows(11).any(|own| own == b"spreadsheet")
    {
        Thing::Foreign("a spreadsheet")
    } else {
        Thing::Zip
    }
}

/// What an archive is whose first entry does not tell: by the names at its end.
fn zip_by_its_entries(file: &std::fs::File) -> std::io::Result<Thing> {
    let length = file.metadata()?.len();
    let looked_at = length.min(END);
    let mut end = vec![0; usize::try_from(looked_at).unwrap_or(0)];
    file.read_exact_at(&mut end, length - looked_at)?;
    let names = |name: &[u8]| end.windows(name.len()).any(|own| own == name);
    Ok(if names(b"model.onnx.data") {
        Thing::Bundle
    } else if names(b"xl/workbook") {
        Thing::Foreign("a spreadsheet")
    } else {
        Thing::Zip
    })
}

/// Whether a file's name ends as its program wants it.
fn is_called(packed: &str, place: &str) -> bool {
    let endings: &[&str] = match packed {
        "gzip" => &[".gz"],
        "Zstandard" => &[".zst"],
        "xz" => &[".xz"],
        "lz4" => &[".lz4"],
        "compress" => &[".Z"],
        _ => &[".bz2"],
    };
    endings.iter().any(|ending| place.ends_with(ending))
}

/// Whether bytes, of which the last may be cut off, are UTF-8 without control characters of another world.
fn is_text(start: &[u8]) -> bool {
    let whole = match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    whole && !start.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thing");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Thing::of(&path).to_string()
        };
        let mut bundle = b"PK\x03\x04".to_vec();
        bundle.resize(30, 0);
        let named = |name: &str| [&bundle[..], name.as_bytes(), b" and so on"].concat();
        for (bytes, expected) in [
            (&b""[..], "an empty file"),
            (&named("manifest.json"), "a bundle"),
            (&named("b/model.onnx.data"), "a bundle"),
            (&named("[Content_Types].xml"), "a spreadsheet"),
            (&named("photo.jpg"), "a ZIP archive"),
            (b"PAR1\x15\x04", "a Parquet file"),
            (b"\x08\0\0\0\0\0\0\0{\"a\":1}", "a safetensors file (weights)"),
            (b"\x08\x0a\x12\x09frosthead", "an ONNX file"),
            (b"\x1f\x8b\x08\0", "a file packed with gzip"),
            (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS in place of the file"),
            (b"SQLite format 3\0", "an SQLite database"),
            ("text,label\na,ä".as_bytes(), "a text file"),
            (b"\0\x01\xff\xfe", "a file of an unknown kind"),
        ] {
            assert_eq!(of(bytes), expected, "{bytes:?}");
        }
        let table = directory.path().join("a.CSV");
        std::fs::write(&table, "text\na\n").unwrap();
        assert_eq!(Thing::of(&table), Thing::Table("CSV"));
    }

    #[test]
    fn directories_are_known_by_what_is_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let path = directory.path().join(name.replace('/', "_"));
            std::fs::create_dir_all(&path).unwrap();
            if name != "nothing" {
                std::fs::write(path.join(name), "").unwrap();
            }
            Thing::of(&path)
        };
        for (name, expected) in [
            ("backbone.json", Thing::Backbone),
            ("recipe.toml", Thing::Run),
            ("report.json", Thing::Comparison),
            ("config.json", Thing::Checkpoint),
            ("notes", Thing::Directory),
            ("nothing", Thing::EmptyDirectory),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
        assert_eq!(Thing::of(&directory.path().join("none")), Thing::Nothing);
    }

    #[test]
    fn whatever_is_found_there_is_something_to_do() {
        let things = [
            Thing::Nothing,
            Thing::Stream,
            Thing::EmptyFile,
            Thing::Bundle,
            Thing::Zip,
            Thing::Parquet,
            Thing::Table("CSV"),
            Thing::Json,
            Thing::Text,
            Thing::Safetensors,
            Thing::Onnx,
            Thing::Compressed("gzip", "gzip -d"),
            Thing::LfsPointer,
            Thing::Foreign("an image"),
            Thing::Unknown,
            Thing::Backbone,
            Thing::Run,
            Thing::Comparison,
            Thing::Checkpoint,
            Thing::Store,
            Thing::EmptyDirectory,
            Thing::Directory,
        ];
        let all = [
            Wanted::Table,
            Wanted::Bundle,
            Wanted::Run,
            Wanted::Model,
            Wanted::Backbone,
            Wanted::Made,
            Wanted::Source,
        ];
        for (thing, wanted) in things.iter().flat_map(|thing| all.map(|wanted| (thing, wanted))) {
            let error = thing.instead_of(wanted, Some(Path::new("p")));
            assert!(error.remedy().is_some_and(|remedy| remedy.len() > 10), "{error}");
            assert!(
                error.to_string().starts_with("p: ") && error.to_string().contains("expected"),
                "{error}"
            );
        }
    }
}
