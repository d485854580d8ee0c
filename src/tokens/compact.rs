//! Owns the compact form of a tokenizer with a large Unigram vocabulary, in which it is read without being
//! parsed: its pieces in the order of their bytes, and everything else of its `tokenizer.json` as it is
//! there.
//!
//! A safetensors file: `parts` u8 (JSON: all of a `tokenizer.json` but truncation, padding, and the model's
//! `vocab`), `text` u8 (the pieces, one behind the other, sorted by their bytes), and per piece `ends` u32
//! (where it ends in `text`), `ids` u32 (its place in `vocab`), `scores` f64.
//!
//! Refuses other models, vocabularies in which a text stands twice, and bytes that are not what they must be.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::model::{Inner, PieceModel};
use super::unigram::{Fault, Table, Unigram};
use crate::error::{Error, Kind, Result, quoted};
use crate::tensors::{Dtype, TensorFile, Tensors};

/// From so many pieces on the compact form pays: reading fewer as JSON takes less than some 50 ms.
pub const FEWEST_PIECES: usize = 20_000;

const PARTS: &str = "parts";
const TEXT: &str = "text";
const ENDS: &str = "ends";
const IDS: &str = "ids";
const SCORES: &str = "scores";
const WRONG: &str = "the compact tokenizer is not what it must be";

/// Everything of a `tokenizer.json` but its vocabulary, in the file's own words.
#[derive(Serialize, Deserialize)]
struct Written<'p> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    added_tokens: Option<&'p RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    normalizer: Option<&'p RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pre_tokenizer: Option<&'p RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    post_processor: Option<&'p RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    decoder: Option<&'p RawValue>,
    model: WrittenModel,
}

/// What a Unigram model is beside its vocabulary.
#[derive(Serialize, Deserialize)]
struct WrittenModel {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default)]
    unk_id: Option<u32>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The same, as the library reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
    model: WrittenModel,
}

/// A compact form that was read; its parts have not been.
pub(super) struct Compact<'b> {
    pub parts: &'b [u8],
    table: Table,
}

/// The table of a Unigram model of so many pieces, or why it has none; nothing of any other model.
pub(super) fn table_of(inner: &Inner, fewest: usize) -> Option<std::result::Result<Table, String>> {
    let PieceModel::Library(ModelWrapper::Unigram(model)) = inner.get_model() else { return None };
    let mut pieces: Vec<(&str, f64, u32)> =
        model.iter().zip(0..).map(|((piece, score), id)| (piece.as_str(), *score, id)).collect();
    if pieces.len() < fewest {
        return None;
    }
    pieces.sort_unstable_by_key(|(piece, ..)| *piece);
    if let Some(twice) = pieces.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Some(Err(format!("the piece {} stands in its vocabulary twice", quoted(twice[0].0))));
    }
    let mut table = Table { text: String::new(), ends: vec![], ids: vec![], scores: vec![] };
    for (piece, score, id) in pieces {
        table.text.push_str(piece);
        table.ends.push(u32::try_from(table.text.len()).unwrap_or(u32::MAX));
        table.ids.push(id);
        table.scores.push(score);
    }
    Some(Ok(table))
}

/// The compact form of the tokenizer in the bytes of a `tokenizer.json`, whose model has this table.
///
/// # Errors
/// They are none.
pub(super) fn written(file: &[u8], table: &Table) -> serde_json::Result<Vec<u8>> {
    let parts: Written = serde_json::from_slice(file)?;
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let (count, parts) = (table.ends.len(), serde_json::to_vec(&parts)?);
    let mut file = TensorFile::default();
    file.add(PARTS, Dtype::U8, &[parts.len()], parts);
    file.add(TEXT, Dtype::U8, &[table.text.len()], table.text.as_bytes().to_vec());
    file.add(ENDS, Dtype::U32, &[count], numbers(&table.ends));
    file.add(IDS, Dtype::U32, &[count], numbers(&table.ids));
    let scores = table.scores.iter().flat_map(|score| score.to_le_bytes()).collect();
    file.add(SCORES, Dtype::F64, &[count], scores);
    Ok(file.to_bytes())
}

impl<'b> Compact<'b> {
    /// Takes the bytes apart.
    ///
    /// # Errors
    /// They are no such file, or the pieces are no text.
    pub fn read(bytes: &'b [u8]) -> Result<Self> {
        let file = Tensors::read(bytes, Kind::Tokenizer)?;
        let mut names = file.names();
        names.sort_unstable();
        if names != [ENDS, IDS, PARTS, SCORES, TEXT] {
            return Err(Error::new(Kind::Tokenizer, WRONG)
                .found(format!("the tensors {}", names.join(", ")))
                .expected([ENDS, IDS, PARTS, SCORES, TEXT].join(", ")));
        }
        let tensor = |name: &'static str, dtype| Ok(file.get(name, dtype)?.data());
        let numbers = |name: &'static str| -> Result<Vec<u32>> {
            let chunks = tensor(name, Dtype::U32)?.as_chunks().0;
            Ok(chunks.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
        };
        let text = std::str::from_utf8(tensor(TEXT, Dtype::U8)?).map_err(|source| {
            let found = format!("no UTF-8 at byte {}", source.valid_up_to());
            wrong(Fault { part: TEXT, found, expected: "pieces in UTF-8" }).because(source)
        })?;
        let scores = tensor(SCORES, Dtype::F64)?.as_chunks().0;
        let table = Table {
            text: text.to_owned(),
            ends: numbers(ENDS)?,
            ids: numbers(IDS)?,
            scores: scores.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        };
        Ok(Self { parts: tensor(PARTS, Dtype::U8)?, table })
    }

    /// Makes the tokenizer, as the library makes one of a file. What its parts say must have been checked:
    /// the library panics on a damaged normalizer.
    ///
    /// # Errors
    /// The table is not what it must be, or the library refuses a part.
    pub fn put_together(self) -> Result<Inner> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
            wrong(Fault { part: PARTS, found: source.to_string(), expected: "parts of a tokenizer.json" })
        };
        let parts: Parts = serde_json::from_slice(self.parts).map_err(|source| broken(source.into()))?;
        let Parts { added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } = parts;
        if model.kind.as_deref().is_some_and(|kind| kind != "Unigram") {
            return Err(broken("a model that is not Unigram".into()));
        }
        let unigram = Unigram::new(self.table, model.unk_id, model.byte_fallback).map_err(wrong)?;
        let mut inner = Inner::new(PieceModel::Sorted(unigram));
        inner.with_normalizer(normalizer).map_err(broken)?;
        inner.with_pre_tokenizer(pre_tokenizer);
        inner.with_post_processor(post_processor);
        inner.with_decoder(decoder);
        inner.add_tokens(added_tokens).map_err(broken)?;
        Ok(inner)
    }
}

fn wrong(fault: Fault) -> Error {
    Error::new(Kind::Tokenizer, WRONG).tensor(fault.part).found(fault.found).expected(fault.expected)
}

#[cfg(test)]
mod tests;
