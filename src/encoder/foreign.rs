//! Owns bringing an ONNX encoder made elsewhere to the project's inputs and output.
//!
//! Inputs become `input_ids` and `attention_mask` (token types, when the graph wants them, are zeros made
//! inside it); pooling and normalisation are appended; the output is `embedding` `[batch, hidden]`. What has
//! a name that is needed is renamed. Refuses a graph it cannot feed, and to change what any node computes
//! (but for the order of a sum's terms). Whether the graph runs is for a trial to find out.

mod external;
mod inputs;
mod outputs;
mod sums;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::kinds::Pooling;
use super::pooling::{Behind, Means};
use super::ports::{
    ATTENTION_MASK as MASK, EMBEDDING, INPUT_IDS as IDS, OF_HEADS, TOKEN_TYPES as TYPES, batch,
};
use super::types::zeros;
use crate::error::{Error, Kind, Result};
use crate::graph::proto::{GraphProto, TensorProto, ValueInfoProto, dimension, type_proto};
use crate::graph::{self, Builder, DataType, ModelProto, Operation, Value, ValueType};
use crate::recognize::FETCH;

pub use outputs::{ForeignOutput, TokenStates};

/// Axes became inputs of `ReduceSum` and `Unsqueeze` here.
const LEAST_OPSET: i64 = 13;
/// Operators that take one scale from all numbers of a batch.
const DYNAMIC: [&str; 3] = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"];
/// What a file that Git has not fetched begins with.
const POINTER: &[u8] = b"version https://git-lfs";

/// An ONNX encoder made elsewhere, checked as far as its file says what it is.
pub struct ForeignEncoder {
    path: PathBuf,
    model: ModelProto,
    output: ForeignOutput,
    /// An output of token states beside one that is pooled.
    states: Option<String>,
    external: external::Files,
}

