//! Owns the library's one error type: what went wrong, where, what was found, what was expected, what to do.
//!
//! Refuses to print or to exit: that is the command line's work. Every other module builds its errors from
//! here, so that a message always has the same shape and a caller can always ask for [`Error::kind`].

use std::fmt;
use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

pub(crate) type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What an [`Error`] is about; stable, for callers that want to react.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A file or directory could not be read or written.
    Io,
    /// The disk is full, or has less room than the work needs.
    Space,
    /// A table (CSV, TSV, JSONL, Parquet) or a value in it is not what it must be.
    Table,
    /// A checkpoint, a backbone directory or a weight file is not what it must be.
    Model,
    /// A tokenizer file is unusable or does not belong to the model.
    Tokenizer,
    /// An ONNX graph could not be built, read or written.
    Graph,
    /// ONNX Runtime is missing, unsuitable, or failed.
    Runtime,
    /// The feature store is damaged or in use.
    Store,
    /// A head could not be fitted or read.
    Heads,
    /// Training above a cut failed: a loss or gradient that is not finite, a plan that trains nothing.
    Training,
    /// A run directory is damaged or does not fit its backbone.
    Run,
    /// A bundle is damaged, forged, unsigned where a signature was asked for, or computes other numbers here.
    Bundle,
    /// What `tune` has kept is damaged, or is not of this machine, model and library.
    Tuning,
    /// An output is already there and was not made from the same inputs.
    Exists,
    /// The request contradicts itself or names something that is not there.
    Usage,
    /// A download failed.
    Network,
}

/// An error with its place and its remedy.
///
/// Built step by step: `Error::new(Kind::Table, "the row is too short").at(path).row(7).found("3
/// fields").expected("4 fields")`.
#[derive(Debug)]
pub struct Error(Box<Report>);

#[derive(Debug)]
struct Report {
    kind: Kind,
    message: String,
    path: Option<PathBuf>,
    row: Option<u64>,
    /// Which of the texts that a call was given.
    text: Option<usize>,
    /// What it is about inside the file: a word for its kind, and its name.
    part: Option<(&'static str, String)>,
    found: Option<String>,
    expected: Option<String>,
    help: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// A new error: `message` says what went wrong, without place, remedy or a trailing full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            kind,
            message: message.into(),
            path: None,
            row: None,
            text: None,
            part: None,
            found: None,
            expected: None,
            help: None,
            source: None,
        }))
    }

    /// An input/output error at `path`; `doing` completes "cannot …" ("read", "create the directory").
    ///
    /// A full disk, and a limit on the size of files, becomes [`Kind::Space`], because what to do about it is
    /// different.
    pub fn io(doing: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, StorageFull};
        let (kind, message) = (source.kind(), format!("cannot {doing}"));
        let error = match kind {
            StorageFull | QuotaExceeded => Self::new(Kind::Space, message)
                .help("free some space, or choose another place; what was finished before is kept"),
            FileTooLarge => {
                Self::new(Kind::Space, format!("{message}: the limit on the size of files is reached"))
                    .help("raise it (`ulimit -f`), or choose another place; what was finished before is kept")
            }
            NotFound => Self::new(Kind::Io, message).help("check the path"),
            PermissionDenied => {
                Self::new(Kind::Io, message).help("check the permissions, or choose another place")
            }
            _ => Self::new(Kind::Io, message),
        };
        error.at(path).because(source)
    }

    /// The file or directory it is about.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// The file or directory it is about, unless one is named already.
    #[must_use]
    pub fn or_at(self, path: impl AsRef<Path>) -> Self {
        if self.0.path.is_some() { self } else { self.at(path) }
    }

    /// The row it is about, counted from 1 without the header.
    #[must_use]
    pub fn row(mut self, row: u64) -> Self {
        self.0.row = Some(row);
        self
    }

    /// The row it is about, unless one is named already.
    #[must_use]
    pub fn in_row(mut self, row: u64) -> Self {
        self.0.row = self.0.row.or(Some(row));
        self
    }

    /// Which of the texts that a call was given it is about, from 0. Not shown: whoever knows the texts' rows
    /// [names the row](Self::row_of_text).
    #[must_use]
    pub fn text(mut self, index: usize) -> Self {
        self.0.text = Some(index);
        self
    }

    /// The same among other texts, when it is about one: `index` is given its place among those of the call
    /// that failed.
    #[must_use]
    pub fn map_text(mut self, index: impl FnOnce(usize) -> usize) -> Self {
        self.0.text = self.0.text.map(index);
        self
    }

    /// Names the row of the text it is about, when it is about one; `row` is given the text's index.
    #[must_use]
    pub fn row_of_text(mut self, row: impl FnOnce(usize) -> Option<u64>) -> Self {
        self.0.row = self.0.row.or_else(|| row(self.0.text?));
        self
    }

    /// Whether it is about one of the texts that a call was given.
    #[must_use]
    pub fn is_of_a_text(&self) -> bool {
        self.0.text.is_some()
    }

    /// The column of a table it is about.
    #[must_use]
    pub fn column(self, name: impl Into<String>) -> Self {
        self.part("column", name)
    }

    /// It is about a table's header.
    #[must_use]
    pub fn header(self) -> Self {
        self.part("the header", "")
    }

    /// The field of a document (JSON, TOML) it is about.
    #[must_use]
    pub fn field(self, name: impl Into<String>) -> Self {
        self.part("field", name)
    }

    /// The tensor it is about.
    #[must_use]
    pub fn tensor(self, name: impl Into<String>) -> Self {
        self.part("tensor", name)
    }

    /// The entry of an archive it is about.
    #[must_use]
    pub fn entry(self, name: impl Into<String>) -> Self {
        self.part("entry", name)
    }

    /// The task it is about.
    #[must_use]
    pub fn task(self, name: impl Into<String>) -> Self {
        self.part("task", name)
    }

    /// What it is about inside the file; the last that was named stands.
    fn part(mut self, what: &'static str, name: impl Into<String>) -> Self {
        self.0.part = Some((what, name.into()));
        self
    }

    /// What was found there.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.0.found = Some(found.into());
        self
    }

    /// What should have been there.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// What the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// The error that caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the user can do about it, if anything is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

