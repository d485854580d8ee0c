//! Options that change a result: each has a test that fails when the option is ignored.

use std::path::Path;

use crate::harness::{backbone, checkpoint, demo, directory, frosthead, real, text};

/// The embeddings of some lines with a backbone, row by row.
fn embed(lines: &str, model: &str, directory: &Path, name: &str) -> Vec<f32> {
    let (data, out) = (directory.join(format!("{name}.txt")), directory.join(format!("{name}.parquet")));
    std::fs::write(&data, lines).unwrap();
    frosthead(&["embed", text(&data), "--backbone", model, "--out", text(&out)]).success();
    crate::harness::features(&out, None).features
}

#[test]
fn a_prefix_is_put_in_front_of_every_text_and_a_length_cuts() {
    let directory = directory();
    let model = directory.path().join("prefixed");
    frosthead(&[
        "import",
        text(&checkpoint()),
        "--out",
        text(&model),
        "--prefix",
        "query: ",
        "--max-length",
        "8",
    ])
    .success();
    let prefixed = embed("a cat\nsome words that go on and on\n", text(&model), directory.path(), "prefixed");
    let plain = embed("query: a cat\na cat\n", real(), directory.path(), "plain");
    assert_eq!(prefixed[..384], plain[..384], "the prefix is not part of the text");
    assert_ne!(prefixed[..384], plain[384..]);
    let cut = directory.path().join("cut.parquet");
    let data = directory.path().join("prefixed.txt");
    let finished =
        frosthead(&["embed", text(&data), "--backbone", text(&model), "--out", text(&cut)]).success();
    // [CLS] query : + 5 words of 7 + [SEP] = 8: "and on" … are lost.
    assert!(finished.stderr.contains("1 of 2 texts were cut at 8 tokens"), "{}", finished.stderr);
}

