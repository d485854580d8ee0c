//! Words beside states: a head that looks at pieces and pairs says the same of a text in a run, in a bundle,
//! in 8 bits, with a smaller vocabulary, in windows and above trained layers; and what it says is explained
//! exactly.

use std::path::{Path, PathBuf};

use frosthead::internal::classifier::{Model, Run};
use frosthead::internal::embed::{EmbedOptions, Embedder};
use frosthead::internal::fingerprint::TextKey;
use frosthead::{Backbone, Classifier, Runtime, RuntimeOptions};
use serde_json::Value;

use crate::harness::{Finished, backbone, demo, directory, frosthead, frosthead_reading, text};

const TASKS: [&str; 4] = ["--task", "domain", "--task", "sentiment"];
const TEXTS: &str =
    "lol best day ever\nthe battery died after two days\nwhat a film , what a film\n\nnot good\n";

fn train(data: &Path, out: &Path, more: &[&str]) -> Finished {
    let arguments = ["train", text(data), "--backbone", backbone(), "--out", text(out), "--overwrite"];
    frosthead(&[&arguments[..], &TASKS, more].concat())
}

/// A bundle of its own for every choice of options.
fn bundle(run: &Path, more: &[&str]) -> PathBuf {
    let out = run.with_extension(format!("{}.frost", more.join("")));
    frosthead(&[&["bundle", text(run), "--overwrite", "--out", text(&out)], more].concat()).success();
    out
}

fn predicted(model: &Path, texts: &str, more: &[&str]) -> Vec<Value> {
    let arguments = ["predict", "-", "--format", "lines", "--model", text(model), "--all-probabilities"];
    frosthead_reading(texts.as_bytes(), &[&arguments[..], more].concat()).success().json_lines()
}

/// Probabilities of two answers are near each other, labels the same.
#[track_caller]
fn agree(ours: &[Value], theirs: &[Value], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for (name, value) in ours.as_object().unwrap() {
            match (value.as_f64(), theirs[name].as_f64()) {
                (Some(ours), Some(theirs)) => {
                    assert!((ours - theirs).abs() < tolerance, "{name}: {ours} {theirs}");
                }
                _ => assert_eq!(*value, theirs[name]),
            }
        }
    }
}

fn fits(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("fit.json")).unwrap()).unwrap()
}

#[test]
fn a_bundle_says_what_its_run_says_whatever_the_batch() {
    let (directory, data) = (directory(), demo(900));
    let run = directory.path().join("run");
    train(&data, &run, &["--features", "last+words"]).success();
    for fit in fits(&run).as_array().unwrap() {
        let words = &fit["words"];
        assert!(words["places"].as_u64().unwrap() > 500 && words["converged"] == true, "{words}");
        assert!(words["used"]["counts"][1].as_f64().unwrap() >= 0.0, "{words}");
    }
    let said = predicted(&run, TEXTS, &[]);
    let exact = bundle(&run, &["--precision", "fp32"]);
    let of_bundle = predicted(&exact, TEXTS, &[]);
    agree(&of_bundle, &said, 1e-5);
    // A text's bits do not depend on what else is asked, nor on how long that is.
    let long = format!("{TEXTS}{}\n", "a long one that pads all the others ".repeat(12));
    for (line, expected) in TEXTS.lines().zip(&of_bundle) {
        let alone = predicted(&exact, &format!("{line}\n"), &[]);
        for (name, value) in expected.as_object().unwrap().iter().filter(|(name, _)| *name != "row") {
            assert_eq!(alone[0][name], *value, "{line:?}: {name}");
        }
    }
    assert_eq!(predicted(&exact, &long, &[])[..5], of_bundle[..]);
    // 8 bits: a head refitted on other features, words in steps of 1/127 of the largest weight.
    let coded = bundle(&run, &["--precision", "int8", "--max-drop", "100"]);
    assert_eq!(predicted(&coded, TEXTS, &[]).len(), 5);
    let in_bytes = |model: &Path| {
        let model = Model::open(model, None).unwrap();
        model.heads().iter().all(|head| head.words.as_ref().unwrap().in_bytes())
    };
    assert!(in_bytes(&coded) && !in_bytes(&exact));
    // Within a limit of memory nothing else is said.
    assert_eq!(predicted(&exact, TEXTS, &["--memory", "400M"]), of_bundle);
    // A server says the same, to the bit.
    let texts: Vec<&str> = TEXTS.lines().collect();
    let server = crate::serve::Server::of(&exact, &[]);
    let reply =
        server.post("/v1/predict", &serde_json::json!({"texts": texts, "probabilities": true})).json();
    for (result, expected) in reply["results"].as_array().unwrap().iter().zip(&of_bundle) {
        for task in ["domain", "sentiment"] {
            let said = &result["tasks"][task];
            assert_eq!(said["label"], expected[format!("{task}_predicted")], "{result}");
            let bits = |number: &Value| (number.as_f64().unwrap() as f32).to_bits();
            assert_eq!(
                bits(&said["probability"]),
                bits(&expected[format!("{task}_probability")]),
                "{result}"
            );
        }
    }
    // What a table says of both is the same as what they predict.
    for model in [&run, &exact, &coded] {
        let measured = frosthead(&["eval", text(&data), "--model", text(model), "--rows", "all", "--json"]);
        let accuracy = measured.success().json()["tasks"]["domain"]["accuracy"].as_f64().unwrap();
        let rows = frosthead(&["predict", text(&data), "--model", text(model)]).success().json_lines();
        let right = rows.iter().filter(|row| row["domain"] == row["domain_predicted"]).count();
        assert!((accuracy - right as f64 / rows.len() as f64).abs() < 2e-3, "{accuracy} {right}");
    }
}

