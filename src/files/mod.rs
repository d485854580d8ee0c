//! Owns files and directories that appear whole or not at all: a temporary name in the same folder, a sync, a
//! rename, a sync of the folder. Their permissions are what the user's umask leaves of 0o666 and 0o777.
//!
//! What a killed process of ours has left behind in a folder goes away with the next output there. Whoever
//! writes holds a lock (`flock`) on what bears a temporary name, so what is not locked is nobody's any more.
//! Refuses to remove what does not bear one of our names, or belongs to another user.

pub mod fault;
mod pieces;

use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile, TempDir};

use crate::error::{Error, Kind, Result};

pub use pieces::{FileRange, in_pieces, start_of};

/// A temporary name: this, random letters and digits, and [`SUFFIX`].
const PREFIX: &str = ".frosthead-";
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 12;
/// What stands between the name of a directory that made way and random letters and digits.
const REPLACED: &str = ".replaced-";
const REPLACED_RANDOM: usize = 6;

/// A file that is being written. It has its name once it is [finished](Self::finish); dropped before, it is
/// gone.
#[derive(Debug)]
pub struct Unfinished {
    file: NamedTempFile,
    target: PathBuf,
}

impl Unfinished {
    /// Begins the file that will lie at `target`.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn new(target: &Path) -> Result<Self> {
        fault::point("file-before-write");
        let folder = parent(target)?;
        remove_left_behind(folder);
        loop {
            let permissions = Permissions::from_mode(0o666);
            let file = names().permissions(permissions).tempfile_in(folder);
            let file = file.map_err(|source| Error::io("write", target, source))?;
            if holds(file.as_file(), file.path()) {
                return Ok(Self { file, target: target.to_path_buf() });
            }
        }
    }

    /// Gives the file its name; after a success it survives a power cut.
    ///
    /// # Errors
    /// The disk is full, or the directory cannot be written.
    pub fn finish(self) -> Result<()> {
        let Self { file, target } = self;
        let failed = |source| Error::io("write", &target, source);
        file.as_file().sync_all().map_err(failed)?;
        fault::point("file-before-rename");
        file.persist(&target).map_err(|error| failed(error.error))?;
        fault::point("file-after-rename");
        sync_names(parent(&target)?).map_err(failed)
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The bytes of a file, if it is there.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

/// Writes a file so that `path` is either what it was or these bytes.
///
/// # Errors
/// The directory does not exist or cannot be written, or the disk is full; then nothing is left behind.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Unfinished::new(path)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let written = file.write_all(first).and_then(|()| {
        fault::point("file-half-written");
        file.write_all(second)
    });
    written.map_err(|source| Error::io("write", path, source))?;
    file.finish()
}

/// The same for who makes the bytes one after the other.
///
/// # Errors
/// As [`write`], and what `fill` says.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut writer = BufWriter::new(Unfinished::new(path)?);
    fill(&mut writer)?;
    writer.into_inner().map_err(|error| Error::io("write", path, error.into_error()))?.finish()
}

/// The same for who needs to go back in the file, or to read it under its temporary name (the second
/// argument).
///
/// # Errors
/// As [`write_atomically`], with `build`.
pub fn replace_file(path: &Path, build: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
    let mut unfinished = Unfinished::new(path)?;
    let name = unfinished.file.path().to_path_buf();
    build(unfinished.file.as_file_mut(), &name)?;
    unfinished.finish()
}

/// Makes or replaces a directory so that `target` is either what it was or completely new. `build` fills a
/// new directory beside it.
///
/// # Errors
/// The target exists and `overwrite` is not given, the place cannot be written, or `build` fails; then
/// nothing is left behind and the old directory stays.
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
    let target = std::path::absolute(target).map_err(failed)?;
    let beside = target.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(beside).map_err(failed)?;
    remove_replaced(&target, beside);
    let new = Scratch::new(beside, 0o777).map_err(failed)?;
    build(new.path())?;
    sync_all(new.path()).map_err(failed)?;
    fault::point("directory-before-rename");
    let there = std::fs::symlink_metadata(&target).is_ok();
    if there { exchange(new.path(), &target) } else { std::fs::rename(new.path(), &target) }
        .map_err(failed)?;
    fault::point("directory-after-rename");
    // The temporary name leads to the old one now, or nowhere: what lies there goes away with `new`.
    sync_names(beside).map_err(failed)
}

/// A folder under a temporary name, removed with everything in it when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Locked as long as the folder is in use.
    _folder: File,
}

