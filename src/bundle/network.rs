//! Owns looking at a bundle's graph: the proof that every tensor kept outside the graph lies inside the
//! bundle's data entry, and taking parts out.
//!
//! Refuses external data anywhere but in the bundle's own data entry, in whatever corner of the graph it is
//! named.

use std::collections::BTreeSet;
use std::ops::Range;

use super::archive::lie;
use super::entries::DATA;
use crate::embed::RowParts;
use crate::encoder::ports;
use crate::error::Result;
use crate::graph::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto};
use crate::graph::{External, ModelProto, bytes_of, is_external};
use crate::heads::Head;

/// The row of a bundle's network: the embedding of so many numbers, and every task's logits.
pub(super) fn row_parts<'h>(embedding: usize, heads: impl Iterator<Item = &'h Head>) -> RowParts {
    let logits = heads.map(|head| (ports::logits(&head.task), head.labels.len()));
    RowParts::new(std::iter::once((ports::EMBEDDING.to_owned(), embedding)).chain(logits))
}

/// The backbone alone: what `embedding` and `layer_means` need.
pub(super) fn without_heads(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    let Some(graph) = model.graph.as_mut() else { return model };
    graph.output.retain(|output| [ports::EMBEDDING, ports::LAYER_MEANS].contains(&output.name()));
    let mut needed: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let mut kept = Vec::new();
    for node in graph.node.drain(..).rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            // What a subgraph takes from outside is needed as well.
            needed.extend(node.input.iter().cloned());
            needed.extend(node.attribute.iter().flat_map(inner_inputs));
            kept.push(node);
        }
    }
    kept.reverse();
    needed.extend(kept.iter().flat_map(|node| node.output.iter().cloned()));
    graph.node = kept;
    graph.initializer.retain(|tensor| needed.contains(tensor.name()));
    graph.value_info.retain(|value| needed.contains(value.name()));
    model
}

fn inner_inputs(attribute: &AttributeProto) -> Vec<String> {
    let nodes = attribute.g.iter().chain(&attribute.graphs).flat_map(|graph| &graph.node);
    nodes
        .flat_map(|node| {
            node.input.iter().cloned().chain(node.attribute.iter().flat_map(inner_inputs)).collect::<Vec<_>>()
        })
        .collect()
}

/// What a tensor says of its bytes outside the graph: each of the three things once, and nothing else.
pub(super) fn place(tensor: &TensorProto) -> Result<External> {
    let keys: BTreeSet<&str> = tensor.external_data.iter().map(|entry| entry.key()).collect();
    let once = tensor.external_data.len() == 3 && keys == BTreeSet::from(["length", "location", "offset"]);
    External::of(tensor).filter(|_| once && tensor.raw_data.is_none()).ok_or_else(|| {
        lie("a weight does not say properly where it lies")
            .tensor(tensor.name())
            .found(External::said(tensor))
            .expected("location, offset and length, each once")
    })
}

/// The range of the data entry of so many bytes; none when it lies elsewhere.
fn inside(place: &External, length: u64) -> Option<Range<u64>> {
    let end = place.offset.checked_add(place.length)?;
    (place.location == DATA && end <= length).then_some(place.offset..end)
}

/// Proves that every tensor outside the graph is an initializer inside the data entry of so many bytes, as
/// long as its shape says; then makes the graph refer to them in the file `name`, where the data entry begins
/// at `start`.
///
/// # Errors
/// A tensor points elsewhere.
pub(super) fn bind(model: &mut ModelProto, length: u64, name: &str, start: u64) -> Result<()> {
    let Some(graph) = model.graph.as_ref() else { return Err(lie("the graph is empty")) };
    let hidden = graph.sparse_initializer.iter().flat_map(of_sparse);
    let hidden = hidden.chain(graph.node.iter().flat_map(of_node));
    let functions = model.functions.iter().flat_map(|function| &function.node).flat_map(of_node);
    if let Some(tensor) = hidden.chain(functions).find(|tensor| is_external(tensor)) {
        return Err(lie("the graph keeps numbers outside the bundle").tensor(tensor.name()));
    }
    if !model.training_info.is_empty() {
        return Err(lie("the graph has a part that is for training"));
    }
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if !is_external(tensor) {
            continue;
        }
        let place = place(tensor)?;
        let range = inside(&place, length).filter(|range| bytes_of(tensor) == Some(range.end - range.start));
        let range = range.ok_or_else(|| {
            lie("a weight points out of the bundle's own data, or is not as long as its shape says")
                .tensor(tensor.name())
                .found(format!("{} bytes from {} of {:?}", place.length, place.offset, place.location))
                .expected(format!("a range of the {length} bytes of {DATA:?}"))
        })?;
        External { location: name.to_owned(), offset: start + range.start, length: place.length }.put(tensor);
    }
    Ok(())
}

fn of_sparse(sparse: &SparseTensorProto) -> Vec<&TensorProto> {
    sparse.values.iter().chain(&sparse.indices).collect()
}

/// Every tensor in a node's attributes, however deep.
fn of_node(node: &NodeProto) -> Vec<&TensorProto> {
    node.attribute.iter().flat_map(of_attribute).collect()
}

fn of_attribute(attribute: &AttributeProto) -> Vec<&TensorProto> {
    let AttributeProto { t, tensors, g, graphs, sparse_tensor, sparse_tensors, .. } = attribute;
    let mut found: Vec<&TensorProto> = t.iter().chain(tensors).collect();
    found.extend(sparse_tensor.iter().chain(sparse_tensors).flat_map(of_sparse));
    found.extend(g.iter().chain(graphs).flat_map(of_graph));
    found
}

fn of_graph(graph: &GraphProto) -> Vec<&TensorProto> {
    let sparse = graph.sparse_initializer.iter().flat_map(of_sparse);
    graph.initializer.iter().chain(sparse).chain(graph.node.iter().flat_map(of_node)).collect()
}

/// Where an initializer's numbers lie in the file that the graph was [bound](bind) to; none when they are in
/// the graph or there is no such initializer.
pub(super) fn range(model: &ModelProto, name: &str) -> Option<Range<u64>> {
    let tensor = initializer(model, name)?;
    let place = is_external(tensor).then(|| place(tensor).ok())??;
    Some(place.range())
}

/// An initializer.
pub(super) fn initializer<'m>(model: &'m ModelProto, name: &str) -> Option<&'m TensorProto> {
    model.graph.as_ref()?.initializer.iter().find(|tensor| tensor.name() == name)
}
