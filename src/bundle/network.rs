//! Owns the graph of a bundle: the heads behind a backbone's graph, its weights laid out in one data entry, and, on opening, the
//! proof that every tensor that is kept outside the graph lies inside that entry.
//!
//! Refuses external data anywhere but in the bundle's own data entry, in whatever corner of the graph it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::archive::lie;
use super::contents::DATA;
use crate::bert::{head_bias, head_weight};
use crate::error::{Error, Kind, Result};
use crate::graph::proto::{
    AttributeProto, DataLocation, DataType, GraphProto, NodeProto, SparseTensorProto, StringStringEntryProto,
    TensorProto,
};
use crate::graph::{Builder, Dim, ModelProto, Operation, Value, ValueType};
use crate::heads::Head;

/// Every tensor of the data entry begins at a multiple of this: a cache line.
const ALIGNMENT: u64 = 64;
/// Smaller tensors stay in the graph.
const LEAST: usize = 1024;
/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// A head as it is put into the graph.
#[derive(Debug, Clone)]
pub(super) struct DeployedHead<'h> {
    pub head: &'h Head,
    /// What it sees of `[layer_means, embedding]`, side by side.
    pub columns: Range<usize>,
    pub temperature: f32,
}

/// The name of a task's output of logits, `[batch, classes]`.
pub(super) fn logits(task: &str) -> String {
    format!("logits_{task}")
}

/// The name of a task's output of probabilities, `[batch, classes]`.
pub(super) fn probabilities(task: &str) -> String {
    format!("probabilities_{task}")
}