impl Scratch {
    /// Makes one in `folder`; `mode` says who may enter it, as far as the user's umask lets them.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(folder: &Path, mode: u32) -> std::io::Result<Self> {
        remove_left_behind(folder);
        loop {
            let path = names().permissions(Permissions::from_mode(mode)).tempdir_in(folder)?.keep();
            match File::open(&path) {
                Ok(file) if holds(&file, &path) => return Ok(Self { path, _folder: file }),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Whether this is a name that files and directories of ours have while they are being made.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Whether `path` still names the open file.
#[must_use]
pub fn is_same(file: &File, path: &Path) -> bool {
    let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(named)) => inode(held) == inode(named),
        _ => false,
    }
}

/// Removes what killed processes of ours have left in a folder; what cannot be removed stays there.
pub fn remove_left_behind(folder: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let path = entry.path();
        // Of the entry itself, not of what a link leads to.
        let ours = entry
            .metadata()
            .is_ok_and(|metadata| metadata.uid() == user && (metadata.is_file() || metadata.is_dir()));
        if !ours {
            continue;
        }
        // The lock is held until the name is gone: whoever made it just now does not get it.
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
            && is_same(&file, &path)
        {
            remove(&path);
        }
    }
}

/// Temporary names.
fn names() -> Builder<'static, 'static> {
    let mut names = Builder::new();
    names.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    names
}

/// Locks what was just made under a temporary name; false when somebody took it for left behind before that.
fn holds(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => is_same(file, path),
        Err(TryLockError::WouldBlock) => false,
        // On a file system without locks nobody gets one, so nothing is ever taken for left behind.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Removes a file or a directory of ours. Should it stay, it does no harm.
fn remove(path: &Path) {
    let _leftover = std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path));
}

/// Gives each the name of the other.
fn exchange(new: &Path, old: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => move_aside(new, old),
        done => Ok(done?),
    }
}

/// The same on file systems that cannot exchange: the old one moves away first. Who is killed in between
/// finds it under a name that says what it is, and that nobody clears away until there is a new one.
fn move_aside(new: &Path, old: &Path) -> std::io::Result<()> {
    let name = old.file_name().unwrap_or_default().to_string_lossy();
    let beside = old.parent().unwrap_or(Path::new("/"));
    let aside = TempDir::with_prefix_in(format!("{name}{REPLACED}"), beside)?;
    let folder = File::open(aside.path())?;
    let _held = folder.try_lock();
    let moved = aside.path().join(&*name);
    std::fs::rename(old, &moved)?;
    std::fs::rename(new, old).inspect_err(|_| {
        // The best that can be done: put the old one back, or let it lie.
        if std::fs::rename(&moved, old).is_err() {
            let _kept = aside.keep();
        }
    })
}

/// Removes what [`move_aside`] of a killed process has left, when what was to replace it is there.
fn remove_replaced(target: &Path, beside: &Path) {
    let name = target.file_name().unwrap_or_default();
    let start = format!("{}{REPLACED}", name.to_string_lossy());
    if target.symlink_metadata().is_err() {
        return;
    }
    for entry in std::fs::read_dir(beside).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(&start)).is_some_and(|random| {
                random.len() == REPLACED_RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
        // Nothing but what was replaced lies in it.
        let inside: Vec<_> = std::fs::read_dir(&path).into_iter().flatten().flatten().collect();
        if ours
            && inside.iter().all(|inside| inside.file_name() == name)
            && let Ok(folder) = File::open(&path)
            && folder.try_lock().is_ok()
        {
            remove(&path);
        }
    }
}

/// Makes everything in a directory durable.
fn sync_all(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_names(directory)
}

