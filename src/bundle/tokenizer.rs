//! Owns the bundle's `tokenizer.json`: the backbone's own, byte for byte, but with the real maximum length
//! and no padding.
//!
//! What was there before is kept beside it, so that the backbone's file, and with it the identity of its
//! features, can be proven. Refuses to change anything else.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// What the backbone's own file said, in its own words; empty where it said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    pub truncation: String,
    pub padding: String,
}

/// The bundle's tokenizer, and what it replaced.
///
/// # Errors
/// `bytes` are not a JSON object.
#[cfg(feature = "train")]
pub(super) fn deployed(bytes: &[u8], max_length: usize) -> Result<(Vec<u8>, Original)> {
    let truncation = format!(
        "{{\"direction\":\"Right\",\"max_length\":{max_length},\"strategy\":\"LongestFirst\",\"stride\":0}}"
    );
    replaced(bytes, &Original { truncation, padding: "null".to_owned() })
}

/// The backbone's tokenizer again.
///
/// # Errors
/// As [`deployed`].
pub(super) fn restored(bytes: &[u8], original: &Original) -> Result<Vec<u8>> {
    Ok(replaced(bytes, original)?.0)
}

/// The file with other values of both fields, and those it had. A field that is not there is put in front,
/// and one that shall not be there is taken away from there.
fn replaced(bytes: &[u8], values: &Original) -> Result<(Vec<u8>, Original)> {
    let Object { start, fields } = object(bytes).ok_or_else(|| {
        Error::new(Kind::Tokenizer, "the tokenizer cannot be put into a bundle")
            .expected("a JSON object, as the tokenizers library writes it")
            .help("load it with the tokenizers library and save it again, then import the backbone again")
    })?;
    let original = |field: &Option<Field>| {
        let value =
            field.as_ref().map(|field| String::from_utf8_lossy(&bytes[field.value.clone()]).into_owned());
        value.unwrap_or_default()
    };
    let [truncation, padding] = &fields;
    let original = Original { truncation: original(truncation), padding: original(padding) };
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for (name, field, value) in
        [("truncation", truncation, &values.truncation), ("padding", padding, &values.padding)]
    {
        match field {
            Some(field) if value.is_empty() => edits.push((field.whole.clone(), String::new())),
            Some(field) => edits.push((field.value.clone(), value.clone())),
            None if value.is_empty() => {}
            None => edits.push((start..start, format!("\"{name}\":{value},"))),
        }
    }
    // Stable: of two that are put in front, truncation stays the first.
    edits.sort_by_key(|(place, _)| place.start);
    let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for (place, value) in edits {
        out.extend_from_slice(&bytes[from..place.start]);
        out.extend_from_slice(value.as_bytes());
        from = place.end;
    }
    out.extend_from_slice(&bytes[from..]);
    Ok((out, original))
}

/// Where both fields lie in a JSON object.
struct Object {
    /// Behind its bracket.
    start: usize,
    /// `truncation` and `padding`.
    fields: [Option<Field>; 2],
}

struct Field {
    value: Range<usize>,
    /// From its name to the comma behind it.
    whole: Range<usize>,
}

fn object(bytes: &[u8]) -> Option<Object> {
    let start = skip(bytes, 0, b'{')?;
    let (mut fields, mut at) = ([None, None], start);
    loop {
        let (name, end): (String, usize) = value(bytes, at)?;
        let first = skip(bytes, end, b':')?;
        let first = first + bytes[first..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let (_, end) = value::<IgnoredAny>(bytes, first)?;
        let next = skip(bytes, end, b',');
        let field = Field { value: first..end, whole: at..next.unwrap_or(end) };
        match name.as_str() {
            "truncation" => fields[0] = Some(field),
            "padding" => fields[1] = Some(field),
            _ => {}
        }
        match next {
            Some(next) => at = next,
            None => return Some(Object { start, fields }),
        }
    }
}

/// The place behind white space and this byte.
fn skip(bytes: &[u8], at: usize, wanted: u8) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    (rest.get(blank) == Some(&wanted)).then_some(at + blank + 1)
}

/// A JSON value, and the place behind it.
fn value<T: serde::de::DeserializeOwned>(bytes: &[u8], at: usize) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(bytes.get(at..)?).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, at + values.byte_offset()))
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests {
    use super::*;

    const FILE: &[u8] = br#"{
  "version": "1.0", "truncation": {"max_length": 128, "stride": 0},
  "padding" :{"strategy": {"Fixed": 128}},
  "model": {"truncation": 7, "vocab": {"\"padding\":": 1}}
}
"#;

    #[test]
    fn only_both_settings_change_and_the_original_comes_back_to_the_byte() {
        let (bytes, original) = deployed(FILE, 256).unwrap();
        let changed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(changed["truncation"]["max_length"], 256);
        assert!(changed["padding"].is_null());
        assert_eq!(changed["model"]["truncation"], 7);
        assert_eq!(original.truncation, r#"{"max_length": 128, "stride": 0}"#);
        assert_eq!(restored(&bytes, &original).unwrap(), FILE);
    }

    #[test]
    fn a_setting_that_is_not_there_is_put_in_and_taken_out_again() {
        for file in [
            &b"{\"model\": {\"padding\": 1}}"[..],
            b"{ \"truncation\": null, \"model\": 1 }",
            b"{\n  \"version\": \"1.0\",\n  \"padding\": null\n}",
        ] {
            let (bytes, original) = deployed(file, 256).unwrap();
            let changed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(changed["truncation"]["max_length"], 256);
            assert!(changed.as_object().unwrap()["padding"].is_null());
            assert_eq!(restored(&bytes, &original).unwrap(), file);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for file in [&b"[]"[..], b"", b"{}", b"{\"truncation\": null, \"padding\""] {
            assert!(deployed(file, 256).unwrap_err().to_string().contains("a JSON object"));
        }
    }
}
