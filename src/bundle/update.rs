//! Owns the update: a small signed file by which a device makes a new bundle out of the one that it has.
//!
//! An update names both bundles by the hashes of their whole files, and says the new one as bytes of its own
//! and ranges of the old one. What it makes is the new bundle to the bit, or nothing. Refuses an update that
//! is cut off or altered, that is of another bundle, that is not signed where a key is given, and one that
//! makes anything else than it says.
//!
//! The file: `FROSTUP` and a line feed, the length of the header (u32, little-endian), the header (JSON), the
//! body (zstd), and the hash of all bytes before it. The body: the number of steps (u32), then each step's
//! number of new bytes, and the length and the start of the range of the old bundle that follows them (u32
//! each); then the new bytes of all steps. New bytes that stand for as many of the old bundle, between two
//! ranges, are their differences to these, byte by byte: numbers that moved a little are small then.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::signature::{PublicKey, Signed};
use super::{Bundle, signature_path};
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files::{self, FileRange};
use crate::fingerprint::Fingerprint;
use crate::held::hash_range;
use crate::recognize::{Thing, UPDATE as MAGIC, Wanted};

/// The format of updates that this version writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a hash.
const HASH: u64 = 32;
/// Far more than a header ever has.
const LARGEST_HEADER: u64 = 1 << 20;
/// Far more steps than an update ever has; each takes 12 bytes of memory.
const MOST_STEPS: u32 = 1 << 24;
/// Bytes that are worked on at a time.
const PIECE: usize = 256 * 1024;

/// What an update says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateHeader {
    pub format: u32,
    /// The version that made it.
    pub frosthead: String,
    /// The bundle that it is applied to …
    pub from: WholeFile,
    /// … and the one that comes out.
    pub to: WholeFile,
    /// The signature of that, where it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl UpdateHeader {
    /// The same without the signature, which is another one whenever somebody signs.
    pub(super) fn unsigned(self) -> Self {
        Self { signature: None, ..self }
    }
}

/// A file, by its size and the hash of all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeFile {
    pub bytes: u64,
    pub hash: Fingerprint,
}

/// New bytes, and a range of the old bundle behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub new: u32,
    pub length: u32,
    pub start: u32,
}

impl Step {
    /// Whether its new bytes are differences to the old bundle's, of which `before` is the end of the last
    /// range: as many lie there between the two.
    pub fn is_difference(self, before: u64) -> bool {
        before + u64::from(self.new) == u64::from(self.start)
    }

    /// Where its range ends.
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.length)
    }

    pub fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.new, self.length, self.start]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// How an update is applied.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// Where the new bundle goes; none: it takes the old one's place.
    pub out: Option<PathBuf>,
    /// Whose updates are applied; none: anybody's.
    pub trust: Option<PublicKey>,
    /// Replace another file.
    pub overwrite: bool,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// Where the new bundle lies.
    pub path: PathBuf,
    pub header: UpdateHeader,
    /// The new bundle was there already.
    pub up_to_date: bool,
}

/// Makes the new bundle out of the old one, and puts its signature beside it.
///
/// # Errors
/// The update is damaged, is not signed with the key, or is of another bundle; the new bundle is not what the
/// update says; another file is there; or a file cannot be read or written. Then everything is as it was.
pub fn apply_update(old: &Path, update: &Path, options: &UpdateOptions) -> Result<Updated> {
    let opened = Update::open(update, options.trust.as_ref())?;
    let header = opened.header.clone();
    let out = options.out.clone().unwrap_or_else(|| old.to_path_buf());
    let done = |up_to_date| Updated { path: out.clone(), header: header.clone(), up_to_date };
    // Whoever was killed on the way, or asks once more, has it there.
    if out.is_file() && Fingerprint::of_file(&out)? == header.to.hash {
        put_signature(&out, &header)?;
        return Ok(done(true));
    }
    let (file, found) = whole_file(old)?;
    if found != header.from {
        return Err(Error::new(Kind::Bundle, "the update is of another bundle")
            .at(old)
            .found(format!("hash {}", found.hash.told_from(&header.from.hash)))
            .expected(header.from.hash.told_from(&found.hash))
            .help("apply it to the bundle that it was made of (`bundle --update-of`), unchanged"));
    }
    if options.out.is_some() && out.exists() && !options.overwrite {
        return Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(&out)
            .help("choose another --out, or say --overwrite"));
    }
    files::replace_file(&out, |new, temporary| {
        opened.make(&file, new)?;
        let (made, expected) = (Fingerprint::of_file(temporary)?, header.to.hash);
        if made != expected {
            return Err(altered("the update does not make the bundle that it says")
                .at(update)
                .found(format!("hash {}", made.told_from(&expected)))
                .expected(expected.told_from(&made)));
        }
        opened.check_signature(temporary, options.trust.as_ref())?;
        Bundle::open(temporary, None).map(|_| ()).map_err(|error| error.at(update))
    })?;
    put_signature(&out, &header)?;
    Ok(done(false))
}

