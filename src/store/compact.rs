//! Owns what is done to a key's folder while nobody else has it open: clear leftovers, merge many small parts
//! into few.
//!
//! Refuses to merge what it has not verified, and to remove a part before the one that replaces it is
//! durable: killed in between, it leaves rows that are stored twice, which is harmless.

use std::collections::HashSet;
use std::path::PathBuf;

use super::folder::{self, KeyFolder, Role, Stored};
use super::part::{self, Identity};
use crate::error::Result;
use crate::fingerprint::TextKey;

/// Merging starts when there are more small parts than this (many interrupted runs, or a very slow backbone).
pub(super) const MAX_SMALL_PARTS: usize = 64;
/// A part is small below both of these: a quarter of what a full one has.
const SMALL_ROWS: usize = part::FLUSH_ROWS / 4;
const SMALL_BYTES: u64 = part::FLUSH_BYTES as u64 / 4;
/// A merged part is written when it has this many rows …
const MERGED_ROWS: usize = 8 * part::FLUSH_ROWS;
/// … or this many bytes of rows: what merging costs in memory, twice.
const MERGED_BYTES: usize = 2 * part::FLUSH_BYTES;

/// Removes leftovers and merges small parts; the caller holds the exclusive lock.
///
/// # Errors
/// A file cannot be read, written or removed; nothing is lost.
pub(super) fn maintain(folder: &KeyFolder, identity: &Identity) -> Result<()> {
    folder.remove_temporary_files()?;
    let files = folder.files()?;
    let small = files.iter().filter(|file| is_small(file, identity)).collect::<Vec<_>>();
    if small.len() <= MAX_SMALL_PARTS {
        return Ok(());
    }
    let mut merged = Merged::default();
    for file in small {
        // What is damaged is left for `open` to report.
        if let Ok((keys, rows)) = part::load(&file.path, identity) {
            merged.add(file.path.clone(), &keys, &rows);
        }
        if merged.keys.len() >= MERGED_ROWS || merged.rows.len() >= MERGED_BYTES {
            std::mem::take(&mut merged).replace(folder, identity)?;
        }
    }
    merged.replace(folder, identity)
}

fn is_small(file: &Stored, identity: &Identity) -> bool {
    file.role == Role::Part
        && file.bytes < SMALL_BYTES
        && part::declared_rows(&file.path, identity).is_ok_and(|rows| (rows as usize) < SMALL_ROWS)
}

#[derive(Default)]
struct Merged {
    sources: Vec<PathBuf>,
    seen: HashSet<TextKey>,
    keys: Vec<TextKey>,
    rows: Vec<u8>,
}

impl Merged {
    fn add(&mut self, source: PathBuf, keys: &[TextKey], rows: &[u8]) {
        self.sources.push(source);
        for (key, row) in keys.iter().zip(rows.chunks_exact(rows.len() / keys.len())) {
            if self.seen.insert(*key) {
                self.keys.push(*key);
                self.rows.extend_from_slice(row);
            }
        }
    }

    fn replace(self, folder: &KeyFolder, identity: &Identity) -> Result<()> {
        if self.sources.len() < 2 {
            return Ok(());
        }
        let path = part::write(&folder.parts(), identity, &self.keys, &self.rows)?;
        // A source that held all of it already is the merged part: equal contents have equal names.
        self.sources.iter().filter(|source| **source != path).try_for_each(|source| folder::remove(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;

    #[test]
    fn a_source_that_is_the_merged_part_already_stays() {
        let root = tempfile::tempdir().unwrap();
        let identity = Identity { fingerprint: Fingerprint([1; 32]), width: 1 };
        let folder = KeyFolder::new(root.path(), &identity.fingerprint);
        std::fs::create_dir_all(folder.parts()).unwrap();
        let keys = ["a", "b"].map(TextKey::of);
        let rows = [1, 2, 3, 4, 5, 6, 7, 8];
        let both = part::write(&folder.parts(), &identity, &keys, &rows).unwrap();
        let second = part::write(&folder.parts(), &identity, &keys[1..], &rows[4..]).unwrap();
        let mut merged = Merged::default();
        merged.add(both.clone(), &keys, &rows);
        merged.add(second, &keys[1..], &rows[4..]);
        merged.replace(&folder, &identity).unwrap();
        let left = folder.files().unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
        assert_eq!(left, [both]);
    }
}
