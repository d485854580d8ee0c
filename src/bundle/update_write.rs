//! Owns making an update: what of a new bundle is not in the old one, found without knowing what the bytes
//! mean.
//!
//! The same two bundles give the same bytes, but for signatures. Refuses two bundles that are one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::signature::{Signed, put_beside};
use super::signature_path;
use super::update::{FORMAT, Step, Update, UpdateHeader, whole_file};
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::recognize::UPDATE as MAGIC;

/// Bytes of the old bundle that are looked up together: its tensors begin at multiples of this.
const BLOCK: usize = 64;
/// How hard zstd tries. Numbers that were trained are hardly smaller for it, the rest is little.
const LEVEL: i32 = 12;
/// What the hash of a block is a polynomial of: odd, with ones and zeros all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// What the first byte of a block counts once there is another behind the block.
const GONE: u64 = FACTOR.wrapping_pow(BLOCK as u32);

/// What an update is made of.
#[derive(Debug, Clone)]
pub struct UpdateRequest<'r> {
    /// The bundle that a device has …
    pub old: &'r Path,
    /// … and the one that it shall have, with its signature beside it where it is to be signed.
    pub new: &'r Path,
    /// A minisign secret key to sign the update with.
    pub sign: Option<&'r PathBuf>,
    pub overwrite: bool,
}

/// Writes an update, and its signature beside it; whether it was there already.
///
/// # Errors
/// One of the two is no bundle, both are the same, another file is there, or reading or writing fails.
pub fn write_update(path: &Path, request: &UpdateRequest<'_>) -> Result<bool> {
    let UpdateRequest { old, new, sign, overwrite } = *request;
    let (from, to) = (whole_file(old)?.1, whole_file(new)?.1);
    if from == to {
        return Err(Error::new(Kind::Usage, "there is nothing to update")
            .at(old)
            .found("the very bundle that the run gives")
            .help("train the run further, or bundle it with other options"));
    }
    let signature = files::read(&signature_path(new))?.map(|bytes| String::from_utf8_lossy(&bytes).into());
    let frosthead = env!("CARGO_PKG_VERSION").to_owned();
    let header = UpdateHeader { format: FORMAT, frosthead, from, to, signature };
    let same = |there: Update| there.header.unsigned() == header.clone().unsigned();
    let up_to_date = Update::open(path, None).is_ok_and(same);
    if path.exists() && !up_to_date && !overwrite {
        return Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(path)
            .help("choose another --out, or say --overwrite"));
    }
    if !up_to_date || header.signature.is_some() {
        let read = |path: &Path| std::fs::read(path).map_err(|source| Error::io("read", path, source));
        files::write(path, &encoded(&header, &read(old)?, &read(new)?)?)?;
    }
    put_beside(Signed::Update, path, sign.map(PathBuf::as_path), up_to_date)?;
    Ok(up_to_date)
}

/// The bytes of an update's file.
pub(super) fn encoded(header: &UpdateHeader, old: &[u8], new: &[u8]) -> Result<Vec<u8>> {
    let (steps, fresh) = steps(old, new);
    let mut body = (steps.len() as u32).to_le_bytes().to_vec();
    body.extend(steps.iter().flat_map(|step| step.bytes()));
    body.extend(fresh);
    let body = zstd::encode_all(&body[..], LEVEL)
        .map_err(|source| Error::new(Kind::Io, "the update cannot be packed").because(source))?;
    Ok(sealed(document::line(header).as_bytes(), &body))
}

/// A header and a body as a file.
pub(super) fn sealed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    bytes.extend(body);
    bytes.extend(Fingerprint::of_bytes(&bytes).0);
    bytes
}

/// The steps that make the new bundle, and the new bytes of all of them.
fn steps(old: &[u8], new: &[u8]) -> (Vec<Step>, Vec<u8>) {
    let known = blocks(old);
    let (mut steps, mut fresh) = (Vec::new(), Vec::new());
    // Of what is done: its end in the new bundle, and that of the last range in the old one.
    let (mut done, mut before) = (0, 0);
    let mut window = Window::at(new, 0);
    while let Some(block) = window.block(new) {
        let at = window.start;
        let same = |start: &usize| old.get(*start..start + BLOCK) == Some(block);
        // First where the old bundle goes on.
        let start = Some(before + at - done)
            .filter(same)
            .or_else(|| known.get(&window.hash).map(|start| *start as usize).filter(same));
        let Some(start) = start else {
            window.roll(new);
            continue;
        };
        let ahead = old[start..].iter().zip(&new[at..]).take_while(|(old, new)| old == new).count();
        let unmatched = old[..start].iter().rev().zip(new[done..at].iter().rev());
        let back = unmatched.take_while(|(old, new)| old == new).count();
        let (start, at) = (start - back, at - back);
        let [new_bytes, length, place] = [at - done, ahead + back, start].map(|number| number as u32);
        let step = Step { new: new_bytes, length, start: place };
        put_new(&mut fresh, &new[done..at], step.is_difference(before as u64).then(|| &old[before..start]));
        steps.push(step);
        (done, before) = (at + ahead + back, start + ahead + back);
        window = Window::at(new, done);
    }
    if done < new.len() {
        fresh.extend(&new[done..]);
        steps.push(Step { new: (new.len() - done) as u32, length: 0, start: 0 });
    }
    (steps, fresh)
}

/// New bytes, or what they differ by from the old ones.
fn put_new(fresh: &mut Vec<u8>, new: &[u8], old: Option<&[u8]>) {
    match old {
        Some(old) => fresh.extend(new.iter().zip(old).map(|(new, old)| new.wrapping_sub(*old))),
        None => fresh.extend(new),
    }
}

/// Where each block of the old bundle lies; of equal ones the first.
fn blocks(old: &[u8]) -> HashMap<u64, u32> {
    let mut known = HashMap::with_capacity(old.len() / BLOCK);
    for (place, block) in old.chunks_exact(BLOCK).enumerate() {
        known.entry(hash(block)).or_insert((place * BLOCK) as u32);
    }
    known
}

/// Of the bytes b₀ … bₙ: Σ (bᵢ + 1) · fⁿ⁻ⁱ (Karp & Rabin 1987), modulo 2⁶⁴.
fn hash(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(FACTOR).wrapping_add(u64::from(*byte) + 1))
}

/// A block at any place of the new bundle.
struct Window {
    start: usize,
    hash: u64,
}

impl Window {
    fn at(bytes: &[u8], start: usize) -> Self {
        Self { start, hash: bytes.get(start..start + BLOCK).map_or(0, hash) }
    }

    /// Its bytes; none at the end.
    fn block<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        bytes.get(self.start..self.start + BLOCK)
    }

    /// Goes on by a byte.
    fn roll(&mut self, bytes: &[u8]) {
        let first = u64::from(bytes[self.start]) + 1;
        self.start += 1;
        if let Some(next) = bytes.get(self.start + BLOCK - 1) {
            let rest = self.hash.wrapping_mul(FACTOR).wrapping_sub(first.wrapping_mul(GONE));
            self.hash = rest.wrapping_add(u64::from(*next) + 1);
        }
    }
}
