//! Owns telling what lies at a path, from its name, its first bytes and what is in a directory, and what to
//! do when something else is needed there (`advice`).
//!
//! Refuses to check it: whether a bundle is whole is `bundle`'s to say.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

mod advice;

pub use advice::{FETCH, shell_word};

/// How an update of a bundle begins.
pub const UPDATE: &[u8; 8] = b"FROSTUP\n";

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
    /// What makes another bundle of one.
    Update,
    Zip,
    Parquet,
    /// A file of text with the extension of a table.
    Table(&'static str),
    Json,
    Text,
    Safetensors,
    Onnx,
    /// One of the files of a model, by its name: what is in it.
    Part(&'static str),
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
    Update,
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

/// Files that mean something only among the others of their directory.
const PARTS: [(&str, &str); 17] = [
    ("config.json", "its configuration"),
    ("tokenizer.json", "its tokenizer"),
    ("tokenizer_config.json", "its tokenizer's configuration"),
    ("special_tokens_map.json", "the names of its tokens"),
    ("added_tokens.json", "more tokens"),
    ("vocab.json", "its vocabulary"),
    ("modules.json", "the list of its modules"),
    ("sentence_bert_config.json", "how long its texts are"),
    ("config_sentence_transformers.json", "its prompts"),
    ("model.safetensors.index.json", "where its weights lie"),
    ("backbone.json", "a backbone's manifest"),
    ("recipe.toml", "a run's recipe"),
    ("checksums.json", "the hashes of its files"),
    ("fit.json", "how a run was fitted"),
    ("metrics.json", "a run's figures"),
    ("training.json", "how a run's layers were trained"),
    ("proof.json", "what a run's training has not changed"),
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
        if start.starts_with(UPDATE) {
            return Some(Self::Update);
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
        let extension =
            path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let text = is_text(&start);
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        let part = PARTS.iter().find(|(name, _)| path.file_name().is_some_and(|file| file == *name));
        Ok(match extension.as_str() {
            "csv" if text => Self::Table("CSV"),
            "tsv" | "tab" if text => Self::Table("TSV"),
            "jsonl" | "ndjson" if text => Self::Table("JSONL"),
            "json" | "toml" if text && part.is_some() => Self::Part(part.map_or("", |(_, what)| what)),
            "json" if text && first == Some(b'[') => Self::Table("JSON"),
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
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Stream => "a pipe or a device",
            Self::EmptyFile => "an empty file",
            Self::Bundle => "a bundle",
            Self::Update => "an update of a bundle",
            Self::Zip => "a ZIP archive",
            Self::Parquet => "a Parquet file",
            Self::Table(format) => return write!(f, "a {format} table"),
            Self::Json => "a JSON file",
            Self::Text => "a text file",
            Self::Safetensors => "a safetensors file (weights)",
            Self::Onnx => "an ONNX file",
            Self::Part(what) => return write!(f, "one file of a model ({what})"),
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
    // Of one that ends early `bundle` says so; before the name begins, it may be any archive.
    if first.starts_with(b"manifest.json")
        || (start.starts_with(b"PK\x03") && !first.is_empty() && b"manifest.json".starts_with(first))
    {
        Thing::Bundle
    } else if first.starts_with(b"[Content_Types].xml")
        || first.windows(11).any(|window| window == b"spreadsheet")
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
    let names = |name: &[u8]| end.windows(name.len()).any(|window| window == name);
    Ok(if names(b"model.onnx.data") {
        Thing::Bundle
    } else if names(b"xl/workbook") {
        Thing::Foreign("a spreadsheet")
    } else {
        Thing::Zip
    })
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
            (&bundle[..10], "a ZIP archive"),
            (&bundle, "a ZIP archive"),
            (&[&bundle[..], b"mani"].concat(), "a bundle"),
            (b"FROSTUP\n\x10\0\0\0", "an update of a bundle"),
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
        for (name, content, expected) in [
            ("rows.json", "\n [{\"text\": \"a\"}]", Thing::Table("JSON")),
            ("thing.json", "{\"text\": \"a\"}", Thing::Json),
            ("config.json", "{\"model_type\": \"bert\"}", Thing::Part("its configuration")),
            ("recipe.toml", "format = 4", Thing::Part("a run's recipe")),
            ("other.toml", "format = 4", Thing::Text),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(Thing::of(&path), expected, "{name}");
        }
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
            Thing::Update,
            Thing::Zip,
            Thing::Parquet,
            Thing::Table("CSV"),
            Thing::Json,
            Thing::Text,
            Thing::Safetensors,
            Thing::Onnx,
            Thing::Part("its tokenizer"),
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
            Wanted::Update,
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
