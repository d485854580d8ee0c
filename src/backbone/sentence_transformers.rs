//! Owns what a Hugging Face directory says about preparing texts and pooling: the sentence-transformers
//! files, their prompts, the licence in the model card.
//!
//! Refuses to guess: a module or a pooling mode frosthead cannot reproduce is an error that names it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::length::{Length, length, object, place};
use super::source;
use crate::document;
use crate::encoder::Pooling;
use crate::error::{Error, Kind, Result};

/// What says which modules a model has.
const MODULES: &str = "modules.json";
/// What says how long a text may be, for the transformer of the module; the first that is there counts.
pub(super) const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// How a `1_Pooling/config.json` of the old form calls its modes.
const MODE: &str = "pooling_mode_";

/// What the files of a sentence-transformers model say; `None` where they are silent.
#[derive(Debug, Default, PartialEq)]
pub struct Card {
    /// Where the transformer's own files lie: the model's directory, or a folder in it.
    pub folder: PathBuf,
    /// What keeps its modules from being rebuilt behind the transformer.
    pub unsupported: Option<Unsupported>,
    pub pooling: Stated,
    /// The folder of the product behind the pooling, if there is one.
    pub dense: Option<PathBuf>,
    pub normalize: Option<bool>,
    /// What the files say of the longest text.
    pub lengths: Vec<Length>,
    /// Lower-case the text before tokenising it.
    pub lowercase: bool,
    /// Whether the prompt's own tokens take part in pooling.
    pub include_prompt: bool,
    pub prompts: BTreeMap<String, String>,
    pub default_prompt: Option<String>,
    pub licence: Option<String>,
}

/// A list of modules that cannot be rebuilt.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsupported {
    path: PathBuf,
    what: &'static str,
    found: String,
}

impl Card {
    /// Refuses modules that cannot be rebuilt behind a transformer.
    ///
    /// # Errors
    /// There is one.
    pub fn check_modules(&self) -> Result<()> {
        let Some(Unsupported { path, what, found }) = &self.unsupported else { return Ok(()) };
        Err(Error::new(Kind::Model, *what)
            .at(path)
            .found(found)
            .expected("a Transformer, a Pooling, perhaps a Dense, and perhaps a Normalize")
            .help(
                "choose a backbone without it, or export the whole model to ONNX, with the output \
                 sentence_embedding, and import that file",
            ))
    }
}

/// A way of pooling, as a file states it.
#[derive(Debug, Default, Clone, PartialEq)]
pub enum Stated {
    /// No file says anything.
    #[default]
    Nothing,
    /// Said by this file.
    Pooling(Pooling, PathBuf),
    /// This file asks for something that is not supported.
    Other { path: PathBuf, modes: String },
}

impl Stated {
    /// The pooling to use, unless the user chooses: mean where no file says anything.
    ///
    /// # Errors
    /// A file asks for what is not supported.
    pub fn pooling(&self) -> Result<Pooling> {
        match self {
            Self::Nothing => Ok(Pooling::Mean),
            Self::Pooling(pooling, _) => Ok(*pooling),
            Self::Other { path, modes } => {
                Err(Error::new(Kind::Model, "this way of pooling is not supported")
                    .at(path)
                    .found(modes)
                    .expected("mean over tokens, the cls token, or the largest of all tokens (max)")
                    .help("say --pooling mean, cls or max to choose one, and check the quality on your data"))
            }
        }
    }
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
struct PromptFile {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// Which of these directories holds a model's cards: the one that says more of it, else the first.
pub fn root<'d>(directories: &[&'d Path]) -> &'d Path {
    let modules = |directory: &&&Path| !matches!(modules(directory), Ok(modules) if modules.is_empty());
    let others = |directory: &&&Path| {
        ["config.json", "tokenizer_config.json"].iter().any(|name| source::is_there(&directory.join(name)))
    };
    let best = directories.iter().find(modules).or_else(|| directories.iter().find(others));
    best.or(directories.first()).copied().unwrap_or(Path::new("."))
}

