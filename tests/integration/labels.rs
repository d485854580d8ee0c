//! Labels as people have them: classes with one row, labels that training never saw, spellings,
//! contradictions, and nothing to measure.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Finished, backbone, directory, frosthead, real, text, without_hashes};

const CATS: [&str; 4] = ["purrs on the sofa", "chases a mouse", "sleeps in the sun", "climbs the curtain"];
const DOGS: [&str; 4] = ["barks at the mail", "fetches a stick", "wags its tail", "digs in the garden"];

/// Sixty short texts of two classes, every third of which lies in another group, and then further rows.
fn table(path: &Path, more: &[(&str, &str)]) -> String {
    let mut writer = csv::Writer::from_path(path).unwrap();
    writer.write_record(["text", "animal", "group"]).unwrap();
    for row in 0..60 {
        let (who, what) = [("cat", CATS), ("dog", DOGS)][row % 2];
        let said = format!("the {who} number {row} {}", what[row / 2 % 4]);
        writer.write_record([said.as_str(), who, if row % 3 == 0 { "third" } else { "other" }]).unwrap();
    }
    more.iter().for_each(|(said, label)| writer.write_record([said, label, "more"]).unwrap());
    writer.flush().unwrap();
    text(path).to_owned()
}

fn train(data: &str, out: &Path, more: &[&str]) -> Finished {
    train_on(backbone(), data, out, more)
}

fn train_on(backbone: &str, data: &str, out: &Path, more: &[&str]) -> Finished {
    let common = ["train", data, "--backbone", backbone, "--task", "animal", "--out", text(out)];
    frosthead(&[&common[..], more].concat())
}

#[track_caller]
fn says(finished: &Finished, parts: &[&str]) {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

/// What the table for people says of a label, from `metrics.json` or `eval --json`.
fn label<'v>(metrics: &'v Value, name: &str) -> &'v Value {
    let all = metrics["tasks"]["animal"]["per_label"].as_array().unwrap();
    all.iter().find(|label| label["label"] == name).unwrap_or_else(|| panic!("{name}: {metrics}"))
}

const LONELY: [(&str, &str); 2] =
    [("a goldfish swims in its bowl", "fish"), ("the parrot says good morning", "bird")];

#[test]
fn a_class_with_one_row_is_learned_from_and_never_tested() {
    let directory = directory();
    let data = table(&directory.path().join("data.csv"), &LONELY);
    for (name, more) in [("plain", &[][..]), ("auto", &["--alpha", "auto", "--class-weight", "balanced"])] {
        let out = directory.path().join(name);
        let finished = train_on(real(), &data, &out, &[more, &["--json"]].concat()).success();
        says(&finished, &["\"cat\" 30, \"dog\" 30, \"bird\" 1, \"fish\" 1"]);
        says(&finished, &["2 classes with a single row: \"bird\", \"fish\"", "never tested", "--rare drop"]);
        let metrics = finished.json();
        assert_eq!(metrics["tasks"]["animal"]["labels"], serde_json::json!(["bird", "cat", "dog", "fish"]));
        assert_eq!(metrics["classes"]["animal"]["single"], serde_json::json!(["bird", "fish"]));
        // No test row has it: there is no recall, and not one of 0.
        let bird = label(&metrics, "bird");
        assert_eq!((&bird["rows"], &bird["recall"]), (&0.into(), &Value::Null));
        assert!(label(&metrics, "cat")["recall"].as_f64().unwrap() > 0.5);
        let said = frosthead(&["predict", &data, "--model", text(&out)]).success().json_lines();
        assert_eq!(said[60]["animal_predicted"], "fish", "it was learned: {}", said[60]);
    }
    // An unchanged run says it again.
    says(
        &train_on(real(), &data, &directory.path().join("plain"), &[]).success(),
        &["up to date", "2 classes with a single"],
    );
}

