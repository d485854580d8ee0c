//! Tests of the yardstick: a plausible rate, and refusal of graphs that are no single product.

use super::*;
use crate::runtime::tests::{fixture, runtime};

#[test]
fn the_peak_is_measured_and_plausible() {
    let graph = std::fs::read(fixture("runtime_matmul.onnx")).unwrap();
    let peak = gemm_peak(&runtime(1), &|_, _, _| Ok(graph.clone())).unwrap();
    // One core: anything from a small board to a large server; an error of units or of time falls out of it.
    assert!((0.5..2_000.0).contains(&peak.gflops), "{peak:?}");
    assert!(PRODUCTS.contains(&peak.product));
}

#[test]
fn another_graph_is_refused() {
    let runtime = runtime(1);
    let graph = std::fs::read(fixture("runtime_gather.onnx")).unwrap();
    let mut session = runtime.session_from_memory(&graph, &fixture("")).unwrap();
    assert_eq!(median_seconds(&mut session, (1, 1, 1)).unwrap_err().kind(), Kind::Graph);
}

#[test]
fn operands_are_ordinary_numbers() {
    let values = wave(5000);
    assert!(values.iter().all(|value| (-0.5..0.5).contains(value)));
    assert!(values.windows(2).all(|pair| pair[0].to_bits() != pair[1].to_bits()));
}
