//! Owns the deployable file: a ZIP whose entries are stored, aligned and checksummed, with one graph of
//! backbone, pooling and all heads; writing it, opening it with everything checked, its self-test, and updates
//! that make one bundle of another.
//!
//! Never unpacked: ONNX Runtime maps the weights out of the file. Refuses a file that is not to the byte what
//! `frosthead bundle` writes, and to keep anything of the texts that a model was trained on.

mod archive;
#[cfg(feature = "train")]
mod archive_writer;
#[cfg(feature = "train")]
mod assemble;
mod contents;
mod copy;
mod entries;
mod heads;
mod layout;
mod network;
mod self_test;
mod signature;
mod tokenizer;
mod update;
#[cfg(feature = "train")]
mod update_write;
mod validation;
mod words;
#[cfg(feature = "train")]
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Archive, lie};
use contents::{Contents, check_hash};
pub use contents::{Manifest, TABLE_BITS, TaskManifest, WordsManifest, piece_detail};
use copy::PrivateCopy;
pub use copy::{CopyNote, copy_places};
pub use self_test::SelfTest;
use signature::Signed;
pub use signature::{PublicKey, signature_path};
pub use update::{UpdateHeader, UpdateOptions, Updated, WholeFile, apply_update};
#[cfg(feature = "train")]
pub use update_write::{UpdateRequest, write_update};
pub use validation::{Validation, ValidationTask};
#[cfg(feature = "train")]
pub use words::append_words;
#[cfg(feature = "train")]
pub use write::{BundleRequest, FLOAT_TOLERANCE, Origin, SeenHead, Variant, Written, write_bundle};

use crate::backbone::{Backbone, Packed, PackedTokenizer, TOKENIZER, WEIGHTS};
use crate::data::TextColumns;
use crate::embed::{EmbedOptions, Extractor, RowLayout, RowParts};
use crate::encoder::{FeatureChoice, Weights, ports};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::graph::{self, ModelProto, WeightBytes};
use crate::heads::{Believed, Head};
use crate::held::Held;
use crate::recognize::{Thing, Wanted};
use crate::runtime::{Load, Runtime, Sessions};
use crate::tokens::{Batching, LongTexts};

/// An opened bundle, everything in it checked.
pub struct Bundle {
    path: PathBuf,
    /// Where its bytes were opened: there, or in a private copy.
    place: PathBuf,
    archive: Archive,
    held: Arc<Held>,
    contents: Contents,
    /// Its external data lies in the bundle.
    graph: ModelProto,
    heads: Vec<Head>,
}

/// An entry, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    pub name: String,
    pub bytes: u64,
    /// What it holds.
    pub what: String,
}

impl Bundle {
    /// Opens a bundle and checks everything in it: its records, its hashes, its graph, and its signature when
    /// a key is given.
    ///
    /// # Errors
    /// It is damaged, forged, has another format, or is not signed with the key.
    pub fn open(path: &Path, key: Option<&PublicKey>) -> Result<Self> {
        Ok(Self::open_while(path, key, |_| Ok(()))?.0)
    }

