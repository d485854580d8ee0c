//! Owns what is said of a thing where another one is needed: the error, and what to do about it.
//!
//! Refuses advice that fails when it is followed: paths stand in commands as a shell reads them.

use std::borrow::Cow;
use std::path::Path;

use super::{Thing, Wanted};
use crate::error::{Error, Kind};

/// What to do about a pointer: without `install`, Git LFS downloads files and does not put them in place.
pub const FETCH: &str =
    "fetch the file itself: `git lfs install && git lfs pull` in its repository, or download it from the hub";

/// A word of a command as a shell reads it: in quotes where it has letters that mean something there.
#[must_use]
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

impl Thing {
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
        let word = shell_word(place);
        match (self, wanted) {
            (Self::Nothing, _) => wanted.advice_for_nothing().to_owned(),
            (Self::EmptyFile, _) => "nothing is in it: make it, or copy it here, again".to_owned(),
            (Self::LfsPointer, _) => FETCH.to_owned(),
            (Self::Compressed(_, command), _) if place == "-" => {
                format!("unpack it on the way: `{command}c FILE | frosthead …`")
            }
            (Self::Compressed(_, command), _) => {
                let to = unpacked(Path::new(place));
                format!("unpack it first: `{command}c < {word} > {}`", shell_word(&to))
            }
            (Self::Foreign("a spreadsheet" | "a document of an old Office"), _) => {
                "save it as CSV (UTF-8) in the program it was made with".to_owned()
            }
            (_, Wanted::Table) => self.advice_for_table(&word),
            (Self::Zip | Self::Foreign("a tar archive" | "a RAR archive" | "a 7-Zip archive"), _) => {
                "unpack it, and give what is in it".to_owned()
            }
            (Self::Part(_), _) => {
                let directory = Path::new(place).parent().filter(|above| !above.as_os_str().is_empty());
                let directory = directory.map_or_else(|| ".".to_owned(), |above| above.display().to_string());
                format!("give the directory of the whole: {}", shell_word(&directory))
            }
            (Self::Update, _) => {
                format!("apply it to the bundle that it was made of: `frosthead update OLD.frost {word}`")
            }
            (_, Wanted::Source) => self.advice_for_import(&word),
            (Self::Comparison, _) => format!("give one of the runs in it: {word}/BACKBONE/SCENARIO"),
            (Self::Store, _) => format!("`frosthead cache list --cache {word}` says what is in it"),
            (Self::Checkpoint, _) => format!("import it first: `frosthead import {word} --out models/NAME`"),
            (Self::Onnx, _) => format!(
                "import it first: `frosthead import {word} --tokenizer tokenizer.json --out models/NAME`"
            ),
            (Self::Safetensors, _) => {
                "a file of weights is one part of a model: `frosthead import` takes the \
                                       directory it lies in"
                    .to_owned()
            }
            (Self::Run, Wanted::Bundle) => {
                format!("bundle it first: `frosthead bundle {word} --out x.frost`")
            }
            (Self::Bundle, Wanted::Run) => {
                "a bundle is made already; give the run that it was made of".to_owned()
            }
            (Self::Backbone, _) => format!(
                "train a run on it: `frosthead train DATA --backbone {word} --task COLUMN --out runs/NAME`"
            ),
            (_, Wanted::Made) if table => self.advice_to_predict(&word),
            (_, Wanted::Model) if table => {
                "give the table first, and a run or a bundle with --model".to_owned()
            }
            (_, Wanted::Backbone) if table => {
                "give the table first, and a backbone with --backbone".to_owned()
            }
            _ => wanted.advice_for_nothing().to_owned(),
        }
    }

    /// What a table is for, where something is to be described.
    fn advice_to_predict(self, word: &str) -> String {
        let named = |extension: &str| word.trim_end_matches('\'').ends_with(extension);
        let format = match self {
            // An object; how it would be a table only the user can tell.
            Self::Json => {
                return "inspect says what a backbone, a run or a bundle is; check the path".to_owned();
            }
            Self::Parquet if !named(".parquet") => " --format parquet",
            Self::Text if !named(".txt") => " --format lines",
            _ => "",
        };
        format!(
            "a table is learned from and labelled: `frosthead predict {word}{format} --model RUN`; inspect says what a model is"
        )
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

/// Where a packed file goes when it is unpacked: its name without the packing, where nothing lies yet.
fn unpacked(packed: &Path) -> String {
    let suffix = packed.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = packed.with_extension("");
    let fits = ["gz", "z", "zst", "xz", "lz4", "bz2"].contains(&suffix.as_str());
    if fits && !plain.exists() {
        return plain.display().to_string();
    }
    format!("{}.unpacked", packed.display())
}

impl Wanted {
    fn kind(self) -> Kind {
        match self {
            Self::Table => Kind::Table,
            Self::Bundle | Self::Update => Kind::Bundle,
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
            Self::Update => "there is no such update",
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
            Self::Update => "this is not an update of a bundle",
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
            Self::Update => "make one with `frosthead bundle runs/NAME --update-of x.frost --out x.frostup`",
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
            Self::Update => "a file made by `frosthead bundle --update-of`",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands_are_quoted_where_a_shell_would_misread_them() {
        for (word, quoted) in [
            ("runs/first-1.0", "runs/first-1.0"),
            ("ü/x.csv", "ü/x.csv"),
            ("my file", "'my file'"),
            ("it's", r"'it'\''s'"),
            ("a$b", "'a$b'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }

    #[test]
    fn a_packed_file_is_unpacked_beside_itself_and_over_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let to = |name: &str| unpacked(&at(name)).strip_prefix(at("").to_str().unwrap()).unwrap().to_owned();
        assert_eq!(to("x.frost.gz"), "x.frost");
        assert_eq!(to("x.frost"), "x.frost.unpacked");
        std::fs::write(at("x.frost"), "").unwrap();
        assert_eq!(to("x.frost.gz"), "x.frost.gz.unpacked");
    }
}
