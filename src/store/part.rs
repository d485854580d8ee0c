//! Owns the file format of a part of the store.
//!
//! ```text
//! 0   8  magic "frostprt"
//! 8   4  format version, u32 LE (1)
//! 12  4  numbers in a row, u32 LE
//! 16  8  rows, u64 LE
//! 24     rows × 16 bytes: keys of the texts
//!        rows × width × 4 bytes: f32 LE, row-major
//! end 32 BLAKE3 of everything before
//! ```
//!
//! Refuses to use a part before its length, header and checksum are right, and to show one under its name before it is whole.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::fault;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;

const MAGIC: [u8; 8] = *b"frostprt";
const VERSION: u32 = 1;
const HEADER: usize = 24;
const KEY: usize = 16;
const CHECKSUM: usize = 32;

/// A checked part.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    width: usize,
    rows: usize,
}

impl Part {
    /// A part that was just written.
    pub fn written(path: PathBuf, width: usize, rows: usize) -> Self {
        Self { path, width, rows }
    }

    /// Checks a part and reads its keys; the rows are read in pieces only to compute the checksum. `width`: what a row must
    /// have, when that is known.
    pub fn open(path: &Path, width: Option<usize>) -> Result<(Self, Vec<TextKey>)> {
        let mut file = File::open(path).map_err(|source| Error::io("read", path, source))?;
        let length = file.metadata().map_err(|source| Error::io("read", path, source))?.len();
        let wrong = |what: &str| Error::new(Kind::Store, what).at(path);
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(|_| wrong("too short for a header"))?;
        let (own_width, rows) = check_header(&header, width).map_err(|what| wrong(&what))?;
        let sizes = rows.checked_mul(KEY).zip(own_width.checked_mul(4).and_then(|row| row.checked_mul(rows)));
        let declared = sizes.and_then(|(keys, data)| keys.checked_add(data)?.checked_add(HEADER + CHECKSUM));
        match declared {
            Some(declared) if declared as u64 == length => {}
            _ => {
                return Err(wrong("the length is not the one the header declares")
                    .found(format!("{length} bytes"))
                    .expected(declared.map_or_else(|| "an impossible size".to_owned(), |bytes| format!("{bytes} bytes"))));
            }
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        // The length was checked, so this allocation is no larger than the file.
        let mut keys = vec![0; rows * KEY];
        file.read_exact(&mut keys).map_err(|source| Error::io("read", path, source))?;
        hasher.update(&keys);
        let data = (length as usize - HEADER - CHECKSUM - keys.len()) as u64;
        hasher.update_reader((&mut file).take(data)).map_err(|source| Error::io("read", path, source))?;
        let mut checksum = [0; CHECKSUM];
        file.read_exact(&mut checksum).map_err(|source| Error::io("read", path, source))?;
        if checksum != *hasher.finalize().as_bytes() {
            return Err(wrong("the checksum is wrong"));
        }
        let keys = keys.as_chunks::<KEY>().0.iter().map(|key| TextKey(*key)).collect();
        Ok((Self { path: path.to_path_buf(), width: own_width, rows }, keys))
    }

    /// Reads numbers `first ..` of a row.
    pub fn read(&self, file: &File, row: usize, first: usize, out: &mut [f32]) -> Result<()> {
        let offset = HEADER + self.rows * KEY + (row * self.width + first) * 4;
        let mut bytes = vec![0; out.len() * 4];
        file.read_exact_at(&mut bytes, offset as u64).map_err(|source| Error::io("read", &self.path, source))?;
        for (number, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// Width and number of rows, or what is wrong.
fn check_header(header: &[u8; HEADER], width: Option<usize>) -> std::result::Result<(usize, usize), String> {
    if header[..8] != MAGIC {
        return Err("not a part of a feature store".to_owned());
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(8) != VERSION {
        return Err(format!("format version {}, this program reads {VERSION}", number(8)));
    }
    let own = number(12) as usize;
    if own == 0 || width.is_some_and(|width| width != own) {
        return Err(format!("rows of {own} numbers, expected {}", width.unwrap_or(1)));
    }
    let rows = u64::from(number(16)) | u64::from(number(20)) << 32;
    match usize::try_from(rows) {
        Ok(rows) if rows > 0 && u32::try_from(rows).is_ok() => Ok((own, rows)),
        _ => Err(format!("an impossible number of rows, {rows}")),
    }
}

/// Writes a part under a temporary name, syncs it, and renames it to the hash of its content. Gives its path.
pub(super) fn write(directory: &Path, width: usize, keys: &[TextKey], rows: &[f32]) -> Result<PathBuf> {
    let failed = |source| Error::io("write to the feature store", directory, source);
    fault::point("part-before-write");
    let width = u32::try_from(width).map_err(|_| Error::new(Kind::Store, "rows are too wide to store"))?;
    let mut bytes = Vec::with_capacity(HEADER + keys.len() * KEY + rows.len() * 4 + CHECKSUM);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&width.to_le_bytes());
    bytes.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    keys.iter().for_each(|key| bytes.extend_from_slice(&key.0));
    rows.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    let mut temporary =
        tempfile::Builder::new().prefix("part-").suffix(".tmp").tempfile_in(directory).map_err(failed)?;
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    temporary.write_all(half).map_err(failed)?;
    fault::point("part-half-written");
    temporary.write_all(rest).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    fault::point("part-before-rename");
    let path = directory.join(format!("{}.part", &checksum.to_hex()[..32]));
    temporary.persist(&path).map_err(|error| failed(error.error))?;
    // The name is safe only once the directory is on disk too.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    fault::point("part-after-rename");
    Ok(path)
}

/// The parts in a directory, in a fixed order.
pub(super) fn paths(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::io("read the feature store", directory, source);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Rows a part's header declares, unchecked: for listings only.
pub(super) fn declared_rows(path: &Path) -> u64 {
    let mut header = [0; HEADER];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.ok().and_then(|()| check_header(&header, None).ok()).map_or(0, |(_, rows)| rows as u64)
}

/// What is wrong with a part, without its path.
pub(super) fn reason(error: &Error) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, reason)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(directory: &Path) -> PathBuf {
        let keys: Vec<TextKey> = (0..5).map(|number| TextKey::of(&number.to_string())).collect();
        let rows: Vec<f32> = (0..15).map(|number| number as f32).collect();
        write(directory, 3, &keys, &rows).unwrap()
    }

    /// Changes the bytes of a good part and gives the error it is refused with.
    #[track_caller]
    fn refused(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = sample(directory.path());
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        Part::open(&path, Some(3)).unwrap_err().to_string()
    }

    #[test]
    fn a_part_round_trips_and_equal_content_has_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = sample(directory.path());
        assert_eq!(path, sample(directory.path()));
        let (part, keys) = Part::open(&path, Some(3)).unwrap();
        assert_eq!(keys[4], TextKey::of("4"));
        let mut out = [0.0; 2];
        part.read(&File::open(&path).unwrap(), 4, 1, &mut out).unwrap();
        assert_eq!(out, [13.0, 14.0]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_truncated_part_is_refused() {
        assert!(refused(|bytes| bytes.truncate(bytes.len() - 1)).contains("length"));
    }

    #[test]
    fn a_part_cut_inside_the_header_is_refused() {
        assert!(refused(|bytes| bytes.truncate(10)).contains("header"));
    }

    #[test]
    fn an_empty_part_is_refused() {
        assert!(refused(Vec::clear).contains("header"));
    }

    #[test]
    fn a_longer_part_is_refused() {
        assert!(refused(|bytes| bytes.push(0)).contains("length"));
    }

    #[test]
    fn a_flipped_bit_in_a_key_is_refused() {
        assert!(refused(|bytes| bytes[HEADER + 3] ^= 4).contains("checksum"));
    }

    #[test]
    fn a_flipped_bit_in_a_row_is_refused() {
        assert!(refused(|bytes| bytes[HEADER + 5 * KEY + 7] ^= 4).contains("checksum"));
    }

    #[test]
    fn a_flipped_bit_in_the_checksum_is_refused() {
        assert!(refused(|bytes| *bytes.last_mut().unwrap() ^= 1).contains("checksum"));
    }

    #[test]
    fn another_magic_is_refused() {
        assert!(refused(|bytes| bytes[0] = b'x').contains("not a part"));
    }

    #[test]
    fn a_newer_version_is_refused() {
        assert!(refused(|bytes| bytes[8] = 2).contains("version 2"));
    }

    #[test]
    fn another_width_is_refused() {
        assert!(refused(|bytes| bytes[12] = 4).contains("rows of 4 numbers"));
    }

    #[test]
    fn a_huge_number_of_rows_is_refused_without_allocating() {
        assert!(refused(|bytes| bytes[16..24].fill(0xff)).contains("impossible"));
        assert!(refused(|bytes| bytes[19] = 0x7f).contains("length"));
    }
}