    /// The same, while `work` makes use of the bundle: hashing the weights takes as long as loading the
    /// network. What it made is given out only when everything was found to be right; it sees a graph and
    /// small entries that have been checked.
    ///
    /// # Errors
    /// As [`Self::open`], and `work` fails.
    pub fn open_while<T>(
        path: &Path,
        key: Option<&PublicKey>,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(Self, T)> {
        // A link's own folder is not where ONNX Runtime would have to look.
        let path = existing(path)?;
        Self::open_at(&path, &path, key, work)
    }

    /// The same with a private copy of the file, in the first of these folders that takes it: whatever
    /// happens to the file, the bundle stays as it was opened. The copy has no name by the time this is over,
    /// and takes its room until the bundle is dropped.
    ///
    /// # Errors
    /// As [`Self::open_while`], and there is no room for a copy, or the file changed while it was copied.
    pub fn open_copy_while<T>(
        path: &Path,
        key: Option<&PublicKey>,
        folders: &[PathBuf],
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<((Self, T), CopyNote)> {
        let path = existing(path)?;
        // What is no bundle is not copied.
        Archive::open(&path)?;
        let copy = PrivateCopy::of(&path, folders)?;
        let opened = Self::open_at(&path, copy.path(), key, work)?;
        Ok((opened, copy.into_note()))
    }

    /// Opens the bytes at `place` of the bundle that is called `path`.
    fn open_at<T>(
        path: &Path,
        place: &Path,
        key: Option<&PublicKey>,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(Self, T)> {
        let archive = Archive::open_as(place, path)?;
        // Before anything of it is read: only then is a signature worth something.
        key.map_or(Ok(()), |key| Signed::Bundle.verify(path, archive.reader(), key))?;
        let contents = Contents::read(&archive, path)?;
        let graph = bound_graph(&archive, &contents, place).map_err(|error| error.at(path))?;
        let heads = contents.manifest.tasks.iter().zip(&contents.labels).zip(&contents.calibration);
        let heads = heads.map(|((task, labels), calibration)| {
            heads::read_head(&archive, &graph, (task, labels), calibration.clone())
        });
        let heads = heads.collect::<Result<_>>().map_err(|error: Error| error.at(path))?;
        let hash = contents
            .checksums
            .get(entries::DATA)
            .copied()
            .ok_or_else(|| lie("a hash is missing").at(path))?;
        let held = Arc::new(archive.held(place, archive.entry(entries::DATA)?, hash)?);
        let (path, place) = (path.to_path_buf(), place.to_path_buf());
        let bundle = Self { path, place, archive, held, contents, graph, heads };
        let (checked, made) = std::thread::scope(|scope| {
            let checking = scope.spawn(|| bundle.check_weights());
            let made = work(&bundle);
            (checking.join(), made)
        });
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // ONNX Runtime opened it once more, by name.
        bundle.held.check_places()?;
        Ok((bundle, made?))
    }

    /// The text column, or both of pairs, that a bundle says it was trained with; whether it is whole, only
    /// [`Self::open`] can tell.
    ///
    /// # Errors
    /// It is no bundle, or says nothing that can be read.
    pub fn peek_text_columns(path: &Path) -> Result<Option<TextColumns>> {
        let manifest = contents::read_manifest(&Archive::open(path)?).map_err(|error| error.at(path))?;
        Ok(manifest.text_columns())
    }

    /// Checks the large entries.
    fn check_weights(&self) -> Result<()> {
        let large =
            [entries::TOKENIZER, entries::COMPACT, entries::DATA, entries::VALIDATION, entries::RANGES];
        for name in large.into_iter().filter(|name| self.carries(name)) {
            let found = self.archive.hash(self.archive.entry(name)?)?;
            check_hash(name, &self.contents.checksums, found).map_err(|error| error.at(&self.path))?;
        }
        Ok(())
    }

    /// Whether there is such an entry.
    fn carries(&self, name: &str) -> bool {
        self.archive.entry(name).is_ok()
    }

    /// Where it lies, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// Names this very bundle: the hash of the names and hashes of all its other entries.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let start = Fields::new("frosthead bundle 1");
        let add =
            |fields: Fields, (name, hash): (&String, &Fingerprint)| fields.field(name, hash.to_string());
        self.contents.checksums.iter().fold(start, add).finish()
    }

    /// The heads that are in the graph.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Per head.
    #[must_use]
    pub fn calibration(&self) -> &[Believed] {
        &self.contents.calibration
    }

    /// The validation rows it carries, if it does, everything about them checked.
    ///
    /// # Errors
    /// They are not what they must be.
    pub fn validation(&self) -> Result<Option<Validation>> {
        if !self.carries(entries::VALIDATION) {
            return Ok(None);
        }
        let bytes = self.checked(entries::VALIDATION)?;
        Validation::from_bytes(&bytes, self.manifest(), &self.heads)
            .map(Some)
            .map_err(|error| error.at(&self.path))
    }

    /// The ranges that its 8-bit steps come from, if it carries them, in the form in which they are kept.
    ///
    /// # Errors
    /// The file cannot be read, or was changed.
    pub fn ranges(&self) -> Result<Option<Vec<u8>>> {
        self.carries(entries::RANGES).then(|| self.checked(entries::RANGES)).transpose()
    }

    /// Hash of the backbone: of its graph without the heads, and of every number in it, wherever that lies in
    /// the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn backbone_fingerprint(&self) -> Result<Fingerprint> {
        let mut alone = network::without_heads(&self.graph);
        let mut fields = Fields::new("frosthead bundled backbone 1");
        for tensor in alone.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let Some(range) = network::range(&self.graph, tensor.name()) else { continue };
            fields = fields.field(tensor.name(), self.archive.hash_range(range)?.0);
            tensor.external_data.clear();
        }
        Ok(fields.field("graph", graph::encode(&alone)).finish())
    }