/// Makes the names in a directory durable, if it can be opened and its file system knows how.
///
/// # Errors
/// The disk fails.
pub fn sync_names(directory: &Path) -> std::io::Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// The directory a file lies in.
fn parent(path: &Path) -> Result<&Path> {
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

    fn names_in(directory: &Path) -> Vec<String> {
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
        write(&path, b"one").unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half").unwrap();
            Err(broken())
        });
        assert!(failed.is_err());
        assert!(replace_file(&path, |_, _| Err(broken())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names_in(directory.path()), ["a.txt"]);
        write_atomically(&path, |out| {
            out.write_all(b"two").map_err(|source| Error::io("write", "x", source))
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        replace_file(&path, |file, name| {
            file.write_all(b"three").unwrap();
            assert_eq!(std::fs::read(name).unwrap(), b"three");
            Ok(())
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(names_in(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_directory_that_made_way_stays_until_there_is_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("run");
        replace_directory(&target, false, put("one")).unwrap();
        let new = folder.path().join("new");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("two"), "two").unwrap();
        move_aside(&new, &target).unwrap();
        assert_eq!(
            (names_in(folder.path()), names_in(&target)),
            (vec!["run".to_owned()], vec!["two".into()])
        );
        // As one that was killed in between leaves it, and what others call so.
        for name in ["run.replaced-aB3dE6/run", "run.replaced-notes1/mine", "run.replaced-x/run"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        std::fs::rename(&target, folder.path().join("away")).unwrap();
        replace_directory(&target, true, put("three")).unwrap();
        assert!(folder.path().join("run.replaced-aB3dE6/run").exists(), "it was the only one");
        replace_directory(&target, true, put("four")).unwrap();
        let left = ["away", "run", "run.replaced-notes1", "run.replaced-x"];
        assert_eq!(names_in(folder.path()), left);
    }

    #[test]
    fn a_file_that_was_removed_and_made_anew_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = File::create(&path).unwrap();
        assert!(is_same(&held, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_same(&held, &path));
        File::create(&path).unwrap();
        assert!(!is_same(&held, &path));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write_atomically(Path::new("no/such/place/a.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no/such/place"), "{error}");
    }

    fn put(name: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |directory| {
            std::fs::write(directory.join(name), name).map_err(|source| Error::io("write", directory, source))
        }
    }

    #[test]
    fn a_directory_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("deep/run");
        replace_directory(&target, false, put("one")).unwrap();
        assert_eq!(replace_directory(&target, false, put("two")).unwrap_err().kind(), Kind::Exists);
        assert!(replace_directory(&target, true, |_| Err(broken())).is_err());
        assert_eq!(names_in(&target), ["one"]);
        replace_directory(&target, true, put("two")).unwrap();
        assert_eq!(names_in(&target), ["two"]);
        assert_eq!(names_in(target.parent().unwrap()), ["run"], "a temporary directory was left");
        // A file, or a link, makes way too; what a link leads to stays.
        let linked = directory.path().join("deep/linked");
        std::os::unix::fs::symlink(&target, &linked).unwrap();
        replace_directory(&linked, true, put("three")).unwrap();
        assert_eq!((names_in(&linked), names_in(&target)), (vec!["three".into()], vec!["two".into()]));
        let file = directory.path().join("deep/file");
        std::fs::write(&file, "").unwrap();
        replace_directory(&file, true, put("four")).unwrap();
        assert_eq!(names_in(&file), ["four"]);
        assert_eq!(names_in(target.parent().unwrap()), ["file", "linked", "run"]);
    }

    #[test]
    fn without_exchanging_the_old_one_moves_away_and_comes_back_if_need_be() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        for (path, name) in [(&old, "one"), (&new, "two")] {
            std::fs::create_dir(path).unwrap();
            put(name)(path).unwrap();
        }
        move_aside(&new, &old).unwrap();
        assert_eq!((names_in(&old), names_in(directory.path())), (vec!["two".into()], vec!["old".into()]));
        assert!(move_aside(&new, &old).is_err(), "there is no new one any more");
        assert_eq!((names_in(&old), names_in(directory.path())), (vec!["two".into()], vec!["old".into()]));
    }

    #[test]
    fn only_what_nobody_holds_and_what_is_ours_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let [left, left_folder] =
            ["abcdefghij01", "ABCDEFGHIJ01"].map(|name| format!("{PREFIX}{name}{SUFFIX}"));
        std::fs::write(folder.join(&left), "half").unwrap();
        std::fs::create_dir(folder.join(&left_folder)).unwrap();
        std::fs::write(folder.join(&left_folder).join("a"), "half").unwrap();
        let linked = format!("{PREFIX}linklinklink{SUFFIX}");
        std::fs::write(folder.join("mine"), "mine").unwrap();
        std::os::unix::fs::symlink(folder.join("mine"), folder.join(&linked)).unwrap();
        let strangers = [
            ".frosthead-notes.tmp",
            ".frosthead-abcdefghij01",
            "abcdefghij01.tmp",
            ".frosthead-abc.defghij.tmp",
        ];
        strangers.iter().for_each(|name| std::fs::write(folder.join(name), "mine").unwrap());
        let running = Unfinished::new(&folder.join("running")).unwrap();
        let scratch = Scratch::new(folder, 0o700).unwrap();
        assert!(!folder.join(&left).exists() && !folder.join(&left_folder).exists());
        write(&folder.join("out"), b"whole").unwrap();
        let mut expected: Vec<String> = strangers.iter().map(|name| (*name).to_owned()).collect();
        expected.extend(["mine", "out"].map(str::to_owned));
        expected.push(linked);
        let ours = [running.file.path(), scratch.path()];
        expected.extend(ours.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()));
        expected.sort();
        assert_eq!(names_in(folder), expected);
        running.finish().unwrap();
        drop(scratch);
        assert_eq!(names_in(folder).len(), expected.len() - 1);
    }

    #[test]
    fn many_at_once_take_nothing_from_one_another() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..50 {
                        let name = format!("{thread}-{number}");
                        write(&folder.join(&name), name.as_bytes()).unwrap();
                        replace_directory(&folder.join(format!("{thread}")), true, put("in")).unwrap();
                    }
                });
            }
        });
        let names = names_in(folder);
        assert_eq!(names.len(), 204, "{names:?}");
        for name in names.iter().filter(|name| name.contains('-')) {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), *name);
        }
    }
}
