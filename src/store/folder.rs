//! Owns the folder of one key, whatever its parts hold: `key.json`, `lock` and `parts/`, and which files in
//! it are ours.
//!
//! Refuses to touch anything that does not bear one of our names, and to wait for a lock without an end.
//!
//! The lock is advisory (`flock`): shared while a store is open, exclusive while files are removed or merged.
//! The modification time of `lock` is when the store was last opened.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::fault::Fault;
use super::key_file::KeyFile;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::{Fingerprint, TextKey};

/// What is in a folder.
const KEY: &str = "key.json";
const LOCK: &str = "lock";
const PARTS: &str = "parts";
/// How often a lock that is held elsewhere is asked for again.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// The end of a name of what is damaged.
const DAMAGED: &str = ".damaged";
/// How many damaged ones of a name are kept at most, where one cannot take the place of another.
const MOST_ASIDE: u32 = 99;
/// Hexadecimal digits of the hash that a part is named by.
pub(super) const NAME_DIGITS: usize = 32;

/// A text and the bytes that are stored for it.
pub(super) type Text = (TextKey, Vec<u8>);

/// A kind of parts. A part is named by its contents: equal names mean equal bytes.
pub(super) trait Parts {
    /// Whether a file is a part of this kind that has few texts.
    fn is_small(&self, file: &Stored) -> bool;

    /// The texts of a part.
    fn load(&self, path: &Path) -> Result<Vec<Text>, Fault>;

    /// The bytes of a part, and its name.
    fn encode(&self, texts: &[Text]) -> (Vec<u8>, String);
}

/// What a file in `parts/` is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Part,
    /// A part of token states.
    States,
    /// One that was set aside.
    Damaged,
    /// A directory that lies where a part belongs.
    Obstacle,
    Temporary,
}

impl Role {
    /// Whether the file is used, and no leftover.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Part | Self::States)
    }
}

/// A file of ours in `parts/`.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub role: Role,
    pub path: PathBuf,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    Shared,
    Exclusive,
}

/// A lock that is held until it is dropped.
///
/// It is released in words and not by closing the file: a process that is just being spawned holds copies of
/// all open files until it runs its program, and a copy would keep the lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Notes that the store is used now. Only the order of pruning depends on it, so a file system that
    /// refuses is no error.
    pub fn mark_used(&self) {
        let _advisory = self.0.set_modified(SystemTime::now());
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Should it fail, closing the file releases the lock too.
        let _closed_next = self.0.unlock();
    }
}

/// The folder of one key; it need not exist.
#[derive(Debug, Clone)]
pub(super) struct KeyFolder(PathBuf);

impl KeyFolder {
    /// One whose parts lie elsewhere than in a store.
    pub fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    pub fn new(root: &Path, fingerprint: &Fingerprint) -> Self {
        Self(features(root).join(fingerprint.to_string()))
    }

    /// Every folder under `root` that bears the name of a fingerprint, sorted; links are not followed.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn all(root: &Path) -> Result<Vec<(Fingerprint, Self)>> {
        let mut folders = Vec::new();
        for (name, path, metadata) in children(&features(root))? {
            if let Ok(fingerprint) = Fingerprint::try_from(name.clone())
                && fingerprint.to_string() == name
                && metadata.is_dir()
            {
                folders.push((fingerprint, Self(path)));
            }
        }
        Ok(folders)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn parts(&self) -> PathBuf {
        self.0.join(PARTS)
    }

    pub fn key_file(&self) -> PathBuf {
        self.0.join(KEY)
    }

    pub fn lock_file(&self) -> PathBuf {
        self.0.join(LOCK)
    }

    /// When the store was last opened.
    pub fn last_used(&self) -> SystemTime {
        let modified = |path: PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
        modified(self.lock_file()).or_else(|| modified(self.key_file())).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The files of ours in `parts/`, sorted by name.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn files(&self) -> Result<Vec<Stored>> {
        let parts = self.parts();
        if parts.is_symlink() {
            return Ok(Vec::new());
        }
        let ours = children(&parts)?.into_iter().filter_map(|(name, path, metadata)| {
            let role = match role(&name)? {
                role if metadata.is_file() => role,
                Role::Damaged if metadata.is_dir() => Role::Damaged,
                Role::Part | Role::States if metadata.is_dir() => Role::Obstacle,
                _ => return None,
            };
            Some(Stored { role, path, bytes: size(&metadata) })
        });
        Ok(ours.collect())
    }

    /// What was set aside or left behind in the folder, beside its parts.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn refuse(&self) -> Result<Vec<Stored>> {
        let refuse = children(&self.0)?.into_iter().filter_map(|(name, path, metadata)| {
            let ours = [KEY, LOCK, PARTS].iter().any(|ours| is_set_aside(&name, ours));
            let role = match () {
                () if ours => Role::Damaged,
                () if files::is_temporary(&name) => Role::Temporary,
                () => return None,
            };
            Some(Stored { role, path, bytes: size(&metadata) })
        });
        Ok(refuse.collect())
    }

