//! Every rule against central finite differences, run by the real ONNX Runtime, and what is refused.

use std::path::Path;

use super::*;
use crate::runtime::{Input, Runtime, RuntimeOptions, Session, Values};

/// Half the distance of the two points of a central difference.
const STEP: f32 = 0.01;
/// Truncation is of order STEP² = 1e-4 times a third derivative of order 1; rounding of sums up to about 10
/// in fp32 adds 10 · 6e-8 / STEP = 6e-5.
const TOLERANCE: f32 = 2e-3;

fn session(graph: Builder) -> Session {
    let library =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".downloads/onnxruntime/libonnxruntime.so.1.32.0");
    assert!(library.exists(), "{} is missing: run scripts/setup.sh first", library.display());
    let options = RuntimeOptions { library: Some(library), threads: Some(1), ..RuntimeOptions::default() };
    let bytes = crate::graph::encode(&graph.finish().unwrap());
    Runtime::load(&options).unwrap().session_from_memory(&bytes, Path::new(".")).unwrap()
}

/// Numbers between -1 and 1 that are not small, and far from each other's kinks.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (bits >> 40) as f32 / 8_388_608.0 - 1.0;
            if number < 0.0 { number - 0.05 } else { number + 0.05 }
        })
        .collect()
}

fn float(shape: &[usize]) -> ValueType {
    ValueType::float(shape.iter().map(|&size| Dim::Size(size)).collect::<Vec<_>>())
}

/// The sum of `y` times fixed numbers, so that every element has a gradient of its own.
fn weighted_sum(graph: &mut Builder, y: &Value) -> Value {
    let shape: Vec<usize> = (graph.type_of(y).unwrap().shape.iter())
        .map(|dim| match dim {
            Dim::Size(size) => *size,
            Dim::Name(_) => panic!("tests use fixed shapes"),
        })
        .collect();
    let weights = graph.floats("test/weights", &shape, &numbers(shape.iter().product(), 99)).unwrap();
    let product = Operation::new("Mul", &[y, &weights]);
    let product = graph.add(product, "test/product", float(&shape)).unwrap();
    let sum = Operation::new("ReduceSum", &[&product]).with("keepdims", 0);
    graph.add(sum, "loss", ValueType::float([])).unwrap()
}

/// Checks the gradients of the inputs (given by shape) of what `build` makes of them.
fn check(shapes: &[&[usize]], build: impl Fn(&mut Builder, &[Value]) -> Value) {
    let mut graph = Builder::new("test");
    let inputs: Vec<Value> = (shapes.iter().enumerate())
        .map(|(place, shape)| graph.input(&format!("x{place}"), float(shape)).unwrap())
        .collect();
    let y = build(&mut graph, &inputs);
    let loss = weighted_sum(&mut graph, &y);
    let gradients = differentiate(&mut graph, &loss, &inputs).unwrap();
    graph.output(&loss).unwrap();
    let mut names = vec!["loss".to_owned()];
    for gradient in &gradients {
        let Gradient::Dense(value) = gradient else { panic!("expected a dense gradient") };
        if !names.contains(&value.name().to_owned()) {
            graph.output(value).unwrap();
            names.push(value.name().to_owned());
        }
    }
    let mut session = session(graph);
    let mut at: Vec<Vec<f32>> = (shapes.iter().enumerate())
        .map(|(place, shape)| numbers(shape.iter().product(), place as u64 + 1))
        .collect();
    let mut run = |at: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let inputs: Vec<Input<'_>> = (at.iter().zip(shapes).zip(["x0", "x1", "x2"]))
            .map(|((values, shape), name)| Input { name, shape, values: Values::F32(values) })
            .collect();
        session.run(&inputs, &names).unwrap().into_iter().map(|tensor| tensor.data).collect()
    };
    let found = run(&at);
    for (place, gradient) in gradients.iter().enumerate() {
        let Gradient::Dense(value) = gradient else { unreachable!() };
        let found = &found[names.iter().position(|name| name == value.name()).unwrap()];
        assert_eq!(found.len(), at[place].len());
        for element in 0..found.len() {
            let before = at[place][element];
            at[place][element] = before + STEP;
            let above = run(&at)[0][0];
            at[place][element] = before - STEP;
            let below = run(&at)[0][0];
            at[place][element] = before;
            let difference = (above - below) / (2.0 * STEP);
            assert!(
                (difference - found[element]).abs() < TOLERANCE * (1.0 + difference.abs()),
                "input {place}, element {element}: {} by the rule, {difference} by differences",
                found[element]
            );
        }
    }
}

fn simple(graph: &mut Builder, operation: Operation, shape: &[usize]) -> Value {
    graph.add(operation, "y", float(shape)).unwrap()
}

