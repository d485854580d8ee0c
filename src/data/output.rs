//! Owns results that appear whole or not at all: a temporary name in the same place, a sync, a rename.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Writes a file so that `path` is either what it was or completely new.
///
/// # Errors
/// The directory does not exist or cannot be written, or `write` fails; then nothing is left behind.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace_file(path, |file, _| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush().map_err(|source| Error::io("write", path, source))
    })
}

/// The same for who needs to go back in the file, or to read it under its temporary name (the second
/// argument).
///
/// # Errors
/// As [`write_atomically`], with `build`.
pub fn replace_file(path: &Path, build: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
    let failed = |source| Error::io("write", path, source);
    let mut temporary = tempfile::Builder::new()
        .prefix(".frosthead-")
        .permissions(readable())
        .tempfile_in(parent(path)?)
        .map_err(failed)?;
    let name = temporary.path().to_path_buf();
    build(temporary.as_file_mut(), &name)?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Files as everybody makes them: the user's umask decides.
#[cfg(unix)]
fn readable() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o666)
}

/// Makes or replaces a directory so that `target` is either what it was or completely new. `build` fills a
/// new directory beside it.
///
/// # Errors
/// The target exists and `overwrite` is not given, the place cannot be written, or `build` fails; then nothing is left
/// behind and the old directory stays.
pub fn replace_directory(
    target: &Path,
    overwrite: bool,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if target.exists() && !overwrite {
        return Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(target)
            .help("choose another --out, or say --overwrite"));
    }
    let failed = |source| Error::io("write", target, source);
    let absolute = std::path::absolute(target).map_err(failed)?;
    let beside = absolute.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(beside).map_err(failed)?;
    let mut options = tempfile::Builder::new();
    options.prefix(".frosthead-");
    let new = options.tempdir_in(beside).map_err(failed)?;
    build(new.path())?;
    sync_files(new.path()).map_err(failed)?;
    make_listable(new.path()).map_err(failed)?;
    // The old directory moves away first: a rename cannot replace one that is not empty.
    let old = if target.exists() {
        let old = options.tempdir_in(beside).map_err(failed)?;
        std::fs::rename(&absolute, old.path().join("old")).map_err(failed)?;
        Some(old)
    } else {
        None
    };
    let new = new.keep();
    if let Err(source) = std::fs::rename(&new, &absolute) {
        if let Some(old) = &old {
            // The best that can be done: put the old one back.
            let _ = std::fs::rename(old.path().join("old"), &absolute);
        }
        let _ = std::fs::remove_dir_all(&new);
        return Err(failed(source));
    }
    File::open(beside).and_then(|directory| directory.sync_all()).map_err(failed)
}

#[cfg(unix)]
fn make_listable(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // Temporary directories are private; a result is as public as the user's other files.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
}

fn sync_files(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            sync_files(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(directory)?.sync_all()
}

/// The directory a file lies in.
pub(super) fn parent(path: &Path) -> Result<&Path> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() {
        return Ok(parent);
    }
    Err(Error::new(Kind::Io, "the output's directory does not exist")
        .at(parent)
        .help("make it first, or correct the path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn broken() -> Error {
        Error::new(Kind::Io, "broken on purpose")
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        write_atomically(&path, |out| {
            out.write_all(b"one").map_err(|source| Error::io("write", "x", source))
        })
        .unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half").unwrap();
            Err(broken())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write_atomically(Path::new("no/such/place/a.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no/such/place"), "{error}");
    }

    #[test]
    fn a_directory_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("deep/run");
        let put = |name: &'static str| {
            move |directory: &Path| {
                std::fs::write(directory.join(name), name)
                    .map_err(|source| Error::io("write", directory, source))
            }
        };
        replace_directory(&target, false, put("one")).unwrap();
        assert_eq!(replace_directory(&target, false, put("two")).unwrap_err().kind(), Kind::Exists);
        assert!(replace_directory(&target, true, |_| Err(broken())).is_err());
        assert_eq!(names(&target), ["one"]);
        replace_directory(&target, true, put("two")).unwrap();
        assert_eq!(names(&target), ["two"]);
        assert_eq!(names(target.parent().unwrap()), ["run"], "a temporary directory was left");
    }
}
