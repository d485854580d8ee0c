//! Owns making checksums right again after bytes were changed, so that what lies behind them is reached: of a
//! bundle's records and entries, of an update, and of a part of the feature store. Knows the formats by their
//! descriptions (`src/bundle/layout.rs`, `src/bundle/update.rs`, `src/store/part.rs`), and uses none of the code
//! that is tested.
//!
//! Also owns sections, a way to have several files in one fuzzed input: a line `=== NAME` before each.

use std::collections::BTreeMap;

use frosthead::internal::document;
use frosthead::internal::fingerprint::Fingerprint;

/// What begins a section.
pub const MARK: &[u8] = b"\n=== ";
const CHECKSUMS: &str = "checksums.json";
const DATA: &str = "model.onnx.data";
/// Zeros that a section can stand for.
const MOST_ZEROS: usize = 1 << 20;
/// Bytes of a hash.
const HASH: usize = 32;

/// The sections of an input by name, in their order. One whose bytes are `zeros N` has N zeros, but for what
/// further lines put there: `PLACE BYTES`, in hexadecimal digits.
pub fn sections(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|&start| bytes[start..].starts_with(MARK)).chain([bytes.len()]).collect();
    let parts = starts.windows(2).map(|ends| &bytes[ends[0] + MARK.len()..ends[1].max(ends[0] + MARK.len())]);
    parts
        .filter_map(|part| {
            let end = part.iter().position(|byte| *byte == b'\n')?;
            let (name, content) = (String::from_utf8_lossy(&part[..end]).into_owned(), &part[end + 1..]);
            let zeros = std::str::from_utf8(content).ok().and_then(of_zeros);
            Some((name, zeros.unwrap_or_else(|| content.to_vec())))
        })
        .collect()
}

/// Zeros, and what is put among them.
fn of_zeros(text: &str) -> Option<Vec<u8>> {
    let mut lines = text.lines();
    let count: usize = lines.next()?.strip_prefix("zeros ")?.parse().ok()?;
    let mut bytes = vec![0; count.min(MOST_ZEROS)];
    for line in lines {
        let (place, digits) = line.split_once(' ')?;
        let place: usize = place.parse().ok()?;
        for (number, pair) in digits.as_bytes().chunks(2).enumerate() {
            let byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            *bytes.get_mut(place.checked_add(number)?)? = byte;
        }
    }
    Some(bytes)
}

