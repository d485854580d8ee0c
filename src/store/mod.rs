//! Owns the feature cache: rows of f32 under text keys, kept for one [`StoreKey`] in append-only checksummed
//! parts.
//!
//! Refuses to know what a row means, to store texts, and to trust a file: a part is used only after its
//! checksum was verified, and one that lies is set aside and reported, so that its rows are computed again.
//!
//! # Layout
//!
//! ```text
//! ROOT/features/<fingerprint of the key>/
//!   key.json                    what can change a value, and whose it is, for people; checked on open
//!   lock                        advisory lock; its modification time = last used
//!   parts/<hash>.part           rows (format: see `part`)
//!   parts/<hash>.safetensors    token states (format: see `states`)
//!   parts/<hash>.part.damaged   set aside, never read again (as `key.json.damaged`, …)
//!   parts/.frosthead-….tmp      being written
//! ```
//!
//! # Several processes
//!
//! Everyone who has a store open holds the lock shared. Parts only ever appear, by an atomic rename to the
//! name of their contents, so no coordination is needed: two processes that compute the same texts store them
//! twice at worst, a later reader takes either, and [`compact()`] makes one of them. What removes files
//! (pruning, merging parts, clearing leftovers of killed processes) needs the lock exclusively, that is:
//! nobody has the store open.
//! Rows that another process adds are seen at the next open.
//!
//! # Damage
//!
//! A file of the folder that is not what it must be, whichever it is, is set aside, reported by
//! [`Store::damaged`], and made again.

mod compact;
mod fault;
mod folder;
mod index;
mod key_file;
mod location;
mod manage;
mod merge;
mod open;
mod part;
mod reading;
mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use key_file::Owner;
pub use location::{default_root, free_space, space_needed, user_folder};
pub use manage::{Compacted, Entry, PartReport, PruneOptions, Removed, compact, list, prune, verify};
pub use merge::{Merged, merge};
pub use states::{StatePrecision, TokenStates};

use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint, TextKey};
use crate::tensors::{bytes_of, read_floats};
use fault::Identity;
use folder::Role;
use index::{Index, Place};
use open::OpenFolder;
use reading::PartFiles;

/// Everything that can change a cached value, by name ("weights", "pooling", …).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreKey {
    /// Names and values.
    pub fields: BTreeMap<String, String>,
    /// Whose rows they are, for people: it is no part of what is hashed.
    pub owner: Option<Owner>,
    /// The kind of processor that computes what is added, where it is known: it is noted, and no part of what
    /// is hashed either.
    pub processor: Option<String>,
}

impl StoreKey {
    /// The name of the key's folder.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let start = Fields::new("frosthead feature key 1");
        self.fields.iter().fold(start, |fields, (name, value)| fields.field(name, value)).finish()
    }
}

/// A part, or another file of the cache, that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where the file is now: renamed to `*.damaged`, or in place where it may still be good for someone else
    /// (a newer version, or a file that this process may not read).
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// The cached rows of one key, open for reading and appending.
///
/// Memory: about 32 bytes a row and the rows that wait to be written (4 MB and one row at most).
pub struct Store {
    open: OpenFolder,
    identity: Identity,
    index: Index,
    files: PartFiles,
}

impl Store {
    /// Opens the rows of `key` under `root`, each of `width` f32, and verifies the checksum of every part,
    /// reading in pieces.
    ///
    /// What cannot be used is set aside and reported by [`Store::damaged`]. Where nobody may write, what is
    /// stored is used and what is added is not kept: [`Store::unwritable`]. When nobody else has the store
    /// open, leftovers of killed processes are removed and many small parts merged first.
    ///
    /// # Errors
    /// The folder cannot be created or read, is being pruned for longer than 30 s, or `width` is 0.
    pub fn open(root: &Path, key: &StoreKey, width: usize) -> Result<Self> {
        let width = u32::try_from(width).ok().filter(|&width| width > 0).ok_or_else(|| {
            Error::new(Kind::Usage, "a stored row cannot have this many values")
                .found(width.to_string())
                .expected(format!("1 to {}", u32::MAX))
        })?;
        let identity = Identity { fingerprint: key.fingerprint(), width };
        let open = OpenFolder::open(root, key, &identity, &identity)?;
        let files = PartFiles::new(identity.width);
        let mut store = Self { open, identity, index: Index::default(), files };
        store.index_parts()?;
        Ok(store)
    }

    /// Whether a folder of this key is there.
    #[must_use]
    pub fn exists(root: &Path, key: &StoreKey) -> bool {
        folder::KeyFolder::new(root, &key.fingerprint()).path().is_dir()
    }