    /// What rows of its backbone can hold, for heads to see.
    #[must_use]
    pub fn stored(&self) -> FeatureChoice {
        if graph::gives(&self.graph, ports::LAYER_MEANS) { FeatureChoice::All } else { FeatureChoice::Last }
    }

    /// Everything that is in it.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let described = |name: &str| {
            entries::ENTRIES.iter().find(|(entry, ..)| *entry == name).map_or("", |(_, _, what)| what)
        };
        let kept = |entry: &layout::Entry| Kept {
            name: entry.name.clone(),
            bytes: entry.length,
            what: described(&entry.name).to_owned(),
        };
        self.archive.entries().iter().map(kept).collect()
    }

    /// How its weights come into memory.
    #[must_use]
    pub fn weight_bytes(&self) -> WeightBytes {
        WeightBytes::of(&self.graph)
    }

    /// Whether a signature lies beside it; whose it is, only [`Bundle::open`] with a key can tell.
    #[must_use]
    pub fn has_signature(&self) -> bool {
        signature_path(&self.path).is_file()
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.archive.bytes()
    }

    /// What each head sees of a stored row.
    ///
    /// # Errors
    /// The rows do not hold a head's features.
    pub fn columns(&self, layout: &RowLayout) -> Result<Vec<Range<usize>>> {
        self.manifest().tasks.iter().map(|task| layout.columns(task.features)).collect()
    }

    /// Loads the one graph: rows of the embedding and of every task's logits (see [`Self::logits`]).
    ///
    /// # Errors
    /// The graph cannot be loaded, or its outputs are not those of a bundle.
    pub fn extractor(&self, runtime: &Runtime) -> Result<Extractor> {
        self.extractor_of(self.own_backbone()?, runtime, Batching::default(), Load::Few)
    }

    /// The backbone of [`Self::extractor_of`], which has the identity of this very file. Before the network
    /// is loaded: parsing a tokenizer takes memory for a moment, which the network can use afterwards.
    ///
    /// # Errors
    /// The tokenizer is none, or the file cannot be read.
    pub fn own_backbone(&self) -> Result<Backbone> {
        if !self.carries(entries::COMPACT) {
            return self.pack(self.own_values(), self.own_tokenizer()?);
        }
        let compact = PackedTokenizer::Compact(self.checked(entries::COMPACT)?);
        self.pack(self.own_values(), compact)
            .map_err(|error| error.entry(entries::COMPACT).help(archive::AGAIN))
    }

    /// As [`Self::extractor`], with batches of that kind, and for so many texts.
    ///
    /// # Errors
    /// As [`Self::extractor`].
    pub fn extractor_of(
        &self,
        backbone: Backbone,
        runtime: &Runtime,
        batching: Batching,
        load: Load,
    ) -> Result<Extractor> {
        let folder = self.place.parent().unwrap_or(Path::new("/"));
        let (graph, needs) = (graph::encode(&self.graph), (load, self.weight_bytes().multiplied));
        let sessions = Sessions::open(runtime, needs, &|share| {
            share.session_from_memory(&graph, folder)?.holding(&self.held)
        })?;
        let parts = network::row_parts(self.manifest().embedding_size(), self.heads.iter());
        let options = EmbedOptions { long: self.long(), batching, load, ..EmbedOptions::default() };
        Extractor::with_sessions(Arc::new(backbone), sessions, parts, &options)
    }

    /// Where each head's logits lie in a row of [`Self::extractor`].
    #[must_use]
    pub fn logits(&self, parts: &RowParts) -> Vec<Range<usize>> {
        self.heads.iter().filter_map(|head| parts.place(&ports::logits(&head.task))).collect()
    }

    /// What happens to texts beyond the model's limit.
    #[must_use]
    pub fn long(&self) -> LongTexts {
        self.manifest().long
    }

    /// The backbone for other work than predicting. Its identity is that of the backbone it was made from
    /// only if its weights and tokenizer are proven to be the same bytes: nothing that a bundle merely says
    /// goes into the feature store.
    ///
    /// # Errors
    /// The tokenizer is none or not that of its compact form, or the file cannot be read.
    pub fn backbone(&self) -> Result<Backbone> {
        let backbone = self.pack(self.proven_values()?, self.own_tokenizer()?)?;
        if self.carries(entries::COMPACT) {
            let made = backbone.tokenizer().compact_form(&backbone.tokenizer_bytes()?, 0);
            if made.and_then(std::result::Result::ok) != Some(self.checked(entries::COMPACT)?) {
                return Err(lie("the compact tokenizer is not that of the tokenizer.json beside it")
                    .at(&self.path)
                    .entry(entries::COMPACT));
            }
        }
        Ok(backbone)
    }

    /// The backbone's own `tokenizer.json`.
    fn own_tokenizer(&self) -> Result<PackedTokenizer> {
        tokenizer::restored(&self.tokenizer()?, &self.manifest().tokenizer).map(PackedTokenizer::Json)
    }

    fn pack(&self, values: BTreeMap<String, String>, tokenizer: PackedTokenizer) -> Result<Backbone> {
        Backbone::packed(Packed {
            path: self.path.clone(),
            manifest: self.manifest().backbone.clone(),
            tokenizer,
            graph: network::without_heads(&self.graph),
            values,
            changed: self.manifest().changed,
            part_of: self.manifest().part_of,
            pairs: self.manifest().reads_pairs(),
            held: Arc::clone(&self.held),
        })
    }

    fn tokenizer(&self) -> Result<Vec<u8>> {
        self.checked(entries::TOKENIZER)
    }

    /// The bytes of an entry, hashed once more: the file may have been written to since it was opened.
    fn checked(&self, name: &str) -> Result<Vec<u8>> {
        let bytes = self.archive.read(name)?;
        let found = Fingerprint::of_bytes(&bytes);
        check_hash(name, &self.contents.checksums, found).map_err(|error| error.at(&self.path))?;
        Ok(bytes)
    }

    /// The identity of what is in this very file.
    fn own_values(&self) -> BTreeMap<String, String> {
        self.values_with(&[entries::GRAPH, entries::DATA, entries::TOKENIZER, entries::COMPACT])
    }

    /// The identity of the backbone in this file, whatever its heads.
    fn backbone_values(&self) -> Result<BTreeMap<String, String>> {
        let mut values = self.values_with(&[entries::TOKENIZER]);
        values.insert("bundled backbone".to_owned(), self.backbone_fingerprint()?.to_string());
        Ok(values)
    }

    fn values_with(&self, entries: &[&str]) -> BTreeMap<String, String> {
        let manifest = self.manifest();
        let mut values = manifest.backbone.values();
        values.retain(|name, _| !name.starts_with("file "));
        values.insert("precision".to_owned(), manifest.precision.clone());
        values.extend(entries.iter().filter_map(|name| {
            Some((format!("bundled {name}"), self.contents.checksums.get(*name)?.to_string()))
        }));
        values
    }

    fn proven_values(&self) -> Result<BTreeMap<String, String>> {
        let backbone = &self.manifest().backbone;
        let Some(config) = backbone.encoder() else { return self.backbone_values() };
        let Some(weights) = Weights::of_graph(&self.graph, config, &self.place) else {
            return self.backbone_values();
        };
        let mut values = backbone.values();
        values.retain(|name, _| !name.starts_with("file "));
        let restored = tokenizer::restored(&self.tokenizer()?, &self.manifest().tokenizer)?;
        let weights = weights.canonical_fingerprint(config)?;
        self.held.check_places()?;
        for (name, found) in [(WEIGHTS, weights), (TOKENIZER, Fingerprint::of_bytes(&restored))] {
            values.insert(format!("file {name}"), found.to_string());
        }
        Ok(values)
    }
}

/// The graph, with its external data proven to lie inside the data entry.
fn bound_graph(archive: &Archive, contents: &Contents, place: &Path) -> Result<ModelProto> {
    let bytes = archive.read(entries::GRAPH)?;
    check_hash(entries::GRAPH, &contents.checksums, Fingerprint::of_bytes(&bytes))?;
    let mut model = graph::decode(&bytes)?;
    let name = place.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::new(Kind::Usage, "the bundle's file name is not Unicode").help("rename the file")
    })?;
    let data = archive.entry(entries::DATA)?;
    network::bind(&mut model, data.length, name, data.start())?;
    Ok(model)
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
#[cfg(test)]
#[cfg(feature = "train")]
use tests::archive_of;

/// The file itself, where links lead to it.
fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Thing::Nothing.instead_of(Wanted::Bundle, Some(path)),
        _ => Error::io("read", path, source),
    })
}
