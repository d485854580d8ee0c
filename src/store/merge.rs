//! Owns bringing caches together: rows that were computed elsewhere, key by key, beside those that are there.
//!
//! Refuses, before anything is copied, rows of another kind of processor or another ONNX Runtime than those
//! they would stand beside, and rows of which that is not known: on like machines a text has the same bits,
//! between others only labels are alike. What is copied from stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;
use super::folder::{KeyFolder, Lock, Role, Sharing, Stored};
use super::key_file::{KeyFile, UNKNOWN};
use super::manage::deduplicate;
use super::{part, states};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::Fingerprint;

/// How long a store that is open elsewhere is waited for.
const WAIT: Duration = Duration::from_secs(30);
/// The field of a key that names what computed its rows.
const RUNTIME: &str = "onnxruntime";

/// What [`merge`] did with the rows of one key of one cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// The fingerprint of the key, which is the name of the folder.
    pub fingerprint: Fingerprint,
    /// The folder that rows were taken from.
    pub from: PathBuf,
    /// The folder that they are in now.
    pub path: PathBuf,
    /// Parts that were copied; those that were there already are not.
    pub parts: usize,
    /// Their rows.
    pub rows: u64,
    /// Rows that were stored more than once then, counted without the one that stays.
    pub doubled: u64,
    /// Parts that are damaged, and were left where they are.
    pub damaged: Vec<PathBuf>,
}

/// The rows of a key in another cache, which nobody removes meanwhile.
struct Source {
    folder: KeyFolder,
    key: KeyFile,
    parts: Vec<Stored>,
    _lock: Option<Lock>,
}

/// Copies what is stored in other caches to that of `root`, and keeps one of the rows that are in several.
///
/// # Errors
/// A source is none, or is `root` itself; rows would stand beside unlike ones; a store is in use, or a file
/// cannot be read or written: what was copied before stays, and is good.
pub fn merge(root: &Path, sources: &[PathBuf]) -> Result<Vec<Merged>> {
    let mut all = Vec::new();
    for source in sources {
        let there =
            std::fs::canonicalize(source).map_err(|cause| Error::io("read the cache", source, cause))?;
        if std::fs::canonicalize(root).is_ok_and(|root| root == there) {
            return Err(Error::new(Kind::Usage, "a cache is not merged with itself").at(source));
        }
        let found = sources_in(source)?;
        if found.is_empty() {
            return Err(Error::new(Kind::Store, "there are no stored features here")
                .at(source)
                .expected("the directory that was given as --cache, or $FROSTHEAD_CACHE")
                .help("`frosthead cache list --cache DIR` shows what a cache holds"));
        }
        all.extend(found);
    }
    check_processors(root, &all)?;
    check_runtimes(root, &all)?;
    all.iter().map(|source| copy(root, source)).collect()
}

fn sources_in(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (_, folder) in KeyFolder::all(root)? {
        let lock = folder.lock_to_look(WAIT)?;
        let parts: Vec<Stored> = good_parts(&folder)?;
        if !folder.is_ours() || parts.is_empty() {
            continue;
        }
        let key = KeyFile::read(&folder.key_file()).map_err(|fault| {
            Error::new(Kind::Store, "it is not known what was stored here")
                .at(folder.key_file())
                .found(fault.reason().to_owned())
                .help("use the cache once where it was made: what is damaged is set aside then")
        })?;
        sources.push(Source { folder, key, parts, _lock: lock });
    }
    Ok(sources)
}

fn good_parts(folder: &KeyFolder) -> Result<Vec<Stored>> {
    Ok(folder.files()?.into_iter().filter(|file| file.role.is_good()).collect())
}

/// Refuses rows of several kinds of processors, or of unknown ones, under one key.
fn check_processors(root: &Path, sources: &[Source]) -> Result<()> {
    let mut known: BTreeMap<Fingerprint, (BTreeSet<String>, PathBuf)> = BTreeMap::new();
    for source in sources {
        let fingerprint = source.key.fingerprint;
        let place = source.folder.path().to_path_buf();
        let own = told(&source.key);
        if own.len() > 1 || own.contains(UNKNOWN) {
            return Err(unlike("these rows are not all of one known kind of processor", &place, &own)
                .expected("rows that one kind of processor has computed, by a version that noted it")
                .help("compute them anew on like machines, each into a cache of its own"));
        }
        let target = KeyFolder::new(root, &fingerprint);
        if !known.contains_key(&fingerprint)
            && !good_parts(&target)?.is_empty()
            && let Ok(key) = KeyFile::read(&target.key_file())
        {
            known.insert(fingerprint, (told(&key), target.path().to_path_buf()));
        }
        let (there, beside) = known.entry(fingerprint).or_insert_with(|| (own.clone(), place.clone()));
        if *there != own {
            return Err(unlike("these rows were computed by another kind of processor", &place, &own)
                .expected(format!("{}, as in {}", listed(there), beside.display()))
                .help("merge them into a cache of their own: --cache DIR"));
        }
    }
    Ok(())
}

