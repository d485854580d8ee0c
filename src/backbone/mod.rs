//! Owns a backbone directory: importing it, opening it with every hash checked, and saying what identifies its features.
//!
//! Refuses to run it (that is `embed`'s work) and to use files that are not the ones the manifest was written for.

mod catalog;
#[cfg(feature = "hub")]
mod hub;
mod import;
mod manifest;
mod onnx;
mod sentence_transformers;

use std::path::{Path, PathBuf};

pub use catalog::{Catalog, CatalogEntry};
#[cfg(feature = "hub")]
pub use hub::{HubModel, download};
pub use import::{ImportOptions, Imported, import};
pub use manifest::{Architecture, Manifest, Preparation, Source};

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;
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

/// An opened backbone: its manifest and tokenizer, all hashes checked.
pub struct Backbone {
    directory: PathBuf,
    manifest: Manifest,
    tokenizer: Tokenizer,
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
        Ok(Self { directory: directory.to_path_buf(), manifest, tokenizer })
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
