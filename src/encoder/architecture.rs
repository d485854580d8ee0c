//! Owns what a backbone's network is: an encoder that we know and build, or a graph made elsewhere.
//!
//! Refuses to be matched on: whoever asks gets the encoder's dimensions, or learns that there are none.

use serde::{Deserialize, Serialize};

use super::config::Config;

/// What a network is. The words in a file stay as they are: features are stored, and bundles identified,
/// under their hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Architecture {
    /// An encoder whose graph is written by frosthead from `model.safetensors`.
    #[serde(rename = "bert")]
    Encoder {
        /// The encoder's dimensions.
        config: Config,
    },
    /// An ONNX file made elsewhere: opaque, with one cut (after pooling).
    #[serde(rename = "onnx")]
    Opaque,
}

impl Architecture {
    /// An encoder of ours.
    #[must_use]
    pub fn known(config: Config) -> Self {
        Self::Encoder { config }
    }

    /// A graph made elsewhere.
    #[must_use]
    pub fn opaque() -> Self {
        Self::Opaque
    }

    /// The dimensions of an encoder; none when the network cannot be looked into.
    #[must_use]
    pub fn encoder(&self) -> Option<&Config> {
        match self {
            Self::Encoder { config } => Some(config),
            Self::Opaque => None,
        }
    }

    /// What it adds to the identity of a backbone: the dimensions of an encoder as JSON, or `onnx`.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::Encoder { config } => serde_json::to_string(config)
                .expect("a configuration is numbers and names: failing to write it is a bug"),
            Self::Opaque => "onnx".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::kinds::Activation;

    /// all-MiniLM-L6-v2: these bytes are hashed into the keys of stored features and into bundles.
    #[test]
    fn the_written_forms_of_todays_backbones_do_not_change() {
        let config = Config {
            hidden_size: 384,
            layers: 6,
            attention_heads: 12,
            intermediate_size: 1536,
            vocabulary_size: 30522,
            positions: 512,
            token_types: 2,
            activation: Activation::Gelu,
            layer_norm_epsilon: 1e-12,
            pad_token_id: 0,
            relative_positions: None,
            dense: None,
        };
        let written = "{\"hidden_size\":384,\"layers\":6,\"attention_heads\":12,\"intermediate_size\":1536,\
                       \"vocabulary_size\":30522,\"positions\":512,\"token_types\":2,\"activation\":\"gelu\",\
                       \"layer_norm_epsilon\":1e-12,\"pad_token_id\":0}";
        let known = Architecture::Encoder { config };
        assert_eq!((known.identity().as_str(), Architecture::Opaque.identity().as_str()), (written, "onnx"));
        let manifest = format!("{{\"kind\":\"bert\",\"config\":{written}}}");
        for (architecture, text) in
            [(known, manifest.as_str()), (Architecture::Opaque, "{\"kind\":\"onnx\"}")]
        {
            assert_eq!(serde_json::to_string(&architecture).unwrap(), text);
            assert_eq!(serde_json::from_str::<Architecture>(text).unwrap(), architecture);
        }
        let names = [Activation::Gelu, Activation::GeluTanh, Activation::Relu];
        assert_eq!(serde_json::to_string(&names).unwrap(), "[\"gelu\",\"gelu_tanh\",\"relu\"]");
    }
}
