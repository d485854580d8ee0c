//! `compare --depths`: depths as ordinary runs and bundles, judged, timed, and shown; nothing done twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Finished, backbone, command, demo, directory, finish, frosthead, text};

const ROWS: usize = 200;

fn arguments<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let common = ["--backbone", backbone(), "--task", "domain", "--task", "sentiment", "--out", text(out)];
    [&["compare", text(data)], &common[..], more].concat()
}

fn run(data: &Path, out: &Path, more: &[&str]) -> Finished {
    frosthead(&arguments(data, out, more))
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

/// The points of the only backbone, by their scenario.
fn dial(report: &Value) -> BTreeMap<String, Value> {
    let points = report["backbones"][0]["dial"].as_array().unwrap();
    points.iter().map(|point| (point["scenario"].as_str().unwrap().to_owned(), point.clone())).collect()
}

/// Everything but what was timed.
fn untimed(report: &Value) -> BTreeMap<String, Value> {
    let mut points = dial(report);
    points.values_mut().for_each(|point| point["speed"] = Value::Null);
    points
}

fn made(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

/// Depths 0, 2 and 6 beside the usual recipe, compared once; never changed.
fn compared() -> &'static (PathBuf, Finished) {
    static COMPARED: OnceLock<(PathBuf, Finished)> = OnceLock::new();
    COMPARED.get_or_init(|| {
        let out = directory().keep().join("compare");
        let finished = run(&demo(ROWS), &out, &["--depths", "2,0"]).success();
        (out, finished)
    })
}

#[test]
fn every_depth_has_its_run_its_bundle_and_all_its_figures() {
    let (out, finished) = compared();
    let report = json(out.join("report.json"));
    let points = dial(&report);
    // The full depth is always among them, and the usual recipe is what is compared where nothing is said.
    assert_eq!(points.keys().map(String::as_str).collect::<Vec<_>>(), ["2", "depth-0", "depth-2", "depth-6"]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<h2>Depths</h2>") && page.contains("<rect ") && !page.contains("http"));
    let mut sizes = Vec::new();
    for (name, point) in &points {
        let (bundle, folder) =
            (out.join(point["bundle"].as_str().unwrap()), if name == "2" { "2" } else { name });
        let size = std::fs::metadata(&bundle).unwrap().len();
        assert_eq!(point["bytes"].as_u64(), Some(size), "{name}");
        sizes.push(size);
        let inspected = frosthead(&["inspect", text(&bundle), "--json"]).success().json();
        assert_eq!(inspected["manifest"]["precision"], "int8", "{inspected}");
        // The bundle is what the figures of test rows are of, and the run's own rows are those of `train`.
        let run = out.join("tiny").join(folder);
        let data = demo(ROWS);
        let test = ["eval", text(&data), "--model", text(&bundle), "--json"];
        let tested = frosthead(&test).success().json();
        assert!(tested["tasks"]["domain"]["accuracy"].as_f64().unwrap() > 0.3, "{tested}");
        let metrics = json(run.join("metrics.json"));
        for task in ["domain", "sentiment"] {
            let told = &point["tasks"][task];
            let held = &told["held_out"];
            let rows = &metrics["sizes"];
            let known = rows["train"].as_u64().unwrap() + rows["valid"].as_u64().unwrap();
            assert_eq!(held["rows"].as_u64(), Some(known), "{name} {task}");
            let share = |value: &Value| (0.0..=1.0).contains(&value.as_f64().unwrap());
            assert!(share(&held["accuracy"]) && share(&held["macro_f1"]) && share(&told["test_accuracy"]));
            assert_eq!(told["test_rows"], metrics["tasks"][task]["rows"]);
            assert!(told["lost"].is_f64(), "{told}");
            let opened = frosthead::internal::classifier::Run::open(&run).unwrap();
            let words = opened.heads.iter().any(|head| head.task == task && head.words.is_some());
            let choice = opened.recipe.features.tasks[task].choice.unwrap();
            assert_eq!(told["features"], format!("{choice}{}", if words { "+words" } else { "" }));
            assert_eq!(told["without_words"].is_object(), words, "{told}");
            // Against the full depth, row by row.
            let accuracy = |name: &str| points[name]["tasks"][task]["held_out"]["accuracy"].as_f64().unwrap();
            let change = held["change"].as_f64().unwrap();
            assert!((change - (accuracy(name) - accuracy("depth-6"))).abs() < 1e-9, "{name} {task}: {held}");
            assert!(held["change_standard_error"].as_f64().unwrap() > 0.0);
            let line = finished.stdout.lines().find(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                let depth = if name == "2" { "usual" } else { &name["depth-".len()..] };
                cells.first() == Some(&task) && cells.get(2) == Some(&depth)
            });
            let line = line.unwrap_or_else(|| panic!("{name} {task} is not in {}", finished.stdout));
            for figure in [&held["accuracy"], &held["macro_f1"], &told["test_accuracy"]] {
                let cell = format!("{:.3}", figure.as_f64().unwrap());
                assert!(line.contains(&cell), "{cell} is not in {line}");
            }
            for figure in [&held["accuracy"], &told["test_accuracy"]] {
                let cell = format!("<td>{:.3}</td>", figure.as_f64().unwrap());
                assert!(page.contains(&cell), "{cell} is not in the page");
            }
        }
        let speed = |figure: &str| point["speed"][figure].as_f64().unwrap();
        assert!(speed("texts_per_second") > 0.0 && speed("ms_per_text") > 0.0);
    }
    // 2 (without words), depth-0, depth-2, depth-6: nothing above the highest layer that a head sees is shipped.
    assert!(sizes[1] < sizes[2] && sizes[2] < sizes[3], "{sizes:?}");
    let rate = |name: &str| points[name]["speed"]["texts_per_second"].as_f64().unwrap();
    let rates: Vec<f64> = points.keys().map(|name| rate(name)).collect();
    assert!(rates.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 1e-9), "all are alike: {rates:?}");
    assert!(rate("depth-0") > 0.5 * rate("depth-6"), "{rates:?}");
    assert!(
        finished.stderr.contains("is the shallowest that costs no more than noise"),
        "{}",
        finished.stderr
    );
}

