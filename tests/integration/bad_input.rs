//! Bad input: what, where, found, expected, what to do; exit code 2; nothing half-made left behind.

use std::path::{Path, PathBuf};

use crate::harness::{backbone, checkpoint, demo, directory, frosthead, root, text};
use crate::tiny::NUMBERS;

/// A file with that content in a directory of its own.
fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

#[track_caller]
fn train_fails(content: &str, task: &str, parts: &[&str]) {
    let directory = directory();
    let data = file(directory.path(), "data.csv", content);
    let out = directory.path().join("run");
    let arguments = ["train", &data, "--backbone", backbone(), "--task", task, "--out", text(&out)];
    frosthead(&arguments).fails_with(parts);
    assert!(!out.exists());
}

#[test]
fn tables_that_cannot_be_read_are_named() {
    let directory = directory();
    let out = text(&directory.path().join("x.parquet")).to_owned();
    let embed = |data: &str, parts: &[&str]| {
        frosthead(&["embed", data, "--backbone", backbone(), "--out", &out]).fails_with(parts);
        assert!(!Path::new(&out).exists());
    };
    embed("no/such.csv", &["no/such.csv", "No such file", "check the path"]);
    embed(&file(directory.path(), "empty.csv", ""), &["the table is empty"]);
    embed(&file(directory.path(), "header.csv", "text,label\n"), &["the table is empty"]);
    embed(
        &file(directory.path(), "other.csv", "review,label\na,b\n"),
        &["\"text\"", "review, label", "--text"],
    );
    embed(
        &file(directory.path(), "ragged.csv", "text,label\na,b\nc\n"),
        &["row 2", "line 3", "found 1 field", "expected 2"],
    );
    embed(
        &file(directory.path(), "latin1.csv", b"text\nna\xefve\n"),
        &["row 1", "\"text\"", "UTF-8", "naïve", "--encoding windows-1252"],
    );
    embed(&file(directory.path(), "bad.jsonl", "{\"text\": \"a\"}\n{\"text\"\n"), &["line 2", "not JSON"]);
    embed(&file(directory.path(), "data.xlsx", "x"), &[".xlsx", ".csv", "--format"]);
    embed(text(directory.path()), &["this is not a table", "a directory"]);
    let missing = ["embed", "data/demo.csv", "--backbone", backbone(), "--out", "no/such/place/x.parquet"];
    frosthead(&missing).fails_with(&["no/such/place", "does not exist"]);
}

#[test]
fn labels_that_cannot_be_learned_are_named() {
    train_fails("text,label\na,x\nb,y\n", "mood", &["\"mood\"", "text, label"]);
    train_fails(
        "text,label\na,x\nb,x\nc,x\n",
        "label",
        &["\"label\"", "all the same", "\"x\" in all 3 rows"],
    );
    train_fails("text,label\na,x\nb,y\nc,z\n", "label", &["label of its own", "check the column"]);
    train_fails("text,label\na,\nb,\n", "label", &["no labels"]);
}

#[test]
fn a_row_without_a_label_is_left_out_of_that_task_only_and_counted() {
    let directory = directory();
    let rows: String = (0..60)
        .map(|row| format!("sentence number {row},{},{}\n", ["a", "b"][row % 2], ["", "x", "y"][row % 3]))
        .collect();
    let data = file(directory.path(), "data.csv", format!("text,first,second\n{rows}"));
    let out = directory.path().join("run");
    let arguments = [
        "train",
        &data,
        "--backbone",
        backbone(),
        "--task",
        "first",
        "--task",
        "second",
        "--out",
        text(&out),
        "--json",
    ];
    let finished = frosthead(&arguments).success();
    assert!(finished.stderr.contains("second: 20 rows without a label"), "{}", finished.stderr);
    let metrics = finished.json();
    assert_eq!(metrics["unlabelled"]["second"], 20);
    assert_eq!(metrics["unlabelled"]["first"], 0);
    assert!(metrics["tasks"]["second"]["rows"].as_u64() < metrics["tasks"]["first"]["rows"].as_u64());
}

