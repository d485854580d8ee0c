//! Owns the reading of a Hugging Face `config.json` of a BERT encoder.
//!
//! Refuses every model type but `bert`. Relatives share most tensor names yet compute something else
//! (RoBERTa, XLM-R and CamemBERT shift positions, ELECTRA projects embeddings, DistilBERT and ALBERT name or
//! share tensors otherwise, Megatron-BERT normalises before each block); MiniLM, GTE, BGE and E5 checkpoints
//! that are BERT say `bert` themselves.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document;
use crate::error::{Error, Kind, Result};

/// The function between the two products of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x · Φ(x) with the exact error function (`gelu`).
    Gelu,
    /// The tanh approximation of GELU (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(0, x).
    Relu,
}

/// The dimensions and constants of a BERT encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of layers, numbered 0 … layers - 1.
    pub layers: usize,
    /// Attention heads per layer; they share `hidden_size` equally.
    pub attention_heads: usize,
    /// Width between the two products of a feed-forward block.
    pub intermediate_size: usize,
    /// Number of token ids that have an embedding.
    pub vocabulary_size: usize,
    /// Longest sequence, in tokens, that has position embeddings.
    pub positions: usize,
    /// Number of token types; only type 0 is used here.
    pub token_types: usize,
    /// The function in the feed-forward blocks.
    pub activation: Activation,
    /// Added to the variance in every layer normalisation.
    pub layer_norm_epsilon: f32,
    /// The id to fill padding with.
    pub pad_token_id: u32,
}

impl Config {
    /// Reads a Hugging Face `config.json`.
    ///
    /// Sizes must be there; what Hugging Face has a default for may be left out (`hidden_act` gelu,
    /// `layer_norm_eps` 1e-12, `type_vocab_size` 2, `pad_token_id` 0, `position_embedding_type` absolute).
    ///
    /// # Errors
    /// The file cannot be read, is not a JSON object, or describes something other than a plain BERT encoder.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let ends = serde_json::from_slice::<serde_json::Value>(&text).is_err_and(|source| source.is_eof());
        let fields =
            document::json(&text, Kind::Model, "the configuration is not a JSON object").map_err(|error| {
                match ends {
                    true => error.found("a file that ends in the middle").help("download it again"),
                    false => error.help("take config.json from the model's own directory"),
                }
            });
        fields.and_then(|fields| Fields(fields).config()).map_err(|error| error.at(path))
    }

    /// Checks that the sizes are possible and fit one another, wherever they come from.
    ///
    /// # Errors
    /// A size is 0 or beyond any model's, the heads do not divide the hidden size, or the padding id has no embedding.
    pub fn check(&self) -> Result<()> {
        // Far above any model, and low enough that no product of sizes overflows and no list of tensors fills
        // the memory.
        const LARGEST: usize = 1 << 21;
        const MOST_LAYERS: usize = 1 << 10;
        let sizes = [
            ("hidden_size", self.hidden_size, LARGEST),
            ("num_hidden_layers", self.layers, MOST_LAYERS),
            ("num_attention_heads", self.attention_heads, LARGEST),
            ("intermediate_size", self.intermediate_size, LARGEST),
            ("vocab_size", self.vocabulary_size, LARGEST),
            ("max_position_embeddings", self.positions, LARGEST),
            ("type_vocab_size", self.token_types, LARGEST),
        ];
        for (field, size, largest) in sizes {
            if !(1..=largest).contains(&size) {
                return Err(unsupported(field, &size.into(), &format!("an integer from 1 to {largest}"), ""));
            }
        }
        if !self.hidden_size.is_multiple_of(self.attention_heads) {
            return Err(Error::new(Kind::Model, "the attention heads cannot share the hidden size equally")
                .field("num_attention_heads")
                .found(format!("{} heads, hidden_size {}", self.attention_heads, self.hidden_size))
                .expected("a divisor of hidden_size"));
        }
        if self.pad_token_id as usize >= self.vocabulary_size {
            return Err(Error::new(Kind::Model, "the padding id has no embedding")
                .field("pad_token_id")
                .found(self.pad_token_id.to_string())
                .expected(format!("less than vocab_size, {}", self.vocabulary_size)));
        }
        if !(0.0..1.0).contains(&self.layer_norm_epsilon) {
            let found = self.layer_norm_epsilon.into();
            return Err(unsupported("layer_norm_eps", &found, "a number from 0 to 1", ""));
        }
        Ok(())
    }

    /// Width of one attention head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.attention_heads
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn config(&self) -> Result<Config> {
        self.only("model_type", &["bert"], None, "only BERT encoders can be imported this way")?;
        self.only(
            "position_embedding_type",
            &["absolute"],
            Some("absolute"),
            "relative positions are not BERT's",
        )?;
        for field in ["is_decoder", "add_cross_attention"] {
            match self.0.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(other) => {
                    return Err(unsupported(field, other, "false", "only encoders can be imported"));
                }
            }
        }
        let config = Config {
            hidden_size: self.size("hidden_size", None)?,
            layers: self.size("num_hidden_layers", None)?,
            attention_heads: self.size("num_attention_heads", None)?,
            intermediate_size: self.size("intermediate_size", None)?,
            vocabulary_size: self.size("vocab_size", None)?,
            positions: self.size("max_position_embeddings", None)?,
            token_types: self.size("type_vocab_size", Some(2))?,
            activation: self.activation()?,
            layer_norm_epsilon: self.epsilon()?,
            pad_token_id: self.pad_token_id()?,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks a text field against the values that work.
    fn only(&self, field: &str, allowed: &[&str], default: Option<&str>, why: &str) -> Result<()> {
        let expected = allowed.join(" or ");
        match (self.0.get(field), default) {
            (Some(Value::String(text)), _) if allowed.contains(&text.as_str()) => Ok(()),
            (None | Some(Value::Null), Some(_)) => Ok(()),
            (Some(other), _) => Err(unsupported(field, other, &expected, why)),
            (None, None) => Err(missing(field, &expected)),
        }
    }

    /// An integer; whether it is possible is checked with all the others.
    fn size(&self, field: &str, default: Option<usize>) -> Result<usize> {
        match (self.0.get(field), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(missing(field, "a positive integer")),
            (Some(value), _) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| unsupported(field, value, "a positive integer", "")),
        }
    }

    fn activation(&self) -> Result<Activation> {
        match self.0.get("hidden_act") {
            None => Ok(Activation::Gelu),
            Some(value) => match value.as_str() {
                Some("gelu") => Ok(Activation::Gelu),
                Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
                Some("relu") => Ok(Activation::Relu),
                _ => Err(unsupported("hidden_act", value, "gelu, gelu_new, gelu_pytorch_tanh or relu", "")),
            },
        }
    }

    fn epsilon(&self) -> Result<f32> {
        match self.0.get("layer_norm_eps") {
            None => Ok(1e-12),
            Some(value) => value
                .as_f64()
                .map(|epsilon| epsilon as f32)
                .ok_or_else(|| unsupported("layer_norm_eps", value, "a number from 0 to 1", "")),
        }
    }

    fn pad_token_id(&self) -> Result<u32> {
        match self.0.get("pad_token_id") {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| unsupported("pad_token_id", value, "a token id", "")),
        }
    }
}