#[test]
fn rows_of_classes_with_one_row_are_kept_out_when_asked_for() {
    let directory = directory();
    let data = table(&directory.path().join("data.csv"), &LONELY);
    let out = directory.path().join("run");
    let finished = train(&data, &out, &["--rare", "drop", "--json"]).success();
    says(&finished, &["2 rows were kept out of this task", "--rare drop", "\"bird\", \"fish\""]);
    let metrics = finished.json();
    assert_eq!(metrics["tasks"]["animal"]["labels"], serde_json::json!(["cat", "dog"]));
    assert_eq!(
        (&metrics["classes"]["animal"]["kept_out"], &metrics["unlabelled"]["animal"]),
        (&2.into(), &0.into())
    );
    assert!(std::fs::read_to_string(out.join("recipe.toml")).unwrap().contains("rare = \"drop\""));
    says(&train(&data, &out, &["--rare", "drop"]).success(), &["up to date", "kept out of this task"]);
    train(&data, &out, &[]).fails_with(&["made from something else"]);
    // What the gate judges is what was learned.
    let bundle = directory.path().join("small.frost");
    let more = ["--precision", "w8", "--max-drop", "100", "--out", text(&bundle)];
    frosthead(&[&["bundle", text(&out)], &more[..]].concat()).success();
    // Nothing is left to tell apart.
    let two = directory.path().join("two.csv");
    std::fs::write(&two, "text,animal\na,cat\nb,cat\nc,dog\n").unwrap();
    let other = directory.path().join("other");
    train(text(&two), &other, &["--rare", "drop"]).fails_with(&[
        "all the same",
        "\"cat\" in all 2 rows",
        "--rare train",
    ]);
    says(&train(text(&two), &other, &["--rare", "train"]).success(), &["nothing to measure: no test row"]);
}

#[test]
fn a_label_of_every_row_is_refused_unless_another_file_has_it_too() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("one.csv"), "text,animal\na cat purrs,cat\na dog barks,dog\n").unwrap();
    let one = text(&path("one.csv")).to_owned();
    train(&one, &path("run"), &[]).fails_with(&["label of its own", "2 labels in 2 rows", "--test FILE"]);
    // What the help says is right.
    let test = table(&path("test.csv"), &[]);
    let finished = train(&one, &path("run"), &["--test", &test, "--json"]).success();
    assert_eq!(finished.json()["tasks"]["animal"]["rows"], 60);
    says(&finished, &["2 classes with a single row"]);
    let strangers: String = (0..300).map(|row| format!("text {row},label {}\n", row % 295)).collect();
    std::fs::write(path("ids.csv"), format!("text,animal\n{strangers}")).unwrap();
    train(text(&path("ids.csv")), &path("ids"), &[]).fails_with(&["nearly every row", "--rare drop"]);
    says(
        &train(text(&path("ids.csv")), &path("ids"), &["--rare", "drop"]).success(),
        &["290 rows were kept out"],
    );
}

