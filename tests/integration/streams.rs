//! Streams and outputs: `predict` on a pipe answers row by row, writes what the output's name says, and reads
//! what it wrote; models know their text column; runs find their tables.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::{
    command, directory, finish, frosthead, frosthead_reading, root, started, text, without_hashes,
};
use crate::tiny::tiny;

/// Far longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `predict` that is being written to.
struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Live {
    fn new(arguments: &[&str]) -> Self {
        let base = ["predict", "-", "--model", text(&tiny().bundle), "-q"];
        let mut child = started(&[&base[..], arguments].concat());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, answers: lines(stdout) }
    }

    fn write(&mut self, bytes: &str) {
        self.stdin.as_mut().unwrap().write_all(bytes.as_bytes()).unwrap();
    }

    #[track_caller]
    fn answer(&self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("an answer while the pipe is open")
    }

    /// Closes its input; gives the exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if send.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receive
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_pipe_is_answered_row_by_row_in_every_format() {
    for (format, header, rows) in [
        ("lines", "", ["good\n", "bad\n", "neither"]),
        ("csv", "review,n\n", ["\"go,\nod\",1\n", "bad,2\n", "neither,3"]),
        ("tsv", "n\treview\n", ["1\tgood\n", "2\tbad\n", "3\tneither"]),
        ("jsonl", "", ["{\"review\": \"good\"}\n", "{\"review\": \"bad\"}\n", "{\"review\": \"neither\"}"]),
    ] {
        let mut live = Live::new(&["--format", format]);
        live.write(header);
        for (number, row) in rows[..2].iter().enumerate() {
            live.write(row);
            let answer = json(&live.answer());
            assert_eq!(answer["row"], number + 1, "{format}");
            assert!(answer["domain_predicted"].is_string(), "{format}: {answer}");
        }
        // The last row has no line end: it is there when the pipe is closed.
        live.write(rows[2]);
        drop(live.stdin.take());
        assert_eq!(json(&live.answer())["row"], 3, "{format}");
        assert_eq!(live.end().0, Some(0));
    }
}

#[test]
fn csv_is_answered_row_by_row_too() {
    let mut live = Live::new(&["--output-format", "csv"]);
    live.write("good\n");
    assert!(live.answer().starts_with("row,text,domain_predicted"));
    assert!(live.answer().starts_with("1,good,"));
    live.write("bad\n");
    assert!(live.answer().starts_with("2,bad,"));
    assert_eq!(live.end().0, Some(0));
}

#[test]
fn a_row_that_cannot_be_read_fails_behind_the_answers_in_front_of_it() {
    let mut live = Live::new(&["--format", "csv"]);
    live.write("review,n\ngood,1\nbad,2\none,two,three\nlate,4\n");
    assert_eq!(json(&live.answer())["row"], 1);
    assert_eq!(json(&live.answer())["row"], 2);
    let (code, said) = live.end();
    assert_eq!(code, Some(2));
    assert!(said.contains("standard input, row 3") && said.contains("3 fields"), "{said}");
    // So it is in a file, and where it is --strict that refuses a row.
    let directory = directory();
    let table = directory.path().join("a.jsonl");
    std::fs::write(&table, "{\"review\": \"good\"}\n{\"review\": \" \"}\n{\"review\": \"bad\"}\n").unwrap();
    let predict = ["predict", text(&table), "--model", text(&tiny().bundle), "--strict"];
    let failed = frosthead(&predict).fails_with(&["a.jsonl, row 2", "an empty text"]);
    assert_eq!(failed.stdout.lines().count(), 1);
}

#[test]
fn a_named_pipe_is_read_once_by_every_command_that_reads_once() {
    let directory = directory();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let table = std::fs::read(&tiny().table).unwrap();
    let fed = |arguments: &[&str]| {
        let (pipe, table) = (pipe.clone(), table.clone());
        let writer = std::thread::spawn(move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
            // A command that fails closes its end.
            let _ = pipe.write_all(&table);
        });
        let finished = frosthead(arguments);
        writer.join().unwrap();
        finished
    };
    let (model, out) = (text(&tiny().bundle), directory.path().join("out.parquet"));
    let input = ["--format", "csv"];
    let predicted = fed(&[&["predict", text(&pipe), "--model", model], &input[..]].concat()).success();
    assert_eq!(predicted.stdout.lines().count(), 120);
    let eval = ["eval", text(&pipe), "--model", text(&tiny().run), "--json"];
    let measured = fed(&[&eval[..], &input[..]].concat()).success().json();
    assert!(measured["tasks"]["domain"]["rows"].as_u64().unwrap() > 0, "{measured}");
    let embed = ["embed", text(&pipe), "--text", "review", "--backbone", text(&tiny().backbone)];
    let embedded = fed(&[&embed[..], &input[..], &["--out", text(&out)]].concat()).success();
    assert!(embedded.stderr.contains("120 rows"), "{}", embedded.stderr);
    // Training reads its tables more than once, and says so before it waits for anybody to write.
    let train = ["train", text(&pipe), "--text", "review", "--task", "domain", "--out", "never"];
    let on = ["--backbone", text(&tiny().backbone)];
    frosthead(&[&train[..], &input[..], &on].concat()).fails_with(&["pipe", "more than once", "a file"]);
}

