//! Owns downloading a model directory from a hub by its id (the only user of `hf-hub`).
//!
//! Honours `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN`. Refuses to fetch anything an import does not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest as _, Sha256};

use super::layout::{GRAPHS, INDEX, no_network, no_tokenizer};
use super::{TOKENIZER, WEIGHTS, sentence_transformers};
use crate::encoder;
use crate::error::{Error, Kind, Result};
use crate::files::in_pieces;

/// Files an import reads when they are there: of the model, and of each of its modules' folders.
const MODEL: [&str; 3] = ["modules.json", "config_sentence_transformers.json", "README.md"];
const FOLDER: [&str; 3] = ["config.json", TOKENIZER, "tokenizer_config.json"];

/// A downloaded model.
#[derive(Debug)]
pub struct HubModel {
    /// The directory that holds its files, inside the hub's own cache.
    pub directory: PathBuf,
    /// The commit that was downloaded.
    pub revision: String,
}

/// Downloads what an import of model `id` (`organisation/name`, with `@revision` for another one than `main`)
/// needs, and checks the files whose SHA-256 is given.
///
/// # Errors
/// The hub cannot be reached or refuses, the model does not exist or lacks a file, or a hash is wrong.
pub fn download(id: &str, sha256: &BTreeMap<String, String>) -> Result<HubModel> {
    let (name, revision) = id.split_once('@').unwrap_or((id, "main"));
    let failed = |doing: &str, source: ApiError| refusal(id, doing, source);
    let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
    let api = ApiBuilder::from_env()
        .with_progress(false)
        .with_token(token.or_else(|| Cache::from_env().token()))
        .with_retries(2)
        .build()
        .map_err(|source| failed("set up the download", source))?;
    let model = api.repo(Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned()));
    let info = model.info().map_err(|source| failed("look the model up", source))?;
    let files = info.siblings.into_iter().map(|file| file.rfilename).collect();
    let mut download = Download { id, model, files, sha256, directory: PathBuf::new() };
    download.all()?;
    Ok(HubModel { directory: download.directory, revision: info.sha })
}

/// A download under way.
struct Download<'d> {
    id: &'d str,
    model: ApiRepo,
    /// All files of the model on the hub.
    files: Vec<String>,
    sha256: &'d BTreeMap<String, String>,
    /// Where they come to lie.
    directory: PathBuf,
}

