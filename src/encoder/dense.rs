//! Owns the product that some sentence encoders have behind their pooling (sentence-transformers' `Dense`), as a
//! part of the graph.
//!
//! Refuses to be trained: it belongs to no layer. How it is published is for `modules` to know.

use super::kinds::{Dense, DenseActivation};
use super::ports::batch;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};

/// Its tensors in a graph.
pub(super) struct DenseValues {
    pub(super) dense: Dense,
    pub(super) weight: Value,
    pub(super) bias: Value,
}

impl DenseValues {
    /// What it makes of `pooled` `[batch, hidden]`: `[batch, outputs]`.
    pub(super) fn of(&self, graph: &mut Builder, pooled: &Value, name: &str) -> Result<Value> {
        let wide = || ValueType::float([batch(), self.dense.outputs.into()]);
        let product = Operation::new("Gemm", &[pooled, &self.weight, &self.bias]).with("transB", 1);
        let operator = match self.dense.activation {
            DenseActivation::Identity => return graph.add(product, name, wide()),
            DenseActivation::Tanh => "Tanh",
            DenseActivation::Relu => "Relu",
            DenseActivation::Gelu => "Gelu",
        };
        let product = graph.add(product, "dense/product", wide())?;
        graph.add_like(Operation::new(operator, &[&product]), name, &product)
    }
}
