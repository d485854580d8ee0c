//! Owns bringing an ONNX encoder made elsewhere to the project's inputs and output.
//!
//! Inputs become `input_ids` and `attention_mask` (token types, when the graph wants them, are zeros made inside it); pooling
//! and normalisation are appended; the output is `embedding` `[batch, hidden]`. Refuses a graph it cannot feed, and to change
//! any node of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::encoder::batch;
use super::inference::Pooling;
use super::pooling::Means;
use crate::error::{Error, Kind, Result};
use crate::graph::proto::{
    DataLocation, GraphProto, NodeProto, TensorProto, ValueInfoProto, dimension, type_proto,
};
use crate::graph::{self, Builder, DataType, ModelProto, Operation, Value, ValueType};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";
const EMBEDDING: &str = "embedding";
/// Axes became inputs of `ReduceSum` and `Unsqueeze` here.
const LEAST_OPSET: i64 = 13;
/// Names exporters give to the output that matters, best first.
const OUTPUTS: [&str; 4] = ["sentence_embedding", "last_hidden_state", "token_embeddings", EMBEDDING];

/// An ONNX encoder made elsewhere, checked.
pub struct ForeignEncoder {
    path: PathBuf,
    model: ModelProto,
    output: String,
    pooled: bool,
    hidden_size: usize,
    external: Vec<String>,
}

impl ForeignEncoder {
    /// Reads a model and checks that it can be fed and that its output is understood.
    ///
    /// # Errors
    /// It is not an ONNX model, has other inputs, an older operator set, or no output of token states or embeddings.
    pub fn open(path: &Path) -> Result<Self> {
        let model = graph::read(path)?;
        Self::check(path, model).map_err(|error| error.at(path))
    }

    fn check(path: &Path, model: ModelProto) -> Result<Self> {
        let opset =
            model.opset_import.iter().filter(|set| set.domain().is_empty()).map(|set| set.version()).max();
        if opset.is_none_or(|opset| opset < LEAST_OPSET) {
            return Err(Error::new(Kind::Model, "the graph's operator set is too old")
                .found(opset.map_or_else(|| "none".to_owned(), |opset| opset.to_string()))
                .expected(format!("{LEAST_OPSET} or newer"))
                .help("export the model again with a newer opset"));
        }
        let graph = body(&model)?;
        check_inputs(graph)?;
        let (output, pooled, hidden_size) = choose_output(graph)?;
        let external = external_files(graph)?;
        Ok(Self { path: path.to_path_buf(), output, pooled, hidden_size, external, model })
    }

    /// Whether the graph's own output is one vector per text already.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Length of an embedding.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// Files beside the model that hold its weights.
    #[must_use]
    pub fn external_files(&self) -> &[String] {
        &self.external
    }

    /// The model's bytes with the project's inputs and output.
    ///
    /// # Errors
    /// A name the project needs is taken by something else in the graph.
    pub fn with_pooling(&self, pooling: Pooling, normalize: bool) -> Result<Vec<u8>> {
        let mut model = self.model.clone();
        let tail = self.tail(pooling, normalize)?;
        let tail = body(&tail)?;
        let graph = model.graph.as_mut().ok_or_else(|| no_graph().at(&self.path))?;
        let initialized: BTreeSet<String> =
            graph.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
        graph.input.retain(|input| [IDS, MASK].contains(&input.name()) || initialized.contains(input.name()));
        if needs(body(&self.model)?, TYPES) {
            // x − x: zeros of the ids' own shape.
            let zeros = NodeProto {
                name: Some(TYPES.to_owned()),
                op_type: Some("Sub".to_owned()),
                input: vec![IDS.to_owned(); 2],
                output: vec![TYPES.to_owned()],
                ..NodeProto::default()
            };
            graph.node.insert(0, zeros);
        }
        let own: BTreeSet<&str> =
            tail.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let taken = graph.node.iter().flat_map(|node| &node.output).find(|name| own.contains(name.as_str()));
        if let Some(taken) = taken {
            return Err(Error::new(
                Kind::Model,
                "the graph has a value with a name that is needed for pooling",
            )
            .at(&self.path)
            .found(format!("{taken:?}"))
            .help("export the model again with other output names"));
        }
        graph.node.extend(tail.node.iter().cloned());
        graph.initializer.extend(tail.initializer.iter().cloned());
        graph.output.clone_from(&tail.output);
        Ok(graph::encode(&model))
    }

