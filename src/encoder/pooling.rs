//! Owns pooling inside the graph: mean over real tokens, first token, L2 normalisation.
//!
//! Refuses any sum whose order could depend on padding, batch or threads: one text has one embedding, to the
//! bit.

use super::kinds::Pooling;
use super::ports::{self, batch};
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
        let mask = float_mask(graph, attention_mask, "pooling/mask")?;
        let last_axis = graph.integers("pooling/last_axis", &[1], &[-1])?;
        let first = graph.integers("pooling/first", &[], &[0])?;
        let sum = Operation::new("ReduceSum", &[&mask, &last_axis]).with("keepdims", 1);
        let sum = graph.add(sum, "pooling/sum_of_mask", ValueType::float([batch(), 1.into()]))?;
        // A row without any real token (filling up a batch) gets zeros instead of 0 / 0.
        let one = graph.floats("pooling/one", &[], &[1.0])?;
        let count = graph.add_like(Operation::new("Max", &[&sum, &one]), "pooling/count", &sum)?;
        let mask = columns(graph, &mask, &last_axis, "pooling")?;
        Ok(Self { hidden, fused, mask, count, last_axis, first })
    }

    /// The mean of `states` `[batch, sequence, hidden]` over the real tokens: `[batch, hidden]`.
    pub(super) fn mean(&self, graph: &mut Builder, states: &Value, name: &str) -> Result<Value> {
        let sums = sums(graph, [states, &self.mask], &self.hidden, self.fused, name)?;
        let first = Operation::new("Gather", &[&sums, &self.first]).with("axis", 2);
        let vector = ValueType::float([batch(), self.hidden.clone()]);
        let sum = graph.add(first, &format!("{name}/sum"), vector)?;
        graph.add_like(Operation::new("Div", &[&sum, &self.count]), name, &sum)
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
        let pooled = match pooling {
            Pooling::Mean => self.mean(graph, states, name)?,
            Pooling::Cls => {
                let first = Operation::new("Gather", &[states, &self.first]).with("axis", 1);
                graph.add(first, name, ValueType::float([batch(), self.hidden.clone()]))?
            }
        };
        if normalize { self.normalize(graph, &pooled) } else { Ok(pooled) }
    }

    /// [`ports::EMBEDDING`]: `pooled` `[batch, hidden]` scaled to length 1.
    pub(super) fn normalize(&self, graph: &mut Builder, pooled: &Value) -> Result<Value> {
        // As torch.nn.functional.normalize: x / max(|x|, 1e-12).
        // Not ReduceL2, whose axes are an attribute before operator set 18: this part is appended to foreign
        // graphs too.
        let squares = graph.add_like(Operation::new("Mul", &[pooled, pooled]), "pooling/squares", pooled)?;
        let sum = Operation::new("ReduceSum", &[&squares, &self.last_axis]).with("keepdims", 1);
        let sum = graph.add(sum, "pooling/sum_of_squares", ValueType::float([batch(), 1.into()]))?;
        let norm = graph.add_like(Operation::new("Sqrt", &[&sum]), "pooling/norm", &sum)?;
        let smallest = graph.floats("pooling/smallest_norm", &[], &[1e-12])?;
        let norm = graph.add_like(Operation::new("Max", &[&norm, &smallest]), "pooling/divisor", &norm)?;
        graph.add_like(Operation::new("Div", &[pooled, &norm]), ports::EMBEDDING, pooled)
    }
}

/// Vectors `[batch, hidden]` side by side.
pub(super) fn side_by_side(graph: &mut Builder, each: &[Value], hidden: usize, name: &str) -> Result<Value> {
    let joined = Operation::new("Concat", &each.iter().collect::<Vec<_>>()).with("axis", 1);
    graph.add(joined, name, ValueType::float([batch(), (each.len() * hidden).into()]))
}

/// An attention mask as floats, `[batch, sequence]`.
pub(super) fn float_mask(graph: &mut Builder, attention_mask: &Value, name: &str) -> Result<Value> {
    let cast = Operation::new("Cast", &[attention_mask]).with("to", DataType::Float as i64);
    graph.add(cast, name, ValueType::float([batch(), "sequence".into()]))
}

/// A mask of floats twice side by side, `[batch, sequence, 2]`; `last_axis` is the index -1 `[1]`.
pub(super) fn columns(graph: &mut Builder, mask: &Value, last_axis: &Value, prefix: &str) -> Result<Value> {
    let wide = |width: usize| ValueType::float([batch(), "sequence".into(), width.into()]);
    let column = Operation::new("Unsqueeze", &[mask, last_axis]);
    let column = graph.add(column, &format!("{prefix}/column"), wide(1))?;
    let twice = Operation::new("Concat", &[&column, &column]).with("axis", 2);
    graph.add(twice, &format!("{prefix}/columns"), wide(2))
}

/// The sums of states `[batch, sequence, hidden]` over the real tokens, each twice: `[batch, hidden, 2]`.
///
/// A sum is the product statesᵀ · mask, of which ONNX Runtime adds the terms of each element one by one in
/// the order of the tokens, so zeros at the end change nothing. Two equal mask columns, because a single one
/// takes its matrix-vector kernel, which adds in groups of four and so depends on the padding; and the states
/// on the left, because it spreads the longer side over threads and must not cut the short one.
pub(super) fn sums(
    graph: &mut Builder,
    [states, columns]: [&Value; 2],
    hidden: &Dim,
    fused: bool,
    name: &str,
) -> Result<Value> {
    let product = if fused {
        Operation::microsoft("FusedMatMul", &[states, columns]).with("transA", 1)
    } else {
        let turned = ValueType::float([batch(), hidden.clone(), "sequence".into()]);
        let transpose = Operation::new("Transpose", &[states]).with("perm", [0, 2, 1]);
        let turned = graph.add(transpose, &format!("{name}/transposed"), turned)?;
        Operation::new("MatMul", &[&turned, columns])
    };
    graph.add(product, &format!("{name}/sums"), ValueType::float([batch(), hidden.clone(), 2.into()]))
}