#[test]
fn sums_differences_products_and_quotients_with_broadcasting_of_either_side() {
    for operator in ["Add", "Sub", "Mul", "Div"] {
        for (a, b) in
            [([2, 3].as_slice(), [2, 3].as_slice()), (&[2, 3], &[3]), (&[3], &[2, 3]), (&[2, 3], &[2, 1])]
        {
            check(&[a, b], |graph, x| {
                let (a, mut b) = (&x[0], x[1].clone());
                if operator == "Div" {
                    // Keeps the divisor away from 0: b² + 0.5.
                    let half = graph.floats("half", &[], &[0.5]).unwrap();
                    let shape = graph.type_of(&b).unwrap().clone();
                    b = graph.add(Operation::new("Mul", &[&b, &b]), "square", shape.clone()).unwrap();
                    b = graph.add(Operation::new("Add", &[&b, &half]), "divisor", shape).unwrap();
                }
                simple(graph, Operation::new(operator, &[a, &b]), &[2, 3])
            });
        }
    }
}

#[test]
fn functions_of_one_value() {
    check(&[&[2, 3]], |graph, x| simple(graph, Operation::new("Neg", &[&x[0]]), &[2, 3]));
    check(&[&[2, 3]], |graph, x| simple(graph, Operation::new("Tanh", &[&x[0]]), &[2, 3]));
    check(&[&[2, 3]], |graph, x| simple(graph, Operation::new("Softplus", &[&x[0]]), &[2, 3]));
    check(&[&[2, 3]], |graph, x| simple(graph, Operation::new("Relu", &[&x[0]]), &[2, 3]));
    check(&[&[3, 7]], |graph, x| simple(graph, Operation::new("Gelu", &[&x[0]]), &[3, 7]));
    check(&[&[3, 7]], |graph, x| {
        simple(graph, Operation::new("Gelu", &[&x[0]]).with("approximate", "tanh"), &[3, 7])
    });
    check(&[&[2, 3]], |graph, x| {
        let half = graph.floats("half", &[], &[0.5]).unwrap();
        let square = graph.add(Operation::new("Mul", &[&x[0], &x[0]]), "square", float(&[2, 3])).unwrap();
        let positive =
            graph.add(Operation::new("Add", &[&square, &half]), "positive", float(&[2, 3])).unwrap();
        simple(graph, Operation::new("Sqrt", &[&positive]), &[2, 3])
    });
}

#[test]
fn the_largest_along_an_axis() {
    check(&[&[2, 4, 3]], |graph, x| {
        let one = graph.integers("one", &[1], &[1]).unwrap();
        let largest = Operation::new("TopK", &[&x[0], &one]).with("axis", 1);
        let places = ValueType::int64([2.into(), 1.into(), 3.into()]);
        let outputs = vec![("y".to_owned(), float(&[2, 1, 3])), ("places".to_owned(), places)];
        graph.add_all(largest, outputs).unwrap().remove(0)
    });
}

#[test]
fn the_larger_of_two() {
    check(&[&[2, 3], &[2, 3]], |graph, x| simple(graph, Operation::new("Max", &[&x[0], &x[1]]), &[2, 3]));
    check(&[&[2, 3]], |graph, x| {
        let small = graph.floats("small", &[], &[0.1]).unwrap();
        simple(graph, Operation::new("Max", &[&x[0], &small]), &[2, 3])
    });
}

#[test]
fn matrix_products() {
    check(&[&[2, 3], &[3, 4]], |graph, x| simple(graph, Operation::new("MatMul", &[&x[0], &x[1]]), &[2, 4]));
    check(&[&[2, 2, 3], &[2, 3, 2]], |graph, x| {
        simple(graph, Operation::new("MatMul", &[&x[0], &x[1]]), &[2, 2, 2])
    });
    // A product whose right side is shared by the whole batch.
    check(&[&[2, 2, 3], &[3, 2]], |graph, x| {
        simple(graph, Operation::new("MatMul", &[&x[0], &x[1]]), &[2, 2, 2])
    });
    check(&[&[2, 3], &[3, 4], &[4]], |graph, x| {
        simple(graph, Operation::new("Gemm", &[&x[0], &x[1], &x[2]]), &[2, 4])
    });
    check(&[&[2, 3], &[4, 3], &[4]], |graph, x| {
        simple(graph, Operation::new("Gemm", &[&x[0], &x[1], &x[2]]).with("transB", 1), &[2, 4])
    });
}

#[test]
fn softmax_and_its_logarithm() {
    for operator in ["Softmax", "LogSoftmax"] {
        check(&[&[2, 5]], |graph, x| {
            simple(graph, Operation::new(operator, &[&x[0]]).with("axis", -1), &[2, 5])
        });
    }
}

