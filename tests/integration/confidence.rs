//! How far predictions can be believed: calibration, abstaining, accuracy against coverage.

use std::path::Path;

use serde_json::Value;

use crate::harness::{backbone, demo, directory, frosthead, has_cells, real, text};

fn trained(data: &Path, out: &Path) -> Value {
    let arguments = ["train", text(data), "--backbone", real(), "--task", "domain", "--task", "sentiment"];
    // Too weak a penalty, so that the heads claim more than they know.
    let rest = ["--alpha", "0.1", "--json", "-v", "--out", text(out)];
    let finished = frosthead(&[&arguments[..], &rest[..]].concat()).success();
    let metrics = finished.json();
    for task in ["domain", "sentiment"] {
        let own = &metrics["calibration"][task];
        let of = |name: &str| own[name].as_f64().unwrap();
        let line = format!(
            "{task}: calibrated on {} validation rows and {} training rows held out of a fit, temperature {:.2}; calibration error on test rows {:.3} before, {:.3} after",
            own["rows"],
            own["out_of_fold"],
            of("temperature"),
            of("ece_before"),
            of("ece_after")
        );
        assert!(finished.stderr.contains(&line), "{line}\n{}", finished.stderr);
    }
    metrics
}

#[test]
fn probabilities_are_calibrated_on_validation_rows_and_on_training_rows_held_out() {
    let (directory, data) = (directory(), demo(1200));
    let run = directory.path().join("run");
    let metrics = trained(&data, &run);
    for task in ["domain", "sentiment"] {
        let of = |name: &str| metrics["calibration"][task][name].as_f64().unwrap();
        assert!(of("temperature") > 1.2, "{task}: {}", of("temperature"));
        assert!(of("ece_after") < of("ece_before") - 0.02, "{task}: {metrics}");
        assert_eq!(metrics["tasks"][task]["ece"], metrics["calibration"][task]["ece_after"]);
        assert_eq!(metrics["calibration"][task]["rows"], metrics["valid"][task]["rows"]);
        assert_eq!(metrics["calibration"][task]["out_of_fold"], metrics["sizes"]["train"]);
    }
    // What eval and predict say is calibrated too.
    let evaluation = frosthead(&["eval", text(&data), "--model", text(&run), "--json"]).success().json();
    assert_eq!(evaluation["tasks"], metrics["tasks"]);
    let head = &frosthead::internal::classifier::Run::open(&run).unwrap().heads[0];
    let temperature = metrics["calibration"]["domain"]["temperature"].as_f64().unwrap();
    assert!((f64::from(head.believed.temperature[0]) - temperature).abs() < 1e-6);
}

/// Mean −log of the true labels' probabilities, as they are said, and without the temperature.
fn log_losses(said: &[Value], truth: &[csv::StringRecord], column: usize, temperature: f64) -> [f64; 2] {
    let prefix = format!("{}_probability_", ["", "domain", "sentiment"][column]);
    let mut losses = [0.0; 2];
    for (said, record) in said.iter().zip(truth) {
        let all = || {
            let columns = said.as_object().unwrap().iter();
            let of = |(name, value): (&String, &Value)| {
                Some((name.strip_prefix(&prefix)?.to_owned(), value.as_f64()?))
            };
            columns.filter_map(of).collect::<Vec<(String, f64)>>()
        };
        let powers: f64 = all().iter().map(|(_, value)| value.powf(temperature)).sum();
        let (_, of_truth) = all().into_iter().find(|(label, _)| *label == record[column]).unwrap();
        losses[0] -= of_truth.ln() / truth.len() as f64;
        losses[1] -= (of_truth.powf(temperature) / powers).ln() / truth.len() as f64;
    }
    losses
}

#[test]
fn a_handful_of_validation_rows_does_not_make_probabilities_worse_on_new_rows() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let mut reader = csv::Reader::from_path(demo(750)).unwrap();
    let header = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let write = |name: &str, records: &[csv::StringRecord]| {
        let mut writer = csv::Writer::from_path(path(name)).unwrap();
        writer.write_record(&header).unwrap();
        records.iter().for_each(|record| writer.write_record(record).unwrap());
        writer.flush().unwrap();
        path(name)
    };
    // Four tables of 125 rows, of which ten are for validation, and 250 rows that none of them has.
    let sixth = |number: usize| records.iter().skip(number).step_by(6).cloned().collect::<Vec<_>>();
    let new = [sixth(4), sixth(5)].concat();
    let new_rows = write("new.csv", &new);
    let mut applied = 0;
    for number in 0..4 {
        let (data, run) = (write("table.csv", &sixth(number)), path(&format!("run-{number}")));
        let tasks = ["--task", "domain", "--task", "sentiment", "--json", "--out", text(&run)];
        let more = ["--backbone", real(), "--alpha", "100", "-v"];
        let made = frosthead(&[&["train", text(&data)], &more[..], &tasks[..]].concat()).success();
        let said = ["predict", text(&new_rows), "--model", text(&run), "--all-probabilities"];
        let said = frosthead(&said).success().json_lines();
        let metrics = made.json();
        for (column, task) in [(1, "domain"), (2, "sentiment")] {
            let calibration = &metrics["calibration"][task];
            assert_eq!(calibration["rows"], 10);
            assert!(calibration["out_of_fold"].as_u64().unwrap() >= 89, "{calibration}");
            let temperature = calibration["temperature"].as_f64().unwrap();
            let [after, before] = log_losses(&said, &new, column, temperature);
            // A head with a strong penalty says less than it knows: there is something to gain.
            if temperature == 1.0 {
                assert!(made.stderr.contains(&format!("{task}: not changed: no temperature found on 10 ")));
            } else {
                applied += 1;
                assert!(after < before, "{task}: {after} {before}");
            }
        }
    }
    assert!(applied >= 4, "{applied}");
}

