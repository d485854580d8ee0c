//! Owns the bytes of a part of features, and refuses every file that is not exactly a part of its key.
//!
//! Refuses to trust: nothing declared in a part is used before it fits the file's length, and no row before
//! the checksum of the whole file holds. Checking reads in pieces; its memory is one piece and the keys of
//! one part.
//!
//! # Format, version 1 (all numbers little-endian)
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `"FHPART\r\n"` (the line end shows a transfer as text) |
//! | 8 | 4 | format version, u32: 1 |
//! | 12 | 4 | width, u32: f32 values a row, at least 1 |
//! | 16 | 8 | rows, u64: n, 1 to 65,536 |
//! | 24 | 32 | fingerprint of the store key the part belongs to |
//! | 56 | 16 n | text keys, in the order in which the rows were appended |
//! | 56 + 16 n | 4 · width · n | rows, f32, in the order of the keys |
//! | 56 + (16 + 4 · width) n | 32 | BLAKE3 of everything before |
//!
//! The file's name is the first 32 hexadecimal digits of that BLAKE3 and `.part`: equal names mean equal
//! bytes, so two processes that write the same part may overwrite each other. A reader reads rows by their
//! position; the checksum was verified when the store was opened.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::fault::{Fault, Identity};
use super::folder::{NAME_DIGITS, Parts, Role, Stored, Text};
use crate::fingerprint::{Fingerprint, TextKey};

const MAGIC: [u8; 8] = *b"FHPART\r\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
const CHECKSUM_BYTES: usize = 32;
/// Bytes of a text key.
pub(super) const KEY_BYTES: usize = size_of::<TextKey>();
/// What a part costs beyond its keys and rows.
pub(super) const OVERHEAD_BYTES: usize = HEADER_BYTES + CHECKSUM_BYTES;
/// More rows than this are never written, so a larger number is damage and costs no memory.
const MAX_ROWS: u64 = 65_536;
/// A part is written at the latest when it has this many rows …
pub(super) const FLUSH_ROWS: usize = 512;
/// … or this many bytes of rows.
pub(super) const FLUSH_BYTES: usize = 4 << 20;
/// How much is read at once while a part is checked.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes of a row of `width` f32.
pub(super) fn row_bytes(width: usize) -> u64 {
    width as u64 * size_of::<f32>() as u64
}

/// How many rows a full part holds.
pub(super) fn rows_per_part(width: usize) -> usize {
    let in_bytes = FLUSH_BYTES as u64 / row_bytes(width).max(1);
    usize::try_from(in_bytes).unwrap_or(FLUSH_ROWS).clamp(1, FLUSH_ROWS)
}

/// Where in a part of `rows` rows the value `first` of row `row` starts.
pub(super) fn value_offset(rows: u32, width: usize, row: u32, first: usize) -> u64 {
    HEADER_BYTES as u64
        + u64::from(rows) * KEY_BYTES as u64
        + u64::from(row) * row_bytes(width)
        + row_bytes(first)
}

/// The bytes of a part; of each text its key and the values of its row as little-endian f32.
fn encode(identity: &Identity, texts: &[Text]) -> Vec<u8> {
    let row = identity.width as usize * size_of::<f32>();
    let mut bytes = Vec::with_capacity(OVERHEAD_BYTES + texts.len() * (KEY_BYTES + row));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&identity.width.to_le_bytes());
    bytes.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&identity.fingerprint.0);
    texts.iter().for_each(|(key, _)| bytes.extend_from_slice(&key.0));
    texts.iter().for_each(|(_, row)| bytes.extend_from_slice(row));
    let checksum = Fingerprint::of_bytes(&bytes);
    bytes.extend_from_slice(&checksum.0);
    bytes
}

impl Parts for Identity {
    /// Few rows: a full part of short rows has few bytes.
    fn is_small(&self, file: &Stored) -> bool {
        file.role == Role::Part
            && declared_rows(&file.path, self).is_ok_and(|rows| (rows as usize) < FLUSH_ROWS / 4)
    }

