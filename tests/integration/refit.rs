//! Heads fitted anew on the device: `refit`. The backbone and the other heads stay to the bit, and old
//! and new are compared on rows that neither was fitted on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use super::bundle::{forge, keys, places};
use crate::harness::{Finished, command, demo, directory, frosthead, root, text, tiny_checkpoint};
use crate::tiny::NUMBERS;
use frosthead::{Bundle, Classifier, OpenOptions, RuntimeOptions, TaskPrediction};

/// A bundle with validation rows, in two precisions, made where nothing of it is left, and rows that it has
/// not seen.
struct Device {
    /// Of the run: training and test rows, and the validation rows.
    old: PathBuf,
    valid: PathBuf,
    /// `text,domain,sentiment,size`.
    new: PathBuf,
    new_valid: PathBuf,
    fp32: PathBuf,
    int8: PathBuf,
}

/// Some rows of the demo data, with a task that the run does not know.
fn table(path: PathBuf, rows: impl Fn(usize) -> bool) -> PathBuf {
    let mut reader = csv::Reader::from_path(demo(1200)).unwrap();
    let mut writer = csv::Writer::from_path(&path).unwrap();
    writer.write_record(["text", "domain", "sentiment", "size"]).unwrap();
    for (place, record) in reader.records().enumerate().filter(|(place, _)| rows(*place)) {
        let record = record.unwrap();
        assert!(place < 1200);
        let size = if record[0].len() > 100 { "long" } else { "short" };
        writer.write_record(record.iter().chain([size])).unwrap();
    }
    writer.flush().unwrap();
    path
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let place = directory().keep();
        let (model, run) = (place.join("model"), place.join("run"));
        let path = |name: &str| place.join(name);
        let made = Device {
            old: table(path("old.csv"), |row| row % 4 == 0),
            valid: table(path("valid.csv"), |row| row % 8 == 1),
            new: table(path("new.csv"), |row| row % 4 == 2),
            new_valid: table(path("new-valid.csv"), |row| row % 8 == 3),
            fp32: path("fp32.frost"),
            int8: path("int8.frost"),
        };
        frosthead(&["import", text(tiny_checkpoint()), "--out", text(&model)]).success();
        let train = ["train", text(&made.old), "--valid", text(&made.valid), "--backbone", text(&model)];
        let tasks = ["--task", "domain", "--task", "sentiment", "--out", text(&run)];
        frosthead(&[&train[..], &tasks[..]].concat()).success();
        let bundle = |out: &Path, more: &[&str]| {
            let arguments = ["bundle", text(&run), "--keep-validation", "--out", text(out)];
            frosthead(&[&arguments[..], more].concat()).success()
        };
        let said = bundle(&made.fp32, &[]);
        assert!(said.stderr.contains("features of 150 validation rows are kept"), "{}", said.stderr);
        bundle(&made.int8, &["--precision", "int8", "--max-drop", "100"]);
        std::fs::remove_dir_all(model).unwrap();
        std::fs::remove_dir_all(run).unwrap();
        made
    })
}

fn refit(from: &Path, out: &Path, data: &Path, more: &[&str]) -> Finished {
    let arguments = ["refit", text(from), text(data), "--out", text(out)];
    frosthead(&[&arguments[..], more].concat())
}