/// The folders of the modules that a model's `modules.json` lists, each with `/` at its end.
///
/// # Errors
/// The list cannot be read, or leads out of the directory.
#[cfg(feature = "hub")]
pub fn module_folders(directory: &Path) -> Result<Vec<String>> {
    let folders = modules(directory)?.into_iter().map(|module| module.path).filter(|path| !path.is_empty());
    Ok(folders.map(|path| format!("{}/", path.trim_end_matches('/'))).collect())
}

/// Reads the cards of a model directory; a plain BERT checkpoint, which has none, gives an empty one.
///
/// # Errors
/// A file is unreadable, leads out of the directory, or names a length that is none.
pub fn read(directory: &Path) -> Result<Card> {
    let modules = modules(directory)?;
    let mut card =
        Card { include_prompt: true, licence: licence(directory), ..modules_card(directory, &modules) };
    for (names, field) in
        [(&TRANSFORMER[..], "max_seq_length"), (&["tokenizer_config.json"], "model_max_length")]
    {
        let Some(path) = names.iter().find_map(|name| place(directory, &card.folder, name)) else { continue };
        let fields = object(&path)?.unwrap_or_default();
        card.lengths.extend(length(&fields, field, &path, directory)?);
        let transformer = field == "max_seq_length";
        card.lowercase |= transformer && fields.get("do_lower_case").and_then(Value::as_bool) == Some(true);
    }
    if let Some(file) = json::<PromptFile>(&directory.join("config_sentence_transformers.json"))? {
        card.prompts = file.prompts;
        card.default_prompt = file.default_prompt_name;
    }
    let pooling = modules.iter().find(|module| module.name() == "Pooling");
    if let Some(pooling) = pooling.filter(|_| card.unsupported.is_none()) {
        let path = directory.join(&pooling.path).join("config.json");
        let fields = object(&path)?
            .ok_or_else(|| Error::new(Kind::Model, "the pooling module has no configuration").at(&path))?;
        card.pooling = match pooling_modes(&fields).as_slice() {
            [only] if ["mean_tokens", "mean"].contains(&only.as_str()) => {
                Stated::Pooling(Pooling::Mean, path)
            }
            [only] if ["cls_token", "cls"].contains(&only.as_str()) => Stated::Pooling(Pooling::Cls, path),
            [only] if ["max_tokens", "max"].contains(&only.as_str()) => Stated::Pooling(Pooling::Max, path),
            [] => Stated::Other { path, modes: "none".to_owned() },
            modes => Stated::Other { path, modes: modes.join(" and ") },
        };
        card.include_prompt = fields.get("include_prompt").and_then(Value::as_bool) != Some(false);
    }
    Ok(card)
}

impl Module {
    /// Its kind, without the package it is from.
    fn name(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }
}

