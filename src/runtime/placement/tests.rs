//! Tests of placements: of a real graph on the processor, and of profiles as a GPU session would write them.

use super::*;
use crate::graph::{Builder, ModelProto, Operation, ValueType, encode};
use crate::runtime::tests::{fixture, runtime};

fn node(name: &str, operator: &str, provider: &str, input: &str) -> String {
    format!(
        r#"{{"cat":"Node","pid":1,"tid":1,"dur":3,"ts":9,"ph":"X","name":"{name}_kernel_time","args":{{"op_name":"{operator}",
        "provider":"{provider}","node_index":"1","input_type_shape":[{{"{input}":[2,3]}}],"output_type_shape":[{{"{input}":[2,3]}}]}}}}"#
    )
}

fn placement(nodes: &[String]) -> Placement {
    Placement::from_profile(&format!("[{}]", nodes.join(","))).unwrap()
}

const GPU: &str = "CUDAExecutionProvider";
const CPU: &str = "CPUExecutionProvider";

#[test]
fn the_nodes_of_a_real_graph_are_counted_per_provider_and_operator() {
    let placement = runtime(1).placement(&fixture("runtime_gather.onnx")).unwrap();
    let operators = [("Add", 1), ("Gather", 1), ("Mul", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(placement.per_provider, BTreeMap::from([(CPU.to_owned(), BTreeMap::from(operators))]));
    assert_eq!(placement.to_string(), "CPUExecutionProvider: Add 1, Gather 1, Mul 1");

    let graph = std::fs::read(fixture("runtime_gather.onnx")).unwrap();
    assert_eq!(runtime(1).placement_from_memory(&graph, &fixture("")).unwrap(), placement);
}

/// Of two additions, one is of constants: whoever optimises computes it while loading.
#[test]
fn own_graphs_run_as_they_are_and_foreign_ones_optimised() {
    let mut graph = Builder::new("sums");
    let float = ValueType::float([2.into()]);
    let x = graph.input("x", float.clone()).unwrap();
    let one = graph.floats("one", &[2], &[1.0; 2]).unwrap();
    let two = graph.add(Operation::new("Add", &[&one, &one]), "two", float.clone()).unwrap();
    let sum = graph.add(Operation::new("Add", &[&x, &two]), "sum", float).unwrap();
    graph.output(&sum).unwrap();
    let mut model = graph.finish().unwrap();
    let additions = |model: &ModelProto| {
        let placement = runtime(1).placement_from_memory(&encode(model), &fixture("")).unwrap();
        placement.per_provider[CPU]["Add"]
    };
    assert_eq!(additions(&model), 2);
    model.producer_name = Some("somebody".to_owned());
    assert_eq!(additions(&model), 1);
}

#[test]
fn a_profiled_session_works_on_without_the_profiler() {
    let runtime = runtime(1);
    let graph = fixture("runtime_matmul.onnx");
    let (mut session, _) = profiled(&runtime.environment, &Graph::File(&graph), &runtime.settings()).unwrap();
    let inputs = ["a", "b"].map(|name| Input { name, shape: &[1, 1], values: Values::F32(&[3.0]) });
    assert_eq!(session.run(&inputs, &["c"]).unwrap()[0].data, [9.0]);
}

#[test]
fn computing_nodes_left_on_the_processor_are_an_error_that_names_them() {
    let nodes = [
        node("layer.0/query", "MatMul", GPU, "float"),
        node("layer.0/softmax", "Softmax", CPU, "float"),
        node("scale", "Mul", CPU, "float"),
        node("ids", "DynamicQuantizeLinear", CPU, "uint8"),
    ];
    let error = placement(&nodes).require_compute_on(Device::Cuda(0)).unwrap_err().to_string();
    assert!(error.contains("3 nodes") && error.contains("cuda:0"), "{error}");
    for name in ["layer.0/softmax (Softmax)", "scale (Mul)", "ids (DynamicQuantizeLinear)"] {
        assert!(error.contains(name), "{error}");
    }
    assert!(!error.contains("layer.0/query"), "{error}");
}

#[test]
fn shape_arithmetic_may_stay_on_the_processor() {
    let nodes = [
        node("product", "MatMul", GPU, "float"),
        node("shape", "Shape", CPU, "float"),
        node("pick", "Gather", CPU, "int64"),
        node("join", "Concat", CPU, "int64"),
        node("mask", "Cast", CPU, "int64"),
    ];
    placement(&nodes).require_compute_on(Device::Cuda(1)).unwrap();
}

#[test]
fn on_the_processor_everything_may_compute_there() {
    placement(&[node("product", "MatMul", CPU, "float")]).require_compute_on(Device::Cpu).unwrap();
}

#[test]
fn a_strange_profile_is_an_error() {
    let no_provider = r#"[{"cat":"Node","name":"x_kernel_time","args":{"op_name":"Add"}}]"#;
    for profile in ["", "{}", "[]", "[1]", "[{\"cat\":\"Session\"}]", no_provider] {
        let error = Placement::from_profile(profile).unwrap_err();
        assert_eq!(error.kind(), Kind::Runtime);
        assert!(error.to_string().contains("profile"), "{error}");
    }
}
