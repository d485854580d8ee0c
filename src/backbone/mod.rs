//! Owns a backbone, a directory or what a bundle holds: importing it, opening it with every hash checked, its
//! graphs with what training changed, and saying what identifies its features.
//!
//! Refuses to run it but for a trial at import (texts are `embed`'s work) and to use files that are not the
//! ones the manifest was written for.

#[cfg(feature = "train")]
mod catalog;
mod changed;
#[cfg(feature = "train")]
mod decided;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "train")]
mod import;
#[cfg(feature = "train")]
mod layout;
#[cfg(feature = "train")]
mod length;
mod manifest;
#[cfg(feature = "train")]
mod onnx;
mod pairs;
mod part;
#[cfg(feature = "train")]
mod sentence_transformers;
#[cfg(feature = "train")]
mod source;
#[cfg(feature = "train")]
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "train")]
pub use catalog::{Catalog, CatalogEntry};
use changed::Changed;
#[cfg(feature = "train")]
pub use decided::ImportOptions;
#[cfg(feature = "hub")]
pub use hub::download;
#[cfg(feature = "train")]
pub use import::{Imported, import};
use manifest::identity;
pub use manifest::{Manifest, Preparation, Source};
use pairs::Pairs;
pub use part::PartOf;
use part::Pieces;

use crate::encoder::{self, Config, GraphOptions, Network, Outputs, Start, Weights, ports};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::graph::{self, ModelProto, WeightBytes};
use crate::held::Held;
use crate::runtime::{Load, Runtime, Session, Sessions};
use crate::tokens::Tokenizer;

/// The manifest's file name.
pub const MANIFEST: &str = "backbone.json";
/// The one weight file.
pub const WEIGHTS: &str = "model.safetensors";
/// The tokenizer's file name.
pub const TOKENIZER: &str = "tokenizer.json";
/// Texts → sentence embeddings, with ONNX Runtime's fused operators (or a foreign graph as it came, with
/// pooling).
pub const EMBEDDING_GRAPH: &str = "embedding.onnx";
/// Texts → sentence embeddings and the mean-pooled states of every layer.
pub const LAYERS_GRAPH: &str = "layers.onnx";
/// The same as [`EMBEDDING_GRAPH`] in plain ONNX operators, for other runtimes.
pub const STANDARD_GRAPH: &str = "embedding.standard.onnx";

/// An opened backbone: its manifest and tokenizer, all hashes checked; and the tensors that training changed,
/// if any.
#[derive(Clone)]
pub struct Backbone {
    /// The directory, or the file that holds it.
    path: PathBuf,
    manifest: Manifest,
    tokenizer: Arc<Tokenizer>,
    /// Where the encoder's tensors lie; none when it is opaque, or they are not plain 32-bit floats.
    weights: Option<Weights>,
    /// The dimensions of what is run of it: the manifest's, or less; none when it is opaque.
    config: Option<Config>,
    /// The word pieces that it was left with, if not all.
    pieces: Option<Pieces>,
    /// How it reads pairs of texts; none: it reads texts.
    pairs: Option<Pairs>,
    storage: Storage,
    changed: Option<Changed>,
    /// Its files, or the one that holds it.
    held: Arc<Held>,
}

/// What a backbone lies in.
#[derive(Clone)]
enum Storage {
    /// A directory of its own, with graphs that are ready to run.
    Directory,
    /// A larger file.
    Packed(Box<PackedGraph>),
}

/// A backbone inside a larger file (a bundle), which has been checked.
pub struct Packed {
    /// The file.
    pub path: PathBuf,
    /// What the backbone was.
    pub manifest: Manifest,
    pub tokenizer: PackedTokenizer,
    /// A graph with the output `embedding`, perhaps `layer_means`, and others; its external data lies in the
    /// file.
    pub graph: ModelProto,
    /// What decides its features, see [`Backbone::values`].
    pub values: BTreeMap<String, String>,
    /// Hash of the tensors that training had changed before.
    pub changed: Option<Fingerprint>,
    /// What it is a part of, if something is left away.
    pub part_of: Option<PartOf>,
    /// Whether it reads pairs of texts.
    pub pairs: bool,
    /// The file, held open.
    pub held: Arc<Held>,
}

/// The tokenizer of a packed backbone.
pub enum PackedTokenizer {
    /// The bytes of its own `tokenizer.json`.
    Json(Vec<u8>),
    /// The bytes of its compact form. Texts can be read, but the backbone cannot be packed once more.
    Compact(Vec<u8>),
}

