//! Owns walking a table of texts in bounded windows, and writing its features to Parquet.
//!
//! Refuses to reorder or drop a row, and to overwrite an output made from something else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::embedder::{Embedder, Progress};
use super::ids::encode;
use super::windowed::WindowNotes;
use crate::backbone::Backbone;
use crate::data::{
    EMBEDDING, FEATURES, FeatureWriter, Format, Row, Source, TEXT_HASH, TableReader, feature_metadata,
};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint, TextKey};
use crate::recognize::Thing;
use crate::tokens::{LongTexts, Truncation};

/// Rows in a window: enough texts to sort into full batches, few enough to hold.
const WINDOW_ROWS: usize = 8192;
/// Bytes of a window's cells.
const WINDOW_BYTES: usize = 8 << 20;
/// Metadata key of the hash of everything an output was made from.
const INPUTS: &str = "frosthead.inputs";
/// Metadata key of the choice of features in the column [`FEATURES`].
const CHOICE: &str = "frosthead.features";
/// Metadata key of what was done with long texts, as JSON.
const LONG: &str = "frosthead.long";
/// Metadata keys of the backbone: its name and its fingerprint.
const BACKBONE: [&str; 2] = ["frosthead.backbone", "frosthead.backbone.fingerprint"];
/// Metadata key of the [`TextNotes`] of the texts an output was made from.
const NOTES: &str = "frosthead.texts";

/// Columns of the output that are ours; one of the table's of that name is called `input_NAME` there.
const OURS: [&str; 3] = [TEXT_HASH, EMBEDDING, FEATURES];

/// What was odd about a table's texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextNotes {
    pub rows: u64,
    /// Texts without a visible character (or missing altogether).
    pub empty: u64,
    /// Texts with a NUL byte in them.
    pub nul: u64,
    pub truncation: Truncation,
    /// Texts that were read in several windows.
    #[serde(default)]
    pub windowed: WindowNotes,
}

/// One row with its place in the store.
pub struct Visit<'v> {
    pub row: &'v Row,
    pub text: &'v str,
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
    text_column: usize,
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
        let texts: Vec<&str> = rows.iter().map(|row| row.cells[text_column].as_str().unwrap_or("")).collect();
        for (row, text) in rows.iter().zip(&texts) {
            notes.add(row, text, strict)?;
        }
        let keys: Vec<TextKey> = texts.iter().map(|text| TextKey::of(text)).collect();
        embedder.ensure(&texts, &keys, progress).map_err(|error| {
            let error = if error.is_of_a_text() { error.at(reader.header().table()) } else { error };
            error.row_of_text(|text| rows.get(text).map(|row| row.number))
        })?;
        for ((row, text), key) in rows.iter().zip(&texts).zip(&keys) {
            let (truncation, windowed) = embedder.counts(key)?;
            notes.truncation += truncation;
            notes.windowed += windowed;
            visit(embedder, &Visit { row, text, key: *key })?;
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
        encode(backbone, &[text], 1).is_ok_and(|encoded| encoded.truncation().texts > 0)
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
    /// Looks at one row's text.
    ///
    /// # Errors
    /// The text is empty or has a NUL byte, and `strict` does not allow that.
    pub fn add(&mut self, row: &Row, text: &str, strict: bool) -> Result<()> {
        let empty = text.trim().is_empty();
        let nul = text.contains('\0');
        self.rows += 1;
        self.empty += u64::from(empty);
        self.nul += u64::from(nul);
        if strict && (empty || nul) {
            return Err(Error::new(Kind::Table, "a text that --strict does not allow")
                .row(row.number)
                .found(if empty { "an empty text" } else { "a NUL byte" })
                .help("correct the row, or leave --strict away: such texts are embedded like any other"));
        }
        Ok(())
    }
}

/// What to embed, and where the features go.
#[derive(Debug)]
pub struct EmbedRequest<'r> {
    pub source: &'r Source,
    pub text_column: &'r str,
    /// The Parquet to write.
    pub output: &'r Path,
    /// Beside `embedding`, a column `features` holds this choice, when it is another.
    pub features: FeatureChoice,
    /// Carry the text column along as well.
    pub keep_text: bool,
    pub strict: bool,
    pub overwrite: bool,
}

/// The outcome of [`embed_file`].
#[derive(Debug)]
pub enum Embedded {
    /// The output had been made from the same inputs before; what its texts were like.
    UpToDate(TextNotes),
    /// The output was written.
    Written(EmbedSummary),
}

/// What [`embed_file`] did.
#[derive(Debug)]
pub struct EmbedSummary {
    pub notes: TextNotes,
    /// Distinct texts that went through the network.
    pub computed: u64,
    /// Distinct texts (of a window) that were in the store.
    pub reused: u64,
    /// Numbers in a row's features.
    pub dimensions: usize,
    /// Keys of JSON that first appear in a later row of a stream, whose columns could not be known.
    pub left_out: BTreeSet<String>,
}