fn told(key: &KeyFile) -> BTreeSet<String> {
    if key.processors.is_empty() { BTreeSet::from([UNKNOWN.to_owned()]) } else { key.processors.clone() }
}

fn listed(processors: &BTreeSet<String>) -> String {
    processors.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
}

fn unlike(what: &str, place: &Path, own: &BTreeSet<String>) -> Error {
    Error::new(Kind::Store, what.to_owned()).at(place).found(listed(own))
}

/// Refuses rows of another ONNX Runtime than the one that computed the same of the same backbone.
fn check_runtimes(root: &Path, sources: &[Source]) -> Result<()> {
    let mut all = Vec::new();
    for (_, folder) in KeyFolder::all(root)? {
        if let (Ok(key), false) = (KeyFile::read(&folder.key_file()), good_parts(&folder)?.is_empty()) {
            all.push((key, folder.path().to_path_buf()));
        }
    }
    for source in sources {
        let same = |key: &KeyFile| key.fingerprint == source.key.fingerprint;
        let twin = |key: &KeyFile| {
            let others = |fields: &BTreeMap<String, String>| {
                let mut fields = fields.clone();
                fields.remove(RUNTIME);
                fields
            };
            others(&key.fields) == others(&source.key.fields)
        };
        if !all.iter().any(|(key, _)| same(key))
            && let Some((other, place)) = all.iter().find(|(key, _)| twin(key))
        {
            let version = |key: &KeyFile| key.fields.get(RUNTIME).cloned().unwrap_or_default();
            return Err(Error::new(Kind::Store, "these rows were computed by another ONNX Runtime")
                .at(source.folder.path())
                .found(version(&source.key))
                .expected(format!("{}, as in {}", version(other), place.display()))
                .help("use the same ONNX Runtime everywhere, or merge them into a cache of their own: --cache DIR"));
        }
        all.push((source.key.clone(), source.folder.path().to_path_buf()));
    }
    Ok(())
}

