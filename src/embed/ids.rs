//! Owns how a backbone's texts become token ids: the prefix in front, the windows of a long one, the lengths
//! they are padded to.
//!
//! Refuses texts where a backbone reads pairs, and pairs where it reads texts.

use std::borrow::Cow;

use crate::backbone::Backbone;
use crate::data::TextColumns;
use crate::error::{Error, Kind, Result};
use crate::text::{AsText, Text, as_texts};
use crate::tokens::{Buckets, Encoded, LongTexts, PieceUse, Spacing, Windows};

/// The windows that a backbone's texts are read in; none when their end is cut off.
///
/// # Errors
/// They cannot be read in such windows, or are pairs.
pub(super) fn windows(backbone: &Backbone, long: LongTexts) -> Result<Option<Windows>> {
    let LongTexts::Windows(options) = long else { return Ok(None) };
    if backbone.reads_pairs() {
        return Err(pairs_in_windows());
    }
    let prefix = &backbone.manifest().preparation.prefix;
    Windows::new(backbone.tokenizer(), prefix, backbone.positions(), options).map(Some)
}

/// The error of pairs that are to be read in windows.
fn pairs_in_windows() -> Error {
    Error::new(Kind::Usage, "pairs of texts cannot be read in windows")
        .found("--long windows")
        .expected("--long truncate: the longer text loses its end")
        .help(
            "a window of one text says nothing of the other: what a label is about would stand in no window",
        )
}

/// Refuses a pair where texts are read, and a text where pairs are.
///
/// # Errors
/// It is of the other kind.
pub(super) fn check_kind(backbone: &Backbone, text: Text<'_>) -> Result<()> {
    let wrong = |what: &str, found: &str, expected: &str| {
        Err(Error::new(Kind::Usage, what.to_owned()).found(found.to_owned()).expected(expected.to_owned()))
    };
    match (backbone.reads_pairs(), text.is_pair()) {
        (true, false) => {
            wrong("this model reads pairs of texts", "one text", "two texts that belong together")
        }
        (false, true) => wrong("this model reads texts one by one", "a pair of texts", "one text"),
        (true, true) | (false, false) => Ok(()),
    }
}

/// Refuses columns of pairs where a backbone reads texts, and a column of texts where it reads pairs.
///
/// # Errors
/// They are of the other kind.
pub fn check_columns(backbone: &Backbone, columns: &TextColumns) -> Result<()> {
    let names: Vec<&str> = columns.names().collect();
    match (backbone.reads_pairs(), columns.are_pairs()) {
        (true, false) => Err(Error::new(Kind::Usage, "this backbone was opened for pairs of texts")
            .at(backbone.directory())
            .found(format!("one text column: {}", names.join(", ")))
            .expected("two: --text COLUMN --text COLUMN, the first text's first")),
        (false, true) => Err(Error::new(Kind::Usage, "this backbone was opened for texts, not for pairs")
            .at(backbone.directory())
            .found(format!("two text columns: {}", names.join(", ")))
            .expected("one, or a backbone opened for pairs (`Backbone::reading`)")),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The most tokens of a text, or of a window.
pub(super) fn limit(backbone: &Backbone, windows: Option<&Windows>) -> usize {
    let max_length = backbone.manifest().preparation.max_length;
    windows.map_or(max_length, |windows| windows.options().window)
}

/// The lengths that texts, or their windows, are padded to.
pub(super) fn buckets(backbone: &Backbone, windows: Option<&Windows>, spacing: Spacing) -> Buckets {
    Buckets::new(limit(backbone, windows), spacing)
}

/// A text with the backbone's prefix in front.
pub(super) fn prefixed<'t>(prefix: &str, text: &'t str) -> Cow<'t, str> {
    Text::one(text).first_behind(prefix)
}

/// Token ids of the texts or pairs, the backbone's prefix in front, found on so many threads.
pub(super) fn encode(backbone: &Backbone, texts: &[Text<'_>], threads: usize) -> Result<Encoded> {
    let max_length = backbone.manifest().preparation.max_length;
    all_prefixed(backbone, texts, |texts| backbone.tokenizer().encode_on(threads, texts, max_length))
}

/// How each of the whole texts or pairs, the backbone's prefix in front, is cut into pieces; found on so many
/// threads.
///
/// # Errors
/// They are of another kind than the backbone reads, or the tokenizer fails on one.
pub fn piece_uses(backbone: &Backbone, texts: &[impl AsText], threads: usize) -> Result<Vec<PieceUse>> {
    all_prefixed(backbone, &as_texts(texts), |texts| backbone.tokenizer().piece_uses(threads, texts))
}

/// A pair begins with its first text: the prefix stands there.
fn all_prefixed<T>(
    backbone: &Backbone,
    texts: &[Text<'_>],
    read: impl FnOnce(&[Text<'_>]) -> Result<T>,
) -> Result<T> {
    for (index, text) in texts.iter().enumerate() {
        check_kind(backbone, *text).map_err(|error| error.text(index))?;
    }
    let prefix = &backbone.manifest().preparation.prefix;
    if prefix.is_empty() {
        return read(texts);
    }
    let first: Vec<Cow<'_, str>> = texts.iter().map(|text| text.first_behind(prefix)).collect();
    let prefixed = first.iter().zip(texts).map(|(first, text)| Text { first, second: text.second });
    read(&prefixed.collect::<Vec<_>>())
}
