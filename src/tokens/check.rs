//! Owns finding the faults of a tokenizer before it is imported: ids that the network has no embedding for,
//! special tokens that are not the vocabulary's, a template for something other than one text, texts that it
//! cannot tokenise.
//!
//! Refuses to mend any of them: the ids would not be those that the network was trained on.

use std::path::Path;

use serde::Deserialize;
use tokenizers::{NormalizedString, Normalizer as _};

use super::added::AddedTokens;
use super::tokenizer::{Tokenizer, template_of_one_token};
use crate::error::{Error, Kind, Result};

/// Characters tried at a time.
const TRIED_TOGETHER: usize = 256;
/// Every character up to here is tried: controls, Latin, modifiers, combining marks.
const ALL_UP_TO: u32 = 0x370;
/// Of the others, every one that is so far from the last: some of every script, of ideographs, emoji, private
/// use, unassigned ones.
const STEP: usize = 61;
/// Characters of a word longer than any vocabulary's.
const LONG_WORD: usize = 2000;

#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
}

#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json` for a network that has so many embeddings, and tries it.
    ///
    /// # Errors
    /// It cannot be read, has ids beyond the embeddings, gives an added token another id than it says,
    /// surrounds a text with tokens that its vocabulary does not have or knows by other ids, is made for
    /// pairs of texts, or fails on a text.
    pub fn open_for(path: &Path, embeddings: Option<usize>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read the tokenizer", path, source))?;
        let tokenizer = Self::from_bytes(&bytes, path)?;
        let checked = check_vocabulary(&tokenizer, embeddings)
            .and_then(|()| try_characters(&tokenizer))
            .and_then(|()| check_added_tokens(&tokenizer, &bytes))
            .and_then(|()| check_template(&tokenizer, embeddings));
        checked.map(|()| tokenizer).map_err(|error| error.at(path))
    }
}

fn fault(what: impl Into<String>) -> Error {
    Error::new(Kind::Tokenizer, what).help("take tokenizer.json from the same place as the weights")
}

/// A tokenizer may know fewer ids than the network (padding rows are common), never more.
fn check_vocabulary(tokenizer: &Tokenizer, embeddings: Option<usize>) -> Result<()> {
    let vocabulary = tokenizer.inner().get_vocab(true);
    let Some((token, id)) = vocabulary.iter().max_by_key(|(_, id)| **id) else {
        return Err(fault("the tokenizer has no vocabulary").found("no token"));
    };
    match embeddings.filter(|count| *id as usize >= *count) {
        Some(count) => Err(fault("the tokenizer does not match the model's vocabulary")
            .found(format!("{} token ids, the last for {token:?}", u64::from(*id) + 1))
            .expected(format!("at most the model's {count}"))),
        None => Ok(()),
    }
}

/// The library numbers added tokens itself when the vocabulary does not have them, whatever the file says.
fn check_added_tokens(tokenizer: &Tokenizer, bytes: &[u8]) -> Result<()> {
    if let Some((name, text)) = AddedTokens::of(tokenizer.inner()).as_ref().and_then(AddedTokens::same) {
        return Err(fault("two added tokens are the same to the normalizer, so that either could be found")
            .field("added_tokens")
            .found(format!("{name:?} and {text:?}"))
            .expected("tokens that differ after normalisation")
            .help(
                "remove one of them, or set `normalized` to false for both, and save tokenizer.json again",
            ));
    }
    let declared: Declared = serde_json::from_slice(bytes).map_err(|source| {
        fault("the tokenizer's added tokens cannot be read").field("added_tokens").because(source)
    })?;
    for DeclaredToken { id, content } in
        declared.added_tokens.iter().filter(|token| !token.content.is_empty())
    {
        let given = tokenizer.inner().token_to_id(content);
        if given != Some(*id) {
            let given = given.map_or_else(|| "no id".to_owned(), |given| format!("id {given}"));
            return Err(fault(format!(
                "the added token {content:?} would get another id than the file says"
            ))
            .field("added_tokens")
            .found(given)
            .expected(format!("id {id}")));
        }
    }
    Ok(())
}

