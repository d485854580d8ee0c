//! Owns how the numbers of a graph come into memory: inside it or beside it, multiplied with or looked up.
//!
//! Refuses to read them: it goes by what the graph declares.

use super::external::{bytes_of, is_external};
use super::proto::{ModelProto, NodeProto, TensorProto};

/// Operators that look rows of a table up instead of multiplying with it.
const LOOKING_UP: [&str; 2] = ["Gather", "EmbedLayerNormalization"];

/// How the numbers that a graph keeps in another file come into memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightBytes {
    /// What is multiplied with: ONNX Runtime copies it into an order of its own.
    pub multiplied: u64,
    /// What is looked up row by row in the mapped file: it comes into memory as words are met.
    pub looked_up: u64,
}

impl WeightBytes {
    /// Those of a graph.
    #[must_use]
    pub fn of(model: &ModelProto) -> Self {
        let graph = model.graph.as_ref();
        let nodes: Vec<&NodeProto> = graph.iter().flat_map(|graph| &graph.node).collect();
        let looked_up = |tensor: &TensorProto| {
            let mut users = nodes.iter().filter(|node| node.input.iter().any(|input| input == tensor.name()));
            users.all(|node| LOOKING_UP.contains(&node.op_type()))
        };
        let outside = graph.iter().flat_map(|graph| &graph.initializer).filter(|tensor| is_external(tensor));
        let (table, matrices): (Vec<_>, Vec<_>) = outside.partition(|tensor| looked_up(tensor));
        let sum = |tensors: Vec<&TensorProto>| tensors.into_iter().filter_map(bytes_of).sum();
        Self { multiplied: sum(matrices), looked_up: sum(table) }
    }
}
