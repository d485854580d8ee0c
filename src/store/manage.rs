//! Owns looking at and clearing a whole cache: list, verify, prune, compact.
//!
//! Refuses to remove what is not certainly ours: only folders named by a fingerprint in which our lock lies
//! or whose `key.json` says the same, and in them only files that bear our names; directories are removed
//! only when they are empty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::compact::keep_one;
use super::fault::{Fault, Identity};
use super::folder::{self, KeyFolder, Lock, Role, Sharing, Stored};
use super::key_file::{KeyFile, Owner};
use super::{part, states};
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

/// How long pruning and compacting wait for each store that is open elsewhere.
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
    /// Whose features they are; none where a version wrote them that did not say it.
    pub backbone: Option<Owner>,
    /// What can change a value; nothing when `key.json` is damaged.
    pub fields: BTreeMap<String, String>,
    /// The kinds of processors that computed the rows, as far as they were noted.
    pub processors: BTreeSet<String>,
    /// What is wrong with `key.json`; none when it is good.
    pub trouble: Option<String>,
    /// f32 values a row; 0 when `key.json` is damaged.
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
    for (fingerprint, folder) in KeyFolder::all(root)? {
        if folder.is_ours() {
            entries.push(entry(fingerprint, &folder)?);
        }
    }
    Ok(entries)
}

fn entry(fingerprint: Fingerprint, folder: &KeyFolder) -> Result<Entry> {
    let (key, trouble) = match KeyFile::read(&folder.key_file()) {
        Ok(key) => (Some(key), None),
        Err(fault) => (None, Some(fault.reason().to_owned())),
    };
    let (width, fields, backbone, processors) =
        key.map_or_else(Default::default, |key| (key.width, key.fields, key.backbone, key.processors));
    let size = |path: PathBuf| path.metadata().map_or(0, |file| if file.is_file() { file.len() } else { 0 });
    let refuse = folder.refuse()?;
    let mut entry = Entry {
        fingerprint,
        path: folder.path().to_path_buf(),
        backbone,
        fields,
        processors,
        trouble,
        width: width as usize,
        rows: 0,
        bytes: size(folder.key_file())
            + size(folder.lock_file())
            + refuse.iter().map(|file| file.bytes).sum::<u64>(),
        parts: 0,
        damaged: refuse.iter().filter(|file| file.role == Role::Damaged).count(),
        last_used: folder.last_used(),
    };
    for file in folder.files()? {
        entry.bytes += file.bytes;
        match file.role {
            Role::Part => {
                entry.parts += 1;
                // The width that it declares: that of a damaged `key.json` is not known.
                let width = part::declared_width(&file.path, fingerprint).unwrap_or(width);
                let identity = Identity { fingerprint, width };
                entry.rows += part::declared_rows(&file.path, &identity).map_or(0, u64::from);
            }
            Role::States => {
                entry.parts += 1;
                entry.rows += states::declared(&file.path).map_or(0, |(texts, _)| texts);
            }
            Role::Damaged | Role::Obstacle => entry.damaged += 1,
            Role::Temporary => {}
        }
    }
    Ok(entry)
}

/// Verifies every part in the cache and what says whose it is, those that were set aside included, and
/// changes nothing.
///
/// # Errors
/// A directory cannot be read, or a store is being pruned for longer than 30 s.
pub fn verify(root: &Path) -> Result<Vec<PartReport>> {
    let mut reports = Vec::new();
    for file in folder::set_aside_in(root)? {
        reports.push(report((&file, &Err(was_set_aside()))));
    }
    for (fingerprint, folder) in KeyFolder::all(root)? {
        let _lock = folder.lock_to_look(LOOK_WAIT)?;
        if folder.is_ours() {
            let checked = check(fingerprint, &folder)?;
            reports.extend(checked.iter().map(|(file, verdict)| report((file, verdict))));
        }
    }
    Ok(reports)
}

/// A file of a folder with its rows, or what is wrong with it.
type Checked = (Stored, Result<u64, Fault>);