/// Embeds a table and writes `text_hash`, the carried columns and `embedding` to Parquet.
///
/// # Errors
/// The table is malformed, the output exists and was made from something else, or computing or writing fails.
pub fn embed_file(
    embedder: &mut Embedder,
    request: &EmbedRequest<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Embedded> {
    let inputs = inputs(embedder, request)?;
    if request.output.exists() && !request.overwrite {
        let there = feature_metadata(request.output).unwrap_or_default();
        let same = inputs.is_some_and(|inputs| there.get(INPUTS) == Some(&inputs.to_string()));
        if let (true, Some(notes)) =
            (same, there.get(NOTES).and_then(|notes| serde_json::from_str(notes).ok()))
        {
            return Ok(Embedded::UpToDate(notes));
        }
        return Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(request.output)
            .help("choose another --out, or say --overwrite"));
    }
    let mut reader = TableReader::open(request.source)?;
    let text_column = reader.text(&request.text_column.into())?;
    let mut places = vec![(EMBEDDING, embedder.layout().embedding())];
    if request.features != FeatureChoice::Last {
        places.push((FEATURES, embedder.columns(request.features)?));
    }
    let vectors: Vec<(&str, usize)> = places.iter().map(|(name, place)| (*name, place.len())).collect();
    let metadata = metadata(embedder, request.features, inputs);
    let carried = reader.carry_to_features(|name| request.keep_text || name != request.text_column, &OURS)?;
    let mut writer = FeatureWriter::create(request.output, carried, &vectors, &metadata)?;
    let mut row: Vec<Vec<f32>> = vectors.iter().map(|(_, width)| vec![0.0; *width]).collect();
    let notes =
        visit_rows(embedder, &mut reader, text_column, request.strict, progress, &mut |embedder, visit| {
            for ((_, place), vector) in places.iter().zip(&mut row) {
                embedder.read(&visit.key, place.start, vector)?;
            }
            writer.write(visit.key, visit.row, &row.iter().map(Vec::as_slice).collect::<Vec<_>>())
        })?;
    let described = serde_json::to_string(&notes)
        .map_err(|source| Error::new(Kind::Table, "the texts cannot be described").because(source))?;
    writer.finish(&BTreeMap::from([(NOTES.to_owned(), described)]))?;
    let work = embedder.work();
    Ok(Embedded::Written(EmbedSummary {
        notes,
        computed: work.texts,
        reused: embedder.reused(),
        dimensions: vectors.last().map_or(0, |(_, width)| *width),
        left_out: reader.left_out().clone(),
    }))
}

/// Hash of everything the output depends on; `None` for standard input and pipes, which cannot be read twice.
fn inputs(embedder: &Embedder, request: &EmbedRequest<'_>) -> Result<Option<Fingerprint>> {
    let Some(path) = request.source.path.as_ref().filter(|path| Thing::of(path) != Thing::Stream) else {
        return Ok(None);
    };
    // Since 3, what comes from JSON or Parquet is carried as it is.
    let version = match request.source.format {
        Format::Csv | Format::Tsv | Format::Lines => "frosthead embed 2",
        Format::Jsonl | Format::Json | Format::Parquet => "frosthead embed 3",
    };
    let mut inputs = Fields::new(version)
        .field("data", Fingerprint::of_file(path)?.0)
        .field("format", format!("{:?}", request.source.format))
        .field("text column", request.text_column)
        .field("keep text", request.keep_text.to_string())
        .field("features", request.features.to_string())
        .field("long texts", embedder.long().to_string())
        .field("backbone", embedder.backbone().fingerprint().0);
    let reading = request.source.reading();
    if !reading.is_default() {
        inputs = inputs.field("reading", reading.to_string());
    }
    Ok(Some(inputs.finish()))
}

fn metadata(
    embedder: &Embedder,
    features: FeatureChoice,
    inputs: Option<Fingerprint>,
) -> BTreeMap<String, String> {
    let backbone = embedder.backbone();
    let [name, fingerprint] = BACKBONE.map(str::to_owned);
    let mut metadata = BTreeMap::from([
        (name, backbone.manifest().name.clone()),
        (fingerprint, backbone.fingerprint().to_string()),
        (CHOICE.to_owned(), features.to_string()),
        (LONG.to_owned(), serde_json::json!(embedder.long()).to_string()),
    ]);
    metadata.extend(inputs.map(|inputs| (INPUTS.to_owned(), inputs.to_string())));
    metadata
}

/// What a Parquet of features says it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeWith {
    /// The backbone's name.
    pub name: String,
    pub fingerprint: Fingerprint,
    /// The choice of features in the column that was read.
    pub choice: FeatureChoice,
    /// What was done with long texts.
    pub long: LongTexts,
}

impl MadeWith {
    /// Reads a file's metadata; none when `column` was not made by [`embed_file`].
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
            long: metadata.get(LONG).and_then(|long| serde_json::from_str(long).ok()).unwrap_or_default(),
        })
    }
}