    /// Whether the folder is one of ours beyond doubt: `lock` is the first file that is made in one, and the
    /// last that is removed.
    pub fn is_ours(&self) -> bool {
        self.lock_file().symlink_metadata().is_ok() || KeyFile::read(&self.key_file()).is_ok()
    }

    /// Writes `key.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_key(&self, wanted: &KeyFile) -> Result<()> {
        files::write(&self.key_file(), document::pretty(wanted).as_bytes()).map_err(elsewhere)?;
        let all = self.0.parent().unwrap_or(&self.0);
        files::sync_names(all).map_err(|source| unwritable("make the folder durable", all, source))
    }

    /// Takes the lock, creating the folder where it is missing, and waits for it at most `wait`.
    ///
    /// # Errors
    /// The folder cannot be created, or the lock is still held elsewhere: the store is in use.
    pub fn lock(&self, sharing: Sharing, wait: Duration) -> Result<Lock> {
        let path = self.lock_file();
        patiently(&path, wait, || {
            std::fs::create_dir_all(&self.0)
                .map_err(|source| unwritable("create the directory", &self.0, source))?;
            match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
                // One that was removed meanwhile protects nothing.
                Ok(file) => Ok(try_lock(file, sharing, &path)?.filter(|lock| files::is_same(&lock.0, &path))),
                // Another process pruned the folder between the two steps.
                Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
                Err(source) => Err(unwritable("open the lock", &path, source)),
            }
        })
    }

    /// Takes the shared lock of a folder that is there, without changing anything; none where there is no
    /// lock file.
    ///
    /// # Errors
    /// Files are being removed by another process, for longer than `wait`.
    pub fn lock_to_look(&self, wait: Duration) -> Result<Option<Lock>> {
        let path = self.lock_file();
        patiently(&path, wait, || match File::open(&path) {
            Ok(file) => Ok(try_lock(file, Sharing::Shared, &path)?.map(Some)),
            Err(source) if source.kind() == ErrorKind::NotFound => Ok(Some(None)),
            Err(source) => Err(Error::io("open the lock", &path, source)),
        })
    }

    /// Writes a part and returns its path; after a success it survives a power cut.
    ///
    /// # Errors
    /// The disk is full ([`Kind::Space`]) or the folder cannot be written; nothing is left behind then.
    pub fn write(&self, parts: &impl Parts, texts: &[Text]) -> Result<PathBuf> {
        let (bytes, name) = parts.encode(texts);
        let path = self.parts().join(name);
        files::write(&path, &bytes).map_err(elsewhere)?;
        Ok(path)
    }

    /// Removes temporary files; the caller holds the exclusive lock, so whoever wrote them is dead.
    ///
    /// # Errors
    /// The directory cannot be read or a file not be removed.
    pub fn remove_temporary_files(&self) -> Result<()> {
        self.files()?
            .iter()
            .filter(|file| file.role == Role::Temporary)
            .try_for_each(|file| remove(&file.path).map(drop))?;
        files::remove_left_behind(&self.0);
        Ok(())
    }
}

/// What lay where the folder of a key belongs and was set aside.
///
/// # Errors
/// The directory is there and cannot be read.
pub(super) fn set_aside_in(root: &Path) -> Result<Vec<Stored>> {
    let aside = children(&features(root))?.into_iter().filter_map(|(name, path, metadata)| {
        let fingerprint = name.split('.').next()?.to_owned();
        Fingerprint::try_from(fingerprint.clone()).ok()?;
        let bytes = size(&metadata);
        is_set_aside(&name, &fingerprint).then_some(Stored { role: Role::Damaged, path, bytes })
    });
    Ok(aside.collect())
}

/// Removes a file, or an empty directory that lies in its place; whether it is gone. One that is gone already
/// is fine, and a directory with something in it stays: it is somebody else's.
///
/// # Errors
/// It cannot be removed.
pub(super) fn remove(path: &Path) -> Result<bool> {
    let directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    match if directory { std::fs::remove_dir(path) } else { std::fs::remove_file(path) } {
        Err(source) if source.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, source)),
        _ => Ok(true),
    }
}

/// Gives something a name that says that it is damaged, and returns it. What had that name before makes way,
/// if it is a file.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { DAMAGED.to_owned() } else { format!("{DAMAGED}-{number}") });
        PathBuf::from(name)
    };
    let mut number = 0;
    loop {
        let aside = name(number);
        match std::fs::rename(path, &aside) {
            Ok(()) => return Ok(aside),
            // A directory and a file never take each other's place.
            Err(source) if number == MOST_ASIDE || aside.symlink_metadata().is_err() => return Err(source),
            Err(_) => number += 1,
        }
    }
}

