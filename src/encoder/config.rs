//! Owns the dimensions and constants of our one network, and what follows from them alone.
//!
//! Refuses to know where they come from: `family` reads other people's files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::unsupported;
use super::kinds::{Activation, Dense};
use super::products::Part;
use super::relative::RelativePositions;
use super::tensors;
use crate::error::{Error, Kind, Result};
use crate::quantities::grouped;

/// The dimensions and constants of an encoder. It is written into manifests and hashed: a new field must be
/// left out of what is written (`skip_serializing_if`) where it says nothing new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of layers, numbered 0 … layers - 1; none where it was cut off above the embeddings.
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
    /// How a bias of attention counts distances, in networks that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_positions: Option<RelativePositions>,
    /// A product behind the pooling, in networks that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<Dense>,
}

impl Config {
    /// Checks that the sizes are possible and fit one another, wherever they come from.
    ///
    /// # Errors
    /// A size is 0 or beyond any model's, the heads do not divide the hidden size, or the padding id has no
    /// embedding.
    pub fn check(&self) -> Result<()> {
        // Far above any model, and low enough that no product of sizes overflows and no list of tensors fills
        // the memory.
        const LARGEST: usize = 1 << 21;
        const MOST_LAYERS: usize = 1 << 10;
        // A network that was cut may have no layer left.
        if self.layers > MOST_LAYERS {
            let expected = format!("an integer from 0 to {MOST_LAYERS}");
            return Err(unsupported("num_hidden_layers", &self.layers.into(), &expected, ""));
        }
        let sizes = [
            ("hidden_size", self.hidden_size, LARGEST),
            ("num_attention_heads", self.attention_heads, LARGEST),
            ("intermediate_size", self.intermediate_size, LARGEST),
            ("vocab_size", self.vocabulary_size, LARGEST),
            ("max_position_embeddings", self.positions, LARGEST),
            ("type_vocab_size", self.token_types, LARGEST),
            ("out_features", self.embedding_size(), LARGEST),
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
        if let Some(RelativePositions { buckets, distance }) = self.relative_positions {
            let near = buckets / 4;
            if near == 0
                || !buckets.is_multiple_of(4)
                || distance <= near
                || distance > LARGEST
                || buckets > LARGEST
            {
                return Err(Error::new(Kind::Model, "distances between tokens cannot be counted so")
                    .field("relative_positions")
                    .found(format!("{buckets} buckets up to a distance of {distance}"))
                    .expected("a multiple of 4 buckets, and a distance of more than a quarter of them"));
            }
        }
        if !(0.0..1.0).contains(&self.layer_norm_epsilon) {
            let found = self.layer_norm_epsilon.into();
            return Err(unsupported("layer_norm_eps", &found, "a number from 0 to 1", ""));
        }
        Ok(())
    }

    /// Numbers of a sentence embedding.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.dense.map_or(self.hidden_size, |dense| dense.outputs)
    }

    /// Width of one attention head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.attention_heads
    }

    /// Tokens of the longest text that it can read at once.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.positions
    }

    /// The tables of the embeddings that are worth 8 bits (token types are two rows), the words' first, each
    /// `[rows, hidden_size]`.
    #[must_use]
    pub fn tables(&self) -> [&'static str; 2] {
        [tensors::WORDS, tensors::POSITIONS]
    }

    /// Multiply-adds × 2 of the matrix products of a batch of `rows` texts of `length` tokens: every layer's
    /// products, and scores and weighted sums of attention.
    #[must_use]
    pub fn operations(&self, (rows, length): (usize, usize)) -> f64 {
        let product = |part: Part| {
            part.tensors().len()
                * part.shape([self.hidden_size, self.intermediate_size]).iter().product::<usize>()
        };
        let per_token = Part::ALL.map(product).iter().sum::<usize>() + 2 * length * self.hidden_size;
        2.0 * (rows * length) as f64 * per_token as f64 * self.layers as f64
    }
}

/// For people.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layers, hidden_size, attention_heads, vocabulary_size, .. } = self;
        let words = grouped(*vocabulary_size as u64);
        write!(f, "{layers} layers, {hidden_size} wide, {attention_heads} attention heads, {words} words")
    }
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::encoder::Published;

    fn base() -> Value {
        json!({
            "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40,
        })
    }

    fn open(value: &Value) -> Result<Config> {
        publish(value).map(|published| published.config)
    }

    fn publish(value: &Value) -> Result<Published> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        Published::open(&path)
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
        let message = refused("model_type", "t5".into());
        assert!(message.contains("found \"t5\", expected bert or roberta or xlm-roberta"), "{message}");
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
            let published = Published { config: bad, ..publish(&base()).unwrap() };
            assert_eq!(published.convert(path, path).unwrap_err().kind(), Kind::Model);
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["", "[]", "{\"model_type\":"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Published::open(&path).unwrap_err().kind(), Kind::Model);
        }
        assert_eq!(Published::open(&folder.path().join("nothing.json")).unwrap_err().kind(), Kind::Io);
    }

    #[test]
    fn what_follows_from_the_dimensions_is_counted() {
        let config = open(&base()).unwrap();
        let per_token = 4 * 32 * 32 + 2 * 32 * 64 + 2 * 5 * 32;
        assert_eq!(config.operations((3, 5)), f64::from(2 * 15 * per_token * 2));
        assert_eq!(config.longest(), 40);
        assert_eq!(config.to_string(), "2 layers, 32 wide, 4 attention heads, 100 words");
        let rows = config.tables().map(|table| {
            crate::encoder::layout::expected(&config)
                .into_iter()
                .find(|tensor| tensor.name == table)
                .unwrap()
                .shape
        });
        assert_eq!(rows, [[100, 32], [40, 32]]);
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        let config = open(&base()).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
