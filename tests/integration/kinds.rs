//! Tasks of all kinds in one model: several labels or none, numbers, and thresholds; from tables of every form
//! to predictions, bundles, refits and a server.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::harness::{Finished, backbone, demo, directory, frosthead, real, text};
use crate::serve::Server;

/// Rows of the demo data: domain and sentiment as tags, some of them left out, the length as a number.
struct Row {
    text: String,
    domain: String,
    tags: Vec<String>,
    size: String,
}

fn rows(keep: impl Fn(usize) -> bool) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(demo(1200)).unwrap();
    let records = reader.records().map(Result::unwrap).enumerate().filter(|(place, _)| keep(*place));
    let row = |(place, record): (usize, csv::StringRecord)| {
        let tags = [&record[1], &record[2]].into_iter().enumerate();
        let kept = tags.filter(|(tag, _)| (place * 7 + tag * 3) % 10 >= 3).map(|(_, tag)| tag.to_owned());
        Row {
            text: record[0].to_owned(),
            domain: record[1].to_owned(),
            tags: kept.collect(),
            size: if place % 50 == 7 { String::new() } else { format!("{}.50", record[0].len() / 10) },
        }
    };
    records.map(row).collect()
}

fn csv_of(path: &Path, rows: &[Row], separator: &str) -> String {
    let mut writer = csv::Writer::from_path(path).unwrap();
    writer.write_record(["text", "domain", "tags", "size"]).unwrap();
    for Row { text, domain, tags, size } in rows {
        writer.write_record([text, domain, &tags.join(separator), size]).unwrap();
    }
    writer.flush().unwrap();
    text(path).to_owned()
}

fn train(data: &str, backbone: &str, out: &Path, more: &[&str]) -> Finished {
    let common = ["train", data, "--backbone", backbone, "--out", text(out)];
    frosthead(&[&common[..], more].concat())
}

const TASKS: [&str; 6] = ["--task", "domain", "--any-of", "tags", "--number", "size"];

/// A run of all kinds on the real encoder, and its bundles.
struct Made {
    data: String,
    run: PathBuf,
    metrics: Value,
    said: String,
    fp32: PathBuf,
    int8: PathBuf,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = directory().keep();
        let data = csv_of(&place.join("data.csv"), &rows(|row| row % 4 != 3), ";");
        let run = place.join("run");
        let finished = train(&data, real(), &run, &[&TASKS[..], &["--json"]].concat()).success();
        let bundle = |name: &str, more: &[&str]| {
            let out = place.join(name);
            frosthead(&[&["bundle", text(&run), "--out", text(&out)], more].concat()).success();
            out
        };
        let fp32 = bundle("fp32.frost", &["--keep-validation"]);
        let int8 = bundle("int8.frost", &["--precision", "int8", "--max-drop", "100", "--keep-validation"]);
        Made { data, run, metrics: finished.json(), said: finished.stderr, fp32, int8 }
    })
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn all_kinds_are_learned_and_measured_in_one_run() {
    let Made { metrics, said, run, .. } = made();
    let tasks = &metrics["tasks"];
    assert!(number(&tasks["domain"]["accuracy"]) > 0.75 && tasks["domain"].get("several").is_none());
    let tags = &tasks["tags"];
    assert!(number(&tags["several"]["micro_f1"]) > 0.5, "{tags}");
    assert!(number(&tags["several"]["average_precision"]) > 0.4, "{tags}");
    let exact = number(&tags["accuracy"]);
    assert!(exact > 0.1 && exact < number(&tags["several"]["micro_f1"]), "{tags}");
    assert_eq!(tags["per_label"].as_array().unwrap().len(), 7);
    assert!(
        tags["per_label"].as_array().unwrap().iter().all(|label| label["threshold"].is_number()),
        "{tags}"
    );
    let size = &tasks["size"]["number"];
    // Embeddings of length 1 tell little of a text's length; much more than nothing.
    assert!(number(&size["r_squared"]) > 0.25 && number(&size["spearman"]) > 0.5, "{size}");
    let covered = number(&size["interval"]["coverage"]);
    assert!((0.8..=1.0).contains(&covered), "{size}");
    assert!(said.contains("tags: 7 classes by rows") && said.contains("7 labels answered from"), "{said}");
    assert!(said.contains("90 % of") && said.contains("no further off than"), "{said}");
    assert!(said.contains("size: ") && said.contains("without a number"), "{said}");
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("tags = \"any-of\"") && recipe.contains("size = \"number\""), "{recipe}");
    assert!(!recipe.contains("separator"), "{recipe}");
    // Again it is the same run.
    let again = train(&made().data, real(), run, &TASKS).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
}