/// A bundle of these entries, with the checksums they should have, unless they bring their own.
pub fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut entries = entries.to_vec();
    if entries.iter().all(|(name, _)| name != CHECKSUMS) {
        let hash = |(name, bytes): &(String, Vec<u8>)| (name.clone(), Fingerprint::of_bytes(bytes));
        let hashes: BTreeMap<String, Fingerprint> = entries.iter().map(hash).collect();
        entries.push((CHECKSUMS.to_owned(), document::pretty(&hashes).into_bytes()));
    }
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in &entries {
        let header = bytes.len();
        let common = common(name, content);
        let alignment: usize = if name == DATA { 4096 } else { 64 };
        let fixed = header + 30 + name.len() + 6;
        let zeros = fixed.next_multiple_of(alignment) - fixed;
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend((6 + zeros as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
        [0xD935, 2 + zeros as u16, alignment as u16]
            .iter()
            .for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(vec![0; zeros]);
        bytes.extend(content);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 8]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend((header as u32).to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([entries.len() as u16; 2].map(u16::to_le_bytes).concat());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// What both headers of an entry say alike.
fn common(name: &str, content: &[u8]) -> Vec<u8> {
    let mut common = Vec::new();
    [20_u16, 0, 0, 0, 0x21].iter().for_each(|number| common.extend(number.to_le_bytes()));
    common.extend(crc32fast::hash(content).to_le_bytes());
    common.extend([content.len() as u32; 2].map(u32::to_le_bytes).concat());
    common.extend((name.len() as u16).to_le_bytes());
    common
}

/// An archive with the hashes and CRCs of its entries made right where they are; as it is, where it is too
/// damaged to tell.
pub fn resealed(archive: &[u8]) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    let entries = places(&bytes);
    let checksums =
        entries.iter().find(|entry| entry.name == CHECKSUMS.as_bytes()).map(|entry| entry.content.clone());
    for entry in &entries {
        let Some(checksums) = checksums.clone() else { break };
        let named = [b"\"", &entry.name[..], b"\": \""].concat();
        let at = bytes[checksums.clone()].windows(named.len()).position(|window| window == named);
        let Some(start) = at.map(|at| checksums.start + at + named.len()) else { continue };
        let hash = Fingerprint::of_bytes(&bytes[entry.content.clone()]).to_string();
        if start + hash.len() <= checksums.end {
            bytes[start..start + hash.len()].copy_from_slice(hash.as_bytes());
        }
    }
    for entry in &entries {
        let crc = crc32fast::hash(&bytes[entry.content.clone()]).to_le_bytes();
        bytes[entry.record + 16..entry.record + 20].copy_from_slice(&crc);
        bytes[entry.header + 14..entry.header + 18].copy_from_slice(&crc);
    }
    bytes
}

struct Entry {
    name: Vec<u8>,
    /// Where its record in the directory begins.
    record: usize,
    /// Where its own header begins.
    header: usize,
    content: std::ops::Range<usize>,
}

/// The entries of an archive, as far as they can be found.
fn places(bytes: &[u8]) -> Vec<Entry> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let entry = |record: usize| -> Option<Entry> {
        let (length, name, header) =
            (number(record + 24, 4)?, number(record + 28, 2)?, number(record + 42, 4)?);
        let name = bytes.get(record + 46..record + 46 + name)?.to_vec();
        let start = header + 30 + number(header + 26, 2)? + number(header + 28, 2)?;
        let content = start..start + length;
        (content.end <= record).then_some(Entry { name, record, header, content })
    };
    let mut entries = Vec::new();
    let mut record = bytes.len().checked_sub(22).and_then(|end| number(end + 16, 4));
    while let Some(found) = record.and_then(entry).filter(|_| entries.len() < 64) {
        record = Some(found.record + 46 + found.name.len());
        entries.push(found);
    }
    entries
}

/// The bundle in sections `old`, `header` and `body`, and an update of it: what the header says of the bundle is
/// made right, the body packed, and all sealed.
pub fn update(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut sections: BTreeMap<String, Vec<u8>> = sections(bytes).into_iter().collect();
    let [old, header, body] = ["old", "header", "body"].map(|name| sections.remove(name).unwrap_or_default());
    let header = match serde_json::from_slice::<serde_json::Value>(&header) {
        Ok(mut said) if said.is_object() => {
            said["from"] =
                serde_json::json!({"bytes": old.len(), "hash": Fingerprint::of_bytes(&old).to_string()});
            said.to_string().into_bytes()
        }
        _ => header,
    };
    let mut file = b"FROSTUP\n".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header);
    file.extend(zstd::encode_all(&body[..], 1).unwrap());
    file.extend([0; HASH]);
    (old, sealed(&file))
}

/// A file whose last bytes are the hash of those before, with the right hash.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.len().saturating_sub(HASH);
    let hash = Fingerprint::of_bytes(&bytes[..end]);
    [&bytes[..end], &hash.0[..bytes.len() - end]].concat()
}

/// A part of the feature store, made one of this key, with the right checksum; and its name.
pub fn part(bytes: &[u8], key: Fingerprint) -> (Vec<u8>, String) {
    let mut bytes = bytes.to_vec();
    if let Some(owner) = bytes.get_mut(24..56) {
        owner.copy_from_slice(&key.0);
    }
    let checksum = Fingerprint::of_bytes(&bytes[..bytes.len().saturating_sub(HASH)]);
    (sealed(&bytes), checksum.to_string()[..32].to_owned())
}