fn predictions(path: &Path) -> (Vec<String>, Vec<Vec<TaskPrediction>>) {
    let library = Some(root().join(".downloads/onnxruntime"));
    let runtime = RuntimeOptions { library, ..RuntimeOptions::default() };
    let classifier = Classifier::open_with(path, &OpenOptions { runtime, ..OpenOptions::default() }).unwrap();
    let mut reader = csv::Reader::from_path(demo(1200)).unwrap();
    let texts: Vec<String> = reader.records().take(40).map(|record| record.unwrap()[0].to_owned()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tasks = classifier.heads().iter().map(|head| head.task.clone()).collect();
    (tasks, classifier.predict(&texts).unwrap())
}

/// Which tasks say the same in both bundles, to the bit.
fn equal_tasks(one: &Path, other: &Path) -> Vec<String> {
    let ((tasks, one), (other_tasks, other)) = (predictions(one), predictions(other));
    assert_eq!(tasks, other_tasks[..tasks.len()]);
    let bits = |prediction: &TaskPrediction| {
        prediction
            .logits
            .iter()
            .chain(&prediction.probabilities)
            .map(|number| number.to_bits())
            .collect::<Vec<_>>()
    };
    let equal =
        |task: usize| one.iter().zip(&other).all(|(one, other)| bits(&one[task]) == bits(&other[task]));
    (0..tasks.len()).filter(|&task| equal(task)).map(|task| tasks[task].clone()).collect()
}

/// Accuracy, and recall per label, as `eval` measures them.
fn evaluated(data: &Path, model: &Path, task: &str) -> (f64, Vec<(String, f64)>) {
    let arguments = ["eval", text(data), "--model", text(model), "--rows", "all", "--json", "--task", task];
    let json = frosthead(&arguments).success().json();
    let own = &json["tasks"][task];
    let labels = own["per_label"]
        .as_array()
        .unwrap()
        .iter()
        .map(|label| (label["label"].as_str().unwrap().to_owned(), label["recall"].as_f64().unwrap()));
    (own["accuracy"].as_f64().unwrap(), labels.collect())
}

/// The report says of some rows, before and after, what `eval` of both bundles says of them.
fn agrees(report: &serde_json::Value, data: &Path, bundles: [&Path; 2]) {
    for (side, bundle) in ["before", "after"].into_iter().zip(bundles) {
        let (accuracy, labels) = evaluated(data, bundle, "sentiment");
        let same = |change: &serde_json::Value, expected: f64| {
            assert!((change[side].as_f64().unwrap() - expected).abs() < 1e-12, "{side} {expected}: {report}");
        };
        same(&report["all"], accuracy);
        assert_eq!(labels.len(), 3);
        labels.iter().for_each(|(label, recall)| same(&report["labels"][label], *recall));
    }
}

/// The whole of what a refit promises, for a bundle in any precision.
fn fits_one_head_and_nothing_else(from: &Path, precision: &str) {
    let (device, directory) = (device(), directory());
    let (out, again) = (directory.path().join("y.frost"), directory.path().join("again.frost"));
    let more = ["--task", "sentiment", "--valid", text(&device.new_valid), "--json", "-v"];
    let made = refit(from, &out, &device.new, &more).success();
    let report = made.json();
    // Both on the rows that the bundle carries and on those that came with the new rows.
    assert_eq!(
        (&report["kept_rows"], &report["kept"]["sentiment"]["all"]["rows"]),
        (&150.into(), &150.into())
    );
    // The kept rows count with the new ones: "after" is of heads that did not see them.
    assert_eq!(report["kept_fitted"]["sentiment"], 150);
    let (kept, seen) = (&report["kept"]["sentiment"]["all"], evaluated(&device.valid, &out, "sentiment").0);
    assert!((kept["before"].as_f64().unwrap() - evaluated(&device.valid, from, "sentiment").0).abs() < 1e-12);
    assert!(kept["after"].as_f64().unwrap() < seen, "{kept} {seen}");
    assert_eq!(report["valid"]["sentiment"]["all"]["rows"], 150);
    agrees(&report["valid"]["sentiment"], &device.new_valid, [from, &out]);
    assert!(report["kept"]["domain"].is_null());
    // The head is the one that is fitted and calibrated on the new rows.
    assert!(made.stderr.contains("sentiment: fitted on 240 rows of 48 numbers"), "{}", made.stderr);
    let line = "150 validation rows and 390 training rows held out of a fit";
    assert!(made.stderr.contains(line), "{}", made.stderr);
    assert_eq!(equal_tasks(from, &out), ["domain"]);
    // The backbone: its hash, and the very bytes, up to the one head that is another.
    let open = |path: &Path| Bundle::open(path, None).unwrap();
    let hash = open(from).backbone_fingerprint().unwrap();
    assert_eq!(open(&out).backbone_fingerprint().unwrap(), hash);
    let said = format!("backbone: hash {0} in {1}, {0} in {2}", hash.short(), from.display(), out.display());
    assert!(made.stderr.contains(&said), "{said}: {}", made.stderr);
    let data = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let (_, start, _, length) = places(&bytes, "model.onnx.data");
        bytes[start..start + length].to_vec()
    };
    let (one, other) = (data(from), data(&out));
    assert_eq!(one.len(), other.len());
    let first = one.iter().zip(&other).position(|(one, other)| one != other);
    // A head that is small enough lies in the graph.
    let first = first.unwrap_or(one.len());
    assert!(one.len() - first <= 3 * NUMBERS * 4, "{first} of {}", one.len());
    // It says where it comes from, and carries the validation rows on.
    let (old, new) = (open(from), open(&out));
    assert_eq!(new.validation().unwrap(), old.validation().unwrap());
    let refits = &new.manifest().refits;
    assert_eq!((refits.len(), refits[0].from), (1, open(from).fingerprint()));
    assert_eq!(refits[0].tasks.iter().collect::<Vec<_>>(), [(&"sentiment".to_owned(), &240)]);
    let inspected = frosthead(&["inspect", text(&out)]).success().stdout;
    let format = if precision == "int8" { 8 } else { 2 };
    for part in ["sentiment on 240 rows", "features of 150 rows", &format!("format {format}, {precision}")] {
        assert!(inspected.contains(part), "{part:?} is not in {inspected}");
    }
    // The same again: the same bytes, whatever the threads.
    assert!(refit(from, &out, &device.new, &more).success().stderr.contains("up to date"));
    refit(from, &again, &device.new, &[&more[..], &["--threads", "1"]].concat()).success();
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&again).unwrap());
    // A refit of a refit needs no feature computed anew: it is the same backbone.
    let next = directory.path().join("z.frost");
    let chained = refit(&out, &next, &device.new, &["-v", "--task", "size"]).success();
    assert!(chained.stderr.contains("0 texts computed, 300 from the store"), "{}", chained.stderr);
    assert_eq!(equal_tasks(&out, &next), ["domain", "sentiment"]);
    assert_eq!(open(&next).manifest().refits.len(), 2);
    let tested = frosthead(&["doctor", text(&next), "--json"]).success().json();
    assert_eq!(tested["model"]["self_test"]["sentences"], 3);
}

