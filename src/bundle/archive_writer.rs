//! Owns writing an archive, arranged as [`super::layout`] says.
//!
//! Refuses archives of 4 GiB and more.

use std::io::{Seek, SeekFrom, Write};

use super::layout::{Entry, end_record};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

/// Writes an archive: entries one after another, then the directory.
pub(super) struct ArchiveWriter<W> {
    out: W,
    entries: Vec<Entry>,
}

impl<W: Write + Seek> ArchiveWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, entries: Vec::new() }
    }

    /// Adds an entry that `write` writes; gives its hash.
    ///
    /// # Errors
    /// Writing fails, or the archive grows beyond 4 GiB.
    pub fn add(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Fingerprint> {
        let header = self.entries.last().map_or(0, Entry::end);
        let mut entry = Entry { name: name.to_owned(), crc: 0, length: 0, header };
        self.out.write_all(&entry.local_record()).map_err(unwritable)?;
        let mut counted = Counted {
            out: &mut self.out,
            crc: crc32fast::Hasher::new(),
            hash: blake3::Hasher::new(),
            length: 0,
        };
        write(&mut counted)?;
        entry.length = counted.length;
        entry.crc = counted.crc.finalize();
        let hash = Fingerprint(*counted.hash.finalize().as_bytes());
        if entry.end() >= u64::from(u32::MAX) {
            return Err(Error::new(Kind::Bundle, "the bundle would be too large")
                .entry(name)
                .found(format!("{} bytes", entry.end()))
                .expected("less than 4 GiB")
                .help("bundle it in a smaller precision"));
        }
        // The header said nothing of length and checksum, which are known only now.
        self.out.seek(SeekFrom::Start(header)).map_err(unwritable)?;
        self.out.write_all(&entry.local_record()).map_err(unwritable)?;
        self.out.seek(SeekFrom::Start(entry.end())).map_err(unwritable)?;
        self.entries.push(entry);
        Ok(hash)
    }

    /// Where an entry's bytes begin.
    pub fn start(&self, name: &str) -> Option<u64> {
        self.entries.iter().find(|entry| entry.name == name).map(Entry::start)
    }

    /// Hands everything written so far to the system.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(unwritable)
    }

    /// Writes the directory.
    pub fn finish(mut self) -> Result<W> {
        let directory = self.entries.last().map_or(0, Entry::end);
        let records: Vec<u8> = self.entries.iter().flat_map(Entry::central_record).collect();
        let end = end_record(self.entries.len(), directory, records.len() as u64);
        self.out.write_all(&[records, end].concat()).map_err(unwritable)?;
        self.flush()?;
        Ok(self.out)
    }
}

pub(super) fn unwritable(source: std::io::Error) -> Error {
    Error::io("write", "the bundle", source)
}

/// Counts and hashes what is written.
struct Counted<'w, W> {
    out: &'w mut W,
    crc: crc32fast::Hasher,
    hash: blake3::Hasher,
    length: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
