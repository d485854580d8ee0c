//! Owns the feature store: rows of f32 under a key of everything that can change them, in append-only checksummed parts.
//!
//! Layout: `ROOT/features/FINGERPRINT/key.json` says what the key is made of; `…/parts/HASH.part` holds rows (see `part`);
//! `…/lock` is locked while the store is open, shared by readers and writers, exclusively by `prune`.
//!
//! Refuses to trust: every part is checked against its checksum before use; one that fails is set aside (`*.damaged`) and
//! reported. Refuses to store a text: rows are known by the hash of theirs.

pub mod fault;
mod maintenance;
mod part;
mod space;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint, TextKey};
pub use maintenance::{Entry, Pruned, PruneOptions, Verification, list, prune, verify};
use part::Part;
pub use space::{free_space, space_needed};

/// Rows in a part at most: a killed process loses at most one part's work.
const PART_ROWS: usize = 512;
/// Bytes in a part at most.
const PART_BYTES: usize = 4 << 20;
/// A part is written at the latest so long after its first row.
const PART_AGE: Duration = Duration::from_secs(5);
/// Parts kept open for reading.
const OPEN_PARTS: usize = 32;

const FEATURES: &str = "features";
const PARTS: &str = "parts";
const KEY: &str = "key.json";
const LOCK: &str = "lock";

/// Everything that can change a stored value, except the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreKey {
    /// Named values, readable by people.
    pub fields: BTreeMap<String, String>,
}

impl StoreKey {
    /// The key's hash: the name of its directory.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let start = Fields::new("frosthead feature store 1");
        self.fields.iter().fold(start, |fields, (name, value)| fields.field(name, value)).finish()
    }
}

/// A part that could not be trusted.
#[derive(Debug, Clone, Serialize)]
pub struct Damage {
    pub path: PathBuf,
    pub reason: String,
}

