//! Owns the sums over tokens that a graph made elsewhere pools with: finding them, and adding their terms in
//! the order of the tokens.
//!
//! ONNX Runtime adds the terms of `ReduceSum` in an order that depends on the number of texts and on the
//! padding, so that the last bits of a text's embedding depend on its company. The product that `Means` is
//! made of does not. Refuses any other sum.

use super::{MASK, batch};
use crate::encoder::pooling;
use crate::error::Result;
use crate::graph::proto::{GraphProto, NodeProto};
use crate::graph::{Builder, Dim, ModelProto, Operation, ValueType};

/// What every name that is added begins with.
pub(super) const PREFIX: &str = "frosthead/";
/// The attention mask as floats, twice side by side: `[batch, sequence, 2]`.
const COLUMNS: &str = "frosthead/columns";

/// Places of the nodes that add up states `[batch, sequence, width]`, padding multiplied by 0 before, to be
/// divided by a count.
fn places(graph: &GraphProto) -> Vec<usize> {
    let divided = |name: &str| {
        graph
            .node
            .iter()
            .any(|node| node.op_type() == "Div" && node.input.first().is_some_and(|input| input == name))
    };
    let sums = graph.node.iter().enumerate().filter(|(_, node)| {
        let over_tokens = matches!(axes(graph, node).as_deref(), Some([1 | -2]));
        node.op_type() == "ReduceSum"
            && over_tokens
            && node.output.first().is_some_and(|output| divided(output))
    });
    sums.map(|(place, _)| place).collect()
}

/// Whether there is such a sum.
pub(super) fn are_there(graph: &GraphProto) -> bool {
    !places(graph).is_empty()
}

/// The constant axes of a reduction.
fn axes(graph: &GraphProto, node: &NodeProto) -> Option<Vec<i64>> {
    let name = node.input.get(1)?;
    let constant = || {
        let made = graph
            .node
            .iter()
            .find(|candidate| candidate.op_type() == "Constant" && candidate.output.contains(name))?;
        made.attribute.iter().find_map(|attribute| attribute.t.as_ref())
    };
    let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).or_else(constant)?;
    let raw = tensor.raw_data.as_deref().unwrap_or_default().as_chunks().0;
    let raw = raw.iter().map(|bytes| i64::from_le_bytes(*bytes));
    Some(tensor.int64_data.iter().copied().chain(raw).collect())
}

/// Makes those sums products with the mask, whose terms are added in the order of the tokens.
///
/// # Errors
/// Never for a graph whose own names leave out [`PREFIX`].
pub(super) fn put_in_order(graph: &mut GraphProto) -> Result<()> {
    for (number, place) in places(graph).into_iter().rev().enumerate() {
        let sum = graph.node.remove(place);
        let ordered = ordered(&sum, number)?;
        let nodes = ordered.graph.map(|graph| graph.node).unwrap_or_default();
        graph.node.splice(place..place, nodes);
    }
    let front = columns()?.graph.unwrap_or_default();
    graph.node.splice(0..0, front.node);
    graph.initializer.extend(front.initializer);
    Ok(())
}

/// The mask in two columns, and the indices that every sum needs.
fn columns() -> Result<ModelProto> {
    let mut graph = Builder::new("columns");
    let mask = graph.input(MASK, ValueType::int64([batch(), "sequence".into()]))?;
    let last = graph.integers("frosthead/last_axis", &[1], &[-1])?;
    graph.integers("frosthead/axis", &[1], &[1])?;
    graph.integers("frosthead/first", &[], &[0])?;
    let mask = pooling::float_mask(&mut graph, &mask, "frosthead/mask")?;
    let twice = pooling::columns(&mut graph, &mask, &last, "frosthead")?;
    graph.output(&twice)?;
    graph.finish()
}

/// One sum as a product.
fn ordered(sum: &NodeProto, number: usize) -> Result<ModelProto> {
    let (sequence, width) = (|| Dim::from("sequence"), || Dim::from("width"));
    let mut graph = Builder::new("sum");
    let states = sum.input.first().map_or("", String::as_str);
    let states = graph.input(states, ValueType::float([batch(), sequence(), width()]))?;
    let columns = graph.input(COLUMNS, ValueType::float([batch(), sequence(), 2.into()]))?;
    let first = graph.input("frosthead/first", ValueType::int64([]))?;
    let axis = graph.input("frosthead/axis", ValueType::int64([1.into()]))?;
    let name = format!("{PREFIX}sum.{number}");
    let pair = pooling::sums(&mut graph, [&states, &columns], &width(), false, &name)?;
    let one = Operation::new("Gather", &[&pair, &first]).with("axis", 2);
    let output = sum.output.first().map_or("", String::as_str);
    let keeps = sum
        .attribute
        .iter()
        .find(|attribute| attribute.name() == "keepdims")
        .is_none_or(|attribute| attribute.i() != 0);
    let vector = ValueType::float([batch(), width()]);
    let made = if keeps {
        let one = graph.add(one, &format!("{name}/sum"), vector)?;
        let kept = Operation::new("Unsqueeze", &[&one, &axis]);
        graph.add(kept, output, ValueType::float([batch(), 1.into(), width()]))?
    } else {
        graph.add(one, output, vector)?
    };
    graph.output(&made)?;
    graph.finish()
}
