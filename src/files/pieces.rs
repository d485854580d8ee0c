//! Owns reading what may be larger than memory: a range of a file, and anything to its end, a piece at a time.
//!
//! Refuses a file that ends inside the range.

use std::fs::File;
use std::io::{ErrorKind, Read, Result as IoResult};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// A range of an open file, wherever its own position is.
pub struct FileRange<'f> {
    file: &'f File,
    left: Range<u64>,
}

impl<'f> FileRange<'f> {
    /// These bytes of a file.
    #[must_use]
    pub fn new(file: &'f File, range: Range<u64>) -> Self {
        Self { file, left: range }
    }
}

impl Read for FileRange<'_> {
    fn read(&mut self, into: &mut [u8]) -> IoResult<usize> {
        let left = self.left.end.saturating_sub(self.left.start);
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..most], self.left.start)?;
        if read == 0 && most > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left.start += read as u64;
        Ok(read)
    }
}

/// The first bytes of a file, as many as it has.
///
/// # Errors
/// It cannot be read.
pub fn start_of(path: &Path, most: usize) -> IoResult<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads to the end and gives a piece at a time away; `path` is what is read.
///
/// # Errors
/// It cannot be read, or `take` fails.
pub fn in_pieces(
    mut source: impl Read,
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&piece[..read])?,
            Err(source) if source.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::io("read", path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(range: Range<u64>) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        std::fs::write(&path, b"0123456789").unwrap();
        let (file, mut bytes) = (File::open(&path).unwrap(), Vec::new());
        in_pieces(FileRange::new(&file, range), &path, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    #[test]
    fn a_range_is_read_from_its_first_byte_to_its_last() {
        assert_eq!(read(3..7).unwrap(), b"3456");
        assert_eq!(read(0..10).unwrap(), b"0123456789");
        assert_eq!(read(5..5).unwrap(), b"");
    }

    #[test]
    fn a_file_that_ends_inside_the_range_is_refused() {
        let error = read(8..12).unwrap_err().to_string();
        assert!(error.contains("numbers"), "{error}");
    }
}
