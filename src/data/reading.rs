//! Owns how a table is read where its format leaves a choice: what separates its cells, what quotes mean, its
//! encoding.
//!
//! Refuses an option that a table's format has no use for.

use std::fmt;
use std::str::FromStr;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use serde::{Deserialize, Serialize};

use super::format::Format;
use crate::error::{Error, Kind, Result};
use crate::named::named;

/// What was asked for beside the format; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// By default a comma in CSV, a tab in TSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// By default [`Quoting::Auto`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoting: Option<Quoting>,
    /// By default what the table's own bytes tell: a byte-order mark, else UTF-8 (or UTF-16, where it cannot
    /// be anything else).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<TextEncoding>,
}

impl Reading {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What of it a table in this format can be read by; for the tables that a command reads beside its main
    /// one.
    #[must_use]
    pub fn fitting(self, format: Format) -> Self {
        let delimited = matches!(format, Format::Csv | Format::Tsv);
        Self {
            delimiter: self.delimiter.filter(|_| delimited),
            quoting: self.quoting.filter(|_| delimited),
            encoding: self.encoding.filter(|_| !matches!(format, Format::Parquet | Format::Arrow)),
        }
    }

    /// Refuses what a table in this format cannot be read by.
    pub(super) fn check(self, format: Format) -> Result<()> {
        let fits = self.fitting(format);
        let wrong = |option: String, help: &str| {
            Err(Error::new(Kind::Usage, "the option has no effect on a table in this format")
                .found(format!("{option} and the format {format}"))
                .help(help))
        };
        let separated = "leave it out; if the table's rows are separated values, say --format csv";
        match self {
            Self { delimiter: Some(delimiter), .. } if fits.delimiter.is_none() => {
                wrong(format!("--delimiter {delimiter}"), separated)
            }
            Self { quoting: Some(quoting), .. } if fits.quoting.is_none() => {
                wrong(format!("--quoting {quoting}"), separated)
            }
            Self { encoding: Some(encoding), .. } if fits.encoding.is_none() => wrong(
                format!("--encoding {encoding}"),
                "leave it out: such a table says itself how its texts are stored",
            ),
            _ => Ok(()),
        }
    }
}

/// For a fingerprint: everything that was asked for.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delimiter, quoting, encoding } = self;
        let words = [
            delimiter.map(|delimiter| format!("delimiter {delimiter}")),
            quoting.map(|quoting| format!("quoting {quoting}")),
            encoding.map(|encoding| format!("encoding {encoding}")),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The character that separates the cells of a row: one byte of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delimiter(u8);

impl Delimiter {
    pub(super) const COMMA: Self = Self(b',');
    pub(super) const TAB: Self = Self(b'\t');
    /// Those that tables have; what a header that does not fit is tried with.
    pub(super) const USUAL: [Self; 4] = [Self(b';'), Self::TAB, Self(b'|'), Self::COMMA];

    /// The delimiter that a character is; none when it cannot be one.
    pub(super) fn of_byte(byte: u8) -> Option<Self> {
        let usable =
            byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r' | 0);
        usable.then_some(Self(byte))
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    /// For a message: `';'`, `a tab`.
    pub(super) fn spoken(self) -> String {
        if self == Self::TAB { "a tab".to_owned() } else { format!("'{self}'") }
    }
}

impl FromStr for Delimiter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let byte = match text.as_bytes() {
            b"\\t" | b"tab" => Some(b'\t'),
            [byte] => Some(*byte),
            _ => None,
        };
        byte.and_then(Self::of_byte).ok_or_else(|| {
            Error::new(Kind::Usage, "this cannot separate cells").found(format!("{text:?}")).expected(
                "one ASCII character that is no letter, digit or quote, like ';' or '|', or '\\t' for a tab",
            )
        })
    }
}

/// As it is said on a command line: a tab is `\t`.
impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\t' => f.write_str("\\t"),
            byte => write!(f, "{}", char::from(byte)),
        }
    }
}

impl TryFrom<String> for Delimiter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> Self {
        delimiter.to_string()
    }
}

/// What a quote at the start of a cell means. Anywhere else in a cell it is text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quoting {
    /// The cell ends with a quote too, and a quote inside is doubled; refused where the quote rather belongs
    /// to a text: in a TSV when the quotes enclose a tab or a line end, in CSV when they enclose what looks
    /// like rows of the table.
    #[default]
    Auto,
    /// The same, whatever the quotes enclose.
    Double,
    /// Nothing: a quote is text.
    None,
}

named!(Quoting, "there is no such quoting", Auto = "auto", Double = "double", None = "none");

/// A character encoding, by any of its names in the WHATWG Encoding Standard.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TextEncoding {
    encoding: &'static Encoding,
    /// `utf-16`: the order of the bytes is not said.
    any_order: bool,
}

