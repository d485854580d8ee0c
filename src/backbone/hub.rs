//! Owns downloading a model directory from a hub by its id (the only user of `hf-hub`).
//!
//! Honours `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN`. Refuses to fetch anything an import does not read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};

/// Files an import cannot do without.
const REQUIRED: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];
/// Files an import reads when they are there.
const OPTIONAL: [&str; 4] =
    ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "README.md"];

/// A downloaded model.
#[derive(Debug)]
pub struct HubModel {
    /// The directory that holds its files, inside the hub's own cache.
    pub directory: PathBuf,
    /// The commit that was downloaded.
    pub revision: String,
}

/// Downloads what an import of model `id` (`organisation/name`, with `@revision` for another one than `main`) needs, and
/// checks the files whose SHA-256 is given.
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
    let there = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
    if let Some(missing) = REQUIRED.into_iter().find(|name| !there(name)) {
        return Err(Error::new(Kind::Model, format!("the model on the hub has no `{missing}`"))
            .at(id)
            .expected(REQUIRED.join(", "))
            .help("choose a model that is published as safetensors with a fast tokenizer"));
    }
    let pooling = info
        .siblings
        .iter()
        .map(|file| file.rfilename.as_str())
        .filter(|name| name.ends_with("_Pooling/config.json"));
    let optional = OPTIONAL.into_iter().filter(|name| there(name));
    let mut directory = PathBuf::new();
    for file in REQUIRED.into_iter().chain(optional).chain(pooling) {
        let path = fetch(&model, file).map_err(|source| failed(&format!("download `{file}`"), source))?;
        if let Some(expected) = sha256.get(file) {
            check(&path, expected)?;
        }
        if file == REQUIRED[0] {
            directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        }
    }
    Ok(HubModel { directory, revision: info.sha })
}

fn fetch(model: &ApiRepo, file: &str) -> std::result::Result<PathBuf, ApiError> {
    model.get(file)
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
    let mut file = std::fs::File::open(path).map_err(|source| Error::io("read", path, source))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece).map_err(|source| Error::io("read", path, source))?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
    }
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
