//! What people read: nothing wider than the terminal, what they want first, and figures that are those of the
//! files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Finished, backbone, command, demo, directory, finish, frosthead, text};

const TASKS: [&str; 6] = ["--task", "domain", "--any-of", "tags", "--number", "size"];

/// A table of every kind of task, of which a few rows have no number; and a run on it.
fn made() -> &'static (String, PathBuf) {
    static MADE: OnceLock<(String, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = directory().keep();
        let path = place.join("data.csv");
        let mut reader = csv::Reader::from_path(demo(300)).unwrap();
        let mut writer = csv::Writer::from_path(&path).unwrap();
        writer.write_record(["text", "domain", "tags", "size"]).unwrap();
        for (place, record) in reader.records().map(Result::unwrap).enumerate() {
            let tags =
                if place % 3 == 0 { record[2].to_owned() } else { format!("{};{}", &record[1], &record[2]) };
            let size = if place % 50 == 7 { String::new() } else { (record[0].len() / 10).to_string() };
            writer.write_record([&record[0], &record[1], &tags, &size]).unwrap();
        }
        writer.flush().unwrap();
        let run = place.join("run");
        let data = text(&path).to_owned();
        train(&data, &run, &[]).success();
        (data, run)
    })
}

fn train(data: &str, out: &Path, more: &[&str]) -> Finished {
    let common = ["train", data, "--backbone", backbone(), "--out", text(out)];
    frosthead(&[&common[..], &TASKS, more].concat())
}

/// The same command where there is no terminal, and nobody says how wide one would be.
fn plain(arguments: &[&str]) -> Finished {
    let mut command = command(arguments);
    command.env_remove("COLUMNS");
    finish(command, arguments)
}

/// Lines of more columns, but for single words, which nothing can fold.
fn too_wide(finished: &Finished, most: usize) -> Vec<String> {
    let lines = finished.stdout.lines().chain(finished.stderr.lines());
    let wide = lines.filter(|line| line.chars().count() > most && line.trim().contains(' '));
    wide.map(str::to_owned).collect()
}

#[test]
fn nothing_is_wider_than_a_hundred_columns() {
    let (data, run) = made();
    let place = directory();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (fitted, compared, bundle, kept) =
        (path("run"), path("compare"), path("x.frost"), path("kept.frost"));
    let on = ["--backbone", backbone()];
    let auto =
        [&["train", data], &on[..], &["--out", &fitted], &TASKS, &["--features", "auto", "-v"]].concat();
    let dial =
        ["--scenarios", "1,2,3:domain,top1", "--epochs", "1", "--depths", "0,6", "--precision", "fp32"];
    let compare = [&["compare", data], &on[..], &["--out", &compared], &TASKS, &dial].concat();
    let run = text(run);
    let calls: Vec<Vec<&str>> = vec![
        vec!["import"],
        auto,
        vec!["eval", data, "--model", run, "--rows", "all", "--report", "--coverage", "--by", "domain"],
        compare,
        vec!["bundle", run, "--out", &bundle, "--precision", "auto", "--depth", "auto", "--max-drop", "100"],
        vec!["bundle", run, "--out", &kept, "--keep-validation"],
        vec!["inspect", backbone()],
        vec!["inspect", run],
        vec!["inspect", &kept],
        vec!["inspect", &kept, "--privacy"],
        vec!["doctor"],
        vec!["doctor", &bundle, "--on", data],
        vec!["cache", "list"],
        vec!["cache", "verify"],
        vec!["bench", "latency", data, "--model", &bundle, "--limit", "5", "--rounds", "1"],
        vec!["bench", "embed", data, on[0], on[1], "--limit", "20", "--rounds", "1"],
    ];
    for call in &calls {
        let finished = plain(call).success();
        let wide = too_wide(&finished, 100);
        assert!(wide.is_empty(), "`{}` prints lines of more than 100 columns: {wide:#?}", finished.command);
    }
    let again = path("y.frost");
    let refit = ["refit", &kept, data, "--out", &again, "--task", "domain", "-v"];
    let finished = plain(&refit).success();
    assert!(too_wide(&finished, 100).is_empty(), "{:#?}", too_wide(&finished, 100));
    // What clap's --help goes by, too.
    let arguments = ["eval", data, "--model", run, "--rows", "all", "--report"];
    let mut narrow = command(&arguments);
    narrow.env("COLUMNS", "60");
    let finished = finish(narrow, &arguments).success();
    assert!(too_wide(&finished, 60).is_empty(), "{:#?}", too_wide(&finished, 60));
    // A mistake is said in no wider lines.
    let finished =
        plain(&["train", data, "--backbone", "nowhere/at/all", "--task", "domain", "--out", &fitted])
            .exits(2);
    assert!(too_wide(&finished, 100).is_empty(), "{}", finished.stderr);
}