/// What a packed backbone has instead of files of its own.
#[derive(Clone)]
struct PackedGraph {
    bytes: Vec<u8>,
    layer_means: bool,
    /// Whether token types are an input of its graph.
    typed: bool,
    /// The bytes of its own `tokenizer.json`, unless it was opened by its compact form.
    tokenizer: Option<Vec<u8>>,
    values: BTreeMap<String, String>,
    changed: Option<Fingerprint>,
    part_of: Option<PartOf>,
    /// Of the operators and the shapes of its graph.
    structure: Fingerprint,
}

impl Backbone {
    /// Opens a backbone directory and checks every file against the manifest.
    ///
    /// # Errors
    /// It is not a backbone directory, or a file is missing or was changed after the import.
    pub fn open(directory: &Path) -> Result<Self> {
        let manifest = Manifest::open(&directory.join(MANIFEST))?;
        let mut held = Held::default();
        for (name, expected) in &manifest.files {
            let path = directory.join(name);
            let found = held.open(path.clone())?;
            if found != *expected {
                return Err(Error::new(Kind::Model, "the backbone was changed after it was imported")
                    .at(path)
                    .found(format!("hash {}", found.told_from(expected)))
                    .expected(expected.told_from(&found))
                    .help("import it again; features stored for the old one are kept apart"));
            }
        }
        let tokenizer = Arc::new(Tokenizer::open(&directory.join(TOKENIZER))?);
        let weights = manifest.encoder().map(|config| Weights::open(&directory.join(WEIGHTS), config));
        let (path, weights, held) = (directory.to_path_buf(), weights.transpose()?, Arc::new(held));
        let (config, storage) = (manifest.encoder().cloned(), Storage::Directory);
        let (pieces, pairs, changed) = (None, None, None);
        Ok(Self { path, manifest, tokenizer, weights, config, pieces, pairs, storage, changed, held })
    }

    /// A backbone inside a larger file.
    ///
    /// # Errors
    /// Its tokenizer is none, or is none for pairs that it is to read.
    pub fn packed(packed: Packed) -> Result<Self> {
        let Packed { path, manifest, tokenizer, graph, values, changed, part_of, pairs, held } = packed;
        let weights = manifest.encoder().and_then(|config| Weights::of_graph(&graph, config, &path));
        let layer_means = graph::gives(&graph, ports::LAYER_MEANS);
        let typed = encoder::takes_types(&graph);
        let (bytes, structure) = (graph::encode(&graph), structure(&graph));
        let (inner, tokenizer) = match tokenizer {
            PackedTokenizer::Json(bytes) => (Tokenizer::from_bytes(&bytes, &path)?, Some(bytes)),
            PackedTokenizer::Compact(bytes) => (Tokenizer::from_compact(&bytes, &path)?, None),
        };
        let inner = Arc::new(inner);
        let packed =
            PackedGraph { bytes, layer_means, typed, tokenizer, values, changed, part_of, structure };
        let storage = Storage::Packed(Box::new(packed));
        let (config, tokenizer) = (manifest.encoder().cloned(), inner);
        let (pieces, changed) = (None, None);
        let texts =
            Self { path, manifest, tokenizer, weights, config, pieces, pairs: None, storage, changed, held };
        texts.reading(pairs)
    }

