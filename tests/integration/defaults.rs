//! Defaults that do not betray: what is fitted, calibrated and measured on which rows.

use std::path::Path;

use frosthead::internal::classifier::Run;
use frosthead::internal::heads::Head;
use serde_json::Value;

use crate::harness::{Finished, backbone, demo, directory, frosthead, text};

fn train(data: &Path, out: &Path, more: &[&str]) -> Finished {
    let tasks = ["--task", "domain", "--task", "sentiment", "--out", text(out)];
    frosthead(&[&["train", text(data), "--backbone", backbone()], &tasks[..], more].concat())
}

fn metrics(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("metrics.json")).unwrap()).unwrap()
}

fn heads(run: &Path) -> Vec<Head> {
    Run::open(run).unwrap().heads
}

#[test]
fn a_final_fit_learns_from_all_rows_and_says_that_its_figures_are_of_the_fit_before() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let alpha = ["--alpha", "30"];
    train(&data, &path("plain"), &alpha).success();
    let made = train(&data, &path("final"), &[&alpha[..], &["--final"]].concat()).success();
    assert!(made.stderr.contains("sentiment: fitted once more on all 300 labelled rows"), "{}", made.stderr);
    assert!(made.stderr.contains("the figures are of the fit before"), "{}", made.stderr);
    let (plain, last) = (metrics(&path("plain")), metrics(&path("final")));
    assert_eq!(plain["tasks"], last["tasks"]);
    assert_eq!(plain["calibration"], last["calibration"]);
    assert!(plain["final_rows"].is_null());
    assert_eq!(last["final_rows"], serde_json::json!({"domain": 300, "sentiment": 300}));
    // The heads are those of all rows, with the temperature that was found before.
    let whole = ["--test-fraction", "0", "--valid-fraction", "0"];
    train(&data, &path("whole"), &[&alpha[..], &whole].concat()).success();
    for ((before, last), whole) in
        heads(&path("plain")).iter().zip(heads(&path("final"))).zip(heads(&path("whole")))
    {
        assert!(before.weights != last.weights);
        assert_eq!((last.weights, last.bias), (whole.weights, whole.bias));
        assert_eq!(last.believed, before.believed);
    }
    // No row of the table is unseen any more, and none is left to be kept for validation.
    let eval = ["eval", text(&data), "--model"];
    frosthead(&[&eval[..], &[text(&path("final"))]].concat()).fails_with(&["300 were trained on"]);
    frosthead(&[&eval[..], &[text(&path("final")), "--rows", "all"]].concat()).success();
    let (run, out) = (path("final"), path("x.frost"));
    let bundle = |more: &[&str]| {
        let arguments = ["bundle", text(&run), "--out", text(&out)];
        frosthead(&[&arguments[..], more].concat())
    };
    bundle(&["--keep-validation"]).fails_with(&["no validation rows to keep", "--final"]);
    bundle(&["--precision", "int8", "--max-drop", "100"]).success();
    let bundled = frosthead::Bundle::open(&out, None).unwrap();
    for (bundled, run) in bundled.heads().iter().zip(heads(&path("final"))) {
        assert_eq!(bundled.believed, run.believed);
    }
}

#[test]
fn a_final_fit_leaves_a_frozen_head_as_it_was_fitted() {
    let (directory, data) = (directory(), demo(300));
    let out = directory.path().join("out");
    let plan = ["--freeze", "backbone", "--freeze", "head:domain", "--final", "--alpha", "30"];
    train(&data, &out, &plan).success();
    assert_eq!(metrics(&out)["final_rows"], serde_json::json!({"sentiment": 300}));
    train(&data, &directory.path().join("plain"), &["--alpha", "30"]).success();
    assert_eq!(heads(&out)[0].weights, heads(&directory.path().join("plain"))[0].weights);
}

#[test]
fn heads_that_know_test_rows_are_not_measured_in_silence() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    train(&data, &path("first"), &[]).success();
    let first = path("first");
    let plan = ["--freeze", "backbone", "--freeze", "head:domain", "--init-heads", text(&first)];
    let same = train(&data, &path("same"), &plan).success();
    assert!(!same.stderr.contains("were trained on there"), "{}", same.stderr);
    let other = train(&data, &path("other"), &[&plan[..], &["--seed", "5"]].concat()).success();
    assert!(other.stderr.contains("were trained on there"), "{}", other.stderr);
    // The same of layers.
    let layers = path("layers");
    train(&data, &layers, &["--unfreeze", "1", "--epochs", "1"]).success();
    let on = |name: &str, more: &[&str]| {
        let out = path(name);
        let arguments = ["train", text(&data), "--backbone", text(&layers), "--out", text(&out)];
        let tasks = ["--task", "domain", "--task", "sentiment"];
        frosthead(&[&arguments[..], &tasks, more].concat()).success().stderr
    };
    assert!(!on("same rows", &[]).contains("were trained on there"));
    let said = on("other rows", &["--seed", "5"]);
    assert!(said.contains("layers: ") && said.contains("were trained on there"), "{said}");
}

#[test]
fn copies_of_a_text_choose_no_penalty_of_their_own() {
    let (directory, data) = (directory(), demo(200));
    let path = |name: &str| directory.path().join(name);
    let content = std::fs::read_to_string(&data).unwrap();
    let (header, rows) = content.split_once('\n').unwrap();
    let often = path("often.csv");
    std::fs::write(&often, format!("{header}\n{}", rows.repeat(5))).unwrap();
    let whole = ["--test-fraction", "0", "--valid-fraction", "0", "-v"];
    let accuracy = |data: &Path, name: &str| {
        train(data, &path(name), &whole).success();
        let fits = std::fs::read(path(name).join("fit.json")).unwrap();
        let fits: Value = serde_json::from_slice(&fits).unwrap();
        let candidates = fits[1]["candidates"].as_array().unwrap().clone();
        candidates.iter().map(|candidate| candidate["accuracy"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    // Held out, a copy is as new as its text: were they in other folds, nearly all would be right.
    let (once, copies) = (accuracy(&data, "once"), accuracy(&often, "often"));
    assert!((once - copies).abs() < 0.1 && copies < 0.85, "{once} {copies}");
}

#[test]
fn a_final_fit_is_refused_where_it_fits_nothing() {
    let (directory, data) = (directory(), demo(300));
    let out = directory.path().join("out");
    train(&data, &out, &["--final", "--unfreeze", "1"]).fails_with(&["--final", "layers are trained"]);
    train(&data, &out, &["--final", "--freeze", "all"]).fails_with(&["--final", "nothing is trained"]);
    assert!(!out.exists());
}