#[test]
fn one_head_is_fitted_anew_and_nothing_else_changes() {
    fits_one_head_and_nothing_else(&device().fp32, "fp32");
}

#[test]
fn one_head_is_fitted_anew_in_eight_bits() {
    fits_one_head_and_nothing_else(&device().int8, "int8");
}

#[test]
fn the_table_shows_old_and_new_heads_and_what_they_are_compared_on() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let tasks = ["--task", "sentiment", "--task", "size"];
    let json = refit(&device.fp32, &path("y.frost"), &device.new, &[&tasks[..], &["--json"]].concat());
    let json = json.success().json();
    let printed = refit(&device.fp32, &path("y.frost"), &device.new, &tasks).success();
    assert!(printed.stderr.contains("trained on these rows is not known"), "{}", printed.stderr);
    let lines: Vec<Vec<&str>> =
        printed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let mut rows = 0;
    for (kind, name) in [("kept", "kept"), ("new", "valid")] {
        for (task, change) in json[name].as_object().unwrap() {
            let labels = change["labels"].as_object().unwrap().iter();
            let all = ("(all)".to_owned(), &change["all"]);
            for (label, figures) in labels.map(|(label, figures)| (label.clone(), figures)).chain([all]) {
                let of = |side: &str| figures[side].as_f64();
                let after = of("after").unwrap();
                let mut expected = vec![kind.to_owned(), task.clone(), label, figures["rows"].to_string()];
                if let Some(before) = of("before") {
                    expected.extend([format!("{before:.3}"), format!("{after:.3}")]);
                    expected.push(format!("{:+.1}", 100.0 * (after - before)));
                    // No error where no row is labelled otherwise than before.
                    if let Some(error) = of("standard_error") {
                        assert!(error > 0.0);
                        expected.extend(["±".to_owned(), format!("{:.1}", 100.0 * error)]);
                    }
                } else {
                    expected.extend(["-".to_owned(), format!("{after:.3}")]);
                }
                assert!(
                    lines.iter().any(|line| *line == expected),
                    "{expected:?} is not in {}",
                    printed.stdout
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 4 + 4 + 3);
    assert!(printed.stderr.contains("size: the 150 kept validation rows have no labels of it"));
    // Sizes of the parts are the usual ones: a fifth for testing, a tenth of the rest for validation.
    assert!(printed.stderr.contains("300 rows: 216 train, 24 validation, 60 test"), "{}", printed.stderr);
    let criterion = [&tasks[..], &["--min-f1", "0.99"]].concat();
    refit(&device.fp32, &path("y.frost"), &device.new, &criterion).exits(1);
    let more = ["--task", "sentiment", "--valid-fraction", "0", "-v"];
    let none = refit(&device.fp32, &path("none.frost"), &device.new, &more).success();
    let calibrated = none
        .stderr
        .lines()
        .any(|line| line.starts_with("sentiment: ") && line.contains("training rows held out of a fit"));
    assert!(calibrated, "{}", none.stderr);
}

#[test]
fn the_options_of_a_fit_count() {
    let (device, directory) = (device(), directory());
    let fitted = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let made = refit(&device.fp32, &out, &device.new, &[&["-v", "--task", "sentiment"], more].concat());
        (std::fs::read(out).unwrap(), made.success().stderr)
    };
    let (plain, _) = fitted("plain", &[]);
    assert!(fitted("same", &["--alpha", "auto"]).0 == plain);
    for (name, more) in [
        ("alpha", &["--alpha", "3"][..]),
        ("mild", &["--alpha", "0.5"]),
        ("weight", &["--class-weight", "balanced"]),
        ("seed", &["--seed", "5"]),
        ("test", &["--test-fraction", "0.4"]),
    ] {
        assert!(fitted(name, more).0 != plain, "{name} does not count");
    }
    assert!(fitted("alpha-3", &["--alpha", "3"]).1.contains("alpha 3,"));
}

#[test]
fn labels_may_change_and_those_without_rows_are_kept_and_named() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let content = std::fs::read_to_string(&device.new).unwrap();
    std::fs::write(path("two.csv"), content.replace(",negative,", ",other,").replace(",neutral,", ",other,"))
        .unwrap();
    let made = refit(&device.fp32, &path("y.frost"), &path("two.csv"), &["--task", "sentiment", "--json"]);
    let report = made.success().json();
    // The bundle keeps rows of the old labels.
    assert!(report["without_rows"].as_object().unwrap().is_empty(), "{report}");
    let kept = &report["kept"]["sentiment"]["labels"]["negative"];
    assert!(kept["before"].as_f64().unwrap() > 0.3, "{report}");
    let new = &report["valid"]["sentiment"]["labels"];
    assert!(new["other"]["before"] == 0.0 && new["other"]["after"].as_f64().unwrap() > 0.3, "{report}");
    let inspected = frosthead(&["inspect", text(&path("y.frost"))]).success().stdout;
    assert!(inspected.contains("sentiment: negative, neutral, other, positive"), "{inspected}");
    assert_eq!(equal_tasks(&device.fp32, &path("y.frost")), ["domain"]);
    // So much is lost; a criterion can say that it is too much: then nothing is written.
    let all = &report["kept"]["sentiment"]["all"];
    let lost = 100.0 * (all["before"].as_f64().unwrap() - all["after"].as_f64().unwrap());
    assert!(lost > 1.0, "{report}");
    let criterion = |most: f64| {
        let more = ["--task", "sentiment", "--max-drift", &most.to_string()];
        refit(&device.fp32, &path("z.frost"), &path("two.csv"), &more)
    };
    let missed = criterion(lost - 0.01).exits(1);
    let said = format!(
        "lost {lost:.2} points on the kept validation rows: more than --max-drift; nothing was written"
    );
    assert!(missed.stderr.contains(&said), "{}", missed.stderr);
    assert!(!path("z.frost").exists());
    criterion(lost + 0.01).success();
    assert!(path("z.frost").exists());
}

