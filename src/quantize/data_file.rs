//! Owns the one file of weights: what lies where in it, and writing it.
//!
//! Refuses to hold in memory what it can copy from the backbone's own weight file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{FileRange, in_pieces};
use crate::graph::{Data, External, ValueType};
use crate::tensors::bytes_of;

/// Every tensor begins at a multiple: a cache line, the widest vector register.
const ALIGNMENT: u64 = 64;

/// The numbers of a tensor.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    /// Little-endian bytes.
    Bytes(Vec<u8>),
    /// A range of the backbone's weight file.
    Copied { offset: u64, length: u64 },
}

impl Numbers {
    pub(super) fn floats(numbers: &[f32]) -> Self {
        Self::Bytes(bytes_of(numbers))
    }

    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copied { length, .. } => *length,
        }
    }
}

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, (ValueType, Numbers)>;

/// The file of weights, ready to be written.
#[derive(Debug)]
pub(super) struct DataFile {
    /// Where ranges are copied from.
    source: PathBuf,
    /// In the order of the file, with the first byte of each.
    pieces: Vec<(u64, Numbers)>,
    length: u64,
}

impl DataFile {
    /// Lays tensors out one after the other, and says where each is in a file called `location`.
    pub(super) fn lay_out(
        tensors: Tensors,
        location: &str,
        source: &Path,
    ) -> (Self, BTreeMap<String, (ValueType, Data)>) {
        let (mut pieces, mut places) = (Vec::new(), BTreeMap::new());
        let mut end: u64 = 0;
        for (name, (value_type, numbers)) in tensors {
            let (offset, length) = (end.next_multiple_of(ALIGNMENT), numbers.length());
            let external = External { location: location.to_owned(), offset, length };
            places.insert(name, (value_type, Data::External(external)));
            pieces.push((offset, numbers));
            end = offset + length;
        }
        (Self { source: source.to_path_buf(), pieces, length: end }, places)
    }

    /// Its bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes it from the first byte to the last; `out` is named in errors as `target`.
    pub(super) fn write(&self, out: &mut dyn Write, target: &Path) -> Result<()> {
        let failed = |error| Error::io("write", target, error);
        let read = |error| Error::io("read", &self.source, error);
        let mut source: Option<File> = None;
        let mut position = 0;
        for (offset, numbers) in &self.pieces {
            let gap = usize::try_from(offset - position).unwrap_or(usize::MAX);
            out.write_all(&[0; ALIGNMENT as usize][..gap]).map_err(failed)?;
            match numbers {
                Numbers::Bytes(bytes) => out.write_all(bytes).map_err(failed)?,
                Numbers::Copied { offset, length } => {
                    let file = match &mut source {
                        Some(file) => file,
                        None => source.insert(File::open(&self.source).map_err(read)?),
                    };
                    let numbers = FileRange::new(file, *offset..offset + length);
                    in_pieces(numbers, &self.source, &mut |piece| out.write_all(piece).map_err(failed))?;
                }
            }
            position = offset + numbers.length();
        }
        Ok(())
    }
}
