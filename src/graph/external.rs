//! Owns numbers of a graph that lie in another file: saying where, and reading what a graph says of it.
//!
//! Refuses to open the file.

use std::ops::Range;

use super::proto::{DataLocation, DataType, StringStringEntryProto, TensorProto};

/// A range of another file, relative to the folder of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The file's name.
    pub location: String,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

impl External {
    /// What a tensor says: without an offset it begins at the file's start, without a length it is as long as
    /// its shape says. None when its numbers lie in the graph, or it says nothing that can be understood.
    #[must_use]
    pub fn of(tensor: &TensorProto) -> Option<Self> {
        if !is_external(tensor) {
            return None;
        }
        let said = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key);
        let number = |key: &str| said(key).map(|entry| entry.value().parse::<u64>().ok());
        Some(Self {
            location: said("location").map_or("", |entry| entry.value()).to_owned(),
            offset: number("offset").unwrap_or(Some(0))?,
            length: number("length").unwrap_or_else(|| bytes_of(tensor))?,
        })
    }

    /// The bytes in the file.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    /// Makes a tensor say so.
    pub fn put(&self, tensor: &mut TensorProto) {
        let entries = [
            ("location", self.location.clone()),
            ("offset", self.offset.to_string()),
            ("length", self.length.to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = entries
            .map(|(key, value)| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) })
            .into();
    }

    /// What a tensor says, for people.
    #[must_use]
    pub fn said(tensor: &TensorProto) -> String {
        let entries = tensor.external_data.iter().map(|entry| format!("{} {:?}", entry.key(), entry.value()));
        entries.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a tensor's numbers lie in another file.
#[must_use]
pub fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty()
}

/// Bytes of a tensor by its shape and element type; none for what nobody would keep outside a graph.
#[must_use]
pub fn bytes_of(tensor: &TensorProto) -> Option<u64> {
    let element = DataType::try_from(tensor.data_type?).ok()?;
    byte_length(element, tensor.dims.iter().map(|&size| u64::try_from(size).ok()))
}

/// Bytes of so many numbers along each axis; none if a size is not known, nobody would keep such an element
/// outside a graph, or it overflows.
pub(super) fn byte_length(element: DataType, mut shape: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let bits = match element {
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 8,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 16,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => return None,
    };
    let elements = shape.try_fold(1_u64, |all, size| all.checked_mul(size?))?;
    Some(elements.checked_mul(bits)?.div_ceil(8))
}
