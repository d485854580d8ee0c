//! Owns files that are held open while what is in them is used, mapped or read: whether they are still what
//! they were hashed to be.
//!
//! Refuses what was computed while one of them was written to. Another file that takes a name (`mv`) is none
//! of its business: what is held open stays as it is.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Kind, Result};
use crate::files::FileRange;
use crate::fingerprint::Fingerprint;

/// What a file's metadata say about its content. Whoever writes to a file changes it, even if he puts the
/// file's times back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// When anything of the file changed, its name and its rights included.
    changed: (i64, i64),
}

impl Identity {
    /// Of an open file.
    ///
    /// # Errors
    /// The system does not say.
    pub fn of(file: &File) -> std::io::Result<Self> {
        file.metadata().map(|metadata| Self::new(&metadata))
    }

    /// Of the file that a path leads to.
    ///
    /// # Errors
    /// There is none.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::new(&metadata))
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it was written to, in seconds since 1970.
    #[must_use]
    pub fn modified(&self) -> i64 {
        self.modified.0
    }

    /// The same but for [`Self::changed`]: perhaps it only has another name, or other rights.
    fn is_as_long_and_old_as(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

/// What happened to files since they were last looked at, that are what they were hashed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    Nothing,
    /// One got another name, or other rights.
    Renamed,
    /// Somebody wrote to one what is in it, or only touched it. What was read of it meanwhile may be half
    /// written.
    Rewritten,
}

/// Files that are held open.
#[derive(Debug, Default)]
pub struct Held(Vec<One>);

#[derive(Debug)]
struct One {
    file: File,
    /// Where it was found.
    path: PathBuf,
    /// The bytes that are used in place, and their hash.
    used: (Range<u64>, Fingerprint),
    /// The hash of all others; none if the file changed while it was taken.
    rest: Option<Fingerprint>,
    /// As it was when it was last known to be right.
    known: Mutex<Identity>,
}

impl Held {
    /// Holds a file of which these bytes are used, which have that hash; it was `known` so before they were
    /// hashed.
    pub fn hold(&mut self, file: File, path: PathBuf, used: (Range<u64>, Fingerprint), known: Identity) {
        let rest = hash_outside(&file, &used.0, known.bytes).ok();
        let rest = rest.filter(|_| Identity::of(&file).is_ok_and(|now| now == known));
        self.0.push(One { file, path, used, rest, known: Mutex::new(known) });
    }

    /// Opens a whole file, hashes it and holds it: the hash.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&mut self, path: PathBuf) -> Result<Fingerprint> {
        let failed = |source| Error::io("read", &path, source);
        let file = File::open(&path).map_err(failed)?;
        let known = Identity::of(&file).map_err(failed)?;
        let hash = hash_range(&file, 0..known.bytes).map_err(failed)?;
        self.hold(file, path, (0..known.bytes, hash), known);
        Ok(hash)
    }

    /// Refuses what was made of the files just now, if one of them is not what it was; if one is, but was
    /// [rewritten](Since::Rewritten), it must be made again. Costs a question to the system for each; a file
    /// of which anything changed is hashed again.
    ///
    /// # Errors
    /// One was written to.
    pub fn check(&self) -> Result<Since> {
        self.0.iter().try_fold(Since::Nothing, |so_far, held| Ok(so_far.max(held.check()?)))
    }

    /// Refuses a path that leads to another file than the one that is held: something opened it by name.
    ///
    /// # Errors
    /// It does.
    pub fn check_places(&self) -> Result<()> {
        for One { path, file, .. } in &self.0 {
            let failed = |source| Error::io("read", path, source);
            if Identity::of(file).map_err(failed)?.file != Identity::at(path).map_err(failed)?.file {
                return Err(Error::new(Kind::Model, "the file was replaced while it was being opened")
                    .at(path)
                    .help("run the command again"));
            }
        }
        match self.check()? {
            Since::Nothing | Since::Renamed => Ok(()),
            Since::Rewritten => {
                Err(Error::new(Kind::Model, "a file was written to while it was being opened")
                    .at(self.0.first().map_or(Path::new(""), |held| &held.path))
                    .help("run the command again"))
            }
        }
    }
}

