//! Checks that foreign files survive reading and writing, and that the builder refuses broken graphs.

use super::terms::MICROSOFT;
use super::*;

const EVERY_FIELD: &[u8] = include_bytes!("../../tests/data/onnx_every_field.onnx");

/// x [batch, 2] -> Gemm with an inline and an external initializer -> y [batch, 3].
fn small_graph() -> Result<Builder> {
    let mut graph = Builder::new("small");
    let x = graph.input("x", ValueType::float(["batch".into(), 2.into()]))?;
    let weight = External { location: "w.bin".to_owned(), offset: 4096, length: 24 };
    let w = graph.initializer("w", ValueType::float([Dim::Size(3), Dim::Size(2)]), Data::External(weight))?;
    let b = graph.floats("b", &[3], &[1.0, 2.0, 3.0])?;
    let product = Operation::new("Gemm", &[&x, &w, &b]).with("transB", 1).with("alpha", 0.5f32);
    let y = graph.add(product, "y", ValueType::float(["batch".into(), 3.into()]))?;
    graph.output(&y)?;
    Ok(graph)
}

#[test]
fn a_foreign_model_with_every_field_of_the_schema_is_written_back_bit_for_bit() {
    let model = decode(EVERY_FIELD).unwrap();
    let graph = model.graph.as_ref().unwrap();
    assert!(
        !model.functions.is_empty() && !model.training_info.is_empty() && !model.configuration.is_empty()
    );
    assert!(!graph.sparse_initializer.is_empty() && !graph.quantization_annotation.is_empty());
    assert_eq!(encode(&model), EVERY_FIELD);
}

#[test]
fn an_empty_string_is_not_an_absent_one() {
    let mut model = decode(EVERY_FIELD).unwrap();
    model.domain = Some(String::new());
    model.producer_name = None;
    let again = decode(&encode(&model)).unwrap();
    assert_eq!((again.domain, again.producer_name), (Some(String::new()), None));
}

#[test]
fn what_is_built_is_in_the_model() {
    let model = decode(&encode(&small_graph().unwrap().finish().unwrap())).unwrap();
    let graph = model.graph.unwrap();
    let [node] = &graph.node[..] else { panic!("one node") };
    assert_eq!(
        (node.op_type.as_deref(), &node.input[..]),
        (Some("Gemm"), &["x", "w", "b"].map(String::from)[..])
    );
    assert_eq!((node.attribute[0].name.as_deref(), node.attribute[0].f), (Some("alpha"), Some(0.5)));
    assert_eq!((node.attribute[1].name.as_deref(), node.attribute[1].i), (Some("transB"), Some(1)));
    let [w, b] = &graph.initializer[..] else { panic!("two initializers") };
    let place: Vec<_> = w.external_data.iter().map(|entry| entry.value.as_deref().unwrap()).collect();
    assert_eq!((place, w.data_location), (vec!["w.bin", "4096", "24"], Some(1)));
    assert_eq!(b.raw_data.as_deref(), Some(&[0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64][..]));
    let Some(proto::type_proto::Value::Tensor(tensor)) =
        graph.output[0].r#type.as_ref().and_then(|t| t.value.clone())
    else {
        panic!("a tensor")
    };
    let dims: Vec<_> = tensor.shape.unwrap().dim.into_iter().filter_map(|dim| dim.value).collect();
    assert_eq!(
        dims,
        [proto::dimension::Value::DimParam("batch".to_owned()), proto::dimension::Value::DimValue(3)]
    );
    assert_eq!(model.opset_import.len(), 1, "no operator of ONNX Runtime's own is used");
}

#[test]
fn what_this_library_has_written_is_told_from_what_it_has_not() {
    let bytes = encode(&small_graph().unwrap().finish().unwrap());
    assert!(is_own(&bytes) && is_own(&bytes[..64]));
    assert!(!is_own(&bytes[..8]) && !is_own(EVERY_FIELD) && !is_own(&[]));
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let bytes = || encode(&small_graph().unwrap().finish().unwrap());
    assert_eq!(bytes(), bytes());
}

#[test]
fn own_operators_import_their_domain_and_optional_inputs_stay_empty() {
    let mut graph = small_graph().unwrap();
    let y = Value::named("y");
    let operation = Operation::microsoft("QuickGelu", &[&y]).input(None).input(Some(&y));
    let out = graph.add(operation, "z", ValueType::float(["batch".into(), 3.into()])).unwrap();
    graph.output(&out).unwrap();
    let model = graph.finish().unwrap();
    assert_eq!(model.opset_import[1].domain.as_deref(), Some(MICROSOFT));
    assert_eq!(model.graph.unwrap().node[1].input, ["y", "", "y"]);
}

#[test]
fn types_and_producers_can_be_asked_for() {
    let graph = small_graph().unwrap();
    let (x, y, b) = (Value::named("x"), Value::named("y"), Value::named("b"));
    assert_eq!(graph.type_of(&x).unwrap().shape, ["batch".into(), 2.into()]);
    assert_eq!(graph.producer(&y).unwrap().operation.operator, "Gemm");
    assert!(graph.producer(&x).is_none() && graph.producer(&b).is_none());
    assert!(matches!(graph.initializer_data(&b), Some(Data::Inline(bytes)) if bytes.len() == 12));
    assert_eq!(graph.nodes().len(), 1);
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Graph);
    error.to_string()
}

#[test]
fn a_name_used_twice_is_refused() {
    let mut graph = small_graph().unwrap();
    let again = graph.floats("x", &[1], &[0.0]);
    assert!(message(again).contains("two values have the same name: found \"x\""));
    let y = Value::named("y");
    let again = graph.add(Operation::new("Relu", &[&y]), "y", ValueType::float([]));
    assert!(message(again).contains("\"y\""));
    assert!(message(graph.input("", ValueType::float([]))).contains("empty name"));
}

#[test]
fn an_unknown_input_is_refused() {
    let mut graph = small_graph().unwrap();
    let lost = Value::named("lost");
    let error = message(graph.add(Operation::new("Relu", &[&lost]), "z", ValueType::float([])));
    assert!(error.contains("Relu \"z\" has an unknown input: found \"lost\""), "{error}");
    assert!(message(graph.output(&lost)).contains("\"lost\""));
    assert!(message(graph.type_of(&lost)).contains("\"lost\""));
}

#[test]
fn an_output_twice_and_a_graph_without_outputs_are_refused() {
    let mut graph = small_graph().unwrap();
    assert!(message(graph.output(&Value::named("y"))).contains("twice"));
    assert!(message(Builder::new("nothing").finish()).contains("no output"));
}

#[test]
fn an_initializer_that_does_not_fit_its_shape_is_refused() {
    let mut graph = Builder::new("g");
    assert!(message(graph.floats("a", &[2, 2], &[0.0; 3])).contains("found 12 bytes"));
    let open = graph.initializer("b", ValueType::float(["batch".into()]), Data::Inline(vec![0; 4]));
    assert!(message(open).contains("fixed shape"));
}

#[test]
fn rubbish_and_truncated_models_are_refused() {
    assert!(message(decode(b"not a model")).contains("not an ONNX model"));
    assert!(message(decode(&EVERY_FIELD[..EVERY_FIELD.len() - 5])).contains("not an ONNX model"));
    assert!(message(decode(b"")).contains("without a graph"));
}