#[test]
fn words_that_speak_for_a_label_are_summands_of_its_logit() {
    let (directory, data) = (directory(), demo(600));
    let run = directory.path().join("run");
    train(&data, &run, &["--features", "last+words"]).success();
    let opened = Run::open(&run).unwrap();
    let runtime = Runtime::load(&RuntimeOptions { threads: Some(1), ..RuntimeOptions::default() }).unwrap();
    let frozen = std::sync::Arc::new(Backbone::open(Path::new(backbone())).unwrap());
    let mut embedder =
        Embedder::open(frozen, std::sync::Arc::new(runtime), directory.path(), EmbedOptions::default())
            .unwrap();
    let texts: Vec<&str> = TEXTS.lines().collect();
    let keys: Vec<TextKey> = texts.iter().map(|text| TextKey::of(text)).collect();
    embedder.ensure(&texts, &keys, &mut |_| ()).unwrap();
    let columns = opened.columns(&embedder.layout()).unwrap();
    let bundled = bundle(&run, &["--precision", "fp32"]);
    for model in [&run, &bundled] {
        let classifier = Classifier::open(model).unwrap();
        for (text, key) in texts.iter().zip(&keys) {
            let predictions = classifier.predict(&[text]).unwrap().remove(0);
            let explained = classifier.explain_words(text).unwrap();
            for (((head, columns), prediction), words) in
                opened.heads.iter().zip(&columns).zip(&predictions).zip(&explained)
            {
                let (mut features, mut sums) = (vec![0.0; columns.len()], vec![0.0; head.labels.len()]);
                embedder.read(key, columns.start, &mut features).unwrap();
                head.logits(&features, &mut sums);
                for word in words {
                    sums.iter_mut().zip(&word.logits).for_each(|(sum, logit)| *sum += logit);
                }
                for (sum, logit) in sums.iter().zip(&prediction.logits) {
                    assert!((sum - logit).abs() < 1e-4, "{text}: {sum} {logit}");
                }
            }
        }
    }
    let said = predicted(&bundled, "what a film\n", &["--explain", "words"]);
    let words = said[0]["domain_words"].as_array().unwrap();
    let pieces: Vec<String> = words.iter().map(|word| word["pieces"].to_string()).collect();
    assert!(pieces.contains(&"[\"film\"]".to_owned()), "{pieces:?}");
    let plain = directory.path().join("plain");
    train(&data, &plain, &[]).success();
    let arguments = ["predict", text(&data), "--model", text(&plain), "--explain", "words"];
    frosthead(&arguments).fails_with(&["no head of this model looks at words", "+words"]);
}