/// The modules of a model, in order: what `modules.json` lists, else what the folders `0_Transformer`,
/// `1_Pooling`, … are called.
///
/// # Errors
/// `modules.json` cannot be read, or leads out of the directory.
fn modules(directory: &Path) -> Result<Vec<Module>> {
    let path = directory.join(MODULES);
    if let Some(modules) = json::<Vec<Module>>(&path)? {
        let inside = |module: &&Module| {
            Path::new(&module.path)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        if let Some(outside) = modules.iter().find(|module| !inside(module)) {
            return Err(Error::new(Kind::Model, "a module lies outside the model's directory")
                .at(path)
                .field("path")
                .found(format!("{:?}", outside.path))
                .expected("a folder of the model")
                .help("do not trust this model: take it from another place"));
        }
        return Ok(modules);
    }
    let folders = source::names(directory).into_iter().filter_map(|name| {
        let name = name.strip_suffix('/')?.to_owned();
        let (number, kind) = name.split_once('_')?;
        let number: u32 = number.parse().ok()?;
        let kind = if number == 0 { "Transformer" } else { kind }.to_owned();
        Some((number, Module { path: name, kind }))
    });
    let mut folders: Vec<(u32, Module)> = folders.collect();
    folders.sort_by_key(|(number, _)| *number);
    let known = |module: &Module| match module.name() {
        // A configuration beside the folders is the transformer's.
        "Transformer" => {
            !source::is_there(&directory.join("config.json"))
                && source::is_there(&directory.join(&module.path).join("config.json"))
        }
        "Normalize" => true,
        _ => directory.join(&module.path).join("config.json").is_file(),
    };
    let modules: Vec<Module> = folders.into_iter().map(|(_, module)| module).filter(known).collect();
    Ok(modules)
}

/// What the list of modules alone says.
fn modules_card(directory: &Path, modules: &[Module]) -> Card {
    let mut card = Card { folder: directory.to_path_buf(), ..Card::default() };
    let list = directory.join(MODULES);
    let path = if list.is_file() { list } else { directory.to_path_buf() };
    let mut next = 0;
    for module in modules {
        let place = match module.name() {
            "Transformer" => 0,
            "Pooling" => 1,
            "Dense" => 2,
            "Normalize" => 3,
            other => {
                let what = "the model has a module that frosthead does not support";
                card.unsupported = Some(Unsupported { path, what, found: other.to_owned() });
                return card;
            }
        };
        if place < next {
            let what = "the model's modules do not follow one another as a sentence encoder's do";
            let kinds: Vec<&str> = modules.iter().map(Module::name).collect();
            card.unsupported = Some(Unsupported { path, what, found: kinds.join(", ") });
            return card;
        }
        next = place + 1;
        if place == 0 {
            card.folder = directory.join(&module.path);
        }
        if place == 2 {
            card.dense = Some(directory.join(&module.path));
        }
        card.normalize = Some(place == 3);
    }
    card
}

/// The modes that a `1_Pooling/config.json` switches on, in its old form (`pooling_mode_*: true`) or its new
/// one (`pooling_mode: "mean"`, or a list). Where it says nothing of modes, sentence-transformers takes the
/// mean.
fn pooling_modes(fields: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match fields.get("pooling_mode") {
        Some(Value::String(mode)) => return mode.split('+').map(|mode| mode.trim().to_owned()).collect(),
        Some(Value::Array(modes)) => return modes.iter().map(text).collect(),
        _ => {}
    }
    let modes: Vec<(&str, &Value)> =
        fields.iter().filter_map(|(name, value)| Some((name.strip_prefix(MODE)?, value))).collect();
    if modes.is_empty() {
        return vec!["mean".to_owned()];
    }
    modes.iter().filter(|(_, on)| on.as_bool() == Some(true)).map(|(name, _)| (*name).to_owned()).collect()
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
    if !source::is_there(path) {
        return Ok(None);
    }
    source::check(path)?;
    let text = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    document::json(&text, Kind::Model, "the file is not what sentence-transformers writes")
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
        let directory = directory(&[]);
        let card = read(directory.path()).unwrap();
        let folder = directory.path().to_path_buf();
        assert_eq!(card, Card { folder, include_prompt: true, ..Card::default() });
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
            ("tokenizer_config.json", r#"{"model_max_length": 60}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"query": "query: "}, "default_prompt_name": "query"}"#,
            ),
            ("README.md", "---\ntags: [x]\nlicense: mit\n---\n# Model\n"),
        ]);
        let card = read(directory.path()).unwrap();
        assert_eq!(card.pooling.pooling().unwrap(), Pooling::Cls);
        assert_eq!(card.normalize, Some(true));
        assert_eq!(card.lengths.iter().map(|length| length.tokens).collect::<Vec<_>>(), [77, 60]);
        assert!(card.lowercase);
        assert_eq!(card.prompts["query"], "query: ");
        assert_eq!(card.default_prompt.as_deref(), Some("query"));
        assert_eq!(card.licence.as_deref(), Some("mit"));
    }

    #[test]
    fn an_unsupported_module_is_named() {
        let modules = r#"[{"path": "2_CNN", "type": "sentence_transformers.models.CNN"}]"#;
        let error =
            read(directory(&[("modules.json", modules)]).path()).unwrap().check_modules().unwrap_err();
        assert!(error.to_string().contains("CNN"), "{error}");
    }

    #[test]
    fn an_unsupported_pooling_is_named() {
        let directory = directory(&[
            ("modules.json", MODULES),
            ("1_Pooling/config.json", r#"{"pooling_mode_weightedmean_tokens": true}"#),
        ]);
        let error = read(directory.path()).unwrap().pooling.pooling().unwrap_err();
        assert!(
            error.to_string().contains("weightedmean_tokens") && error.to_string().contains("1_Pooling"),
            "{error}"
        );
    }

    /// The modes that a pooling file without `modules.json` asks for, or what is wrong with them.
    fn pooled(config: &str) -> std::result::Result<Pooling, String> {
        let directory = directory(&[("1_Pooling/config.json", config)]);
        read(directory.path()).unwrap().pooling.pooling().map_err(|error| error.to_string())
    }

    #[test]
    fn a_pooling_folder_without_modules_is_obeyed() {
        assert_eq!(
            pooled(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
            Ok(Pooling::Cls)
        );
        assert_eq!(pooled(r#"{"pooling_mode": "cls"}"#), Ok(Pooling::Cls));
        assert_eq!(pooled(r#"{"pooling_mode_max_tokens": true}"#), Ok(Pooling::Max));
        assert_eq!(pooled(r#"{"word_embedding_dimension": 16}"#), Ok(Pooling::Mean));
        for (config, part) in [
            (
                r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#,
                "cls_token and mean_tokens",
            ),
            (r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false}"#, "found none"),
            (r#"{"pooling_mode_weightedmean_tokens": true}"#, "weightedmean_tokens"),
            (r#"{"pooling_mode_lasttoken": true}"#, "lasttoken"),
            (r#"{"pooling_mode": ["mean", "max"]}"#, "mean and max"),
            (r#"{"pooling_mode": "weightedmean"}"#, "weightedmean"),
        ] {
            let error = pooled(config).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let directory = directory(&[("1_Pooling/config.json", r#"{"include_prompt": false}"#)]);
        assert!(!read(directory.path()).unwrap().include_prompt);
    }

    #[test]
    fn folders_say_what_modules_there_are_when_no_file_does() {
        let with = |more: &[(&str, &str)]| {
            let mut files =
                vec![("0_BERT/config.json", "{}"), ("1_Pooling/config.json", "{}"), ("2_Normalize/x", "")];
            files.extend(more);
            let directory = directory(&files);
            let card = read(directory.path()).unwrap();
            card.check_modules().map(|()| (card.folder == directory.path().join("0_BERT"), card.normalize))
        };
        assert_eq!(with(&[]).unwrap(), (true, Some(true)));
        // A product stands in front of the scaling, and there is one.
        assert!(with(&[("3_Dense/config.json", "{}")]).unwrap_err().to_string().contains("Dense"));
        assert!(with(&[("3_CNN/config.json", "{}")]).unwrap_err().to_string().contains("CNN"));
    }

    #[test]
    fn modules_outside_the_directory_or_out_of_order_are_refused() {
        let card = |modules: &str| read(directory(&[("modules.json", modules)]).path());
        for path in ["../other", "/etc", "a/../../b"] {
            let modules = format!(r#"[{{"path": "{path}", "type": "x.Transformer"}}]"#);
            assert!(card(&modules).unwrap_err().to_string().contains(path), "{path}");
        }
        let twice = r#"[{"type": "x.Transformer"}, {"type": "x.Pooling"}, {"type": "x.Pooling"}]"#;
        let error = card(twice).unwrap().check_modules().unwrap_err().to_string();
        assert!(error.contains("Transformer, Pooling, Pooling"), "{error}");
    }

    #[test]
    fn a_length_in_the_transformers_own_folder_counts() {
        let modules = r#"[{"path": "sub", "type": "x.Transformer"}]"#;
        let directory = directory(&[
            ("modules.json", modules),
            ("sub/sentence_bert_config.json", r#"{"max_seq_length": 33}"#),
            ("sub/tokenizer_config.json", r#"{"model_max_length": 1e30}"#),
        ]);
        let lengths = read(directory.path()).unwrap().lengths;
        assert_eq!(lengths.len(), 1);
        assert_eq!((lengths[0].file.as_str(), lengths[0].tokens), ("sub/sentence_bert_config.json", 33));
    }
}
