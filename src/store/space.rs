//! Owns the arithmetic of disk space: what rows take, and what is free.

use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that `rows` stored rows of `width` numbers take, keys included.
#[must_use]
pub fn space_needed(rows: u64, width: usize) -> u64 {
    rows.saturating_mul(width as u64 * 4 + 16)
}

/// Bytes free for this user at `path`, or at its nearest ancestor that exists.
///
/// # Errors
/// The file system cannot be asked.
pub fn free_space(path: &Path) -> Result<u64> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let status = rustix::fs::statvfs(there)
        .map_err(|source| Error::io("ask for the free space", there, source.into()))?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_grow_with_rows_and_width() {
        assert_eq!(space_needed(10, 3), 10 * (12 + 16));
        assert_eq!(space_needed(u64::MAX, 3), u64::MAX);
    }

    #[test]
    fn free_space_is_known_even_where_nothing_is_yet() {
        assert!(free_space(Path::new("no/such/directory/yet")).unwrap() > 0);
        assert!(free_space(Path::new("/")).unwrap() > 0);
    }
}