#[test]
fn predictions_name_labels_and_numbers_the_same_from_run_and_bundle() {
    let Made { data, run, fp32, .. } = made();
    let of = |model: &Path, more: &[&str]| {
        frosthead(&[&["predict", data, "--model", text(model)], more].concat()).success()
    };
    let (of_run, bundled) = (of(run, &[]).json_lines(), of(fp32, &[]).json_lines());
    let mut sizes = [0; 3];
    for (of_run, bundled) in of_run.iter().zip(&bundled) {
        let labels = of_run["tags_predicted"].as_array().unwrap();
        assert_eq!(of_run["tags_predicted"], bundled["tags_predicted"]);
        assert_eq!(labels.len(), of_run["tags_probability"].as_array().unwrap().len());
        sizes[labels.len().min(2)] += 1;
        let [low, said, high] =
            ["low", "predicted", "high"].map(|part| number(&of_run[format!("size_{part}")]));
        assert!(low < said && said < high);
        assert!((said - number(&bundled["size_predicted"])).abs() < 1e-3);
    }
    assert!(sizes.iter().all(|rows| *rows > 5), "none, one and several: {sizes:?}");
    let table = of(fp32, &["--output-format", "csv", "--top-k", "2"]).stdout;
    let header = table.lines().next().unwrap();
    for column in ["tags_predicted,tags_probability,tags_predicted_1", "size_predicted,size_low,size_high"] {
        assert!(header.contains(column), "{header}");
    }
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let place = reader.headers().unwrap().iter().position(|name| name == "tags_predicted").unwrap();
    let written: Vec<String> = reader.records().map(|record| record.unwrap()[place].to_owned()).collect();
    for (written, of_run) in written.iter().zip(&of_run) {
        let labels: Vec<&str> = of_run["tags_predicted"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label.as_str().unwrap())
            .collect();
        assert_eq!(*written, labels.join(";"));
    }
    let all = of(fp32, &["--all-probabilities"]).json_lines();
    assert!(all[0]["tags_probability_tweet"].is_number(), "{}", all[0]);
    // Tags have thresholds of their own, which no other takes from them.
    let certain = of(fp32, &["--abstain-below", "0.99"]).json_lines();
    assert!(certain.iter().any(|row| row["domain_uncertain"] == true), "{}", certain[0]);
    let tags = |rows: &[Value]| rows.iter().map(|row| row["tags_predicted"].clone()).collect::<Vec<_>>();
    assert_eq!(tags(&certain), tags(&of_run));
}