impl ForeignEncoder {
    /// Reads a model and checks that it can be fed, that its weights are there and that its output is
    /// understood.
    ///
    /// # Errors
    /// It is not an ONNX model, has other inputs, an older operator set, or no output of token states or
    /// embeddings; a file with its weights is missing or cut off.
    pub fn open(path: &Path, states: TokenStates) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        if bytes.starts_with(POINTER) {
            return Err(Error::new(Kind::Model, "this is a Git LFS pointer, not the model")
                .at(path)
                .found(format!("{} bytes of text", bytes.len()))
                .help(FETCH));
        }
        let model = graph::decode(&bytes).map_err(|error| error.at(path))?;
        let encoder = Self::check(path, model, states).map_err(|error| error.at(path))?;
        external::check(&encoder.external, path)?;
        Ok(encoder)
    }

    fn check(path: &Path, model: ModelProto, states: TokenStates) -> Result<Self> {
        let of_onnx = |domain: &str| matches!(domain, "" | "ai.onnx");
        let opset =
            model.opset_import.iter().filter(|set| of_onnx(set.domain())).map(|set| set.version()).max();
        if opset.is_none_or(|opset| opset < LEAST_OPSET) {
            return Err(Error::new(Kind::Model, "the graph's operator set is too old")
                .found(opset.map_or_else(|| "none".to_owned(), |opset| opset.to_string()))
                .expected(format!("{LEAST_OPSET} or newer"))
                .help("export the model again with a newer opset"));
        }
        let graph = body(&model)?;
        inputs::check(graph)?;
        let (output, states) = outputs::choose(graph, states)?;
        let external = external::files(graph)?;
        Ok(Self { path: path.to_path_buf(), output, states, external, model })
    }

    /// The output that is taken.
    #[must_use]
    pub fn output(&self) -> &ForeignOutput {
        &self.output
    }

    /// The output of token states that is there beside a pooled one that is taken.
    #[must_use]
    pub fn states(&self) -> Option<&str> {
        self.states.as_deref()
    }

    /// Files beside the model that hold its weights.
    pub fn external_files(&self) -> impl Iterator<Item = &str> {
        self.external.keys().map(String::as_str)
    }

    /// Makes the graph look for the weights of one such file in another.
    pub fn move_external(&mut self, from: &str, to: &str) {
        if let Some(needed) = self.external.remove(from) {
            self.model.graph.iter_mut().for_each(|graph| external::rename(graph, from, to));
            self.external.insert(to.to_owned(), needed);
        }
    }

    /// The operator, if there is one, that quantises all texts of a batch by one scale.
    #[must_use]
    pub fn quantises_batches(&self) -> Option<&'static str> {
        let nodes = || self.model.graph.iter().flat_map(|graph| &graph.node);
        DYNAMIC.into_iter().find(|operator| nodes().any(|node| node.op_type() == *operator))
    }

    /// What decides whether an ONNX Runtime knows the graph: its file format, operator sets, and their
    /// domains.
    #[must_use]
    pub fn needs(&self) -> String {
        let sets = self.model.opset_import.iter().map(|set| match set.domain() {
            "" => format!("opset {}", set.version()),
            domain => format!("operators of {domain} {}", set.version()),
        });
        let sets: Vec<String> = sets.collect();
        format!("IR version {}, {}", self.model.ir_version.unwrap_or(0), sets.join(", "))
    }

    /// The model's bytes with the project's inputs, and the output that is taken as it comes.
    ///
    /// # Errors
    /// Never for an encoder that was opened.
    pub fn bare(&self) -> Result<(Vec<u8>, String)> {
        let (mut model, output) = self.prepared()?;
        let graph = model.graph.as_mut().ok_or_else(|| no_graph().at(&self.path))?;
        graph.output.retain(|value| value.name() == output);
        Ok((graph::encode(&model), output))
    }

    /// The model's bytes with the project's inputs and output. What the graph has pooled itself is not pooled
    /// again.
    ///
    /// # Errors
    /// Never for an encoder that was opened.
    pub fn with_pooling(&self, pooling: Pooling, normalize: bool) -> Result<Vec<u8>> {
        self.finished(pooling, normalize, false)
    }

    /// The same of a graph that pools itself, with the terms of its sums over tokens added in the order of
    /// the tokens; none when it has no such sums. Whether they were such sums, only their results tell.
    ///
    /// # Errors
    /// Never for an encoder that was opened.
    pub fn with_ordered_sums(&self, normalize: bool) -> Result<Option<Vec<u8>>> {
        if !self.output.pooled || !sums::are_there(body(&self.model)?) {
            return Ok(None);
        }
        self.finished(Pooling::default(), normalize, true).map(Some)
    }

    fn finished(&self, pooling: Pooling, normalize: bool, ordered: bool) -> Result<Vec<u8>> {
        let (mut model, output) = self.prepared()?;
        let mut tail = self.tail(&output, pooling, normalize)?.graph.unwrap_or_default();
        // What is written is hashed into the keys of stored features: it has never had these.
        tail.value_info.clear();
        let graph = model.graph.as_mut().ok_or_else(|| no_graph().at(&self.path))?;
        if ordered {
            sums::put_in_order(graph)?;
        }
        graph.output.clear();
        graph::append(graph, tail);
        Ok(graph::encode(&model))
    }

    /// The model with the project's inputs, and without names that the project needs; what its output is
    /// called now.
    fn prepared(&self) -> Result<(ModelProto, String)> {
        let mut model = self.model.clone();
        let graph = model.graph.as_mut().ok_or_else(|| no_graph().at(&self.path))?;
        let types = needs(graph, TYPES);
        let initialized: BTreeSet<String> =
            graph.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
        graph.input.retain(|input| [IDS, MASK].contains(&input.name()) || initialized.contains(input.name()));
        inputs::declare(graph);
        let wanted = self.wanted_names()?;
        let is_wanted = |name: &str| {
            wanted.contains(name)
                || OF_HEADS.iter().chain([&sums::PREFIX]).any(|prefix| name.starts_with(prefix))
        };
        let renamed = graph::clear_names(graph, &is_wanted);
        if types {
            make_types(graph);
        }
        if graph::is_own(&graph::encode(&model)) {
            // The graph of standard operators: others' tools are meant to fuse and fold it.
            model.producer_name = Some("frosthead, for other tools".to_owned());
        }
        let output = renamed.get(&self.output.name).unwrap_or(&self.output.name).clone();
        Ok((model, output))
    }

    /// The names of everything that may be appended.
    fn wanted_names(&self) -> Result<BTreeSet<String>> {
        let mut wanted = BTreeSet::new();
        for normalize in [false, true] {
            for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Max] {
                let tail = self.tail("the foreign output", pooling, normalize)?;
                wanted.extend(graph::made(body(&tail)?).map(str::to_owned));
            }
        }
        Ok(wanted)
    }

    /// The part to append, as a graph of its own whose inputs are the foreign output and the mask.
    fn tail(&self, output: &str, pooling: Pooling, normalize: bool) -> Result<ModelProto> {
        let mut tail = Builder::new("pooling");
        let mask = tail.input(MASK, ValueType::int64([batch(), "sequence".into()]))?;
        let hidden = self.output.width;
        let means = |tail: &mut Builder| Means::new(tail, &mask, hidden.into(), false);
        let embedding: Value = if self.output.pooled {
            let pooled = tail.input(output, ValueType::float([batch(), hidden.into()]))?;
            if normalize {
                let means = means(&mut tail)?;
                means.normalize(&mut tail, &pooled)?
            } else {
                let vector = ValueType::float([batch(), hidden.into()]);
                tail.add(Operation::new("Identity", &[&pooled]), EMBEDDING, vector)?
            }
        } else {
            let states = ValueType::float([batch(), "sequence".into(), hidden.into()]);
            let states = tail.input(output, states)?;
            let means = means(&mut tail)?;
            means.embedding(&mut tail, &states, pooling, &Behind::scaling(normalize))?
        };
        tail.output(&embedding)?;
        tail.finish()
    }
}

