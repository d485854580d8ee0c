//! Owns table → Parquet of features: what is written, and whether it was written before.
//!
//! Refuses to write over what was made from something else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::embedder::{Embedder, Progress};
use super::ids::check_columns;
use super::table::{BACKBONE, CHOICE, DEPTH, LONG, SECOND, TextNotes, visit_rows};
use crate::data::{
    EMBEDDING, FEATURES, FeatureWriter, Format, Source, TEXT_HASH, TableReader, TextColumns, feature_metadata,
};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::recognize::Thing;

/// Metadata key of the hash of everything an output was made from.
const INPUTS: &str = "frosthead.inputs";
/// Metadata key of the [`TextNotes`] of the texts an output was made from.
const NOTES: &str = "frosthead.texts";

/// Columns of the output that are ours; one of the table's of that name is called `input_NAME` there.
const OURS: [&str; 3] = [TEXT_HASH, EMBEDDING, FEATURES];

/// What to embed, and where the features go.
#[derive(Debug)]
pub struct EmbedRequest<'r> {
    /// The table.
    pub source: &'r Source,
    /// Its text column, or both of pairs.
    pub text: TextColumns,
    /// The Parquet to write.
    pub output: &'r Path,
    /// Beside `embedding`, a column `features` holds this choice, when it is another.
    pub features: FeatureChoice,
    /// Carry the text column, or both, along as well.
    pub keep_text: bool,
    /// Empty texts and NUL bytes are errors.
    pub strict: bool,
    /// Replace what was made from something else.
    pub overwrite: bool,
}

impl<'r> EmbedRequest<'r> {
    /// The sentence embeddings of a table.
    #[must_use]
    pub fn new(source: &'r Source, text_column: &str, output: &'r Path) -> Self {
        let (text, features) = (text_column.into(), FeatureChoice::default());
        Self { source, text, output, features, keep_text: false, strict: false, overwrite: false }
    }
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
    check_columns(embedder.backbone(), &request.text)?;
    let places_of_texts = reader.text(&request.text)?;
    let mut places = vec![(EMBEDDING, embedder.layout().embedding())];
    places.retain(|(_, place)| !place.is_empty());
    if request.features != FeatureChoice::Last || places.is_empty() {
        places.push((FEATURES, embedder.columns(request.features)?));
    }
    let vectors: Vec<(&str, usize)> = places.iter().map(|(name, place)| (*name, place.len())).collect();
    let metadata = metadata(embedder, request, inputs);
    let is_text = |name: &str| request.text.names().any(|text| text == name);
    let carried = reader.carry_to_features(|name| request.keep_text || !is_text(name), &OURS)?;
    let mut writer = FeatureWriter::create(request.output, carried, &vectors, &metadata)?;
    let mut row: Vec<Vec<f32>> = vectors.iter().map(|(_, width)| vec![0.0; *width]).collect();
    let notes = visit_rows(
        embedder,
        &mut reader,
        places_of_texts,
        request.strict,
        progress,
        &mut |embedder, visit| {
            for ((_, place), vector) in places.iter().zip(&mut row) {
                embedder.read(&visit.key, place.start, vector)?;
            }
            writer.write(visit.key, visit.row, &row.iter().map(Vec::as_slice).collect::<Vec<_>>())
        },
    )?;
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
        Format::Jsonl | Format::Json | Format::Parquet | Format::Arrow => "frosthead embed 3",
    };
    let mut inputs = Fields::new(version)
        .field("data", Fingerprint::of_file(path)?.0)
        .field("format", format!("{:?}", request.source.format))
        .field("text column", &request.text.first)
        .field("keep text", request.keep_text.to_string())
        .field("features", request.features.to_string())
        .field("long texts", embedder.long().to_string())
        .field("backbone", embedder.backbone().fingerprint().0);
    if let Some(second) = &request.text.second {
        inputs = inputs.field("second text column", second);
    }
    let reading = request.source.reading();
    if !reading.is_default() {
        inputs = inputs.field("reading", reading.to_string());
    }
    if let Some(depth) = embedder.backbone().depth() {
        inputs = inputs.field("depth", depth.to_string());
    }
    Ok(Some(inputs.finish()))
}

fn metadata(
    embedder: &Embedder,
    request: &EmbedRequest<'_>,
    inputs: Option<Fingerprint>,
) -> BTreeMap<String, String> {
    let backbone = embedder.backbone();
    let [name, fingerprint] = BACKBONE.map(str::to_owned);
    let mut metadata = BTreeMap::from([
        (name, backbone.manifest().name.clone()),
        (fingerprint, backbone.fingerprint().to_string()),
        (CHOICE.to_owned(), request.features.to_string()),
        (LONG.to_owned(), serde_json::json!(embedder.long()).to_string()),
    ]);
    metadata.extend(backbone.depth().map(|depth| (DEPTH.to_owned(), depth.to_string())));
    metadata.extend(request.text.second.clone().map(|second| (SECOND.to_owned(), second)));
    metadata.extend(inputs.map(|inputs| (INPUTS.to_owned(), inputs.to_string())));
    metadata
}
