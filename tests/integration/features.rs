//! What the heads see: every layer and every window, as views of one stored row; and what cannot be seen.

use std::path::Path;

use crate::harness::{
    Finished, backbone, checkpoint, demo, directory, frosthead, frosthead_reading, root, text,
};
use crate::tiny::NUMBERS;

/// Trains on a table with more options.
fn train(data: &Path, out: &Path, more: &[&str]) -> Finished {
    let base = ["train", text(data), "--backbone", backbone(), "--json", "--out", text(out)];
    frosthead(&[&base[..], more].concat())
}

fn bytes(run: &Path, name: &str) -> Vec<u8> {
    std::fs::read(run.join(name)).unwrap()
}

fn json(run: &Path, name: &str) -> serde_json::Value {
    serde_json::from_slice(&bytes(run, name)).unwrap()
}

/// Rows of a Parquet's column of vectors.
fn vectors(path: &Path, column: &str) -> (Vec<f32>, usize) {
    let table = crate::harness::features(path, Some(column));
    (table.features, table.width)
}

#[test]
fn choices_are_views_of_the_same_stored_rows() {
    let directory = directory();
    let (data, cache) = (demo(300), directory.path().join("cache"));
    let embed = |features: &str| {
        let out = directory.path().join(format!("{}.parquet", features.replace(':', "-")));
        let arguments = ["embed", text(&data), "--backbone", backbone(), "--cache", text(&cache)];
        let more = ["--features", features, "--out", text(&out)];
        let finished = frosthead(&[&arguments[..], &more[..]].concat()).success();
        (out, finished.stderr)
    };
    let (last, said) = embed("last");
    assert!(said.contains("300 texts computed"), "{said}");
    let (all, said) = embed("all");
    assert!(said.contains("336 numbers (0 texts computed, 300 from the store)"), "{said}");
    let (some, said) = embed("layers:2-3");
    assert!(said.contains("96 numbers (0 texts computed"), "{said}");
    // Whatever the features are, `embedding` stays the sentence embedding.
    assert_eq!(vectors(&last, "embedding"), vectors(&all, "embedding"));
    let ((all, width), (some, narrow)) = (vectors(&all, "features"), vectors(&some, "features"));
    assert_eq!((width, narrow), (7 * NUMBERS, 2 * NUMBERS));
    for (all, some) in all.chunks_exact(width).zip(some.chunks_exact(narrow)) {
        // State 0 is that of the embeddings, so layer 2 is state 3.
        assert_eq!(some, &all[3 * NUMBERS..5 * NUMBERS]);
    }
    // The sentence embedding of this backbone is the normalised last layer.
    let (embedding, _) = vectors(&last, "embedding");
    let last = &all[6 * NUMBERS..7 * NUMBERS];
    let length = last.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 0.1, "the states are normalised");
    assert!(last.iter().zip(&embedding).all(|(state, number)| (state / length - number).abs() < 1e-6));
}

