//! Owns the files of a run directory as bytes: `checksums.json` has the hash of every one, and who reads one
//! gets bytes whose hash was checked.
//!
//! Refuses bytes that are not those that training wrote, and to know what they mean. Runs of format 4 have no
//! list: of them what the recipe has the hash of is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::{Fields, Fingerprint};

/// The list of hashes.
pub const CHECKSUMS: &str = "checksums.json";
/// The version of the list.
const FORMAT: u32 = 1;
/// What a user can do about a file that is not what it was.
const AGAIN: &str = "train the run again (--overwrite)";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checksums {
    format: u32,
    /// Per name the hash of the file.
    files: BTreeMap<String, Fingerprint>,
    /// Of these names and hashes: whether it is the list that is damaged, or a file.
    list: Fingerprint,
}

impl Checksums {
    fn new(files: BTreeMap<String, Fingerprint>) -> Self {
        let fields = Fields::new("frosthead run files 1");
        let list = files.iter().fold(fields, |fields, (name, hash)| fields.field(name, hash.0)).finish();
        Self { format: FORMAT, files, list }
    }
}

/// The files of a run.
#[derive(Debug)]
pub struct RunFiles {
    directory: PathBuf,
    hashes: BTreeMap<String, Fingerprint>,
    /// Whether all files of the run are in the list.
    complete: bool,
}

impl RunFiles {
    /// Reads the list of a run, if it has one.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(CHECKSUMS);
        let (hashes, complete) = match files::read(&path)? {
            Some(bytes) => (read_list(&bytes).map_err(|error| error.at(&path).help(AGAIN))?, true),
            None => (BTreeMap::new(), false),
        };
        Ok(Self { directory: directory.to_path_buf(), hashes, complete })
    }

    /// Takes over what the recipe of a run without a list knows.
    ///
    /// # Errors
    /// A run of this format must have one.
    pub(super) fn settle(&mut self, needed: bool, known: &[(&str, Fingerprint)]) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        if needed {
            return Err(Error::new(Kind::Run, "the list of the run's files and their hashes is missing")
                .at(self.directory.join(CHECKSUMS))
                .help(AGAIN));
        }
        self.hashes = known.iter().map(|(name, hash)| ((*name).to_owned(), *hash)).collect();
        Ok(())
    }

    /// The bytes of a file, as they were when the run was written.
    ///
    /// # Errors
    /// It is missing, cannot be read, or was changed.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(|source| Error::io("read", &path, source).help(AGAIN))?;
        self.check(name, &bytes)?;
        Ok(bytes)
    }

    /// The same of a file that not every run has.
    ///
    /// # Errors
    /// As [`Self::read`]; it is missing although the run had one.
    pub fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let there = self.directory.join(name).exists() || self.hashes.contains_key(name);
        there.then(|| self.read(name)).transpose()
    }

    /// Checks what was read of a file.
    ///
    /// # Errors
    /// It was changed, or was not there when the run was written.
    pub(super) fn check(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let found = Fingerprint::of_bytes(bytes);
        let wrong = match self.hashes.get(name) {
            Some(expected) if found == *expected => return Ok(()),
            None if !self.complete => return Ok(()),
            Some(expected) => Error::new(Kind::Run, "the run was changed after it was trained")
                .found(format!("hash {}", found.told_from(expected)))
                .expected(expected.told_from(&found)),
            None => Error::new(Kind::Run, "the file is not one of those that training wrote"),
        };
        Err(wrong.at(self.directory.join(name)).help(AGAIN))
    }

    /// Checks all files of the run.
    ///
    /// # Errors
    /// One is missing or was changed.
    pub fn check_all(&self) -> Result<()> {
        self.hashes.keys().try_for_each(|name| self.read(name).map(drop))
    }
}

fn read_list(bytes: &[u8]) -> Result<BTreeMap<String, Fingerprint>> {
    let what = "the list of the run's files and their hashes is damaged";
    let read: Checksums = document::versioned_json(bytes, &(FORMAT..=FORMAT), Kind::Run, what)?;
    let right = Checksums::new(read.files);
    if read.list == right.list {
        return Ok(right.files);
    }
    Err(Error::new(Kind::Run, what)
        .found(format!("hash {}", right.list.told_from(&read.list)))
        .expected(read.list.told_from(&right.list)))
}

/// The files of a run that is being written.
#[derive(Debug)]
pub struct NewFiles<'d> {
    directory: &'d Path,
    hashes: BTreeMap<String, Fingerprint>,
}

impl<'d> NewFiles<'d> {
    /// Those of a run that is written into a directory.
    #[must_use]
    pub fn new(directory: &'d Path) -> Self {
        Self { directory, hashes: BTreeMap::new() }
    }

    /// Writes a file and returns its hash.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Fingerprint> {
        self.write(name, bytes)?;
        let hash = Fingerprint::of_bytes(bytes);
        self.hashes.insert(name.to_owned(), hash);
        Ok(hash)
    }

    /// Writes the list of the files that were put there so far: they can be opened as a run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn seal(&self) -> Result<()> {
        self.write(CHECKSUMS, document::pretty(&Checksums::new(self.hashes.clone())).as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, bytes).map_err(|source| Error::io("write", path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path) {
        let mut files = NewFiles::new(directory);
        files.put("a", b"one").unwrap();
        files.put("b", b"two").unwrap();
        files.seal().unwrap();
    }

    #[test]
    fn every_flipped_byte_of_a_file_and_of_the_list_is_noticed_and_the_right_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let open = || RunFiles::open(directory.path());
        open().unwrap().check_all().unwrap();
        for name in ["a", "b", CHECKSUMS] {
            let path = directory.path().join(name);
            let good = std::fs::read(&path).unwrap();
            for place in 0..good.len() {
                let mut bytes = good.clone();
                bytes[place] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let Err(error) = open().and_then(|files| files.check_all()) else {
                    panic!("{name}: byte {place} was not noticed: {}", String::from_utf8_lossy(&bytes));
                };
                assert!(error.to_string().contains(path.to_str().unwrap()), "{place}: {error}");
                assert!(error.remedy().unwrap().contains("train the run again"));
            }
            std::fs::write(&path, good).unwrap();
        }
    }

    #[test]
    fn files_that_are_gone_or_new_are_told() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let files = RunFiles::open(directory.path()).unwrap();
        assert_eq!(files.find("c").unwrap(), None);
        std::fs::write(directory.path().join("c"), "three").unwrap();
        assert!(files.find("c").unwrap_err().to_string().contains("not one of those"));
        std::fs::remove_file(directory.path().join("b")).unwrap();
        assert!(files.find("b").is_err() && files.read("b").is_err() && files.check_all().is_err());
    }

    #[test]
    fn a_run_without_a_list_is_read_as_far_as_its_recipe_knows_it() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        std::fs::remove_file(directory.path().join(CHECKSUMS)).unwrap();
        let mut files = RunFiles::open(directory.path()).unwrap();
        assert!(files.settle(true, &[]).unwrap_err().to_string().contains(CHECKSUMS));
        files.settle(false, &[("a", Fingerprint::of_bytes(b"another"))]).unwrap();
        assert!(files.read("a").unwrap_err().to_string().contains("was changed"));
        assert_eq!(files.read("b").unwrap(), b"two");
    }
}
