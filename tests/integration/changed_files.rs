//! Models that somebody writes to while they are in use: the work stops with an error, and says nothing of
//! the mixture.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundle::plain;
use crate::harness::{command, demo, directory, finish, frosthead, real, root, started, text};

/// More rows than are read at once, so that answers come while more are to be read.
const ROWS: usize = 9000;

/// What predicting a stream printed, its messages, and its exit code; `meanwhile` is done between rows.
fn predicted(model: &Path, meanwhile: impl FnOnce()) -> (Vec<String>, String, Option<i32>) {
    let mut child = started(&["predict", "-", "--model", text(model)]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let rows = "great\n".repeat(ROWS);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            stdin.write_all(rows.as_bytes()).unwrap();
            (stdin, rows)
        });
        let first = stdout.next().unwrap().unwrap();
        meanwhile();
        // The rest is there to be read while the rest is written.
        let rest = scope.spawn(|| stdout.map(Result::unwrap).collect::<Vec<_>>());
        let (mut stdin, rows) = writer.join().unwrap();
        // Whoever has stopped does not read.
        let _ = stdin.write_all(rows.as_bytes());
        drop(stdin);
        let mut lines = vec![first];
        lines.extend(rest.join().unwrap());
        let mut messages = String::new();
        child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        (lines, messages, child.wait().unwrap().code())
    })
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

/// A bundle of a tiny encoder, which many rows cost little.
fn tiny(folder: &Path, alpha: &str) -> PathBuf {
    let place = |name: &str| folder.join(format!("{name}-{alpha}"));
    let (model, run, bundle, data) = (place("model"), place("run"), place("x.frost"), demo(300));
    let graph = root().join("tests/data/foreign_onnx/encoder.onnx");
    frosthead(&["import", text(&graph), "--max-length", "32", "--out", text(&model)]).success();
    let train =
        ["train", text(&data), "--backbone", text(&model), "--task", "domain", "--alpha", alpha, "--out"];
    frosthead(&[&train[..], &[text(&run)]].concat()).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    bundle
}

/// The different answers among some lines.
fn answers(lines: &[String]) -> BTreeSet<String> {
    let answer = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", line["domain_predicted"], line["domain_probability"])
    };
    lines.iter().map(answer).collect()
}

#[test]
fn predicting_a_stream_stops_when_its_bundle_is_written_to() {
    let folder = directory();
    let (one, other) = (tiny(folder.path(), "1"), tiny(folder.path(), "100"));
    let path = folder.path().canonicalize().unwrap().join("live.frost");
    let (live, new) = (text(&path), text(&other));
    let (from, to) = (format!("if={new}"), format!("of={live}"));
    let changes: [(&str, Vec<&str>); 3] = [
        ("cp", vec![new, live]),
        ("truncate", vec!["-s", "0", live]),
        ("dd", vec![&from, &to, "conv=notrunc", "bs=1M", "status=none"]),
    ];
    for (program, arguments) in changes {
        std::fs::copy(&one, &path).unwrap();
        let (lines, messages, code) = predicted(&path, || run(program, &arguments));
        assert_eq!(code, Some(2), "{program}: {messages}");
        assert!(messages.contains(live) && messages.contains("mv"), "{program}: {messages}");
        assert!(lines.len() < 2 * ROWS && answers(&lines).len() == 1, "{program}: {:?}", answers(&lines));
    }
    // The advice, followed; other rights; another time of the same content; no name any more: what was
    // opened goes on.
    for turn in 0..4 {
        std::fs::copy(&one, &path).unwrap();
        let beside = folder.path().join("new.frost");
        std::fs::copy(&other, &beside).unwrap();
        let (lines, messages, code) = predicted(&path, || match turn {
            0 => std::fs::rename(&beside, &path).unwrap(),
            1 => run("chmod", &["600", live]),
            2 => run("touch", &[live]),
            _ => std::fs::remove_file(&path).unwrap(),
        });
        assert_eq!((code, lines.len()), (Some(0), 2 * ROWS), "{messages}");
        assert_eq!(answers(&lines).len(), 1);
    }
}

#[test]
fn weights_that_are_gone_from_under_a_product_end_it_with_a_message() {
    let folder = directory();
    let path = folder.path().canonicalize().unwrap().join("live.frost");
    std::fs::copy(&plain().bundle, &path).unwrap();
    let (lines, messages, code) = predicted(&path, || run("truncate", &["-s", "0", text(&path)]));
    assert_eq!(code, Some(2), "{messages}");
    assert!(messages.contains(text(&path)) && messages.contains("mv"), "{messages}");
    assert!(lines.len() < 2 * ROWS);
}

#[test]
fn features_of_a_backbone_that_is_written_to_are_not_stored() {
    let folder = directory();
    let model = folder.path().join("model");
    run("cp", &["-r", real(), text(&model)]);
    let (data, cache, out) = (demo(3000), folder.path().join("cache"), folder.path().join("x.parquet"));
    let arguments =
        ["embed", text(&data), "--backbone", text(&model), "--cache", text(&cache), "--out", text(&out)];
    let weights = model.join("model.safetensors");
    // Written to once it is mapped.
    let finished = std::thread::scope(|scope| {
        let work = scope.spawn(|| finish(command(&arguments), &arguments));
        let parts = cache.join("features");
        let start = std::time::Instant::now();
        while !parts.exists() && start.elapsed().as_secs() < 120 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        let file = std::fs::File::options().write(true).open(&weights).unwrap();
        use std::os::unix::fs::FileExt as _;
        file.write_all_at(&[0; 4096], 40_000_000).unwrap();
        work.join().unwrap()
    });
    finished.fails_with(&["model.safetensors", "mv"]);
    assert!(!out.exists());
    frosthead(&arguments).fails_with(&["changed after it was imported"]);
}
