//! Tests of sessions on tiny graphs whose results are computed by hand.

use super::*;
use crate::runtime::Runtime;
use crate::runtime::tests::{fixture, runtime};

fn gather() -> Session {
    runtime(1).session(&fixture("runtime_gather.onnx")).expect("the fixture loads")
}

fn input<'a>(name: &'a str, shape: &'a [usize], values: Values<'a>) -> Input<'a> {
    Input { name, shape, values }
}

fn message(result: Result<Vec<Tensor>>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Graph);
    error.to_string()
}

#[test]
fn a_session_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Session>();
    is_send::<Runtime>();
}

#[test]
fn a_product_is_right() {
    let mut session = runtime(2).session(&fixture("runtime_matmul.onnx")).unwrap();
    // [1 2 3; 4 5 6] × [1 0; 0 1; 2 2] = [7 8; 16 17], exact in f32.
    let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    let inputs = [input("a", &[2, 3], Values::F32(&a)), input("b", &[3, 2], Values::F32(&b))];
    let product = session.run(&inputs, &["c"]).unwrap();
    assert_eq!(product, [Tensor { shape: vec![2, 2], data: vec![7.0, 8.0, 16.0, 17.0] }]);
}

#[test]
fn the_declarations_are_told() {
    let session = gather();
    let info = |name: &str, element: &str, shape: &[Option<usize>]| ValueInfo {
        name: name.into(),
        element: element.into(),
        shape: shape.to_vec(),
    };
    assert_eq!(
        session.inputs(),
        [info("ids", "i64", &[None, None]), info("scale", "f32", &[None, Some(1), Some(1)])]
    );
    assert_eq!(
        session.outputs(),
        [info("rows", "f32", &[None, None, Some(3)]), info("next", "i64", &[None, None])]
    );
}

#[test]
fn a_graph_in_memory_finds_its_weights_in_the_folder() {
    let graph = std::fs::read(fixture("runtime_gather.onnx")).unwrap();
    let mut session = runtime(1).session_from_memory(&graph, &fixture("")).unwrap();
    let inputs =
        [input("scale", &[1, 1, 1], Values::F32(&[2.0])), input("ids", &[1, 2], Values::I64(&[4, 1]))];
    let rows = session.run(&inputs, &["rows"]).unwrap();
    assert_eq!(rows, [Tensor { shape: vec![1, 2, 3], data: vec![8.0, 8.5, 9.0, 2.0, 2.5, 3.0] }]);
}

#[test]
fn the_shape_may_change_from_run_to_run() {
    let mut session = gather();
    for (batch, sequence) in [(1, 1), (3, 4), (2, 7), (1, 1)] {
        let (ids, scale) = (vec![3_i64; batch * sequence], vec![1.0; batch]);
        let (ids_shape, scale_shape) = ([batch, sequence], [batch, 1, 1]);
        let inputs =
            [input("ids", &ids_shape, Values::I64(&ids)), input("scale", &scale_shape, Values::F32(&scale))];
        let rows = session.run(&inputs, &["rows"]).unwrap().remove(0);
        assert_eq!(rows.shape, [batch, sequence, 3]);
        assert!(rows.data.chunks(3).all(|row| row == [3.0, 3.25, 3.5]));
    }
}