#[test]
fn train_says_what_people_want_first_and_the_optimisers_words_when_asked() {
    let (data, run) = made();
    let place = directory();
    let (first, all) = (place.path().join("run"), place.path().join("all"));
    let made = train(data, &first, &[]).success();
    for word in ["gradient", "alpha", "temperature", "held-out"] {
        assert!(!made.stderr.contains(word), "{word}: {}", made.stderr);
    }
    let told = train(data, &place.path().join("told"), &["-v"]).success();
    for word in ["gradient", "alpha", "temperature"] {
        assert!(told.stderr.contains(word), "{word}: {}", told.stderr);
    }
    // A number is no label.
    assert!(made.stderr.contains("size: 6 rows without a number were left out"), "{}", made.stderr);
    let metrics: Value = serde_json::from_slice(&std::fs::read(first.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["described"].as_object().unwrap().len(), 2, "a number has no description");
    // What costs no training: the most frequent class, and labels by their names, as `--freeze all` takes them.
    let one = &metrics["tasks"]["domain"];
    let counts = metrics["classes"]["domain"]["rows"].as_object().unwrap();
    let (most, _) = counts.iter().max_by_key(|(_, rows)| rows.as_u64()).unwrap();
    let right = one["per_label"].as_array().unwrap().iter().find(|label| label["label"] == **most).unwrap();
    let majority = right["rows"].as_f64().unwrap() / one["rows"].as_f64().unwrap();
    train(data, &all, &["--freeze", "all"]).success();
    let named: Value = serde_json::from_slice(&std::fs::read(all.join("metrics.json")).unwrap()).unwrap();
    let described = named["tasks"]["domain"]["accuracy"].as_f64().unwrap();
    assert_eq!(metrics["described"]["domain"]["score"].as_f64().unwrap(), described);
    let line = made.stdout.lines().find(|line| line.starts_with("domain ")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    let accuracy = format!("{:.3}", one["accuracy"].as_f64().unwrap());
    assert_eq!(
        (cells[2], cells[5], cells[6]),
        (&*accuracy, &*format!("{majority:.3}"), &*format!("{described:.3}"))
    );
    // The worst class, and one thing to try.
    let worst = one["per_label"].as_array().unwrap().iter().filter(|label| label["rows"] != 0);
    let worst =
        worst.min_by(|a, b| a["f1"].as_f64().unwrap_or(9.0).total_cmp(&b["f1"].as_f64().unwrap_or(9.0)));
    let worst = worst.unwrap()["label"].as_str().unwrap();
    assert!(made.stdout.contains(&format!("domain: worst of 4 classes by F1: {worst} ")), "{}", made.stdout);
    assert_eq!(made.stdout.lines().filter(|line| line.starts_with("next: ")).count(), 1, "{}", made.stdout);
    // Once more nothing is trained, and the same is said.
    assert_eq!(train(data, run, &[]).success().stdout, made.stdout.replace(text(&first), text(run)));
}

#[test]
fn a_report_shows_classes_and_which_are_taken_for_which() {
    let (data, run) = made();
    let eval = |more: &[&str]| {
        frosthead(&[&["eval", data, "--model", text(run), "--rows", "all"], more].concat()).success()
    };
    let (said, json) = (eval(&["--report"]).stdout, eval(&["--json"]).json());
    let one = &json["tasks"]["domain"];
    for (place, label) in one["labels"].as_array().unwrap().iter().enumerate() {
        let label = label.as_str().unwrap();
        let counts = one["confusion"][place].as_array().unwrap().iter().map(ToString::to_string);
        let expected: Vec<String> = std::iter::once(label.to_owned()).chain(counts).collect();
        let found = said.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == expected);
        assert!(found, "{expected:?} is not in {said}");
        let f1 = format!("{:.3}", one["per_label"][place]["f1"].as_f64().unwrap());
        let found = said.lines().any(|line| line.starts_with(label) && line.contains(&f1));
        assert!(found, "{label} {f1} is not in {said}");
    }
    for part in ["tags: 7 labels, the worst first", "avg. prec.", "size: how far answers are off", "90 %"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // By chance of the middle, the mean of what is off is not what is printed for half of the rows.
    let half = said.lines().find(|line| line.trim().starts_with("50 %")).unwrap();
    let most = said.lines().find(|line| line.trim().starts_with("100 %")).unwrap();
    let number = |line: &str| line.split_whitespace().last().unwrap().parse::<f64>().unwrap();
    assert!(0.0 < number(half) && number(half) < number(most), "{said}");
    let arguments = ["eval", data, "--model", text(run), "--report", "--json"];
    frosthead(&arguments).fails_with(&["--report", "--json"]);
}

#[test]
fn trying_depths_does_not_fill_a_log() {
    let (_, run) = made();
    let place = directory();
    let out = place.path().join("x.frost");
    let arguments = [
        "bundle",
        text(run),
        "--out",
        text(&out),
        "--precision",
        "fp32",
        "--depth",
        "auto",
        "--max-drop",
        "-90",
    ];
    let finished = frosthead(&arguments).exits(1);
    // On a slow machine there are signs of life, one in ten seconds.
    let lines = finished.stderr.lines().filter(|line| !line.ends_with("so far")).count();
    assert!(lines <= 10, "{lines} lines: {}", finished.stderr);
    let told = frosthead(&[&arguments[..], &["-v"]].concat()).exits(1);
    assert!(told.stderr.contains("judging depth 0"), "{}", told.stderr);
}

#[test]
fn a_plain_bundle_says_why_texts_cannot_be_compared() {
    let (data, run) = made();
    let place = directory();
    let bundle = place.path().join("x.frost");
    frosthead(&["bundle", text(run), "--out", text(&bundle)]).success();
    let said = frosthead(&["doctor", text(&bundle), "--on", data]).success().stdout;
    assert!(said.contains("nothing to compare them with") && said.contains("--precision auto"), "{said}");
}

#[test]
fn colours_are_for_terminals_and_never_alone() {
    let (data, run) = made();
    // Python's standard library gives a command a terminal of its own.
    let script = "import os, pty, sys\nos.environ['COLUMNS'] = '80'\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let seen = |no_colour: &str| {
        let program = command(&[]);
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(program.get_program());
        python.args(["eval", data, "--model", text(run), "--rows", "all"]).env("NO_COLOR", no_colour);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => python.env(name, value),
                None => python.env_remove(name),
            };
        }
        String::from_utf8_lossy(&python.current_dir(crate::harness::root()).output().unwrap().stdout)
            .into_owned()
    };
    let (bold, plain) = (seen(""), seen("1"));
    assert!(bold.contains("\x1b[1mtask"), "{bold:?}");
    assert!(!plain.contains("\x1b[1m") && plain.contains("task"), "{plain:?}");
    assert_eq!(bold.matches("domain").count(), plain.matches("domain").count());
}
