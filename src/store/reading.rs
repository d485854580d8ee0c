//! Owns reading rows out of parts: positioned reads with a bounded number of open files.
//!
//! Refuses to check: the parts it is given were verified.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::index::Place;
use super::part;
use crate::error::{Error, Kind, Result};
use crate::tensors::read_floats;

/// Files kept open; a store may have thousands of parts, and a process often only 1,024 file descriptors.
pub(super) const MAX_OPEN_FILES: usize = 32;
/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;

struct PartFile {
    path: PathBuf,
    rows: u32,
}

/// The verified parts of a store, opened when they are needed.
pub(super) struct PartFiles {
    width: usize,
    parts: Vec<PartFile>,
    /// The open files, the one used last at the end.
    open: Mutex<Vec<(u32, Arc<File>)>>,
}

impl PartFiles {
    pub fn new(width: u32) -> Self {
        Self { width: width as usize, parts: Vec::new(), open: Mutex::new(Vec::new()) }
    }

    /// Adds a part and returns its number.
    ///
    /// # Errors
    /// There are more than can be numbered.
    pub fn add(&mut self, path: PathBuf, rows: u32) -> Result<u32> {
        let number = u32::try_from(self.parts.len())
            .map_err(|_| Error::new(Kind::Store, "the feature store has too many parts").at(&path))?;
        self.parts.push(PartFile { path, rows });
        Ok(number)
    }

    /// Reads consecutive values from `first` of the row at `place` on; they may reach over the rows after it.
    ///
    /// # Errors
    /// The part cannot be read any more.
    pub fn read(&self, place: Place, first: usize, out: &mut [f32]) -> Result<()> {
        let part = &self.parts[place.part as usize];
        let failed = |source| {
            Error::io("read the cached features", &part.path, source)
                .help("run again: what cannot be read is computed again")
        };
        let file = self.file(place.part).map_err(failed)?;
        let mut offset = part::value_offset(part.rows, self.width, place.row, first);
        let mut bytes = vec![0; size_of_val(out).min(PIECE_BYTES)];
        for values in out.chunks_mut(PIECE_BYTES / size_of::<f32>()) {
            let piece = &mut bytes[..size_of_val(values)];
            file.read_exact_at(piece, offset).map_err(failed)?;
            read_floats(piece, values);
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn file(&self, part: u32) -> std::io::Result<Arc<File>> {
        // A panic elsewhere cannot leave the list half changed.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.iter().position(|(number, _)| *number == part) {
            open[found..].rotate_left(1);
        } else {
            let file = Arc::new(File::open(&self.parts[part as usize].path)?);
            if open.len() >= MAX_OPEN_FILES {
                open.remove(0);
            }
            open.push((part, file));
        }
        Ok(Arc::clone(&open[open.len() - 1].1))
    }
}