fn report((file, verdict): (&Stored, &Result<u64, Fault>)) -> PartReport {
    let reason = verdict.as_ref().err().map(|fault| fault.reason().to_owned());
    PartReport {
        path: file.path.clone(),
        rows: verdict.as_ref().map_or(0, |rows| *rows),
        bytes: file.bytes,
        reason,
    }
}

fn was_set_aside() -> Fault {
    Fault::Damaged("it was set aside because it was damaged".to_owned())
}

/// Checks everything in a folder: of what is not a part only what is wrong.
fn check(fingerprint: Fingerprint, folder: &KeyFolder) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    let of = |path: PathBuf| {
        let bytes = path.metadata().map_or(0, |file| if file.is_file() { file.len() } else { 0 });
        Stored { role: Role::Damaged, path, bytes }
    };
    let obstacle = |what: &str| Err(Fault::Damaged(what.to_owned()));
    if folder.lock_file().is_dir() {
        checked.push((of(folder.lock_file()), obstacle("a directory lies in its place")));
    }
    if folder.parts().is_file() {
        checked.push((of(folder.parts()), obstacle("no directory lies in its place")));
        return Ok(checked);
    }
    for file in folder.refuse()?.into_iter().filter(|file| file.role == Role::Damaged) {
        checked.push((file, Err(was_set_aside())));
    }
    let key = KeyFile::read(&folder.key_file());
    let files = folder.files()?;
    let mut widths = Vec::new();
    for file in files.into_iter().filter(|file| file.role != Role::Temporary) {
        let verdict = check_part(fingerprint, &file, key.as_ref().ok());
        if let Err(Fault::Vanished) = verdict {
            continue;
        }
        widths.extend(verdict.as_ref().ok().map(|(_, width)| *width));
        checked.push((file, verdict.map(|(rows, _)| rows)));
    }
    let fault = match key {
        Ok(key) => widths.iter().find(|width| **width != key.width).map(|width| {
            Fault::Damaged(format!("it says that rows have {} values, and they have {width}", key.width))
        }),
        Err(Fault::Vanished) if widths.is_empty() => None,
        Err(fault) => Some(fault),
    };
    checked.extend(fault.map(|fault| (of(folder.key_file()), Err(fault))));
    Ok(checked)
}

/// The rows of a part and their width, as it has them itself.
fn check_part(fingerprint: Fingerprint, file: &Stored, key: Option<&KeyFile>) -> Result<(u64, u32), Fault> {
    match file.role {
        Role::States if key.is_none() => Err(states::unvouched()),
        Role::States => states::check(&file.path),
        Role::Part => {
            let known = key.map_or(1, |key| key.width);
            let width = part::declared_width(&file.path, fingerprint).unwrap_or(known);
            let keys = part::check(&file.path, &Identity { fingerprint, width })?;
            Ok((keys.len() as u64, width))
        }
        Role::Obstacle => Err(Fault::Damaged("a directory lies in its place".to_owned())),
        Role::Damaged | Role::Temporary => Err(was_set_aside()),
    }
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
        let refuse = if options.damaged && !whole { refuse(entry.fingerprint, &folder)? } else { Vec::new() };
        if whole || !refuse.is_empty() {
            // A directory that lies in its place can be held by nobody.
            let lock = match folder.lock_file().is_dir() {
                true => None,
                false => Some(folder.lock(Sharing::Exclusive, PRUNE_WAIT)?),
            };
            locked.push((folder, lock, whole, refuse));
        }
        if whole {
            left -= entry.bytes;
        }
    }
    let mut removed = Vec::new();
    for (folder, lock, whole, refuse) in locked {
        if whole {
            removed.push(remove_entry(&folder, lock)?);
        } else {
            remove_files(refuse, &mut removed)?;
        }
    }
    if options.all || options.damaged {
        remove_files(folder::set_aside_in(root)?, &mut removed)?;
    }
    Ok(removed)
}

/// What of a folder is damaged, was set aside or left behind. What cannot be read, or is of a newer version,
/// may be good.
fn refuse(fingerprint: Fingerprint, folder: &KeyFolder) -> Result<Vec<Stored>> {
    let mut refuse: Vec<Stored> = check(fingerprint, folder)?
        .into_iter()
        .filter(|(_, verdict)| matches!(verdict, Err(Fault::Damaged(_))))
        .map(|(file, _)| file)
        .collect();
    let temporary = folder.files()?.into_iter().chain(folder.refuse()?);
    refuse.extend(temporary.filter(|file| file.role == Role::Temporary));
    Ok(refuse)
}