#[test]
fn bundles_of_all_kinds_are_measured_and_described() {
    let Made { data, fp32, int8, metrics, .. } = made();
    let eval = |model: &Path| frosthead(&["eval", data, "--model", text(model), "--json"]).success().json();
    let (exact, coded) = (eval(fp32), eval(int8));
    for part in [&exact, &coded] {
        assert!(number(&part["tasks"]["tags"]["several"]["micro_f1"]) > 0.5, "{part}");
        assert!(number(&part["tasks"]["size"]["number"]["r_squared"]) > 0.25, "{part}");
    }
    // 8 bits are not as exact: the interval is found again.
    let width = |part: &Value| number(&part["tasks"]["size"]["number"]["interval"]["width"]);
    assert_eq!(width(&exact), width(metrics));
    assert!(width(&coded) != width(&exact) && (width(&coded) / width(&exact) - 1.0).abs() < 0.2);
    let said = frosthead(&["inspect", text(int8)]).success().stdout;
    for part in ["any of ", "(from 0.", "a number, off by no more than", "format"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let described = frosthead(&["inspect", text(int8), "--json"]).success().json();
    assert_eq!(described["manifest"]["format"], 8, "the first that carries ranges");
    let exact = frosthead(&["inspect", text(fp32), "--json"]).success().json();
    assert_eq!(exact["manifest"]["format"], 6);
    assert_eq!(described["heads"][1]["kind"], "any-of");
    let errors = directory().keep().join("errors.csv");
    frosthead(&["eval", data, "--model", text(fp32), "--errors", text(&errors), "--by", "domain"]).success();
    let errors = std::fs::read_to_string(errors).unwrap();
    assert!(errors.contains(",tags,") && errors.contains("(none)") && errors.contains(",size,"), "{errors}");
}

#[test]
fn heads_of_all_kinds_are_fitted_further() {
    let Made { int8, .. } = made();
    let place = directory();
    let mut new = rows(|row| row % 4 == 3);
    new.iter_mut().step_by(3).for_each(|row| row.tags.push("fresh".to_owned()));
    let data = csv_of(&place.path().join("new.csv"), &new, ";");
    let out = place.path().join("new.frost");
    let refit =
        ["refit", text(int8), &data, "--any-of", "tags", "--number", "size", "--json", "--out", text(&out)];
    let report = frosthead(&refit).success().json();
    for task in ["tags", "size"] {
        let kept = &report["kept"][task]["all"];
        assert!(kept["rows"].as_u64().unwrap() > 20 && kept["before"].is_number(), "{report}");
        assert!(number(&kept["after"]) > number(&kept["before"]) - 0.15, "{report}");
    }
    let said =
        frosthead(&["predict", &data, "--model", text(&out), "--all-probabilities"]).success().json_lines();
    assert!(said[0]["tags_probability_fresh"].is_number(), "{}", said[0]);
}

#[test]
fn lists_and_texts_of_the_same_labels_give_the_same_run() {
    let place = directory();
    let rows = rows(|row| row % 3 == 0);
    let tasks = ["--any-of", "tags", "--number", "size"];
    let run = |name: &str, data: &str, more: &[&str]| {
        let out = place.path().join(name);
        train(data, backbone(), &out, &[&tasks[..], more].concat()).success();
        std::fs::read(out.join("heads.safetensors")).unwrap()
    };
    let plain = run("plain", &csv_of(&place.path().join("a.csv"), &rows, ";"), &[]);
    let other = csv_of(&place.path().join("b.csv"), &rows, " | ");
    assert_eq!(run("other", &other, &["--separator", "|"]), plain);
    let recipe = std::fs::read_to_string(place.path().join("other/recipe.toml")).unwrap();
    assert!(recipe.contains("separator = \"|\""), "{recipe}");
    // A run knows its separator; a bundle does not.
    let eval = |model: &Path, more: &[&str]| {
        let finished =
            frosthead(&[&["eval", &other, "--model", text(model), "--rows", "all", "--json"], more].concat());
        finished.success().json()["tasks"]["tags"]["several"]["micro_f1"].clone()
    };
    let right = eval(&place.path().join("other"), &[]);
    let bundle = place.path().join("x.frost");
    frosthead(&["bundle", text(&place.path().join("other")), "--out", text(&bundle)]).success();
    assert_eq!(eval(&bundle, &["--separator", "|"]), right);
    assert_ne!(eval(&bundle, &[]), right);
    let line = |row: &Row| {
        let size = row.size.parse::<f64>().map_or(Value::Null, Value::from);
        json!({"text": row.text, "tags": row.tags, "size": size}).to_string()
    };
    let listed = place.path().join("c.jsonl");
    std::fs::write(&listed, rows.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(run("listed", text(&listed), &[]), plain);
    // Lists are carried into a Parquet of features, and are read there.
    let features = place.path().join("f.parquet");
    frosthead(&["embed", text(&listed), "--backbone", backbone(), "--out", text(&features)]).success();
    let out = place.path().join("features");
    frosthead(&[&["train", text(&features), "--out", text(&out)], &tasks[..]].concat()).success();
    assert_eq!(std::fs::read(out.join("heads.safetensors")).unwrap(), plain);
}

#[test]
fn a_row_without_labels_is_one_and_a_row_without_a_cell_is_none() {
    let place = directory();
    let data = place.path().join("data.jsonl");
    let line = |row: usize| {
        let tags = match row % 4 {
            0 => json!(["even"]),
            1 => json!([]),
            2 => json!(["even", "two"]),
            _ => Value::Null,
        };
        json!({"text": format!("row number {row} of many"), "tags": tags}).to_string()
    };
    std::fs::write(&data, (0..80).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let metrics = train(text(&data), backbone(), &place.path().join("run"), &["--any-of", "tags", "--json"])
        .success()
        .json();
    assert_eq!(metrics["unlabelled"]["tags"], 20);
    assert_eq!(metrics["classes"]["tags"]["rows"], json!({"even": 40, "two": 20}));
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let place = directory();
    let write = |name: &str, content: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let refused = |data: &str, more: &[&str], parts: &[&str]| {
        train(data, backbone(), &place.path().join("run"), more).fails_with(parts);
    };
    let tagged =
        write("tags.jsonl", "{\"text\":\"one\",\"tags\":[\"a;b\"]}\n{\"text\":\"two\",\"tags\":[\"c\"]}\n");
    refused(
        &tagged,
        &["--any-of", "tags"],
        &["a label has the separator in it", "a;b", "row 1", "--separator"],
    );
    let nested =
        write("nested.jsonl", "{\"text\":\"one\",\"tags\":[\"a\"]}\n{\"text\":\"two\",\"tags\":{\"c\":1}}\n");
    refused(&nested, &["--any-of", "tags"], &["no list of labels", "row 2", "tags"]);
    let none = write("none.csv", "text,tags\none,\ntwo,\n");
    refused(&none, &["--any-of", "tags"], &["no labels"]);
    for (name, cell) in [("text", "four"), ("infinite", "inf"), ("large", "1e300")] {
        let data = write(&format!("{name}.csv"), &format!("text,n\none,1\ntwo,{cell}\n"));
        refused(
            &data,
            &["--number", "n"],
            &["a cell of a column of numbers is none", cell, "row 2", "column"],
        );
    }
    let constant = write("constant.csv", "text,n\none,4\ntwo,4.0\nthree,4\n");
    refused(&constant, &["--number", "n"], &["the task's numbers are all the same", "4"]);
    let empty = write("empty.csv", "text,n\none,\ntwo,\n");
    refused(&empty, &["--number", "n"], &["the task has no numbers"]);
    refused(
        &none,
        &["--any-of", "tags", "--number", "tags"],
        &["a task was given twice", "--any-of tags and --number tags"],
    );
    refused(&none, &["--task", "tags", "--any-of", "tags"], &["--task tags and --any-of tags"]);
    refused(&none, &[], &["there is nothing to learn", "--any-of COLUMN"]);
    refused(&none, &["--any-of", "tags", "--separator", ""], &["this cannot separate labels"]);
    for share in ["0", "1", "x"] {
        refused(&none, &["--any-of", "tags", "--precision-at", share], &["expected a share between 0 and 1"]);
    }
    refused(
        &none,
        &["--any-of", "tags", "--precision-at", "0.9", "--recall-at", "0.9"],
        &["cannot be used with"],
    );
}

#[test]
fn a_promised_precision_leaves_answers_away() {
    let place = directory();
    let data = &made().data;
    let of = |name: &str, more: &[&str]| {
        let out = place.path().join(name);
        let finished = train(data, real(), &out, &[&TASKS[..], &["--json"], more].concat()).success();
        (finished.stderr.clone(), finished.json(), out)
    };
    // Three of ten tags are left out, so that no label can be right more often than in seven of ten.
    let (_, metrics, _) = of("precise", &["--precision-at", "0.6"]);
    // All labels together, precision and recall: a few rows of one of them say little.
    let together = |metrics: &Value| {
        let labels = metrics["tasks"]["tags"]["per_label"].as_array().unwrap();
        let (mut right, mut said, mut true_ones) = (0.0, 0.0, 0.0);
        for label in labels {
            let found = number(&label["recall"]) * number(&label["rows"]);
            (right, true_ones) = (right + found, true_ones + number(&label["rows"]));
            said += label["precision"].as_f64().map_or(0.0, |precision| found / precision.max(1e-9));
        }
        (right / said, right / true_ones)
    };
    let ((precise, found), (before, all)) = (together(&metrics), together(&made().metrics));
    // About 150 answers: a standard error of .04.
    assert!(precise > 0.5 && precise > before && found < all, "{precise} {found}; {before} {all}");
    let (said, _, run) = of("sure", &["--precision-at", "0.95"]);
    let (rows, uncertain) = {
        let said = frosthead(&["predict", data, "--model", text(&run)]).success().json_lines();
        let uncertain = said.iter().filter(|row| row["domain_uncertain"] == true).count();
        assert!(
            said.iter().all(|row| row["domain_predicted"].is_null() == (row["domain_uncertain"] == true))
        );
        (said.len(), uncertain)
    };
    assert!(uncertain > 10 && uncertain < rows / 2, "{uncertain} of {rows}: {said}");
    let eval = frosthead(&["eval", data, "--model", text(&run), "--task", "domain", "--coverage"]).success();
    assert!(
        eval.stdout.contains("thresholds") && eval.stdout.contains("domain, when only"),
        "{}",
        eval.stdout
    );
    let (_, metrics, _) = of("found", &["--recall-at", "0.95"]);
    assert!(together(&metrics).1 > all, "{}", together(&metrics).1);
    // Of so few rows nothing can be promised, and it is said what can.
    let few = csv_of(&place.path().join("few.csv"), &rows_of_few(), ";");
    let out = place.path().join("few");
    let finished = train(&few, backbone(), &out, &["--task", "domain", "--precision-at", "0.999"]).success();
    assert!(finished.stderr.contains("rows are too few for what was asked of"), "{}", finished.stderr);
    assert!(finished.stderr.contains("never answered"), "{}", finished.stderr);
    let said = frosthead(&["predict", &few, "--model", text(&out)]).success().json_lines();
    assert!(said.iter().all(|row| row["domain_predicted"].is_null()));
}

fn rows_of_few() -> Vec<Row> {
    rows(|row| row % 20 == 0)
}

#[test]
fn few_numbers_promise_nothing() {
    let place = directory();
    let data = csv_of(&place.path().join("few.csv"), &rows(|row| row % 150 == 0), ";");
    let out = place.path().join("run");
    let more = ["--number", "size", "--test-fraction", "0.2", "--json"];
    let finished = train(&data, backbone(), &out, &more).success();
    assert!(
        finished.stderr.contains("too few for an interval of 90 %, which needs 9"),
        "{}",
        finished.stderr
    );
    let metrics = finished.json();
    assert!(metrics["calibration"]["size"].get("interval").is_none(), "{metrics}");
    let said = frosthead(&["predict", &data, "--model", text(&out)]).success().json_lines();
    assert!(said[0].get("size_low").is_none() && said[0]["size_predicted"].is_number());
}

#[test]
fn layers_are_trained_for_all_kinds() {
    let place = directory();
    let data = csv_of(&place.path().join("data.csv"), &rows(|row| row % 3 != 0), ";");
    let out = place.path().join("run");
    let more =
        ["--unfreeze", "0,1", "--epochs", "2", "--json", "--max-drift", "100", "--freeze", "head:domain"];
    let finished = train(&data, real(), &out, &[&TASKS[..], &more].concat()).success();
    let metrics = finished.json();
    for (task, part) in [("tags", "several"), ("size", "number")] {
        assert!(metrics["tasks"][task][part].is_object(), "{metrics}");
    }
    let stages: Value = serde_json::from_slice(&std::fs::read(out.join("training.json")).unwrap()).unwrap();
    let losses = |epoch: usize| -> Vec<f64> {
        stages[0]["epochs"][epoch]["losses"].as_array().unwrap().iter().map(number).collect()
    };
    assert!(losses(2).iter().all(|loss| loss.is_finite()), "{stages}");
    assert!(losses(2)[1] < losses(1)[1] && losses(2)[2] < losses(1)[2], "{stages}");
    // The half of the validation rows that chose no epoch.
    let used = metrics["calibration"]["size"]["rows"].as_u64().unwrap();
    assert_eq!(used, metrics["valid"]["size"]["rows"].as_u64().unwrap() / 2);
    let bundle = place.path().join("x.frost");
    frosthead(&["bundle", text(&out), "--out", text(&bundle)]).success();
    let eval = |model: &Path| {
        frosthead(&["eval", &data, "--model", text(model), "--rows", "all", "--json"]).success().json()
    };
    let (run, bundle) = (eval(&out), eval(&bundle));
    for task in ["tags", "size"] {
        let score = |found: &Value| found["tasks"][task]["rows"].clone();
        assert_eq!(score(&run), score(&bundle));
    }
}

#[test]
fn labels_are_described_and_numbers_answered_by_their_mean_where_nothing_is_trained() {
    let place = directory();
    let data = csv_of(&place.path().join("data.csv"), &rows(|row| row % 3 != 0), ";");
    let out = place.path().join("run");
    let metrics =
        train(&data, real(), &out, &[&TASKS[..], &["--freeze", "all", "--json"]].concat()).success().json();
    assert!(number(&metrics["tasks"]["size"]["number"]["r_squared"]).abs() < 0.05, "{metrics}");
    assert!(number(&metrics["tasks"]["tags"]["several"]["average_precision"]) > 0.25, "{metrics}");
}

#[test]
fn words_stand_beside_all_kinds() {
    let place = directory();
    let data = csv_of(&place.path().join("data.csv"), &rows(|row| row % 2 == 0), ";");
    let out = place.path().join("run");
    train(&data, backbone(), &out, &[&TASKS[..], &["--features", "last+words"]].concat()).success();
    let bundle = place.path().join("x.frost");
    frosthead(&["bundle", text(&out), "--out", text(&bundle)]).success();
    let of = |model: &Path| frosthead(&["predict", &data, "--model", text(model)]).success().json_lines();
    for (of_run, bundled) in of(&out).iter().zip(of(&bundle)) {
        assert_eq!(of_run["tags_predicted"], bundled["tags_predicted"]);
        assert!((number(&of_run["size_predicted"]) - number(&bundled["size_predicted"])).abs() < 1e-2);
    }
}

#[test]
fn a_server_answers_labels_and_numbers() {
    let Made { fp32, data, .. } = made();
    let server = Server::of(fp32, &[]);
    let body = json!({"texts": ["Great phone, would buy again!"], "probabilities": true, "top_k": 2});
    let reply = server.post("/v1/predict", &body).json();
    let tasks = &reply["results"][0]["tasks"];
    assert!(tasks["domain"]["label"].is_string() && tasks["domain"]["abstained"] == false, "{tasks}");
    let labels = tasks["tags"]["labels"].as_array().unwrap();
    assert!(
        labels.iter().all(|label| label["label"].is_string() && label["probability"].is_number()),
        "{tasks}"
    );
    assert_eq!(tasks["tags"]["probabilities"].as_object().unwrap().len(), 7);
    assert_eq!(tasks["tags"]["top"].as_array().unwrap().len(), 2);
    let [number, low, high] =
        [&tasks["size"]["number"], &tasks["size"]["interval"]["low"], &tasks["size"]["interval"]["high"]]
            .map(number);
    assert!(low < number && number < high);
    assert_eq!((&tasks["size"]["interval"]["level"].as_f64().map(|level| level as f32)), &Some(0.9));
    // Tags have thresholds of their own, which no other takes from them.
    let of = |least: f64| {
        let asked = json!({"texts": ["Great phone"], "abstain_below": least});
        server.post("/v1/predict", &asked).json()["results"][0]["tasks"].clone()
    };
    assert_eq!(of(1.0)["tags"]["labels"], of(0.0)["tags"]["labels"]);
    assert!(of(1.0)["domain"]["abstained"] == true && of(0.0)["domain"]["abstained"] == false);
    let card = server.get("/v1/model").json();
    let kinds: Vec<&Value> = card["tasks"].as_array().unwrap().iter().map(|task| &task["kind"]).collect();
    assert_eq!(kinds, [&Value::Null, &json!("any-of"), &json!("number")]);
    let address = server.address.to_string();
    let bench =
        ["bench", "serve", data, "--server", &address, "--check", text(fp32), "--seconds", "1", "--json"];
    let found = frosthead(&bench).success().json();
    assert!(found["wrong"] == 0 && found["checked"].as_u64().unwrap() > 0, "{found}");
}

#[test]
fn all_kinds_are_compared_and_every_score_has_its_name() {
    let place = directory();
    let data = csv_of(&place.path().join("data.csv"), &rows(|row| row % 4 == 0), ";");
    let out = place.path().join("compared");
    let common = ["compare", &data, "--backbone", backbone(), "--out", text(&out)];
    let more = ["--depths", "0,6", "--precision", "fp32"];
    let said = frosthead(&[&common[..], &TASKS, &more].concat()).success().stdout;
    for part in ["tags micro-F1", "size R²", "score: accuracy of domain, micro-F1 of tags, R² of size"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let depths = report["backbones"][0]["dial"].as_array().unwrap();
    for task in ["domain", "tags", "size"] {
        assert!(depths.iter().all(|point| point["tasks"][task]["test_accuracy"].is_number()), "{report}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("micro-F1") && page.contains("R²"));
}