#[test]
fn wrong_inputs_are_refused_with_their_name() {
    let mut session = gather();
    let ids = input("ids", &[1, 2], Values::I64(&[0, 1]));
    let scale = input("scale", &[1, 1, 1], Values::F32(&[1.0]));
    let mut run = |inputs: &[Input<'_>]| message(session.run(inputs, &["rows"]));

    let unknown = run(&[ids, scale, input("mask", &[1], Values::I64(&[1]))]);
    assert!(unknown.contains("no input \"mask\"") && unknown.contains("ids, scale"), "{unknown}");
    assert!(run(&[ids]).contains("\"scale\" is missing"));
    assert!(run(&[ids, ids, scale]).contains("\"ids\" is given twice"));
    let wrong_type = run(&[input("ids", &[1, 2], Values::F32(&[0.0, 1.0])), scale]);
    assert!(wrong_type.contains("\"ids\"") && wrong_type.contains("found f32, expected i64"), "{wrong_type}");
    let wrong_rank = run(&[input("ids", &[2], Values::I64(&[0, 1])), scale]);
    assert!(wrong_rank.contains("found [2], expected [any, any]"), "{wrong_rank}");
    let wrong_size = run(&[ids, input("scale", &[1, 2, 1], Values::F32(&[1.0, 1.0]))]);
    assert!(wrong_size.contains("expected [any, 1, 1]"), "{wrong_size}");
    let wrong_count = run(&[input("ids", &[1, 3], Values::I64(&[0, 1])), scale]);
    assert!(wrong_count.contains("found 2, expected 3"), "{wrong_count}");
    let empty = run(&[input("ids", &[1, 0], Values::I64(&[])), scale]);
    assert!(empty.contains("no dimension of size 0"), "{empty}");
    let disagree = run(&[ids, input("scale", &[2, 1, 1], Values::F32(&[1.0, 1.0]))]);
    assert!(disagree.contains("disagree") && disagree.contains("\"batch\""), "{disagree}");
    let huge = run(&[input("ids", &[usize::MAX, 2], Values::I64(&[0])), scale]);
    assert!(huge.contains("number of values"), "{huge}");
}

#[test]
fn wrong_outputs_are_refused_with_their_name() {
    let mut session = gather();
    let inputs = [input("ids", &[1, 1], Values::I64(&[0])), input("scale", &[1, 1, 1], Values::F32(&[1.0]))];
    let mut run = |outputs: &[&str]| message(session.run(&inputs, outputs));
    let unknown = run(&["embedding"]);
    assert!(unknown.contains("no output \"embedding\"") && unknown.contains("rows, next"), "{unknown}");
    assert!(run(&["next"]).contains("found i64"));
    assert!(run(&["rows", "rows"]).contains("twice"));
    assert!(run(&[""]).contains("no output"));
    run(&[]);
}

#[test]
fn a_failure_inside_onnx_runtime_is_an_error() {
    let inputs = [input("ids", &[1, 1], Values::I64(&[99])), input("scale", &[1, 1, 1], Values::F32(&[1.0]))];
    let error = gather().run(&inputs, &["rows"]).unwrap_err();
    assert_eq!(error.kind(), Kind::Runtime);
    let source = std::error::Error::source(&error).expect("ONNX Runtime's own message").to_string();
    assert!(source.contains("99"), "{source}");
}

#[test]
fn a_graph_that_is_missing_damaged_or_without_weights_is_an_error() {
    let runtime = runtime(1);
    let missing = runtime.session(Path::new("no/such.onnx")).unwrap_err();
    assert_eq!(missing.kind(), Kind::Io);

    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.onnx");
    std::fs::write(&damaged, b"not a graph").unwrap();
    let error = runtime.session(&damaged).unwrap_err();
    assert!(error.to_string().contains("damaged.onnx"), "{error}");

    let graph = std::fs::read(fixture("runtime_gather.onnx")).unwrap();
    assert_eq!(runtime.session_from_memory(&graph, folder.path()).unwrap_err().kind(), Kind::Runtime);
    assert_eq!(runtime.session_from_memory(&graph, &damaged).unwrap_err().kind(), Kind::Model);
    let no_folder = runtime.session_from_memory(&graph, Path::new("no/such/folder")).unwrap_err();
    assert_eq!(no_folder.kind(), Kind::Io);

    // Weights that are shorter than the graph says.
    std::fs::write(folder.path().join("runtime_gather.weights"), [0; 12]).unwrap();
    assert_eq!(runtime.session_from_memory(&graph, folder.path()).unwrap_err().kind(), Kind::Runtime);
}

/// In a process of its own, where no other test allocates.
#[test]
fn memory_stays_flat_over_many_runs_of_changing_shapes() {
    const ALONE: &str = "FROSTHEAD_TEST_ALONE";
    let name = "runtime::session::tests::memory_stays_flat_over_many_runs_of_changing_shapes";
    if std::env::var_os(ALONE).is_none() {
        let test = std::env::current_exe().unwrap();
        let status =
            std::process::Command::new(test).args(["--exact", name]).env(ALONE, "1").status().unwrap();
        assert!(status.success(), "the test failed in its own process");
        return;
    }
    let mut session = runtime(2).session(&fixture("runtime_matmul.onnx")).unwrap();
    let values = vec![0.5_f32; 512 * 512];
    let mut round = || {
        // 40 shapes, results of up to 1 MB.
        for step in 1..=40 {
            let (m, n) = (step * 12, (41 - step) * 12);
            let (a, b) = (&values[..m * 512], &values[..512 * n]);
            let (a_shape, b_shape) = ([m, 512], [512, n]);
            let inputs = [input("a", &a_shape, Values::F32(a)), input("b", &b_shape, Values::F32(b))];
            assert_eq!(session.run(&inputs, &["c"]).unwrap()[0].shape, [m, n]);
        }
    };
    round();
    let before = crate::runtime::rss_bytes();
    crate::runtime::reset_peak_rss().unwrap();
    for _ in 0..10 {
        round();
    }
    let growth = crate::runtime::peak_rss_bytes().saturating_sub(before);
    assert!(growth < 4 << 20, "400 more runs took {growth} bytes more");
}
