//! Owns how a backbone's texts become token ids: the prefix in front, the windows of a long one, the lengths
//! they are padded to.

use std::borrow::Cow;

use crate::backbone::Backbone;
use crate::error::Result;
use crate::tokens::{Buckets, Encoded, LongTexts, PieceUse, Spacing, Windows};

/// The windows that a backbone's texts are read in; none when their end is cut off.
///
/// # Errors
/// They cannot be read in such windows.
pub(super) fn windows(backbone: &Backbone, long: LongTexts) -> Result<Option<Windows>> {
    let LongTexts::Windows(options) = long else { return Ok(None) };
    let prefix = &backbone.manifest().preparation.prefix;
    Windows::new(backbone.tokenizer(), prefix, backbone.positions(), options).map(Some)
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
    if prefix.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prefix}{text}")) }
}

/// Token ids of the texts, the backbone's prefix in front, found on so many threads.
pub(super) fn encode(backbone: &Backbone, texts: &[&str], threads: usize) -> Result<Encoded> {
    let max_length = backbone.manifest().preparation.max_length;
    all_prefixed(backbone, texts, |texts| backbone.tokenizer().encode_on(threads, texts, max_length))
}

/// How each of the whole texts, the backbone's prefix in front, is cut into pieces; found on so many threads.
///
/// # Errors
/// The tokenizer fails on a text.
pub fn piece_uses(backbone: &Backbone, texts: &[&str], threads: usize) -> Result<Vec<PieceUse>> {
    all_prefixed(backbone, texts, |texts| backbone.tokenizer().piece_uses(threads, texts))
}

fn all_prefixed<T>(backbone: &Backbone, texts: &[&str], read: impl FnOnce(&[&str]) -> T) -> T {
    let prefix = &backbone.manifest().preparation.prefix;
    if prefix.is_empty() {
        return read(texts);
    }
    let prefixed: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
    read(&prefixed.iter().map(String::as_str).collect::<Vec<_>>())
}
