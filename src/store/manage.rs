//! Owns looking at and clearing a whole cache: list, verify, prune.
//!
//! Refuses to remove what is not certainly ours: only folders named by a fingerprint whose `key.json` says
//! the same, and in them only files that bear our names; directories are removed only when they are empty.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::fault::Fault;
use super::folder::{self, KeyFile, KeyFolder, Lock, Role, Sharing};
use super::part;
use super::states;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

/// How long pruning waits for each store that is open elsewhere.
const PRUNE_WAIT: Duration = Duration::from_secs(1);
/// How long looking waits for a process that is pruning or merging.
const LOOK_WAIT: Duration = Duration::from_secs(30);

/// The cached features of one key.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The fingerprint of the key, which is the name of the folder.
    pub fingerprint: Fingerprint,
    /// The folder.
    pub path: PathBuf,
    /// What can change a value.
    pub fields: BTreeMap<String, String>,
    /// f32 values a row.
    pub width: usize,
    /// Rows in all parts, as they declare it (the checksums are not verified; a row stored twice counts
    /// twice).
    pub rows: u64,
    /// Bytes of all files of ours in the folder, damaged and temporary ones included.
    pub bytes: u64,
    /// Number of parts.
    pub parts: usize,
    /// Number of parts that were set aside.
    pub damaged: usize,
    /// When the store was last opened.
    pub last_used: SystemTime,
}

/// What [`verify`] says of one file.
#[derive(Debug, Clone, Serialize)]
pub struct PartReport {
    /// The part (or a `key.json` that is not what it must be).
    pub path: PathBuf,
    /// Its rows; 0 when it is not good.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// What is wrong with it; none when it is good.
    pub reason: Option<String>,
}

/// What [`prune`] removes; the default removes nothing and is refused.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Entries that were last opened longer ago than this.
    pub older_than: Option<Duration>,
    /// The entries used longest ago, until the rest takes at most this many bytes.
    pub max_bytes: Option<u64>,
    /// Parts that were set aside, and leftovers of killed processes.
    pub damaged: bool,
    /// Everything.
    pub all: bool,
}

/// Something that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The folder of an entry, or one file.
    pub path: PathBuf,
    /// The bytes that were freed.
    pub bytes: u64,
}

/// What is in the cache, sorted by fingerprint; nothing when `root` is not there.
///
/// # Errors
/// A directory cannot be read.
pub fn list(root: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (_, folder) in KeyFolder::all(root)? {
        if let Ok(Some(key)) = folder.read_key() {
            entries.push(entry(&folder, key)?);
        }
    }
    Ok(entries)
}

fn entry(folder: &KeyFolder, key: KeyFile) -> Result<Entry> {
    let identity = key.identity();
    let size = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    let mut entry = Entry {
        fingerprint: key.fingerprint,
        path: folder.path().to_path_buf(),
        fields: key.fields,
        width: key.width as usize,
        rows: 0,
        bytes: size(folder.key_file()) + size(folder.lock_file()),
        parts: 0,
        damaged: 0,
        last_used: folder.last_used(),
    };
    for file in folder.files()? {
        entry.bytes += file.bytes;
        match file.role {
            Role::Part => {
                entry.parts += 1;
                entry.rows += part::declared_rows(&file.path, &identity).map_or(0, u64::from);
            }
            Role::States => {
                entry.parts += 1;
                entry.rows += states::declared_texts(&file.path, entry.width).unwrap_or(0);
            }
            Role::Damaged => entry.damaged += 1,
            Role::Temporary => {}
        }
    }
    Ok(entry)
}