#[test]
fn the_runs_are_those_of_train_at_that_depth_and_the_bundles_predict() {
    let (out, _) = compared();
    let data = demo(ROWS);
    for (depth, folder) in [("0", "depth-0"), ("2", "depth-2")] {
        let at = out.join("tiny").join(folder);
        let train =
            ["train", text(&data), "--backbone", backbone(), "--task", "domain", "--task", "sentiment"];
        let more = ["--depth", depth, "--features", "auto", "--out", text(&at)];
        let finished = frosthead(&[&train[..], &more].concat()).success();
        assert!(finished.stderr.contains("up to date"), "{}", finished.stderr);
        let bundle = out.join("tiny").join(format!("{folder}.frost"));
        let predicted = frosthead(&["predict", text(&data), "--model", text(&bundle)]).success();
        assert_eq!(predicted.stdout.lines().count(), ROWS, "{}", predicted.stdout);
        let moved = directory();
        let alone = moved.path().join("alone.frost");
        std::fs::copy(&bundle, &alone).unwrap();
        frosthead(&["predict", text(&data), "--model", text(&alone)]).success();
    }
}

#[test]
fn the_same_again_is_up_to_date_and_depths_others_and_scenarios_are_added() {
    let place = directory();
    let (out, data) = (place.path().join("compare"), demo(ROWS));
    let first = run(&data, &out, &["--scenarios", "2:last", "--json"]).success().json();
    assert!(first["backbones"][0]["dial"].is_null());
    let run_of_2 = made(&out.join("tiny/2/metrics.json"));
    let second = run(&data, &out, &["--depths", "1", "--json"]).success();
    let points = dial(&second.json());
    assert_eq!(points.len(), 3);
    assert_eq!(
        made(&out.join("tiny/2/metrics.json")),
        run_of_2,
        "scenario 2 was trained again for its bundle"
    );
    let bundle = made(&out.join("tiny/depth-1.frost"));
    let again = run(&data, &out, &["--depths", "1", "--json"]).success();
    assert!(again.stderr.contains("report.html: up to date"), "{}", again.stderr);
    assert_eq!(dial(&again.json()), points);
    // Another depth: the bundles that are there stay, and all are judged and timed beside it.
    let third = run(&data, &out, &["--depths", "all", "--json"]).success();
    assert_eq!(dial(&third.json()).len(), 8);
    assert_eq!(made(&out.join("tiny/depth-1.frost")), bundle);
    let before = &untimed(&second.json())["depth-1"];
    assert_eq!(&untimed(&third.json())["depth-1"], before, "the same figures as before");
    // A bundle that is gone is made again, the same.
    let bytes = std::fs::read(out.join("tiny/depth-1.frost")).unwrap();
    std::fs::remove_file(out.join("tiny/depth-1.frost")).unwrap();
    let fourth = run(&data, &out, &["--depths", "1"]).success();
    assert!(fourth.stderr.contains("tiny/depth-1.frost: "), "{}", fourth.stderr);
    assert!(std::fs::read(out.join("tiny/depth-1.frost")).unwrap() == bytes);
    // The precision is the comparison's.
    run(&data, &out, &["--depths", "1", "--precision", "fp32"])
        .fails_with(&["not this comparison", "--overwrite"]);
    // Points of others come beside them, and stay.
    let beside = place.path().join("beside.json");
    let point = r#"[{"name": "bag of pieces", "task": "domain", "accuracy": 0.64, "test_rows": 40, "bytes": 1000000,
        "texts_per_second": 20000, "ms_per_text": 0.05, "processor": "one of theirs"}]"#;
    std::fs::write(&beside, point).unwrap();
    let fifth = run(&data, &out, &["--scenarios", "2:last", "--beside", text(&beside)]).success();
    assert!(fifth.stderr.contains("report.html: written"), "{}", fifth.stderr);
    let line = fifth.stdout.lines().find(|line| line.contains("bag of pieces")).unwrap();
    assert!(line.starts_with("domain") && line.contains("0.640") && line.contains("20,000"), "{line}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("one of theirs") && page.contains("domain: accuracy on test rows"));
    let sixth = run(&data, &out, &["--depths", "1", "--json"]).success();
    assert!(sixth.stderr.contains("report.html: up to date"), "{}", sixth.stderr);
    assert_eq!(sixth.json()["beside"][0]["name"], "bag of pieces");
}