    /// Whether the row of `key` is there.
    #[must_use]
    pub fn contains(&self, key: &TextKey) -> bool {
        self.index.find(key).is_some()
    }

    /// How many different rows there are, those that wait to be written included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.identity.width as usize
    }

    /// The parts that could not be used when the store was opened.
    #[must_use]
    pub fn damaged(&self) -> &[Damage] {
        &self.open.damaged
    }

    /// Why nothing can be written to the store, if nothing can: rows that are added are gone with it.
    #[must_use]
    pub fn unwritable(&self) -> Option<&Error> {
        self.open.unwritable.as_ref()
    }

    /// Where what is added is written to.
    #[must_use]
    pub fn written_to(&self) -> PathBuf {
        self.open.written_to()
    }

    /// The folder of the key.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.open.folder.path()
    }

    /// Copies the values `first .. first + out.len()` of a row to `out`; false when the row is not there.
    ///
    /// # Errors
    /// The slice reaches beyond the row, or the part cannot be read.
    pub fn read(&self, key: &TextKey, first: usize, out: &mut [f32]) -> Result<bool> {
        self.check_slice(first, out.len())?;
        let Some(place) = self.index.find(key) else { return Ok(false) };
        self.read_slice(place, first, out)?;
        Ok(true)
    }

    /// Adds a row; it can be read at once, and is written together with others after 512 rows, 4 MB or 5 s
    /// (checked here: call [`Store::flush`] before a pause). A key that is there already is ignored.
    ///
    /// # Errors
    /// The row has another width, or the part that became due cannot be written ([`Kind::Space`] when the
    /// disk is full); the row is in the store then, but not on the disk.
    pub fn append(&mut self, key: TextKey, row: &[f32]) -> Result<()> {
        if row.len() != self.width() {
            return Err(Error::new(Kind::Usage, "the row does not fit the store")
                .at(self.path())
                .found(format!("{} values", row.len()))
                .expected(self.width().to_string()));
        }
        let number = u32::try_from(self.open.pending.texts.len()).map_err(|_| self.full())?;
        if !self.index.insert(key, Place { part: Place::PENDING, row: number }) {
            return Ok(());
        }
        let pending = &mut self.open.pending;
        pending.add(key, bytes_of(row));
        if pending.is_due() || pending.texts.len() >= part::rows_per_part(row.len()) {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the rows that wait; after a success they survive a power cut.
    ///
    /// # Errors
    /// The part cannot be written ([`Kind::Space`] when the disk is full); the rows keep waiting.
    pub fn flush(&mut self) -> Result<()> {
        // More than a part's worth waits only after failed writes; a part has a maximal number of rows.
        let most = part::rows_per_part(self.width());
        while let Some((path, rows)) = self.open.write_pending(&self.identity, most)? {
            let count = u32::try_from(rows).map_err(|_| self.full())?;
            let number = self.files.add(path, count)?;
            self.index.settle(self.open.pending.texts.len() + rows, count, number);
        }
        Ok(())
    }

    fn index_parts(&mut self) -> Result<()> {
        for file in self.open.folder.files()?.into_iter().filter(|file| file.role == Role::Part) {
            match part::check(&file.path, &self.identity) {
                Ok(keys) => {
                    let count = u32::try_from(keys.len()).map_err(|_| self.full())?;
                    let number = self.files.add(file.path, count)?;
                    for (row, key) in (0..count).zip(keys) {
                        self.index.insert(key, Place { part: number, row });
                    }
                }
                Err(fault) => self.open.set_aside(file.path, &fault),
            }
        }
        Ok(())
    }

    fn check_slice(&self, first: usize, count: usize) -> Result<()> {
        if first.checked_add(count).is_some_and(|end| end <= self.width()) {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, "the values asked for are not in a stored row")
            .at(self.path())
            .found(format!("{count} values from {first}"))
            .expected(format!("at most {} in all", self.width())))
    }

    fn read_slice(&self, place: Place, first: usize, out: &mut [f32]) -> Result<()> {
        if place.part != Place::PENDING {
            return self.files.read(place, first, out);
        }
        let (_, row) = &self.open.pending.texts[place.row as usize];
        read_floats(&row[first * size_of::<f32>()..], out);
        Ok(())
    }

    fn full(&self) -> Error {
        Error::new(Kind::Store, "too many rows wait to be written").at(self.path())
    }
}

/// Rows that wait are written if that is possible; who wants to know calls [`Store::flush`].
impl Drop for Store {
    fn drop(&mut self) {
        if self.open.unwritable.is_none() {
            let _unheard = self.flush();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).field("rows", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