#[test]
fn a_label_that_training_never_saw_counts_as_wrong_and_is_a_line_of_its_own() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &[]), path("run"));
    train(&data, &run, &[]).success();
    let new = [("the horse gallops over the field", "horse"), ("the horse eats a carrot", "horse")];
    let odd = table(&path("odd.csv"), &new);
    let line = "animal: training never saw the label \"horse\": 2 rows, counted as wrong";
    let eval = ["eval", &odd, "--model", text(&run), "--rows", "all"];
    let printed = frosthead(&[&eval[..], &["--by", "group"]].concat()).success();
    assert_eq!(printed.stdout.matches(line).count(), 2, "of all rows and of their group: {}", printed.stdout);
    let known =
        frosthead(&["eval", &data, "--model", text(&run), "--rows", "all", "--json"]).success().json();
    let errors = path("errors.csv");
    let found = frosthead(&[&eval[..], &["--json", "--errors", text(&errors), "--coverage"]].concat())
        .success()
        .json();
    let of = |found: &Value| found["tasks"]["animal"]["accuracy"].as_f64().unwrap();
    assert!((of(&found) - of(&known) * 60.0 / 62.0).abs() < 1e-12, "two more rows, both wrong");
    assert_eq!(found["tasks"]["animal"]["unseen"], serde_json::json!(["horse"]));
    let horse = label(&found, "horse");
    assert_eq!((&horse["unseen"], &horse["rows"], &horse["f1"]), (&true.into(), &2.into(), &0.0.into()));
    assert_eq!(horse["precision"], Value::Null);
    // Three labels occur: macro-F1 is the mean of three.
    let f1 = |name: &str| label(&found, name)["f1"].as_f64().unwrap();
    let mean = (f1("cat") + f1("dog")) / 3.0;
    assert!((found["tasks"]["animal"]["macro_f1"].as_f64().unwrap() - mean).abs() < 1e-12, "{found}");
    assert_eq!(found["coverage"]["animal"][0]["accuracy"], found["tasks"]["animal"]["accuracy"]);
    let errors = std::fs::read_to_string(&errors).unwrap();
    assert_eq!(errors.lines().filter(|line| line.contains(",animal,horse,")).count(), 2, "{errors}");

    // The same in the test and validation rows of a training, of heads and of layers.
    let test = ["--test", &odd, "--valid", &odd];
    let valid = table(&path("valid.csv"), &[("the horse sleeps standing", "horse")]);
    let other = std::fs::read_to_string(&valid).unwrap().replace(" number ", " with number ");
    std::fs::write(&valid, other).unwrap();
    let more = [("the cat and a bird", "cat"), ("the dog and a ball", "dog")];
    let rest = path("rest.csv");
    std::fs::write(
        &rest,
        format!(
            "text,animal\n{}",
            (0..20)
                .map(|row| {
                    let (said, label) = more[row % 2];
                    format!("{said} {row},{label}\n")
                })
                .collect::<String>()
        ),
    )
    .unwrap();
    for (name, layers) in [("heads", &[][..]), ("layers", &["--freeze", "backbone:0-4", "--epochs", "1"])] {
        let out = path(name);
        let finished =
            train(text(&rest), &out, &[&["-v", "--test", &odd, "--valid", &valid], layers].concat())
                .success();
        says(&finished, &[line, "60 validation rows"]);
    }
    train(text(&rest), &path("both"), &test).success();
    // The gate and the carried validation rows have such rows too.
    let bundle = path("x.frost");
    let more = ["--precision", "w8", "--max-drop", "100", "--keep-validation", "--out", text(&bundle)];
    let bundled = frosthead(&[&["bundle", text(&path("heads"))], &more[..]].concat()).success();
    says(&bundled, &["features of 61 validation rows are kept"]);
    let again = path("y.frost");
    let more = ["--task", "animal", "--valid", &valid, "--out", text(&again)];
    let again = frosthead(&[&["refit", text(&bundle), &odd], &more[..]].concat()).success();
    let of_horse: Vec<&str> = again.stdout.lines().filter(|line| line.contains("horse")).collect();
    assert!(of_horse.iter().any(|line| line.starts_with("kept")), "{}", again.stdout);
}

#[test]
fn classes_are_printed_with_their_counts_and_what_looks_wrong_is_named() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let more = [
        ("a first cat of capitals", "Cat "),
        ("a second cat of capitals", "Cat "),
        ("the caf\u{e9} is closed", "caf\u{e9}"),
        ("the cafe is open", "cafe\u{301}"),
        ("the cat number 0 purrs on the sofa", "dog"),
        ("the cat number 0 purrs on the sofa", "cat"),
    ];
    let finished = train(&table(&path("data.csv"), &more), &path("run"), &[]).success();
    says(
        &finished,
        &[
            "animal: 5 classes by rows: \"cat\" 31, \"dog\" 31",
            "differ only by white space, case or Unicode form",
            "\"Cat \" (2) and \"cat\" (31)",
            "\"cafe<U+0301>\" (1) and \"café\" (1)",
            "1 text stands more than once, with contradicting labels (3 rows): row 1 \"cat\" and row 65 \"dog\"",
        ],
    );
    let metrics: Value =
        serde_json::from_slice(&std::fs::read(path("run").join("metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["classes"]["animal"]["contradictions"]["texts"], 1);
    assert_eq!(metrics["classes"]["animal"]["alike"].as_array().unwrap().len(), 2);
    assert_eq!(metrics["tasks"]["animal"]["labels"].as_array().unwrap().len(), 5, "nothing is merged");
    // Many classes: the ends, in few words.
    let many: Vec<(String, String)> =
        (0..80).map(|row| (format!("animal number {row}"), format!("kind {}", row / 2))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(said, label)| (said.as_str(), label.as_str())).collect();
    let finished = train(&table(&path("many.csv"), &many), &path("many"), &[]).success();
    says(&finished, &["42 classes by rows; most frequent: \"cat\" 30, \"dog\" 30", "; rarest: \"kind 9\" 2"]);
    let longest = finished.stderr.lines().map(str::len).max().unwrap();
    assert!(longest < 400, "a line of {longest} characters");
    // A contradiction with a row of another file.
    let test = table(&path("test.csv"), &[]);
    let mut other = std::fs::read_to_string(&test).unwrap().replace("sofa,cat", "sofa,dog");
    other.truncate(other.lines().take(20).map(|line| line.len() + 1).sum());
    std::fs::write(path("test.csv"), other).unwrap();
    let finished = train(&table(&path("data.csv"), &[]), &path("files"), &["--test", &test]).success();
    says(&finished, &["row 1 \"cat\" and row 1 of", "test.csv \"dog\""]);
}

#[test]
fn a_bundle_does_not_know_what_is_unseen() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run, bundle) = (table(&path("data.csv"), &[]), path("run"), path("x.frost"));
    train(&data, &run, &[]).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let eval = ["eval", &data, "--model", text(&bundle)];
    let printed = frosthead(&[&eval[..], &["--by", "group"]].concat()).success();
    says(
        &printed,
        &["60 rows", "a bundle keeps no list of the rows it was trained on", "all rows; which of them"],
    );
    let said = format!("{}{}", printed.stdout, printed.stderr).replace("can be called unseen", "");
    assert!(!said.contains("unseen") && !said.contains("are new") && !said.contains("0 were"), "{said}");
    let found = frosthead(&[&eval[..], &["--json"]].concat()).success().json();
    let expected = serde_json::json!({"total": 60, "train": null, "valid": null, "test": null, "new": null});
    assert_eq!((&found["rows"], &found["measured"]), (&expected, &"all".into()));
    for rows in ["unseen", "test", "valid", "train"] {
        frosthead(&[&eval[..], &["--rows", rows]].concat()).fails_with(&["not known", "--rows all"]);
    }
    let all = frosthead(&[&eval[..], &["--rows", "all", "--json"]].concat()).success().json();
    assert_eq!(all["tasks"], found["tasks"]);
    // The run knows.
    let known = frosthead(&["eval", &data, "--model", text(&run), "--json"]).success().json();
    assert_eq!((&known["measured"], &known["rows"]["new"]), (&"unseen".into(), &0.into()));
}

