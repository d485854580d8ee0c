//! Owns what a `tokenizer.json` says of its steps, and checking what the library panics on.
//!
//! Refuses to read its vocabulary.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::Precompiled;

use super::diagnosis::{refused, wrong_part};
use super::model::Inner;
use crate::error::Result;

/// What a `tokenizer.json` says of its steps. Its vocabulary, which is nearly all of it, is read over.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Description {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) model: ModelDescription,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ModelDescription {
    #[serde(rename = "type")]
    pub(super) kind: Value,
    pub(super) max_input_chars_per_word: Value,
    /// What stands for what is unknown: its text, or in Unigram its id.
    unk_token: Value,
    unk_id: Value,
}

impl Description {
    /// Reads it from the JSON of a tokenizer, or of its parts, and checks what the library panics on.
    ///
    /// # Errors
    /// It is no JSON, or such a part is damaged.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let description: Self = serde_json::from_slice(bytes).map_err(|_| wrong_part(bytes))?;
        check_replacements(&description.normalizer).map_err(refused)?;
        check_template(&description.post_processor).map_err(refused)?;
        Ok(description)
    }

    /// The id that stands for what is not in the vocabulary; none in a tokenizer that knows every byte, or
    /// has no such token.
    pub(super) fn unknown_id(&self, inner: &Inner) -> Option<u32> {
        let by_text = self.model.unk_token.as_str().and_then(|token| inner.token_to_id(token));
        by_text.or_else(|| self.model.unk_id.as_u64().and_then(|id| id.try_into().ok()))
    }
}

/// Reads the tables of replacements in the normalizer for themselves: within a tokenizer, the library panics
/// on a damaged one.
fn check_replacements(normalizer: &Value) -> serde_json::Result<()> {
    if normalizer["type"] == "Precompiled" {
        // As text, because the library borrows from it.
        serde_json::from_str::<Precompiled>(&normalizer.to_string())?;
    }
    normalizer["normalizers"].as_array().into_iter().flatten().try_for_each(check_replacements)
}

/// Whether a template for one text can be filled: the library panics on what is missing.
fn check_template(part: &Value) -> std::result::Result<(), String> {
    for piece in part["single"].as_array().into_iter().flatten() {
        if piece["Sequence"]["id"] == "B" {
            return Err("the template for one text has a place for a second one".to_owned());
        }
        let missing = |name: &&str| part["special_tokens"].get(name).is_none();
        if let Some(name) = piece["SpecialToken"]["id"].as_str().filter(missing) {
            return Err(format!(
                "the template puts {name:?} around a text, which is not among its special_tokens"
            ));
        }
    }
    part["processors"].as_array().into_iter().flatten().try_for_each(check_template)
}