#[test]
fn exact_bundles_lose_nothing_and_tables_of_their_own_are_judged_on() {
    let place = directory();
    let out = place.path().join("compare");
    let (valid, test) = (demo(40), demo(60));
    let more = ["--depths", "0", "--precision", "fp32", "--scenarios", "1", "--json"];
    let tables = ["--valid", text(&valid), "--test", text(&test)];
    let report = run(&demo(ROWS), &out, &[&more[..], &tables].concat()).success().json();
    let points = dial(&report);
    assert_eq!(points.keys().map(String::as_str).collect::<Vec<_>>(), ["depth-0", "depth-6"]);
    for (name, point) in &points {
        assert_eq!(point["precision"], "fp32");
        let metrics = json(out.join("tiny").join(name).join("metrics.json"));
        for task in ["domain", "sentiment"] {
            let told = &point["tasks"][task];
            assert_eq!(told["lost"], 0.0);
            assert_eq!(told["test_accuracy"], metrics["tasks"][task]["accuracy"]);
            assert!(told["held_out"]["rows"].as_u64() > metrics["sizes"]["train"].as_u64(), "{told}");
        }
        let bundle = out.join(point["bundle"].as_str().unwrap());
        let eval = ["eval", text(&test), "--model", text(&bundle), "--json"];
        let tested = frosthead(&eval).success().json();
        assert_eq!(tested["tasks"]["domain"]["accuracy"], point["tasks"]["domain"]["test_accuracy"]);
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_killed_dial_goes_on_and_ends_with_the_same() {
    let (place, data) = (directory(), demo(ROWS));
    let more = ["--depths", "0", "--json"];
    let whole = run(&data, &place.path().join("whole"), &more).success().json();
    // While a run is written, a bundle, a report: wherever the files of this number fall.
    for count in [2, 9, 16, 21, 24, 26] {
        let out = place.path().join(format!("killed-{count}"));
        let mut child = command(&arguments(&data, &out, &more));
        let child = child.env("FROSTHEAD_KILL_AT", format!("file-before-rename:{count}"));
        let output = child.output().unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
        assert!(killed || output.status.success(), "{count}: {}", String::from_utf8_lossy(&output.stderr));
        let arguments = arguments(&data, &out, &more);
        let resumed = finish(command(&arguments), &arguments).success().json();
        assert_eq!(untimed(&resumed), untimed(&whole), "killed at file {count}");
        for (name, point) in dial(&resumed) {
            assert!(point["speed"].is_object(), "{name}");
            let bundle = |report: &str| {
                std::fs::read(place.path().join(report).join(point["bundle"].as_str().unwrap()))
            };
            assert!(
                bundle(&format!("killed-{count}")).unwrap() == bundle("whole").unwrap(),
                "{name}, {count}"
            );
        }
        assert!(count > 9 || killed, "nothing was killed at file {count}");
    }
}

#[test]
fn what_does_not_fit_the_time_limit_is_left_out_and_said() {
    let place = directory();
    let out = place.path().join("compare");
    // No run is estimated to take less than a second.
    let limited = run(&demo(ROWS), &out, &["--depths", "0", "--time-limit", "1s"]).success();
    assert!(limited.stderr.contains("scenario depth-0 was skipped: the estimate of"), "{}", limited.stderr);
    assert!(!out.join("tiny/depth-0").exists() && !out.join("tiny/depth-0.frost").exists());
    let whole = run(&demo(ROWS), &out, &["--depths", "0", "--json"]).success().json();
    assert_eq!(dial(&whole).len(), 3);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let place = directory();
    let (out, beside) = (place.path().join("compare"), place.path().join("beside.json"));
    std::fs::write(
        &beside,
        r#"[{"name": "bag of pieces", "task": "topic", "accuracy": 0.64, "test_rows": 40, "bytes": 1,
        "texts_per_second": 1, "ms_per_text": 1, "processor": "p"}]"#,
    )
    .unwrap();
    let odd = place.path().join("odd.json");
    std::fs::write(&odd, r#"[{"name": "words", "points": 3}]"#).unwrap();
    let opaque = place.path().join("opaque");
    let graph = crate::harness::root().join("tests/data/foreign_onnx/encoder.onnx");
    frosthead(&["import", text(&graph), "--out", text(&opaque), "--max-length", "40"]).success();
    for (more, parts) in [
        (vec!["--depths", "0,9"], vec!["not that deep", "depth 9", "0 to 6"]),
        (vec!["--depths", "2,2"], vec!["twice", "2,2"]),
        (vec!["--depths", "two"], vec!["these are no depths", "0,2,4"]),
        (vec!["--depths", "2", "--depth", "3"], vec!["--depth", "cannot be used with"]),
        (
            vec!["--depths", "2", "--beside", text(&beside)],
            vec!["no such task", "topic", "domain, sentiment"],
        ),
        (vec!["--depths", "2", "--beside", text(&odd)], vec!["points to draw beside", "points"]),
        (vec!["--depths", "2", "--beside", "/no/file.json"], vec!["no such file"]),
        (vec!["--depths", "2", "--store-layers", "last"], vec!["--store-layers all"]),
        (vec!["--depths", "2", "--backbone", text(&opaque)], vec!["no layers to leave away"]),
    ] {
        run(&demo(ROWS), &out, &more).fails_with(&parts);
        assert!(!out.exists(), "{more:?} left an output");
    }
}
