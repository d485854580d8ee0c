//! Owns looking at the files of a model that somebody downloaded, before any of them is read: is it there,
//! and is it the file itself?
//!
//! Refuses what failed downloads leave in a file's place: a Git LFS pointer, a web page, nothing, a link that
//! leads nowhere.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::files::start_of;
use crate::recognize::FETCH;

/// Bytes that are looked at.
const START: usize = 256;

/// Checks a file that is about to be read.
///
/// # Errors
/// It cannot be read, or is not the file that its name says.
pub(super) fn check(path: &Path) -> Result<()> {
    if let Some(target) = leads_nowhere(path) {
        return Err(Error::new(
            Kind::Model,
            "the link leads nowhere: what it stands for was not downloaded, or was removed",
        )
        .at(path)
        .found(format!("a link to {}", target.display()))
        .help("download the model again"));
    }
    let start = start_of(path, START).map_err(|source| Error::io("read", path, source))?;
    let wrong = |what: &str, help: &str| Err(Error::new(Kind::Model, what).at(path).help(help));
    let text = String::from_utf8_lossy(&start).to_lowercase();
    if start.is_empty() {
        return wrong("the file is empty: its download failed", "download it again");
    }
    if text.starts_with("version https://git-lfs") {
        return wrong("this is a Git LFS pointer, not the file itself, which was not fetched", FETCH);
    }
    if ["<!doctype", "<html", "<?xml"].iter().any(|page| text.trim_start().starts_with(page)) {
        return wrong(
            "this is a web page, not the file itself: its download failed",
            "download it again, by the hub's link `resolve` and not `blob`; private models need a token (HF_TOKEN)",
        );
    }
    Ok(())
}

/// Whether there is a file by that name, or a link that should be one.
pub(super) fn is_there(path: &Path) -> bool {
    path.is_file() || leads_nowhere(path).is_some()
}

/// What a link points at, if that is not there.
fn leads_nowhere(path: &Path) -> Option<PathBuf> {
    if path.exists() { None } else { std::fs::read_link(path).ok() }
}

/// The names in a directory, sorted; folders end in `/`. None of it when it cannot be read.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(if entry.path().is_dir() { format!("{name}/") } else { name })
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_downloads_leave_is_called_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        for (content, part, help) in [
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n",
                "Git LFS",
                "git lfs install && git lfs pull",
            ),
            ("  <!DOCTYPE html><html>", "web page", "resolve"),
            ("<html>", "web page", "HF_TOKEN"),
            ("", "empty", "again"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = check(&path).unwrap_err();
            assert!(error.to_string().contains(part) && error.to_string().contains("config.json"), "{error}");
            assert!(error.remedy().unwrap().contains(help), "{error}");
        }
        std::fs::write(&path, "{}").unwrap();
        check(&path).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("blobs/4d7a", &link).unwrap();
        assert!(
            is_there(&link) && !is_there(directory.path()) && !is_there(&directory.path().join("nothing"))
        );
        let error = check(&link).unwrap_err().to_string();
        assert!(error.contains("leads nowhere") && error.contains("blobs/4d7a"), "{error}");
        assert_eq!(names(directory.path()), ["config.json", "link"]);
    }
}
