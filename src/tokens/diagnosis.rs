//! Owns saying which part of a `tokenizer.json` cannot be read.
//!
//! Refuses to show the reader's own words, which name its types.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use crate::document;
use crate::error::{Error, Kind, Source};

const WHAT: &str = "this is not a tokenizer.json";

/// Whether a part can be read.
type Reads = fn(&Value) -> bool;

/// What is wrong with a file that the library refused.
pub(super) fn wrong_part(bytes: &[u8]) -> Error {
    let parts: Map<String, Value> = match document::json(bytes, Kind::Tokenizer, WHAT) {
        Ok(parts) => parts,
        Err(error) => return error,
    };
    let error = || Error::new(Kind::Tokenizer, WHAT);
    if parts.get("model").is_none_or(Value::is_null) {
        return error()
            .field("model")
            .found("nothing")
            .expected("the vocabulary and how words are cut by it");
    }
    let readers: [(&str, Reads); 5] = [
        ("model", reads::<ModelWrapper>),
        ("normalizer", reads::<NormalizerWrapper>),
        ("pre_tokenizer", reads::<PreTokenizerWrapper>),
        ("post_processor", reads::<PostProcessorWrapper>),
        ("decoder", reads::<DecoderWrapper>),
    ];
    let broken = readers.iter().find_map(|(name, reads)| {
        let part = parts.get(*name).filter(|part| !part.is_null())?;
        (!reads(part)).then_some((*name, part))
    });
    match broken {
        Some((name, part)) => error()
            .field(name)
            .found(described(part))
            .expected("a part as Hugging Face's tokenizers library saves it"),
        None => error().expected("a fast tokenizer as Hugging Face's tokenizers library saves it"),
    }
}

/// A file that the library refuses, or would panic on.
pub(super) fn refused(source: impl Into<Source>) -> Error {
    Error::new(Kind::Tokenizer, WHAT)
        .expected("a fast tokenizer as Hugging Face's tokenizers library saves it")
        .because(source)
}

fn reads<T: DeserializeOwned>(part: &Value) -> bool {
    T::deserialize(part).is_ok()
}

/// A part by its type, or by its start.
fn described(part: &Value) -> String {
    match part.get("type").and_then(Value::as_str) {
        Some(name) => {
            format!("a part of the type {name:?} that does not fit it, or a type that is not known")
        }
        None => {
            let text = part.to_string();
            let start: String = text.chars().take(60).collect();
            if start.len() < text.len() { format!("{start}…") } else { start }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broken_part_is_named() {
        let whole: Value =
            serde_json::from_slice(include_bytes!("../../tests/data/foreign_onnx/tokenizer.json")).unwrap();
        let with = |part: &str, value: Value| {
            let mut changed = whole.clone();
            changed[part] = value;
            wrong_part(changed.to_string().as_bytes()).to_string()
        };
        let model = with("model", serde_json::json!({"type": "WordPiece", "vocab": 7}));
        assert!(model.contains("field \"model\"") && model.contains("\"WordPiece\""), "{model}");
        let normalizer = with("normalizer", serde_json::json!({"type": "Magic"}));
        assert!(
            normalizer.contains("field \"normalizer\"") && normalizer.contains("\"Magic\""),
            "{normalizer}"
        );
        assert!(
            with("model", Value::Null)
                .contains("field \"model\": this is not a tokenizer.json: found nothing")
        );
        assert!(wrong_part(b"{\"model\": ").to_string().contains("it ends too early"));
        assert!(wrong_part(b"[]").to_string().contains("found a list"), "{}", wrong_part(b"[]"));
    }
}
