//! Owns the conversion of a published checkpoint into our one weight layout.
//!
//! Refuses tensors that it does not know: a number left out silently would change every embedding. What is
//! left out knowingly is what a family says (`names`).

use std::io::{Read as _, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};

use super::family::Published;
use super::header::{Header, header_bytes};
use super::layout::{expected, expected_of_encoder};
use super::names::Names;
use super::shards::Checkpoint;
use super::tensors::{DENSE_BIAS, DENSE_WEIGHT};
use super::weights::check;
use crate::error::{Error, Kind, Result};
use crate::files::write_atomically;

/// Numbers converted at a time: memory does not grow with the model.
const PIECE: usize = 1 << 18;
/// What a tensor may consist of.
const TYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];
/// The tensors of the product behind the pooling: ours, theirs.
const DENSE: [(&str, &str); 2] = [(DENSE_WEIGHT, "linear.weight"), (DENSE_BIAS, "linear.bias")];

impl Published {
    /// Writes `source`, its checkpoint (a safetensors file, or the index of several), to `target` in our
    /// layout: canonical names (no prefix), 32-bit floats, PyTorch's `[out, in]`, tensors from a page
    /// boundary on.
    ///
    /// The same numbers give the same bytes. `target` appears whole or not at all; memory stays below 4 MiB.
    ///
    /// # Errors
    /// The source is not a safetensors file, is truncated, lacks a tensor, has one of a wrong shape or
    /// element type or one that is not known, holds several encoders or numbers that are not finite; the
    /// target cannot be written.
    pub fn convert(&self, source: &Path, target: &Path) -> Result<()> {
        convert(self, source, target)
    }
}

/// See [`Published::convert`].
fn convert(published: &Published, source: &Path, target: &Path) -> Result<()> {
    let Published { config, family, .. } = published;
    config.check()?;
    let checkpoint = Checkpoint::open(source)?;
    let of_encoder = expected_of_encoder(config);
    let names = Names::of(&checkpoint, published, &of_encoder)?;
    names.check_missing(family, &of_encoder, source)?;
    let dense = published.dense.as_deref().map(Checkpoint::open).transpose()?;
    let find = |ours: &str| {
        let (checkpoint, name) = match (dense.as_ref(), DENSE.iter().find(|(our, _)| *our == ours)) {
            (Some(dense), Some((_, theirs))) => (dense, *theirs),
            _ => (&checkpoint, *names.ours.get(ours)?),
        };
        checkpoint.find(name).map(|(header, info)| (name, header, info))
    };
    let wanted = expected(config);
    for tensor in &wanted {
        let skipped = (family.skipped_rows)(&tensor.name, config);
        let Some((name, header, info)) = find(&tensor.name) else {
            if family.zeros.contains(&tensor.name.as_str()) || tensor.name == DENSE_BIAS {
                continue;
            }
            return check(&tensor.name, None, tensor, &TYPES, published.dense.as_deref().unwrap_or(source));
        };
        let mut there = tensor.clone();
        there.shape[0] += skipped;
        check(name, Some(info), &there, &TYPES, header.path())?;
    }
    names.check_unknown(family, config.layers, source)?;
    write_atomically(target, |out| {
        out.write_all(&header_bytes(&wanted)).map_err(|error| Error::io("write", target, error))?;
        for tensor in &wanted {
            let Some((name, header, info)) = find(&tensor.name) else {
                fill(tensor.byte_length(), out).map_err(|error| Error::io("write", target, error))?;
                continue;
            };
            copy((header, name, info), (family.skipped_rows)(&tensor.name, config), out, target)?;
        }
        Ok(())
    })
}

/// Appends one tensor as 32-bit little-endian floats, without so many rows at its start.
fn copy(
    (header, name, info): (&Header, &str, &TensorInfo),
    skipped: usize,
    out: &mut dyn Write,
    target: &Path,
) -> Result<()> {
    let convert: fn(&[u8]) -> f32 = match info.dtype {
        Dtype::F16 => |bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Dtype::BF16 => |bytes| bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        _ => |bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
    };
    let width = info.dtype.bitsize() / 8;
    let length = info.data_offsets.1 - info.data_offsets.0;
    let mut read = vec![0; length.min(PIECE * width)];
    let mut written = Vec::with_capacity(4 * PIECE.min(length / width));
    let mut start = skipped * (length / info.shape.first().copied().unwrap_or(1));
    while start < length {
        let piece = read.len().min(length - start);
        header.read(info, start as u64, &mut read[..piece])?;
        written.clear();
        for (index, bytes) in read[..piece].chunks_exact(width).enumerate() {
            let number = convert(bytes);
            if !number.is_finite() {
                return Err(Error::new(
                    Kind::Model,
                    format!("the tensor {name:?} holds a number that is not finite"),
                )
                .at(header.path())
                .found(format!("{number} at element {}", start / width + index))
                .expected("finite numbers")
                .help("the checkpoint is damaged or its training diverged: use another one"));
            }
            written.extend(number.to_le_bytes());
        }
        out.write_all(&written).map_err(|error| Error::io("write", target, error))?;
        start += piece;
    }
    Ok(())
}

/// Appends so many zeros.
fn fill(bytes: u64, out: &mut dyn Write) -> std::io::Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut { out }).map(drop)
}
