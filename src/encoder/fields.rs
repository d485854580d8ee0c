//! Owns the reading of fields of a Hugging Face `config.json`, each with what it may be and what it is when
//! it is left out.
//!
//! Refuses to know which fields there are: that is a `family`'s.

use std::path::Path;

use serde_json::{Map, Value};

use super::kinds::Activation;
use crate::document;
use crate::error::{Error, Kind, Result};

/// The fields of a configuration.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not a JSON object.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let ends = serde_json::from_slice::<Value>(&text).is_err_and(|source| source.is_eof());
        let fields = document::json(&text, Kind::Model, "the configuration is not a JSON object");
        fields.map(Self).map_err(|error| {
            let error = error.at(path);
            match ends {
                true => error.found("a file that ends in the middle").help("download it again"),
                false => error.help("take config.json from the model's own directory"),
            }
        })
    }

    /// A text that must be one of these.
    pub(super) fn one_of<'a>(
        &self,
        field: &str,
        allowed: &[&'a str],
        default: Option<&'a str>,
        why: &str,
    ) -> Result<&'a str> {
        let expected = allowed.join(" or ");
        match (self.0.get(field), default) {
            (None | Some(Value::Null), Some(default)) => Ok(default),
            (Some(value), _) => {
                let known = allowed.iter().find(|known| value.as_str() == Some(**known));
                known.copied().ok_or_else(|| unsupported(field, value, &expected, why))
            }
            (None, None) => Err(missing(field, &expected)),
        }
    }

    /// Refuses a field that is there and not false.
    pub(super) fn not_true(&self, field: &str, why: &str) -> Result<()> {
        match self.0.get(field) {
            None | Some(Value::Null | Value::Bool(false)) => Ok(()),
            Some(other) => Err(unsupported(field, other, "false", why)),
        }
    }

    /// The first of a list of texts, if there is one.
    pub(super) fn first_text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.get(0)?.as_str()
    }

    /// Whether a field says no.
    pub(super) fn is_false(&self, field: &str) -> bool {
        self.0.get(field) == Some(&Value::Bool(false))
    }

    /// An integer; whether it is possible is checked with all the others.
    pub(super) fn size(&self, field: &str, default: Option<usize>) -> Result<usize> {
        match (self.0.get(field), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(missing(field, "a positive integer")),
            (Some(value), _) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| unsupported(field, value, "a positive integer", "")),
        }
    }

    /// The name of a function.
    pub(super) fn activation(&self, field: &str, default: &str) -> Result<Activation> {
        let value = self.0.get(field).cloned().unwrap_or_else(|| default.into());
        match value.as_str() {
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            _ => Err(unsupported(field, &value, "gelu, gelu_new, gelu_pytorch_tanh or relu", "")),
        }
    }

    /// A small number; whether it is possible is checked with all the others.
    pub(super) fn epsilon(&self, field: &str, default: f32) -> Result<f32> {
        let Some(value) = self.0.get(field) else { return Ok(default) };
        let number = value.as_f64().map(|epsilon| epsilon as f32);
        number.ok_or_else(|| unsupported(field, value, "a number from 0 to 1", ""))
    }

    /// A token's id.
    pub(super) fn token_id(&self, field: &str, default: u32) -> Result<u32> {
        let Some(value) = self.0.get(field).filter(|value| !value.is_null()) else { return Ok(default) };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| unsupported(field, value, "a token id", ""))
    }
}

/// The error of a field whose value is not supported.
pub(super) fn unsupported(field: &str, found: &Value, expected: &str, why: &str) -> Error {
    let error = Error::new(Kind::Model, "this configuration is not supported")
        .field(field)
        .found(found.to_string())
        .expected(expected);
    if why.is_empty() { error } else { error.help(why) }
}

fn missing(field: &str, expected: &str) -> Error {
    Error::new(Kind::Model, "the configuration lacks a field")
        .field(field)
        .found("nothing")
        .expected(expected)
        .help("take config.json from the model's own directory")
}