#[test]
fn an_unseen_label_that_looks_like_a_known_one_is_named_with_it() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &[("the caf\u{e9} is closed", "caf\u{e9}")]), path("run"));
    train(&data, &run, &[]).success();
    let new = [
        ("a first cat of capitals", "Cat "),
        ("a second cat of capitals", "Cat "),
        ("the cafe is open", "cafe\u{301}"),
        ("the horse gallops over the field", "horse"),
    ];
    let odd = table(&path("odd.csv"), &new);
    for more in [&[][..], &["--json"]] {
        let eval = ["eval", &odd, "--model", text(&run), "--rows", "all"];
        let said = frosthead(&[&eval[..], more].concat()).success().stderr;
        let line = said.lines().find(|line| line.contains("white space, case or Unicode form")).unwrap();
        assert!(line.contains("\"Cat \" (2 rows) and \"cat\""), "{line}");
        assert!(line.contains("\"cafe<U+0301>\" (1 row) and \"caf\u{e9}\""), "{line}");
        assert!(!line.contains("horse"), "{line}");
    }
    let known = frosthead(&["eval", &data, "--model", text(&run), "--rows", "all"]).success().stderr;
    assert!(!known.contains("Unicode form"), "{known}");
}

#[test]
fn rows_that_were_kept_out_of_training_are_kept_out_of_measuring() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &LONELY), path("run"));
    let trained = train(&data, &run, &["--rare", "drop", "--json"]).success().json();
    let eval = |data: &str, rows: &str| {
        let eval = ["eval", data, "--model", text(&run), "--rows", rows, "--json"];
        frosthead(&eval).success()
    };
    let all = eval(&data, "all");
    says(&all, &["(--rare drop), are not measured: 2"]);
    let all = all.json();
    assert_eq!((&all["tasks"]["animal"]["rows"], &all["rows"]["total"]), (&60.into(), &62.into()));
    assert_eq!(all["tasks"]["animal"]["unseen"], Value::Null);
    assert_eq!(eval(&data, "test").json()["tasks"]["animal"], trained["tasks"]["animal"]);
    // A row that was not there has a label that training never saw.
    let odd = table(&path("odd.csv"), &[("another fish", "fish")]);
    let odd = eval(&odd, "all").json();
    assert_eq!(odd["tasks"]["animal"]["unseen"], serde_json::json!(["fish"]));
    assert_eq!(odd["tasks"]["animal"]["rows"], 61);
}