/// Makes the token types inside the graph: x − x, zeros of the ids' own shape.
fn make_types(graph: &mut GraphProto) {
    let taken = |name: &str| graph.node.iter().any(|node| node.name() == name);
    let mut name = TYPES.to_owned();
    while taken(&name) {
        name.push('_');
    }
    graph.node.insert(0, zeros(name));
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

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

fn element(value: &ValueInfoProto) -> Option<i32> {
    tensor_type(value)?.elem_type
}

/// The declared dimensions: the fixed ones as numbers; none when nothing is declared.
fn fixed_dims(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let fixed = |dim: &crate::graph::proto::Dimension| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    };
    Some(tensor_type(value)?.shape.as_ref()?.dim.iter().map(fixed).collect())
}

/// A value as people write it: `input_ids int64 [batch, sequence]`.
fn describe(value: &ValueInfoProto) -> String {
    let kind = element(value).and_then(|element| DataType::try_from(element).ok());
    let kind = match kind {
        Some(DataType::Float) => "f32",
        Some(DataType::Float16) => "f16",
        Some(DataType::Bfloat16) => "bf16",
        Some(DataType::Double) => "f64",
        Some(DataType::Int8) => "int8",
        Some(DataType::Uint8) => "uint8",
        Some(DataType::Int16) => "int16",
        Some(DataType::Int32) => "int32",
        Some(DataType::Int64) => "int64",
        Some(DataType::Bool) => "bool",
        Some(DataType::String) => "string",
        Some(_) => "of another element type",
        None => "of no tensor type",
    };
    let shape = tensor_type(value).and_then(|tensor| tensor.shape.as_ref());
    let dims = shape.map(|shape| {
        let dims = shape.dim.iter().map(|dim| match &dim.value {
            Some(dimension::Value::DimValue(size)) => size.to_string(),
            Some(dimension::Value::DimParam(name)) => name.clone(),
            None => "any".to_owned(),
        });
        format!("[{}]", dims.collect::<Vec<_>>().join(", "))
    });
    format!("{} {kind} {}", value.name(), dims.as_deref().unwrap_or("of no declared shape"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::{take_types, takes_types};
    use crate::graph::proto::{DataLocation, NodeProto, StringStringEntryProto};

    /// A graph with these inputs, whose output `name` has this rank; `wide` is its last dimension.
    fn model_named(inputs: &[&str], name: &str, rank: usize, wide: usize) -> ModelProto {
        let mut graph = Builder::new("foreign");
        let ids = || ValueType::int64([batch(), "sequence".into()]);
        for name in inputs {
            graph.input(name, ids()).unwrap();
        }
        let shape = [batch(), "sequence".into(), wide.into()];
        let states = graph.input("states", ValueType::float(shape.clone())).unwrap();
        let kept = ValueType::float(if rank == 3 { shape.to_vec() } else { vec![batch(), wide.into()] });
        let output = graph.add(Operation::new("Identity", &[&states]), name, kept).unwrap();
        graph.output(&output).unwrap();
        let mut model = graph.finish().unwrap();
        model.producer_name = Some("somebody".to_owned());
        model.graph.as_mut().unwrap().input.retain(|input| input.name() != "states");
        model
    }

    fn model(inputs: &[&str], rank: usize, wide: usize) -> ModelProto {
        model_named(inputs, "last_hidden_state", rank, wide)
    }

    fn check(model: ModelProto) -> Result<ForeignEncoder> {
        ForeignEncoder::check(Path::new("x.onnx"), model, TokenStates::NotWanted)
    }

    /// Graphs with the outputs of these, side by side.
    fn several(outputs: &[(&str, usize, usize)]) -> ModelProto {
        let mut all = model(&[IDS, MASK], 3, 24);
        let output = |&(name, rank, wide): &(&str, usize, usize)| {
            model_named(&[IDS, MASK], name, rank, wide).graph.unwrap().output.remove(0)
        };
        all.graph.as_mut().unwrap().output = outputs.iter().map(output).collect();
        all
    }

    fn input<'m>(model: &'m mut ModelProto, name: &str) -> &'m mut type_proto::Tensor {
        let graph = model.graph.as_mut().unwrap();
        let value =
            graph.input.iter_mut().chain(&mut graph.output).find(|value| value.name() == name).unwrap();
        match value.r#type.as_mut().unwrap().value.as_mut().unwrap() {
            type_proto::Value::Tensor(tensor) => tensor,
            _ => panic!("not a tensor"),
        }
    }

    fn dims(tensor: &mut type_proto::Tensor) -> &mut Vec<crate::graph::proto::Dimension> {
        &mut tensor.shape.as_mut().unwrap().dim
    }

    #[test]
    fn token_states_are_pooled_and_token_types_made_inside() {
        let encoder = check(model(&[IDS, MASK, TYPES], 3, 8)).unwrap();
        assert!(!encoder.output().pooled && encoder.output().width == 8);
        let changed = graph::decode(&encoder.with_pooling(Pooling::Mean, true).unwrap()).unwrap();
        let body = changed.graph.unwrap();
        let names: Vec<&str> = body.input.iter().map(ValueInfoProto::name).collect();
        assert_eq!(names, [IDS, MASK]);
        assert_eq!(body.output.iter().map(ValueInfoProto::name).collect::<Vec<_>>(), [EMBEDDING]);
        assert_eq!(body.node[0].output, [TYPES]);
        // For pairs they are an input again, and the rest stays.
        let mut typed = graph::decode(&encoder.with_pooling(Pooling::Mean, true).unwrap()).unwrap();
        assert!(!takes_types(&typed) && take_types(&mut typed) && takes_types(&typed));
        let of_pairs = typed.graph.unwrap();
        assert_eq!(of_pairs.input.iter().map(ValueInfoProto::name).collect::<Vec<_>>(), [IDS, MASK, TYPES]);
        assert_eq!(of_pairs.node[..], body.node[1..]);
        let without = check(model(&[IDS, MASK], 3, 8)).unwrap().with_pooling(Pooling::Mean, true).unwrap();
        let mut model = graph::decode(&without).unwrap();
        assert!(!take_types(&mut model));
        assert_eq!(graph::encode(&model), without);
    }

    #[test]
    fn a_pooled_output_is_kept_as_it_is() {
        let encoder = check(model(&[IDS, MASK], 2, 8)).unwrap();
        assert!(encoder.output().pooled);
        let changed = graph::decode(&encoder.with_pooling(Pooling::Mean, false).unwrap()).unwrap();
        assert_eq!(changed.graph.unwrap().node.last().unwrap().op_type(), "Identity");
        let (bare, output) = encoder.bare().unwrap();
        let outputs = graph::decode(&bare).unwrap().graph.unwrap().output;
        assert_eq!(
            (outputs.len(), outputs[0].name(), output.as_str()),
            (1, "last_hidden_state", "last_hidden_state")
        );
    }

    #[test]
    fn what_has_a_name_that_is_needed_is_renamed() {
        let mut model = model_named(&[IDS, MASK, TYPES], EMBEDDING, 2, 8);
        let body = model.graph.as_mut().unwrap();
        let value = |name: &str| TensorProto { name: Some(name.to_owned()), ..TensorProto::default() };
        body.initializer.extend(["pooling/one", "heads.mood.weight", "logits_mood", "mine"].map(value));
        body.node.push(NodeProto {
            name: Some(TYPES.to_owned()),
            op_type: Some("Add".to_owned()),
            input: vec!["pooling/one".to_owned(), "mine".to_owned()],
            output: vec!["pooling/mask".to_owned()],
            ..NodeProto::default()
        });
        let encoder = check(model).unwrap();
        let changed = graph::decode(&encoder.with_pooling(Pooling::Mean, true).unwrap()).unwrap();
        let body = changed.graph.unwrap();
        let mut values: Vec<&str> = body.initializer.iter().map(TensorProto::name).collect();
        values.extend(body.node.iter().flat_map(|node| &node.output).map(String::as_str));
        for name in ["foreign/pooling/one", "foreign/heads.mood.weight", "foreign/logits_mood", "mine"] {
            assert!(values.contains(&name), "{name} is not in {values:?}");
        }
        let (all, distinct) = (values.len(), values.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(all, distinct, "{values:?}");
        let nodes: Vec<&str> = body.node.iter().map(NodeProto::name).collect();
        assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len(), "{nodes:?}");
        assert_eq!(body.output[0].name(), EMBEDDING);
    }

    #[track_caller]
    fn refused(model: ModelProto, parts: &[&str]) {
        let error = check(model).err().unwrap().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn an_input_that_cannot_be_fed_is_named() {
        refused(model(&[IDS, MASK, "position_ids"], 3, 8), &["position_ids int64 [batch, sequence]"]);
        let mut narrow = model(&[IDS, MASK], 3, 8);
        input(&mut narrow, IDS).elem_type = Some(DataType::Int32 as i32);
        refused(narrow, &["another element type", "input_ids int32 [batch, sequence]", "int64"]);
        let mut deep = model(&[IDS, MASK], 3, 8);
        let more = dims(input(&mut deep, MASK))[0].clone();
        dims(input(&mut deep, MASK)).push(more);
        refused(deep, &["another shape", "attention_mask int64 [batch, sequence, batch]"]);
    }

    #[test]
    fn a_missing_input_is_named() {
        refused(model(&[IDS], 3, 8), &["attention_mask"]);
    }

    #[test]
    fn a_fixed_size_is_refused() {
        for axis in [0, 1] {
            let mut fixed = model(&[IDS, MASK], 3, 8);
            dims(input(&mut fixed, IDS))[axis].value = Some(dimension::Value::DimValue(16));
            refused(fixed, &["fixed size", "input_ids int64 [", "16", "[batch, sequence]"]);
        }
    }

    #[test]
    fn inputs_without_a_shape_or_with_one_name_for_both_sizes_are_declared_anew() {
        let declared = |model: ModelProto| {
            let encoder = check(model).unwrap();
            let graph = graph::decode(&encoder.with_pooling(Pooling::Mean, false).unwrap()).unwrap().graph;
            graph.unwrap().input.iter().map(describe).collect::<Vec<_>>()
        };
        let right = ["input_ids int64 [batch, sequence]", "attention_mask int64 [batch, sequence]"];
        let mut open = model(&[IDS, MASK], 3, 8);
        input(&mut open, MASK).shape = None;
        assert_eq!(declared(open), right);
        let mut turned = model(&[IDS, MASK], 3, 8);
        dims(input(&mut turned, MASK)).reverse();
        assert_eq!(declared(turned), right);
        let mut other = model(&[IDS, MASK], 3, 8);
        dims(input(&mut other, MASK))[1].value = Some(dimension::Value::DimParam("length".to_owned()));
        assert_eq!(declared(other), [right[0], "attention_mask int64 [batch, length]"]);
    }

    #[test]
    fn an_old_operator_set_is_refused() {
        let mut old = model(&[IDS, MASK], 3, 8);
        old.opset_import.iter_mut().for_each(|set| set.version = Some(11));
        refused(old, &["found 11"]);
        let mut alias = model(&[IDS, MASK], 3, 8);
        alias.opset_import.iter_mut().for_each(|set| set.domain = Some("ai.onnx".to_owned()));
        assert!(check(alias).is_ok());
    }

    #[test]
    fn an_output_is_chosen_by_what_it_is() {
        let chosen = |outputs: &[(&str, usize, usize)], states| {
            ForeignEncoder::check(Path::new("x.onnx"), several(outputs), states)
                .map(|encoder| encoder.output.name)
        };
        let name = |outputs: &[(&str, usize, usize)]| chosen(outputs, TokenStates::NotWanted).unwrap();
        let both = [("token_embeddings", 3, 24), ("sentence_embedding", 2, 24)];
        assert_eq!(name(&both), "sentence_embedding");
        for states in [TokenStates::Preferred, TokenStates::Required] {
            assert_eq!(chosen(&both, states).unwrap(), "token_embeddings");
        }
        assert_eq!(chosen(&both[1..], TokenStates::Preferred).unwrap(), "sentence_embedding");
        assert_eq!(check(several(&both)).unwrap().states(), Some("token_embeddings"));
        assert_eq!(name(&[("pooler_output", 2, 24), ("last_hidden_state", 3, 24)]), "last_hidden_state");
        assert_eq!(name(&[("logits", 2, 3), ("last_hidden_state", 3, 24)]), "last_hidden_state");
        assert_eq!(name(&[("1234", 3, 24), ("1235", 2, 24)]), "1234");
        assert_eq!(name(&[("output", 2, 24)]), "output");
        assert_eq!(name(&[("last_hidden_state", 3, 8)]), "last_hidden_state");
    }

    #[test]
    fn outputs_that_are_no_embedding_or_leave_a_choice_are_refused() {
        for answers in [("logits", 2, 24), ("output", 2, 3), ("prediction_logits", 3, 30_522), ("x", 3, 9)] {
            refused(several(&[answers]), &["classifier", answers.0, "not embeddings"]);
        }
        refused(several(&[("a", 3, 24), ("b", 3, 24)]), &["several outputs", "a f32 [batch, sequence, 24]"]);
        let error = ForeignEncoder::check(
            Path::new("x"),
            several(&[("pooler_output", 2, 24)]),
            TokenStates::Required,
        )
        .err()
        .unwrap();
        assert!(error.to_string().contains("pooled already"), "{error}");
        for kind in [DataType::Float16, DataType::Double, DataType::Bfloat16] {
            let mut half = model(&[IDS, MASK], 3, 24);
            input(&mut half, "last_hidden_state").elem_type = Some(kind as i32);
            refused(half, &["no output of token states", "last_hidden_state", "f32"]);
        }
        let mut deep = model(&[IDS, MASK], 3, 24);
        let more = dims(input(&mut deep, "last_hidden_state"))[0].clone();
        dims(input(&mut deep, "last_hidden_state")).push(more);
        refused(deep, &["no output of token states", "[batch, sequence, 24, batch]"]);
    }

    #[test]
    fn an_open_hidden_size_is_refused() {
        let mut open = model(&[IDS, MASK], 3, 8);
        dims(input(&mut open, "last_hidden_state"))[2].value =
            Some(dimension::Value::DimParam("h".to_owned()));
        refused(open, &["how long its vectors are"]);
    }

    /// A graph with a tensor of four floats outside.
    fn outside(entries: &[(&str, &str)]) -> ModelProto {
        let mut model = model(&[IDS, MASK], 3, 8);
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        model.graph.as_mut().unwrap().initializer.push(TensorProto {
            name: Some("w".to_owned()),
            dims: vec![4],
            data_type: Some(DataType::Float as i32),
            data_location: Some(DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..TensorProto::default()
        });
        model
    }

    #[test]
    fn weights_outside_the_models_directory_are_refused() {
        for (location, allowed) in [("weights.bin", true), ("../weights.bin", false), ("/etc/passwd", false)]
        {
            assert_eq!(check(outside(&[("location", location)])).is_ok(), allowed, "{location}");
        }
        refused(outside(&[("location", "w"), ("length", "12")]), &["does not say properly", "16 bytes"]);
        refused(outside(&[("location", "w"), ("offset", "x")]), &["does not say properly", "offset \"x\""]);
    }

    #[test]
    fn weights_that_are_missing_or_cut_off_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.onnx");
        std::fs::write(&path, graph::encode(&outside(&[("location", "w.bin"), ("offset", "4")]))).unwrap();
        let open = || ForeignEncoder::open(&path, TokenStates::NotWanted);
        let error = open().err().unwrap().to_string();
        assert!(error.contains("w.bin") && error.contains("missing"), "{error}");
        std::fs::write(directory.path().join("w.bin"), [0; 19]).unwrap();
        let error = open().err().unwrap().to_string();
        assert!(error.contains("cut off: found 19 bytes, expected at least 20"), "{error}");
        std::fs::write(directory.path().join("w.bin"), [0; 20]).unwrap();
        let mut encoder = open().unwrap();
        assert_eq!(encoder.external_files().collect::<Vec<_>>(), ["w.bin"]);
        encoder.move_external("w.bin", "other.bin");
        let moved = graph::decode(&encoder.bare().unwrap().0).unwrap().graph.unwrap();
        assert_eq!(moved.initializer[0].external_data[0].value(), "other.bin");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
        assert!(open().err().unwrap().to_string().contains("Git LFS pointer"));
    }
}