#[test]
fn layer_normalisation_of_rows_scale_and_shift() {
    check(&[&[3, 6], &[6], &[6]], |graph, x| {
        let operation = Operation::new("LayerNormalization", &[&x[0], &x[1], &x[2]]);
        simple(graph, operation.with("axis", -1).with("epsilon", 1e-3_f32), &[3, 6])
    });
}

#[test]
fn shapes_and_sums() {
    check(&[&[2, 6]], |graph, x| {
        let shape = graph.integers("shape", &[3], &[2, 2, 3]).unwrap();
        simple(graph, Operation::new("Reshape", &[&x[0], &shape]), &[2, 2, 3])
    });
    check(&[&[2, 3, 4]], |graph, x| {
        simple(graph, Operation::new("Transpose", &[&x[0]]).with("perm", [2, 0, 1]), &[4, 2, 3])
    });
    check(&[&[2, 3]], |graph, x| {
        let axes = graph.integers("axes", &[1], &[1]).unwrap();
        simple(graph, Operation::new("Unsqueeze", &[&x[0], &axes]), &[2, 1, 3])
    });
    for (keep, shape) in [(0, [2].as_slice()), (1, &[2, 1])] {
        check(&[&[2, 3]], |graph, x| {
            let axes = graph.integers("axes", &[1], &[-1]).unwrap();
            simple(graph, Operation::new("ReduceSum", &[&x[0], &axes]).with("keepdims", keep), shape)
        });
    }
    check(&[&[2, 3], &[2, 2]], |graph, x| {
        simple(graph, Operation::new("Concat", &[&x[0], &x[1]]).with("axis", 1), &[2, 5])
    });
}

#[test]
fn one_index_of_any_axis_and_the_first_rows() {
    for (axis, shape) in [(0, [3, 4].as_slice()), (1, &[2, 4]), (2, &[2, 3])] {
        check(&[&[2, 3, 4]], |graph, x| {
            let index = graph.integers("index", &[], &[1]).unwrap();
            simple(graph, Operation::new("Gather", &[&x[0], &index]).with("axis", axis), shape)
        });
    }
    check(&[&[5, 3]], |graph, x| {
        let zero = graph.integers("zero", &[1], &[0]).unwrap();
        let end = graph.integers("end", &[1], &[2]).unwrap();
        simple(graph, Operation::new("Slice", &[&x[0], &zero, &end, &zero]), &[2, 3])
    });
}

#[test]
fn rows_of_a_table_keep_their_ids() {
    let mut graph = Builder::new("test");
    let table = graph.input("table", float(&[5, 2])).unwrap();
    let ids = graph.input("ids", ValueType::int64([2.into(), 2.into()])).unwrap();
    let rows = Operation::new("Gather", &[&table, &ids]).with("axis", 0);
    let rows = graph.add(rows, "rows", float(&[2, 2, 2])).unwrap();
    let loss = weighted_sum(&mut graph, &rows);
    let gradients = differentiate(&mut graph, &loss, std::slice::from_ref(&table)).unwrap();
    let [Gradient::Rows { values, ids: named }] = gradients.as_slice() else { panic!("{gradients:?}") };
    assert_eq!(*named, ids);
    graph.output(values).unwrap();
    let name = values.name().to_owned();
    let table_values = numbers(10, 3);
    let inputs = [
        Input { name: "table", shape: &[5, 2], values: Values::F32(&table_values) },
        Input { name: "ids", shape: &[2, 2], values: Values::I64(&[4, 0, 4, 1]) },
    ];
    let found = session(graph).run(&inputs, &[&name]).unwrap().remove(0);
    assert_eq!((found.shape.as_slice(), found.data), ([4, 2].as_slice(), numbers(8, 99)));
}

#[test]
fn gradients_of_a_value_used_twice_add_up() {
    check(&[&[2, 3]], |graph, x| {
        let square = graph.add(Operation::new("Mul", &[&x[0], &x[0]]), "square", float(&[2, 3])).unwrap();
        simple(graph, Operation::new("Mul", &[&square, &x[0]]), &[2, 3])
    });
}

#[test]
fn no_gradient_is_cut_silently() {
    let mut graph = Builder::new("test");
    let x = graph.input("x", float(&[2])).unwrap();
    let y = graph.add(Operation::new("Floor", &[&x]), "y", float(&[2])).unwrap();
    let loss = weighted_sum(&mut graph, &y);
    let error = differentiate(&mut graph.clone(), &loss, std::slice::from_ref(&x)).unwrap_err().to_string();
    assert!(error.contains("Floor") && error.contains("no rule"), "{error}");
    let other = graph.input("other", float(&[2])).unwrap();
    let error = differentiate(&mut graph.clone(), &loss, &[other]).unwrap_err().to_string();
    assert!(error.contains("no influence"), "{error}");
    let error = differentiate(&mut graph, &y, &[x]).unwrap_err().to_string();
    assert!(error.contains("scalar"), "{error}");
}
