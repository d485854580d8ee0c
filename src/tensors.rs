//! Owns tensors as bytes: named tensors and notes (a JSON text each) in a safetensors file, and 32-bit and
//! 16-bit floats, little-endian.
//!
//! Refuses a file that is not whole, and a tensor that is missing or of another type. Does not know which
//! tensors there should be; `encoder/header.rs` reads files that are too large for memory.

use std::collections::HashMap;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
pub use safetensors::tensor::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Numbers that are converted from half precision together.
const CONVERTED_AT_ONCE: usize = 512;

/// A safetensors file that is being made; the same tensors, in any order, give the same bytes (if there is
/// one note at most).
#[derive(Default)]
pub struct TensorFile {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    notes: HashMap<String, String>,
}

impl TensorFile {
    /// Adds a tensor: its numbers, row-major and little-endian.
    pub fn add(&mut self, name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.tensors.push((name.into(), dtype, shape.to_vec(), bytes));
    }

    /// Adds a tensor of 32-bit floats.
    pub fn add_floats(&mut self, name: impl Into<String>, shape: &[usize], numbers: &[f32]) {
        self.add(name, Dtype::F32, shape, bytes_of(numbers));
    }

    /// Adds a note.
    ///
    /// # Panics
    /// The value has no JSON, which is a bug.
    pub fn note(&mut self, name: &str, value: &impl Serialize) {
        let text = serde_json::to_string(value).expect("our own types have a JSON form; this is a bug");
        self.notes.insert(name.to_owned(), text);
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// A shape is not that of its numbers, which is a bug.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.expect("a tensor has the numbers that its shape says; this is a bug"))
        });
        let notes = (!self.notes.is_empty()).then(|| self.notes.clone());
        safetensors::serialize(views, notes).expect("whole tensors can be written; this is a bug")
    }
}

/// The tensors of a safetensors file.
pub struct Tensors<'b> {
    bytes: &'b [u8],
    file: SafeTensors<'b>,
    kind: Kind,
}

impl<'b> Tensors<'b> {
    /// Reads the bytes of a file; errors are of this kind.
    ///
    /// # Errors
    /// They are no safetensors file, or not all of one.
    pub fn read(bytes: &'b [u8], kind: Kind) -> Result<Self> {
        match SafeTensors::deserialize(bytes) {
            Ok(file) => Ok(Self { bytes, file, kind }),
            Err(source) => Err(Error::new(kind, "this is not a whole safetensors file").because(source)),
        }
    }

    /// A note's JSON text, if the file has the note.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<String> {
        let (_, header) = SafeTensors::read_metadata(self.bytes).ok()?;
        header.metadata().as_ref()?.get(name).cloned()
    }

    /// The tensors' names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.file.names()
    }

    /// A tensor of any type.
    ///
    /// # Errors
    /// It is missing.
    pub fn any(&self, name: &str) -> Result<TensorView<'b>> {
        let found = self.file.tensor(name);
        found.map_err(|source| Error::new(self.kind, "a tensor is missing").tensor(name).because(source))
    }

    /// A tensor of this type.
    ///
    /// # Errors
    /// It is missing, or of another type.
    pub fn get(&self, name: &str, dtype: Dtype) -> Result<TensorView<'b>> {
        let tensor = self.any(name)?;
        if tensor.dtype() == dtype {
            return Ok(tensor);
        }
        Err(Error::new(self.kind, "a tensor has the wrong type")
            .tensor(name)
            .found(tensor.dtype().to_string())
            .expected(dtype.to_string()))
    }

    /// The shape and the numbers of a tensor of 32-bit floats.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor = self.get(name, Dtype::F32)?;
        Ok((tensor.shape().to_vec(), floats_of(tensor.data())))
    }
}

/// 32-bit floats as bytes.
#[must_use]
pub fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The 32-bit floats in some bytes.
#[must_use]
pub fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The same into a place that is there; `bytes` has four for each number.
pub fn read_floats(bytes: &[u8], numbers: &mut [f32]) {
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = f32::from_le_bytes(*bytes);
    }
}

/// 32-bit floats, rounded to 16 bits, as bytes.
#[must_use]
pub fn half_bytes_of(numbers: &[f32]) -> Vec<u8> {
    let mut halves = vec![f16::ZERO; numbers.len()];
    halves.convert_from_f32_slice(numbers);
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

/// The 16-bit floats in some bytes, as 32-bit floats; `bytes` has two for each number.
pub fn read_halves(bytes: &[u8], numbers: &mut [f32]) {
    // In pieces, so that the processor's own conversion of eight at a time is used.
    let mut halves = [f16::ZERO; CONVERTED_AT_ONCE];
    for (numbers, bytes) in numbers.chunks_mut(CONVERTED_AT_ONCE).zip(bytes.chunks(2 * CONVERTED_AT_ONCE)) {
        let halves = &mut halves[..numbers.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_notes_come_back_with_the_same_bytes() {
        let make = |names: [&str; 2]| {
            let mut file = TensorFile::default();
            names.iter().for_each(|name| file.add_floats(*name, &[2, 1], &[1.5, -2.0]));
            file.note("who", &["a"]);
            file.to_bytes()
        };
        let bytes = make(["b", "a"]);
        assert_eq!(bytes, make(["a", "b"]));
        let tensors = Tensors::read(&bytes, Kind::Run).unwrap();
        assert_eq!(tensors.floats("a").unwrap(), (vec![2, 1], vec![1.5, -2.0]));
        assert_eq!((tensors.note("who").as_deref(), tensors.note("what")), (Some("[\"a\"]"), None));
        let told = |name, dtype| tensors.get(name, dtype).unwrap_err().to_string();
        assert_eq!(told("c", Dtype::F32), "tensor \"c\": a tensor is missing");
        assert_eq!(told("a", Dtype::U8), "tensor \"a\": a tensor has the wrong type: found F32, expected U8");
        let error = Tensors::read(&bytes[..bytes.len() - 1], Kind::Heads).err().unwrap();
        assert!(error.kind() == Kind::Heads && error.to_string().contains("safetensors"));
    }

    #[test]
    fn floats_come_back_whole_or_rounded_to_halves() {
        let numbers: Vec<f32> = (0..1300).map(|number| number as f32 / 7.0).collect();
        let bytes = bytes_of(&numbers);
        assert_eq!((&bytes[4..8], bytes.len()), (&(1.0_f32 / 7.0).to_le_bytes()[..], 5200));
        assert_eq!(floats_of(&bytes), numbers);
        let mut back = vec![0.0; numbers.len()];
        read_floats(&bytes, &mut back);
        assert_eq!(back, numbers);
        let halves = half_bytes_of(&numbers);
        assert_eq!(halves.len(), 2600);
        read_halves(&halves, &mut back);
        assert_eq!(back, numbers.iter().map(|number| f16::from_f32(*number).to_f32()).collect::<Vec<_>>());
    }
}
