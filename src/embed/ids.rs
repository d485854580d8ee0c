//! Owns how a backbone's texts become token ids: the prefix in front, the windows of a long one, the lengths
//! they are padded to.

use std::borrow::Cow;

use crate::backbone::Backbone;
use crate::error::Result;
use crate::tokens::{Buckets, Encoded, LongTexts, Spacing, Windows};

/// The windows that a backbone's texts are read in; none when their end is cut off.
///
/// # Errors
/// They cannot be read in such windows.
pub(super) fn windows(backbone: &Backbone, long: LongTexts) -> Result<Option<Windows>> {
    let LongTexts::Windows(options) = long else { return Ok(None) };
    let prefix = &backbone.manifest().preparation.prefix;
    Windows::new(backbone.tokenizer(), prefix, backbone.positions(), options).map(Some)
}

/// The lengths that texts, or their windows, are padded to.
pub(super) fn buckets(backbone: &Backbone, windows: Option<&Windows>, spacing: Spacing) -> Buckets {
    let max_length = backbone.manifest().preparation.max_length;
    Buckets::new(windows.map_or(max_length, |windows| windows.options().window), spacing)
}

/// A text with the backbone's prefix in front.
pub(super) fn prefixed<'t>(prefix: &str, text: &'t str) -> Cow<'t, str> {
    if prefix.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prefix}{text}")) }
}

/// Token ids of the texts, the backbone's prefix in front, found on so many threads.
pub(super) fn encode(backbone: &Backbone, texts: &[&str], threads: usize) -> Result<Encoded> {
    let preparation = &backbone.manifest().preparation;
    if preparation.prefix.is_empty() {
        return backbone.tokenizer().encode_on(threads, texts, preparation.max_length);
    }
    let prefixed: Vec<String> = texts.iter().map(|text| format!("{}{text}", preparation.prefix)).collect();
    let prefixed: Vec<&str> = prefixed.iter().map(String::as_str).collect();
    backbone.tokenizer().encode_on(threads, &prefixed, preparation.max_length)
}