/// Puts heads behind a graph with the outputs `embedding` `[batch, hidden]` and, where a head sees layers, `layer_means`
/// `[batch, means]`.
///
/// # Errors
/// The graph has a value with a name that a head needs, or lacks an output.
pub(super) fn append_heads(
    model: &mut ModelProto,
    heads: &[DeployedHead<'_>],
    hidden: usize,
    means: usize,
) -> Result<()> {
    let tail = tail(heads, hidden, means)?;
    let tail = tail.graph.unwrap_or_default();
    let Some(graph) = model.graph.as_mut() else {
        return Err(Error::new(Kind::Graph, "the model has no graph"));
    };
    let outputs = graph.output.iter().map(|output| output.name());
    let lacking = tail.input.iter().find(|input| !outputs.clone().any(|own| own == input.name()));
    let made = tail.node.iter().flat_map(|node| &node.output);
    let names = graph.node.iter().flat_map(|node| &node.output);
    let taken = made.clone().find(|name| names.clone().any(|own| own == *name));
    if let Some(name) = lacking.map(|input| input.name()).or(taken.map(String::as_str)) {
        return Err(Error::new(Kind::Graph, "the heads do not fit the backbone's graph")
            .found(format!("{name:?} is missing or taken"))
            .help("name the task otherwise"));
    }
    graph.node.extend(tail.node);
    graph.initializer.extend(tail.initializer);
    graph.value_info.extend(tail.value_info);
    graph.output.extend(tail.output);
    Ok(())
}

/// The heads as a graph of their own.
fn tail(heads: &[DeployedHead<'_>], hidden: usize, means: usize) -> Result<ModelProto> {
    let mut graph = Builder::new("heads");
    let batch = || Dim::from("batch");
    let embedding = graph.input("embedding", ValueType::float([batch(), hidden.into()]))?;
    let layers = heads.iter().any(|own| own.columns.start < means);
    let layers =
        layers.then(|| graph.input("layer_means", ValueType::float([batch(), means.into()]))).transpose()?;
    for own in heads {
        let task = &own.head.task;
        let (classes, width) = (own.head.labels.len(), own.head.features);
        let seen = match &layers {
            Some(layers) if own.columns.start < means => seen_layers(&mut graph, layers, own, means)?,
            _ => embedding.clone(),
        };
        let weight = graph.floats(&head_weight(task), &[classes, width], &own.head.weights)?;
        let bias = graph.floats(&head_bias(task), &[classes], &own.head.bias)?;
        let vector = || ValueType::float([batch(), classes.into()]);
        let product = Operation::new("Gemm", &[&seen, &weight, &bias]).with("transB", 1);
        let logits = graph.add(product, &logits(task), vector())?;
        // Always there, also when it changes nothing, so that every bundle has the same graph.
        let temperature = graph.floats(&format!("heads.{task}.temperature"), &[], &[own.temperature])?;
        let scaled = Operation::new("Div", &[&logits, &temperature]);
        let scaled = graph.add(scaled, &format!("heads/{task}/calibrated"), vector())?;
        let shares = Operation::new("Softmax", &[&scaled]).with("axis", -1);
        let shares = graph.add(shares, &probabilities(task), vector())?;
        graph.output(&logits)?;
        graph.output(&shares)?;
    }
    graph.finish()
}

/// The layers that a head sees.
fn seen_layers(graph: &mut Builder, layers: &Value, own: &DeployedHead<'_>, means: usize) -> Result<Value> {
    if own.columns == (0..means) {
        return Ok(layers.clone());
    }
    let task = &own.head.task;
    let mut bound = |name: &str, value: usize| {
        graph.integers(&format!("heads/{task}/{name}"), &[1], &[i64::try_from(value).unwrap_or(i64::MAX)])
    };
    let (start, end) = (bound("first", own.columns.start)?, bound("behind", own.columns.end)?);
    let axis = bound("axis", 1)?;
    let slice = Operation::new("Slice", &[layers, &start, &end, &axis]);
    let seen = ValueType::float([Dim::from("batch"), own.columns.len().into()]);
    graph.add(slice, &format!("heads/{task}/seen"), seen)
}

/// The backbone alone: what `embedding` and `layer_means` need.
pub(super) fn without_heads(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    let Some(graph) = model.graph.as_mut() else { return model };
    graph.output.retain(|output| ["embedding", "layer_means"].contains(&output.name()));
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

/// Writes the tensors of a graph one after another, each at a cache line, and makes the graph refer to them in the data entry.
/// Tensors that lie in other files are read from `folder`.
///
/// # Errors
/// A tensor cannot be read or written, or lies where none may lie.
pub(super) fn lay_out(model: &mut ModelProto, folder: &Path, out: &mut dyn Write) -> Result<()> {
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let mut position = 0_u64;
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let outside = is_external(tensor);
        if !outside && tensor.raw_data.as_ref().is_none_or(|bytes| bytes.len() < LEAST) {
            continue;
        }
        let start = position.next_multiple_of(ALIGNMENT);
        out.write_all(&vec![0; (start - position) as usize]).map_err(unwritable)?;
        let length = if outside {
            let place = Place::of(tensor)?;
            let path = folder.join(&place.location);
            let failed = |source| Error::io("read", &path, source);
            let file = match files.entry(place.location.clone()) {
                std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(File::open(&path).map_err(failed)?)
                }
            };
            copy(file, place.offset..place.offset + place.length, out).map_err(failed)?;
            place.length
        } else {
            let bytes = tensor.raw_data.take().unwrap_or_default();
            out.write_all(&bytes).map_err(unwritable)?;
            bytes.len() as u64
        };
        Place { location: DATA.to_owned(), offset: start, length }.put(tensor);
        position = start + length;
    }
    Ok(())
}

fn copy(file: &File, range: Range<u64>, out: &mut dyn Write) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE.min(range.end - range.start) as usize];
    let mut start = range.start;
    while start < range.end {
        let length = (range.end - start).min(PIECE) as usize;
        file.read_exact_at(&mut piece[..length], start)?;
        out.write_all(&piece[..length])?;
        start += length as u64;
    }
    Ok(())
}

fn unwritable(source: std::io::Error) -> Error {
    Error::io("write", "the bundle", source)
}

/// Where a tensor's bytes lie outside the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    location: String,
    offset: u64,
    length: u64,
}