/// One line: `path, row 7, column "x": message: found …, expected …`. The remedy and the source are separate.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { message, path, row, part, found, expected, .. } = &*self.0;
        let mut place = Vec::new();
        place.extend(path.as_ref().map(|path| path.display().to_string()));
        place.extend(row.map(|row| format!("row {row}")));
        place.extend(part.as_ref().map(|(what, name)| match name.as_str() {
            "" if *what == "the header" => (*what).to_owned(),
            name => format!("{what} {}", quoted(name)),
        }));
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        f.write_str(message)?;
        match (found, expected) {
            (Some(found), Some(expected)) => write!(f, ": found {found}, expected {expected}"),
            (Some(found), None) => write!(f, ": found {found}"),
            (None, Some(expected)) => write!(f, ": expected {expected}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A text of the user's in quotation marks, for a message: as it is, but for what cannot be seen, which is
/// named (`<U+200B>`), and line ends and tabs.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for (place, character) in text.char_indices() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // A mark that is set on the character before it is seen; alone at the start it is not.
            _ if place > 0 && is_mark(character) => shown.push(character),
            _ if is_unseen(character) => shown.push_str(&code_point(character)),
            _ => shown.push(character),
        }
    }
    shown.push('"');
    shown
}

/// The same with marks named too (`e<U+0301>`), for texts that differ by nothing that is seen.
#[must_use]
pub fn quoted_exactly(text: &str) -> String {
    let named = |character: char| match is_mark(character) {
        true => code_point(character),
        false => character.to_string(),
    };
    quoted(&text.chars().map(named).collect::<String>())
}

fn code_point(character: char) -> String {
    format!("<U+{:04X}>", u32::from(character))
}

/// Whether a character is written in escapes, and not because it means something in a literal.
fn is_unseen(character: char) -> bool {
    !matches!(character, '"' | '\'' | '\\') && character.escape_debug().len() > 1
}

/// Whether a character is shown on the one before it: alone it is escaped, behind a letter it is not.
fn is_mark(character: char) -> bool {
    is_unseen(character) && "x".chars().chain([character]).collect::<String>().escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_they_are_but_for_what_cannot_be_seen() {
        for (text, shown, exactly) in [
            ("say \"hi\" \\ 'x'", r#""say "hi" \ 'x'""#, r#""say "hi" \ 'x'""#),
            ("a\tb\r\n", r#""a\tb\r\n""#, r#""a\tb\r\n""#),
            ("cafe\u{301}", "\"cafe\u{301}\"", "\"cafe<U+0301>\""),
            ("\u{301}a\u{200b}\0", "\"<U+0301>a<U+200B><U+0000>\"", "\"<U+0301>a<U+200B><U+0000>\""),
            ("हिन्दी", "\"हिन्दी\"", "\"हिन<U+094D>दी\""),
        ] {
            assert_eq!((quoted(text).as_str(), quoted_exactly(text).as_str()), (shown, exactly));
        }
    }

    #[test]
    fn display_names_place_found_and_expected() {
        let error = Error::new(Kind::Table, "wrong number of fields")
            .at("a.csv")
            .row(7)
            .column("text")
            .found("3")
            .expected("4")
            .help("quote the commas");
        assert_eq!(
            error.to_string(),
            "a.csv, row 7, column \"text\": wrong number of fields: found 3, expected 4"
        );
        assert_eq!(error.kind(), Kind::Table);
        assert_eq!(error.remedy(), Some("quote the commas"));
    }

    #[test]
    fn a_part_is_called_what_it_is() {
        let error = || Error::new(Kind::Model, "it does not fit").at("x");
        assert_eq!(error().field("hidden_size").to_string(), "x, field \"hidden_size\": it does not fit");
        assert_eq!(error().tensor("a.weight").to_string(), "x, tensor \"a.weight\": it does not fit");
        assert_eq!(error().entry("labels.json").to_string(), "x, entry \"labels.json\": it does not fit");
        assert_eq!(error().task("mood").to_string(), "x, task \"mood\": it does not fit");
    }

    #[test]
    fn an_error_about_a_text_names_its_row_once_that_is_known() {
        let error = || Error::new(Kind::Runtime, "it went wrong").text(1);
        assert_eq!(error().to_string(), "it went wrong");
        let rows = [3, 4, 9];
        let named = error().map_text(|text| text + 1).row_of_text(|text| rows.get(text).copied());
        assert_eq!(named.to_string(), "row 9: it went wrong");
        assert_eq!(error().row_of_text(|_| None).to_string(), "it went wrong");
        let other = Error::new(Kind::Runtime, "it went wrong").map_text(|text| text + 1);
        assert_eq!(other.row_of_text(|_| Some(7)).to_string(), "it went wrong");
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_io() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write", "x", full).kind(), Kind::Space);
        let mut device = std::fs::File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
        let full = std::io::Write::write_all(&mut device, &[1; 64]).unwrap_err();
        assert_eq!(Error::io("write", "x", full).kind(), Kind::Space);
        let limited = Error::io("write", "x", std::io::ErrorKind::FileTooLarge.into());
        assert!(limited.kind() == Kind::Space && limited.remedy().unwrap().contains("ulimit"));
        let missing = Error::io("read", "x", std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(missing.kind(), Kind::Io);
        assert!(std::error::Error::source(&missing).is_some());
    }
}