    /// The named values that decide what a text's features are: the manifest's, and the hash of what training
    /// changed.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut values = self.values_before();
        if let Some(changed) = &self.changed {
            values.insert("changed tensors".to_owned(), changed.fingerprint().to_string());
        }
        if let Some(pieces) = &self.pieces {
            values.insert("word pieces".to_owned(), pieces.fingerprint().to_string());
        }
        values
    }

    fn values_before(&self) -> BTreeMap<String, String> {
        match &self.storage {
            Storage::Directory => self.manifest.values(),
            Storage::Packed(packed) => packed.values.clone(),
        }
    }

    /// The identity of [`Self::values`].
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        identity(&self.values())
    }

    /// The same without what training changed: of what lies in the directory or the bundle, and is found
    /// there again.
    #[must_use]
    pub fn fingerprint_before(&self) -> Fingerprint {
        identity(&self.values_before())
    }

    /// Names what decides how fast it runs: its dimensions, precision and longest text, but not what it has
    /// learned. What was trained from a backbone has the same.
    #[must_use]
    pub fn network_fingerprint(&self) -> Fingerprint {
        let fields = Fields::new("frosthead network 1")
            .field("graph version", manifest::GRAPH_VERSION.to_string())
            .field("maximum length", self.manifest.preparation.max_length.to_string());
        let fields = match (&self.storage, self.manifest.encoder()) {
            (Storage::Packed(packed), _) if self.weights.is_none() => {
                fields.field("graph", packed.structure.to_string())
            }
            (_, Some(_)) => {
                let fields = fields.field("encoder", self.manifest.architecture.identity());
                match self.depth() {
                    Some(depth) => fields.field("depth", depth.to_string()),
                    None => fields,
                }
            }
            (_, None) => {
                let graphs = self.manifest.files.iter().filter(|(name, _)| name.ends_with(".onnx"));
                graphs.fold(fields, |fields, (name, hash)| fields.field(name, hash.to_string()))
            }
        };
        fields.finish()
    }

    /// The network, with what training changed.
    ///
    /// # Errors
    /// The backbone is opaque: an imported `.onnx` file, or a bundle in another precision.
    pub fn network(&self) -> Result<Network<'_>> {
        let (found, help) = match (&self.config, &self.weights) {
            (Some(config), Some(weights)) => {
                let mut network = self.manifest.preparation.network(config, weights);
                network.pooling = network.pooling.filter(|_| self.has_embedding());
                let pieces = self.pieces.as_ref().map(Pieces::ids);
                return Ok(Network { changed: self.changed(), pieces, typed: self.is_typed(), ..network });
            }
            (Some(_), None) => (
                "a bundle whose weights are not 32-bit floats any more: its only cut is after the pooling",
                "use the backbone itself, or a bundle of --precision fp32",
            ),
            (None, _) => (
                "an imported .onnx file: its layers are not known, so its only cut is after the pooling",
                "import the model from its Hugging Face directory (model.safetensors) to train its layers",
            ),
        };
        Err(Error::new(Kind::Usage, "this backbone cannot be cut inside")
            .at(&self.path)
            .found(found)
            .help(help))
    }

    /// Layers that are run and whose states it can give; none when it cannot be looked into.
    #[must_use]
    pub fn layers(&self) -> Option<usize> {
        let visible = match &self.storage {
            Storage::Directory => true,
            Storage::Packed(packed) => self.weights.is_some() || packed.layer_means,
        };
        self.config.as_ref().map(|config| config.layers).filter(|_| visible)
    }

    /// Tokens that it can read at once.
    #[must_use]
    pub fn positions(&self) -> usize {
        // How far the position embeddings of an opaque network reach is not known.
        self.manifest.encoder().map_or(self.manifest.preparation.max_length, Config::longest)
    }

    /// The file that holds the weights.
    #[must_use]
    pub fn weights_path(&self) -> PathBuf {
        match self.storage {
            Storage::Directory => self.path.join(WEIGHTS),
            Storage::Packed(_) => self.path.clone(),
        }
    }

    /// The folder that graphs look their weights up in.
    #[must_use]
    pub fn weights_folder(&self) -> &Path {
        match self.storage {
            Storage::Directory => &self.path,
            Storage::Packed(_) => self.path.parent().unwrap_or(Path::new("/")),
        }
    }

    /// The bytes of a graph of this encoder; its weights are looked up in [`Self::weights_folder`].
    fn build_graph(&self, outputs: Outputs, start: Start) -> Result<Vec<u8>> {
        let options = GraphOptions { outputs, start, ..GraphOptions::default() };
        encoder::inference_graph(&self.network()?, &options)
    }

    /// The graph that gives these outputs from token ids; its weights lie in [`Self::weights_folder`].
    ///
    /// # Errors
    /// The graph cannot be read or built.
    pub fn inference_graph(&self, outputs: Outputs) -> Result<Vec<u8>> {
        match (&self.storage, self.ready_graph(outputs)) {
            (Storage::Packed(packed), _) if self.weights.is_none() => self.with_types(packed.bytes.clone()),
            (_, Some(path)) => std::fs::read(&path).map_err(|source| Error::io("read", path, source)),
            (Storage::Directory, None) if self.config.is_none() => {
                let path = self.graph(EMBEDDING_GRAPH);
                self.with_types(std::fs::read(&path).map_err(|source| Error::io("read", path, source))?)
            }
            _ => self.build_graph(outputs, Start::Ids),
        }
    }

    /// The graph file that gives these outputs, if the import made one and training changed nothing.
    fn ready_graph(&self, outputs: Outputs) -> Option<PathBuf> {
        let name = match outputs {
            Outputs::Vectors { means: 0, embedding: true } => EMBEDDING_GRAPH,
            Outputs::Vectors { means, embedding: true } if self.manifest.layers() == means.checked_sub(1) => {
                LAYERS_GRAPH
            }
            _ => return None,
        };
        let as_it_was = self.changed.is_none() && self.pieces.is_none() && !self.is_typed();
        let ready = matches!(self.storage, Storage::Directory) && as_it_was;
        ready.then(|| self.graph(name))
    }

    /// A session that gives these outputs from token ids.
    ///
    /// # Errors
    /// The graph cannot be built or loaded.
    pub fn session(&self, runtime: &Runtime, outputs: Outputs) -> Result<Session> {
        match self.ready_graph(outputs) {
            Some(path) => runtime.session(&path)?.holding(&self.held),
            None => self.session_of(runtime, &self.inference_graph(outputs)?),
        }
    }

    /// A session of a graph whose weights are this backbone's, such as one of its [network](Self::network).
    ///
    /// # Errors
    /// The graph cannot be loaded, or the weights were written to since they were hashed.
    pub fn session_of(&self, runtime: &Runtime, graph: &[u8]) -> Result<Session> {
        runtime.session_from_memory(graph, self.weights_folder())?.holding(&self.held)
    }

    /// Sessions that give these outputs from token ids.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn sessions(&self, runtime: &Runtime, outputs: Outputs, load: Load) -> Result<Sessions> {
        let bytes = match (load, &self.config) {
            (Load::Few, _) => 0,
            (Load::Many, Some(_)) => multiplied(&self.inference_graph(outputs)?)?,
            // The weights may lie inside the graph, which is not read just to count them.
            (Load::Many, None) => self.file_bytes()?,
        };
        Sessions::open(runtime, (load, bytes), &|share| self.session(share, outputs))
    }

    /// Sessions for many texts that give these outputs from any start.
    ///
    /// # Errors
    /// As [`Self::session`], and the backbone is opaque.
    pub fn sessions_from(&self, runtime: &Runtime, outputs: Outputs, start: Start) -> Result<Sessions> {
        self.sessions_of(runtime, &self.build_graph(outputs, start)?)
    }

    /// Sessions for many texts of a graph whose weights are this backbone's.
    ///
    /// # Errors
    /// The graph cannot be loaded.
    pub fn sessions_of(&self, runtime: &Runtime, graph: &[u8]) -> Result<Sessions> {
        let open = |share: &Runtime| self.session_of(share, graph);
        // What training changed is in the graph.
        Sessions::open(runtime, (Load::Many, multiplied(graph)? + graph.len() as u64), &open)
    }

    /// Of all its files.
    fn file_bytes(&self) -> Result<u64> {
        let bytes = |path: PathBuf| {
            std::fs::metadata(&path).map(|file| file.len()).map_err(|source| Error::io("read", path, source))
        };
        match self.storage {
            Storage::Packed(_) => bytes(self.path.clone()),
            Storage::Directory => self.manifest.files.keys().map(|name| bytes(self.path.join(name))).sum(),
        }
    }

    /// Its files, or the one that holds it: whoever computes with its weights asks whether they were written
    /// to.
    #[must_use]
    pub fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Where it lies: a directory, or the bundle that holds it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of its own `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, or the backbone was opened by the tokenizer's compact form.
    pub fn tokenizer_bytes(&self) -> Result<Vec<u8>> {
        match (&self.pieces, &self.storage) {
            (Some(pieces), _) => return Ok(pieces.tokenizer().to_vec()),
            (None, Storage::Packed(packed)) => {
                return packed.tokenizer.clone().ok_or_else(|| {
                    Error::new(
                        Kind::Tokenizer,
                        "this backbone was opened to read texts, without its tokenizer.json",
                    )
                    .at(&self.path)
                    .help("open the bundle's backbone for other work")
                });
            }
            (None, Storage::Directory) => {}
        }
        let path = self.path.join(TOKENIZER);
        std::fs::read(&path).map_err(|source| Error::io("read the tokenizer", path, source))
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Path of one of its graphs.
    #[must_use]
    pub fn graph(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Bytes that every session of a graph takes for itself.
fn multiplied(graph: &[u8]) -> Result<u64> {
    Ok(WeightBytes::of(&graph::decode(graph)?).multiplied)
}

/// The hash of a graph's operators, and of the types and shapes of its weights.
fn structure(model: &ModelProto) -> Fingerprint {
    let mut fields = Fields::new("frosthead graph structure 1");
    if let Some(graph) = &model.graph {
        for node in &graph.node {
            fields = fields.field("operator", node.op_type());
        }
        for tensor in &graph.initializer {
            fields = fields.field("weights", format!("{} {:?}", tensor.data_type(), tensor.dims));
        }
    }
    fields.finish()
}