#[test]
fn words_go_with_windows_a_smaller_vocabulary_and_new_rows() {
    let (directory, data) = (directory(), demo(600));
    let run = directory.path().join("run");
    train(&data, &run, &["--features", "last+words", "--long", "windows"]).success();
    let long = format!("{} the battery died\n", "what a film , what a day ".repeat(120));
    let said = predicted(&run, &long, &[]);
    agree(&predicted(&bundle(&run, &["--precision", "fp32"]), &long, &[]), &said, 1e-5);
    // Fewer pieces: a text of the training rows says what it said.
    let smaller = bundle(&run, &["--precision", "fp32", "--vocabulary", "used", "--max-drop", "100"]);
    let mut rows = csv::Reader::from_path(&data).unwrap();
    let texts: Vec<String> = rows.records().map(|row| row.unwrap()[0].replace(['\n', '\r'], " ")).collect();
    let known: String = texts[..40].iter().map(|text| format!("{text}\n")).collect();
    let of_run = predicted(&run, &known, &[]);
    let of_smaller = predicted(&smaller, &known, &[]);
    let same = of_run.iter().zip(&of_smaller).filter(|(a, b)| a["domain_predicted"] == b["domain_predicted"]);
    assert!(same.count() >= 38);
    let measured = |model: &Path| {
        let arguments = ["eval", text(&data), "--model", text(model), "--rows", "all", "--json"];
        frosthead(&arguments).success().json()["tasks"]["domain"]["accuracy"].as_f64().unwrap()
    };
    assert!((measured(&run) - measured(&smaller)).abs() < 0.03);
    // New rows: the words stay, the features go on.
    let refit = directory.path().join("refit.frost");
    let arguments = ["refit", text(&smaller), text(&data), "--task", "domain", "--out", text(&refit)];
    frosthead(&arguments).success();
    assert!(measured(&refit) > measured(&smaller) - 0.03);
    let model = Model::open(&refit, None).unwrap();
    assert!(model.heads().iter().all(|head| head.words.is_some()));
    let (before, after) = (Model::open(&smaller, None).unwrap(), model);
    assert_eq!(before.heads()[1].words, after.heads()[1].words);
}

#[test]
fn validation_rows_are_kept_with_what_words_say_of_them() {
    let (directory, data) = (directory(), demo(900));
    let path = |name: &str| directory.path().join(name);
    // Every third row is validated on, the others are trained on; new rows hold some of them again.
    let mut rows = csv::Reader::from_path(&data).unwrap();
    let header = rows.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let table = |name: &str, of: &dyn Fn(usize) -> bool| {
        let mut writer = csv::Writer::from_path(path(name)).unwrap();
        writer.write_record(&header).unwrap();
        let chosen = rows.iter().enumerate().filter(|(row, _)| of(*row));
        chosen.for_each(|(_, record)| writer.write_record(record).unwrap());
        writer.flush().unwrap();
        path(name)
    };
    let (old, valid) = (table("old.csv", &|row| row % 3 == 0), table("valid.csv", &|row| row % 3 == 1));
    let new = table("new.csv", &|row| row % 3 == 2 || row % 9 == 1);
    let run = path("run");
    train(&old, &run, &["--features", "last+words", "--valid", text(&valid), "--test-fraction", "0"])
        .success();
    let accuracy = |model: &Path, task: &str| {
        let arguments = ["eval", text(&valid), "--model", text(model), "--rows", "all", "--json"];
        frosthead(&arguments).success().json()["tasks"][task]["accuracy"].as_f64().unwrap()
    };
    // Pieces of a smaller vocabulary have other numbers.
    let smaller = ["--precision", "int8", "--max-drop", "100", "--vocabulary", "used", "--keep", "500"];
    for (name, more) in [("exact", &[][..]), ("smaller", &smaller)] {
        let kept = bundle(&run, &[&["--keep-validation"], more].concat());
        let mut from = kept;
        for turn in 0..2 {
            let next = path(&format!("{name}-{turn}.frost"));
            let refit = ["refit", text(&from), text(&new), "--out", text(&next), "--json"];
            let report = frosthead(&[&refit[..], &TASKS].concat()).success().json();
            for task in ["domain", "sentiment"] {
                let change = &report["kept"][task]["all"];
                let before = change["before"].as_f64().unwrap();
                // A row on the edge may fall to the other side: a graph adds in another order.
                assert!(
                    (before - accuracy(&from, task)).abs() <= 2.0 / 300.0,
                    "{name} {turn} {task}: {change}"
                );
                assert!(change["after"].as_f64().unwrap() > before - 0.05, "{name} {turn} {task}: {change}");
                // Those of the new rows that the bundle carries are fitted on once.
                assert_eq!(report["kept_fitted"][task], report["kept_rows"]);
            }
            from = next;
        }
        let carried =
            frosthead::internal::bundle::Bundle::open(&from, None).unwrap().validation().unwrap().unwrap();
        assert!(carried.tasks().iter().all(|task| task.words.is_some()));
    }
}

