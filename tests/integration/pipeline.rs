//! The main path: import → embed → train → eval → predict on real sentences with the real encoder.

use crate::harness::{demo, directory, frosthead, frosthead_reading, real, root, text};

/// A run on 1,200 demo rows, made once.
fn run() -> &'static str {
    static RUN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    RUN.get_or_init(|| {
        let out = directory().keep().join("run");
        let data = demo(1200);
        let data = text(&data);
        frosthead(&[
            "train",
            data,
            "--backbone",
            real(),
            "--task",
            "domain",
            "--task",
            "sentiment",
            "--out",
            text(&out),
        ])
        .success();
        text(&out).to_owned()
    })
}

fn metrics() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{}/metrics.json", run())).unwrap()).unwrap()
}

#[test]
fn two_heads_learn_far_beyond_chance_and_the_run_says_so() {
    let metrics = metrics();
    let (domain, sentiment) = (&metrics["tasks"]["domain"], &metrics["tasks"]["sentiment"]);
    // Chance is about .45 (the most frequent domain) and .43 (the most frequent sentiment).
    assert!(domain["accuracy"].as_f64().unwrap() > 0.75, "{domain}");
    assert!(sentiment["accuracy"].as_f64().unwrap() > 0.52, "{sentiment}");
    assert_eq!(domain["labels"].as_array().unwrap().len(), 4);
    assert_eq!(sentiment["confusion"].as_array().unwrap().len(), 3);
    let sizes = &metrics["sizes"];
    let count = |part: &str| sizes[part].as_u64().unwrap();
    assert_eq!(count("train") + count("valid") + count("test"), count("rows"));
    assert!((235..=245).contains(&count("test")), "{sizes}");
    assert!((90..=102).contains(&count("valid")), "{sizes}");
    assert_eq!(domain["rows"], sizes["test"]);
    assert_eq!(metrics["seed"], 13);
}

#[test]
fn eval_of_the_training_table_measures_the_unseen_rows_and_equals_the_runs_own_figures() {
    let data = demo(1200);
    let evaluation = frosthead(&["eval", text(&data), "--model", run(), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], metrics()["tasks"]);
    assert_eq!(evaluation["rows"]["total"], 1200);
    assert_eq!(evaluation["rows"]["new"], 0);
    assert_eq!(evaluation["rows"]["test"], metrics()["sizes"]["test"]);
    let all = frosthead(&["eval", text(&data), "--model", run(), "--json", "--rows", "all"]).success().json();
    assert_eq!(all["tasks"]["domain"]["rows"], 1200);
    let train =
        frosthead(&["eval", text(&data), "--model", run(), "--json", "--rows", "train"]).success().json();
    assert_eq!(train["tasks"]["domain"]["rows"], metrics()["sizes"]["train"]);
    assert!(
        train["tasks"]["domain"]["accuracy"].as_f64() > evaluation["tasks"]["domain"]["accuracy"].as_f64()
    );
}

#[test]
fn eval_prints_groups_and_writes_mistakes_most_confident_first() {
    let directory = directory();
    let data = demo(1200);
    let errors = directory.path().join("errors.csv");
    let arguments = [
        "eval",
        text(&data),
        "--model",
        run(),
        "--task",
        "sentiment",
        "--by",
        "domain",
        "--errors",
        text(&errors),
    ];
    let printed = frosthead(&arguments).success();
    for group in ["domain = tweet", "domain = news_editorial", "unseen rows", "all rows"] {
        assert!(printed.stdout.contains(group), "{}", printed.stdout);
    }
    let mut reader = csv::Reader::from_path(&errors).unwrap();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let sentiment = &metrics()["tasks"]["sentiment"];
    let wrong = sentiment["rows"].as_f64().unwrap() * (1.0 - sentiment["accuracy"].as_f64().unwrap());
    assert_eq!(records.len(), wrong.round() as usize);
    let probabilities: Vec<f64> = records.iter().map(|record| record[4].parse().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b));
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_path(&data).unwrap().records().map(Result::unwrap).collect();
    for record in &records {
        let row = &rows[record[0].parse::<usize>().unwrap() - 1];
        assert_eq!((&record[2], &record[5]), (&row[2], &row[0]), "a row has shifted");
        assert_ne!(&record[2], &record[3]);
    }
}

