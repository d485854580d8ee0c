//! Owns `backbone.json`: what a backbone is, how its texts are prepared and pooled, where it came from, and
//! the hashes that tie its files together.
//!
//! Refuses to open the files it names: that is `backbone`'s work.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document;
use crate::encoder::{self, Architecture, Config, Network, Weights};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::recognize::{Thing, Wanted};

/// The version of `backbone.json` this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Changes whenever the graph builder changes the values a backbone gives, so that stored features are never
/// mixed.
pub const GRAPH_VERSION: u32 = 1;

/// Everything about a backbone except its weights and vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's format.
    pub format: u32,
    /// The name people call it by (the directory's name when it was imported).
    pub name: String,
    /// Where the network itself comes from.
    pub architecture: Architecture,
    /// Width of a hidden state; of a graph made elsewhere, of its output.
    pub hidden_size: usize,
    /// How texts become token ids and token states become one vector.
    pub preparation: Preparation,
    /// What it was imported from.
    pub source: Source,
    /// Hashes of the files beside the manifest.
    pub files: BTreeMap<String, Fingerprint>,
}

/// How texts become token ids, and token states become one vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Token states → sentence embedding; none: the graph, made elsewhere, has pooled them itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pooling: Option<encoder::Pooling>,
    /// Whether the sentence embedding is scaled to Euclidean length 1.
    pub normalize: bool,
    /// Most tokens a text may have, special tokens included; the rest is cut off.
    pub max_length: usize,
    /// Put in front of every text (a sentence encoder's prompt), often empty.
    pub prefix: String,
    /// Token id that fills a batch up.
    pub pad_token_id: u32,
}

impl Preparation {
    /// A known encoder, pooled so: always by our graph.
    pub(super) fn network<'a>(&self, config: &'a Config, weights: &'a Weights) -> Network<'a> {
        let (pooling, normalize) = (Some(self.pooling.unwrap_or_default()), self.normalize);
        Network { pooling, normalize, ..Network::new(config, weights) }
    }
}

/// What a backbone was imported from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A directory's name, a hub id, or an ONNX file's name.
    pub origin: String,
    /// The family of its encoder, where that is another than BERT.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<String>,
    /// The output of an ONNX file that was taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
    /// Licence as the source states it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub licence: Option<String>,
    /// Hash of all source files and import options: the same again means there is nothing to do.
    pub inputs: Fingerprint,
}

impl Source {
    /// The family that is not written: there was no other once.
    const BERT: &str = "BERT";

    /// A family as it is written.
    pub(super) fn family_of(name: &str) -> Option<String> {
        (name != Self::BERT).then(|| name.to_owned())
    }
}

impl Manifest {
    /// Reads and checks `backbone.json`.
    ///
    /// # Errors
    /// The file is missing, is not a manifest, or has a newer format.
    pub fn open(path: &Path) -> Result<Self> {
        let directory = path.parent().unwrap_or(path);
        let text = std::fs::read_to_string(path).map_err(|source| match Thing::of(directory) {
            Thing::Backbone => Error::io("read", path, source),
            thing => thing.instead_of(Wanted::Backbone, Some(directory)),
        })?;
        let what = "this is not a backbone manifest";
        document::versioned_json(text.as_bytes(), &(FORMAT..=FORMAT), Kind::Model, what).map_err(|error| {
            error
                .at(path)
                .help("undo the change, use the version of frosthead that made it, or import it again")
        })
    }

    /// The identity of the backbone: everything that decides the vector a text gets, and nothing else (its
    /// name and source do not).
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        identity(&self.values())
    }

    /// The named values behind [`Manifest::fingerprint`], readable, for the feature store's key.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        let Preparation { pooling, normalize, max_length, prefix, pad_token_id } = &self.preparation;
        let mut values = BTreeMap::from([
            ("architecture".to_owned(), self.architecture.identity()),
            ("graph version".to_owned(), GRAPH_VERSION.to_string()),
            (
                "pooling".to_owned(),
                pooling.map_or_else(|| "the graph's own".to_owned(), |pooling| pooling.to_string()),
            ),
            ("normalize".to_owned(), normalize.to_string()),
            ("maximum length".to_owned(), max_length.to_string()),
            ("prefix".to_owned(), prefix.clone()),
            ("pad token".to_owned(), pad_token_id.to_string()),
        ]);
        for (name, fingerprint) in &self.files {
            if !name.ends_with(".onnx") || self.encoder().is_none() {
                values.insert(format!("file {name}"), fingerprint.to_string());
            }
        }
        values
    }

    /// The same of a network that is a part of this one.
    #[must_use]
    pub(super) fn with_encoder(&self, config: Config) -> Self {
        Self { architecture: Architecture::known(config), ..self.clone() }
    }

    /// What people call an encoder of its family; none when the network cannot be looked into.
    #[must_use]
    pub fn family(&self) -> Option<&str> {
        self.encoder().map(|_| self.source.family.as_deref().unwrap_or(Source::BERT))
    }

    /// Numbers of a sentence embedding.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.encoder().map_or(self.hidden_size, Config::embedding_size)
    }

    /// The dimensions of the encoder; none when the network cannot be looked into.
    #[must_use]
    pub fn encoder(&self) -> Option<&Config> {
        self.architecture.encoder()
    }

    /// Number of encoder layers, if the network can be looked into.
    #[must_use]
    pub fn layers(&self) -> Option<usize> {
        self.encoder().map(|config| config.layers)
    }
}

/// The hash of the named values that decide what a text's features are.
pub(super) fn identity(values: &BTreeMap<String, String>) -> Fingerprint {
    let start = Fields::new("frosthead backbone 1");
    values.iter().fold(start, |fields, (name, value)| fields.field(name, value)).finish()
}