#[test]
fn words_stand_above_trained_layers() {
    let (directory, data) = (directory(), demo(400));
    let run = directory.path().join("run");
    train(&data, &run, &["--features", "last+words", "--unfreeze", "0,1", "--epochs", "1"]).success();
    let said = predicted(&run, TEXTS, &[]);
    agree(&predicted(&bundle(&run, &["--precision", "fp32"]), TEXTS, &[]), &said, 1e-5);
    assert!(Run::open(&run).unwrap().heads.iter().all(|head| head.words.is_some()));
}

#[test]
fn auto_takes_words_where_they_help_and_says_why() {
    let directory = directory();
    // A label that hangs on one word is learned by words alone; one that hangs on nothing is not.
    let table = directory.path().join("table.csv");
    let mut rows = String::from("text,domain,sentiment\n");
    for row in 0..400 {
        let (word, noise) = (if row % 2 == 0 { "kestrel" } else { "heron" }, (row * 7919 % 13) % 2);
        let place = row % 17;
        rows += &format!("we saw number {row} of the {word} near place {place},{word},{noise}\n");
    }
    std::fs::write(&table, rows).unwrap();
    let run = directory.path().join("run");
    let finished = train(&table, &run, &["--features", "auto"]).success();
    let fits = fits(&run);
    let of = |task: &str| {
        fits.as_array().unwrap().iter().find(|fit| fit["task"] == task).unwrap()["words"].clone()
    };
    let (domain, sentiment) = (of("domain"), of("sentiment"));
    assert!(domain["gain"].as_f64().unwrap() > domain["standard_error"].as_f64().unwrap(), "{domain}");
    assert!(domain["used"].is_object(), "{domain}");
    assert!(sentiment["used"].is_null(), "{sentiment}");
    assert!(finished.stderr.contains("would not help"), "{}", finished.stderr);
    // Nobody is asked who does not want to be.
    let without = directory.path().join("without");
    train(&table, &without, &["--features", "auto-words"]).success();
    assert!(Run::open(&without).unwrap().heads.iter().all(|head| head.words.is_none()));
    let told = frosthead(&["inspect", text(&run)]).success().stdout;
    assert!(told.contains("+words") && told.contains("kestrel") || told.contains("ke"), "{told}");
    // A word of a single text has no weight, unless that is asked for.
    let places = |more: &[&str]| {
        train(&table, &run, &[&["--features", "last+words"], more].concat()).success();
        self::fits(&run)[0]["words"]["places"].as_u64().unwrap()
    };
    assert!(places(&["--words-at-least", "1"]) > places(&[]));
    assert!(places(&[]) > places(&["--words-at-least", "50"]));
}

#[test]
fn what_has_no_words_is_refused_and_what_does_not_look_at_them_is_as_before() {
    let (directory, data) = (directory(), demo(300));
    let features = directory.path().join("features.parquet");
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", text(&features)]).success();
    let run = directory.path().join("run");
    let arguments =
        ["train", text(&features), "--task", "domain", "--out", text(&run), "--features", "last+words"];
    frosthead(&arguments).fails_with(&["--features", "features"]);
    train(&data, &run, &["--freeze", "all", "--features", "last+words"])
        .fails_with(&["nothing is trained", "words would have no weights"]);
    train(&data, &run, &["--freeze", "head:domain", "--features", "words"])
        .fails_with(&["without any gradient", "domain: nothing"]);
    // Where nothing stands in enough texts there are no words, and that is said.
    let none = train(&data, &run, &["--features", "last+words", "--words-at-least", "100000"]).success();
    assert!(none.stderr.contains("words beside that would not help"), "{}", none.stderr);
    assert!(Run::open(&run).unwrap().heads.iter().all(|head| head.words.is_none()));
    train(&data, &run, &["--features", "words"]).success();
    let out = directory.path().join("x.frost");
    let kept = ["bundle", text(&run), "--keep-validation", "--out", text(&out)];
    frosthead(&kept).fails_with(&["see words alone", "--keep-validation"]);
    train(&data, &run, &["--features", "last+words"]).success();
    let plain = directory.path().join("plain");
    train(&data, &plain, &[]).success();
    let recipe = std::fs::read_to_string(plain.join("recipe.toml")).unwrap();
    let heads = std::fs::read(plain.join("heads.safetensors")).unwrap();
    assert!(!recipe.contains("words") && !String::from_utf8_lossy(&heads).contains("words"));
    let manifest = frosthead(&["inspect", text(&bundle(&plain, &[])), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["format"], 2);
    let manifest = frosthead(&["inspect", text(&bundle(&run, &[])), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["format"], 4);
}
