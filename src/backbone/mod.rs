//! Owns a backbone directory: importing it, opening it with every hash checked, its graphs with what training changed, and
//! saying what identifies its features.
//!
//! Refuses to run it (that is `embed`'s work) and to use files that are not the ones the manifest was written for.

mod catalog;
#[cfg(feature = "hub")]
mod hub;
mod import;
mod manifest;
mod onnx;
mod sentence_transformers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use catalog::{Catalog, CatalogEntry};
#[cfg(feature = "hub")]
pub use hub::{HubModel, download};
pub use import::{ImportOptions, Imported, import};
use manifest::identity;
pub use manifest::{Architecture, Manifest, Preparation, Source};

use crate::bert::{self, ChangedTensors, Config, GraphOptions, Network, Operators, Outputs, Start, Weights};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;
use crate::runtime::{Runtime, Session};
use crate::tokens::Tokenizer;

/// The manifest's file name.
pub const MANIFEST: &str = "backbone.json";
/// The one weight file.
pub const WEIGHTS: &str = "model.safetensors";
/// The tokenizer's file name.
pub const TOKENIZER: &str = "tokenizer.json";
/// Texts → sentence embeddings, with ONNX Runtime's fused operators (or a foreign graph as it came, with pooling).
pub const EMBEDDING_GRAPH: &str = "embedding.onnx";
/// Texts → sentence embeddings and the mean-pooled states of every layer.
pub const LAYERS_GRAPH: &str = "layers.onnx";
/// The same as [`EMBEDDING_GRAPH`] in plain ONNX operators, for other runtimes.
pub const STANDARD_GRAPH: &str = "embedding.standard.onnx";

/// An opened backbone: its manifest and tokenizer, all hashes checked; and the tensors that training changed, if any.
pub struct Backbone {
    directory: PathBuf,
    manifest: Manifest,
    tokenizer: Tokenizer,
    changed: Option<Changed>,
}

/// Tensors that training changed, and their hash.
struct Changed {
    tensors: ChangedTensors,
    fingerprint: Fingerprint,
}

impl Backbone {
    /// Opens a backbone directory and checks every file against the manifest.
    ///
    /// # Errors
    /// It is not a backbone directory, or a file is missing or was changed after the import.
    pub fn open(directory: &Path) -> Result<Self> {
        let manifest = Manifest::open(&directory.join(MANIFEST))?;
        for (name, expected) in &manifest.files {
            let path = directory.join(name);
            let found = Fingerprint::of_file(&path)?;
            if found != *expected {
                return Err(Error::new(Kind::Model, "the backbone was changed after it was imported")
                    .at(path)
                    .found(format!("hash {}", found.short()))
                    .expected(expected.short())
                    .help("import it again; features stored for the old one are kept apart"));
            }
        }
        let tokenizer = Tokenizer::open(&directory.join(TOKENIZER))?;
        Ok(Self { directory: directory.to_path_buf(), manifest, tokenizer, changed: None })
    }

    /// The same backbone with tensors that training changed; `fingerprint` is their hash.
    #[must_use]
    pub fn with_changed(mut self, tensors: ChangedTensors, fingerprint: Fingerprint) -> Self {
        self.changed = Some(Changed { tensors, fingerprint });
        self
    }

    /// The named values that decide what a text's features are: the manifest's, and the hash of what training changed.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut values = self.manifest.values();
        if let Some(changed) = &self.changed {
            values.insert("changed tensors".to_owned(), changed.fingerprint.to_string());
        }
        values
    }

    /// The identity of [`Self::values`]: the manifest's, as long as training changed nothing.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        identity(&self.values())
    }

    /// The dimensions and weights of a BERT encoder.
    ///
    /// # Errors
    /// The backbone is opaque (an imported `.onnx` file), or its weight file is damaged.
    pub fn encoder(&self) -> Result<(&Config, Weights)> {
        match &self.manifest.architecture {
            Architecture::Bert { config } => Ok((config, Weights::open(&self.directory.join(WEIGHTS), config)?)),
            Architecture::Onnx => Err(Error::new(Kind::Usage, "this backbone cannot be cut inside")
                .at(&self.directory)
                .found("an imported .onnx file: its layers are not known, so its only cut is after the pooling")
                .help("import the model from its Hugging Face directory (model.safetensors) to train its layers")),
        }
    }

    /// What training changed, if anything.
    #[must_use]
    pub fn changed(&self) -> Option<&ChangedTensors> {
        self.changed.as_ref().map(|changed| &changed.tensors)
    }

    /// The hash of what training changed, if anything.
    #[must_use]
    pub fn changed_fingerprint(&self) -> Option<Fingerprint> {
        self.changed.as_ref().map(|changed| changed.fingerprint)
    }

    /// The bytes of a graph of this encoder with these changed tensors, pooled as the manifest says; its other weights are
    /// looked up in [`Self::directory`].
    ///
    /// # Errors
    /// The backbone is opaque, or the graph cannot be built.
    pub fn build_graph(
        &self,
        changed: Option<&ChangedTensors>,
        outputs: Outputs,
        start: Start,
    ) -> Result<Vec<u8>> {
        let (config, weights) = self.encoder()?;
        let network = Network { config, weights: &weights, weight_file: WEIGHTS, changed, forms: None };
        let Preparation { pooling, normalize, .. } = self.manifest.preparation;
        let operators = Operators::Fused;
        bert::inference_graph(&network, &GraphOptions { operators, pooling, normalize, outputs, start })
    }

    /// A session that gives these outputs from token ids.
    ///
    /// # Errors
    /// The graph cannot be built or loaded.
    pub fn session(&self, runtime: &Runtime, outputs: Outputs) -> Result<Session> {
        match outputs {
            Outputs::Embedding if self.changed.is_none() => runtime.session(&self.graph(EMBEDDING_GRAPH)),
            Outputs::EmbeddingAndLayerMeans if self.changed.is_none() => {
                runtime.session(&self.graph(LAYERS_GRAPH))
            }
            _ => self.session_from(runtime, outputs, Start::Ids),
        }
    }

    /// A session that gives these outputs from any start.
    ///
    /// # Errors
    /// As [`Self::session`], and the backbone is opaque.
    pub fn session_from(&self, runtime: &Runtime, outputs: Outputs, start: Start) -> Result<Session> {
        runtime.session_from_memory(&self.build_graph(self.changed(), outputs, start)?, &self.directory)
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Path of one of its graphs.
    #[must_use]
    pub fn graph(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
