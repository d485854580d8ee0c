//! Owns looking after all stores under a root: listing, verifying, emptying.
//!
//! Refuses to touch anything that is not a store's own: only directories named by a fingerprint, with a key file in them, and
//! in those only the files this module knows.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::part::{self, Part};
use super::{Damage, FEATURES, KEY, LOCK, PARTS, StoreKey};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

/// One key's store.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub fingerprint: Fingerprint,
    /// What the key is made of.
    pub fields: BTreeMap<String, String>,
    pub rows: u64,
    pub bytes: u64,
    pub parts: u64,
    /// Seconds since it was last opened.
    pub idle_seconds: u64,
    #[serde(skip)]
    directory: PathBuf,
}

/// What [`verify`] found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// Parts whose checksum is right.
    pub sound: u64,
    pub damaged: Vec<Damage>,
}

/// What to remove; everything that any of the options names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Stores not opened for so long.
    pub older_than: Option<Duration>,
    /// The least recently opened stores, until at most so many bytes are left.
    pub max_bytes: Option<u64>,
    /// Parts that were set aside, and temporary files left by killed processes.
    pub damaged: bool,
    /// Everything.
    pub all: bool,
}

/// What [`prune`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub files: u64,
    pub bytes: u64,
}

/// The stores under a root, the last opened first.
///
/// # Errors
/// A directory cannot be read.
pub fn list(root: &Path) -> Result<Vec<Entry>> {
    let directory = root.join(FEATURES);
    let mut entries = Vec::new();
    for path in children(&directory)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Ok(fingerprint) = Fingerprint::try_from(name) else { continue };
        let key = std::fs::read_to_string(path.join(KEY)).ok();
        let Some(key) = key.and_then(|text| serde_json::from_str::<StoreKey>(&text).ok()) else { continue };
        let mut entry = Entry {
            fingerprint,
            fields: key.fields,
            rows: 0,
            bytes: 0,
            parts: 0,
            idle_seconds: idle(&path.join(LOCK)).as_secs(),
            directory: path.clone(),
        };
        for file in children(&path.join(PARTS))? {
            entry.bytes += size(&file);
            if file.extension().is_some_and(|extension| extension == "part") {
                entry.parts += 1;
                entry.rows += part::declared_rows(&file);
            }
        }
        entries.push(entry);
    }
    entries.sort_by_key(|entry| (entry.idle_seconds, entry.fingerprint));
    Ok(entries)
}

/// Checks every part under a root against its checksum; changes nothing.
///
/// # Errors
/// A directory cannot be read.
pub fn verify(root: &Path) -> Result<Verification> {
    let mut report = Verification::default();
    for entry in list(root)? {
        for path in children(&entry.directory.join(PARTS))? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("part") => match Part::open(&path, None) {
                    Ok(_) => report.sound += 1,
                    Err(error) => report.damaged.push(Damage { reason: part::reason(&error), path }),
                },
                Some("damaged") => {
                    report.damaged.push(Damage { reason: "was set aside before".to_owned(), path });
                }
                _ => {}
            }
        }
    }
    Ok(report)
}

/// Removes what the options name.
///
/// # Errors
/// A store is in use, or a file cannot be removed.
pub fn prune(root: &Path, options: &PruneOptions) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let mut left = 0;
    for entry in list(root)? {
        let old = options.older_than.is_some_and(|age| entry.idle_seconds >= age.as_secs());
        left += entry.bytes;
        let too_much = options.max_bytes.is_some_and(|most| left > most);
        if options.all || old || too_much {
            left -= entry.bytes;
            remove(&entry, &mut pruned, |_| true)?;
        } else if options.damaged {
            remove(&entry, &mut pruned, |extension| extension != "part")?;
        }
    }
    Ok(pruned)
}

