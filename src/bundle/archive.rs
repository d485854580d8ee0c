//! Owns opening a bundle's archive and checking everything about it that its bytes outside the entries say.
//!
//! Refuses every archive that is not arranged exactly as [`super::layout`] arranges it: compressed,
//! encrypted, overlapping, doubled, misaligned or foreign entries, names that lead elsewhere, sizes beyond
//! their limits, headers that disagree.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::entries::limit;
use super::layout::{
    CENTRAL, CENTRAL_BYTES, END, END_BYTES, Entry, LOCAL, LOCAL_BYTES, alignment, end_record,
};
use crate::error::{Error, Kind, Result};
use crate::files::FileRange;
use crate::fingerprint::Fingerprint;
use crate::held::{Held, Identity, hash_range};
use crate::recognize::{Thing, Wanted};

/// Far more than a bundle ever has.
const MOST_ENTRIES: usize = 64;

/// An open archive whose records have been checked; the entries' bytes have not.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    /// What it is called in messages.
    path: PathBuf,
    /// What the file was before anything of it was read.
    known: Identity,
    entries: Vec<Entry>,
}

impl Archive {
    /// Opens an archive and checks its records.
    ///
    /// # Errors
    /// It cannot be read, or is not arranged as a bundle.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, path)
    }

    /// Opens the one at `place`, which is called `path` in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(place: &Path, path: &Path) -> Result<Self> {
        match Thing::of(place) {
            Thing::Bundle => {}
            thing => return Err(thing.instead_of(Wanted::Bundle, Some(path))),
        }
        let failed = |source| Error::io("read", path, source);
        let file = File::open(place).map_err(failed)?;
        let known = Identity::of(&file).map_err(failed)?;
        let entries = entries(&file, known.bytes()).map_err(|error| error.at(path))?;
        Ok(Self { file, path: path.to_path_buf(), known, entries })
    }

    /// Holds the file, of which an entry with that hash is used in place; `place` is where it was opened.
    ///
    /// # Errors
    /// The system has no room for another open file.
    pub fn held(&self, place: &Path, entry: &Entry, hash: Fingerprint) -> Result<Held> {
        let mut held = Held::default();
        let file = self.file.try_clone().map_err(|source| Error::io("read", &self.path, source))?;
        held.hold(file, place.to_path_buf(), (entry.start()..entry.end(), hash), self.known);
        Ok(held)
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.known.bytes()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An entry by name.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| lie("an entry is missing").at(&self.path).expected(format!("{name:?}")))
    }

    /// All bytes of an entry, no more than its [`limit`].
    ///
    /// # Errors
    /// There is no such entry, or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.entry(name)?;
        let mut bytes = vec![0; usize::try_from(entry.length).unwrap_or(usize::MAX)];
        self.read_at(entry.start(), &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read_at(&self, start: u64, into: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(into, start).map_err(|source| Error::io("read", &self.path, source))
    }

    /// The hash of an entry's bytes.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn hash(&self, entry: &Entry) -> Result<Fingerprint> {
        self.hash_range(entry.start()..entry.end())
    }

    /// The hash of some bytes of the file.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn hash_range(&self, range: Range<u64>) -> Result<Fingerprint> {
        hash_range(&self.file, range).map_err(|source| Error::io("read", &self.path, source))
    }

    /// The whole file, from its start.
    pub fn reader(&self) -> FileRange<'_> {
        FileRange::new(&self.file, 0..self.bytes())
    }
}

/// What to do with a bundle that is not what it says.
pub(super) const AGAIN: &str = "copy the bundle again from where it was made; do not unpack and zip it";

/// A bundle that is not what it says.
pub(super) fn lie(what: &str) -> Error {
    Error::new(Kind::Bundle, what).help(AGAIN)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read(file: &File, start: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start).map_err(|source| lie("the bundle is truncated").because(source))?;
    Ok(bytes)
}

fn entries(file: &File, length: u64) -> Result<Vec<Entry>> {
    let end_start = length.checked_sub(END_BYTES as u64).ok_or_else(|| {
        lie("this is not a bundle")
            .found(format!("{length} bytes"))
            .expected("a file made by `frosthead bundle`")
    })?;
    let end = read(file, end_start, END_BYTES)?;
    if read(file, 0, 4)? != LOCAL {
        return Err(lie("this is not a bundle").expected("a file made by `frosthead bundle`"));
    }
    if end[..4] != END {
        return Err(lie("the bundle is truncated, or something was added to it")
            .expected("the directory of its entries at its end"));
    }
    let (count, size, start) = (number(&end, 10, 2) as usize, number(&end, 12, 4), number(&end, 16, 4));
    if count > MOST_ENTRIES || start + size != end_start || end != end_record(count, start, size) {
        return Err(lie("the end of the bundle is not as frosthead writes it").found(format!(
            "{count} entries, a directory of {size} bytes at {start}, a file of {length} bytes"
        )));
    }
    let directory = read(file, start, usize::try_from(size).unwrap_or(usize::MAX))?;
    let entries = directory_entries(&directory, count)?;
    check_names(&entries)?;
    check_places(&entries, start)?;
    for entry in &entries {
        check_local(file, entry)?;
    }
    Ok(entries)
}

