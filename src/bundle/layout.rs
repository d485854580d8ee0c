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
        let zeros = fixed.next_multiple_of(alignment) - fixed;
        let mut extra = PADDING_ID.to_le_bytes().to_vec();
        // Below a page, both.
        extra.extend((2 + zeros as u16).to_le_bytes());
        extra.extend((alignment as u16).to_le_bytes());
        extra.resize(6 + zeros as usize, 0);
        extra
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
        let size = self.length as u32;
        let mut bytes = Vec::new();
        // Flags, method (stored), time.
        [NEEDED, 0, 0, 0, DATE].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        [self.crc, size, size].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes
    }

    /// The header in front of its bytes, padding included.
    pub fn local_record(&self) -> Vec<u8> {
        let padding = self.padding();
        let mut record = LOCAL.to_vec();
        record.extend(self.common());
        record.extend((padding.len() as u16).to_le_bytes());
        record.extend(self.name.as_bytes());
        record.extend(padding);
        record
    }

    /// Its record in the central directory.
    pub fn central_record(&self) -> Vec<u8> {
        let mut record = CENTRAL.to_vec();
        record.extend(MADE_BY.to_le_bytes());
        record.extend(self.common());
        // Extra field, comment, disk, internal attributes.
        record.extend([0; 8]);
        record.extend(ATTRIBUTES.to_le_bytes());
        record.extend((self.header as u32).to_le_bytes());
        record.extend(self.name.as_bytes());
        record
    }
}

/// What an entry's first byte is a multiple of.
pub(super) fn alignment(name: &str) -> u64 {
    if name == super::entries::DATA { PAGE } else { LINE }
}

/// The record at the archive's end.
pub(super) fn end_record(entries: usize, directory: u64, size: u64) -> Vec<u8> {
    let mut record = END.to_vec();
    record.extend([0; 4]);
    record.extend([entries as u16; 2].map(u16::to_le_bytes).concat());
    record.extend((size as u32).to_le_bytes());
    record.extend((directory as u32).to_le_bytes());
    record.extend([0; 2]);
    record
}
