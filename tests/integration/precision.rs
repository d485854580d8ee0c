//! Bundles in other precisions: small, close, judged by labels, the same bytes twice, and refused when they
//! cost too much.

use std::path::Path;

use crate::harness::{backbone, demo, directory, frosthead, real, text};

fn trained(data: &Path, run: &Path) {
    trained_on(real(), data, run);
}

fn trained_on(backbone: &str, data: &Path, run: &Path) {
    let arguments = ["train", text(data), "--backbone", backbone, "--out", text(run)];
    let tasks = ["--task", "domain", "--task", "sentiment", "--alpha", "1000"];
    frosthead(&[&arguments[..], &tasks[..]].concat()).success();
}

#[test]
fn a_bundle_in_eight_bits_is_small_close_and_says_what_it_costs() {
    let (directory, data) = (directory(), demo(600));
    let path = |name: &str| directory.path().join(name);
    let (run, bundle, again) = (path("run"), path("int8.frost"), path("again.frost"));
    trained(&data, &run);
    let bundled = |out: &Path, precision: &[&str]| {
        let made = frosthead(&[&["bundle", text(&run), "--out", text(out)], precision].concat()).success();
        let report = std::fs::read(run.join("precision.json")).unwrap();
        (made, serde_json::from_slice::<serde_json::Value>(&report).unwrap())
    };
    let (made, report) = bundled(&bundle, &["--precision", "auto", "--table-bits", "8", "--max-drop", "5"]);
    assert_eq!((&report["asked"], &report["max_drop"]), (&"auto, 8-bit table".into(), &5.0.into()));
    assert_eq!(report["chosen"], "int8", "{report}");
    // int8, and with exceptions: the ones that lose most; then w8 and fp32.
    let variants = report["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 4);
    let variants = &variants[..2];
    assert!(variants[0]["kept"].as_array().unwrap().is_empty());
    assert!(!variants[1]["kept"].as_array().unwrap().is_empty());
    let cosine = |variant: &serde_json::Value, name: &str| variant["cosine"][name].as_f64().unwrap();
    assert!(cosine(&variants[0], "smallest") >= 0.98, "{report}");
    assert!(cosine(&variants[1], "mean") > cosine(&variants[0], "mean"), "{report}");
    for variant in variants {
        for (task, cost) in variant["tasks"].as_object().unwrap() {
            let of = |name: &str| cost[name].as_f64().unwrap();
            let line = format!(
                "{:>5.2} ± {:>5.2}  {:>8.2}",
                of("accuracy_drop"),
                of("standard_error"),
                of("macro_f1_drop")
            );
            let row = made.stdout.lines().find(|row| row.contains(&line) && row.contains(task.as_str()));
            let row = row.unwrap_or_else(|| panic!("{line}\n{}", made.stdout));
            assert!(
                row.starts_with(variant["name"].as_str().unwrap())
                    && row.contains(&format!("{:.4}", cosine(variant, "smallest")))
            );
            assert!(of("standard_error") > 0.0 && of("rows") > 450.0 && of("test_rows") == 120.0);
            assert!(of("flipped") < 30.0, "{cost}");
        }
        assert!(
            variant["texts_per_second"].as_f64().unwrap() > 1.0 && variant["latency"].as_f64().unwrap() > 0.0
        );
    }
    let size = std::fs::metadata(&bundle).unwrap().len();
    assert!(size <= 24_000_000, "{size}");
    // The same run gives the same bytes, and where int8 is all that is asked for, no other one is tried.
    let (_, alone) = bundled(&again, &["--precision", "int8", "--max-drop", "5"]);
    assert_eq!((&alone["asked"], alone["variants"].as_array().map(Vec::len)), (&"int8".into(), Some(1)));
    assert!(std::fs::read(&bundle).unwrap() == std::fs::read(&again).unwrap());
    // What it measures is what the report says of it.
    let eval = ["eval", text(&data), "--rows", "all", "--json", "--model"];
    let of_run = frosthead(&["eval", text(&data), "--json", "--model", text(&run)]).success().json();
    let exact = of_run["tasks"]["domain"]["accuracy"].as_f64().unwrap();
    assert!((exact - variants[0]["tasks"]["domain"]["test_accuracy_fp32"].as_f64().unwrap()).abs() < 1e-12);
    let measured = frosthead(&[&eval[..], &[text(&bundle)]].concat()).success().json();
    assert!(measured["tasks"]["domain"]["accuracy"].as_f64().unwrap() > 0.8);
    let inspected = frosthead(&["inspect", text(&bundle)]).success();
    assert!(inspected.stdout.contains("int8"), "{}", inspected.stdout);
}

#[test]
fn a_precision_that_costs_too_much_is_not_bundled() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let (run, bundle) = (path("run"), path("w8.frost"));
    let own = path("own.csv");
    std::fs::copy(&data, &own).unwrap();
    trained_on(backbone(), &own, &run);
    let arguments = ["bundle", text(&run), "--out", text(&bundle), "--precision"];
    // Nothing can be better than fp32 by a hundred points.
    let refused = frosthead(&[&arguments[..], &["w8", "--max-drop=-100"]].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stdout.contains("w8") && refused.stderr.contains("--max-drop"), "{}", refused.stderr);
    assert!(!bundle.exists());
    frosthead(&[&arguments[..], &["w8", "--max-drop", "100"]].concat()).success();
    assert!(std::fs::metadata(&bundle).unwrap().len() < 4_000_000);
    frosthead(&[&arguments[..], &["int4"]].concat()).fails_with(&["int4", "fp32, w8, int8 or auto"]);
    let longer = std::fs::read_to_string(&own).unwrap() + "one more,tweet,positive\n";
    std::fs::write(&own, longer).unwrap();
    frosthead(&[&arguments[..], &["w8", "--overwrite"]].concat()).fails_with(&["was changed", text(&own)]);
}

