//! Owns how many tokens a text may have: every file of a model that says so, and which of them decides.
//!
//! Refuses values that are no lengths; those that stand for "no limit" are none.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::source;
use crate::encoder::shifts_positions;
use crate::error::{Error, Kind, Result};

/// Lengths from here on mean that there is no limit (transformers writes 1e30, others the largest integer).
const NO_LIMIT: f64 = (1 << 21) as f64;

/// Tokens of a text when no file says anything.
const UNKNOWN: usize = 512;

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Length {
    /// The file's name, from the model's directory.
    pub(super) file: String,
    pub(super) field: &'static str,
    pub(super) tokens: usize,
}

/// Reads a JSON object that may be absent.
///
/// # Errors
/// The file cannot be read, or is not a JSON object.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !source::is_there(path) {
        return Ok(None);
    }
    source::check(path)?;
    let text = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    serde_json::from_slice(&text).map(Some).map_err(|source| {
        let help = if source.is_eof() {
            "the file ends in the middle: download it again"
        } else {
            "download it again"
        };
        Error::new(Kind::Model, "the file is not a JSON object").at(path).help(help).because(source)
    })
}

/// What a field of a JSON object says of the longest text; none when it says nothing, or that there is no
/// limit.
///
/// # Errors
/// It is not a number of tokens.
pub(super) fn length(
    fields: &Map<String, Value>,
    field: &'static str,
    path: &Path,
    root: &Path,
) -> Result<Option<Length>> {
    let Some(value) = fields.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_f64().filter(|number| *number >= 1.0 && number.fract() == 0.0);
    let Some(number) = number else {
        return Err(Error::new(Kind::Model, "this is not a number of tokens")
            .at(path)
            .field(field)
            .found(if value.is_string() { format!("the text {value}") } else { value.to_string() })
            .expected("a positive integer")
            .help("correct the file, or remove the field if there is no limit"));
    };
    let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Ok((number < NO_LIMIT).then_some(Length { file, field, tokens: number as usize }))
}

/// The positions that a `config.json` promises, for a network that does not show them itself.
///
/// # Errors
/// The file cannot be read, or a field is not a number of tokens.
pub(super) fn positions(directories: &[&Path]) -> Result<Option<usize>> {
    let Some(path) =
        directories.iter().map(|directory| directory.join("config.json")).find(|path| source::is_there(path))
    else {
        return Ok(None);
    };
    let fields = object(&path)?.unwrap_or_default();
    let said = length(&fields, "max_position_embeddings", &path, &path)?;
    let kind = fields.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let padding = fields.get("pad_token_id").and_then(Value::as_u64).unwrap_or(1);
    let shift = if shifts_positions(kind) { usize::try_from(padding).unwrap_or(0) + 1 } else { 0 };
    Ok(said.map(|said| said.tokens.saturating_sub(shift)))
}

/// The longest text of an import, and the words that say who decided.
pub(super) struct Decided {
    pub(super) tokens: usize,
    pub(super) by: String,
}

/// The smallest of what the files and the network's positions say; or what the user asks for, within the
/// positions.
///
/// # Errors
/// The user asks for more than there are positions.
pub(super) fn decide(files: &[Length], positions: Option<usize>, asked: Option<usize>) -> Result<Decided> {
    if let (Some(asked), Some(positions)) = (asked, positions)
        && asked > positions
    {
        return Err(Error::new(Kind::Usage, "the maximum length is beyond the model's positions")
            .found(asked.to_string())
            .expected(format!("at most {positions}")));
    }
    if let Some(tokens) = asked {
        return Ok(Decided { tokens, by: "--max-length".to_owned() });
    }
    let smallest = files.iter().min_by_key(|length| length.tokens);
    Ok(match (smallest, positions) {
        (Some(length), positions) if positions.is_none_or(|positions| length.tokens <= positions) => {
            Decided { tokens: length.tokens, by: format!("{}, {}", length.file, length.field) }
        }
        (_, Some(positions)) => {
            Decided { tokens: positions, by: "config.json, max_position_embeddings".to_owned() }
        }
        (_, None) => Decided { tokens: UNKNOWN, by: "no file of the model says how many".to_owned() },
    })
}

/// Where a file of a model lies: in its transformer's folder, else in the model's directory.
pub(super) fn place(root: &Path, folder: &Path, name: &str) -> Option<PathBuf> {
    [folder, root].into_iter().map(|place| place.join(name)).find(|path| source::is_there(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Result<Option<usize>> {
        let Value::Object(fields) = serde_json::from_str(json).unwrap() else { panic!("no object") };
        let (path, root) = (Path::new("m/tokenizer_config.json"), Path::new("m"));
        let length = length(&fields, "model_max_length", path, root)?;
        assert!(length.iter().all(|length| length.file == "tokenizer_config.json"));
        Ok(length.map(|length| length.tokens))
    }

    #[test]
    fn a_length_is_a_positive_integer_or_no_limit() {
        assert_eq!(said(r#"{"model_max_length": 8}"#).unwrap(), Some(8));
        assert_eq!(said(r#"{"model_max_length": 512.0}"#).unwrap(), Some(512));
        for none in [
            "{}",
            r#"{"model_max_length": null}"#,
            r#"{"model_max_length": 1000000000000000019884624838656}"#,
            r#"{"model_max_length": 1e30}"#,
            r#"{"model_max_length": 9223372036854775807}"#,
            r#"{"model_max_length": 2147483647}"#,
        ] {
            assert_eq!(said(none).unwrap(), None, "{none}");
        }
        for wrong in ["\"512\"", "-1", "0", "1.5", "true", "[512]"] {
            let error = said(&format!("{{\"model_max_length\": {wrong}}}")).unwrap_err().to_string();
            assert!(error.contains("field \"model_max_length\"") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn the_smallest_decides_and_the_user_within_the_positions() {
        let file = |file: &str, tokens| Length { file: file.to_owned(), field: "f", tokens };
        let files = [file("a.json", 512), file("b.json", 256)];
        let decided = |positions, asked| {
            let Decided { tokens, by } = decide(&files, positions, asked).unwrap();
            (tokens, by)
        };
        assert_eq!(decided(Some(512), None), (256, "b.json, f".to_owned()));
        assert_eq!(decided(None, None), (256, "b.json, f".to_owned()));
        assert_eq!(decided(Some(128), None), (128, "config.json, max_position_embeddings".to_owned()));
        assert_eq!(decided(Some(512), Some(400)), (400, "--max-length".to_owned()));
        assert_eq!(decide(&[], None, None).unwrap().tokens, 512);
        assert!(decide(&files, Some(128), Some(129)).is_err());
    }

    #[test]
    fn positions_behind_the_padding_id_are_counted_from_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert_eq!(positions(&[directory.path()]).unwrap(), None);
        for (config, expected) in [
            (r#"{"max_position_embeddings": 512}"#, Some(512)),
            (
                r#"{"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}"#,
                Some(512),
            ),
            (r#"{"model_type": "t5"}"#, None),
        ] {
            std::fs::write(&path, config).unwrap();
            assert_eq!(positions(&[directory.path()]).unwrap(), expected);
        }
    }
}
