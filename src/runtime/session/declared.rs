//! Owns what a loaded graph declares: its inputs and outputs, their element types and sizes.
//!
//! Refuses to compare them with anything: that is the session's work.

use std::fmt::Write as _;

use ort::value::{Outlet, TensorElementType, ValueType};

/// An input's or output's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its element type, like `i64` or `f32`.
    pub element: String,
    /// Its dimensions; `None` is any size.
    pub shape: Vec<Option<usize>>,
}

pub(super) fn value_info(outlet: &Outlet) -> ValueInfo {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            (element_name(*ty), shape.iter().map(|&size| usize::try_from(size).ok()).collect())
        }
        other => (other.to_string(), Vec::new()),
    };
    ValueInfo { name: outlet.name().to_owned(), element, shape }
}

fn element_name(element: TensorElementType) -> String {
    element.to_string().to_lowercase()
}

pub(super) fn dimension_symbols(outlet: &Outlet) -> Vec<String> {
    match outlet.dtype() {
        ValueType::Tensor { dimension_symbols, .. } => dimension_symbols.to_vec(),
        _ => Vec::new(),
    }
}

pub(super) fn names_of(values: &[ValueInfo]) -> String {
    values.iter().map(|value| value.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn show_shape(shape: &[Option<usize>]) -> String {
    let mut text = String::from("[");
    for (index, size) in shape.iter().enumerate() {
        text.push_str(if index > 0 { ", " } else { "" });
        // Writing to a string cannot fail.
        let _ = match size {
            Some(size) => write!(text, "{size}"),
            None => write!(text, "any"),
        };
    }
    text + "]"
}