    fn load(&self, path: &Path) -> Result<Vec<Text>, Fault> {
        let mut bytes = Vec::new();
        let keys = examine(path, self, &mut |piece| bytes.extend_from_slice(piece))?;
        let rows = bytes.chunks_exact(self.width as usize * size_of::<f32>());
        Ok(keys.into_iter().zip(rows.map(<[u8]>::to_vec)).collect())
    }

    /// The file is named by its last bytes, the checksum of the others.
    fn encode(&self, texts: &[Text]) -> (Vec<u8>, String) {
        let bytes = encode(self, texts);
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&bytes[bytes.len() - CHECKSUM_BYTES..]);
        (bytes, format!("{}.part", &Fingerprint(checksum).to_string()[..NAME_DIGITS]))
    }
}

/// Reads and checks only the head of a part: the number of its rows.
///
/// # Errors
/// The fault, as far as the header and the length show it.
pub(super) fn declared_rows(path: &Path, identity: &Identity) -> Result<u32, Fault> {
    let mut file = File::open(path).map_err(|source| Fault::from_io(&source))?;
    let length = file.metadata().map_err(|source| Fault::from_io(&source))?.len();
    read_header(&mut file, length, identity).map(|(_, rows)| rows)
}

/// The width that a part of this key declares, if it begins like one.
pub(super) fn declared_width(path: &Path, fingerprint: Fingerprint) -> Option<u32> {
    let mut header = [0; HEADER_BYTES];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    (header[..8] == MAGIC && header[24..] == fingerprint.0).then(|| number(&header, 12))
}

/// Checks all of a part and returns its keys.
///
/// # Errors
/// The fault.
pub(super) fn check(path: &Path, identity: &Identity) -> Result<Vec<TextKey>, Fault> {
    examine(path, identity, &mut |_| ())
}

fn examine(path: &Path, identity: &Identity, on_rows: &mut dyn FnMut(&[u8])) -> Result<Vec<TextKey>, Fault> {
    let io = |source: std::io::Error| Fault::from_io(&source);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let (header, rows) = read_header(&mut file, length, identity)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);

    let mut key_bytes = vec![0; rows as usize * KEY_BYTES];
    file.read_exact(&mut key_bytes).map_err(io)?;
    hasher.update(&key_bytes);

    let mut left = u64::from(rows) * row_bytes(identity.width as usize);
    let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(PIECE_BYTES).min(piece.len());
        file.read_exact(&mut piece[..size]).map_err(io)?;
        hasher.update(&piece[..size]);
        on_rows(&piece[..size]);
        left -= size as u64;
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    file.read_exact(&mut checksum).map_err(io)?;
    if hasher.finalize() != checksum {
        return Err(Fault::Damaged("the checksum does not fit the contents".to_owned()));
    }
    let keys = key_bytes.chunks_exact(KEY_BYTES).map(|bytes| {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(bytes);
        TextKey(key)
    });
    Ok(keys.collect())
}

