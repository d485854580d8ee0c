//! Owns ONNX graphs as data: the protobuf messages, reading and writing them, a builder with typed values,
//! reverse-mode differentiation, names that make room for others, and how many bytes of weights there are.
//!
//! Refuses to run a graph (that is `runtime`) and to know any model (that is `encoder`).

mod builder;
mod external;
#[cfg(feature = "train")]
mod gradient;
mod messages;
#[cfg(feature = "train")]
mod names;
pub mod proto;
mod terms;
mod weights;

use prost::Message;

pub use builder::Builder;
use builder::{IR_VERSION, PRODUCER};
pub use external::{External, bytes_of, is_external};
#[cfg(feature = "train")]
pub use gradient::{Gradient, differentiate};
#[cfg(feature = "train")]
pub use names::{append, clear_names, made};
pub use proto::{DataType, ModelProto};
pub use terms::{Attribute, Data, Dim, Operation, Value, ValueType};
pub use weights::WeightBytes;

use crate::error::{Error, Kind, Result};

/// Reads an ONNX model from memory.
///
/// # Errors
/// The bytes are not an ONNX model with a graph.
pub fn decode(bytes: &[u8]) -> Result<ModelProto> {
    let model = ModelProto::decode(bytes).map_err(|source| {
        Error::new(Kind::Graph, "not an ONNX model")
            .found(format!("{} bytes that are not an ONNX protobuf message", bytes.len()))
            .expected("a file written by an ONNX exporter")
            .help("check that the file is complete and is an .onnx model")
            .because(source)
    })?;
    if model.graph.is_none() {
        return Err(Error::new(Kind::Graph, "not an ONNX model")
            .found("a message without a graph")
            .expected("a model with a graph")
            .help("check that the file is complete and is an .onnx model"));
    }
    Ok(model)
}

/// The bytes of a model: the same model gives the same bytes.
#[must_use]
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// Whether a model has such an output.
#[must_use]
pub fn gives(model: &ModelProto, output: &str) -> bool {
    model.graph.iter().flat_map(|graph| &graph.output).any(|value| value.name() == output)
}

/// What the numbers of a tensor are.
#[must_use]
pub fn element(tensor: &proto::TensorProto) -> Option<DataType> {
    DataType::try_from(tensor.data_type?).ok()
}

/// Whether a model that starts with these bytes was written by this library: as it should run, with nothing
/// left to fuse or fold (but in the graph of standard operators, which is there for other tools).
#[must_use]
pub fn is_own(start: &[u8]) -> bool {
    // The two fields that come first when a model is written: `ir_version`, and the producer's name.
    let header = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(PRODUCER.to_owned()),
        ..ModelProto::default()
    };
    start.starts_with(&encode(&header))
}

/// A model of one product, the yardstick of speed: input `a` `[m, k]` times a constant `[k, n]`.
///
/// # Errors
/// Never for sizes that fit memory.
pub fn matmul_model(m: usize, k: usize, n: usize) -> Result<ModelProto> {
    let mut graph = Builder::new("product");
    let a = graph.input("a", ValueType::float([m.into(), k.into()]))?;
    // Ordinary numbers between -0.5 and 0.5: neither zeros nor subnormals.
    let numbers: Vec<f32> =
        (0_u16..1021).cycle().take(k * n).map(|step| f32::from(step) / 1021.0 - 0.5).collect();
    let b = graph.floats("b", &[k, n], &numbers)?;
    let product =
        graph.add(Operation::new("MatMul", &[&a, &b]), "product", ValueType::float([m.into(), n.into()]))?;
    graph.output(&product)?;
    graph.finish()
}

#[cfg(test)]
mod tests;
