//! Owns what a table's first bytes tell of its container: gzip and zstd are unpacked as they are read.
//!
//! Refuses a stream that is damaged or cut off, and whatever else is no table of text, by its name.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::format::names_compressed;
use crate::error::{Error, Kind, Result};
use crate::recognize::{Thing, Wanted};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Bytes that tell every kind of file below.
const ENOUGH: usize = 512;
const BUFFER: usize = 1 << 16;

/// A table's own bytes, unpacked where they are packed; `path` where they come from a file.
///
/// # Errors
/// The input cannot be read, is empty, or is a file of another kind.
pub(super) fn unpacked(input: Box<dyn BufRead>, path: Option<&Path>) -> Result<Box<dyn BufRead>> {
    let (head, input) = peek(input, is_telling)?;
    if head.is_empty() {
        return Err(super::row::empty_table());
    }
    let (input, packed) = unpack(&head, input)?;
    if !packed && path.is_some_and(names_compressed) {
        return Err(Error::new(Kind::Table, "the file is not compressed, though its name says so")
            .found("neither gzip nor zstd data")
            .help("take .gz or .zst off the file's name, if it holds the table as it is; else get it anew"));
    }
    let (head, input) = peek(input, is_telling)?;
    if head.is_empty() {
        return Err(super::row::empty_table());
    }
    // What is packed twice is not unpacked twice.
    match Thing::of_start(&head) {
        Some(Thing::Zip) => Err(path.map_or(Thing::Zip, Thing::of).instead_of(Wanted::Table, path)),
        Some(thing) => Err(thing.instead_of(Wanted::Table, path)),
        None => Ok(input),
    }
}

/// Starts unpacking what begins like something packed; whether it does.
fn unpack(head: &[u8], input: Box<dyn BufRead>) -> Result<(Box<dyn BufRead>, bool)> {
    let unpacking: Box<dyn Read> = if head.starts_with(GZIP) {
        Box::new(Unpacking { stream: MultiGzDecoder::new(input), kind: "gzip" })
    } else if head.starts_with(ZSTD) || is_skippable(head) {
        let stream = zstd::stream::read::Decoder::with_buffer(input)
            .map_err(|source| Error::new(Kind::Io, "zstd cannot be unpacked").because(source))?;
        Box::new(Unpacking { stream, kind: "zstd" })
    } else {
        return Ok((input, false));
    };
    Ok((Box::new(BufReader::with_capacity(BUFFER, unpacking)), true))
}

/// A frame that zstd passes over, as tools put one first (RFC 8878, 3.1.2).
fn is_skippable(head: &[u8]) -> bool {
    head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == *b"\x2a\x4d\x18"
}

/// A file as Parquet needs it, which is read from its end: unpacked into a temporary file where it is packed.
///
/// # Errors
/// It cannot be read, is damaged, or there is no room for it.
#[cfg(feature = "parquet")]
pub(super) fn seekable(path: &Path) -> Result<std::fs::File> {
    use std::io::Seek as _;
    let mut file = super::row::open_file(path)?;
    let mut head = Vec::new();
    (&mut file).take(4).read_to_end(&mut head).map_err(|source| Error::io("read", path, source))?;
    file.rewind().map_err(|source| Error::io("read", path, source))?;
    let input = BufReader::with_capacity(BUFFER, file);
    let (mut input, packed) = unpack(&head, Box::new(input)).map_err(|error| error.at(path))?;
    if !packed {
        return super::row::open_file(path);
    }
    let place = std::env::temp_dir();
    let failed = |source: io::Error| match source.downcast::<Error>() {
        Ok(error) => error.at(path),
        Err(source) => Error::io("unpack a table into", &place, source),
    };
    let mut whole = tempfile::tempfile_in(&place).map_err(failed)?;
    io::copy(&mut input, &mut whole).map_err(failed)?;
    whole.rewind().map_err(failed)?;
    Ok(whole)
}

/// A packed stream that names what is wrong with it.
struct Unpacking<R> {
    stream: R,
    kind: &'static str,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).map_err(|source| {
            // The system's own errors stay what they are.
            if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::Interrupted {
                return source;
            }
            let damaged = format!("the {} data is damaged or cut off", self.kind);
            let error =
                Error::new(Kind::Table, damaged).help("get the file anew, or compress the table again");
            io::Error::other(error.because(source))
        })
    }
}

/// Whether the first bytes tell what they belong to: no row ends before a line does.
fn is_telling(head: &[u8]) -> bool {
    head.len() >= ENOUGH || head.contains(&b'\n')
}