    /// The part to append, as a graph of its own whose inputs are the foreign output and the mask.
    fn tail(&self, pooling: Pooling, normalize: bool) -> Result<ModelProto> {
        let mut tail = Builder::new("pooling");
        let mask = tail.input(MASK, ValueType::int64([batch(), "sequence".into()]))?;
        let hidden = self.hidden_size;
        let means = |tail: &mut Builder| Means::new(tail, &mask, hidden.into(), false);
        let embedding: Value = if self.pooled {
            let pooled = tail.input(&self.output, ValueType::float([batch(), hidden.into()]))?;
            if normalize {
                let means = means(&mut tail)?;
                means.normalize(&mut tail, &pooled)?
            } else {
                let vector = ValueType::float([batch(), hidden.into()]);
                tail.add(Operation::new("Identity", &[&pooled]), EMBEDDING, vector)?
            }
        } else {
            let states = ValueType::float([batch(), "sequence".into(), hidden.into()]);
            let states = tail.input(&self.output, states)?;
            let means = means(&mut tail)?;
            means.embedding(&mut tail, &states, pooling, normalize)?
        };
        tail.output(&embedding)?;
        tail.finish()
    }
}

fn body(model: &ModelProto) -> Result<&GraphProto> {
    model.graph.as_ref().ok_or_else(no_graph)
}

fn no_graph() -> Error {
    Error::new(Kind::Graph, "the model has no graph")
}

/// The graph's real inputs: old exporters list initializers among them.
fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let initialized: BTreeSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    graph.input.iter().filter(move |input| !initialized.contains(input.name()))
}

fn needs(graph: &GraphProto, name: &str) -> bool {
    inputs(graph).any(|input| input.name() == name)
}

fn check_inputs(graph: &GraphProto) -> Result<()> {
    for input in inputs(graph) {
        let known = [IDS, MASK, TYPES].contains(&input.name());
        let element = tensor_type(input).and_then(|tensor| tensor.elem_type);
        if !known || element != Some(DataType::Int64 as i32) {
            return Err(Error::new(Kind::Model, "the graph has an input that frosthead cannot feed")
                .found(format!("{:?} (element type {})", input.name(), element.unwrap_or(0)))
                .expected("input_ids, attention_mask and perhaps token_type_ids, all int64 [batch, sequence]")
                .help("export the encoder alone, with these inputs"));
        }
    }
    for name in [IDS, MASK] {
        if !needs(graph, name) {
            return Err(Error::new(Kind::Model, "the graph lacks an input")
                .expected(format!("{name:?}"))
                .help("export the encoder with input_ids and attention_mask"));
        }
    }
    Ok(())
}

/// Name of the output to use, whether it is pooled, and its last dimension.
fn choose_output(graph: &GraphProto) -> Result<(String, bool, usize)> {
    let usable = |output: &&ValueInfoProto| {
        let rank = tensor_type(output).and_then(|tensor| Some(tensor.shape.as_ref()?.dim.len()));
        let float =
            tensor_type(output).is_some_and(|tensor| tensor.elem_type == Some(DataType::Float as i32));
        float && matches!(rank, Some(2 | 3))
    };
    let by_name =
        OUTPUTS.iter().find_map(|name| graph.output.iter().filter(usable).find(|own| own.name() == *name));
    let output = by_name.or_else(|| graph.output.iter().find(usable)).ok_or_else(|| {
        let names: Vec<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        Error::new(Kind::Model, "the graph has no output of token states or embeddings")
            .found(names.join(", "))
            .expected("an f32 output [batch, sequence, hidden] or [batch, hidden] with its shape declared")
    })?;
    let dims =
        tensor_type(output).and_then(|tensor| tensor.shape.as_ref()).map_or(&[][..], |shape| &shape.dim);
    let hidden = match dims.last().and_then(|dim| dim.value.as_ref()) {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
        _ => None,
    };
    let hidden = hidden.ok_or_else(|| {
        Error::new(Kind::Model, "the graph does not say how long its vectors are")
            .tensor(output.name())
            .expected("a fixed last dimension")
            .help("export the model again with a fixed hidden size")
    })?;
    Ok((output.name().to_owned(), dims.len() == 2, hidden))
}

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

