//! Owns walking a table of texts in bounded windows, and writing its features to Parquet.
//!
//! Refuses to reorder or drop a row, and to overwrite an output made from something else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::embedder::{Embedder, Progress};
use crate::data::{FeatureWriter, Row, Source, TableReader, feature_metadata};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint, TextKey};
use crate::tokens::Truncation;

/// Rows in a window: enough texts to sort into full batches, few enough to hold.
const WINDOW_ROWS: usize = 8192;
/// Bytes of a window's cells.
const WINDOW_BYTES: usize = 8 << 20;
/// Metadata key of the hash of everything an output was made from.
const INPUTS: &str = "frosthead.inputs";
/// Metadata key of the [`TextNotes`] of the texts an output was made from.
const NOTES: &str = "frosthead.texts";

/// What was odd about a table's texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextNotes {
    pub rows: u64,
    /// Texts without a visible character (or missing altogether).
    pub empty: u64,
    /// Texts with a NUL byte in them.
    pub nul: u64,
    pub truncation: Truncation,
}

/// One row with its place in the store.
pub struct Visit<'v> {
    pub row: &'v Row,
    pub text: &'v str,
    pub key: TextKey,
}

/// Walks a table: computes the missing features window by window and shows every row, in order, once its features are
/// there.
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
        let texts: Vec<&str> =
            rows.iter().map(|row| row.cells[text_column].as_deref().unwrap_or("")).collect();
        for (row, text) in rows.iter().zip(&texts) {
            notes.add(row, text, strict)?;
        }
        let keys: Vec<TextKey> = texts.iter().map(|text| TextKey::of(text)).collect();
        embedder.ensure(&texts, &keys, progress)?;
        for ((row, text), key) in rows.iter().zip(&texts).zip(&keys) {
            notes.truncation += embedder.truncation(key)?;
            visit(embedder, &Visit { row, text, key: *key })?;
        }
    }
    embedder.finish()?;
    Ok(notes)
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
    pub dimensions: usize,
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
    let text_column = reader.column(request.text_column)?;
    let carried: Vec<usize> =
        (0..reader.columns().len()).filter(|&column| request.keep_text || column != text_column).collect();
    let columns: Vec<String> = carried.iter().map(|&column| reader.columns()[column].clone()).collect();
    let place = embedder.layout().embedding();
    let metadata = metadata(embedder, inputs);
    let mut writer = FeatureWriter::create(request.output, &columns, place.len(), &metadata)?;
    let mut vector = vec![0.0; place.len()];
    let mut cells = Vec::with_capacity(carried.len());
    let notes =
        visit_rows(embedder, &mut reader, text_column, request.strict, progress, &mut |embedder, visit| {
            embedder.read(&visit.key, place.start, &mut vector)?;
            cells.clear();
            cells.extend(carried.iter().map(|&column| visit.row.cells[column].clone()));
            writer.write(visit.key, &cells, &vector)
        })?;
    let described = serde_json::to_string(&notes)
        .map_err(|source| Error::new(Kind::Table, "the texts cannot be described").because(source))?;
    writer.finish(&BTreeMap::from([(NOTES.to_owned(), described)]))?;
    let work = embedder.work();
    Ok(Embedded::Written(EmbedSummary {
        notes,
        computed: work.texts,
        reused: embedder.reused(),
        dimensions: place.len(),
    }))
}

/// Hash of everything the output depends on; `None` for standard input, which cannot be read twice.
fn inputs(embedder: &Embedder, request: &EmbedRequest<'_>) -> Result<Option<Fingerprint>> {
    let Some(path) = &request.source.path else { return Ok(None) };
    Ok(Some(
        Fields::new("frosthead embed 1")
            .field("data", Fingerprint::of_file(path)?.0)
            .field("format", format!("{:?}", request.source.format))
            .field("text column", request.text_column)
            .field("keep text", request.keep_text.to_string())
            .field("backbone", embedder.backbone().fingerprint().0)
            .finish(),
    ))
}

fn metadata(embedder: &Embedder, inputs: Option<Fingerprint>) -> BTreeMap<String, String> {
    let (manifest, fingerprint) = (embedder.backbone().manifest(), embedder.backbone().fingerprint());
    let mut metadata = BTreeMap::from([
        ("frosthead.backbone".to_owned(), manifest.name.clone()),
        ("frosthead.backbone.fingerprint".to_owned(), fingerprint.to_string()),
    ]);
    metadata.extend(inputs.map(|inputs| (INPUTS.to_owned(), inputs.to_string())));
    metadata
}
