//! Owns how a bundle's bytes are arranged: the ZIP records (stored entries only, no time stamps), their order
//! and alignment.
//!
//! One arrangement for one list of entries: what is read is compared with what would have been written.
//! Refuses archives of 4 GiB and more (ZIP64 is not needed for the encoders this project is for).
//!
//! Source of the records: PKWARE's APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16; the padding is that of
//! Android's zipalign.

pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(super) const CENTRAL: [u8; 4] = *b"PK\x01\x02";
pub(super) const END: [u8; 4] = *b"PK\x05\x06";
pub(super) const LOCAL_BYTES: u64 = 30;
pub(super) const CENTRAL_BYTES: usize = 46;
pub(super) const END_BYTES: usize = 22;
/// Weights begin at a page, so that they can be mapped.
const PAGE: u64 = 4096;
/// Everything else begins at a cache line.
const LINE: u64 = 64;
/// Version 2.0 of the format, on Unix.
const MADE_BY: u16 = 0x0314;
const NEEDED: u16 = 20;
/// 1980-01-01, the format's first day: a bundle has no time.
const DATE: u16 = 0x0021;
/// An ordinary file that everybody may read.
const ATTRIBUTES: u32 = 0o100_644 << 16;
/// zipalign's extra field: the alignment, then zeros.
const PADDING_ID: u16 = 0xD935;

/// An entry and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub crc: u32,
    pub length: u64,
    /// Where its local header begins.
    pub header: u64,
}

impl Entry {
    /// The padding in front of the entry's bytes, as an extra field.
    fn padding(&self) -> Vec<u8> {
        let alignment = alignment(&self.name);
        let fixed = self.header + LOCAL_BYTES + self.name.len() as u64 + 6;
        let zeros = (fixed.next_multiple_of(alignment) - fixed) as usize;
        // Below a page, both.
        let [size, alignment] = [2 + zeros as u16, alignment as u16].map(u16::to_le_bytes);
        [&PADDING_ID.to_le_bytes()[..], &size, &alignment, &vec![0; zeros]].concat()
    }

    /// Where its bytes begin.
    pub fn start(&self) -> u64 {
        self.header + LOCAL_BYTES + self.name.len() as u64 + self.padding().len() as u64
    }

    /// Where its bytes end.
    pub fn end(&self) -> u64 {
        self.start() + self.length
    }

    /// What both headers say alike, from the version needed to the length of the name.
    fn common(&self) -> Vec<u8> {
        // Flags, method (stored), time.
        let fixed = [NEEDED, 0, 0, 0, DATE].map(u16::to_le_bytes).concat();
        let size = self.length as u32;
        let content = [self.crc, size, size].map(u32::to_le_bytes).concat();
        [&fixed[..], &content, &(self.name.len() as u16).to_le_bytes()].concat()
    }

    /// The header in front of its bytes, padding included.
    pub fn local_record(&self) -> Vec<u8> {
        let padding = self.padding();
        let length = (padding.len() as u16).to_le_bytes();
        [&LOCAL[..], &self.common(), &length, self.name.as_bytes(), &padding].concat()
    }

    /// Its record in the central directory.
    pub fn central_record(&self) -> Vec<u8> {
        // Extra field, comment, disk, internal attributes.
        let none = [0; 8];
        let [attributes, header] = [ATTRIBUTES, self.header as u32].map(u32::to_le_bytes);
        let version = MADE_BY.to_le_bytes();
        let common = self.common();
        [&CENTRAL[..], &version, &common, &none, &attributes, &header, self.name.as_bytes()].concat()
    }
}

/// What an entry's first byte is a multiple of.
pub(super) fn alignment(name: &str) -> u64 {
    if name == super::entries::DATA { PAGE } else { LINE }
}

/// The record at the archive's end.
pub(super) fn end_record(entries: usize, directory: u64, size: u64) -> Vec<u8> {
    // This disk, and the directory's.
    let disks = [0; 4];
    let count = (entries as u16).to_le_bytes();
    let [size, directory] = [size as u32, directory as u32].map(u32::to_le_bytes);
    let comment = [0; 2];
    [&END[..], &disks, &count, &count, &size, &directory, &comment].concat()
}