#[test]
fn predict_keeps_rows_in_order_and_agrees_with_eval() {
    let data = demo(1200);
    let predictions =
        frosthead(&["predict", text(&data), "--model", run(), "--all-probabilities"]).success().json_lines();
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_path(&data).unwrap().records().map(Result::unwrap).collect();
    assert_eq!(predictions.len(), rows.len());
    let mut right = 0;
    for (number, (prediction, row)) in predictions.iter().zip(&rows).enumerate() {
        assert_eq!(prediction["row"], number as u64 + 1);
        assert_eq!(prediction["text"], row[0]);
        let labels = ["movie_review", "news_editorial", "product_review", "tweet"];
        let sum: f64 = labels
            .iter()
            .map(|label| prediction[format!("domain_probability_{label}")].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-5, "{prediction}");
        right += u64::from(prediction["domain_predicted"] == row[1]);
    }
    let all = frosthead(&["eval", text(&data), "--model", run(), "--json", "--rows", "all"]).success().json();
    let accuracy = all["tasks"]["domain"]["accuracy"].as_f64().unwrap();
    assert!((right as f64 / 1200.0 - accuracy).abs() < 1e-9);
}

#[test]
fn predict_reads_lines_from_standard_input_and_ranks_labels() {
    let input = "The committee will vote on Tuesday.\n\nlol best day ever\n".as_bytes();
    let finished = frosthead_reading(input, &["predict", "-", "--model", run(), "--top-k", "2"]).success();
    let predictions = finished.json_lines();
    assert_eq!(predictions.len(), 3);
    assert_eq!(predictions[1]["text"], "");
    assert!(finished.stderr.contains("1 empty texts"), "{}", finished.stderr);
    assert!(finished.stderr.contains("cut at 256 tokens"), "{}", finished.stderr);
    for prediction in &predictions {
        let first = prediction["sentiment_probability"].as_f64().unwrap();
        let second = prediction["sentiment_probability_2"].as_f64().unwrap();
        assert!(first >= second && second > 0.0, "{prediction}");
        assert_ne!(prediction["sentiment_predicted"], prediction["sentiment_predicted_2"]);
        assert!(prediction.get("sentiment_predicted_3").is_none());
    }
    let csv =
        frosthead_reading(input, &["predict", "-", "--model", run(), "--output-format", "csv"]).success();
    assert!(csv.stdout.starts_with("row,text,domain_predicted,domain_probability,"), "{}", csv.stdout);
    assert_eq!(csv.stdout.lines().count(), 4);
}

#[test]
fn a_criterion_that_is_not_met_exits_with_one() {
    let data = demo(1200);
    frosthead(&["eval", text(&data), "--model", run(), "--min-f1", "0.2"]).success();
    let missed = frosthead(&["eval", text(&data), "--model", run(), "--min-f1", "0.99"]).exits(1);
    assert!(missed.stderr.contains("below --min-f1"), "{}", missed.stderr);
}

#[test]
fn the_same_training_again_is_up_to_date_and_gives_the_same_bytes() {
    let directory = directory();
    let data = demo(1200);
    let out = directory.path().join("run");
    let mut arguments = vec![
        "train",
        text(&data),
        "--backbone",
        real(),
        "--task",
        "domain",
        "--task",
        "sentiment",
        "--out",
        text(&out),
    ];
    frosthead(&arguments).success();
    for file in ["heads.safetensors", "metrics.json", "rows.safetensors"] {
        let one = std::fs::read(format!("{}/{file}", run())).unwrap();
        assert_eq!(one, std::fs::read(out.join(file)).unwrap(), "{file} differs between two equal runs");
    }
    let again = frosthead(&arguments).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    arguments.extend(["--seed", "14"]);
    frosthead(&arguments).fails_with(&["made from something else", "--overwrite"]);
    arguments.push("--overwrite");
    frosthead(&arguments).success();
    let seed14 = std::fs::read(out.join("rows.safetensors")).unwrap();
    assert_ne!(
        seed14,
        std::fs::read(format!("{}/rows.safetensors", run())).unwrap(),
        "--seed changes nothing"
    );
}

#[test]
fn training_on_cached_features_equals_training_on_texts() {
    let directory = directory();
    let data = demo(1200);
    let features = directory.path().join("features.parquet");
    let out = directory.path().join("run");
    frosthead(&["embed", text(&data), "--backbone", real(), "--out", text(&features)]).success();
    frosthead(&["train", text(&features), "--task", "domain", "--task", "sentiment", "--out", text(&out)])
        .success();
    let one = std::fs::read(format!("{}/heads.safetensors", run())).unwrap();
    assert_eq!(one, std::fs::read(out.join("heads.safetensors")).unwrap());
    let evaluation = frosthead(&["eval", text(&features), "--model", text(&out), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], metrics()["tasks"]);
    // The run knows which backbone it belongs to, not where it lies.
    let input = b"lol best day ever\n";
    frosthead_reading(input, &["predict", "-", "--model", text(&out)])
        .fails_with(&["all-MiniLM-L6-v2", "--backbone"]);
    let arguments = ["predict", "-", "--model", text(&out), "--backbone", real()];
    assert_eq!(frosthead_reading(input, &arguments).success().json_lines().len(), 1);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let data = root().join("data/demo.csv");
    let mut child = crate::harness::command(&["predict", text(&data), "--model", run()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"), "{output:?}");
}