/// Whether a name is what [`set_aside`] makes of another.
fn is_set_aside(name: &str, of: &str) -> bool {
    let number = name.strip_prefix(of).and_then(|rest| rest.strip_prefix(DAMAGED));
    number.is_some_and(|number| {
        let number = number.strip_prefix('-').unwrap_or(if number.is_empty() { "0" } else { "" });
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Bytes of a file; a directory has none of its own.
fn size(metadata: &std::fs::Metadata) -> u64 {
    if metadata.is_dir() { 0 } else { metadata.len() }
}

fn features(root: &Path) -> PathBuf {
    root.join("features")
}

fn role(name: &str) -> Option<Role> {
    // The second is a name that earlier versions gave.
    if files::is_temporary(name) || (name.starts_with(".new-") && name.ends_with(".tmp")) {
        return Some(Role::Temporary);
    }
    let (hash, ending) = name.split_once('.')?;
    TextKey::parse(hash)?;
    match ending {
        "part" => Some(Role::Part),
        "safetensors" => Some(Role::States),
        _ if is_set_aside(ending, "part") || is_set_aside(ending, "safetensors") => Some(Role::Damaged),
        _ => None,
    }
}

/// The entries of a directory with their own metadata (links are not followed), sorted; none when it is not
/// there.
fn children(directory: &Path) -> Result<Vec<(String, PathBuf, std::fs::Metadata)>> {
    let failed = |source| unwritable("read the directory", directory, source);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // A name that is not UTF-8 is not ours; a file that vanished meanwhile was a temporary one.
        if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) {
            found.push((name, entry.path(), metadata));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn try_lock(file: File, sharing: Sharing, path: &Path) -> Result<Option<Lock>> {
    let locked = match sharing {
        Sharing::Shared => file.try_lock_shared(),
        Sharing::Exclusive => file.try_lock(),
    };
    match locked {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path, source)),
    }
}

/// Asks for a lock until there is an answer, at most so long.
fn patiently<T>(path: &Path, wait: Duration, ask: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + wait;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Kind::Store, "the feature store is in use by another process")
                .at(path)
                .help("wait until it has finished, then try again"));
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Whether an error is that nobody may write there: a disk that is mounted read-only, or permissions.
pub(super) fn may_not_write(error: &Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(is_refusal)
}

/// The same of the system's own.
pub(super) fn is_refusal(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The error of a store that cannot be written.
pub(super) fn unwritable(doing: &str, path: &Path, source: std::io::Error) -> Error {
    elsewhere(Error::io(&format!("{doing} in the feature store"), path, source))
}

/// Says where else there may be room, or leave to write.
fn elsewhere(error: Error) -> Error {
    match error.kind() {
        Kind::Space => error,
        _ => error
            .help("give a place that can be written with --cache DIR, or in the variable FROSTHEAD_CACHE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_locks_go_together_and_an_exclusive_one_stands_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::new(root.path(), &Fingerprint([1; 32]));
        assert!(folder.lock_to_look(Duration::ZERO).unwrap().is_none(), "looking creates nothing");
        assert!(!folder.path().exists());
        let first = folder.lock(Sharing::Shared, Duration::ZERO).unwrap();
        let second = folder.lock_to_look(Duration::ZERO).unwrap().unwrap();
        let error = folder.lock(Sharing::Exclusive, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), Kind::Store);
        drop((first, second));
        let alone = folder.lock(Sharing::Exclusive, Duration::ZERO).unwrap();
        assert!(folder.lock(Sharing::Shared, Duration::ZERO).is_err());
        assert!(folder.lock_to_look(Duration::ZERO).is_err());
        drop(alone);
        folder.lock(Sharing::Shared, Duration::ZERO).unwrap();
    }

    #[test]
    fn only_our_names_are_ours() {
        let hash = "0f".repeat(16);
        assert_eq!(role(&format!("{hash}.part")), Some(Role::Part));
        assert_eq!(role(&format!("{hash}.part.damaged")), Some(Role::Damaged));
        assert_eq!(role(&format!("{hash}.safetensors")), Some(Role::States));
        assert_eq!(role(&format!("{hash}.safetensors.damaged")), Some(Role::Damaged));
        assert_eq!(role(&format!("{hash}.part.damaged-7")), Some(Role::Damaged));
        assert_eq!(role(".new-Ab3.tmp"), Some(Role::Temporary));
        assert_eq!(role(".frosthead-Ab3Ab3Ab3Ab3.tmp"), Some(Role::Temporary));
        for other in [
            "",
            "part",
            "x.part",
            ".new-x",
            "x.tmp",
            &hash,
            &format!("{hash}.part.bak"),
            &format!("{hash}.part.damaged-"),
            &format!("{hash}.part.damaged-x"),
            &format!("{hash}.part.damaged7"),
            &format!("{hash}0.part"),
        ] {
            assert_eq!(role(other), None, "{other}");
        }
    }
}