/// Verifies every part in the cache, those that were set aside included, and changes nothing.
///
/// # Errors
/// A directory cannot be read, or a store is being pruned for longer than 30 s.
pub fn verify(root: &Path) -> Result<Vec<PartReport>> {
    let mut reports = Vec::new();
    for (_, folder) in KeyFolder::all(root)? {
        let _lock = folder.lock_to_look(LOOK_WAIT)?;
        let key = match folder.read_key() {
            Ok(Some(key)) => key,
            Ok(None) => continue,
            Err(error) => {
                let reason = Some(error.to_string());
                reports.push(PartReport { path: folder.key_file(), rows: 0, bytes: 0, reason });
                continue;
            }
        };
        for file in folder.files()?.into_iter().filter(|file| file.role != Role::Temporary) {
            let checked = match file.role {
                Role::States => states::check(&file.path, key.width as usize),
                _ => part::check(&file.path, &key.identity()).map(|keys| keys.len() as u64),
            };
            let (rows, reason) = match checked {
                Ok(rows) => (rows, None),
                Err(Fault::Vanished) => continue,
                Err(fault) => (0, Some(fault.reason().to_owned())),
            };
            reports.push(PartReport { path: file.path, rows, bytes: file.bytes, reason });
        }
    }
    Ok(reports)
}

/// Removes what `options` name and returns what was removed, the entries used longest ago first.
///
/// Everything that will be removed is locked first: when one store is in use, nothing at all is removed.
///
/// # Errors
/// No option is set; a store is in use ([`Kind::Store`]); a file cannot be removed.
pub fn prune(root: &Path, options: &PruneOptions) -> Result<Vec<Removed>> {
    if options.older_than.is_none() && options.max_bytes.is_none() && !options.damaged && !options.all {
        return Err(Error::new(Kind::Usage, "nothing was named that should be pruned")
            .at(root)
            .help("say --older-than DAYS, --max-bytes BYTES, --damaged or --all"));
    }
    let mut entries = list(root)?;
    entries.sort_by_key(|entry| (entry.last_used, entry.fingerprint));
    let mut left = entries.iter().map(|entry| entry.bytes).sum::<u64>();
    let mut locked = Vec::new();
    for entry in entries {
        let age = entry.last_used.elapsed().unwrap_or(Duration::ZERO);
        let whole = options.all
            || options.older_than.is_some_and(|limit| age > limit)
            || options.max_bytes.is_some_and(|limit| left > limit);
        let folder = KeyFolder::new(root, &entry.fingerprint);
        if whole || (options.damaged && has_refuse(&folder)?) {
            let lock = folder.lock(Sharing::Exclusive, PRUNE_WAIT)?;
            locked.push((folder, lock, whole));
        }
        if whole {
            left -= entry.bytes;
        }
    }
    let mut removed = Vec::new();
    for (folder, lock, whole) in locked {
        if whole {
            removed.push(remove_entry(&folder, lock)?);
        } else {
            remove_refuse(&folder, &mut removed)?;
        }
    }
    Ok(removed)
}

fn has_refuse(folder: &KeyFolder) -> Result<bool> {
    Ok(folder.files()?.iter().any(|file| !file.role.is_good()))
}

fn remove_refuse(folder: &KeyFolder, removed: &mut Vec<Removed>) -> Result<()> {
    for file in folder.files()?.into_iter().filter(|file| !file.role.is_good()) {
        folder::remove(&file.path)?;
        removed.push(Removed { path: file.path, bytes: file.bytes });
    }
    Ok(())
}

/// Removes the files of ours: `key.json` after the parts, so that a killed prune leaves an entry that is
/// still listed, and the lock last, so that no one who opens the store meanwhile sees half of it.
fn remove_entry(folder: &KeyFolder, lock: Lock) -> Result<Removed> {
    let mut bytes = 0;
    for file in folder.files()? {
        folder::remove(&file.path)?;
        bytes += file.bytes;
    }
    for path in [folder.key_file(), folder.lock_file()] {
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        folder::remove(&path)?;
    }
    // A directory that holds something of somebody else's stays.
    let _kept = std::fs::remove_dir(folder.parts()).and_then(|()| std::fs::remove_dir(folder.path()));
    drop(lock);
    Ok(Removed { path: folder.path().to_path_buf(), bytes })
}