#[test]
fn few_rows_do_not_make_a_head_forget_even_where_they_lack_labels() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    // A bundle that keeps no rows, and eight new ones of two of three labels.
    let (model, run, bundle) = (path("model"), path("run"), path("x.frost"));
    frosthead(&["import", text(tiny_checkpoint()), "--out", text(&model)]).success();
    let train = ["train", text(&device.old), "--backbone", text(&model), "--task", "domain", "--out"];
    frosthead(&[&train[..], &[text(&run)]].concat()).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let labels = Bundle::open(&bundle, None).unwrap().heads()[0].labels.clone();
    let mut reader = csv::Reader::from_path(&device.new).unwrap();
    let mut writer = csv::Writer::from_path(path("few.csv")).unwrap();
    writer.write_record(["text", "domain"]).unwrap();
    let mut left = BTreeMap::from([(labels[0].clone(), 4), (labels[1].clone(), 4)]);
    for record in reader.records().map(|record| record.unwrap()) {
        if let Some(count) = left.get_mut(&record[1]).filter(|count| **count > 0) {
            *count -= 1;
            writer.write_record([&record[0], &record[1]]).unwrap();
        }
    }
    writer.flush().unwrap();
    let none = ["--task", "domain", "--test-fraction", "0", "--valid-fraction", "0"];
    let made = refit(&bundle, &path("y.frost"), &path("few.csv"), &none).success();
    let named = format!("domain: no row is {}: the head keeps what it knew", labels[2..].join(" or "));
    assert!(made.stderr.contains(&named), "{named}: {}", made.stderr);
    let (before, _) = evaluated(&device.new_valid, &bundle, "domain");
    let (after, recall) = evaluated(&device.new_valid, &path("y.frost"), "domain");
    // 150 rows: two standard errors of a paired difference of few rows are some points.
    assert!(after > before - 0.04, "{before} {after}");
    assert!(recall.iter().all(|(_, recall)| *recall > 0.0), "{recall:?}");
    // A mild pull forgets, where it is asked for.
    refit(&bundle, &path("mild.frost"), &path("few.csv"), &[&none[..], &["--alpha", "0.01"]].concat())
        .success();
    let (mild, _) = evaluated(&device.new_valid, &path("mild.frost"), "domain");
    assert!(mild < after - 0.03, "{mild} {after}");
}

