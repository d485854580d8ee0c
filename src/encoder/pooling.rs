//! Owns pooling inside the graph: mean or largest over real tokens, first token, L2 normalisation.
//!
//! Refuses any sum whose order could depend on padding, batch or threads: one text has one embedding, to the
//! bit.

use super::dense::DenseValues;
use super::kinds::Pooling;
use super::ports::{self, batch};
use crate::error::Result;
use crate::graph::{Builder, DataType, Dim, Operation, Value, ValueType};

/// What stands behind the pooling.
pub(super) struct Behind {
    /// A product …
    pub(super) dense: Option<DenseValues>,
    /// … and whether what comes out is scaled to length 1.
    pub(super) normalize: bool,
}

impl Behind {
    /// Nothing but perhaps the scaling.
    pub(super) fn scaling(normalize: bool) -> Self {
        Self { dense: None, normalize }
    }

    fn is_nothing(&self) -> bool {
        self.dense.is_none() && !self.normalize
    }
}

/// What every mean over real tokens needs.
pub(super) struct Means {
    hidden: Dim,
    /// Whether ONNX Runtime's own operators may be used.
    fused: bool,
    /// The attention mask as floats, twice side by side: `[batch, sequence, 2]`.
    mask: Value,
    /// The number of real tokens, `[batch, 1]`, and the same but at least 1.
    tokens: Value,
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
        Ok(Self { hidden, fused, mask, tokens: sum, count, last_axis, first })
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
        behind: &Behind,
    ) -> Result<Value> {
        let name = if behind.is_nothing() { ports::EMBEDDING } else { "pooling/pooled" };
        let pooled = match pooling {
            Pooling::Mean => self.mean(graph, states, name)?,
            Pooling::Cls => {
                let first = Operation::new("Gather", &[states, &self.first]).with("axis", 1);
                graph.add(first, name, ValueType::float([batch(), self.hidden.clone()]))?
            }
            Pooling::Max => self.largest(graph, states, name)?,
        };
        let pooled = match &behind.dense {
            None => pooled,
            Some(dense) if behind.normalize => dense.of(graph, &pooled, "dense/output")?,
            Some(dense) => dense.of(graph, &pooled, ports::EMBEDDING)?,
        };
        if behind.normalize { self.normalize(graph, &pooled) } else { Ok(pooled) }
    }

    /// The largest of each number of `states` over the real tokens: `[batch, hidden]`; zeros where there is none.
    ///
    /// Not `ReduceMax`, whose axes are an attribute before operator set 18.
    fn largest(&self, graph: &mut Builder, states: &Value, name: &str) -> Result<Value> {
        let column = ValueType::float([batch(), "sequence".into(), 1.into()]);
        let part = |name: &str| format!("pooling/largest/{name}");
        let mask = Operation::new("Gather", &[&self.mask, &self.first]).with("axis", 2);
        let flat = ValueType::float([batch(), "sequence".into()]);
        let mask = graph.add(mask, &part("mask"), flat)?;
        let mask =
            graph.add(Operation::new("Unsqueeze", &[&mask, &self.last_axis]), &part("column"), column)?;
        let one = graph.floats(&part("one"), &[], &[1.0])?;
        let padding = graph.add_like(Operation::new("Sub", &[&one, &mask]), &part("padding"), &mask)?;
        let lowest = graph.floats(&part("lowest"), &[], &[f32::MIN])?;
        let floor = graph.add_like(Operation::new("Mul", &[&padding, &lowest]), &part("floor"), &padding)?;
        let kept = graph.add_like(Operation::new("Add", &[states, &floor]), &part("kept"), states)?;
        let count = graph.integers(&part("count"), &[1], &[1])?;
        let largest = Operation::new("TopK", &[&kept, &count]).with("axis", 1);
        let wide = [batch(), 1.into(), self.hidden.clone()];
        let outputs =
            vec![(part("number"), ValueType::float(wide.clone())), (part("place"), ValueType::int64(wide))];
        let largest = graph.add_all(largest, outputs)?.remove(0);
        let vector = ValueType::float([batch(), self.hidden.clone()]);
        let largest = Operation::new("Gather", &[&largest, &self.first]).with("axis", 1);
        let largest = graph.add(largest, &part("of_tokens"), vector)?;
        let there = Operation::new("Div", &[&self.tokens, &self.count]);
        let there = graph.add_like(there, &part("there"), &self.tokens)?;
        graph.add_like(Operation::new("Mul", &[&largest, &there]), name, &largest)
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