#[test]
fn everything_downstream_takes_any_choice() {
    let directory = directory();
    let data = demo(1200);
    let (plain, all) = (directory.path().join("last"), directory.path().join("all"));
    let tasks = ["--task", "domain", "--task", "sentiment"];
    let last = train(&data, &plain, &tasks).success().json();
    let metrics = train(&data, &all, &[&tasks[..], &["--features", "all"]].concat()).success().json();
    let accuracy = |metrics: &serde_json::Value| metrics["tasks"]["domain"]["accuracy"].as_f64().unwrap();
    assert!(accuracy(&metrics) > accuracy(&last), "{} {}", accuracy(&metrics), accuracy(&last));
    assert_eq!(json(&all, "fit.json")[0]["width"], 7 * NUMBERS);
    assert_eq!(json(&all, "fit.json")[0]["converged"], true);
    let evaluation = frosthead(&["eval", text(&data), "--model", text(&all), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], metrics["tasks"]);
    let predictions = frosthead(&["predict", text(&data), "--model", text(&all)]).success().json_lines();
    let right = predictions.iter().filter(|line| line["domain_predicted"] == line["domain"]).count();
    let everything =
        frosthead(&["eval", text(&data), "--model", text(&all), "--json", "--rows", "all"]).success().json();
    assert!((right as f64 / 1200.0 - accuracy(&everything)).abs() < 1e-9);
    let inspected = frosthead(&["inspect", text(&all)]).success();
    assert!(inspected.stdout.contains("336 numbers of `all`"), "{}", inspected.stdout);
    // Again, it is up to date; other features are another run.
    let again = train(&data, &all, &[&tasks[..], &["--features", "all"]].concat()).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    train(&data, &all, &[&tasks[..], &["--features", "layers:3"]].concat())
        .fails_with(&["made from something else"]);
    // The same from a Parquet of features, which knows what it holds.
    let (parquet, cached) = (directory.path().join("features.parquet"), directory.path().join("cached"));
    let arguments = ["embed", text(&data), "--backbone", backbone(), "--features", "all"];
    frosthead(&[&arguments[..], &["--out", text(&parquet)]].concat()).success();
    let arguments = ["train", text(&parquet), "--features-column", "features", "--out", text(&cached)];
    frosthead(&[&arguments[..], &tasks].concat()).success();
    assert_eq!(bytes(&all, "heads.safetensors"), bytes(&cached, "heads.safetensors"));
    let evaluation =
        frosthead(&["eval", text(&parquet), "--model", text(&cached), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], metrics["tasks"]);
    let input = b"lol best day ever\n";
    let of = |run: &Path| {
        let arguments =
            ["predict", "-", "--model", text(run), "--backbone", backbone(), "--all-probabilities"];
        frosthead_reading(input, &arguments).success().json_lines()
    };
    assert_eq!(of(&all), of(&cached));
}

