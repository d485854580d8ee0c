//! Owns finding the tensors of a published checkpoint: in one safetensors file, or in several that an index
//! lists.
//!
//! Refuses an index that leads out of its directory, and tensors that the index and its files do not agree
//! on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use super::header::Header;
use crate::error::{Error, Kind, Result};

/// How the name of an index ends.
const INDEX: &str = ".index.json";

#[derive(Deserialize)]
struct Index {
    /// Tensor → file.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// The files, each once, by name.
    fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Whether all of them lie beside the index, which is at `path`.
    fn check_files(&self, path: &Path) -> Result<()> {
        let names = self.files();
        let missing: Vec<&str> =
            names.iter().copied().filter(|name| !path.with_file_name(name).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Model, "files that the index lists are missing")
            .at(path)
            .found(format!("no {}", missing.join(", no ")))
            .expected(format!("{} files beside the index", names.len()))
            .help("download the complete model"))
    }
}

/// The tensors of a checkpoint, whose numbers are not read.
pub(super) struct Checkpoint {
    /// The one file, or the index.
    path: PathBuf,
    files: Vec<Header>,
    /// Name → which of the files holds it.
    tensors: BTreeMap<String, usize>,
}

/// The files that a checkpoint consists of: the one file, or the index and what it lists, in the order of
/// their names.
///
/// # Errors
/// The index cannot be read, or a file that it lists does not lie beside it.
pub fn checkpoint_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !is_index(path) {
        return Ok(vec![path.to_path_buf()]);
    }
    let index = read_index(path)?;
    index.check_files(path)?;
    let beside = index.files().into_iter().map(|name| path.with_file_name(name));
    Ok(std::iter::once(path.to_path_buf()).chain(beside).collect())
}

/// The names of the files that an index lists, whether they are there or not.
///
/// # Errors
/// The index cannot be read, or leads out of its directory.
pub fn shard_names(index: &Path) -> Result<Vec<String>> {
    Ok(read_index(index)?.files().into_iter().map(str::to_owned).collect())
}

fn is_index(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(INDEX))
}

fn read_index(path: &Path) -> Result<Index> {
    let text = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    let index: Index = serde_json::from_slice(&text).map_err(|source| {
        Error::new(Kind::Model, "this is not the index of a checkpoint")
            .at(path)
            .expected("a JSON object whose `weight_map` says for every tensor which file holds it")
            .help("download the index again")
            .because(source)
    })?;
    for (tensor, file) in &index.weight_map {
        let plain = matches!(Path::new(file).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        if !plain {
            return Err(Error::new(Kind::Model, "the index leads to a file that does not lie beside it")
                .at(path)
                .tensor(tensor)
                .found(format!("{file:?}"))
                .expected("the name of a file in the same directory")
                .help("do not trust this checkpoint: take it from another place"));
        }
    }
    Ok(index)
}

impl Checkpoint {
    /// Opens a safetensors file, or an index and every file that it lists.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, one that the index lists is missing, or they do not agree on a
    /// tensor.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !is_index(path) {
            let header = Header::open(path)?;
            let tensors = header.tensors.keys().map(|name| (name.clone(), 0)).collect();
            return Ok(Self { path: path.to_path_buf(), files: vec![header], tensors });
        }
        let index = read_index(path)?;
        index.check_files(path)?;
        let names = index.files();
        let mut files = Vec::new();
        let mut tensors: BTreeMap<String, usize> = BTreeMap::new();
        for (number, file) in names.iter().enumerate() {
            let header = Header::open(&path.with_file_name(file))?;
            for name in header.tensors.keys() {
                let listed = index.weight_map.get(name);
                let twice = tensors.insert(name.clone(), number).and_then(|before| names.iter().nth(before));
                let found = match (twice, listed) {
                    (Some(before), _) => format!("it twice, in {before} and in {file}"),
                    (None, None) => "it in the file, but not in the index".to_owned(),
                    (None, Some(listed)) if listed != *file => format!("it here, the index says in {listed}"),
                    (None, Some(_)) => continue,
                };
                return Err(disagree(header.path(), name, found));
            }
            files.push(header);
        }
        if let Some((name, file)) = index.weight_map.iter().find(|(name, _)| !tensors.contains_key(*name)) {
            return Err(disagree(
                &path.with_file_name(file),
                name,
                "the index lists it, the file lacks it".into(),
            ));
        }
        Ok(Self { path: path.to_path_buf(), files, tensors })
    }

    /// The one file, or the index.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Where a tensor is.
    pub(super) fn find(&self, name: &str) -> Option<(&Header, &TensorInfo)> {
        let file = self.files.get(*self.tensors.get(name)?)?;
        Some((file, file.tensors.get(name)?))
    }
}

fn disagree(file: &Path, tensor: &str, found: String) -> Error {
    Error::new(Kind::Model, "the index and the files of the checkpoint do not belong together")
        .at(file)
        .tensor(tensor)
        .found(found)
        .expected("every tensor once, in the file that the index says")
        .help("download all files of the model again")
}
