//! Graphs made elsewhere, and what an import's trial finds: what cannot run, what depends on its company,
//! what is no embedding, names that are taken, numbers that are not finite. The graphs are made here from the
//! one that PyTorch has exported.

use std::path::{Path, PathBuf};

use frosthead::internal::graph::proto::{
    AttributeProto, AttributeType, Dimension, GraphProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, dimension, type_proto,
};
use frosthead::internal::graph::{self, DataType, ModelProto};
use tempfile::TempDir;

use crate::harness::{Finished, demo, directory, frosthead, root, text};

const STATES: &str = "last_hidden_state";

fn fixture(name: &str) -> PathBuf {
    root().join("tests/data/foreign_onnx").join(name)
}

fn encoder() -> ModelProto {
    graph::decode(&std::fs::read(fixture("encoder.onnx")).unwrap()).unwrap()
}

fn body(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

/// A declared value; a size of 0 is any.
fn value(name: &str, element: DataType, sizes: &[i64]) -> ValueInfoProto {
    let dim = |(axis, &size): (usize, &i64)| Dimension {
        value: Some(match size {
            0 => dimension::Value::DimParam(format!("size_{axis}")),
            _ => dimension::Value::DimValue(size),
        }),
        denotation: None,
    };
    let shape = Some(TensorShapeProto { dim: sizes.iter().enumerate().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

fn float(name: &str, sizes: &[i64]) -> ValueInfoProto {
    value(name, DataType::Float, sizes)
}

fn tensor_of<'m>(values: &'m mut [ValueInfoProto], name: &str) -> &'m mut type_proto::Tensor {
    let value = values.iter_mut().find(|value| value.name() == name).unwrap();
    match value.r#type.as_mut().unwrap().value.as_mut().unwrap() {
        type_proto::Value::Tensor(tensor) => tensor,
        _ => panic!("not a tensor"),
    }
}

fn integers(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![numbers.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        ..TensorProto::default()
    }
}

fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> NodeProto {
    let attribute = |(name, numbers): &(&str, &[i64])| {
        let mut own = AttributeProto { name: Some((*name).to_owned()), ..AttributeProto::default() };
        match numbers {
            [number] => (own.i, own.r#type) = (Some(*number), Some(AttributeType::Int as i32)),
            _ => (own.ints, own.r#type) = (numbers.to_vec(), Some(AttributeType::Ints as i32)),
        }
        own
    };
    NodeProto {
        op_type: Some(operator.to_owned()),
        name: Some(format!("node {output}")),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

/// Adds nodes and makes `output` the only output.
fn ends(model: &mut ModelProto, nodes: impl IntoIterator<Item = NodeProto>, output: ValueInfoProto) {
    let graph = body(model);
    graph.node.extend(nodes);
    graph.output = vec![output];
}

/// Another name for a value, everywhere.
fn rename(model: &mut ModelProto, from: &str, to: &str) {
    graph::clear_names(body(model), &|name| name == from);
    let given = format!("foreign/{from}");
    let graph = body(model);
    let names = graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
    names.filter(|name| **name == given).for_each(|name| to.clone_into(name));
    let values = graph.input.iter_mut().chain(&mut graph.output);
    values.filter(|value| value.name() == given).for_each(|value| value.name = Some(to.to_owned()));
    graph
        .initializer
        .iter_mut()
        .filter(|value| value.name() == given)
        .for_each(|value| value.name = Some(to.to_owned()));
}

/// As sentence-transformers exports it: `token_embeddings`, and their mean over real tokens as
/// `sentence_embedding`, scaled to length 1 if that is wanted.
fn sentence_encoder(scaled: bool) -> ModelProto {
    let mut model = encoder();
    rename(&mut model, STATES, "token_embeddings");
    let graph = body(&mut model);
    graph.initializer.extend([
        integers("minus", &[-1]),
        integers("axis", &[1]),
        floats("tiny", &[], &[1e-9]),
    ]);
    graph.node.extend([
        node("Cast", &["attention_mask"], "mask", &[("to", &[1])]),
        node("Unsqueeze", &["mask", "minus"], "column", &[]),
        node("Mul", &["token_embeddings", "column"], "masked", &[]),
        node("ReduceSum", &["masked", "axis"], "sum", &[("keepdims", &[0])]),
        node("ReduceSum", &["column", "axis"], "count", &[("keepdims", &[0])]),
        node("Div", &["sum", "count"], "mean", &[]),
    ]);
    graph.node.extend(if scaled {
        vec![
            node("Mul", &["mean", "mean"], "squares", &[]),
            node("ReduceSum", &["squares", "axis"], "square", &[("keepdims", &[1])]),
            node("Sqrt", &["square"], "length", &[]),
            node("Max", &["length", "tiny"], "divisor", &[]),
            node("Div", &["mean", "divisor"], "sentence_embedding", &[]),
        ]
    } else {
        vec![node("Identity", &["mean"], "sentence_embedding", &[])]
    });
    graph.output.push(float("sentence_embedding", &[0, 24]));
    model
}

/// Its first token's state, scaled to length 1 if that is wanted: no sum over the tokens, so the bits stay.
pub fn first_token(scaled: bool) -> ModelProto {
    let mut model = encoder();
    let graph = body(&mut model);
    graph.initializer.extend([integers("zero", &[0]), integers("axis", &[1])]);
    let mut nodes = vec![
        node("Gather", &[STATES, "zero"], "first", &[("axis", &[1])]),
        node("Squeeze", &["first", "axis"], if scaled { "cls" } else { "pooler_output" }, &[]),
    ];
    if scaled {
        nodes.extend([
            node("Mul", &["cls", "cls"], "squares", &[]),
            node("ReduceSum", &["squares", "axis"], "square", &[("keepdims", &[1])]),
            node("Sqrt", &["square"], "length", &[]),
            node("Div", &["cls", "length"], "pooler_output", &[]),
        ]);
    }
    ends(&mut model, nodes, float("pooler_output", &[0, 24]));
    model
}

/// A directory with a model and its tokenizer.
pub fn place(model: &ModelProto) -> TempDir {
    let place = directory();
    std::fs::write(place.path().join("model.onnx"), graph::encode(model)).unwrap();
    std::fs::copy(fixture("tokenizer.json"), place.path().join("tokenizer.json")).unwrap();
    place
}

fn import(place: &Path, more: &[&str]) -> Finished {
    let (model, out) = (place.join("model.onnx"), place.join("out"));
    frosthead(&[&["import", text(&model), "--out", text(&out), "--overwrite"], more].concat())
}

#[track_caller]
fn refused(model: &ModelProto, more: &[&str], parts: &[&str]) {
    let place = place(model);
    let finished = import(place.path(), more).fails_with(&[&["model.onnx"], parts].concat());
    assert!(!finished.stderr.contains("onnxruntime:"), "a log is no message: {}", finished.stderr);
    assert!(!finished.stderr.contains(".frosthead-"), "a temporary name is no place: {}", finished.stderr);
    assert!(!place.path().join("out").exists());
}

#[track_caller]
fn imported(model: &ModelProto, more: &[&str], parts: &[&str]) -> TempDir {
    let place = place(model);
    let finished = import(place.path(), more).success();
    for part in parts {
        assert!(finished.stderr.contains(part), "{part:?} is not in {}", finished.stderr);
    }
    place
}

/// The embeddings of the backbone in `out`.
fn embeddings(place: &Path, texts: &[&str]) -> Vec<Vec<f32>> {
    let (data, out, model) = (place.join("texts.jsonl"), place.join("out.parquet"), place.join("out"));
    let lines: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({"text": text}))).collect();
    std::fs::write(&data, lines).unwrap();
    let arguments = ["embed", text(&data), "--backbone", text(&model), "--out", text(&out), "--overwrite"];
    frosthead(&arguments).success();
    let table = crate::harness::features(&out, None);
    table.features.chunks_exact(table.width).map(<[f32]>::to_vec).collect()
}

#[track_caller]
fn near(ours: &[Vec<f32>], theirs: &[Vec<f32>]) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
    }
}

#[test]
fn inputs_that_cannot_be_fed_are_refused() {
    let mut more = encoder();
    body(&mut more).input.push(value("position_ids", DataType::Int64, &[0, 0]));
    refused(&more, &[], &["position_ids int64", "expected input_ids, attention_mask", "help"]);
    let mut narrow = encoder();
    for input in &mut body(&mut narrow).input {
        input.r#type = value("x", DataType::Int32, &[0, 0]).r#type;
    }
    refused(&narrow, &[], &["another element type", "input_ids int32", "int64 inputs"]);
    for (sizes, shown) in [([1, 0], "[1, size_1]"), ([1, 16], "[1, 16]"), ([0, 128], "[size_0, 128]")] {
        let mut fixed = encoder();
        body(&mut fixed).input.iter_mut().for_each(|input| {
            input.r#type = value("x", DataType::Int64, &sizes).r#type;
        });
        refused(&fixed, &[], &["fixed size", shown, "dynamic axes"]);
    }
    // Declared wrongly, but able to run: mended.
    let mut turned = encoder();
    let dims = &mut tensor_of(&mut body(&mut turned).input, "attention_mask").shape.as_mut().unwrap().dim;
    dims.reverse();
    imported(&turned, &[], &["24 dimensions, mean pooling"]);
    let mut silent = encoder();
    for name in ["input_ids", "attention_mask", "token_type_ids"] {
        tensor_of(&mut body(&mut silent).input, name).shape = None;
    }
    imported(&silent, &[], &["24 dimensions, mean pooling"]);
}

#[test]
fn a_graph_that_onnx_runtime_does_not_know_is_refused_with_its_reason() {
    let mut new = encoder();
    new.opset_import[0].version = Some(99);
    refused(
        &new,
        &[],
        &["cannot load the graph", "opset 99", "expected what ONNX Runtime 1.", "because:", "older opset"],
    );
    let mut format = encoder();
    format.ir_version = Some(99);
    refused(&format, &[], &["cannot load the graph", "IR version 99"]);
    let mut secret = encoder();
    secret.opset_import.push(OperatorSetIdProto { domain: Some("my.company".into()), version: Some(1) });
    let mut own = node("Secret", &[STATES], "token_embeddings", &[]);
    own.domain = Some("my.company".to_owned());
    ends(&mut secret, [own], float("token_embeddings", &[0, 0, 24]));
    refused(&secret, &[], &["cannot load the graph", "operators of my.company", "Secret"]);
    let place = place(&encoder());
    let bytes = std::fs::read(place.path().join("model.onnx")).unwrap();
    std::fs::write(place.path().join("model.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    import(place.path(), &[]).fails_with(&["model.onnx", "not an ONNX model", "complete"]);
}

#[test]
fn outputs_of_another_shape_or_type_are_refused() {
    for (kind, shown) in [(DataType::Float16, "f16"), (DataType::Double, "f64")] {
        let mut other = encoder();
        let cast = node("Cast", &[STATES], "token_embeddings", &[("to", &[kind as i64])]);
        ends(&mut other, [cast], value("token_embeddings", kind, &[0, 0, 24]));
        refused(&other, &[], &["no output of token states", &format!("token_embeddings {shown}"), "in fp32"]);
    }
    let mut wide = encoder();
    ends(&mut wide, [], float(STATES, &[0, 0, 48]));
    refused(&wide, &[], &["does not have the shape that it declares", "[1, 5, 24]", "[1, 5, 48]"]);
    let mut turned = encoder();
    let transpose = node("Transpose", &[STATES], "states", &[("perm", &[1, 0, 2])]);
    ends(&mut turned, [transpose], float("states", &[0, 0, 24]));
    for pooling in ["mean", "cls"] {
        refused(&turned, &["--pooling", pooling], &["does not have the shape", "[batch, sequence, hidden]"]);
    }
    let mut flat = encoder();
    body(&mut flat).initializer.push(integers("shape", &[-1, 24]));
    ends(&mut flat, [node("Reshape", &[STATES, "shape"], "embedding", &[])], float("embedding", &[0, 24]));
    refused(&flat, &[], &["does not have the shape", "[5, 24]", "[batch, width]"]);
    let mut deep = encoder();
    body(&mut deep).initializer.push(integers("front", &[0]));
    ends(&mut deep, [node("Unsqueeze", &[STATES, "front"], "states", &[])], float("states", &[1, 0, 0, 24]));
    refused(&deep, &[], &["no output of token states", "states f32 [1, size_1, size_2, 24]"]);
}

#[test]
fn weights_beside_the_graph_must_be_there_to_the_last_byte() {
    let place = directory();
    for name in ["encoder_external.bin", "tokenizer.json"] {
        std::fs::copy(fixture(name), place.path().join(name)).unwrap();
    }
    std::fs::copy(fixture("encoder_external.onnx"), place.path().join("model.onnx")).unwrap();
    import(place.path(), &[]).success();
    let data = place.path().join("encoder_external.bin");
    let whole = std::fs::read(&data).unwrap();
    std::fs::write(&data, &whole[..whole.len() - 1]).unwrap();
    import(place.path(), &[]).fails_with(&[
        "encoder_external.bin",
        "cut off",
        &whole.len().to_string(),
        "download it again",
    ]);
    std::fs::write(&data, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    import(place.path(), &[]).fails_with(&["encoder_external.bin", "cut off", "Git LFS"]);
    std::fs::remove_file(&data).unwrap();
    import(place.path(), &[]).fails_with(&["encoder_external.bin", "is missing", "beside the .onnx file"]);
    // Followed: what was there before works again. A name of ours is no obstacle either.
    std::fs::write(&data, &whole).unwrap();
    import(place.path(), &[]).success();
    let mut model = graph::decode(&std::fs::read(fixture("encoder_external.onnx")).unwrap()).unwrap();
    for tensor in &mut body(&mut model).initializer {
        for entry in tensor.external_data.iter_mut().filter(|entry| entry.key() == "location") {
            entry.value = Some("embedding.onnx".to_owned());
        }
    }
    std::fs::write(place.path().join("model.onnx"), graph::encode(&model)).unwrap();
    std::fs::rename(&data, place.path().join("embedding.onnx")).unwrap();
    import(place.path(), &[]).success();
    assert_eq!(std::fs::read(place.path().join("out/weights.embedding.onnx")).unwrap(), whole);
}

#[test]
fn lengths_and_ids_beyond_the_graph_are_found() {
    // Nobody promises a length: what runs is the limit.
    let place = imported(&encoder(), &[], &["at most 40 tokens", "the graph runs 40 tokens at most"]);
    assert_eq!(embeddings(place.path(), &["ok ".repeat(100).trim()]).len(), 1);
    let again = import(place.path(), &[]).success();
    assert!(again.stderr.contains("at most 40 tokens"), "{}", again.stderr);
    refused(
        &encoder(),
        &["--max-length", "64"],
        &["40 tokens, the most that run", "expected 64", "--max-length 40"],
    );
    imported(&encoder(), &["--max-length", "40"], &["at most 40 tokens"]);
    let said = self::place(&encoder());
    std::fs::write(said.path().join("config.json"), r#"{"max_position_embeddings": 40}"#).unwrap();
    let known = import(said.path(), &[]).success();
    assert!(
        known.stderr.contains("at most 40 tokens") && !known.stderr.contains("note:"),
        "{}",
        known.stderr
    );
    // More ids than the table of words has rows.
    let path = place.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let last = tokenizer["added_tokens"].as_array().unwrap().last().unwrap().clone();
    for id in 90..=300 {
        let mut token = last.clone();
        (token["id"], token["content"], token["special"]) =
            (id.into(), format!("extra{id}").into(), false.into());
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    }
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    import(place.path(), &[]).fails_with(&[
        "model.onnx",
        "token ids that the network does not know",
        "ids up to 300",
        "ids up to 259",
        "--tokenizer FILE",
    ]);
    import(place.path(), &["--tokenizer", text(&fixture("tokenizer.json"))]).success();
}

#[test]
fn a_text_has_the_same_bits_in_every_company_or_the_import_is_refused() {
    // One scale for all texts of a batch.
    let mut quantised = encoder();
    let mut quantise = node("DynamicQuantizeLinear", &[STATES], "q", &[]);
    quantise.output.extend(["scale", "zero"].map(str::to_owned));
    let back = node("DequantizeLinear", &["q", "scale", "zero"], "token_embeddings", &[]);
    ends(&mut quantised, [quantise, back], float("token_embeddings", &[0, 0, 24]));
    refused(
        &quantised,
        &[],
        &["depends on what it is run with", "DynamicQuantizeLinear", "--precision int8", "fp32 export"],
    );
    // Every token counts as real.
    let mut blind = encoder();
    body(&mut blind).node.iter_mut().for_each(|node| {
        node.input.iter_mut().filter(|name| *name == "attention_mask").for_each(|name| *name = "ones".into());
    });
    body(&mut blind).node.insert(0, node("Sub", &["input_ids", "input_ids"], "zeros", &[]));
    body(&mut blind).node.insert(1, node("Add", &["zeros", "one"], "ones", &[]));
    body(&mut blind).initializer.push(integers("one", &[1]));
    refused(
        &blind,
        &[],
        &["depends on what it is run with", "counts padding as text", "mask that has zeros"],
    );
    let mut pooled = encoder();
    body(&mut pooled).initializer.extend([integers("axis", &[1]), integers("axes", &[1])]);
    let nodes = [
        node("Shape", &[STATES], "shape", &[]),
        node("Gather", &["shape", "axis"], "length", &[]),
        node("Cast", &["length"], "divisor", &[("to", &[1])]),
        node("ReduceSum", &[STATES, "axes"], "sum", &[("keepdims", &[0])]),
        node("Div", &["sum", "divisor"], "sentence_embedding", &[]),
    ];
    ends(&mut pooled, nodes, float("sentence_embedding", &[0, 24]));
    refused(&pooled, &[], &["counts padding as text", "last_hidden_state"]);
    // The texts of a batch are mixed.
    let mut mixed = encoder();
    let nodes = [
        node("ReduceMax", &[STATES], "most", &[("keepdims", &[1])]),
        node("Sub", &[STATES, "most"], "token_embeddings", &[]),
    ];
    ends(&mut mixed, nodes, float("token_embeddings", &[0, 0, 24]));
    refused(&mixed, &[], &["depends on what it is run with", "mixes the texts"]);
}

/// Token states to which the largest of all that the mask shows are added; from place `leak` on, all tokens
/// are shown. It reads texts of any length.
fn leaking(leak: i64) -> ModelProto {
    let mut model = encoder();
    let table: Vec<f32> = (0..300 * 24_u16).map(|place| f32::from(place * 7 % 31) / 31.0).collect();
    let mut table = floats("table", &[300, 24], &table);
    // Padding, whose id is 1, stands out.
    table.raw_data.as_mut().unwrap()[4 * 24..2 * 4 * 24]
        .copy_from_slice(&[5.0_f32; 24].map(f32::to_le_bytes).concat());
    let graph = body(&mut model);
    graph.input.retain(|input| ["input_ids", "attention_mask"].contains(&input.name()));
    graph.initializer = vec![
        table,
        integers("one", &[1]),
        TensorProto { dims: Vec::new(), ..integers("axis", &[1]) },
        integers("leak", &[leak]),
        integers("minus", &[-1]),
        floats("whole", &[], &[1.0]),
        floats("thousand", &[], &[1000.0]),
    ];
    graph.node.clear();
    let nodes = [
        node("Gather", &["table", "input_ids"], "states", &[("axis", &[0])]),
        node("Sub", &["input_ids", "input_ids"], "zeros", &[]),
        node("Add", &["zeros", "one"], "ones", &[]),
        node("CumSum", &["ones", "axis"], "places", &[]),
        node("Greater", &["places", "leak"], "late", &[]),
        node("Cast", &["late"], "shown_anyway", &[("to", &[7])]),
        node("Max", &["attention_mask", "shown_anyway"], "shown", &[]),
        node("Cast", &["shown"], "mask", &[("to", &[1])]),
        node("Unsqueeze", &["mask", "minus"], "column", &[]),
        node("Sub", &["column", "whole"], "hidden", &[]),
        node("Mul", &["hidden", "thousand"], "far", &[]),
        node("Add", &["states", "far"], "seen", &[]),
        node("ReduceMax", &["seen"], "most", &[("axes", &[1]), ("keepdims", &[1])]),
        node("Add", &["states", "most"], "token_embeddings", &[]),
    ];
    ends(&mut model, nodes, float("token_embeddings", &[0, 0, 24]));
    // One axis is a list, too.
    let most = body(&mut model).node.iter_mut().find(|node| node.output[0] == "most").unwrap();
    most.attribute[0] = AttributeProto {
        name: Some("axes".to_owned()),
        ints: vec![1],
        r#type: Some(AttributeType::Ints as i32),
        ..AttributeProto::default()
    };
    model
}

#[test]
fn a_mask_that_fails_only_beyond_short_texts_is_found() {
    imported(&leaking(100_000), &[], &["at most 512 tokens"]);
    refused(
        &leaking(48),
        &[],
        &["depends on what it is run with", "beside a longer one", "counts padding as text"],
    );
    // Where no text is that long, it does no harm.
    imported(&leaking(48), &["--max-length", "48"], &["at most 48 tokens"]);
}

#[test]
fn a_graph_that_draws_at_random_is_told_from_one_that_mixes_texts() {
    let said = ["different numbers for the same text each time", "drawn at random", "model.eval()"];
    for operator in ["RandomNormalLike", "RandomUniformLike"] {
        let mut noisy = encoder();
        let nodes = [
            node(operator, &[STATES], "noise", &[]),
            node("Add", &[STATES, "noise"], "token_embeddings", &[]),
        ];
        ends(&mut noisy, nodes, float("token_embeddings", &[0, 0, 24]));
        refused(&noisy, &[], &said);
    }
}

#[test]
fn sums_over_tokens_are_put_in_order() {
    let texts = ["ok", "The battery died after two days.", ""];
    for scaled in [false, true] {
        let place = imported(
            &sentence_encoder(scaled),
            &[],
            &["pooled by the graph itself", "from its output \"sentence_embedding\"", "order of the tokens"],
        );
        let theirs = embeddings(place.path(), &texts);
        let more = ["--pooling", "mean", "--normalize", if scaled { "true" } else { "false" }];
        let place =
            imported(&sentence_encoder(scaled), &more, &["mean pooling", "its output \"token_embeddings\""]);
        near(&embeddings(place.path(), &texts), &theirs);
    }
    // Something else than a sum divides by something else than a count: the advice is to pool its token
    // states here.
    let mut other = sentence_encoder(false);
    let sum = body(&mut other).node.iter_mut().find(|node| node.output[0] == "sum").unwrap();
    sum.op_type = Some("ReduceLogSumExp".to_owned());
    sum.input.pop();
    sum.attribute.push(AttributeProto {
        name: Some("axes".to_owned()),
        ints: vec![1],
        r#type: Some(AttributeType::Ints as i32),
        ..AttributeProto::default()
    });
    refused(&other, &[], &["depends on what it is run with", "\"token_embeddings\"", "--pooling mean"]);
}

#[test]
fn what_a_graph_has_pooled_itself_is_called_so() {
    let place = imported(
        &first_token(false),
        &[],
        &["24 dimensions, pooled by the graph itself, at most 40", "from its output \"pooler_output\""],
    );
    let shown = frosthead(&["inspect", text(&place.path().join("out"))]).success();
    assert!(shown.stdout.contains("24 numbers, pooled by the graph itself"), "{}", shown.stdout);
    assert!(shown.stdout.contains("its output \"pooler_output\""), "{}", shown.stdout);
    let json = frosthead(&["inspect", text(&place.path().join("out")), "--json"]).success().json();
    assert!(json["manifest"]["preparation"].get("pooling").is_none(), "{json}");
    // The same as the first token's state, pooled here.
    let texts = ["ok", "The battery died after two days.", ""];
    let theirs = embeddings(place.path(), &texts);
    let ours = imported(&encoder(), &["--pooling", "cls"], &["cls pooling"]);
    near(&embeddings(ours.path(), &texts), &theirs);
    for pooling in ["mean", "cls"] {
        refused(
            &first_token(false),
            &["--pooling", pooling],
            &["--pooling changes nothing", "pooler_output f32", "leave --pooling away"],
        );
    }
    let answers = [("logits", 3, true), ("output", 3, false), ("prediction_logits", 24, false)];
    for (name, width, pooled) in answers {
        let mut classifier = encoder();
        let weights: Vec<f32> = (0..24_u16 * width).map(|place| f32::from(place % 7) - 3.0).collect();
        body(&mut classifier).initializer.push(floats("head", &[24, i64::from(width)], &weights));
        body(&mut classifier).initializer.extend([integers("zero", &[0]), integers("axis", &[1])]);
        let nodes = if pooled {
            vec![
                node("Gather", &[STATES, "zero"], "first", &[("axis", &[1])]),
                node("Squeeze", &["first", "axis"], "cls", &[]),
                node("MatMul", &["cls", "head"], name, &[]),
            ]
        } else {
            vec![node("MatMul", &[STATES, "head"], name, &[])]
        };
        let sizes: &[i64] = if pooled { &[0, width.into()] } else { &[0, 0, width.into()] };
        ends(&mut classifier, nodes, float(name, sizes));
        refused(
            &classifier,
            &[],
            &["classifier", &format!("{name} f32"), "not embeddings", "feature-extraction"],
        );
    }
}

#[test]
fn whether_a_graph_scales_its_embeddings_is_measured() {
    let place = imported(
        &first_token(true),
        &[],
        &["pooled by the graph itself, normalised", "note: the graph scales"],
    );
    let shown = frosthead(&["inspect", text(&place.path().join("out"))]).success();
    assert!(shown.stdout.contains("pooled by the graph itself, normalised"), "{}", shown.stdout);
    imported(&first_token(true), &["--normalize", "true"], &["pooled by the graph itself, normalised"]);
    refused(
        &first_token(true),
        &["--normalize", "false"],
        &["--normalize false changes nothing", "leave --normalize"],
    );
    let unscaled = imported(&first_token(false), &["--normalize", "true"], &["itself, normalised"]);
    let length = |row: &Vec<f32>| row.iter().map(|number| number * number).sum::<f32>().sqrt();
    assert!(embeddings(unscaled.path(), &["ok"]).iter().all(|row| (length(row) - 1.0).abs() < 1e-5));
}

#[test]
fn the_models_own_files_say_how_its_token_states_are_pooled() {
    let place = place(&sentence_encoder(false));
    std::fs::create_dir(place.path().join("1_Pooling")).unwrap();
    let module = |name: &str, path: &str| {
        format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{name}"}}"#)
    };
    let modules = |names: &[(&str, &str)]| {
        let modules: Vec<String> = names.iter().map(|(name, path)| module(name, path)).collect();
        std::fs::write(place.path().join("modules.json"), format!("[{}]", modules.join(","))).unwrap();
    };
    std::fs::write(place.path().join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token": true}"#)
        .unwrap();
    modules(&[("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]);
    let found = import(place.path(), &[]).success();
    assert!(found.stderr.contains("cls pooling, normalised"), "{}", found.stderr);
    assert!(found.stderr.contains("from its output \"token_embeddings\""), "{}", found.stderr);
    // A module that cannot be reproduced is no matter for a graph that has done everything itself.
    std::fs::write(place.path().join("model.onnx"), graph::encode(&first_token(false))).unwrap();
    modules(&[("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]);
    let found = import(place.path(), &[]).success();
    assert!(found.stderr.contains("pooled by the graph itself"), "{}", found.stderr);
    std::fs::write(place.path().join("model.onnx"), graph::encode(&encoder())).unwrap();
    import(place.path(), &[]).fails_with(&["Dense"]);
}

#[test]
fn names_that_are_taken_are_changed_all_the_way_into_a_bundle() {
    let mut model = first_token(true);
    let names = [
        ("first", "pooling/mask"),
        ("cls", "embedding"),
        ("squares", "logits_domain"),
        ("square", "probabilities_domain"),
        ("length", "heads/domain/calibrated"),
        ("zero", "heads.domain.weight"),
        ("axis", "pooling/last_axis"),
    ];
    let plain = imported(&model, &[], &[]);
    for (from, to) in names {
        rename(&mut model, from, to);
    }
    let nodes = &mut body(&mut model).node;
    for (node, name) in nodes.iter_mut().zip(["embedding", "token_type_ids", "pooling/mask", "logits_domain"])
    {
        node.name = Some(name.to_owned());
    }
    let place = imported(&model, &[], &["pooled by the graph itself, normalised"]);
    let texts = ["ok", "The battery died after two days."];
    assert_eq!(embeddings(place.path(), &texts), embeddings(plain.path(), &texts));
    imported(&model, &["--normalize", "true"], &[]);
    let (data, backbone) = (demo(300), place.path().join("out"));
    let (run, bundle) = (place.path().join("run"), place.path().join("x.frost"));
    let train =
        ["train", text(&data), "--backbone", text(&backbone), "--task", "domain", "--out", text(&run)];
    frosthead(&train).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let predicted = |model: &Path| {
        frosthead(&["predict", text(&data), "--model", text(model)]).success().json_lines().len()
    };
    assert_eq!((predicted(&run), predicted(&bundle)), (300, 300));
}

#[test]
fn our_own_graph_of_standard_operators_is_imported_like_any_other() {
    let place = directory();
    let standard = Path::new(crate::harness::backbone()).join("embedding.standard.onnx");
    let out = place.path().join("out");
    let finished =
        frosthead(&["import", text(&standard), "--max-length", "256", "--out", text(&out)]).success();
    for part in ["48 dimensions, pooled by the graph itself, normalised", "from its output \"embedding\""] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
    let texts = ["The battery died after two days.", ""];
    let theirs = embeddings(place.path(), &texts);
    std::fs::remove_dir_all(&out).unwrap();
    std::os::unix::fs::symlink(crate::harness::backbone(), &out).unwrap();
    near(&embeddings(place.path(), &texts), &theirs);
}

/// An encoder whose numbers are not finite for texts with a "z", which no trial can know of.
fn fragile() -> ModelProto {
    let mut model = encoder();
    let is_table = |tensor: &&mut TensorProto| tensor.name().ends_with("word_embeddings.weight");
    let table = body(&mut model).initializer.iter_mut().find(is_table).unwrap();
    let bytes = table.raw_data.as_mut().unwrap();
    bytes[4 * 24 * 69..4 * 24 * 69 + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    model
}

#[test]
fn numbers_that_are_not_finite_are_an_error_with_the_row() {
    let mut broken = encoder();
    body(&mut broken).initializer.push(floats("nan", &[], &[f32::NAN]));
    ends(
        &mut broken,
        [node("Mul", &[STATES, "nan"], "token_embeddings", &[])],
        float("token_embeddings", &[0, 0, 24]),
    );
    refused(&broken, &[], &["numbers that are not finite", "NaN for a text of 40 tokens", "in fp32"]);
    let place = imported(&fragile(), &[], &[]);
    let (good, bad) = (place.path().join("good.csv"), place.path().join("bad.csv"));
    let rows = |more: &str| {
        let rows = (0..40).map(|row| format!("text {row},{}\n", if row % 2 == 0 { "even" } else { "odd" }));
        format!("text,kind\n{}{more}", rows.collect::<String>())
    };
    std::fs::write(&good, rows("")).unwrap();
    std::fs::write(&bad, rows("zebra,odd\ntext,even\n")).unwrap();
    let (backbone, run, bundle) =
        (place.path().join("out"), place.path().join("run"), place.path().join("x.frost"));
    let said = ["row 41", "numbers that are not finite", "NaN from", "help"];
    let features = place.path().join("features.parquet");
    let embed = ["embed", text(&bad), "--backbone", text(&backbone), "--out", text(&features)];
    frosthead(&embed).fails_with(&said);
    assert!(!features.exists());
    frosthead(&embed).fails_with(&said);
    let train = |data: &Path| {
        frosthead(&[
            "train",
            text(data),
            "--backbone",
            text(&backbone),
            "--task",
            "kind",
            "--out",
            text(&run),
        ])
    };
    train(&bad).fails_with(&said);
    train(&good).success();
    frosthead(&["eval", text(&bad), "--model", text(&run)]).fails_with(&said);
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    for model in [&run, &bundle] {
        frosthead(&["predict", text(&bad), "--model", text(model)]).fails_with(&said);
        frosthead(&["predict", text(&good), "--model", text(model)]).success();
    }
}

#[cfg(feature = "serve")]
#[test]
fn a_text_that_the_network_cannot_read_fails_no_other_request() {
    let place = imported(&fragile(), &[], &[]);
    let data = place.path().join("good.csv");
    let rows = (0..40).map(|row| format!("text {row},{}\n", if row % 2 == 0 { "even" } else { "odd" }));
    std::fs::write(&data, format!("text,kind\n{}", rows.collect::<String>())).unwrap();
    let (backbone, run, bundle) =
        (place.path().join("out"), place.path().join("run"), place.path().join("x.frost"));
    frosthead(&["train", text(&data), "--backbone", text(&backbone), "--task", "kind", "--out", text(&run)])
        .success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let server = crate::serve::Server::of(&bundle, &[]);
    for (path, field) in [("/v1/predict", "texts"), ("/v1/embeddings", "input")] {
        let ask = |texts: &[&str]| server.post(path, &serde_json::json!({field: texts}));
        let status = |text: &str| ask(&[text]).status;
        assert_eq!((status("ok"), status("zebra"), status("ok")), (200, 500, 200), "{path}");
        // The index of the text, wherever it stands in its batch.
        for place in 0..4 {
            let mut texts = ["ok", "two words", "ok", "a text of some more words"];
            texts[place] = "zebra";
            let error = ask(&texts).refused(500, "failed");
            assert_eq!(error["text"], place, "{path}: {error}");
            assert!(error["message"].as_str().unwrap().contains("not finite"), "{error}");
        }
    }
}

/// A tiny checkpoint, its table of words all of one number.
fn checkpoint(word: Option<f32>) -> TempDir {
    let place = directory();
    let golden: serde_json::Value = serde_json::from_str(include_str!("../data/bert_tiny.json")).unwrap();
    std::fs::write(place.path().join("config.json"), golden["config"].to_string()).unwrap();
    let mut weights = std::fs::read(root().join("tests/data/bert_tiny_pretraining.safetensors")).unwrap();
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let place_of = |end: usize| {
        tensors["bert.embeddings.word_embeddings.weight"]["data_offsets"][end].as_u64().unwrap() as usize
    };
    let range = 8 + header + place_of(0)..8 + header + place_of(1);
    if let Some(word) = word {
        weights[range].chunks_exact_mut(4).for_each(|bytes| bytes.copy_from_slice(&word.to_le_bytes()));
    }
    std::fs::write(place.path().join("model.safetensors"), weights).unwrap();
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..100).map(|id| (format!("w{id}"), id.into())).collect();
    let special = |id: u32| serde_json::json!({"SpecialToken": {"id": format!("w{id}"), "type_id": 0}});
    let known =
        |id: u32| serde_json::json!({"id": format!("w{id}"), "ids": [id], "tokens": [format!("w{id}")]});
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w1"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(2), {"Sequence": {"id": "A", "type_id": 0}}, special(3)],
            "pair": [special(2), {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"w2": known(2), "w3": known(3)}
        }
    });
    std::fs::write(place.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    place
}

#[test]
fn a_checkpoint_is_run_as_well() {
    let import = |place: &Path| frosthead(&["import", text(place), "--out", text(&place.join("out")), "-v"]);
    let good = checkpoint(None);
    let finished = import(good.path()).success();
    assert!(finished.stderr.contains("BERT with 2 layers"), "{}", finished.stderr);
    assert!(finished.stderr.contains("ran it on 28 batches"), "{}", finished.stderr);
    // The only note: its head was left out.
    let notes: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("note:")).collect();
    assert_eq!(notes, ["note: left out, because no embedding depends on it: cls (7 tensors)"]);
    // All finite, but their sums are not.
    let large = checkpoint(Some(3e38));
    import(large.path()).fails_with(&["numbers that are not finite", "a text of 48 tokens", "overflow"]);
    assert!(!large.path().join("out").exists());
    import(checkpoint(Some(f32::INFINITY)).path()).fails_with(&[
        "word_embeddings",
        "not finite",
        "finite numbers",
    ]);
}
