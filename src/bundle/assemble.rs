//! Owns putting a bundle's network together: the heads behind a backbone's graph, its weights one after
//! another in one entry.
//!
//! Refuses a graph that has no place for the heads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use super::archive_writer::unwritable;
use super::entries::DATA;
use super::network::place;
use super::words::WordPlaces;
use crate::encoder::is_ours;
use crate::encoder::ports::{self, head_bias, head_weight};
use crate::error::{Error, Kind, Result};
use crate::files::{FileRange, in_pieces};
use crate::graph::{self, Builder, Dim, External, ModelProto, Operation, Value, ValueType, is_external};
use crate::heads::Head;
use crate::task::TaskKind;

/// Every tensor of the data entry begins at a multiple of this: a cache line.
const ALIGNMENT: u64 = 64;
/// Smaller tensors that are none of an encoder's stay in the graph.
const LEAST: usize = 1024;

/// A head as it is put into the graph.
#[derive(Debug, Clone)]
pub(super) struct DeployedHead<'h> {
    pub head: &'h Head,
    /// What it sees of `[layer_means, embedding]`, side by side.
    pub columns: Range<usize>,
}

/// Puts heads behind a graph with the outputs `embedding` `[batch, hidden]`, where one sees it, and, where
/// one sees layers, `layer_means` `[batch, means]`. What has a name in it that a head needs is renamed.
///
/// # Errors
/// The graph lacks an output.
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
    let outputs = graph.output.iter().chain(&graph.input).map(|output| output.name());
    let lacking = tail.input.iter().find(|input| !outputs.clone().any(|name| name == input.name()));
    if let Some(input) = lacking {
        return Err(Error::new(Kind::Graph, "the heads do not fit the backbone's graph")
            .found(outputs.collect::<Vec<_>>().join(", "))
            .expected(format!("an output {:?}", input.name()))
            .help("import the backbone again"));
    }
    graph::append(graph, tail);
    Ok(())
}