#[test]
fn rows_of_one_label_are_taken_and_kept_texts_measure_nothing() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let mut reader = csv::Reader::from_path(&device.new).unwrap();
    let mut writer = csv::Writer::from_path(path("one.csv")).unwrap();
    writer.write_record(["text", "sentiment"]).unwrap();
    for record in
        reader.records().map(|record| record.unwrap()).filter(|record| &record[2] == "neutral").take(9)
    {
        writer.write_record([&record[0], &record[2]]).unwrap();
    }
    writer.flush().unwrap();
    let made =
        refit(&device.fp32, &path("y.frost"), &path("one.csv"), &["--task", "sentiment", "--json"]).success();
    let all = &made.json()["kept"]["sentiment"]["all"];
    let lost = all["before"].as_f64().unwrap() - all["after"].as_f64().unwrap();
    assert!(lost < 0.05, "{all}");
    // An added task still needs two.
    refit(
        &device.fp32,
        &path("z.frost"),
        &path("one.csv"),
        &["--task", "sentiment", "--text", "text", "--task", "size"],
    )
    .fails_with(&["size"]);
    let more = ["--task", "sentiment", "--json", "--test", text(&device.valid)];
    let made = refit(&device.fp32, &path("x.frost"), &device.new, &more).success().json();
    assert_eq!(made["metrics"]["sizes"]["test"], 0, "{made}");
}

#[test]
fn rows_that_the_bundle_keeps_for_validation_are_not_fitted_on_twice() {
    let (device, directory) = (device(), directory());
    let both = directory.path().join("both.csv");
    let content = std::fs::read_to_string(&device.new).unwrap();
    let valid = std::fs::read_to_string(&device.valid).unwrap();
    let valid = valid.split_once('\n').unwrap().1;
    std::fs::write(&both, content + valid).unwrap();
    let fractions = ["--test-fraction", "0", "--valid-fraction", "0"];
    for from in [&device.fp32, &device.int8] {
        let fit = |out: &str, data: &Path, more: &[&str]| {
            let out = directory.path().join(out);
            let made = refit(from, &out, data, &[&fractions[..], more].concat()).success();
            std::fs::remove_file(out).unwrap();
            made.stderr
        };
        let said = fit("y.frost", &both, &["--task", "sentiment"]);
        assert!(said.contains("450 rows: 300 train, 0 validation, 0 test, 150 left out"), "{said}");
        // No row is kept for a task that the bundle does not know.
        let said = fit("z.frost", &both, &["--task", "size"]);
        assert!(said.contains("450 rows: 450 train"), "{said}");
    }
}