#[test]
fn a_negative_number_is_a_value_and_its_option_says_what_it_expects() {
    let train = ["train", "x.csv", "--backbone", "b", "--task", "t", "--out", "o"];
    let refused = frosthead(&[&train[..], &["--alpha", "-1"]].concat());
    let refused = refused.fails_with(&["--alpha", "found \"-1\"", "a number above 0, or auto"]);
    assert!(!refused.stderr.contains("tip"), "{}", refused.stderr);
}

#[test]
fn wrong_requests_say_what_was_expected() {
    let data = demo(300);
    let data = text(&data);
    let out = "target/tmp/never-made";
    let base = ["train", data, "--task", "domain", "--out", out, "--backbone", backbone()];
    let with = |more: &[&str], parts: &[&str]| {
        let arguments: Vec<&str> = base.iter().chain(more).copied().collect();
        frosthead(&arguments).fails_with(parts);
    };
    with(&["--alpha=-1"], &["alpha", "above 0"]);
    with(&["--class-weight", "heavy"], &["none or balanced"]);
    with(&["--test-fraction", "1.5"], &["test share", "1.5"]);
    with(&["--task", "domain"], &["twice"]);
    with(&["--device", "tpu"], &["tpu"]);
    with(&["--threads", "0"], &["--threads"]);
    with(&["--onnxruntime", "Cargo.toml"], &["Cargo.toml"]);
    with(&["--device", "cuda"], &["CUDA"]);
    with(&["--store-layers", "some"], &["last or all"]);
    with(&["--token-budget", "0"], &["--token-budget"]);
    frosthead(&["train", data, "--task", "domain", "--out", out])
        .fails_with(&["needs a backbone", "--backbone"]);
    frosthead(&["predict", data, "--model", "models"]).fails_with(&[
        "neither a run directory nor a bundle",
        "found a directory",
        "frosthead train",
    ]);
    frosthead(&["predict", data, "--model", backbone()]).fails_with(&[
        "found a backbone directory",
        "train a run on it",
        backbone(),
    ]);
    frosthead(&["eval", data, "--model", out]).fails_with(&["no such run directory or bundle"]);
    frosthead(&["inspect", "src"]).fails_with(&["neither a backbone nor a run"]);
    frosthead(&["cache", "prune"]).fails_with(&["nothing was named"]);
    frosthead(&["embed", data, "--backbone", "src", "--out", out])
        .fails_with(&["not a backbone directory", "frosthead import"]);
    assert!(!root().join(out).exists());
}