#[test]
fn rows_that_are_known_by_other_things_are_not_called_new() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = table(&path("data.csv"), &[]);
    let features = path("features.parquet");
    frosthead(&["embed", &data, "--backbone", backbone(), "--out", text(&features)]).success();
    let read = {
        let cells = ["animal".into()];
        let asked = frosthead::internal::data::FeatureColumns { cells: &cells, ..Default::default() };
        frosthead::internal::data::read_labelled_features(&features, &asked).unwrap()
    };
    // The same features without the texts' hashes, as made elsewhere.
    let stripped = path("stripped.parquet");
    write_without_keys(&stripped, &read);
    let run = path("run");
    frosthead(&["train", text(&features), "--task", "animal", "--out", text(&run)]).success();
    let found = frosthead(&["eval", text(&stripped), "--model", text(&run), "--json"]).success();
    says(&found, &["cannot be compared"]);
    assert_eq!(found.json()["rows"]["new"], Value::Null);
    let found = frosthead(&["eval", text(&features), "--model", text(&run), "--json"]).success().json();
    assert_eq!(found["rows"]["new"], 0);
}

#[test]
fn nothing_to_measure_is_said_and_is_no_zero() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &[]), path("run"));
    let finished =
        train(&data, &run, &["-v", "--test-fraction", "0", "--valid-fraction", "0", "--json"]).success();
    says(
        &finished,
        &["animal: nothing to measure: no test row has a label", "60 training rows held out of a fit"],
    );
    let metrics = finished.json();
    for part in ["tasks", "valid"] {
        let own = &metrics[part]["animal"];
        for figure in ["accuracy", "accuracy_standard_error", "macro_f1", "macro_f1_standard_error", "ece"] {
            assert_eq!(own[figure], Value::Null, "{part} {figure}: {own}");
        }
    }
    says(
        &train(&data, &run, &["--test-fraction", "0", "--valid-fraction", "0"]).success(),
        &["0  nothing to measure"],
    );
    let missed = ["--test-fraction", "0", "--valid-fraction", "0", "--min-f1", "0.1"];
    says(&train(&data, &run, &missed).exits(1), &["--min-f1 0.1 is not met"]);

    let bare: String = (0..5).map(|row| format!("a text {row},,{}\n", row % 2)).collect();
    std::fs::write(path("bare.csv"), format!("text,animal,group\n{bare}")).unwrap();
    let bare = text(&path("bare.csv")).to_owned();
    let eval =
        |data: &str, more: &[&str]| frosthead(&[&["eval", data, "--model", text(&run)], more].concat());
    for more in [&[][..], &["--coverage"], &["--by", "group"], &["--min-f1", "0.5"]] {
        let finished = eval(&bare, more).fails_with(&["nothing to measure", "bare.csv", "animal"]);
        assert!(
            finished.stdout.contains("0  nothing to measure") && !finished.stdout.contains("0.000"),
            "{}",
            finished.stdout
        );
    }
    // What is advised works, or is not advised.
    let all =
        eval(&bare, &["--rows", "all"]).fails_with(&["nothing to measure", "no row of the table has one"]);
    assert!(!all.stderr.contains("--rows"), "{}", all.stderr);
    assert!(!eval(&bare, &[]).exits(2).stderr.contains("--rows"));
    let new = table(&path("new.csv"), &[("nobody knows of it", "")]);
    eval(&new, &[]).fails_with(&["or say --rows all: 60 others have one"]);
    eval(&new, &["--rows", "all"]).success();
    for rows in ["test", "valid"] {
        eval(&data, &["--rows", rows]).fails_with(&["the table that the run was trained on", "--rows all"]);
    }
    assert_eq!(eval(&bare, &["--json"]).exits(2).json()["tasks"]["animal"]["accuracy"], Value::Null);
    // All rows were trained on: none is unseen.
    let none = eval(&data, &[]).fails_with(&["nothing to measure", "60 were trained on", "--rows all"]);
    assert!(!none.stderr.contains("Seen"), "{}", none.stderr);
    eval(&data, &["--rows", "all"]).success();
    // A group without labels beside others is a line of the table.
    let some = table(&path("some.csv"), &[("nobody knows", "")]);
    let printed = eval(&some, &["--rows", "all", "--by", "group"]).success().stdout;
    assert!(printed.contains("group = more\n") && printed.contains("0  nothing to measure"), "{printed}");
}