fn remove_files(files: Vec<Stored>, removed: &mut Vec<Removed>) -> Result<()> {
    for file in files {
        // What lies in a file's place is damage as a whole, whoever filled it.
        let gone = match file.path.is_dir() {
            true => std::fs::remove_dir_all(&file.path)
                .map(|()| true)
                .map_err(|source| Error::io("remove", &file.path, source))?,
            false => folder::remove(&file.path)?,
        };
        if gone {
            removed.push(Removed { path: file.path, bytes: file.bytes });
        }
    }
    Ok(())
}

/// Removes the files of ours: `key.json` after the parts, so that a killed prune leaves an entry that is
/// still listed, and the lock last, so that no one who opens the store meanwhile sees half of it.
fn remove_entry(folder: &KeyFolder, lock: Option<Lock>) -> Result<Removed> {
    let mut bytes = 0;
    if !folder.parts().is_file() {
        for file in folder.files()? {
            folder::remove(&file.path)?;
            bytes += file.bytes;
        }
    }
    let refuse = folder.refuse()?.into_iter().map(|file| file.path);
    for path in refuse.chain([folder.key_file(), folder.lock_file()]) {
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        folder::remove(&path)?;
    }
    // A directory that holds something of somebody else's stays.
    let _kept = folder::remove(&folder.parts()).and_then(|_| folder::remove(folder.path()));
    drop(lock);
    Ok(Removed { path: folder.path().to_path_buf(), bytes })
}

/// What [`compact()`] did to the rows of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The fingerprint of the key, which is the name of the folder.
    pub fingerprint: Fingerprint,
    /// The folder.
    pub path: PathBuf,
    /// Rows that were stored more than once, counted without the one that stays.
    pub doubled: u64,
    /// Number of parts before.
    pub parts_before: usize,
    /// Number of parts after.
    pub parts: usize,
    /// Bytes of the parts before.
    pub bytes_before: u64,
    /// Bytes of the parts after.
    pub bytes: u64,
}

/// Keeps one of all rows that are stored several times, and merges small parts; an entry for every store. One
/// whose `key.json` is damaged is passed over: opening it comes first. Memory: the keys of one store, and a
/// part.
///
/// # Errors
/// A store is in use ([`Kind::Store`]), or a file cannot be read, written or removed; nothing is lost, and
/// what was done before stays.
///
/// [`Kind::Store`]: crate::error::Kind::Store
pub fn compact(root: &Path) -> Result<Vec<Compacted>> {
    let mut done = Vec::new();
    for (fingerprint, folder) in KeyFolder::all(root)? {
        let Ok(key) = KeyFile::read(&folder.key_file()) else { continue };
        let _lock = folder.lock(Sharing::Exclusive, PRUNE_WAIT)?;
        folder.remove_temporary_files()?;
        let of_parts = |folder: &KeyFolder| -> Result<(usize, u64)> {
            let files = folder.files()?;
            let parts = files.iter().filter(|file| file.role.is_good());
            Ok(parts.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes)))
        };
        let (parts_before, bytes_before) = of_parts(&folder)?;
        let doubled = deduplicate(&folder, &key.identity())?;
        let (parts, bytes) = of_parts(&folder)?;
        let path = folder.path().to_path_buf();
        done.push(Compacted { fingerprint, path, doubled, parts_before, parts, bytes_before, bytes });
    }
    Ok(done)
}

/// Both kinds of parts of a folder; it has one of them.
pub(super) fn deduplicate(folder: &KeyFolder, identity: &Identity) -> Result<u64> {
    let mut parts = folder.files()?.into_iter().filter(|file| file.role == Role::States);
    let shape = parts.find_map(|file| states::Shape::of(&std::fs::read(file.path).ok()?).ok());
    let of_states = shape.map_or(Ok(0), |shape| keep_one(folder, Role::States, &shape))?;
    Ok(of_states + keep_one(folder, Role::Part, identity)?)
}
