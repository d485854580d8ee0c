//! Owns pooling inside the graph: mean over real tokens, first token, L2 normalisation.
//!
//! Refuses any sum whose order could depend on padding, batch or threads: one text has one embedding, to the
//! bit.

use super::kinds::Pooling;
use super::ports;
use super::transformer::batch;
use crate::error::Result;
use crate::graph::{Builder, DataType, Dim, Operation, Value, ValueType};

/// What every mean over real tokens needs.
pub(super) struct Means {
    hidden: Dim,
    /// Whether ONNX Runtime's own operators may be used.
    fused: bool,
    /// The attention mask as floats, twice side by side: `[batch, sequence, 2]`.
    mask: Value,
    /// The number of real tokens, at least 1: `[batch, 1]`.
    count: Value,
    /// The indices -1 `[1]` and 0 (a scalar).
    last_axis: Value,
    first: Value,
}

impl Means {
    /// Prepares the mask and the count.
    pub(super) fn new(graph: &mut Builder, attention_mask: &Value, hidden: Dim, fused: bool) -> Result<Self> {
        let sequence = || Dim::from("sequence");
        let cast = Operation::new("Cast", &[attention_mask]).with("to", DataType::Float as i64);
        let mask = graph.add(cast, "pooling/mask", ValueType::float([batch(), sequence()]))?;
        let last_axis = graph.integers("pooling/last_axis", &[1], &[-1])?;
        let first = graph.integers("pooling/first", &[], &[0])?;
        let sum = Operation::new("ReduceSum", &[&mask, &last_axis]).with("keepdims", 1);
        let sum = graph.add(sum, "pooling/sum_of_mask", ValueType::float([batch(), 1.into()]))?;
        // A row without any real token (filling up a batch) gets zeros instead of 0 / 0.
        let one = graph.floats("pooling/one", &[], &[1.0])?;
        let count = Operation::new("Max", &[&sum, &one]);
        let count = graph.add(count, "pooling/count", ValueType::float([batch(), 1.into()]))?;
        let column = Operation::new("Unsqueeze", &[&mask, &last_axis]);
        let column =
            graph.add(column, "pooling/column", ValueType::float([batch(), sequence(), 1.into()]))?;
        let twice = Operation::new("Concat", &[&column, &column]).with("axis", 2);
        let mask = graph.add(twice, "pooling/columns", ValueType::float([batch(), sequence(), 2.into()]))?;
        Ok(Self { hidden, fused, mask, count, last_axis, first })
    }

    /// The mean of `states` `[batch, sequence, hidden]` over the real tokens: `[batch, hidden]`.
    ///
    /// The sum is the product statesᵀ · mask, of which ONNX Runtime adds the terms of each element one by one
    /// in the order of the tokens, so zeros at the end change nothing. Two equal mask columns, because a
    /// single one takes its matrix-vector kernel, which adds in groups of four and so depends on the padding;
    /// and the states on the left, because it spreads the longer side over threads and must not cut the short
    /// one.
    pub(super) fn mean(&self, graph: &mut Builder, states: &Value, name: &str) -> Result<Value> {
        let hidden = self.hidden.clone();
        let pair = ValueType::float([batch(), hidden.clone(), 2.into()]);
        let product = if self.fused {
            Operation::microsoft("FusedMatMul", &[states, &self.mask]).with("transA", 1)
        } else {
            let turned = ValueType::float([batch(), hidden.clone(), "sequence".into()]);
            let transpose = Operation::new("Transpose", &[states]).with("perm", [0, 2, 1]);
            let turned = graph.add(transpose, &format!("{name}/transposed"), turned)?;
            Operation::new("MatMul", &[&turned, &self.mask])
        };
        let sums = graph.add(product, &format!("{name}/sums"), pair)?;
        let vector = ValueType::float([batch(), hidden]);
        let first = Operation::new("Gather", &[&sums, &self.first]).with("axis", 2);
        let sum = graph.add(first, &format!("{name}/sum"), vector.clone())?;
        graph.add(Operation::new("Div", &[&sum, &self.count]), name, vector)
    }

    /// The sentence embedding `[batch, hidden]` of the last hidden states `[batch, sequence, hidden]`.
    pub(super) fn embedding(
        &self,
        graph: &mut Builder,
        states: &Value,
        pooling: Pooling,
        normalize: bool,
    ) -> Result<Value> {
        let name = if normalize { "pooling/pooled" } else { ports::EMBEDDING };
        let vector = ValueType::float([batch(), self.hidden.clone()]);
        let pooled = match pooling {
            Pooling::Mean => self.mean(graph, states, name)?,
            Pooling::Cls => {
                let first = Operation::new("Gather", &[states, &self.first]).with("axis", 1);
                graph.add(first, name, vector.clone())?
            }
        };
        if normalize { self.normalize(graph, &pooled) } else { Ok(pooled) }
    }

    /// [`ports::EMBEDDING`]: `pooled` `[batch, hidden]` scaled to length 1.
    pub(super) fn normalize(&self, graph: &mut Builder, pooled: &Value) -> Result<Value> {
        let vector = ValueType::float([batch(), self.hidden.clone()]);
        // As torch.nn.functional.normalize: x / max(|x|, 1e-12).
        let scalar = ValueType::float([batch(), 1.into()]);
        // Not ReduceL2, whose axes are an attribute before operator set 18: this part is appended to foreign
        // graphs too.
        let squares =
            graph.add(Operation::new("Mul", &[pooled, pooled]), "pooling/squares", vector.clone())?;
        let sum = Operation::new("ReduceSum", &[&squares, &self.last_axis]).with("keepdims", 1);
        let sum = graph.add(sum, "pooling/sum_of_squares", scalar.clone())?;
        let norm = graph.add(Operation::new("Sqrt", &[&sum]), "pooling/norm", scalar.clone())?;
        let smallest = graph.floats("pooling/smallest_norm", &[], &[1e-12])?;
        let norm = graph.add(Operation::new("Max", &[&norm, &smallest]), "pooling/divisor", scalar)?;
        graph.add(Operation::new("Div", &[pooled, &norm]), ports::EMBEDDING, vector)
    }
}