fn unsupported(field: &str, found: &Value, expected: &str, why: &str) -> Error {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({
            "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40,
        })
    }

    fn open(value: &Value) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        Config::open(&path)
    }

    /// The error of a configuration in which one field is changed.
    fn refused(field: &str, value: Value) -> String {
        let mut config = base();
        config[field] = value;
        let error = open(&config).unwrap_err();
        assert_eq!(error.kind(), Kind::Model);
        let message = error.to_string();
        assert!(message.contains("config.json") && message.contains(field), "{message}");
        message
    }

    #[test]
    fn defaults_are_hugging_faces() {
        let config = open(&base()).unwrap();
        assert_eq!((config.activation, config.token_types, config.pad_token_id), (Activation::Gelu, 2, 0));
        assert_eq!((config.layer_norm_epsilon, config.head_size()), (1e-12, 8));
    }

    #[test]
    fn every_supported_activation_is_read() {
        let names = ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"];
        let expected = [Activation::Gelu, Activation::GeluTanh, Activation::GeluTanh, Activation::Relu];
        for (name, activation) in names.into_iter().zip(expected) {
            let mut config = base();
            config["hidden_act"] = name.into();
            assert_eq!(open(&config).unwrap().activation, activation);
        }
    }

    #[test]
    fn another_model_type_is_refused_by_name() {
        assert!(refused("model_type", "roberta".into()).contains("found \"roberta\", expected bert"));
    }

    #[test]
    fn a_missing_model_type_or_size_is_refused() {
        for field in ["model_type", "hidden_size", "num_hidden_layers", "vocab_size"] {
            let mut config = base();
            config.as_object_mut().unwrap().remove(field);
            assert!(open(&config).unwrap_err().to_string().contains(field));
        }
    }

    #[test]
    fn an_unknown_activation_is_refused() {
        assert!(refused("hidden_act", "silu".into()).contains("gelu_pytorch_tanh"));
    }

    #[test]
    fn relative_positions_are_refused() {
        refused("position_embedding_type", "relative_key".into());
    }

    #[test]
    fn decoders_and_cross_attention_are_refused() {
        refused("is_decoder", true.into());
        refused("add_cross_attention", true.into());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        refused("num_attention_heads", 5.into());
        refused("num_attention_heads", 0.into());
        refused("hidden_size", json!(-1));
        refused("intermediate_size", json!(u64::MAX));
        refused("vocab_size", "many".into());
        refused("pad_token_id", 100.into());
        refused("layer_norm_eps", json!(-1.0));
        refused("layer_norm_eps", "small".into());
        refused("num_hidden_layers", json!(1 << 20));
    }

    #[test]
    fn sizes_that_do_not_come_from_a_config_file_are_checked_too() {
        let good = open(&base()).unwrap();
        assert!(good.check().is_ok());
        for bad in [
            Config { attention_heads: 0, ..good.clone() },
            Config { attention_heads: 5, ..good.clone() },
            Config { layers: usize::MAX, ..good.clone() },
            Config { layer_norm_epsilon: f32::NAN, ..good.clone() },
            Config { pad_token_id: 100, ..good.clone() },
        ] {
            let path = std::path::Path::new("no-such-file");
            assert_eq!(bad.check().unwrap_err().kind(), Kind::Model);
            assert_eq!(crate::encoder::Weights::open(path, &bad).unwrap_err().kind(), Kind::Model);
            assert_eq!(crate::encoder::convert_checkpoint(path, &bad, path).unwrap_err().kind(), Kind::Model);
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["", "[]", "{\"model_type\":"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Config::open(&path).unwrap_err().kind(), Kind::Model);
        }
        assert_eq!(Config::open(&folder.path().join("nothing.json")).unwrap_err().kind(), Kind::Io);
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        let config = open(&base()).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
