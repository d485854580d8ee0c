//! Owns where the store lies by default and whether the disk has room for it.
//!
//! Refuses to create anything: it only looks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::part;
use crate::error::{Error, Kind, Result};

/// What a file can cost beyond its bytes: the unused end of its last block, on common file systems.
const BLOCK_BYTES: u64 = 4096;
/// The key file, the lock and the directories.
const FOLDER_BYTES: u64 = 16 * BLOCK_BYTES;

/// The folder of the cache: `flag` (`--cache DIR`), else `$FROSTHEAD_CACHE`, else
/// `$XDG_CACHE_HOME/frosthead`, else `$HOME/.cache/frosthead`.
///
/// # Errors
/// None of them is set.
pub fn default_root(flag: Option<&Path>) -> Result<PathBuf> {
    root_from(flag, user_folder("FROSTHEAD_CACHE", "XDG_CACHE_HOME", ".cache"))
}

fn root_from(flag: Option<&Path>, of_user: Option<PathBuf>) -> Result<PathBuf> {
    let flag = flag.map(Path::to_path_buf).filter(|path| !path.as_os_str().is_empty());
    flag.or(of_user).ok_or_else(|| {
        Error::new(Kind::Usage, "no place for the cache is known")
            .found("neither --cache nor FROSTHEAD_CACHE, XDG_CACHE_HOME or HOME")
            .help("give a directory with --cache DIR")
    })
}

/// A folder of the user's: that of the variable `chosen`, else `frosthead` in that of the variable `base`,
/// else in `$HOME/below`; none if none of them is set.
#[must_use]
pub fn user_folder(chosen: &str, base: &str, below: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name);
    folder_from(variable(chosen), variable(base), variable("HOME"), below)
}

/// [`user_folder`] of values that were looked up; an empty value counts as not set, and a relative `base` is
/// ignored (XDG Base Directory Specification 0.8).
fn folder_from(
    chosen: Option<OsString>,
    base: Option<OsString>,
    home: Option<OsString>,
    below: &str,
) -> Option<PathBuf> {
    let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set(base).filter(|path| path.is_absolute());
    let home = set(home).map(|path| path.join(below));
    set(chosen).or_else(|| base.or(home).map(|path| path.join("frosthead")))
}

/// The bytes that `rows` new rows of `width` f32 will take on the disk, block rounding included.
#[must_use]
pub fn space_needed(rows: u64, width: usize) -> u64 {
    if rows == 0 {
        return 0;
    }
    let per_part = part::rows_per_part(width) as u64;
    let per_row = part::row_bytes(width) + part::KEY_BYTES as u64;
    let overhead = rows.div_ceil(per_part).saturating_mul(part::OVERHEAD_BYTES as u64 + BLOCK_BYTES);
    rows.saturating_mul(per_row).saturating_add(overhead).saturating_add(FOLDER_BYTES)
}

/// The bytes an ordinary user can still write at `path`, or, where it is not there yet, at its nearest
/// existing ancestor.
///
/// # Errors
/// The file system cannot be asked.
pub fn free_space(path: &Path) -> Result<u64> {
    let absolute = std::path::absolute(path).map_err(|source| Error::io("find", path, source))?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let system = rustix::fs::statvfs(existing)
        .map_err(|source| Error::io("ask for the free space of", existing, source.into()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(cache: &str, xdg: &str, home: &str) -> Option<PathBuf> {
        let some = |text: &str| (text != "-").then(|| OsString::from(text));
        folder_from(some(cache), some(xdg), some(home), ".cache")
    }

    #[test]
    fn the_first_place_that_is_set_wins() {
        let root = |flag: &str| root_from(Some(Path::new(flag)), Some("c".into())).unwrap();
        assert_eq!(root("f"), Path::new("f"));
        assert_eq!(root(""), Path::new("c"));
        assert_eq!(folder("c", "/x", "/h").unwrap(), Path::new("c"));
        assert_eq!(folder("-", "/x", "/h").unwrap(), Path::new("/x/frosthead"));
        assert_eq!(folder("-", "-", "/h").unwrap(), Path::new("/h/.cache/frosthead"));
    }

    #[test]
    fn empty_and_relative_xdg_values_count_as_not_set() {
        assert_eq!(folder("", "", "/h").unwrap(), Path::new("/h/.cache/frosthead"));
        assert_eq!(folder("-", "relative", "/h").unwrap(), Path::new("/h/.cache/frosthead"));
        assert_eq!(folder("", "relative", ""), None);
    }

    #[test]
    fn no_place_at_all_is_an_error_with_a_remedy() {
        let error = root_from(None, folder("", "", "")).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.remedy().unwrap().contains("--cache"));
    }

    #[test]
    fn free_space_looks_at_the_nearest_existing_ancestor() {
        let folder = tempfile::tempdir().unwrap();
        let here = free_space(folder.path()).unwrap();
        let below = free_space(&folder.path().join("a/b")).unwrap();
        // Other processes write at the same time, so only the order of magnitude is certain.
        assert!(here > 0 && below > here / 2 && below < here.saturating_mul(2));
    }
}