impl Download<'_> {
    fn all(&mut self) -> Result<()> {
        for name in MODEL {
            self.fetch_if_there(name)?;
        }
        for folder in self.folders()? {
            let transformer = sentence_transformers::TRANSFORMER;
            for name in FOLDER.into_iter().chain(transformer) {
                self.fetch_if_there(&format!("{folder}{name}"))?;
            }
        }
        let folder = self.transformer()?;
        let missing = |name: &str| ![&folder, ""].iter().any(|place| self.has(&format!("{place}{name}")));
        if missing("config.json") {
            return Err(Error::new(Kind::Model, "the model on the hub has no `config.json`")
                .at(self.id)
                .help("choose a model that is published as safetensors with a fast tokenizer"));
        }
        if missing(TOKENIZER) {
            return Err(no_tokenizer(Path::new(self.id), &self.names(&folder)));
        }
        if let Some(dense) = self.dense()? {
            self.fetch_if_there(&format!("{dense}{WEIGHTS}"))?;
        }
        self.weights(&folder)
    }

    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|name| name == file)
    }

    /// The names of the files in a folder.
    fn names(&self, folder: &str) -> Vec<String> {
        let inside = self.files.iter().filter_map(|file| file.strip_prefix(folder));
        inside.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    /// The model's own folder and those of its modules, each with `/` at its end but the first, which is
    /// empty.
    fn folders(&self) -> Result<BTreeSet<String>> {
        let mut folders = BTreeSet::from([String::new()]);
        if self.has(MODEL[0]) {
            folders.extend(sentence_transformers::module_folders(&self.directory)?);
        } else {
            let numbered = self.files.iter().filter_map(|file| file.split_once('/'));
            let numbered = numbered.filter(|(folder, _)| folder.starts_with(|c: char| c.is_ascii_digit()));
            folders.extend(numbered.map(|(folder, _)| format!("{folder}/")));
        }
        Ok(folders)
    }

    /// The folder of the transformer.
    fn transformer(&self) -> Result<String> {
        if self.directory.as_os_str().is_empty() {
            return Ok(String::new());
        }
        Ok(self.within(&sentence_transformers::read(&self.directory)?.folder))
    }

    /// The folder of the product behind the pooling, if there is one.
    fn dense(&self) -> Result<Option<String>> {
        if self.directory.as_os_str().is_empty() {
            return Ok(None);
        }
        Ok(sentence_transformers::read(&self.directory)?.dense.map(|folder| self.within(&folder)))
    }

    /// A folder from the model's directory, with `/` at its end but that itself.
    fn within(&self, folder: &Path) -> String {
        let folder =
            folder.strip_prefix(&self.directory).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        if folder.is_empty() { folder } else { format!("{}/", folder.trim_end_matches('/')) }
    }

    /// The weights: one file, the index and its parts, or an ONNX file with its data.
    fn weights(&mut self, folder: &str) -> Result<()> {
        if self.fetch_if_there(&format!("{folder}{WEIGHTS}"))?.is_some() {
            return Ok(());
        }
        if let Some(index) = self.fetch_if_there(&format!("{folder}{INDEX}"))? {
            for name in encoder::shard_names(&index)? {
                self.fetch(&format!("{folder}{name}"))?;
            }
            return Ok(());
        }
        let graphs: Vec<String> = self.files.iter().filter(|file| file.ends_with(".onnx")).cloned().collect();
        let usual = [folder, ""].map(|place| GRAPHS.map(|name| format!("{place}{name}")));
        let graph = match usual.concat().into_iter().find(|name| graphs.contains(name)) {
            Some(usual) => usual,
            None if graphs.len() == 1 => graphs[0].clone(),
            None if graphs.is_empty() => return Err(no_network(Path::new(self.id), &self.names(folder))),
            None => {
                return Err(Error::new(
                    Kind::Model,
                    "the model on the hub has several ONNX files, and no weights else",
                )
                .at(self.id)
                .found(graphs.join(", "))
                .help("download the file that you want, with its tokenizer, and give its path"));
            }
        };
        let with_data: Vec<String> =
            self.files.iter().filter(|file| file.starts_with(&graph)).cloned().collect();
        with_data.iter().try_for_each(|file| self.fetch(file).map(drop))
    }

    fn fetch_if_there(&mut self, file: &str) -> Result<Option<PathBuf>> {
        if self.has(file) { self.fetch(file).map(Some) } else { Ok(None) }
    }

    fn fetch(&mut self, file: &str) -> Result<PathBuf> {
        let path =
            self.model.get(file).map_err(|source| refusal(self.id, &format!("download `{file}`"), source))?;
        if let Some(expected) = self.sha256.get(file) {
            check(&path, expected)?;
        }
        let root = path.ancestors().nth(file.split('/').count());
        self.directory = root.map(Path::to_path_buf).unwrap_or_default();
        Ok(path)
    }
}

fn refusal(id: &str, doing: &str, source: ApiError) -> Error {
    Error::new(Kind::Network, format!("cannot {doing} on the hub"))
        .at(id)
        .help(
            "check the id and the network (HF_ENDPOINT names another hub, HF_TOKEN opens private models), \
             or download the model elsewhere and give its directory",
        )
        .because(source)
}

/// Compares a file with the SHA-256 the catalogue gives for it.
fn check(path: &Path, expected: &str) -> Result<()> {
    let file = std::fs::File::open(path).map_err(|source| Error::io("read", path, source))?;
    let mut hasher = Sha256::new();
    in_pieces(file, path, &mut |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    Err(Error::new(Kind::Model, "the downloaded file is not the one that was tested")
        .at(path)
        .found(format!("sha256 {found}"))
        .expected(expected)
        .help("delete it and try again; if it stays so, the hub's file was changed: import it by its id instead"))
}
