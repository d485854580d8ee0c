//! Owns the reading of a safetensors file's header: which tensors there are, where, and whether the file
//! holds them all.
//!
//! Refuses to read the numbers (callers do, piece by piece) and to know which tensors there should be. It
//! reads the header itself because the library's reader needs the whole file in memory or mapped, and names
//! no tensor in most errors.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use serde_json::Value;

use serde_json::json;

use super::layout::Expected;
use crate::error::{Error, Kind, Result};
use crate::recognize::FETCH;

/// The format's own limit for a header.
const LARGEST_HEADER: u64 = 100_000_000;

/// An open safetensors file.
#[derive(Debug)]
pub(super) struct Header {
    file: File,
    path: PathBuf,
    /// Where the first tensor begins.
    data_start: u64,
    /// Name, element type, shape and byte range after `data_start`.
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Opens a file and checks that every tensor it announces is wholly there.
    ///
    /// # Errors
    /// The file cannot be read, is not a safetensors file, or is truncated or damaged.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
        let size = file.metadata().map_err(|source| Error::io("read", path, source))?.len();
        let text = read_text(&file, size).map_err(|error| error.at(path))?;
        let data_start = 8 + text.len() as u64;
        let tensors = parse(&text).map_err(|error| error.at(path))?;
        check_ranges(&tensors, size - data_start).map_err(|error| error.at(path))?;
        Ok(Self { file, path: path.to_path_buf(), data_start, tensors })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first byte of a tensor in the file.
    pub(super) fn offset(&self, tensor: &TensorInfo) -> u64 {
        self.data_start + tensor.data_offsets.0 as u64
    }

    /// Reads bytes of a tensor, `start` bytes after its first.
    pub(super) fn read(&self, tensor: &TensorInfo, start: u64, into: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(into, self.offset(tensor) + start)
            .map_err(|source| Error::io("read", &self.path, source))
    }
}

fn read_text(file: &File, size: u64) -> Result<Vec<u8>> {
    let not_safetensors = |found: String| {
        Error::new(Kind::Model, "not a safetensors file")
            .found(found)
            .expected("a header length, a JSON header, then the tensors")
            .help("use the model.safetensors of the model's directory; convert other formats with the safetensors package")
    };
    let mut start = [0; 8];
    if size < 8 {
        return Err(not_safetensors(format!("{size} bytes")));
    }
    file.read_exact_at(&mut start, 0)
        .map_err(|source| Error::new(Kind::Io, "cannot read").because(source))?;
    match &start {
        [b'P', b'K', ..] | [0x80, 2..=5, ..] => return Err(not_safetensors("a PyTorch pickle".to_owned())),
        b"version " => {
            return Err(
                not_safetensors("a Git LFS pointer: the file itself was not fetched".to_owned()).help(FETCH)
            );
        }
        _ => {}
    }
    let length = u64::from_le_bytes(start);
    if length > LARGEST_HEADER || length > size - 8 {
        return Err(not_safetensors(format!("a header of {length} bytes in a file of {size} bytes")));
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 8).map_err(|source| Error::new(Kind::Io, "cannot read").because(source))?;
    Ok(text)
}

fn parse(text: &[u8]) -> Result<BTreeMap<String, TensorInfo>> {
    let entries: BTreeMap<String, Value> = serde_json::from_slice(text).map_err(|source| {
        Error::new(Kind::Model, "not a safetensors file")
            .found("a header that is not a JSON object")
            .help("download or export the file again")
            .because(source)
    })?;
    let tensors = entries.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors
        .map(|(name, entry)| match serde_json::from_value(entry.clone()) {
            Ok(info) => Ok((name, info)),
            Err(source) => {
                Err(damaged(&name, entry.to_string(), "dtype, shape and data_offsets").because(source))
            }
        })
        .collect()
}

/// The tensors must follow one another without gap or overlap, each as long as its shape says, to the end of
/// the file.
fn check_ranges(tensors: &BTreeMap<String, TensorInfo>, available: u64) -> Result<()> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in order {
        let (first, last) = info.data_offsets;
        let elements = info.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let bits = elements.and_then(|count| count.checked_mul(info.dtype.bitsize()));
        if first != end || bits.is_none_or(|bits| first.checked_add(bits.div_ceil(8)) != Some(last)) {
            let expected = format!("bytes from {end} on for {} {:?}", info.dtype, info.shape);
            return Err(damaged(name, format!("bytes {first} to {last}"), &expected));
        }
        if last as u64 > available {
            return Err(Error::new(
                Kind::Model,
                format!("the file is truncated: the tensor {name:?} is not wholly there"),
            )
            .found(format!("{available} bytes of tensors"))
            .expected(format!("at least {last}"))
            .help("download or copy the file again"));
        }
        end = last;
    }
    if end as u64 != available {
        return Err(Error::new(Kind::Model, "the file holds more than its tensors")
            .found(format!("{available} bytes of tensors"))
            .expected(end.to_string())
            .help("download or copy the file again"));
    }
    Ok(())
}

fn damaged(name: &str, found: String, expected: &str) -> Error {
    Error::new(Kind::Model, format!("the header's entry of the tensor {name:?} is damaged"))
        .found(found)
        .expected(expected)
        .help("download or export the file again")
}

/// Where the tensors begin: a multiple of the page size, so that they can be mapped.
const ALIGNMENT: usize = 4096;

/// The safetensors header: its JSON is filled with spaces up to a page boundary, as the format allows.
pub(super) fn header_bytes(tensors: &[Expected]) -> Vec<u8> {
    let mut text = json!({ "__metadata__": { "format": "pt" } }).to_string();
    text.pop();
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.byte_length();
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        text.push_str(&format!(",{}:{entry}", json!(tensor.name)));
        start = end;
    }
    text.push('}');
    let length = (8 + text.len()).next_multiple_of(ALIGNMENT) - 8;
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    bytes.resize(8 + length, b' ');
    bytes
}