#[test]
fn no_figure_has_an_error_of_nothing() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &[]), path("run"));
    train(&data, &run, &[]).success();
    // All right, out of few; and one row.
    let one = path("one.csv");
    std::fs::write(&one, "text,animal\nthe cat number 77 purrs on the sofa,cat\n").unwrap();
    for (data, accuracy) in [(data.as_str(), "1.000 ± 0.0"), (text(&one), "1.000  ")] {
        let eval = ["eval", data, "--model", text(&run), "--rows", "all"];
        let printed = frosthead(&eval).success().stdout;
        assert!(printed.contains(accuracy) && !printed.contains("± 0.000"), "{printed}");
    }
    let out = path("compare");
    let compare = ["compare", &data, "--backbone", backbone(), "--task", "animal", "--out", text(&out)];
    let more = ["--scenarios", "1,2", "--learning-curve", "5%,100%", "--alpha", "auto"];
    let printed = frosthead(&[&compare[..], &more[..]].concat()).success();
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for said in [&printed.stdout, &printed.stderr, &page] {
        assert!(!said.contains("± 0.000") && !said.contains("± 0.0 "), "{said}");
    }
    // The best choice of features differs from itself by nothing, and that is no error.
    let auto = train(&data, &path("auto"), &["--features", "auto", "-v"]).success();
    says(&auto, &["held-out accuracy of"]);
    let errors = auto.stderr.split("± ").skip(1).map(|after| {
        let digits = after.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        after[..digits.unwrap_or(after.len())].parse::<f64>().unwrap()
    });
    assert!(errors.min_by(f64::total_cmp).is_none_or(|least| least > 0.0), "{}", auto.stderr);
}

#[test]
fn a_comparison_learns_from_rare_classes_and_measures_what_it_can() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = table(&path("data.csv"), &LONELY);
    let test = table(&path("test.csv"), &[("the horse eats a carrot", "horse")]);
    let test = {
        let other = std::fs::read_to_string(&test).unwrap().replace(" number ", " with number ");
        std::fs::write(path("test.csv"), other).unwrap();
        test
    };
    for (name, rare) in [("train", "train"), ("drop", "drop")] {
        let out = path(name);
        let compare = ["compare", &data, "--backbone", backbone(), "--task", "animal", "--out", text(&out)];
        let more = ["--scenarios", "2", "--learning-curve", "1%,30%,100%", "--rare", rare, "--test", &test];
        let finished = frosthead(&[&compare[..], &more[..]].concat()).success();
        let curve: Vec<&str> =
            finished.stdout.lines().filter(|line| line.starts_with("scenario 2 on")).collect();
        assert!(curve.len() == 3 && curve[0].contains("too few labels"), "{curve:?}");
        assert!(curve[2].contains("animal 0."), "{curve:?}");
        let single = if rare == "train" { "learned from and never tested" } else { "2 rows were kept out" };
        says(&finished, &[single]);
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains(">horse<"), "a row of the confusion matrix");
    }
}

#[test]
fn a_hash_that_differs_in_its_last_digit_looks_different() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (data, run) = (table(&path("data.csv"), &[]), path("run"));
    train(&data, &run, &[]).success();
    without_hashes(&run);
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    let hash =
        recipe.split("[backbone]").nth(1).unwrap().split("fingerprint = \"").nth(1).unwrap()[..64].to_owned();
    let last = if hash.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &hash[..63]);
    std::fs::write(run.join("recipe.toml"), recipe.replace(&hash, &other)).unwrap();
    frosthead(&["eval", &data, "--model", text(&run)]).fails_with(&["not the one", &hash, &other]);
}

/// Writes a Parquet of features whose rows are known by nothing but their vectors.
fn write_without_keys(path: &Path, table: &frosthead::internal::data::FeatureTable) {
    use std::sync::Arc;

    use arrow_array::types::Float32Type;
    use arrow_array::{ArrayRef, ListArray, RecordBatch, StringArray};

    let vectors = table.features.chunks_exact(table.width);
    let vectors = vectors.map(|row| Some(row.iter().map(|number| Some(*number)).collect::<Vec<_>>()));
    let embedding: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
    let labels: StringArray = table.cells[0].iter().map(frosthead::internal::data::Cell::label).collect();
    let batch =
        RecordBatch::try_from_iter([("embedding", embedding), ("animal", Arc::new(labels) as ArrayRef)])
            .unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
