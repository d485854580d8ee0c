//! Owns what is done to a key's folder while nobody else has it open: clear leftovers, merge many small parts
//! into few.
//!
//! Refuses to merge what it has not verified, and to remove a part before the one that replaces it is
//! durable: killed in between, it leaves rows that are stored twice, which is harmless.

use std::collections::HashSet;
use std::path::PathBuf;

use super::folder::{self, KeyFolder, Parts, Text};
use crate::error::Result;
use crate::fingerprint::TextKey;

/// Merging starts when there are more small parts than this (many interrupted runs, or a very slow backbone).
pub(super) const MAX_SMALL_PARTS: usize = 64;
/// A part is not small if it has this many bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// A merged part is written when it has this many texts …
const MERGED_TEXTS: usize = 4096;
/// … or this many bytes: what merging costs in memory, twice.
const MERGED_BYTES: usize = 8 << 20;

/// Removes leftovers and merges small parts; the caller holds the exclusive lock.
///
/// # Errors
/// A file cannot be read, written or removed; nothing is lost.
pub(super) fn maintain(folder: &KeyFolder, parts: &impl Parts) -> Result<()> {
    folder.remove_temporary_files()?;
    let mut small = folder.files()?;
    small.retain(|file| file.bytes < SMALL_BYTES && parts.is_small(file));
    if small.len() <= MAX_SMALL_PARTS {
        return Ok(());
    }
    let mut merged = Merged::default();
    for file in small {
        // What is damaged is left for `open` to report.
        if let Ok(texts) = parts.load(&file.path) {
            merged.add(file.path, texts);
        }
        if merged.texts.len() >= MERGED_TEXTS || merged.bytes >= MERGED_BYTES {
            std::mem::take(&mut merged).replace(folder, parts)?;
        }
    }
    merged.replace(folder, parts)
}

#[derive(Default)]
struct Merged {
    sources: Vec<PathBuf>,
    seen: HashSet<TextKey>,
    texts: Vec<Text>,
    bytes: usize,
}

impl Merged {
    fn add(&mut self, source: PathBuf, texts: Vec<Text>) {
        self.sources.push(source);
        for (key, bytes) in texts {
            if self.seen.insert(key) {
                self.bytes += bytes.len();
                self.texts.push((key, bytes));
            }
        }
    }

    fn replace(self, folder: &KeyFolder, parts: &impl Parts) -> Result<()> {
        if self.sources.len() < 2 {
            return Ok(());
        }
        let path = folder.write(parts, &self.texts)?;
        // A source that held all of it already is the merged part: equal contents have equal names.
        self.sources.iter().filter(|source| **source != path).try_for_each(|source| folder::remove(source))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Identity;
    use super::*;
    use crate::fingerprint::Fingerprint;

    #[test]
    fn a_source_that_is_the_merged_part_already_stays() {
        let root = tempfile::tempdir().unwrap();
        let identity = Identity { fingerprint: Fingerprint([1; 32]), width: 1 };
        let folder = KeyFolder::new(root.path(), &identity.fingerprint);
        std::fs::create_dir_all(folder.parts()).unwrap();
        let texts =
            [("a", [1, 2, 3, 4]), ("b", [5, 6, 7, 8])].map(|(text, row)| (TextKey::of(text), row.to_vec()));
        let both = folder.write(&identity, &texts).unwrap();
        let second = folder.write(&identity, &texts[1..]).unwrap();
        let mut merged = Merged::default();
        merged.add(both.clone(), texts.to_vec());
        merged.add(second, texts[1..].to_vec());
        merged.replace(&folder, &identity).unwrap();
        let left = folder.files().unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
        assert_eq!(left, [both]);
    }
}
