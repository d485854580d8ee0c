//! Owns the conversion of a published checkpoint into our one weight layout.
//!
//! Publishers put the encoder into something larger, whose name then stands in front of every tensor
//! (`bert.`, `0.auto_model.`, `module.bert.`): the prefix is what stands in front of the word embeddings,
//! which every encoder has once. How the rest of a name is spelled is the family's.
//!
//! Refuses tensors that it does not know: a number left out silently would change every embedding. What is
//! left out knowingly is what a family says.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};

use super::config::Config;
use super::family::{Family, Named, Published};
use super::header::{Header, header_bytes};
use super::layout::{Expected, expected};
use super::shards::Checkpoint;
use super::tensors::WORDS;
use super::weights::check;
use crate::error::{Error, Kind, Result};
use crate::files::write_atomically;

/// Numbers converted at a time: memory does not grow with the model.
const PIECE: usize = 1 << 18;

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
        convert(source, self.family, &self.config, target)
    }
}

/// See [`Published::convert`].
fn convert(source: &Path, family: &Family, config: &Config, target: &Path) -> Result<()> {
    config.check()?;
    let checkpoint = Checkpoint::open(source)?;
    let wanted = expected(config);
    let Names { ours, unknown } = names(&checkpoint, family, &wanted)?;
    for tensor in &wanted {
        let name = ours.get(&tensor.name);
        if name.is_none() && family.zeros.contains(&tensor.name.as_str()) {
            continue;
        }
        let found = name.and_then(|name| checkpoint.find(name));
        let path = found.map_or(source, |(header, _)| header.path());
        let name = name.map_or(tensor.name.as_str(), |name| name);
        let mut there = tensor.clone();
        there.shape[0] += (family.skipped_rows)(&tensor.name, config);
        check(name, found.map(|(_, info)| info), &there, &[Dtype::F32, Dtype::F16, Dtype::BF16], path)?;
    }
    if let Some(name) = unknown {
        let family = family.name;
        return Err(Error::new(Kind::Model, format!("the tensor {name:?} is not known"))
            .at(source)
            .expected(format!("the tensors of a {family} encoder with {} layers", config.layers))
            .help(format!(
                "check that config.json and the weights belong to the same model, and that it is a plain {family}"
            )));
    }
    write_atomically(target, |out| {
        out.write_all(&header_bytes(&wanted)).map_err(|error| Error::io("write", target, error))?;
        for tensor in &wanted {
            let found = ours.get(&tensor.name).and_then(|name| Some((*name, checkpoint.find(name)?)));
            let Some((name, (header, info))) = found else {
                fill(tensor.byte_length(), out).map_err(|error| Error::io("write", target, error))?;
                continue;
            };
            copy((header, name, info), (family.skipped_rows)(&tensor.name, config), out, target)?;
        }
        Ok(())
    })
}

/// A checkpoint's names, without those that are left out.
struct Names<'c> {
    /// Our name → the file's.
    ours: BTreeMap<String, &'c str>,
    /// The first that is not a tensor of the encoder.
    unknown: Option<&'c str>,
}

fn names<'c>(checkpoint: &'c Checkpoint, family: &Family, wanted: &[Expected]) -> Result<Names<'c>> {
    let prefix = prefix(checkpoint, family)?;
    let left_out = |name: &str| (family.tensor)(name) == Named::LeftOut;
    let wanted_name = |name: &str| match (family.tensor)(name) {
        Named::Ours(ours) => wanted.iter().any(|tensor| tensor.name == ours).then_some(ours),
        Named::LeftOut | Named::Unknown => None,
    };
    let mut names = Names { ours: BTreeMap::new(), unknown: None };
    for name in checkpoint.names() {
        let inside = name.strip_prefix(prefix);
        if inside.is_some_and(left_out)
            || above(prefix).any(|outer| name.strip_prefix(outer).is_some_and(left_out))
        {
            continue;
        }
        let ours = match inside {
            Some(inside) => wanted_name(inside),
            // Outside the encoder, a tensor by the name of one of the encoder's is another of the same.
            None => endings(name).find_map(wanted_name),
        };
        let Some(ours) = ours else {
            names.unknown.get_or_insert(name);
            continue;
        };
        if let Some(other) = names.ours.insert(ours, name) {
            return Err(Error::new(Kind::Model, "one tensor is there under two names")
                .at(checkpoint.path())
                .found(format!("{other:?} and {name:?}"))
                .help("export the encoder again"));
        }
    }
    Ok(names)
}

/// What stands in front of every name of the encoder, with a dot at its end if it is not empty.
fn prefix<'c>(checkpoint: &'c Checkpoint, family: &Family) -> Result<&'c str> {
    let words = Named::Ours(WORDS.to_owned());
    let found = checkpoint.names().filter_map(|name| {
        let ending = endings(name).find(|ending| (family.tensor)(ending) == words)?;
        Some((name, &name[..name.len() - ending.len()]))
    });
    let found: Vec<(&str, &str)> = found.collect();
    match found[..] {
        [] => Ok(""),
        [(_, only)] => Ok(only),
        _ => Err(Error::new(Kind::Model, "the checkpoint holds several encoders")
            .at(checkpoint.path())
            .found(found.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" and "))
            .expected("one")
            .help("save the encoder that you want alone, as a model of its own")),
    }
}

/// A name, and what is left of it behind each dot.
fn endings(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(|(at, _)| &name[at + 1..]))
}

/// The prefixes of what an encoder with this prefix lies in, the outermost first: of `0.auto_model.`, nothing
/// and `0.`.
fn above(prefix: &str) -> impl Iterator<Item = &str> {
    let inner = prefix.match_indices('.').map(|(at, _)| &prefix[..=at]).filter(move |outer| *outer != prefix);
    std::iter::once("").chain(inner)
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
