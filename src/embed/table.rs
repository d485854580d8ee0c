//! Owns walking a table of texts in bounded windows, and writing its features to Parquet.
//!
//! Refuses to reorder or drop a row, and to overwrite an output made from something else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::embedder::{Embedder, Progress};
use super::ids::encode;
use super::windowed::WindowNotes;
use crate::backbone::Backbone;
use crate::data::{EMBEDDING, FEATURES, Row, Source, TableReader, TextPlaces};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, TextKey};
use crate::text::Text;
use crate::tokens::{LongTexts, Truncation};

/// Rows in a window: enough texts to sort into full batches, few enough to hold.
const WINDOW_ROWS: usize = 8192;
/// Bytes of a window's cells.
const WINDOW_BYTES: usize = 8 << 20;
/// Metadata key of the choice of features in the column [`FEATURES`].
pub(super) const CHOICE: &str = "frosthead.features";
/// … and of the number of layers that were run, where not all were.
pub(super) const DEPTH: &str = "frosthead.depth";
/// Metadata key of the column that held the second texts, where pairs were read.
pub(super) const SECOND: &str = "frosthead.second_text";
/// Metadata key of what was done with long texts, as JSON.
pub(super) const LONG: &str = "frosthead.long";
/// Metadata keys of the backbone: its name and its fingerprint.
pub(super) const BACKBONE: [&str; 2] = ["frosthead.backbone", "frosthead.backbone.fingerprint"];

/// What was odd about a table's texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextNotes {
    pub rows: u64,
    /// Texts without a visible character (or missing altogether), and pairs of two such.
    pub empty: u64,
    /// Pairs of which one text has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub half_empty: u64,
    /// Texts with a NUL byte in them.
    pub nul: u64,
    pub truncation: Truncation,
    /// Texts that were read in several windows.
    #[serde(default)]
    pub windowed: WindowNotes,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One row with its place in the store.
pub struct Visit<'v> {
    pub row: &'v Row,
    pub text: Text<'v>,
    pub key: TextKey,
}

/// Walks a table: computes the missing features window by window and shows every row, in order, once its
/// features are there.
///
/// # Errors
/// A row is malformed, has an empty or NUL text although `strict`, or computing, storing or `visit` fails.
pub fn visit_rows(
    embedder: &mut Embedder,
    reader: &mut TableReader,
    places: TextPlaces,
    strict: bool,
    progress: &mut dyn FnMut(&Progress),
    visit: &mut dyn FnMut(&Embedder, &Visit<'_>) -> Result<()>,
) -> Result<TextNotes> {
    let mut notes = TextNotes::default();
    loop {
        let rows = reader.read(WINDOW_ROWS, WINDOW_BYTES)?;
        if rows.is_empty() {
            break;
        }
        let texts: Vec<Text<'_>> = rows.iter().map(|row| places.of(row)).collect();
        for (row, text) in rows.iter().zip(&texts) {
            notes.add(row.number, *text, strict)?;
        }
        let keys: Vec<TextKey> = texts.iter().map(|text| text.key()).collect();
        embedder.ensure(&texts, &keys, progress).map_err(|error| {
            let error = if error.is_of_a_text() { error.at(reader.header().table()) } else { error };
            error.row_of_text(|text| rows.get(text).map(|row| row.number))
        })?;
        for ((row, text), key) in rows.iter().zip(&texts).zip(&keys) {
            let (truncation, windowed) = embedder.counts(key)?;
            notes.truncation += truncation;
            notes.windowed += windowed;
            visit(embedder, &Visit { row, text: *text, key: *key })?;
        }
    }
    embedder.finish()?;
    Ok(notes)
}

/// Whether any text of a table is longer than the backbone's limit. A table that cannot be read has none: who
/// needs its rows will say what is wrong with it.
#[must_use]
pub fn any_longer(backbone: &Backbone, source: &Source, text_column: &str) -> bool {
    let preparation = &backbone.manifest().preparation;
    let room = preparation.max_length.saturating_sub(backbone.tokenizer().special_tokens());
    let longer = |text: &str| {
        // ASCII has at most a token a byte: most texts need not be tokenised.
        let length = text.len() + preparation.prefix.len();
        if text.is_ascii() && preparation.prefix.is_ascii() && length <= room {
            return false;
        }
        encode(backbone, &[Text::one(text)], 1).is_ok_and(|encoded| encoded.truncation().texts > 0)
    };
    let Ok(mut reader) = TableReader::open(source) else { return false };
    let Ok(column) = reader.column(text_column) else { return false };
    while let Ok(rows) = reader.read(WINDOW_ROWS, WINDOW_BYTES) {
        if rows.is_empty() {
            break;
        }
        if rows.iter().filter_map(|row| row.cells[column].as_str()).any(longer) {
            return true;
        }
    }
    false
}

impl TextNotes {
    /// Looks at one row's text or pair.
    ///
    /// # Errors
    /// A text is empty or has a NUL byte, and `strict` does not allow that.
    pub fn add(&mut self, row: u64, text: Text<'_>, strict: bool) -> Result<()> {
        let blank = text.halves().filter(|half| half.trim().is_empty()).count();
        let empty = blank == text.halves().count();
        let half_empty = !empty && blank > 0;
        let nul = text.halves().any(|half| half.contains('\0'));
        self.rows += 1;
        self.empty += u64::from(empty);
        self.half_empty += u64::from(half_empty);
        self.nul += u64::from(nul);
        if strict && (blank > 0 || nul) {
            return Err(Error::new(Kind::Table, "a text that --strict does not allow")
                .row(row)
                .found(match (empty, half_empty) {
                    (true, _) => "an empty text",
                    (false, true) => "a pair with an empty text",
                    (false, false) => "a NUL byte",
                })
                .help("correct the row, or leave --strict away: such texts are embedded like any other"));
        }
        Ok(())
    }
}

/// What a Parquet of features says it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeWith {
    /// The backbone's name.
    pub name: String,
    pub fingerprint: Fingerprint,
    /// The choice of features in the column that was read …
    pub choice: FeatureChoice,
    /// … of so many layers, where not all of the backbone's were run.
    pub depth: Option<usize>,
    /// What was done with long texts.
    pub long: LongTexts,
    /// The column that held the second texts, where pairs were read.
    pub second_text: Option<String>,
}

impl MadeWith {
    /// Reads a file's metadata; none when `column` was not made by `embed_file`.
    #[must_use]
    pub fn of(metadata: &BTreeMap<String, String>, column: &str) -> Option<Self> {
        let [name, fingerprint] = BACKBONE.map(|key| metadata.get(key));
        let choice = match column {
            EMBEDDING => FeatureChoice::Last,
            FEATURES => metadata.get(CHOICE)?.parse().ok()?,
            _ => return None,
        };
        Some(Self {
            name: name?.clone(),
            fingerprint: Fingerprint::try_from(fingerprint?.clone()).ok()?,
            choice,
            depth: metadata.get(DEPTH).map(|depth| depth.parse()).transpose().ok()?,
            long: metadata.get(LONG).and_then(|long| serde_json::from_str(long).ok()).unwrap_or_default(),
            second_text: metadata.get(SECOND).cloned(),
        })
    }
}