#[test]
fn a_bundle_without_validation_rows_says_that_forgetting_is_not_seen() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let (model, run, bundle) = (path("model"), path("run"), path("x.frost"));
    frosthead(&["import", text(tiny_checkpoint()), "--out", text(&model)]).success();
    let train = |out: &Path, more: &[&str]| {
        let arguments = ["train", text(&device.old), "--backbone", text(&model), "--task", "domain", "--out"];
        frosthead(&[&arguments[..], &[text(out)], more].concat()).success();
    };
    train(&run, &[]);
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let made = refit(&bundle, &path("y.frost"), &device.new, &["--task", "domain", "--json"]).success();
    assert!(made.stderr.contains("forgot is not seen"), "{}", made.stderr);
    let report = made.json();
    assert_eq!((&report["kept_rows"], report["kept"].as_object().unwrap().len()), (&0.into(), 0));
    assert_eq!(report["valid"]["domain"]["all"]["rows"], 24);
    refit(&bundle, &path("y.frost"), &device.new, &["--task", "domain", "--max-drift", "1"])
        .fails_with(&["no validation rows to see a loss on", "--keep-validation"]);
    assert_eq!(Bundle::open(&path("y.frost"), None).unwrap().validation().unwrap(), None);
    // With them it is another file.
    let keep = ["bundle", text(&run), "--keep-validation", "--out", text(&bundle)];
    frosthead(&keep).fails_with(&["made from something else"]);
    frosthead(&[&keep[..], &["--overwrite"]].concat()).success();
    let again = frosthead(&keep).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    let kept = frosthead(&["inspect", text(&bundle), "--privacy"]).success().stdout;
    assert!(kept.contains("validation.safetensors") && kept.contains("Of 24 validation rows"), "{kept}");
    let kept = frosthead(&["inspect", text(&bundle), "--json"]).success().json();
    assert_eq!(kept["validation_rows"], 24);
    train(&path("none"), &["--valid-fraction", "0"]);
    frosthead(&["bundle", text(&path("none")), "--keep-validation", "--out", text(&path("none.frost"))])
        .fails_with(&["no validation rows to keep", "--valid-fraction"]);
}

#[test]
fn heads_see_what_the_bundles_graph_gives() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let added = ["--task", "size", "--features", "layers:3"];
    let out = path("y.frost");
    refit(&device.fp32, &out, &device.new, &added).fails_with(&[
        "embedding only",
        "layers:3",
        "--features last",
        "size",
    ]);
    refit(&device.int8, &out, &device.new, &["--task", "size", "--features", "all"])
        .fails_with(&["embedding only"]);
    refit(&device.fp32, &out, &device.new, &["--task", "sentiment", "--features", "all"])
        .fails_with(&["--features has no effect", "sees what it saw"]);
    // Beside an added one a head may be asked for what it saw, and for nothing else.
    let both = ["--task", "sentiment", "--task", "size", "--features", "layers:3"];
    refit(&device.fp32, &out, &device.new, &both).fails_with(&["sees what it saw", "sentiment", "last"]);
    // One head of this run sees layers, and its layers were trained.
    let (model, run, bundle) = (path("model"), path("run"), path("x.frost"));
    frosthead(&["import", text(tiny_checkpoint()), "--out", text(&model)]).success();
    let plan = ["--task", "domain", "--features", "layers:2-5", "--unfreeze", "1", "--epochs", "1"];
    let train = ["train", text(&device.old), "--backbone", text(&model), "--out", text(&run)];
    frosthead(&[&train[..], &plan[..]].concat()).success();
    frosthead(&["bundle", text(&run), "--keep-validation", "--out", text(&bundle)]).success();
    std::fs::remove_dir_all(&model).unwrap();
    let made = refit(&bundle, &out, &device.new, &[&added[..], &["-v"]].concat()).success();
    assert!(made.stderr.contains("size: fitted on 216 rows of 48 numbers"), "{}", made.stderr);
    assert_eq!(equal_tasks(&bundle, &out), ["domain"]);
    let auto = ["--task", "size", "--features", "auto"];
    let chosen = refit(&bundle, &path("auto.frost"), &device.new, &auto).success();
    assert!(chosen.stderr.contains("size: chose"), "{}", chosen.stderr);
    let next = path("z.frost");
    let made = refit(&out, &next, &device.new, &["--task", "domain", "--json", "-v"]).success();
    assert!(made.stderr.contains("domain: fitted on 216 rows of 192 numbers"), "{}", made.stderr);
    assert_eq!(equal_tasks(&out, &next), ["size"]);
    let valid = Bundle::open(&bundle, None).unwrap().validation().unwrap().unwrap();
    assert_eq!(valid.view(&valid.tasks()[0]).width(), 4 * NUMBERS);
    let recorded = std::fs::read(run.join("metrics.json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_slice(&recorded).unwrap();
    assert_eq!(made.json()["kept"]["domain"]["all"]["before"], recorded["valid"]["domain"]["accuracy"]);
    // What training changed is still said.
    let inspected = frosthead(&["inspect", text(&next)]).success().stdout;
    assert!(inspected.contains("layers of the backbone"), "{inspected}");
}

#[test]
fn a_head_of_the_real_network_is_fitted_anew() {
    let (device, directory) = (device(), directory());
    let (from, out) = (&crate::bundle::real_plain().bundle, directory.path().join("y.frost"));
    let made = refit(from, &out, &device.new, &["-v", "--task", "sentiment"]).success();
    assert!(made.stderr.contains("rows of 384 numbers"), "{}", made.stderr);
    assert_eq!(equal_tasks(from, &out), ["domain"]);
}

#[test]
fn another_file_is_replaced_only_when_asked_even_the_bundle_itself() {
    let (device, directory) = (device(), directory());
    let own = directory.path().join("x.frost");
    std::fs::copy(&device.int8, &own).unwrap();
    let before = std::fs::read(&own).unwrap();
    let tasks = ["--task", "sentiment"];
    refit(&own, &own, &device.new, &tasks).fails_with(&["made from something else", "--overwrite"]);
    assert!(std::fs::read(&own).unwrap() == before);
    refit(&own, &own, &device.new, &[&tasks[..], &["--overwrite"]].concat()).success();
    assert_eq!(equal_tasks(&device.int8, &own), ["domain"]);
    // As into another file.
    let other = directory.path().join("y.frost");
    refit(&device.int8, &other, &device.new, &tasks).success();
    assert!(std::fs::read(&own).unwrap() == std::fs::read(&other).unwrap());
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "something was left behind");
}