#[test]
fn pooling_and_normalisation_are_what_was_asked_for() {
    let directory = directory();
    let import = |name: &str, more: &[&str]| {
        let model = text(&directory.path().join(name)).to_owned();
        let checkpoint = checkpoint();
        let arguments = [&["import", text(&checkpoint), "--out", &model], more].concat();
        frosthead(&arguments).success();
        embed("The battery died after two days.\n", &model, directory.path(), name)
    };
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mean = import("mean", &[]);
    let cls = import("cls", &["--pooling", "cls"]);
    let raw = import("raw", &["--normalize", "false"]);
    assert!((length(&mean) - 1.0).abs() < 1e-5 && (length(&cls) - 1.0).abs() < 1e-5);
    assert!((length(&raw) - 1.0).abs() > 0.1, "{}", length(&raw));
    let scaled: Vec<f32> = raw.iter().map(|x| x / length(&raw)).collect();
    assert!(scaled.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!(mean.iter().zip(&cls).any(|(a, b)| (a - b).abs() > 0.01));
}

/// Trains on the small demo table with more options; the run's metrics.
fn train(directory: &Path, name: &str, more: &[&str]) -> (serde_json::Value, Vec<u8>, serde_json::Value) {
    let out = directory.join(name);
    let data = demo(1200);
    let base = [
        "train",
        text(&data),
        "--backbone",
        backbone(),
        "--task",
        "sentiment",
        "--json",
        "--out",
        text(&out),
    ];
    let metrics = frosthead(&[&base, more].concat()).success().json();
    let fit = std::fs::read_to_string(out.join("fit.json")).unwrap();
    (metrics, std::fs::read(out.join("heads.safetensors")).unwrap(), serde_json::from_str(&fit).unwrap())
}

#[test]
fn penalty_balance_and_shares_change_the_run() {
    let directory = directory();
    let (plain, heads, fit) = train(directory.path(), "plain", &["--alpha", "100"]);
    assert_eq!(fit[0]["alpha"], 100.0);
    assert_eq!(fit[0]["converged"], true);
    let (_, other, strong) = train(directory.path(), "strong", &["--alpha", "3000"]);
    assert_ne!(heads, other);
    assert!(strong[0]["loss"].as_f64() > fit[0]["loss"].as_f64());
    let balance = ["--alpha", "100", "--class-weight", "balanced"];
    let (balanced, ..) = train(directory.path(), "balanced", &balance);
    let recall = |metrics: &serde_json::Value| {
        let labels = metrics["tasks"]["sentiment"]["per_label"].as_array().unwrap();
        labels.iter().find(|label| label["label"] == "neutral").unwrap()["recall"].as_f64().unwrap()
    };
    assert!(recall(&balanced) > recall(&plain) + 0.05, "the rare class is not found more often");
    let (_, chosen, auto) = train(directory.path(), "auto", &["--alpha", "auto"]);
    let candidates = auto[0]["candidates"].as_array().unwrap();
    assert!(candidates.len() >= 3);
    // The one whose probabilities on held-out rows are best once they are calibrated.
    let loss = |candidate: &serde_json::Value| candidate["cross_entropy"].as_f64().unwrap();
    let best = candidates.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    assert_eq!(auto[0]["alpha"], best["alpha"]);
    let (_, default, _) = train(directory.path(), "default", &[]);
    assert!(default == chosen, "auto is what no option means");
    let (shares, ..) =
        train(directory.path(), "shares", &["--test-fraction", "0.5", "--valid-fraction", "0"]);
    assert_eq!(shares["sizes"]["test"], 600);
    assert_eq!(shares["sizes"]["valid"], 0);
}

#[test]
fn test_and_validation_rows_may_come_from_files_of_their_own() {
    let directory = directory();
    let data = demo(1200);
    let content = std::fs::read(&data).unwrap();
    let sorted: Vec<csv::StringRecord> =
        csv::Reader::from_reader(&content[..]).records().map(Result::unwrap).collect();
    // The table is sorted by domain; every slice shall have all of them.
    let rows: Vec<csv::StringRecord> = (0..1200).map(|row| sorted[row * 7 % 1200].clone()).collect();
    let part = |name: &str, rows: &[csv::StringRecord]| {
        let path = directory.path().join(name);
        let mut writer = csv::Writer::from_path(&path).unwrap();
        writer.write_record(["text", "domain", "sentiment"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        writer.flush().unwrap();
        text(&path).to_owned()
    };
    // 100 of the test rows are among the training rows too: they must not be trained on.
    let (training, test, valid) = (
        part("train.csv", &rows[..900]),
        part("test.csv", &rows[800..1100]),
        part("valid.csv", &rows[1100..]),
    );
    let out = directory.path().join("run");
    let arguments = [
        "train",
        &training,
        "--backbone",
        backbone(),
        "--task",
        "domain",
        "--test",
        &test,
        "--valid",
        &valid,
    ];
    let arguments = [&arguments[..], &["--out", text(&out), "--json"]].concat();
    let metrics = frosthead(&arguments).success().json();
    let sizes = &metrics["sizes"];
    assert_eq!(
        (&sizes["test"], &sizes["valid"], &sizes["left_out"]),
        (&300.into(), &100.into(), &100.into())
    );
    assert_eq!(sizes["train"], 800);
    let evaluation = frosthead(&["eval", &test, "--model", text(&out), "--json"]).success().json();
    assert_eq!(evaluation["tasks"]["domain"], metrics["tasks"]["domain"]);
    assert_eq!(evaluation["rows"]["train"], 0);
    // A label that training never saw is named, and counts as wrong.
    std::fs::write(directory.path().join("odd.csv"), "text,domain\nhello there,podcast\n").unwrap();
    let odd = directory.path().join("odd.csv");
    let named = "domain: training never saw the label \"podcast\": 1 row, counted as wrong";
    let eval = frosthead(&["eval", text(&odd), "--model", text(&out)]).success();
    assert!(eval.stdout.contains(named), "{}", eval.stdout);
    let arguments = ["train", &training, "--backbone", backbone(), "--task", "domain", "--test", text(&odd)];
    let other = directory.path().join("other");
    let arguments = [&arguments[..], &["--out", text(&other)]].concat();
    let trained = frosthead(&arguments).success();
    assert!(trained.stdout.contains(named), "{}", trained.stdout);
}

#[test]
fn the_store_is_listed_and_pruned() {
    let directory = directory();
    let cache = text(&directory.path().join("cache")).to_owned();
    let data = demo(300);
    let out = directory.path().join("x.parquet");
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--cache", &cache, "--out", text(&out)])
        .success();
    let list = || frosthead(&["cache", "list", "--cache", &cache, "--json"]).success().json();
    assert_eq!(list()[0]["rows"], 300);
    assert_eq!(list()[0]["fields"]["device"], "cpu");
    let kept = frosthead(&["cache", "prune", "--cache", &cache, "--older-than", "1"]).success();
    assert!(kept.stderr.contains("0 files removed"), "{}", kept.stderr);
    frosthead(&["cache", "prune", "--cache", &cache, "--max-bytes", "1000"]).success();
    assert!(list().as_array().unwrap().iter().all(|entry| entry["rows"] == 0), "{}", list());
}

#[test]
fn quiet_and_verbose_are_obeyed() {
    let data = demo(300);
    let directory = directory();
    let out = text(&directory.path().join("x.parquet")).to_owned();
    let embed = |flag: &str| {
        frosthead(&[flag, "embed", text(&data), "--backbone", backbone(), "--out", &out, "--overwrite"])
            .success()
            .stderr
    };
    assert_eq!(embed("-q"), "");
    assert!(embed("-v").contains("ONNX Runtime 1."));
}

#[cfg(feature = "manual")]
#[test]
fn every_command_has_a_man_page_and_shells_complete_it() {
    let folder = directory();
    frosthead(&["manual", text(folder.path())]).success();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let help = frosthead(&["--help"]).success().stdout;
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands = commands.take_while(|line| line.starts_with("  "));
    let commands: Vec<&str> =
        commands.filter_map(|line| line[2..].split(' ').next()).filter(|name| !name.is_empty()).collect();
    assert!(commands.contains(&"train") && commands.contains(&"manual"), "{help}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(read(&format!("man/frosthead-{command}.1")).contains(".TH "), "{command}");
        assert!(read("completions/frosthead.bash").contains(command), "{command}");
    }
    assert!(
        read("man/frosthead-train.1").contains("backbone")
            && read("completions/_frosthead").contains("--backbone")
    );
    assert!(!folder.path().join("man/frosthead-help.1").exists(), "it would say that there are other pages");
    frosthead(&["manual", "Cargo.toml"]).fails_with(&["Cargo.toml", "create the directory"]);
}