/// Removes the files of a store whose extension is `chosen`; nobody may be using the store.
fn remove(entry: &Entry, pruned: &mut Pruned, chosen: impl Fn(&str) -> bool) -> Result<()> {
    let path = entry.directory.join(LOCK);
    let lock = File::create(&path).map_err(|source| Error::io("lock the feature store", &path, source))?;
    lock.try_lock().map_err(|_| {
        Error::new(Kind::Store, "the feature store is in use")
            .at(&entry.directory)
            .help("wait until the other frosthead has finished")
    })?;
    let parts = entry.directory.join(PARTS);
    for file in children(&parts)? {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if matches!(extension, "part" | "damaged" | "tmp") && chosen(extension) {
            let bytes = size(&file);
            std::fs::remove_file(&file).map_err(|source| Error::io("remove", &file, source))?;
            pruned.files += 1;
            pruned.bytes += bytes;
        }
    }
    if chosen("part") {
        // Directories go only when they are empty: a foreign file keeps them.
        let _ = std::fs::remove_dir(&parts);
        if !parts.exists() {
            let _ = std::fs::remove_file(entry.directory.join(KEY));
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir(&entry.directory);
        }
    }
    Ok(())
}

/// Paths in a directory, sorted; none when there is no such directory.
fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("read the feature store", directory, source)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|source| Error::io("read the feature store", directory, source))?;
    paths.sort();
    Ok(paths)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Time since a file was written; opening a store writes its lock file.
fn idle(path: &Path) -> Duration {
    std::fs::metadata(path)
        .and_then(|file| file.modified())
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use crate::fingerprint::TextKey;

    fn fill(root: &Path, name: &str, rows: usize) -> Store {
        let key = StoreKey { fields: BTreeMap::from([("model".to_owned(), name.to_owned())]) };
        let mut store = Store::open(root, &key, 3).unwrap();
        for row in 0..rows {
            store.append(TextKey::of(&row.to_string()), &[row as f32; 3]).unwrap();
        }
        store.flush().unwrap();
        store
    }

    #[test]
    fn stores_are_listed_with_what_they_hold() {
        let root = tempfile::tempdir().unwrap();
        drop((fill(root.path(), "a", 10), fill(root.path(), "b", 600)));
        std::fs::create_dir_all(root.path().join("features/not-a-store")).unwrap();
        let mut entries = list(root.path()).unwrap();
        entries.sort_by_key(|entry| entry.rows);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].rows, entries[0].parts), (10, 1));
        assert_eq!((entries[1].rows, entries[1].parts), (600, 2));
        assert_eq!(entries[1].fields["model"], "b");
        assert_eq!(entries[0].bytes, 24 + 32 + 10 * (16 + 12));
        assert!(list(&root.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn verify_finds_the_damaged_part_and_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        drop(fill(root.path(), "a", 600));
        assert_eq!(verify(root.path()).unwrap().sound, 2);
        let parts = list(root.path()).unwrap()[0].directory.join(PARTS);
        let victim = part::paths(&parts).unwrap().remove(0);
        let mut bytes = std::fs::read(&victim).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&victim, bytes).unwrap();
        let report = verify(root.path()).unwrap();
        assert_eq!((report.sound, report.damaged.len()), (1, 1));
        assert_eq!(report.damaged[0].path, victim);
        assert!(victim.exists());
    }

    #[test]
    fn prune_removes_what_is_asked_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        drop(fill(root.path(), "a", 10));
        let none = PruneOptions { older_than: Some(Duration::from_secs(3600)), ..PruneOptions::default() };
        assert_eq!(prune(root.path(), &none).unwrap(), Pruned::default());
        let fits = PruneOptions { max_bytes: Some(1_000_000), ..PruneOptions::default() };
        assert_eq!(prune(root.path(), &fits).unwrap(), Pruned::default());
        let entry = list(root.path()).unwrap().remove(0);
        std::fs::write(entry.directory.join(PARTS).join("x.damaged"), "12345").unwrap();
        let damaged = PruneOptions { damaged: true, ..PruneOptions::default() };
        assert_eq!(prune(root.path(), &damaged).unwrap(), Pruned { files: 1, bytes: 5 });
        let foreign = entry.directory.join(PARTS).join("letter.txt");
        std::fs::write(&foreign, "not ours").unwrap();
        let too_much = PruneOptions { max_bytes: Some(10), ..PruneOptions::default() };
        assert_eq!(prune(root.path(), &too_much).unwrap().files, 1);
        assert!(foreign.exists(), "a foreign file was removed");
        std::fs::remove_file(foreign).unwrap();
        prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert!(!entry.directory.exists());
    }

    #[test]
    fn a_store_in_use_is_not_emptied() {
        let root = tempfile::tempdir().unwrap();
        let store = fill(root.path(), "a", 10);
        let error = prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        assert_eq!(store.len(), 10);
    }
}
