//! Owns what a Hugging Face directory says about preparing texts and pooling: the sentence-transformers files, their
//! prompts, the licence in the model card.
//!
//! Refuses to guess: a module or a pooling mode frosthead cannot reproduce is an error that names it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bert::Pooling;
use crate::document;
use crate::error::{Error, Kind, Result};

/// What the files of a sentence-transformers model say; `None` where they are silent.
#[derive(Debug, Default, PartialEq)]
pub struct Card {
    pub pooling: Option<Pooling>,
    pub normalize: Option<bool>,
    pub max_length: Option<usize>,
    /// Lower-case the text before tokenising it.
    pub lowercase: bool,
    /// Whether the prompt's own tokens take part in pooling.
    pub include_prompt: bool,
    pub prompts: BTreeMap<String, String>,
    pub default_prompt: Option<String>,
    pub licence: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TransformerFile {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PromptFile {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// Reads the cards of a model directory; a plain BERT checkpoint, which has none, gives an empty one.
///
/// # Errors
/// A file is unreadable, or names a module or pooling mode that is not supported.
pub fn read(directory: &Path) -> Result<Card> {
    let mut card = Card { include_prompt: true, licence: licence(directory), ..Card::default() };
    if let Some(file) = json::<TransformerFile>(&directory.join("sentence_bert_config.json"))? {
        card.max_length = file.max_seq_length;
        card.lowercase = file.do_lower_case;
    }
    if let Some(file) = json::<PromptFile>(&directory.join("config_sentence_transformers.json"))? {
        card.prompts = file.prompts;
        card.default_prompt = file.default_prompt_name;
    }
    let modules_path = directory.join("modules.json");
    let Some(modules) = json::<Vec<Module>>(&modules_path)? else {
        return Ok(card);
    };
    card.normalize = Some(false);
    for module in modules {
        match module.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Normalize" => card.normalize = Some(true),
            "Pooling" => {
                let path = directory.join(&module.path).join("config.json");
                let file = json::<BTreeMap<String, serde_json::Value>>(&path)?.ok_or_else(|| {
                    Error::new(Kind::Model, "the pooling module has no configuration").at(&path)
                })?;
                card.pooling = Some(pooling(&file).map_err(|error| error.at(&path))?);
                card.include_prompt =
                    file.get("include_prompt").and_then(serde_json::Value::as_bool) != Some(false);
            }
            other => {
                return Err(Error::new(
                    Kind::Model,
                    "the model has a module that frosthead does not support",
                )
                .at(&modules_path)
                .found(other)
                .expected("Transformer, Pooling and Normalize")
                .help(
                    "choose a backbone without it, or export the whole model to ONNX and import that file",
                ));
            }
        }
    }
    Ok(card)
}

/// The one pooling mode a `1_Pooling/config.json` switches on, in its old form (`pooling_mode_*: true`) or its new one
/// (`pooling_mode: "mean"`).
fn pooling(file: &BTreeMap<String, serde_json::Value>) -> Result<Pooling> {
    let modes: Vec<&str> = match file.get("pooling_mode").and_then(serde_json::Value::as_str) {
        Some(mode) => vec![mode],
        None => file
            .iter()
            .filter(|(_, value)| value.as_bool() == Some(true))
            .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
            .collect(),
    };
    match modes.as_slice() {
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        other => Err(Error::new(Kind::Model, "this way of pooling is not supported")
            .found(if other.is_empty() { "none".to_owned() } else { other.join(" and ") })
            .expected("mean over tokens, or the cls token")
            .help("say --pooling mean or --pooling cls to choose one, and check the quality on your data")),
    }
}

/// The `license:` line of the model card's front matter.
fn licence(directory: &Path) -> Option<String> {
    let card = std::fs::read_to_string(directory.join("README.md")).ok()?;
    let front_matter = card.strip_prefix("---")?.split("\n---").next()?;
    front_matter
        .lines()
        .find_map(|line| line.strip_prefix("license:"))
        .map(|licence| licence.trim().trim_matches(['"', '\'']).to_owned())
        .filter(|licence| !licence.is_empty())
}

/// Reads a JSON file that may be absent.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("read", path, source)),
    };
    document::json(text.as_bytes(), Kind::Model, "the file is not what sentence-transformers writes")
        .map(Some)
        .map_err(|error| error.at(path).help("take it from the model's own directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        directory
    }

    const MODULES: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

    #[test]
    fn a_plain_checkpoint_says_nothing() {
        let card = read(directory(&[]).path()).unwrap();
        assert_eq!(card, Card { include_prompt: true, ..Card::default() });
    }

    #[test]
    fn every_file_is_read() {
        let directory = directory(&[
            ("modules.json", MODULES),
            (
                "1_Pooling/config.json",
                r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
            ),
            ("sentence_bert_config.json", r#"{"max_seq_length": 77, "do_lower_case": true}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"query": "query: "}, "default_prompt_name": "query"}"#,
            ),
            ("README.md", "---\ntags: [x]\nlicense: mit\n---\n# Model\n"),
        ]);
        let card = read(directory.path()).unwrap();
        assert_eq!(card.pooling, Some(Pooling::Cls));
        assert_eq!(card.normalize, Some(true));
        assert_eq!(card.max_length, Some(77));
        assert!(card.lowercase);
        assert_eq!(card.prompts["query"], "query: ");
        assert_eq!(card.default_prompt.as_deref(), Some("query"));
        assert_eq!(card.licence.as_deref(), Some("mit"));
    }

    #[test]
    fn an_unsupported_module_is_named() {
        let modules = r#"[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#;
        let error = read(directory(&[("modules.json", modules)]).path()).unwrap_err();
        assert!(error.to_string().contains("Dense"), "{error}");
    }

    #[test]
    fn an_unsupported_pooling_is_named() {
        let directory = directory(&[
            ("modules.json", MODULES),
            ("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#),
        ]);
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("max_tokens"), "{error}");
    }
}