#[test]
fn outputs_are_written_as_their_names_say() {
    let directory = directory();
    let predict = |out: &str, more: &[&str]| {
        let out = directory.path().join(out);
        let base = ["predict", text(&tiny().table), "--model", text(&tiny().bundle), "--out", text(&out)];
        (frosthead(&[&base[..], more].concat()), out)
    };
    let first = |path: &Path| std::fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned();
    for (name, start) in [
        ("a.csv", "row,review,domain,sentiment,domain_predicted,"),
        ("a.TSV", "row\treview\tdomain\tsentiment\tdomain_predicted\t"),
        ("a.jsonl", "{\"row\":1,\"review\":"),
        ("a.ndjson", "{\"row\":1,\"review\":"),
    ] {
        let (finished, out) = predict(name, &[]);
        finished.success();
        assert!(first(&out).starts_with(start), "{name}");
    }
    let (finished, out) = predict("b.out", &["--output-format", "tsv"]);
    assert!(!finished.success().stderr.contains("warning"));
    assert!(first(&out).starts_with("row\treview"));
    let (finished, out) = predict("b.csv", &["--output-format", "jsonl"]);
    assert!(finished.success().stderr.contains("b.csv will hold jsonl"));
    assert!(first(&out).starts_with('{'));
    for name in ["c.parquet", "c.out", "c"] {
        let (finished, out) = predict(name, &[]);
        finished.fails_with(&[name, ".csv, .tsv, .jsonl", "--output-format"]);
        assert!(!out.exists());
    }
    // What would be called compressed, or lies in the place of a directory, is not written whatever is said.
    for more in [&[][..], &["--output-format", "csv"]] {
        let (finished, out) = predict("c.csv.gz", more);
        finished.fails_with(&["c.csv.gz", "compressed"]);
        assert!(!out.exists());
        std::fs::create_dir_all(directory.path().join("folder")).unwrap();
        predict("folder", more).0.fails_with(&["folder", "is a directory", "the name of a file"]);
    }
    let (eval, embed) = (directory.path().join("wrong.parquet"), directory.path().join("features.csv"));
    let model = ["--model", text(&tiny().run)];
    frosthead(&[&["eval", text(&tiny().table), "--errors", text(&eval)], &model[..]].concat())
        .fails_with(&["wrong.parquet", ".csv, .tsv, .jsonl"]);
    let tsv = directory.path().join("wrong.tsv");
    frosthead(&[&["eval", text(&tiny().table), "--errors", text(&tsv)], &model[..]].concat()).success();
    assert!(first(&tsv).starts_with("row\ttask\tlabel"));
    let table = ["embed", text(&tiny().table), "--text", "review", "--backbone", text(&tiny().backbone)];
    let refused = frosthead(&[&table[..], &["--out", text(&embed)]].concat());
    // The advice, followed.
    let refused = refused.fails_with(&["features.csv", "Parquet", "--out"]);
    let advised = refused.stderr.split("--out ").nth(1).unwrap().trim();
    frosthead(&[&table[..], &["--out", advised]].concat()).success();
}