fn copy(root: &Path, source: &Source) -> Result<Merged> {
    let (fingerprint, identity) = (source.key.fingerprint, source.key.identity());
    let target = KeyFolder::new(root, &fingerprint);
    let shared = target.lock(Sharing::Shared, WAIT)?;
    std::fs::create_dir_all(target.parts())
        .map_err(|cause| Error::io("create the directory", target.parts(), cause))?;
    if KeyFile::read(&target.key_file()).is_err() || good_parts(&target)?.is_empty() {
        target.write_key(&source.key)?;
    }
    let mut merged = Merged {
        fingerprint,
        from: source.folder.path().to_path_buf(),
        path: target.path().to_path_buf(),
        parts: 0,
        rows: 0,
        doubled: 0,
        damaged: Vec::new(),
    };
    for file in &source.parts {
        // A part is named by its contents.
        let place = file.path.file_name().map(|name| target.parts().join(name));
        let Some(place) = place.filter(|place| !place.exists()) else { continue };
        let checked = match file.role {
            Role::States => states::check(&file.path).map(|(texts, _)| texts),
            _ => part::check(&file.path, &identity).map(|keys| keys.len() as u64),
        };
        match checked {
            Ok(rows) => {
                let bytes = std::fs::read(&file.path);
                files::write(&place, &bytes.map_err(|cause| Error::io("read", &file.path, cause))?)?;
                merged.parts += 1;
                merged.rows += rows;
            }
            Err(Fault::Vanished) => {}
            Err(_) => merged.damaged.push(file.path.clone()),
        }
    }
    drop(shared);
    let _exclusive = target.lock(Sharing::Exclusive, WAIT)?;
    merged.doubled = deduplicate(&target, &identity)?;
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::super::{Store, StoreKey, list};
    use super::*;
    use crate::fingerprint::TextKey;

    fn key(runtime: &str, processor: Option<&str>) -> StoreKey {
        let fields = [("weights", "w"), (RUNTIME, runtime)].map(|(name, value)| (name.into(), value.into()));
        StoreKey { fields: fields.into(), processor: processor.map(str::to_owned), ..StoreKey::default() }
    }

    /// A cache with rows of these texts: each row says which text it is of.
    fn cache(key: &StoreKey, texts: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        add(root.path(), key, texts);
        root
    }

    fn add(root: &Path, key: &StoreKey, texts: &[&str]) {
        let mut store = Store::open(root, key, 2).unwrap();
        texts.iter().for_each(|text| store.append(TextKey::of(text), &row(text)).unwrap());
        store.flush().unwrap();
    }

    fn row(text: &str) -> [f32; 2] {
        [f32::from(text.as_bytes()[0]), 1.0]
    }

    #[test]
    fn rows_of_like_machines_come_together_by_text() {
        let like = key("1.32.0", Some("avx2"));
        let home = cache(&like, &["a", "b"]);
        let (one, two) = (cache(&like, &["b", "c"]), cache(&like, &["c", "d"]));
        let sources = [one.path().to_path_buf(), two.path().to_path_buf()];
        let merged = merge(home.path(), &sources).unwrap();
        assert_eq!(
            merged.iter().map(|merged| (merged.parts, merged.rows, merged.doubled)).collect::<Vec<_>>(),
            [(1, 2, 1), (1, 2, 1)]
        );
        let store = Store::open(home.path(), &like, 2).unwrap();
        assert_eq!(store.len(), 4);
        for text in ["a", "b", "c", "d"] {
            let mut found = [0.0; 2];
            assert!(store.read(&TextKey::of(text), 0, &mut found).unwrap());
            assert_eq!(found, row(text));
        }
        assert_eq!(list(one.path()).unwrap()[0].rows, 2, "what is copied from stays");
        drop(store);
        assert!(merge(home.path(), &sources).unwrap().iter().all(|merged| merged.doubled == merged.rows));
        // Into a cache that is not there yet, whoever computed it.
        let new = tempfile::tempdir().unwrap();
        merge(&new.path().join("new"), &sources[..1]).unwrap();
        let entry = list(&new.path().join("new")).unwrap().remove(0);
        assert_eq!((entry.rows, entry.processors), (2, BTreeSet::from(["avx2".to_owned()])));
    }

    #[test]
    fn unlike_rows_are_refused_before_anything_is_copied() {
        let home = cache(&key("1.32.0", Some("avx2")), &["a"]);
        let good = cache(&key("1.32.0", Some("avx2")), &["z"]);
        for (other, part) in [
            (key("1.32.0", Some("neon")), "another kind of processor: found neon, expected avx2"),
            (key("1.32.0", None), "not all of one known kind of processor: found unknown"),
            (key("1.30.0", Some("avx2")), "another ONNX Runtime: found 1.30.0, expected 1.32.0"),
        ] {
            let source = cache(&other, &["b"]);
            let sources = [good.path().to_path_buf(), source.path().to_path_buf()];
            let error = merge(home.path(), &sources).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(list(home.path()).unwrap()[0].rows, 1);
        }
        // Computed by one, added to by another.
        let mixed = cache(&key("1.32.0", Some("avx2")), &["b"]);
        add(mixed.path(), &key("1.32.0", Some("neon")), &["c"]);
        let error = merge(home.path(), &[mixed.path().to_path_buf()]).unwrap_err().to_string();
        assert!(error.contains("found avx2; neon"), "{error}");
        for (wrong, part) in [(home.path(), "with itself"), (&*std::env::temp_dir(), "no stored features")] {
            let error = merge(home.path(), &[wrong.to_path_buf()]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn damaged_parts_are_left_where_they_are() {
        let like = key("1.32.0", Some("avx2"));
        let (home, source) = (cache(&like, &["a"]), cache(&like, &["b"]));
        let folder = KeyFolder::new(source.path(), &like.fingerprint());
        let part = folder.files().unwrap().remove(0).path;
        let mut bytes = std::fs::read(&part).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&part, bytes).unwrap();
        let merged = merge(home.path(), &[source.path().to_path_buf()]).unwrap().remove(0);
        assert_eq!((merged.parts, merged.damaged), (0, vec![part]));
        assert_eq!(Store::open(home.path(), &like, 2).unwrap().len(), 1);
    }
}
