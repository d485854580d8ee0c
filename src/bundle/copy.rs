//! Owns private copies: a bundle that is served is mapped out of a file that nobody else can write to.
//!
//! A copy shares its blocks with the original where the file system can do that. Prefers folders on a disk:
//! what lies on one can leave memory, a copy in memory cannot. It has a name only until ONNX Runtime, which
//! opens files by name, has opened it; what a process that was killed right then has left behind goes away
//! with the next copy. Refuses a file that changes while it is copied.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::files::Scratch;
use crate::held::Identity;
use crate::quantities::MemorySize;

/// What the copy is called in its folder.
const NAME: &str = "bundle.frost";
/// statfs(2): file systems that are in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Where a private copy lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyNote {
    pub folder: PathBuf,
    pub bytes: u64,
    /// When the original was written to, in seconds since 1970.
    pub written: i64,
    /// It takes memory, not room on a disk.
    pub in_memory: bool,
    /// It shares its blocks with the original, so far as that stays as it is.
    pub shared: bool,
}

/// The folders that are tried for a copy: the one that was asked for, else those for temporary files, on
/// disks first.
#[must_use]
pub fn copy_places(chosen: Option<&Path>) -> Vec<PathBuf> {
    if let Some(chosen) = chosen {
        return vec![chosen.to_path_buf()];
    }
    let given = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let mut all: Vec<PathBuf> = given.into_iter().collect();
    all.extend(["/var/tmp", "/tmp", "/dev/shm"].map(PathBuf::from));
    all.sort_by_key(|folder| is_in_memory(folder));
    all
}

/// A copy that still has a name.
pub(super) struct PrivateCopy {
    /// Removed when it is dropped.
    _folder: Scratch,
    path: PathBuf,
    note: CopyNote,
}

impl PrivateCopy {
    /// Copies a file into the first of these folders that takes it.
    ///
    /// # Errors
    /// None does, or the file changed meanwhile.
    pub fn of(path: &Path, folders: &[PathBuf]) -> Result<Self> {
        let failed = |source| Error::io("read", path, source);
        let mut original = File::open(path).map_err(failed)?;
        let before = Identity::of(&original).map_err(failed)?;
        let mut refused = Vec::new();
        for folder in folders {
            original.rewind().map_err(failed)?;
            let copied = copied(&mut original, before, folder);
            if Identity::of(&original).map_err(failed)? != before {
                return Err(Error::new(Kind::Bundle, "the bundle changed while it was copied")
                    .at(path)
                    .help("let nothing write to it; or move a new one over it (mv)"));
            }
            match copied {
                Ok(copy) => return Ok(copy),
                Err(error) => refused.push((folder, error)),
            }
        }
        let told = refused.iter().map(|(folder, error)| format!("{}: {error}", folder.display()));
        Err(Error::new(Kind::Space, "there is no place for a private copy of the bundle")
            .at(path)
            .found(told.collect::<Vec<_>>().join("; "))
            .expected(format!("{} free in a folder that can be written to", MemorySize(before.bytes())))
            .help("say --copy-to with such a folder, on a disk"))
    }

    /// Its name, as long as it has one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the name away.
    pub fn into_note(self) -> CopyNote {
        self.note
    }
}

fn copied(original: &mut File, before: Identity, folder: &Path) -> std::io::Result<PrivateCopy> {
    let bytes = before.bytes();
    // The path that messages of ONNX Runtime and its own checks see must be the real one.
    let folder = folder.canonicalize()?;
    // Nobody else may enter it, whoever may read the bundle.
    let scratch = Scratch::new(&folder, 0o700)?;
    let path = scratch.path().join(NAME);
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    let shared = rustix::fs::ioctl_ficlone(&file, &*original).is_ok();
    if !shared {
        // Within the kernel, where it can.
        let copied = std::io::copy(&mut original.take(bytes), &mut file)?;
        if copied != bytes {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let (in_memory, written) = (is_in_memory(&folder), before.modified());
    let note = CopyNote { folder, bytes, written, in_memory, shared };
    Ok(PrivateCopy { _folder: scratch, path, note })
}

/// Whether a folder's files take memory; what cannot be asked is not.
fn is_in_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|file_system| {
        u64::try_from(file_system.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn original(folder: &Path) -> PathBuf {
        let path = folder.join("x.frost");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        path
    }

    #[test]
    fn a_copy_is_the_file_whatever_becomes_of_it_and_loses_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = original(folder.path());
        let copy = PrivateCopy::of(&path, &[folder.path().to_path_buf()]).unwrap();
        std::fs::write(&path, "other").unwrap();
        let held = File::open(copy.path()).unwrap();
        assert_eq!(std::fs::read(copy.path()).unwrap(), vec![7; 100_000]);
        let scratch = copy.path().parent().unwrap().to_path_buf();
        assert_eq!(std::fs::metadata(&scratch).unwrap().permissions().mode() & 0o777, 0o700);
        let note = copy.into_note();
        assert_eq!((note.bytes, note.folder.as_path()), (100_000, scratch.parent().unwrap()));
        assert!(!scratch.exists());
        assert_eq!(Identity::of(&held).unwrap().bytes(), 100_000, "it is there as long as it is open");
    }

    #[test]
    fn the_first_folder_that_takes_it_is_used_and_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = original(folder.path());
        let nowhere = folder.path().join("nowhere");
        let both = [nowhere.clone(), folder.path().to_path_buf()];
        assert_eq!(
            PrivateCopy::of(&path, &both).unwrap().into_note().folder,
            folder.path().canonicalize().unwrap()
        );
        let error = PrivateCopy::of(&path, std::slice::from_ref(&nowhere)).err().unwrap();
        assert!(error.to_string().contains(nowhere.to_str().unwrap()), "{error}");
        assert!(error.remedy().unwrap().contains("--copy-to"), "{error}");
    }

    #[test]
    fn folders_on_disks_come_first_and_the_one_that_was_asked_for_is_the_only_one() {
        assert_eq!(copy_places(Some(Path::new("/x"))), [Path::new("/x")]);
        let places = copy_places(None);
        assert!(places.is_sorted_by_key(|folder| is_in_memory(folder)), "{places:?}");
        assert!(places.len() >= 3);
    }
}