/// The heads as a graph of their own.
fn tail(heads: &[DeployedHead<'_>], hidden: usize, means: usize) -> Result<ModelProto> {
    let mut graph = Builder::new("heads");
    let batch = || Dim::from("batch");
    let layers = |deployed: &DeployedHead<'_>| !deployed.columns.is_empty() && deployed.columns.start < means;
    let mut input = |name: &str, width: usize, is_seen: bool| {
        is_seen.then(|| graph.input(name, ValueType::float([batch(), width.into()]))).transpose()
    };
    let embedding = input(ports::EMBEDDING, hidden, hidden > 0)?;
    let layers = input(ports::LAYER_MEANS, means, heads.iter().any(layers))?;
    let any = heads.iter().any(|deployed| deployed.head.words.is_some());
    let mut places = any.then(|| WordPlaces::new(&mut graph)).transpose()?;
    for deployed in heads {
        let (task, classes) = (&deployed.head.task, deployed.head.labels.len());
        let vector = || ValueType::float([batch(), classes.into()]);
        let words = match (&deployed.head.words, &mut places) {
            (Some(words), Some(places)) => Some(places.add(&mut graph, task, words)?),
            _ => None,
        };
        let sum = logits(&mut graph, deployed, (&layers, &embedding, means), words.as_ref())?;
        let logits = graph.add(sum, &ports::logits(task), vector())?;
        // Always there, also when it changes nothing, so that every bundle has the same graph. One number, or
        // one for each label.
        let each = [classes];
        let shape: &[usize] = if deployed.head.kind == TaskKind::AnyOf { &each } else { &[] };
        let temperature =
            graph.floats(&format!("heads.{task}.temperature"), shape, &deployed.head.believed.temperature)?;
        let scaled = Operation::new("Div", &[&logits, &temperature]);
        let scaled = graph.add(scaled, &format!("heads/{task}/calibrated"), vector())?;
        let shares = graph.add(deployed.head.kind.tail(&scaled), &ports::probabilities(task), vector())?;
        graph.output(&logits)?;
        graph.output(&shares)?;
    }
    graph.finish()
}

/// What gives a head's logits: of the vectors that it sees, of its words, or of both.
fn logits(
    graph: &mut Builder,
    deployed: &DeployedHead<'_>,
    (layers, embedding, means): (&Option<Value>, &Option<Value>, usize),
    words: Option<&Value>,
) -> Result<Operation> {
    let Head { task, labels, features, weights, bias, .. } = deployed.head;
    let classes = labels.len();
    if let (Some(words), 0) = (words, *features) {
        let bias = graph.floats(&head_bias(task), &[classes], bias)?;
        return Ok(Operation::new("Add", &[words, &bias]));
    }
    let seen = seen(graph, deployed, (layers, embedding), means)?;
    let weight = graph.floats(&head_weight(task), &[classes, *features], weights)?;
    let bias = graph.floats(&head_bias(task), &[classes], bias)?;
    let product = Operation::new("Gemm", &[&seen, &weight, &bias]).with("transB", 1);
    let Some(words) = words else { return Ok(product) };
    let vector = ValueType::float([Dim::from("batch"), classes.into()]);
    let alone = graph.add(product, &format!("heads/{task}/without_words"), vector)?;
    Ok(Operation::new("Add", &[&alone, words]))
}

/// What a head sees of the network.
fn seen(
    graph: &mut Builder,
    deployed: &DeployedHead<'_>,
    (layers, embedding): (&Option<Value>, &Option<Value>),
    means: usize,
) -> Result<Value> {
    match (layers, embedding) {
        (Some(layers), _) if deployed.columns.start < means => seen_layers(graph, layers, deployed, means),
        (_, Some(embedding)) => Ok(embedding.clone()),
        _ => {
            Err(Error::new(Kind::Graph, "a head sees what is not there; this is a bug")
                .task(&deployed.head.task))
        }
    }
}

/// The layers that a head sees.
fn seen_layers(
    graph: &mut Builder,
    layers: &Value,
    deployed: &DeployedHead<'_>,
    means: usize,
) -> Result<Value> {
    if deployed.columns == (0..means) {
        return Ok(layers.clone());
    }
    let task = &deployed.head.task;
    let mut bound = |name: &str, value: usize| {
        graph.integers(&format!("heads/{task}/{name}"), &[1], &[i64::try_from(value).unwrap_or(i64::MAX)])
    };
    let (start, end) = (bound("first", deployed.columns.start)?, bound("behind", deployed.columns.end)?);
    let axis = bound("axis", 1)?;
    let slice = Operation::new("Slice", &[layers, &start, &end, &axis]);
    let seen = ValueType::float([Dim::from("batch"), deployed.columns.len().into()]);
    graph.add(slice, &format!("heads/{task}/seen"), seen)
}

/// Writes the tensors of a graph one after another, each at a cache line, and makes the graph refer to them
/// in the data entry. Tensors that lie in other files are read from `folder`.
///
/// # Errors
/// A tensor cannot be read or written, or lies where none may lie.
pub(super) fn lay_out(model: &mut ModelProto, folder: &Path, out: &mut dyn Write) -> Result<()> {
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let mut position = 0_u64;
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let outside = is_external(tensor);
        let of_encoder = is_ours(tensor.name());
        if !outside && tensor.raw_data.as_ref().is_none_or(|bytes| bytes.len() < LEAST && !of_encoder) {
            continue;
        }
        let start = position.next_multiple_of(ALIGNMENT);
        out.write_all(&vec![0; (start - position) as usize]).map_err(unwritable)?;
        let length = if outside {
            let place = place(tensor)?;
            let path = folder.join(&place.location);
            let file = match files.entry(place.location.clone()) {
                Entry::Occupied(file) => file.into_mut(),
                Entry::Vacant(free) => {
                    free.insert(File::open(&path).map_err(|source| Error::io("read", &path, source))?)
                }
            };
            let numbers = FileRange::new(file, place.range());
            in_pieces(numbers, &path, &mut |piece| out.write_all(piece).map_err(unwritable))?;
            place.length
        } else {
            let bytes = tensor.raw_data.take().unwrap_or_default();
            out.write_all(&bytes).map_err(unwritable)?;
            bytes.len() as u64
        };
        External { location: DATA.to_owned(), offset: start, length }.put(tensor);
        position = start + length;
    }
    Ok(())
}