impl TextEncoding {
    pub(super) fn encoding(self) -> &'static Encoding {
        self.encoding
    }

    /// Whether text in this encoding was meant.
    pub(super) fn allows(self, found: &'static Encoding) -> bool {
        found == self.encoding || self.any_order && found == UTF_16BE
    }

    pub(super) fn is_utf_16(self) -> bool {
        self.encoding == UTF_16LE || self.encoding == UTF_16BE
    }
}

impl FromStr for TextEncoding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let encoding = Encoding::for_label_no_replacement(text.trim().as_bytes()).ok_or_else(|| {
            let upper = text.trim().to_uppercase();
            let expected = match upper.starts_with("UTF-32") || upper.starts_with("UTF32") {
                true => format!("the table in another encoding: `iconv -f {upper} -t UTF-8 TABLE` converts it"),
                false => "a name of the WHATWG Encoding Standard, like utf-8, utf-16le, windows-1252, shift_jis or gb18030".to_owned(),
            };
            Error::new(Kind::Usage, "this encoding is not known").found(format!("{text:?}")).expected(expected)
        })?;
        Ok(Self { encoding, any_order: text.trim().eq_ignore_ascii_case("utf-16") })
    }
}

impl fmt::Display for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.any_order { "UTF-16" } else { self.encoding.name() })
    }
}

impl fmt::Debug for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TextEncoding {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TextEncoding> for String {
    fn from(encoding: TextEncoding) -> Self {
        encoding.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_one_character_of_ascii() {
        for (text, byte) in
            [(";", b';'), ("|", b'|'), ("\t", b'\t'), ("\\t", b'\t'), ("tab", b'\t'), ("\u{1f}", 31)]
        {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!(delimiter.byte(), byte);
            assert_eq!(delimiter.to_string().parse::<Delimiter>().unwrap(), delimiter);
        }
        for text in ["", ";;", "||", "§", "t", "7", "\"", "\n", "\0"] {
            let error = text.parse::<Delimiter>().unwrap_err().to_string();
            assert!(error.contains("ASCII character"), "{error}");
        }
    }

    #[test]
    fn encodings_are_known_by_their_standard_names() {
        for (text, name) in [
            ("utf8", "UTF-8"),
            ("latin1", "windows-1252"),
            ("cp1251", "windows-1251"),
            ("Shift_JIS", "Shift_JIS"),
            ("utf-16", "UTF-16"),
            ("UTF-16BE", "UTF-16BE"),
            ("utf-16le", "UTF-16LE"),
        ] {
            let encoding: TextEncoding = text.parse().unwrap();
            assert_eq!(encoding.to_string(), name);
            assert_eq!(name.parse::<TextEncoding>().unwrap(), encoding);
        }
        // `replacement` is what the standard calls encodings that it refuses to decode.
        for text in ["utf-9", "replacement", "iso-2022-kr", ""] {
            assert!(text.parse::<TextEncoding>().unwrap_err().to_string().contains("windows-1252"));
        }
        assert!("UTF-32LE".parse::<TextEncoding>().unwrap_err().to_string().contains("iconv"));
    }

    #[test]
    fn an_option_without_effect_is_refused() {
        let delimiter = Reading { delimiter: "|".parse().ok(), ..Reading::default() };
        let quoting = Reading { quoting: Some(Quoting::None), ..Reading::default() };
        let encoding = Reading { encoding: "latin1".parse().ok(), ..Reading::default() };
        for format in [Format::Csv, Format::Tsv] {
            for reading in [delimiter, quoting, encoding] {
                reading.check(format).unwrap();
                assert_eq!(reading.fitting(format), reading);
            }
        }
        for format in [Format::Jsonl, Format::Lines, Format::Parquet] {
            for (reading, option) in [(delimiter, "--delimiter |"), (quoting, "--quoting none")] {
                let error = reading.check(format).unwrap_err();
                assert!(error.to_string().contains(option) && error.remedy().is_some(), "{error}");
                assert!(reading.fitting(format).is_default());
            }
        }
        encoding.check(Format::Jsonl).unwrap();
        let error = encoding.check(Format::Parquet).unwrap_err().to_string();
        assert!(error.contains("--encoding windows-1252") && error.contains("parquet"), "{error}");
    }

    #[test]
    fn what_was_asked_for_comes_back_from_a_recipe() {
        let reading = Reading {
            delimiter: "\\t".parse().ok(),
            quoting: Some(Quoting::None),
            encoding: "utf-16".parse().ok(),
        };
        let written = toml::to_string(&reading).unwrap();
        assert_eq!(toml::from_str::<Reading>(&written).unwrap(), reading);
        assert_eq!(reading.to_string(), "delimiter \\t, quoting none, encoding UTF-16");
        assert_eq!(toml::from_str::<Reading>("").unwrap(), Reading::default());
    }
}