/// A copy of the real checkpoint in which one file can be changed.
fn copied_checkpoint(directory: &Path) -> PathBuf {
    let copy = directory.join("checkpoint");
    std::fs::create_dir(&copy).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(checkpoint().join(name), copy.join(name)).unwrap();
    }
    copy
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused() {
    let directory = directory();
    let out = directory.path().join("model");
    let copy = copied_checkpoint(directory.path());
    let refused = |parts: &[&str]| {
        frosthead(&["import", text(&copy), "--out", text(&out)]).fails_with(parts);
        assert!(!out.exists(), "a half-made backbone was left");
    };
    let weights = std::fs::read(copy.join("model.safetensors")).unwrap();
    std::fs::write(copy.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    refused(&["model.safetensors"]);
    std::fs::write(copy.join("model.safetensors"), b"<!DOCTYPE html>").unwrap();
    refused(&["model.safetensors"]);
    std::fs::remove_file(copy.join("model.safetensors")).unwrap();
    refused(&["no `model.safetensors`"]);
    std::fs::write(copy.join("model.safetensors"), &weights).unwrap();
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    std::fs::write(copy.join("config.json"), config.replace("\"bert\"", "\"mamba\"")).unwrap();
    refused(&["mamba"]);
    std::fs::write(
        copy.join("config.json"),
        config.replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 7"),
    )
    .unwrap();
    refused(&["encoder.layer.6"]);
    std::fs::write(
        copy.join("config.json"),
        config.replace("\"vocab_size\": 30522", "\"vocab_size\": 30000"),
    )
    .unwrap();
    refused(&["vocabulary", "30522", "30000"]);
    std::fs::write(copy.join("config.json"), &config).unwrap();
    std::fs::write(copy.join("tokenizer.json"), "{}").unwrap();
    refused(&["tokenizer.json"]);
    frosthead(&["import", "no/such/dir/here", "--out", text(&out)])
        .fails_with(&["no such file or directory", "hub id"]);
}

#[test]
fn an_import_is_repeated_refused_or_replaced() {
    let directory = directory();
    let out = directory.path().join("model");
    let arguments = ["import", text(&checkpoint()), "--out", text(&out)].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    frosthead(&arguments).success();
    let again = frosthead(&arguments).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    let with = |more: &[&'static str]| [&arguments[..], more].concat();
    frosthead(&with(&["--prefix", "query: "])).fails_with(&["made from something else"]);
    frosthead(&with(&["--prefix", "query: ", "--max-length", "64", "--pooling", "cls", "--overwrite"]))
        .success();
    let manifest = frosthead(&["inspect", text(&out), "--json"]).success().json();
    let preparation = &manifest["manifest"]["preparation"];
    assert_eq!(preparation["prefix"], "query: ");
    assert_eq!(preparation["max_length"], 64);
    assert_eq!(preparation["pooling"], "cls");
    frosthead(&with(&["--max-length", "9999", "--overwrite"])).fails_with(&["9999", "at most 512"]);
    frosthead(&with(&["--prompt", "query", "--overwrite"])).fails_with(&["no such prompt"]);
}

#[test]
fn a_backbone_that_was_changed_is_refused() {
    let directory = directory();
    let out = directory.path().join("model");
    frosthead(&["import", text(&checkpoint()), "--out", text(&out)]).success();
    let weights = out.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let data = demo(300);
    let arguments =
        ["embed", text(&data), "--backbone", text(&out), "--out", text(&directory.path().join("x.parquet"))]
            .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    frosthead(&arguments).fails_with(&["changed after it was imported", "model.safetensors"]);
}

#[test]
fn a_full_disk_is_said_before_and_during_the_work() {
    // A tiny file system of our own needs root; a limit on the size of files stops a write as a full disk
    // does.
    let directory = directory();
    let data = demo(1200);
    let out = directory.path().join("x.parquet");
    let script = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
    let output = std::process::Command::new("bash")
        .args([
            "-c",
            script,
            "bash",
            env!("CARGO_BIN_EXE_frosthead"),
            "embed",
            text(&data),
            "--backbone",
            backbone(),
        ])
        .args(["--cache", text(&directory.path().join("cache")), "--out", text(&out)])
        .current_dir(root())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("error:") && stderr.contains("too large"), "{stderr}");
    assert!(!out.exists() && !stderr.contains("panicked"));
}

#[test]
fn a_text_of_ten_megabytes_gets_the_embedding_of_its_start() {
    let directory = directory();
    let sentence = "The quick brown fox jumps over the lazy dog. ";
    let lines = format!("{}\n{}\n", sentence.repeat(222_222), sentence.repeat(100));
    let data = file(directory.path(), "long.txt", lines);
    let out = directory.path().join("long.parquet");
    let finished = frosthead(&["embed", &data, "--backbone", backbone(), "--out", text(&out)]).success();
    assert!(finished.stderr.contains("2 of 2 texts were cut at 256 tokens (at least"), "{}", finished.stderr);
    let table = crate::harness::features(&out, None);
    assert_eq!(table.features[..NUMBERS], table.features[NUMBERS..]);
}

#[test]
fn doctor_says_what_is_there() {
    let report =
        frosthead(&["doctor", "--backbone", backbone(), "--json", "--threads", "1"]).success().json();
    assert!(report["onnxruntime"].as_str().unwrap().starts_with("1."));
    assert!(report["library"].as_str().unwrap().contains("libonnxruntime"));
    assert_eq!(report["threads"], 1);
    assert!(report["nodes_per_provider"]["CPUExecutionProvider"].as_u64().unwrap() > 30, "{report}");
    assert!(report["cores_allowed"].as_u64().unwrap() >= 1);
    assert!(report["memory_total"].as_u64().unwrap() > report["memory_available"].as_u64().unwrap());
}