/// What is put around a text must be special tokens of this vocabulary, around one text, all of token type 0.
fn check_template(tokenizer: &Tokenizer, embeddings: Option<usize>) -> Result<()> {
    let template = template_of_one_token(tokenizer.inner())
        .map_err(|source| fault("the post-processor fails").field("post_processor").because(source))?;
    let (ids, names) = (template.get_ids(), template.get_tokens());
    let texts = ids.iter().filter(|id| **id == u32::MAX).count();
    if texts != 1 {
        return Err(fault("the post-processor is not made for one text")
            .field("post_processor")
            .found(format!("the text stands in its template {texts} times"))
            .expected("once"));
    }
    if let Some(kind) = template.get_type_ids().iter().find(|kind| **kind != 0) {
        return Err(fault("the post-processor gives tokens of a single text another type")
            .field("post_processor")
            .found(format!("token type {kind}"))
            .expected("0"));
    }
    for (id, name) in ids.iter().zip(names).filter(|(id, _)| **id != u32::MAX) {
        let known = tokenizer.inner().token_to_id(name);
        if known != Some(*id) {
            let known = known.map_or_else(
                || "a vocabulary without it".to_owned(),
                |known| format!("id {known} in the vocabulary"),
            );
            return Err(fault(format!(
                "the post-processor's special token {name:?} is not the vocabulary's"
            ))
            .field("post_processor")
            .found(known)
            .expected(format!("id {id}")));
        }
        if let Some(count) = embeddings.filter(|count| *id as usize >= *count) {
            return Err(fault("the tokenizer does not match the model's vocabulary")
                .field("post_processor")
                .found(format!("id {id}, of the token {name:?}"))
                .expected(format!("an id below the model's {count}")));
        }
    }
    Ok(())
}

/// Tokenises characters of every kind, and a word without end. A tokenizer must have an answer to any text.
fn try_characters(tokenizer: &Tokenizer) -> Result<()> {
    let few = (0..ALL_UP_TO).filter_map(char::from_u32);
    let others = (ALL_UP_TO..=u32::from(char::MAX)).step_by(STEP).filter_map(char::from_u32);
    let characters: Vec<char> = few.chain(others).chain(['中', '한', '🙂', '\u{FE0F}', '\u{200D}']).collect();
    for together in characters.chunks(TRIED_TOGETHER) {
        let text: String = together.iter().flat_map(|c| [*c, ' ']).collect();
        if tokenize(tokenizer, &text).is_err() {
            together.iter().try_for_each(|c| tokenize(tokenizer, &c.to_string()))?;
            tokenize(tokenizer, &text)?;
        }
    }
    tokenize(tokenizer, &"a".repeat(LONG_WORD))
}

fn tokenize(tokenizer: &Tokenizer, text: &str) -> Result<()> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
        let codes: Vec<String> = text.chars().take(4).map(|c| format!("U+{:04X}", u32::from(c))).collect();
        let dots = if text.chars().nth(4).is_some() { " …" } else { "" };
        Error::new(Kind::Tokenizer, "the tokenizer fails on a text, so it would fail on texts like it later")
            .found(format!("{}{dots}", codes.join(" ")))
            .expected("token ids for any text")
            .help(
                "the vocabulary of its model must hold the token for what is unknown (unk_token, unk_id); take \
                 tokenizer.json from the model's own directory, or save it again with that token",
            )
            .because(source)
    };
    // The library drops a failure of the normalizer, and goes on with the text as it is.
    if let Some(normalizer) = tokenizer.inner().get_normalizer() {
        normalizer.normalize(&mut NormalizedString::from(text)).map_err(failed)?;
    }
    tokenizer.inner().encode_fast(text, true).map(drop).map_err(failed)
}