#[test]
fn what_is_no_lines_is_not_read_as_lines_unless_that_is_said() {
    let model = ["--model", text(&tiny().bundle)];
    let predict = |input: &[u8], more: &[&str]| {
        frosthead_reading(input, &[&["predict", "-"], &model[..], more].concat())
    };
    let objects = b"\n{\"review\": \"good\"}\n{\"review\": \"bad\"}\n";
    for (input, said, advised) in [
        (&objects[1..], "JSON lines", "jsonl"),
        (b"review,n\ngood,1\nbad,2\n", "header of a table", "csv"),
        (b"n\t\"review\"\n1\tgood\n2\tbad\n", "header of a table", "tsv"),
        (b"review;n\ngood;1\nbad;2\n", "header of a table", "csv --delimiter ';'"),
    ] {
        let refused = predict(input, &[]).fails_with(&[said, "--format lines", "row 1"]);
        assert!(refused.stderr.contains(&format!("say --format {advised};")), "{}", refused.stderr);
        let format =
            [&["--format"][..], &advised.split(' ').map(|word| word.trim_matches('\'')).collect::<Vec<_>>()];
        assert_eq!(predict(input, &format.concat()).success().json_lines().len(), 2);
        let rows = input.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(predict(input, &["--format", "lines"]).success().json_lines().len(), rows);
    }
    predict(b"[\n{\"review\": \"good\"}\n]\n", &[]).fails_with(&["a JSON array", "say --format json"]);
    // Blank lines in front are texts; what comes behind them is looked at all the same.
    predict(&objects[..], &[]).fails_with(&["row 2", "JSON lines", "say --format jsonl"]);
    predict(b"PAR1\x15\x04\x15", &[]).fails_with(&["a Parquet file", "--format parquet"]);
    predict(b"SQLite format 3\0", &[]).fails_with(&["standard input", "an SQLite database"]);
    let one = predict(b"review\ngood\n", &[]).success();
    assert!(one.stderr.contains("the name of the text column") && one.stderr.contains("--format csv"));
    assert_eq!(predict(b"review\ngood\n", &["--format", "csv"]).success().json_lines().len(), 1);
    // What only looks a little like it is a text.
    for line in ["{smile}", "[sarcasm] great", "good, review, bad", "a review"] {
        let answers = predict(format!("{line}\n").as_bytes(), &[]).success().json_lines();
        assert_eq!(answers[0]["text"], line);
    }
    let directory = directory();
    let file = directory.path().join("a.txt");
    std::fs::write(&file, &objects[1..]).unwrap();
    frosthead(&[&["predict", text(&file)], &model[..]].concat()).fails_with(&["a.txt", "JSON lines"]);
}

#[test]
fn what_predict_wrote_can_be_read_by_it_and_by_eval_and_train() {
    let directory = directory();
    let model = ["--model", text(&tiny().run)];
    let out = |name: &str| directory.path().join(name);
    let predict = |from: &Path, to: &str, more: &[&str]| {
        let out = out(to);
        let base = ["predict", text(from), "--out", text(&out)];
        frosthead(&[&base[..], &model, more].concat()).success().stderr
    };
    let said = predict(&tiny().table, "1.jsonl", &["--top-k", "2"]);
    assert!(!said.contains("columns of its own"), "{said}");
    let said = predict(&out("1.jsonl"), "2.csv", &["--top-k", "2"]);
    assert!(said.contains("input_row, input_domain_predicted"), "{said}");
    predict(&out("2.csv"), "3.tsv", &["--all-probabilities"]);
    predict(&out("3.tsv"), "4.csv", &["--abstain-below", "0.5"]);
    let header = std::fs::read_to_string(out("4.csv")).unwrap();
    let names: Vec<&str> = header.lines().next().unwrap().split(',').collect();
    for name in ["row", "input_row", "input_input_row", "input_input_input_row", "domain_predicted", "review"]
    {
        assert_eq!(names.iter().filter(|column| **column == name).count(), 1, "{name} in {names:?}");
    }
    // Every pass says the same of the same texts.
    let column = |file: &str, name: &str| -> Vec<String> {
        let mut reader = csv::Reader::from_path(out(file)).unwrap();
        let place = reader.headers().unwrap().iter().position(|column| column == name).unwrap();
        reader.records().map(|row| row.unwrap()[place].to_owned()).collect()
    };
    assert_eq!(column("2.csv", "domain_predicted"), column("2.csv", "input_domain_predicted"));
    assert_eq!(column("4.csv", "domain_probability"), column("2.csv", "domain_probability"));
    let eval = |table: &Path| {
        let base = ["eval", text(table), "--json", "--rows", "all"];
        frosthead(&[&base[..], &model].concat()).success().json()["tasks"].clone()
    };
    assert_eq!(eval(&out("4.csv")), eval(&tiny().table));
    let run = out("run");
    let train =
        ["train", text(&out("2.csv")), "--text", "review", "--task", "domain", "--task", "domain_predicted"]
            .map(str::to_owned);
    let train: Vec<&str> = train.iter().map(String::as_str).collect();
    frosthead(&[&train[..], &["--backbone", text(&tiny().backbone), "--out", text(&run)]].concat()).success();
}

