//! Owns the conversion of a published BERT checkpoint into our one weight layout.
//!
//! Publishers put the encoder into something larger, whose name then stands in front of every tensor
//! (`bert.`, `0.auto_model.`, `module.bert.`): the prefix is what stands in front of the word embeddings,
//! which every encoder has once.
//!
//! Refuses tensors that it does not know: a number left out silently would change every embedding. What is
//! left out knowingly is the pooler, the task heads of Hugging Face's `BertFor…` classes, and position ids
//! (0, 1, 2, …).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::json;

use super::config::Config;
use super::header::Header;
use super::shards::Checkpoint;
use super::weights::{Expected, check, expected};
use crate::error::{Error, Kind, Result};
use crate::files::write_atomically;

/// Where the tensors begin: a multiple of the page size, so that they can be mapped.
const ALIGNMENT: usize = 4096;
/// Numbers converted at a time: memory does not grow with the model.
const PIECE: usize = 1 << 18;
/// Beside the encoder in Hugging Face's `BertFor…` classes, or above it; the encoder's output does not depend
/// on them.
const HEADS: [&str; 4] = ["cls.", "classifier.", "qa_outputs.", "pooler."];
/// 0, 1, 2, …, which some versions of transformers store.
const POSITION_IDS: &str = "embeddings.position_ids";
/// What every encoder has once.
const WORDS: &str = "embeddings.word_embeddings.weight";

/// Writes `source`, a checkpoint of BERT (a safetensors file, or the index of several), to `target` in our
/// layout: canonical names (no prefix, `LayerNorm.weight` and `.bias`), 32-bit floats, PyTorch's `[out, in]`,
/// tensors from a page boundary on.
///
/// The same numbers give the same bytes. `target` appears whole or not at all; memory stays below 4 MiB.
///
/// # Errors
/// The source is not a safetensors file, is truncated, lacks a tensor, has one of a wrong shape or element type or one
/// that is not known, holds several encoders or numbers that are not finite; the target cannot be written.
pub fn convert_checkpoint(source: &Path, config: &Config, target: &Path) -> Result<()> {
    config.check()?;
    let checkpoint = Checkpoint::open(source)?;
    let wanted = expected(config);
    let names = canonical_names(&checkpoint, &wanted)?;
    for tensor in &wanted {
        let name = names.get(&tensor.name);
        let found = name.and_then(|name| checkpoint.find(name));
        let path = found.map_or(source, |(header, _)| header.path());
        let name = name.map_or(tensor.name.as_str(), |name| name);
        check(name, found.map(|(_, info)| info), tensor, &[Dtype::F32, Dtype::F16, Dtype::BF16], path)?;
    }
    let unknown = names.iter().find(|(name, _)| !wanted.iter().any(|tensor| tensor.name == **name));
    if let Some((_, name)) = unknown {
        return Err(Error::new(Kind::Model, format!("the tensor {name:?} is not known"))
            .at(source)
            .expected(format!("the tensors of a BERT encoder with {} layers", config.layers))
            .help("check that config.json and the weights belong to the same model, and that it is a plain BERT"));
    }
    write_atomically(target, |out| {
        out.write_all(&header_bytes(&wanted)).map_err(|error| Error::io("write", target, error))?;
        for tensor in &wanted {
            if let Some(&name) = names.get(&tensor.name)
                && let Some((header, info)) = checkpoint.find(name)
            {
                copy(header, name, info, out, target)?;
            }
        }
        Ok(())
    })
}

/// Canonical name → the file's name, without what is left out. What is not the encoder's keeps its name.
fn canonical_names<'c>(checkpoint: &'c Checkpoint, wanted: &[Expected]) -> Result<BTreeMap<String, &'c str>> {
    let prefix = prefix(checkpoint)?;
    let mut names = BTreeMap::new();
    for name in checkpoint.names() {
        let inside = name.strip_prefix(prefix);
        if inside.is_some_and(is_left_out)
            || above(prefix).any(|outer| name.strip_prefix(outer).is_some_and(is_left_out))
        {
            continue;
        }
        let plain = inside.unwrap_or(name);
        let canonical =
            plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
        // Outside the encoder, a tensor by the name of one of the encoder's is another of the same.
        let same = |tensor: &&Expected| canonical.strip_suffix(&tensor.name).is_some_and(is_prefix);
        let canonical = match wanted.iter().find(same).filter(|_| inside.is_none()) {
            Some(tensor) => tensor.name.clone(),
            None => canonical,
        };
        if let Some(other) = names.insert(canonical, name) {
            return Err(Error::new(Kind::Model, "one tensor is there under two names")
                .at(checkpoint.path())
                .found(format!("{other:?} and {name:?}"))
                .help("export the encoder again"));
        }
    }
    Ok(names)
}

/// What stands in front of every name of the encoder, with a dot at its end if it is not empty.
fn prefix(checkpoint: &Checkpoint) -> Result<&str> {
    let prefixes = checkpoint.names().filter_map(|name| name.strip_suffix(WORDS));
    let prefixes: Vec<&str> = prefixes.filter(|prefix| is_prefix(prefix)).collect();
    match prefixes[..] {
        [] => Ok(""),
        [only] => Ok(only),
        _ => Err(Error::new(Kind::Model, "the checkpoint holds several encoders")
            .at(checkpoint.path())
            .found(
                prefixes
                    .iter()
                    .map(|prefix| format!("\"{prefix}{WORDS}\""))
                    .collect::<Vec<_>>()
                    .join(" and "),
            )
            .expected("one")
            .help("save the encoder that you want alone, as a model of its own")),
    }
}

fn is_prefix(prefix: &str) -> bool {
    prefix.is_empty() || prefix.ends_with('.')
}

/// The prefixes of what an encoder with this prefix lies in, the outermost first: of `0.auto_model.`, nothing
/// and `0.`.
fn above(prefix: &str) -> impl Iterator<Item = &str> {
    let inner = prefix.match_indices('.').map(|(at, _)| &prefix[..=at]).filter(move |outer| *outer != prefix);
    std::iter::once("").chain(inner)
}

fn is_left_out(name: &str) -> bool {
    name == POSITION_IDS || HEADS.iter().any(|head| name.starts_with(head))
}

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

/// Appends one tensor as 32-bit little-endian floats.
fn copy(header: &Header, name: &str, info: &TensorInfo, out: &mut dyn Write, target: &Path) -> Result<()> {
    let convert: fn(&[u8]) -> f32 = match info.dtype {
        Dtype::F16 => |bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Dtype::BF16 => |bytes| bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        _ => |bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
    };
    let width = info.dtype.bitsize() / 8;
    let length = info.data_offsets.1 - info.data_offsets.0;
    let mut read = vec![0; length.min(PIECE * width)];
    let mut written = Vec::with_capacity(4 * PIECE.min(length / width));
    let mut start = 0;
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