#[test]
fn auto_takes_the_fewest_numbers_within_one_standard_error_and_says_what_it_tried() {
    let directory = directory();
    let (data, out) = (demo(1200), directory.path().join("run"));
    let tasks = ["--task", "domain", "--task", "sentiment", "--features", "auto", "-v"];
    let finished = train(&data, &out, &tasks).success();
    for part in
        ["domain: chose ", "sentiment: chose ", "held-out accuracy of last 0.", "all 0.", "layers:3-5 0."]
    {
        assert!(finished.stderr.contains(part), "{part}: {}", finished.stderr);
    }
    assert!(finished.stderr.contains("memory"), "{}", finished.stderr);
    let recipe = std::fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(recipe.contains("asked = \"auto\""), "{recipe}");
    let number = |candidate: &serde_json::Value, name: &str| candidate[name].as_f64().unwrap();
    for fit in json(&out, "fit.json").as_array().unwrap() {
        let candidates = fit["candidates"].as_array().unwrap();
        let names: std::collections::BTreeSet<&str> =
            candidates.iter().map(|candidate| candidate["features"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        // Each choice of features with its penalty, the fewest numbers first.
        let mut best: Vec<&serde_json::Value> = Vec::new();
        for candidate in candidates {
            match best.iter_mut().find(|best| best["features"] == candidate["features"]) {
                Some(best) if number(candidate, "cross_entropy") < number(best, "cross_entropy") => {
                    *best = candidate;
                }
                Some(_) => {}
                None => best.push(candidate),
            }
        }
        let most = best.iter().map(|candidate| number(candidate, "accuracy")).fold(0.0, f64::max);
        let chosen = best
            .iter()
            .find(|candidate| most - number(candidate, "accuracy") <= number(candidate, "standard_error"))
            .unwrap();
        assert_eq!(fit["alpha"], chosen["alpha"]);
        let task = fit["task"].as_str().unwrap();
        let choice = format!("[features.tasks.{task}]\nchoice = {}", chosen["features"]);
        assert!(recipe.contains(&choice), "{choice}: {recipe}");
    }
    let evaluation = frosthead(&["eval", text(&data), "--model", text(&out), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], finished.json()["tasks"]);
    // A bound on memory leaves the large choices out; a given penalty is the only one tried.
    let small = directory.path().join("small");
    let more = ["--task", "domain", "--features", "auto", "--fit-memory", "0.004", "--alpha", "30"];
    let finished = train(&data, &small, &more).success();
    assert!(!finished.stderr.contains("all 0."), "{}", finished.stderr);
    let fit = json(&small, "fit.json");
    assert!(fit[0]["candidates"].as_array().unwrap().iter().all(|candidate| candidate["alpha"] == 30.0));
}

/// Long texts with two labels: sentences of one domain, as many as it takes.
fn long_texts(directory: &Path) -> std::path::PathBuf {
    let content = std::fs::read(demo(1200)).unwrap();
    let records: Vec<csv::StringRecord> =
        csv::Reader::from_reader(&content[..]).records().map(Result::unwrap).collect();
    let path = directory.join("long.csv");
    let mut writer = csv::Writer::from_path(&path).unwrap();
    writer.write_record(["text", "label"]).unwrap();
    for label in ["movie_review", "news_editorial"] {
        let own: Vec<&str> =
            records.iter().filter(|record| &record[1] == label).map(|record| &record[0]).collect();
        // Every fourth text is short; the others have 60 to 700 tokens.
        for (number, sentences) in own.chunks(8).take(32).enumerate() {
            let count = if number % 4 == 0 { 1 } else { 2 + number % 7 };
            writer
                .write_record([
                    sentences[..count.min(sentences.len())].join(" ").repeat(1 + number % 3),
                    label.into(),
                ])
                .unwrap();
        }
    }
    writer.flush().unwrap();
    path
}

#[test]
fn long_texts_are_read_in_windows_unless_the_last_layer_is_enough() {
    let directory = directory();
    let data = long_texts(directory.path());
    let path = |name: &str| directory.path().join(name);
    let of = |name: &str, more: &[&str]| {
        train(&data, &path(name), &[&["--task", "label"], more].concat()).success()
    };
    let windows = of("windows", &["--features", "all"]);
    assert!(windows.stderr.contains("texts were read in windows of 128 tokens ("), "{}", windows.stderr);
    let last = of("last", &[]);
    assert!(last.stderr.contains("were cut at 256 tokens"), "{}", last.stderr);
    let cut = of("cut", &["--features", "all", "--long", "truncate"]);
    assert!(cut.stderr.contains("were cut at 256 tokens"), "{}", cut.stderr);
    let last_windows = of("last-windows", &["--long", "windows", "--window", "64"]);
    assert!(last_windows.stderr.contains("in windows of 64 tokens"), "{}", last_windows.stderr);
    for (one, other) in [("windows", "cut"), ("last", "last-windows")] {
        assert_ne!(bytes(&path(one), "heads.safetensors"), bytes(&path(other), "heads.safetensors"));
    }
    let notes = &windows.json()["texts"];
    assert_eq!(notes["truncation"]["texts"], 0);
    let (texts, count) =
        (notes["windowed"]["texts"].as_u64().unwrap(), notes["windowed"]["windows"].as_u64().unwrap());
    assert!(texts > 20 && count > 2 * texts, "{notes}");
    // The run knows how its texts are read.
    let evaluation = frosthead(&["eval", text(&data), "--model", text(&path("windows")), "--json"]).success();
    assert!(evaluation.stderr.contains("read in windows of 128 tokens"), "{}", evaluation.stderr);
    assert_eq!(evaluation.json()["tasks"], windows.json()["tasks"]);
    // Texts within the limit: nothing to read in windows.
    let short = train(&demo(300), &path("short"), &["--task", "domain", "--features", "all"]).success();
    assert!(short.stderr.contains("0 of 300 texts were cut at 256 tokens"), "{}", short.stderr);
}

#[test]
fn windows_explain_a_prediction() {
    let directory = directory();
    let data = long_texts(directory.path());
    let run = directory.path().join("run");
    train(&data, &run, &["--task", "label", "--features", "all", "--window", "40"]).success();
    let arguments =
        ["predict", text(&data), "--model", text(&run), "--all-probabilities", "--explain", "windows"];
    let finished = frosthead(&arguments).success();
    assert!(finished.stderr.contains("in windows of 40 tokens"), "{}", finished.stderr);
    let mut several = 0;
    for prediction in finished.json_lines() {
        let windows = prediction["label_windows"].as_array().unwrap();
        let whole = prediction["text"].as_str().unwrap();
        several += usize::from(windows.len() > 1);
        let tokens: f64 = windows.iter().map(|window| window["tokens"].as_f64().unwrap()).sum();
        let mut end = 0;
        for window in windows {
            let (start, stop) =
                (window["start"].as_u64().unwrap() as usize, window["end"].as_u64().unwrap() as usize);
            assert!(
                start >= end && stop > start && whole.get(start..stop).is_some(),
                "{window} in {whole:?}"
            );
            assert!(whole[end..start].trim().is_empty(), "{:?} is in no window", &whole[end..start]);
            end = stop;
        }
        for (label, logit) in prediction["label_logits"].as_object().unwrap() {
            let mean: f64 = windows
                .iter()
                .map(|window| window["tokens"].as_f64().unwrap() * window["logits"][label].as_f64().unwrap())
                .sum::<f64>()
                / tokens;
            assert!((mean - logit.as_f64().unwrap()).abs() < 1e-5, "{label}: {mean} {logit}");
        }
    }
    assert!(several > 30, "{several}");
    // Only the labels that are shown.
    let arguments = ["predict", text(&data), "--model", text(&run), "--explain", "windows"];
    let first = frosthead(&arguments).success().json_lines().remove(0);
    let shown: Vec<&String> = first["label_logits"].as_object().unwrap().keys().collect();
    assert_eq!(shown, [first["label_predicted"].as_str().unwrap()]);
    let csv = frosthead(&[&arguments[..], &["--output-format", "csv"]].concat()).success();
    assert!(csv.stdout.lines().next().unwrap().ends_with(",label_logits,label_windows"), "{}", csv.stdout);
    let other = directory.path().join("truncated");
    train(&data, &other, &["--task", "label"]).success();
    frosthead(&["predict", text(&data), "--model", text(&other), "--explain", "windows"])
        .fails_with(&["does not read texts in windows", "--long windows"]);
}

#[test]
fn the_shape_of_windows_changes_long_texts_only() {
    let directory = directory();
    let content = format!("A short one.\n{}\n", "The plot drags, but the actors shine. ".repeat(60));
    let data = directory.path().join("two.txt");
    std::fs::write(&data, content).unwrap();
    let embed = |name: &str, more: &[&str]| {
        let out = directory.path().join(format!("{name}.parquet"));
        let base = ["embed", text(&data), "--backbone", backbone(), "--features", "all", "--out", text(&out)];
        let finished = frosthead(&[&base[..], more].concat()).success();
        (vectors(&out, "features").0, finished.stderr)
    };
    let (truncated, _) = embed("truncated", &[]);
    let mut seen = vec![truncated.clone()];
    for (name, more, said) in [
        ("windows", &["--long", "windows"][..], "1 of 2 texts were read in windows of 128 tokens (5 in all)"),
        ("64", &["--window", "64"], "windows of 64 tokens (10 in all)"),
        ("overlap", &["--window", "64", "--stride", "31"], "windows of 64 tokens every 31 ("),
        (
            "most",
            &["--window", "64", "--max-windows", "3"],
            "1 texts were cut behind 3 windows (414 tokens lost)",
        ),
    ] {
        let (features, stderr) = embed(name, more);
        assert!(stderr.contains(said), "{said}: {stderr}");
        assert_eq!(
            features[..7 * NUMBERS],
            truncated[..7 * NUMBERS],
            "{name}: a text of one window has changed"
        );
        assert!(
            seen.iter().all(|other| other[7 * NUMBERS..] != features[7 * NUMBERS..]),
            "{name} changes nothing"
        );
        seen.push(features);
    }
}

#[test]
fn ten_million_tokens_are_read_as_far_as_max_windows_goes() {
    let directory = directory();
    let data = directory.path().join("long.txt");
    let sentence = "The quick brown fox jumps over the lazy dog. ";
    std::fs::write(&data, format!("{}\n{}\n", sentence.repeat(1_000_000), sentence.repeat(100))).unwrap();
    let out = directory.path().join("long.parquet");
    let arguments =
        ["embed", text(&data), "--backbone", backbone(), "--max-windows", "5", "--out", text(&out)];
    let finished = frosthead(&arguments).success();
    assert!(finished.stderr.contains("2 texts were cut behind 5 windows (at least "), "{}", finished.stderr);
    let (features, width) = vectors(&out, "embedding");
    assert_eq!(features[..width], features[width..], "both begin with the same five windows");
}

#[test]
fn what_cannot_be_seen_is_refused() {
    let directory = directory();
    let (data, out) = (demo(300), directory.path().join("run"));
    let refused = |more: &[&str], parts: &[&str]| {
        train(&data, &out, &[&["--task", "domain"], more].concat()).fails_with(parts);
        assert!(!out.exists());
    };
    refused(&["--features", "layers:4-6"], &["no such layer", "layers:4-6", "0 to 5"]);
    refused(&["--features", "layers:5-2"], &["layers:5-2", "layers:2-5"]);
    refused(&["--features", "first"], &["first", "auto"]);
    refused(&["--features", "all", "--store-layers", "last"], &["--features all", "--store-layers"]);
    refused(&["--features", "auto", "--freeze", "all"], &["nothing is trained", "--features auto"]);
    refused(&["--long", "windows", "--unfreeze", "1"], &["start of a text", "--long truncate"]);
    refused(&["--window", "2"], &["no room", "--window 2"]);
    refused(&["--window", "513"], &["longer than the model can read", "513", "512"]);
    refused(&["--window", "64", "--stride", "63"], &["skip tokens", "--stride 63", "1 to 62"]);
    refused(&["--window", "64", "--stride", "0"], &["move on", "--stride 0"]);
    refused(&["--max-windows", "0"], &["--max-windows 0"]);
    refused(&["--long", "truncate", "--window", "64"], &["--long truncate", "--long windows"]);
    refused(&["--long", "some"], &["some", "truncate, windows"]);
    refused(&["--fit-memory", "0"], &["--fit-memory 0"]);
    let model = directory.path().join("foreign");
    let foreign = root().join("tests/data/foreign_onnx/encoder.onnx");
    frosthead(&["import", text(&foreign), "--out", text(&model)]).success();
    let arguments = ["embed", text(&data), "--backbone", text(&model), "--features", "all"];
    frosthead(&[&arguments[..], &["--out", text(&directory.path().join("x.parquet"))]].concat())
        .fails_with(&["no layers to choose from", "imported .onnx file", "--features last"]);
    let features = directory.path().join("features.parquet");
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", text(&features)]).success();
    frosthead(&["train", text(&features), "--task", "domain", "--features", "all", "--out", text(&out)])
        .fails_with(&["the table holds features", "--features-column"]);
    // A tokenizer that may look across white space: windows are refused, and not the default.
    let copy = directory.path().join("checkpoint");
    std::fs::create_dir(&copy).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(checkpoint().join(name), copy.join(name)).unwrap();
    }
    let tokenizer = std::fs::read(checkpoint().join("tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    tokenizer["pre_tokenizer"] = serde_json::json!({"type": "Punctuation", "behavior": "Isolated"});
    std::fs::write(copy.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let model = directory.path().join("odd");
    frosthead(&["import", text(&copy), "--out", text(&model)]).success();
    let long = long_texts(directory.path());
    let arguments =
        ["train", text(&long), "--backbone", text(&model), "--task", "label", "--out", text(&out)];
    frosthead(&[&arguments[..], &["--long", "windows"]].concat())
        .fails_with(&["cannot be read in windows", "--long truncate"]);
    let truncated = frosthead(&[&arguments[..], &["--features", "all"]].concat()).success();
    assert!(truncated.stderr.contains("were cut at"), "{}", truncated.stderr);
}

#[test]
fn descriptions_of_labels_take_any_layers_too() {
    let directory = directory();
    let data = demo(300);
    let of = |features: &str| {
        let out = directory.path().join(features.replace(':', "-"));
        let more = ["--task", "domain", "--freeze", "all", "--features", features];
        train(&data, &out, &more).success();
        bytes(&out, "heads.safetensors")
    };
    assert_ne!(of("last"), of("layers:5"));
}