#[test]
fn a_signature_does_not_outlive_a_refit_and_a_key_is_honoured() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let ((secret, public), (_, other)) = (keys(directory.path(), "own"), keys(directory.path(), "other"));
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["--task", "sentiment"], more].concat()
    }
    let trust = ["--trust", text(&public)];
    refit(&device.int8, &path("y.frost"), &device.new, &with(&trust)).fails_with(&["not signed"]);
    let (signed, beside) = (path("y.frost"), path("y.frost.minisig"));
    refit(&device.int8, &signed, &device.new, &with(&["--sign", text(&secret)])).success();
    assert!(beside.is_file());
    refit(&signed, &path("z.frost"), &device.new, &with(&["--trust", text(&other)]))
        .fails_with(&["not signed with this key"]);
    let again = refit(&device.int8, &signed, &device.new, &with(&[])).success();
    assert!(again.stderr.contains("up to date") && beside.is_file(), "{}", again.stderr);
    let made = refit(&signed, &path("z.frost"), &device.new, &with(&trust)).success();
    assert!(made.stderr.contains("is not signed, as"), "{}", made.stderr);
    assert!(!path("z.frost.minisig").exists());
    // In its own place the old signature goes away.
    let made = refit(&signed, &signed, &device.new, &["--task", "size", "--overwrite"]).success();
    assert!(made.stderr.contains("is not signed, as") && !beside.exists(), "{}", made.stderr);
    let predict = ["predict", text(&device.new), "--model", text(&signed), "--trust", text(&public)];
    frosthead(&predict).fails_with(&["not signed"]);
    let made = refit(&path("z.frost"), &path("z.frost"), &device.new, &["--task", "size", "--overwrite"]);
    assert!(!made.success().stderr.contains("is not signed"), "an unsigned bundle has nothing to lose");
}