#[test]
fn heads_on_trained_layers_are_calibrated_on_validation_rows_alone() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let more = ["--backbone", backbone(), "--freeze", "backbone:0-4", "--epochs", "1", "--json"];
    let arguments = [&["train", text(&data), "--task", "domain", "--out", text(&run)], &more[..]].concat();
    let finished = frosthead(&arguments).success();
    let calibration = &finished.json()["calibration"]["domain"];
    assert_eq!((calibration["rows"].as_u64(), calibration.get("out_of_fold")), (Some(24), None));
    assert!(!finished.stderr.contains("held out of a fit"), "{}", finished.stderr);
}

#[test]
fn uncertain_rows_are_marked_instead_of_guessed() {
    let (directory, data) = (directory(), demo(1200));
    let run = directory.path().join("run");
    trained(&data, &run);
    let plain = frosthead(&["predict", text(&data), "--model", text(&run)]).success().json_lines();
    let abstain = ["predict", text(&data), "--model", text(&run), "--abstain-below", "0.6"];
    let marked = frosthead(&abstain).success().json_lines();
    let mut counts = [0, 0];
    for (plain, marked) in plain.iter().zip(&marked) {
        let uncertain = plain["sentiment_probability"].as_f64().unwrap() < f64::from(0.6_f32);
        assert!(plain.get("sentiment_uncertain").is_none());
        assert_eq!(marked["sentiment_uncertain"], uncertain);
        assert_eq!(marked["sentiment_probability"], plain["sentiment_probability"]);
        let expected = if uncertain { &Value::Null } else { &plain["sentiment_predicted"] };
        assert_eq!(&marked["sentiment_predicted"], expected);
        counts[usize::from(uncertain)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    let wrong = ["predict", text(&data), "--model", text(&run), "--abstain-below", "60"];
    frosthead(&wrong).fails_with(&["--abstain-below", "from 0 to 1"]);
}

#[test]
fn coverage_shows_what_abstaining_gains_and_catches() {
    let (directory, data) = (directory(), demo(1200));
    let run = directory.path().join("run");
    let metrics = trained(&data, &run);
    let strange = directory.path().join("strange.csv");
    std::fs::write(&strange, "text\n0x7f 0x80 0x81\nSELECT * FROM t;\nlorem ipsum dolor\n42\n").unwrap();
    let eval = ["eval", text(&data), "--model", text(&run), "--coverage"];
    let found =
        frosthead(&[&eval[..], &["--json", "--out-of-scope", text(&strange)]].concat()).success().json();
    let table = found["coverage"]["sentiment"].as_array().unwrap();
    let column = |name: &str| table.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!(column("accuracy")[0], metrics["tasks"]["sentiment"]["accuracy"].as_f64().unwrap());
    assert_eq!((column("coverage")[0], column("caught")[0]), (1.0, 0.0));
    assert!(column("coverage").is_sorted_by(|a, b| a > b) && column("threshold").is_sorted_by(|a, b| a < b));
    assert!(column("accuracy").last().unwrap() > &(column("accuracy")[0] + 0.05), "{table:?}");
    assert!(column("caught").is_sorted() && *column("caught").last().unwrap() > 0.0, "{table:?}");
    // The table for people says the same.
    let said = frosthead(&eval).success().stdout;
    let row = |index: usize| {
        format!(
            "{:.3} {} {:.1} % {:.3}",
            column("threshold")[index],
            table[index]["rows"].as_u64().unwrap(),
            100.0 * column("coverage")[index],
            column("accuracy")[index]
        )
    };
    assert!(
        has_cells(&said, &row(0)) && has_cells(&said, &row(4)) && !said.contains("caught"),
        "{}\n{said}",
        row(4)
    );
    let alone = ["eval", text(&data), "--model", text(&run), "--out-of-scope", text(&strange)];
    frosthead(&alone).fails_with(&["--coverage"]);
}