#[test]
fn a_bundle_with_a_word_table_in_four_bits_is_smaller_says_so_and_predicts_the_same_in_every_batch() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let (run, eight, four, again) = (path("run"), path("8.frost"), path("4.frost"), path("again.frost"));
    trained(&data, &run);
    let bundle = |out: &Path, more: &[&str]| {
        let arguments = ["bundle", text(&run), "--out", text(out), "--max-drop", "100", "--precision"];
        frosthead(&[&arguments[..], more].concat())
    };
    bundle(&eight, &["w8", "--table-bits", "8"]).success();
    let made = bundle(&four, &["w8", "--table-bits", "4"]).success();
    assert!(made.stdout.contains("w8, 4-bit table") && made.stderr.contains("chosen: w8, 4-bit table"));
    let [large, small] = [&eight, &four].map(|bundle| std::fs::metadata(bundle).unwrap().len());
    // 30,522 rows of 384 codes and 4 bytes, or 192 codes, 12 scales of 2 bytes and 6 of zeros.
    assert!((large - small).abs_diff(30_522 * (388 - 222)) < 10_000, "{small} of {large}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("precision.json")).unwrap()).unwrap();
    assert_eq!(report["asked"], "w8, 4-bit table");
    assert_eq!(report["chosen"], "w8, 4-bit table");
    assert!(report["variants"][0]["cosine"]["mean"].as_f64().unwrap() > 0.998, "{report}");
    bundle(&again, &["w8", "--table-bits", "4"]).success();
    assert!(std::fs::read(&four).unwrap() == std::fs::read(&again).unwrap());
    let inspected = |bundle: &Path| frosthead(&["inspect", text(bundle)]).success().stdout;
    assert!(inspected(&four).contains("w8, 4-bit table, frosthead"), "{}", inspected(&four));
    assert!(inspected(&eight).contains("w8, frosthead"), "{}", inspected(&eight));
    // One text, one answer: whatever stands beside it.
    let predict = |texts: &str| {
        let lines = path("lines.txt");
        std::fs::write(&lines, texts).unwrap();
        let arguments = ["predict", text(&lines), "--format", "lines", "--model", text(&four)];
        let lines = frosthead(&arguments).success().stdout;
        // Without the row's number, which differs.
        lines.lines().map(|line| line.split_once(',').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = ("a film of two and a half hours\n", "works\n");
    let both = predict(&format!("{first}{second}"));
    assert_eq!(both, [predict(first), predict(second)].concat());
    let refused = bundle(&four, &["w8", "--table-bits", "2", "--overwrite"]);
    refused.fails_with(&["not kept in so many bits", "8 or 4"]);
    bundle(&four, &["fp32", "--table-bits", "4"]).fails_with(&["no effect", "fp32"]);
}

#[test]
fn auto_takes_the_smallest_and_looks_for_the_table_first() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let (run, bundle) = (path("run"), path("auto.frost"));
    trained_on(backbone(), &data, &run);
    let auto = |more: &[&str]| {
        let arguments = ["bundle", text(&run), "--out", text(&bundle), "--precision", "auto", "--overwrite"];
        let made = frosthead(&[&arguments[..], more].concat());
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.join("precision.json")).unwrap()).unwrap();
        let names = report["variants"].as_array().unwrap().iter().map(|variant| {
            variant["name"].as_str().unwrap().split(" but ").next().unwrap().to_owned()
                + if variant["name"].as_str().unwrap().ends_with("4-bit table") { "/4" } else { "" }
        });
        (made.code, report["chosen"].clone(), names.collect::<Vec<_>>())
    };
    let (code, chosen, names) = auto(&["--max-drop", "100"]);
    assert_eq!((code, chosen), (Some(0), "int8, 4-bit table".into()));
    assert_eq!(names, ["int8, 4-bit table/4", "int8/4", "int8", "int8", "w8", "fp32"]);
    let (code, chosen, names) = auto(&["--max-drop", "100", "--table-bits", "8"]);
    assert_eq!((code, chosen), (Some(0), "int8".into()));
    assert_eq!(names, ["int8", "int8", "w8", "fp32"]);
    // No fp32 has such a table, so nothing is left when none passes.
    let (code, chosen, names) = auto(&["--max-drop=-100", "--table-bits", "4"]);
    assert_eq!((code, chosen), (Some(1), serde_json::Value::Null));
    assert_eq!(names, ["int8, 4-bit table/4", "int8/4", "w8, 4-bit table/4"]);
}