impl Place {
    /// What a tensor says: each of the three things once, and nothing else.
    fn of(tensor: &TensorProto) -> Result<Self> {
        let wrong = || {
            let said = tensor.external_data.iter().map(|own| format!("{} {:?}", own.key(), own.value()));
            lie("a weight does not say properly where it lies")
                .column(tensor.name())
                .found(said.collect::<Vec<_>>().join(", "))
                .expected("location, offset and length, each once")
        };
        let said: BTreeMap<&str, &str> =
            tensor.external_data.iter().map(|own| (own.key(), own.value())).collect();
        let number = |key: &str| said.get(key).and_then(|value| value.parse::<u64>().ok()).ok_or_else(wrong);
        if said.len() != 3 || tensor.external_data.len() != 3 || tensor.raw_data.is_some() {
            return Err(wrong());
        }
        let location = said.get("location").ok_or_else(wrong)?;
        Ok(Self { location: (*location).to_owned(), offset: number("offset")?, length: number("length")? })
    }

    fn put(&self, tensor: &mut TensorProto) {
        let entries = [
            ("location", self.location.clone()),
            ("offset", self.offset.to_string()),
            ("length", self.length.to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = entries
            .map(|(key, value)| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) })
            .into();
    }

    /// The range, when it lies inside the data entry.
    fn inside(&self, length: u64) -> Option<Range<u64>> {
        let end = self.offset.checked_add(self.length)?;
        (self.location == DATA && end <= length).then_some(self.offset..end)
    }
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty()
}

/// Proves that every tensor outside the graph is an initializer inside the data entry of so many bytes, as long as its shape
/// says; then makes the graph refer to them in the file `name`, where the data entry begins at `start`.
///
/// # Errors
/// A tensor points elsewhere.
pub(super) fn bind(model: &mut ModelProto, length: u64, name: &str, start: u64) -> Result<()> {
    let Some(graph) = model.graph.as_ref() else { return Err(lie("the graph is empty")) };
    let hidden = graph.sparse_initializer.iter().flat_map(of_sparse);
    let hidden = hidden.chain(graph.node.iter().flat_map(of_node));
    let functions = model.functions.iter().flat_map(|function| &function.node).flat_map(of_node);
    if let Some(tensor) = hidden.chain(functions).find(|tensor| is_external(tensor)) {
        return Err(lie("the graph keeps numbers outside the bundle").column(tensor.name()));
    }
    if !model.training_info.is_empty() {
        return Err(lie("the graph has a part that is for training"));
    }
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if !is_external(tensor) {
            continue;
        }
        let place = Place::of(tensor)?;
        let range = place.inside(length).filter(|range| bytes_of(tensor) == Some(range.end - range.start));
        let range = range.ok_or_else(|| {
            lie("a weight points out of the bundle's own data, or is not as long as its shape says")
                .column(tensor.name())
                .found(format!("{} bytes from {} of {:?}", place.length, place.offset, place.location))
                .expected(format!("a range of the {length} bytes of {DATA:?}"))
        })?;
        Place { location: name.to_owned(), offset: start + range.start, length: place.length }.put(tensor);
    }
    Ok(())
}

/// Bytes of a tensor by its shape and element type; none for what nobody would keep outside a graph.
fn bytes_of(tensor: &TensorProto) -> Option<u64> {
    let bits = match DataType::try_from(tensor.data_type?).ok()? {
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 8,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 16,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => return None,
    };
    let sizes = tensor.dims.iter().map(|&size| u64::try_from(size).ok());
    let elements = sizes.into_iter().try_fold(1_u64, |all, size| all.checked_mul(size?))?;
    Some(elements.checked_mul(bits)?.div_ceil(8))
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

/// Where an initializer's numbers lie in the file that the graph was [bound](bind) to; none when they are in the graph or there
/// is no such initializer.
pub(super) fn range(model: &ModelProto, name: &str) -> Option<Range<u64>> {
    let tensor = initializer(model, name)?;
    let place = is_external(tensor).then(|| Place::of(tensor).ok())??;
    Some(place.offset..place.offset + place.length)
}

/// An initializer.
pub(super) fn initializer<'m>(model: &'m ModelProto, name: &str) -> Option<&'m TensorProto> {
    model.graph.as_ref()?.initializer.iter().find(|tensor| tensor.name() == name)
}