/// The entries as the central directory has them.
fn directory_entries(directory: &[u8], count: usize) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(count);
    let mut rest = directory;
    for _ in 0..count {
        if rest.len() < CENTRAL_BYTES || rest[..4] != CENTRAL {
            return Err(lie("the directory of the bundle is damaged"));
        }
        let whole = CENTRAL_BYTES + number(rest, 28, 2) as usize;
        let name = rest.get(CENTRAL_BYTES..whole).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| lie("the directory of the bundle is damaged"))?;
        let entry = Entry {
            name: name.to_owned(),
            crc: number(rest, 16, 4) as u32,
            length: number(rest, 24, 4),
            header: number(rest, 42, 4),
        };
        check_stored(rest, &entry)?;
        if rest[..whole] != entry.central_record() {
            return Err(lie("an entry of the directory is not as frosthead writes it").entry(name));
        }
        entries.push(entry);
        rest = &rest[whole..];
    }
    if rest.is_empty() { Ok(entries) } else { Err(lie("the directory of the bundle is damaged")) }
}

/// An entry is stored as it is: the two ways of saying otherwise deserve a message of their own.
fn check_stored(record: &[u8], entry: &Entry) -> Result<()> {
    let (flags, method, stored) = (number(record, 8, 2), number(record, 10, 2), number(record, 20, 4));
    if method != 0 || stored != entry.length {
        return Err(lie("an entry is compressed: the bundle was zipped anew")
            .entry(&entry.name)
            .found(format!("method {method}, {stored} bytes for {}", entry.length))
            .expected("entries stored as they are"));
    }
    if flags & 1 != 0 {
        return Err(lie("an entry is encrypted").entry(&entry.name));
    }
    Ok(())
}

fn check_names(entries: &[Entry]) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.name.as_str();
        let plain = Path::new(name).file_name().is_some_and(|file| file == name);
        if !plain || name.contains(['\\', '\0', ':']) {
            return Err(lie("an entry's name leads out of the bundle").found(format!("{name:?}")));
        }
        if entries[..index].iter().any(|other| other.name == name) {
            return Err(lie("an entry is there twice").found(format!("{name:?}")));
        }
        let most = limit(name);
        if entry.length > most {
            return Err(lie("an entry is larger than it can honestly be")
                .entry(name)
                .found(format!("{} bytes", entry.length))
                .expected(format!("at most {most}")));
        }
    }
    Ok(())
}

/// Entries follow one another without gap or overlap, in the order of the directory, up to the directory.
fn check_places(entries: &[Entry], directory: u64) -> Result<()> {
    let mut end = 0;
    for entry in entries {
        let what = if entry.header < end { "entries overlap" } else { "there are bytes between the entries" };
        if entry.header != end {
            return Err(lie(what)
                .entry(&entry.name)
                .found(format!("its header at byte {}", entry.header))
                .expected(format!("byte {end}")));
        }
        debug_assert_eq!(entry.start() % alignment(&entry.name), 0);
        end = entry.end();
        if end > directory {
            return Err(lie("an entry is longer than the bundle")
                .entry(&entry.name)
                .found(format!("its end at byte {end}"))
                .expected(format!("at most {directory}")));
        }
    }
    if end == directory { Ok(()) } else { Err(lie("there are bytes between the entries and the directory")) }
}

/// The header in front of an entry's bytes says the same as the directory, and pads them to their alignment.
fn check_local(file: &File, entry: &Entry) -> Result<()> {
    let expected = entry.local_record();
    let found = read(file, entry.header, expected.len())?;
    if found == expected {
        return Ok(());
    }
    let padding = LOCAL_BYTES as usize + entry.name.len();
    let what = if found[..28] == expected[..28] && found[30..padding] == expected[30..padding] {
        "an entry is not aligned as frosthead aligns it"
    } else {
        "the directory and an entry's own header disagree"
    };
    Err(lie(what).entry(&entry.name))
}
