//! Owns what is done to a key's folder while nobody else has it open: clear leftovers, merge many small parts
//! into few, keep one of the rows that are stored twice.
//!
//! Refuses to merge what it has not verified, and to remove a part before the ones that hold its rows are
//! durable: killed in between, it leaves rows that are stored twice, which is harmless.

use std::collections::HashSet;
use std::path::PathBuf;

use super::folder::{self, KeyFolder, Parts, Role, Text};
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

/// Writes anew all parts of a kind that are small or hold a row that another one holds; how many rows went.
/// Parts that are damaged stay for `open` to report. The caller holds the exclusive lock.
///
/// # Errors
/// A file cannot be read, written or removed; nothing is lost.
pub(super) fn keep_one(folder: &KeyFolder, role: Role, parts: &impl Parts) -> Result<u64> {
    let (mut held, mut sources) = (HashSet::new(), Vec::new());
    for file in folder.files()?.into_iter().filter(|file| file.role == role) {
        let Ok(texts) = parts.load(&file.path) else { continue };
        let small = file.bytes < SMALL_BYTES && parts.is_small(&file);
        if small || texts.iter().any(|(key, _)| held.contains(key)) {
            sources.push(file.path);
        } else {
            held.extend(texts.into_iter().map(|(key, _)| key));
        }
    }
    let (mut merged, mut written, mut doubled) = (Merged::default(), HashSet::new(), 0);
    // One small part alone is as good as it can be.
    let alone = sources.len() == 1;
    for source in sources {
        // A part that was just written has the same name as one that held just these rows.
        if written.contains(&source) {
            continue;
        }
        let Ok(texts) = parts.load(&source) else { continue };
        let all = texts.len();
        let new: Vec<Text> = texts.into_iter().filter(|(key, _)| held.insert(*key)).collect();
        if alone && new.len() == all {
            return Ok(0);
        }
        doubled += (all - new.len()) as u64;
        merged.add(source, new);
        if merged.is_full() {
            written.extend(std::mem::take(&mut merged).replace_all(folder, parts, &written)?);
        }
    }
    merged.replace_all(folder, parts, &written)?;
    Ok(doubled)
}

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
        if merged.is_full() {
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

    fn is_full(&self) -> bool {
        self.texts.len() >= MERGED_TEXTS || self.bytes >= MERGED_BYTES
    }

    fn replace(self, folder: &KeyFolder, parts: &impl Parts) -> Result<()> {
        if self.sources.len() < 2 {
            return Ok(());
        }
        self.replace_all(folder, parts, &HashSet::new()).map(drop)
    }

    /// Writes the texts, if there are any, and removes the parts they came from, but not what is `kept`; the
    /// part.
    fn replace_all(
        self,
        folder: &KeyFolder,
        parts: &impl Parts,
        kept: &HashSet<PathBuf>,
    ) -> Result<Option<PathBuf>> {
        let written = match self.texts.is_empty() {
            true => None,
            false => Some(folder.write(parts, &self.texts)?),
        };
        // A source that held all of it already is the merged part: equal contents have equal names.
        for source in self.sources.iter().filter(|source| Some(*source) != written.as_ref()) {
            if !kept.contains(source) {
                folder::remove(source)?;
            }
        }
        Ok(written)
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