#[test]
fn what_makes_no_sense_beside_a_bundle_is_refused() {
    let device = device();
    let refused = |more: &[&str], parts: &[&str]| {
        let arguments = [&["--task", "sentiment"], more].concat();
        refit(&device.int8, Path::new("never.frost"), &device.new, &arguments).fails_with(parts);
    };
    for more in [
        &["--backbone", "models/x"][..],
        &["--freeze", "all"],
        &["--unfreeze", "1"],
        &["--init-heads", "runs/x"],
        &["--epochs", "2"],
        &["--task-weight", "sentiment=0"],
        &["--long", "windows"],
        &["--store-layers", "last"],
    ] {
        refused(more, &["unexpected argument", more[0]]);
    }
    refused(&["--task", "mood"], &["mood"]);
    let never = Path::new("never.frost");
    let tasks = ["--task", "sentiment"];
    refit(Path::new("no/such.frost"), never, &device.new, &tasks)
        .fails_with(&["no/such.frost", "no such bundle"]);
    refit(&root().join("src"), never, &device.new, &tasks).fails_with(&["a directory", "frosthead bundle"]);
    refit(&device.new, never, &device.new, &tasks).fails_with(&["not a bundle", "new.csv"]);
    refit(&device.int8, Path::new("no/such/place/y.frost"), &device.new, &tasks)
        .fails_with(&["no/such/place"]);
    let old = ["train", text(&device.new), "--from", text(&device.int8), "--task", "sentiment"];
    frosthead(&[&old[..], &["--sign", "x.key", "--out", "never.frost"]].concat()).fails_with(&[
        "train --from is now frosthead refit",
        &format!("frosthead refit {}", text(&device.int8)),
    ]);
    assert!(!never.exists() && !Path::new("never").exists());
}

#[test]
fn golden_numbers_of_what_was_not_fitted_stay_those_of_the_first_machine() {
    let (device, directory) = (device(), directory());
    let path = |name: &str| directory.path().join(name);
    let golden = |path: &Path| -> serde_json::Value {
        let bytes = std::fs::read(path).unwrap();
        let (_, start, _, length) = places(&bytes, "golden.json");
        serde_json::from_slice(&bytes[start..start + length]).unwrap()
    };
    // A machine that computes a little otherwise: the first number of the first embedding, by less than the
    // tolerance.
    let mut bytes = std::fs::read(&device.fp32).unwrap();
    forge(&mut bytes, "golden.json", &|bytes| {
        let embedding = bytes.windows(11).position(|part| part == b"\"embedding\"").unwrap();
        let point = embedding + bytes[embedding..].iter().position(|byte| *byte == b'.').unwrap();
        bytes[point + 6] = if bytes[point + 6] == b'5' { b'4' } else { b'5' };
    });
    std::fs::write(path("x.frost"), &bytes).unwrap();
    let first = golden(&path("x.frost"));
    assert_ne!(first[0]["embedding"], golden(&device.fp32)[0]["embedding"]);
    refit(&path("x.frost"), &path("y.frost"), &device.new, &["--task", "sentiment"]).success();
    let second = golden(&path("y.frost"));
    for (first, second) in first.as_array().unwrap().iter().zip(second.as_array().unwrap()) {
        assert_eq!((&first["embedding"], &first["logits"][0]), (&second["embedding"], &second["logits"][0]));
        assert_ne!(first["logits"][1], second["logits"][1]);
    }
}

#[test]
fn a_refit_that_is_killed_leaves_a_whole_bundle_or_none() {
    let (device, directory) = (device(), directory());
    let out = directory.path().join("y.frost");
    let arguments = ["refit", text(&device.fp32), text(&device.new), "--out", text(&out)];
    let arguments = [&arguments[..], &["--task", "sentiment"]].concat();
    frosthead(&arguments).success();
    let expected = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    let mut unfinished = 0;
    for delay in [0, 10, 40, 160] {
        let place = directory.path().join(delay.to_string());
        std::fs::create_dir(&place).unwrap();
        let out = place.join("y.frost");
        let mut own = arguments.clone();
        own[4] = text(&out);
        let mut child = command(&own);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // As soon as anything is written, and a little later.
        while std::fs::read_dir(&place).unwrap().next().is_none() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay));
        // SIGKILL; a refit that has just finished is no longer there to kill.
        let _ = child.kill();
        child.wait().unwrap();
        if out.exists() {
            assert!(std::fs::read(&out).unwrap() == expected, "a file that is not whole has its name");
        } else {
            unfinished += 1;
        }
        frosthead(&own).success();
        assert!(std::fs::read(&out).unwrap() == expected);
    }
    assert!(unfinished > 0, "nothing was killed in time");
}