/// Reads the header of a file of `length` bytes and checks it and the length.
fn read_header(
    file: &mut File,
    length: u64,
    identity: &Identity,
) -> Result<([u8; HEADER_BYTES], u32), Fault> {
    if length < OVERHEAD_BYTES as u64 {
        return Err(Fault::Damaged(if length == 0 {
            "the file is empty".to_owned()
        } else {
            format!("it is cut short: {length} bytes, fewer than an empty part has")
        }));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(|source| Fault::from_io(&source))?;
    let rows = check_header(&header, length, identity)?;
    Ok((header, rows))
}

/// Checks a header against the key folder it lies in and against the file's length; returns the number of
/// rows.
fn check_header(header: &[u8; HEADER_BYTES], length: u64, identity: &Identity) -> Result<u32, Fault> {
    let damaged = |reason: String| Err(Fault::Damaged(reason));
    if header[..8] != MAGIC {
        return damaged("it does not start like a part of a feature store".to_owned());
    }
    match number(header, 8) {
        VERSION => {}
        newer if newer > VERSION => {
            return Err(Fault::Newer(format!(
                "its format version is {newer}, newer than {VERSION}, the newest known here"
            )));
        }
        older => return damaged(format!("its format version is {older}, which never existed")),
    }
    let width = number(header, 12);
    if width != identity.width {
        return damaged(format!("its rows have {width} values, the store's have {}", identity.width));
    }
    let rows = u64::from(number(header, 16)) | u64::from(number(header, 20)) << 32;
    if !(1..=MAX_ROWS).contains(&rows) {
        return damaged(format!("it declares {rows} rows, a part has 1 to {MAX_ROWS}"));
    }
    if header[24..] != identity.fingerprint.0 {
        return damaged("it belongs to another key".to_owned());
    }
    let expected = OVERHEAD_BYTES as u64 + rows * (KEY_BYTES as u64 + row_bytes(width as usize));
    match length.cmp(&expected) {
        std::cmp::Ordering::Less => damaged(format!("it is cut short: {length} bytes of {expected}")),
        std::cmp::Ordering::Greater => {
            damaged(format!("it is too long: {length} bytes where {expected} are declared"))
        }
        std::cmp::Ordering::Equal => Ok(u32::try_from(rows).expect("at most 65,536 rows; this is a bug")),
    }
}

fn number(header: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[offset..offset + 4]);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::tensors::bytes_of;

    const IDENTITY: Identity = Identity { fingerprint: Fingerprint([7; 32]), width: 3 };

    fn sample() -> Vec<Text> {
        let texts = ["a", "b", "c"].map(TextKey::of).into_iter();
        texts
            .zip([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
            .map(|(key, row)| (key, bytes_of(&row)))
            .collect()
    }

    fn keys(texts: &[Text]) -> Vec<TextKey> {
        texts.iter().map(|(key, _)| *key).collect()
    }

    /// The file of a part in a folder.
    fn written(folder: &Path, identity: &Identity, texts: &[Text]) -> PathBuf {
        let (bytes, name) = Parts::encode(identity, texts);
        std::fs::write(folder.join(&name), bytes).unwrap();
        folder.join(name)
    }

    /// What the check says of a sample part that `change` has made a lie of.
    fn fault_of(change: impl FnOnce(&mut Vec<u8>)) -> Fault {
        let mut bytes = encode(&IDENTITY, &sample());
        assert_eq!(bytes.len(), 56 + 3 * (16 + 12) + 32);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(check(file.path(), &IDENTITY).unwrap(), keys(&sample()));
        change(&mut bytes);
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path(), &IDENTITY).unwrap_err()
    }

    #[track_caller]
    fn assert_damaged(change: impl FnOnce(&mut Vec<u8>), reason: &str) {
        match fault_of(change) {
            Fault::Damaged(found) => assert!(found.contains(reason), "{found:?} does not say {reason:?}"),
            other => panic!("{other:?} is not damage"),
        }
    }

    fn overwrite(offset: usize, with: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
        move |bytes| bytes[offset..offset + with.len()].copy_from_slice(with)
    }

    /// Makes the checksum right again, so that only the lie itself can be found.
    fn and_reseal(change: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&mut Vec<u8>) {
        move |bytes| {
            change(bytes);
            let end = bytes.len() - CHECKSUM_BYTES;
            let checksum = Fingerprint::of_bytes(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum.0);
        }
    }

    #[test]
    fn a_part_round_trips_under_the_name_of_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), &IDENTITY, &sample());
        assert_eq!(check(&path, &IDENTITY).unwrap(), keys(&sample()));
        assert_eq!(IDENTITY.load(&path).unwrap(), sample());
        assert_eq!(declared_rows(&path, &IDENTITY).unwrap(), 3);

        let bytes = std::fs::read(&path).unwrap();
        let name = Fingerprint::of_bytes(&bytes[..bytes.len() - 32]).to_string()[..32].to_owned();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{name}.part"));
        let offset = usize::try_from(value_offset(3, 3, 2, 1)).unwrap();
        assert_eq!(bytes[offset..offset + 4], 7.0_f32.to_le_bytes());
    }

    #[test]
    fn a_part_larger_than_a_piece_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { width: 300_000, ..IDENTITY };
        let row: Vec<f32> = (0..300_000_u32).map(|number| number as f32).collect();
        let texts = ["a", "b"].map(|text| (TextKey::of(text), bytes_of(&row)));
        let path = written(folder.path(), &identity, &texts);
        assert_eq!(identity.load(&path).unwrap(), texts);
    }

    #[test]
    fn the_bytes_of_the_format_do_not_change() {
        let bytes = encode(&IDENTITY, &sample());
        assert_eq!(bytes[..24], *b"FHPART\r\n\x01\0\0\0\x03\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(bytes[24..56], [7; 32]);
        assert_eq!(bytes[56..72], TextKey::of("a").0);
        assert_eq!(bytes[104..140], bytes_of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
        assert_eq!(bytes[140..], *blake3::hash(&bytes[..140]).as_bytes());
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert_damaged(Vec::clear, "empty");
    }

    #[test]
    fn a_truncated_part_is_refused_at_every_length() {
        for length in 1..172 {
            assert_damaged(|bytes| bytes.truncate(length), "cut short");
        }
    }

    #[test]
    fn a_longer_part_is_refused() {
        assert_damaged(|bytes| bytes.push(0), "too long");
    }

    #[test]
    fn a_flipped_bit_in_a_key_is_refused() {
        assert_damaged(|bytes| bytes[60] ^= 1, "checksum");
    }

    #[test]
    fn a_flipped_bit_in_a_row_is_refused() {
        assert_damaged(|bytes| bytes[120] ^= 0x80, "checksum");
    }

    #[test]
    fn a_flipped_bit_in_the_checksum_is_refused() {
        assert_damaged(|bytes| bytes[171] ^= 1, "checksum");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        for bit in 0..172 * 8 {
            let fault = fault_of(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            // Only a flip that makes the version larger can look like a newer part, which is not used either.
            assert!(matches!(fault, Fault::Damaged(_)) || (64..96).contains(&bit), "bit {bit}: {fault:?}");
        }
    }

    #[test]
    fn a_wrong_magic_is_refused() {
        assert_damaged(and_reseal(overwrite(0, b"PARQUET1")), "does not start like");
    }

    #[test]
    fn a_newer_version_is_refused_and_not_called_damage() {
        let fault = fault_of(and_reseal(overwrite(8, &2_u32.to_le_bytes())));
        assert!(matches!(&fault, Fault::Newer(reason) if reason.contains("version is 2")), "{fault:?}");
    }

    #[test]
    fn version_zero_is_refused() {
        assert_damaged(and_reseal(overwrite(8, &0_u32.to_le_bytes())), "never existed");
    }

    #[test]
    fn another_width_is_refused() {
        assert_damaged(and_reseal(overwrite(12, &4_u32.to_le_bytes())), "4 values, the store's have 3");
    }

    #[test]
    fn huge_declared_counts_are_refused_without_memory() {
        for rows in [65_537, u64::from(u32::MAX) + 4, u64::MAX / 28, u64::MAX] {
            assert_damaged(and_reseal(overwrite(16, &rows.to_le_bytes())), "rows, a part has");
        }
        assert_damaged(and_reseal(overwrite(16, &65_536_u64.to_le_bytes())), "cut short");
        assert_damaged(and_reseal(overwrite(12, &u32::MAX.to_le_bytes())), "4294967295 values");
    }

    #[test]
    fn no_rows_are_refused() {
        assert_damaged(and_reseal(overwrite(16, &0_u64.to_le_bytes())), "declares 0 rows");
    }

    #[test]
    fn a_part_of_another_key_is_refused() {
        assert_damaged(and_reseal(overwrite(24, &[8; 32])), "another key");
    }

    #[test]
    fn a_missing_file_is_not_damage() {
        assert_eq!(check(Path::new("/nonexistent/x.part"), &IDENTITY), Err(Fault::Vanished));
    }

    #[test]
    fn a_directory_in_place_of_a_part_is_unreadable_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), &IDENTITY).is_err());
    }

    #[test]
    fn a_full_part_respects_both_limits() {
        assert_eq!(rows_per_part(384), 512);
        assert_eq!(rows_per_part(3_072), 341);
        assert_eq!(rows_per_part(10_000_000), 1);
    }
}