/// Reads on until what was read is enough, or the input ends. Everything read is given, and still to be read.
pub(super) fn peek(
    mut input: Box<dyn BufRead>,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<(Vec<u8>, Box<dyn BufRead>)> {
    let mut head = Vec::new();
    while !enough(&head) {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(unreadable(source)),
        };
        if bytes.is_empty() {
            break;
        }
        let read = bytes.len();
        head.extend_from_slice(bytes);
        input.consume(read);
    }
    let again = Cursor::new(head.clone()).chain(input);
    Ok((head, Box::new(again)))
}

/// The error of an input that cannot be read: its own where it has one to tell.
pub(super) fn unreadable(source: io::Error) -> Error {
    match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::new(Kind::Io, "the table cannot be read").because(source),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], path: Option<&str>) -> Result<Vec<u8>> {
        let input = Box::new(Cursor::new(bytes.to_vec()));
        let mut whole = Vec::new();
        unpacked(input, path.map(Path::new))?.read_to_end(&mut whole).map_err(unreadable)?;
        Ok(whole)
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_its_name_and_in_how_many_parts() {
        let text: Vec<u8> = (0..200_000).map(|row| b"text,label\n"[row % 11]).collect();
        let (half, rest) = text.split_at(77_777);
        for name in [None, Some("a.csv"), Some("a.csv.gz"), Some("a.csv.zst")] {
            assert_eq!(read(&gzip(&text), name).unwrap(), text);
            assert_eq!(read(&[gzip(half), gzip(rest)].concat(), name).unwrap(), text);
            assert_eq!(read(&zstd(&text), name).unwrap(), text);
            let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
            assert_eq!(read(&[skippable, &zstd(half)[..], &zstd(rest)].concat(), name).unwrap(), text);
        }
        assert_eq!(read(&text, Some("a.csv")).unwrap(), text);
    }

    #[test]
    fn a_packed_stream_that_ends_too_early_is_refused_wherever_it_ends() {
        let text = b"text,label\na,b\nc,d\n".repeat(3);
        for (whole, kind, start) in [(gzip(&text), "gzip", 2), (zstd(&text), "zstd", 4)] {
            for end in start..whole.len() {
                let error = read(&whole[..end], None).unwrap_err().to_string();
                assert!(error.contains(&format!("the {kind} data is damaged or cut off")), "{end}: {error}");
            }
            let twice = [&whole[..], &whole].concat();
            for end in whole.len() + start..twice.len() {
                read(&twice[..end], None).unwrap_err();
            }
        }
    }

    #[test]
    fn a_packed_stream_with_a_changed_byte_is_refused() {
        let text = b"text,label\na,b\nc,d\n".repeat(3);
        for whole in [gzip(&text), zstd(&text)] {
            // What stands before the data is not covered by a checksum: the time, the system, the level.
            for place in 10..whole.len() {
                let mut changed = whole.clone();
                changed[place] ^= 0x10;
                match read(&changed, None) {
                    Ok(read) => assert_eq!(read, text),
                    Err(error) => assert!(error.to_string().contains("damaged or cut off"), "{error}"),
                }
            }
        }
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        let sheet = [&b"PK\x03\x04"[..], &[0; 26], b"[Content_Types].xml"].concat();
        let twice = gzip(&gzip(b"text\na\n"));
        let bzip: &[u8] = b"BZh91AY&SY\x01";
        for (bytes, kind) in [
            (&sheet[..], "spreadsheet"),
            (b"PAR1\x15\x04", "Parquet"),
            (b"\xfd7zXZ\0\0", "xz"),
            (bzip, "bzip2"),
            (&twice, "packed with gzip"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        ] {
            let error = read(bytes, None).unwrap_err();
            assert!(error.to_string().contains(kind) && error.remedy().is_some(), "{error}");
        }
        let mut archive = vec![b'a'; 300];
        archive[257..262].copy_from_slice(b"ustar");
        assert!(read(&gzip(&archive), None).unwrap_err().to_string().contains("tar archive"));
    }

    #[test]
    fn a_plain_file_that_is_called_packed_is_refused() {
        let error = read(b"text\na\n", Some("a.csv.gz")).unwrap_err();
        assert!(error.to_string().contains("not compressed") && error.remedy().unwrap().contains(".gz"));
    }

    #[test]
    fn nothing_is_an_empty_table_packed_or_not() {
        for bytes in [Vec::new(), gzip(b""), zstd(b"")] {
            assert!(read(&bytes, None).unwrap_err().to_string().contains("the table is empty"));
        }
    }
}
