//! Owns the terms that graphs are written in: values, their types, operators and their attributes, nodes,
//! initializers.

use super::external::External;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::proto::DataType;

/// The domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";

/// The name of a value in a graph; cheap to copy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(Arc<str>);

impl Value {
    /// Refers to a value by name; whether it exists is checked when it is used.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The value's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// One dimension: a number, or a name for a number known only when the graph runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Size(usize),
    /// A size known only when the graph runs; equal names are equal sizes.
    Name(Arc<str>),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Size(size)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

/// A value's element type and shape; an empty shape is a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// The element type.
    pub element: DataType,
    /// The dimensions, outermost first.
    pub shape: Vec<Dim>,
}

impl ValueType {
    /// A type from its parts.
    #[must_use]
    pub fn new(element: DataType, shape: impl Into<Vec<Dim>>) -> Self {
        Self { element, shape: shape.into() }
    }

    /// 32-bit floats of this shape.
    #[must_use]
    pub fn float(shape: impl Into<Vec<Dim>>) -> Self {
        Self::new(DataType::Float, shape)
    }

    /// 64-bit integers of this shape.
    #[must_use]
    pub fn int64(shape: impl Into<Vec<Dim>>) -> Self {
        Self::new(DataType::Int64, shape)
    }
}

/// The value of a node's attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A text.
    String(String),
    /// A list of integers.
    Ints(Vec<i64>),
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl<const N: usize> From<[i64; N]> for Attribute {
    fn from(value: [i64; N]) -> Self {
        Self::Ints(value.to_vec())
    }
}

/// An operator with its inputs and attributes, not yet in a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The operator's domain; empty is ONNX's own.
    pub domain: &'static str,
    /// The operator's name.
    pub operator: &'static str,
    /// The inputs in the operator's order; `None` is an optional one left out.
    pub inputs: Vec<Option<Value>>,
    /// The attributes by name.
    pub attributes: BTreeMap<&'static str, Attribute>,
}

impl Operation {
    /// One of ONNX's own operators.
    #[must_use]
    pub fn new(operator: &'static str, inputs: &[&Value]) -> Self {
        let inputs = inputs.iter().map(|&input| Some(input.clone())).collect();
        Self { domain: "", operator, inputs, attributes: BTreeMap::new() }
    }

    /// One of ONNX Runtime's operators.
    #[must_use]
    pub fn microsoft(operator: &'static str, inputs: &[&Value]) -> Self {
        Self { domain: MICROSOFT, ..Self::new(operator, inputs) }
    }

    /// Adds an input after those there are; `None` leaves an optional one out.
    #[must_use]
    pub fn input(mut self, input: Option<&Value>) -> Self {
        self.inputs.push(input.cloned());
        self
    }

    /// Sets an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name, value.into());
        self
    }
}

/// An operation in a graph, with what it produces.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operator, its inputs and attributes.
    pub operation: Operation,
    /// The values it produces.
    pub outputs: Vec<Value>,
}

/// Where an initializer's numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// In the graph: little-endian bytes.
    Inline(Vec<u8>),
    /// In another file.
    External(External),
}