/// The root of all stores: the flag, `$FROSTHEAD_CACHE`, `$XDG_CACHE_HOME/frosthead`, or `$HOME/.cache/frosthead`.
///
/// # Errors
/// None of them is set.
pub fn default_root(flag: Option<&Path>) -> Result<PathBuf> {
    root_from(flag, |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn root_from(flag: Option<&Path>, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    flag.map(Path::to_path_buf)
        .or_else(|| variable("FROSTHEAD_CACHE"))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("frosthead")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/frosthead")))
        .ok_or_else(|| {
            Error::new(Kind::Store, "there is no place for the feature store")
                .expected("$FROSTHEAD_CACHE, $XDG_CACHE_HOME or $HOME")
                .help("say --cache DIR")
        })
}

/// An open store: the rows of one key.
pub struct Store {
    directory: PathBuf,
    width: usize,
    /// Row number of each text; rows are numbered through all parts, and on into the rows not yet written.
    index: HashMap<TextKey, u32>,
    parts: Vec<Part>,
    /// First row number of each part, and of the rows not yet written.
    firsts: Vec<u32>,
    pending: Pending,
    open_files: std::cell::RefCell<Vec<(usize, File)>>,
    damaged: Vec<Damage>,
    _lock: File,
}

#[derive(Default)]
struct Pending {
    keys: Vec<TextKey>,
    rows: Vec<f32>,
    since: Option<Instant>,
}

impl Store {
    /// Opens (or makes) the store of `key` under `root`; a row is `width` numbers. Every part is checked.
    ///
    /// # Errors
    /// The directory cannot be made or read, belongs to another key, or is being emptied.
    pub fn open(root: &Path, key: &StoreKey, width: usize) -> Result<Self> {
        let directory = root.join(FEATURES).join(key.fingerprint().to_string());
        let parts_directory = directory.join(PARTS);
        std::fs::create_dir_all(&parts_directory)
            .map_err(|source| Error::io("make the feature store", &parts_directory, source))?;
        let lock = lock_shared(&directory)?;
        write_key(&directory, key)?;
        let mut store = Self {
            directory,
            width,
            index: HashMap::new(),
            parts: Vec::new(),
            firsts: vec![0],
            pending: Pending::default(),
            open_files: std::cell::RefCell::default(),
            damaged: Vec::new(),
            _lock: lock,
        };
        for path in part::paths(&parts_directory)? {
            match Part::open(&path, Some(width)) {
                Ok((part, keys)) => store.adopt(part, &keys),
                Err(error) => store.set_aside(path, &error),
            }
        }
        Ok(store)
    }

    /// Rows that can be read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether a text's row is there.
    #[must_use]
    pub fn contains(&self, key: &TextKey) -> bool {
        self.index.contains_key(key)
    }

    /// Parts that were set aside when the store was opened.
    #[must_use]
    pub fn damaged(&self) -> &[Damage] {
        &self.damaged
    }

    /// Reads numbers `first ..` of a text's row into `out`; `false` when the text is not stored.
    ///
    /// # Errors
    /// The part cannot be read any more.
    pub fn read(&self, key: &TextKey, first: usize, out: &mut [f32]) -> Result<bool> {
        let Some(&row) = self.index.get(key) else { return Ok(false) };
        let place = self.firsts.partition_point(|start| *start <= row) - 1;
        let row = (row - self.firsts[place]) as usize;
        if place == self.parts.len() {
            let start = row * self.width + first;
            out.copy_from_slice(&self.pending.rows[start..start + out.len()]);
            return Ok(true);
        }
        let part = &self.parts[place];
        let mut files = self.open_files.borrow_mut();
        let position = files.iter().position(|(number, _)| *number == place);
        let entry = match position {
            Some(position) => files.remove(position),
            None => (place, File::open(&part.path).map_err(|source| Error::io("read", &part.path, source))?),
        };
        let read = part.read(&entry.1, row, first, out);
        // The last used file is last: the first is closed when there are too many.
        files.push(entry);
        if files.len() > OPEN_PARTS {
            files.remove(0);
        }
        read.map(|()| true)
    }

    /// Adds a text's row. It can be read at once, and is on disk after the next part is written.
    ///
    /// # Errors
    /// A part was due and could not be written; earlier parts stay.
    pub fn append(&mut self, key: TextKey, row: &[f32]) -> Result<()> {
        debug_assert_eq!(row.len(), self.width);
        if self.contains(&key) {
            return Ok(());
        }
        let written = *self.firsts.last().expect("there is always the first of the rows not yet written; this is a bug");
        let number = written + u32::try_from(self.pending.keys.len()).unwrap_or(u32::MAX);
        self.index.insert(key, number);
        self.pending.keys.push(key);
        self.pending.rows.extend_from_slice(row);
        let since = *self.pending.since.get_or_insert_with(Instant::now);
        if self.pending.keys.len() >= PART_ROWS
            || self.pending.rows.len() * 4 >= PART_BYTES
            || since.elapsed() >= PART_AGE
        {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the rows that are not on disk yet.
    ///
    /// # Errors
    /// The part cannot be written; a full disk is [`Kind::Space`].
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.keys.is_empty() {
            return Ok(());
        }
        let path = part::write(&self.directory.join(PARTS), self.width, &self.pending.keys, &self.pending.rows)?;
        let rows = self.pending.keys.len();
        self.parts.push(Part::written(path, self.width, rows));
        let first = *self.firsts.last().expect("there is always a first row number; this is a bug");
        self.firsts.push(first + u32::try_from(rows).unwrap_or(u32::MAX));
        self.pending = Pending::default();
        Ok(())
    }

    /// Takes a checked part into the index.
    fn adopt(&mut self, part: Part, keys: &[TextKey]) {
        let first = *self.firsts.last().expect("there is always a first row number; this is a bug");
        for (number, key) in (first..).zip(keys) {
            self.index.entry(*key).or_insert(number);
        }
        self.firsts.push(first + u32::try_from(keys.len()).unwrap_or(u32::MAX));
        self.parts.push(part);
    }

    /// Renames an untrustworthy part so that nobody uses it, and remembers it for the report.
    fn set_aside(&mut self, path: PathBuf, error: &Error) {
        let aside = path.with_extension("damaged");
        // Another process may have set it aside already; then there is nothing left to do.
        let _ = std::fs::rename(&path, &aside);
        self.damaged.push(Damage { path: aside, reason: part::reason(error) });
    }
}

fn lock_shared(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let lock = File::create(&path).map_err(|source| Error::io("lock the feature store", &path, source))?;
    match lock.try_lock_shared() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::new(Kind::Store, "the feature store is being emptied")
            .at(directory)
            .help("wait until the other `frosthead cache prune` has finished")),
        Err(TryLockError::Error(source)) => Err(Error::io("lock the feature store", &path, source)),
    }
}

/// Writes what the key is made of, or checks what is there.
fn write_key(directory: &Path, key: &StoreKey) -> Result<()> {
    let path = directory.join(KEY);
    if let Ok(text) = std::fs::read_to_string(&path) {
        return match serde_json::from_str::<StoreKey>(&text) {
            Ok(there) if there == *key => Ok(()),
            _ => Err(Error::new(Kind::Store, "the feature store's key file is not the one it was made with")
                .at(&path)
                .help("`frosthead cache prune --all` empties the store")),
        };
    }
    let text = serde_json::to_string_pretty(key)
        .map_err(|source| Error::new(Kind::Store, "the key cannot be written").because(source))?;
    let failed = |source| Error::io("write", &path, source);
    let mut temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::io::Write::write_all(&mut temporary, text.as_bytes()).map_err(failed)?;
    temporary.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> StoreKey {
        StoreKey { fields: BTreeMap::from([("model".to_owned(), name.to_owned())]) }
    }

    fn row(number: usize, width: usize) -> Vec<f32> {
        (0..width).map(|column| (number * 31 + column) as f32).collect()
    }

    fn fill(store: &mut Store, numbers: std::ops::Range<usize>) {
        for number in numbers {
            store.append(TextKey::of(&number.to_string()), &row(number, store.width)).unwrap();
        }
    }

    fn check(store: &Store, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let mut out = vec![0.0; 2];
            assert!(store.read(&TextKey::of(&number.to_string()), 1, &mut out).unwrap(), "row {number} is gone");
            assert_eq!(out, row(number, 3)[1..]);
        }
    }

    #[test]
    fn rows_are_read_back_before_and_after_they_are_written() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::open(root.path(), &key("a"), 3).unwrap();
        fill(&mut store, 0..1300);
        assert_eq!(store.len(), 1300);
        check(&store, 0..1300);
        store.flush().unwrap();
        check(&store, 0..1300);
        drop(store);
        let store = Store::open(root.path(), &key("a"), 3).unwrap();
        assert_eq!(store.len(), 1300);
        check(&store, 0..1300);
        assert!(!store.read(&TextKey::of("other"), 0, &mut [0.0]).unwrap());
        assert!(Store::open(root.path(), &key("b"), 3).unwrap().is_empty(), "keys must not mix");
    }

    #[test]
    fn what_was_flushed_survives_a_process_that_ends_without_a_word() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::open(root.path(), &key("a"), 3).unwrap();
        fill(&mut store, 0..600);
        std::mem::forget(store);
        let store = Store::open(root.path(), &key("a"), 3).unwrap();
        assert_eq!(store.len(), PART_ROWS);
        check(&store, 0..PART_ROWS);
    }

    #[test]
    fn a_damaged_part_is_set_aside_and_its_rows_can_be_stored_again() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::open(root.path(), &key("a"), 3).unwrap();
        fill(&mut store, 0..PART_ROWS + 10);
        store.flush().unwrap();
        let victim = store.parts[0].path.clone();
        drop(store);
        let mut bytes = std::fs::read(&victim).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&victim, bytes).unwrap();
        let mut store = Store::open(root.path(), &key("a"), 3).unwrap();
        assert_eq!(store.damaged().len(), 1);
        assert!(store.damaged()[0].reason.contains("checksum"), "{:?}", store.damaged());
        assert!(!victim.exists() && store.damaged()[0].path.exists());
        assert_eq!(store.len(), 10);
        fill(&mut store, 0..PART_ROWS + 10);
        store.flush().unwrap();
        drop(store);
        let store = Store::open(root.path(), &key("a"), 3).unwrap();
        assert!(store.damaged().is_empty());
        check(&store, 0..PART_ROWS + 10);
    }

    #[test]
    fn two_writers_share_a_store() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for start in [0, 400] {
                let root = root.path();
                scope.spawn(move || {
                    let mut store = Store::open(root, &key("a"), 3).unwrap();
                    fill(&mut store, start..start + 1000);
                    store.flush().unwrap();
                });
            }
        });
        let store = Store::open(root.path(), &key("a"), 3).unwrap();
        assert_eq!(store.len(), 1400);
        check(&store, 0..1400);
    }

    #[test]
    fn a_store_that_is_being_emptied_says_so() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), &key("a"), 3).unwrap();
        let path = store.directory.join(LOCK);
        drop(store);
        let lock = File::create(path).unwrap();
        lock.lock().unwrap();
        let error = Store::open(root.path(), &key("a"), 3).err().unwrap();
        assert!(error.to_string().contains("being emptied"), "{error}");
    }

    #[test]
    fn a_key_file_of_another_key_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = Store::open(root.path(), &key("a"), 3).unwrap().directory.clone();
        std::fs::write(directory.join(KEY), "{}").unwrap();
        assert_eq!(Store::open(root.path(), &key("a"), 3).err().unwrap().kind(), Kind::Store);
    }

    #[test]
    fn the_root_is_found_in_the_documented_order() {
        let all = |name: &str| Some(PathBuf::from(format!("/{name}")));
        assert_eq!(root_from(Some(Path::new("flag")), all).unwrap(), Path::new("flag"));
        assert_eq!(root_from(None, all).unwrap(), Path::new("/FROSTHEAD_CACHE"));
        let without = |missing: &'static str| move |name: &str| all(name).filter(|_| !missing.contains(name));
        assert_eq!(root_from(None, without("FROSTHEAD_CACHE")).unwrap(), Path::new("/XDG_CACHE_HOME/frosthead"));
        let home = root_from(None, without("FROSTHEAD_CACHE XDG_CACHE_HOME")).unwrap();
        assert_eq!(home, Path::new("/HOME/.cache/frosthead"));
        assert!(root_from(None, |_| None).is_err());
    }
}