#[test]
fn a_model_knows_the_text_column_that_it_was_trained_with() {
    let (directory, made) = (directory(), tiny());
    let other = directory.path().join("other.csv");
    std::fs::write(&other, "body,domain\ngood,tweet\n").unwrap();
    for model in [&made.run, &made.bundle] {
        let model = text(model);
        assert_eq!(
            frosthead(&["predict", text(&made.table), "--model", model]).success().json_lines().len(),
            120
        );
        frosthead(&["eval", text(&made.table), "--model", model, "--rows", "all"]).success();
        frosthead(&[
            "bench",
            "latency",
            text(&made.table),
            "--model",
            model,
            "--limit",
            "2",
            "--rounds",
            "1",
        ])
        .success();
        let said = format!("\"review\", the text column that {model} was trained with");
        for command in ["predict", "eval"] {
            frosthead(
                &[command, text(&other), "--model", model, "--json"][..if command == "eval" { 5 } else { 4 }],
            )
            .fails_with(&["other.csv", &said, "one of body, domain", "--text"]);
        }
        let answers = frosthead(&["predict", text(&other), "--model", model, "--text", "body"]).success();
        assert_eq!(answers.json_lines().len(), 1);
        frosthead(&["predict", text(&other), "--model", model, "--text", "words"])
            .fails_with(&["found \"words\", expected one of body, domain"]);
    }
    // A bundle that was fitted anew still knows it, and what it is fitted on is read by it.
    let fitted = directory.path().join("fitted.frost");
    let refit = |table: &Path, out: &Path, more: &[&str]| {
        let base = ["refit", text(&made.bundle), text(table), "--task", "sentiment", "--out", text(out)];
        frosthead(&[&base[..], more].concat())
    };
    refit(&other, &fitted, &[]).fails_with(&["other.csv", "\"review\", the text column that"]);
    refit(&made.table, &fitted, &[]).success();
    frosthead(&["predict", text(&made.table), "--model", text(&fitted)]).success();
    let inspected =
        |bundle: &Path| frosthead(&["inspect", text(bundle), "--json"]).success().json()["manifest"].clone();
    assert_eq!((&inspected(&fitted)["text"], &inspected(&fitted)["format"]), (&"review".into(), &3.into()));
}

#[test]
fn a_run_finds_its_tables_from_everywhere() {
    let directory = directory();
    let project = directory.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::copy(&tiny().table, project.join("reviews.csv")).unwrap();
    let inside = |place: &Path, arguments: &[&str]| {
        let mut command = command(arguments);
        command.current_dir(place);
        finish(command, arguments)
    };
    let train = ["train", "reviews.csv", "--text", "review", "--task", "domain", "--out", "runs/a"];
    inside(&project, &[&train[..], &["--backbone", text(&tiny().backbone)]].concat()).success();
    let bundle = |place: &Path, run: &Path, out: &str| {
        let out = directory.path().join(out);
        inside(place, &["bundle", text(run), "--keep-validation", "--out", text(&out)])
    };
    bundle(root(), &project.join("runs/a"), "a.frost").success();
    // The run of an older version says just what it was told.
    let recipe = project.join("runs/a/recipe.toml");
    without_hashes(&project.join("runs/a"));
    let new = std::fs::read_to_string(&recipe).unwrap();
    let stored = new.lines().find(|line| line.starts_with("path = ")).unwrap();
    assert!(stored.contains("/project/reviews.csv"), "{stored}");
    std::fs::write(&recipe, new.replace(stored, "path = \"reviews.csv\"")).unwrap();
    bundle(Path::new("/"), &project.join("runs/a"), "b.frost").success();
    std::fs::write(&recipe, &new).unwrap();
    let moved = directory.path().join("moved");
    std::fs::rename(&project, &moved).unwrap();
    bundle(root(), &moved.join("runs/a"), "c.frost").success();
    // The advice, followed.
    std::fs::rename(moved.join("reviews.csv"), directory.path().join("away.csv")).unwrap();
    let run = moved.join("runs/a");
    let refused = bundle(root(), &run, "d.frost");
    refused.fails_with(&["project/reviews.csv", "not there any more", "put it back", "--precision fp32"]);
    let plain = directory.path().join("plain.frost");
    inside(root(), &["bundle", text(&run), "--precision", "fp32", "--out", text(&plain)]).success();
    std::fs::create_dir(&project).unwrap();
    std::fs::rename(directory.path().join("away.csv"), project.join("reviews.csv")).unwrap();
    bundle(root(), &run, "d.frost").success();
}

#[test]
fn windows_are_no_longer_than_what_a_backbone_reads() {
    let directory = directory();
    let embed = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let base = ["embed", text(&tiny().table), "--text", "review", "--backbone", text(&tiny().backbone)];
        frosthead(&[&base[..], &["--out", text(&out)], more].concat())
    };
    let said = embed("a.parquet", &["--long", "windows"]).success().stderr;
    assert!(said.contains("windows of 48 tokens"), "{said}");
    let said = embed("b.parquet", &["--stride", "20"]).success().stderr;
    assert!(said.contains("windows of 48 tokens every 20"), "{said}");
    embed("c.parquet", &["--window", "128"]).fails_with(&["--window 128", "at most 48"]);
    let said = embed("d.parquet", &["--window", "16"]).success().stderr;
    assert!(said.contains("windows of 16 tokens"), "{said}");
}