/// Names of the files that hold initializers; they must lie beside the model.
fn external_files(graph: &GraphProto) -> Result<Vec<String>> {
    let mut files = BTreeSet::new();
    for tensor in &graph.initializer {
        if tensor.data_location != Some(DataLocation::External as i32) {
            continue;
        }
        let location =
            tensor.external_data.iter().find(|entry| entry.key() == "location").map(|entry| entry.value());
        let location = location.unwrap_or_default();
        let plain = Path::new(location).file_name().is_some_and(|name| name == location);
        if !plain {
            return Err(Error::new(Kind::Model, "the graph keeps weights in a place that is not beside it")
                .tensor(tensor.name())
                .found(format!("{location:?}"))
                .expected("a file name"));
        }
        files.insert(location.to_owned());
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph with these inputs, whose output has this rank; `wide` is its last dimension.
    fn model(inputs: &[&str], rank: usize, wide: usize) -> ModelProto {
        let mut graph = Builder::new("foreign");
        let ids = || ValueType::int64([batch(), "sequence".into()]);
        for name in inputs {
            graph.input(name, ids()).unwrap();
        }
        let shape = [batch(), "sequence".into(), wide.into()];
        let states = graph.input("states", ValueType::float(shape.clone())).unwrap();
        let kept = ValueType::float(if rank == 3 { shape.to_vec() } else { vec![batch(), wide.into()] });
        let output = graph.add(Operation::new("Identity", &[&states]), "last_hidden_state", kept).unwrap();
        graph.output(&output).unwrap();
        let mut model = graph.finish().unwrap();
        model.graph.as_mut().unwrap().input.retain(|input| input.name() != "states");
        model
    }

    fn check(model: ModelProto) -> Result<ForeignEncoder> {
        ForeignEncoder::check(Path::new("x.onnx"), model)
    }

    #[test]
    fn token_states_are_pooled_and_token_types_made_inside() {
        let encoder = check(model(&[IDS, MASK, TYPES], 3, 8)).unwrap();
        assert!(!encoder.is_pooled() && encoder.hidden_size() == 8);
        let changed = graph::decode(&encoder.with_pooling(Pooling::Mean, true).unwrap()).unwrap();
        let body = changed.graph.unwrap();
        let names: Vec<&str> = body.input.iter().map(ValueInfoProto::name).collect();
        assert_eq!(names, [IDS, MASK]);
        assert_eq!(body.output.iter().map(ValueInfoProto::name).collect::<Vec<_>>(), [EMBEDDING]);
        assert_eq!(body.node[0].output, [TYPES]);
    }

    #[test]
    fn a_pooled_output_is_kept_as_it_is() {
        let encoder = check(model(&[IDS, MASK], 2, 8)).unwrap();
        assert!(encoder.is_pooled());
        let changed = graph::decode(&encoder.with_pooling(Pooling::Mean, false).unwrap()).unwrap();
        assert_eq!(changed.graph.unwrap().node.last().unwrap().op_type(), "Identity");
    }

    #[track_caller]
    fn refused(model: ModelProto, part: &str) {
        let error = check(model).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn an_input_that_cannot_be_fed_is_named() {
        refused(model(&[IDS, MASK, "position_ids"], 3, 8), "position_ids");
    }

    #[test]
    fn a_missing_input_is_named() {
        refused(model(&[IDS], 3, 8), "attention_mask");
    }

    #[test]
    fn an_old_operator_set_is_refused() {
        let mut old = model(&[IDS, MASK], 3, 8);
        old.opset_import.iter_mut().for_each(|set| set.version = Some(11));
        refused(old, "found 11");
    }

    #[test]
    fn an_open_hidden_size_is_refused() {
        let mut open = model(&[IDS, MASK], 3, 8);
        let output = &mut open.graph.as_mut().unwrap().output[0];
        let Some(type_proto::Value::TensorType(tensor)) = output.r#type.as_mut().unwrap().value.as_mut()
        else {
            panic!("not a tensor");
        };
        tensor.shape.as_mut().unwrap().dim[2].value = Some(dimension::Value::DimParam("h".to_owned()));
        refused(open, "last dimension");
    }

    #[test]
    fn weights_outside_the_models_directory_are_refused() {
        use crate::graph::proto::StringStringEntryProto;
        for (location, allowed) in [("weights.bin", true), ("../weights.bin", false), ("/etc/passwd", false)]
        {
            let mut model = model(&[IDS, MASK], 3, 8);
            let entry = StringStringEntryProto { key: Some("location".into()), value: Some(location.into()) };
            model.graph.as_mut().unwrap().initializer.push(TensorProto {
                name: Some("w".to_owned()),
                data_location: Some(DataLocation::External as i32),
                external_data: vec![entry],
                ..TensorProto::default()
            });
            assert_eq!(check(model).is_ok(), allowed, "{location}");
        }
    }
}