impl One {
    fn check(&self) -> Result<Since> {
        let Self { file, path, used: (range, hash), rest, known } = self;
        let failed = |source| Error::io("read", path, source);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Identity::of(file).map_err(failed)?;
        if now == *known {
            return Ok(Since::Nothing);
        }
        let renamed = now.is_as_long_and_old_as(&known);
        let same_rest = || rest.is_some() && hash_outside(file, range, now.bytes).ok() == *rest;
        let same = now.bytes == known.bytes
            && hash_range(file, range.clone()).is_ok_and(|found| found == *hash)
            && (renamed || same_rest())
            && Identity::of(file).map_err(failed)? == now;
        if same {
            *known = now;
            return Ok(if renamed { Since::Renamed } else { Since::Rewritten });
        }
        let error = Error::new(Kind::Model, "the file was written to while it was in use").at(path).help(
            "run the command again; move a new file over one that is in use (mv) instead of writing into it",
        );
        if now.bytes == known.bytes {
            return Err(error);
        }
        Err(error.found(format!("{} bytes", now.bytes)).expected(known.bytes.to_string()))
    }
}

/// The hash of all bytes of a file but these.
fn hash_outside(file: &File, range: &Range<u64>, length: u64) -> std::io::Result<Fingerprint> {
    let parts = [hash_range(file, 0..range.start)?, hash_range(file, range.end..length)?];
    Ok(Fingerprint::of_bytes(&parts.map(|hash| hash.0).concat()))
}

/// The hash of some bytes of a file: read rather than mapped, because pages that were looked at count as this
/// process's memory.
///
/// # Errors
/// They cannot be read.
pub fn hash_range(file: &File, range: Range<u64>) -> std::io::Result<Fingerprint> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(FileRange::new(file, range))?;
    Ok(Fingerprint(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A held file of 9 bytes that was last written to an hour ago.
    fn held(folder: &Path) -> (Held, PathBuf) {
        let path = folder.join("weights");
        std::fs::write(&path, "123456789").unwrap();
        set_back(&path);
        let mut held = Held::default();
        assert_eq!(held.open(path.clone()).unwrap(), Fingerprint::of_bytes(b"123456789"));
        (held, path)
    }

    /// Puts the file's time of writing to a whole hour, as `cp -p` and `rsync` put it back.
    fn set_back(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }

    #[track_caller]
    fn refused(held: &Held, path: &Path) {
        let error = held.check().unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.remedy().unwrap().contains("mv"), "{error}");
    }

    #[test]
    fn a_file_that_is_written_to_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &Path, bytes: &str, options: &mut std::fs::OpenOptions| {
            options.write(true).open(path).unwrap().write_all(bytes.as_bytes()).unwrap();
        };
        let (held_, path) = held(folder.path());
        assert_eq!(held_.check().unwrap(), Since::Nothing);
        write(&path, "0", &mut File::options());
        refused(&held_, &path);
        // Of the same length, and with the time put back.
        let (held_, path) = held(folder.path());
        write(&path, "987654321", File::options().truncate(true));
        set_back(&path);
        refused(&held_, &path);
        let (held_, path) = held(folder.path());
        write(&path, "", File::options().truncate(true));
        set_back(&path);
        refused(&held_, &path);
    }

    #[test]
    fn what_is_the_same_again_is_to_be_read_again_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let (held_, path) = held(folder.path());
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now()).unwrap();
        assert_eq!(held_.check().unwrap(), Since::Rewritten);
        assert_eq!(held_.check().unwrap(), Since::Nothing);
        held_.check_places().unwrap();
        std::fs::write(&path, "123456789").unwrap();
        // What was opened meanwhile may have seen the file half written.
        assert!(held_.check_places().unwrap_err().remedy().unwrap().contains("again"));
        held_.check_places().unwrap();
        std::fs::write(&path, "12345678x").unwrap();
        refused(&held_, &path);
    }

    #[test]
    fn bytes_beside_those_that_are_used_count_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, "123456789").unwrap();
        set_back(&path);
        let file = File::open(&path).unwrap();
        let (mut held, known) = (Held::default(), Identity::of(&file).unwrap());
        held.hold(file, path.clone(), (2..5, Fingerprint::of_bytes(b"345")), known);
        std::fs::write(&path, "123456789").unwrap();
        assert_eq!(held.check().unwrap(), Since::Rewritten);
        std::fs::write(&path, "12345678x").unwrap();
        refused(&held, &path);
    }

    #[test]
    fn another_name_other_rights_and_another_file_in_its_place_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let (held_, path) = held(folder.path());
        let mut rights = std::fs::metadata(&path).unwrap().permissions();
        rights.set_readonly(true);
        std::fs::set_permissions(&path, rights).unwrap();
        held_.check().unwrap();
        held_.check_places().unwrap();
        std::fs::rename(&path, folder.path().join("other")).unwrap();
        held_.check().unwrap();
        assert!(held_.check_places().is_err(), "nothing is there");
        std::fs::write(&path, "another").unwrap();
        held_.check().unwrap();
        let error = held_.check_places().unwrap_err().to_string();
        assert!(error.contains("replaced"), "{error}");
        std::fs::remove_file(folder.path().join("other")).unwrap();
        held_.check().unwrap();
    }
}