/// The signature of a bundle that came out of an update goes beside it; one of another bundle goes away.
fn put_signature(out: &Path, header: &UpdateHeader) -> Result<()> {
    let beside = signature_path(out);
    match &header.signature {
        Some(signature) if files::read(&beside)?.as_deref() == Some(signature.as_bytes()) => Ok(()),
        Some(signature) => files::write(&beside, signature.as_bytes()),
        None if beside.exists() => {
            std::fs::remove_file(&beside).map_err(|source| Error::io("remove", &beside, source))
        }
        None => Ok(()),
    }
}

/// A file, opened, with its size and hash.
pub(super) fn whole_file(path: &Path) -> Result<(File, WholeFile)> {
    let failed = |source| Error::io("read", path, source);
    match Thing::of(path) {
        Thing::Bundle => {}
        thing => return Err(thing.instead_of(Wanted::Bundle, Some(path))),
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let hash = hash_range(&file, 0..bytes).map_err(failed)?;
    Ok((file, WholeFile { bytes, hash }))
}

/// An update that is not what it must be.
fn altered(what: &str) -> Error {
    Error::new(Kind::Bundle, what).help("copy the update again from where it was made")
}

/// An update that was opened, and its signature checked where a key is given.
#[derive(Debug)]
pub(super) struct Update {
    path: PathBuf,
    file: File,
    pub header: UpdateHeader,
    /// Where its body lies.
    body: std::ops::Range<u64>,
}

impl Update {
    /// Opens an update and checks all of it but its body's steps.
    ///
    /// # Errors
    /// It is none, is cut off or altered, or is not signed with the key.
    pub fn open(path: &Path, key: Option<&PublicKey>) -> Result<Self> {
        match Thing::of(path) {
            Thing::Update => {}
            thing => return Err(thing.instead_of(Wanted::Update, Some(path))),
        }
        let failed = |source| Error::io("read", path, source);
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        // Before anything of it is believed.
        if let Some(key) = key {
            Signed::Update.verify(path, FileRange::new(&file, 0..size), key)?;
        }
        let cut_off = || altered("the update is cut off or altered").at(path);
        let start = MAGIC.len() as u64 + 4;
        let end = size.checked_sub(HASH).filter(|end| *end >= start).ok_or_else(cut_off)?;
        let mut hash = [0; HASH as usize];
        file.read_exact_at(&mut hash, end).map_err(failed)?;
        if hash_range(&file, 0..end).map_err(failed)? != Fingerprint(hash) {
            return Err(cut_off());
        }
        let mut length = [0; 4];
        file.read_exact_at(&mut length, MAGIC.len() as u64).map_err(failed)?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > LARGEST_HEADER || start + length > end {
            return Err(altered("the update's header is longer than the update").at(path));
        }
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, start).map_err(failed)?;
        let what = "the update's header is not what it must be";
        let header: UpdateHeader = document::versioned_json(&header, &(FORMAT..=FORMAT), Kind::Bundle, what)
            .map_err(|error| error.at(path))?;
        if header.to.bytes > u64::from(u32::MAX) {
            return Err(altered("the update makes a larger file than a bundle can be").at(path));
        }
        Ok(Self { path: path.to_path_buf(), file, header, body: start + length..end })
    }

    /// Writes the new bundle, out of the old one and the update's own bytes.
    fn make(&self, old: &File, out: &mut File) -> Result<()> {
        let unreadable =
            |source| altered("the update's body is not what it must be").at(&self.path).because(source);
        let body = BufReader::new(FileRange::new(&self.file, self.body.clone()));
        let mut body = zstd::stream::read::Decoder::with_buffer(body).map_err(unreadable)?;
        let steps = self.steps(&mut body)?;
        let mut out = BufWriter::with_capacity(PIECE, out);
        let (mut fresh, mut piece) = (vec![0; PIECE], vec![0; PIECE]);
        let mut before = 0;
        for step in steps {
            let mut left = u64::from(step.new);
            while left > 0 {
                let size = left.min(PIECE as u64) as usize;
                let fresh = &mut fresh[..size];
                body.read_exact(fresh).map_err(unreadable)?;
                if step.is_difference(before) {
                    let piece = &mut piece[..size];
                    self.old_bytes(old, u64::from(step.start) - left, piece)?;
                    fresh.iter_mut().zip(piece).for_each(|(byte, old)| *byte = byte.wrapping_add(*old));
                }
                out.write_all(fresh).map_err(unwritable)?;
                left -= size as u64;
            }
            for place in (u64::from(step.start)..step.end()).step_by(PIECE) {
                let size = (step.end() - place).min(PIECE as u64) as usize;
                self.old_bytes(old, place, &mut piece[..size])?;
                out.write_all(&piece[..size]).map_err(unwritable)?;
            }
            before = step.end();
        }
        out.flush().map_err(unwritable)
    }

    fn old_bytes(&self, old: &File, start: u64, into: &mut [u8]) -> Result<()> {
        old.read_exact_at(into, start).map_err(|source| {
            altered("the old bundle cannot be read where the update needs it").at(&self.path).because(source)
        })
    }

    /// The steps, which must make just as many bytes as the header says out of what the old bundle has.
    fn steps(&self, body: &mut impl Read) -> Result<Vec<Step>> {
        let mut number = || -> std::io::Result<u32> {
            let mut bytes = [0; 4];
            body.read_exact(&mut bytes).map(|()| u32::from_le_bytes(bytes))
        };
        let wrong = || altered("the update's steps do not make the bundle that it says").at(&self.path);
        let unreadable = |source| wrong().because(source);
        let count = number().map_err(unreadable)?;
        if count > MOST_STEPS {
            return Err(wrong().found(format!("{count} steps")));
        }
        let (mut steps, mut made) = (Vec::new(), 0);
        for _ in 0..count {
            let [new, length, start] = [number(), number(), number()];
            let step = Step {
                new: new.map_err(unreadable)?,
                length: length.map_err(unreadable)?,
                start: start.map_err(unreadable)?,
            };
            made += u64::from(step.new) + u64::from(step.length);
            if made > self.header.to.bytes || (step.length > 0 && step.end() > self.header.from.bytes) {
                return Err(wrong().found("a range that is not there, or more bytes than it says"));
            }
            steps.push(step);
        }
        if made != self.header.to.bytes {
            return Err(wrong().found(format!("{made} bytes")).expected(self.header.to.bytes.to_string()));
        }
        Ok(steps)
    }

    /// Whoever trusts a key gets a bundle that is signed with it, too.
    fn check_signature(&self, made: &Path, key: Option<&PublicKey>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let file = File::open(made).map_err(|source| Error::io("read", made, source))?;
        let all = FileRange::new(&file, 0..self.header.to.bytes);
        let Some(signature) = &self.header.signature else {
            return Err(altered("the update brings no signature of the bundle that it makes")
                .at(&self.path)
                .help("make it with `bundle --update-of … --sign KEY`"));
        };
        Signed::Bundle.verify_by(signature, &self.path, all, key)
    }
}

fn unwritable(source: std::io::Error) -> Error {
    Error::io("write", "the bundle", source)
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