#[test]
fn every_table_of_a_run_is_read_again_as_it_was_or_not_at_all() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (run, bundle) = (path("run"), path("w8.frost"));
    // Nothing in their names says that they are CSV.
    let tables = ["rows.data", "valid.data", "test.data"].map(path);
    let lines = std::fs::read_to_string(demo(600)).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    // The rows are sorted by domain: every table gets some of each.
    for (table, rests) in tables.iter().zip([&[0, 1, 2, 3][..], &[4], &[5]]) {
        let own = lines[1..].iter().enumerate().filter(|(row, _)| rests.contains(&(row % 6)));
        let own: Vec<&str> = own.map(|(_, line)| *line).collect();
        std::fs::write(table, format!("{}\n{}\n", lines[0], own.join("\n"))).unwrap();
    }
    let [rows, valid, test] = &tables;
    let train = ["train", text(rows), "--valid", text(valid), "--test", text(test), "--format", "csv"];
    let more = ["--backbone", backbone(), "--task", "domain", "--alpha", "1000", "--out", text(&run)];
    frosthead(&[&train[..], &more[..]].concat()).success();
    let arguments = [
        "bundle",
        text(&run),
        "--out",
        text(&bundle),
        "--precision",
        "w8",
        "--max-drop",
        "100",
        "--overwrite",
    ];
    frosthead(&arguments).success();
    for table in [valid, test] {
        let before = std::fs::read(table).unwrap();
        std::fs::write(table, [&before[..], b"one more,tweet,positive\n"].concat()).unwrap();
        frosthead(&arguments).fails_with(&["was changed", text(table)]);
        std::fs::write(table, before).unwrap();
    }
}
